//! The open lanes to one sidecar that nobody uses at the moment.
//!
//! The lane used last is used next: it is warm, on both sides, and those that a quieter time does
//! not need grow old at the bottom and are closed. When a better way to the sidecar works again, all that were
//! opened before are closed, those in use as soon as they are not. How many are in use is bounded elsewhere, by the
//! permits of the [`Policy`](crate::client::Policy).

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::lane::{Answered, Inbox, Lane};

/// How long an idle lane is kept. It is a descriptor here, and a connection in the server's books.
const KEEP: Duration = Duration::from_secs(30);

/// Idle lanes.
#[derive(Default)]
pub(crate) struct Lanes(Mutex<Pool>);

#[derive(Default)]
struct Pool {
    /// The one used last on top.
    idle: Vec<Idle>,
    /// Lanes that were opened before are not kept.
    renewed: Option<Instant>,
}

struct Idle {
    lane: Box<dyn Lane>,
    since: Instant,
}

impl Pool {
    fn is_outdated(&self, idle: &Idle) -> bool {
        self.renewed
            .is_some_and(|renewed| idle.lane.opened() < renewed)
    }
}

impl Lanes {
    /// The lane that was used last and is still good, if there is one.
    pub(crate) fn take(&self) -> Option<Box<dyn Lane>> {
        loop {
            let mut idle = self.0.lock().idle.pop()?;
            if matches!(idle.lane.advance(&mut Nobody), Ok(true)) {
                return Some(idle.lane);
            }
            // The sidecar closed it, or is gone, and the others most likely with it; each is
            // asked when its turn comes.
            close(idle);
        }
    }

    /// The same, of those that take writes.
    pub(crate) fn take_for_writes(&self) -> Option<Box<dyn Lane>> {
        loop {
            let mut pool = self.0.lock();
            let at = pool
                .idle
                .iter()
                .rposition(|idle| idle.lane.takes_writes())?;
            let mut idle = pool.idle.remove(at);
            drop(pool);
            if matches!(idle.lane.advance(&mut Nobody), Ok(true)) {
                return Some(idle.lane);
            }
            close(idle);
        }
    }

    /// Keeps a lane on which nothing is in flight.
    pub(crate) fn keep(&self, lane: Box<dyn Lane>) {
        let since = Instant::now();
        let idle = Idle { lane, since };
        let mut pool = self.0.lock();
        if pool.is_outdated(&idle) {
            drop(pool);
            return close(idle);
        }
        pool.idle.push(idle);
    }

    /// A better way works since `now` than when older lanes were opened: these are not used again.
    pub(crate) fn renew(&self, now: Instant) {
        let mut pool = self.0.lock();
        if pool.renewed.is_some_and(|renewed| renewed >= now) {
            return;
        }
        pool.renewed = Some(now);
        let all = std::mem::take(&mut pool.idle);
        let (old, new): (Vec<_>, Vec<_>) = all.into_iter().partition(|idle| pool.is_outdated(idle));
        pool.idle = new;
        drop(pool);
        old.into_iter().for_each(close);
    }

    /// Closes lanes that nobody took for too long.
    pub(crate) fn close_old(&self) {
        let mut pool = self.0.lock();
        let old = |idle: &&Idle| idle.since.elapsed() >= KEEP;
        // The older ones lie below.
        let count = pool.idle.iter().take_while(old).count();
        let old: Vec<_> = pool.idle.drain(..count).collect();
        drop(pool);
        old.into_iter().for_each(close);
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().idle.len()
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.0.get_mut().idle.drain(..).for_each(close);
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lanes({} idle)", self.count())
    }
}

fn close(idle: Idle) {
    // Nothing is in flight on it, so that nothing may still be written.
    drop(idle.lane.close());
}

/// Expects no answer.
struct Nobody;

impl Inbox for Nobody {
    fn memory(&mut self, _: &Answered) -> Option<&mut [u8]> {
        None
    }

    fn done(&mut self, _: &Answered) {}
}
