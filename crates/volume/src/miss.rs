//! Why there is no needle to read.

use std::io;

use seaweed::volume::SuperBlockError;

use crate::Damage;

/// Why a needle was not found. Whoever asked goes to the volume server's HTTP, which
/// decides; none of these needs to be shown to a user.
#[derive(Debug, thiserror::Error)]
pub enum Miss {
    /// The volume is here and has no such needle.
    #[error("no such needle: {0}")]
    Absent(Absent),
    /// No folder has files of this volume.
    #[error("the volume is not here")]
    NotHere,
    /// The volume is here and is not served out of its files.
    #[error("the volume is not served: {0}")]
    Declined(Reason),
    /// Its index is still being read, and the key was not met yet.
    #[error("the index is still being read")]
    Loading,
    /// Its time is over.
    #[error("the needle has expired")]
    Expired,
    /// Something is there that is not the needle.
    #[error(transparent)]
    Corrupt(Damage),
    /// The answer needs the disk, and waiting for it was not allowed.
    #[error("the disk would have to be waited for")]
    WouldWait,
    /// The kernel refused something.
    #[error("read: {0}")]
    Io(#[source] io::Error),
}

/// How exactly a needle is not there. A server answers all of them with 404.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Absent {
    /// Its key was never written.
    #[error("unknown key")]
    Unknown,
    /// It was deleted.
    #[error("deleted")]
    Deleted,
    /// Its cookie is another one.
    #[error("wrong cookie")]
    Cookie,
}

/// Why a volume is not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Its data was moved to other storage.
    #[error("its data is in tiered storage")]
    Tiered,
    /// It is cut into shards.
    #[error("it is erasure-coded")]
    ErasureCoded,
    /// It is being copied from another server: there is a `.note`.
    #[error("it is still being copied here")]
    Copying,
    /// A vacuum has replaced one of the two files and not the other.
    #[error("its vacuum is not finished")]
    Vacuuming,
    /// There is no `.dat`.
    #[error("it has no .dat file")]
    NoData,
    /// There is no `.idx`.
    #[error("it has no .idx file")]
    NoIndex,
    /// Whether offsets have 4 or 5 bytes cannot be told: there is no entry to tell by.
    #[error("nothing says how wide the offsets in its index are")]
    OffsetWidth,
    /// `.dat` does not begin as it should.
    #[error("its super block: {0}")]
    SuperBlock(#[from] SuperBlockError),
    /// `.vif` cannot be understood.
    #[error("its .vif file: {0}")]
    Info(String),
    /// The folder is not a local one, so it does not show what the server just wrote.
    #[error("it lies on {0}, which may not show at once what others write")]
    RemoteFileSystem(&'static str),
    /// More are served already than was allowed.
    #[error("{max} volumes are served already, the most allowed")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The indexes of all volumes would take more memory than was allowed.
    #[error("its index needs {bytes} bytes, more than is left of the memory for indexes")]
    IndexMemory {
        /// Needed for this volume.
        bytes: u64,
    },
    /// The kernel refused something.
    #[error("{0}")]
    Io(String),
}

impl Reason {
    /// Whether it may be over any moment, without a sign that a look at the folder would notice.
    pub(crate) fn is_passing(&self) -> bool {
        !matches!(self, Self::RemoteFileSystem(_))
    }

    /// A short name for statistics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Tiered => "tiered",
            Self::ErasureCoded => "erasure_coded",
            Self::Copying => "copying",
            Self::Vacuuming => "vacuuming",
            Self::NoData => "no_data",
            Self::NoIndex => "no_index",
            Self::OffsetWidth => "offset_width",
            Self::SuperBlock(_) => "super_block",
            Self::Info(_) => "info",
            Self::RemoteFileSystem(_) => "remote_file_system",
            Self::TooMany { .. } => "too_many",
            Self::IndexMemory { .. } => "index_memory",
            Self::Io(_) => "io",
        }
    }
}
