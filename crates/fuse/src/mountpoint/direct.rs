//! mount(2), as root.

use std::ffi::CString;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::mount::MountFlags;

use super::{common_options, raw};
use crate::device::Device;
use crate::{MountError, SessionConfig};

/// Opens the device and mounts it on `path`.
pub(super) fn mount(path: &Path, config: &SessionConfig) -> Result<Device, MountError> {
    let device = Device::open().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => MountError::NoDevice,
        _ => MountError::Device(error),
    })?;
    let mut options = vec![
        format!("fd={}", raw(device.as_fd())),
        // The root's type; its mode comes with its attributes.
        format!("rootmode={:o}", libc::S_IFDIR),
        format!("user_id={}", rustix::process::geteuid().as_raw()),
        format!("group_id={}", rustix::process::getegid().as_raw()),
    ];
    options.extend(common_options(config));
    // What is on a filer must not give its readers rights on this machine.
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    if config.read_only {
        flags |= MountFlags::RDONLY;
    }
    if config.no_exec {
        flags |= MountFlags::NOEXEC;
    }
    let mount = || -> io::Result<()> {
        let data = CString::new(options.join(","))?;
        let kind = format!("fuse.{}", config.subtype);
        Ok(rustix::mount::mount(
            &*config.source,
            path,
            &*kind,
            flags,
            &*data,
        )?)
    };
    mount().map_err(|error| MountError::Mount {
        path: path.to_owned(),
        error,
    })?;
    Ok(device)
}
