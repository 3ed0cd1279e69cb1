//! What a connection reports.

use crate::{Lost, Status};

/// Something that happened on a connection, in the order in which it happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A message of the peer. Everything the peer wrote before it is in place.
    Received {
        /// The message.
        bytes: Vec<u8>,
    },
    /// A write with immediate data is in place, and everything the peer wrote before it.
    Landed {
        /// The immediate data.
        imm: u32,
        /// Bytes of that one write.
        len: u32,
    },
    /// The peer's device has the message.
    SendDone {
        /// What posting it returned.
        id: u64,
    },
    /// The writes are in the peer's memory; the local memory is free again.
    WriteDone {
        /// What posting them returned.
        id: u64,
    },
    /// The peer's memory has been read: the local memory holds it.
    ReadDone {
        /// What posting it returned.
        id: u64,
    },
    /// Work that was not done, or of which that is not known. [`Event::Disconnected`] follows.
    Failed {
        /// What posting it returned.
        id: u64,
        /// Why.
        status: Status,
    },
    /// The connection has ended; the last event there is. The queue pair is destroyed, with what
    /// [`crate::Connection::revoke`] says about it.
    Disconnected {
        /// Why.
        why: Lost,
    },
}
