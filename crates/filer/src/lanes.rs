//! Connections that whoever waits drives alone.
//!
//! On the connection that all share, a call wakes a thread of the runtime to be sent, again when its
//! answer is here, and then the caller. A caller that blocks anyway does better on a connection of
//! its own: it sends, sleeps in the kernel until the answer comes, and nobody else is woken. There
//! are a few of these, each with a runtime that only runs while somebody waits in it.
//!
//! So between two calls nobody answers the filer's pings: what was idle for [`FRESH`] is not used
//! again. What a lane does not deliver is asked again on the shared connection, which decides
//! whether the filer is there at all. A lane on which a question was given up is used no more: a
//! thread drives it until that question has had its time, so that nothing of it is sent late or cut off.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::{Filer, Transport};

/// Lanes at most: each is a connection of the filer's. Who finds none is no worse off than without.
const LANES_MAX: usize = 8;
/// A lane that was idle for longer is dropped. A filer pings after 60 s, and what is between
/// may forget a connection sooner.
const FRESH: Duration = Duration::from_secs(8);
/// How long a lane is driven after a question on it was given up.
const LEFT_OVER: Duration = Duration::from_secs(10);
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
    transport: Transport,
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
    transport: Transport,
    peer: usize,
    state: Mutex<Stands>,
}

/// How a way stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// What was asked has been answered.
    Clear,
    Asking,
    /// It did not deliver.
    Broken,
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
            transport,
            peer,
            ..
        }) = &taken.lane
        else {
            return self.shared.block_on(work(&self.filer));
        };
        let way = Arc::new(Way {
            transport: transport.clone(),
            peer: *peer,
            state: Mutex::new(Stands::Clear),
        });
        let done = runtime.block_on(work(&self.filer.by(Arc::clone(&way))));
        match way.stands() {
            Stands::Clear => {}
            Stands::Asking => {
                if let Some(lane) = taken.lane.take() {
                    lane.finish();
                }
            }
            Stands::Broken => {
                taken.lane = None;
                // The others lead to where it led.
                let _others = std::mem::take(&mut self.state().idle);
            }
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
        let transport = self.filer.peer(peer).line();
        Ok(Lane {
            runtime: Some(runtime),
            transport,
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

impl Lane {
    /// Lets what is under way come to its end, on a thread of its own.
    fn finish(mut self) {
        let Some(runtime) = self.runtime.take() else {
            return;
        };
        let thread = std::thread::Builder::new().name("lane-end".to_owned());
        // Without a thread it ends here and now.
        if let Err(error) = thread.spawn(move || drive(runtime, LEFT_OVER)) {
            tracing::debug!(%error, "a question to the filer is cut off");
        }
    }
}

/// Lets what is under way go on for a while.
fn drive(runtime: Runtime, time: Duration) {
    // The timer is made inside: it belongs to the runtime.
    runtime.block_on(async { tokio::time::sleep(time).await });
    runtime.shutdown_background();
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
    /// The way to the filer with this index, if it leads there and is clear.
    pub(crate) fn begins(&self, peer: usize) -> Option<Transport> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.peer != peer || *state != Stands::Clear {
            return None;
        }
        *state = Stands::Asking;
        Some(self.transport.clone())
    }

    /// The question has been answered.
    pub(crate) fn ends(&self) {
        self.set(Stands::Clear);
    }

    /// The question was not delivered, or the answer was not.
    pub(crate) fn breaks(&self) {
        self.set(Stands::Broken);
    }

    fn set(&self, to: Stands) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }

    fn stands(&self) -> Stands {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_up_goes_on_for_a_while_on_a_thread_of_its_own() {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("{error}"));
        let (tell, told) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let _ = tell.send(());
        });
        let thread = std::thread::spawn(move || drive(runtime, Duration::from_millis(500)));
        assert_eq!(told.recv(), Ok(()), "it was cut off");
        assert!(thread.join().is_ok());
    }
}
