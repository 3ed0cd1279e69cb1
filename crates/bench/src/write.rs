//! Files that are made and written, and one that is written again in places.
//!
//! A clock ends when `close` or `fsync` has returned: what the mount has to do for that is inside,
//! whatever it does afterwards is not. Nothing is read back here: whoever calls does that by another
//! way to the same files, which finds a `close` out that promised too much.

use std::fs::{self, File as Handle};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::buffer::Buffer;
use crate::latency::Durations;
use crate::pattern::mix;
use crate::{Error, File, Latencies, Pattern, SMALL, Stream};

/// Writes a new file with 1 MiB a call by one thread, makes it durable by `fsync`, and closes it.
///
/// # Errors
/// When it is there already, or cannot be written.
pub fn write_sequential(root: &Path, file: &File) -> Result<Stream, Error> {
    let path = root.join(&file.path);
    let mut buffer = Buffer::new(REQUEST);
    let mut filling = Duration::ZERO;
    let start = Instant::now();
    let handle = Handle::create_new(&path).map_err(Error::io("create", &path))?;
    let mut offset = 0;
    while offset < file.size {
        let left = usize::try_from(file.size - offset).unwrap_or(REQUEST);
        let bytes = &mut buffer.bytes()[..left.min(REQUEST)];
        let began = Instant::now();
        file.pattern().fill(offset, bytes);
        filling += began.elapsed();
        handle
            .write_all_at(bytes, offset)
            .map_err(Error::io("write", &path))?;
        offset += bytes.len() as u64;
    }
    handle.sync_all().map_err(Error::io("fsync", &path))?;
    drop(handle);
    Ok(Stream {
        bytes: offset,
        elapsed: start.elapsed(),
        checking: filling,
    })
}

/// `count` files of [`SMALL`] bytes in the folder `dir`.
#[must_use]
pub fn small_files(dir: &str, count: usize) -> Vec<File> {
    let file = |n| File {
        path: format!("{dir}/f{n:06}"),
        size: SMALL,
    };
    (0..count).map(file).collect()
}

/// Makes each of `files`, one after the other: open, one write, close. Their folders are there.
///
/// # Errors
/// When one is there already, or cannot be made.
pub fn create_write_close(root: &Path, files: &[File]) -> Result<Latencies, Error> {
    let contents: Vec<Vec<u8>> = files.iter().map(File::content).collect();
    let durations = Durations::default();
    let begin = Instant::now();
    for (file, content) in files.iter().zip(&contents) {
        let path = root.join(&file.path);
        let start = Instant::now();
        let handle = Handle::create_new(&path).map_err(Error::io("create", &path))?;
        handle
            .write_all_at(content, 0)
            .map_err(Error::io("write", &path))?;
        drop(handle);
        durations.record(start.elapsed());
    }
    Ok(Latencies {
        elapsed: begin.elapsed(),
        each: durations.sorted(),
    })
}

/// Overwrites 4 KiB at random places of a file that is there, `writes` times, each made durable by
/// `fsync`. The places follow from `seed`. Returns what the file has to hold afterwards, too.
///
/// # Errors
/// When the file is smaller than a write, or cannot be written.
pub fn overwrite_synced(
    root: &Path,
    file: &File,
    writes: usize,
    seed: u64,
) -> Result<(Latencies, Vec<u8>), Error> {
    let path = root.join(&file.path);
    let blocks = file.size / BLOCK;
    if blocks == 0 {
        return Err(Error::WrongSize {
            path,
            expected: BLOCK,
            found: file.size,
        });
    }
    let handle = Handle::options()
        .write(true)
        .open(&path)
        .map_err(Error::io("open", &path))?;
    let mut expected = file.content();
    let durations = Durations::default();
    let begin = Instant::now();
    let mut place = mix(seed);
    for n in 0..writes {
        place = mix(place);
        let offset = place % blocks * BLOCK;
        let at = offset as usize;
        let bytes = &mut expected[at..at + BLOCK as usize];
        // A pattern of its own each time: a place written twice has to hold the later bytes.
        Pattern::of(&format!("write {n}")).fill(offset, bytes);
        let start = Instant::now();
        handle
            .write_all_at(bytes, offset)
            .map_err(Error::io("write", &path))?;
        handle.sync_all().map_err(Error::io("fsync", &path))?;
        durations.record(start.elapsed());
    }
    let latencies = Latencies {
        elapsed: begin.elapsed(),
        each: durations.sorted(),
    };
    Ok((latencies, expected))
}

/// Makes the folders that `files` lie in; not a part of any measurement.
///
/// # Errors
/// When one cannot be made.
pub fn make_folders(root: &Path, files: &[File]) -> Result<(), Error> {
    for file in files {
        if let Some(folder) = root.join(&file.path).parent() {
            fs::create_dir_all(folder).map_err(Error::io("make", folder))?;
        }
    }
    Ok(())
}

const REQUEST: usize = 1 << 20;
const BLOCK: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_to_its_last_byte_and_must_not_be_there_before() {
        let dir = tempfile::tempdir().unwrap();
        let file = File {
            path: "new".to_owned(),
            size: 2 * REQUEST as u64 + 4096,
        };
        let stream = write_sequential(dir.path(), &file).unwrap();
        assert_eq!(stream.bytes, file.size);
        assert!(stream.checking < stream.elapsed);
        assert_eq!(fs::read(dir.path().join("new")).unwrap(), file.content());
        assert!(write_sequential(dir.path(), &file).is_err());
    }

    #[test]
    fn each_small_file_is_one_sample() {
        let dir = tempfile::tempdir().unwrap();
        let files = small_files("small", 20);
        make_folders(dir.path(), &files).unwrap();
        assert_eq!(
            create_write_close(dir.path(), &files).unwrap().count(),
            files.len()
        );
        for file in &files {
            let found = fs::read(dir.path().join(&file.path)).unwrap();
            assert_eq!(found, file.content());
        }
    }

    #[test]
    fn places_are_overwritten_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let file = File {
            path: "over".to_owned(),
            size: 16 * BLOCK,
        };
        write_sequential(dir.path(), &file).unwrap();
        let (done, expected) = overwrite_synced(dir.path(), &file, 10, 3).unwrap();
        assert_eq!(done.count(), 10);
        assert_eq!(fs::read(dir.path().join("over")).unwrap(), expected);
        let before = file.content();
        let blocks = expected.chunks(4096).zip(before.chunks(4096));
        let changed = blocks.filter(|(a, b)| a != b).count();
        assert!((1..=10).contains(&changed), "{changed}");
    }

    #[test]
    fn a_file_smaller_than_a_write_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = File {
            path: "tiny".to_owned(),
            size: 100,
        };
        let found = overwrite_synced(dir.path(), &file, 1, 0);
        assert!(matches!(found, Err(Error::WrongSize { .. })));
    }
}
