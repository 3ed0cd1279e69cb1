//! Looks at the volumes of a folder without a store: lists their needles, checks every byte.
//!
//! For tools and for administrators. It works on a folder of a server that runs as well as on
//! a copy; of a volume that grows it sees what was there when it was opened.

use std::io;
use std::sync::Arc;

use seaweed::FileId;
use seaweed::volume::{Layout, Slot};

use crate::budget::Budget;
use crate::context::Context;
use crate::files::{DataDir, Paths};
use crate::index::{Lookup, Size};
use crate::needle::Flaw;
use crate::pair::{Doubt, Pair};
use crate::raw::Wait;
use crate::{Damage, Miss, Needle, ReadError, Reason, VerifyRanges, scan};

/// A volume in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub id: u32,
    /// Its collection; empty for the default one.
    pub collection: String,
    base: String,
}

/// The volumes in a folder, by id.
///
/// # Errors
/// When the folder cannot be listed.
pub fn volumes(dir: &DataDir) -> io::Result<Vec<Found>> {
    let found = scan::list(dir)?.into_iter().map(|named| Found {
        id: named.id,
        collection: named.collection,
        base: named.base,
    });
    Ok(found.collect())
}

/// The files of one volume, opened for inspection.
#[derive(Debug)]
pub struct Inspection {
    id: u32,
    pair: Arc<Pair>,
    context: Arc<Context>,
}

/// A needle that the index says is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Live {
    /// Its key.
    pub key: u64,
    /// Where its record should be in `.dat`.
    pub offset: u64,
    size: Size,
}

impl Inspection {
    /// Opens a volume and reads its index.
    ///
    /// # Errors
    /// When it is of a kind that cannot be read out of its files, or damaged at the start.
    pub fn open(dir: &DataDir, volume: &Found) -> Result<Self, Reason> {
        let paths = Paths::new(dir, &volume.base);
        let info = paths.info()?;
        // Nothing is limited here: there is one volume, and somebody waits for it.
        let context = Context::new(VerifyRanges::Never, 0, Budget::new(1, u64::MAX), None);
        let pair = Pair::new(paths.open(&info)?, VerifyRanges::Never, &context)?;
        let pair = Arc::new(pair);
        pair.load(&context);
        if pair.is_loading() {
            return Err(Reason::Io("its index cannot be read".to_owned()));
        }
        Ok(Self {
            id: volume.id,
            pair,
            context: Arc::new(context),
        })
    }

    /// Finds a needle. One that has expired is a miss, and when the files have been replaced
    /// since they were opened all are [`Miss::Loading`].
    ///
    /// # Errors
    /// As for [`Store::find`](crate::Store::find).
    pub fn find(&self, id: FileId) -> Result<Needle, Miss> {
        if id.volume != self.id {
            return Err(Miss::NotHere);
        }
        self.pair
            .find(id, &self.context, Wait::Yes)
            .map_err(|doubt| match doubt {
                Doubt::Unless(miss) | Doubt::Final(miss) => miss,
                Doubt::Replaced => Miss::Loading,
            })
    }

    /// All needles that the index says are there, in the order of `.dat`.
    pub fn needles(&self) -> impl ExactSizeIterator<Item = Live> + use<> {
        let mut all = Vec::new();
        self.pair.for_each_live(|key, lookup| {
            if let Lookup::At { offset, size } = lookup {
                all.push(Live { key, offset, size });
            }
        });
        all.sort_unstable_by_key(|live| live.offset);
        all.into_iter()
    }

    /// Opens one of them, whatever its cookie is, and also when it has expired.
    ///
    /// # Errors
    /// When its record is not there or damaged.
    pub fn needle(&self, live: &Live) -> Result<Needle, ReadError> {
        // The cookie is only in the record itself.
        let mut id = FileId {
            volume: self.id,
            key: live.key,
            cookie: 0,
        };
        for _ in 0..2 {
            match self.pair.record(id, live.offset, live.size, Wait::Yes) {
                Ok(record) => {
                    let (pair, context) = (Arc::clone(&self.pair), Arc::clone(&self.context));
                    return Ok(Needle::new(Arc::new(record), pair, context));
                }
                Err(Flaw::Cookie { found }) => id.cookie = found,
                Err(Flaw::Other(damage)) => return Err(damage.into()),
                Err(Flaw::Io(error)) => return Err(ReadError::Io(error)),
                Err(Flaw::WouldWait) => break,
            }
        }
        Err(ReadError::Io(io::Error::other("the record changes")))
    }

