//! Threads that upload.
//!
//! As many as there is work for, at most `-concurrentWriters`; whoever has
//! nothing to do for a while ends. The queue needs no bound of its own: what
//! lies in it is counted as dirty memory. A thread that would only wait for its one
//! upload does it itself, in the place of one of these: two wake-ups less.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// How long a thread waits for work.
const IDLE: Duration = Duration::from_secs(10);
/// An upload needs no deep stack, and there may be many.
const STACK: usize = 512 << 10;

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// The uploading threads of a mount.
pub(crate) struct Workers {
    max: usize,
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Uploads that whoever waits for them does itself.
    guests: usize,
    closed: bool,
}

/// The place of a thread that uploads by itself.
pub(crate) struct Place<'a> {
    workers: &'a Arc<Workers>,
}

impl Workers {
    /// At most `max` at once.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            state: Mutex::default(),
            wake: Condvar::new(),
        }
    }

    /// Has `job` done, after those submitted before it were begun.
    pub(crate) fn submit(self: &Arc<Self>, job: Job) {
        let mut state = self.state.lock();
        state.queue.push_back(job);
        let start = state.lacks_a_thread(self.max);
        drop(state);
        match start {
            true => self.start(),
            false => {
                self.wake.notify_one();
            }
        }
    }

    /// Starts a thread that was counted already.
    fn start(self: &Arc<Self>) {
        let this = Arc::clone(self);
        let builder = std::thread::Builder::new().name("upload".into());
        if let Err(error) = builder.stack_size(STACK).spawn(move || this.work()) {
            // Others do it, or whoever is started for the next job.
            tracing::error!(%error, "cannot start a thread for uploads");
            self.state.lock().threads -= 1;
        }
    }

    /// Whether another job would be begun at once.
    pub(crate) fn has_room(&self) -> bool {
        self.state.lock().has_room(self.max)
    }

    /// For the caller to do a job itself, if one would be begun at once.
    pub(crate) fn place(self: &Arc<Self>) -> Option<Place<'_>> {
        let mut state = self.state.lock();
        if !state.has_room(self.max) {
            return None;
        }
        state.guests += 1;
        Some(Place { workers: self })
    }

    /// Lets the threads end when the queue is empty.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.wake.notify_all();
    }

    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                job();
                state = self.state.lock();
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let waited = self.wake.wait_for(&mut state, IDLE);
            state.idle -= 1;
            if waited.timed_out() && state.queue.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

impl State {
    fn has_room(&self, max: usize) -> bool {
        self.threads - self.idle + self.guests + self.queue.len() < max
    }

    /// Whether a job waits that nobody idle will take, and there may be one more; counts it, then.
    fn lacks_a_thread(&mut self, max: usize) -> bool {
        let lacks = self.queue.len() > self.idle && self.threads + self.guests < max;
        self.threads += usize::from(lacks);
        lacks
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.workers.state.lock();
        state.guests -= 1;
        let start = state.lacks_a_thread(self.workers.max);
        drop(state);
        if start {
            self.workers.start();
        }
    }
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers")
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn no_more_run_at_once_than_allowed_and_all_are_done() {
        let workers = Arc::new(Workers::new(3));
        let (running, most, done) = (
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
            Arc::new(AtomicUsize::new(0)),
        );
        for _ in 0..40 {
            let (running, most, done) = (running.clone(), most.clone(), done.clone());
            workers.submit(Box::new(move || {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(2));
                running.fetch_sub(1, Ordering::SeqCst);
                done.fetch_add(1, Ordering::SeqCst);
            }));
        }
        let began = std::time::Instant::now();
        while done.load(Ordering::SeqCst) < 40 {
            assert!(began.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(most.load(Ordering::SeqCst) <= 3);
        workers.close();
    }

    #[test]
    fn who_does_a_job_itself_has_the_place_of_a_thread_and_leaves_it() {
        let workers = Arc::new(Workers::new(1));
        let place = workers.place().unwrap();
        assert!(workers.place().is_none() && !workers.has_room());
        let (tell, told) = std::sync::mpsc::channel();
        workers.submit(Box::new(move || tell.send(()).unwrap()));
        let soon = Duration::from_millis(50);
        assert!(told.recv_timeout(soon).is_err(), "there is no room for it");
        drop(place);
        told.recv_timeout(Duration::from_secs(20)).unwrap();
        workers.close();
    }
}
