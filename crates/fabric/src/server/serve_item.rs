//! From the items of a read to its answers.
//!
//! The bytes of an item go one of these ways, as its place and the carrier allow:
//!
//! | item | to | how | checksum |
//! |---|---|---|---|
//! | whole | mapped region | pread(2) straight into the client's memory | as kept in the volume |
//! | whole | other region | pieces through the carrier's buffer | as kept in the volume |
//! | whole | inline | pieces behind the answer | as kept in the volume |
//! | range of known sum | mapped region | pread(2) straight into the client's memory | that one |
//! | other range | mapped region | pieces: to the buffer for the sum, and by pread(2) to the client | of the pieces |
//! | range | other region | pieces through the buffer, then the answer | of the pieces |
//! | range | inline, one piece | through the buffer | of the piece |
//! | range | inline, longer | pieces behind the answer | the known one, or the range is read twice |
//!
//! Inline data longer than [`FILE_LEAST`] does not pass through the buffer where the carrier takes it from the
//! file itself: sendfile(2) hands the pages of the page cache to a TCP socket without copying them.
//!
//! A whole needle is not checked here: the client compares it with the checksum kept in the volume,
//! and so covers the disk, this process and the way at once. So does the sum of a range that is known
//! from a needle that was checked before. Where it has to be taken now, it covers the
//! way only. It is taken from private memory, never from the client's, who could change it meanwhile.
//!
//! A piece of such a range is read twice where the region is mapped. The second read comes out of the page
//! cache as a copy from the buffer would come out of the processor's; but it is the kernel that writes
//! then, which reports memory that a client has taken the pages of, where a copy of our own would
//! end the process.
//!
//! Inline data cannot be taken back once its answer is on the way. When the disk fails in the middle
//! of it, the lane is [`Torn`] and has to be closed.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use seaweed::crc::combine;

use crate::serve::{Held, Miss, ReadFault};
use crate::wire::{Answer, Extent, INLINE, Item, Place, Status};

/// The least size of an [`Output`]'s buffer, and the most bytes that are read at once through it:
/// they are still in a core's second cache when they are summed up and sent.
pub const PIECE: usize = 256 << 10;

/// Shorter inline data goes through the buffer: two system calls cost more than a copy.
pub(super) const FILE_LEAST: u64 = 64 << 10;

/// What a carrier took of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// So many bytes, fewer than asked for when it is full for now.
    Bytes(usize),
    /// The file ends before them.
    End,
}

/// Brings bytes and answers to a client. What is sent arrives in order.
pub trait Output {
    /// Why the client cannot be reached any more.
    type Broken;

    /// Private memory to read the next piece into, of at least [`PIECE`] bytes.
    ///
    /// # Errors
    /// The lane is broken.
    fn buffer(&mut self) -> Result<&mut [u8], Self::Broken>;

    /// Where these bytes of a region are mapped, if this carrier maps regions. They stay mapped,
    /// and no reference into them exists, until the next call of any method.
    fn mapped(&mut self, region: u16, offset: u64, len: usize) -> Option<*mut u8>;

    /// Writes the first `len` bytes of the buffer last given to a region.
    ///
    /// # Errors
    /// The lane is broken.
    fn place(&mut self, region: u16, offset: u64, len: usize) -> Result<(), Self::Broken>;

    /// Sends an answer, and behind it the first `len` bytes of the buffer last given. `id` is
    /// known to the output. What was placed is visible to the client before the answer is.
    ///
    /// # Errors
    /// The lane is broken.
    fn answer(&mut self, answer: &Answer, len: usize) -> Result<(), Self::Broken>;

    /// Sends the first `len` bytes of the buffer last given as further inline data.
    ///
    /// # Errors
    /// The lane is broken.
    fn more(&mut self, len: usize) -> Result<(), Self::Broken>;

    /// Whether [`more_of_file`](Output::more_of_file) can be used.
    fn sends_files(&self) -> bool {
        false
    }

    /// Sends up to `len` bytes of `file`, from `at` on, as further inline data. Only where
    /// [`sends_files`](Output::sends_files) says so.
    ///
    /// # Errors
    /// The lane is broken.
    fn more_of_file(
        &mut self,
        file: BorrowedFd<'_>,
        at: u64,
        len: usize,
    ) -> Result<Taken, Self::Broken> {
        let _ = (file, at, len);
        Ok(Taken::Bytes(0))
    }

