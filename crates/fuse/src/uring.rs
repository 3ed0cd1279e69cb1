//! FUSE over io_uring: a queue for each CPU, served on that CPU.
//!
//! On /dev/fuse all requests are in one line, and the kernel wakes any thread that waits in
//! read(2); when that thread sits on another CPU, waking it and being woken by it costs more than
//! the whole rest of a small request (measured: 8 us on one CPU, 31-44 us across two). Here the
//! kernel puts a request into the queue of the CPU its caller runs on, and a thread that is bound
//! to that CPU answers it, with one system call for the reply and the next request together.
//!
//! A queue has as many *entries* as threads: each thread has a ring of its own with one entry.
//! So a method that blocks holds up its own thread and nobody else, exactly as on the device, and
//! nothing is ever handed from one thread to another. The kernel gives a request to the entry
//! that became free last, so of many threads the same few do the work while the others sleep,
//! and their memory is never touched.
//!
//! All threads of a queue are there from the start: a request that finds no free entry is put in
//! line, and only a reply takes it out, not an entry that is added later.
//!
//! FORGET and INTERRUPT still come through /dev/fuse, and so does everything if the queues
//! cannot be set up ([`Workers`](crate::workers::Workers)).

use std::io;
use std::sync::{Arc, mpsc};
use std::thread;

use crate::device::Device;
use crate::dispatch::{Dispatcher, Scratch};
use crate::memory::Pool;
use crate::reply::Segments;
use crate::workers::{Leaving, Staff};
use crate::{FileSystem, signals};

use cpus::Place;
use entry::Entry;
use ring::Ring;

mod cpus;
mod entry;
pub(crate) mod offer;
mod ring;

/// What the threads of all queues share.
pub(crate) struct Queues<F: ?Sized> {
    dispatcher: Arc<Dispatcher<F>>,
    device: Arc<Device>,
    staff: Arc<Staff>,
    /// One for each queue: threads that come one after the other in a queue, and so are at work
    /// together, share their huge pages.
    pools: Vec<Pool>,
}

/// Threads a queue has, whatever the limit for all of them. When as many requests of one CPU
/// are blocked, the next one from there waits for one of them.
const FEWEST: usize = 16;

/// Payload buffers that have memory from the start: a stream of large reads keeps as many
/// threads of a queue at work, and the zeroing of a huge page takes as long as a small read
/// ten times over. The kernel takes the entries that were registered last first.
const READY: usize = 4;

/// The same for all queues together, however many CPUs there are.
const READY_IN_ALL: usize = 16;

/// The kernel's smallest payload buffer (`FUSE_MIN_READ_BUFFER`).
const SMALLEST: usize = 8192;

/// Where a thread reports whether the kernel has accepted its entry.
type Report = mpsc::SyncSender<io::Result<()>>;

impl<F: FileSystem + ?Sized> Queues<F> {
    /// Starts the threads of all queues, `max_threads` in all as far as each queue then has
    /// [`FEWEST`]; `max_size` is the largest READ and WRITE. When this returns, requests come
    /// through the queues.
    ///
    /// # Errors
    /// Why they cannot: the kernel has been told, and uses the device.
    pub(crate) fn start(
        device: &Arc<Device>,
        dispatcher: Arc<Dispatcher<F>>,
        staff: &Arc<Staff>,
        max_size: usize,
        max_threads: usize,
    ) -> io::Result<()> {
        let start = || {
            let cpus = cpus::possible().ok_or_else(|| io::Error::other("cannot count the CPUs"))?;
            let queues = Arc::new(Self {
                dispatcher,
                device: Arc::clone(device),
                staff: Arc::clone(staff),
                pools: (0..cpus)
                    .map(|_| Pool::new(max_size.max(SMALLEST)))
                    .collect(),
            });
            let each = (max_threads / usize::from(cpus)).max(FEWEST);
            let (report, reports) = mpsc::sync_channel(each);
            let ready = each - READY.min(READY_IN_ALL / usize::from(cpus));
            for number in 0..each {
                let start = |queue| queues.spawn(queue, number >= ready, report.clone());
                (0..cpus).try_for_each(start)?;
            }
            drop(report);
            queues.watch()?;
            // Every thread reports before it does anything else.
            reports.iter().collect::<io::Result<()>>()
        };
        match start() {
            // Unmounted already: the session ends as any other does.
            Err(error) if is_end(&error) => Ok(()),
            Err(error) => {
                let told = Ring::new(Arc::clone(device)).and_then(|mut ring| ring.decline());
                Err(match told {
                    Ok(()) => error,
                    Err(second) => io::Error::other(format!("{error}; telling so: {second}")),
                })
            }
            Ok(()) => Ok(()),
        }
    }

    /// Starts the thread that looks for what the kernel does not tell.
    fn watch(self: &Arc<Self>) -> io::Result<()> {
        let leaving = Leaving::enter(&self.staff);
        let queues = Arc::clone(self);
        let watch = move || {
            let _leaving = leaving;
            signals::watch(queues.dispatcher.running());
        };
        let builder = thread::Builder::new().name("fuse-signals".to_owned());
        builder.spawn(watch).map(drop)
    }

    fn spawn(self: &Arc<Self>, queue: u16, ready: bool, report: Report) -> io::Result<()> {
        let slot = self.dispatcher.running().register()?;
        let scratch = Scratch {
            slot: Arc::clone(&slot),
            segments: Segments::default(),
        };
        let leaving = Leaving::enter(&self.staff);
        let queues = Arc::clone(self);
        let spawned = thread::Builder::new()
            .name(format!("fuse-cpu{queue}"))
            .spawn(move || {
                // Moved in first, dropped last: whoever waits for the last thread finds
                // everything it held released.
                let _leaving = leaving;
                queues.work(queue, ready, scratch, report);
            });
        if spawned.is_err() {
            self.dispatcher.running().unregister(&slot);
        }
        spawned.map(|_| ())
    }

    fn work(self: Arc<Self>, queue: u16, ready: bool, mut scratch: Scratch, report: Report) {
        let place = Place::on(queue);
        let mut payload = self.pools[usize::from(queue)].take();
        if let Ok(payload) = &mut payload
            && ready
        {
            payload.populate();
        }
        let entry =
            payload.and_then(|payload| Entry::register(Arc::clone(&self.device), queue, payload));
        // Nobody listens any more if another thread failed before.
        match entry {
            Err(error) => drop(report.send(Err(error))),
            Ok(mut entry) => {
                let _ = report.send(Ok(()));
                drop(report);
                let error = self.serve(&mut entry, &mut scratch, place);
                if !is_end(&error) {
                    tracing::error!(%error, queue, "a FUSE queue loses a thread");
                }
            }
        }
        self.dispatcher.running().unregister(&scratch.slot);
    }

    /// Answers requests until there are none any more.
    fn serve(&self, entry: &mut Entry<'_>, scratch: &mut Scratch, mut place: Place) -> io::Error {
        loop {
            if let Err(error) = entry.next() {
                return error;
            }
            place.expect(entry.weight());
            if let Err(error) = entry.serve(&self.dispatcher, scratch) {
                return error;
            }
        }
    }
}

/// Whether the file system is unmounted or aborted.
fn is_end(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOTCONN | libc::ECONNABORTED | libc::ENODEV)
    )
}
