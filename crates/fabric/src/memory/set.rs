//! A set of small numbers that knows its least one.
//!
//! Bits, and above each 64 words of bits a word that tells which of them are not empty, and so on
//! until one word tells all. Four levels cover 64 GiB of 4 KiB blocks: finding, adding and removing
//! are at most four steps, without a search and without allocating.

/// Numbers below a limit.
#[derive(Debug)]
pub(super) struct Set {
    /// From the numbers themselves up to one word.
    levels: Vec<Vec<u64>>,
}

impl Set {
    /// An empty set of numbers below `limit`.
    pub(super) fn new(limit: usize) -> Self {
        let mut levels = Vec::new();
        let mut bits = limit.max(1);
        loop {
            let words = bits.div_ceil(WORD);
            levels.push(vec![0; words]);
            if words == 1 {
                return Self { levels };
            }
            bits = words;
        }
    }

    pub(super) fn contains(&self, number: usize) -> bool {
        let word = self.levels[0].get(number / WORD);
        word.is_some_and(|word| word & bit(number) != 0)
    }

    pub(super) fn insert(&mut self, mut number: usize) {
        for level in &mut self.levels {
            let word = &mut level[number / WORD];
            let was_empty = *word == 0;
            *word |= bit(number);
            if !was_empty {
                return;
            }
            number /= WORD;
        }
    }

    /// Whether it was in.
    pub(super) fn remove(&mut self, mut number: usize) -> bool {
        if !self.contains(number) {
            return false;
        }
        for level in &mut self.levels {
            let word = &mut level[number / WORD];
            *word &= !bit(number);
            if *word != 0 {
                break;
            }
            number /= WORD;
        }
        true
    }

    /// The least one.
    pub(super) fn first(&self) -> Option<usize> {
        let mut index = 0;
        for level in self.levels.iter().rev() {
            let word = level[index];
            if word == 0 {
                return None;
            }
            index = index * WORD + word.trailing_zeros() as usize;
        }
        Some(index)
    }

    /// All, ascending.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        let words = self.levels[0].iter().enumerate();
        words.flat_map(|(index, word)| {
            let bits = (0..WORD).filter(move |one| word & bit(*one) != 0);
            bits.map(move |one| index * WORD + one)
        })
    }
}

const WORD: usize = u64::BITS as usize;

fn bit(number: usize) -> u64 {
    1 << (number % WORD)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        #[cfg_attr(miri, ignore = "safe code, and slow there")]
        fn it_holds_what_an_ordinary_set_holds(
            limit in 1usize..10_000,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..200),
        ) {
            let mut set = Set::new(limit);
            let mut ordinary = BTreeSet::new();
            for (insert, index) in steps {
                let number = index.index(limit);
                if insert {
                    set.insert(number);
                    ordinary.insert(number);
                } else {
                    prop_assert_eq!(set.remove(number), ordinary.remove(&number));
                }
                prop_assert_eq!(set.first(), ordinary.first().copied());
                prop_assert_eq!(set.contains(number), insert);
            }
            prop_assert!(set.iter().eq(ordinary.iter().copied()));
            prop_assert!(!set.contains(limit + 4096));
        }
    }
}