    /// Whether to stop here for now. What is asked of the output next is the next answer, or the
    /// next piece. Asked before each of them.
    fn wants_pause(&self) -> bool {
        false
    }

    /// Whether this thread may wait for a disk.
    fn may_wait(&self) -> bool {
        true
    }

    /// Up to how many bytes are better sent inline than placed, at most [`INLINE`].
    fn inline_up_to(&self) -> u64 {
        0
    }
}

/// Why a lane cannot be used any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Torn<B> {
    /// The client cannot be reached.
    Lane(B),
    /// The disk failed in the middle of inline data.
    Disk(ReadFault),
}

impl From<Miss> for Status {
    fn from(miss: Miss) -> Self {
        match miss {
            Miss::Absent => Self::Absent,
            Miss::NotHere => Self::NotHere,
            Miss::Declined => Self::Declined,
            Miss::Loading => Self::Loading,
            Miss::Corrupt => Self::Corrupt,
            Miss::Failed => Self::Failed,
        }
    }
}

impl From<ReadFault> for Status {
    fn from(fault: ReadFault) -> Self {
        match fault {
            ReadFault::Corrupt => Self::Corrupt,
            ReadFault::Failed => Self::Failed,
        }
    }
}

/// One item on its way.
pub(super) struct Serving<'s, O> {
    item: &'s Item,
    answer: Answer,
    out: &'s mut O,
}

/// How far an item has come.
pub(super) enum Delivered {
    /// The answer was sent, and these stored bytes still have to follow it.
    Answered(Answer, Range<u64>),
    /// The output wants a pause before the next piece.
    Placing(Placing),
}

/// An item whose bytes are being written to a region. Its answer was not sent.
#[derive(Debug)]
pub(super) struct Placing {
    bytes: Range<u64>,
    region: u16,
    /// Where the first of them goes.
    offset: u64,
    next: u64,
    /// Of the bytes before `next`.
    crc: u32,
}

impl<'s, O: Output> Serving<'s, O> {
    pub(super) fn new(at: usize, item: &'s Item, out: &'s mut O) -> Self {
        Self {
            item,
            answer: Answer {
                // A read has at most as many items as fit.
                item: at as u16,
                status: Status::Done,
                is_inline: false,
                is_gzip: false,
                len: 0,
                stored: 0,
                crc: 0,
            },
            out,
        }
    }

    /// Delivers as much as the output takes without a pause.
    pub(super) fn deliver(mut self, needle: &impl Held) -> Result<Delivered, Torn<O::Broken>> {
        self.answer.stored = needle.stored_len();
        self.answer.is_gzip = needle.is_gzip();
        let bytes = match wanted(self.item, needle) {
            Ok(bytes) => bytes,
            Err(status) => return Ok(Delivered::Answered(self.decline(status)?, 0..0)),
        };
        let len = bytes.end - bytes.start;
        // Not more than the item's room, which is a u32.
        self.answer.len = len as u32;
        let Place::Region { region, offset } = self.item.place else {
            return self.inline(needle, bytes);
        };
        if len <= self.out.inline_up_to().min(INLINE) {
            return self.inline(needle, bytes);
        }
        if let Some(dst) = self.out.mapped(region, offset, len as usize)
            && let Some(crc) = self.known_crc(needle, &bytes)
        {
            // SAFETY: the output promises that the bytes are mapped and that nobody here refers
            // to them until it is called again.
            let read = unsafe { needle.read_into(bytes.start, dst, len as usize) };
            return match read {
                Ok(()) => self.placed(crc),
                Err(fault) => self.given_up(fault),
            };
        }
        let next = bytes.start;
        let placing = Placing {
            bytes,
            region,
            offset,
            next,
            crc: 0,
        };
        self.place(needle, placing)
    }

    /// Goes on placing an item, after a pause.
    pub(super) fn resume(
        mut self,
        needle: &impl Held,
        placing: Placing,
    ) -> Result<Delivered, Torn<O::Broken>> {
        self.answer.stored = needle.stored_len();
        self.answer.is_gzip = needle.is_gzip();
        self.answer.len = (placing.bytes.end - placing.bytes.start) as u32;
        self.place(needle, placing)
    }

