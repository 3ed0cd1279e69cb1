//! MD5 of chunks, several at once.
//!
//! The entry names every chunk's MD5 (its `e_tag`): the filer makes a file's ETag of them, and
//! mounts that share chunks check them. One MD5 is a chain of steps that leaves most of a
//! processor idle, and at 0.7 GB/s it costs more than all else that a writing mount does; those of
//! several chunks fill the lanes of a vector (`lanes`).
//!
//! So an upload that has stored its bytes waits for others, until the lanes are full or [`PATIENCE`] is
//! over. The sum is not needed before the entry is saved: when somebody waits for that (`hurry`), it waits only for those
//! that are on their way, and for no more than [`HASTE`]. Whoever sees first that it is time sums up all that wait.
//! Small chunks never wait.

mod avx2;
mod lanes;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use md5::{Digest as _, Md5};
use parking_lot::{Condvar, Mutex};

use crate::writer::LOOK;
use lanes::LANES;

pub(super) type Sum = [u8; 16];

/// Chunks of less are summed up at once: waiting would cost more than it saves.
const SMALL: usize = 128 << 10;
/// The longest that an upload waits for others: with chunks of 2 MiB, streams of 64 MiB/s fill the lanes.
const PATIENCE: Duration = Duration::from_millis(250);
/// The same when somebody waits for it; about as long as one upload takes.
const HASTE: Duration = Duration::from_millis(20);
/// For how long who says that it waits is believed; it says so again every [`LOOK`].
const HURRY: Duration = LOOK.saturating_mul(3);

/// The sums of a mount's uploads.
#[derive(Debug)]
pub(super) struct Sums {
    state: Mutex<State>,
    changed: Condvar,
    /// As many wait for each other at most.
    together: usize,
    patience: Duration,
}

#[derive(Debug, Default)]
struct State {
    /// Uploads that will ask for a sum.
    storing: usize,
    waiting: Vec<Arc<Slot>>,
    /// Somebody waits for them, at least until then.
    hurried: Option<Instant>,
}

#[derive(Debug)]
struct Slot {
    data: Bytes,
    sum: OnceLock<Sum>,
}

/// An upload that will ask for a sum, or fail.
#[derive(Debug)]
pub(super) struct Storing<'a>(Option<&'a Sums>);

impl Sums {
    /// For up to `uploads` at once.
    pub(super) fn new(uploads: usize) -> Self {
        let lanes = if lanes::are_wide() { LANES } else { 1 };
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            // An upload that waits keeps a thread from storing.
            together: lanes.min(uploads / 2).max(1),
            patience: PATIENCE,
        }
    }

    /// Announces that `len` bytes are being stored.
    pub(super) fn storing(&self, len: usize) -> Storing<'_> {
        if len < SMALL || self.together == 1 {
            return Storing(None);
        }
        self.state.lock().storing += 1;
        Storing(Some(self))
    }

    /// Somebody waits for what is being stored.
    pub(super) fn hurry(&self) {
        let mut state = self.state.lock();
        state.hurried = Some(Instant::now() + HURRY);
        if !state.waiting.is_empty() {
            self.changed.notify_all();
        }
    }

    fn sum_with_others(&self, data: Bytes) -> Sum {
        let slot = Arc::new(Slot {
            data,
            sum: OnceLock::new(),
        });
        let began = Instant::now();
        let mut state = self.state.lock();
        state.waiting.push(Arc::clone(&slot));
        loop {
            if let Some(sum) = slot.sum.get() {
                return *sum;
            }
            let taken = !state.waiting.iter().any(|other| Arc::ptr_eq(other, &slot));
            if taken {
                self.changed.wait(&mut state);
                continue;
            }
            let full = state.waiting.len() >= self.together;
            let (now, hurried) = (Instant::now(), state.is_hurried());
            let until = match hurried {
                true => began + HASTE,
                false => began + self.patience,
            };
            if full || now >= until || hurried && state.storing == 0 {
                let batch = std::mem::take(&mut state.waiting);
                drop(state);
                let messages: Vec<&[u8]> = batch.iter().map(|slot| &slot.data[..]).collect();
                let sums = lanes::digests(&messages);
                state = self.state.lock();
                for (slot, sum) in batch.iter().zip(sums) {
                    slot.sum.get_or_init(|| sum);
                }
                self.changed.notify_all();
                continue;
            }
            self.changed.wait_until(&mut state, until);
        }
    }
}

