//! Mounting without root: the setuid helper `fusermount3`.
//!
//! The helper opens /dev/fuse, mounts it and sends us the descriptor over a unix
//! socket whose number is in `_FUSE_COMMFD`. The socket is the helper's standard
//! input, which needs no descriptor of ours to survive exec(2).

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::common_options;
use crate::device::Device;
use crate::{MountError, SessionConfig, UnmountError};

/// Has the helper mount on `path`.
pub(super) fn mount(path: &Path, config: &SessionConfig) -> Result<Device, MountError> {
    let helper = &config.fusermount;
    let no_helper = |error| MountError::NoHelper {
        helper: helper.clone(),
        error,
    };
    let (ours, theirs) = UnixStream::pair().map_err(no_helper)?;
    let child = Command::new(helper)
        .arg("-o")
        .arg(options(config))
        .arg("--")
        .arg(path)
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(no_helper)?;
    // The command is dropped and with it our copy of the helper's end: if the
    // helper fails, the socket ends.
    let received = receive_fd(&ours);
    let output = child.wait_with_output().map_err(no_helper)?;
    match received {
        Ok(Some(fd)) => Ok(Device::from_fd(fd)),
        Ok(None) if !Path::new("/dev/fuse").exists() => Err(MountError::NoDevice),
        Ok(None) => Err(MountError::Helper {
            helper: helper.clone(),
            message: complaint(&output),
        }),
        Err(error) => Err(no_helper(error)),
    }
}

/// Has the helper unmount `path`.
pub(super) fn unmount(path: &Path, lazy: bool, helper: &Path) -> Result<(), UnmountError> {
    let output = Command::new(helper)
        .arg("-u")
        .args(lazy.then_some("-z"))
        .arg("--")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| UnmountError::NoHelper {
            helper: helper.to_owned(),
            error,
        })?;
    if output.status.success() {
        return Ok(());
    }
    let message = complaint(&output);
    if message.contains("busy") {
        return Err(UnmountError::Busy(path.to_owned()));
    }
    Err(UnmountError::Helper {
        helper: helper.to_owned(),
        message,
    })
}

fn options(config: &SessionConfig) -> String {
    let mut options = vec![
        format!("fsname={}", escape(&config.source)),
        format!("subtype={}", escape(&config.subtype)),
    ];
    options.extend(common_options(config));
    if config.read_only {
        options.push("ro".to_owned());
    }
    if config.no_exec {
        options.push("noexec".to_owned());
    }
    options.join(",")
}

/// The helper separates options by commas and lets a backslash protect them.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace(',', "\\,")
}

/// The one descriptor that comes with one byte; `None` if the sender hung up.
fn receive_fd(socket: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(
            &socket,
            &mut [IoSliceMut::new(&mut byte)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    Ok(fd)
}

fn complaint(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr);
    match said.trim() {
        "" => output.status.to_string(),
        said => said.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_with_commas_stays_one_option() {
        let config = SessionConfig {
            source: "a:1,b:2\\:/x".to_owned(),
            read_only: true,
            no_exec: true,
            default_permissions: false,
            ..SessionConfig::default()
        };
        assert_eq!(
            options(&config),
            "fsname=a:1\\,b:2\\\\:/x,subtype=seaweedfs,max_read=1048576,ro,noexec"
        );
    }
}
