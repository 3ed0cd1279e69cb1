//! Where a cache lives, and that nobody else lives there.
//!
//! ```text
//! <dir>/<what>/<cluster>/<n>/lock        held (flock) by the mount that owns n
//!                           /tmp/        files being written
//!                           /00 … /ff/   one file a chunk; or what the owner likes
//! ```
//!
//! Two mounts that are given the same directory take different numbers, and each finds what it
//! kept there when it comes back. Sharing one place would need a common index to keep within
//! the capacity, and a protocol for it; caching twice is the lesser evil in a rare set-up.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// Mounts of one cluster that may share a directory.
const PLACES: usize = 16;
/// Longest part of a cluster's name that becomes a directory name.
const NAME: usize = 100;

/// A directory that is ours as long as this lives.
#[derive(Debug)]
pub struct Place {
    path: PathBuf,
    lock: File,
}

impl Place {
    /// Takes the first free place for `cluster` below `dir`. `what` is kept there: it names kind and
    /// version.
    ///
    /// # Errors
    /// The system's, when a folder or its lock cannot be made; or that all places are taken.
    pub fn claim(dir: &Path, what: &str, cluster: &str) -> io::Result<Self> {
        let parent = dir.join(what).join(directory_name(cluster));
        for number in 0..PLACES {
            let path = parent.join(number.to_string());
            create(&path)?;
            let lock = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path.join("lock"))?;
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {
                    create(&path.join("tmp"))?;
                    return Ok(Self { path, lock });
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let message = format!("{PLACES} mounts use {} already", parent.display());
        Err(io::Error::new(io::ErrorKind::ResourceBusy, message))
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the directory is still the one that was claimed, and not removed or replaced.
    pub fn is_intact(&self) -> bool {
        let (Ok(there), Ok(held)) = (self.path.join("lock").metadata(), self.lock.metadata())
        else {
            return false;
        };
        (there.dev(), there.ino()) == (held.dev(), held.ino())
    }
}

/// Makes a directory, and those above it. The data of users is in it, so it is for us alone.
pub(super) fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A directory name for a cluster: readable, and different for different clusters.
fn directory_name(cluster: &str) -> String {
    let readable = |letter: char| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '-' => letter,
        _ => '_',
    };
    let name: String = cluster.chars().map(readable).take(NAME).collect();
    let sum = seaweed::crc::crc32c(cluster.as_bytes());
    format!("{name}-{sum:08x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHAT: &str = "things-1";

    #[test]
    fn each_owner_has_its_own_place_and_finds_it_again() {
        let dir = tempfile::tempdir().unwrap();
        let first = Place::claim(dir.path(), WHAT, "a:1").unwrap();
        let second = Place::claim(dir.path(), WHAT, "a:1").unwrap();
        let other = Place::claim(dir.path(), WHAT, "a:2").unwrap();
        assert_ne!(first.path(), second.path());
        assert_ne!(first.path().parent(), other.path().parent());
        let path = first.path().to_owned();
        drop(first);
        assert_eq!(Place::claim(dir.path(), WHAT, "a:1").unwrap().path(), path);
    }

    #[test]
    fn a_place_that_was_removed_is_not_intact() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::claim(dir.path(), WHAT, "").unwrap();
        assert!(place.is_intact());
        std::fs::remove_dir_all(dir.path().join(WHAT)).unwrap();
        assert!(!place.is_intact());
        let _next = Place::claim(dir.path(), WHAT, "").unwrap();
        assert!(!place.is_intact());
    }

    #[test]
    fn names_stay_apart_and_within_bounds() {
        let names = ["a/b", "a_b", "..", "", "é", &"x".repeat(500)];
        let directories: std::collections::HashSet<_> =
            names.iter().map(|name| directory_name(name)).collect();
        assert_eq!(directories.len(), names.len());
        assert!(
            directories
                .iter()
                .all(|name| name.len() < 120 && !name.contains(['/', '.']))
        );
    }
}
