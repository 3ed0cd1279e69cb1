//! One file's changes on their way into its entry.
//!
//! Bytes go through three places: `extents` in memory, `uploading` while they
//! are on their way, and the chunks of `edit` from then on. `saving` is the part
//! of the edit that a flush has handed out and that the mount is about to save.
//! A later place is older, so that a reader lays them over the entry from
//! `saving` up to `extents`.

use std::sync::Arc;

use bytes::Bytes;
use context::Context;
use parking_lot::Mutex;
use seaweed::pb::FileChunk;

use crate::extents::Extents;
use crate::{Edit, Upload, WriteError};

/// What a writer is told when it starts. Defaults are those of `weed mount`.
#[derive(Debug, Clone)]
pub struct WriterConfig {
    /// `-chunkSizeLimitMB`: no chunk is larger.
    pub chunk_bytes: usize,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            chunk_bytes: 2 << 20,
        }
    }
}

/// Bytes of one file that may wait in memory; more are uploaded by whoever writes them.
const HELD_MAX: usize = 32 << 20;
/// No file is larger (`i64::MAX`, as everywhere).
const SIZE_MAX: u64 = i64::MAX as u64;
/// Zeros are written in pieces of this size.
const ZEROS: usize = 1 << 20;

/// Writes the files of one mount. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Writer(Arc<Inside>);

struct Inside {
    config: WriterConfig,
    upload: Arc<dyn Upload>,
}

impl Writer {
    /// A writer that stores chunks through `upload`.
    pub fn new(config: WriterConfig, upload: Arc<dyn Upload>) -> Self {
        Self(Arc::new(Inside { config, upload }))
    }

    /// The changes of one file, none so far. `path` is where the filer has it, for the rules
    /// that decide where its chunks go.
    pub fn file(&self, path: String) -> Dirty {
        Dirty {
            writer: self.clone(),
            path: Mutex::new(path),
            state: Mutex::default(),
            upload: Mutex::new(()),
        }
    }

    /// Stops what is done in the background. Called after the last flush.
    pub fn close(&self) {}
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

/// Changes of one file that its entry does not have yet.
#[derive(Debug)]
pub struct Dirty {
    writer: Writer,
    path: Mutex<String>,
    state: Mutex<State>,
    /// Held over an upload, so that chunks enter the edit in the order of their writing.
    upload: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    extents: Extents,
    held: usize,
    uploading: Vec<(u64, Bytes)>,
    /// The file was cut here while `uploading` was on its way.
    uploading_cut: Option<u64>,
    edit: Edit,
    saving: Option<Edit>,
    /// `saving` and `edit` as one; made when asked for.
    shown: Option<Arc<Edit>>,
    version: u64,
    error: Option<WriteError>,
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

impl Dirty {
    /// The file has been renamed.
    pub fn set_path(&self, path: String) {
        *self.path.lock() = path;
    }

    /// Whether the entry has everything.
    pub fn is_clean(&self) -> bool {
        let state = self.state.lock();
        let edits = state.edit.is_empty() && state.saving.is_none();
        edits && state.extents.is_empty() && state.uploading.is_empty()
    }

    /// The file's length, if its entry says `size`.
    pub fn size(&self, size: u64) -> u64 {
        let state = self.state.lock();
        let saved = state
            .saving
            .as_ref()
            .map_or(size, |saving| saving.size(size));
        state.edit.size(saved)
    }

    /// Takes `bytes` at `offset`.
    ///
    /// # Errors
    /// [`WriteError`]; nothing of `bytes` is kept then.
    pub fn write(&self, ctx: &Context<'_>, offset: u64, bytes: &[u8]) -> Result<(), WriteError> {
        let end = offset.checked_add(bytes.len() as u64);
        let end = end
            .filter(|end| *end <= SIZE_MAX)
            .ok_or(WriteError::TooLarge)?;
        if self.state.lock().held + bytes.len() > HELD_MAX {
            self.upload_all(ctx, false)?;
        }
        let mut state = self.state.lock();
        state.extents.write(offset, bytes);
        state.held += bytes.len();
        state.edit.end = state.edit.end.max(end);
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
        let mut state = self.state.lock();
        state.extents.truncate(size);
        for (offset, bytes) in &mut state.uploading {
            let left = usize::try_from(size.saturating_sub(*offset)).unwrap_or(usize::MAX);
            bytes.truncate(left);
        }
        state.uploading_cut = Some(state.uploading_cut.map_or(size, |cut| cut.min(size)));
        state.edit.truncate(size);
        state.changed();
        Ok(())
    }

    /// Zeros in `[offset, end)`.
    ///
    /// # Errors
    /// As for [`Dirty::write`]; a part of the range may be zero already.
    pub fn zero(&self, ctx: &Context<'_>, offset: u64, end: u64) -> Result<(), WriteError> {
        let zeros = vec![0; ZEROS];
        let mut at = offset;
        while at < end {
            let len = (end - at).min(ZEROS as u64) as usize;
            self.write(ctx, at, &zeros[..len])?;
            at += len as u64;
        }
        Ok(())
    }

