//! The volumes whose files are open, and the thread that borrows and gives back.
//!
//! Readers find a volume without a lock. Whoever finds none has it asked for and goes another way; only where nobody
//! has asked before it is worth a short wait, as the answer takes less than a millisecond. What the thread does is in [`keeping`].

mod keeping;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use context::Context;
use parking_lot::{Condvar, Mutex};
use seaweed::FileId;
use stats::{Export, Exporter};
use volume::lent::{Borrower, Unfound};
use volume::{Miss, Needle};

use crate::slot::{Access, Slot, State};
use crate::{Decline, Library, ShortCircuitStats};

/// What may be used.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Volumes open at a time, with two descriptors each.
    pub volumes: usize,
    /// Memory for their indexes, at 16 bytes a needle.
    pub index_bytes: u64,
    /// Memory for sums of blocks; a thousandth of the data that is read in ranges.
    pub sums_bytes: u64,
}

/// Volumes of this host.
#[derive(Debug)]
pub struct Volumes {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    epoch: Instant,
    table: ArcSwap<HashMap<u32, Arc<Slot>>>,
    wanted: Mutex<Wanted>,
    /// Something is wanted, or the end has come.
    called: Condvar,
    /// An answer was taken over.
    answered: Condvar,
    borrower: Borrower,
    stats: Arc<ShortCircuitStats>,
}

#[derive(Debug, Default)]
struct Wanted {
    volumes: VecDeque<u32>,
    is_over: bool,
}

/// How long the first to read a volume waits for its files.
const FIRST_WAIT: Duration = Duration::from_millis(200);
impl Volumes {
    /// Borrows from `library` what is wanted.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn new(library: Box<dyn Library>, limits: Limits) -> io::Result<Self> {
        let Limits {
            volumes,
            index_bytes,
            sums_bytes,
        } = limits;
        let shared = Arc::new(Shared {
            epoch: Instant::now(),
            table: ArcSwap::default(),
            wanted: Mutex::default(),
            called: Condvar::new(),
            answered: Condvar::new(),
            borrower: Borrower::new(volumes, index_bytes, sums_bytes)?,
            stats: Arc::default(),
        });
        let borrowing = Arc::clone(&shared);
        let thread = thread::Builder::new().name("short-circuit".to_owned());
        let thread = thread.spawn(move || borrowing.work(library))?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Finds a needle in files of this host.
    pub(crate) fn find(&self, ctx: &Context<'_>, id: FileId) -> Result<Needle, Decline> {
        self.shared.find(ctx, id)
    }

    /// Whether needles of this volume are read out of its files now.
    pub(crate) fn is_open(&self, volume: u32) -> bool {
        matches!(self.shared.access(volume), Some(Access::Read(_)))
    }

    /// Says that these volumes will be read soon.
    pub(crate) fn expect(&self, volumes: &[u32]) {
        let table = self.shared.table.load();
        for volume in volumes {
            if !table.contains_key(volume) {
                self.shared.want(*volume);
            }
        }
    }

    /// Bytes of memory that indexes take.
    pub fn memory_bytes(&self) -> u64 {
        self.shared.borrower.index_bytes()
    }

    /// Its numbers.
    pub fn stats(&self) -> &Arc<ShortCircuitStats> {
        &self.shared.stats
    }

    /// Ends the thread.
    pub fn close(&self) {
        self.shared.wanted.lock().is_over = true;
        self.shared.called.notify_all();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that borrows volume files has panicked");
        }
    }
}

impl Drop for Volumes {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    fn find(&self, ctx: &Context<'_>, id: FileId) -> Result<Needle, Decline> {
        let access = self.access(id.volume);
        let (decline, is_first) = match access {
            Some(Access::Read(state)) => return self.find_in(&state, id),
            Some(Access::Decline(why)) => return Err(why),
            Some(Access::Ask(why)) => (why, why == Decline::Opening),
            None => (Decline::Opening, true),
        };
        let slot = self.want(id.volume);
        if !is_first || !self.wait_for(&slot, ctx) {
            return Err(decline);
        }
        match slot.access(self.now()) {
            Access::Read(state) => self.find_in(&state, id),
            Access::Decline(why) | Access::Ask(why) => Err(why),
        }
    }

    fn access(&self, volume: u32) -> Option<Access> {
        let table = self.table.load();
        Some(table.get(&volume)?.access(self.now()))
    }

    fn find_in(&self, state: &State, id: FileId) -> Result<Needle, Decline> {
        let State::Open(open) = state else {
            return Err(Decline::Opening);
        };
        open.borrowed.find(id).map_err(|unfound| match unfound {
            Unfound::Replaced => {
                self.want(id.volume);
                Decline::Replaced
            }
            Unfound::Miss(Miss::Loading) => Decline::Loading,
            Unfound::Miss(Miss::WouldWait) => Decline::Disk,
            Unfound::Miss(Miss::Corrupt(damage)) => {
                tracing::warn!(needle = %id, %damage, "a needle on this host is damaged");
                Decline::Suspect
            }
            Unfound::Miss(Miss::Io(error)) => {
                tracing::warn!(needle = %id, %error, "cannot look for a needle on this host");
                Decline::Failed
            }
            Unfound::Miss(Miss::Absent(_) | Miss::Expired | Miss::NotHere | Miss::Declined(_)) => {
                Decline::Absent
            }
        })
    }

    /// Has the files of a volume asked for.
    fn want(&self, volume: u32) -> Arc<Slot> {
        let known = self.table.load().get(&volume).cloned();
        let slot = known.unwrap_or_else(|| self.add(volume));
        if slot.ask() {
            self.wanted.lock().volumes.push_back(volume);
            self.called.notify_one();
        }
        slot
    }

    fn add(&self, volume: u32) -> Arc<Slot> {
        // Under this lock alone the table is changed.
        let _changing = self.wanted.lock();
        let table = self.table.load();
        if let Some(slot) = table.get(&volume) {
            return Arc::clone(slot);
        }
        let slot = Arc::new(Slot::new(self.now()));
        let mut larger = HashMap::clone(&table);
        larger.insert(volume, Arc::clone(&slot));
        self.table.store(Arc::new(larger));
        slot
    }

    /// Waits until there is a first answer; whether there is.
    fn wait_for(&self, slot: &Slot, ctx: &Context<'_>) -> bool {
        let until = Instant::now() + FIRST_WAIT.min(ctx.remaining());
        let mut wanted = self.wanted.lock();
        while slot.is_new() && !wanted.is_over {
            if self.answered.wait_until(&mut wanted, until).timed_out() {
                break;
            }
        }
        drop(wanted);
        !slot.is_new()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

impl Export for Volumes {
    fn export(&self, to: &mut dyn Exporter) {
        let shared = &self.shared;
        shared.stats.export(to);
        shared.borrower.stats().export(to);
        let help = "Volumes whose files this mount has open.";
        to.gauge(
            "short_circuit_volumes",
            help,
            &[],
            shared.borrower.volumes() as f64,
        );
        let help = "Bytes of their indexes.";
        let bytes = shared.borrower.index_bytes() as f64;
        to.gauge("short_circuit_index_bytes", help, &[], bytes);
    }
}
