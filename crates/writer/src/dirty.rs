//! One file's changes on their way into its entry.
//!
//! Bytes go through three places: `blocks` while more may be written to them,
//! `flights` while they are on their way to volume servers, and the chunks of
//! `edit` from then on. `saving` is the part of the edit that a flush has handed
//! out and that the mount is about to save. A later place is older, so that a
//! reader lays them over the entry from `saving` up to `blocks`.
//!
//! A block of the file has one flight at a time, and flights of different blocks
//! cannot overlap: so chunks enter the edit in whatever order they arrive, and
//! what is newer still lies above what is older. What could not be uploaded goes
//! back below what was written since, and waits for the next flush.

mod flight;
mod state;

use std::sync::Arc;

use bytes::Bytes;
use context::Context;
use parking_lot::{Condvar, Mutex};
use seaweed::pb::FileChunk;

use crate::block::Block;
use crate::writer::{Inside, LOOK, Room};
use crate::{Edit, WriteError};
use state::State;

/// No file is larger (`i64::MAX`, as everywhere).
const SIZE_MAX: u64 = i64::MAX as u64;
/// Zeros are written in pieces of this size.
const ZEROS: usize = 1 << 20;

/// Changes of one file that its entry does not have yet.
#[derive(Debug)]
pub struct Dirty(Arc<Shared>);

/// What a file shares with its flights.
pub(crate) struct Shared {
    writer: Arc<Inside>,
    id: u64,
    path: Mutex<String>,
    state: Mutex<State>,
    landed: Condvar,
}

/// What lies over a file's entry.
#[derive(Debug, Clone)]
pub struct Look {
    /// To be applied to the entry's chunks.
    pub edit: Arc<Edit>,
    /// Grows whenever `edit` has other chunks or another cut.
    pub version: u64,
    /// Bytes over all chunks: inside the range asked for, sorted, not overlapping.
    pub over: Vec<(u64, Bytes)>,
}

impl Look {
    /// Whether the entry shows all there is.
    pub fn is_empty(&self) -> bool {
        self.edit.is_empty() && self.over.is_empty()
    }
}

impl Dirty {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The file has been renamed.
    pub fn set_path(&self, path: String) {
        *self.0.path.lock() = path;
    }

    /// Whether the entry has everything.
    pub fn is_clean(&self) -> bool {
        self.0.state.lock().is_clean()
    }

    /// The file's length, if its entry says `size`.
    pub fn size(&self, size: u64) -> u64 {
        self.0.state.lock().size(size)
    }

    /// Bytes that the entry does not have yet. What was written twice may count twice.
    pub fn bytes(&self) -> u64 {
        self.0.state.lock().bytes()
    }

