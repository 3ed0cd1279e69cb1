//! Many small files, each opened, read whole and closed.

use std::path::Path;
use std::time::Instant;

use crate::latency::Durations;

use crate::buffer::Buffer;
use crate::{Caching, Error, File, Latencies};

/// Opens, reads to the end and closes each of `files`, one after the other,
/// as `cat` would: a last read finds the end of the file.
///
/// # Errors
/// When one cannot be read, is longer than planned, or a byte is wrong.
pub fn open_read_close(root: &Path, files: &[File]) -> Result<Latencies, Error> {
    let durations = Durations::default();
    let largest = files.iter().map(|file| file.size).max().unwrap_or(0);
    let mut buffer = Buffer::new(usize::try_from(largest).unwrap_or(usize::MAX) + 1);
    let begin = Instant::now();
    for file in files {
        let start = Instant::now();
        let size = read_whole(root, file, buffer.bytes())?;
        durations.record(start.elapsed());
        if size as u64 != file.size {
            return Err(Error::WrongSize {
                path: root.join(&file.path),
                expected: file.size,
                found: size as u64,
            });
        }
        file.check(root, 0, &buffer.bytes()[..size])?;
    }
    Ok(Latencies {
        elapsed: begin.elapsed(),
        each: durations.sorted(),
    })
}

fn read_whole(root: &Path, file: &File, bytes: &mut [u8]) -> Result<usize, Error> {
    use std::io::Read;
    let mut handle = file.open(root, Caching::Buffered)?;
    let mut filled = 0;
    while filled < bytes.len() {
        match handle.read(&mut bytes[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io("read", &root.join(&file.path))(e)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::written;
    use std::fs;

    #[test]
    fn each_file_is_one_sample() {
        let (dir, tree) = written(8, 25);
        let done = open_read_close(dir.path(), tree.small()).unwrap();
        assert_eq!(done.count(), 25);
        assert!(done.per_second() > 0.0);
    }

    #[test]
    fn a_file_with_one_byte_more_is_an_error() {
        let (dir, tree) = written(8, 3);
        let path = dir.path().join(&tree.small()[1].path);
        let mut bytes = fs::read(&path).unwrap();
        bytes.push(0);
        fs::write(&path, bytes).unwrap();
        let found = open_read_close(dir.path(), tree.small());
        assert!(matches!(
            found,
            Err(Error::WrongSize {
                expected: 4096,
                found: 4097,
                ..
            })
        ));
    }
}
