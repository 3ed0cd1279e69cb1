//! Whether a folder can be mounted on, by the rules of `weed mount`.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use fuse::{MountInfo, UnmountError};

use crate::options::PointOptions;

/// A stale mount may hide another one; more than this many are no accident.
const MAX_STALE: usize = 8;

/// A folder that is ready to be mounted on.
#[derive(Debug)]
pub struct MountPoint {
    /// Its path, absolute and without symbolic links.
    pub dir: PathBuf,
    /// Owner, mode and times of the folder underneath.
    pub metadata: Metadata,
}

/// Why a folder cannot be mounted on.
#[derive(Debug, thiserror::Error)]
pub enum MountPointError {
    /// It does not exist.
    #[error("-dir={}: no such folder; -dirAutoCreate creates it", .0.display())]
    Missing(PathBuf),
    /// It could not be created.
    #[error("-dir={}: cannot create the folder: {reason}", .0.display(), reason = .1)]
    Create(PathBuf, io::Error),
    /// It is something else.
    #[error("-dir={}: not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// It holds something that the mount would hide.
    #[error("-dir={}: the folder is not empty; -nonempty mounts over what it holds", .0.display())]
    NotEmpty(PathBuf),
    /// Something is mounted there.
    #[error("-dir={}: {source_name} ({kind}) is already mounted there; riptide umount it first", dir.display())]
    Mounted {
        /// The folder.
        dir: PathBuf,
        /// The type of what is mounted.
        kind: String,
        /// Its source.
        source_name: String,
    },
    /// A dead mount is there and does not go away.
    #[error("-dir={}: a mount whose program is gone cannot be unmounted: {reason}", .0.display(), reason = .1)]
    Stale(PathBuf, UnmountError),
    /// Something else.
    #[error("-dir={}: {reason}", .0.display(), reason = .1)]
    Io(PathBuf, io::Error),
}

impl MountPoint {
    /// Makes sure that `options.dir` can be mounted on: unmounts what is stale,
    /// creates the folder when wanted, and refuses what would hide something.
    pub fn prepare(options: &PointOptions) -> Result<Self, MountPointError> {
        let given = options.dir.as_path();
        recover_stale(given)?;
        let dir = match given.canonicalize() {
            Ok(dir) => dir,
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(options)?,
            Err(error) => return Err(MountPointError::Io(given.into(), error)),
        };
        let io_error = |error| MountPointError::Io(dir.clone(), error);

        let trigger = match mounted_at(&dir).map_err(io_error)? {
            None => false,
            Some(entry) if options.autofs && entry.kind == "autofs" => true,
            Some(entry) => {
                return Err(MountPointError::Mounted {
                    source_name: entry.source.to_string_lossy().into_owned(),
                    kind: entry.kind,
                    dir,
                });
            }
        };
        let metadata = fs::metadata(&dir).map_err(io_error)?;
        if !metadata.is_dir() {
            return Err(MountPointError::NotAFolder(dir));
        }
        // Looking into an autofs trigger would make it mount.
        if !options.nonempty && !trigger {
            let mut entries = fs::read_dir(&dir).map_err(io_error)?;
            if entries.next().is_some() {
                return Err(MountPointError::NotEmpty(dir));
            }
        }
        Ok(Self { dir, metadata })
    }
}

/// The mount that is on top at `dir`, a path without symbolic links; none when
/// `dir` is an ordinary folder.
pub fn mounted_at(dir: &Path) -> io::Result<Option<MountInfo>> {
    // Later mounts lie over earlier ones.
    let mounts = fuse::mounts()?;
    Ok(mounts.into_iter().rfind(|mount| mount.mount_point == dir))
}

/// Detaches mounts whose program is gone, which nobody can use any more.
fn recover_stale(dir: &Path) -> Result<(), MountPointError> {
    for _ in 0..MAX_STALE {
        if !fuse::stale(dir) {
            return Ok(());
        }
        tracing::warn!(
            dir = %dir.display(),
            "unmounting what a program that is gone left behind (Transport endpoint is not connected)"
        );
        fuse::unmount(dir, true).map_err(|error| MountPointError::Stale(dir.into(), error))?;
    }
    Ok(())
}

fn create(options: &PointOptions) -> Result<PathBuf, MountPointError> {
    let dir = options.dir.as_path();
    if !options.auto_create {
        return Err(MountPointError::Missing(dir.into()));
    }
    fs::create_dir_all(dir)
        .and_then(|()| dir.canonicalize())
        .map_err(|error| MountPointError::Create(dir.into(), error))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::fs::symlink;

    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

    use super::*;
    use crate::flags::{Values, mount::ALL};
    use crate::options::MountOptions;

    fn point(dir: &Path, switches: &[&str]) -> PointOptions {
        let mut given = vec![("dir", dir.as_os_str())];
        given.extend(switches.iter().map(|name| (*name, OsStr::new("true"))));
        let values = Values::new(&ALL, given).unwrap();
        MountOptions::from_values(&values).unwrap().point
    }

    fn refusal(dir: &Path, switches: &[&str]) -> String {
        MountPoint::prepare(&point(dir, switches))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_empty_folder_is_taken_under_its_real_name() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap().join("real");
        fs::create_dir(&real).unwrap();
        symlink(&real, dir.path().join("link")).unwrap();
        let taken = MountPoint::prepare(&point(&dir.path().join("link"), &[])).unwrap();
        assert_eq!(taken.dir, real);
        assert!(taken.metadata.is_dir());
    }

    #[test]
    fn a_missing_folder_is_created_only_when_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("a/b");
        assert!(refusal(&missing, &[]).contains("-dirAutoCreate"));
        assert!(!missing.exists());
        MountPoint::prepare(&point(&missing, &["dirAutoCreate"])).unwrap();
        assert!(missing.is_dir());
        fs::write(dir.path().join("file"), "").unwrap();
        let below_file = dir.path().join("file/x");
        assert!(refusal(&below_file, &["dirAutoCreate"]).contains("file/x"));
    }

    #[test]
    fn a_file_and_a_folder_that_is_not_empty_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(refusal(&file, &[]).ends_with("not a folder"));
        assert!(refusal(dir.path(), &[]).contains("-nonempty"));
        MountPoint::prepare(&point(dir.path(), &["nonempty"])).unwrap();
    }

    #[test]
    fn a_folder_with_something_mounted_on_it_is_refused() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: mounting a tmpfs needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        mount("tmp-of-test", &real, "tmpfs", MountFlags::empty(), None).unwrap();
        let refused = refusal(&real, &["nonempty", "autofs"]);
        let found = mounted_at(&real).unwrap();
        unmount(&real, UnmountFlags::empty()).unwrap();
        assert!(
            refused.contains("tmp-of-test (tmpfs) is already mounted"),
            "{refused}"
        );
        assert_eq!(found.unwrap().kind, "tmpfs");
        MountPoint::prepare(&point(&real, &[])).unwrap();
    }
}
