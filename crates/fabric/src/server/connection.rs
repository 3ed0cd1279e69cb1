//! A connection: a lane, or one that is to become a lane.
//!
//! Whoever wakes it while nobody owns it owns it, and drives it until nothing is left to do. A wake
//! that comes meanwhile is counted, and has the owner look once more. The sockets are watched
//! edge-triggered, so that an exchange costs no call to epoll but the one that waits.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

use super::lane::{Fault, Lane, Link, Step};
use super::outlet::Bench;
use super::session::Session;
use super::shared::{FIRST_CONNECTION, Shared};
use crate::eager::Credit;
use crate::serve::Shelf;

/// A connection, shared by whoever may have to wake it.
pub(super) struct Connection<S: Shelf> {
    pub(super) number: u64,
    /// Not 0 while somebody owns it.
    wakes: AtomicU32,
    is_hung_up: AtomicBool,
    is_evicted: AtomicBool,
    is_open: AtomicBool,
    /// A moment by which something must have happened; 0 if nothing has to.
    deadline: AtomicU64,
    /// Whether it asks again soon.
    pub(super) credit: Credit,
    lane: Mutex<Lane<S>>,
}

/// Something has happened to `connection`.
pub(super) fn wake<S: Shelf>(
    shared: &Shared<S>,
    connection: &Arc<Connection<S>>,
    bench: &mut Bench,
) {
    if connection.wakes.fetch_add(1, Ordering::AcqRel) == 0 {
        drive(shared, connection, bench);
    }
}

/// Drives a connection as its owner.
pub(super) fn drive<S: Shelf>(
    shared: &Shared<S>,
    connection: &Arc<Connection<S>>,
    bench: &mut Bench,
) {
    loop {
        let seen = connection.wakes.load(Ordering::Acquire);
        bench.staging.clear();
        let step = {
            let mut lane = connection.lane.lock();
            // A panic in the shelf costs this lane, not the thread that serves all others.
            let step = catch_unwind(AssertUnwindSafe(|| lane.step(connection, shared, bench)));
            let step = step.unwrap_or_else(|_| Err(Fault("the server failed".into())));
            let step = step.unwrap_or_else(|Fault(error)| {
                shared.stats.ended.inc();
                let client = lane.client();
                tracing::debug!(client, error, "a lane ends");
                Step::Over
            });
            if let Step::Over = step {
                lane.end(connection, shared);
            }
            step
        };
        match step {
            // It stays owned, so that nobody else drives it.
            Step::Disk => return shared.disk.push(connection.clone()),
            Step::Courier => return shared.couriers.push(connection.clone()),
            Step::Over => return shared.table.remove(connection.number),
            Step::Rest => {}
        }
        let rest = connection
            .wakes
            .compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire);
        if rest.is_ok() {
            return;
        }
    }
}

impl<S: Shelf> Connection<S> {
    /// A connection that was just accepted.
    pub(super) fn new(
        shared: &Shared<S>,
        carrier: &'static str,
        link: Link,
        nonce: [u8; 16],
    ) -> Self {
        let now = Instant::now();
        let session = Session::new(link.terms(&shared.terms), link.way(carrier), nonce, now);
        let deadline = session.deadline().map_or(0, |at| shared.moment(at));
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            wakes: AtomicU32::new(0),
            is_hung_up: AtomicBool::new(false),
            is_evicted: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
            deadline: AtomicU64::new(deadline),
            credit: Credit::default(),
            lane: Mutex::new(Lane::new(carrier, link, session)),
        }
    }

    /// Has epoll watch it from now on.
    pub(super) fn watch(&self, shared: &Shared<S>) -> io::Result<()> {
        self.lane.lock().watch_first(self, shared)
    }

    /// The peer sends no more.
    pub(super) fn hang_up(&self) {
        self.is_hung_up.store(true, Ordering::Release);
    }

    pub(super) fn is_hung_up(&self) -> bool {
        self.is_hung_up.load(Ordering::Acquire)
    }

    /// It is a lane now, whose opening nobody waits for any more.
    pub(super) fn open(&self) {
        self.is_open.store(true, Ordering::Release);
        self.set_deadline(0);
    }

    /// It has to make room.
    pub(super) fn evict(&self) {
        self.is_evicted.store(true, Ordering::Release);
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.is_evicted.load(Ordering::Acquire)
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    pub(super) fn has_deadline(&self) -> bool {
        self.deadline.load(Ordering::Relaxed) != 0
    }

    /// By when something must have happened; 0 if nothing has to.
    pub(super) fn set_deadline(&self, moment: u64) {
        self.deadline.store(moment, Ordering::Relaxed);
    }

    pub(super) fn is_late(&self, now: u64) -> bool {
        let deadline = self.deadline.load(Ordering::Relaxed);
        deadline != 0 && deadline <= now
    }
}

static NEXT: AtomicU64 = AtomicU64::new(FIRST_CONNECTION);
