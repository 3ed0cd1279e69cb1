//! A name that stands for another inode than the one that the kernel knows by it: one of another kind, or
//! another version of a file that the kernel reads without asking.
//!
//! Handles that were opened past us read a file of ours that has one version, and the kernel lets
//! no other handle of that inode read anything else. So inode and name part: the inode
//! stays with those who have it open, with the bytes and the size they see, as when a file is
//! replaced by a rename; the name gets another inode at the next look-up.

use std::sync::Arc;

use fuse::NodeId;
use seaweed::Entry;

use super::{Invalidation, Place, Tree};

impl Tree {
    /// Takes all names from `node`, as they stand for the content of `entry` now.
    pub(super) fn part(&mut self, node: NodeId, entry: &Entry) {
        let Some(held) = self.nodes.get_mut(&node) else {
            return;
        };
        let place = std::mem::replace(&mut held.place, Place::Gone);
        held.stale = false;
        let group = held.content.entry.hard_link_id.clone();
        let mut names = Vec::new();
        if let Place::In(parent, name) = place {
            names.push((parent, name));
        }
        if let Some(id) = group {
            names.extend(self.link_names.get(&id).into_iter().flatten().cloned());
            if self.link_nodes.get(&id) == Some(&node) {
                self.link_nodes.remove(&id);
            }
        }
        self.told.push(Invalidation::Attr(node));
        for (parent, name) in names {
            let Some(dir) = self.dir_mut(parent) else {
                continue;
            };
            let Some(child) = dir.children.get_mut(&name) else {
                continue;
            };
            if child.node != Some(node) {
                continue;
            }
            child.node = None;
            let newer = child.entry.as_ref();
            if newer.is_none_or(|newer| !newer.same_content(entry)) {
                child.set_entry(None);
            }
            self.told
                .push(Invalidation::Name(parent, Arc::clone(&name)));
        }
    }
}
