//! Keeping names and inodes within their memory.
//!
//! What is known of names grows with what programs look at, and the kernel holds references to inodes
//! that only it can give back. So nothing here is refused. When the account of metadata is nearly full, a
//! thread of its own goes through the tree ([`Tree::shrink`](crate::tree::Tree::shrink)), drops what only we
//! cache, and has the kernel drop what it only caches: by FUSE_NOTIFY_PRUNE since Linux 6.18, by
//! invalidating names of files before. Meanwhile look-ups that would make more inodes wait a moment each, and
//! listings are answered without inodes. When all that is left is in use (open, somebody's current directory),
//! nobody waits: the ledger takes the memory from caches and buffers instead.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use context::Context;
use fuse::{Errno, NodeId, Notifier};
use ledger::Account;
use parking_lot::{Condvar, Mutex};

use crate::save::stopped;
use crate::state::Core;
use crate::tree::Asked;

/// How often it is looked whether there is something to do, if nobody says so.
const LOOK: Duration = Duration::from_millis(500);
/// When nothing could be dropped, it is tried again after this.
const REST: Duration = Duration::from_secs(1);
/// The kernel's answers to one step are given this long to arrive.
const ANSWERS: Duration = Duration::from_millis(2);
/// Nodes looked at in one step, for which the tree is locked: below a millisecond.
const STEP: usize = 2048;
/// A look-up waits for at most so many times [`PACE`].
const PACES: u32 = 25;
const PACE: Duration = Duration::from_millis(2);

/// The account of metadata, and who keeps to it.
#[derive(Debug)]
pub(crate) struct Keeper {
    pub(crate) account: Account,
    /// The kernel, and whether it can be asked to drop inodes by number.
    kernel: OnceLock<(Notifier, bool)>,
    /// All that is left is in use.
    is_stuck: AtomicBool,
    state: Mutex<State>,
    bell: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rung: bool,
    closed: bool,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    pub(crate) fn new(account: Account) -> Self {
        Self {
            account,
            kernel: OnceLock::new(),
            is_stuck: AtomicBool::new(false),
            state: Mutex::default(),
            bell: Condvar::new(),
        }
    }

    /// The kernel can be asked from now on; it speaks version 7.`minor`.
    pub(crate) fn attach(&self, notifier: Notifier, minor: u32) {
        // A second session on one file system does not exist.
        let _ = self.kernel.set((notifier, minor >= PRUNE_SINCE));
    }

    /// Whether names should be handed out without inodes.
    pub(crate) fn is_short(&self) -> bool {
        self.account.is_over()
    }

    /// Waits a moment if memory is short and may become free.
    ///
    /// # Errors
    /// EINTR, or EIO when the request has had its time.
    pub(crate) fn pace(&self, ctx: &Context<'_>) -> Result<(), Errno> {
        for round in 0..PACES {
            if !self.is_short() || self.is_stuck.load(Ordering::Relaxed) {
                break;
            }
            if round == 0 {
                self.account.count_wait();
                self.ring();
            }
            ctx.sleep(PACE).map_err(stopped)?;
        }
        Ok(())
    }

    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, when it has no more threads.
    pub(crate) fn start(core: &Arc<Core>) -> std::io::Result<()> {
        let of = Arc::clone(core);
        let builder = std::thread::Builder::new().name("metadata".to_owned());
        let thread = builder.spawn(move || of.keeper.run(&of))?;
        core.keeper.state.lock().thread = Some(thread);
        Ok(())
    }

    /// Ends the thread.
    pub(crate) fn close(&self) {
        let thread = {
            let mut state = self.state.lock();
            state.closed = true;
            state.thread.take()
        };
        self.bell.notify_all();
        if let Some(thread) = thread {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }

    /// Has the thread look at once.
    pub(crate) fn ring(&self) {
        self.state.lock().rung = true;
        self.bell.notify_all();
    }

    /// Waits until the bell rings, at most for `pause`; false when closed.
    fn wait(&self, pause: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.rung && !state.closed {
            self.bell.wait_for(&mut state, pause);
        }
        state.rung = false;
        !state.closed
    }

    fn run(&self, core: &Core) {
        let mut pause = LOOK;
        let mut is_tight = false;
        while self.wait(pause) {
            pause = LOOK;
            if !is_tight && !self.is_nearly_full(16) {
                continue;
            }
            core.tree.write().set_tight(true);
            self.is_stuck.store(false, Ordering::Relaxed);
            while self.is_nearly_full(8) && !self.state.lock().closed {
                let before = self.account.held();
                self.round(core);
                let freed = before.saturating_sub(self.account.held());
                let in_vain = freed <= before / 64 && self.is_short();
                self.is_stuck.store(in_vain, Ordering::Relaxed);
                if in_vain || freed == 0 {
                    pause = REST;
                    break;
                }
            }
            is_tight = self.is_nearly_full(8);
            core.tree.write().set_tight(is_tight);
        }
    }

    /// Goes through the whole tree, or until there is enough room: twice, as what was used gets another
    /// round.
    fn round(&self, core: &Core) {
        let mut left = core.tree.read().size().0 * 2;
        while left > 0 && self.is_nearly_full(8) {
            let found = core.tree.write().shrink(STEP);
            left = left.saturating_sub(found.looked.max(1));
            drop(found.dropped);
            if !found.ask.is_empty() {
                self.ask(core, &found.ask);
                if !self.wait_for_answers() {
                    return;
                }
            }
        }
    }

    /// Less than one part in `parts` is left.
    fn is_nearly_full(&self, parts: usize) -> bool {
        let limit = self.account.limit();
        self.account.held() > limit - limit / parts || self.is_short()
    }

    fn wait_for_answers(&self) -> bool {
        let mut state = self.state.lock();
        if !state.closed {
            self.bell.wait_for(&mut state, ANSWERS);
        }
        !state.closed
    }

    fn ask(&self, core: &Core, nodes: &[Asked]) {
        let Some((notifier, prunes)) = self.kernel.get() else {
            return;
        };
        let told = if *prunes {
            let nodes: Vec<NodeId> = nodes.iter().map(|asked| asked.node).collect();
            let told = notifier.prune(&nodes);
            if told.is_ok() {
                core.stats.asked_back.add(nodes.len() as u64);
            }
            told
        } else {
            let names = nodes.iter().filter_map(|asked| asked.name.as_ref());
            names
                .map(|(parent, name)| {
                    let told = notifier.inval_entry(*parent, OsStr::new(name.as_ref()));
                    if told.is_ok() {
                        core.stats.asked_back.inc();
                    }
                    told
                })
                .find(Result::is_err)
                .unwrap_or(Ok(()))
        };
        if let Err(error) = told {
            tracing::debug!(%error, "the kernel does not give inodes back");
        }
    }
}

/// The minor version of FUSE in which inodes can be pruned.
const PRUNE_SINCE: u32 = 45;
