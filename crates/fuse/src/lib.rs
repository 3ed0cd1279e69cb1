//! A thin FUSE transport of our own.
//!
//! [`Session::mount`] mounts a [`FileSystem`] and serves it with threads that
//! wait in io_uring (`uring`) or on /dev/fuse (`workers`): a request is parsed
//! (`parse`), its method is called on the thread that took it, and the reply is
//! built where the kernel takes it, or gathered from wherever its bytes are.
//! [`Notifier`] tells the kernel what it must no longer believe.
//!
//! It exists because a mount this fast needs what no crate offers together:
//! two ways to carry requests behind one dispatch (see `dispatch::Backend`),
//! replies gathered from borrowed memory, interruption of a blocked request,
//! passthrough, and exact invalidation.

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod abi;
mod backing;
mod caller;
mod config;
mod device;
mod dispatch;
mod encode;
mod errno;
mod filesystem;
mod handshake;
mod memory;
mod mountpoint;
mod notify;
mod observer;
mod parse;
mod readahead;
mod reply;
mod running;
mod session;
mod signals;
mod types;
mod uring;
mod workers;

pub use abi::{InHeader, InitFlags, InitIn, Opcode};
pub use config::{MountMethod, Negotiated, SessionConfig, Transport};
pub use errno::Errno;
pub use filesystem::FileSystem;
pub use mountpoint::{MountError, MountInfo, UnmountError, mounts, stale, unmount};
pub use notify::{Notifier, NotifyError};
pub use observer::Observer;
pub use parse::{Change, Forgets, Message, Operation, ParseError, parse, parse_parts};
pub use reply::{DirReply, Overflow, ReadReply, Segments};
pub use session::{Session, Unmounter};
pub use types::{
    Access, Attr, CopyPlace, DirEntry, Entry, FileLock, FileType, LockKind, Lookup, NodeId, Opened,
    Request, SetAttr, SetLock, SetTime, StatFs, Write, XattrReply,
};
