//! Events that nothing orders against what is kept: another filer made the change, or its log told
//! of it.
//!
//! Such an event may be older than the answer that a name was kept from, even one of our own, and by
//! seconds. So it says which names have to be asked for again, and nothing about what they are. A rename does
//! say where an inode went, and whoever has that open depends on it; but the old name may stand for a newer
//! file by now, so only the inode that the event is about is moved.

use std::sync::Arc;

use fuse::NodeId;
use seaweed::Entry;

use super::{Invalidation, Moved, Place, Placed, Tree};

impl Tree {
    pub(super) fn apply_unordered(&mut self, event: Moved) {
        match (event.old.clone(), event.new.clone()) {
            (Some(old), Some((new, entry))) if old != new => {
                self.move_unordered(&old, &new, &entry, &event);
            }
            (_, Some((new, entry))) => {
                if self.is_root(&new) {
                    self.update_node(NodeId::ROOT, entry);
                    return;
                }
                if let Some(id) = entry.hard_link_id.clone() {
                    self.doubt_links(&id);
                }
                // A name that came is news to whoever has listed the directory, unless we made it.
                self.doubt_at(&new, &event, event.old.is_none() && !event.ours);
            }
            (Some(old), None) => {
                self.doubt_at(&old, &event, true);
                self.doom(&old);
            }
            (None, None) => {}
        }
    }

    fn move_unordered(&mut self, old: &Placed, new: &Placed, entry: &Entry, event: &Moved) {
        // Of our own the answer has moved the node, or will.
        let moved = match event.ours {
            true => None,
            false => self.take_moved(old, entry, event),
        };
        self.doubt_at(old, event, true);
        if let Some(node) = moved {
            self.place_moved(node, new, entry, event);
        }
        self.doubt_at(new, event, true);
        if moved.is_none() && !event.ours {
            self.doom(old);
            self.doom(new);
        }
    }

    /// Whatever is known by this name may have lost it.
    fn doom(&mut self, at: &Placed) {
        let parent = self.walk(&at.directory);
        let node = parent.and_then(|parent| self.child(parent, &at.name)?.node);
        if let Some(held) = node.and_then(|node| self.nodes.get_mut(&node)) {
            held.doomed = true;
        }
    }

    /// Takes the node from its old name, if it still is the inode that was moved.
    fn take_moved(&mut self, old: &Placed, entry: &Entry, event: &Moved) -> Option<NodeId> {
        let parent = self.walk(&old.directory)?;
        let child = self.child(parent, &old.name)?;
        let node = child.node?;
        let held = &self.nodes.get(&node)?.content.entry;
        // Numbers that are not stored come from the path.
        let is_it = held.inode == entry.inode
            || event.was == Some(held.inode)
            || (held.hard_link_id.is_some() && held.hard_link_id == entry.hard_link_id);
        if !is_it {
            return None;
        }
        let fence = child.fence;
        let child = self.take_child(parent, &old.name)?;
        self.unlink_name(&child, parent, &old.name);
        // A newer file may have the old name by now.
        self.set_child(parent, &old.name, None, None, fence);
        Some(node)
    }

    /// Gives a node that was moved its new name, unless another file is there that came later, as far as
    /// two clocks can say.
    fn place_moved(&mut self, node: NodeId, new: &Placed, entry: &Entry, event: &Moved) {
        let mut place = Place::At(new.directory.clone(), Arc::clone(&new.name));
        if let Some(parent) = self.walk(&new.directory) {
            place = Place::In(parent, Arc::clone(&new.name));
            let there = self.child(parent, &new.name);
            let other = there.and_then(|child| Some((child.node?, child.fence)));
            let is_other = other.filter(|(id, _)| {
                let held = self.nodes.get(id);
                *id != node && held.is_none_or(|held| held.content.entry.inode != entry.inode)
            });
            match is_other {
                Some((_, fence)) if event.ts_ns <= fence => place = Place::Gone,
                _ => {
                    if let Some(replaced) = self.take_child(parent, &new.name) {
                        self.unname(parent, &new.name, &replaced);
                        let gone = replaced.node.filter(|gone| *gone != node);
                        self.told.extend(gone.map(Invalidation::Attr));
                    }
                    self.set_child(parent, &new.name, None, Some(node), event.ts_ns);
                    self.bound_dir(parent);
                }
            }
        }
        if let Some(held) = self.nodes.get_mut(&node) {
            held.place = place;
        }
        self.doubt_node(node);
    }

    /// The name is asked for before it is shown, here and by the kernel; with `listed`, its directory
    /// is listed again as well.
    fn doubt_at(&mut self, at: &Placed, event: &Moved, listed: bool) {
        let Some(parent) = self.walk(&at.directory) else {
            return;
        };
        let seq = self.seq;
        let Some(dir) = self.dir_mut(parent) else {
            return;
        };
        dir.touch(&at.name, seq, i64::MAX);
        if listed {
            dir.generation += 1;
            self.told.push(Invalidation::Data(parent));
            self.bump(parent, event);
        }
        self.told
            .push(Invalidation::Name(parent, Arc::clone(&at.name)));
        if self.child(parent, &at.name).is_some() {
            self.doubt_name(parent, &at.name);
        } else if self.dir_mut(parent).is_some_and(|dir| dir.complete) {
            // Not known is not the same as not there.
            self.set_child(parent, &at.name, None, None, event.ts_ns);
            self.bound_dir(parent);
        }
    }
}
