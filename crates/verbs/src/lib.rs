//! RDMA verbs, safe to use.
//!
//! A small layer over libibverbs and librdmacm for one pattern: a client sends a short request, the
//! server writes the answer into the client's registered memory and says so, or reads what the client
//! has for it there. [`Listener`] and
//! [`Connecting`] make connections by IP address; a [`Connection`] is one reliable queue pair with a
//! completion queue of its own. Work is posted without blocking and its outcome taken with
//! [`Connection::poll`]; whoever wants to sleep polls [`Connection::fds`], together with whatever
//! else may end the wait. Memory is exposed through a [`MemoryRegion`], which keeps it alive for as
//! long as a device may touch it.
//!
//! Both libraries are opened at run time, so that one binary runs everywhere. Where they, a device
//! or a permission is missing, [`available`] and [`devices`] say which, in words for an operator.
//!
//! # What a peer can do
//!
//! All connections over one device share a protection domain: registering a pool of buffers once is
//! what makes small reads cheap. A remote key is therefore good on every connection of that
//! device. Whoever is allowed to connect, or is connected to, can write into every region registered
//! with [`Access::RemoteWrite`] or [`Access::RemoteReadWrite`], and read the latter. RDMA peers are
//! trusted with that memory, and only with that.
//!
//! # Where `unsafe` is
//!
//! In `raw`, which owns every pointer of the two libraries; in `memory`, which hands memory to
//! devices; in `device/query`; and where [`Connection`], [`Connecting`] and [`Listener`] lend their
//! descriptors. The libraries' objects may be used from any thread (ibv_post_send(3) and its kin lock
//! what they share); what must not overlap, such as destroying a queue pair and posting to it, is
//! serialised by the lock of [`Connection`].
//!
//! # Later
//!
//! Receive slots belong to one connection. With thousands of clients a shared receive queue (SRQ)
//! would bound their memory.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod address;
mod config;
mod connect;
mod connection;
mod device;
mod domain;
mod error;
mod event;
mod listen;
mod memory;
mod private;
mod raw;
mod slots;
mod unavailable;

pub use config::Config;
pub use connect::{Connecting, Progress};
pub use connection::{Connection, Write};
pub use device::{DeviceInfo, Gid, GidKind, LinkLayer, PortInfo, devices};
pub use domain::Domain;
pub use error::{Error, Lost, Status};
pub use event::Event;
pub use listen::{Listener, Request};
pub use memory::{Access, MemoryRegion, MemorySlice, Pages, Pinned, RemoteMemory};
pub use private::MAX_PRIVATE;
pub use unavailable::{Unavailable, available};
