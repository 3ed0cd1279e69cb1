//! Whole directories: from the filer into the tree, and from the tree to readdir.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fuse::NodeId;
use seaweed::Entry;

use super::{Child, Tree, split_path};

/// One name of a listing.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub(crate) name: Arc<str>,
    pub(crate) entry: Arc<Entry>,
}

impl Tree {
    /// The names of a directory from memory; `None` when the filer has to be asked.
    pub(crate) fn listing(&mut self, node: NodeId) -> Option<Vec<Listed>> {
        let trusted = self.trusted;
        let dir = self.dir_mut(node)?;
        dir.used = Instant::now();
        if !trusted || !dir.complete {
            return None;
        }
        let mut all = Vec::with_capacity(dir.children.len());
        for (name, child) in &dir.children {
            all.push(Listed {
                name: Arc::clone(name),
                entry: Arc::clone(child.entry.as_ref()?),
            });
        }
        Some(all)
    }

    /// Keeps a whole listing that the filer began to give after event number `seq`. Names that
    /// events touched meanwhile are kept as names to ask for. Whether the listing was kept.
    pub(crate) fn listed(
        &mut self,
        node: NodeId,
        directory: &str,
        all: &[Listed],
        fence: i64,
        seq: u64,
    ) -> bool {
        let bound = self.dir_max_entries;
        let is_tight = self.is_tight;
        let moving = self.moving.as_deref().map_or("", |path| split_path(path).1);
        if self.path(node).as_deref() != Some(directory) || self.is_moving(directory, moving) {
            return false;
        }
        let Some(dir) = self.dir_mut(node) else {
            return false;
        };
        dir.misses = 0;
        dir.loading = false;
        if all.len() > bound {
            dir.too_large = true;
            return false;
        }
        if is_tight {
            // It would be dropped again at once.
            return false;
        }
        let Some(changed) = dir.all_changed_since(seq) else {
            return false;
        };
        let before = std::mem::take(&mut dir.children);
        let mut gone: Vec<(Arc<str>, Child)> = Vec::new();
        for (name, child) in before {
            let known = all.binary_search_by(|listed| listed.name.as_ref().cmp(&name));
            if known.is_ok() || changed.contains(&name) {
                dir.children.insert(name, child);
            } else {
                gone.push((name, child));
            }
        }
        dir.complete = true;
        dir.used = Instant::now();
        for (name, child) in &gone {
            self.unname(node, name, child);
        }
        for listed in all {
            let (known, kept_fence, ours) = match self.child(node, &listed.name) {
                Some(child) => (child.node, child.fence, child.ours),
                None => (None, i64::MIN, false),
            };
            if kept_fence > fence || changed.contains(&listed.name) {
                continue;
            }
            let entry = Some(Arc::clone(&listed.entry));
            self.set_child(node, &listed.name, entry, known, fence);
            if ours {
                self.mark_ours(node, &listed.name);
            }
            if let Some(known) = known {
                self.update_node(known, Arc::clone(&listed.entry));
            }
        }
        for name in changed {
            // What is known of when it was changed still holds.
            match self.child(node, &name) {
                Some(_) => self.distrust_name(node, &name),
                None => self.set_child(node, &name, None, None, i64::MIN),
            }
        }
        true
    }

    /// The names of a complete directory that have to be asked for.
    pub(crate) fn doubtful_names(&self, node: NodeId) -> Vec<Arc<str>> {
        let dir = self.nodes.get(&node).and_then(|node| node.dir.as_ref());
        let Some(dir) = dir.filter(|dir| dir.complete) else {
            return Vec::new();
        };
        let doubtful = dir
            .children
            .iter()
            .filter(|(_, child)| child.entry.is_none());
        doubtful.map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Whether the kernel may keep the listing it has; from now on it holds the current one.
    pub(crate) fn keep_listing(&mut self, node: NodeId) -> bool {
        let trusted = self.trusted;
        let Some(dir) = self.dir_mut(node) else {
            return false;
        };
        let keep = trusted && dir.cached_generation == dir.generation;
        dir.cached_generation = dir.generation;
        keep
    }

    /// Whether so many names were asked for one by one that listing the directory is cheaper;
    /// true once, until [`Tree::listed`] or [`Tree::not_listed`].
    pub(crate) fn wants_listing(&mut self, node: NodeId, misses: u32) -> bool {
        let wanted = self.trusted && !self.is_tight;
        let Some(dir) = self.dir_mut(node) else {
            return false;
        };
        let wants =
            wanted && !dir.complete && !dir.loading && !dir.too_large && dir.misses >= misses;
        dir.loading |= wants;
        wants
    }

    /// A listing was begun and failed, or found the directory too large to keep.
    pub(crate) fn not_listed(&mut self, node: NodeId, too_large: bool) {
        if let Some(dir) = self.dir_mut(node) {
            dir.loading = false;
            dir.misses = 0;
            dir.too_large |= too_large;
        }
    }

    /// Drops the listings that nobody looked into for `idle`; how many.
    pub(crate) fn evict_idle(&mut self, idle: Duration) -> usize {
        let now = Instant::now();
        let mut evicted = 0;
        for id in &self.dirs {
            if let Some(dir) = self.nodes.get_mut(id).and_then(|node| node.dir.as_mut())
                && dir.complete
                && now.saturating_duration_since(dir.used) >= idle
            {
                dir.evict();
                evicted += 1;
            }
        }
        evicted
    }
}

/// Brings a listing into the order that [`Tree::listed`] expects: by bytes of the name, each once.
pub(crate) fn in_order(mut all: Vec<Listed>) -> Vec<Listed> {
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all.dedup_by(|a, b| a.name == b.name);
    all
}

impl From<Entry> for Listed {
    fn from(entry: Entry) -> Self {
        Self {
            name: entry.name.as_str().into(),
            entry: Arc::new(entry),
        }
    }
}
