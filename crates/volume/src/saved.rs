//! Indexes that outlive the process: a compact, sorted file for each volume, mapped into memory.
//!
//! To read an index of 50 million entries and to sort it takes many seconds, and the result takes 16 bytes
//! a needle. A store that has a folder of its own ([`SavedIndexes`]) therefore writes what it made, in the background, and opens that
//! the next time: only the entries that came to the `.idx` behind it are read.
//!
//! ```text
//!  file    header (4 KiB) │ page │ page │ … │ first key of each page        (all little-endian)
//!  page    checksum, count, widths, first key │ keys, as differences to it │ places      4 KiB
//! ```
//!
//! Keys of a page have as many bytes as the largest difference needs, places 7 or 8 ([`Page`]): 9 to 12
//! bytes a needle where the master counts keys up, and 16 at the very most. The first keys are in memory, so that
//! a look-up touches one page.
//!
//! # What is guaranteed
//! A saved file is used only when its [`Header`] says that it was made of this very `.idx`, and it still begins with what
//! it was made of: same path, inode and time of birth, same revision in the super block, same width of offsets, not
//! shorter, and the same bytes at its beginning, in its middle and in the last 64 KiB of the part that is covered.
//! A vacuum, a repair and a restored copy change at least one of them. The number of the device does not count: it may
//! change with every boot. Header and first keys are checked against their checksums before use, a page when it is
//! touched first. Whatever does not match has the file thrown away, and the index is read from the start as if there
//! never had been one.
//!
//! The last entry of a key wins: all that is newer than the covered part is in memory and is asked first; the file is not
//! asked at all before that is so.
//!
//! # Why it may be mapped
//! The files of a volume may be cut off by the server at any time, so they are not mapped. These are our own: in a folder
//! that only this user may write to, written under another name and renamed when complete, never changed after that.
//! The first touch of a page is a pread(2), which reports a disk that fails as an error. What is left: a page
//! that was evicted and cannot be read again, or a file that root or this user cuts off by hand, ends the process with
//! SIGBUS; the next start reads with pread first, and throws the file away.

mod file;
mod folder;
mod header;
mod mapping;
mod merge;
mod origin;
mod page;
mod refused;
mod writer;

pub use folder::{FolderError, SavedIndexes};
pub use header::Header;
pub use origin::Origin;
pub use page::Page;
pub use refused::Refused;

pub(crate) use file::{Saved, Touch};
pub(crate) use folder::{Folder, SaveError, TIDY};
pub(crate) use merge::{Stopped, merge};

#[cfg(test)]
mod tests;
