//! Events: what others did to the tree.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use fuse::NodeId;
use seaweed::Entry;

use super::{Change, Child, Invalidation, Place, Tree, split_path};

/// A name and the filer path of its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Placed {
    pub(crate) directory: String,
    pub(crate) name: Arc<str>,
}

/// One event of the filer's stream.
#[derive(Debug, Clone)]
pub(crate) struct Moved {
    /// Where an entry was; `None` when it was created.
    pub(crate) old: Option<Placed>,
    /// Where it is now, and what; `None` when it was deleted.
    pub(crate) new: Option<(Placed, Arc<Entry>)>,
    /// The filer's clock at the change.
    pub(crate) ts_ns: i64,
    /// Whether that clock is the one that the fences of kept answers were taken from. If not,
    /// nothing says which is newer (see [`unordered`](super::unordered)).
    pub(crate) same_clock: bool,
    /// The inode number of what was moved, as its old name had it.
    pub(crate) was: Option<u64>,
    /// The hard link group that has lost a name by it, known here or not: that of an entry which
    /// was removed or replaced.
    pub(crate) unlinked: Option<Bytes>,
    /// It is our own change: the kernel knows from the answer it was given.
    pub(crate) ours: bool,
}

impl Tree {
    /// Applies one event.
    pub(crate) fn apply(&mut self, event: Moved) {
        if event.ours && !self.is_uncertain(&event) {
            self.quietly(|tree| tree.apply_loudly(event));
        } else {
            self.apply_loudly(event);
        }
    }

    fn apply_loudly(&mut self, event: Moved) {
        self.seq += 1;
        // Of our own removal the answer has said how many names are left.
        if let Some(id) = event.unlinked.as_ref().filter(|_| !event.ours) {
            self.doubt_links(id);
        }
        if !event.same_clock {
            self.apply_unordered(event);
            return;
        }
        match (event.old.clone(), event.new.clone()) {
            (Some(old), Some((new, entry))) if old != new => {
                self.apply_rename(&old, &new, entry, &event);
            }
            (_, Some((new, entry))) => self.apply_entry(&new, entry, &event),
            (Some(old), None) => self.apply_removal(&old, &event),
            (None, None) => {}
        }
    }

    /// The stream of events is whole from here on (true), or may have lost some (false).
    pub(crate) fn trust(&mut self, trusted: bool) {
        self.trusted = trusted;
    }

    /// Events were lost: whatever is kept may be out of date. Nodes stay, as the kernel knows
    /// them, but each is asked for again before it is shown.
    pub(crate) fn doubt_everything(&mut self) {
        self.seq += 1;
        let seq = self.seq;
        for node in self.nodes.values_mut() {
            node.stale = true;
            if let Some(dir) = &mut node.dir {
                dir.forget_recent(seq);
                dir.evict();
                dir.too_large = false;
                dir.generation += 1;
                for child in dir.children.values_mut() {
                    child.set_entry(None);
                    child.ours = false;
                }
            }
        }
        self.bound_uncertain();
        self.link_names.clear();
    }

