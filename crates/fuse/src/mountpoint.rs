//! Where a session is mounted: mounting, unmounting, and knowing whether what
//! is mounted there is still ours.
//!
//! A path is a poor name for a mount: by the time it is used again somebody may
//! have unmounted ours and mounted something else. [`Mountpoint`] therefore
//! remembers the identity of the mount it made and unmounts nothing else. On
//! Linux 6.8 and later that is the mount's unique number, which is never used
//! again; before, its number and device number in mountinfo, which can be, so
//! that there nothing is unmounted once the connection has ended.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::device::Device;
use crate::{MountMethod, SessionConfig};

mod direct;
mod error;
mod fusermount;
mod mountinfo;

pub use error::{MountError, UnmountError};
pub use mountinfo::{MountInfo, mounts};

/// A mount of ours.
#[derive(Debug)]
pub(crate) struct Mountpoint {
    path: PathBuf,
    info: MountInfo,
    unique: Option<u64>,
    /// The helper that mounted, if one did.
    helper: Option<PathBuf>,
    gone: Mutex<bool>,
}

impl Mountpoint {
    /// Mounts on `dir`; the device is the connection to the kernel.
    pub(crate) fn mount(dir: &Path, config: &SessionConfig) -> Result<(Device, Self), MountError> {
        let path = std::fs::canonicalize(dir).map_err(|error| MountError::at(dir, error))?;
        if stale(&path) {
            return Err(MountError::Stale(path));
        }
        if !std::fs::metadata(&path)
            .map_err(|error| MountError::at(&path, error))?
            .is_dir()
        {
            return Err(MountError::NotADirectory(path));
        }
        let (device, helper) = match config.method {
            MountMethod::Direct => (direct::mount(&path, config)?, None),
            MountMethod::Fusermount => with_helper(&path, config)?,
            MountMethod::Auto if rustix::process::geteuid().is_root() => {
                match direct::mount(&path, config) {
                    // Root of a container that may not mount.
                    Err(MountError::Mount { error, .. })
                        if error.kind() == io::ErrorKind::PermissionDenied =>
                    {
                        with_helper(&path, config)?
                    }
                    mounted => (mounted?, None),
                }
            }
            MountMethod::Auto => with_helper(&path, config)?,
        };
        let info = mounts()
            .map_err(|error| MountError::at(&path, error))?
            .into_iter()
            .rfind(|mount| mount.mount_point == path)
            .ok_or_else(|| MountError::at(&path, io::ErrorKind::NotFound.into()))?;
        let mountpoint = Self {
            unique: unique_id(&path),
            path,
            info,
            helper,
            gone: Mutex::new(false),
        };
        Ok((device, mountpoint))
    }

    /// The directory, without symbolic links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Device number of the mount, as sysfs writes it.
    pub(crate) fn device_number(&self) -> &str {
        &self.info.device
    }

    /// Unmounts, if the mount is still there and still ours. `ended` says that
    /// the connection is known to be gone.
    pub(crate) fn unmount(&self, ended: bool, lazy: bool) -> Result<(), UnmountError> {
        // Held while unmounting, so that two callers do not unmount two mounts.
        let mut gone = self.gone.lock();
        if *gone {
            return Ok(());
        }
        match self.standing(ended)? {
            Standing::OnTop => unmount_path(&self.path, lazy, self.helper.as_deref())?,
            Standing::Covered => return Err(UnmountError::Covered(self.path.clone())),
            Standing::Gone => {}
        }
        *gone = true;
        Ok(())
    }

    /// What has become of our mount.
    fn standing(&self, ended: bool) -> Result<Standing, UnmountError> {
        if ended && self.unique.is_none() {
            // Its numbers may be another mount's by now.
            return Ok(Standing::Gone);
        }
        let mounts = mounts().map_err(|error| UnmountError::at(&self.path, error))?;
        let here = mounts.iter().filter(|mount| mount.mount_point == self.path);
        let ours =
            |mount: &MountInfo| (mount.id, &mount.device) == (self.info.id, &self.info.device);
        Ok(match here.clone().next_back().map(ours) {
            Some(true) if self.unique.is_none() || unique_id(&self.path) == self.unique => {
                Standing::OnTop
            }
            Some(false) if here.clone().any(ours) => Standing::Covered,
            _ => Standing::Gone,
        })
    }
}

