//! `riptide umount DIR`.

use std::path::Path;

use anyhow::bail;
use fuse::UnmountError;

/// Unmounts what is on top at `dir`; with `lazy`, even if it is in use.
pub(super) fn run(dir: &Path, lazy: bool) -> anyhow::Result<()> {
    match fuse::unmount(dir, lazy) {
        Ok(()) => Ok(()),
        Err(error @ UnmountError::Busy(_)) => bail!(
            "{error}; `fuser -vm {}` shows by whom, -l detaches it anyway",
            dir.display()
        ),
        Err(error @ UnmountError::NotFuse { .. }) => bail!("{error}; use umount(8)"),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use rustix::mount::{MountFlags, mount};

    use super::*;
    use crate::lifecycle::mounted_at;

    #[test]
    fn only_fuse_mounts_are_unmounted() {
        let dir = tempfile::tempdir().unwrap();
        let error = run(dir.path(), false).unwrap_err().to_string();
        assert!(error.starts_with("nothing is mounted on"), "{error}");
        let error = run(Path::new("/proc"), false).unwrap_err().to_string();
        assert!(error.ends_with("use umount(8)"), "{error}");
        let error = format!("{:#}", run(Path::new("/nonexistent/x"), false).unwrap_err());
        assert!(error.contains("/nonexistent/x"), "{error}");
    }

    /// A FUSE mount whose program is gone before it said a word: as stale as one can be.
    #[test]
    fn a_stale_mount_is_found_and_unmounted() {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
            eprintln!("skipped: needs root and /dev/fuse");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        let device = std::fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/fuse")
            .unwrap();
        let options = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0",
            std::os::fd::AsRawFd::as_raw_fd(&device)
        );
        let options = std::ffi::CString::new(options).unwrap();
        mount(
            "gone",
            &real,
            "fuse.riptide-test",
            MountFlags::empty(),
            options.as_c_str(),
        )
        .unwrap();
        drop(device);
        assert!(fuse::stale(&real));
        assert_eq!(
            mounted_at(&real).unwrap().unwrap().kind,
            "fuse.riptide-test"
        );
        run(&real, false).unwrap();
        assert_eq!(mounted_at(&real).unwrap(), None);
    }
}
