//! Where every needle of a volume is, in 16 bytes each.
//!
//! The index is a stack of sorted runs; of equal keys the one in the newest run counts. A run
//! is two arrays, keys and [places](Packed), so that a search touches keys only. New entries go
//! into a small run on top that is changed in place; when it is full it becomes a
//! run like the others. Runs are never changed after that. They are merged when a newer one has
//! grown to a quarter of its elder, by somebody who has the time ([`Index::merge_wanted`]), while
//! readers go on with the old ones. So there are few runs, and few keys are in more than one.
//!
//! An existing file is loaded **backwards**: its last entries first, each block below the ones
//! before. The last entry of a key is what counts, so whatever is found is right from
//! the first block on, also for a key whose other entries are not loaded yet. Only "not found"
//! has to wait for the end.

use std::sync::Arc;

use seaweed::volume::{IndexEntry, Slot, UNIT};

mod run;

use run::Run;

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// Its record is there.
    At {
        /// Byte offset of the record.
        offset: u64,
        /// The record's size, or a bound of it.
        size: Size,
    },
    /// It was deleted.
    Deleted,
    /// There is no entry of it, in what was loaded so far.
    Unknown,
}

/// The size of a record as far as the index remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    /// This many bytes.
    Exactly(u32),
    /// Too large for the index to remember: the record's header says it.
    Large,
}

impl Size {
    /// Whether a record of this size can be meant.
    pub(crate) fn admits(self, size: u32) -> bool {
        match self {
            Self::Exactly(exactly) => exactly == size,
            Self::Large => size >= Packed::LARGE,
        }
    }
}

/// An offset of 40 bits and a size of 24 in one word; 0 says deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packed(u64);

impl Packed {
    /// Sizes from here on do not fit. Chunks are smaller, as clients write them.
    const LARGE: u32 = (1 << 24) - 1;

    fn of(entry: &IndexEntry) -> Self {
        match entry.slot() {
            Slot::Deleted => Self(0),
            Slot::At { offset, size } => {
                Self((offset / UNIT) << 24 | u64::from(size.min(Self::LARGE)))
            }
        }
    }

    fn is_deleted(self) -> bool {
        self.0 == 0
    }

    fn lookup(self) -> Lookup {
        if self.is_deleted() {
            return Lookup::Deleted;
        }
        let size = match (self.0 & u64::from(Self::LARGE)) as u32 {
            Self::LARGE => Size::Large,
            size => Size::Exactly(size),
        };
        Lookup::At {
            offset: (self.0 >> 24) * UNIT,
            size,
        }
    }
}

/// A stack of runs.
#[derive(Debug, Default)]
pub(crate) struct Index {
    /// The newest entries.
    top: Run,
    /// Newest first.
    runs: Vec<Arc<Run>>,
    /// Distinct keys by what they are; counted once loading is over.
    counts: Option<Counts>,
}

/// How many keys there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// With a record.
    pub(crate) live: u64,
    /// Without one any more.
    pub(crate) deleted: u64,
}

/// What the index goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum When {
    /// A file is loaded.
    Loading,
    /// All of it is there: one run is left to be made.
    Loaded,
    /// Entries come one by one.
    Growing,
}

/// Two neighbours to merge: the newer and the older.
pub(crate) struct Merge(Arc<Run>, Arc<Run>);

/// Two neighbours, merged.
pub(crate) struct Merged {
    merge: Merge,
    run: Run,
}

/// Entries of the run on top: an insertion moves at most this many, of 16 bytes.
const TOP: usize = 4096;

impl Index {
    /// What is known of a key.
    pub(crate) fn lookup(&self, key: u64) -> Lookup {
        let runs = self.runs.iter().map(Arc::as_ref);
        std::iter::once(&self.top)
            .chain(runs)
            .find_map(|run| run.find(key))
            .map_or(Lookup::Unknown, Packed::lookup)
    }

    /// Adds an entry that is newer than all others.
    pub(crate) fn push(&mut self, entry: &IndexEntry) {
        let place = Packed::of(entry);
        if self.counts.is_some() {
            let before = self.lookup(entry.key);
            if let Some(counts) = &mut self.counts {
                counts.replace(before, place);
            }
        }
        self.top.set(entry.key, place);
        if self.top.len() >= TOP {
            let full = std::mem::take(&mut self.top);
            self.runs.insert(0, Arc::new(full));
        }
    }

