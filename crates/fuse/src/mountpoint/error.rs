//! Why mounting and unmounting fail, said so that it can be mended.

use std::io;
use std::path::{Path, PathBuf};

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// /dev/fuse does not exist.
    #[error(
        "/dev/fuse does not exist: load the kernel module `fuse`, or give the container the device"
    )]
    NoDevice,
    /// /dev/fuse cannot be opened.
    #[error("cannot open /dev/fuse: {0}")]
    Device(#[source] io::Error),
    /// The mount point is the mount of a server that is gone.
    #[error("{} is a stale mount (Transport endpoint is not connected): unmount it first", .0.display())]
    Stale(PathBuf),
    /// The mount point cannot be used.
    #[error("{}: {error}", path.display())]
    Path {
        /// The directory asked for.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        error: io::Error,
    },
    /// The mount point is no directory.
    #[error("{} is not a directory", .0.display())]
    NotADirectory(PathBuf),
    /// mount(2) failed.
    #[error("cannot mount on {}: {error}", path.display())]
    Mount {
        /// The directory asked for.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        error: io::Error,
    },
    /// The helper cannot be started.
    #[error("cannot run {}, which mounting without root needs (package fuse3): {error}", helper.display())]
    NoHelper {
        /// Its name.
        helper: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The helper refused.
    #[error("{} refused to mount: {message}", helper.display())]
    Helper {
        /// Its name.
        helper: PathBuf,
        /// What it said.
        message: String,
    },
    /// io_uring was insisted on.
    #[error("requests cannot come through io_uring: {0}")]
    NoUring(String),
    /// The kernel's FUSE is older than what is spoken here.
    #[error("the kernel speaks FUSE {major}.{minor}; 7.31 (Linux 5.4) or later is needed")]
    TooOld {
        /// Its major version.
        major: u32,
        /// Its minor version.
        minor: u32,
    },
    /// The conversation that starts a session broke off.
    #[error("the kernel did not start the session: {0}")]
    Handshake(#[source] io::Error),
    /// Threads or memory could not be had.
    #[error("cannot start the session's threads: {0}")]
    Resources(#[source] io::Error),
}

impl MountError {
    pub(super) fn at(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match error.raw_os_error() {
            Some(libc::ENOTCONN | libc::ECONNABORTED) => Self::Stale(path),
            _ => Self::Path { path, error },
        }
    }
}

/// Why something is still mounted.
#[derive(Debug, thiserror::Error)]
pub enum UnmountError {
    /// Somebody uses it.
    #[error("{} is in use", .0.display())]
    Busy(PathBuf),
    /// Something else was mounted over it.
    #[error("something else is mounted over {}", .0.display())]
    Covered(PathBuf),
    /// Nothing is mounted there.
    #[error("nothing is mounted on {}", .0.display())]
    NotMounted(PathBuf),
    /// Something else is mounted there.
    #[error("{} is a mount of type {kind}, not FUSE", path.display())]
    NotFuse {
        /// The directory.
        path: PathBuf,
        /// Type of its file system.
        kind: String,
    },
    /// The helper cannot be started.
    #[error("cannot run {}, which unmounting without root needs (package fuse3): {error}", helper.display())]
    NoHelper {
        /// Its name.
        helper: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The helper refused.
    #[error("{} refused to unmount: {message}", helper.display())]
    Helper {
        /// Its name.
        helper: PathBuf,
        /// What it said.
        message: String,
    },
    /// Anything else.
    #[error("cannot unmount {}: {error}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// The kernel's reason.
        #[source]
        error: io::Error,
    },
}

impl UnmountError {
    pub(super) fn at(path: &Path, error: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            error,
        }
    }
}
