//! What a session is asked to be, and what it became.

use std::path::PathBuf;
use std::sync::Arc;

use crate::{InitFlags, Observer};

/// How to mount and what to ask the kernel for.
#[derive(Clone)]
pub struct SessionConfig {
    /// First column of `/proc/mounts`: what is mounted.
    pub source: String,
    /// The file system type is `fuse.` and this.
    pub subtype: String,
    /// Mount read-only: the kernel itself answers EROFS.
    pub read_only: bool,
    /// Nothing below can be executed.
    pub no_exec: bool,
    /// Other users than the one who mounts may enter.
    pub allow_other: bool,
    /// The kernel checks mode bits, ACCESS is never asked.
    pub default_permissions: bool,
    /// Largest READ and WRITE, in bytes. More than 1 MiB needs
    /// `fs.fuse.max_pages_limit` raised and gains nothing (measured).
    pub max_read: u32,
    /// Requests the kernel sends ahead of need (read-ahead, asynchronous direct I/O).
    pub max_background: u16,
    /// Of these, how many make it call the device congested; 0 is three quarters.
    pub congestion_threshold: u16,
    /// The kernel's read-ahead in KiB, set in sysfs; `None` leaves its 128.
    pub read_ahead_kb: Option<u32>,
    /// One O_DIRECT call is sent as several requests at a time, which then
    /// cannot be interrupted.
    pub async_dio: bool,
    /// The kernel keeps the targets of symbolic links until invalidated.
    pub cache_symlinks: bool,
    /// The kernel asks for and enforces POSIX ACLs; implies `default_permissions`.
    pub posix_acl: bool,
    /// Allow [`Notifier::open_backing`](crate::Notifier::open_backing) (needs CAP_SYS_ADMIN).
    pub passthrough: bool,
    /// Locks of fcntl(2) and flock(2) are asked of the file system; otherwise the kernel keeps
    /// them itself, which is enough as long as nobody else shares the files.
    pub remote_locks: bool,
    /// The kernel keeps written pages and writes them back later.
    pub writeback_cache: bool,
    /// How requests travel.
    pub transport: Transport,
    /// Threads at most. Each may block in one request, so this is also how many
    /// requests are worked on at a time.
    pub max_threads: usize,
    /// How to mount.
    pub method: MountMethod,
    /// The setuid helper, found in PATH unless it has a slash.
    pub fusermount: PathBuf,
    /// Told of every request.
    pub observer: Option<Arc<dyn Observer>>,
}

/// How requests travel between the kernel and the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transport {
    /// Through io_uring if the kernel offers that (Linux 6.14, with FUSE's module parameter
    /// `enable_uring` set), else through /dev/fuse.
    #[default]
    Auto,
    /// Through io_uring or not at all. Root sets the parameter for the moment of mounting.
    Uring,
    /// Through /dev/fuse.
    Device,
}

/// Who calls mount(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MountMethod {
    /// We ourselves if we are root, else `fusermount3`.
    #[default]
    Auto,
    /// We ourselves.
    Direct,
    /// The helper.
    Fusermount,
}

/// 1 MiB: `max_pages` 256, what every kernel allows without a sysctl.
const MAX_READ: u32 = 1 << 20;

/// Enough that 16 streams keep four 1 MiB requests each in flight twice over;
/// the default of 12 costs a third of the throughput on fast networks.
const MAX_BACKGROUND: u16 = 128;

/// Twice the background requests: when all of those are blocked, as many
/// callers can still be served.
const MAX_THREADS: usize = 256;

/// With a source that takes 500 us a request, 1 MiB of read-ahead reads 1.5 GB/s,
/// 4 MiB 2.1 and 16 MiB hardly more.
const READ_AHEAD_KB: u32 = 4096;

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            source: "riptide".to_owned(),
            subtype: "seaweedfs".to_owned(),
            read_only: false,
            no_exec: false,
            allow_other: false,
            default_permissions: true,
            max_read: MAX_READ,
            max_background: MAX_BACKGROUND,
            congestion_threshold: 0,
            read_ahead_kb: Some(READ_AHEAD_KB),
            async_dio: false,
            cache_symlinks: false,
            posix_acl: false,
            passthrough: false,
            remote_locks: false,
            writeback_cache: false,
            transport: Transport::Auto,
            max_threads: MAX_THREADS,
            method: MountMethod::Auto,
            fusermount: PathBuf::from("fusermount3"),
            observer: None,
        }
    }
}

/// What the kernel and the session agreed on.
#[derive(Debug, Clone)]
pub struct Negotiated {
    /// The kernel's protocol, 7.x.
    pub kernel_minor: u32,
    /// The protocol spoken: the smaller of the kernel's and ours.
    pub minor: u32,
    /// The capabilities in use.
    pub flags: InitFlags,
    /// Largest READ, bytes.
    pub max_read: u32,
    /// Pages of a request.
    pub max_pages: u16,
    /// Requests sent ahead of need.
    pub max_background: u16,
    /// Of these, how many mean congestion.
    pub congestion_threshold: u16,
    /// The kernel's read-ahead in KiB, or why it is not what was asked for;
    /// `None` if nothing was asked for.
    pub read_ahead_kb: Option<Result<u32, String>>,
    /// Whether requests come through io_uring, or why through /dev/fuse.
    pub uring: Result<(), String>,
}

impl Negotiated {
    /// Whether the kernel can be told to believe no name any more
    /// ([`Notifier::inc_epoch`](crate::Notifier::inc_epoch)).
    pub fn drops_everything(&self) -> bool {
        self.minor >= crate::abi::notify::EPOCH_MINOR
    }

    /// Whether files read past the page cache can be mapped as ever.
    pub fn maps_direct_io(&self) -> bool {
        self.flags.contains(InitFlags::DIRECT_IO_ALLOW_MMAP)
    }

    /// Whether handles can be passed through to backing files.
    pub fn passthrough(&self) -> bool {
        self.flags.contains(InitFlags::PASSTHROUGH)
    }
}
