//! Files that are open.
//!
//! All handles of an inode share one [`File`], so that what one writes the others
//! read at once. It holds what is not in the entry yet: the bytes ([`Dirty`]), what
//! a write does to attributes, and those that were set since.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::SystemTime;

use fuse::{Attr, FileType, NodeId, SetAttr};
use parking_lot::{Mutex, RwLock};
use seaweed::{Chunk, Entry, FileView, pb};
use writer::{Dirty, Edit, Look, Writer};

use crate::config::MountConfig;
use crate::entry::without_suidgid;
use crate::gate::Turn;
use crate::tree::Content;
use crate::unsaved;

/// Every file that is open, by its inode.
#[derive(Debug)]
pub(crate) struct Files {
    writer: Writer,
    open: RwLock<HashMap<NodeId, Arc<File>>>,
    /// Of files that are closed: chunks which may not be on disk, for an fsync through another descriptor.
    unsynced: Mutex<BTreeMap<NodeId, Vec<pb::FileChunk>>>,
}

/// Closed files of which is known what may not be on disk. The inode that was looked up first goes first.
const UNSYNCED_MAX: usize = 16_384;

/// One file that is open.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) node: NodeId,
    /// What its entry does not have yet.
    pub(crate) dirty: Dirty,
    /// Whoever saves it, or changes where its entry is.
    pub(crate) turn: Turn,
    /// Set by the first change and never cleared, so that files which are only read cost nothing.
    changed: AtomicBool,
    /// Whoever copies the entry's own bytes into `dirty`.
    pub(crate) seeding: Turn,
    handles: AtomicU32,
    /// Handles of programs that run.
    executed: AtomicU32,
    state: Mutex<State>,
    seen: Mutex<Option<Seen>>,
}

/// An entry as the filer has it, with all its fields, and the version the tree has of it.
pub(crate) type Base = (Arc<pb::Entry>, Arc<Entry>);

#[derive(Debug, Default)]
struct State {
    /// When it was written last, unless its entry says so.
    wrote: Option<SystemTime>,
    /// A write has taken setuid away, and the entry does not say so.
    killed: bool,
    /// What was set since it was written, all in one.
    set: Option<SetAttr>,
    /// The bytes that were in the entry itself are in `dirty` now.
    seeded: bool,
    /// Every change since the last save was an append, the first one at this length.
    appending: Option<u64>,
    /// Some change since then was none.
    rewritten: bool,
    base: Option<Base>,
    /// Chunks that no entry names any more, to be deleted when the last handle is closed.
    orphans: Vec<pb::FileChunk>,
}

/// The chunks of one version with one edit over them, sorted out.
#[derive(Debug)]
struct Seen {
    content: u64,
    edit: u64,
    view: Arc<FileView>,
}

impl Files {
    pub(crate) fn new(writer: Writer) -> Self {
        Self {
            writer,
            open: RwLock::default(),
            unsynced: Mutex::default(),
        }
    }

    /// The file, if it is open.
    pub(crate) fn find(&self, node: NodeId) -> Option<Arc<File>> {
        self.open.read().get(&node).cloned()
    }

    /// One handle more.
    pub(crate) fn open(&self, node: NodeId, path: impl FnOnce() -> String) -> Arc<File> {
        if let Some(file) = self.open.write().get(&node) {
            file.handles.fetch_add(1, Ordering::Relaxed);
            return Arc::clone(file);
        }
        // While nothing is locked here: `path` asks the tree, and who holds the tree looks for files.
        let path = path();
        let mut open = self.open.write();
        let file = open.entry(node).or_insert_with(|| {
            let dirty = self.writer.file(path);
            if let Some(left) = self.unsynced.lock().remove(&node) {
                dirty.owe(left);
            }
            Arc::new(File {
                node,
                dirty,
                turn: Turn::default(),
                changed: AtomicBool::new(false),
                seeding: Turn::default(),
                handles: AtomicU32::new(0),
                executed: AtomicU32::new(0),
                state: Mutex::default(),
                seen: Mutex::default(),
            })
        });
        file.handles.fetch_add(1, Ordering::Relaxed);
        Arc::clone(file)
    }

