//! What the files of a mount share: memory, the swap file, the uploading threads.
//!
//! A write that finds no memory has three ways out, in this order. While much of
//! the memory is on its way to volume servers, it waits for that. Otherwise much
//! is held by blocks that were begun and not filled, as random writes leave them:
//! it goes to the swap file, where the rest of its block can follow. Without a
//! swap file, or when that is full, the oldest files' blocks are uploaded as they
//! are.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use context::{Context, Stopped};
use ledger::Account;
use parking_lot::Mutex;

use crate::budget::{Budget, Grant};
use crate::dirty::{Dirty, Shared};
use crate::stats::WriterStats;
use crate::swap::{Slot, Swap};
use crate::workers::Workers;
use crate::{Upload, WriteError};

/// What a writer is told when it starts. Defaults are those of `weed mount` where it has them.
#[derive(Debug, Clone)]
pub struct WriterConfig {
    /// `-chunkSizeLimitMB`: no chunk is larger.
    pub chunk_bytes: usize,
    /// `-concurrentWriters`: uploads at once.
    pub uploads: usize,
    /// Memory for written bytes, over all files.
    pub memory_bytes: usize,
    /// Where that is counted, and lowered while memory is short: then writes wait for uploads.
    pub account: Account,
    /// Bytes in the swap file; 0 for none.
    pub swap_bytes: u64,
    /// `-cacheDirWrite`: where the swap file is.
    pub swap_dir: PathBuf,
    /// How long an upload in the background is tried before it has failed.
    pub patience: Duration,
}

impl WriterConfig {
    /// Splits what `-writeBufferSizeMB` allows, 0 for the default, over memory and swap file.
    #[must_use]
    pub fn with_buffer(self, megabytes: u64) -> Self {
        let default = Self::default();
        if megabytes == 0 {
            return Self {
                memory_bytes: default.memory_bytes.max(MIN_BLOCKS * self.chunk_bytes),
                swap_bytes: default.swap_bytes,
                ..self
            };
        }
        let all = megabytes.saturating_mul(1 << 20);
        let memory = all.min(default.memory_bytes as u64);
        Self {
            memory_bytes: (memory as usize).max(MIN_BLOCKS * self.chunk_bytes),
            swap_bytes: all - memory,
            ..self
        }
    }
}

impl WriterConfig {
    /// Has no more than `bytes` in memory, and the rest of what `-writeBufferSizeMB` allows in the swap
    /// file.
    #[must_use]
    pub fn with_memory(self, bytes: usize) -> Self {
        let memory_bytes = self
            .memory_bytes
            .min(bytes)
            .max(MIN_BLOCKS * self.chunk_bytes);
        let moved = self.memory_bytes.saturating_sub(memory_bytes) as u64;
        Self {
            memory_bytes,
            swap_bytes: self.swap_bytes.saturating_add(moved),
            ..self
        }
    }

    /// The least memory with which writing goes on.
    pub fn least_memory(&self) -> usize {
        MIN_BLOCKS * self.chunk_bytes
    }
}

/// Fewer blocks than this would have every writer wait for every upload.
const MIN_BLOCKS: usize = 4;

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            chunk_bytes: 2 << 20,
            uploads: 128,
            memory_bytes: 256 << 20,
            account: Account::unlimited(),
            swap_bytes: 4 << 30,
            swap_dir: std::env::temp_dir(),
            patience: Duration::from_secs(60),
        }
    }
}

/// Writes the files of one mount. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Writer(pub(crate) Arc<Inside>);

pub(crate) struct Inside {
    pub(crate) config: WriterConfig,
    pub(crate) upload: Arc<dyn Upload>,
    pub(crate) budget: Arc<Budget>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) stats: Arc<WriterStats>,
    /// Bytes of blocks that are being uploaded or wait for it.
    pub(crate) flying: AtomicUsize,
    swap: Arc<Swap>,
    files: Mutex<BTreeMap<u64, Weak<Shared>>>,
    next_file: AtomicU64,
}

/// Where written bytes may go.
pub(crate) enum Room {
    Memory(Grant),
    Swap(Slot),
}

