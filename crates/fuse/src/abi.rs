//! The FUSE protocol as the kernel speaks it: messages and constants.
//!
//! Facts are those of the kernel's uapi header `linux/fuse.h`, protocol 7.45;
//! names follow it so that they can be looked up there, without the prefix
//! `fuse_`. Everything is in native byte order and every structure is padded to
//! eight bytes, the same on 32-bit and 64-bit machines. The structures derive
//! zerocopy's traits, so that reading one from bytes is a checked copy and
//! writing one is a view: this module has no `unsafe`.
//!
//! A request is an [`InHeader`], the opcode's structure (if it has one) and the
//! opcode's strings, each ended by NUL. A reply is an [`OutHeader`] and the
//! reply's structure or data; a notification is a reply with `unique` 0 and the
//! notification's code in `error`.

mod flags;
mod opcode;
mod replies;
mod requests;

pub use flags::InitFlags;
pub(crate) use flags::open_reply;
pub use opcode::Opcode;
pub(crate) use replies::{
    Attr, AttrOut, BackingMap, CopyFileRangeOut, Dirent, EntryOut, GetxattrOut, InitOut, LkOut,
    LseekOut, NotifyDeleteOut, NotifyInvalEntryOut, NotifyInvalInodeOut, NotifyPruneOut, OpenOut,
    OutHeader, StatfsOut, WriteOut,
};
pub(crate) use requests::{
    AccessIn, BatchForgetIn, CopyFileRangeIn, CreateIn, FallocateIn, FlushIn, ForgetIn, ForgetOne,
    FsyncIn, GetattrIn, GetxattrIn, InitTail, InterruptIn, LinkIn, LkIn, LseekIn, MkdirIn, MknodIn,
    OpenIn, ReadIn, ReleaseIn, Rename2In, RenameIn, SetattrIn, SetxattrIn, WriteIn,
};
pub use requests::{InHeader, InitIn};

/// The major version of the protocol; there has been no other since 2006.
pub(crate) const MAJOR: u32 = 7;

/// The minor version whose facts this module knows (Linux 6.18).
pub(crate) const MINOR: u32 = 45;

/// The oldest minor version spoken here (Linux 5.4): everything before it needs
/// shorter replies or has no way to keep pages over an attribute change.
pub(crate) const OLDEST_MINOR: u32 = 31;

/// `FUSE_GETATTR_FH`: the request names an open handle.
pub(crate) const GETATTR_FH: u32 = 1 << 0;

/// `FATTR_*`: which fields of SETATTR count.
pub(crate) mod fattr {
    pub(crate) const MODE: u32 = 1 << 0;
    pub(crate) const UID: u32 = 1 << 1;
    pub(crate) const GID: u32 = 1 << 2;
    pub(crate) const SIZE: u32 = 1 << 3;
    pub(crate) const ATIME: u32 = 1 << 4;
    pub(crate) const MTIME: u32 = 1 << 5;
    pub(crate) const FH: u32 = 1 << 6;
    pub(crate) const ATIME_NOW: u32 = 1 << 7;
    pub(crate) const MTIME_NOW: u32 = 1 << 8;
    pub(crate) const CTIME: u32 = 1 << 10;
    pub(crate) const KILL_SUIDGID: u32 = 1 << 11;
}

/// `FUSE_OPEN_KILL_SUIDGID` of OPEN and CREATE.
pub(crate) const OPEN_KILL_SUIDGID: u32 = 1 << 0;

/// `FUSE_WRITE_CACHE`: pages that the kernel writes back, for whoever dirtied them.
pub(crate) const WRITE_CACHE: u32 = 1 << 0;

/// `FUSE_WRITE_KILL_SUIDGID`.
pub(crate) const WRITE_KILL_SUIDGID: u32 = 1 << 2;

/// `FUSE_LK_FLOCK`: the lock is one of flock(2).
pub(crate) const LK_FLOCK: u32 = 1 << 0;

/// `FUSE_RELEASE_FLOCK_UNLOCK`: the handle may hold a lock of flock(2).
pub(crate) const RELEASE_FLOCK_UNLOCK: u32 = 1 << 1;

/// `FUSE_FSYNC_FDATASYNC`.
pub(crate) const FSYNC_FDATASYNC: u32 = 1 << 0;

/// Codes of notifications, sent in `OutHeader::error`.
pub(crate) mod notify {
    pub(crate) const INVAL_INODE: i32 = 2;
    pub(crate) const INVAL_ENTRY: i32 = 3;
    pub(crate) const DELETE: i32 = 6;
    pub(crate) const INC_EPOCH: i32 = 8;
    /// The minor version from which the kernel knows it (Linux 6.16).
    pub(crate) const EPOCH_MINOR: u32 = 44;
    pub(crate) const PRUNE: i32 = 9;

    /// In `NotifyInvalEntryOut::flags`: let the name expire, keep its dentry.
    pub(crate) const EXPIRE_ONLY: u32 = 1 << 0;
}

/// `_IOW(229, 1, struct fuse_backing_map)`.
pub(crate) const IOC_BACKING_OPEN: u32 = 0x4010_E501;

/// `_IOW(229, 2, uint32_t)`.
pub(crate) const IOC_BACKING_CLOSE: u32 = 0x4004_E502;

/// Names in a directory listing start on multiples of this many bytes.
pub(crate) const DIRENT_ALIGN: usize = 8;
