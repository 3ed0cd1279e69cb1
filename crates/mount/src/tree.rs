//! Everything that is known of the filer's tree.
//!
//! A [`Node`] is an inode the kernel knows; it lives from the reply that names
//! it to the FORGET that takes the last mention back. A directory node also
//! holds the names below it, some with a node, most (after a listing) without.
//! Paths are never stored: they are spelled out from the names on the way up,
//! so renaming a directory moves one name.
//!
//! What is known comes from two sides that may overtake each other: answers of
//! the filer to questions, and the filer's stream of events. Every event gets a
//! sequence number. Whoever asks notes the number first; an answer about a name
//! that an event touched meanwhile is used for its asker but not kept. An event
//! that is older than the kept answer (its time is not above the answer's
//! fence) is dropped. So whatever is kept is at least as new as every event
//! applied, in whichever order they arrived.
//!
//! The tree does no I/O and takes no time from the system except to note when a
//! directory was used; what has to be told to the kernel is collected as
//! [`Invalidation`]s, which whoever changed the tree takes and delivers.

mod apply;
mod dir;
mod listing;
mod node;
mod own;
mod part;
mod shrink;
#[cfg(test)]
mod tests;
mod unordered;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use fuse::NodeId;
use ledger::Account;
use seaweed::Entry;

pub(crate) use apply::{Moved, Placed};
use dir::Child;
pub(crate) use dir::{Dir, weight};
pub(crate) use listing::{Listed, in_order};
pub(crate) use node::{Change, Content, Node, Place};
pub(crate) use shrink::Asked;

/// Something the kernel must no longer believe.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Invalidation {
    /// That the name exists, or that it does not.
    Name(NodeId, Arc<str>),
    /// The attributes.
    Attr(NodeId),
    /// The attributes and the bytes (of a directory: its listing).
    Data(NodeId),
}

/// A node as it is handed out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub(crate) node: NodeId,
    /// Whether the kernel may keep it.
    pub(crate) fresh: bool,
}

/// The answer to "what is this name?" from memory.
#[derive(Debug)]
pub(crate) enum Found {
    /// It exists; one lookup was counted.
    Known(Known),
    /// It exists, but has no node yet: see [`Tree::adopt`].
    Unnamed,
    /// It does not exist.
    Absent,
    /// The filer has to be asked.
    Unknown(Question),
    /// The directory is not a directory.
    NotADirectory,
    /// The directory is not known, or was removed.
    Stale,
}

/// A question to the filer, with what is needed to judge the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// Path of the directory.
    pub(crate) directory: String,
    /// Number of the last event applied when the question was asked.
    pub(crate) seq: u64,
}

#[derive(Debug)]
pub(crate) struct Tree {
    nodes: HashMap<NodeId, Node>,
    /// Those among them that are directories.
    dirs: HashSet<NodeId>,
    /// The nodes in the order in which they are looked at when memory is short; see [`shrink`].
    queue: VecDeque<NodeId>,
    /// Memory is short: what the kernel forgets is forgotten here too.
    is_tight: bool,
    /// Where the memory of all this is counted.
    account: Account,
    next_node: u64,
    /// The node of each hard link group that the kernel knows.
    link_nodes: HashMap<Bytes, NodeId>,
    /// The known names of each hard link group.
    link_names: HashMap<Bytes, HashSet<(NodeId, Arc<str>)>>,
    root_path: String,
    seq: u64,
    /// Whether the stream of events is whole, so that what is kept is true.
    trusted: bool,
    /// The directory that the filer is moving for us.
    moving: Option<String>,
    dir_max_entries: usize,
    /// What the kernel must be told and has not been yet.
    told: Vec<Invalidation>,
    /// Names, by path, of which we do not know whether our change of them was made: the events
    /// of that change are news to us, and to the kernel.
    uncertain: HashSet<(String, Arc<str>)>,
}

