//! The threads that serve a session.
//!
//! A worker waits in read(2) of the device, and the thread that takes a request
//! answers it: handing it over would cost more than most answers do (a wake-up
//! across CPUs is 10-30 us, a cached answer 8). So that a blocked method blocks
//! nobody else, whoever takes a request while nobody else waits for the next
//! one first sees to it that somebody does: it wakes a parked worker or starts
//! a new one, up to the limit.
//!
//! A worker that comes back and finds enough others waiting parks in user space
//! instead (read(2) has no timeout), and after some time it leaves.

use std::io;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::FileSystem;
use crate::device::{Device, Received, Undelivered};
use crate::dispatch::{Backend, Dispatcher, Scratch};
use crate::memory::{Lease, Mapping, Pool};
use crate::reply::Segments;

/// Workers that wait in the kernel at a time. Fewer, and the hand-over above
/// happens under ordinary load; more, and requests (which the kernel hands to
/// waiters in turn) visit more threads' caches than they need.
pub(crate) const WAITERS: usize = 4;

/// How long a parked worker stays.
const IDLE: Duration = Duration::from_secs(10);

/// Bytes of a WRITE beside its data, and the page that keeps the data aligned.
const REQUEST_EXTRA: usize = 8192;

/// Reply memory kept while nobody needs it: enough for the waiting workers.
const SPARE_BLOCKS: usize = WAITERS;

/// What all workers of a session share.
pub(crate) struct Workers<F: ?Sized> {
    dispatcher: Arc<Dispatcher<F>>,
    transport: Transport,
    staff: Arc<Staff>,
    waiters: usize,
    max_threads: usize,
    request_size: usize,
}

/// The back end that reads and writes /dev/fuse.
struct Transport {
    device: Arc<Device>,
    pool: Pool,
}

impl Backend for Transport {
    const GATHERS: bool = true;

    type Memory<'a> = Lease<'a>;

    fn memory(&self) -> io::Result<Lease<'_>> {
        self.pool.take()
    }

    fn reply(&self, unique: u64, error: i32, body: &[IoSlice<'_>]) -> Result<(), Undelivered> {
        self.device.reply(unique, error, body)
    }

    fn reply_lent(&self, unique: u64, body: &[u8]) -> Result<(), Undelivered> {
        self.device.reply(unique, 0, &[IoSlice::new(body)])
    }
}

/// How many workers there are and what they do.
#[derive(Debug, Default)]
pub(crate) struct Staff {
    /// In read(2), or about to be.
    waiting: AtomicUsize,
    count: Mutex<Count>,
    woken: Condvar,
    left: Condvar,
}

#[derive(Debug, Default)]
struct Count {
    alive: usize,
    parked: usize,
    /// Wake-ups not yet noticed by a parked worker.
    wakeups: usize,
    ended: bool,
}

impl Staff {
    /// Waits until the last worker has left.
    pub(crate) fn wait(&self) {
        let mut count = self.count.lock();
        while count.alive > 0 {
            self.left.wait(&mut count);
        }
    }

    /// The same for at most `patience`; whether it has.
    pub(crate) fn wait_for(&self, patience: Duration) -> bool {
        let mut count = self.count.lock();
        let left = |count: &mut Count| count.alive > 0;
        !self
            .left
            .wait_while_for(&mut count, left, patience)
            .timed_out()
    }

    /// How many workers there are.
    pub(crate) fn alive(&self) -> usize {
        self.count.lock().alive
    }

    /// Parks the caller; false when it is to leave.
    fn park(&self) -> bool {
        let mut count = self.count.lock();
        if count.ended {
            return false;
        }
        count.parked += 1;
        loop {
            let timeout = self.woken.wait_for(&mut count, IDLE).timed_out();
            if count.wakeups > 0 {
                count.wakeups -= 1;
                count.parked -= 1;
                return !count.ended;
            }
            if timeout || count.ended {
                count.parked -= 1;
                return false;
            }
        }
    }

