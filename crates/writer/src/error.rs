//! Why written bytes could not be kept.

use std::io;
use std::sync::Arc;

use context::Stopped;

/// What a write, a flush or a background upload may end with.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The caller was interrupted; what it wrote before is kept.
    #[error("interrupted")]
    Interrupted,
    /// The cluster has no room: no volume can be written to.
    #[error("no space: {0}")]
    NoSpace(String),
    /// The rules of the path forbid writing.
    #[error("refused: {0}")]
    Refused(String),
    /// A chunk could not be stored.
    #[error("upload: {0}")]
    Upload(String),
    /// The time of the request ran out.
    #[error("not stored in time")]
    TimedOut,
    /// The swap file fails.
    #[error("swap file in -cacheDirWrite: {0}")]
    Swap(Arc<io::Error>),
    /// Beyond the largest file there can be.
    #[error("file too large")]
    TooLarge,
}

impl WriteError {
    pub(crate) fn swap(error: io::Error) -> Self {
        Self::Swap(Arc::new(error))
    }
}

impl From<Stopped> for WriteError {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Interrupted => Self::Interrupted,
            Stopped::TimedOut => Self::TimedOut,
        }
    }
}
