//! One inode the kernel knows.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use fuse::NodeId;
use ledger::{Account, Weight};
use parking_lot::Mutex;
use seaweed::{ContentKey, Entry, FileView};

use super::dir::Dir;

/// What an inode holds at one moment: immutable, so that a read uses one version from start to end.
#[derive(Debug)]
pub(crate) struct Content {
    /// The filer's entry.
    pub(crate) entry: Arc<Entry>,
    /// Grows whenever the bytes of the file change, not when only attributes do.
    pub(crate) version: u64,
    /// Its chunks sorted out, made by the first read.
    pub(crate) view: OnceLock<Arc<FileView>>,
    /// Held while the view is being made, so that it is made once.
    pub(crate) resolving: Mutex<()>,
    key: OnceLock<Option<ContentKey>>,
}

impl Content {
    fn new(entry: Arc<Entry>, version: u64) -> Self {
        Self {
            entry,
            version,
            view: OnceLock::new(),
            resolving: Mutex::new(()),
            key: OnceLock::new(),
        }
    }

    /// See [`Entry::content_key`]; made once.
    pub(crate) fn key(&self) -> Option<ContentKey> {
        *self.key.get_or_init(|| self.entry.content_key())
    }
}

/// Where a node is in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// Below a directory that is a node too.
    In(NodeId, Arc<str>),
    /// In a directory that is not: its filer path and the name there.
    At(String, Arc<str>),
    /// Nowhere: every known name was removed.
    Gone,
}

/// How an update changed a node, from the kernel's point of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Not at all.
    None,
    /// `stat` shows something else.
    Attr,
    /// Reads return something else.
    Data,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) content: Arc<Content>,
    /// The entry may be out of date: ask before showing attributes.
    pub(crate) stale: bool,
    /// An event that is in no order with what is kept has taken its name away. If the filer does not have
    /// it there, that is why.
    pub(crate) doomed: bool,
    /// Set for directories.
    pub(crate) dir: Option<Box<Dir>>,
    lookups: AtomicU64,
    opens: AtomicU32,
    /// The kernel reads its bytes from a file of ours without asking, for some handle.
    past_us: AtomicBool,
    /// Version of the pages that the kernel may hold.
    cached_version: AtomicU64,
    /// Something was done with it since somebody last looked for what is not used.
    used: AtomicBool,
    /// Its memory, without that of its entry, which counts for its name.
    _weight: Weight,
}

/// What a node takes: itself, its place among the nodes (a table two thirds full) and in the queue of
/// what may be dropped, its content.
const NODE: usize = (size_of::<Node>() + size_of::<NodeId>()) * 3 / 2
    + size_of::<NodeId>() * 3 / 2
    + size_of::<Content>()
    + 32;

impl Node {
    /// A node that the kernel has not been told of yet.
    pub(crate) fn new(place: Place, entry: Arc<Entry>, account: &Account) -> Self {
        let dir: Option<Box<Dir>> = entry.is_directory().then(Box::default);
        let of_dir = if dir.is_some() { size_of::<Dir>() } else { 0 };
        Self {
            place,
            content: Arc::new(Content::new(entry, 1)),
            stale: false,
            doomed: false,
            dir,
            lookups: AtomicU64::new(0),
            opens: AtomicU32::new(0),
            past_us: AtomicBool::new(false),
            cached_version: AtomicU64::new(0),
            used: AtomicBool::new(false),
            _weight: account.weigh(NODE + of_dir),
        }
    }

    /// The kernel is told of this node once more.
    pub(crate) fn count_lookup(&self) {
        self.lookups.fetch_add(1, Ordering::Relaxed);
    }

    /// The kernel takes back `count` lookups; whether nothing holds the node now.
    pub(crate) fn forget(&self, count: u64) -> bool {
        let before = self.lookups.fetch_sub(count, Ordering::Relaxed);
        debug_assert!(before >= count, "forgot {count} of {before} lookups");
        self.is_unused()
    }

    /// Something is done with it.
    pub(crate) fn mark_used(&self) {
        // Most are marked already, and their memory need not be written to.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether something was done with it since the last time this was asked.
    pub(crate) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// A handle is opened.
    pub(crate) fn open(&self) {
        self.mark_used();
        self.opens.fetch_add(1, Ordering::Relaxed);
    }

    /// A handle is closed; whether nothing holds the node now.
    pub(crate) fn close(&self) -> bool {
        let before = self.opens.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "closed a handle that was not open");
        self.is_unused()
    }

    pub(crate) fn is_open(&self) -> bool {
        self.opens.load(Ordering::Relaxed) > 0
    }

    /// Whether the kernel reads its bytes without asking: it cannot hold another version then.
    pub(crate) fn is_past_us(&self) -> bool {
        self.past_us.load(Ordering::Relaxed)
    }

    pub(crate) fn set_past_us(&self, past: bool) {
        self.past_us.store(past, Ordering::Relaxed);
    }

    /// Whether it cannot become what `entry` says.
    pub(crate) fn is_bound_to_other(&self, entry: &Entry) -> bool {
        self.is_past_us() && !self.content.entry.same_content(entry)
    }

    fn is_unused(&self) -> bool {
        self.lookups.load(Ordering::Relaxed) == 0 && !self.is_open()
    }

    /// Whether the kernel may keep the pages it has; from now on it holds those of this version.
    pub(crate) fn keep_cache(&self) -> bool {
        let version = self.content.version;
        self.cached_version.swap(version, Ordering::Relaxed) == version
    }

    /// One of the names of a hard link group is gone.
    pub(crate) fn lose_link(&mut self) {
        let mut entry = Entry::clone(&self.content.entry);
        entry.nlink = entry.nlink.saturating_sub(1);
        self.update(Arc::new(entry));
    }

    /// It belongs to this hard link group now, so that there is a second name at least.
    pub(crate) fn set_link(&mut self, id: Bytes) {
        let mut entry = Entry::clone(&self.content.entry);
        entry.hard_link_id = Some(id);
        entry.nlink = entry.nlink.max(2);
        let mut content = Content::new(Arc::new(entry), self.content.version);
        content.view = self.content.view.clone();
        self.content = Arc::new(content);
    }

    /// Takes an entry that is our own work: what the kernel has of the bytes is what it wrote
    /// itself, and stays if it was right before.
    pub(crate) fn update_own(&mut self, entry: Arc<Entry>) {
        let before = self.content.version;
        self.update(entry);
        let now = self.content.version;
        let _ =
            self.cached_version
                .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Takes a newer entry.
    pub(crate) fn update(&mut self, entry: Arc<Entry>) -> Change {
        self.stale = false;
        self.doomed = false;
        let old = &self.content;
        if !old.entry.same_content(&entry) {
            self.content = Arc::new(Content::new(entry, old.version + 1));
            return Change::Data;
        }
        if old.entry.same_attributes(&entry) {
            return Change::None;
        }
        let mut content = Content::new(entry, old.version);
        content.view = old.view.clone();
        self.content = Arc::new(content);
        Change::Attr
    }
}
