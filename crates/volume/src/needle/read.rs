//! Reading the data of a needle.
//!
//! Data is read in pieces that fit into a CPU's cache, each summed right after the kernel has
//! copied it. The first piece of a whole needle comes with the record's header in front, so that
//! one system call reads and checks both. A range is read with the rest of the blocks at its
//! ends, which go to scratch memory.

use std::cell::Cell;
use std::io;
use std::num::NonZeroU64;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::fs::{Advice, fadvise};
use seaweed::crc::{Crc, crc32c};
use seaweed::volume::{NeedleHeader, proves};

use super::Needle;
use crate::raw::{self, FillError, Place, Wait};
use crate::sums::{BLOCK, RunningSum, Sums, sum_blocks};
use crate::{Damage, VerifyRanges};

/// Why data was not read. The destination then holds anything.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The needle is shorter.
    #[error("{len} bytes at {offset} of a needle that has {needle}")]
    Range {
        /// Asked for.
        offset: u64,
        /// Asked for.
        len: usize,
        /// Bytes in the needle.
        needle: u64,
    },
    /// What is there is not what was written.
    #[error(transparent)]
    Corrupt(#[from] Damage),
    /// The kernel refused.
    #[error("read: {0}")]
    Io(#[source] io::Error),
}

/// Why a read ended.
enum Stop {
    WouldWait,
    Error(ReadError),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Error(error)
    }
}

impl From<Damage> for Stop {
    fn from(damage: Damage) -> Self {
        Self::Error(damage.into())
    }
}

/// Bytes that are read and summed at a time; a multiple of a block. Half of a small L2 cache.
const PIECE: usize = 128 << 10;

/// A needle whose sums are unknown is not read as a whole on a thread that must not wait, if it
/// is longer: that alone takes about a millisecond.
const QUICK_CHECK: u64 = 4 << 20;

impl Needle {
    /// Fills `to` with the data from `offset` on and returns its CRC-32C.
    ///
    /// # Errors
    /// When the needle is shorter, or its bytes are not those that were written.
    pub fn read_at(&self, offset: u64, to: &mut [u8]) -> Result<u32, ReadError> {
        self.counted(to.len(), || self.range(offset, to, Wait::Yes))
            .map(|crc| crc.unwrap_or_default())
    }

    /// Like [`read_at`](Self::read_at), but gives nothing where it would have to wait for
    /// a disk. Where the file system cannot tell, it never gives anything.
    ///
    /// # Errors
    /// As for [`read_at`](Self::read_at).
    pub fn try_read_at(&self, offset: u64, to: &mut [u8]) -> Result<Option<u32>, ReadError> {
        self.counted(to.len(), || self.range(offset, to, Wait::No))
    }

    /// Like [`try_read_at`](Self::try_read_at), but waits where the file system cannot tell
    /// whether it would have to.
    ///
    /// # Errors
    /// As for [`read_at`](Self::read_at).
    pub fn read_cached_at(&self, offset: u64, to: &mut [u8]) -> Result<Option<u32>, ReadError> {
        self.counted(to.len(), || self.range(offset, to, Wait::IfUntold))
    }

    /// Replaces the content of `to` by all of the data and returns its CRC-32C.
    ///
    /// # Errors
    /// When the bytes are not those that were written.
    pub fn read_whole(&self, to: &mut Vec<u8>) -> Result<u32, ReadError> {
        // The file is as long as the record says: its tail was read when it was found.
        to.resize(self.len() as usize, 0);
        self.read_at(0, to)
    }

