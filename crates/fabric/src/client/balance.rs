//! Which sidecar is asked first.
//!
//! The nearest that are not overloaded come first, for every hop costs more than a short queue.
//! Among equally near ones two are drawn at random and the one with less to do wins, where what a
//! sidecar has to do is its reads in flight times what one takes: always taking the best would send
//! all mounts to the same one (Mitzenmacher, "The Power of Two Choices", 2001).

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Peer, Random};

/// A sidecar beside a replica of the volume.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The sidecar.
    pub peer: Arc<Peer>,
    /// How far away.
    pub nearness: Nearness,
}

/// How far away a sidecar is. Nearer is less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Nearness {
    /// On this host, through shared memory.
    Local,
    /// In this rack.
    Rack,
    /// In this data center.
    DataCenter,
    /// Anywhere, or nobody knows.
    Other,
}

impl Nearness {
    /// Of a sidecar in this data center and rack to a mount in that; empty names are unknown, and
    /// racks of different data centers differ even if they have the same name.
    pub fn between(mine: (&str, &str), its: (&str, &str)) -> Self {
        let is_same = |a: &str, b: &str| !a.is_empty() && a == b;
        match (is_same(mine.0, its.0), is_same(mine.1, its.1)) {
            (true, true) => Self::Rack,
            (true, false) => Self::DataCenter,
            (false, _) => Self::Other,
        }
    }
}

/// The candidates' numbers in the order in which to ask them for `bytes`.
pub(super) fn rank(
    candidates: &[Candidate],
    bytes: u64,
    overload: usize,
    random: &mut Random,
    now: Instant,
) -> Vec<usize> {
    let standing = |(at, candidate): (usize, &Candidate)| {
        let peer = &candidate.peer;
        let in_flight = peer.in_flight();
        let is_overloaded = in_flight >= overload || peer.is_busy(now);
        let each = peer.mean(bytes, now).unwrap_or(UNKNOWN);
        let work = each.as_nanos() * (in_flight as u128 + 1);
        ((is_overloaded, candidate.nearness), work, at)
    };
    let mut ranked: Vec<_> = candidates.iter().enumerate().map(standing).collect();
    ranked.sort_unstable();
    let is_near = |(class, ..): &&(_, _, _)| ranked.first().is_some_and(|(best, ..)| class == best);
    let near = ranked.iter().take_while(is_near).count();
    if near > 1 {
        // They are sorted: the better of two is the one with the lower number.
        let one = random.below(near as u64) as usize;
        let other = random.below(near as u64 - 1) as usize;
        let other = if other >= one { other + 1 } else { other };
        ranked[..=one.min(other)].rotate_right(1);
    }
    ranked.into_iter().map(|(_, _, at)| at).collect()
}

/// What a read is taken to need of a sidecar that was never asked: little, so that it is asked.
const UNKNOWN: Duration = Duration::from_micros(100);

#[cfg(test)]
mod tests;
