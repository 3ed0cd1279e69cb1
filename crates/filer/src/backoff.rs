//! Pauses between attempts: exponential, capped, and with jitter, so that a
//! hundred mounts that lost one filer do not come back as one.

use std::time::Duration;

use crate::random::Random;

/// First pause, before jitter. A restarting filer needs about a second; a
/// refused connection costs nothing, so it is asked often at the beginning.
const FIRST: Duration = Duration::from_millis(50);

/// Longest pause, before jitter.
const LONGEST: Duration = Duration::from_secs(2);

/// The pauses of one series of failures.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    random: Random,
}

impl Backoff {
    /// A series that has not failed yet.
    pub(crate) fn new() -> Self {
        Self {
            next: FIRST,
            random: Random::new(),
        }
    }

    /// The pause after one more failure: between half and all of a value
    /// that doubles each time.
    pub(crate) fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        let half = whole / 2;
        let spread = u64::try_from(half.as_nanos()).unwrap_or(u64::MAX).max(1);
        half + Duration::from_nanos(self.random.below(spread))
    }

    /// Starts again after a success.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_again() {
        let mut backoff = Backoff::new();
        let mut whole = FIRST;
        for _ in 0..12 {
            let pause = backoff.pause();
            assert!(
                pause >= whole / 2 && pause <= whole,
                "{pause:?} of {whole:?}"
            );
            whole = (whole * 2).min(LONGEST);
        }
        assert_eq!(whole, LONGEST);
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }
}
