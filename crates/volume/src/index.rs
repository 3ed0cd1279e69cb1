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
//!
//! Below all runs there may be a [saved](crate::saved) index, once all that is newer is there. It is not in memory, and to
//! ask it may take a disk; so [`Index::lookup`] only says that it has to be asked. While a new one is written, the runs that
//! go into it are frozen: they are asked, and not merged with newer ones.

use std::sync::Arc;

use seaweed::volume::{IndexEntry, Slot, UNIT};

use crate::raw::Wait;
use crate::saved::{Saved, Touch};

mod run;

pub(crate) use run::Run;

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

    pub(crate) fn of(entry: &IndexEntry) -> Self {
        match entry.slot() {
            Slot::Deleted => Self(0),
            Slot::At { offset, size } => {
                Self((offset / UNIT) << 24 | u64::from(size.min(Self::LARGE)))
            }
        }
    }

    /// The word as it is saved.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    /// A word that was saved.
    pub(crate) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) fn is_deleted(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn lookup(self) -> Lookup {
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
    /// Older ones, which are being saved.
    frozen: Vec<Arc<Run>>,
    /// What is older than all of these.
    saved: Option<Arc<Saved>>,
    /// Distinct keys by what they are; counted once loading is over.
    counts: Option<Counts>,
}

/// Where the answer for a key is.
#[derive(Debug)]
pub(crate) enum Found {
    /// Here.
    Here(Lookup),
    /// In what was saved, if anywhere.
    Below(Arc<Saved>),
}

/// What goes into a new saved index.
#[derive(Debug)]
pub(crate) struct Frozen {
    /// Newest first.
    pub(crate) runs: Vec<Arc<Run>>,
    /// What is older.
    pub(crate) saved: Option<Arc<Saved>>,
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
    pub(crate) fn lookup(&self, key: u64) -> Found {
        match (self.newer(key), &self.saved) {
            (Some(place), _) => Found::Here(place.lookup()),
            (None, Some(saved)) => Found::Below(Arc::clone(saved)),
            (None, None) => Found::Here(Lookup::Unknown),
        }
    }

    /// What is known of a key besides what was saved.
    fn newer(&self, key: u64) -> Option<Packed> {
        self.in_memory().find_map(|run| run.find(key))
    }

    /// All runs, newest first.
    fn in_memory(&self) -> impl DoubleEndedIterator<Item = &Run> {
        let runs = self.runs.iter().chain(&self.frozen).map(Arc::as_ref);
        std::iter::once(&self.top).chain(runs)
    }

    /// Adds an entry that is newer than all others. What was saved is looked at only for the count, and the disk not
    /// waited for if that was done shortly before ([`touch`]).
    pub(crate) fn push(&mut self, entry: &IndexEntry) {
        let place = Packed::of(entry);
        if self.counts.is_some() {
            let before = self.newer(entry.key).or_else(|| {
                let saved = self.saved.as_ref()?;
                // One that fails here is not counted; it will not be used again.
                saved.find(entry.key, Wait::Yes).ok().flatten()
            });
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

    /// Says that all entries are there that are newer than `saved`.
    pub(crate) fn finish_loading(&mut self, saved: Option<Arc<Saved>>) -> Result<(), Touch> {
        let mut counts = saved.as_ref().map_or(Counts::default(), |saved| Counts {
            live: saved.header().live,
            deleted: saved.header().entries - saved.header().live,
        });
        // The oldest run is the largest by far: it is counted as it stands, then what
        // newer ones change in it.
        let mut below: Vec<&Run> = Vec::new();
        for run in self.in_memory().collect::<Vec<_>>().into_iter().rev() {
            for (key, place) in run.iter() {
                let mut before = below.iter().rev().find_map(|run| run.find(key));
                if let (None, Some(saved)) = (before, &saved) {
                    before = saved.find(key, Wait::Yes)?;
                }
                counts.replace(before, place);
            }
            below.push(run);
        }
        self.counts = Some(counts);
        self.saved = saved;
        Ok(())
    }

    /// What was saved, if it is in use.
    pub(crate) fn saved(&self) -> Option<&Arc<Saved>> {
        self.saved.as_ref()
    }

    /// All runs but the one on top.
    pub(crate) fn runs(&self) -> &[Arc<Run>] {
        &self.runs
    }

    /// Entries in memory that no saved index has, and that are not being saved.
    pub(crate) fn unsaved(&self) -> usize {
        self.top.len() + self.runs.iter().map(|run| run.len()).sum::<usize>()
    }

    /// Freezes all runs, to be saved; nothing while others are.
    pub(crate) fn freeze(&mut self) -> Option<Frozen> {
        if !self.frozen.is_empty() {
            return None;
        }
        self.frozen = std::mem::take(&mut self.runs);
        if self.top.len() > 0 {
            let top = std::mem::take(&mut self.top);
            self.frozen.insert(0, Arc::new(top));
        }
        Some(Frozen {
            runs: self.frozen.clone(),
            saved: self.saved.clone(),
        })
    }

    /// Ends that: either what was frozen is saved now, or everything is as before.
    pub(crate) fn thaw(&mut self, saved: Option<Arc<Saved>>) {
        let frozen = std::mem::take(&mut self.frozen);
        match saved {
            Some(saved) => self.saved = Some(saved),
            None => self.runs.extend(frozen),
        }
    }

    /// How many keys there are; nothing while it is loaded.
    pub(crate) fn counts(&self) -> Option<Counts> {
        self.counts
    }

    /// Entries held, those of the same key in several runs counted several times.
    pub(crate) fn held(&self) -> usize {
        let saved = self
            .saved
            .as_ref()
            .map_or(0, |saved| saved.header().entries);
        // That many fit a file, so they fit an address.
        self.in_memory().map(Run::len).sum::<usize>() + saved as usize
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

    /// All live keys, with what is known of their places, in the order of keys. Of an index that is all in memory, as
    /// tools have it.
    pub(crate) fn for_each_live(&self, mut each: impl FnMut(u64, Lookup)) {
        debug_assert!(self.saved.is_none() && self.frozen.is_empty());
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
    fn replace(&mut self, before: Option<Packed>, place: Packed) {
        match before.map(Packed::is_deleted) {
            None => {}
            Some(false) => self.live -= 1,
            Some(true) => self.deleted -= 1,
        }
        match place.is_deleted() {
            false => self.live += 1,
            true => self.deleted += 1,
        }
    }
}

/// Has the pages of a saved index in memory that keys are in, so that a lock need not be held meanwhile.
pub(crate) fn touch(
    saved: &Saved,
    keys: impl Iterator<Item = u64>,
    wait: Wait,
) -> Result<(), Touch> {
    for key in keys {
        saved.find(key, wait)?;
    }
    Ok(())
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
