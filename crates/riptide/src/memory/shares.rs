//! What the parts of a mount want of its memory, and what they get.

use ledger::Want;
use writer::WriterConfig;

use super::MIB;
use crate::options::MountOptions;

/// What a thread that serves the kernel may hold: a request and a reply of a MiB each, and its stack.
const THREAD: u64 = 2 * MIB + 128 * 1024;
/// So few threads still serve: some wait for locks, memory and servers while others work.
const THREADS_LEAST: u64 = 16;
/// So few uploads at a time still fill a link.
const UPLOADS_LEAST: u64 = 4;
/// Room for a few chunks.
pub(super) const READS_LEAST: u64 = 16 * MIB;
/// Room for some ten thousand names and inodes.
pub(super) const METADATA_LEAST: u64 = 16 * MIB;
/// An index of a million needles.
const INDEX_LEAST: u64 = 16 * MIB;
/// For sums of blocks of volumes that are read without the sidecar: enough for 16 GiB of needles that are
/// read in ranges.
pub(crate) const SUMS: u64 = 16 * MIB;
/// The fabric's memory holds a few large chunks, however little there is.
pub(crate) const ARENA_MIN: u64 = 64 * MIB;

/// What each part gets, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    pub(super) reads: u64,
    pub(super) fabric: u64,
    pub(super) writes: u64,
    pub(super) writes_least: u64,
    /// Copies that compression and encryption make of what is being uploaded.
    uploads: u64,
    threads: u64,
    pub(super) indexes: u64,
    pub(super) metadata: u64,
}

/// What the parts want, of `room` bytes.
pub(super) fn wants(options: &MountOptions, room: u64) -> [Want; 7] {
    let data = &options.data;
    let is_given = |flag: &str| {
        options
            .memory
            .given
            .iter()
            .any(|given| flag.ends_with(given))
    };
    let want = |flag: &'static str, bytes: u64, least: u64| Want {
        flag,
        bytes,
        least: least.min(bytes),
        given: is_given(flag),
    };
    let (reads, least) = match options.fabric {
        Some(_) => (with_fabric(data.memory_bytes), ARENA_MIN),
        None => (data.memory_bytes, READS_LEAST),
    };
    let (writes, writes_least) = writes(options);
    let uploads = data.concurrent_writers as u64;
    let chunk = data.chunk_bytes.min(crate::assemble::CHUNK_MAX as u64);
    let threads = options.kernel.max_threads as u64;
    let index = index_of(options).map_or(0, |index| index.saturating_add(SUMS));
    [
        want("-readerCacheSizeMB", reads, least),
        want("-chunkSizeLimitMB", writes_least, writes_least),
        want("the rest of -writeBufferSizeMB", writes - writes_least, 0),
        want(
            "-concurrentWriters",
            uploads.saturating_mul(chunk),
            UPLOADS_LEAST * chunk,
        ),
        want("-fuse.maxThreads", threads * THREAD, THREADS_LEAST * THREAD),
        want("-rdma.shortCircuitIndexMB", index, INDEX_LEAST + SUMS),
        // By name it is no flag: it gets whatever is left as well.
        want(
            "names and inodes",
            (room / 4).max(METADATA_LEAST),
            METADATA_LEAST,
        ),
    ]
}

impl Shares {
    /// From the answers to [`wants`], and what is left over.
    pub(super) fn new(parts: &[u64], spare: u64, options: &MountOptions) -> Self {
        let part = |index: usize| parts.get(index).copied().unwrap_or(0);
        let reads = match options.fabric {
            Some(_) => (part(0) / 3 * 2).min(options.data.memory_bytes),
            None => part(0),
        };
        Self {
            reads,
            fabric: part(0) - reads,
            writes: part(1) + part(2),
            writes_least: part(1),
            uploads: part(3),
            threads: part(4),
            indexes: part(5),
            metadata: part(6).saturating_add(spare),
        }
    }

    /// The options that keep to these.
    pub(super) fn apply(&self, options: &MountOptions) -> MountOptions {
        let mut options = options.clone();
        let data = &mut options.data;
        let chunk = data.chunk_bytes.min(crate::assemble::CHUNK_MAX as u64);
        let count =
            |bytes: u64, each: u64| usize::try_from(bytes / each.max(1)).unwrap_or(usize::MAX);
        data.memory_bytes = self.reads;
        data.concurrent_writers = count(self.uploads, chunk).clamp(1, data.concurrent_writers);
        options.memory.write_bytes = self.writes;
        let threads = &mut options.kernel.max_threads;
        *threads = count(self.threads, THREAD).clamp(1, *threads);
        if let Some(index) = options
            .fabric
            .as_mut()
            .and_then(|it| it.short_circuit.as_mut())
        {
            *index = (*index).min(self.indexes.saturating_sub(SUMS));
        }
        options
    }
}

/// What the reader wants with what the fabric needs besides: half as much again, and never so little
/// that large chunks find no room.
fn with_fabric(bytes: u64) -> u64 {
    (bytes / 2).saturating_mul(3).max(ARENA_MIN)
}

/// What written bytes want, and the least of it.
fn writes(options: &MountOptions) -> (u64, u64) {
    let config = WriterConfig {
        chunk_bytes: crate::assemble::chunk_bytes(options),
        ..WriterConfig::default()
    };
    let config = config.with_buffer(options.data.write_buffer_mib);
    (config.memory_bytes as u64, config.least_memory() as u64)
}

fn index_of(options: &MountOptions) -> Option<u64> {
    options.fabric.as_ref()?.short_circuit
}
