//! One fetch for each piece, however many want it.
//!
//! Who asks first *leads*: it fetches on its own thread while all others wait for the outcome.
//! A success or a real failure is shared with those who wait, and with nobody who comes later.
//! A leader whose own caller gave up says nothing about the piece, so it *abandons* the flight:
//! the waiters wake, and whoever is first leads anew. Nobody fails for somebody else's
//! interrupt.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::{Duration, Instant};

use context::{Context, Stopped};
use parking_lot::{Condvar, Mutex};

use crate::ReadError;
use crate::cache::Piece;
use crate::piece::PieceKey;

/// How long a waiter sleeps before it looks at its own interrupt. An outcome wakes it at once;
/// an interrupted application waits this long at most.
const LOOK: Duration = Duration::from_millis(25);

/// The outcome of a flight.
type Landing = Result<Arc<Piece>, ReadError>;

/// The fetches under way.
#[derive(Debug, Default)]
pub(crate) struct Flights(Mutex<HashMap<PieceKey, Arc<Flight>>>);

/// One fetch under way.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    state: Mutex<State>,
    over: Condvar,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Airborne,
    Abandoned,
    Landed(Landing),
}

/// What somebody who wants a piece has to do.
#[derive(Debug)]
pub(crate) enum Role<'a> {
    /// Fetch it.
    Lead(Lead<'a>),
    /// Wait for it.
    Join(Arc<Flight>),
}

impl Flights {
    /// Boards the flight for `key`, or starts one.
    pub(crate) fn enter(&self, key: PieceKey) -> Role<'_> {
        match self.0.lock().entry(key) {
            Entry::Occupied(entry) => Role::Join(Arc::clone(entry.get())),
            Entry::Vacant(entry) => Role::Lead(Lead {
                flight: Arc::clone(entry.insert(Arc::default())),
                flights: self,
                key,
                over: false,
            }),
        }
    }
}

impl Flight {
    /// Waits for the outcome; `None` when the leader gave up and somebody else must lead.
    ///
    /// # Errors
    /// The caller's own deadline or interrupt.
    pub(crate) fn wait(&self, ctx: &Context<'_>) -> Result<Option<Landing>, Stopped> {
        let mut state = self.state.lock();
        loop {
            match &*state {
                State::Landed(landing) => return Ok(Some(landing.clone())),
                State::Abandoned => return Ok(None),
                State::Airborne => ctx.check()?,
            }
            let look = (Instant::now() + LOOK).min(ctx.deadline());
            self.over.wait_until(&mut state, look);
        }
    }
}

/// The duty to end a flight. Dropping it abandons the flight.
#[derive(Debug)]
pub(crate) struct Lead<'a> {
    flight: Arc<Flight>,
    flights: &'a Flights,
    key: PieceKey,
    over: bool,
}

impl Lead<'_> {
    /// Shares the outcome with all who wait. A piece must be in the cache by now, so that
    /// whoever comes next finds either the flight or the piece.
    pub(crate) fn land(mut self, landing: Landing) {
        self.end(State::Landed(landing));
    }

    fn end(&mut self, state: State) {
        self.over = true;
        self.flights.0.lock().remove(&self.key);
        *self.flight.state.lock() = state;
        self.flight.over.notify_all();
    }
}

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.end(State::Abandoned);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::Part;
    use bytes::Bytes;
    use context::Interrupt;
    use seaweed::FileId;

    const KEY: PieceKey = PieceKey {
        needle: FileId {
            volume: 1,
            key: 2,
            cookie: 3,
        },
        part: Part::Whole,
    };

    fn lead(flights: &Flights) -> Lead<'_> {
        match flights.enter(KEY) {
            Role::Lead(lead) => lead,
            Role::Join(_) => panic!("somebody leads already"),
        }
    }

    fn join(flights: &Flights) -> Arc<Flight> {
        match flights.enter(KEY) {
            Role::Join(flight) => flight,
            Role::Lead(_) => panic!("nobody leads"),
        }
    }

    #[test]
    fn those_who_wait_share_the_outcome_and_later_ones_do_not() {
        let flights = Flights::default();
        let leader = lead(&flights);
        let flight = join(&flights);
        std::thread::scope(|scope| {
            let waiter = scope.spawn(|| flight.wait(&Context::background(Duration::from_secs(60))));
            leader.land(Ok(Piece::new(
                Bytes::from_static(b"x"),
                crate::stats::Source::Disk,
            )));
            let piece = waiter.join().unwrap().unwrap().unwrap().unwrap();
            assert_eq!(piece.bytes.as_ref(), b"x");
        });
        lead(&flights).land(Err(ReadError::NotFound { needle: KEY.needle }));
        drop(lead(&flights));
    }

    #[test]
    fn a_dropped_lead_wakes_the_waiters_to_lead_themselves() {
        let flights = Flights::default();
        let leader = lead(&flights);
        let flight = join(&flights);
        drop(leader);
        let outcome = flight.wait(&Context::background(Duration::from_secs(60)));
        assert!(outcome.unwrap().is_none());
        drop(lead(&flights));
    }

    #[test]
    fn a_waiter_leaves_when_its_own_caller_gives_up() {
        let flights = Flights::default();
        let leader = lead(&flights);
        let flight = join(&flights);
        let interrupt = Interrupt::new().unwrap();
        std::thread::scope(|scope| {
            let waiter =
                scope.spawn(|| flight.wait(&Context::new(Duration::from_secs(60), &interrupt)));
            interrupt.raise();
            assert_eq!(waiter.join().unwrap().err(), Some(Stopped::Interrupted));
        });
        let late = flight.wait(&Context::background(Duration::ZERO));
        assert_eq!(late.err(), Some(Stopped::TimedOut));
        drop(leader);
    }
}
