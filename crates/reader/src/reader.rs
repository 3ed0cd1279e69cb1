//! The reader, from the outside.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use context::{Context, Interrupt};
use fabric::{Route, Way};
use parking_lot::Mutex;
use seaweed::{Chunk, FileView};

use crate::allowance::Allowance;
use crate::core::Core;
use crate::depth::Depth;
use crate::disk::{Disk, DiskUse, Pace};
use crate::flight::Flights;
use crate::memory::Memory;
use crate::piece::Geometry;
use crate::prefetch::Prefetchers;
use crate::proof::Proof;
use crate::stats::Source;
use crate::window::Reach;
use crate::{ReadError, ReaderConfig, ReaderStats, Sink, Stream};

/// The part of memory that pieces ahead of all readers may take together.
const PINNED_SHARE: usize = 2;
/// Never more than this is fetched ahead of one reader: 12.5 GB/s (100 Gbit/s) times a round trip of
/// 1 ms is 12.5 MB, and what lies longer in memory only costs it.
const WINDOW_MAX: usize = 16 << 20;
/// The part of memory that one reader may have fetched ahead.
const WINDOW_SHARE: usize = 4;
/// The part of memory that chunks may hold which wait to be written to disk.
const QUEUE_SHARE: usize = 4;
/// A reader needs room for a few pieces to be a reader at all.
const MEMORY_MIN: usize = 64 << 10;

/// Reads files. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Reader(Arc<Inside>);

struct Inside {
    core: Arc<Core>,
    prefetchers: Prefetchers,
}

impl Reader {
    /// Starts a reader that fetches over `route`.
    ///
    /// # Errors
    /// When the system has no thread or descriptor left. A disk cache that cannot be used is
    /// no error; the log and the statistics tell.
    pub fn open(config: ReaderConfig, route: Arc<dyn Route>) -> io::Result<Self> {
        let memory = config.memory_bytes.max(MEMORY_MIN);
        let stats = Arc::new(ReaderStats::default());
        let geometry = Geometry::for_memory(memory);
        let most = (config.ahead() * geometry.part)
            .min(memory / WINDOW_SHARE)
            .min(WINDOW_MAX);
        let ahead = config.ahead();
        let disk = match config.disk {
            Some(disk) if disk.capacity_bytes > 0 => {
                Some(Disk::open(disk, memory / QUEUE_SHARE, Arc::clone(&stats))?)
            }
            _ => None,
        };
        let core = Arc::new(Core {
            route,
            memory: Memory::new(memory, config.account.clone(), Arc::clone(&stats)),
            disk,
            pace: Pace::default(),
            depth: Depth::default(),
            flights: Flights::default(),
            allowance: Allowance::new(memory / PINNED_SHARE, Arc::clone(&stats)),
            small_bytes: AtomicUsize::new(0),
            overdraft: Mutex::new(None),
            proof: Proof::default(),
            geometry,
            reach: Reach {
                first: geometry.part as u64,
                most: most as u64,
            },
            closing: Interrupt::new()?,
            stats,
        });
        let prefetchers = Prefetchers::start(&core, ahead, config.prefetch_patience)?;
        Ok(Self(Arc::new(Inside { core, prefetchers })))
    }

    /// Says that a file of these chunks was opened, so that its volumes can be looked up while
    /// there is somebody to ask. Does not wait.
    pub fn expect(&self, chunks: &[Chunk]) {
        self.0.core.expect_volumes(chunks);
    }

    /// Says that small files of one chunk each, these, will probably be opened and read next. Does not wait. What is
    /// large, has to be opened or is near anyway is left alone.
    pub fn fetch_small(&self, chunks: Vec<Chunk>) {
        let Inside { core, prefetchers } = &*self.0;
        core.fetch_small_later(chunks, prefetchers);
    }

    /// The view of a file of `size` bytes that consists of `chunks`, whose manifests are
    /// fetched.
    ///
    /// # Errors
    /// When a manifest cannot be had or makes no sense.
    pub fn resolve(
        &self,
        ctx: &Context<'_>,
        chunks: &[Chunk],
        size: u64,
    ) -> Result<Arc<FileView>, ReadError> {
        self.0.core.resolve(ctx, chunks, size)
    }

