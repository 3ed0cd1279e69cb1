//! Waiting for things, and measuring a bound that is promised.

use std::thread;
use std::time::{Duration, Instant};

/// Waits until `done`, and says how long that took.
///
/// # Panics
/// When it is not within `limit`.
pub fn eventually(what: &str, limit: Duration, mut done: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "{what}: not within {limit:?}");
        thread::sleep(POLL);
    }
    start.elapsed()
}

/// A promised bound in time.
///
/// The machine may be busy with other things, so the measurement is repeated a
/// few times, and one of them must keep the bound. None may take forever: what
/// is late must still come.
#[derive(Debug, Clone, Copy)]
pub struct Bound {
    /// The promise.
    pub limit: Duration,
    /// How often it may be measured.
    pub tries: u32,
}

impl Bound {
    /// Measures until a try keeps the bound. `change(n)` makes the n-th change and
    /// returns when it is acknowledged; `seen(n)` tells whether it shows.
    ///
    /// # Panics
    /// When no try keeps the bound, or a change is never seen.
    pub fn hold(self, what: &str, mut change: impl FnMut(u32), mut seen: impl FnMut(u32) -> bool) {
        let mut times = Vec::new();
        for n in 0..self.tries {
            change(n);
            let time = eventually(what, FOREVER, || seen(n));
            times.push(time);
            if time <= self.limit {
                println!("{what}: seen after {:.1} ms", time.as_secs_f64() * 1e3);
                return;
            }
        }
        panic!(
            "{what}: seen after {times:?}, never within {:?}",
            self.limit
        );
    }
}

const POLL: Duration = Duration::from_micros(500);
const FOREVER: Duration = Duration::from_secs(20);
