//! One generation of a volume's two files, and the index made of one of them.
//!
//! A vacuum replaces both files; who holds the old ones has a pair that still fits together and
//! grows no more. A [`Pair`] therefore never changes its files: when they are replaced there is a
//! new one, and needles found in the old one are read from the old one to their end.
//!
//! Where there is a [saved](crate::saved) index, only the entries behind what it covers are loaded, and then it is taken
//! into use below them; [`saving`] says when it is written.

use std::fs::{self, File};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rustix::fs::fstat;
use seaweed::FileId;
use seaweed::volume::{IndexEntry, OffsetWidth, SuperBlock};

use crate::budget::{ENTRY, Share};
use crate::context::{Context, Job};
use crate::files::{Inode, Opened, Paths};
use crate::index::{Block, Counts, Found, Index, Lookup, Size, When, touch};
use crate::needle::{Flaw, Needle, Record};
use crate::raw::{self, FillError, Wait};
use crate::saved::{Saved, Touch};
use crate::sums::SumsKey;
use crate::{Absent, Miss, VerifyRanges};

mod saving;

use saving::Saving;

/// Two open files and their index.
#[derive(Debug)]
pub(crate) struct Pair {
    /// Of this pair alone, in this process.
    id: u64,
    dat: File,
    idx: File,
    inodes: [Inode; 2],
    block: SuperBlock,
    width: OffsetWidth,
    verify: VerifyRanges,
    index: RwLock<Index>,
    /// Held by the one who reads new entries.
    feeding: Mutex<()>,
    /// Bytes of the index file from here on were not looked at yet.
    seen: AtomicU64,
    /// Bytes of the index file up to here are still to be loaded, ...
    unloaded: AtomicU64,
    /// ... from here on: what is before was saved.
    floor: AtomicU64,
    /// How far the two were apart when the file was opened.
    to_load: u64,
    /// What was saved, until all is loaded that is newer.
    waiting: Mutex<Option<Arc<Saved>>>,
    /// All is loaded, or in what was saved.
    loaded: AtomicBool,
    saving: Saving,
    /// A merge was asked for and not done yet.
    merging: AtomicBool,
    /// The index file could not be read.
    failed: AtomicBool,
    share: Share,
}

/// Why a look-up in these files gave no needle.
#[derive(Debug)]
pub(crate) enum Doubt {
    /// It may be otherwise in newer files: look at the paths, then this is the answer.
    Unless(Miss),
    /// There are newer files, or will be in a moment.
    Replaced,
    /// That is the answer.
    Final(Miss),
}

/// Whether the index file is what was read of it.
enum News {
    None,
    Replaced,
}

