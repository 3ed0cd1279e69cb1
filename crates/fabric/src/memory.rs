//! Memory that a sidecar may write to.
//!
//! One `Arena` serves a mount: a memfd, so that a sidecar on the same host can map it, registered
//! with each RDMA device, so that one farther away can reach it. It is cut into blocks. A block is
//! in exactly one of three hands:
//!
//! - [`Block`]: ours. Nobody else writes to it; it can be read and written as a slice, and frozen
//!   into the cache, from where FUSE replies.
//! - [`Landing`]: offered to a server. There is no slice of it. It becomes a [`Block`] again when the
//!   server has answered for it, which only the code that saw the answer may claim.
//! - quarantine: the server was given up. It becomes free when the writer is retired
//!   (see [`crate::lane`]), not a moment sooner.

/// Memory that is ours alone.
#[derive(Debug)]
pub struct Block {
    _private: (),
}

/// Memory that is offered to a server.
#[derive(Debug)]
pub struct Landing {
    _private: (),
}
