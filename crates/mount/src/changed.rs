//! What changes below the root, for those who follow it (`riptide warmup -follow`).
//!
//! Paths of entries that came or changed are kept in order, as long as somebody asks for them. Who
//! asks too seldom is told that it has missed some.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Paths kept: some seconds of what a busy filer changes.
const KEPT_MAX: usize = 10_000;
/// Nobody follows any more who has not asked for so long.
const FOLLOWED: Duration = Duration::from_secs(60);

/// The latest changes.
#[derive(Debug, Default)]
pub(crate) struct Changed(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Number of the first path kept; the next one gets `first + kept.len()`.
    first: u64,
    kept: VecDeque<String>,
    asked: Option<Instant>,
}

/// What has changed since somebody asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Where to go on.
    pub next: u64,
    /// Some are missing: anything may have changed.
    pub missed: bool,
    /// Paths at the filer, in order; one may be there several times.
    pub paths: Vec<String>,
}

impl Changed {
    /// An entry came or changed.
    pub(crate) fn note(&self, directory: &str, name: &str) {
        let mut state = self.0.lock();
        if state.asked.is_none_or(|asked| asked.elapsed() >= FOLLOWED) {
            if state.asked.take().is_some() {
                state.skip();
            }
            return;
        }
        if state.kept.len() == KEPT_MAX {
            state.kept.pop_front();
            state.first += 1;
        }
        let path = format!("{}/{name}", directory.trim_end_matches('/'));
        state.kept.push_back(path);
    }

    /// Anything may have changed.
    pub(crate) fn lost(&self) {
        self.0.lock().skip();
    }

    /// What has changed since `since`, which an answer before gave; nothing for the first time.
    pub(crate) fn since(&self, since: Option<u64>) -> Changes {
        let mut state = self.0.lock();
        let was_kept = state.asked.is_some_and(|asked| asked.elapsed() < FOLLOWED);
        state.asked = Some(Instant::now());
        let next = state.first + state.kept.len() as u64;
        let Some(since) = since else {
            return Changes {
                next,
                missed: false,
                paths: Vec::new(),
            };
        };
        let missed = !was_kept || since < state.first || since > next;
        let skip = since.clamp(state.first, next) - state.first;
        let paths = state.kept.iter().skip(skip as usize).cloned();
        Changes {
            next,
            missed,
            paths: paths.collect(),
        }
    }
}

impl State {
    /// Makes a gap that everybody sees.
    fn skip(&mut self) {
        self.first += self.kept.len() as u64 + 1;
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_follows_sees_each_change_once_and_whoever_missed_some_is_told() {
        let changed = Changed::default();
        changed.note("/", "before");
        let start = changed.since(None).next;
        changed.note("/", "a");
        changed.note("/b", "c");
        let first = changed.since(Some(start));
        assert_eq!(first.paths, ["/a", "/b/c"]);
        assert!(!first.missed);
        let none = changed.since(Some(first.next));
        assert_eq!((none.paths.len(), none.missed), (0, false));
        changed.lost();
        changed.note("/", "d");
        let after = changed.since(Some(first.next));
        assert!(after.missed);
        assert_eq!(after.paths, ["/d"]);
        for n in 0..=KEPT_MAX {
            changed.note("/", &n.to_string());
        }
        let many = changed.since(Some(after.next));
        assert!(many.missed);
        assert_eq!(many.paths.len(), KEPT_MAX);
        assert!(changed.since(Some(0)).missed, "of another mount");
        assert!(changed.since(Some(u64::MAX)).missed);
    }
}
