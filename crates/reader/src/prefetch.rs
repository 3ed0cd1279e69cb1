//! Threads that fetch what sequential readers will want next, and [small files](crate::small) ahead of
//! whoever opens one after the other.
//!
//! They wait on one queue. What may stand in it is bounded by the
//! [`Allowance`](crate::allowance): each job's pin has its permit already. A job that
//! nobody awaits any more, because the handle was closed or the reader went elsewhere or was
//! faster, is skipped.

use std::io;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use context::Context;
use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};
use seaweed::Chunk;

use crate::core::{Core, Urgency};
use crate::piece::Cut;
use crate::small::Batch;
use crate::stream::Inner;

/// The threads and their queue.
pub(crate) struct Prefetchers {
    /// `None` once closed, which ends the threads.
    queue: RwLock<Option<Sender<Work>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// Something to fetch.
pub(crate) enum Work {
    /// The next piece of a file.
    Piece(Job),
    /// Small files.
    Small(Batch),
}

/// A piece to fetch, and the handle that has a pin waiting for it.
pub(crate) struct Job {
    pub(crate) awaited_by: Weak<Inner>,
    pub(crate) chunk: Chunk,
    pub(crate) cut: Cut,
}

impl Prefetchers {
    /// Starts `count` threads. Each tries for a piece as long as `patience`.
    ///
    /// # Errors
    /// The system's, when it has no more threads.
    pub(crate) fn start(core: &Arc<Core>, count: usize, patience: Duration) -> io::Result<Self> {
        let (queue, jobs) = crossbeam_channel::unbounded();
        let prefetchers = Self {
            queue: RwLock::new(Some(queue)),
            threads: Mutex::default(),
        };
        for number in 0..count {
            let core = Arc::clone(core);
            let jobs: Receiver<Work> = jobs.clone();
            let run = move || {
                for job in jobs {
                    match job {
                        Work::Piece(job) => work(&core, &job, patience),
                        Work::Small(batch) => core.fetch_small(&batch, patience),
                    }
                }
            };
            let name = format!("prefetch-{number}");
            let thread = std::thread::Builder::new().name(name).spawn(run)?;
            prefetchers.threads.lock().push(thread);
        }
        Ok(prefetchers)
    }

    /// Queues a job; false once closed.
    pub(crate) fn submit(&self, job: Work) -> bool {
        let queue = self.queue.read();
        queue.as_ref().is_some_and(|queue| queue.send(job).is_ok())
    }

    /// Ends the threads. Fetches under way are expected to end soon, by an interrupt.
    pub(crate) fn close(&self) {
        *self.queue.write() = None;
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a prefetch thread panicked");
            }
        }
    }
}

fn work(core: &Core, job: &Job, patience: Duration) {
    let Some(stream) = job.awaited_by.upgrade() else {
        return;
    };
    let key = &job.cut.key;
    if !stream.awaits(key) {
        return;
    }
    let ctx = Context::new(patience, &core.closing);
    if ctx.check().is_err() {
        return stream.failed(key);
    }
    match core.piece(&ctx, &job.chunk, &job.cut, Urgency::Ahead) {
        Ok(Some(fetched)) if fetched.keep => {
            core.stats.prefetched.inc();
            stream.arrived_early(key, &fetched.piece);
        }
        Ok(_) => {
            core.stats.prefetch_refused.inc();
            stream.failed(key);
        }
        // The read that comes for the piece meets the error itself, if it is still there.
        Err(error) => {
            if !error.is_own() {
                core.stats.prefetch_errors.inc();
                tracing::debug!(%error, "prefetch failed");
            }
            stream.failed(key);
        }
    }
}
