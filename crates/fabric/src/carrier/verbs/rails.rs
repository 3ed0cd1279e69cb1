//! Which of a sidecar's rails is tried next.
//!
//! Lanes are spread over the rails one after the other. Rails whose device sits at the same NUMA
//! node as the calling thread's processor come first, as far as that is known: which device leads
//! to an address shows when a lane was opened. A rail that failed is left alone for a while, so that
//! a network that is away does not cost every read its patience.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a rail that failed is left alone.
const REST: Duration = Duration::from_secs(3);
/// How many rails are remembered; far more than there are.
const MAX_RAILS: usize = 4096;

/// What is known of all rails.
#[derive(Debug, Default)]
pub(in crate::carrier) struct Rails {
    turn: AtomicUsize,
    known: Mutex<HashMap<String, Rail>>,
}

#[derive(Debug, Default)]
struct Rail {
    failed: Option<(Instant, String)>,
    /// Processors near the device that leads there; `None` if all are as near.
    near: Option<Vec<(usize, usize)>>,
}

impl Rails {
    /// The rails in the order in which to try them, without those that failed a moment ago.
    pub(in crate::carrier) fn order<'a>(&self, rails: &'a [String], now: Instant) -> Vec<&'a str> {
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

    /// Why a rail is left alone.
    pub(in crate::carrier) fn why(&self, rail: &str) -> Option<String> {
        let known = self.known.lock();
        let (_, why) = known.get(rail)?.failed.as_ref()?;
        Some(format!("left alone for a moment, because: {why}"))
    }

    pub(in crate::carrier) fn worked(&self, rail: &str, device: &str) {
        self.with(rail, |known| {
            if known.failed.take().is_some() {
                tracing::info!(rail, "RDMA works again");
            }
            if known.near.is_none() {
                let class = Path::new("/sys/class/infiniband");
                let list = fs::read_to_string(class.join(device).join("device/local_cpulist"));
                known.near = list.ok().map(|list| cpus(&list));
            }
        });
    }

    pub(in crate::carrier) fn failed(&self, rail: &str, why: String, now: Instant) {
        self.with(rail, |known| {
            if known.failed.is_none() {
                tracing::info!(rail, why, "RDMA does not work, other ways are taken");
            }
            known.failed = Some((now, why));
        });
    }

    fn with(&self, rail: &str, change: impl FnOnce(&mut Rail)) {
        let mut known = self.known.lock();
        if known.len() >= MAX_RAILS && !known.contains_key(rail) {
            known.clear();
        }
        change(known.entry(rail.to_owned()).or_default());
    }
}

impl Rail {
    fn rests(&self, now: Instant) -> bool {
        let failed = self.failed.as_ref();
        failed.is_some_and(|(at, _)| now.saturating_duration_since(*at) < REST)
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
        let rails = Rails::default();
        let all = ["a:1".to_owned(), "b:1".to_owned()];
        let now = Instant::now();
        assert_eq!(rails.order(&all, now), ["a:1", "b:1"]);
        assert_eq!(rails.order(&all, now), ["b:1", "a:1"]);
        rails.failed("b:1", "no route".into(), now);
        for _ in 0..2 {
            assert_eq!(rails.order(&all, now), ["a:1"]);
        }
        assert!(rails.why("b:1").unwrap().ends_with("because: no route"));
        assert_eq!(rails.order(&all, now + REST).len(), 2);
        rails.failed("b:1", "no route".into(), now);
        rails.worked("b:1", "no such device");
        assert_eq!(rails.order(&all, now).len(), 2);
        assert!(rails.order(&[], now).is_empty());
    }

    #[test]
    fn near_devices_come_first() {
        let rails = Rails::default();
        let all = ["far:1".to_owned(), "near:1".to_owned()];
        rails.with("far:1", |rail| {
            rail.near = Some(vec![(usize::MAX, usize::MAX)])
        });
        rails.with("near:1", |rail| rail.near = Some(vec![(0, usize::MAX - 1)]));
        for _ in 0..2 {
            assert_eq!(rails.order(&all, Instant::now()), ["near:1", "far:1"]);
        }
        assert_eq!(cpus("0-3,8\n"), [(0, 3), (8, 8)]);
        assert_eq!(cpus("\n"), []);
    }
}
