//! What was posted and has not completed.
//!
//! A send queue completes in order, so this is a queue too. Entries hold the memory of their work;
//! those that failed are kept until the queue pair is gone, because a device that gave up one piece
//! may still be reading the next.

use std::collections::VecDeque;

use crate::{Event, MemorySlice, Status};

/// One call of `post`.
pub(super) struct Posted {
    pub(super) id: u64,
    /// Entries of the send queue it takes.
    pub(super) entries: u32,
    /// The message slot it uses.
    pub(super) slot: Option<u32>,
    /// What it was.
    pub(super) kind: Kind,
    /// Held only so that it stays registered.
    pub(super) _memory: Vec<MemorySlice>,
}

/// What work does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Sent,
    Wrote,
    Read,
}

/// The work under way.
#[derive(Default)]
pub(super) struct Flight {
    posted: VecDeque<Posted>,
    condemned: Vec<Posted>,
    entries: u32,
}

impl Flight {
    /// Entries of the send queue in use.
    pub(super) fn entries(&self) -> u32 {
        self.entries
    }

    pub(super) fn push(&mut self, posted: Posted) {
        self.entries += posted.entries;
        self.posted.push_back(posted);
    }

    /// The call `id` has succeeded. `None` when it is not the next one.
    pub(super) fn finish(&mut self, id: u64) -> Option<Posted> {
        if self.posted.front()?.id != id {
            return None;
        }
        let posted = self.posted.pop_front()?;
        self.entries -= posted.entries;
        Some(posted)
    }

    /// The call `id`, or a part of it, has failed; and with it all that follow.
    pub(super) fn fail(&mut self, id: u64, status: Status, events: &mut Vec<Event>) {
        while let Some(posted) = self.posted.pop_front() {
            let status = if posted.id == id {
                status
            } else {
                Status::FLUSHED
            };
            events.push(Event::Failed {
                id: posted.id,
                status,
            });
            self.condemned.push(posted);
        }
    }

    /// The queue pair is gone: its memory may go.
    pub(super) fn release(&mut self) {
        self.posted.clear();
        self.condemned.clear();
    }

    /// The queue pair cannot be destroyed: its memory must stay.
    pub(super) fn leak(&mut self) {
        std::mem::forget(std::mem::take(&mut self.posted));
        std::mem::forget(std::mem::take(&mut self.condemned));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(id: u64, entries: u32) -> Posted {
        Posted {
            id,
            entries,
            slot: None,
            kind: Kind::Sent,
            _memory: Vec::new(),
        }
    }

    #[test]
    fn work_finishes_in_order_and_frees_its_entries() {
        let mut flight = Flight::default();
        flight.push(posted(0, 1));
        flight.push(posted(1, 3));
        assert_eq!(flight.entries(), 4);
        assert!(flight.finish(1).is_none());
        assert_eq!(flight.finish(0).map(|p| p.id), Some(0));
        assert_eq!(flight.entries(), 3);
        assert!(flight.finish(0).is_none());
    }

    #[test]
    fn one_failure_fails_all_each_once() {
        let mut flight = Flight::default();
        for id in 0..3 {
            flight.push(posted(id, 1));
        }
        let mut events = Vec::new();
        flight.fail(0, Status::NO_ANSWER, &mut events);
        flight.fail(1, Status::FLUSHED, &mut events);
        let expected = [Status::NO_ANSWER, Status::FLUSHED, Status::FLUSHED];
        let expected: Vec<Event> = (0..3)
            .zip(expected)
            .map(|(id, status)| Event::Failed { id, status })
            .collect();
        assert_eq!(events, expected);
    }
}
