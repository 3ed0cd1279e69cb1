//! One write over the fabric, from the first question to the verdict.
//!
//! ```text
//! loop {
//!     match posting.next(now) {
//!         Turn::Start { candidate } => take a lane to it and send the write;
//!                                      if that fails: posting.broken(reason, now)
//!         Turn::Wait { until }      => poll the lane; tell posting.answered, posting.broken
//!         Turn::Abandon             => close the lane
//!         Turn::Finish(verdict)     => done; nothing is running any more
//!     }
//! }
//! ```
//!
//! It is simpler than a [`Call`](super::Call): a write goes to the sidecar beside the one server that
//! was assigned, and there are rarely two. Nothing is hedged, for the sidecar waits for all
//! replicas anyway, and the bytes would have to be sent twice. The candidates are asked one after the
//! other, each at most once; whoever has answered for the volume server ends it.
//!
//! | outcome | consequence |
//! |---|---|
//! | kept, refused | [`Sent::Answered`]: this is what the volume server says |
//! | unreachable, declined | not asked for the volume for a moment; the next |
//! | busy | not asked for anything for a moment; the next |
//! | corrupt; lane broken, refused, unreachable, no answer | the breaker's business; the next |
//! | late | nobody is to blame; the next |
//! | nobody left, or the timeout | [`Sent::Fallback`] |

use std::sync::Arc;
use std::time::Instant;

use super::balance::rank;
use super::peer::Pass;
use super::{Candidate, Permit, Policy, Reason};
use crate::wire::Outcome;

/// One write over the fabric.
#[derive(Debug)]
pub struct Posting {
    policy: Arc<Policy>,
    candidates: Vec<Candidate>,
    volume: u32,
    bytes: u64,
    /// Candidates not asked yet, the next one first.
    order: Vec<usize>,
    running: Option<Running>,
    is_abandoned: bool,
    deadline: Instant,
    permit: Option<Permit>,
    reason: Option<Reason>,
    verdict: Option<Sent>,
}

/// What the driver has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Send the write to this candidate.
    Start {
        /// Index into the candidates.
        candidate: usize,
        /// By when it has to have answered.
        until: Instant,
    },
    /// Wait for it, but not longer than this.
    Wait {
        /// When to come back.
        until: Instant,
    },
    /// Nobody waits for it any more. It may still read the bytes, and hand them on.
    Abandon,
    /// The write is over.
    Finish(Sent),
}

/// How a write over the fabric ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The volume server has answered; the last outcome that was told is what it says.
    Answered,
    /// It has to go another way. The volume server may have the bytes all the same.
    Fallback(Reason),
}

#[derive(Debug)]
struct Running {
    pass: Pass,
    until: Instant,
}

impl Posting {
    /// A write of `bytes` bytes to `volume`, by way of any of `candidates`, to be over by `deadline`.
    pub fn new(
        policy: Arc<Policy>,
        candidates: Vec<Candidate>,
        volume: u32,
        bytes: u64,
        deadline: Instant,
        now: Instant,
    ) -> Self {
        let config = policy.config();
        let deadline = deadline.min(now + config.timeout);
        let overload = config.overload;
        let order = rank(&candidates, bytes, overload, &mut policy.random(), now);
        let (permit, verdict) = match candidates.is_empty() {
            true => (None, Some(Sent::Fallback(Reason::NoSidecar))),
            false => match policy.permit_to_write() {
                Some(permit) => (Some(permit), None),
                None => (None, Some(Sent::Fallback(Reason::NoPermit))),
            },
        };
        Self {
            policy,
            candidates,
            volume,
            bytes,
            order,
            running: None,
            is_abandoned: false,
            deadline,
            permit,
            reason: None,
            verdict,
        }
    }

