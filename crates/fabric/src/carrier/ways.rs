//! Which ways to a sidecar failed lately, and which of its rails is tried next.
//!
//! Lanes are spread over the rails one after the other. Rails whose device sits at the same NUMA
//! node as the calling thread's processor come first, as far as that is known: which device leads
//! to an address shows when a lane was opened. A rail that failed is left alone for a while, so that
//! a network that is away does not cost every read its patience.
//!
//! A lane that was opened while a better way had failed lasts for as long as it is used. So that it does not
//! outlive the failure, [`Ways::due`] tells which ways are worth another try, and [`Ways::mended`] since when
//! they work again.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a way that failed is left alone; twice as long each time that it fails again.
const REST: Duration = Duration::from_secs(3);
/// How often that doubles: up to 48 s.
const DOUBLINGS: u32 = 4;
/// How many ways are remembered; far more than there are.
const MAX_WAYS: usize = 4096;

/// What is known of all ways, by address.
#[derive(Debug, Default)]
pub(super) struct Ways {
    turn: AtomicUsize,
    known: Mutex<HashMap<String, Way>>,
}

#[derive(Debug, Default)]
struct Way {
    failure: Option<Failure>,
    /// When the first lane was opened after a failure.
    mended: Option<Instant>,
    /// Processors near the device that leads there; `None` if all are as near.
    near: Option<Vec<(usize, usize)>>,
}

#[derive(Debug)]
struct Failure {
    last: Instant,
    /// How often in a row, but for the first time.
    again: u32,
    why: String,
}

impl Ways {
    /// The rails in the order in which to try them, without those that failed a moment ago.
    pub(super) fn order<'a>(&self, rails: &'a [String], now: Instant) -> Vec<&'a str> {
        if rails.is_empty() {
            return Vec::new();
        }
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % rails.len();
        let (before, from) = rails.split_at(first);
        let known = self.known.lock();
        let turned = from.iter().chain(before).map(String::as_str);
        let mut order: Vec<_> = turned
            .filter(|rail| known.get(*rail).is_none_or(|rail| !rail.rests(now)))
            .collect();
        if order.len() > 1 {
            let here = rustix::thread::sched_getcpu();
            order.sort_by_key(|rail| known.get(*rail).is_some_and(|rail| !rail.is_near(here)));
        }
        order
    }

    /// Those that failed when they were tried last, and have rested.
    pub(super) fn due<'a>(
        &self,
        ways: impl Iterator<Item = &'a String>,
        now: Instant,
    ) -> Vec<&'a str> {
        let known = self.known.lock();
        let is_due = |way: &Way| way.failure.is_some() && !way.rests(now);
        ways.filter(|way| known.get(*way).is_some_and(is_due))
            .map(String::as_str)
            .collect()
    }

    /// When the last of those that work again was found to do so.
    pub(super) fn mended<'a>(&self, ways: impl Iterator<Item = &'a String>) -> Option<Instant> {
        let known = self.known.lock();
        ways.filter_map(|way| known.get(way)?.mended).max()
    }

    /// Why a rail is left alone.
    pub(super) fn why(&self, rail: &str) -> Option<String> {
        let known = self.known.lock();
        let failure = known.get(rail)?.failure.as_ref()?;
        let why = &failure.why;
        Some(format!("left alone for a moment, because: {why}"))
    }

    /// A lane was opened, at `now`.
    pub(super) fn worked(&self, carrier: &str, way: &str, now: Instant) {
        self.with(way, |known| known.has_worked(carrier, way, now));
    }

    /// A lane was opened over a rail, to which `device` leads.
    pub(super) fn rail_worked(&self, rail: &str, device: &str, now: Instant) {
        self.with(rail, |known| {
            known.has_worked("rdma", rail, now);
            if known.near.is_none() {
                let class = Path::new("/sys/class/infiniband");
                let list = fs::read_to_string(class.join(device).join("device/local_cpulist"));
                known.near = list.ok().map(|list| cpus(&list));
            }
        });
    }

    pub(super) fn failed(&self, carrier: &str, way: &str, why: String, now: Instant) {
        self.with(way, |known| {
            let again = match &known.failure {
                None => {
                    tracing::info!(carrier, way, why, "a way does not work, others are taken");
                    0
                }
                Some(before) => before.again.saturating_add(1),
            };
            let last = now;
            known.failure = Some(Failure { last, again, why });
        });
    }

    fn with(&self, way: &str, change: impl FnOnce(&mut Way)) {
        let mut known = self.known.lock();
        if known.len() >= MAX_WAYS && !known.contains_key(way) {
            known.clear();
        }
        change(known.entry(way.to_owned()).or_default());
    }
}

