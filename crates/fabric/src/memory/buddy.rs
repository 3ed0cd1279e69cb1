//! Which parts of an arena are free.
//!
//! Buddies: a block of 2ⁿ units lies at a multiple of its size, and when it and its neighbour of the
//! same size, with whom it makes up a block of twice the size, are both free, they become that block.
//! The lowest address wins, so that what is in use gathers at the front and the back falls free in
//! large blocks.

use super::set::Set;

/// The sizes: 2⁰ to 2¹⁴ units of 4 KiB, up to 64 MiB.
pub(super) const ORDERS: usize = 15;

/// The free blocks of each size.
#[derive(Debug)]
pub(super) struct Buddy {
    free: [Set; ORDERS],
}

impl Buddy {
    /// `units` that are all free.
    pub(super) fn new(units: usize) -> Self {
        let mut buddy = Self {
            free: std::array::from_fn(|order| Set::new((units >> order).max(1))),
        };
        let mut start = 0;
        while start < units {
            let fits = (units - start).ilog2() as usize;
            let aligned = match start {
                0 => ORDERS,
                _ => start.trailing_zeros() as usize,
            };
            let order = fits.min(aligned).min(ORDERS - 1);
            buddy.free[order].insert(start >> order);
            start += 1 << order;
        }
        buddy
    }

    /// The first unit of a block of 2^`order` units.
    pub(super) fn take(&mut self, order: usize) -> Option<usize> {
        let (found, index) =
            (order..ORDERS).find_map(|larger| Some((larger, self.free[larger].first()?)))?;
        self.free[found].remove(index);
        let start = index << found;
        // Of each larger block the upper half stays free.
        for half in order..found {
            self.free[half].insert((start >> half) + 1);
        }
        Some(start)
    }

    /// Takes this very block out, if it is free as it stands.
    pub(super) fn claim(&mut self, start: usize, order: usize) -> bool {
        self.free[order].remove(start >> order)
    }

    /// Gives back what `take` or `claim` gave.
    pub(super) fn give(&mut self, start: usize, mut order: usize) {
        let mut index = start >> order;
        debug_assert!(!self.free[order].contains(index), "given back twice");
        while order < ORDERS - 1 && self.free[order].remove(index ^ 1) {
            index /= 2;
            order += 1;
        }
        self.free[order].insert(index);
    }

    /// First unit and order of each free block of at least 2^`order` units.
    pub(super) fn large(&self, order: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let sizes = self.free.iter().enumerate().skip(order);
        sizes.flat_map(|(order, free)| free.iter().map(move |index| (index << order, order)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(buddy: &Buddy) -> Vec<(usize, usize)> {
        buddy.large(0).collect()
    }

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "safe code, and slow there")]
        fn no_unit_is_in_two_hands_and_what_comes_back_grows_together(
            units in 1usize..40_000,
            steps in prop::collection::vec((0usize..ORDERS, any::<prop::sample::Index>()), 0..120),
        ) {
            let mut buddy = Buddy::new(units);
            let fresh = all(&buddy);
            let mut taken: Vec<(usize, usize)> = Vec::new();
            for (order, index) in steps {
                if index.index(3) == 0 && !taken.is_empty() {
                    let (start, order) = taken.swap_remove(index.index(taken.len()));
                    buddy.give(start, order);
                } else if let Some(start) = buddy.take(order) {
                    prop_assert!(start.is_multiple_of(1 << order));
                    taken.push((start, order));
                }
                let mut spans: Vec<_> = all(&buddy).into_iter().chain(taken.clone()).collect();
                spans.sort_unstable();
                let mut next = 0;
                for (start, order) in spans {
                    prop_assert_eq!(start, next);
                    next += 1 << order;
                }
                prop_assert_eq!(next, units);
            }
            for (start, order) in taken {
                buddy.give(start, order);
            }
            prop_assert_eq!(all(&buddy), fresh);
        }
    }

    #[test]
    fn the_lowest_address_goes_first_and_a_full_arena_has_none() {
        let mut buddy = Buddy::new(4);
        assert_eq!([0, 1, 2, 3], [(); 4].map(|()| buddy.take(0).unwrap()));
        assert_eq!(buddy.take(0), None);
        buddy.give(2, 0);
        assert!(!buddy.claim(0, 0), "not free");
        buddy.give(0, 0);
        assert_eq!(buddy.take(1), None, "two units that are not neighbours");
        assert_eq!(buddy.take(0), Some(0));
        assert!(buddy.claim(2, 0));
    }
}
