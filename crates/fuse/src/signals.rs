//! Looks after requests whose INTERRUPT does not come, where requests come through io_uring.
//!
//! Of a request from /dev/fuse the kernel sends an INTERRUPT for the first signal its caller gets,
//! whenever that is, and once more whenever the INTERRUPT is answered with EAGAIN. Of one from
//! io_uring it sends none if the signal came while the request was on its way here, and only
//! that one (Linux 6.18). So requests that take long are looked at now and then: whether their
//! callers have given up shows in /proc as well.

use std::time::Duration;

use crate::caller;
use crate::running::Running;

/// Between two looks. A request is looked at when two in a row find it under way, so a killed
/// program is gone after twice this time, and what takes less time costs nothing.
const PAUSE: Duration = Duration::from_millis(200);

/// Looks until the session ends.
pub(crate) fn watch(running: &Running) {
    let mut seen = Vec::new();
    while !running.ends_within(PAUSE) {
        let now = running.under_way();
        for unique in now.iter().filter(|unique| seen.contains(*unique)) {
            running.interrupt(*unique, caller::has_given_up);
        }
        seen = now;
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;
    use crate::running::Current;

    #[test]
    fn a_request_of_a_dead_caller_is_told_and_others_are_not() {
        let running = Running::default();
        let request = |unique, pid| {
            let slot = running.register().unwrap();
            slot.begin(Current {
                unique,
                pid,
                waits_for_lock: false,
            });
            slot
        };
        // Larger than any pid.
        let dead = request(8, 1 << 23);
        let alive = request(10, std::process::id());
        thread::scope(|scope| {
            scope.spawn(|| watch(&running));
            let deadline = Instant::now() + Duration::from_secs(20);
            while !dead.interrupt().is_raised() && Instant::now() < deadline {
                thread::sleep(Duration::from_millis(5));
            }
            assert!(!alive.interrupt().is_raised());
            running.end();
        });
        assert!(dead.interrupt().is_raised());
    }
}
