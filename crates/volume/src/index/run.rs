//! Sorted keys and their places.

use super::Packed;

/// Keys in ascending order, each once, and what each has.
#[derive(Debug, Default)]
pub(crate) struct Run {
    keys: Vec<u64>,
    places: Vec<Packed>,
}

impl Run {
    /// Sorts pairs; of equal keys the last one stays.
    pub(super) fn of(mut pairs: Vec<(u64, Packed)>) -> Self {
        // Stable, and fast on what is nearly sorted: keys are given out in ascending order.
        pairs.sort_by_key(|(key, _)| *key);
        let mut run = Self::with_capacity(pairs.len());
        for (key, place) in pairs {
            match run.keys.last() {
                Some(last) if *last == key => {
                    run.keys.pop();
                    run.places.pop();
                }
                _ => {}
            }
            run.push(key, place);
        }
        run.shrink();
        run
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, Packed)> + '_ {
        self.keys.iter().copied().zip(self.places.iter().copied())
    }

    pub(super) fn find(&self, key: u64) -> Option<Packed> {
        // Most keys of a run are not below the newest one's or above the oldest one's.
        if self.keys.last().is_none_or(|last| key > *last) {
            return None;
        }
        self.keys.binary_search(&key).ok().map(|at| self.places[at])
    }

    /// Adds a key or changes what it has.
    pub(super) fn set(&mut self, key: u64, place: Packed) {
        if self.keys.last().is_none_or(|last| key > *last) {
            return self.push(key, place);
        }
        match self.keys.binary_search(&key) {
            Ok(at) => self.places[at] = place,
            Err(at) => {
                self.keys.insert(at, key);
                self.places.insert(at, place);
            }
        }
    }

    /// One run of both, in which this one's entries win.
    pub(super) fn over(&self, older: &Self) -> Self {
        let mut both = Self::with_capacity(self.len() + older.len());
        let (mut new, mut old) = (0, 0);
        while new < self.len() && old < older.len() {
            let (key, other) = (self.keys[new], older.keys[old]);
            if key <= other {
                both.push(key, self.places[new]);
                new += 1;
                old += usize::from(key == other);
            } else {
                both.push(other, older.places[old]);
                old += 1;
            }
        }
        both.keys.extend(&self.keys[new..]);
        both.places.extend(&self.places[new..]);
        both.keys.extend(&older.keys[old..]);
        both.places.extend(&older.places[old..]);
        both.shrink();
        both
    }

    fn with_capacity(len: usize) -> Self {
        Self {
            keys: Vec::with_capacity(len),
            places: Vec::with_capacity(len),
        }
    }

    fn push(&mut self, key: u64, place: Packed) {
        self.keys.push(key);
        self.places.push(place);
    }

    /// Gives memory back, where it is worth a copy.
    fn shrink(&mut self) {
        if self.keys.len() < self.keys.capacity() / 8 * 7 {
            self.keys.shrink_to_fit();
            self.places.shrink_to_fit();
        }
    }
}
