//! Storing an entry only if it is still the one that was changed.
//!
//! A filer's update replaces the whole entry. So whatever changes a part of one says which entry it has
//! changed, and the filer stores nothing if it has another by then (IF_ENTRY_EQUAL): then that one is asked
//! for, and the same part of it is changed. The condition travels with the update, so that this costs nothing
//! while nobody else changes the entry.
//!
//! Filers before 4.48 do not know the condition and refuse whatever has it. They are told apart by refusing
//! an entry that is what they have: then only the chunks are compared, as those filers can, and of two
//! changes of attributes at the same moment one may be lost.
//!
//! An update whose answer was lost is sent again, and then meets its own work: what it has stored is not
//! what it was based on any more. Finding exactly what was sent is therefore no conflict.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use context::Context;
use filer::{Condition, Echo, Filer, Stamped, Updated};
use fuse::Errno;
use seaweed::{Entry, pb};

use crate::save::{Amend, stopped};
use crate::state::Core;

/// Others who change the same entry between our look and our update, again and again.
pub(crate) const ATTEMPTS_MAX: u32 = 32;
/// The pause before the next attempt grows up to this.
const PAUSE_MAX: Duration = Duration::from_millis(50);
/// So often an entry is refused that is what the filer has, before its filer is taken for an older one.
const REFUSALS: u32 = 3;
/// One condition in so many is tried again on an older filer.
const PROBE: u32 = 1024;

/// What is known of how the filer compares.
#[derive(Debug, Default)]
pub(crate) struct Compare {
    /// Refusals that contradict the filer's own word, since it last compared an entry as it should.
    refusals: AtomicU32,
    /// Conditions asked for since then.
    since: AtomicU32,
}

/// Conflicts of one update, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    count: u32,
    refused: Option<Arc<pb::Entry>>,
    sent: Option<pb::Entry>,
}

impl Compare {
    /// Under which condition a change of `base` is stored.
    pub(crate) fn condition<'a>(&self, base: &'a pb::Entry) -> Condition<'a> {
        let is_trusted = self.refusals.load(Ordering::Relaxed) < REFUSALS;
        // It may have been upgraded, or be another one.
        if is_trusted || self.since.fetch_add(1, Ordering::Relaxed) % PROBE == PROBE - 1 {
            Condition::EntryEqual(base)
        } else if base.is_directory {
            Condition::None
        } else {
            Condition::ChunksEqual(&base.chunks)
        }
    }

    /// The filer has stored an entry under this condition.
    pub(crate) fn kept(&self, condition: Condition<'_>) {
        let is_new = matches!(condition, Condition::EntryEqual(_))
            && self.refusals.load(Ordering::Relaxed) != 0;
        if is_new {
            self.refusals.store(0, Ordering::Relaxed);
        }
    }

    /// The filer has refused an entry, and then said that it has exactly this one.
    fn contradicted(&self) {
        if self.refusals.fetch_add(1, Ordering::Relaxed) + 1 == REFUSALS {
            tracing::warn!(
                "the filer does not compare whole entries, as SeaweedFS 4.48 does: of two changes of a file's \
                 attributes at the same moment one may be lost"
            );
        }
    }
}

impl Tries {
    /// Waits before the next attempt, a while that no other mount waits as well.
    ///
    /// # Errors
    /// EAGAIN after too many; EINTR, or EIO when the request has had its time.
    pub(crate) fn next(&mut self, ctx: &Context<'_>) -> Result<(), Errno> {
        let before = self.count;
        self.count += 1;
        if before >= ATTEMPTS_MAX {
            return Err(Errno::EAGAIN);
        }
        match before.checked_sub(1) {
            None => Ok(()),
            Some(doublings) => ctx.sleep(pause(doublings)).map_err(stopped),
        }
    }

    /// This is what the filer has now, as it said itself.
    pub(crate) fn asked(&mut self, base: &Arc<pb::Entry>, compare: &Compare) {
        if self.refused.as_ref() == Some(base) {
            compare.contradicted();
        }
        self.refused = Some(Arc::clone(base));
    }

    /// The base was not asked for this time: a refusal says nothing.
    pub(crate) fn remembered(&mut self) {
        self.refused = None;
    }

    /// This was sent, and refused.
    pub(crate) fn refused(&mut self, sent: pb::Entry) {
        self.sent = Some(sent);
    }

    /// Whether the filer has what was sent before: its answer was lost.
    pub(crate) fn is_stored(&self, found: &pb::Entry) -> bool {
        let sent = self.sent.as_ref();
        sent.is_some_and(|sent| filer::same_entry(sent, found))
    }
}

