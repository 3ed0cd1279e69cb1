//! What the file system counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stats::{Counter, Export, Exporter, Gauge, Histogram};

/// Numbers of one mount, besides those of its reader and its routes.
#[derive(Debug, Default)]
pub struct MountStats {
    /// Per operation: how long it took and how it ended.
    pub ops: Ops,
    /// Look-ups answered from memory.
    pub lookup_hits: Counter,
    /// Look-ups that asked the filer.
    pub lookup_misses: Counter,
    /// Directories listed from the filer.
    pub listings: Counter,
    /// Entries of the filer that cannot be shown, by name or content.
    pub bad_entries: Counter,
    /// Reads answered from bytes kept inside the entry.
    pub inline_reads: Counter,
    /// Files opened to be read past the kernel's page cache.
    pub direct_opens: Counter,
    /// Bytes handed to applications.
    pub bytes_read: Counter,
    /// Reads that failed.
    pub read_errors: Counter,
    /// Time of a read.
    pub read_time: Histogram,
    /// Bytes taken from applications.
    pub bytes_written: Counter,
    /// Bytes copied between files by copy_file_range(2).
    pub bytes_copied: Counter,
    /// Saves of files that stay open.
    pub open_saves: Counter,
    /// Inodes that the kernel was asked to forget, as memory was short.
    pub asked_back: Counter,
    /// Changes of entries that others had changed meanwhile, and that were made again.
    pub conflicts: Counter,
    /// Time of a write.
    pub write_time: Histogram,
    /// Events of the filer applied.
    pub events: Counter,
    /// From a change at the filer to its being applied here, by the two clocks.
    pub event_lag: Histogram,
    /// The same of the last event, in nanoseconds.
    pub last_lag_ns: Gauge,
    /// Times the stream of events broke.
    pub stream_breaks: Counter,
    /// Times everything had to be asked for again.
    pub resyncs: Counter,
    /// Invalidations sent to the kernel.
    pub invalidations: Counter,
    /// Invalidations that the kernel refused.
    pub invalidation_errors: Counter,
    /// Nodes the kernel knows.
    pub nodes: Gauge,
    /// Names kept.
    pub names: Gauge,
    trusted: AtomicBool,
}

impl MountStats {
    /// Whether the stream of events is whole.
    pub fn is_trusted(&self) -> bool {
        self.trusted.load(Ordering::Relaxed)
    }

    pub(crate) fn set_trusted(&self, trusted: bool) {
        self.trusted.store(trusted, Ordering::Relaxed);
    }
}

