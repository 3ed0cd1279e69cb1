//! How fast files are brought in.
//!
//! Two rules. While programs read through the mount, a filler works a quarter of its time: after each
//! part it pauses three times as long as the part took, as they share disks and wires with it. And
//! all fillers together keep to a bandwidth, if there is one: whoever has fetched a part pays for it by
//! waiting until the account is even.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Pauses per time of work while programs read.
const STEP_BACK: u32 = 3;
/// No pause for programs is longer: they may have gone.
const STEP_BACK_MAX: Duration = Duration::from_millis(500);

/// The bandwidth of all fillers together.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_second: u64,
    /// When the account will be even.
    even: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second,
            even: Mutex::new(None),
        }
    }

    /// How long to pause after a part of `bytes` that `took` so long and was done at `now`, with
    /// programs reading meanwhile or not.
    pub(crate) fn pause(
        &self,
        now: Instant,
        bytes: u64,
        took: Duration,
        reading: bool,
    ) -> Duration {
        let back = match reading {
            true => (took * STEP_BACK).min(STEP_BACK_MAX),
            false => Duration::ZERO,
        };
        if self.bytes_per_second == 0 {
            return back;
        }
        let cost = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        let mut even = self.even.lock();
        // An account that is not used does not grow: no burst after a rest.
        let start = even.map_or(now - took, |even| even.max(now - took));
        let until = start + cost;
        *even = Some(until);
        back.max(until.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_filler_steps_back_while_programs_read() {
        let pace = Pace::new(0);
        let now = Instant::now();
        assert_eq!(pace.pause(now, 1000, 10 * MS, false), Duration::ZERO);
        assert_eq!(pace.pause(now, 1000, 10 * MS, true), 30 * MS);
        assert_eq!(pace.pause(now, 1000, 10_000 * MS, true), STEP_BACK_MAX);
    }

    #[test]
    fn all_together_keep_to_the_bandwidth_and_rest_saves_nothing() {
        let pace = Pace::new(1000);
        let start = Instant::now() + Duration::from_secs(1);
        // Two at once, each half a second's worth: the second waits for both.
        assert_eq!(pace.pause(start, 500, Duration::ZERO, false), 500 * MS);
        assert_eq!(pace.pause(start, 500, Duration::ZERO, false), 1000 * MS);
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.pause(later, 100, 40 * MS, false), 60 * MS);
        assert_eq!(pace.pause(later, 100, Duration::ZERO, false), 160 * MS);
    }
}
