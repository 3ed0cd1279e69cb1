//! How whole files are kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A number that grows with each read of a program that goes through the mount.
pub type Foreground = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Settings of [`Files`](crate::Files).
#[derive(Clone)]
pub struct Config {
    /// Folder that may hold the caches of several clusters and programs.
    pub dir: PathBuf,
    /// What tells this cluster from others: file ids repeat among clusters. Any text.
    pub cluster: String,
    /// Bytes of disk to take at most.
    pub capacity_bytes: u64,
    /// Bytes that stay free on that disk, whatever the capacity.
    pub min_free_bytes: u64,
    /// Parts of files that are fetched at a time.
    pub fillers: usize,
    /// Bytes a second for all of them together; 0 sets no limit.
    pub bytes_per_second: u64,
    /// How long one part may be tried for.
    pub patience: Duration,
    /// By what the fillers see that programs read, and step back.
    pub foreground: Foreground,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("/tmp"),
            cluster: String::new(),
            capacity_bytes: 10 << 30,
            min_free_bytes: 1 << 30,
            fillers: 4,
            bytes_per_second: 0,
            patience: Duration::from_secs(30),
            foreground: Arc::new(|| 0),
        }
    }
}