impl Export for MountStats {
    fn export(&self, to: &mut dyn Exporter) {
        self.ops.export(to);
        let counters = [
            (
                "lookup_hits",
                "Look-ups answered from memory.",
                &self.lookup_hits,
            ),
            (
                "lookup_misses",
                "Look-ups that asked the filer.",
                &self.lookup_misses,
            ),
            (
                "listings",
                "Directories listed from the filer.",
                &self.listings,
            ),
            (
                "bad_entries",
                "Filer entries that cannot be shown.",
                &self.bad_entries,
            ),
            (
                "inline_reads",
                "Reads from bytes inside the entry.",
                &self.inline_reads,
            ),
            (
                "direct_opens",
                "Files opened to be read past the page cache.",
                &self.direct_opens,
            ),
            (
                "read_bytes",
                "Bytes handed to applications.",
                &self.bytes_read,
            ),
            ("read_errors", "Reads that failed.", &self.read_errors),
            (
                "write_bytes",
                "Bytes taken from applications.",
                &self.bytes_written,
            ),
            (
                "copied_bytes",
                "Bytes copied between files without leaving the mount.",
                &self.bytes_copied,
            ),
            (
                "open_saves",
                "Saves of files that stay open.",
                &self.open_saves,
            ),
            (
                "inodes_asked_back",
                "Inodes that the kernel was asked to forget for want of memory.",
                &self.asked_back,
            ),
            (
                "entry_conflicts",
                "Changes made again, as others had changed the entry meanwhile.",
                &self.conflicts,
            ),
            ("events", "Filer events applied.", &self.events),
            (
                "stream_breaks",
                "Times the event stream broke.",
                &self.stream_breaks,
            ),
            (
                "resyncs",
                "Times all metadata was asked for again.",
                &self.resyncs,
            ),
            (
                "invalidations",
                "Invalidations sent to the kernel.",
                &self.invalidations,
            ),
            (
                "invalidation_errors",
                "Invalidations refused.",
                &self.invalidation_errors,
            ),
        ];
        for (name, help, counter) in counters {
            to.counter(name, help, &[], counter.get());
        }
        let trusted = f64::from(u8::from(self.is_trusted()));
        to.gauge(
            "metadata_trusted",
            "1 while the event stream is whole.",
            &[],
            trusted,
        );
        let lag = Duration::from_nanos(self.last_lag_ns.get().unsigned_abs());
        to.gauge(
            "event_lag_last_seconds",
            "Lag of the last event.",
            &[],
            lag.as_secs_f64(),
        );
        to.gauge(
            "nodes",
            "Inodes the kernel knows.",
            &[],
            self.nodes.get() as f64,
        );
        to.gauge("names", "Names kept.", &[], self.names.get() as f64);
        let lag = self.event_lag.snapshot();
        to.histogram(
            "event_lag_seconds",
            "From a change to its being seen.",
            &[],
            &lag,
        );
        let read = self.read_time.snapshot();
        to.histogram("read_seconds", "Time of a read.", &[], &read);
        let write = self.write_time.snapshot();
        to.histogram("write_seconds", "Time of a write.", &[], &write);
    }
}

/// One histogram and one error counter for each FUSE operation.
#[derive(Debug)]
pub struct Ops(Vec<Op>);

#[derive(Debug)]
struct Op {
    name: &'static str,
    time: Histogram,
    errors: Counter,
}

/// The operations counted one by one; any other counts as `other`.
const OPS: [&str; 37] = [
    "LOOKUP",
    "FORGET",
    "GETATTR",
    "READLINK",
    "OPEN",
    "READ",
    "STATFS",
    "RELEASE",
    "FLUSH",
    "GETXATTR",
    "LISTXATTR",
    "OPENDIR",
    "READDIR",
    "READDIRPLUS",
    "RELEASEDIR",
    "ACCESS",
    "LSEEK",
    "INTERRUPT",
    "SETATTR",
    "MKNOD",
    "MKDIR",
    "UNLINK",
    "RMDIR",
    "SYMLINK",
    "RENAME",
    "RENAME2",
    "LINK",
    "CREATE",
    "WRITE",
    "FSYNC",
    "FSYNCDIR",
    "SETXATTR",
    "REMOVEXATTR",
    "FALLOCATE",
    "SETLK",
    "SETLKW",
    "other",
];

impl Default for Ops {
    fn default() -> Self {
        let op = |name| Op {
            name,
            time: Histogram::new(),
            errors: Counter::new(),
        };
        Self(OPS.into_iter().map(op).collect())
    }
}

impl Ops {
    /// Counts one operation. `failed` leaves out answers such as ENOENT that are no failure.
    pub fn record(&self, name: &str, elapsed: Duration, failed: bool) {
        let known = self.0.iter().find(|op| op.name == name);
        if let Some(op) = known.or(self.0.last()) {
            op.time.record(elapsed);
            if failed {
                op.errors.inc();
            }
        }
    }

    fn export(&self, to: &mut dyn Exporter) {
        for op in &self.0 {
            let seen = op.time.snapshot();
            if seen.count() > 0 {
                let labels = [("op", op.name)];
                to.histogram(
                    "fuse_op_seconds",
                    "Time of a FUSE operation.",
                    &labels,
                    &seen,
                );
                to.counter(
                    "fuse_op_errors",
                    "FUSE operations that failed.",
                    &labels,
                    op.errors.get(),
                );
            }
        }
    }
}

/// Shared by everything that counts.
pub(crate) type Shared = Arc<MountStats>;