/// One to two milliseconds first, twice as much each time.
fn pause(doublings: u32) -> Duration {
    let most = Duration::from_millis(2 << doublings.min(8)).min(PAUSE_MAX);
    let random = RandomState::new().hash_one(doublings) as u32;
    most / 2 + (most / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// What an update in steps came to.
#[derive(Debug)]
pub(crate) struct Changed {
    /// What was sent.
    pub(crate) sent: pb::Entry,
    /// What is stored, and up to where the filer's events are in it; `None` if that cannot be shown.
    pub(crate) stored: Option<(Arc<Entry>, i64)>,
}

impl Core {
    /// Asks for an entry, changes it by `amend` and stores it, as often as somebody else changes it meanwhile.
    /// `what` is being done, for the log.
    ///
    /// # Errors
    /// Those of `amend`; EAGAIN when others never let it.
    pub(crate) fn change_raw(
        &self,
        ctx: &Context<'_>,
        what: &'static str,
        (directory, name): (&str, &str),
        amend: Amend<'_>,
    ) -> Result<Changed, Errno> {
        let fail = |error| self.remote.fail(what, name, &error);
        let mut tries = Tries::default();
        loop {
            tries.next(ctx)?;
            let found = self.stamped(ctx, directory, name).map_err(fail)?;
            if tries.is_stored(&found.value) {
                let sent = found.value.clone();
                return Ok(self.made(directory, sent, found));
            }
            let base = Arc::new(found.value);
            tries.asked(&base, &self.compare);
            let mut sent = pb::Entry::clone(&base);
            amend(&mut sent)?;
            let condition = self.compare.condition(&base);
            let update = async |filer: &Filer| {
                let updated =
                    filer.update(directory, &sent, condition, self.signature, Echo::Wanted);
                updated.await
            };
            if let Updated::Done(stored) = self.remote.ask(ctx, update).map_err(fail)? {
                self.compare.kept(condition);
                return Ok(self.made(directory, sent, *stored));
            }
            tries.refused(sent);
            self.stats.conflicts.inc();
        }
    }

    fn made(&self, directory: &str, sent: pb::Entry, stored: Stamped<pb::Entry>) -> Changed {
        let fence = self.stamp_of(&stored);
        let parsed = self.parse(directory, stored.value);
        let stored = parsed.map(|parsed| (Arc::new(parsed), fence));
        Changed { sent, stored }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_differ_and_end() {
        for doublings in 0..40 {
            let most = Duration::from_millis(2 << doublings.min(8)).min(PAUSE_MAX);
            let some: Vec<_> = (0..20).map(|_| pause(doublings)).collect();
            assert!(some.iter().all(|one| *one >= most / 2 && *one <= most));
            assert!(some.iter().any(|one| *one != some[0]), "{some:?}");
        }
        let ctx = Context::background(Duration::from_secs(60));
        let mut tries = Tries {
            count: ATTEMPTS_MAX - 1,
            ..Tries::default()
        };
        assert_eq!(tries.next(&ctx), Ok(()));
        assert_eq!(tries.next(&ctx), Err(Errno::EAGAIN));
    }

    #[test]
    fn what_was_sent_and_is_there_is_no_conflict() {
        let chunk = |file_id: &str| pb::FileChunk {
            file_id: file_id.to_owned(),
            fid: Some("3,01637037d6".parse::<seaweed::FileId>().unwrap().into()),
            ..pb::FileChunk::default()
        };
        let entry = |file_id: &str, counter| pb::Entry {
            chunks: vec![chunk(file_id)],
            hard_link_counter: counter,
            ..pb::Entry::default()
        };
        let mut tries = Tries::default();
        assert!(!tries.is_stored(&entry("", 2)));
        tries.refused(entry("", 2));
        assert!(tries.is_stored(&entry("3,01637037d6", 2)));
        assert!(!tries.is_stored(&entry("3,01637037d6", 3)));
    }

    #[test]
    fn a_filer_that_refuses_what_it_has_is_an_older_one() {
        let compare = Compare::default();
        let entry = |name: &str| {
            Arc::new(pb::Entry {
                name: name.to_owned(),
                ..pb::Entry::default()
            })
        };
        let mut tries = Tries::default();
        // Others change it each time.
        for name in ["a", "b", "c", "d", "e"] {
            tries.asked(&entry(name), &compare);
        }
        assert!(matches!(
            compare.condition(&entry("a")),
            Condition::EntryEqual(_)
        ));
        for _ in 0..REFUSALS {
            tries.asked(&entry("e"), &compare);
        }
        assert!(matches!(
            compare.condition(&entry("a")),
            Condition::ChunksEqual(_)
        ));
        let directory = pb::Entry {
            is_directory: true,
            ..pb::Entry::default()
        };
        assert_eq!(compare.condition(&directory), Condition::None);

        // It is tried again now and then, and believed when it compares.
        let tried = (0..PROBE).filter(|_| compare.condition(&directory) != Condition::None);
        assert_eq!(tried.count(), 1);
        compare.kept(Condition::EntryEqual(&directory));
        assert!(matches!(
            compare.condition(&directory),
            Condition::EntryEqual(_)
        ));
    }
}
