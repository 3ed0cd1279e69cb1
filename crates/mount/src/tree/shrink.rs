//! Dropping what is not used, when memory is short.
//!
//! All nodes stand in a queue, which is gone round (CLOCK): a node with which something was done since
//! the last round gets another one. Of a directory that was not used the names are dropped which the kernel
//! does not know; a file that is not open, or a directory of which no names are left, the kernel is
//! asked to forget. It does so when nobody has it open or stands in it, and what it forgets while
//! memory is short is not kept here either. What it has never been told of again is looked up anew.

use std::sync::Arc;

use fuse::NodeId;

use super::dir::Child;
use super::{Place, Tree};

/// What a step of shrinking found.
#[derive(Debug, Default)]
pub(crate) struct Shrunk {
    /// Nodes that the kernel should be asked to forget.
    pub(crate) ask: Vec<Asked>,
    /// Names that were dropped; freeing them takes its time, and needs no lock.
    pub(crate) dropped: Vec<(Arc<str>, Child)>,
    /// How many were looked at.
    pub(crate) looked: usize,
}

/// A node, and for what is not a directory its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) node: NodeId,
    pub(crate) name: Option<(NodeId, Arc<str>)>,
}

/// The queue may hold this many times the nodes that there are, before those that are gone are taken out.
const QUEUE_SLACK: usize = 2;

impl Tree {
    /// Memory is short from here on (true), or not any more.
    pub(crate) fn set_tight(&mut self, is_tight: bool) {
        self.is_tight = is_tight;
    }

    /// Looks at up to `steps` nodes, those not looked at for longest first.
    pub(crate) fn shrink(&mut self, steps: usize) -> Shrunk {
        let mut found = Shrunk::default();
        for _ in 0..steps.min(self.queue.len()) {
            // A large directory is work for one time.
            if found.dropped.len() >= steps {
                break;
            }
            let Some(id) = self.queue.pop_front() else {
                break;
            };
            found.looked += 1;
            let Some(node) = self.nodes.get_mut(&id) else {
                continue;
            };
            self.queue.push_back(id);
            if node.take_used() || node.is_open() {
                continue;
            }
            let name = match (&node.place, &node.dir) {
                (Place::In(parent, name), None) => Some((*parent, Arc::clone(name))),
                _ => None,
            };
            let mut is_leaf = id != NodeId::ROOT;
            if let Some(mut dir) = node.dir.take() {
                // A name may have a node that has become another name's, and is gone since.
                let dropped = dir.evict_unless(|node| self.nodes.contains_key(node));
                is_leaf &= dir.children.is_empty();
                if let Some(node) = self.nodes.get_mut(&id) {
                    node.dir = Some(dir);
                }
                for (name, child) in &dropped {
                    self.unlink_name(child, id, name);
                }
                found.dropped.extend(dropped);
            }
            if is_leaf {
                found.ask.push(Asked { node: id, name });
            }
        }
        found
    }

    /// A new node queues.
    pub(super) fn enqueue(&mut self, node: NodeId, is_directory: bool) {
        if self.queue.len() > self.nodes.len() * QUEUE_SLACK + 1024 {
            let nodes = &self.nodes;
            self.queue.retain(|id| nodes.contains_key(id));
        }
        self.queue.push_back(node);
        if is_directory {
            self.dirs.insert(node);
        }
    }
}

#[cfg(test)]
mod tests;
