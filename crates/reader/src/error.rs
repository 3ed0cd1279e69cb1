//! Why a read fails.

use std::sync::Arc;

use context::Stopped;
use fabric::RouteError;
use seaweed::FileId;

/// Why bytes could not be read. Cheap to clone: all who wait for one fetch share its failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// A chunk is gone. The entry that names it is probably out of date.
    #[error("chunk {needle} does not exist any more")]
    NotFound {
        /// The chunk.
        needle: FileId,
    },
    /// What arrived cannot be the chunk's data.
    #[error("chunk {needle} is damaged: {reason}")]
    Corrupt {
        /// The chunk.
        needle: FileId,
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// An S3 gateway encrypted the chunk with a key that only it can get.
    #[error("chunk {needle} is encrypted by the S3 gateway (SSE) and can only be read through it")]
    Sse {
        /// The chunk.
        needle: FileId,
    },
    /// A chunk that must be opened in memory is larger than is accepted.
    #[error("chunk {needle} has {len} bytes, more than the {limit} that are opened in memory")]
    TooLarge {
        /// The chunk.
        needle: FileId,
        /// Its clear length.
        len: u64,
        /// The limit.
        limit: u64,
    },
    /// The manifests of a file cannot be resolved.
    #[error("list of chunks is damaged: {reason}")]
    Manifest {
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// The caller gave up.
    #[error("read interrupted by the caller")]
    Interrupted,
    /// The deadline of the request passed.
    #[error("read took too long")]
    TimedOut,
    /// No server delivers the chunk.
    #[error(transparent)]
    Route(RouteError),
}

impl ReadError {
    /// It concerns this request alone, and says nothing about the data.
    pub fn is_own(&self) -> bool {
        matches!(self, Self::Interrupted | Self::TimedOut)
    }
}

impl From<Stopped> for ReadError {
    fn from(why: Stopped) -> Self {
        match why {
            Stopped::Interrupted => Self::Interrupted,
            Stopped::TimedOut => Self::TimedOut,
        }
    }
}

impl From<RouteError> for ReadError {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::NotFound { needle } => Self::NotFound { needle },
            RouteError::Interrupted { .. } => Self::Interrupted,
            RouteError::TimedOut { .. } => Self::TimedOut,
            RouteError::Corrupt { needle, .. } => Self::Corrupt {
                needle,
                reason: error.to_string().into(),
            },
            // The entry promises bytes that the needle does not have.
            RouteError::PastEnd { needle, .. } => Self::Corrupt {
                needle,
                reason: error.to_string().into(),
            },
            other => Self::Route(other),
        }
    }
}