    fn place(self, needle: &impl Held, mut placing: Placing) -> Result<Delivered, Torn<O::Broken>> {
        let is_whole = matches!(self.item.extent, Extent::Whole { .. });
        for piece in pieces(&(placing.next..placing.bytes.end)) {
            // Before the first piece the exchange has asked.
            if piece.start > placing.next && self.out.wants_pause() {
                placing.next = piece.start;
                return Ok(Delivered::Placing(placing));
            }
            let filled = match is_whole {
                true => fill_unchecked(self.out, needle, &piece)?,
                false => fill(self.out, needle, &piece)?,
            };
            let Filled { len, crc } = match filled {
                Ok(filled) => filled,
                Err(fault) => return self.given_up(fault),
            };
            let at = placing.offset + (piece.start - placing.bytes.start);
            match self.out.mapped(placing.region, at, len) {
                Some(dst) => {
                    // SAFETY: as in `deliver`.
                    let read = unsafe { needle.read_into(piece.start, dst, len) };
                    if let Err(fault) = read {
                        return self.given_up(fault);
                    }
                }
                None => {
                    let placed = self.out.place(placing.region, at, len);
                    placed.map_err(Torn::Lane)?;
                }
            }
            placing.crc = combine(placing.crc, crc, len as u64);
        }
        let crc = if is_whole { needle.crc() } else { placing.crc };
        self.placed(crc)
    }

    fn inline(
        mut self,
        needle: &impl Held,
        bytes: Range<u64>,
    ) -> Result<Delivered, Torn<O::Broken>> {
        let first = pieces(&bytes).next().unwrap_or(bytes.start..bytes.start);
        let len = bytes.end - bytes.start;
        let known = match self.known_crc(needle, &bytes) {
            Some(crc) if len > FILE_LEAST && self.out.sends_files() => {
                if needle.file(bytes.start).is_some() {
                    self.answer.is_inline = true;
                    self.answer.crc = crc;
                    self.out.answer(&self.answer, 0).map_err(Torn::Lane)?;
                    return Ok(Delivered::Answered(self.answer, bytes));
                }
                Some(Ok(crc))
            }
            Some(crc) => Some(Ok(crc)),
            None if first.end < bytes.end => Some(sum(self.out, needle, &bytes)?),
            None => None,
        };
        let filled = match known {
            None => fill(self.out, needle, &first)?,
            Some(Ok(crc)) => {
                let filled = fill_unchecked(self.out, needle, &first)?;
                filled.map(|filled| Filled { crc, ..filled })
            }
            Some(Err(fault)) => Err(fault),
        };
        let Filled { len, crc } = match filled {
            Ok(filled) => filled,
            Err(fault) => return self.given_up(fault),
        };
        self.answer.is_inline = true;
        self.answer.crc = crc;
        self.out.answer(&self.answer, len).map_err(Torn::Lane)?;
        Ok(Delivered::Answered(self.answer, first.end..bytes.end))
    }

    /// The checksum of an item's bytes, where they need not be read for it.
    fn known_crc(&self, needle: &impl Held, bytes: &Range<u64>) -> Option<u32> {
        match self.item.extent {
            Extent::Whole { .. } => Some(needle.crc()),
            Extent::Range { .. } => {
                needle.known_crc(bytes.start, (bytes.end - bytes.start) as usize)
            }
        }
    }

    fn placed(mut self, crc: u32) -> Result<Delivered, Torn<O::Broken>> {
        self.answer.crc = crc;
        self.out.answer(&self.answer, 0).map_err(Torn::Lane)?;
        Ok(Delivered::Answered(self.answer, 0..0))
    }

    fn given_up(self, fault: ReadFault) -> Result<Delivered, Torn<O::Broken>> {
        Ok(Delivered::Answered(self.decline(fault.into())?, 0..0))
    }

    pub(super) fn decline(mut self, status: Status) -> Result<Answer, Torn<O::Broken>> {
        self.answer.status = status;
        self.answer.len = 0;
        self.out.answer(&self.answer, 0).map_err(Torn::Lane)?;
        Ok(self.answer)
    }
}

