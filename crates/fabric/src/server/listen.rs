//! The sockets that clients connect to.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
    sockopt,
};

/// A socket that is listened on.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: OwnedFd,
    pub(super) carrier: &'static str,
    /// The path that was bound, and its inode, so that nobody else's is removed at the end.
    bound: Option<(PathBuf, u64)>,
}

/// Connections that wait to be accepted; what is more is refused by the kernel. As many as mounts
/// that all come back at once after a restart.
const BACKLOG: i32 = 1024;

impl Listener {
    pub(super) fn tcp(address: SocketAddr) -> io::Result<Self> {
        let family = match address {
            SocketAddr::V4(_) => AddressFamily::INET,
            SocketAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = socket_with(family, SocketType::STREAM, FLAGS, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        bind(&socket, &address).map_err(|errno| named(errno, &address))?;
        listen(&socket, BACKLOG)?;
        Ok(Self {
            socket,
            carrier: "tcp",
            bound: None,
        })
    }

    pub(super) fn unix(path: &Path) -> io::Result<Self> {
        let shown = path.display();
        let address = SocketAddrUnix::new(path).map_err(|errno| named(errno, &shown))?;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, FLAGS, None)?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) if is_left_behind(path) => {
                fs::remove_file(path)?;
                bind(&socket, &address)
            }
            outcome => outcome,
        }
        .map_err(|errno| named(errno, &shown))?;
        listen(&socket, BACKLOG)?;
        let inode = fs::symlink_metadata(path)?.ino();
        Ok(Self {
            socket,
            carrier: "shm",
            bound: Some((path.to_owned(), inode)),
        })
    }

    /// Where a TCP listener came to listen.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let address = rustix::net::getsockname(&self.socket).ok()?;
        address.try_into().ok()
    }

    /// The next connection, ready for use; nothing if nobody waits.
    pub(super) fn accept(&self) -> Result<Option<OwnedFd>, Errno> {
        match accept_with(&self.socket, FLAGS) {
            Ok(socket) => {
                if self.carrier == "tcp" {
                    // Without these a lane is slower, or its client's death unnoticed for longer.
                    let _ = sockopt::set_tcp_nodelay(&socket, true);
                    let _ = sockopt::set_socket_keepalive(&socket, true);
                    let _ = sockopt::set_tcp_keepidle(&socket, KEEP_IDLE);
                    let _ = sockopt::set_tcp_keepintvl(&socket, KEEP_BETWEEN);
                    let _ = sockopt::set_tcp_keepcnt(&socket, KEEP_COUNT);
                }
                Ok(Some(socket))
            }
            // Gone before it was accepted, or not there at all.
            Err(Errno::AGAIN | Errno::CONNABORTED | Errno::INTR) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((path, inode)) = &self.bound
            && fs::symlink_metadata(path).is_ok_and(|found| found.ino() == *inode)
        {
            let _ = fs::remove_file(path);
        }
    }
}

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);
/// A client whose host died is noticed after a minute and a half.
const KEEP_IDLE: Duration = Duration::from_secs(60);
const KEEP_BETWEEN: Duration = Duration::from_secs(10);
const KEEP_COUNT: u32 = 3;

/// Whether there is a socket that nobody listens on.
fn is_left_behind(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    is_socket && UnixStream::connect(path).err().is_some_and(refused)
}

fn named(errno: Errno, address: &dyn std::fmt::Display) -> io::Error {
    let error = io::Error::from(errno);
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}