    /// Takes `bytes` at `offset`.
    ///
    /// # Errors
    /// [`WriteError`]; a part of `bytes` at its beginning may have been taken then.
    pub fn write(&self, ctx: &Context<'_>, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let end = offset.checked_add(bytes.len() as u64);
        end.filter(|end| *end <= SIZE_MAX)
            .ok_or(WriteError::TooLarge)?;
        let block = self.0.writer.config.chunk_bytes as u64;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let room = (block - at % block).min(rest.len() as u64) as usize;
            let (part, after) = rest.split_at(room);
            self.write_block(ctx, at, part)?;
            at += room as u64;
            rest = after;
        }
        self.0.writer.stats.bytes.add(bytes.len() as u64);
        Ok(())
    }

    fn write_block(&self, ctx: &Context<'_>, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let inside = &self.0.writer;
        let len = inside.config.chunk_bytes;
        let index = offset / len as u64;
        // A block that has a place in the swap file needs no memory.
        let swapped = |state: &State| state.blocks.get(&index).is_some_and(Block::is_swapped);
        let needs_none = swapped(&self.0.state.lock());
        // The lock is not held while this waits.
        let room = match needs_none {
            true => None,
            false => Some(inside.room(ctx, bytes.len())?),
        };
        let mut state = self.0.state.lock();
        if state.is_at_rest() {
            inside.register(self.0.id, Arc::downgrade(&self.0));
        }
        let block = state
            .blocks
            .entry(index)
            .or_insert_with(|| Block::new(index * len as u64, len));
        let (_grant, moved) = match room {
            Some(Room::Memory(grant)) => (Some(grant), Ok(())),
            Some(Room::Swap(slot)) => (None, block.swap_out(slot)),
            None => (None, Ok(())),
        };
        let written = moved.and_then(|()| block.write(offset, bytes, &inside.budget));
        let full = block.is_full();
        if block.is_empty() {
            state.blocks.remove(&index);
        }
        written.map_err(WriteError::swap)?;
        state.edit.end = state.edit.end.max(offset + bytes.len() as u64);
        // After a failure, the next flush decides.
        if full && state.failure.is_none() {
            self.0.seal(&mut state, index, false);
        }
        Ok(())
    }

    /// The file has `size` bytes from now on: what is behind them is gone, what is missing is
    /// zero.
    ///
    /// # Errors
    /// [`WriteError::TooLarge`].
    pub fn truncate(&self, size: u64) -> Result<(), WriteError> {
        if size > SIZE_MAX {
            return Err(WriteError::TooLarge);
        }
        let block = self.0.writer.config.chunk_bytes as u64;
        self.0.state.lock().truncate(size, block);
        Ok(())
    }

    /// Zeros in `[offset, end)`.
    ///
    /// # Errors
    /// As for [`Dirty::write`]; a part of the range may be zero already.
    pub fn zero(&self, ctx: &Context<'_>, offset: u64, end: u64) -> Result<(), WriteError> {
        let zeros = vec![0; (end.saturating_sub(offset)).min(ZEROS as u64) as usize];
        let mut at = offset;
        while at < end {
            let len = (end - at).min(ZEROS as u64) as usize;
            self.write(ctx, at, &zeros[..len])?;
            at += len as u64;
        }
        Ok(())
    }

    /// What lies over the entry in `[offset, end)`.
    ///
    /// # Errors
    /// When the swap file cannot be read.
    pub fn look(&self, offset: u64, end: u64) -> Result<Look, WriteError> {
        let block = self.0.writer.config.chunk_bytes as u64;
        let mut state = self.0.state.lock();
        let over = state.over(offset, end, block).map_err(WriteError::swap)?;
        Ok(Look {
            version: state.version,
            edit: state.shown(),
            over,
        })
    }

    /// Uploads all that was written so far, to disk with `durable`, and gives what has to be
    /// saved; `None` when there is nothing.
    ///
    /// # Errors
    /// [`WriteError`]; what was not uploaded is kept and tried again by the next flush. After
    /// an interruption it goes on in the background.
    pub fn flush(&self, ctx: &Context<'_>, durable: bool) -> Result<Option<Edit>, WriteError> {
        let end = self.0.upload_all(ctx, durable)?;
        if durable {
            self.0.sync(&ctx.at_least(self.0.writer.config.patience))?;
        }
        let mut state = self.0.state.lock();
        if state.is_at_rest() {
            self.0.writer.unregister(self.0.id);
        }
        Ok(state.hand_out(end))
    }

    /// What is stored and may not be on disk: a chunk for each volume, for the [`Dirty`] by which the same
    /// file is written or synced next.
    pub fn take_unsynced(&self) -> Vec<FileChunk> {
        let mut chunks = std::mem::take(&mut self.0.state.lock().unsynced);
        let volume = |chunk: &FileChunk| chunk.fid.as_ref().map(|fid| fid.volume_id);
        chunks.sort_by_key(volume);
        chunks.dedup_by_key(|chunk| volume(chunk));
        chunks
    }

    /// Takes over what another one of the same file has left.
    pub fn owe(&self, unsynced: Vec<FileChunk>) {
        self.0.state.lock().unsynced.extend(unsynced);
    }

    /// Has the volume servers put on disk what is stored.
    ///
    /// # Errors
    /// [`WriteError`]; the next one is tried with the same chunks.
    pub fn sync(&self, ctx: &Context<'_>) -> Result<(), WriteError> {
        self.0.sync(ctx)
    }

    /// The edit of the last flush is in the entry.
    pub fn saved(&self) {
        let mut state = self.0.state.lock();
        state.saving = None;
        state.changed();
    }

    /// It is not: the next flush gives it again.
    pub fn not_saved(&self) {
        let mut state = self.0.state.lock();
        if let Some(saving) = state.saving.take() {
            state.edit = saving.then(&state.edit);
            state.changed();
        }
    }

    /// What an upload in the background failed with since this was last asked.
    pub fn take_error(&self) -> Option<WriteError> {
        self.0.state.lock().error.take()
    }

    /// The file is gone: drops everything, and gives the chunks that no entry names.
    pub fn abandon(&self) -> Vec<FileChunk> {
        let mut state = self.0.state.lock();
        state.abandoned = true;
        state.blocks.clear();
        while !state.flights.is_empty() {
            // Those that were not begun end at once, the others within their patience.
            self.0.writer.upload.hurry();
            self.0.landed.wait_for(&mut state, LOOK);
        }
        self.0.writer.unregister(self.0.id);
        let state = std::mem::take(&mut *state);
        state.saving.unwrap_or_default().then(&state.edit).chunks
    }
}

impl Drop for Dirty {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.abandoned = true;
        state.blocks.clear();
        self.0.writer.unregister(self.0.id);
    }
}

impl Shared {
    pub(crate) fn new(writer: Arc<Inside>, id: u64, path: String) -> Self {
        Self {
            writer,
            id,
            path: Mutex::new(path),
            state: Mutex::default(),
            landed: Condvar::new(),
        }
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("path", &self.path)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
