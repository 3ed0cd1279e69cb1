//! One read over the fabric, from the first question to the verdict.
//!
//! ```text
//! loop {
//!     match call.next(now) {
//!         Step::Start { attempt, candidate } => take a lane to it and send the read;
//!                                               if that fails: call.broken(attempt, reason, now);
//!                                               if it would hold up another: call.unready(attempt, again)
//!         Step::Wait { until }               => poll the lanes; tell call.answered, call.broken
//!         Step::Abandon { attempt }          => close its lane, quarantine its landing
//!         Step::Finish(verdict)              => done; no attempt is running any more
//!     }
//! }
//! ```
//!
//! The candidates are asked in the order of the balance module, each at most once. One that
//! fails, or has not got the volume, is followed by the next. When the first takes longer than most
//! reads of this size do, a second one is asked for the same ([`HedgeConfig`](super::HedgeConfig))
//! and whichever answers first wins; opening a lane for it must not keep the driver from the first. An attempt that keeps silent for half of the timeout makes way
//! for the next candidate if there is one, a probe already for a quarter.
//!
//! What each outcome means:
//!
//! | outcome | consequence |
//! |---|---|
//! | done, checksum right | [`Verdict::Delivered`] |
//! | done, checksum wrong; corrupt | nobody else is asked; [`Verdict::Suspect`] unless a hedge that is already under way delivers |
//! | absent | the next; [`Verdict::Absent`] if all candidates say so |
//! | past the end, too large, gzip | [`Verdict::Told`] |
//! | not here, declined, loading, failed | not asked for the volume for a moment; the next |
//! | busy | not asked for anything for a moment; the next |
//! | lane broken, refused, unreachable, no answer | the breaker's business; the next |
//! | nobody left, or the timeout | [`Verdict::Fallback`] |
//!
//! Dropping a call gives back everything it holds; the driver then closes the lanes of its attempts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::balance::rank;
use super::peer::Pass;
use super::{Candidate, Permit, Policy, Reason};
use crate::wire::{Answer, Status};

/// One read over the fabric.
#[derive(Debug)]
pub struct Call {
    policy: Arc<Policy>,
    candidates: Vec<Candidate>,
    volume: u32,
    bytes: u64,
    /// Candidates not asked yet, the next one first.
    order: Vec<usize>,
    running: Vec<Attempt>,
    abandoned: Vec<u32>,
    attempts: u32,
    hedge_at: Option<Instant>,
    deadline: Instant,
    permit: Option<Permit>,
    absent: usize,
    is_suspect: bool,
    reason: Option<Reason>,
    verdict: Option<Verdict>,
}

/// What the driver has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send the read to this candidate.
    Start {
        /// What to call this attempt from now on.
        attempt: u32,
        /// Index into the candidates.
        candidate: usize,
    },
    /// Wait for the running attempts, but not longer than this.
    Wait {
        /// When to come back.
        until: Instant,
    },
    /// Nobody waits for this attempt any more. Its landing may still be written to.
    Abandon {
        /// Which one.
        attempt: u32,
    },
    /// The read is over.
    Finish(Verdict),
}

/// How a read over the fabric ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The bytes are there and have the right checksum.
    Delivered {
        /// Which attempt brought them.
        attempt: u32,
    },
    /// The answer is no data but tells the caller what to ask instead: [`Status::PastEnd`],
    /// [`Status::TooLarge`], [`Status::Gzip`].
    Told {
        /// Which attempt was answered so.
        attempt: u32,
    },
    /// Every candidate knows the volume and says that the needle does not exist. Replicas
    /// without a sidecar were not asked.
    Absent,
    /// Bytes came that are not those stored, or are stored damaged. Only a whole needle that is
    /// verified, from elsewhere, is good enough now.
    Suspect,
    /// It has to go another way.
    Fallback(Reason),
}

/// A candidate that was asked and has not answered.
#[derive(Debug)]
struct Attempt {
    number: u32,
    /// Index into the candidates.
    candidate: usize,
    pass: Pass,
    /// When it makes way for the next.
    until: Instant,
    /// A hedge holds a permit of its own.
    _permit: Option<Permit>,
}

impl Call {
    /// A read of about `bytes` bytes in `volume`, from any of `candidates`.
    pub fn new(
        policy: Arc<Policy>,
        candidates: Vec<Candidate>,
        volume: u32,
        bytes: u64,
        now: Instant,
    ) -> Self {
        let config = policy.config();
        let deadline = now + config.timeout;
        let overload = config.overload;
        let order = rank(&candidates, bytes, overload, &mut policy.random(), now);
        let (permit, verdict) = match candidates.is_empty() {
            true => (None, Some(Verdict::Fallback(Reason::NoSidecar))),
            false => match policy.permit() {
                Some(permit) => (Some(permit), None),
                None => (None, Some(Verdict::Fallback(Reason::NoPermit))),
            },
        };
        policy.earn();
        Self {
            policy,
            candidates,
            volume,
            bytes,
            order,
            running: Vec::new(),
            abandoned: Vec::new(),
            attempts: 0,
            hedge_at: None,
            deadline,
            permit,
            absent: 0,
            is_suspect: false,
            reason: None,
            verdict,
        }
    }