/// How often a waiter looks whether its caller has given up.
pub(crate) const LOOK: Duration = Duration::from_millis(20);

impl Writer {
    /// A writer that stores chunks through `upload`.
    pub fn new(config: WriterConfig, upload: Arc<dyn Upload>) -> Self {
        Self(Arc::new(Inside {
            budget: Arc::new(Budget::new(
                config.memory_bytes,
                config.chunk_bytes,
                config.account.clone(),
            )),
            workers: Arc::new(Workers::new(config.uploads)),
            swap: Arc::new(Swap::new(
                config.swap_dir.clone(),
                config.swap_bytes,
                config.chunk_bytes,
            )),
            stats: Arc::default(),
            flying: AtomicUsize::new(0),
            files: Mutex::default(),
            next_file: AtomicU64::new(0),
            upload,
            config,
        }))
    }

    /// The changes of one file, none so far. `path` is where the filer has it, for the rules
    /// that decide where its chunks go.
    pub fn file(&self, path: String) -> Dirty {
        let id = self.0.next_file.fetch_add(1, Ordering::Relaxed);
        Dirty::new(Arc::new(Shared::new(Arc::clone(&self.0), id, path)))
    }

    /// Gives back what is more than the account may have now, as far as nothing depends on it.
    pub fn fit(&self) {
        self.0.budget.fit();
    }

    /// Its numbers.
    pub fn stats(&self) -> Arc<WriterStats> {
        Arc::clone(&self.0.stats)
    }

    /// Stops what is done in the background. Called after the last flush.
    pub fn close(&self) {
        self.0.workers.close();
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

impl Inside {
    /// Leave to keep `bytes` more.
    pub(crate) fn room(&self, ctx: &Context<'_>, bytes: usize) -> Result<Room, WriteError> {
        let mut waited = false;
        let (mut stored, mut moved) = (self.stats.chunks.get(), Instant::now());
        loop {
            if let Some(grant) = self.budget.try_take(bytes) {
                return Ok(Room::Memory(grant));
            }
            let flying = self.flying.load(Ordering::Relaxed);
            if flying < self.budget.limit() / 2 {
                match self.swap.slot() {
                    Ok(Some(slot)) => {
                        self.stats.swapped.inc();
                        return Ok(Room::Swap(slot));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        let dir = self.config.swap_dir.display();
                        tracing::warn!(%error, %dir, "no swap file, doing without");
                    }
                }
                self.upload_some();
            }
            if !std::mem::replace(&mut waited, true) {
                self.stats.waits.inc();
                self.budget.count_wait();
            }
            match ctx.check() {
                // There is memory as soon as others' bytes are stored, and they are being stored.
                Err(Stopped::TimedOut) if moved.elapsed() < self.config.patience => {}
                checked => checked?,
            }
            self.upload.hurry();
            self.budget.wait(LOOK);
            if std::mem::replace(&mut stored, self.stats.chunks.get()) != stored {
                moved = Instant::now();
            }
        }
    }

    /// A file has something to upload when memory is short.
    pub(crate) fn register(&self, id: u64, file: Weak<Shared>) {
        self.files.lock().insert(id, file);
    }

    /// It has not any more.
    pub(crate) fn unregister(&self, id: u64) {
        self.files.lock().remove(&id);
    }

    pub(crate) fn export_held(&self) {
        let memory = i64::try_from(self.budget.held());
        self.stats.held.set(memory.unwrap_or(i64::MAX));
        let swapped = i64::try_from(self.swap.held());
        self.stats.swap_held.set(swapped.unwrap_or(i64::MAX));
    }

    /// Begins to upload blocks as they are, those of the oldest files first.
    fn upload_some(&self) {
        let files: Vec<_> = self.files.lock().values().cloned().collect();
        for file in files.iter().filter_map(Weak::upgrade) {
            if !self.workers.has_room()
                || self.flying.load(Ordering::Relaxed) >= self.budget.limit() / 2
            {
                return;
            }
            file.seal_all();
        }
    }
}