    /// Reads every needle and checks it. `progress` is called after each one and ends the check
    /// by saying `false`.
    ///
    /// # Errors
    /// When the index cannot be read once more. What is wrong with needles is in the report.
    pub fn verify(&self, mut progress: impl FnMut(&Progress) -> bool) -> io::Result<Report> {
        let needles = self.needles();
        let mut now = Progress {
            needles: 0,
            of_needles: needles.len() as u64,
            bytes: 0,
        };
        let mut report = Report {
            deleted: self.pair.counts().map_or(0, |counts| counts.deleted),
            ..Report::default()
        };
        for live in needles {
            let result = self.needle(&live).and_then(|needle| {
                needle.verify_all()?;
                Ok(needle.len())
            });
            now.needles += 1;
            match result {
                Ok(len) => {
                    report.ok += 1;
                    report.ok_bytes += len;
                    now.bytes += len;
                }
                Err(error) => report.add(live, error),
            }
            if !progress(&now) {
                return Ok(report);
            }
        }
        self.look_at_ends(&mut report)?;
        report.complete = true;
        Ok(report)
    }

    /// What is behind the last record that the index knows, and the last whole entry.
    fn look_at_ends(&self, report: &mut Report) -> io::Result<()> {
        let mut end = self.pair.super_block().first_record();
        let version = self.pair.super_block().version;
        let len = self.pair.dat().metadata()?.len();
        self.pair.for_each_entry(|entry| {
            let (offset, size) = match entry.slot() {
                Slot::At { offset, size } => (offset, size),
                // The record of a deletion has no body.
                Slot::Deleted => (entry.units * seaweed::volume::UNIT, 0),
            };
            let behind = offset.saturating_add(Layout::record_len_of(version, size));
            if behind <= len {
                end = end.max(behind);
            }
        })?;
        report.unindexed_bytes = len.saturating_sub(end);
        report.torn_index_bytes = self.pair.torn_bytes()?;
        Ok(())
    }
}

/// How far a check has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Needles looked at.
    pub needles: u64,
    /// Needles there are.
    pub of_needles: u64,
    /// Bytes of good data.
    pub bytes: u64,
}

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// Needles that are as they were written.
    pub ok: u64,
    /// Bytes of their data.
    pub ok_bytes: u64,
    /// Keys that were deleted.
    pub deleted: u64,
    /// Needles that are damaged.
    pub corrupt: Bad,
    /// Entries of the index that lead to something else.
    pub orphaned: Bad,
    /// Entries that lead beyond the end of `.dat`, or to a record that goes beyond it.
    pub truncated: Bad,
    /// Needles that the kernel did not let us read.
    pub unreadable: u64,
    /// Bytes of `.dat` behind the last record that the index knows.
    pub unindexed_bytes: u64,
    /// Bytes of `.idx` behind the last whole entry.
    pub torn_index_bytes: u64,
    /// Nothing was left out.
    pub complete: bool,
}

/// Needles with some fault.
#[derive(Debug, Default)]
pub struct Bad {
    /// How many.
    pub count: u64,
    /// The first ones, with what is wrong.
    pub first: Vec<(Live, Damage)>,
}

/// A list for people; a volume that lost its data has a million.
const LISTED: usize = 1000;

impl Report {
    /// Whether nothing is wrong. Bytes behind the ends are what a crash leaves, and harm nothing.
    pub fn is_clean(&self) -> bool {
        let bad = [&self.corrupt, &self.orphaned, &self.truncated];
        self.complete && self.unreadable == 0 && bad.iter().all(|bad| bad.count == 0)
    }

    fn add(&mut self, live: Live, error: ReadError) {
        let ReadError::Corrupt(damage) = error else {
            self.unreadable += 1;
            return;
        };
        let bad = match damage {
            Damage::OtherRecord { .. } => &mut self.orphaned,
            Damage::CutOff { .. } => &mut self.truncated,
            _ => &mut self.corrupt,
        };
        bad.count += 1;
        if bad.first.len() < LISTED {
            bad.first.push((live, damage));
        }
    }
}
