//! The file system: SeaweedFS as a tree of inodes.
//!
//! Three things meet here. The `tree` keeps what is known of names and
//! entries, the follower (`follow`) keeps that true by applying the filer's
//! events, and the operations (`fs`) answer the kernel from it, asking the
//! filer only for what is not known and the [`reader`] for bytes. The crate
//! knows the FUSE operations but nothing of how requests arrive.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod atime;
mod attr;
mod cached;
mod changed;
mod claims;
mod compare;
mod config;
mod entry;
mod fast;
mod files;
mod follow;
mod fs;
mod gate;
mod handles;
mod ids;
mod invalidate;
mod keeper;
mod list;
mod locate;
mod locks;
mod long_open;
mod permit;
mod remote;
mod save;
mod state;
mod statfs;
mod stats;
mod streaming;
mod times;
mod tree;
mod unsaved;
mod walk;
mod worm;

pub use cached::{Cached, Warmed};
pub use changed::Changes;
pub use config::{MountConfig, RootAttr};
pub use fs::{Mount, OpenError};
pub use ids::IdMap;
pub use locate::FilerLocator;
pub use stats::{MountStats, Ops};
pub use streaming::DirectIo;