    /// What to do now.
    pub fn next(&mut self, now: Instant) -> Step {
        self.tick(now);
        if let Some(attempt) = self.abandoned.pop() {
            return Step::Abandon { attempt };
        }
        if self.verdict.is_none() && self.running.is_empty() {
            match self.is_suspect {
                true => self.finish(Verdict::Suspect),
                false => {
                    if let Some(step) = self.ask_next(now) {
                        return step;
                    }
                    self.finish(self.conclusion());
                }
            }
        }
        if let Some(verdict) = self.verdict {
            return Step::Finish(verdict);
        }
        if let Some(at) = self.hedge_at
            && now >= at
        {
            self.hedge_at = None;
            if let Some(step) = self.hedge(now) {
                return step;
            }
        }
        let ends = self.running.iter().map(|attempt| attempt.until);
        let until = ends.chain(self.hedge_at).fold(self.deadline, Instant::min);
        Step::Wait { until }
    }

    /// An attempt was answered. Of several items, the first that is not [`Status::Done`], or the
    /// last. `is_right` tells whether the bytes have the answer's checksum; it matters only when they
    /// are [`Status::Done`].
    pub fn answered(&mut self, attempt: u32, answer: &Answer, is_right: bool, now: Instant) {
        let Some(pass) = self.end(attempt) else {
            return;
        };
        let config = self.policy.config();
        let forget_at = now + config.forget_after;
        match answer.status {
            Status::Done if is_right => {
                pass.delivered(self.bytes, now);
                self.win(Verdict::Delivered { attempt }, now);
            }
            Status::Done => {
                pass.failed(Reason::Corrupt, now);
                self.is_suspect = true;
            }
            Status::Corrupt => {
                pass.answered();
                self.is_suspect = true;
            }
            Status::Absent => {
                pass.answered();
                self.absent += 1;
            }
            Status::PastEnd | Status::TooLarge | Status::Gzip => {
                pass.answered();
                self.win(Verdict::Told { attempt }, now);
            }
            Status::NotHere => self.go_on(pass, Reason::NotHere, forget_at),
            Status::Declined => self.go_on(pass, Reason::Declined, forget_at),
            Status::Loading => self.go_on(pass, Reason::Loading, forget_at),
            Status::Failed => self.go_on(pass, Reason::Failed, forget_at),
            Status::Busy => {
                pass.busy(config.busy_pause, now);
                self.reason = Some(Reason::Busy);
            }
        }
        self.replace(now);
    }

    /// An attempt could not be begun, or its lane broke.
    pub fn broken(&mut self, attempt: u32, reason: Reason, now: Instant) {
        if let Some(pass) = self.end(attempt) {
            pass.failed(reason, now);
            self.reason = Some(reason);
            self.replace(now);
        }
    }

    /// Gives up what has had its time. [`next`](Self::next) does so too.
    pub fn tick(&mut self, now: Instant) {
        while let Some(at) = self.running.iter().position(|attempt| now >= attempt.until) {
            let attempt = self.running.remove(at);
            self.abandoned.push(attempt.number);
            self.reason = Some(Reason::Timeout);
            let took = now.saturating_duration_since(attempt.pass.since());
            // Who was asked shortly before the end is not to blame.
            if took >= self.policy.config().timeout / PROBE_SHARE {
                attempt.pass.failed(Reason::Timeout, now);
            }
        }
        if now >= self.deadline && self.verdict.is_none() {
            self.finish(match self.is_suspect {
                true => Verdict::Suspect,
                false => Verdict::Fallback(Reason::Timeout),
            });
        }
    }

    /// The same, to be over by `deadline`, if that is sooner: the call is part of a longer read.
    #[must_use]
    pub fn by(mut self, deadline: Instant) -> Self {
        self.deadline = self.deadline.min(deadline);
        self
    }

    /// When an attempt makes way; opening its lane counts.
    pub fn patience(&self, attempt: u32) -> Instant {
        let running = self.running.iter().find(|one| one.number == attempt);
        running.map_or(self.deadline, |running| running.until)
    }