impl State {
    fn is_hurried(&self) -> bool {
        self.hurried.is_some_and(|until| Instant::now() < until)
    }
}

impl Storing<'_> {
    /// The MD5 of `data`, which has been stored.
    pub(super) fn sum(mut self, data: &Bytes) -> Sum {
        match self.leave() {
            Some(sums) => sums.sum_with_others(data.clone()),
            None => Md5::digest(data).into(),
        }
    }

    fn leave(&mut self) -> Option<&Sums> {
        let sums = self.0.take()?;
        let mut state = sums.state.lock();
        state.storing -= 1;
        if state.storing == 0 && state.is_hurried() && !state.waiting.is_empty() {
            sums.changed.notify_all();
        }
        Some(sums)
    }
}

impl Drop for Storing<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn data(seed: usize, len: usize) -> Bytes {
        let byte = |i: usize| (i.wrapping_mul(31) ^ (i >> 9) ^ seed.wrapping_mul(97)) as u8;
        (0..len).map(byte).collect::<Vec<_>>().into()
    }

    #[test]
    fn every_upload_gets_the_sum_of_its_own_bytes() {
        for uploads in [1, 2, 6, 128] {
            let sums = Sums::new(uploads);
            std::thread::scope(|scope| {
                for thread in 0..20 {
                    let sums = &sums;
                    scope.spawn(move || {
                        for round in 0..6 {
                            let len = [SMALL, 300_001, 10, 2 * SMALL + 63][(thread + round) % 4];
                            let data = data(thread * 100 + round, len);
                            let storing = sums.storing(len);
                            sums.hurry();
                            if (thread + round) % 5 == 0 {
                                continue; // It failed.
                            }
                            let expected: Sum = Md5::digest(&data).into();
                            assert_eq!(storing.sum(&data), expected, "{thread} {round}");
                        }
                    });
                }
            });
            let state = sums.state.lock();
            assert_eq!((state.storing, state.waiting.len()), (0, 0));
        }
    }

    /// Sums whose uploads wait until they are told not to.
    fn patient() -> Sums {
        Sums {
            patience: Duration::from_secs(3600),
            ..Sums::new(128)
        }
    }

    #[test]
    fn uploads_wait_until_the_lanes_are_full_or_somebody_waits_for_them() {
        let sums = &patient();
        if sums.together < 2 {
            eprintln!("skipped: without vectors nobody waits");
            return;
        }
        for full in [true, false] {
            let done = &AtomicUsize::new(0);
            std::thread::scope(|scope| {
                let start = |seed| {
                    scope.spawn(move || {
                        let data = data(seed, SMALL);
                        let expected: Sum = Md5::digest(&data).into();
                        assert_eq!(sums.storing(SMALL).sum(&data), expected);
                        done.fetch_add(1, Ordering::SeqCst);
                    });
                };
                (1..sums.together).for_each(start);
                while sums.state.lock().waiting.len() < sums.together - 1 {
                    std::thread::yield_now();
                }
                assert_eq!(done.load(Ordering::SeqCst), 0, "nobody has hurried them");
                if full {
                    return start(0);
                }
                while done.load(Ordering::SeqCst) < sums.together - 1 {
                    sums.hurry();
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
    }

    #[test]
    fn nobody_who_is_waited_for_waits_for_an_upload_that_does_not_end() {
        let sums = Sums::new(128);
        let stuck = sums.storing(SMALL);
        sums.hurry();
        let data = data(1, SMALL);
        let began = Instant::now();
        let expected: Sum = Md5::digest(&data).into();
        assert_eq!(sums.storing(SMALL).sum(&data), expected);
        assert!(began.elapsed() < Duration::from_secs(5));
        drop(stuck);
    }
}