    /// What lies over the entry in `[offset, end)`.
    pub fn look(&self, offset: u64, end: u64) -> Look {
        let mut state = self.state.lock();
        let mut over = Extents::default();
        for (start, bytes) in &state.uploading {
            let from = offset.saturating_sub(*start).min(bytes.len() as u64) as usize;
            let to = end.saturating_sub(*start).min(bytes.len() as u64) as usize;
            over.write(*start + from as u64, &bytes[from..to.max(from)]);
        }
        for (start, bytes) in state.extents.within(offset, end) {
            over.write(start, &bytes);
        }
        let version = state.version;
        Look {
            edit: state.shown(),
            version,
            over: over.take(),
        }
    }

    /// Uploads all that was written so far, to disk with `durable`, and gives what has to be
    /// saved; `None` when there is nothing.
    ///
    /// # Errors
    /// [`WriteError`]; what was not uploaded is kept and tried again by the next flush.
    pub fn flush(&self, ctx: &Context<'_>, durable: bool) -> Result<Option<Edit>, WriteError> {
        self.upload_all(ctx, durable)?;
        let mut state = self.state.lock();
        let edit = std::mem::take(&mut state.edit);
        let earlier = state.saving.take().unwrap_or_default();
        let saving = earlier.then(&edit);
        if saving.is_empty() {
            return Ok(None);
        }
        state.saving = Some(saving.clone());
        state.changed();
        Ok(Some(saving))
    }

    /// The edit of the last flush is in the entry.
    pub fn saved(&self) {
        let mut state = self.state.lock();
        state.saving = None;
        state.changed();
    }

    /// It is not: the next flush gives it again.
    pub fn not_saved(&self) {
        let mut state = self.state.lock();
        if let Some(saving) = state.saving.take() {
            state.edit = saving.then(&state.edit);
            state.changed();
        }
    }

    /// What an upload in the background failed with since this was last asked.
    pub fn take_error(&self) -> Option<WriteError> {
        self.state.lock().error.take()
    }

    /// The file is gone: drops everything, and gives the chunks that no entry names.
    pub fn abandon(&self) -> Vec<FileChunk> {
        let _uploading = self.upload.lock();
        let mut state = self.state.lock();
        let state = std::mem::take(&mut *state);
        state.saving.unwrap_or_default().then(&state.edit).chunks
    }

    fn upload_all(&self, ctx: &Context<'_>, durable: bool) -> Result<(), WriteError> {
        let _one = self.upload.lock();
        let path = self.path.lock().clone();
        {
            let mut state = self.state.lock();
            state.uploading = state.extents.take();
            state.uploading_cut = None;
            state.held = 0;
        }
        let mut done = Vec::new();
        let parts = self.state.lock().uploading.clone();
        let result = parts.iter().try_for_each(|(offset, bytes)| {
            let mut at = *offset;
            for part in bytes.chunks(self.writer.0.config.chunk_bytes) {
                let stored = self.writer.0.upload.upload(ctx, &path, part, durable)?;
                done.push(FileChunk {
                    // `write` has checked that the end fits.
                    offset: at.cast_signed(),
                    size: part.len() as u64,
                    ..stored
                });
                at += part.len() as u64;
            }
            Ok(())
        });
        let mut state = self.state.lock();
        let reached = done.last().map_or(0, |chunk| {
            chunk.offset.cast_unsigned().saturating_add(chunk.size)
        });
        let uploading = std::mem::take(&mut state.uploading);
        if result.is_err() {
            state.put_back(uploading, reached);
        }
        let mut arrived = Edit {
            chunks: done,
            ..Edit::default()
        };
        if let Some(cut) = state.uploading_cut.take() {
            let end = state.edit.end;
            arrived.truncate(cut);
            state.edit.end = end;
        }
        state.edit.chunks.extend(arrived.chunks);
        state.changed();
        result
    }
}

impl State {
    fn changed(&mut self) {
        self.version += 1;
        self.shown = None;
    }

    fn shown(&mut self) -> Arc<Edit> {
        if let Some(shown) = &self.shown
            && shown.end == self.edit.end
        {
            return Arc::clone(shown);
        }
        let saving = self.saving.clone().unwrap_or_default();
        let shown = Arc::new(saving.then(&self.edit));
        self.shown = Some(Arc::clone(&shown));
        shown
    }

    /// What was not uploaded goes back below what was written meanwhile.
    fn put_back(&mut self, uploading: Vec<(u64, Bytes)>, reached: u64) {
        let newer = self.extents.take();
        for (offset, bytes) in uploading {
            let skip = reached.saturating_sub(offset).min(bytes.len() as u64) as usize;
            self.extents.write(offset + skip as u64, &bytes[skip..]);
        }
        for (offset, bytes) in newer {
            self.extents.write(offset, &bytes);
        }
    }
}