    fn apply_entry(&mut self, at: &Placed, entry: Arc<Entry>, event: &Moved) {
        if self.is_root(at) {
            self.update_node(NodeId::ROOT, entry);
            return;
        }
        let parent = self.walk(&at.directory);
        if let Some(parent) = parent
            && self.is_old_news(parent, &at.name, event)
        {
            return;
        }
        if let Some(id) = entry.hard_link_id.clone() {
            self.doubt_links(&id);
        }
        let Some(parent) = parent else {
            return;
        };
        let linked = entry.hard_link_id.is_some();
        let Some(dir) = self.dir_mut(parent) else {
            return;
        };
        if event.old.is_none() && !event.ours {
            // The kernel's listing lacks the name, even if a look-up has seen it already.
            dir.generation += 1;
            self.told.push(Invalidation::Data(parent));
            self.bump(parent, event);
        }
        let Some(dir) = self.dir_mut(parent) else {
            return;
        };
        let Some(child) = dir.children.get_mut(&at.name) else {
            let keep = dir.complete;
            self.told
                .push(Invalidation::Name(parent, Arc::clone(&at.name)));
            if keep {
                let entry = (!linked).then_some(entry);
                self.set_child(parent, &at.name, entry, None, event.ts_ns);
                self.bound_dir(parent);
            }
            return;
        };
        let node = child.node;
        if event.ts_ns <= child.fence {
            // The kernel may have been told that the name does not exist before it was listed.
            if node.is_none() {
                self.told
                    .push(Invalidation::Name(parent, Arc::clone(&at.name)));
            }
            return;
        }
        let kept = node.and_then(|id| self.nodes.get(&id));
        let replaced = kept.is_some_and(|node| node.content.entry.kind != entry.kind);
        if replaced {
            if let Some(child) = self.take_child(parent, &at.name) {
                self.unname(parent, &at.name, &child);
            }
            self.told
                .push(Invalidation::Name(parent, Arc::clone(&at.name)));
            self.told.push(Invalidation::Data(parent));
            self.set_child(parent, &at.name, Some(entry), None, event.ts_ns);
            return;
        }
        // The entry of a hard link names its group only, so it is asked for.
        let trusted = !linked;
        let kept = trusted.then(|| Arc::clone(&entry));
        if let (Some(node), Some(id)) = (node, &entry.hard_link_id) {
            self.join_links(node, id);
            if self.link_nodes.get(id) != Some(&node) {
                // Another name of the file has a node already, which this one gets when it is asked for.
                let name = Arc::clone(&at.name);
                self.told.push(Invalidation::Name(parent, name));
            }
        }
        self.set_child(parent, &at.name, kept, node, event.ts_ns);
        if let Some(node) = node {
            if trusted {
                self.settle_times(node, &entry, event.ts_ns);
                self.update_node(node, entry);
            } else {
                self.doubt_node(node);
            }
        }
    }

    /// A name in the directory came or went by somebody else's doing. If its entry was changed since, it
    /// says all, as when the stream of events begins in the past.
    pub(super) fn bump(&mut self, node: NodeId, event: &Moved) {
        let Some(held) = self.nodes.get_mut(&node) else {
            return;
        };
        let at = UNIX_EPOCH + Duration::from_nanos(u64::try_from(event.ts_ns).unwrap_or(0));
        let is_told = held.content.entry.ctime >= at;
        if let Some(dir) = held.dir.as_mut().filter(|_| !event.ours && !is_told) {
            dir.bump(event.ts_ns);
        }
    }

    /// Somebody has set the time of a directory: names that came or went before do not count. When
    /// nothing else was changed, it was set to what it was.
    fn settle_times(&mut self, node: NodeId, entry: &Entry, ts_ns: i64) {
        let Some(held) = self.nodes.get_mut(&node) else {
            return;
        };
        let was = &held.content.entry;
        let same = (was.perm, was.uid, was.gid) == (entry.perm, entry.uid, entry.gid)
            && was.atime == entry.atime
            && was.xattrs == entry.xattrs;
        let set = was.mtime != entry.mtime || (same && was.ctime < entry.ctime);
        if let Some(dir) = held.dir.as_mut().filter(|_| set) {
            dir.settle(ts_ns);
        }
    }

    fn apply_removal(&mut self, at: &Placed, event: &Moved) {
        let Some(parent) = self.walk(&at.directory) else {
            return;
        };
        if self.is_old_news(parent, &at.name, event) {
            return;
        }
        let Some(dir) = self.dir_mut(parent) else {
            return;
        };
        let fence = dir.children.get(&at.name).map(|child| child.fence);
        if fence.is_some_and(|fence| event.ts_ns <= fence) {
            return;
        }
        dir.generation += 1;
        self.bump(parent, event);
        self.told
            .push(Invalidation::Name(parent, Arc::clone(&at.name)));
        self.told.push(Invalidation::Data(parent));
        if let Some(child) = self.take_child(parent, &at.name) {
            let linked = self.link_of(&child);
            self.unname(parent, &at.name, &child);
            if let Some(node) = child.node {
                self.told.push(Invalidation::Attr(node));
            }
            if let Some(id) = linked {
                self.doubt_links(&id);
            }
        }
    }

