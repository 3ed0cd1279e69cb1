//! From the chunks of a file to its bytes: fetched once, cached, read ahead.
//!
//! A [`Reader`] takes a view of a file ([`Reader::resolve`]), a handle's [`Stream`] and a range,
//! and appends bytes to a [`Sink`], which is the reply to the kernel. Everything happens on the
//! calling thread; only what nobody asked for yet is fetched by threads of its own.
//!
//! - [`piece`]: chunks are cut into pieces, the unit of fetching and caching.
//! - [`read`]: the way of one read. [`window`] tells sequential from random, [`stream`] keeps
//!   a sequential reader's pieces, [`prefetch`] fetches ahead.
//! - [`core`], [`fetch`], [`landing`], [`flight`]: how a piece gets here, once for all who want it.
//! - [`memory`], [`cache`], [`pool`], [`allowance`]: all file data under one ceiling.
//! - [`disk`]: verified chunks on disk, across mounts.
//! - [`small`]: the chunks of small files, before they are opened.
//! - [`once`]: whole files, for somebody who keeps them elsewhere.

#![cfg_attr(test, allow(clippy::unwrap_used))]
#![allow(rustdoc::private_intra_doc_links)]

mod allowance;
mod cache;
mod config;
mod core;
mod depth;
mod disk;
mod error;
mod fetch;
mod flight;
mod landing;
mod memory;
mod once;
mod piece;
mod pool;
mod prefetch;
mod proof;
mod read;
mod reader;
mod resolve;
mod sink;
mod small;
mod stats;
mod stream;
mod window;

pub use config::{DiskConfig, ReaderConfig};
pub use disk::{DiskUse, Place};
pub use error::ReadError;
pub use piece::OPAQUE_LIMIT;
pub use reader::Reader;
pub use sink::Sink;
pub use small::SMALL;
pub use stats::ReaderStats;
pub use stream::Stream;
