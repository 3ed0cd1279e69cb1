//! What is known about one sidecar: whether it is well, how long it takes, how many reads it has
//! been given, and what it does not serve at the moment.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{info, warn};

use super::{Breaker, Change, Config, Entry, Latency, Random, Reason};

/// One sidecar, shared by all reads.
#[derive(Debug)]
pub struct Peer {
    name: String,
    in_flight: AtomicUsize,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    breaker: Breaker,
    latency: Latency,
    busy_until: Option<Instant>,
    /// Volumes not to ask for, and until when.
    unserved: HashMap<u32, (Instant, Reason)>,
    random: Random,
}

impl Peer {
    /// A sidecar of which nothing is known yet; `name` is for the log.
    pub fn new(name: impl Into<String>, config: &Config, seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            name: name.into(),
            in_flight: AtomicUsize::new(0),
            known: Mutex::new(Known {
                breaker: Breaker::new(config.breaker.clone(), random.next()),
                latency: Latency::default(),
                busy_until: None,
                unserved: HashMap::new(),
                random,
            }),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Reads that it has been given and that nobody gave up.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Whether it is left alone because it failed.
    pub fn is_left_alone(&self, now: Instant) -> bool {
        self.known.lock().breaker.peek(now) == Entry::Stop
    }

    /// What a read of `bytes` takes on average, as far as is known.
    pub fn mean(&self, bytes: u64, now: Instant) -> Option<Duration> {
        self.known.lock().latency.mean(bytes, now)
    }

    /// It is not asked for `volume` until then, as it has sent what is not in it.
    pub(crate) fn disbelieve(&self, volume: u32, until: Instant) {
        self.known
            .lock()
            .set_unserved(volume, Reason::Corrupt, until, Instant::now());
    }

    pub(super) fn percentile(&self, bytes: u64, percent: u8) -> Option<Duration> {
        self.known.lock().latency.percentile(bytes, percent)
    }

    pub(super) fn is_busy(&self, now: Instant) -> bool {
        let until = self.known.lock().busy_until;
        until.is_some_and(|until| now < until)
    }

    /// Asks to give it a read of `volume`, as a probe only if `may_probe`.
    pub(super) fn enter(
        self: &Arc<Self>,
        volume: u32,
        may_probe: bool,
        now: Instant,
    ) -> Result<Pass, Reason> {
        let mut known = self.known.lock();
        if known.busy_until.is_some_and(|until| now < until) {
            return Err(Reason::Busy);
        }
        match known.unserved.get(&volume) {
            Some((until, reason)) if now < *until => return Err(*reason),
            Some(_) => drop(known.unserved.remove(&volume)),
            None => {}
        }
        if known.breaker.peek(now) == Entry::Probe && !may_probe {
            return Err(Reason::OpenBreaker);
        }
        let is_probe = match known.breaker.enter(now) {
            Entry::Pass => false,
            Entry::Probe => true,
            Entry::Stop => return Err(Reason::OpenBreaker),
        };
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        Ok(Pass {
            peer: self.clone(),
            is_probe,
            since: now,
            is_open: true,
        })
    }

    fn log(&self, change: Option<Change>) {
        match change {
            Some(Change::Opened { reason, pause }) => warn!(
                sidecar = self.name,
                reason = reason.name(),
                pause_ms = pause.as_millis(),
                "the sidecar is left alone for a while"
            ),
            Some(Change::Closed) => info!(sidecar = self.name, "the sidecar is well again"),
            None => {}
        }
    }
}

impl Known {
    fn set_unserved(&mut self, volume: u32, reason: Reason, until: Instant, now: Instant) {
        if self.unserved.len() >= MOST_UNSERVED {
            self.unserved.retain(|_, (until, _)| now < *until);
        }
        // Past the limit nothing is lost but a question.
        if self.unserved.len() < MOST_UNSERVED {
            self.unserved.insert(volume, (until, reason));
        }
    }
}

/// A read that was given to a sidecar. Counts as in flight until it is dropped; dropped without a
/// result, it says nothing about the sidecar.
#[derive(Debug)]
pub(super) struct Pass {
    peer: Arc<Peer>,
    is_probe: bool,
    since: Instant,
    is_open: bool,
}

impl Pass {
    pub(super) fn is_probe(&self) -> bool {
        self.is_probe
    }

    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// `bytes` were delivered.
    pub(super) fn delivered(mut self, bytes: u64, now: Instant) {
        let took = now.saturating_duration_since(self.since);
        let mut known = self.peer.known.lock();
        known.latency.record(bytes, took, now);
        drop(known);
        self.alive();
    }

    /// It answered, whatever it was.
    pub(super) fn answered(mut self) {
        self.alive();
    }

    /// It does not serve the volume.
    pub(super) fn unserved(mut self, volume: u32, reason: Reason, until: Instant) {
        let now = self.since;
        let mut known = self.peer.known.lock();
        known.set_unserved(volume, reason, until, now);
        drop(known);
        self.alive();
    }

    /// It has too much to do; comes back after about `pause`.
    pub(super) fn busy(mut self, pause: Duration, now: Instant) {
        let mut known = self.peer.known.lock();
        let jitter = known.random.below(pause.as_nanos() as u64 + 1);
        known.busy_until = Some(now + pause / 2 + Duration::from_nanos(jitter));
        drop(known);
        self.alive();
    }

    /// It failed.
    pub(super) fn failed(mut self, reason: Reason, now: Instant) {
        self.is_open = false;
        let mut known = self.peer.known.lock();
        let change = known.breaker.failed(self.is_probe, reason, now);
        drop(known);
        self.peer.log(change);
    }

    /// Another one that was asked later was faster. What it would have taken is not known, only
    /// that it is longer than this.
    pub(super) fn outrun(mut self, bytes: u64, now: Instant) {
        self.is_open = false;
        let took = now.saturating_duration_since(self.since);
        let mut known = self.peer.known.lock();
        known.latency.record(bytes, took, now);
        let change = known.breaker.outrun(self.is_probe, now);
        drop(known);
        self.peer.log(change);
    }

    fn alive(&mut self) {
        self.is_open = false;
        let change = self.peer.known.lock().breaker.succeeded(self.is_probe);
        self.peer.log(change);
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.peer.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.is_open {
            // The next read may try at once.
            self.peer
                .known
                .lock()
                .breaker
                .left(self.is_probe, self.since);
        }
    }
}

/// Volumes remembered as not served; a sidecar stands beside a few hundred.
const MOST_UNSERVED: usize = 1024;
