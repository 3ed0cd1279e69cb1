//! Volumes that are perhaps not where they are thought to be.
//!
//! Where volumes are is remembered for minutes. Who reads over HTTP notices when one has moved, for its server says
//! so or is gone. A sidecar says so as well; without fallback nobody else does. So where the volume is gets
//! asked anew, but not for each of the many reads that fail meanwhile.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// A sidecar that has not got a volume is asked for it again after as long.
const PAUSE: Duration = Duration::from_secs(2);
/// The most volumes that are asked for anew within a pause.
const MOST: usize = 4096;

/// When which volume was last asked for anew.
#[derive(Debug, Default)]
pub(super) struct Doubts(Mutex<HashMap<u32, Instant>>);

impl Doubts {
    /// Whether it is time to ask anew where `volume` is. Who hears so does.
    pub(super) fn raise(&self, volume: u32, now: Instant) -> bool {
        let mut raised = self.0.lock();
        let is_recent = |at: &Instant| now < *at + PAUSE;
        if raised.get(&volume).is_some_and(is_recent) {
            return false;
        }
        if raised.len() >= MOST {
            raised.retain(|_, at| is_recent(at));
        }
        let has_room = raised.len() < MOST;
        if has_room {
            raised.insert(volume, now);
        }
        has_room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_asked_for_anew_once_a_pause() {
        let (doubts, now) = (Doubts::default(), Instant::now());
        assert!(doubts.raise(1, now) && doubts.raise(2, now));
        assert!(!doubts.raise(1, now + PAUSE / 2));
        assert!(doubts.raise(1, now + PAUSE) && !doubts.raise(1, now + PAUSE));
    }

    #[test]
    fn no_more_volumes_than_that_are_asked_for_within_a_pause() {
        let (doubts, now) = (Doubts::default(), Instant::now());
        let raised = |at| {
            (0..2 * MOST as u32)
                .filter(|volume| doubts.raise(*volume, at))
                .count()
        };
        assert_eq!(raised(now), MOST);
        assert_eq!(raised(now + PAUSE), MOST);
    }
}
