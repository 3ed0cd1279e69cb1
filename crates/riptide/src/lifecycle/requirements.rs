//! What a mount needs of the machine, checked before anything is started.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::fs::{Access, access};

use crate::flags::FlagError;
use crate::options::DataOptions;

const DEVICE: &str = "/dev/fuse";
const HELPER: &str = "fusermount3";

/// Why this machine cannot mount, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum RequirementError {
    /// The kernel offers no FUSE.
    #[error(
        "{DEVICE} does not exist: load the kernel module with `modprobe fuse`; in a container, pass --device {DEVICE}"
    )]
    NoDevice,
    /// It does, but not to this user.
    #[error("{DEVICE} cannot be opened: {0}; run as root or give this user access to it")]
    DeviceDenied(rustix::io::Errno),
    /// Neither root nor helped.
    #[error(
        "mounting without root needs {HELPER}, which is not in PATH: install the package fuse3 or run as root"
    )]
    NoHelper,
}

/// Checks for /dev/fuse and, for an ordinary user, for the program that mounts for him.
pub fn check_fuse() -> Result<(), RequirementError> {
    if !Path::new(DEVICE).exists() {
        return Err(RequirementError::NoDevice);
    }
    access(DEVICE, Access::READ_OK | Access::WRITE_OK).map_err(RequirementError::DeviceDenied)?;
    if !rustix::process::geteuid().is_root() && !is_in_path(HELPER) {
        return Err(RequirementError::NoHelper);
    }
    Ok(())
}

fn is_in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| access(dir.join(program), Access::EXEC_OK).is_ok())
}

/// Creates `-cacheDir` when it is wanted (for chunks, or for `whole` files) and missing, and makes
/// sure that it can be written to.
pub fn check_cache_dir(data: &DataOptions, whole: bool, umask: u32) -> Result<(), FlagError> {
    if data.disk_bytes == 0 && !whole {
        return Ok(());
    }
    let dir = &data.cache_dir;
    let bad = |reason: String| {
        let expected = format!("a folder that can be written to ({reason})");
        FlagError::bad("cacheDir", dir.to_string_lossy(), expected)
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o777 & !umask)
        .create(dir)
        .map_err(|error| bad(error.to_string()))?;
    let metadata = fs::metadata(dir).map_err(|error| bad(error.to_string()))?;
    if !metadata.is_dir() {
        return Err(bad("it is not one".to_owned()));
    }
    access(dir, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| bad(error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    use super::*;
    use crate::options::VolumeServerAccess;

    fn data(cache_dir: &Path, disk_bytes: u64) -> DataOptions {
        DataOptions {
            memory_bytes: 0,
            cache_dir: cache_dir.to_owned(),
            disk_bytes,
            concurrent_readers: 1,
            retry: Duration::from_secs(1),
            access: VolumeServerAccess::Direct,
            data_center: String::new(),
            chunk_bytes: 1 << 21,
            concurrent_writers: 128,
            swap_dir: cache_dir.to_owned(),
            save_later: false,
            shared_locks: false,
            whole_files: false,
            flush_every: Duration::ZERO,
            write_buffer_mib: 0,
        }
    }

    #[test]
    fn a_cache_folder_is_created_with_the_mode_the_umask_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("cache");
        check_cache_dir(&data(&cache, 1), false, 0o077).unwrap();
        let mode = fs::metadata(&cache).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_cache_folder_that_cannot_be_written_is_named_unless_it_is_not_used() {
        for unusable in ["/proc/riptide-cache", "/dev/null"] {
            let unusable = Path::new(unusable);
            let error = check_cache_dir(&data(unusable, 1), false, 0o022)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with("flag -cacheDir: "), "{error}");
            assert!(
                error.contains("expected a folder that can be written to"),
                "{error}"
            );
            check_cache_dir(&data(unusable, 0), true, 0o022).unwrap_err();
            check_cache_dir(&data(unusable, 0), false, 0o022).unwrap();
        }
    }

    #[test]
    fn programs_are_found_in_the_path_only_if_they_can_be_run() {
        assert!(is_in_path("sh"));
        assert!(!is_in_path("riptide-no-such-program"));
    }
}
