//! The events of the last while, so that each comes out once.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::Event;

/// How many events are remembered: more than a filer logs within the overlap
/// of a resumption at some thousand changes a second. 64 bits each; forgetting
/// one too early only means that it is told twice.
const CAPACITY: usize = 65_536;

/// Remembers events by hash.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    known: HashSet<u64>,
    order: VecDeque<u64>,
    hasher: RandomState,
}

impl Recent {
    /// Remembers `event`; whether it was new.
    pub(crate) fn insert(&mut self, event: &Event) -> bool {
        let name = |entry: &Option<seaweed::pb::Entry>| entry.as_ref().map(|e| e.name.clone());
        // A filer gives each event of its log a stamp of its own, so stamp and
        // names identify an event across the feeds.
        let hash = self.hasher.hash_one((
            event.ts_ns,
            &event.directory,
            &event.new_parent_path,
            name(&event.old),
            name(&event.new),
        ));
        if !self.known.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(ts_ns: i64) -> Event {
        Event {
            directory: "/a".into(),
            old: None,
            new: None,
            new_parent_path: String::new(),
            ts_ns,
            signatures: vec![1],
            own: true,
        }
    }

    #[test]
    fn an_event_is_new_once_and_memory_is_bounded() {
        let mut recent = Recent::default();
        assert!(recent.insert(&event(1)));
        assert!(!recent.insert(&event(1)));
        for ts in 2..=CAPACITY as i64 + 1 {
            assert!(recent.insert(&event(ts)));
        }
        assert_eq!(recent.known.len(), CAPACITY);
        assert!(recent.insert(&event(1)), "the oldest is forgotten");
    }
}
