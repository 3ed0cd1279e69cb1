//! What we did to the tree ourselves.
//!
//! The answer to a change carries the filer's clock, like the answer to a
//! question, so it is kept in the same way. Two things differ. The kernel has
//! made the change in its own caches and needs no telling. And the event of the
//! change, which arrives before or after the answer, is nothing new: names
//! remember as `ours` that they contain it, and names that are gone are buried
//! for as long as older events about them may come.

use std::sync::Arc;
use std::time::SystemTime;

use fuse::NodeId;
use seaweed::Entry;

use super::{Known, Moved, Place, Question, Tree};

/// Names in doubt that are remembered; of more, the event that comes late is news to the tree only.
const UNCERTAIN_MAX: usize = 65_536;

impl Tree {
    /// Changes the tree without the kernel being told.
    pub(crate) fn quietly<T>(&mut self, with: impl FnOnce(&mut Self) -> T) -> T {
        let before = self.told.len();
        let done = with(self);
        self.told.truncate(before);
        done
    }

    /// We have made `name`, which was not there. Hands its node out.
    pub(crate) fn made(
        &mut self,
        parent: NodeId,
        name: &str,
        question: &Question,
        entry: Arc<Entry>,
        fence: i64,
    ) -> Option<Known> {
        let fresh = self.is_still_true(parent, name, question, fence);
        let empty = self.trusted && entry.is_directory();
        let name: Arc<str> = name.into();
        self.quietly(|tree| {
            tree.note(parent, &name, fence);
            // Whatever had the name is another inode.
            if let Some(child) = tree.take_child(parent, &name) {
                tree.unname(parent, &name, &child);
            }
            let node = tree.put(parent, &name, entry, fence);
            tree.mark_ours(parent, &name);
            if !fresh {
                tree.distrust_name(parent, &name);
            }
            tree.bound_dir(parent);
            if let Some(dir) = tree.dir_mut(node) {
                // Nobody can have put anything there that its events do not tell.
                dir.complete = empty;
            }
            Some(tree.hand_out(node, fresh && tree.trusted))
        })
    }

    /// We have given a node one more name.
    pub(crate) fn linked(
        &mut self,
        parent: NodeId,
        name: &str,
        question: &Question,
        entry: Arc<Entry>,
        fence: i64,
    ) -> Option<Known> {
        let fresh = self.is_still_true(parent, name, question, fence);
        let name: Arc<str> = name.into();
        self.quietly(|tree| {
            tree.note(parent, &name, fence);
            let node = tree.put(parent, &name, entry, fence);
            tree.mark_ours(parent, &name);
            if !fresh {
                tree.distrust_name(parent, &name);
            }
            Some(tree.hand_out(node, fresh && tree.trusted))
        })
    }

    /// We have removed `name`.
    pub(crate) fn unmade(&mut self, parent: NodeId, name: &str, fence: i64) {
        let name: Arc<str> = name.into();
        self.quietly(|tree| {
            tree.note(parent, &name, fence);
            let Some(dir) = tree.dir_mut(parent) else {
                return;
            };
            if dir
                .children
                .get(&name)
                .is_some_and(|child| child.fence > fence)
            {
                // Somebody has made it anew, and we know already.
                return;
            }
            dir.bury(&name, fence);
            if let Some(child) = tree.take_child(parent, &name) {
                let linked = tree.link_of(&child);
                tree.unname(parent, &name, &child);
                if let Some(id) = linked {
                    tree.doubt_links(&id);
                }
            }
        });
    }

    /// We have moved a name, which was that of `node` if it has one; `entry` is what is at the
    /// new one now. The event of it may have been here already.
    pub(crate) fn moved(
        &mut self,
        node: Option<NodeId>,
        from: (NodeId, &str),
        to: (NodeId, &str),
        entry: Arc<Entry>,
        fence: i64,
    ) {
        let (old, new): (Arc<str>, Arc<str>) = (from.1.into(), to.1.into());
        self.quietly(|tree| {
            tree.note(from.0, &old, fence);
            tree.note(to.0, &new, fence);
            let child = tree.take_child(from.0, &old);
            let node = node.or(child.as_ref().and_then(|child| child.node));
            if let Some(child) = &child {
                tree.unlink_name(child, from.0, &old);
            }
            if let Some(dir) = tree.dir_mut(from.0) {
                dir.bury(&old, fence);
            }
            if let Some(replaced) = tree.take_child(to.0, &new) {
                let linked = tree.link_of(&replaced);
                tree.unname(to.0, &new, &replaced);
                if let Some(id) = linked.filter(|_| replaced.node != node) {
                    tree.doubt_links(&id);
                }
            }
            let node = node.filter(|node| tree.nodes.contains_key(node));
            if let Some(held) = node.and_then(|node| tree.nodes.get_mut(&node)) {
                held.place = Place::In(to.0, Arc::clone(&new));
                held.update_own(Arc::clone(&entry));
            }
            let keep = node.is_some() || tree.dir_mut(to.0).is_some_and(|dir| dir.complete);
            if keep {
                tree.set_child(to.0, &new, Some(entry), node, fence);
                tree.mark_ours(to.0, &new);
                tree.bound_dir(to.0);
            }
        });
    }

