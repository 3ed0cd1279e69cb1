//! What a mount keeps of files on the local disk, for `riptide cache` and `riptide warmup`.
//!
//! Paths are those below the mount point, with a slash before them. The calls block: they may ask
//! the filer.

use std::sync::Arc;
use std::time::Duration;

use context::Context;
use reader::DiskUse;
use seaweed::Entry;
use whole::{Evicted, Listed, State, Verdict, Want};

use crate::changed::Changes;
use crate::fs::Mount;
use crate::tree::split_path;

/// What one question may take.
const BUDGET: Duration = Duration::from_secs(20);

/// What is kept of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Its length.
    pub size: u64,
    /// How it stands as a whole.
    pub whole: State,
    /// Bytes of its chunks that are in the disk cache.
    pub chunk_bytes: u64,
}

/// What came of wanting a file warm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Warmed {
    /// It is whole here.
    Here,
    /// It waits, or is on its way.
    Coming,
    /// Too many wait already: later.
    Busy,
    /// It is not kept whole, for this reason.
    Unfit(String),
}

impl Mount {
    /// Why whole files are not read by the kernel itself; nothing when they are.
    ///
    /// # Errors
    /// When none are kept.
    pub fn passthrough(&self) -> Result<Option<String>, String> {
        let fast = self.core.fast.as_ref();
        Ok(fast.ok_or("-cache.aggressive is off")?.refused())
    }

    /// What is kept of a file.
    ///
    /// # Errors
    /// When there is no such file, or the filer does not say.
    pub fn cached(&self, path: &str) -> Result<Cached, String> {
        let ctx = Context::background(BUDGET);
        let entry = self.entry_at(&ctx, path)?;
        let whole = match &self.core.fast {
            Some(fast) => match fast.key_of(&entry) {
                Ok(key) => fast.files.state(&key),
                Err(reason) => State::Failed(reason.to_owned()),
            },
            None => State::Absent,
        };
        Ok(Cached {
            size: entry.size,
            whole,
            chunk_bytes: self.reader.on_disk(&self.chunks_of(&ctx, &entry)?),
        })
    }

    /// Has a file brought in whole.
    ///
    /// # Errors
    /// When there is no such file, or the filer does not say.
    pub fn warm(&self, path: &str) -> Result<Warmed, String> {
        let entry = self.entry_at(&Context::background(BUDGET), path)?;
        Ok(
            match self.keep_whole(&entry, &self.filer_path(path), false) {
                Ok(Want::Here) => Warmed::Here,
                Ok(Want::Coming) => Warmed::Coming,
                Ok(Want::Refused) => Warmed::Busy,
                Err(reason) => Warmed::Unfit(reason),
            },
        )
    }

    /// The whole files below a path, or of it, with their names below the mount point.
    pub fn whole_files(&self, under: &str) -> Vec<Listed> {
        let Some(fast) = &self.core.fast else {
            return Vec::new();
        };
        let mut all = fast.files.list(&self.filer_path(under));
        for file in &mut all {
            if let Some(below) = self.below(&file.name) {
                file.name = below.into();
            }
        }
        all
    }

    /// Removes the whole files below a path that nobody has open.
    pub fn evict_whole(&self, under: &str) -> Evicted {
        let fast = self.core.fast.as_ref();
        fast.map_or_else(Evicted::default, |fast| {
            fast.files.evict(&self.filer_path(under))
        })
    }

    /// Reads a whole file, by its key, and compares it with its checksums.
    ///
    /// # Errors
    /// When that is no key.
    pub fn verify_whole(&self, key: &str) -> Result<Verdict, String> {
        let key = key.parse().map_err(|error| format!("{key}: {error}"))?;
        let fast = self.core.fast.as_ref();
        Ok(fast.map_or(Verdict::Absent, |fast| fast.files.verify(&key)))
    }

    /// What is in the disk cache.
    pub fn chunks_held(&self) -> DiskUse {
        self.reader.disk_use()
    }

    /// Removes all chunks from the disk cache, or those of one file.
    ///
    /// # Errors
    /// When there is no such file, or the filer does not say.
    pub fn evict_chunks(&self, path: Option<&str>) -> Result<DiskUse, String> {
        let Some(path) = path else {
            return Ok(self.reader.evict_disk(None));
        };
        let ctx = Context::background(BUDGET);
        let entry = self.entry_at(&ctx, path)?;
        let chunks = self.chunks_of(&ctx, &entry)?;
        Ok(self.reader.evict_disk(Some(&chunks)))
    }

    /// Reads all of the disk cache and compares it with its checksums; what is there, and what was
    /// damaged and removed.
    pub fn verify_chunks(&self) -> (DiskUse, u64) {
        self.reader.verify_disk()
    }

    /// Which paths have changed since an answer before; see [`Changes`]. Those above the root are
    /// left out.
    pub fn changes(&self, since: Option<u64>) -> Changes {
        let mut changes = self.core.changed.since(since);
        let below = changes.paths.iter().filter_map(|path| self.below(path));
        changes.paths = below.collect();
        changes
    }

    fn entry_at(&self, ctx: &Context<'_>, path: &str) -> Result<Arc<Entry>, String> {
        let path = self.filer_path(path);
        let (directory, name) = split_path(&path);
        match self.core.ask(ctx, directory, name) {
            Ok(Some((entry, _))) => Ok(entry),
            Ok(None) => Err(format!("{path} does not exist at the filer")),
            Err(error) => Err(format!("{path}: {error}")),
        }
    }

    /// The chunks of a file, those behind manifests included.
    fn chunks_of(&self, ctx: &Context<'_>, entry: &Entry) -> Result<Arc<[seaweed::Chunk]>, String> {
        let view = self.reader.resolve(ctx, &entry.chunks, entry.size);
        view.map(|view| Arc::clone(&view.chunks))
            .map_err(|error| format!("{}: {error}", entry.name))
    }

    /// A path below the mount point as the filer has it.
    fn filer_path(&self, path: &str) -> String {
        let root = self.core.config.filer_path.trim_end_matches('/');
        let below = path.trim_matches('/');
        match below {
            "" if root.is_empty() => "/".to_owned(),
            "" => root.to_owned(),
            below => format!("{root}/{below}"),
        }
    }

    /// The other way round; nothing for what is not below the root.
    fn below(&self, path: &str) -> Option<String> {
        let root = self.core.config.filer_path.trim_end_matches('/');
        let rest = path.strip_prefix(root)?;
        rest.starts_with('/').then(|| rest.to_owned())
    }
}
