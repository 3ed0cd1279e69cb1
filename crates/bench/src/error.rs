//! What ends a measurement.

use std::io;
use std::path::{Path, PathBuf};

/// A workload could not be run, or did not find what had to be there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel or the mount answered with an error.
    #[error("{what} {path}: {source}", path = .path.display())]
    Io {
        /// What was tried, such as `read`.
        what: &'static str,
        /// On which file.
        path: PathBuf,
        /// The answer.
        source: io::Error,
    },
    /// A byte differs from the [`Pattern`](crate::Pattern) of its file.
    #[error("{path}: the 8 bytes at {offset} are {found:#018x}, expected {expected:#018x}", path = .path.display())]
    WrongBytes {
        /// The file.
        path: PathBuf,
        /// Where the word that differs starts.
        offset: u64,
        /// The word that should be there (as little-endian number; the file's end is padded with zeros).
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// A read ended early, or a `stat` reports another size.
    #[error("{path}: {found} bytes, expected {expected}", path = .path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// Size that it should have.
        expected: u64,
        /// What was reported or read.
        found: u64,
    },
    /// A folder does not hold what was put in.
    #[error("{path}: {found} entries, expected {expected}", path = .path.display())]
    WrongCount {
        /// The folder.
        path: PathBuf,
        /// How many entries lie below it.
        expected: usize,
        /// How many a walk found.
        found: usize,
    },
    /// A name that was never created is there.
    #[error("{path} exists and must not", path = .path.display())]
    Unexpected {
        /// The name.
        path: PathBuf,
    },
}

impl Error {
    /// Whether a file could not be opened with O_DIRECT because its file system has none.
    #[must_use]
    pub fn is_direct_refused(&self) -> bool {
        let Self::Io { what, source, .. } = self else {
            return false;
        };
        *what == OPEN_DIRECT && source.raw_os_error() == Some(libc::EINVAL)
    }

    /// Wraps the error of a system call on a file; for `map_err`.
    pub(crate) fn io<E: Into<io::Error>>(
        what: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            what,
            path: path.to_owned(),
            source: source.into(),
        }
    }
}

/// What was tried when a file could not be opened around the page cache.
pub(crate) const OPEN_DIRECT: &str = "open with O_DIRECT";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_system_without_direct_reads_refuses_them() {
        let error =
            |what, errno| Error::io(what, Path::new("/a"))(io::Error::from_raw_os_error(errno));
        assert!(error(OPEN_DIRECT, libc::EINVAL).is_direct_refused());
        assert!(!error(OPEN_DIRECT, libc::EACCES).is_direct_refused());
        assert!(!error("open", libc::EINVAL).is_direct_refused());
    }
}
