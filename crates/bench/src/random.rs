//! Reads all over one file: of 4 KiB, or of any size up to 128 KiB.

use std::path::Path;
use std::thread;
use std::time::Instant;

use crate::latency::Durations;

use crate::buffer::Buffer;
use crate::pattern::mix;
use crate::{Caching, Error, File, Latencies};

/// Reads 4 KiB at random places: `readers` threads, each with its own handle
/// and one read at a time, make `reads` reads each. The places follow from `seed`.
///
/// # Errors
/// When the file is smaller than a read, cannot be read, or a byte is wrong.
pub fn random(
    root: &Path,
    file: &File,
    caching: Caching,
    readers: usize,
    reads: usize,
    seed: u64,
) -> Result<Latencies, Error> {
    let open = || {
        let handle = file.open(root, caching)?;
        Ok(move |offset, to: &mut [u8]| file.read(root, &handle, offset, to))
    };
    random_by(root, file, open, readers, reads, seed)
}

/// The same of a file that is read by other means: each thread reads by what `open` gives it, a
/// function of the offset and of where the bytes shall go.
///
/// # Errors
/// When the file is smaller than a read, cannot be read, or a byte is wrong.
pub fn random_by<R>(
    root: &Path,
    file: &File,
    open: impl Fn() -> Result<R, Error> + Sync,
    readers: usize,
    reads: usize,
    seed: u64,
) -> Result<Latencies, Error>
where
    R: FnMut(u64, &mut [u8]) -> Result<(), Error>,
{
    let blocks = blocks(root, file)?;
    let durations = Durations::default();
    let one = |reader: usize| -> Result<(), Error> {
        let mut read = open()?;
        let mut buffer = Buffer::new(BLOCK as usize);
        // The pages are there before the clock runs.
        buffer.bytes().fill(1);
        let mut place = mix(seed ^ mix(reader as u64));
        for _ in 0..reads {
            place = mix(place);
            let offset = place % blocks * BLOCK;
            let start = Instant::now();
            read(offset, buffer.bytes())?;
            durations.record(start.elapsed());
            file.check(root, offset, buffer.bytes())?;
        }
        Ok(())
    };
    let start = Instant::now();
    if readers == 1 {
        one(0)?;
    } else {
        thread::scope(|scope| {
            let threads: Vec<_> = (0..readers).map(|i| scope.spawn(move || one(i))).collect();
            let results = threads.into_iter().map(|t| match t.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            results.collect::<Result<Vec<()>, Error>>()
        })?;
    }
    Ok(Latencies {
        elapsed: start.elapsed(),
        each: durations.sorted(),
    })
}

/// Reads of 4 to 128 KiB, whole blocks of 4 KiB, at random places around the page cache, one at a
/// time. Places and sizes follow from `seed`. Returns how many bytes were asked for, too.
///
/// # Errors
/// When the file is smaller than a block, cannot be read, or a byte is wrong.
pub fn random_sizes(
    root: &Path,
    file: &File,
    reads: usize,
    seed: u64,
) -> Result<(Latencies, u64), Error> {
    let blocks = blocks(root, file)?;
    let durations = Durations::default();
    let handle = file.open(root, Caching::Direct)?;
    let mut buffer = Buffer::new((BLOCK * LARGEST) as usize);
    buffer.bytes().fill(1);
    let (mut place, mut asked) = (mix(seed), 0);
    let begin = Instant::now();
    for _ in 0..reads {
        place = mix(place);
        let first = place % blocks;
        let wanted = (mix(place) % LARGEST + 1).min(blocks - first);
        let bytes = &mut buffer.bytes()[..(wanted * BLOCK) as usize];
        let start = Instant::now();
        file.read(root, &handle, first * BLOCK, bytes)?;
        durations.record(start.elapsed());
        file.check(root, first * BLOCK, bytes)?;
        asked += bytes.len() as u64;
    }
    let done = Latencies {
        elapsed: begin.elapsed(),
        each: durations.sorted(),
    };
    Ok((done, asked))
}

/// Whole blocks of the file.
fn blocks(root: &Path, file: &File) -> Result<u64, Error> {
    match file.size / BLOCK {
        0 => Err(Error::WrongSize {
            path: root.join(&file.path),
            expected: BLOCK,
            found: file.size,
        }),
        blocks => Ok(blocks),
    }
}

const BLOCK: u64 = 4096;
/// Blocks of the largest read.
const LARGEST: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::tests::written;
    use std::fs;

    #[test]
    fn every_reader_makes_all_of_its_reads() {
        let (dir, tree) = written(1 << 20, 1);
        for readers in [1, 4] {
            let done = random(dir.path(), tree.big(), Caching::Direct, readers, 50, 7).unwrap();
            assert_eq!(done.count(), 50 * readers);
            assert!(done.quantile_us(0.5) > 0.0);
            assert!(done.quantile_us(0.5) <= done.quantile_us(0.99));
        }
    }

    #[test]
    fn a_wrong_block_is_found_by_some_reader() {
        let (dir, tree) = written(16 * BLOCK, 1);
        let path = dir.path().join(&tree.big().path);
        let mut bytes = fs::read(&path).unwrap();
        bytes[5 * BLOCK as usize] ^= 1;
        fs::write(&path, bytes).unwrap();
        let found = random(dir.path(), tree.big(), Caching::Buffered, 4, 100, 7);
        assert!(matches!(found, Err(Error::WrongBytes { offset, .. }) if offset == 5 * BLOCK));
    }

    #[test]
    fn reads_of_many_sizes_stay_inside_the_file_and_find_a_wrong_block() {
        let (dir, tree) = written(40 * BLOCK, 1);
        let (done, asked) = random_sizes(dir.path(), tree.big(), 200, 7).unwrap();
        assert_eq!(done.count(), 200);
        assert!(asked % BLOCK == 0 && (200 * BLOCK..200 * LARGEST * BLOCK).contains(&asked));
        let path = dir.path().join(&tree.big().path);
        let mut bytes = fs::read(&path).unwrap();
        bytes[39 * BLOCK as usize + 9] ^= 1;
        fs::write(&path, bytes).unwrap();
        let found = random_sizes(dir.path(), tree.big(), 200, 7);
        assert!(matches!(found, Err(Error::WrongBytes { offset, .. }) if offset == 39 * BLOCK + 8));
    }

    #[test]
    fn a_file_smaller_than_a_read_is_refused() {
        let (dir, tree) = written(100, 1);
        let found = random(dir.path(), tree.big(), Caching::Direct, 1, 1, 0);
        assert!(matches!(found, Err(Error::WrongSize { .. })));
    }
}
