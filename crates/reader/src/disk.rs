//! Chunks kept on the local disk, across mounts.
//!
//! What is kept is what the volume server stores: an encrypted chunk stays cipher text on
//! disk. Only whole chunks whose checksum was verified get here, so that a damaged transfer
//! cannot live on. They are written by a thread of its own behind a bounded queue; what does
//! not fit into the queue is not written.
//!
//! The cache is a convenience. None of its failures reaches a reader: a file that is damaged
//! or unreadable is dropped, a full or read-only file system ends writing for a while, a
//! removed directory is made anew later, each with one line in the log.

mod around;
mod format;
mod index;
mod key;
mod pace;
mod place;
mod store;
mod survey;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};

pub(crate) use key::{DiskKey, Form};
pub(crate) use pace::Pace;
pub use place::Place;
use store::Store;
pub use survey::DiskUse;

use crate::{DiskConfig, ReaderStats};

/// Changes with the file format: what another version left is not ours to read.
const VERSION: &str = "riptide-cache-1";
/// Chunks waiting to be written.
const QUEUE: usize = 64;
/// How long writing pauses after the file system refused.
const PAUSE: Duration = Duration::from_secs(30);
/// The largest part of the capacity that one chunk may take.
const CHUNK_SHARE: u64 = 8;
/// The part of the capacity that the head of one file may take.
const FILE_SHARE: u64 = 4;

/// The disk cache.
pub(crate) struct Disk {
    shared: Arc<Shared>,
    queue: Sender<Job>,
    /// Bytes of memory that waiting chunks may hold.
    queue_limit: usize,
    writer: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    config: DiskConfig,
    /// `None` while there is no usable directory.
    store: RwLock<Option<Arc<Store>>>,
    queued: AtomicUsize,
    stop: AtomicBool,
    stats: Arc<ReaderStats>,
}

enum Job {
    Write(DiskKey, Bytes),
    Stop,
}

impl Disk {
    /// Opens the cache and starts its thread, which finds out what was kept. An unusable
    /// directory is no error: it is tried again now and then.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn open(
        config: DiskConfig,
        queue_limit: usize,
        stats: Arc<ReaderStats>,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            config,
            store: RwLock::new(None),
            queued: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            stats,
        });
        // Claimed here, so that of two mounts the first comes first.
        let claimed = shared.claim();
        let (queue, jobs) = crossbeam_channel::bounded(QUEUE);
        let writer = std::thread::Builder::new()
            .name("disk-cache".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || Writer::new(shared, claimed).run(&jobs)
            })?;
        Ok(Self {
            shared,
            queue,
            queue_limit,
            writer: Mutex::new(Some(writer)),
        })
    }

    /// Fills `dst` with the stored bytes of a chunk from `offset` on, verified; false when
    /// they are not here.
    pub(crate) fn read(&self, key: &DiskKey, offset: u64, dst: &mut [u8]) -> bool {
        let store = self.shared.store.read().clone();
        let found = store.is_some_and(|store| store.read(key, offset, dst));
        let stats = &self.shared.stats;
        if found {
            stats.disk_hits.inc();
            stats.disk_bytes.add(dst.len() as u64);
        } else {
            stats.disk_misses.inc();
        }
        found
    }

    /// Length of a stored chunk, if it is here.
    pub(crate) fn len_of(&self, key: &DiskKey) -> Option<u64> {
        self.shared.store.read().as_ref()?.len_of(key)
    }

    /// Whether a chunk that ends at this position of its file is worth keeping.
    ///
    /// One pass over a file that is larger than the cache would write all of it and leave nothing
    /// that the next pass finds. So of each file only the head is kept, as `weed mount` does.
    pub(crate) fn wants(&self, end: u64) -> bool {
        end <= self.shared.config.capacity_bytes / FILE_SHARE
    }

    /// Keeps the stored bytes of a chunk, some time soon and if possible.
    pub(crate) fn offer(&self, key: DiskKey, stored: Bytes) {
        let len = stored.len();
        let shared = &self.shared;
        let fits = len as u64 <= shared.config.capacity_bytes / CHUNK_SHARE;
        let known = || {
            let store = shared.store.read();
            store.as_ref().is_some_and(|store| store.contains(&key))
        };
        if !fits || known() {
            return;
        }
        let waiting = shared.queued.fetch_add(len, Ordering::Relaxed) + len;
        let job = Job::Write(key, stored);
        if waiting > self.queue_limit || self.queue.try_send(job).is_err() {
            shared.queued.fetch_sub(len, Ordering::Relaxed);
            shared.stats.disk_dropped.inc();
        }
    }

    /// Writes what is queued and ends the thread.
    pub(crate) fn close(&self) {
        let Some(writer) = self.writer.lock().take() else {
            return;
        };
        self.shared.stop.store(true, Ordering::Relaxed);
        let _ = self.queue.send(Job::Stop);
        if writer.join().is_err() {
            tracing::error!("the disk cache's thread panicked");
        }
        *self.shared.store.write() = None;
    }
}