impl Tree {
    /// A tree of which only the root is known. Not trusted until told so.
    pub(crate) fn new(
        root_path: String,
        root: Arc<Entry>,
        dir_max_entries: usize,
        account: Account,
    ) -> Self {
        let root = Node::new(Place::Gone, root, &account);
        // The kernel holds the root without ever asking for it by name.
        root.count_lookup();
        Self {
            nodes: HashMap::from([(NodeId::ROOT, root)]),
            dirs: HashSet::from([NodeId::ROOT]),
            queue: VecDeque::from([NodeId::ROOT]),
            is_tight: false,
            account,
            next_node: NodeId::ROOT.0 + 1,
            link_nodes: HashMap::new(),
            link_names: HashMap::new(),
            root_path,
            seq: 0,
            trusted: false,
            moving: None,
            dir_max_entries: match dir_max_entries {
                0 => usize::MAX,
                bound => bound,
            },
            told: Vec::new(),
            uncertain: HashSet::new(),
        }
    }

    /// What the kernel must be told after the calls since the last time this was asked.
    #[must_use]
    pub(crate) fn take_told(&mut self) -> Vec<Invalidation> {
        std::mem::take(&mut self.told)
    }

    pub(crate) fn is_trusted(&self) -> bool {
        self.trusted
    }

    /// Number of the last event applied.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// How many nodes and how many names without one are held.
    pub(crate) fn size(&self) -> (usize, usize) {
        let dirs = self.dirs.iter().filter_map(|id| self.nodes.get(id));
        let names = dirs.filter_map(|node| node.dir.as_ref());
        let names: usize = names.map(|dir| dir.children.len()).sum();
        (self.nodes.len(), names)
    }

    /// Looks for `name`, counting a lookup when it is found.
    pub(crate) fn find(&self, parent: NodeId, name: &str) -> Found {
        let dir = match self.nodes.get(&parent) {
            None => return Found::Stale,
            Some(node) => match &node.dir {
                None => return Found::NotADirectory,
                Some(dir) => {
                    node.mark_used();
                    dir
                }
            },
        };
        if self.trusted {
            match dir.children.get(name) {
                Some(Child {
                    entry: Some(_),
                    node: None,
                    ..
                }) => return Found::Unnamed,
                Some(Child {
                    entry: Some(_),
                    node: Some(id),
                    ..
                }) => {
                    if let Some(node) = self.nodes.get(id).filter(|node| !node.stale) {
                        node.mark_used();
                        node.count_lookup();
                        return Found::Known(Known {
                            node: *id,
                            fresh: true,
                        });
                    }
                }
                Some(Child { entry: None, .. }) => {}
                None if dir.complete => return Found::Absent,
                None => {}
            }
        }
        match self.path(parent) {
            Some(directory) => Found::Unknown(Question {
                directory,
                seq: self.seq,
            }),
            None => Found::Stale,
        }
    }

    /// Gives a node to a listed name that has none, counting a lookup. `None` when it is no
    /// longer there: look again.
    pub(crate) fn adopt(&mut self, parent: NodeId, name: &str) -> Option<Known> {
        let dir = self.nodes.get(&parent)?.dir.as_ref()?;
        let (name, child) = dir.children.get_key_value(name)?;
        let (name, entry, fence) = (Arc::clone(name), child.entry.clone()?, child.fence);
        let node = self.put(parent, &name, entry, fence);
        Some(self.hand_out(node, true))
    }

    /// Keeps the filer's answer that `name` exists and hands its node out. The answer is not
    /// kept as true when an event overtook it.
    pub(crate) fn found(
        &mut self,
        parent: NodeId,
        name: &str,
        question: &Question,
        entry: Arc<Entry>,
        fence: i64,
    ) -> Option<Known> {
        let fresh = self.is_still_true(parent, name, question, fence);
        let dir = self.nodes.get_mut(&parent)?.dir.as_mut()?;
        let name: Arc<str> = match dir.children.get_key_value(name) {
            Some((name, _)) => Arc::clone(name),
            None => name.into(),
        };
        if !dir.complete {
            dir.misses = dir.misses.saturating_add(1);
        }
        let node = self.put(parent, &name, entry, fence);
        if !fresh {
            self.distrust_name(parent, &name);
        }
        Some(self.hand_out(node, fresh && self.trusted))
    }

