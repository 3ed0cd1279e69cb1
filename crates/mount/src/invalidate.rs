//! Telling the kernel what it must no longer believe.
//!
//! An invalidation can block: dropping a page waits for the READ that fills it,
//! dropping a name waits for the look-ups in that directory. So it is never
//! sent by a thread that answers requests, nor by the one that follows the
//! filer's events. Two threads of their own do it, one for names and
//! attributes, one for pages, so that a read that hangs on a dead volume server
//! delays the pages behind it but no name.
//!
//! An invalidation can overtake the answer that first names an inode: the kernel then knows nothing of it
//! yet, and would believe the answer for long. So when it says so, the inode's name is expired, which waits for
//! the answers under way in that directory, and the inode is told once more.
//!
//! What waits to be sent is a set: telling the kernel twice is telling it once.
//! When more waits than [`WAITING_MAX`], the kernel is told to ask for every
//! name again instead.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use fuse::{NodeId, Notifier, NotifyError};
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
    kernel: Arc<OnceLock<Kernel>>,
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
            kernel: Arc::default(),
            threads: Mutex::default(),
        };
        for (name, queue) in [("names", &new.names), ("pages", &new.pages)] {
            let (queue, kernel) = (Arc::clone(queue), Arc::clone(&new.kernel));
            let stats = Arc::clone(stats);
            let thread = std::thread::Builder::new()
                .name(format!("inval-{name}"))
                .spawn(move || deliver(&queue, &kernel, &stats))?;
            new.threads.lock().push(thread);
        }
        Ok(new)
    }

    /// The kernel can be told from now on. `place` says where an inode is.
    pub(crate) fn attach(
        &self,
        notifier: Notifier,
        place: impl Fn(NodeId) -> Option<(NodeId, Arc<str>)> + Send + Sync + 'static,
    ) {
        let place = Box::new(place);
        // A second session on one file system does not exist.
        let _ = self.kernel.set(Kernel { notifier, place });
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

/// Where an inode is.
type Where = dyn Fn(NodeId) -> Option<(NodeId, Arc<str>)> + Send + Sync;

/// Who is told.
struct Kernel {
    notifier: Notifier,
    place: Box<Where>,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Kernel").finish_non_exhaustive()
    }
}

impl Kernel {
    /// Tells of an inode, also if an answer under way is the first to name it.
    fn inode(&self, node: NodeId, offset: i64) -> Result<(), NotifyError> {
        if self.notifier.inval_inode(node, offset, 0)? {
            return Ok(());
        }
        if let Some((parent, name)) = (self.place)(node) {
            let name = OsStr::new(name.as_ref());
            self.notifier.inval_entry_expire_only(parent, name)?;
            self.notifier.inval_inode(node, offset, 0)?;
        }
        Ok(())
    }
}

fn deliver(queue: &Queue, kernel: &OnceLock<Kernel>, stats: &Shared) {
    while let Some(work) = queue.take() {
        // Before the session starts the kernel believes nothing.
        let Some(kernel) = kernel.get() else {
            continue;
        };
        let sent = match &work {
            None => kernel.notifier.inc_epoch(),
            Some(Invalidation::Name(parent, name)) => {
                let name = OsStr::new(name.as_ref());
                kernel.notifier.inval_entry(*parent, name)
            }
            Some(Invalidation::Attr(node)) => kernel.inode(*node, -1),
            Some(Invalidation::Data(node)) => kernel.inode(*node, 0),
        };
        stats.invalidations.inc();
        if let Err(error) = sent {
            stats.invalidation_errors.inc();
            tracing::debug!(?work, %error, "kernel refused an invalidation");
        }
    }
}