    /// Adds a block of entries that are older than all others.
    pub(crate) fn push_older(&mut self, block: Block) {
        self.runs.push(Arc::new(block.0));
    }

    /// Says that all entries are there.
    pub(crate) fn finish_loading(&mut self) {
        let mut counts = Counts::default();
        // The oldest run is the largest by far: it is counted as it stands, then what
        // newer ones change in it.
        let mut below: Vec<&Run> = Vec::new();
        for run in self.runs.iter().rev().map(Arc::as_ref).chain([&self.top]) {
            for (key, place) in run.iter() {
                let before = below.iter().rev().find_map(|run| run.find(key));
                counts.replace(before.map_or(Lookup::Unknown, Packed::lookup), place);
            }
            below.push(run);
        }
        self.counts = Some(counts);
    }

    /// How many keys there are; nothing while it is loaded.
    pub(crate) fn counts(&self) -> Option<Counts> {
        self.counts
    }

    /// Entries held, those of the same key in several runs counted several times.
    pub(crate) fn held(&self) -> usize {
        self.top.len() + self.runs.iter().map(|run| run.len()).sum::<usize>()
    }

    /// Two runs that should be one: the pair that costs least.
    pub(crate) fn merge_wanted(&self, when: When) -> Option<Merge> {
        let wanted = |pair: &&[Arc<Run>]| {
            let (newer, older) = (pair[0].len(), pair[1].len());
            match when {
                When::Growing => newer * RATIO >= older,
                // The newer ones may be the larger ones here: a short block below a long run
                // waits for its like, or the long run would be copied for each block.
                When::Loading => newer * RATIO >= older && older * RATIO >= newer,
                When::Loaded => true,
            }
        };
        let cost = |pair: &&[Arc<Run>]| pair[0].len() + pair[1].len();
        let pair = self.runs.windows(2).filter(wanted).min_by_key(cost)?;
        Some(Merge(Arc::clone(&pair[0]), Arc::clone(&pair[1])))
    }

    /// Puts the merged run in the place of the two it was made of.
    pub(crate) fn replace(&mut self, merged: Merged) {
        let Merge(newer, older) = &merged.merge;
        let at = self
            .runs
            .windows(2)
            .position(|pair| Arc::ptr_eq(&pair[0], newer) && Arc::ptr_eq(&pair[1], older));
        if let Some(at) = at {
            self.runs[at] = Arc::new(merged.run);
            self.runs.remove(at + 1);
        }
    }

    /// All live keys, with what is known of their places, in the order of keys.
    pub(crate) fn for_each_live(&self, mut each: impl FnMut(u64, Lookup)) {
        let merged = self
            .runs
            .iter()
            .fold(None, |newer: Option<Run>, run| match newer {
                Some(newer) => Some(newer.over(run)),
                None => Some(self.top.over(run)),
            });
        for (key, place) in merged.as_ref().unwrap_or(&self.top).iter() {
            if !place.is_deleted() {
                each(key, place.lookup());
            }
        }
    }
}

impl Merge {
    /// Does it. This takes about 10 ms for a million entries.
    pub(crate) fn run(self) -> Merged {
        let run = self.0.over(&self.1);
        Merged { merge: self, run }
    }
}

impl Counts {
    fn replace(&mut self, before: Lookup, place: Packed) {
        match before {
            Lookup::Unknown => {}
            Lookup::At { .. } => self.live -= 1,
            Lookup::Deleted => self.deleted -= 1,
        }
        match place.is_deleted() {
            false => self.live += 1,
            true => self.deleted += 1,
        }
    }
}

/// A piece of an index file, sorted.
#[derive(Debug)]
pub(crate) struct Block(Run);

impl Block {
    /// Of entries in the order of the file.
    pub(crate) fn of(entries: impl ExactSizeIterator<Item = IndexEntry>) -> Self {
        let pairs = entries.map(|entry| (entry.key, Packed::of(&entry)));
        Self(Run::of(pairs.collect()))
    }
}

/// A newer run is merged with its elder when it has this fraction of its length: each entry is
/// moved a few times at most, and keys that are in both waste a quarter at most.
const RATIO: usize = 4;

#[cfg(test)]
mod tests;
