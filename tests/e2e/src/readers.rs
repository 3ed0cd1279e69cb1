//! Programs that read all the time and check every byte.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::{Mount, Random, Sample};

/// Threads that open, read and compare files in turn until they are stopped.
/// A wrong byte is a panic at the end; an error is counted and remembered.
#[derive(Debug)]
pub struct Readers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What readers have seen.
#[derive(Debug, Default)]
pub struct Tally {
    /// Whole files read and found right.
    pub whole: u64,
    /// Parts of files read and found right.
    pub ranges: u64,
    /// Reads that failed.
    pub errors: u64,
    /// Reads that gave other bytes than those planted.
    pub wrong: u64,
    /// The longest that a read took, failed or not.
    pub slowest: Duration,
    /// The last failure.
    pub last: Option<io::Error>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Both kinds, and those that failed: to be waited for without the lock.
    reads: AtomicU64,
    errors: AtomicU64,
    tally: Mutex<Tally>,
}

/// What a thread does with a file.
#[derive(Debug, Clone, Copy)]
enum Habit {
    Whole,
    /// Reads it whole and then some pages of it, past the kernel's cache.
    Mixed,
}

impl Readers {
    /// Starts `threads` of them, which read whole files.
    #[must_use]
    pub fn start(mount: &Mount, samples: &[Sample], threads: usize) -> Self {
        Self::with(mount, samples, threads, Habit::Whole)
    }

    /// Starts `threads` of them, which read each file whole, and some single pages of it.
    #[must_use]
    pub fn mixed(mount: &Mount, samples: &[Sample], threads: usize) -> Self {
        Self::with(mount, samples, threads, Habit::Mixed)
    }

    fn with(mount: &Mount, samples: &[Sample], threads: usize, habit: Habit) -> Self {
        let files: Arc<[(PathBuf, Vec<u8>)]> = samples
            .iter()
            .map(|s| (mount.path(&s.path), s.bytes.clone()))
            .collect();
        let shared = Arc::new(Shared::default());
        let threads = (0..threads).map(|thread| {
            let (files, shared) = (Arc::clone(&files), Arc::clone(&shared));
            thread::spawn(move || run(&files, thread, habit, &shared))
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// Reads that were right.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.shared.reads.load(Ordering::Relaxed)
    }

    /// Reads that failed.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.shared.errors.load(Ordering::Relaxed)
    }

    /// Waits until this many more files were read without an error in between.
    ///
    /// # Panics
    /// When that does not happen in time.
    pub fn recovered(&self, reads: u64, limit: Duration) {
        let (mut errors, mut from) = (self.errors(), self.reads());
        crate::eventually("readers recover", limit, || {
            if self.errors() != errors {
                (errors, from) = (self.errors(), self.reads());
            }
            self.reads() >= from + reads
        });
    }

    /// Ends them, and returns reads, errors and the last error.
    ///
    /// # Panics
    /// When one of them saw a wrong byte.
    pub fn stop(self) -> (u64, u64, Option<io::Error>) {
        let tally = self.finish();
        (tally.whole + tally.ranges, tally.errors, tally.last)
    }

    /// Ends them, and returns all they have seen.
    ///
    /// # Panics
    /// When one of them saw a wrong byte.
    pub fn finish(self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            assert!(thread.join().is_ok(), "a reader died");
        }
        let tally = std::mem::take(&mut *self.shared.tally());
        assert_eq!(tally.wrong, 0, "wrong bytes were read: {tally}");
        tally
    }
}

impl Tally {
    /// Sees to it that no read hung. It is no measure of speed: the bound is what is promised, and what a busy machine
    /// needs besides.
    ///
    /// # Panics
    /// When one took as long as `bound`, or longer.
    pub fn assert_within(&self, bound: Duration) {
        assert!(self.slowest < bound, "{self}, not within {bound:?}");
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            whole,
            ranges,
            errors,
            wrong,
            slowest,
            last,
        } = self;
        write!(
            f,
            "{whole} files and {ranges} ranges read, {errors} errors, {wrong} wrong, slowest {:.0} ms",
            slowest.as_secs_f64() * 1e3
        )?;
        last.iter()
            .try_for_each(|last| write!(f, " (last: {last})"))
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One read that is compared with what is expected of it.
    fn check(
        &self,
        (what, habit): (&Path, Habit),
        expected: &[u8],
        read: impl FnOnce() -> io::Result<Vec<u8>>,
    ) {
        let began = Instant::now();
        let got = read();
        let took = began.elapsed();
        let mut tally = self.tally();
        tally.slowest = tally.slowest.max(took);
        match got {
            Ok(got) if got != expected => {
                let differs = got.iter().zip(expected).position(|(a, b)| a != b);
                eprintln!(
                    "wrong bytes in {}: {} instead of {}, first difference at {differs:?}",
                    what.display(),
                    got.len(),
                    expected.len()
                );
                tally.wrong += 1;
            }
            Ok(_) => {
                match habit {
                    Habit::Whole => tally.whole += 1,
                    Habit::Mixed => tally.ranges += 1,
                }
                self.reads.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                tally.errors += 1;
                tally.last = Some(error);
                drop(tally);
                self.errors.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn run(files: &[(PathBuf, Vec<u8>)], start: usize, habit: Habit, shared: &Shared) {
    let mut random = Random::new(start as u64);
    for (path, bytes) in files.iter().cycle().skip(start * files.len() / 4) {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        shared.check((path, Habit::Whole), bytes, || read_uncached(path));
        if let Habit::Mixed = habit {
            for _ in 0..PAGES {
                let pages = (bytes.len() / PAGE).max(1) as u64;
                let offset = random.below(pages) * PAGE as u64;
                let end = bytes.len().min(offset as usize + PAGE);
                let expected = &bytes[offset as usize..end];
                shared.check((path, Habit::Mixed), expected, || read_page(path, offset));
            }
        }
    }
}

/// Not from the kernel's pages of last time.
fn read_uncached(path: &Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    crate::read_at(&file, 0, len + 1)
}

/// One page, by a request of its own: no read-ahead of the kernel makes it a larger one.
fn read_page(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let file = File::options().read(true).custom_flags(direct).open(path)?;
    let mut buffer = vec![0; 2 * PAGE];
    let align = buffer.as_ptr().align_offset(PAGE);
    let count = file.read_at(&mut buffer[align..align + PAGE], offset)?;
    Ok(buffer[align..align + count].to_vec())
}

const PAGE: usize = 4096;
/// Single pages read of each file; so the two kinds of reads take about as long.
const PAGES: usize = 4;
