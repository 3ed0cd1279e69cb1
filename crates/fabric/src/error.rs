//! Why a needle could not be fetched.

use std::io;
use std::sync::Arc;

use context::Stopped;
use seaweed::FileId;

use crate::LocateError;

/// Why a needle could not be fetched, after everything worth trying was tried.
///
/// Cheap to clone, since all who wait for one fetch share its failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RouteError {
    /// No replica has it: deleted and vacuumed, never written, or another cookie.
    #[error("needle {needle} does not exist on any replica")]
    NotFound {
        /// The needle.
        needle: FileId,
    },
    /// A server refuses to show it to us (401, 403).
    #[error("{server} denies needle {needle} with status {status}")]
    Denied {
        /// The needle.
        needle: FileId,
        /// `host:port` asked.
        server: Arc<str>,
        /// The HTTP status.
        status: u16,
    },
    /// The bytes that arrived are not those that were stored.
    #[error("{server} sent needle {needle} with CRC {got:08x} instead of {expected:08x}")]
    Corrupt {
        /// The needle.
        needle: FileId,
        /// `host:port` asked.
        server: Arc<str>,
        /// The CRC32C the server keeps.
        expected: u32,
        /// The CRC32C of what it sent.
        got: u32,
    },
    /// A server answered with a status that means neither data nor absence.
    #[error("{server} answers needle {needle} with status {status}")]
    Status {
        /// The needle.
        needle: FileId,
        /// `host:port` asked.
        server: Arc<str>,
        /// The HTTP status.
        status: u16,
    },
    /// The range asked for does not lie within the data.
    #[error("{server} has no {len} bytes at {offset} in needle {needle}")]
    PastEnd {
        /// The needle.
        needle: FileId,
        /// `host:port` asked.
        server: Arc<str>,
        /// First byte asked for.
        offset: u64,
        /// Bytes asked for.
        len: u64,
    },
    /// No connection could be made, or it broke before the answer was complete.
    #[error("{server} does not deliver needle {needle}: {source}")]
    Unreachable {
        /// The needle.
        needle: FileId,
        /// `host:port` asked.
        server: Arc<str>,
        /// What the socket said.
        source: Arc<io::Error>,
    },
    /// The server's answer breaks the protocol, or is not about what was asked.
    #[error("{server} answers needle {needle} with nonsense: {what}")]
    Malformed {
        /// The needle.
        needle: FileId,
        /// `host:port` asked.
        server: Arc<str>,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The server did not send a byte for too long.
    #[error("{server} keeps silent about needle {needle}")]
    Silent {
        /// The needle.
        needle: FileId,
        /// `host:port` asked.
        server: Arc<str>,
    },
    /// The caller's destination does not take that many bytes.
    #[error("needle {needle} has {len} bytes, more than is accepted")]
    Refused {
        /// The needle.
        needle: FileId,
        /// Its length.
        len: u64,
    },
    /// Nobody could say where it is.
    #[error("needle {needle}: {source}")]
    Unlocated {
        /// The needle.
        needle: FileId,
        /// The look-up's error.
        source: LocateError,
    },
    /// The fabric does not deliver it, and nobody else may be asked.
    #[error("the fabric does not deliver needle {needle}: {why}; -rdma.fallback=false")]
    Fabric {
        /// The needle.
        needle: FileId,
        /// The reason.
        why: &'static str,
    },
    /// The deadline of the request passed.
    #[error("no time left for needle {needle}")]
    TimedOut {
        /// The needle.
        needle: FileId,
    },
    /// The caller gave up.
    #[error("caller gave up on needle {needle}")]
    Interrupted {
        /// The needle.
        needle: FileId,
    },
}

impl RouteError {
    /// The request was given up by its caller or its deadline.
    pub fn stopped(needle: FileId, why: Stopped) -> Self {
        match why {
            Stopped::Interrupted => Self::Interrupted { needle },
            Stopped::TimedOut => Self::TimedOut { needle },
        }
    }

    /// Whether the request itself is over, so that no other server is worth asking.
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Self::TimedOut { .. } | Self::Interrupted { .. } | Self::Refused { .. }
        )
    }

    /// Whether the same question may be answered a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Malformed { .. } | Self::Silent { .. } => true,
            // Besides the server's own trouble: overload (429, and 499 as weed spells it)
            // and a request it gave up waiting for (408).
            Self::Status { status, .. } => *status >= 500 || matches!(status, 408 | 429 | 499),
            // The master forgets the volumes of a server that is being restarted.
            Self::Unlocated { .. } | Self::Fabric { .. } => true,
            Self::NotFound { .. }
            | Self::Denied { .. }
            | Self::Corrupt { .. }
            | Self::PastEnd { .. }
            | Self::Refused { .. }
            | Self::TimedOut { .. }
            | Self::Interrupted { .. } => false,
        }
    }

    /// One word for statistics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::Denied { .. } => "denied",
            Self::Corrupt { .. } => "corrupt",
            Self::Status { .. } => "status",
            Self::PastEnd { .. } => "past_end",
            Self::Unreachable { .. } => "unreachable",
            Self::Malformed { .. } => "malformed",
            Self::Silent { .. } => "silent",
            Self::Refused { .. } => "refused",
            Self::Unlocated { .. } => "unlocated",
            Self::Fabric { .. } => "fabric",
            Self::TimedOut { .. } => "timed_out",
            Self::Interrupted { .. } => "interrupted",
        }
    }
}
