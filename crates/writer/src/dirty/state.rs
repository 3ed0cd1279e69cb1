//! What is known of a file's changes, without any waiting.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use seaweed::pb::FileChunk;

use super::flight::Flight;
use crate::block::Block;
use crate::{Edit, WriteError};

/// A file's changes.
#[derive(Debug, Default)]
pub(super) struct State {
    /// Bytes that may still change, by the number of their block.
    pub(super) blocks: BTreeMap<u64, Block>,
    /// Bytes on their way, by the number of their block.
    pub(super) flights: BTreeMap<u64, Flight>,
    pub(super) flown: u64,
    pub(super) edit: Edit,
    pub(super) saving: Option<Edit>,
    /// `saving` and `edit` as one; made when asked for.
    shown: Option<Arc<Edit>>,
    /// Where the edit in `shown` ended: it grows with every write.
    shown_end: u64,
    pub(super) version: u64,
    /// Cuts so far.
    pub(super) cuts: u64,
    /// Chunks whose volume server was not told to put them on disk.
    pub(super) unsynced: Vec<FileChunk>,
    /// An upload failed since the last flush began.
    pub(super) failure: Option<WriteError>,
    /// The same, until somebody was told.
    pub(super) error: Option<WriteError>,
    /// Nobody needs the bytes any more.
    pub(super) abandoned: bool,
}

/// How long the file was when a flush began, and how often it had been cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Began {
    pub(super) end: u64,
    pub(super) cuts: u64,
}

impl State {
    pub(super) fn is_clean(&self) -> bool {
        self.edit.is_empty() && self.saving.is_none() && self.is_at_rest()
    }

    /// Whether no bytes are here.
    pub(super) fn is_at_rest(&self) -> bool {
        self.blocks.is_empty() && self.flights.is_empty()
    }

    pub(super) fn size(&self, size: u64) -> u64 {
        let saved = self.saving.as_ref().map_or(size, |edit| edit.size(size));
        self.edit.size(saved)
    }

    pub(super) fn bytes(&self) -> u64 {
        let edits = self.saving.iter().chain([&self.edit]);
        let stored: u64 = edits
            .flat_map(|edit| &edit.chunks)
            .map(|chunk| chunk.size)
            .sum();
        let flying: u64 = self.flights.values().map(|flight| flight.len as u64).sum();
        let held: u64 = self.blocks.values().map(Block::held).sum();
        stored.saturating_add(flying).saturating_add(held)
    }

    pub(super) fn changed(&mut self) {
        self.version += 1;
        self.shown = None;
    }

    pub(super) fn truncate(&mut self, size: u64, block: u64) {
        self.blocks.split_off(&size.div_ceil(block));
        if let Some((index, last)) = self.blocks.iter_mut().next_back()
            && (*index + 1).saturating_mul(block) > size
        {
            last.truncate(size);
            if last.is_empty() {
                self.blocks.pop_last();
            }
        }
        for flight in self.flights.values_mut() {
            flight.limit = flight.limit.min(size);
        }
        self.edit.truncate(size);
        self.cuts += 1;
        self.changed();
    }

    /// Dirty bytes inside `[from, to)`: sorted, not overlapping.
    pub(super) fn over(&self, from: u64, to: u64, block: u64) -> io::Result<Vec<(u64, Bytes)>> {
        let mut all = Vec::new();
        if from >= to {
            return Ok(all);
        }
        let indices = from / block..=(to - 1) / block;
        let mut below = self.flights.range(indices.clone()).peekable();
        let mut above = self.blocks.range(indices).peekable();
        loop {
            let index = match (below.peek(), above.peek()) {
                (Some((a, _)), Some((b, _))) => **a.min(b),
                (Some((only, _)), None) | (None, Some((only, _))) => **only,
                (None, None) => return Ok(all),
            };
            let older = match below.next_if(|(at, _)| **at == index) {
                Some((_, flight)) => flight.sealed.within(from, to.min(flight.limit))?,
                None => Vec::new(),
            };
            let newer = match above.next_if(|(at, _)| **at == index) {
                Some((_, block)) => block.within(from, to)?,
                None => Vec::new(),
            };
            stack(older, newer, &mut all);
        }
    }

    /// What a reader has to lay over the chunks of the entry.
    pub(super) fn shown(&mut self) -> Arc<Edit> {
        if let Some(shown) = &self.shown
            && self.shown_end == self.edit.end
        {
            return Arc::clone(shown);
        }
        let shown = Arc::new(match &self.saving {
            Some(saving) => saving.then(&self.edit),
            None => self.edit.clone(),
        });
        self.shown = Some(Arc::clone(&shown));
        self.shown_end = self.edit.end;
        shown
    }

    /// Gives what is uploaded to whoever saves it. Bytes that were written after the flush
    /// began are still here, so the file is not yet made long enough for them.
    pub(super) fn hand_out(&mut self, began: Began) -> Option<Edit> {
        let mut edit = std::mem::take(&mut self.edit);
        let end = edit.end;
        if self.cuts == began.cuts && !self.is_at_rest() {
            let chunks = edit.chunks.iter();
            let stored =
                chunks.map(|chunk| chunk.offset.cast_unsigned().saturating_add(chunk.size));
            edit.end = stored.max().unwrap_or(0).max(began.end).min(end);
            if edit.end < end {
                self.edit.end = end;
            }
        }
        let saving = match self.saving.take() {
            Some(earlier) => earlier.then(&edit),
            None => edit,
        };
        self.changed();
        if saving.is_empty() {
            return None;
        }
        self.saving = Some(saving.clone());
        Some(saving)
    }
}

/// Adds `older` with `newer` over it.
fn stack(older: Vec<(u64, Bytes)>, newer: Vec<(u64, Bytes)>, all: &mut Vec<(u64, Bytes)>) {
    let mut newer = newer.into_iter().peekable();
    for (mut at, mut bytes) in older {
        while let Some((start, over)) = newer.peek() {
            let (start, end) = (*start, start + over.len() as u64);
            if start >= at + bytes.len() as u64 {
                break;
            }
            if start > at {
                all.push((at, bytes.split_to((start - at) as usize)));
                at = start;
            }
            if end > at + bytes.len() as u64 {
                // It reaches beyond, perhaps over the next one too.
                at += bytes.len() as u64;
                bytes.clear();
                break;
            }
            if end > at {
                let _ = bytes.split_to((end - at) as usize);
                at = end;
            }
            all.extend(newer.next());
        }
        if !bytes.is_empty() {
            all.push((at, bytes));
        }
    }
    all.extend(newer);
}