    /// Gives a node to a name that a listing named, counting a lookup. `None` when the name has
    /// changed since: the kernel has to look it up.
    pub(crate) fn adopt_listed(
        &mut self,
        parent: NodeId,
        listed: &Listed,
        asked: Option<&(Question, i64)>,
    ) -> Option<Known> {
        let dir = self.nodes.get(&parent)?.dir.as_ref()?;
        let complete = dir.complete;
        match dir.children.get(&listed.name) {
            Some(Child {
                node: Some(node), ..
            }) => {
                let held = self.nodes.get(node).filter(|held| !held.stale)?;
                if !self.trusted || held.content.entry.kind != listed.entry.kind {
                    return None;
                }
                Some(self.hand_out(*node, true))
            }
            Some(Child { entry: Some(_), .. }) => self.adopt(parent, &listed.name),
            Some(_) => None,
            None if complete => None,
            None => {
                let (question, fence) = asked?;
                if !self.is_still_true(parent, &listed.name, question, *fence) {
                    return None;
                }
                let entry = Arc::clone(&listed.entry);
                let node = self.put(parent, &listed.name, entry, *fence);
                Some(self.hand_out(node, self.trusted))
            }
        }
    }

    /// Keeps the filer's answer about a name without handing it out.
    pub(crate) fn learned(
        &mut self,
        parent: NodeId,
        name: &str,
        question: &Question,
        answer: Option<(Arc<Entry>, i64)>,
    ) {
        let fence = answer.as_ref().map_or(i64::MIN, |(_, fence)| *fence);
        if !self.is_still_true(parent, name, question, fence) {
            return;
        }
        match answer {
            None => {
                self.absent(parent, name, question);
            }
            Some((entry, fence)) => {
                let name: Arc<str> = name.into();
                let node = self.child(parent, &name).and_then(|child| child.node);
                self.set_child(parent, &name, Some(Arc::clone(&entry)), node, fence);
                if let Some(node) = node {
                    self.update_node(node, entry);
                }
            }
        }
    }

    /// How many names of a directory are directories; `None` when the filer has to be asked.
    pub(crate) fn subdirectories(&self, node: NodeId) -> Option<u32> {
        let dir = self.nodes.get(&node)?.dir.as_ref()?;
        if !self.trusted || !dir.complete {
            return None;
        }
        let mut count = 0;
        for child in dir.children.values() {
            count += u32::from(child.entry.as_ref()?.is_directory());
        }
        Some(count)
    }

    /// Keeps the filer's answer that `name` does not exist; whether the kernel may keep it too.
    pub(crate) fn absent(&mut self, parent: NodeId, name: &str, question: &Question) -> bool {
        if !self.is_still_true(parent, name, question, i64::MIN) {
            return false;
        }
        let Some(dir) = self
            .nodes
            .get_mut(&parent)
            .and_then(|node| node.dir.as_mut())
        else {
            return false;
        };
        dir.misses = dir.misses.saturating_add(1);
        if let Some((name, child)) = dir.children.remove_entry(name) {
            dir.generation += 1;
            self.unname(parent, &name, &child);
            self.told.push(Invalidation::Name(parent, name));
        }
        self.trusted
    }

    /// What a node holds.
    pub(crate) fn content(&self, node: NodeId) -> Option<&Arc<Content>> {
        self.nodes.get(&node).map(|node| &node.content)
    }

    /// The node of a name, if the kernel knows it.
    pub(crate) fn node_of(&self, parent: NodeId, name: &str) -> Option<NodeId> {
        self.child(parent, name)?.node
    }

