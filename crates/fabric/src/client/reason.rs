//! Why a read does not come over the fabric.

use crate::lane::Broken;

/// Why a read does not come over the fabric, or why a sidecar is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// No replica of the volume has a sidecar.
    NoSidecar,
    /// `rdma.maxConcurrent` reads are under way.
    NoPermit,
    /// The sidecar failed lately and is left alone.
    OpenBreaker,
    /// No lane could be opened.
    Unreachable,
    /// The sidecar does not want us.
    Refused,
    /// The lane broke.
    Broken,
    /// No answer in time.
    Timeout,
    /// The sidecar has too much to do.
    Busy,
    /// Bytes arrived that are not those that were stored.
    Corrupt,
    /// The volume is not there any more.
    NotHere,
    /// The volume is there in a form that is not served.
    Declined,
    /// The volume's index is still being read.
    Loading,
    /// The disk or the system failed.
    Failed,
}

impl Reason {
    /// All reasons, for whoever counts them.
    pub const ALL: [Self; 13] = [
        Self::NoSidecar,
        Self::NoPermit,
        Self::OpenBreaker,
        Self::Unreachable,
        Self::Refused,
        Self::Broken,
        Self::Timeout,
        Self::Busy,
        Self::Corrupt,
        Self::NotHere,
        Self::Declined,
        Self::Loading,
        Self::Failed,
    ];

    /// One word for statistics; it does not change from version to version.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoSidecar => "no_sidecar",
            Self::NoPermit => "no_permit",
            Self::OpenBreaker => "open_breaker",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::Corrupt => "corrupt",
            Self::NotHere => "not_here",
            Self::Declined => "declined",
            Self::Loading => "loading",
            Self::Failed => "failed",
        }
    }
}

impl From<&Broken> for Reason {
    fn from(broken: &Broken) -> Self {
        match broken {
            Broken::Gone(_) | Broken::Io(_) | Broken::Protocol(_) => Self::Broken,
            Broken::Refused(_) | Broken::Unproven(_) => Self::Refused,
        }
    }
}