impl Way {
    fn has_worked(&mut self, carrier: &str, way: &str, now: Instant) {
        if self.failure.take().is_some() {
            self.mended = Some(now);
            tracing::info!(carrier, way, "a way works again");
        }
    }

    fn rests(&self, now: Instant) -> bool {
        let rest = |failure: &Failure| REST * (1 << failure.again.min(DOUBLINGS));
        let failure = self.failure.as_ref();
        failure.is_some_and(|it| now.saturating_duration_since(it.last) < rest(it))
    }

    fn is_near(&self, cpu: usize) -> bool {
        let near = self.near.as_deref().filter(|near| !near.is_empty());
        near.is_none_or(|near| near.iter().any(|(low, high)| (*low..=*high).contains(&cpu)))
    }
}

/// Reads a list such as `0-3,8`, as the kernel writes it.
fn cpus(list: &str) -> Vec<(usize, usize)> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (low, high) = range.split_once('-').unwrap_or((range, range));
        Some((low.parse().ok()?, high.parse().ok()?))
    });
    ranges.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_spread_and_a_rail_that_failed_rests() {
        let ways = Ways::default();
        let all = ["a:1".to_owned(), "b:1".to_owned()];
        let now = Instant::now();
        assert_eq!(ways.order(&all, now), ["a:1", "b:1"]);
        assert_eq!(ways.order(&all, now), ["b:1", "a:1"]);
        ways.failed("rdma", "b:1", "no route".into(), now);
        for _ in 0..2 {
            assert_eq!(ways.order(&all, now), ["a:1"]);
        }
        assert!(ways.why("b:1").unwrap().ends_with("because: no route"));
        assert_eq!(ways.order(&all, now + REST).len(), 2);
        ways.failed("rdma", "b:1", "no route".into(), now);
        ways.rail_worked("b:1", "no such device", now);
        assert_eq!(ways.order(&all, now).len(), 2);
        assert!(ways.order(&[], now).is_empty());
    }

    #[test]
    fn what_failed_is_due_after_a_rest_that_grows_until_it_works() {
        let ways = Ways::default();
        let all = ["a".to_owned(), "b".to_owned()];
        let now = Instant::now();
        let due = |later| ways.due(all.iter(), now + later);
        assert!(due(REST).is_empty(), "nothing has failed");
        ways.failed("shm", "a", "away".into(), now);
        assert!(due(REST / 2).is_empty());
        assert_eq!(due(REST), ["a"]);
        ways.failed("shm", "a", "away".into(), now);
        assert!(due(REST).is_empty());
        assert_eq!(due(REST * 2), ["a"]);
        for _ in 0..100 {
            ways.failed("shm", "a", "away".into(), now);
        }
        assert_eq!(due(REST * 16), ["a"], "the rest has an end");
        assert_eq!(ways.mended(all.iter()), None);
        ways.worked("shm", "b", now);
        assert_eq!(ways.mended(all.iter()), None, "it had not failed");
        ways.worked("shm", "a", now);
        assert_eq!(ways.mended(all.iter()), Some(now));
        assert!(due(REST * 16).is_empty());
    }

    #[test]
    fn near_devices_come_first() {
        let ways = Ways::default();
        let all = ["far:1".to_owned(), "near:1".to_owned()];
        ways.with("far:1", |way| {
            way.near = Some(vec![(usize::MAX, usize::MAX)])
        });
        ways.with("near:1", |way| way.near = Some(vec![(0, usize::MAX - 1)]));
        for _ in 0..2 {
            assert_eq!(ways.order(&all, Instant::now()), ["near:1", "far:1"]);
        }
        assert_eq!(cpus("0-3,8\n"), [(0, 3), (8, 8)]);
        assert_eq!(cpus("\n"), []);
    }
}
