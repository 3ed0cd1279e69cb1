//! Looking for what comes next instead of sleeping until it does.
//!
//! Who sleeps is woken by another processor, and on a virtual machine that takes as long as a
//! volume server needs for a small read, and several times as long as a sidecar does. While one request is
//! under way there is a processor to spare, so whoever waits for its answer, or in a sidecar for the next one of a
//! client that was just answered, looks for it, again and again, and lets others run
//! in between (sched_yield(2)). A processor that is looked on is not idle either: those who wake each other meanwhile, the
//! reader and the mount, do so on the one that is left, where it costs a sixth. Only where that pays:
//!
//! - there is more than one processor, and nobody else waits;
//! - request and answer are small;
//! - what was waited for mostly came within [`LOOK`]: the other side's credit says so. One that is slow,
//!   or far away, or has other things to do, loses it, and gets it back by one look in [`PROBE`].

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The longest look: what a few wake-ups cost.
const LOOK: Duration = Duration::from_micros(100);
/// What is small.
const SMALL: u64 = 16 << 10;
/// Credit of one who is always in time.
const CREDIT_MAX: u32 = 16;
/// What did not come costs this much, a look that was cut short 1, and one that came brings 1.
const PRICE: u32 = 4;
/// How often one without credit is tried again.
const PROBE: u32 = 64;

/// Those who wait, of one client or one server.
#[derive(Debug)]
pub(crate) struct Eager {
    waiting: AtomicUsize,
    /// There is more than one processor.
    may_look: bool,
}

/// What is known of the other side's speed.
#[derive(Debug)]
pub(crate) struct Credit {
    left: AtomicU32,
    passed: AtomicU32,
}

/// What a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Came,
    Nothing,
    /// Nothing, and the processor is wanted for something else.
    Enough,
}

/// Something is being waited for.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    eager: &'a Eager,
    credit: &'a Credit,
    worth: bool,
}

impl Default for Eager {
    fn default() -> Self {
        Self::on(thread::available_parallelism().map_or(1, usize::from))
    }
}

impl Eager {
    fn on(processors: usize) -> Self {
        Self {
            waiting: AtomicUsize::new(0),
            may_look: processors > 1,
        }
    }

    /// Somebody begins to wait, for what follows on `request` bytes that were sent, with `answer` bytes expected.
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
            worth: others == 0 && small && self.may_look && credit.allows(),
        }
    }
}

impl Waiting<'_> {
    /// Whether [`look`](Self::look) will look at all.
    pub(crate) fn is_worth(&self) -> bool {
        self.worth
    }

    /// Looks until it came, for as long as it is worth it; whether it did.
    pub(crate) fn look(&self, mut look: impl FnMut() -> Seen) -> bool {
        if !self.worth {
            return false;
        }
        let until = Instant::now() + LOOK;
        loop {
            match look() {
                Seen::Came => {
                    self.credit.earn();
                    return true;
                }
                Seen::Enough => break,
                Seen::Nothing => {}
            }
            if self.eager.waiting.load(Ordering::Relaxed) > 1 {
                break;
            }
            if Instant::now() >= until {
                self.credit.pay(PRICE);
                return false;
            }
            rustix::thread::sched_yield();
        }
        self.credit.pay(1);
        false
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

    fn pay(&self, price: u32) {
        let left = self.left.load(Ordering::Relaxed);
        self.left
            .store(left.saturating_sub(price), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_small_wait_looks_and_two_or_large_ones_do_not() {
        let (eager, credit) = (Eager::on(2), Credit::default());
        {
            let first = eager.begin(&credit, 200, 4096);
            assert!(first.is_worth() && first.look(|| Seen::Came));
            let second = eager.begin(&credit, 200, 4096);
            assert!(!second.is_worth() && !second.look(|| Seen::Came));
            let mut looks = 0;
            let look = || {
                looks += 1;
                Seen::Nothing
            };
            assert!(!first.look(look));
            assert_eq!(looks, 1, "it stops when another one waits");
        }
        assert!(!eager.begin(&credit, 200, SMALL + 1).look(|| Seen::Came));
        assert!(!eager.begin(&credit, SMALL + 1, 1).look(|| Seen::Came));
        assert_eq!(eager.waiting.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_processor_alone_is_never_looked_on() {
        for (processors, is_worth) in [(0, false), (1, false), (2, true), (64, true)] {
            let (eager, credit) = (Eager::on(processors), Credit::default());
            assert_eq!(eager.begin(&credit, 1, 1).is_worth(), is_worth);
        }
    }

    #[test]
    fn one_who_is_slow_loses_the_credit_and_one_who_is_fast_gets_it_back() {
        let (eager, credit) = (Eager::on(2), Credit::default());
        let ask = |seen: Seen| {
            let mut looked = false;
            eager.begin(&credit, 1, 1).look(|| {
                looked = true;
                seen
            });
            looked
        };
        let looks = |seen, rounds: u32| (0..rounds).filter(|_| ask(seen)).count() as u32;
        assert_eq!(looks(Seen::Nothing, 2), 2);
        assert_eq!(
            looks(Seen::Nothing, 10 * PROBE),
            10,
            "one probe now and then"
        );
        assert_eq!(looks(Seen::Came, PROBE), 1);
        assert_eq!(looks(Seen::Came, 100), 100);
        assert_eq!(looks(Seen::Enough, CREDIT_MAX), CREDIT_MAX);
        assert_eq!(
            looks(Seen::Enough, 2 * PROBE),
            2,
            "others need the processor"
        );
    }
}
