//! The dirty bytes of one block.
//!
//! A block is as long as a chunk may be, and begins at a multiple of that. In
//! memory its bytes are runs that neither overlap nor touch; in the swap file
//! they lie at their place in the block, and ranges tell which of them count.

mod ranges;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::budget::{Budget, Buffer};
use crate::swap::Slot;
use ranges::Ranges;

/// A write of this many bytes is likely to be followed by its neighbours: the first one gets
/// the memory for all of them at once.
const LARGE: usize = 64 << 10;

/// Dirty bytes of one block.
#[derive(Debug)]
pub(crate) struct Block {
    start: u64,
    len: usize,
    store: Store,
}

#[derive(Debug)]
enum Store {
    Memory(BTreeMap<u64, Buffer>),
    Swap(Slot, Ranges),
}

impl Block {
    /// None yet of the `len` bytes at `start`.
    pub(crate) fn new(start: u64, len: usize) -> Self {
        Self {
            start,
            len,
            store: Store::Memory(BTreeMap::new()),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match &self.store {
            Store::Memory(runs) => runs.is_empty(),
            Store::Swap(_, ranges) => ranges.is_empty(),
        }
    }

    /// How many bytes are dirty.
    pub(crate) fn held(&self) -> u64 {
        match &self.store {
            Store::Memory(runs) => runs.values().map(|run| run.len() as u64).sum(),
            Store::Swap(_, ranges) => ranges.iter().map(|(start, end)| end - start).sum(),
        }
    }

    /// Whether every byte is dirty.
    pub(crate) fn is_full(&self) -> bool {
        let all = (self.start, self.start + self.len as u64);
        match &self.store {
            Store::Memory(runs) => runs.get(&all.0).is_some_and(|run| run.len() == self.len),
            Store::Swap(_, ranges) => ranges.iter().next() == Some(all),
        }
    }

    /// How long the one run is that it has in memory, if that is all.
    pub(crate) fn only_run(&self) -> Option<usize> {
        match &self.store {
            Store::Memory(runs) if runs.len() == 1 => runs.values().next().map(|run| run.len()),
            Store::Memory(_) | Store::Swap(..) => None,
        }
    }

    pub(crate) fn is_swapped(&self) -> bool {
        matches!(self.store, Store::Swap(..))
    }

    /// Puts `bytes` at `offset` of the file, over what was there. They lie inside the block.
    ///
    /// # Errors
    /// When the swap file fails.
    pub(crate) fn write(
        &mut self,
        offset: u64,
        bytes: &[u8],
        budget: &Arc<Budget>,
    ) -> io::Result<()> {
        let end = offset + bytes.len() as u64;
        debug_assert!(self.start <= offset && end <= self.start + self.len as u64);
        match &mut self.store {
            Store::Memory(runs) => {
                let room = (self.start + self.len as u64 - offset) as usize;
                put(runs, offset, bytes, room, budget);
            }
            Store::Swap(slot, ranges) => {
                slot.write(offset - self.start, bytes)?;
                ranges.insert(offset, end);
            }
        }
        Ok(())
    }

    /// Moves what is in memory to `slot`.
    ///
    /// # Errors
    /// When the swap file fails; all is still in memory then.
    pub(crate) fn swap_out(&mut self, slot: Slot) -> io::Result<()> {
        let Store::Memory(runs) = &self.store else {
            return Ok(());
        };
        let mut ranges = Ranges::default();
        for (start, run) in runs {
            slot.write(start - self.start, run)?;
            ranges.insert(*start, start + run.len() as u64);
        }
        self.store = Store::Swap(slot, ranges);
        Ok(())
    }

    /// Drops what lies behind `size`.
    pub(crate) fn truncate(&mut self, size: u64) {
        match &mut self.store {
            Store::Memory(runs) => {
                runs.split_off(&size);
                if let Some((start, run)) = runs.range_mut(..size).next_back() {
                    let keep = (size - *start).min(run.len() as u64) as usize;
                    run.truncate(keep);
                }
            }
            Store::Swap(_, ranges) => ranges.truncate(size),
        }
    }

    /// Copies of the parts inside `[from, to)`.
    ///
    /// # Errors
    /// When the swap file fails.
    pub(crate) fn within(&self, from: u64, to: u64) -> io::Result<Vec<(u64, Bytes)>> {
        let mut parts = Vec::new();
        match &self.store {
            Store::Memory(runs) => {
                for (start, run) in runs {
                    let (a, b) = (from.max(*start), to.min(start + run.len() as u64));
                    if a < b {
                        let part = &run[(a - start) as usize..(b - start) as usize];
                        parts.push((a, Bytes::copy_from_slice(part)));
                    }
                }
            }
            Store::Swap(slot, ranges) => {
                for (start, end) in ranges.iter() {
                    let (a, b) = (from.max(start), to.min(end));
                    if a < b {
                        let mut part = vec![0; (b - a) as usize];
                        slot.read(a - self.start, &mut part)?;
                        parts.push((a, Bytes::from(part)));
                    }
                }
            }
        }
        Ok(parts)
    }

    /// Nothing is written to it any more.
    pub(crate) fn seal(self) -> Sealed {
        match self.store {
            Store::Memory(runs) => {
                let runs = runs
                    .into_iter()
                    .map(|(start, run)| (start, Bytes::from_owner(run)));
                Sealed::Memory(runs.collect())
            }
            Store::Swap(slot, ranges) => Sealed::Swap {
                start: self.start,
                slot,
                ranges: ranges.iter().collect(),
            },
        }
    }
}

/// A block on its way to the volume servers.
#[derive(Debug)]
pub(crate) enum Sealed {
    /// Its runs.
    Memory(Vec<(u64, Bytes)>),
    /// Where they are.
    Swap {
        /// The block's.
        start: u64,
        /// Where its bytes are.
        slot: Slot,
        /// Which of them count, as places in the file.
        ranges: Vec<(u64, u64)>,
    },
}

impl Sealed {
    /// How many runs it has.
    pub(crate) fn count(&self) -> usize {
        match self {
            Self::Memory(runs) => runs.len(),
            Self::Swap { ranges, .. } => ranges.len(),
        }
    }

