//! How a reader is set up.

use std::path::PathBuf;
use std::time::Duration;

use ledger::Account;

/// Settings of a [`Reader`](crate::Reader).
#[derive(Debug, Clone)]
pub struct ReaderConfig {
    /// Ceiling for all file data in memory, in bytes: cached, in use and on its way.
    pub memory_bytes: usize,
    /// Where that is counted, and lowered while memory is short.
    pub account: Account,
    /// Where chunks are kept on disk; `None` for nowhere.
    pub disk: Option<DiskConfig>,
    /// Chunks that may be fetched at the same time. A quarter of it, at most eight, is used
    /// to fetch ahead of a sequential reader.
    pub concurrent: usize,
    /// How long a prefetch may try.
    pub prefetch_patience: Duration,
}

/// Settings of the disk cache.
#[derive(Debug, Clone)]
pub struct DiskConfig {
    /// Directory that may hold the caches of several clusters and programs.
    pub dir: PathBuf,
    /// Bytes of files to keep at most.
    pub capacity_bytes: u64,
    /// What tells this cluster from others: file ids repeat among clusters. Any text.
    pub cluster: String,
}

impl Default for ReaderConfig {
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            account: Account::unlimited(),
            disk: None,
            concurrent: 128,
            prefetch_patience: Duration::from_secs(30),
        }
    }
}

impl ReaderConfig {
    /// Threads that fetch ahead, and pieces a window may reach ahead.
    pub(crate) fn ahead(&self) -> usize {
        (self.concurrent / 4).clamp(1, 8)
    }
}
