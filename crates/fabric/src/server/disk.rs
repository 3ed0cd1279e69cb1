//! Lanes that wait for a thread that may wait: for a disk, or for a volume server.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::connection::{Connection, drive};
use super::outlet::{Bench, MayWait};
use super::shared::Shared;
use crate::serve::Shelf;

/// A queue of lanes whose owner the next of its threads will be.
pub(super) struct Waiting<S: Shelf> {
    state: Mutex<State<S>>,
    filled: Condvar,
    /// Beyond this the wait is longer than the way to somebody else.
    limit: usize,
}

struct State<S: Shelf> {
    waiting: VecDeque<Arc<Connection<S>>>,
    is_closed: bool,
}

/// How many exchanges may wait for each thread.
const EACH: usize = 64;

impl<S: Shelf> Waiting<S> {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                is_closed: false,
            }),
            filled: Condvar::new(),
            limit: threads.max(1) * EACH,
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.state.lock().waiting.len() >= self.limit
    }

    /// Hands a lane over. Its owner until now may not touch it any more.
    pub(super) fn push(&self, connection: Arc<Connection<S>>) {
        self.state.lock().waiting.push_back(connection);
        self.filled.notify_one();
    }

    /// Has the threads end. Lanes that still wait are let go.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        drop(waiting);
        self.filled.notify_all();
    }

    fn next(&self) -> Option<Arc<Connection<S>>> {
        let mut state = self.state.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some(connection) = state.waiting.pop_front() {
                return Some(connection);
            }
            self.filled.wait(&mut state);
        }
    }
}

/// The life of a disk thread.
pub(super) fn read<S: Shelf>(shared: &Shared<S>) {
    let mut bench = Bench::new(MayWait::ForDisk);
    while let Some(connection) = shared.disk.next() {
        drive(shared, &connection, &mut bench);
    }
}

/// The life of a thread that hands needles to volume servers.
pub(super) fn hand_on<S: Shelf>(shared: &Shared<S>) {
    let mut bench = Bench::new(MayWait::ForAll);
    while let Some(connection) = shared.couriers.next() {
        drive(shared, &connection, &mut bench);
    }
}