    /// Like [`read_at`](Self::read_at), into memory that need not be Rust's: it may be mapped by
    /// another process that reads or writes it meanwhile. Nothing is read from it here, so what
    /// is checked is what was in the file, whatever the other process does.
    ///
    /// With [`VerifyRanges::Never`] a range has no checksum.
    ///
    /// # Errors
    /// As for [`read_at`](Self::read_at).
    ///
    /// # Safety
    /// `to` must be valid for writes of `len` bytes, and no reference to any of them may
    /// exist during the call.
    pub unsafe fn read_into(
        &self,
        offset: u64,
        to: *mut u8,
        len: usize,
    ) -> Result<Option<u32>, ReadError> {
        self.counted(len, || {
            let range = self.checked(offset, len)?;
            let direct = self.verify() == VerifyRanges::Never && !self.is_whole(&range);
            if direct && self.record.data().is_none() {
                let places = [Place::new(to, len)];
                let at = self.data_offset(offset);
                // SAFETY: the caller vouches for the memory.
                let read = unsafe { raw::fill(self.pair.dat(), at, places, Wait::Yes) };
                read.map_err(|error| self.stop(error))?;
                self.check_head(Wait::Yes)?;
                return Ok(None);
            }
            self.pieces(range, |at, piece| {
                // SAFETY: `at` counts within `len`; the piece is memory of this thread's own.
                unsafe {
                    to.add(at)
                        .copy_from_nonoverlapping(piece.as_ptr(), piece.len())
                }
            })
            .map(Some)
        })
        .map(Option::flatten)
    }

    /// CRC-32C of a part of the data that begins and ends at borders of blocks, if the needle's sums are
    /// known, or can be made without waiting for a disk. Nothing with [`VerifyRanges::Never`], and nothing
    /// where the needle turns out to be damaged: reading it says so.
    pub fn known_crc(&self, offset: u64, len: usize) -> Option<u32> {
        let range = self.checked(offset, len).ok()?;
        let block = BLOCK as u64;
        let ends = range.end % block == 0 || range.end == self.len();
        if range.start % block != 0 || !ends || self.record.data().is_some() {
            return None;
        }
        let sums = self.sums_wanted(Wait::No).ok()??;
        let mut sum = RunningSum::default();
        for at in (range.start..range.end).step_by(BLOCK) {
            let len = block.min(range.end - at) as usize;
            sum.append(*sums.blocks.get((at / block) as usize)?, len);
        }
        Some(sum.value())
    }

    /// The file that holds the data from `offset` on, and where in it; nothing where it is held in memory.
    /// What is read there has to be compared with [`known_crc`](Self::known_crc), or all of it
    /// with the stored checksum.
    pub fn file_at(&self, offset: u64) -> Option<(BorrowedFd<'_>, u64)> {
        let in_file = self.record.data().is_none() && offset <= self.len();
        in_file.then(|| (self.pair.dat().as_fd(), self.data_offset(offset)))
    }

    /// Has the kernel copy data to memory that need not be Rust's, as [`read_into`](Self::read_into) does, and
    /// does not look at it: for a receiver that compares it as said at [`file_at`](Self::file_at).
    ///
    /// # Errors
    /// When the needle is shorter, the file is cut off or the kernel refuses.
    ///
    /// # Safety
    /// As for [`read_into`](Self::read_into).
    pub unsafe fn copy_into(&self, offset: u64, to: *mut u8, len: usize) -> Result<(), ReadError> {
        let copied = self.counted(len, || {
            let range = self.checked(offset, len)?;
            let places = [Place::new(to, len)];
            let at = self.data_offset(range.start);
            // SAFETY: the caller vouches for the memory.
            let read = unsafe { raw::fill(self.pair.dat(), at, places, Wait::Yes) };
            read.map_err(|error| self.stop(error))
        });
        copied.map(|_| ())
    }

    /// Reads all of the data, checks it, and gives its CRC-32C.
    ///
    /// # Errors
    /// When the bytes are not those that were written.
    pub fn verify_all(&self) -> Result<u32, ReadError> {
        let all = 0..self.len();
        self.counted(self.len() as usize, || self.pieces(all, |_, _| {}))
            .map(|crc| crc.unwrap_or_default())
    }

    /// Whether a read of this range would find its bytes in the page cache. A hint: places
    /// within the range are tried, and the range may be evicted the next moment. Says no where
    /// the file system cannot tell.
    pub fn is_cached(&self, offset: u64, len: u64) -> bool {
        if self.record.data().is_some() || len == 0 {
            return true;
        }
        let last = offset
            .saturating_add(len - 1)
            .min(self.len().saturating_sub(1));
        let step = (len / PROBES).max(PROBE_STEP) as usize;
        (offset..last).step_by(step).chain([last]).all(|at| {
            let mut byte = [0];
            raw::read(self.pair.dat(), self.data_offset(at), &mut byte, Wait::No).is_ok()
        })
    }

