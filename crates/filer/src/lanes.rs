//! Connections that whoever waits drives alone.
//!
//! On the connection that all share, a call wakes a thread of the runtime to be sent, again when its
//! answer is here, and then the caller. A caller that blocks anyway does better on a connection of
//! its own: it sends, sleeps in the kernel until the answer comes, and nobody else is woken. There
//! are a few of these, each with a runtime that only runs while somebody waits in it.
//!
//! So between two calls nobody answers the filer's pings: what was idle for [`FRESH`] is not used
//! again. What a lane does not deliver is asked again on the shared connection, which decides
//! whether the filer is there at all.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::{Filer, RawClient};

/// Lanes at most: each is a connection of the filer's. Who finds none is no worse off than without.
const LANES_MAX: usize = 8;
/// A lane that was idle for longer is dropped. A filer pings after 60 s, and what is between
/// may forget a connection sooner.
const FRESH: Duration = Duration::from_secs(8);
/// Nobody makes a lane for a call that comes alone: only if the last one was not longer ago.
const BUSY: Duration = Duration::from_secs(1);

/// Asks the filers from threads that block.
pub struct Lanes {
    filer: Filer,
    shared: Handle,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The one that was used last comes last.
    idle: Vec<Lane>,
    used: usize,
    asked: Option<Instant>,
}

/// A connection to the filer with this index, and what drives it.
struct Lane {
    /// Taken out when this is dropped.
    runtime: Option<Runtime>,
    client: RawClient,
    peer: usize,
    since: Instant,
}

/// A lane for as long as a call takes.
struct Taken<'a> {
    lanes: &'a Lanes,
    lane: Option<Lane>,
}

/// What the calls of a [`Filer`] that has a lane go by.
pub(crate) struct Way {
    client: RawClient,
    peer: usize,
    broken: AtomicBool,
}

impl Lanes {
    /// Lanes of `filer`'s own, beside the connection that is driven by `shared`.
    pub fn new(filer: Filer, shared: Handle) -> Self {
        Self {
            filer,
            shared,
            state: Mutex::default(),
        }
    }

    /// Does `work`, which asks the filer that it is given, on the calling thread.
    pub fn block_on<T>(&self, work: impl AsyncFnOnce(&Filer) -> T) -> T {
        let Some(mut taken) = self.take() else {
            return self.shared.block_on(work(&self.filer));
        };
        let Some(Lane {
            runtime: Some(runtime),
            client,
            peer,
            ..
        }) = &taken.lane
        else {
            return self.shared.block_on(work(&self.filer));
        };
        let way = Arc::new(Way {
            client: client.clone(),
            peer: *peer,
            broken: AtomicBool::new(false),
        });
        let done = runtime.block_on(work(&self.filer.by(Arc::clone(&way))));
        if way.is_broken() {
            taken.lane = None;
            // The others lead to where it led.
            let _broken = std::mem::take(&mut self.state().idle);
        }
        done
    }

    fn take(&self) -> Option<Taken<'_>> {
        let (now, peer) = (Instant::now(), self.filer.current_index());
        let mut stale = Vec::new();
        let found = {
            let mut state = self.state();
            let asked = state.asked.replace(now);
            let mut found = None;
            while let Some(lane) = state.idle.pop() {
                if lane.peer == peer && now.duration_since(lane.since) < FRESH {
                    found = Some(lane);
                    break;
                }
                stale.push(lane);
            }
            let busy = asked.is_some_and(|at| now.duration_since(at) < BUSY);
            if found.is_none() && (!busy || state.used >= LANES_MAX) {
                return None;
            }
            state.used += 1;
            found
        };
        drop(stale);
        let mut taken = Taken {
            lanes: self,
            lane: found,
        };
        if taken.lane.is_none() {
            match self.open(peer) {
                Ok(lane) => taken.lane = Some(lane),
                Err(error) => {
                    tracing::debug!(%error, "no lane to the filer");
                    return None;
                }
            }
        }
        Some(taken)
    }

    /// A new lane; it connects when it is used.
    fn open(&self, peer: usize) -> io::Result<Lane> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = {
            // What the connection does in the background belongs to this runtime.
            let _inside = runtime.enter();
            self.filer.peer(peer).private_client()
        };
        Ok(Lane {
            runtime: Some(runtime),
            client,
            peer,
            since: Instant::now(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Lanes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        f.debug_struct("Lanes")
            .field("idle", &state.idle.len())
            .field("used", &state.used)
            .finish_non_exhaustive()
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        let mut state = self.lanes.state();
        state.used -= 1;
        // A call that panicked may have left anything behind.
        if let Some(mut lane) = self.lane.take().filter(|_| !std::thread::panicking()) {
            lane.since = Instant::now();
            state.idle.push(lane);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // This may be a thread of another runtime, which must not wait.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Way {
    /// The client for the filer with this index, if the way leads there.
    pub(crate) fn to(&self, peer: usize) -> Option<RawClient> {
        (self.peer == peer && !self.is_broken()).then(|| self.client.clone())
    }

    /// It does not deliver.
    pub(crate) fn breaks(&self) {
        self.broken.store(true, Ordering::Relaxed);
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}
