//! Leaves a sidecar alone for a while after it failed, and finds out whether it is well again.
//!
//! ```text
//!          LIMIT points of failure
//! Closed ─────────────────────────▶ Open ──the pause is over──▶ Half-open, one read may try
//!    ▲                               ▲                            │         │
//!    │                               └──── twice the pause ── it fails   it succeeds
//!    └──────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Failures weigh differently: a sidecar that cannot be reached or keeps silent for a whole timeout
//! is left alone at once, a lane that breaks may have been an old one, a wrong checksum may be that
//! of one needle. Any success of a closed breaker makes up for all points. Pauses are random between half and all of their length, so that
//! the mounts of a cluster do not come back at the same moment.
//!
//! Results of reads that were begun before the breaker opened say nothing new and change nothing.

use std::time::{Duration, Instant};

use super::{BreakerConfig, Random, Reason};

/// The breaker of one sidecar.
#[derive(Debug)]
pub struct Breaker {
    config: BreakerConfig,
    state: State,
    points: u32,
    pause: Duration,
    random: Random,
}

/// Whether a read may ask the sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// It may.
    Pass,
    /// It may, and what becomes of it decides about all others, who have to wait for it.
    Probe,
    /// Not now.
    Stop,
}

/// A turn that is worth a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The sidecar is left alone.
    Opened {
        /// The last straw.
        reason: Reason,
        /// Until it is tried again.
        pause: Duration,
    },
    /// The sidecar is well again.
    Closed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    Open { until: Instant },
    Probing,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(config: BreakerConfig, seed: u64) -> Self {
        Self {
            pause: config.first_pause,
            config,
            state: State::Closed,
            points: 0,
            random: Random::new(seed),
        }
    }

    /// What [`enter`](Self::enter) would say.
    pub fn peek(&self, now: Instant) -> Entry {
        match self.state {
            State::Closed => Entry::Pass,
            State::Open { until } if now >= until => Entry::Probe,
            State::Open { .. } | State::Probing => Entry::Stop,
        }
    }

    /// Asks to pass. After [`Entry::Probe`], exactly one of [`succeeded`](Self::succeeded),
    /// [`failed`](Self::failed) and [`left`](Self::left) has to be told as a probe.
    pub fn enter(&mut self, now: Instant) -> Entry {
        let entry = self.peek(now);
        if entry == Entry::Probe {
            self.state = State::Probing;
        }
        entry
    }

    /// The sidecar answered.
    pub fn succeeded(&mut self, is_probe: bool) -> Option<Change> {
        match self.state {
            State::Closed => {
                self.points = 0;
                None
            }
            State::Probing if is_probe => {
                self.state = State::Closed;
                self.points = 0;
                self.pause = self.config.first_pause;
                Some(Change::Closed)
            }
            State::Open { .. } | State::Probing => None,
        }
    }

    /// The sidecar failed. Tells of an opening once; a probe's failure prolongs it silently.
    pub fn failed(&mut self, is_probe: bool, reason: Reason, now: Instant) -> Option<Change> {
        match self.state {
            State::Closed => {
                self.points += points(reason);
                (self.points >= LIMIT).then(|| Change::Opened {
                    reason,
                    pause: self.open(now),
                })
            }
            State::Probing if is_probe => {
                self.open(now);
                None
            }
            State::Open { .. } | State::Probing => None,
        }
    }

    /// The sidecar was slower than another one that was asked later.
    pub fn outrun(&mut self, is_probe: bool, now: Instant) -> Option<Change> {
        match self.state {
            State::Closed if self.points + 1 < LIMIT => {
                self.points += 1;
                None
            }
            _ => self.failed(is_probe, Reason::Timeout, now),
        }
    }

    /// A read that had passed ended without saying anything about the sidecar.
    pub fn left(&mut self, is_probe: bool, now: Instant) {
        if is_probe && self.state == State::Probing {
            self.state = State::Open { until: now };
        }
    }

    fn open(&mut self, now: Instant) -> Duration {
        let half = self.pause / 2;
        let jitter = self.random.below(half.as_nanos() as u64 + 1);
        let pause = half + Duration::from_nanos(jitter);
        self.state = State::Open { until: now + pause };
        self.pause = (self.pause * 2).min(self.config.max_pause);
        pause
    }
}

/// Points at which a breaker opens.
const LIMIT: u32 = 6;

/// How much a failure weighs.
fn points(reason: Reason) -> u32 {
    match reason {
        // It may have been idle since before the sidecar was restarted.
        Reason::Broken => 2,
        // One needle may be damaged on the disk, and somebody may read it again and again.
        Reason::Corrupt => 1,
        // It was not asked: it is memory of ours that is short.
        Reason::Declined => 0,
        // Waiting for it again costs another timeout; whoever refuses us will do so again.
        _ => LIMIT,
    }
}

#[cfg(test)]
mod tests;
