//! The CPUs, each of which has a queue.

use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// CPUs that may ever be there, as the kernel counts them: `0-3`, `0-1,4`.
const POSSIBLE: &str = "/sys/devices/system/cpu/possible";

/// How many queues the kernel wants: one for every CPU that may ever be there. `None` where it
/// does not say, or says more than a queue's number can be.
pub(super) fn possible() -> Option<u16> {
    count(&fs::read_to_string(POSSIBLE).ok()?)
}

fn count(list: &str) -> Option<u16> {
    let mut sum = 0u16;
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?);
        sum = sum.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    Some(sum)
}

/// Where the calling thread may run: on the CPU of its queue alone, unless it moves much.
///
/// A small request is answered fastest on the CPU it comes from. A large one takes longer than it
/// takes to wake another CPU, and there it runs beside the program that waits for it, which
/// otherwise competes with it (a stream read through the page cache loses a quarter).
#[derive(Debug)]
pub(super) struct Place {
    home: CpuSet,
    /// Where this process may run.
    anywhere: CpuSet,
    bound: bool,
    /// Small requests since the last large one.
    small: u32,
}

/// What moves more bytes than this is large.
const LARGE: usize = 128 << 10;

/// So many small requests in a row bind a thread again: each change costs a system call, and
/// moving back to the CPU of the queue.
const PATIENCE: u32 = 3;

impl Place {
    /// Binds the calling thread to `cpu`, if that is possible (not if the CPU is offline, or not
    /// among those this process may use).
    pub(super) fn on(cpu: u16) -> Self {
        let mut place = Self {
            home: CpuSet::new(),
            anywhere: sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new()),
            bound: false,
            small: 0,
        };
        let cpu = usize::from(cpu);
        if cpu < CpuSet::MAX_CPU && place.anywhere.is_set(cpu) {
            place.home.set(cpu);
            place.bind();
        }
        place
    }

    /// A request that moves so many bytes comes next.
    pub(super) fn expect(&mut self, bytes: usize) {
        if bytes > LARGE {
            self.small = 0;
            if self.bound {
                self.bound = sched_setaffinity(None, &self.anywhere).is_err();
            }
        } else if !self.bound && self.home.count() > 0 {
            self.small += 1;
            if self.small > PATIENCE {
                self.bind();
            }
        }
    }

    fn bind(&mut self) {
        self.small = 0;
        self.bound = sched_setaffinity(None, &self.home).is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus_are_counted() {
        assert_eq!(count("0-1\n"), Some(2));
        assert_eq!(count("0"), Some(1));
        assert_eq!(count("0-3,8-11,20"), Some(9));
        for nonsense in ["", "x", "3-1", "0-65535", "0-70000", "1,"] {
            assert_eq!(count(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn this_machine_has_as_many_as_it_may_use() {
        let usable = std::thread::available_parallelism().unwrap().get();
        assert!(usize::from(possible().unwrap()) >= usable);
    }

    #[test]
    fn large_requests_run_anywhere_and_small_ones_at_home() {
        let anywhere = sched_getaffinity(None).unwrap();
        let cpu = (0..CpuSet::MAX_CPU)
            .find(|cpu| anywhere.is_set(*cpu))
            .unwrap();
        let mut place = Place::on(u16::try_from(cpu).unwrap());
        let here = || sched_getaffinity(None).unwrap();
        assert_eq!(here().count(), 1);
        place.expect(1 << 20);
        assert!(here() == anywhere);
        for _ in 0..PATIENCE {
            place.expect(4096);
            assert!(here() == anywhere);
        }
        place.expect(4096);
        assert!(here() == place.home);
        // Nothing is known of a CPU that cannot be used.
        assert!(!Place::on(u16::MAX).bound);
    }
}