    /// Appends `min(len, view.size - offset)` bytes of the file from `offset` on to `out`.
    /// Nothing is appended at or behind its end.
    ///
    /// # Errors
    /// See [`ReadError`]. `out` is to be thrown away then, whatever is in it.
    pub fn read(
        &self,
        ctx: &Context<'_>,
        view: &FileView,
        stream: &Stream,
        offset: u64,
        len: usize,
        out: &mut dyn Sink,
    ) -> Result<(), ReadError> {
        let began = Instant::now();
        let stats = &self.0.core.stats;
        stats.reads.inc();
        let len = view.size.saturating_sub(offset).min(len as u64);
        if len == 0 {
            return Ok(());
        }
        let prefetchers = &self.0.prefetchers;
        let read = self
            .0
            .core
            .read(ctx, view, stream, offset..offset + len, prefetchers, out);
        match read {
            Ok(source) => {
                stats.bytes.add(len);
                match source {
                    Source::Nowhere => {}
                    Source::Memory => stats.memory_latency.record(began.elapsed()),
                    Source::Disk => stats.disk_latency.record(began.elapsed()),
                    Source::Route(Way::ShortCircuit) => {
                        stats.short_circuit_latency.record(began.elapsed());
                    }
                    Source::Route(Way::Fabric) => stats.fabric_latency.record(began.elapsed()),
                    Source::Route(Way::Http) => stats.http_latency.record(began.elapsed()),
                }
                Ok(())
            }
            Err(error) => {
                stats.errors.inc();
                Err(error)
            }
        }
    }

    /// The data of a file, without its holes, in runs for [`read_once`](Self::read_once): whoever
    /// reads each run once fetches nothing twice.
    pub fn runs(&self, view: &FileView) -> Vec<Range<u64>> {
        self.0.core.runs(view)
    }

    /// Appends a range of the file, which ends within it, to `out`, and keeps nothing of it in
    /// memory or on disk: for whoever keeps it elsewhere.
    ///
    /// # Errors
    /// See [`ReadError`]. `out` is to be thrown away then, whatever is in it.
    pub fn read_once(
        &self,
        ctx: &Context<'_>,
        view: &FileView,
        range: Range<u64>,
        out: &mut dyn Sink,
    ) -> Result<(), ReadError> {
        self.0.core.read_once(ctx, view, range, out)
    }

    /// Bytes of these chunks that are in the disk cache.
    pub fn on_disk(&self, chunks: &[Chunk]) -> u64 {
        let disk = self.0.core.disk.as_ref();
        disk.map_or(0, |disk| disk.held_of(chunks))
    }

    /// What is in the disk cache.
    pub fn disk_use(&self) -> DiskUse {
        let disk = self.0.core.disk.as_ref();
        disk.map_or_else(DiskUse::default, Disk::held)
    }

    /// Removes these chunks from the disk cache, or all of them; what was removed.
    pub fn evict_disk(&self, chunks: Option<&[Chunk]>) -> DiskUse {
        let disk = self.0.core.disk.as_ref();
        disk.map_or_else(DiskUse::default, |disk| disk.evict(chunks))
    }

    /// Reads all of the disk cache and compares it with its checksums; what is there, and how many
    /// chunks were damaged. Those are removed.
    pub fn verify_disk(&self) -> (DiskUse, u64) {
        let disk = self.0.core.disk.as_ref();
        disk.map_or_else(Default::default, Disk::verify)
    }

    /// What was counted so far.
    pub fn stats(&self) -> &Arc<ReaderStats> {
        &self.0.core.stats
    }

    /// Gives back what is more than the account may have now.
    pub fn fit(&self) {
        self.0.core.memory.fit();
    }

    /// Bytes of file data in memory now.
    pub fn memory_held(&self) -> usize {
        self.0.core.memory.held()
    }

    /// Ends all threads, once the chunks that wait for it are on disk. Reads still work, but
    /// without prefetching and without the disk cache.
    pub fn close(&self) {
        self.0.close();
    }
}

impl Inside {
    fn close(&self) {
        self.core.closing.raise();
        self.prefetchers.close();
        if let Some(disk) = &self.core.disk {
            disk.close();
        }
        self.core.memory.clear();
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("geometry", &self.0.core.geometry)
            .field("route", &self.0.core.route.name())
            .finish_non_exhaustive()
    }
}
