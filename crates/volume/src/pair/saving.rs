//! When the index of a pair is saved, and what becomes of one that is damaged.
//!
//! It is saved when it was read from the start and is long enough to matter, and again when what came since has
//! grown to an eighth of what is saved: so at most an eighth of an index is in memory and read again at a start, and each
//! entry is written nine times at the very most. The runs that are saved are frozen meanwhile; entries that come are not
//! held up.

use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::Pair;
use crate::budget::ENTRY;
use crate::context::Context;
use crate::files::Opened;
use crate::saved::{Folder, Origin, Refused, SaveError, Saved};

/// What a pair knows of its saved index.
#[derive(Debug)]
pub(super) struct Saving {
    /// Nothing when it is not to be saved.
    origin: Option<Origin>,
    /// A save was asked for and not done yet.
    asked: AtomicBool,
    /// Not before this time, after one that failed.
    not_before: Mutex<Option<Instant>>,
    /// What was saved is damaged: newer files, or the same anew, have to be opened.
    broken: AtomicBool,
}

impl Saving {
    /// Looks for what was saved of the `.idx` that was opened.
    pub(super) fn begin(opened: &Opened, context: &Context) -> (Self, Option<Saved>) {
        let origin = context.folder.as_ref().and_then(|_| {
            let path = opened.idx_path.clone()?;
            Origin::of(path, &opened.idx, opened.block.revision, opened.width).ok()
        });
        let loaded = match (&context.folder, &origin) {
            (Some(folder), Some(origin)) => folder.load(origin, &opened.idx, opened.idx_len),
            _ => Err(Refused::Absent),
        };
        let saved = match loaded {
            Ok(saved) => {
                context.stats.index_from_saved.inc();
                Some(saved)
            }
            Err(why) => {
                context.stats.index_from_start.inc();
                if let (Some(origin), false) = (&origin, matches!(why, Refused::Absent)) {
                    context.stats.refused(&why);
                    tracing::info!(idx = %origin.path.display(), %why, "the saved index is not used");
                }
                None
            }
        };
        let saving = Self {
            origin,
            asked: AtomicBool::new(false),
            not_before: Mutex::new(None),
            broken: AtomicBool::new(false),
        };
        (saving, saved)
    }
}

impl Pair {
    /// Whether what was saved of it must not be used any more.
    pub(super) fn is_broken(&self) -> bool {
        self.saving.broken.load(Ordering::Relaxed)
    }

    /// Throws away what is in use: this pair answers for nothing any more.
    pub(super) fn disown(&self, why: &Refused, context: &Context) {
        if !self.saving.broken.swap(true, Ordering::Relaxed) {
            self.forget_saved(why, context);
        }
    }

    /// Throws away what was saved.
    pub(super) fn forget_saved(&self, why: &Refused, context: &Context) {
        context.stats.refused(why);
        if let (Some(folder), Some(origin)) = (&context.folder, &self.saving.origin) {
            tracing::warn!(idx = %origin.path.display(), %why, "the saved index is thrown away");
            folder.discard(origin);
        }
    }

    /// Has the index saved, if that is worth it.
    pub(super) fn ask_for_save(self: &Arc<Self>, context: &Context) {
        let (Some(folder), Some(_)) = (&context.folder, &self.saving.origin) else {
            return;
        };
        if self.is_loading() || self.is_broken() || !self.is_worth_saving(folder) {
            return;
        }
        let not_before = *self.saving.not_before.lock();
        if not_before.is_some_and(|time| Instant::now() < time) {
            return;
        }
        if !self.saving.asked.swap(true, Ordering::AcqRel) {
            context.ask_to_save(Arc::downgrade(self));
        }
    }

    fn is_worth_saving(&self, folder: &Folder) -> bool {
        let index = self.index.read();
        let saved = index.saved().map_or(0, |saved| saved.header().entries);
        index.unsaved() as u64 >= folder.min_entries().max(saved / SHARE).max(1)
    }

    /// Saves the index.
    pub(crate) fn save(self: &Arc<Self>, folder: &Folder, context: &Context) {
        let done = self.try_save(folder, context);
        // A full disk is no error: the next start takes longer.
        if let Err(error) = done {
            context.stats.index_save_failures.inc();
            *self.saving.not_before.lock() = Some(Instant::now() + PAUSE);
            match &error {
                SaveError::Source(why) => self.disown(why, context),
                SaveError::Closing => {}
                error => tracing::info!("an index is not saved: {error}"),
            }
        }
        self.saving.asked.store(false, Ordering::Release);
        self.ask_for_merge(context);
    }

    fn try_save(&self, folder: &Folder, context: &Context) -> Result<(), SaveError> {
        let Some(origin) = &self.saving.origin else {
            return Ok(());
        };
        // Replaced meanwhile: the path is that of another file by now.
        if self.idx.metadata()?.nlink() == 0 {
            return Ok(());
        }
        let feeding = self.feeding.lock();
        let covered = self.seen.load(Ordering::Acquire);
        let frozen = self.index.write().freeze();
        drop(feeding);
        let Some(frozen) = frozen else {
            return Ok(());
        };
        let runs: Vec<_> = frozen.runs.iter().map(Arc::as_ref).collect();
        let what = (origin, &self.idx, covered);
        let saved = folder.save(what, &runs, frozen.saved.as_deref(), || {
            context.is_closing()
        });
        let saved = saved.map(Arc::new);
        // Nothing is fed until the share is right again.
        let _feeding = self.feeding.lock();
        self.index.write().thaw(saved.as_ref().ok().cloned());
        let saved = saved?;
        let newer = self.seen.load(Ordering::Acquire) - covered;
        let newer = newer / self.width.entry_len() as u64;
        self.share.set(newer * ENTRY + saved.resident());
        context.stats.index_saves.inc();
        Ok(())
    }
}

/// What came since an index was saved is saved when it is this part of it.
const SHARE: u64 = 8;

/// After a save that failed.
const PAUSE: Duration = Duration::from_secs(600);
