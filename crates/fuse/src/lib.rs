//! A thin FUSE transport of our own.

mod errno;
mod filesystem;
mod reply;
mod types;

pub use errno::Errno;
pub use filesystem::FileSystem;
pub use reply::{DirReply, ReadReply};
pub use types::{
    Access, Attr, DirEntry, Entry, FileType, Lookup, NodeId, Opened, Request, StatFs, XattrReply,
};
