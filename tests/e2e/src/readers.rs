//! Programs that read all the time and check every byte.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Mount, Sample};

/// Threads that open, read and compare files in turn until they are stopped.
/// A wrong byte is a panic at once; an error is counted and remembered.
#[derive(Debug)]
pub struct Readers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    reads: AtomicU64,
    errors: AtomicU64,
    last: Mutex<Option<io::Error>>,
}

impl Readers {
    /// Starts `threads` of them.
    #[must_use]
    pub fn start(mount: &Mount, samples: &[Sample], threads: usize) -> Self {
        let files: Arc<[(PathBuf, Vec<u8>)]> = samples
            .iter()
            .map(|s| (mount.path(&s.path), s.bytes.clone()))
            .collect();
        let shared = Arc::new(Shared::default());
        let threads = (0..threads).map(|thread| {
            let (files, shared) = (Arc::clone(&files), Arc::clone(&shared));
            thread::spawn(move || run(&files, thread, &shared))
        });
        let threads = threads.collect();
        Self { shared, threads }
    }

    /// Whole files read and found right.
    #[must_use]
    pub fn reads(&self) -> u64 {
        self.shared.reads.load(Ordering::Relaxed)
    }

    /// Files that could not be read.
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
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            assert!(thread.join().is_ok(), "a reader saw wrong bytes");
        }
        let last = self
            .shared
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let count = |c: &AtomicU64| c.load(Ordering::Relaxed);
        (count(&self.shared.reads), count(&self.shared.errors), last)
    }
}

fn run(files: &[(PathBuf, Vec<u8>)], start: usize, shared: &Shared) {
    for (path, bytes) in files.iter().cycle().skip(start * files.len() / 4) {
        if shared.stop.load(Ordering::Relaxed) {
            return;
        }
        match read_uncached(path) {
            Ok(got) => {
                assert!(got == *bytes, "wrong bytes in {}", path.display());
                shared.reads.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                shared.errors.fetch_add(1, Ordering::Relaxed);
                *shared.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

/// Not from the kernel's pages of last time.
fn read_uncached(path: &std::path::Path) -> io::Result<Vec<u8>> {
    let file = fs::File::open(path)?;
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    crate::read_at(&file, 0, len + 1)
}
