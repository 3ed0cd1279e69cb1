//! A whole file, from its start to its end, 1 MiB at a time.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::buffer::Buffer;
use crate::{Caching, Error, File};

/// What reading or writing a whole file took.
#[derive(Debug, Clone, Copy)]
pub struct Stream {
    /// Bytes read or written.
    pub bytes: u64,
    /// From before the open to after the last byte was checked, or the file was closed.
    pub elapsed: Duration,
    /// The part of `elapsed` that comparing the bytes, or making them, took.
    pub checking: Duration,
}

impl Stream {
    /// Megabytes (10^6) a second, with the check inside: a reader looks at its data.
    #[must_use]
    pub fn mb_per_second(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.elapsed.as_secs_f64()
    }

    /// The size in GiB: what CPU time is divided by.
    #[must_use]
    pub fn gib(&self) -> f64 {
        self.bytes as f64 / (1u64 << 30) as f64
    }
}

/// Reads a file of the tree at `root` once, with `pread` of 1 MiB by one thread.
///
/// # Errors
/// When it cannot be read, or a byte is wrong.
pub fn sequential(root: &Path, file: &File, caching: Caching) -> Result<Stream, Error> {
    let mut buffer = Buffer::new(REQUEST);
    let mut checking = Duration::ZERO;
    let start = Instant::now();
    let handle = file.open(root, caching)?;
    let mut offset = 0;
    while offset < file.size {
        let left = usize::try_from(file.size - offset).unwrap_or(REQUEST);
        let bytes = &mut buffer.bytes()[..left.min(REQUEST)];
        file.read(root, &handle, offset, bytes)?;
        let read = Instant::now();
        file.check(root, offset, bytes)?;
        checking += read.elapsed();
        offset += bytes.len() as u64;
    }
    Ok(Stream {
        bytes: offset,
        elapsed: start.elapsed(),
        checking,
    })
}

const REQUEST: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::written;
    use std::fs;

    #[test]
    fn a_file_is_read_to_its_last_byte() {
        let size = 3 * REQUEST as u64 + 4104;
        let (dir, tree) = written(size, 1);
        let stream = sequential(dir.path(), tree.big(), Caching::Buffered).unwrap();
        assert_eq!(stream.bytes, size);
        assert!(stream.checking < stream.elapsed);
        assert!(stream.mb_per_second() > 0.0);
    }

    #[test]
    fn one_wrong_byte_ends_the_measurement() {
        let (dir, tree) = written(2 * REQUEST as u64, 1);
        let path = dir.path().join(&tree.big().path);
        let mut bytes = fs::read(&path).unwrap();
        bytes[REQUEST + 77] ^= 1;
        fs::write(&path, bytes).unwrap();
        let found = sequential(dir.path(), tree.big(), Caching::Buffered);
        let Err(Error::WrongBytes { offset, .. }) = found else {
            unreachable!("{found:?}")
        };
        assert_eq!(offset, REQUEST as u64 + 72);
    }
}
