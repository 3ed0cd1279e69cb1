//! What all volumes of a store share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use parking_lot::{Condvar, Mutex};

use crate::budget::Budget;
use crate::needle::RecordCache;
use crate::pair::Pair;
use crate::saved::{Folder, TIDY};
use crate::sums::SumsCache;
use crate::{VerifyRanges, VolumeStats};

/// Shared by volumes, needles and threads.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) stats: Arc<VolumeStats>,
    pub(crate) sums: SumsCache,
    pub(crate) records: RecordCache,
    pub(crate) verify: VerifyRanges,
    pub(crate) budget: Arc<Budget>,
    /// Where indexes are saved, if they are.
    pub(crate) folder: Option<Folder>,
    jobs: (Sender<Job>, Receiver<Job>),
    saves: (Sender<Save>, Receiver<Save>),
    closing: AtomicBool,
    generation: Mutex<u64>,
    changed: Condvar,
}

/// Something for the threads that have the time.
#[derive(Debug)]
pub(crate) enum Job {
    /// Read the whole index of these files.
    Load(Weak<Pair>),
    /// Merge runs of its index.
    Merge(Weak<Pair>),
    /// End the thread.
    Stop,
}

/// Something for the thread that saves indexes.
#[derive(Debug)]
enum Save {
    /// The index of these files.
    Index(Weak<Pair>),
    /// End the thread.
    Stop,
}

impl Context {
    pub(crate) fn new(
        verify: VerifyRanges,
        sums_bytes: u64,
        budget: Budget,
        folder: Option<Folder>,
    ) -> Self {
        Self {
            stats: Arc::default(),
            sums: SumsCache::new(sums_bytes),
            records: RecordCache::default(),
            verify,
            budget: Arc::new(budget),
            folder,
            jobs: crossbeam_channel::unbounded(),
            saves: crossbeam_channel::unbounded(),
            closing: AtomicBool::new(false),
            generation: Mutex::new(0),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn send(&self, job: Job) {
        // The receiver lives as long as this does.
        let _ = self.jobs.0.send(job);
    }

    /// The work of a thread, until it is told to stop.
    pub(crate) fn work(&self) {
        while let Ok(job) = self.jobs.1.recv() {
            match job {
                Job::Load(pair) => {
                    if let Some(pair) = pair.upgrade() {
                        pair.load(self);
                    }
                }
                Job::Merge(pair) => {
                    if let Some(pair) = pair.upgrade() {
                        pair.merge(self);
                    }
                }
                Job::Stop => return,
            }
        }
    }

    pub(crate) fn ask_to_save(&self, pair: Weak<Pair>) {
        let _ = self.saves.0.send(Save::Index(pair));
    }

    /// The work of the thread that saves indexes, until the store closes.
    pub(crate) fn work_saves(&self) {
        let Some(folder) = &self.folder else {
            return;
        };
        while !self.is_closing() {
            match self.saves.1.recv_timeout(TIDY) {
                Ok(Save::Index(pair)) => {
                    if let Some(pair) = pair.upgrade() {
                        pair.save(folder, self);
                    }
                }
                Ok(Save::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            folder.tidy_when_due();
        }
    }

    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
        let _ = self.saves.0.send(Save::Stop);
        self.bump();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Says that the list of volumes, or the state of one, is another now.
    pub(crate) fn bump(&self) {
        *self.generation.lock() += 1;
        self.changed.notify_all();
    }

    pub(crate) fn generation(&self) -> u64 {
        *self.generation.lock()
    }

    /// Waits until the generation is another than `seen`, or the time is over.
    pub(crate) fn wait_change(&self, seen: u64, timeout: Duration) -> u64 {
        let deadline = Instant::now() + timeout;
        let mut generation = self.generation.lock();
        while *generation == seen && !self.is_closing() {
            if self
                .changed
                .wait_until(&mut generation, deadline)
                .timed_out()
            {
                break;
            }
        }
        *generation
    }
}