    /// We have stored another version of a node's entry, asking after change number `seq`.
    pub(crate) fn stored(&mut self, node: NodeId, entry: Arc<Entry>, fence: i64, seq: u64) {
        let linked = entry.hard_link_id.clone();
        self.quietly(|tree| {
            if let Some(id) = linked {
                // The other names have an older entry.
                let names = tree.link_names.get(&id).cloned().unwrap_or_default();
                for (parent, name) in names {
                    tree.distrust_name(parent, &name);
                }
            }
            if let Some(held) = tree.nodes.get_mut(&node) {
                held.update_own(Arc::clone(&entry));
            }
            tree.refreshed(node, entry, fence, seq);
            let place = tree.nodes.get(&node).map(|held| held.place.clone());
            if let Some(Place::In(parent, name)) = place {
                tree.seq += 1;
                let seq = tree.seq;
                if let Some(dir) = tree.dir_mut(parent) {
                    dir.touch(&name, seq, fence);
                }
                tree.mark_ours(parent, &name);
            }
        });
    }

    /// Only its handles have the node, and they have changed it.
    pub(crate) fn amended(&mut self, node: NodeId, entry: Arc<Entry>) {
        if let Some(held) = self.nodes.get_mut(&node) {
            held.update_own(entry);
        }
    }

    /// A name in the directory came or went just now.
    pub(crate) fn touch_dir(&mut self, node: NodeId, now: SystemTime) {
        if let Some(dir) = self.dir_mut(node) {
            dir.touched = dir.touched.max(Some(now));
        }
    }

    /// When a name in the directory came or went last, as far as its entry may not say so.
    pub(crate) fn touched(&self, node: NodeId) -> Option<SystemTime> {
        self.nodes.get(&node)?.dir.as_ref()?.touched
    }

    /// The times of the directory are being set; gives what they were without that.
    pub(crate) fn untouch(&mut self, node: NodeId) -> Option<SystemTime> {
        self.dir_mut(node)?.touched.take()
    }

    /// A change of `name` was begun, and nobody can say whether it was made.
    pub(crate) fn in_doubt(&mut self, parent: NodeId, name: &str) {
        let name: Arc<str> = name.into();
        if let Some(directory) = self.path(parent)
            && self.uncertain.len() < UNCERTAIN_MAX
        {
            self.uncertain.insert((directory, Arc::clone(&name)));
        }
        self.seq += 1;
        let seq = self.seq;
        if let Some(dir) = self.dir_mut(parent) {
            dir.touch(&name, seq, i64::MAX);
            dir.generation += 1;
            // Without the name one would believe that it does not exist.
            dir.complete = false;
        }
        self.doubt_name(parent, &name);
        self.told.push(super::Invalidation::Name(parent, name));
        self.told.push(super::Invalidation::Data(parent));
    }

    /// Events were lost. What is in doubt may still happen; but of very many, most will not.
    pub(super) fn bound_uncertain(&mut self) {
        if self.uncertain.len() >= UNCERTAIN_MAX / 2 {
            self.uncertain.clear();
        }
    }

    /// Whether an event of ours is about a name that is in doubt; then it is no longer.
    pub(super) fn is_uncertain(&mut self, event: &Moved) -> bool {
        if self.uncertain.is_empty() {
            return false;
        }
        let old = event.old.iter();
        let new = event.new.iter().map(|(placed, _)| placed);
        let mut found = false;
        for placed in old.chain(new) {
            let key = (placed.directory.clone(), Arc::clone(&placed.name));
            found |= self.uncertain.remove(&key);
        }
        found
    }

    /// A change of ours is about `name`: answers to older questions do not count.
    fn note(&mut self, parent: NodeId, name: &Arc<str>, fence: i64) {
        self.seq += 1;
        let seq = self.seq;
        if let Some(dir) = self.dir_mut(parent) {
            dir.touch(name, seq, fence);
            dir.generation += 1;
        }
    }

    pub(super) fn mark_ours(&mut self, parent: NodeId, name: &str) {
        if let Some(dir) = self.dir_mut(parent)
            && let Some(child) = dir.children.get_mut(name)
        {
            child.ours = true;
        }
    }
}