    /// How many bytes it has.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory(runs) => runs.iter().map(|(_, run)| run.len()).sum(),
            Self::Swap { ranges, .. } => ranges.iter().map(|(from, to)| (to - from) as usize).sum(),
        }
    }

    /// One of its runs.
    ///
    /// # Errors
    /// When the swap file fails.
    pub(crate) fn run(&self, index: usize) -> io::Result<(u64, Bytes)> {
        match self {
            Self::Memory(runs) => Ok(runs[index].clone()),
            Self::Swap {
                start,
                slot,
                ranges,
            } => {
                let (from, to) = ranges[index];
                let mut bytes = vec![0; (to - from) as usize];
                slot.read(from - start, &mut bytes)?;
                Ok((from, Bytes::from(bytes)))
            }
        }
    }

    /// The parts inside `[from, to)`, without a copy where they are in memory.
    ///
    /// # Errors
    /// When the swap file fails.
    pub(crate) fn within(&self, from: u64, to: u64) -> io::Result<Vec<(u64, Bytes)>> {
        let mut parts = Vec::new();
        match self {
            Self::Memory(runs) => {
                for (start, run) in runs {
                    let (a, b) = (from.max(*start), to.min(start + run.len() as u64));
                    if a < b {
                        parts.push((a, run.slice((a - start) as usize..(b - start) as usize)));
                    }
                }
            }
            Self::Swap {
                start,
                slot,
                ranges,
            } => {
                for (first, end) in ranges {
                    let (a, b) = (from.max(*first), to.min(*end));
                    if a < b {
                        let mut part = vec![0; (b - a) as usize];
                        slot.read(a - start, &mut part)?;
                        parts.push((a, Bytes::from(part)));
                    }
                }
            }
        }
        Ok(parts)
    }
}

/// Puts `bytes` at `offset`; from there on the block has `room` bytes.
fn put(
    runs: &mut BTreeMap<u64, Buffer>,
    offset: u64,
    bytes: &[u8],
    room: usize,
    budget: &Arc<Budget>,
) {
    if bytes.is_empty() {
        return;
    }
    let end = offset + bytes.len() as u64;
    let before = runs.range_mut(..=offset).next_back();
    // The common case: right behind what was written last.
    if let Some((start, run)) = before
        && *start + run.len() as u64 >= offset
    {
        let start = *start;
        let at = (offset - start) as usize;
        let inside = (run.len() - at).min(bytes.len());
        run[at..at + inside].copy_from_slice(&bytes[..inside]);
        if inside < bytes.len() {
            run.extend(&bytes[inside..], at + room);
            swallow(runs, start, end, at + room);
        }
        return;
    }
    let capacity = match bytes.len() >= LARGE {
        true => room,
        false => bytes.len(),
    };
    let mut run = budget.buffer(capacity);
    run.extend(bytes, room);
    runs.insert(offset, run);
    swallow(runs, offset, end, room);
}

/// The run at `start` has grown to `end`: what it covers now is dropped, what sticks out is
/// joined to it.
fn swallow(runs: &mut BTreeMap<u64, Buffer>, start: u64, end: u64, most: usize) {
    while let Some((&next, _)) = runs.range(start + 1..=end).next() {
        let Some(run) = runs.remove(&next) else {
            return;
        };
        let covered = (end - next) as usize;
        if covered < run.len()
            && let Some(grown) = runs.get_mut(&start)
        {
            grown.extend(&run[covered..], most);
            return;
        }
    }
}

#[cfg(test)]
mod tests;
