//! Why bytes are no frame, or a message cannot be one.

use super::{MAX_BODY, MAX_READ, VERSION};

/// Why bytes are no frame, or a message cannot be one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It is something else that talks here.
    #[error("frame does not start with RT but with {0:02x?}: is this a peer of the fabric?")]
    Magic([u8; 2]),
    /// The peer is older or newer.
    #[error("peer speaks version {0} of the fabric, here it is version {VERSION}")]
    Version(u8),
    /// No such message.
    #[error("frame is of unknown kind {0}")]
    Kind(u8),
    /// The body is longer or shorter than any of this kind.
    #[error("a {kind} has no body of {len} bytes (the limit of all is {MAX_BODY})")]
    Length {
        /// The kind's name.
        kind: &'static str,
        /// What the header says.
        len: u32,
    },
    /// More data than any answer has, or data where there is none.
    #[error("a {kind} is not followed by {len} bytes of data (the limit of all is {MAX_READ})")]
    Data {
        /// The kind's name.
        kind: &'static str,
        /// What the header says.
        len: u32,
    },
    /// Header or body were damaged.
    #[error("frame has checksum {got:08x} instead of {expected:08x}")]
    Checksum {
        /// What the header says.
        expected: u32,
        /// Of what arrived.
        got: u32,
    },
    /// The body says something that cannot be.
    #[error("{kind} has {what}")]
    Malformed {
        /// The kind's name.
        kind: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
}
