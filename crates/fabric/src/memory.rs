//! Memory that a sidecar may write to.
//!
//! One [`Arena`] serves a mount: a memfd, so that a sidecar on the same host can map it, registered
//! with each RDMA device, so that one farther away can reach it. It is cut into blocks. A block is
//! in exactly one of three hands:
//!
//! - [`Block`]: ours. Nobody else writes to it; it can be read and written as a slice, and frozen
//!   into the cache, from where FUSE replies.
//! - [`Landing`]: offered to a server. There is no slice of it. It becomes a [`Block`] again when the
//!   server has answered for it, which only the code that saw the answer may claim.
//!   A block from which a server only reads, for a write, stays a block: whoever reads does not
//!   change it. When the server is given up it is quarantined as well, or a server that is late would
//!   read what somebody else puts there, and find another checksum.
//! - quarantine: the server was given up. It becomes free when the writer is retired
//!   (see [`crate::lane`]), not a moment sooner.
//!
//! # Why this is sound
//! Rust forbids that memory behind a `&[u8]` changes. The only writers besides us are servers, and
//! a server writes where and for as long as an exchange in flight tells it to. Hence the rule is: no
//! slice of a block exists from before its place is sent until after it was answered for, or the
//! server can write no more. The types keep it:
//!
//! - [`Block::offer`] takes the block, and with it every way to a slice.
//! - [`Landing::reclaim`] wants an [`Answered`](crate::lane::Answered) that names this very place.
//!   Making one is `unsafe`: a lane does it when it has received the answer. It cannot be cloned and
//!   is only lent for the time of a call, thus cannot be kept for the next use of the same place.
//! - [`Landing::abandon`] wants what [`Lane::close`](crate::lane::Lane::close) gave. Making a
//!   [`Retiring`](crate::lane::Retiring) is `unsafe` too: its descriptor must not hang up early.
//! - A landing that is merely dropped is never used again. That is a leak, it is counted, and it is safe.
//!
//! What the types cannot see is on which lane a place was sent: an item may name a landing of the
//! caller's, on one lane ([`Lane::start`](crate::lane::Lane::start) says so). And a server on this
//! host has all of the arena mapped. One that writes elsewhere than told breaks us, which is why a lane
//! of shared memory gives the descriptor to root and to our own user only: both could write to our
//! memory anyway.

mod arena;
mod block;
mod buddy;
mod mapping;
mod quarantine;
mod set;
mod stats;

#[cfg(test)]
mod tests;

pub use arena::{Arena, ArenaConfig, MAX_ARENA, MAX_BLOCK, MIN_BLOCK};
pub use block::{Block, Landing};
pub use stats::ArenaStats;