    fn apply_rename(&mut self, old: &Placed, new: &Placed, entry: Arc<Entry>, event: &Moved) {
        let mut node = None;
        if let Some(parent) = self.walk(&old.directory)
            && !self.is_old_news(parent, &old.name, event)
        {
            if let Some(dir) = self.dir_mut(parent) {
                dir.generation += 1;
            }
            self.bump(parent, event);
            self.told
                .push(Invalidation::Name(parent, Arc::clone(&old.name)));
            self.told.push(Invalidation::Data(parent));
            // What was there after the event is another file.
            let newer = self.child(parent, &old.name);
            let newer = newer.is_some_and(|child| event.ts_ns <= child.fence);
            if !newer && let Some(child) = self.take_child(parent, &old.name) {
                node = child.node;
                self.unlink_name(&child, parent, &old.name);
            }
        }
        let Some(parent) = self.walk(&new.directory) else {
            if let Some(held) = node.and_then(|node| self.nodes.get_mut(&node)) {
                held.place = Place::At(new.directory.clone(), Arc::clone(&new.name));
                held.stale = true;
            }
            return;
        };
        if self.is_old_news(parent, &new.name, event) {
            return;
        }
        if self.is_other_since(parent, &new.name, &entry, event) {
            // What was moved there was replaced in its turn.
            if let Some(held) = node.and_then(|node| self.nodes.get_mut(&node)) {
                held.place = Place::Gone;
            }
            return;
        }
        if let Some(dir) = self.dir_mut(parent) {
            dir.generation += 1;
        }
        self.bump(parent, event);
        self.told
            .push(Invalidation::Name(parent, Arc::clone(&new.name)));
        self.told.push(Invalidation::Data(parent));
        if let Some(replaced) = self.take_child(parent, &new.name) {
            // A rename that was seen before its event (by a look-up) is no replacement.
            // Another inode that is there is what was replaced, whoever has it open.
            let same = replaced.node.filter(|id| {
                let held = self.nodes.get(id);
                held.is_some_and(|held| held.content.entry.inode == entry.inode)
            });
            node = node.or(same);
            let linked = self.link_of(&replaced);
            self.unname(parent, &new.name, &replaced);
            if let Some(id) = linked.filter(|_| replaced.node != node) {
                self.doubt_links(&id);
            }
            if let Some(gone) = replaced.node.filter(|gone| Some(*gone) != node) {
                self.told.push(Invalidation::Attr(gone));
            }
        }
        let node = node.filter(|id| self.nodes.contains_key(id));
        if let Some(held) = node.and_then(|node| self.nodes.get_mut(&node)) {
            held.place = Place::In(parent, Arc::clone(&new.name));
        }
        let keep = node.is_some() || self.dir_mut(parent).is_some_and(|dir| dir.complete);
        if keep {
            let trusted = entry.hard_link_id.is_none();
            let kept = trusted.then(|| Arc::clone(&entry));
            self.set_child(parent, &new.name, kept, node, event.ts_ns);
            self.bound_dir(parent);
            match node {
                Some(node) if trusted => self.update_node(node, entry),
                Some(node) => self.doubt_node(node),
                None => {}
            }
        }
    }

    /// Whether the name is known to have been another inode's after the event.
    fn is_other_since(&self, parent: NodeId, name: &str, entry: &Entry, event: &Moved) -> bool {
        let child = self.child(parent, name);
        let child = child.filter(|child| event.ts_ns <= child.fence);
        let node = child.and_then(|child| self.nodes.get(&child.node?));
        node.is_some_and(|node| node.content.entry.inode != entry.inode)
    }

