//! The open lanes to one sidecar.
//!
//! The lane used last is used next: it is warm, on both sides, and those that a quieter time does
//! not need grow old at the bottom and are closed. How many may be in use at a time is bounded;
//! whoever comes too late goes another way or waits.

use std::time::{Duration, Instant};

use context::{Context, Stopped};
use parking_lot::{Condvar, Mutex};

use crate::lane::Lane;

/// How long an idle lane is kept. A lane is a descriptor or two here and a thread there.
pub(crate) const IDLE: Duration = Duration::from_secs(30);
/// How often somebody who waits for a lane looks at its own interrupt.
const LOOK: Duration = Duration::from_millis(25);

/// Lanes that nobody uses, and how many are in use.
#[derive(Default)]
pub(crate) struct Lanes {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Default)]
struct State {
    idle: Vec<Idle>,
    in_use: usize,
}

struct Idle {
    lane: Box<dyn Lane>,
    since: Instant,
}

/// The right to use one lane.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    lanes: &'a Lanes,
}

impl Lanes {
    /// The right to use one of at most `most` lanes; `None` if all are in use.
    pub(crate) fn enter(&self, most: usize) -> Option<Permit<'_>> {
        let mut state = self.state.lock();
        if state.in_use >= most {
            return None;
        }
        state.in_use += 1;
        Some(Permit { lanes: self })
    }

    /// The same, waiting for one to be left.
    pub(crate) fn wait(&self, ctx: &Context<'_>, most: usize) -> Result<Permit<'_>, Stopped> {
        let mut state = self.state.lock();
        while state.in_use >= most {
            ctx.check()?;
            self.left.wait_for(&mut state, LOOK.min(ctx.remaining()));
        }
        state.in_use += 1;
        Ok(Permit { lanes: self })
    }

    /// Closes lanes that nobody took for too long, or `all` that nobody uses now.
    pub(crate) fn close_idle(&self, all: bool) {
        let mut closed = Vec::new();
        let mut state = self.state.lock();
        // The older ones lie below.
        let old = |idle: &Idle| all || idle.since.elapsed() >= IDLE;
        let keep_from = state.idle.iter().take_while(|idle| old(idle)).count();
        closed.extend(state.idle.drain(..keep_from));
        drop(state);
        for idle in closed {
            // Nothing was offered on it.
            drop(idle.lane.close());
        }
    }

    /// How many are idle, and how many in use.
    pub(crate) fn count(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.idle.len(), state.in_use)
    }
}

impl Permit<'_> {
    /// The lane that was used last, if there is one.
    pub(crate) fn warm(&self) -> Option<Box<dyn Lane>> {
        Some(self.lanes.state.lock().idle.pop()?.lane)
    }

    /// Keeps a lane on which nothing is in flight for the next reader.
    pub(crate) fn keep(self, lane: Box<dyn Lane>) {
        let since = Instant::now();
        self.lanes.state.lock().idle.push(Idle { lane, since });
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.lanes.state.lock().in_use -= 1;
        self.lanes.left.notify_one();
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.close_idle(true);
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (idle, in_use) = self.count();
        f.debug_struct("Lanes")
            .field("idle", &idle)
            .field("in_use", &in_use)
            .finish()
    }
}
