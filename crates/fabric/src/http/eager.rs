//! Looking for an answer instead of sleeping until it comes.
//!
//! Who sleeps is woken by another processor, and on a virtual machine that takes as long as a
//! volume server needs for a small read. While one request is under way there is a processor to
//! spare, so whoever waits for its answer looks for it, again and again, and lets others run
//! in between (sched_yield(2)). Only where that pays:
//!
//! - there is more than one processor, and no other request is waiting for a head;
//! - request and answer are small;
//! - answers of this server mostly came within [`LOOK`]: its credit says so. A server that is slow,
//!   or far away, loses it, and gets it back by one request in [`PROBE`].

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The longest look: what two wake-ups cost.
const LOOK: Duration = Duration::from_micros(100);
/// What is small.
const SMALL: u64 = 16 << 10;
/// Credit of a server that always answers in time.
const CREDIT_MAX: u32 = 16;
/// An answer that did not come costs this much, and one that came brings 1.
const PRICE: u32 = 4;
/// How often a server without credit is tried again.
const PROBE: u32 = 64;

/// The requests of one client.
#[derive(Debug, Default)]
pub(crate) struct Eager {
    waiting: AtomicUsize,
}

/// What is known of one server's speed.
#[derive(Debug)]
pub(crate) struct Credit {
    left: AtomicU32,
    passed: AtomicU32,
}

/// A request whose answer is being waited for.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    eager: &'a Eager,
    credit: &'a Credit,
    worth: bool,
}

impl Eager {
    /// A request of `request` bytes to a server, with `answer` bytes expected, begins to wait.
    pub(crate) fn begin<'a>(
        &'a self,
        credit: &'a Credit,
        request: u64,
        answer: u64,
    ) -> Waiting<'a> {
        let others = self.waiting.fetch_add(1, Ordering::Relaxed);
        let small = request <= SMALL && answer <= SMALL;
        Waiting {
            eager: self,
            credit,
            worth: others == 0 && small && processors() > 1 && credit.allows(),
        }
    }
}

impl Waiting<'_> {
    /// Looks until `came`, for as long as it is worth it; whether it did.
    pub(crate) fn look(&self, mut came: impl FnMut() -> bool) -> bool {
        if !self.worth {
            return false;
        }
        let until = Instant::now() + LOOK;
        loop {
            if came() {
                self.credit.earn();
                return true;
            }
            if self.eager.waiting.load(Ordering::Relaxed) > 1 {
                return false;
            }
            if Instant::now() >= until {
                self.credit.pay();
                return false;
            }
            rustix::thread::sched_yield();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.eager.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Credit {
    fn default() -> Self {
        Self {
            left: AtomicU32::new(CREDIT_MAX / 2),
            passed: AtomicU32::new(0),
        }
    }
}

// Counts that two threads change at once may lose a step: they are estimates.
impl Credit {
    fn allows(&self) -> bool {
        if self.left.load(Ordering::Relaxed) > 0 {
            return true;
        }
        let passed = self.passed.load(Ordering::Relaxed) + 1;
        self.passed.store(passed % PROBE, Ordering::Relaxed);
        passed == PROBE
    }

    fn earn(&self) {
        let left = self.left.load(Ordering::Relaxed);
        if left < CREDIT_MAX {
            self.left.store(left + 1, Ordering::Relaxed);
        }
    }

    fn pay(&self) {
        let left = self.left.load(Ordering::Relaxed);
        self.left
            .store(left.saturating_sub(PRICE), Ordering::Relaxed);
    }
}

fn processors() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_small_request_looks_and_two_or_large_ones_do_not() {
        let (eager, credit) = (Eager::default(), Credit::default());
        let several = processors() > 1;
        {
            let first = eager.begin(&credit, 200, 4096);
            assert_eq!(first.look(|| true), several);
            let second = eager.begin(&credit, 200, 4096);
            assert!(!second.look(|| true));
            let mut looks = 0;
            let look = || {
                looks += 1;
                false
            };
            assert!(!first.look(look));
            assert_eq!(
                looks,
                usize::from(several),
                "it stops when another one waits"
            );
        }
        assert!(!eager.begin(&credit, 200, SMALL + 1).look(|| true));
        assert!(!eager.begin(&credit, SMALL + 1, 1).look(|| true));
        assert_eq!(eager.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_slow_server_loses_its_credit_and_a_fast_one_gets_it_back() {
        if processors() == 1 {
            return;
        }
        let (eager, credit) = (Eager::default(), Credit::default());
        let ask = |came: bool| {
            let mut looked = false;
            eager.begin(&credit, 1, 1).look(|| {
                looked = true;
                came
            });
            looked
        };
        let looks = |came: bool, rounds: u32| (0..rounds).filter(|_| ask(came)).count() as u32;
        assert_eq!(looks(false, 2), 2);
        assert_eq!(looks(false, 10 * PROBE), 10, "one probe now and then");
        assert_eq!(looks(true, PROBE), 1);
        assert_eq!(looks(true, 100), 100);
    }
}