    /// A second attempt could not be begun without holding up the first. Nobody is to blame. It may be
    /// begun at `again`, if there is any use in that.
    pub fn unready(&mut self, attempt: u32, again: Option<Instant>) {
        let Some(at) = self.running.iter().position(|one| one.number == attempt) else {
            return;
        };
        let Attempt { candidate, .. } = self.running.remove(at);
        self.policy.refund();
        self.order.insert(0, candidate);
        if self.verdict.is_none() {
            self.hedge_at = again;
        }
    }

    /// Whether nobody waits for this attempt any more, so that its answer is of no use.
    pub fn is_running(&self, attempt: u32) -> bool {
        self.running.iter().any(|running| running.number == attempt)
    }

    fn ask_next(&mut self, now: Instant) -> Option<Step> {
        while !self.order.is_empty() {
            let candidate = self.order.remove(0);
            let peer = &self.candidates[candidate].peer;
            match peer.enter(self.volume, true, now) {
                Ok(pass) => {
                    self.hedge_at = self.hedge_time(candidate, now);
                    return Some(self.start(candidate, pass, None, now));
                }
                // What became of an attempt says more than why there was none.
                Err(reason) => drop(self.reason.get_or_insert(reason)),
            }
        }
        None
    }

    /// Asks a second one, if there is one that is well, a permit, and something in the budget.
    fn hedge(&mut self, now: Instant) -> Option<Step> {
        if self.is_suspect {
            return None;
        }
        let permit = self.policy.permit()?;
        let enter = |(at, candidate): (usize, &usize)| {
            let peer = &self.candidates[*candidate].peer;
            let pass = peer.enter(self.volume, false, now).ok()?;
            Some((at, pass))
        };
        let (at, pass) = self.order.iter().enumerate().find_map(enter)?;
        if !self.policy.spend() {
            return None;
        }
        let candidate = self.order.remove(at);
        Some(self.start(candidate, pass, Some(permit), now))
    }

    fn start(
        &mut self,
        candidate: usize,
        pass: Pass,
        permit: Option<Permit>,
        now: Instant,
    ) -> Step {
        let timeout = self.policy.config().timeout;
        let patience = match (pass.is_probe(), self.order.is_empty()) {
            (true, _) => timeout / PROBE_SHARE,
            (false, false) => timeout / ATTEMPT_SHARE,
            (false, true) => timeout,
        };
        let attempt = self.attempts;
        self.attempts += 1;
        self.running.push(Attempt {
            number: attempt,
            candidate,
            pass,
            until: self.deadline.min(now + patience),
            _permit: permit,
        });
        Step::Start { attempt, candidate }
    }

    fn hedge_time(&self, candidate: usize, now: Instant) -> Option<Instant> {
        let hedge = &self.policy.config().hedge;
        if self.order.is_empty() || hedge.percent == 0 {
            return None;
        }
        let peer = &self.candidates[candidate].peer;
        let slow = peer.percentile(self.bytes, hedge.percentile);
        let wait: Duration = slow.map_or(hedge.unknown, |slow| slow.max(hedge.at_least));
        Some(now + wait)
    }

    /// One of two attempts came to nothing: another candidate takes its place.
    fn replace(&mut self, now: Instant) {
        if self.verdict.is_none() && !self.running.is_empty() {
            self.hedge_at = Some(now);
        }
    }

    fn end(&mut self, attempt: u32) -> Option<Pass> {
        let at = self.running.iter().position(|r| r.number == attempt)?;
        Some(self.running.remove(at).pass)
    }

    fn go_on(&mut self, pass: Pass, reason: Reason, until: Instant) {
        pass.unserved(self.volume, reason, until);
        self.reason = Some(reason);
    }

    /// An attempt decided the read; the other one, if there is one, is given up.
    fn win(&mut self, verdict: Verdict, now: Instant) {
        let newest = self.attempts.saturating_sub(1);
        for attempt in self.running.drain(..) {
            self.abandoned.push(attempt.number);
            // Only the older of the two had its chance.
            if attempt.number < newest {
                attempt.pass.outrun(self.bytes, now);
            }
        }
        self.finish(verdict);
    }

    fn finish(&mut self, verdict: Verdict) {
        self.verdict = Some(verdict);
        self.permit = None;
    }

    fn conclusion(&self) -> Verdict {
        match self.reason {
            None if self.absent == self.candidates.len() => Verdict::Absent,
            None => Verdict::Fallback(Reason::NoSidecar),
            Some(reason) => Verdict::Fallback(reason),
        }
    }
}

/// The part of the timeout that an attempt gets while there is another candidate.
const ATTEMPT_SHARE: u32 = 2;
/// The part of the timeout that a probe gets: the sidecar failed lately.
const PROBE_SHARE: u32 = 4;

#[cfg(test)]
mod tests;
