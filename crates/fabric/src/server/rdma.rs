//! Lanes over RDMA verbs, on the server's side.
//!
//! A connection's two descriptors are watched by epoll as sockets are, and the worker that gets the
//! event owns the lane. Bytes are read into registered pieces ([`slabs`]), written from there
//! into the client's memory, and told with a message behind the last write. A piece is used again
//! when its write has completed, never sooner. A lane has few pieces under way; when it has no
//! more it rests, and the next completion brings it back, behind others.
//!
//! Nothing is sent before the client's first message: until the client's device has taken the
//! answer to its call it drops what comes.

mod link;
mod outlet;
mod slabs;

pub(super) use link::Link;
pub(super) use outlet::Outlet;
pub(super) use slabs::Slabs;
