//! What is known of a directory's names.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuse::NodeId;
use ledger::{Account, Weight};
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
    /// How many names were left when it was last found too large.
    pub(crate) kept: usize,
    /// When it was last looked into.
    pub(crate) used: Instant,
    /// When a name in it came or went last, as far as its entry does not say so.
    pub(crate) touched: Option<SystemTime>,
    /// Names we have removed, with the filer's clock then: older events about them are news
    /// of yesterday.
    gone: HashMap<Arc<str>, i64>,
    /// Sequence number and the filer's clock of each change.
    recent: VecDeque<(u64, i64, Arc<str>)>,
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
    /// The entry is our own work: the kernel had it from us and needs no telling.
    pub(crate) ours: bool,
    /// Its memory, its name's and its entry's.
    weight: Weight,
}

/// What a name takes without its letters: its place in the directory (a tree whose nodes are two thirds
/// full), and the name's own allocation.
const NAME: usize = (size_of::<Arc<str>>() + size_of::<Child>()) * 3 / 2 + 32;

impl Child {
    /// A name as others left it.
    pub(crate) fn new(
        account: &Account,
        name: &str,
        entry: Option<Arc<Entry>>,
        node: Option<NodeId>,
        fence: i64,
    ) -> Self {
        let of_entry = entry.as_ref().map_or(0, |entry| weight(entry));
        Self {
            entry,
            node,
            fence,
            ours: false,
            weight: account.weigh(NAME + name.len() + of_entry),
        }
    }

    /// Gives it another entry, or none.
    pub(crate) fn set_entry(&mut self, entry: Option<Arc<Entry>>) {
        let bare = self.weight.bytes() - self.entry.as_ref().map_or(0, |entry| weight(entry));
        let of_entry = entry.as_ref().map_or(0, |entry| weight(entry));
        self.entry = entry;
        self.weight.set(bare + of_entry);
    }
}

/// Bytes of an entry that is shared.
pub(crate) fn weight(entry: &Entry) -> usize {
    entry.weight() + 32
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
            kept: 0,
            used: Instant::now(),
            touched: None,
            gone: HashMap::new(),
            recent: VecDeque::new(),
            forgotten: 0,
        }
    }
}

impl Dir {
    /// Notes that change number `seq` was about `name`; `ts_ns` is the filer's clock then, and
    /// `i64::MAX` when nobody can tell.
    pub(crate) fn touch(&mut self, name: &Arc<str>, seq: u64, ts_ns: i64) {
        if self.recent.len() == RECENT_MAX
            && let Some((dropped, ..)) = self.recent.pop_front()
        {
            self.forgotten = dropped;
        }
        self.recent.push_back((seq, ts_ns, Arc::clone(name)));
    }

    /// Whether a change after number `seq` that an answer of the time `fence` does not contain
    /// was about `name`, or may have been.
    pub(crate) fn changed_since(&self, name: &str, seq: u64, fence: i64) -> bool {
        if seq < self.forgotten {
            return true;
        }
        let mut newest_first = self.recent.iter().rev();
        newest_first
            .by_ref()
            .take_while(|(at, ..)| *at > seq)
            .any(|(_, ts_ns, changed)| *ts_ns > fence && changed.as_ref() == name)
    }

    /// A name came or went at this moment of the filer's clock, by somebody else's doing: of our own it
    /// is known before the event comes, which may be after the time was set.
    pub(crate) fn bump(&mut self, ts_ns: i64) {
        let since = Duration::from_nanos(u64::try_from(ts_ns).unwrap_or(0));
        self.touched = self.touched.max(Some(UNIX_EPOCH + since));
    }

    /// The entry says all about the time until this moment of the filer's clock.
    pub(crate) fn settle(&mut self, ts_ns: i64) {
        let since = Duration::from_nanos(u64::try_from(ts_ns).unwrap_or(0));
        self.touched = self.touched.filter(|touched| *touched > UNIX_EPOCH + since);
    }

    /// We have removed `name`, at `fence` of the filer's clock.
    pub(crate) fn bury(&mut self, name: &Arc<str>, fence: i64) {
        if self.gone.len() >= RECENT_MAX {
            self.gone.clear();
        }
        self.gone.insert(Arc::clone(name), fence);
    }

    /// An event of the time `ts_ns` tells of `name` what it was before we removed it. Since
    /// events come in the order of their times, a later one ends the memory.
    pub(crate) fn is_buried(&mut self, name: &str, ts_ns: i64) -> bool {
        let older = self.gone.get(name).is_some_and(|fence| ts_ns <= *fence);
        if !older {
            self.gone.remove(name);
        }
        older
    }

    /// The names that events after number `seq` were about; `None` if some are forgotten.
    pub(crate) fn all_changed_since(&self, seq: u64) -> Option<Vec<Arc<str>>> {
        if seq < self.forgotten {
            return None;
        }
        let newer = self.recent.iter().rev().take_while(|(at, ..)| *at > seq);
        Some(newer.map(|(.., name)| Arc::clone(name)).collect())
    }

    /// Answers to questions from before event number `seq` count as overtaken.
    pub(crate) fn forget_recent(&mut self, seq: u64) {
        self.recent.clear();
        self.gone.clear();
        self.forgotten = seq;
    }

    /// Drops what only the cache holds: names without a node, and the claim to know all. Gives what
    /// it dropped: freeing much takes its time, which not everybody has.
    pub(crate) fn evict(&mut self) -> Vec<(Arc<str>, Child)> {
        self.evict_unless(|_| true)
    }

    /// The same with names whose node is not among those that `are_there`.
    pub(crate) fn evict_unless(
        &mut self,
        are_there: impl Fn(&NodeId) -> bool,
    ) -> Vec<(Arc<str>, Child)> {
        self.complete = false;
        self.misses = 0;
        let unused = |_: &Arc<str>, child: &mut Child| !child.node.as_ref().is_some_and(&are_there);
        self.children.extract_if(.., unused).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_remembered_until_too_many() {
        let mut dir = Dir::default();
        dir.touch(&"a".into(), 5, 50);
        assert!(dir.changed_since("a", 4, 49) && !dir.changed_since("a", 5, 49));
        assert!(!dir.changed_since("a", 4, 50), "the answer contains it");
        assert!(!dir.changed_since("b", 4, 0));
        for seq in 6..6 + RECENT_MAX as u64 {
            dir.touch(&"b".into(), seq, 60);
        }
        assert!(dir.changed_since("a", 4, 99), "forgotten counts as changed");
        assert_eq!(dir.all_changed_since(4), None);
        assert!(!dir.changed_since("a", 6, 0));
        assert_eq!(
            dir.all_changed_since(6).map(|all| all.len()),
            Some(RECENT_MAX - 1)
        );
    }

    #[test]
    fn what_was_removed_is_not_resurrected_by_older_news() {
        let mut dir = Dir::default();
        dir.bury(&"a".into(), 50);
        assert!(dir.is_buried("a", 40) && dir.is_buried("a", 50));
        assert!(!dir.is_buried("a", 51), "somebody made it anew");
        assert!(!dir.is_buried("a", 45) && !dir.is_buried("b", 1));
    }
}
