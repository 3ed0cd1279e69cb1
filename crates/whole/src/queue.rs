//! Which file is brought in next.
//!
//! What programs have opened goes before what somebody wants warm. Files that are begun are
//! finished first: half a file is worth nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use seaweed::ContentKey;

use crate::filling::{Filling, Source};

/// A file to bring in.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) key: ContentKey,
    pub(crate) size: u64,
    pub(crate) name: Arc<str>,
    pub(crate) source: Arc<dyn Source>,
}

/// What a filler does next.
pub(crate) enum Work {
    /// Begin a file.
    Begin(Job),
    /// Fetch a part of one.
    Fetch(Arc<Filling>, usize),
}

/// Files waiting, on their way, and given up.
#[derive(Default)]
pub(crate) struct Queue {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Default)]
struct State {
    opened: VecDeque<Job>,
    wanted: VecDeque<Job>,
    known: HashMap<ContentKey, Stage>,
    active: Vec<Arc<Filling>>,
    failed: HashMap<ContentKey, String>,
    closed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Waiting,
    /// Begun, or about to be.
    Begun,
    /// Out of date while it was about to begin.
    Unwanted,
}

/// Waiting at most; who wants more warm comes back.
const WAITING_MAX: usize = 10_000;
/// Reasons remembered.
const FAILED_MAX: usize = 1000;

/// How a file stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Standing {
    Waiting,
    Filling { done: u64, total: u64 },
    Failed(String),
}

impl Queue {
    /// Adds a file, in front of those that nobody has opened if `opened`; false when there is no room.
    pub(crate) fn push(&self, job: Job, opened: bool) -> bool {
        let mut state = self.state.lock();
        if state.closed {
            return false;
        }
        match state.known.get(&job.key) {
            // It moves to the front, if it waited for nobody yet.
            Some(Stage::Waiting) if opened => {
                let at = state.wanted.iter().position(|other| other.key == job.key);
                if let Some(job) = at.and_then(|at| state.wanted.remove(at)) {
                    state.opened.push_back(job);
                }
                return true;
            }
            Some(_) => return true,
            None => {}
        }
        let line = match opened {
            true => &mut state.opened,
            false => &mut state.wanted,
        };
        if line.len() >= WAITING_MAX {
            return false;
        }
        let key = job.key;
        line.push_back(job);
        state.failed.remove(&key);
        state.known.insert(key, Stage::Waiting);
        drop(state);
        self.ready.notify_one();
        true
    }

    /// Waits for work; `None` when closed.
    pub(crate) fn take(&self) -> Option<Work> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            let part = state
                .active
                .iter()
                .find_map(|filling| Some((Arc::clone(filling), filling.take()?)));
            if let Some((filling, number)) = part {
                return Some(Work::Fetch(filling, number));
            }
            let job = state.opened.pop_front();
            if let Some(job) = job.or_else(|| state.wanted.pop_front()) {
                state.known.insert(job.key, Stage::Begun);
                return Some(Work::Begin(job));
            }
            self.ready.wait(&mut state);
        }
    }

    /// A file was begun: others may take parts of it. `false` when it is not wanted any more.
    pub(crate) fn begun(&self, filling: &Arc<Filling>) -> bool {
        let mut state = self.state.lock();
        if state.closed || state.known.get(filling.key()) == Some(&Stage::Unwanted) {
            return false;
        }
        state.active.push(Arc::clone(filling));
        drop(state);
        self.ready.notify_all();
        true
    }

    /// A file is done with; why, if it is not whole now.
    pub(crate) fn ended(&self, key: &ContentKey, failed: Option<String>) {
        let mut state = self.state.lock();
        state.known.remove(key);
        state.active.retain(|filling| filling.key() != key);
        if let Some(reason) = failed {
            if state.failed.len() >= FAILED_MAX {
                state.failed.clear();
            }
            state.failed.insert(*key, reason);
        }
    }

    /// Nobody wants a file any more; whether it was here.
    pub(crate) fn forget(&self, key: &ContentKey) -> bool {
        let mut state = self.state.lock();
        let at = state.active.iter().position(|filling| filling.key() == key);
        if let Some(at) = at {
            // Those who are at a part of it let go of it when they have that.
            state.active.remove(at).give_up();
            state.known.remove(key);
            return true;
        }
        match state.known.get_mut(key) {
            None => return false,
            Some(stage @ Stage::Begun) => *stage = Stage::Unwanted,
            Some(Stage::Unwanted) => {}
            Some(Stage::Waiting) => {
                state.known.remove(key);
                state.opened.retain(|job| job.key != *key);
                state.wanted.retain(|job| job.key != *key);
            }
        }
        true
    }

    /// How a file stands; nothing for one that is not known here.
    pub(crate) fn standing(&self, key: &ContentKey) -> Option<Standing> {
        let state = self.state.lock();
        if let Some(filling) = state.active.iter().find(|filling| filling.key() == key) {
            return Some(filling_of(filling));
        }
        if state.known.contains_key(key) {
            return Some(Standing::Waiting);
        }
        state.failed.get(key).cloned().map(Standing::Failed)
    }

    /// Files on their way.
    pub(crate) fn active(&self) -> Vec<(Arc<str>, u64, Standing)> {
        let state = self.state.lock();
        let each = |filling: &Arc<Filling>| {
            let Job { name, size, .. } = &filling.job;
            (Arc::clone(name), *size, filling_of(filling))
        };
        state.active.iter().map(each).collect()
    }

    /// Files waiting or on their way.
    pub(crate) fn len(&self) -> usize {
        self.state.lock().known.len()
    }

    /// Whoever waits is told that there is nothing any more.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        state.opened.clear();
        state.wanted.clear();
        state.active.clear();
        state.known.clear();
        drop(state);
        self.ready.notify_all();
    }
}

fn filling_of(filling: &Filling) -> Standing {
    Standing::Filling {
        done: filling.done(),
        total: filling.total,
    }
}