    /// Notes that the event is about `name`. Whether our own change of it is known to contain
    /// the event already, so that nothing follows from it, not even for the kernel.
    fn is_old_news(&mut self, parent: NodeId, name: &Arc<str>, event: &Moved) -> bool {
        let seq = self.seq;
        let Some(dir) = self.dir_mut(parent) else {
            return false;
        };
        dir.touch(name, seq, event.ts_ns);
        match dir.children.get(name) {
            Some(child) => child.ours && event.ts_ns <= child.fence,
            None => dir.is_buried(name, event.ts_ns),
        }
    }

    /// Somebody has given another name to the file of a node: names of it that are asked for from now on have the
    /// same node. More than the id the event does not say.
    fn join_links(&mut self, node: NodeId, id: &Bytes) {
        if let Some(held) = self.nodes.get_mut(&node)
            && held.content.entry.hard_link_id.is_none()
        {
            held.set_link(id.clone());
            self.note_link(node);
        }
    }

    pub(super) fn update_node(&mut self, node: NodeId, entry: Arc<Entry>) {
        let Some(held) = self.nodes.get_mut(&node) else {
            return;
        };
        // A file that has a directory's name is another inode, and what is below that one stays there.
        let is_other_kind = held.content.entry.kind != entry.kind && node != NodeId::ROOT;
        if is_other_kind || held.is_bound_to_other(&entry) {
            return self.part(node, &entry);
        }
        match held.update(entry) {
            Change::None => {}
            Change::Attr => self.told.push(Invalidation::Attr(node)),
            Change::Data => self.told.push(Invalidation::Data(node)),
        }
    }

    /// The node is asked for again before it is shown. Its bytes may have changed as well.
    pub(super) fn doubt_node(&mut self, node: NodeId) {
        if let Some(held) = self.nodes.get_mut(&node) {
            held.stale = true;
            self.told.push(Invalidation::Data(node));
        }
    }

    /// The name is asked for before it is shown.
    pub(super) fn doubt_name(&mut self, parent: NodeId, name: &Arc<str>) {
        if let Some(child) = self.take_child(parent, name) {
            self.unlink_name(&child, parent, name);
            self.set_child(parent, name, None, child.node, child.fence);
            if let Some(node) = child.node {
                self.doubt_node(node);
            }
        }
    }

    /// Something happened to one name of a hard link group: all of them show it.
    pub(super) fn doubt_links(&mut self, id: &Bytes) {
        for (parent, name) in self.link_names.get(id).cloned().unwrap_or_default() {
            if let Some(child) = self.take_child(parent, &name) {
                self.set_child(parent, &name, None, child.node, child.fence);
                if child.node.is_some() {
                    self.told.push(Invalidation::Name(parent, name));
                }
            }
        }
        if let Some(node) = self.link_nodes.get(id).copied() {
            self.doubt_node(node);
        }
    }

    pub(super) fn take_child(&mut self, parent: NodeId, name: &str) -> Option<Child> {
        self.dir_mut(parent)?.children.remove(name)
    }

    /// A directory that has grown beyond what is kept is forgotten.
    pub(super) fn bound_dir(&mut self, node: NodeId) {
        let bound = self.dir_max_entries;
        if let Some(dir) = self.dir_mut(node)
            && dir.children.len() > bound
        {
            dir.too_large = true;
            // Names of nodes stay, and may be more than the bound: each new one is no reason to go
            // through all of them.
            if dir.complete || dir.children.len() / 2 > dir.kept {
                dir.evict();
                dir.kept = dir.children.len();
            }
        }
    }

    pub(super) fn is_root(&self, at: &Placed) -> bool {
        let (directory, name) = split_path(&self.root_path);
        !name.is_empty() && at.directory == directory && at.name.as_ref() == name
    }
}
