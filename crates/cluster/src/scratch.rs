//! The folder of a throw-away cluster.
//!
//! It is removed when it is dropped. A process that is killed drops nothing, so each folder holds
//! a file that its process keeps locked (flock(2), which ends with the process), and the first cluster
//! of another process removes the folders whose lock nobody has.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock, statvfs};
use tempfile::TempDir;

const PREFIX: &str = "riptide-cluster-";
const LOCK: &str = "in-use";
/// A folder this new may not have its lock yet.
const NEW: Duration = Duration::from_secs(60);
/// A cluster takes some hundred MiB, and servers refuse to write to a disk that is all but full.
const ROOM: u64 = 1 << 30;

/// A folder for a cluster.
#[derive(Debug)]
pub(crate) struct Scratch {
    folder: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes one below the system's folder for temporary files.
    pub(crate) fn new() -> Result<Self> {
        static SWEPT: Once = Once::new();
        let parent = std::env::temp_dir();
        SWEPT.call_once(|| sweep(&parent));
        let disk = statvfs(&parent).with_context(|| format!("{}", parent.display()))?;
        let free = disk.f_bavail * disk.f_frsize;
        if free < ROOM {
            let (parent, free) = (parent.display(), free >> 20);
            let needed = ROOM >> 20;
            bail!("{parent} has {free} MiB free, a SeaweedFS for tests needs {needed} MiB");
        }
        let folder = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(&parent)?;
        let lock = File::create(folder.path().join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders in `parent` that processes left which were killed.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        if ours && is_left(&entry.path()) {
            // Somebody else may be removing it too.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn is_left(folder: &Path) -> bool {
    let is_new = || {
        let made = fs::metadata(folder).and_then(|metadata| metadata.modified());
        let age = made.map(|made| SystemTime::now().duration_since(made).unwrap_or_default());
        age.is_ok_and(|age| age < NEW)
    };
    match File::open(folder.join(LOCK)) {
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() && !is_new(),
        Err(_) => !is_new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_uses_is_swept() -> Result<()> {
        let parent = tempfile::tempdir()?;
        let make = |name: &str| -> Result<std::path::PathBuf> {
            let folder = parent.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&folder)?;
            fs::write(folder.join("5.dat"), "bytes")?;
            Ok(folder)
        };
        let (used, left, new) = (make("used")?, make("left")?, make("new")?);
        let old = SystemTime::now() - 2 * NEW;
        let lock = File::create(used.join(LOCK))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        File::create(left.join(LOCK))?;
        for folder in [&used, &left] {
            File::open(folder)?.set_modified(old)?;
        }
        sweep(parent.path());
        assert!(used.join("5.dat").exists());
        assert!(new.join("5.dat").exists());
        assert!(!left.exists());
        Ok(())
    }
}
