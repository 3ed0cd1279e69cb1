//! What can go wrong, in words.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use crate::Unavailable;

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no RDMA here.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A [`crate::Config`] that cannot be.
    #[error("RDMA configuration: {what}")]
    Config {
        /// The field, its value and what was expected.
        what: String,
    },
    /// More private data than a connection request carries.
    #[error(
        "private data of {len} bytes, at most {} are possible",
        crate::MAX_PRIVATE
    )]
    PrivateData {
        /// Its length.
        len: usize,
    },
    /// A message that does not fit into a slot.
    #[error("message of {len} bytes, the connection takes {max}")]
    TooLong {
        /// Its length.
        len: usize,
        /// The most there may be.
        max: usize,
    },
    /// Bytes outside a memory region, or more than the peer offers.
    #[error("{len} bytes at {offset} do not fit into {size} bytes of memory")]
    Bounds {
        /// Where they begin.
        offset: u64,
        /// How many.
        len: u64,
        /// What there is.
        size: u64,
    },
    /// The send queue is full; completions make room. Nothing was posted.
    #[error("send queue is full")]
    Full,
    /// The connection has ended.
    #[error("RDMA connection lost: {0}")]
    Lost(Lost),
    /// No connection was made.
    #[error("cannot connect to {peer} over RDMA: {why}")]
    Connect {
        /// Who was called.
        peer: SocketAddr,
        /// What happened.
        why: String,
    },
    /// The peer refused the connection, and may have said why.
    #[error("{peer} refuses the RDMA connection")]
    Refused {
        /// Who was called.
        peer: SocketAddr,
        /// Its private data; empty when nobody listens there.
        private: Vec<u8>,
    },
    /// The peer did not answer in time.
    #[error("no answer from {peer} over RDMA while {step}")]
    TimedOut {
        /// Who was called.
        peer: SocketAddr,
        /// What was being waited for.
        step: &'static str,
    },
    /// A call of the verbs or connection manager library failed.
    #[error("{what}: {source}")]
    Call {
        /// What was attempted.
        what: String,
        /// The library's answer.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn call(what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        Self::Call { what, source }
    }
}

/// Why a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// The peer closed it, or its process ended.
    #[error("the peer closed it")]
    Closed,
    /// It was taken down at this end.
    #[error("it was revoked")]
    Revoked,
    /// A piece of work failed, which ends a queue pair.
    #[error("{0}")]
    Work(Status),
    /// The device went away.
    #[error("the RDMA device was removed")]
    DeviceRemoved,
    /// The connection manager gave it up.
    #[error("the connection manager reports {0}")]
    Manager(&'static str),
    /// The libraries answered with an error; the log has it.
    #[error("the RDMA library failed")]
    Library,
}

/// Status of a completed piece of work (`enum ibv_wc_status`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub(crate) u32);

impl Status {
    /// The peer does not acknowledge: dead, unreachable, or its queue pair is gone.
    pub const NO_ANSWER: Self = Self(12);
    /// The peer had no receive slot free for too long.
    pub const NOT_READY: Self = Self(13);
    /// The work was pending when the connection ended.
    pub const FLUSHED: Self = Self(5);
    /// The peer does not allow the access: wrong key, bounds or rights.
    pub const ACCESS: Self = Self(10);

    pub(crate) fn is_success(self) -> bool {
        self.0 == 0
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            0 => "success",
            1 => "a message is longer than the receive slot",
            2 => "the local queue pair could not process the work",
            4 => "local memory is not registered for the work",
            5 => "the work was given up because the connection ended",
            8 => "local memory may not be accessed so",
            9 => "the peer takes the request for invalid",
            10 => "the peer does not allow access to its memory",
            11 => "the peer could not carry out the work",
            12 => "the peer does not answer (transport retries exceeded)",
            13 => "the peer had no receive slot for too long (receiver not ready retries exceeded)",
            other => return write!(f, "work completed with ibv_wc_status {other}"),
        })
    }
}