    /// What to do now.
    pub fn next(&mut self, now: Instant) -> Turn {
        self.tick(now);
        if std::mem::take(&mut self.is_abandoned) {
            return Turn::Abandon;
        }
        if self.verdict.is_none() && self.running.is_none() {
            if let Some(turn) = self.ask_next(now) {
                return turn;
            }
            let reason = self.reason.unwrap_or(Reason::NoSidecar);
            self.finish(Sent::Fallback(reason));
        }
        match (self.verdict, &self.running) {
            (None, Some(running)) => Turn::Wait {
                until: running.until,
            },
            (Some(verdict), _) => Turn::Finish(verdict),
            // One of the two was seen to above.
            (None, None) => Turn::Finish(Sent::Fallback(Reason::NoSidecar)),
        }
    }

    /// The candidate has answered.
    pub fn answered(&mut self, outcome: Outcome, now: Instant) {
        let Some(Running { pass, .. }) = self.running.take() else {
            return;
        };
        let config = self.policy.config();
        let forget_at = now + config.forget_after;
        match outcome {
            Outcome::Kept => {
                pass.delivered(self.bytes, now);
                self.finish(Sent::Answered);
            }
            Outcome::Refused => {
                pass.answered();
                self.finish(Sent::Answered);
            }
            Outcome::Unreachable => {
                pass.unserved(self.volume, Reason::Failed, forget_at);
                self.reason = Some(Reason::Failed);
            }
            Outcome::Declined => {
                pass.unserved(self.volume, Reason::Declined, forget_at);
                self.reason = Some(Reason::Declined);
            }
            Outcome::Busy => {
                pass.busy(config.busy_pause, now);
                self.reason = Some(Reason::Busy);
            }
            Outcome::Corrupt => {
                pass.failed(Reason::Corrupt, now);
                self.reason = Some(Reason::Corrupt);
            }
            Outcome::Late => {
                pass.answered();
                self.reason = Some(Reason::Timeout);
            }
        }
    }

    /// The write could not be sent, or its lane broke.
    pub fn broken(&mut self, reason: Reason, now: Instant) {
        if let Some(Running { pass, .. }) = self.running.take() {
            pass.failed(reason, now);
            self.reason = Some(reason);
        }
    }

    /// The candidate cannot be asked for this, for a reason that lies here.
    pub fn passed_over(&mut self, reason: Reason) {
        // Without a result it says nothing about the sidecar.
        self.running = None;
        self.reason = Some(reason);
    }

    fn tick(&mut self, now: Instant) {
        if let Some(running) = self.running.take_if(|running| now >= running.until) {
            self.is_abandoned = true;
            self.reason = Some(Reason::Timeout);
            let took = now.saturating_duration_since(running.pass.since());
            // Who was asked shortly before the end is not to blame.
            if took >= self.policy.config().timeout / PROBE_SHARE {
                running.pass.failed(Reason::Timeout, now);
            }
        }
        if now >= self.deadline && self.verdict.is_none() {
            self.finish(Sent::Fallback(Reason::Timeout));
        }
    }

    fn ask_next(&mut self, now: Instant) -> Option<Turn> {
        while !self.order.is_empty() {
            let candidate = self.order.remove(0);
            match self.candidates[candidate]
                .peer
                .enter(self.volume, true, now)
            {
                Ok(pass) => {
                    let timeout = self.policy.config().timeout;
                    let patience = match pass.is_probe() {
                        true => timeout / PROBE_SHARE,
                        false => timeout,
                    };
                    let until = self.deadline.min(now + patience);
                    self.running = Some(Running { pass, until });
                    return Some(Turn::Start { candidate, until });
                }
                // What became of an attempt says more than why there was none.
                Err(reason) => drop(self.reason.get_or_insert(reason)),
            }
        }
        None
    }

    fn finish(&mut self, verdict: Sent) {
        self.verdict = Some(verdict);
        self.permit = None;
    }
}

/// The part of the timeout that a probe gets, as for reads.
const PROBE_SHARE: u32 = 4;

#[cfg(test)]
mod tests;