/// The checksum of bytes longer than a piece.
fn sum<O: Output>(
    out: &mut O,
    needle: &impl Held,
    bytes: &Range<u64>,
) -> Result<Result<u32, ReadFault>, Torn<O::Broken>> {
    let mut crc = 0;
    for piece in pieces(bytes) {
        match fill(out, needle, &piece)? {
            Ok(filled) => crc = combine(crc, filled.crc, filled.len as u64),
            Err(fault) => return Ok(Err(fault)),
        }
    }
    Ok(Ok(crc))
}

/// Reads a piece into the front of the buffer.
fn fill<O: Output>(
    out: &mut O,
    needle: &impl Held,
    piece: &Range<u64>,
) -> Result<Result<Filled, ReadFault>, Torn<O::Broken>> {
    let len = (piece.end - piece.start) as usize;
    let buffer = out.buffer().map_err(Torn::Lane)?;
    let read = needle.read_at(piece.start, &mut buffer[..len]);
    Ok(read.map(|crc| Filled { len, crc }))
}

/// Reads a piece into the front of the buffer and does not look at it.
pub(super) fn fill_unchecked<O: Output>(
    out: &mut O,
    needle: &impl Held,
    piece: &Range<u64>,
) -> Result<Result<Filled, ReadFault>, Torn<O::Broken>> {
    let len = (piece.end - piece.start) as usize;
    let buffer = out.buffer().map_err(Torn::Lane)?;
    let dst = &mut buffer[..len];
    // SAFETY: `dst` is borrowed during the call, so it is mapped and nobody else uses it.
    let read = unsafe { needle.read_into(piece.start, dst.as_mut_ptr(), len) };
    Ok(read.map(|()| Filled { len, crc: 0 }))
}

/// Which stored bytes an item is to have, or why none.
fn wanted(item: &Item, needle: &impl Held) -> Result<Range<u64>, Status> {
    let stored = needle.stored_len();
    match item.extent {
        Extent::Whole { room } if stored > u64::from(room) => Err(Status::TooLarge),
        Extent::Whole { .. } => Ok(0..stored),
        Extent::Range { .. } if needle.is_gzip() => Err(Status::Gzip),
        Extent::Range { offset, len } => match offset.checked_add(len.into()) {
            Some(end) if end <= stored => Ok(offset..end),
            _ => Err(Status::PastEnd),
        },
    }
}

/// Whether answering an item can begin without waiting for a disk.
pub(super) fn is_cached(item: &Item, needle: &impl Held) -> bool {
    let Ok(bytes) = wanted(item, needle) else {
        return true;
    };
    let len = (bytes.end - bytes.start) as usize;
    // What goes behind its answer piece by piece is looked at before each of them.
    let begin = match (item.extent, item.place) {
        (Extent::Whole { .. }, Place::Inline) => len.min(PIECE),
        _ => len,
    };
    needle.is_cached(bytes.start, begin)
}

/// What the front of the buffer holds; without a checksum where nobody looked.
pub(super) struct Filled {
    pub(super) len: usize,
    crc: u32,
}

/// A shorter item that is asked for alone is read at once, without a hint.
const HINTED: u64 = 64 << 10;

/// Has the disk fetch what an item wants, before its first piece is waited for. Of a needle whose bytes before an item
/// that is `alone` are in memory, somebody seems to read one range after the other: as much again is fetched.
pub(super) fn fetch_ahead(item: &Item, needle: &impl Held, alone: bool) {
    let Ok(bytes) = wanted(item, needle) else {
        return;
    };
    let len = bytes.end - bytes.start;
    if (alone && len < HINTED) || needle.is_cached(bytes.start, len as usize) {
        return;
    }
    let follows = || bytes.start == 0 || needle.is_cached(bytes.start - 1, 1);
    let more = if alone && follows() { len } else { 0 };
    let end = (bytes.end + more).min(needle.stored_len());
    needle.will_need(bytes.start, end - bytes.start);
}

/// Cuts bytes into pieces of at most [`PIECE`].
pub(super) fn pieces(bytes: &Range<u64>) -> impl Iterator<Item = Range<u64>> + use<> {
    let end = bytes.end;
    (bytes.start..end)
        .step_by(PIECE)
        .map(move |start| start..end.min(start + PIECE as u64))
}

#[cfg(test)]
mod tests;
