//! The sum of all accounts, and the ceiling over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use parking_lot::Mutex;
use stats::{Counter, Export, Exporter};

use crate::Account;
use crate::pressure::{LEVELS, Look, Pressure};

/// Who holds memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// Bytes of files that were fetched: cached, on their way, held by handles.
    Reads,
    /// Bytes of files that were written and are not stored yet.
    Writes,
    /// The fabric's memory beside what of it holds cached bytes.
    Fabric,
    /// Names, entries and inodes.
    Metadata,
    /// Indexes of volumes that are read without the sidecar.
    Indexes,
}

impl Holder {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Reads,
        Self::Writes,
        Self::Fabric,
        Self::Metadata,
        Self::Indexes,
    ];

    /// As statistics call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reads => "reads",
            Self::Writes => "writes",
            Self::Fabric => "fabric",
            Self::Metadata => "metadata",
            Self::Indexes => "indexes",
        }
    }
}

/// What a holder may have, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Without pressure.
    pub most: usize,
    /// Under the highest pressure; without it nothing would go on.
    pub least: usize,
}

/// The ledger of one mount. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Ledger {
    book: Arc<Book>,
    accounts: Arc<[Account; Holder::ALL.len()]>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    pressure: Pressure,
    resident: usize,
    pressed: Counter,
}

impl Ledger {
    /// A ledger of `ceiling` bytes, of which `base` are for what no account knows. `share` says what
    /// each holder may have.
    pub fn new(ceiling: usize, base: usize, share: impl Fn(Holder) -> Share) -> Self {
        let book = Arc::new(Book::new(ceiling, base));
        let accounts = Holder::ALL.map(|holder| Account::new(Arc::clone(&book), share(holder)));
        Self {
            book,
            accounts: Arc::new(accounts),
            state: Arc::default(),
        }
    }

    /// The account of a holder.
    pub fn account(&self, holder: Holder) -> &Account {
        &self.accounts[holder as usize]
    }

    /// The most that may be used, in bytes.
    pub fn ceiling(&self) -> usize {
        self.book.ceiling
    }

    /// Bytes used: what accounts hold, and what is known to be beside them.
    pub fn used(&self) -> usize {
        let book = &self.book;
        book.held().saturating_add(book.rest())
    }

    /// How much of what is optional should be done, of [`LEVELS`].
    pub fn ease(&self) -> u8 {
        self.book.level()
    }

    /// Takes what the kernel says; how many levels of pressure came (negative: went) by it.
    pub fn observe(&self, look: &Look) -> i8 {
        let mut state = self.state.lock();
        let held = self.book.held();
        let rest = look.resident.saturating_sub(held).max(self.book.base);
        self.book.rest.store(rest, Ordering::Relaxed);
        let before = state.pressure.level();
        let after = state
            .pressure
            .step(held.saturating_add(rest), self.book.ceiling, look);
        self.book.level.store(after, Ordering::Relaxed);
        state.resident = look.resident;
        if after < before {
            state.pressed.inc();
        }
        before as i8 - after as i8
    }
}

impl Export for Ledger {
    fn export(&self, to: &mut dyn Exporter) {
        let (resident, pressed) = {
            let state = self.state.lock();
            (state.resident, state.pressed.get())
        };
        for (name, help, bytes) in [
            (
                "memory_ceiling_bytes",
                "What -memoryLimitMB allows.",
                self.ceiling(),
            ),
            (
                "memory_used_bytes",
                "What all parts hold, and the program itself.",
                self.used(),
            ),
            (
                "memory_resident_bytes",
                "Size of the process, as the kernel said last.",
                resident,
            ),
        ] {
            to.gauge(name, help, &[], bytes as f64);
        }
        let level = f64::from(LEVELS - self.ease());
        let help = "Steps by which the parts' limits are lowered, of 16.";
        to.gauge("memory_pressure", help, &[], level);
        let help = "Times the limits were lowered.";
        to.counter("memory_pressed", help, &[], pressed);
        for (holder, account) in Holder::ALL.into_iter().zip(self.accounts.iter()) {
            let labels = [("holder", holder.name())];
            let (held, limit) = (account.held(), account.limit());
            to.gauge("memory_held_bytes", "Bytes held.", &labels, held as f64);
            to.gauge(
                "memory_limit_bytes",
                "Bytes that may be held now.",
                &labels,
                limit as f64,
            );
            let help = "Times something was refused for want of memory.";
            to.counter("memory_refused", help, &labels, account.refused());
            let help = "Times somebody waited for memory.";
            to.counter("memory_waits", help, &labels, account.waits());
        }
    }
}

/// What all accounts share.
#[derive(Debug)]
pub(crate) struct Book {
    ceiling: usize,
    base: usize,
    held: AtomicUsize,
    /// Beside the accounts, as it was last seen.
    rest: AtomicUsize,
    level: AtomicU8,
}

impl Book {
    pub(crate) fn new(ceiling: usize, base: usize) -> Self {
        Self {
            ceiling,
            base,
            held: AtomicUsize::new(0),
            rest: AtomicUsize::new(base),
            level: AtomicU8::new(LEVELS),
        }
    }

    pub(crate) fn level(&self) -> u8 {
        self.level.load(Ordering::Relaxed)
    }

    /// More is used than the ceiling allows, by those who could not wait.
    pub(crate) fn is_over(&self) -> bool {
        self.held().saturating_add(self.rest()) > self.ceiling
    }

    pub(crate) fn try_add(&self, bytes: usize) -> bool {
        let most = self.ceiling.saturating_sub(self.rest());
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= most);
        let order = Ordering::Relaxed;
        self.held.fetch_update(order, order, more).is_ok()
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    fn rest(&self) -> usize {
        self.rest.load(Ordering::Relaxed)
    }
}
