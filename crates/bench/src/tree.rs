//! What lies in the folder that is measured.
//!
//! One large file for throughput and random reads, and folders of small files:
//! some with content, for open+read+close, and more without, so that a walk
//! has something to walk. The tree is a plan: whoever sets up a measurement
//! writes each [`File`] with its [`Pattern`], by whatever way there is in.

use std::fs::File as Handle;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::error::OPEN_DIRECT;
use crate::{Caching, Error, Pattern};

/// The plan of a folder.
#[derive(Debug, Clone)]
pub struct Tree {
    big: File,
    small: Vec<File>,
    empty: Vec<File>,
    dirs: Vec<String>,
}

/// One file of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Where it lies, from the root of the tree, without a leading slash.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
}

impl Tree {
    /// One file of `big` bytes, and `files` files of [`SMALL`] bytes among
    /// `files × (ENTRIES_PER_FILE - 1)` empty ones.
    #[must_use]
    pub fn new(big: u64, files: usize) -> Self {
        let (mut small, mut empty, mut dirs) = (Vec::new(), Vec::new(), Vec::new());
        let total = files * ENTRIES_PER_FILE;
        for i in 0..total {
            if i % PER_DIR == 0 {
                dirs.push(format!("{MANY}/d{:03}", i / PER_DIR));
            }
            let has_content = i % ENTRIES_PER_FILE == 0;
            let path = format!("{MANY}/d{:03}/f{i:06}", i / PER_DIR);
            if has_content {
                small.push(File { path, size: SMALL });
            } else {
                empty.push(File { path, size: 0 });
            }
        }
        let path = "big.bin".to_owned();
        Self {
            big: File { path, size: big },
            small,
            empty,
            dirs,
        }
    }

    /// The large file.
    #[must_use]
    pub fn big(&self) -> &File {
        &self.big
    }

    /// The small files with content.
    #[must_use]
    pub fn small(&self) -> &[File] {
        &self.small
    }

    /// All files of the folder [`MANY`], by name.
    #[must_use]
    pub fn many(&self) -> Vec<&File> {
        let mut all: Vec<&File> = self.small.iter().chain(&self.empty).collect();
        all.sort_by(|a, b| a.path.cmp(&b.path));
        all
    }

    /// Entries below [`MANY`], folders too: what a walk of it finds.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.small.len() + self.empty.len() + self.dirs.len()
    }
}

impl File {
    /// Its content.
    #[must_use]
    pub fn pattern(&self) -> Pattern {
        Pattern::of(&self.path)
    }

    /// All of its bytes.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.size).unwrap_or(usize::MAX)];
        self.pattern().fill(0, &mut bytes);
        bytes
    }

    pub(crate) fn open(&self, root: &Path, caching: Caching) -> Result<Handle, Error> {
        let path = root.join(&self.path);
        let (what, flags) = match caching {
            Caching::Buffered => ("open", OFlags::empty()),
            Caching::Direct => (OPEN_DIRECT, OFlags::DIRECT),
        };
        Handle::options()
            .read(true)
            .custom_flags(flags.bits().cast_signed())
            .open(&path)
            .map_err(Error::io(what, &path))
    }

    /// Fills `bytes` from `offset`, however many reads it takes.
    pub(crate) fn read(
        &self,
        root: &Path,
        handle: &Handle,
        offset: u64,
        bytes: &mut [u8],
    ) -> Result<(), Error> {
        let mut filled = 0;
        while filled < bytes.len() {
            let path = || root.join(&self.path);
            match handle.read_at(&mut bytes[filled..], offset + filled as u64) {
                Ok(0) => {
                    return Err(Error::WrongSize {
                        path: path(),
                        expected: self.size,
                        found: offset + filled as u64,
                    });
                }
                Ok(n) => filled += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", &path())(e)),
            }
        }
        Ok(())
    }

    pub(crate) fn check(&self, root: &Path, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.pattern()
            .check(offset, bytes)
            .map_err(|wrong| Error::WrongBytes {
                path: root.join(&self.path),
                offset: wrong.offset,
                expected: wrong.expected,
                found: wrong.found,
            })
    }
}

/// The folder with the many files.
pub const MANY: &str = "many";
/// Bytes in a small file.
pub const SMALL: u64 = 4096;
/// One in so many files has content.
pub const ENTRIES_PER_FILE: usize = 4;
/// Files in one folder.
const PER_DIR: usize = 200;

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::fs;

    /// A tree that is written into a local folder.
    pub(crate) fn written(big: u64, files: usize) -> (tempfile::TempDir, Tree) {
        let dir = tempfile::tempdir().unwrap();
        let tree = Tree::new(big, files);
        for file in tree.many().into_iter().chain([tree.big()]) {
            let path = dir.path().join(&file.path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file.content()).unwrap();
        }
        (dir, tree)
    }

    #[test]
    fn five_thousand_files_make_twenty_thousand_entries_in_a_hundred_folders() {
        let tree = Tree::new(1, 5000);
        assert_eq!(tree.small().len(), 5000);
        assert_eq!(tree.many().len(), 20_000);
        assert_eq!(tree.entries(), 20_100);
    }

    #[test]
    fn a_file_shorter_than_planned_is_an_error() {
        let (dir, tree) = written(8192, 1);
        let file = File {
            size: 9000,
            ..tree.big().clone()
        };
        let handle = file.open(dir.path(), Caching::Buffered).unwrap();
        let found = file.read(dir.path(), &handle, 8000, &mut [0; 1000]);
        assert!(matches!(
            found,
            Err(Error::WrongSize {
                expected: 9000,
                found: 8192,
                ..
            })
        ));
    }
}