    /// Asks the kernel to read this range ahead.
    pub fn will_need(&self, offset: u64, len: u64) {
        if self.record.data().is_none() {
            let len = NonZeroU64::new(len.min(self.len().saturating_sub(offset)));
            if let Some(len) = len {
                // Only a hint: where it is not taken, the read waits as it would have.
                let at = self.data_offset(offset);
                let _ = fadvise(self.pair.dat(), at, Some(len), Advice::WillNeed);
            }
        }
    }

    fn range(&self, offset: u64, to: &mut [u8], wait: Wait) -> Result<u32, Stop> {
        let range = self.checked(offset, to.len())?;
        if let Some(data) = self.record.data() {
            to.copy_from_slice(&data[range.start as usize..range.end as usize]);
            return Ok(match self.record.whole_crc() {
                Some(crc) if self.is_whole(&range) => crc,
                _ => crc32c(to),
            });
        }
        if self.is_whole(&range) {
            return self.whole(to, wait);
        }
        match self.sums_wanted(wait)? {
            Some(sums) => self.blocks(&range, to, &sums, wait),
            None => {
                self.fill(range.start, to, wait)?;
                self.check_head(wait)?;
                Ok(crc32c(to))
            }
        }
    }

    /// Hands out a range piece by piece, with its place in the range. The last bytes may have
    /// been handed out when an error is found.
    fn pieces(&self, range: Range<u64>, mut each: impl FnMut(usize, &[u8])) -> Result<u32, Stop> {
        let (start, end) = (range.start as usize, range.end as usize);
        if let Some(data) = self.record.data() {
            each(0, &data[start..end]);
            return Ok(crc32c(&data[start..end]));
        }
        let whole = self.is_whole(&range);
        let sums = if whole {
            None
        } else {
            self.sums_wanted(Wait::Yes)?
        };
        let mut sum = Crc::new();
        let mut bounce = Bounce::take();
        for at in (start..end).step_by(PIECE) {
            let piece = &mut bounce.0[..PIECE.min(end - at)];
            let part = at as u64..at as u64 + piece.len() as u64;
            match &sums {
                Some(sums) => drop(self.blocks(&part, piece, sums, Wait::Yes)?),
                None => self.fill(part.start, piece, Wait::Yes)?,
            }
            sum.update(piece);
            each(at - start, piece);
        }
        if sums.is_none() {
            self.check_head(Wait::Yes)?;
        }
        if whole {
            self.check_whole(sum.value())?;
        }
        Ok(sum.value())
    }

    fn whole(&self, to: &mut [u8], wait: Wait) -> Result<u32, Stop> {
        let mut sum = Crc::new();
        let mut at = 0;
        for piece in to.chunks_mut(PIECE) {
            match at {
                0 => self.fill_with_head(piece, wait)?,
                at => self.fill(at, piece, wait)?,
            }
            sum.update(piece);
            at += piece.len() as u64;
        }
        self.check_whole(sum.value())?;
        Ok(sum.value())
    }