    /// Sees to another worker in read(2); true if one has to be started for
    /// that, which then already counts.
    fn relieve(&self, max_threads: usize) -> bool {
        let mut count = self.count.lock();
        if count.wakeups < count.parked {
            count.wakeups += 1;
            self.woken.notify_one();
            return false;
        }
        let start = count.alive < max_threads && !count.ended;
        count.alive += usize::from(start);
        start
    }

    /// No more requests will come.
    fn end(&self) {
        self.count.lock().ended = true;
        self.woken.notify_all();
    }

    fn leave(&self) {
        let mut count = self.count.lock();
        count.alive -= 1;
        if count.alive == 0 {
            self.left.notify_all();
        }
    }
}

impl<F: FileSystem + ?Sized> Workers<F> {
    /// Starts the first workers, of which `waiters` wait at a time; `max_size` is the largest
    /// READ and WRITE.
    pub(crate) fn start(
        device: Arc<Device>,
        dispatcher: Arc<Dispatcher<F>>,
        waiters: usize,
        max_size: usize,
        max_threads: usize,
    ) -> io::Result<Arc<Staff>> {
        let staff = Arc::new(Staff::default());
        let workers = Arc::new(Self {
            dispatcher,
            transport: Transport {
                device,
                pool: Pool::new(max_size),
            },
            staff: Arc::clone(&staff),
            waiters,
            max_threads: max_threads.max(1),
            request_size: max_size + REQUEST_EXTRA,
        });
        for started in 0..workers.max_threads.min(waiters) {
            staff.count.lock().alive += 1;
            match workers.spawn() {
                Ok(()) => {}
                Err(error) if started == 0 => return Err(error),
                Err(error) => tracing::warn!(%error, "fewer FUSE threads than wanted"),
            }
        }
        Ok(staff)
    }

    /// Starts a worker that has been counted already.
    fn spawn(self: &Arc<Self>) -> io::Result<()> {
        let leaving = Leaving(Arc::clone(&self.staff));
        let slot = self.dispatcher.running().register()?;
        let scratch = Scratch {
            slot: Arc::clone(&slot),
            segments: Segments::default(),
        };
        let request = Mapping::plain(self.request_size)?;
        let workers = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name("fuse".to_owned())
            .spawn(move || {
                // Moved in first, dropped last: whoever waits for the last worker
                // finds everything it held released.
                let _leaving = leaving;
                workers.work(scratch, request);
            });
        if spawned.is_err() {
            self.dispatcher.running().unregister(&slot);
        }
        spawned.map(|_| ())
    }

    fn work(self: Arc<Self>, mut scratch: Scratch, mut request: Mapping) {
        while let Some(length) = self.next(&mut request) {
            self.dispatcher
                .handle(&request[..length], &mut scratch, &self.transport);
        }
        self.dispatcher.running().unregister(&scratch.slot);
        self.transport.pool.trim(SPARE_BLOCKS);
    }

    /// The next request; `None` when this worker is to leave.
    fn next(self: &Arc<Self>, request: &mut [u8]) -> Option<usize> {
        let staff = &self.staff;
        while staff.waiting.fetch_add(1, Ordering::AcqRel) >= self.waiters {
            staff.waiting.fetch_sub(1, Ordering::AcqRel);
            if !staff.park() {
                return None;
            }
        }
        let received = self.transport.device.receive(request);
        let alone = staff.waiting.fetch_sub(1, Ordering::AcqRel) == 1;
        match received {
            Ok(Received::Request(length)) => {
                if alone
                    && staff.relieve(self.max_threads)
                    && let Err(error) = self.spawn()
                {
                    tracing::warn!(%error, "cannot start another FUSE thread");
                }
                Some(length)
            }
            Ok(Received::Ended) => {
                // Whatever is still at work, nobody waits for it.
                staff.end();
                self.dispatcher.running().end();
                None
            }
            Err(error) => {
                tracing::error!(%error, "cannot read /dev/fuse, a FUSE thread stops");
                None
            }
        }
    }
}

/// Counts a worker out, however it ends.
pub(crate) struct Leaving(Arc<Staff>);

impl Leaving {
    /// Counts a worker in.
    pub(crate) fn enter(staff: &Arc<Staff>) -> Self {
        staff.count.lock().alive += 1;
        Self(Arc::clone(staff))
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.leave();
    }
}