/// Whether our mount is still mounted where it was.
enum Standing {
    OnTop,
    /// Something else was mounted over it.
    Covered,
    Gone,
}

fn with_helper(
    path: &Path,
    config: &SessionConfig,
) -> Result<(Device, Option<PathBuf>), MountError> {
    let device = fusermount::mount(path, config)?;
    Ok((device, Some(config.fusermount.clone())))
}

/// Whether `dir` is the mount point of a file system whose server is gone:
/// "Transport endpoint is not connected".
///
/// Asks the server (not the kernel's cache), so it waits for one that hangs.
pub fn stale(dir: &Path) -> bool {
    // A path with attributes still cached would look alive.
    let asked = statx(CWD, dir, AtFlags::STATX_FORCE_SYNC, StatxFlags::BASIC_STATS);
    // ECANCELED is what a moment after its death a server says that had io_uring.
    matches!(
        asked,
        Err(Errno::NOTCONN | Errno::CONNABORTED | Errno::CANCELED)
    )
}

/// Unmounts the FUSE file system mounted on `dir`, also a stale one; `lazy`
/// detaches it even while it is in use.
///
/// # Errors
/// [`UnmountError`], also when what is mounted there is no FUSE file system.
pub fn unmount(dir: &Path, lazy: bool) -> Result<(), UnmountError> {
    let path = resolve(dir).map_err(|error| UnmountError::at(dir, error))?;
    let mounts = mounts().map_err(|error| UnmountError::at(&path, error))?;
    match mounts.iter().rfind(|mount| mount.mount_point == path) {
        None => Err(UnmountError::NotMounted(path)),
        Some(mount) if !mount.is_fuse() => Err(UnmountError::NotFuse {
            path,
            kind: mount.kind.clone(),
        }),
        Some(_) => unmount_path(&path, lazy, None),
    }
}

/// The path as mountinfo has it, without touching what may be a stale mount.
fn resolve(dir: &Path) -> io::Result<PathBuf> {
    if let Ok(path) = std::fs::canonicalize(dir) {
        return Ok(path);
    }
    let path = std::path::absolute(dir)?;
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(std::fs::canonicalize(parent)?.join(name)),
        _ => Ok(path),
    }
}

/// Unmounts whatever is on top of `path`: directly where allowed, else with the helper.
fn unmount_path(path: &Path, lazy: bool, helper: Option<&Path>) -> Result<(), UnmountError> {
    let mut flags = UnmountFlags::NOFOLLOW;
    if lazy {
        flags |= UnmountFlags::DETACH;
    }
    match rustix::mount::unmount(path, flags) {
        Ok(()) => Ok(()),
        Err(Errno::BUSY) => Err(UnmountError::Busy(path.to_owned())),
        // Gone between the look and the call.
        Err(Errno::INVAL) => Err(UnmountError::NotMounted(path.to_owned())),
        Err(Errno::PERM) => {
            let helper = helper.unwrap_or(Path::new("fusermount3"));
            fusermount::unmount(path, lazy, helper)
        }
        Err(errno) => Err(UnmountError::at(path, errno.into())),
    }
}

/// `STATX_MNT_ID_UNIQUE`, Linux 6.8.
const MNT_ID_UNIQUE: u32 = 0x4000;

/// The number of the mount on top of `path` that no other mount will ever have.
fn unique_id(path: &Path) -> Option<u64> {
    // Not to be asked of the server: this may run before it serves or after.
    let flags = AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT | AtFlags::SYMLINK_NOFOLLOW;
    let mask = StatxFlags::from_bits_retain(MNT_ID_UNIQUE);
    let statx = statx(CWD, path, flags, mask).ok()?;
    (statx.stx_mask & MNT_ID_UNIQUE != 0).then_some(statx.stx_mnt_id)
}

/// The options every FUSE mount has in common, as fuse(4) writes them.
fn common_options(config: &SessionConfig) -> Vec<String> {
    let mut options = vec![format!("max_read={}", config.max_read)];
    if config.allow_other {
        options.push("allow_other".to_owned());
    }
    if config.default_permissions {
        options.push("default_permissions".to_owned());
    }
    options
}

/// A borrowed descriptor as the number the mount option wants.
fn raw(fd: BorrowedFd<'_>) -> i32 {
    std::os::fd::AsRawFd::as_raw_fd(&fd)
}
