//! Why a saved index is not used.

use std::io;

/// Each of them has the file thrown away, but [`Absent`](Self::Absent).
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// There is none.
    #[error("there is none")]
    Absent,
    /// The kernel refused something.
    #[error("read: {0}")]
    Io(#[source] io::Error),
    /// It begins with other bytes than a saved index does.
    #[error("it is no saved index")]
    Magic,
    /// Another version of the program wrote it.
    #[error("its format has version {0}")]
    Version(u32),
    /// A part of it is not what was written.
    #[error("{what} has another checksum than was written")]
    Checksum {
        /// Header, first keys, or a page.
        what: &'static str,
    },
    /// It contradicts itself.
    #[error("it contradicts itself: {0}")]
    Shape(&'static str),
    /// It was made of another `.idx`.
    #[error("it was made of another .idx file: {0}")]
    Foreign(&'static str),
    /// The `.idx` has become shorter.
    #[error("it covers {covered} bytes of an .idx file of {len}")]
    Shorter {
        /// Bytes that were read to make it.
        covered: u64,
        /// Bytes there are.
        len: u64,
    },
    /// The file ends early, or goes on.
    #[error("it has {found} bytes and should have {expected}")]
    Length {
        /// As the header says.
        expected: u64,
        /// As the file system says.
        found: u64,
    },
}
