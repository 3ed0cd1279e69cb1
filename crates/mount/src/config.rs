//! What a mount is told when it starts.

use std::time::{Duration, SystemTime};

use fuse::{Attr, NodeId};
use ledger::Account;

use crate::ids::IdMap;
use crate::streaming::DirectIo;

/// How the tree of a filer is shown. Defaults are those of `weed mount`.
#[derive(Debug, Clone)]
pub struct MountConfig {
    /// `-filer.path`: the filer directory that becomes the root; absolute, no trailing slash except for `/`.
    pub filer_path: String,
    /// `-cacheMetaTtlSec`: how long the kernel may use a name or attributes without asking again.
    /// The answer then comes from memory; the subscription keeps both true meanwhile.
    pub meta_ttl: Duration,
    /// The same with a kernel that can drop everything at once, when the stream of events breaks.
    pub long_meta_ttl: Option<Duration>,
    /// `-cacheDirMaxEntries`: larger directories are listed from the filer each time; 0 has no bound.
    pub dir_max_entries: usize,
    /// Where the memory of names and inodes is counted.
    pub account: Account,
    /// `-dirIdleEvictSec`: listings unused for so long are dropped; zero keeps them.
    pub dir_idle_evict: Duration,
    /// `-map.uid`.
    pub uid_map: IdMap,
    /// `-map.gid`.
    pub gid_map: IdMap,
    /// `-includeSystemEntries`: show `/topics` and `/etc` of the filer root.
    pub include_system_entries: bool,
    /// `-disableXAttr`.
    pub disable_xattr: bool,
    /// `-posix.dirNLink`: a directory's link count is 2 plus its subdirectories.
    pub dir_nlink: bool,
    /// `-df.logical`: statfs without replica and erasure coding overhead.
    pub df_logical: bool,
    /// `-readOnly`: nothing can be changed.
    pub read_only: bool,
    /// `-defaultPermissions`: the kernel checks permissions. Otherwise they are checked here.
    pub default_permissions: bool,
    /// `-writebackCache`: close returns at once, and what was written is saved after it.
    pub save_later: bool,
    /// `-metadataFlushSeconds`: how often files that stay open are saved; zero for never.
    pub flush_every: Duration,
    /// `-atime`: times of last access are kept, by the rule of relatime.
    pub keep_atime: bool,
    /// `-directIO`: which files are read past the kernel's page cache.
    pub direct_io: DirectIo,
    /// `-cache.decrypted`: files that are stored encrypted are kept whole as plain text too.
    pub keep_decrypted: bool,
    /// `-dlm`: locks of fcntl(2) and flock(2) are kept by the filers, for all mounts.
    pub shared_locks: bool,
    /// `-dlm` without `-dlm.shareFiles`: what is open for writing here no other mount opens for writing.
    pub whole_files: bool,
    /// How many requests may wait for such a lock, each with a thread; the others have to give
    /// locks back meanwhile.
    pub lock_waiters: usize,
    /// `-collectionQuotaMB`, in bytes: when the collection takes more, nothing can be written, and
    /// statfs shows no larger size; 0 for no quota.
    pub quota_bytes: u64,
    /// `-ttl` in seconds, for new files; 0 for none.
    pub ttl_seconds: u32,
    /// `-collection`, for statfs.
    pub collection: String,
    /// `-replication`, for statfs.
    pub replication: String,
    /// `-disk`, for statfs.
    pub disk_type: String,
    /// `-ttl` in the filer's notation, for statfs.
    pub ttl: String,
    /// What the root shows of itself.
    pub root: RootAttr,
    /// `-readRetryTime`: how long a failing read or look-up is tried again.
    pub retry: Duration,
}

impl Default for MountConfig {
    fn default() -> Self {
        Self {
            filer_path: "/".to_owned(),
            meta_ttl: Duration::from_secs(60),
            long_meta_ttl: None,
            dir_max_entries: 100_000,
            account: Account::unlimited(),
            dir_idle_evict: Duration::from_secs(600),
            uid_map: IdMap::default(),
            gid_map: IdMap::default(),
            include_system_entries: false,
            disable_xattr: false,
            dir_nlink: false,
            df_logical: false,
            read_only: false,
            default_permissions: true,
            save_later: false,
            flush_every: Duration::from_secs(120),
            keep_atime: false,
            direct_io: DirectIo::Auto,
            keep_decrypted: false,
            shared_locks: false,
            whole_files: false,
            lock_waiters: 128,
            ttl_seconds: 0,
            collection: String::new(),
            quota_bytes: 0,
            replication: String::new(),
            disk_type: String::new(),
            ttl: String::new(),
            root: RootAttr::default(),
            retry: Duration::from_secs(6),
        }
    }
}

/// What `stat` shows of the root: as with `weed mount`, not the filer's entry but the directory
/// that is mounted over, in local numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootAttr {
    /// The low twelve mode bits; `weed mount` takes 0777 less `-umask`.
    pub perm: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change.
    pub mtime: SystemTime,
}

impl Default for RootAttr {
    fn default() -> Self {
        Self {
            perm: 0o755,
            uid: 0,
            gid: 0,
            mtime: SystemTime::UNIX_EPOCH,
        }
    }
}

impl RootAttr {
    /// Puts these over what the entry says.
    pub(crate) fn cover(self, attr: &mut Attr) {
        attr.ino = NodeId::ROOT.0;
        attr.perm = self.perm;
        attr.uid = self.uid;
        attr.gid = self.gid;
        attr.mtime = self.mtime;
        attr.ctime = self.mtime;
        attr.atime = self.mtime;
    }

    /// Takes over what SETATTR made of it.
    pub(crate) fn keep(&mut self, attr: &Attr) {
        self.perm = attr.perm;
        self.uid = attr.uid;
        self.gid = attr.gid;
        self.mtime = attr.mtime;
    }
}
