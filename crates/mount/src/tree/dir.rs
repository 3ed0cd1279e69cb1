//! What is known of a directory's names.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use fuse::NodeId;
use seaweed::Entry;

/// Changed names remembered for answers and listings that were under way. A listing during which
/// more names changed is used once and not kept.
const RECENT_MAX: usize = 4096;

/// The names of a directory, as far as they are known.
#[derive(Debug)]
pub(crate) struct Dir {
    pub(crate) children: BTreeMap<Arc<str>, Child>,
    /// Every name is in `children`: one that is not does not exist.
    pub(crate) complete: bool,
    /// Grows when a name comes or goes at the filer, not when one that was there is learned.
    pub(crate) generation: u64,
    /// The generation of the listing that the kernel may hold.
    pub(crate) cached_generation: u64,
    /// Names asked for one by one since the last listing.
    pub(crate) misses: u32,
    /// A listing is being made in the background.
    pub(crate) loading: bool,
    /// The directory is known to have more entries than are kept.
    pub(crate) too_large: bool,
    /// When it was last looked into.
    pub(crate) used: Instant,
    recent: VecDeque<(u64, Arc<str>)>,
    /// Changes up to this sequence number may have dropped out of `recent`.
    forgotten: u64,
}

/// A name in a directory.
#[derive(Debug)]
pub(crate) struct Child {
    /// `None` when the name exists or existed but has to be asked for again.
    pub(crate) entry: Option<Arc<Entry>>,
    /// Its node, if the kernel knows it.
    pub(crate) node: Option<NodeId>,
    /// The filer's clock when it gave this entry: events up to then are in it.
    pub(crate) fence: i64,
}

impl Default for Dir {
    fn default() -> Self {
        Self {
            children: BTreeMap::new(),
            complete: false,
            generation: 1,
            cached_generation: 0,
            misses: 0,
            loading: false,
            too_large: false,
            used: Instant::now(),
            recent: VecDeque::new(),
            forgotten: 0,
        }
    }
}

impl Dir {
    /// Notes that event number `seq` was about `name`.
    pub(crate) fn touch(&mut self, name: &Arc<str>, seq: u64) {
        if self.recent.len() == RECENT_MAX
            && let Some((dropped, _)) = self.recent.pop_front()
        {
            self.forgotten = dropped;
        }
        self.recent.push_back((seq, Arc::clone(name)));
    }

    /// Whether an event after number `seq` was about `name`, or may have been.
    pub(crate) fn changed_since(&self, name: &str, seq: u64) -> bool {
        if seq < self.forgotten {
            return true;
        }
        let mut newest_first = self.recent.iter().rev();
        newest_first
            .by_ref()
            .take_while(|(at, _)| *at > seq)
            .any(|(_, changed)| changed.as_ref() == name)
    }

    /// The names that events after number `seq` were about; `None` if some are forgotten.
    pub(crate) fn all_changed_since(&self, seq: u64) -> Option<Vec<Arc<str>>> {
        if seq < self.forgotten {
            return None;
        }
        let newer = self.recent.iter().rev().take_while(|(at, _)| *at > seq);
        Some(newer.map(|(_, name)| Arc::clone(name)).collect())
    }

    /// Answers to questions from before event number `seq` count as overtaken.
    pub(crate) fn forget_recent(&mut self, seq: u64) {
        self.recent.clear();
        self.forgotten = seq;
    }

    /// Drops what only the cache holds: names without a node, and the claim to know all.
    pub(crate) fn evict(&mut self) {
        self.complete = false;
        self.misses = 0;
        self.children.retain(|_, child| child.node.is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_remembered_until_too_many() {
        let mut dir = Dir::default();
        dir.touch(&"a".into(), 5);
        assert!(dir.changed_since("a", 4) && !dir.changed_since("a", 5));
        assert!(!dir.changed_since("b", 4));
        for seq in 6..6 + RECENT_MAX as u64 {
            dir.touch(&"b".into(), seq);
        }
        assert!(dir.changed_since("a", 4), "forgotten counts as changed");
        assert_eq!(dir.all_changed_since(4), None);
        assert!(!dir.changed_since("a", 6));
        assert_eq!(
            dir.all_changed_since(6).map(|all| all.len()),
            Some(RECENT_MAX - 1)
        );
    }
}
