//! Telling the kernel what it must no longer believe.
//!
//! An invalidation can block: dropping a page waits for the READ that fills it,
//! dropping a name waits for the look-ups in that directory. So it is never
//! sent by a thread that answers requests, nor by the one that follows the
//! filer's events. Two threads of their own do it, one for names and
//! attributes, one for pages, so that a read that hangs on a dead volume server
//! delays the pages behind it but no name.
//!
//! What waits to be sent is a set: telling the kernel twice is telling it once.
//! When more waits than [`WAITING_MAX`], the kernel is told to ask for every
//! name again instead.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use fuse::{NodeId, Notifier};
use parking_lot::{Condvar, Mutex};

use crate::stats::Shared;
use crate::tree::Invalidation;

/// More waiting than this is answered by one invalidation of everything.
const WAITING_MAX: usize = 100_000;

/// Sends invalidations in the background.
#[derive(Debug)]
pub(crate) struct Invalidator {
    names: Arc<Queue>,
    pages: Arc<Queue>,
    notifier: Arc<OnceLock<Notifier>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<Waiting>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    order: std::collections::VecDeque<Invalidation>,
    known: HashSet<Invalidation>,
    everything: bool,
    closed: bool,
}

impl Invalidator {
    /// Starts the threads. Nothing is sent before [`Invalidator::attach`].
    pub(crate) fn start(stats: &Shared) -> std::io::Result<Self> {
        let new = Self {
            names: Arc::default(),
            pages: Arc::default(),
            notifier: Arc::default(),
            threads: Mutex::default(),
        };
        for (name, queue) in [("names", &new.names), ("pages", &new.pages)] {
            let (queue, notifier) = (Arc::clone(queue), Arc::clone(&new.notifier));
            let stats = Arc::clone(stats);
            let thread = std::thread::Builder::new()
                .name(format!("inval-{name}"))
                .spawn(move || deliver(&queue, &notifier, &stats))?;
            new.threads.lock().push(thread);
        }
        Ok(new)
    }

    /// The kernel can be told from now on.
    pub(crate) fn attach(&self, notifier: Notifier) {
        // A second session on one file system does not exist.
        let _ = self.notifier.set(notifier);
    }

    /// Queues what the kernel must be told.
    pub(crate) fn tell(&self, all: Vec<Invalidation>) {
        if all.is_empty() {
            return;
        }
        let (pages, names): (Vec<_>, Vec<_>) = all
            .into_iter()
            .partition(|one| matches!(one, Invalidation::Data(_)));
        self.names.push(names);
        self.pages.push(pages);
    }

    /// Queues that every name has to be asked for again, and the attributes of these nodes.
    pub(crate) fn tell_everything(&self, nodes: Vec<NodeId>) {
        self.names.push_everything();
        self.names
            .push(nodes.into_iter().map(Invalidation::Attr).collect());
    }

    /// Ends the threads; what waits is dropped, as the session is over.
    pub(crate) fn close(&self) {
        for queue in [&self.names, &self.pages] {
            queue.state.lock().closed = true;
            queue.ready.notify_all();
        }
        for thread in self.threads.lock().drain(..) {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn push(&self, all: Vec<Invalidation>) {
        if all.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        for one in all {
            if state.known.insert(one.clone()) {
                state.order.push_back(one);
            }
        }
        if state.order.len() > WAITING_MAX {
            let state = &mut *state;
            // Pages and attributes still have to be told one by one; names have the short cut.
            state
                .order
                .retain(|one| !matches!(one, Invalidation::Name(..)));
            state
                .known
                .retain(|one| !matches!(one, Invalidation::Name(..)));
            state.everything = true;
        }
        drop(state);
        self.ready.notify_one();
    }

    fn push_everything(&self) {
        self.state.lock().everything = true;
        self.ready.notify_one();
    }

    /// Waits for work; `None` when closed. `Some(None)` stands for everything.
    fn take(&self) -> Option<Option<Invalidation>> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if std::mem::take(&mut state.everything) {
                return Some(None);
            }
            if let Some(one) = state.order.pop_front() {
                state.known.remove(&one);
                return Some(Some(one));
            }
            self.ready.wait(&mut state);
        }
    }
}

fn deliver(queue: &Queue, notifier: &OnceLock<Notifier>, stats: &Shared) {
    while let Some(work) = queue.take() {
        // Before the session starts the kernel believes nothing.
        let Some(notifier) = notifier.get() else {
            continue;
        };
        let sent = match &work {
            None => notifier.inc_epoch(),
            Some(Invalidation::Name(parent, name)) => {
                notifier.inval_entry(*parent, OsStr::new(name.as_ref()))
            }
            Some(Invalidation::Attr(node)) => notifier.inval_inode(*node, -1, 0),
            Some(Invalidation::Data(node)) => notifier.inval_inode(*node, 0, 0),
        };
        stats.invalidations.inc();
        if let Err(error) = sent {
            stats.invalidation_errors.inc();
            tracing::debug!(?work, %error, "kernel refused an invalidation");
        }
    }
}