    fn blocks(
        &self,
        range: &Range<u64>,
        to: &mut [u8],
        sums: &Sums,
        wait: Wait,
    ) -> Result<u32, Stop> {
        let mut sum = RunningSum::default();
        // What is read of the blocks at the ends beside the range; mostly nothing.
        let (mut lead, mut trail) = (Vec::new(), Vec::new());
        let mut at = range.start;
        let mut rest = to;
        while !rest.is_empty() {
            // Up to a border of pieces, so that only the ends of the range cut blocks.
            let room = PIECE - (at % PIECE as u64) as usize;
            let (piece, behind) = rest.split_at_mut(room.min(rest.len()));
            let end = at + piece.len() as u64;
            let begin = at - at % BLOCK as u64;
            lead.resize((at - begin) as usize, 0);
            let block_end = end.next_multiple_of(BLOCK as u64).min(self.len());
            trail.resize((block_end - end) as usize, 0);
            let file_at = self.data_offset(begin);
            let parts = [&mut lead[..], &mut *piece, &mut trail[..]];
            raw::read_three(self.pair.dat(), file_at, parts, wait).map_err(|e| self.stop(e))?;

            let mut block = begin;
            while block < end {
                let next = (block + BLOCK as u64).min(self.len());
                let part =
                    &piece[block.max(at) as usize - at as usize..(next.min(end) - at) as usize];
                let part_sum = crc32c(part);
                let mut whole = Crc::new();
                let of_block = if block >= at && next <= end {
                    part_sum
                } else {
                    if block < at {
                        whole.update(&lead);
                    }
                    whole.update(part);
                    if next > end {
                        whole.update(&trail);
                    }
                    whole.value()
                };
                if sums.blocks.get((block / BLOCK as u64) as usize) != Some(&of_block) {
                    return Err(self.damaged(Damage::Block {
                        offset: self.record.offset,
                        at: block,
                    }));
                }
                sum.append(part_sum, part.len());
                block = next;
            }
            at = end;
            rest = behind;
        }
        Ok(sum.value())
    }

    /// The sums to check a range by; nothing when it is not to be checked.
    fn sums_wanted(&self, wait: Wait) -> Result<Option<Arc<Sums>>, Stop> {
        let sums = match (self.verify(), wait) {
            (VerifyRanges::Never, _) => return Ok(None),
            (VerifyRanges::Always, wait) => self.sums(wait),
            // Who may wait for a moment lets one make them for all.
            (VerifyRanges::Cached, Wait::IfUntold) => self.sums_by_one(Wait::No),
            (VerifyRanges::Cached, _) => self.sums(Wait::No),
        };
        match sums {
            Err(Stop::WouldWait) if self.verify() == VerifyRanges::Cached => Ok(None),
            sums => sums.map(Some),
        }
    }

    fn sums(&self, wait: Wait) -> Result<Arc<Sums>, Stop> {
        let (cache, key) = (&self.context.sums, self.sums_key());
        if let Some(sums) = cache.known(&key) {
            return Ok(sums);
        }
        match wait {
            Wait::Yes => cache.known_or(&key, || self.make_sums(Wait::Yes)),
            // To wait for another thread that makes them is to wait.
            Wait::IfUntold => self.sums_by_one(wait),
            Wait::No if self.len() > QUICK_CHECK => Err(Stop::WouldWait),
            Wait::No => Ok(cache.keep(key, self.make_sums(wait)?)),
        }
    }

    /// The sums, made by one thread while others that want the same wait: for a processor, and no disk.
    fn sums_by_one(&self, wait: Wait) -> Result<Arc<Sums>, Stop> {
        let (cache, key) = (&self.context.sums, self.sums_key());
        match cache.known(&key) {
            Some(sums) => Ok(sums),
            None if self.len() > QUICK_CHECK => Err(Stop::WouldWait),
            None => cache.known_or(&key, || self.make_sums(wait)),
        }
    }

    /// Reads and checks all of it.
    fn make_sums(&self, wait: Wait) -> Result<Sums, Stop> {
        let len = self.len() as usize;
        let mut blocks = Vec::with_capacity(len.div_ceil(BLOCK));
        let mut sum = RunningSum::default();
        let mut bounce = Bounce::take();
        for at in (0..len).step_by(PIECE) {
            let piece = &mut bounce.0[..PIECE.min(len - at)];
            match at {
                0 => self.fill_with_head(piece, wait)?,
                at => self.fill(at as u64, piece, wait)?,
            }
            sum_blocks(piece, |crc, len| {
                blocks.push(crc);
                sum.append(crc, len);
            });
        }
        self.context.stats.verified_bytes.add(self.len());
        self.check_whole(sum.value())?;
        Ok(Sums {
            whole: sum.value(),
            blocks: blocks.into(),
        })
    }