impl Pair {
    /// A pair whose index is empty; `load` fills it.
    pub(crate) fn new(
        opened: Opened,
        verify: VerifyRanges,
        context: &Context,
    ) -> Result<Self, crate::Reason> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let entry = opened.width.entry_len() as u64;
        let entries = opened.idx_len / entry;
        let (saving, saved) = Saving::begin(&opened, context);
        let covered = saved.as_ref().map_or(0, |saved| saved.header().covered);
        let to_load = entries * entry - covered;
        let resident = saved.as_ref().map_or(0, Saved::resident);
        let share = context.budget.share(to_load / entry * ENTRY + resident)?;
        Ok(Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            dat: opened.dat,
            idx: opened.idx,
            inodes: opened.inodes,
            block: opened.block,
            width: opened.width,
            verify,
            index: RwLock::default(),
            feeding: Mutex::new(()),
            seen: AtomicU64::new(entries * entry),
            unloaded: AtomicU64::new(entries * entry),
            floor: AtomicU64::new(covered),
            to_load,
            waiting: Mutex::new(saved.map(Arc::new)),
            loaded: AtomicBool::new(false),
            saving,
            merging: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            share,
        })
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn dat(&self) -> &File {
        &self.dat
    }

    pub(crate) fn super_block(&self) -> &SuperBlock {
        &self.block
    }

    pub(crate) fn width(&self) -> OffsetWidth {
        self.width
    }

    pub(crate) fn idx(&self) -> &File {
        &self.idx
    }

    /// Which files these are: `.dat` and `.idx`.
    pub(crate) fn inodes(&self) -> [Inode; 2] {
        self.inodes
    }

    /// How ranges of its needles are checked.
    pub(crate) fn verify(&self) -> VerifyRanges {
        self.verify
    }

    /// Bytes of `.idx` to load before everything can be found.
    pub(crate) fn to_load(&self) -> u64 {
        self.to_load
    }

    /// How much of that is done, from 0 to 1.
    pub(crate) fn progress(&self) -> f64 {
        let floor = self.floor.load(Ordering::Acquire);
        let left = self.unloaded.load(Ordering::Acquire).saturating_sub(floor);
        // More is left than there was when what was saved had to be thrown away.
        (1.0 - left as f64 / self.to_load.max(1) as f64).max(0.0)
    }

    /// Whether something can be in the index file that is not found yet.
    pub(crate) fn is_loading(&self) -> bool {
        !self.loaded.load(Ordering::Acquire)
    }

    /// Whether loading the index ended with an error.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }

    /// How many needles there are; nothing while the index is loaded.
    pub(crate) fn counts(&self) -> Option<Counts> {
        self.index.read().counts()
    }

    /// Entries of the index.
    pub(crate) fn held(&self) -> usize {
        self.index.read().held()
    }

    /// Finds a needle by what the files say now.
    pub(crate) fn find(
        self: &Arc<Self>,
        id: FileId,
        context: &Arc<Context>,
        wait: Wait,
    ) -> Result<Needle, Doubt> {
        let (offset, size) = match self.look_up(id.key, context, wait)? {
            Lookup::At { offset, size } => (offset, size),
            Lookup::Deleted => return Err(Doubt::Unless(Miss::Absent(Absent::Deleted))),
            Lookup::Unknown => return Err(Doubt::Unless(Miss::Absent(Absent::Unknown))),
        };
        let key = SumsKey {
            pair: self.id,
            offset,
        };
        if let Some(record) = context.records.known(&key)
            && record.is_of(id, size)
        {
            return match record.is_expired() {
                true => Err(Doubt::Final(Miss::Expired)),
                false => Ok(Needle::new(record, Arc::clone(self), Arc::clone(context))),
            };
        }
        let record = self.record(id, offset, size, wait);
        let record = record.map_err(|flaw| match flaw {
            Flaw::Other(damage) => Doubt::Unless(Miss::Corrupt(damage)),
            Flaw::Cookie { .. } => Doubt::Unless(Miss::Absent(Absent::Cookie)),
            Flaw::WouldWait => Doubt::Final(Miss::WouldWait),
            Flaw::Io(error) => Doubt::Final(Miss::Io(error)),
        })?;
        if record.is_expired() {
            return Err(Doubt::Final(Miss::Expired));
        }
        let record = Arc::new(record);
        // One that was found where offsets wrap around is not at the place it is looked for.
        if record.data().is_none() && record.offset == offset {
            context.records.keep(key, Arc::clone(&record));
        }
        Ok(Needle::new(record, Arc::clone(self), Arc::clone(context)))
    }

    /// Opens the record at an offset.
    pub(crate) fn record(
        &self,
        id: FileId,
        offset: u64,
        size: Size,
        wait: Wait,
    ) -> Result<Record, Flaw> {
        let record = Record::open(self, id, offset, size, wait);
        if let (Err(Flaw::Other(_)), OffsetWidth::Four) = (&record, self.width) {
            // Offsets of this width are cut to 32 bits when the file is longer than they reach.
            let beyond = Record::open(self, id, offset + WRAP, size, wait);
            if !matches!(beyond, Err(Flaw::Other(_))) {
                return beyond;
            }
        }
        record
    }

    fn look_up(self: &Arc<Self>, key: u64, context: &Context, wait: Wait) -> Result<Lookup, Doubt> {
        match self.catch_up(context, wait)? {
            News::None => {}
            News::Replaced => return Err(Doubt::Replaced),
        }
        // In this order: what is loaded meanwhile is found.
        let loading = self.is_loading();
        let found = self.index.read().lookup(key);
        match found {
            Found::Here(Lookup::Unknown) if loading => Err(Doubt::Final(Miss::Loading)),
            Found::Here(found) => Ok(found),
            Found::Below(saved) => match saved.find(key, wait) {
                Ok(place) => Ok(place.map_or(Lookup::Unknown, |place| place.lookup())),
                Err(Touch::WouldWait) => Err(Doubt::Final(Miss::WouldWait)),
                Err(Touch::Refused(why)) => {
                    self.disown(&why, context);
                    Err(Doubt::Replaced)
                }
            },
        }
    }

    /// Reads what was appended to the index. After this, everything is known whose answer
    /// was sent before the call.
    fn catch_up(self: &Arc<Self>, context: &Context, wait: Wait) -> Result<News, Doubt> {
        let failed = |error| Doubt::Final(Miss::Io(error));
        let status = fstat(&self.idx).map_err(|errno| failed(errno.into()))?;
        if status.st_nlink == 0 {
            return Ok(News::Replaced);
        }
        // No file has a negative length.
        let end = self.whole_entries(status.st_size as u64);
        let seen = self.seen.load(Ordering::Acquire);
        if end == seen {
            return Ok(News::None);
        }
        if end < seen {
            // Cut off, which a server does with entries that lead nowhere after a crash.
            return Ok(News::Replaced);
        }
        let feeding = match wait {
            Wait::Yes | Wait::IfUntold => self.feeding.lock(),
            Wait::No if end - seen > FEED as u64 => return Err(Doubt::Final(Miss::WouldWait)),
            Wait::No => match self.feeding.try_lock() {
                Some(feeding) => feeding,
                None => return Err(Doubt::Final(Miss::WouldWait)),
            },
        };
        self.feed(end, context, wait).map_err(|error| match error {
            FillError::WouldWait => Doubt::Final(Miss::WouldWait),
            // Cut off since the look.
            FillError::End => Doubt::Replaced,
            FillError::Io(error) => failed(error),
        })?;
        drop(feeding);
        self.ask_for_merge(context);
        self.ask_for_save(context);
        Ok(News::None)
    }

    /// Puts all entries up to `end` into the index. The caller holds `feeding`.
    fn feed(&self, end: u64, context: &Context, wait: Wait) -> Result<(), FillError> {
        let mut seen = self.seen.load(Ordering::Acquire);
        let mut buffer = Vec::new();
        while seen < end {
            let part = (end - seen).min(self.whole_entries(FEED as u64));
            buffer.resize(part as usize, 0);
            raw::read(&self.idx, seen, &mut buffer, wait)?;
            self.touch(&buffer, context, wait)?;
            let entries = self.width.entries(&buffer);
            let count = entries.len() as u64;
            let mut index = self.index.write();
            for entry in entries {
                index.push(&entry);
            }
            drop(index);
            seen += part;
            self.seen.store(seen, Ordering::Release);
            self.share.grow(count);
            context.stats.index_entries.add(count);
        }
        Ok(())
    }

    /// Has in memory what the index looks at when these entries are put into it.
    fn touch(&self, entries: &[u8], context: &Context, wait: Wait) -> Result<(), FillError> {
        let saved = self.index.read().saved().cloned();
        let Some(saved) = saved else {
            return Ok(());
        };
        let keys = self.width.entries(entries).map(|entry| entry.key);
        touch(&saved, keys, wait).map_err(|error| match error {
            Touch::WouldWait => FillError::WouldWait,
            Touch::Refused(why) => {
                self.disown(&why, context);
                FillError::End
            }
        })
    }

    /// Loads the index file, last entries first. Ends early when the store closes.
    pub(crate) fn load(self: &Arc<Self>, context: &Context) {
        if let Err(error) = self.try_load(context) {
            // What is not loaded stays "loading", so that nothing is called absent. The next
            // regular look opens the files anew.
            self.failed.store(true, Ordering::Relaxed);
            tracing::warn!(
                progress = self.progress(),
                "an index file cannot be read: {error:?}"
            );
        }
        context.bump();
        self.ask_for_save(context);
    }

    fn try_load(self: &Arc<Self>, context: &Context) -> Result<(), FillError> {
        let mut buffer = Vec::new();
        let mut block = self.whole_entries(FIRST_BLOCK);
        loop {
            let end = self.unloaded.load(Ordering::Acquire);
            let floor = self.floor.load(Ordering::Acquire);
            if end == floor {
                self.finish_loading(context);
                return Ok(());
            }
            if context.is_closing() {
                return Ok(());
            }
            let start = end.saturating_sub(block).max(floor);
            buffer.resize((end - start) as usize, 0);
            raw::read(&self.idx, start, &mut buffer, Wait::Yes)?;
            let entries = self.width.entries(&buffer);
            context.stats.index_entries.add(entries.len() as u64);
            let sorted = Block::of(entries);
            self.index.write().push_older(sorted);
            // Nothing is absent before the end, so there is time to make one run of all.
            self.merge_while(
                match start == floor {
                    true => When::Loaded,
                    false => When::Loading,
                },
                context,
            );
            self.unloaded.store(start, Ordering::Release);
            block = self.whole_entries((block * 4).min(LAST_BLOCK));
        }
    }

    /// Takes what was saved into use, if anything was, now that all is there that is newer. When it turns out to be
    /// damaged, the rest is loaded as well.
    fn finish_loading(self: &Arc<Self>, context: &Context) {
        let saved = self.waiting.lock().take();
        let runs = self.index.read().runs().to_vec();
        // Without the lock, as far as a disk has to be waited for.
        let touched = match &saved {
            Some(saved) => runs.iter().try_for_each(|run| {
                let keys = run.iter().map(|(key, _)| key);
                touch(saved, keys, Wait::Yes)
            }),
            None => Ok(()),
        };
        let finished = touched.and_then(|()| self.index.write().finish_loading(saved));
        match finished {
            Ok(()) => self.loaded.store(true, Ordering::Release),
            Err(error) => {
                if let Touch::Refused(why) = error {
                    self.forget_saved(&why, context);
                }
                let covered = self.floor.swap(0, Ordering::AcqRel);
                self.share.grow(covered / self.width.entry_len() as u64);
                context.send(Job::Load(Arc::downgrade(self)));
            }
        }
    }

    /// Merges runs of the index that have grown.
    pub(crate) fn merge(&self, context: &Context) {
        self.merging.store(false, Ordering::Release);
        self.merge_while(When::Growing, context);
    }

    fn merge_while(&self, when: When, context: &Context) {
        while !context.is_closing() {
            // In a statement of its own: the lock must be free while the merge runs.
            let wanted = self.index.read().merge_wanted(when);
            let Some(merge) = wanted else {
                return;
            };
            let merged = merge.run();
            self.index.write().replace(merged);
        }
    }

    fn ask_for_merge(self: &Arc<Self>, context: &Context) {
        // While it is loaded, the loader merges.
        if self.is_loading() || self.index.read().merge_wanted(When::Growing).is_none() {
            return;
        }
        if !self.merging.swap(true, Ordering::AcqRel) {
            context.send(Job::Merge(Arc::downgrade(self)));
        }
    }

    /// Whether the paths still name these files, and no part of them was cut off.
    pub(crate) fn is_current(&self, paths: &Paths) -> bool {
        let (Ok(dat), Ok(idx)) = (fs::metadata(paths.dat()), fs::metadata(paths.idx())) else {
            return false;
        };
        !self.is_broken()
            && [Inode::of(&dat), Inode::of(&idx)] == self.inodes
            && self.whole_entries(idx.len()) >= self.seen.load(Ordering::Acquire)
    }

    /// Reads new entries although nobody asks, so that the next one who does waits less.
    pub(crate) fn keep_up(self: &Arc<Self>, context: &Context) -> bool {
        matches!(self.catch_up(context, Wait::Yes), Ok(News::None))
    }

    /// All live keys of the index, in ascending order.
    pub(crate) fn for_each_live(&self, each: impl FnMut(u64, Lookup)) {
        self.index.read().for_each_live(each);
    }

    /// All entries of the index file, in their order.
    pub(crate) fn for_each_entry(&self, mut each: impl FnMut(IndexEntry)) -> io::Result<()> {
        let end = self.seen.load(Ordering::Acquire);
        let mut buffer = Vec::new();
        let mut at = 0;
        while at < end {
            let part = (end - at).min(self.whole_entries(FEED as u64));
            buffer.resize(part as usize, 0);
            raw::read(&self.idx, at, &mut buffer, Wait::Yes).map_err(|error| match error {
                FillError::Io(error) => error,
                FillError::End | FillError::WouldWait => io::ErrorKind::UnexpectedEof.into(),
            })?;
            self.width.entries(&buffer).for_each(&mut each);
            at += part;
        }
        Ok(())
    }

    /// Bytes of the index file behind its last whole entry.
    pub(crate) fn torn_bytes(&self) -> io::Result<u64> {
        let len = self.idx.metadata()?.len();
        Ok(len - self.whole_entries(len))
    }

    fn whole_entries(&self, bytes: u64) -> u64 {
        bytes - bytes % self.width.entry_len() as u64
    }
}

/// Offsets of 4 bytes reach this far.
const WRAP: u64 = 32 << 30;

/// Bytes of new entries that are read at once, and put into the index under one lock.
const FEED: usize = 64 << 10;

/// Bytes of the block that is loaded first: the newest entries are there after a millisecond.
const FIRST_BLOCK: u64 = 1 << 20;

/// Bytes of the blocks after the first ones: about a million entries.
const LAST_BLOCK: u64 = 16 << 20;
