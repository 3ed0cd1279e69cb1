//! One file on its way.
//!
//! Its runs of data are fetched by several threads, in any order, each to its place in a file
//! that is nobody's until all are there.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use context::Context;
use reader::Sink;
use seaweed::ContentKey;
use seaweed::crc::Crc;

use crate::queue::Job;
use crate::record::{Record, Run};
use crate::store::{NoRoom, Room, Store};

/// Where the bytes of one content come from.
pub trait Source: Send + Sync {
    /// Its data without holes, in order and within its size, cut as it is fetched best.
    ///
    /// # Errors
    /// In words.
    fn runs(&self, ctx: &Context<'_>) -> Result<Vec<Range<u64>>, String>;

    /// Appends the bytes of one run.
    ///
    /// # Errors
    /// In words. What was appended is thrown away then.
    fn read(&self, ctx: &Context<'_>, run: Range<u64>, out: &mut dyn Sink) -> Result<(), String>;
}

/// A file being filled. Dropping it before it is finished leaves nothing.
pub(crate) struct Filling {
    pub(crate) job: Job,
    runs: Vec<Range<u64>>,
    sums: Vec<AtomicU32>,
    next: AtomicUsize,
    left: AtomicUsize,
    /// Bytes fetched, of `total`.
    done: AtomicU64,
    pub(crate) total: u64,
    given_up: AtomicBool,
    file: File,
    temporary: PathBuf,
    _room: Room,
}

/// Why a file cannot be filled.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FillError {
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("{0}")]
    Source(String),
    #[error("the disk of the cache: {0}")]
    Disk(#[from] io::Error),
    #[error("it was changed or removed elsewhere")]
    Outdated,
}

impl Filling {
    /// Makes room for a file and begins it.
    pub(crate) fn begin(
        store: &Arc<Store>,
        ctx: &Context<'_>,
        job: Job,
    ) -> Result<Self, FillError> {
        let runs = job.source.runs(ctx).map_err(FillError::Source)?;
        let sorted = runs.iter().all(|run| run.start < run.end)
            && runs.is_sorted_by(|a, b| a.end <= b.start)
            && runs.last().is_none_or(|last| last.end <= job.size);
        if !sorted {
            return Err(FillError::Source("its data makes no sense".to_owned()));
        }
        let total = runs.iter().map(|run| run.end - run.start).sum();
        let room = store.room(total)?;
        let (temporary, file) = store.temporary()?;
        let filling = Self {
            sums: runs.iter().map(|_| AtomicU32::new(0)).collect(),
            next: AtomicUsize::new(0),
            left: AtomicUsize::new(runs.len()),
            done: AtomicU64::new(0),
            total,
            given_up: AtomicBool::new(false),
            runs,
            file,
            temporary,
            _room: room,
            job,
        };
        // Sets its length, and leaves all of it a hole.
        filling.file.set_len(filling.job.size)?;
        Ok(filling)
    }

    /// A run that nobody has taken yet.
    pub(crate) fn take(&self) -> Option<usize> {
        if self.is_given_up() || self.next.load(Ordering::Relaxed) >= self.runs.len() {
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        (number < self.runs.len()).then_some(number)
    }

    /// Whether nothing has to be fetched.
    pub(crate) fn is_hole(&self) -> bool {
        self.runs.is_empty()
    }

    /// Fetches a run; its length, and whether it was the last one missing.
    pub(crate) fn fetch(&self, ctx: &Context<'_>, number: usize) -> Result<(u64, bool), FillError> {
        let run = self.runs[number].clone();
        let mut place = FileSink::new(&self.file, run.start);
        self.job
            .source
            .read(ctx, run.clone(), &mut place)
            .map_err(FillError::Source)?;
        let (end, crc) = place.finish()?;
        let (got, len) = (end - run.start, run.end - run.start);
        if got != len {
            let what = format!("{got} bytes at {} instead of {len}", run.start);
            return Err(FillError::Source(what));
        }
        self.sums[number].store(crc, Ordering::Relaxed);
        self.done.fetch_add(len, Ordering::Relaxed);
        // Whoever takes the last one has to see the sums of all.
        Ok((len, self.left.fetch_sub(1, Ordering::AcqRel) == 1))
    }

    /// Puts the whole file into the store.
    pub(crate) fn finish(&self, store: &Store) -> Result<(), FillError> {
        let sums = self.sums.iter().map(|crc| crc.load(Ordering::Relaxed));
        let runs = self.runs.iter().cloned().zip(sums);
        let record = Record {
            key: self.job.key,
            size: self.job.size,
            mtime_ns: 0,
            name: self.job.name.to_string(),
            runs: runs.map(|(range, crc)| Run { range, crc }).collect(),
        };
        Ok(store.keep(&self.temporary, &self.file, record)?)
    }

    /// Nobody is to take another run; whether it was given up for the first time.
    pub(crate) fn give_up(&self) -> bool {
        !self.given_up.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    pub(crate) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    pub(crate) fn key(&self) -> &ContentKey {
        &self.job.key
    }
}

impl Drop for Filling {
    fn drop(&mut self) {
        // Not there any more when it was finished.
        let _ = fs::remove_file(&self.temporary);
    }
}

/// A place in a file that bytes are appended at.
struct FileSink<'a> {
    file: &'a File,
    at: u64,
    crc: Crc,
    /// Handed out to be written, and not in the file yet.
    lent: Vec<u8>,
    failed: Option<io::Error>,
}

impl<'a> FileSink<'a> {
    fn new(file: &'a File, at: u64) -> Self {
        Self {
            file,
            at,
            crc: Crc::new(),
            lent: Vec::new(),
            failed: None,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        match self.file.write_all_at(bytes, self.at) {
            Ok(()) => {
                self.crc.update(bytes);
                self.at += bytes.len() as u64;
            }
            Err(error) => self.failed = Some(error),
        }
    }

    fn flush(&mut self) {
        let lent = std::mem::take(&mut self.lent);
        if !lent.is_empty() {
            self.write(&lent);
        }
    }

    /// Where the bytes end, and their checksum.
    fn finish(mut self) -> io::Result<(u64, u32)> {
        self.flush();
        match self.failed {
            Some(error) => Err(error),
            None => Ok((self.at, self.crc.value())),
        }
    }
}

impl Sink for FileSink<'_> {
    fn fill(&mut self, len: usize) -> &mut [u8] {
        self.flush();
        self.lent.resize(len, 0);
        &mut self.lent
    }

    fn share(&mut self, bytes: Bytes) {
        self.flush();
        self.write(&bytes);
    }

    fn zeros(&mut self, len: usize) {
        self.fill(len);
    }
}
