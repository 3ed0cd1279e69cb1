//! What goes into and comes out of a [`FileSystem`](crate::FileSystem).

use std::time::{Duration, SystemTime};

use context::Interrupt;

/// The kernel's number for an inode it knows; 1 is the root.
///
/// It lives from the reply that first hands it out to the FORGET that takes
/// the last lookup back, and is never used again (the generation is always 0).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The mount point itself.
    pub const ROOT: Self = Self(1);
}

/// Who asks, and how to learn that they stopped waiting.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The kernel's number of this request.
    pub unique: u64,
    /// User of the caller.
    pub uid: u32,
    /// Group of the caller.
    pub gid: u32,
    /// Thread of the caller in this process's pid namespace, 0 if outside it.
    pub pid: u32,
    /// Raised when the caller is killed, or waits for a lock and gets any signal.
    pub interrupt: &'a Interrupt,
}

/// What kind of thing an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileType {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A block device.
    BlockDevice,
    /// A character device.
    CharDevice,
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl FileType {
    /// The `S_IFMT` bits of `st_mode`.
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::Regular => libc::S_IFREG,
            Self::Directory => libc::S_IFDIR,
            Self::Symlink => libc::S_IFLNK,
            Self::BlockDevice => libc::S_IFBLK,
            Self::CharDevice => libc::S_IFCHR,
            Self::Fifo => libc::S_IFIFO,
            Self::Socket => libc::S_IFSOCK,
        }
    }
}

/// What `stat(2)` shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// `st_ino`; not the [`NodeId`].
    pub ino: u64,
    /// Length in bytes.
    pub size: u64,
    /// Space taken, in 512-byte units.
    pub blocks: u64,
    /// Last read.
    pub atime: SystemTime,
    /// Last change of the content.
    pub mtime: SystemTime,
    /// Last change of the inode.
    pub ctime: SystemTime,
    /// Kind of inode.
    pub kind: FileType,
    /// The low twelve mode bits.
    pub perm: u32,
    /// Number of names.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device inode, as `makedev(3)` packs it for the kernel (32 bits).
    pub rdev: u32,
    /// Preferred I/O size.
    pub blksize: u32,
}

/// What SETATTR changes; what is `None` stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SetAttr {
    /// The low twelve mode bits.
    pub perm: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length.
    pub size: Option<u64>,
    /// Last read.
    pub atime: Option<SetTime>,
    /// Last change of the content.
    pub mtime: Option<SetTime>,
    /// Last change of the inode; only a kernel that writes back sends it.
    pub ctime: Option<SystemTime>,
    /// The handle of ftruncate(2) and its like.
    pub handle: Option<u64>,
    /// The caller's change takes setuid away, and setgid where the group may execute.
    pub kill_suidgid: bool,
}

/// A time as utimensat(2) sets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The time of the change.
    Now,
    /// This one.
    At(SystemTime),
}

/// What is written, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Write<'a> {
    /// Where to, as the kernel knows the file.
    pub offset: u64,
    /// The bytes; they lie in the request's own memory.
    pub data: &'a [u8],
    /// The flags of the handle, O_APPEND and O_DIRECT among them.
    pub flags: u32,
    /// Pages of a mapping, or of a kernel that writes back.
    pub from_cache: bool,
    /// The write takes setuid away, and setgid where the group may execute.
    pub kill_suidgid: bool,
}

impl std::fmt::Debug for Write<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Write")
            .field("offset", &self.offset)
            .field("len", &self.data.len())
            .field("flags", &self.flags)
            .finish_non_exhaustive()
    }
}

/// A lock on a range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLock {
    /// First byte.
    pub start: u64,
    /// Last byte, `i64::MAX` for the end of the file.
    pub end: u64,
    /// What it is.
    pub kind: LockKind,
    /// Who holds it.
    pub pid: u32,
}

/// Kinds of locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// Shared.
    Read,
    /// Exclusive.
    Write,
    /// None: the lock is given back.
    Unlock,
}

/// How a lock is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetLock {
    /// The handle it is asked for on.
    pub handle: u64,
    /// Whose it is: a process for fcntl(2), an open file for flock(2).
    pub owner: u64,
    /// The lock.
    pub lock: FileLock,
    /// One of flock(2), which has nothing to do with those of fcntl(2).
    pub flock: bool,
    /// Wait until it is free.
    pub wait: bool,
}

/// One side of copy_file_range(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyPlace {
    /// The file.
    pub node: NodeId,
    /// Its handle.
    pub handle: u64,
    /// Where in it.
    pub offset: u64,
}

/// The answer to a lookup.
#[derive(Debug, Clone, Copy)]
pub enum Lookup {
    /// The name exists.
    Found(Entry),
    /// It does not, and the kernel may remember that for so long.
    Negative(Duration),
}

/// A name that exists. Handing it to the kernel counts as one lookup of `node`.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The inode behind the name.
    pub node: NodeId,
    /// How long the kernel may use the name without asking.
    pub entry_ttl: Duration,
    /// How long it may use the attributes without asking.
    pub attr_ttl: Duration,
    /// The attributes.
    pub attr: Attr,
}

/// The answer to open and opendir.
#[derive(Debug, Clone, Copy, Default)]
pub struct Opened {
    /// Our number for the handle.
    pub handle: u64,
    /// The kernel keeps the pages it already has (`FOPEN_KEEP_CACHE`).
    pub keep_cache: bool,
    /// Reads bypass the page cache (`FOPEN_DIRECT_IO`).
    pub direct_io: bool,
    /// The kernel caches the directory listing (`FOPEN_CACHE_DIR`).
    pub cache_dir: bool,
    /// No FLUSH on close (`FOPEN_NOFLUSH`).
    pub no_flush: bool,
    /// Reads go to this backing file (`FOPEN_PASSTHROUGH`), see `Notifier::open_backing`.
    pub backing: Option<u32>,
}

/// The mask of `access(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access(pub u32);

/// The answer to `statfs(2)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatFs {
    /// Blocks in all, in units of `frsize`.
    pub blocks: u64,
    /// Free blocks.
    pub bfree: u64,
    /// Free blocks for ordinary users.
    pub bavail: u64,
    /// Inodes in all.
    pub files: u64,
    /// Free inodes.
    pub ffree: u64,
    /// Preferred I/O size.
    pub bsize: u32,
    /// Longest name, in bytes.
    pub namelen: u32,
    /// Unit of the block counts.
    pub frsize: u32,
}

/// One entry of a directory as `readdir(3)` shows it.
#[derive(Debug, Clone, Copy)]
pub struct DirEntry<'a> {
    /// `d_ino`.
    pub ino: u64,
    /// Where the listing goes on after this entry.
    pub next_offset: u64,
    /// Kind of inode.
    pub kind: FileType,
    /// The name: no NUL, no slash, at most 255 bytes.
    pub name: &'a [u8],
}

/// The answer to getxattr and listxattr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum XattrReply {
    /// The caller asked only how long the value is.
    Size(u32),
    /// The value.
    Data(bytes::Bytes),
}