    /// The node itself.
    pub(crate) fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(&node)
    }

    /// The directory behind a node.
    pub(crate) fn dir_mut(&mut self, node: NodeId) -> Option<&mut Dir> {
        self.nodes.get_mut(&node)?.dir.as_deref_mut()
    }

    /// Nodes with an open handle, for a refresh after a gap in the stream.
    pub(crate) fn open_nodes(&self) -> Vec<NodeId> {
        let open = self.nodes.iter().filter(|(_, node)| node.is_open());
        open.map(|(id, _)| *id).collect()
    }

    /// All nodes.
    pub(crate) fn node_ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// Where a node's entry is at the filer: directory, name and the number of the last event.
    /// `None` when it has no name any more.
    pub(crate) fn locate(&self, node: NodeId) -> Option<(String, String, u64)> {
        if node == NodeId::ROOT {
            let (directory, name) = split_path(&self.root_path);
            return Some((directory.to_owned(), name.to_owned(), self.seq));
        }
        match &self.nodes.get(&node)?.place {
            Place::In(parent, name) => {
                Some((self.path(*parent)?, name.as_ref().to_owned(), self.seq))
            }
            Place::At(directory, name) => {
                Some((directory.clone(), name.as_ref().to_owned(), self.seq))
            }
            Place::Gone => None,
        }
    }

    /// Takes the filer's newer entry of a node.
    pub(crate) fn refreshed(&mut self, node: NodeId, entry: Arc<Entry>, fence: i64, seq: u64) {
        self.update_node(node, Arc::clone(&entry));
        self.note_link(node);
        let Some(held) = self.nodes.get(&node) else {
            return;
        };
        if let Place::In(parent, name) = held.place.clone() {
            let dir = self
                .nodes
                .get_mut(&parent)
                .and_then(|node| node.dir.as_mut());
            let overtaken = match dir {
                Some(dir) => {
                    let overtaken = dir.changed_since(&name, seq, fence);
                    if let Some(child) = dir.children.get_mut(&name) {
                        child.set_entry((!overtaken).then_some(entry));
                        child.fence = child.fence.max(fence);
                    }
                    overtaken
                }
                None => false,
            };
            if overtaken && let Some(held) = self.nodes.get_mut(&node) {
                held.stale = true;
            }
        }
    }

    /// The node's last name is gone at the filer.
    pub(crate) fn vanished(&mut self, node: NodeId) {
        if node == NodeId::ROOT {
            return;
        }
        if let Some(held) = self.nodes.get_mut(&node) {
            held.stale = false;
            if let Place::In(parent, name) = std::mem::replace(&mut held.place, Place::Gone)
                && let Some(dir) = self.dir_mut(parent)
                && let Some(child) = dir.children.remove(&name)
            {
                dir.generation += 1;
                self.unlink_name(&child, parent, &name);
            }
        }
    }

    /// The kernel takes back `count` lookups of `node`.
    pub(crate) fn forget(&mut self, node: NodeId, count: u64) {
        let unused = self.nodes.get(&node).is_some_and(|held| held.forget(count));
        if unused {
            self.remove_node(node);
        }
    }

    /// A handle of `node` was closed.
    pub(crate) fn closed(&mut self, node: NodeId) {
        let unused = self.nodes.get(&node).is_some_and(Node::close);
        if unused {
            self.remove_node(node);
        }
    }

    /// The filer path of a node that is reached from the root.
    pub(crate) fn path(&self, mut node: NodeId) -> Option<String> {
        let mut names: Vec<&str> = Vec::new();
        let mut prefix = self.root_path.as_str();
        while node != NodeId::ROOT {
            match &self.nodes.get(&node)?.place {
                Place::In(parent, name) => {
                    names.push(name);
                    node = *parent;
                }
                Place::At(directory, name) => {
                    names.push(name);
                    prefix = directory;
                    break;
                }
                Place::Gone => return None,
            }
        }
        let mut path = prefix.trim_end_matches('/').to_owned();
        for name in names.iter().rev() {
            path.push('/');
            path.push_str(name);
        }
        Some(if path.is_empty() {
            "/".to_owned()
        } else {
            path
        })
    }

    /// While the filer moves the directory at `path`, name by name, its answers about what is below
    /// say nothing; `None` when it has.
    pub(crate) fn set_moving(&mut self, path: Option<String>) {
        self.moving = path;
    }

    /// Whether what `directory` holds is being moved: itself or something above it, or `name` in it.
    pub(crate) fn is_moving(&self, directory: &str, name: &str) -> bool {
        let Some(moving) = &self.moving else {
            return false;
        };
        let below = directory.strip_prefix(moving.as_str());
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
            || split_path(moving) == (directory, name)
    }

    /// Whether an answer that `name` does not exist may be about a place that `parent` was moved from, or is
    /// being moved from.
    pub(crate) fn was_elsewhere(&self, parent: NodeId, name: &str, question: &Question) -> bool {
        self.is_moving(&question.directory, name)
            || self
                .path(parent)
                .is_some_and(|now| now != question.directory)
    }

    /// Whether the node has this name.
    pub(crate) fn is_at(&self, node: NodeId, directory: &str, name: &str) -> bool {
        let place = self.locate(node);
        place.is_some_and(|place| (place.0.as_str(), place.1.as_str()) == (directory, name))
    }

    /// The node of a filer path, if it and all above it are nodes.
    fn walk(&self, path: &str) -> Option<NodeId> {
        let below = match self.root_path.as_str() {
            "/" => path,
            root => path.strip_prefix(root)?,
        };
        if !below.is_empty() && !below.starts_with('/') {
            return None;
        }
        let mut node = NodeId::ROOT;
        for name in below.split('/').filter(|name| !name.is_empty()) {
            let dir = self.nodes.get(&node)?.dir.as_ref()?;
            node = dir.children.get(name)?.node?;
        }
        Some(node)
    }

    /// Whether no change since the question, other than those that its answer contains, can
    /// have changed it.
    fn is_still_true(&self, parent: NodeId, name: &str, question: &Question, fence: i64) -> bool {
        let dir = self.nodes.get(&parent).and_then(|node| node.dir.as_ref());
        dir.is_some_and(|dir| !dir.changed_since(name, question.seq, fence))
            && self.path(parent).as_deref() == Some(&question.directory)
            && !self.is_moving(&question.directory, name)
    }

    /// Puts `entry` under `name` and makes sure that it has a node.
    fn put(&mut self, parent: NodeId, name: &Arc<str>, entry: Arc<Entry>, fence: i64) -> NodeId {
        let known = self.child(parent, name).and_then(|child| child.node);
        let linked = entry.hard_link_id.clone();
        let shared = linked
            .as_ref()
            .and_then(|id| self.link_nodes.get(id).copied());
        for id in [shared, known].into_iter().flatten() {
            let bound = self.nodes.get(&id);
            if bound.is_some_and(|held| held.is_bound_to_other(&entry)) {
                self.part(id, &entry);
            }
        }
        let reusable = shared.or(known).filter(|id| {
            let node = self.nodes.get(id);
            node.is_some_and(|node| {
                node.content.entry.kind == entry.kind && !node.is_bound_to_other(&entry)
            })
        });
        let node = match reusable {
            Some(node) => {
                self.update_node(node, Arc::clone(&entry));
                if let Some(held) = self.nodes.get_mut(&node) {
                    held.place = Place::In(parent, Arc::clone(name));
                }
                node
            }
            None => {
                let node = NodeId(self.next_node);
                self.next_node += 1;
                self.enqueue(node, entry.is_directory());
                let place = Place::In(parent, Arc::clone(name));
                self.nodes
                    .insert(node, Node::new(place, Arc::clone(&entry), &self.account));
                node
            }
        };
        if let Some(old) = known.filter(|old| *old != node) {
            self.detach(old, parent, name);
        }
        if let Some(id) = linked {
            self.link_nodes.insert(id, node);
        }
        self.set_child(parent, name, Some(entry), Some(node), fence);
        node
    }

    /// Writes the name into its directory, keeping the hard link index right.
    fn set_child(
        &mut self,
        parent: NodeId,
        name: &Arc<str>,
        entry: Option<Arc<Entry>>,
        node: Option<NodeId>,
        fence: i64,
    ) {
        let child = Child::new(&self.account, name, entry, node, fence);
        let group = self.link_of(&child);
        let Some(dir) = self.dir_mut(parent) else {
            return;
        };
        let old = dir.children.insert(Arc::clone(name), child);
        if let Some(old) = old
            && self.link_of(&old) != group
        {
            self.unlink_name(&old, parent, name);
        }
        if let Some(id) = group {
            let names = self.link_names.entry(id).or_default();
            names.insert((parent, Arc::clone(name)));
        }
    }

    /// Remembers by which id the names of a hard-linked node are found.
    fn note_link(&mut self, node: NodeId) {
        let Some(held) = self.nodes.get(&node) else {
            return;
        };
        let Some(id) = held.content.entry.hard_link_id.clone() else {
            return;
        };
        if let Place::In(parent, name) = &held.place {
            let names = self.link_names.entry(id.clone()).or_default();
            names.insert((*parent, Arc::clone(name)));
        }
        self.link_nodes.entry(id).or_insert(node);
    }

    fn child(&self, parent: NodeId, name: &str) -> Option<&Child> {
        self.nodes.get(&parent)?.dir.as_ref()?.children.get(name)
    }

    /// The answer is used once and asked for again next time.
    fn distrust_name(&mut self, parent: NodeId, name: &str) {
        if let Some(dir) = self.dir_mut(parent)
            && let Some(child) = dir.children.get_mut(name)
        {
            child.set_entry(None);
        }
    }

    fn hand_out(&self, node: NodeId, fresh: bool) -> Known {
        // `put` has just made sure that the node exists.
        let held = &self.nodes[&node];
        held.count_lookup();
        Known { node, fresh }
    }

    /// A name is gone from its directory: its node loses it.
    fn unname(&mut self, parent: NodeId, name: &Arc<str>, child: &Child) {
        self.unlink_name(child, parent, name);
        if let Some(node) = child.node {
            self.detach(node, parent, name);
        }
    }

    /// A node loses one of its names, perhaps its last.
    fn detach(&mut self, node: NodeId, parent: NodeId, name: &Arc<str>) {
        let Some(held) = self.nodes.get_mut(&node) else {
            return;
        };
        if held.place != Place::In(parent, Arc::clone(name)) {
            return;
        }
        held.place = Place::Gone;
        let linked = held.content.entry.hard_link_id.as_ref();
        let other = linked
            .and_then(|id| self.link_names.get(id))
            .and_then(|names| {
                names
                    .iter()
                    .find(|(dir, other)| (dir, other) != (&parent, name))
            });
        if let Some((dir, other)) = other {
            held.place = Place::In(*dir, Arc::clone(other));
            held.lose_link();
            held.stale = true;
        } else if linked.is_some() {
            // Its other names are not known here, but they are there.
            held.lose_link();
        }
    }

    /// Takes a name out of its hard link group.
    fn unlink_name(&mut self, child: &Child, parent: NodeId, name: &Arc<str>) {
        if let Some(id) = self.link_of(child)
            && let Some(names) = self.link_names.get_mut(&id)
        {
            names.remove(&(parent, Arc::clone(name)));
            if names.is_empty() {
                self.link_names.remove(&id);
            }
        }
    }

    /// The hard link group of a name: as its entry says, or, where that has to be asked for
    /// again, its node.
    fn link_of(&self, child: &Child) -> Option<Bytes> {
        let known = child.entry.as_ref();
        let held = || {
            let node = child.node.and_then(|node| self.nodes.get(&node));
            node.map(|node| &node.content.entry)
        };
        known.or_else(held)?.hard_link_id.clone()
    }

    fn remove_node(&mut self, node: NodeId) {
        if node == NodeId::ROOT {
            return;
        }
        let Some(removed) = self.nodes.remove(&node) else {
            return;
        };
        self.dirs.remove(&node);
        let tight = self.is_tight;
        if let Place::In(parent, name) = &removed.place
            && let Some(dir) = self.dir_mut(*parent)
            && let Some(child) = dir.children.get_mut(name)
            && child.node == Some(node)
        {
            child.node = None;
            let is_worth_it = child.entry.is_some() || dir.complete;
            if tight || !is_worth_it {
                dir.complete &= !tight;
                let child = dir.children.remove(name);
                child.inspect(|child| self.unlink_name(child, *parent, name));
                // The name alone does not say whose link it was.
                if let Some(id) = &removed.content.entry.hard_link_id
                    && let Some(names) = self.link_names.get_mut(id)
                {
                    names.remove(&(*parent, Arc::clone(name)));
                    if names.is_empty() {
                        self.link_names.remove(id);
                    }
                }
            }
        }
        if let Some(id) = &removed.content.entry.hard_link_id
            && self.link_nodes.get(id) == Some(&node)
        {
            self.link_nodes.remove(id);
            for (parent, name) in self.link_names.get(id).cloned().unwrap_or_default() {
                if let Some(dir) = self.dir_mut(parent)
                    && let Some(child) = dir.children.get_mut(&name)
                {
                    child.node = None;
                }
            }
        }
        for (name, child) in removed.dir.into_iter().flat_map(|dir| dir.children) {
            self.unlink_name(&child, node, &name);
        }
    }
}

/// Splits `/a/b` into `/a` and `b`; the root into `/` and the empty name.
pub(crate) fn split_path(path: &str) -> (&str, &str) {
    match path.trim_end_matches('/').rsplit_once('/') {
        None => ("/", ""),
        Some(("", name)) => ("/", name),
        Some(split) => split,
    }
}