    fn fill(&self, offset: u64, to: &mut [u8], wait: Wait) -> Result<(), Stop> {
        let at = self.data_offset(offset);
        raw::read(self.pair.dat(), at, to, wait).map_err(|error| self.stop(error))
    }

    /// The data from its start on, and the header before it.
    fn fill_with_head(&self, to: &mut [u8], wait: Wait) -> Result<(), Stop> {
        let mut head = self.record.head;
        let head = &mut head[..self.record.layout.data_start() as usize];
        let parts = [&mut *head, to];
        raw::read_two(self.pair.dat(), self.record.offset, parts, wait)
            .map_err(|error| self.stop(error))?;
        self.same_head(head)
    }

    /// Whether the record is still the one that was found: the server may have cut off
    /// the end of the file and written something else there.
    fn check_head(&self, wait: Wait) -> Result<(), Stop> {
        let mut head = self.record.head;
        let head = &mut head[..self.record.layout.data_start() as usize];
        raw::read(self.pair.dat(), self.record.offset, head, wait).map_err(|e| self.stop(e))?;
        self.same_head(head)
    }

    fn same_head(&self, head: &[u8]) -> Result<(), Stop> {
        if self.record.head.starts_with(head) {
            return Ok(());
        }
        let found = NeedleHeader::parse(head);
        Err(self.damaged(Damage::OtherRecord {
            offset: self.record.offset,
            key: found.map_or(0, |header| header.id),
            size: found.map_or(0, |header| header.size),
        }))
    }

    fn check_whole(&self, computed: u32) -> Result<(), Stop> {
        let stored = self.record.checksum;
        if proves(stored, computed) {
            return Ok(());
        }
        Err(self.damaged(Damage::Checksum {
            offset: self.record.offset,
            stored,
            computed,
        }))
    }

    fn damaged(&self, damage: Damage) -> Stop {
        self.context.stats.corrupt.inc();
        damage.into()
    }

    fn stop(&self, error: FillError) -> Stop {
        match error {
            FillError::WouldWait => Stop::WouldWait,
            FillError::End => self.damaged(Damage::CutOff {
                offset: self.record.offset,
            }),
            FillError::Io(error) => ReadError::Io(error).into(),
        }
    }

    fn checked(&self, offset: u64, len: usize) -> Result<Range<u64>, ReadError> {
        let needle = self.len();
        match offset.checked_add(len as u64) {
            Some(end) if end <= needle => Ok(offset..end),
            _ => Err(ReadError::Range {
                offset,
                len,
                needle,
            }),
        }
    }

    fn is_whole(&self, range: &Range<u64>) -> bool {
        *range == (0..self.len())
    }

    fn data_offset(&self, offset: u64) -> u64 {
        self.record.offset + self.record.layout.data_start() + offset
    }

    fn counted<T>(
        &self,
        len: usize,
        read: impl FnOnce() -> Result<T, Stop>,
    ) -> Result<Option<T>, ReadError> {
        let stats = &self.context.stats;
        match read() {
            Ok(done) => {
                stats.reads.inc();
                stats.read_bytes.add(len as u64);
                Ok(Some(done))
            }
            Err(Stop::WouldWait) => {
                stats.would_wait.inc();
                Ok(None)
            }
            Err(Stop::Error(error)) => {
                stats.read_errors.inc();
                Err(error)
            }
        }
    }
}

/// Places that [`Needle::is_cached`] tries, and how far apart they are at least: the kernel reads
/// and evicts in longer pieces.
const PROBES: u64 = 64;
const PROBE_STEP: u64 = 128 << 10;

/// Memory of one piece, kept by the thread from one read to the next.
struct Bounce(Vec<u8>);

thread_local! {
    static KEPT: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

impl Bounce {
    fn take() -> Self {
        let mut kept = KEPT.take();
        kept.resize(PIECE, 0);
        Self(kept)
    }
}

impl Drop for Bounce {
    fn drop(&mut self) {
        KEPT.set(std::mem::take(&mut self.0));
    }
}
