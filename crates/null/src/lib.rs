//! A file system that answers from memory: what FUSE itself costs on a machine.
//!
//! [`NullFs`] holds a [`bench::Tree`] whole: names in tables, bytes in memory of huge pages from which
//! replies are sent without a copy. It knows no network, no cache and no limit, so mounted by the same
//! transport as Riptide it shows the floor under every workload of the crate `bench`: what is slower
//! than it is Riptide's, what is not is the kernel's.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test ends at the first surprise")
)]

mod fs;
mod memory;
mod nodes;

pub use fs::NullFs;
