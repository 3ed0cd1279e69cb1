//! A lane that is opened by a thread of its own, because whoever wants it has something better to wait for.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long nothing is opened after that has failed. Reads that have nothing else to wait for find out sooner
/// how the sidecar does.
const REST: Duration = Duration::from_secs(1);

/// At most one lane of a sidecar is opened so at a time.
#[derive(Debug, Default)]
pub(crate) struct Ahead(Mutex<State>);

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Opening,
    /// It failed; until then.
    Resting(Instant),
}

/// What somebody who wants a lane is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// It is his to open one, and to say [`Ahead::over`].
    Open,
    /// One is being opened.
    Soon,
    /// None will be there before long.
    No,
}

impl Ahead {
    /// Asks for a lane.
    pub(crate) fn ask(&self, now: Instant) -> Turn {
        let mut state = self.0.lock();
        match *state {
            State::Opening => Turn::Soon,
            State::Resting(until) if now < until => Turn::No,
            State::Idle | State::Resting(_) => {
                *state = State::Opening;
                Turn::Open
            }
        }
    }

    /// The lane is open, or not.
    pub(crate) fn over(&self, is_open: bool) {
        *self.0.lock() = match is_open {
            true => State::Idle,
            false => State::Resting(Instant::now() + REST),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_opened_at_a_time_and_none_right_after_a_failure() {
        let (ahead, now) = (Ahead::default(), Instant::now());
        assert_eq!([ahead.ask(now), ahead.ask(now)], [Turn::Open, Turn::Soon]);
        ahead.over(true);
        assert_eq!(ahead.ask(now), Turn::Open);
        ahead.over(false);
        assert_eq!(ahead.ask(now), Turn::No);
        assert_eq!(ahead.ask(now + 2 * REST), Turn::Open);
    }
}
