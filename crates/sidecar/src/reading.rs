//! Clear bytes of a needle, a piece at a time.
//!
//! What a volume server answers over HTTP is the needle as it was before the server, or the client,
//! compressed it. So a needle that is marked as a gzip stream is read whole, checked against its
//! checksum, inflated, and then cut; any other is read exactly where it is wanted. When all of
//! it is wanted, the bytes are compared with the needle's checksum as they pass, and the last
//! piece is withheld when they are not those that were written: the receiver misses bytes instead
//! of getting wrong ones.
//!
//! Everything here blocks for as long as the disk does, and belongs on a thread that may.

use bytes::Bytes;
use fabric::serve::{Held, Miss, ReadFault, Shelf};
use seaweed::compress::{self, CompressError, Format};
use seaweed::crc::Crc;
use seaweed::volume::proves;
use seaweed::{FileId, MAX_CLEAR};

use crate::budget::{Budget, Loan};

/// Bytes read at a time: large enough that a disk streams, small enough that many readers fit
/// in memory.
pub const PIECE: usize = 1 << 20;
/// The largest stored length of a gzip stream that is inflated here: it takes twice its
/// clear length of memory. Chunks of a filer are far smaller.
const MAX_STORED: u64 = MAX_CLEAR as u64;

/// Bytes of a needle that are being read.
#[derive(Debug)]
pub struct Reading<N> {
    source: Source<N>,
    /// Clear bytes from here to `end` are left.
    at: u64,
    start: u64,
    end: u64,
    /// Set when all of the stored bytes pass through here.
    check: Option<Crc>,
    crc: u32,
    _loan: Loan,
}

#[derive(Debug)]
enum Source<N> {
    Stored(N),
    /// A needle that was inflated.
    Clear(Bytes),
}

/// Why there is nothing to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no needle to serve.
    #[error(transparent)]
    Miss(#[from] Miss),
    /// The needle ends before the first byte that is wanted.
    #[error("the needle has only {length} bytes")]
    PastEnd {
        /// Clear bytes there are.
        length: u64,
    },
    /// There is no memory for it now.
    #[error("there is too much to do")]
    Busy,
}

impl From<ReadFault> for Denied {
    fn from(fault: ReadFault) -> Self {
        Self::Miss(match fault {
            ReadFault::Corrupt => Miss::Corrupt,
            ReadFault::Failed => Miss::Failed,
        })
    }
}

impl<N: Held> Reading<N> {
    /// Finds a needle and prepares to read `size` bytes from `offset` on, or all that are left.
    /// As with the volume server, a size that leads past the end is cut.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn open<S: Shelf<Needle = N>>(
        shelf: &S,
        budget: &Budget,
        needle: FileId,
        offset: u64,
        size: Option<u64>,
    ) -> Result<Self, Denied> {
        let held = shelf.find(needle)?;
        if held.is_gzip() && held.stored_len() > 0 {
            return Self::inflated(held, budget, offset, size);
        }
        let (stored, crc) = (held.stored_len(), held.crc());
        let end = end(stored, offset, size)?;
        let loan = budget
            .lend((end - offset).min(PIECE as u64))
            .ok_or(Denied::Busy)?;
        if end - offset > PIECE as u64 {
            held.will_need(offset, end - offset);
        }
        Ok(Self {
            source: Source::Stored(held),
            at: offset,
            start: offset,
            end,
            check: (offset == 0 && end == stored).then(Crc::new),
            crc,
            _loan: loan,
        })
    }

    fn inflated(held: N, budget: &Budget, offset: u64, size: Option<u64>) -> Result<Self, Denied> {
        let stored_len = held.stored_len();
        if stored_len > MAX_STORED {
            return Err(Denied::Miss(Miss::Declined));
        }
        let loan = budget.lend(stored_len).ok_or(Denied::Busy)?;
        let mut stored = vec![0; usize::try_from(stored_len).map_err(|_| Denied::Busy)?];
        held.will_need(0, stored_len);
        let seen = held.read_at(0, &mut stored)?;
        if !proves(held.crc(), seen) {
            return Err(Denied::Miss(Miss::Corrupt));
        }
        let (clear, loan) = if Format::detect(&stored) == Some(Format::Gzip) {
            let enough = size.map_or(u64::MAX, |size| offset.saturating_add(size));
            inflate(&stored, enough, budget)?
        } else {
            // The mark is wrong; the volume server then gives what it has.
            (stored, loan)
        };
        let clear = Bytes::from(clear);
        let end = end(clear.len() as u64, offset, size)?;
        Ok(Self {
            source: Source::Clear(clear),
            at: offset,
            start: offset,
            end,
            check: None,
            crc: 0,
            _loan: loan,
        })
    }

    /// Bytes there will be in all.
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Whether that is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The next bytes; none at the end.
    ///
    /// # Errors
    /// When they cannot be read, or are not what was once written.
    pub fn advance(&mut self) -> Result<Option<Bytes>, ReadFault> {
        let left = self.end - self.at;
        if left == 0 {
            return Ok(None);
        }
        let len = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
        let piece = match &self.source {
            Source::Clear(clear) => {
                let from = usize::try_from(self.at).map_err(|_| ReadFault::Failed)?;
                clear.slice(from..from + len)
            }
            Source::Stored(held) => {
                let mut piece = vec![0; len];
                let seen = held.read_at(self.at, &mut piece)?;
                let is_last = len as u64 == left;
                if let Some(check) = &mut self.check {
                    let whole = if is_last && self.at == self.start {
                        seen
                    } else {
                        check.update(&piece);
                        check.value()
                    };
                    if is_last && !proves(self.crc, whole) {
                        return Err(ReadFault::Corrupt);
                    }
                }
                Bytes::from(piece)
            }
        };
        self.at += len as u64;
        Ok(Some(piece))
    }
}

/// Where reading ends.
fn end(length: u64, offset: u64, size: Option<u64>) -> Result<u64, Denied> {
    // All of an empty needle is no bytes; a byte of it does not exist.
    if offset > length || (offset == length && (length > 0 || size.is_some())) {
        return Err(Denied::PastEnd { length });
    }
    Ok(size.map_or(length, |size| offset.saturating_add(size).min(length)))
}

/// Inflates within what can be lent. The stream says how long it is, but what it says may be
/// wrong, so the loan grows while it turns out to be too small.
fn inflate(stored: &[u8], enough: u64, budget: &Budget) -> Result<(Vec<u8>, Loan), Denied> {
    let tail = stored.last_chunk::<4>().copied().unwrap_or_default();
    let mut room = usize::try_from(u32::from_le_bytes(tail)).unwrap_or(MAX_CLEAR);
    room = room.max(stored.len()).min(MAX_CLEAR);
    loop {
        let loan = budget.lend(room as u64).ok_or(Denied::Busy)?;
        match compress::decompress(stored, enough, room) {
            Ok(clear) => return Ok((clear, loan)),
            Err(CompressError::TooLong { .. }) if room < MAX_CLEAR => {
                room = room.saturating_mul(2).min(MAX_CLEAR);
            }
            Err(_) => return Err(Denied::Miss(Miss::Corrupt)),
        }
    }
}
