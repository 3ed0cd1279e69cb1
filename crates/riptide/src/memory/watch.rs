//! Looks at memory every second or so, and has what is too much given back.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ::mount::Mount;
use direct::Volumes;
use fabric::memory::ArenaStats;
use ledger::{Holder, LEVELS, Ledger, Machine};
use parking_lot::{Condvar, Mutex};
use reader::Reader;
use writer::Writer;

use super::MIB;
use super::trim::trim;

/// How often it looks.
const CALM: Duration = Duration::from_secs(1);
/// The same while more than half of the ceiling is used: a disk or a network fills some hundred MiB in
/// a second.
const BUSY: Duration = Duration::from_millis(200);
/// The allocator is not asked more often than this: it locks itself meanwhile.
const TRIM_EVERY: Duration = Duration::from_secs(2);

/// What is looked after.
#[derive(Debug)]
pub struct Parts {
    /// Cached and fetched bytes.
    pub reader: Reader,
    /// Written bytes.
    pub writer: Writer,
    /// Names and inodes.
    pub mount: Arc<Mount>,
    /// The fabric's memory, if there is any.
    pub arena: Option<Arc<ArenaStats>>,
    /// Volumes that are read without the sidecar.
    pub volumes: Option<Arc<Volumes>>,
}

/// A thread that looks until this is dropped.
#[derive(Debug)]
pub struct Watch {
    closed: Arc<(Mutex<bool>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to look.
    ///
    /// # Errors
    /// The system's, when it has no more threads.
    pub fn start(ledger: Ledger, machine: Machine, parts: Parts) -> std::io::Result<Self> {
        let closed = Arc::new((Mutex::new(false), Condvar::new()));
        let until = Arc::clone(&closed);
        let builder = std::thread::Builder::new().name("memory".to_owned());
        let thread = builder.spawn(move || {
            let mut trimmed = Instant::now();
            let (closed, bell) = &*until;
            loop {
                let is_busy = ledger.used() > ledger.ceiling() / 2;
                let mut is_closed = closed.lock();
                if !*is_closed {
                    bell.wait_for(&mut is_closed, if is_busy { BUSY } else { CALM });
                }
                if *is_closed {
                    return;
                }
                drop(is_closed);
                look(&ledger, &machine, &parts, &mut trimmed);
            }
        })?;
        Ok(Self {
            closed,
            thread: Some(thread),
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.closed.0.lock() = true;
        self.closed.1.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

fn look(ledger: &Ledger, machine: &Machine, parts: &Parts, trimmed: &mut Instant) {
    let gauge = |value: i64| usize::try_from(value).unwrap_or(0);
    if let Some(arena) = &parts.arena {
        let busy = [&arena.landings, &arena.quarantined, &arena.lost];
        let bytes = busy.iter().map(|bytes| gauge(bytes.get())).sum();
        ledger.account(Holder::Fabric).set(bytes);
    }
    if let Some(volumes) = &parts.volumes {
        let bytes = usize::try_from(volumes.memory_bytes()).unwrap_or(usize::MAX);
        ledger.account(Holder::Indexes).set(bytes);
    }
    let look = machine.look();
    let came = ledger.observe(&look);
    if came > 0 {
        let mib = |bytes: usize| bytes as u64 / MIB;
        tracing::info!(
            used_mib = mib(ledger.used()),
            ceiling_mib = mib(ledger.ceiling()),
            resident_mib = mib(look.resident),
            group = ?look.group,
            stalled_percent = look.stalled,
            "memory is short: limits are lowered to {} of {LEVELS} parts",
            ledger.ease(),
        );
    }
    if ledger.ease() == LEVELS {
        return;
    }
    parts.reader.fit();
    parts.writer.fit();
    parts.mount.fit();
    if trimmed.elapsed() >= TRIM_EVERY {
        *trimmed = Instant::now();
        trim();
    }
}