impl Shared {
    fn claim(&self) -> io::Result<Arc<Store>> {
        let place = Place::claim(&self.config.dir, VERSION, &self.config.cluster)?;
        let store = Arc::new(Store::new(
            place,
            self.config.capacity_bytes,
            Arc::clone(&self.stats),
        ));
        *self.store.write() = Some(Arc::clone(&store));
        Ok(store)
    }
}

/// The thread that lists and writes.
struct Writer {
    shared: Arc<Shared>,
    store: Option<Arc<Store>>,
    paused_until: Option<Instant>,
}

impl Writer {
    fn new(shared: Arc<Shared>, claimed: io::Result<Arc<Store>>) -> Self {
        let mut writer = Self {
            shared,
            store: None,
            paused_until: None,
        };
        match claimed {
            Ok(store) => writer.store = Some(store),
            Err(error) => writer.pause(&error),
        }
        writer
    }

    fn run(mut self, jobs: &Receiver<Job>) {
        if let Some(store) = self.store.clone() {
            self.load(&store);
        }
        while let Ok(Job::Write(key, stored)) = jobs.recv() {
            self.write(&key, &stored);
            self.shared
                .queued
                .fetch_sub(stored.len(), Ordering::Relaxed);
        }
    }

    fn write(&mut self, key: &DiskKey, stored: &[u8]) {
        if self
            .paused_until
            .is_some_and(|until| Instant::now() < until)
        {
            self.shared.stats.disk_dropped.inc();
            return;
        }
        let written = self.ready().and_then(|store| store.write(key, stored));
        match written {
            Ok(()) if self.paused_until.take().is_some() => {
                tracing::info!("the disk cache works again");
            }
            Ok(()) => {}
            Err(error) => {
                self.shared.stats.disk_dropped.inc();
                self.pause(&error);
            }
        }
    }

    /// The store, claimed anew if its directory is not the one it was.
    fn ready(&mut self) -> io::Result<Arc<Store>> {
        if let Some(store) = &self.store {
            if self.paused_until.is_none() || store.is_intact() {
                return Ok(Arc::clone(store));
            }
            self.store = None;
            *self.shared.store.write() = None;
        }
        let store = self.shared.claim()?;
        self.store = Some(Arc::clone(&store));
        self.load(&store);
        Ok(store)
    }

    fn load(&mut self, store: &Store) {
        if let Err(error) = store.load(&self.shared.stop) {
            self.pause(&error);
        }
    }

    fn pause(&mut self, error: &io::Error) {
        self.shared.stats.disk_errors.inc();
        // A second failure in a row is no news.
        if self.paused_until.is_none() {
            let dir = self.shared.config.dir.display();
            tracing::warn!(%dir, %error, "disk cache: nothing is written for a while");
        }
        self.paused_until = Some(Instant::now() + PAUSE);
    }
}
