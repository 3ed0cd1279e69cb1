//! Workloads that measure a mounted folder, and what measuring needs.
//!
//! A workload is a function over files of a [`Tree`], whose bytes follow a
//! [`Pattern`] that anybody can compute from a file's path and an offset. So
//! every byte that is read while the clock runs is also compared, and a single
//! wrong one is an [`Error`] instead of a number. Workloads that write say what
//! has to be there afterwards, for whoever reads it back. The workloads know nothing
//! of what is mounted: the same call measures SeaweedFS's mount, Riptide's, or
//! a local folder. Whoever calls decides what is cold (by a fresh mount),
//! repeats, and turns the samples into a [`Series`].
//!
//! [`usage`] has the price: CPU time and memory of the processes behind the folder.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test ends at the first surprise")
)]

mod buffer;
mod error;
mod latency;
mod metadata;
mod names;
mod pages;
mod pattern;
mod random;
mod sequential;
mod series;
mod small;
mod tree;
mod untar;
pub mod usage;
mod write;

pub use error::Error;
pub use latency::Latencies;
pub use metadata::{forced_getattr, missing_lookup, stat_all, walk, walk_and_stat};
pub use names::{Names, change_names, remove_tree};
pub use pages::{compare, drop_pages};
pub use pattern::{Mismatch, Pattern};
pub use random::{random, random_by, random_sizes};
pub use sequential::{Stream, sequential};
pub use series::{Better, Series};
pub use small::open_read_close;
pub use tree::{ENTRIES_PER_FILE, File, MANY, SMALL, Tree};
pub use untar::Archive;
pub use write::{
    create_write_close, make_folders, overwrite_synced, small_files, write_sequential,
};

/// Whether a file is read through the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// Through it: the kernel reads ahead.
    Buffered,
    /// Around it (`O_DIRECT`): each read reaches the mount as it is.
    Direct,
}