    /// One handle less; whether it was the last.
    pub(crate) fn close(&self, file: &File) -> bool {
        let mut open = self.open.write();
        let last = file.handles.fetch_sub(1, Ordering::Relaxed) == 1;
        if last {
            open.remove(&file.node);
            self.leave_unsynced(file);
        }
        last
    }

    fn leave_unsynced(&self, file: &File) {
        let left = file.dirty.take_unsynced();
        if left.is_empty() {
            return;
        }
        let mut unsynced = self.unsynced.lock();
        unsynced.insert(file.node, left);
        if unsynced.len() > UNSYNCED_MAX {
            unsynced.pop_first();
        }
    }

    /// Every file that is open.
    pub(crate) fn all(&self) -> Vec<Arc<File>> {
        self.open.read().values().cloned().collect()
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }
}

impl File {
    /// Whether anything was ever changed through its handles.
    pub(crate) fn is_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }

    /// Notes a change of the content: an append to a file of `appended_to` bytes, or any other.
    pub(crate) fn wrote(&self, now: SystemTime, appended_to: Option<u64>, killed: bool) {
        self.changed.store(true, Ordering::Release);
        let mut state = self.state.lock();
        state.wrote = Some(now);
        state.killed |= killed;
        if let Some(set) = &mut state.set {
            unsaved::written(set, now, killed);
        }
        match appended_to {
            Some(size) if !state.rewritten => {
                state.appending.get_or_insert(size);
            }
            Some(_) => {}
            None => {
                state.rewritten = true;
                state.appending = None;
            }
        }
    }

    /// One of its handles is that of a program that runs.
    pub(crate) fn execute(&self) {
        self.executed.fetch_add(1, Ordering::Relaxed);
    }

    /// That program has ended.
    pub(crate) fn leave(&self) {
        let before = self.executed.fetch_sub(1, Ordering::Relaxed);
        debug_assert!(before > 0, "more programs have ended than began");
    }

    /// Whether a program runs that is this file.
    pub(crate) fn is_executed(&self) -> bool {
        self.executed.load(Ordering::Relaxed) > 0
    }

    /// Whether the entry's own bytes are in `dirty`, or not needed any more.
    pub(crate) fn is_seeded(&self) -> bool {
        self.state.lock().seeded
    }

    /// They are from now on, until the next save.
    pub(crate) fn seeded(&self) {
        self.state.lock().seeded = true;
    }

    /// Whether the entry has everything.
    pub(crate) fn is_saved(&self) -> bool {
        !self.is_changed() || self.dirty.is_clean() && !self.is_set()
    }

    /// Whether attributes wait for a save.
    pub(crate) fn is_set(&self) -> bool {
        self.state.lock().set.is_some()
    }

    /// Keeps a change of attributes for the save of what was written; `false` when none is to come.
    /// Called by who has the turn, as a save that is under way would miss it.
    pub(crate) fn set_later(&self, change: &SetAttr, now: SystemTime) -> bool {
        let mut state = self.state.lock();
        if state.wrote.is_none() {
            return false;
        }
        state.set = Some(unsaved::merge(state.set, change, now));
        true
    }

    /// Shows what is not in the entry yet.
    pub(crate) fn cover(&self, attr: &mut Attr, config: &MountConfig) {
        if !self.is_changed() || attr.kind != FileType::Regular {
            return;
        }
        let state = self.state.lock();
        if let Some(wrote) = state.wrote {
            attr.size = self.dirty.size(attr.size);
            // Holes take no space, here as in the entry.
            let held = self.dirty.bytes().div_ceil(512);
            attr.blocks = attr
                .blocks
                .saturating_add(held)
                .min(attr.size.div_ceil(512));
            attr.mtime = wrote;
            attr.ctime = attr.ctime.max(wrote);
        }
        if state.killed {
            attr.perm = without_suidgid(attr.perm);
        }
        if let Some(set) = &state.set {
            unsaved::show(attr, set, config);
        }
    }

    /// What a save has to put into the entry beside the chunks.
    pub(crate) fn pending(&self) -> Pending {
        let state = self.state.lock();
        Pending {
            wrote: state.wrote,
            killed: state.killed,
            set: state.set,
            appended_to: state.appending.filter(|_| !state.rewritten),
        }
    }

    /// The entry has everything up to `pending`, and bytes up to `end`.
    pub(crate) fn saved(&self, pending: &Pending, end: Option<u64>) {
        let mut state = self.state.lock();
        let written_again = state.wrote != pending.wrote;
        if !written_again {
            state.wrote = None;
            state.killed = false;
        }
        // A write since has touched only what `wrote` and `killed` say.
        state.set = None;
        // What was appended meanwhile follows bytes that the entry has now.
        let appended = state.appending.filter(|_| !state.rewritten);
        state.appending = appended.filter(|_| written_again).and(end);
        state.rewritten = written_again && state.appending.is_none();
        state.seeded = false;
    }

    /// The filer's entry, if it is the version the tree has.
    pub(crate) fn base(&self, current: &Arc<Entry>) -> Option<Arc<pb::Entry>> {
        let state = self.state.lock();
        let (raw, parsed) = state.base.as_ref()?;
        Arc::ptr_eq(parsed, current).then(|| Arc::clone(raw))
    }

    /// Remembers the filer's entry.
    pub(crate) fn set_base(&self, base: Base) {
        self.state.lock().base = Some(base);
    }

    /// Forgets it: the filer may have another.
    pub(crate) fn forget_base(&self) {
        self.state.lock().base = None;
    }

    /// The file has lost its last name, and these chunks are kept for its handles.
    pub(crate) fn orphaned(&self, chunks: Vec<pb::FileChunk>) {
        self.state.lock().orphans.extend(chunks);
    }

    /// The chunks to be deleted after the last handle is closed.
    pub(crate) fn take_orphans(&self) -> Vec<pb::FileChunk> {
        std::mem::take(&mut self.state.lock().orphans)
    }

    /// Chunks of `content` with the edit of `look` over them, as `resolve` sorts them out.
    pub(crate) fn view<E>(
        &self,
        content: &Content,
        look: &Look,
        resolve: impl FnOnce(&[Chunk], u64) -> Result<Arc<FileView>, E>,
    ) -> Result<Arc<FileView>, E> {
        let mut seen = self.seen.lock();
        if let Some(seen) = &*seen
            && seen.content == content.version
            && seen.edit == look.version
        {
            return Ok(Arc::clone(&seen.view));
        }
        // Bytes in the entry itself were copied before the first change.
        let base: &[Chunk] = match content.entry.content.is_empty() {
            true => &content.entry.chunks,
            false => &[],
        };
        // How far the file reaches is decided at each read.
        let view = resolve(&lay_over(base, &look.edit), u64::MAX >> 1)?;
        *seen = Some(Seen {
            content: content.version,
            edit: look.version,
            view: Arc::clone(&view),
        });
        Ok(view)
    }
}

/// What a save puts into an entry beside its chunks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) wrote: Option<SystemTime>,
    pub(crate) killed: bool,
    pub(crate) set: Option<SetAttr>,
    pub(crate) appended_to: Option<u64>,
}

/// As [`Edit::apply`], for reading.
fn lay_over(base: &[Chunk], edit: &Edit) -> Vec<Chunk> {
    let cut = edit.cut.unwrap_or(u64::MAX);
    let mut all: Vec<Chunk> = base
        .iter()
        .filter(|chunk| chunk.offset < cut)
        .map(|chunk| Chunk {
            size: chunk.size.min(cut - chunk.offset),
            ..chunk.clone()
        })
        .collect();
    let count = edit.chunks.len() as i64;
    let newer = edit.chunks.iter().zip(i64::MAX - count..);
    // Made by ourselves a moment ago: there is none that makes no sense.
    all.extend(newer.filter_map(|(chunk, stamp)| {
        let chunk = Chunk::try_from(chunk).ok()?;
        Some(Chunk {
            modified_ts_ns: stamp,
            ..chunk
        })
    }));
    all
}
