//! What a fabric server serves from, and hands writes to: the contract with whoever holds the needles.
//!
//! The server half of the fabric knows frames, permits and carriers; it does not know volume
//! files. A [`Shelf`] finds needles, a [`Held`] needle gives bytes. Worker threads, which all lanes share,
//! ask of both only what needs no disk; what does is asked from disk threads. A [`Courier`] hands needles to
//! volume servers; it has threads of its own to block on.

use std::os::fd::{BorrowedFd, OwnedFd};

use context::Context;
use seaweed::FileId;

use crate::wire::{FileTerms, Inodes, Write, Written};

/// Holds needles. Called from many threads at once.
pub trait Shelf: Send + Sync + 'static {
    /// A needle that was found, good for reading for as long as it is kept.
    type Needle: Held;

    /// Looks up `needle`. Everything that was acknowledged to any client before the call is seen.
    ///
    /// # Errors
    /// [`Miss`] says why there is nothing to serve; the client goes another way.
    fn find(&self, needle: FileId) -> Result<Self::Needle, Miss>;

    /// Like [`find`](Self::find), but gives `None` where it would have to wait for a disk, or for who waits
    /// for one.
    fn try_find(&self, needle: FileId) -> Option<Result<Self::Needle, Miss>>;

    /// Lends the files of `volume` to a client that may read them anyway, unless those that it holds are
    /// the ones. May wait for a disk. Who lends nothing need not implement it.
    ///
    /// # Errors
    /// [`Miss`] says why there is nothing to lend.
    fn lend(&self, volume: u32, held: Option<Inodes>) -> Result<Loan, Miss> {
        let _ = (volume, held);
        Err(Miss::Declined)
    }
}

/// What becomes of a wish to borrow files.
#[derive(Debug)]
pub enum Loan {
    /// Data and index, and what has to be known of them.
    Files([OwnedFd; 2], FileTerms),
    /// Those that are held are the ones.
    Same,
}

/// A needle that was found: header, cookie and size are checked.
pub trait Held: Send + Sync {
    /// Bytes stored, which for a compressed needle is the compressed length.
    fn stored_len(&self) -> u64;

    /// Whether the volume server marked the stored bytes as a gzip stream.
    fn is_gzip(&self) -> bool;

    /// CRC32C of the stored bytes, as the volume server keeps it.
    fn crc(&self) -> u32;

    /// Whether reading these bytes would not wait for a disk, as far as can be told cheaply.
    fn is_cached(&self, offset: u64, len: usize) -> bool;

    /// Tells the system that these bytes will be wanted soon.
    fn will_need(&self, offset: u64, len: u64);

    /// CRC32C of these stored bytes, where it is known of bytes that were checked, without reading them.
    /// Who has none leaves it.
    fn known_crc(&self, offset: u64, len: usize) -> Option<u32> {
        let _ = (offset, len);
        None
    }

    /// The file that holds the stored bytes from `offset` on, and where in it, for carriers that the
    /// kernel feeds from the page cache. Bytes taken from it are not checked: the receiver compares
    /// them with [`crc`](Held::crc) or [`known_crc`](Held::known_crc).
    fn file(&self, offset: u64) -> Option<(BorrowedFd<'_>, u64)> {
        let _ = offset;
        None
    }

    /// Fills `dst` with stored bytes from `offset` on; gives the CRC32C of exactly these.
    /// `offset + dst.len()` lies within the needle.
    ///
    /// # Errors
    /// See [`ReadFault`].
    fn read_at(&self, offset: u64, dst: &mut [u8]) -> Result<u32, ReadFault>;

    /// Has the kernel write stored bytes to memory that may be shared with another process, of
    /// which no Rust reference exists. The bytes are not checked: the receiver compares all of
    /// a needle with [`crc`](Held::crc), and a part with what [`known_crc`](Held::known_crc) or
    /// [`read_at`](Held::read_at) gave.
    ///
    /// # Safety
    /// `dst..dst + len` is mapped writable for the whole call, and nobody in this process
    /// reads or writes it meanwhile.
    ///
    /// # Errors
    /// See [`ReadFault`].
    unsafe fn read_into(&self, offset: u64, dst: *mut u8, len: usize) -> Result<(), ReadFault>;
}

/// Hands needles to volume servers. Called from many threads at once, which wait for it.
pub trait Courier: std::fmt::Debug + Send + Sync {
    /// Hands `bytes`, whose checksum was compared, to the volume server that `write` names, and waits
    /// for what that says: no longer than `ctx` allows. It says that the needle is kept only when
    /// the volume server does.
    fn deliver(&self, ctx: &Context<'_>, write: &Write, bytes: &[u8]) -> Written;
}

/// Memory that the server shares with others of its process.
pub trait Memory: std::fmt::Debug + Send + Sync {
    /// Takes so many bytes, if there are as many. Nobody waits.
    fn take(&self, bytes: u64) -> bool;

    /// Gives back what was taken.
    fn give_back(&self, bytes: u64);
}

/// Why a shelf has nothing to serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Miss {
    /// The volume is here and the needle is not: never written, deleted, expired, other cookie.
    #[error("no such needle")]
    Absent,
    /// The volume is not here.
    #[error("the volume is not here")]
    NotHere,
    /// The volume is here in a form that is not served: erasure coded, tiered, being copied.
    #[error("the volume is in a form that is not served")]
    Declined,
    /// The volume's index is still being read.
    #[error("the volume's index is still being read")]
    Loading,
    /// What is stored under the id is damaged.
    #[error("the needle is damaged")]
    Corrupt,
    /// The disk or the system failed.
    #[error("the volume cannot be read")]
    Failed,
}

/// Why bytes of a needle that was found could not be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadFault {
    /// They are not what was once written.
    #[error("the needle is damaged")]
    Corrupt,
    /// The disk or the system failed, or the file was truncated.
    #[error("the volume cannot be read")]
    Failed,
}
