//! Not being told what one has done oneself.
//!
//! A filer leaves out of a stream of events those that carry the stream's signature. Each event of a change that
//! we made costs the filer and us as much as the change itself, for nothing: the answer to the change has said it all. So changes
//! that happen a thousand times a second carry the signature of our stream (see [`Echo`]).
//!
//! It is nothing only as long as there is an answer. A change that was given up, or asked for twice, may be made at any time
//! after; then its event is needed. So with the first such doubt the stream is opened anew, without a signature, as after a
//! gap. It gets it back when nothing was in doubt for [`CALM`], which no filer sits on a request for.
//! Where several filers answer, which know of each other's changes a moment later, it has none at any time.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::random::Random;

/// For how long nothing must have been in doubt.
const CALM: Duration = Duration::from_secs(600);

/// Whether the event of a change has to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// It comes.
    Wanted,
    /// The answer is enough, if there is one.
    Spared,
}

/// What is known of unanswered changes.
#[derive(Debug)]
pub(crate) struct Quiet {
    signature: i32,
    doubted: watch::Sender<Option<Instant>>,
    /// Whether one filer answers everything.
    alone: bool,
    calm: Duration,
}

/// A change that was asked for, until its answer is here.
#[derive(Debug)]
pub(crate) struct Asking<'a> {
    quiet: Option<&'a Quiet>,
    tries: AtomicU32,
}

impl Quiet {
    /// For a list of `filers`.
    pub(crate) fn new(filers: usize) -> Self {
        // Even, where those of mounts are odd; not 0, which is none.
        let random = i32::try_from(Random::new().below(1 << 29)).unwrap_or_default();
        Self {
            signature: (random + 1) * 2,
            doubted: watch::Sender::new(None),
            alone: filers == 1,
            calm: CALM,
        }
    }

    /// What a change carries.
    pub(crate) fn signatures(&self, ours: i32, echo: Echo) -> Vec<i32> {
        match echo {
            Echo::Wanted => vec![ours],
            Echo::Spared => vec![ours, self.signature],
        }
    }

    /// The signature for a stream that is opened now; 0 is none.
    pub(crate) fn filter(&self) -> i32 {
        let doubted = *self.doubted.borrow();
        match self.is_calm(doubted) {
            true => self.signature,
            false => 0,
        }
    }

    /// Completes when a stream that was opened with `filter` has to be opened anew.
    pub(crate) async fn turns(&self, filter: i32) -> Turn {
        if filter != 0 {
            let mut doubted = self.doubted.subscribe();
            let doubted = doubted.wait_for(|doubted| !self.is_calm(*doubted));
            if doubted.await.is_ok() {
                return Turn::Loud;
            }
        }
        if !self.alone {
            return std::future::pending().await;
        }
        loop {
            let doubted = *self.doubted.borrow();
            match doubted {
                Some(at) if !self.is_calm(doubted) => {
                    tokio::time::sleep_until(at + self.calm).await;
                }
                _ => return Turn::Quiet,
            }
        }
    }

    /// Begins a change.
    pub(crate) fn asking(&self, echo: Echo) -> Asking<'_> {
        Asking {
            quiet: (echo == Echo::Spared).then_some(self),
            tries: AtomicU32::new(0),
        }
    }

    /// Whether nothing can happen any more of what was in doubt, if anything was at `doubted`.
    fn is_calm(&self, doubted: Option<Instant>) -> bool {
        self.alone && doubted.is_none_or(|at| at.elapsed() >= self.calm)
    }
}

/// How a stream has to be opened anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// With what we do ourselves, as what was asked for may happen late.
    Loud,
    /// Without it.
    Quiet,
}

impl Asking<'_> {
    /// It is sent.
    pub(crate) fn sent(&self) {
        self.tries.fetch_add(1, Ordering::Relaxed);
    }

    /// It was answered, `surely` by the filer whose events are followed.
    pub(crate) fn answered(mut self, surely: bool) {
        if surely && self.tries.load(Ordering::Relaxed) <= 1 {
            self.quiet = None;
        }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(quiet) = self.quiet {
            tracing::debug!("a change was not answered: our own events are followed");
            quiet.doubted.send_replace(Some(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    #[tokio::test]
    async fn an_answer_leaves_it_quiet_and_a_doubt_makes_it_loud_for_a_while() {
        let quiet = Quiet {
            calm: SHORT,
            ..Quiet::new(1)
        };
        let filter = quiet.filter();
        assert_ne!(filter, 0);
        let asking = quiet.asking(Echo::Spared);
        asking.sent();
        asking.answered(true);
        drop(quiet.asking(Echo::Wanted));
        assert_eq!(quiet.filter(), filter);
        let turns = tokio::time::timeout(SHORT * 2, quiet.turns(filter)).await;
        assert!(turns.is_err(), "nothing was in doubt");
        drop(quiet.asking(Echo::Spared));
        assert_eq!(quiet.turns(filter).await, Turn::Loud);
        assert_eq!(quiet.filter(), 0);
        let began = Instant::now();
        assert_eq!(quiet.turns(0).await, Turn::Quiet);
        assert!(began.elapsed() >= SHORT);
        assert_eq!(quiet.filter(), filter);
    }

    #[test]
    fn what_was_sent_twice_or_answered_by_another_is_in_doubt() {
        for (times, surely) in [(2, true), (1, false)] {
            let quiet = Quiet::new(1);
            let asking = quiet.asking(Echo::Spared);
            (0..times).for_each(|_| asking.sent());
            asking.answered(surely);
            assert_eq!(quiet.filter(), 0);
        }
    }

    #[tokio::test]
    async fn with_several_filers_it_is_never_quiet() {
        let quiet = Quiet::new(2);
        assert_eq!(quiet.filter(), 0);
        let turns = tokio::time::timeout(SHORT, quiet.turns(0)).await;
        assert!(turns.is_err(), "it will never be");
    }

    #[test]
    fn only_what_is_spared_carries_the_signature() {
        let quiet = Quiet::new(1);
        assert_eq!(quiet.signatures(7, Echo::Wanted), [7]);
        assert_eq!(quiet.signatures(7, Echo::Spared), [7, quiet.signature]);
        assert_eq!(quiet.signature % 2, 0);
    }
}
