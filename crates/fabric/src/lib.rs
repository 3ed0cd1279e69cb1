//! How the bytes of a needle get here.
//!
//! A [`Route`] takes a file id and puts what the volume server stored under it into memory of
//! the caller's choosing. Everything happens on the calling thread, which for a read is the
//! thread that took the request from the kernel: it sends, waits in poll(2) on the socket *and*
//! on the request's interrupt, and receives straight into the destination. There is no runtime
//! to hand over to and no buffer in between, because on small reads either costs more than the
//! request itself.
//!
//! Needles to store go the same ways: [`TieredStore`].
//!
//! [`HttpRoute`] speaks to the volume servers' own HTTP port and works with every SeaweedFS.
//! Where a volume lives is asked of a [`Locate`], so that nothing here knows the filer.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod announce;
pub mod carrier;
pub mod client;
pub mod http;
pub mod lane;
pub mod memory;
pub mod peers;
pub mod serve;
pub mod server;
pub mod wire;

mod checksum;
mod eager;
mod error;
mod gzip;
mod locate;
mod nonce;
mod rdma;
mod read;
mod route;
mod tiered;
mod write;

pub use error::RouteError;
pub use gzip::{Inflated, inflate};
pub use http::{Access, HttpConfig, HttpRoute, HttpStats};
pub use locate::{Locate, LocateError, Location};
pub use read::{AskError, FabricConfig, FabricRoute, FabricStats, Missed, ask};
pub use route::{Ahead, Destination, Refused, Route, Stored, UpTo, Way, Whole};
pub use tiered::{Suspects, TieredRoute};
pub use write::{FabricStore, Taken, TieredStore, Unwritten, WriteStats};
