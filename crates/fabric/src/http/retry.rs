//! Whom to ask next, and when to ask again.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// First pause after everybody has failed.
const FIRST: Duration = Duration::from_millis(50);
/// Longest pause: a server that comes back is noticed within this.
const LONGEST: Duration = Duration::from_secs(1);

/// Pauses that double, each shortened at random by up to half, so that the readers of a server
/// that comes back do not all arrive at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    random: RandomState,
    count: u32,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self {
            next: FIRST,
            random: RandomState::new(),
            count: 0,
        }
    }

    /// The pause before the next round.
    pub(crate) fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        self.count += 1;
        let share = self.random.hash_one(self.count) as u32;
        whole / 2 + (whole / 2).mul_f64(f64::from(share) / f64::from(u32::MAX))
    }
}

/// Goes through `count` servers in order, those under suspicion last, each once.
///
/// Suspicion is looked up at each step: a failure seen by another thread meanwhile counts.
#[derive(Debug)]
pub(crate) struct Turns {
    left: u64,
    patient: bool,
}

impl Turns {
    /// Most servers considered for one volume; SeaweedFS allows 27 replicas (`222`).
    pub(crate) const MAX: usize = 64;

    pub(crate) fn new(count: usize) -> Self {
        Self {
            left: match count.min(Self::MAX) {
                Self::MAX => u64::MAX,
                count => (1 << count) - 1,
            },
            patient: false,
        }
    }

    /// The index of the server whose turn it is.
    pub(crate) fn next(&mut self, is_suspect: impl Fn(usize) -> bool) -> Option<usize> {
        loop {
            let mut open = self.left;
            while open != 0 {
                let index = open.trailing_zeros() as usize;
                open &= open - 1;
                if self.patient || !is_suspect(index) {
                    self.left &= !(1 << index);
                    return Some(index);
                }
            }
            if self.patient || self.left == 0 {
                return None;
            }
            self.patient = true;
        }
    }

    /// Whether the last server given out was not the last one.
    pub(crate) fn others_left(&self) -> bool {
        self.left != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(count: usize, suspects: &[usize]) -> Vec<usize> {
        let mut turns = Turns::new(count);
        std::iter::from_fn(|| turns.next(|index| suspects.contains(&index))).collect()
    }

    #[test]
    fn everyone_gets_one_turn_and_suspects_come_last() {
        assert_eq!(order(4, &[]), [0, 1, 2, 3]);
        assert_eq!(order(4, &[0, 2]), [1, 3, 0, 2]);
        assert_eq!(order(2, &[0, 1]), [0, 1]);
        assert_eq!(order(0, &[]), [0; 0]);
        assert_eq!(order(100, &[5]).len(), Turns::MAX);
    }

    #[test]
    fn a_server_that_becomes_suspect_after_its_turn_gets_no_second_one() {
        let mut turns = Turns::new(2);
        assert_eq!(turns.next(|_| false), Some(0));
        assert!(turns.others_left());
        assert_eq!(turns.next(|index| index == 0), Some(1));
        assert!(!turns.others_left());
        assert_eq!(turns.next(|index| index == 0), None);
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_differ() {
        let (mut one, mut other) = (Backoff::new(), Backoff::new());
        let mut nominal = FIRST;
        let mut differ = false;
        for _ in 0..12 {
            let (a, b) = (one.pause(), other.pause());
            assert!(a >= nominal / 2 && a <= nominal, "{a:?} of {nominal:?}");
            differ |= a != b;
            nominal = (nominal * 2).min(LONGEST);
        }
        assert!(differ);
        assert!(one.pause() <= LONGEST);
    }
}
