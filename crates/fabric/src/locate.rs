//! Where volumes live, as far as a route needs to know.

use std::sync::Arc;

use context::{Context, Stopped};

/// Answers which servers hold a volume. Implementations cache: a route asks for every read.
pub trait Locate: Send + Sync {
    /// The servers holding `volume`, nearest first, at least one.
    ///
    /// # Errors
    /// See [`LocateError`].
    fn locate(&self, ctx: &Context<'_>, volume: u32) -> Result<Arc<[Location]>, LocateError>;

    /// Says that these volumes will be asked for soon, so that one question can serve all.
    /// Does not wait.
    fn expect(&self, volumes: &[u32]) {
        let _ = volumes;
    }

    /// Drops what is remembered about `volume`, because it turned out to be wrong or useless.
    /// Called at most once for each look-up that disappointed.
    fn forget(&self, volume: u32);
}

/// One server that holds a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// `host:port` inside the cluster's own network.
    pub url: String,
    /// `host:port` for clients outside; empty when the server announces none.
    pub public_url: String,
    /// The data center it announces; may be empty.
    pub data_center: String,
}

/// Why no server could be named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    /// The cluster answered, and knows no server with this volume.
    #[error("no volume server holds volume {volume}")]
    Unknown {
        /// The volume asked for.
        volume: u32,
    },
    /// Nobody could be asked.
    #[error("cannot look up volume {volume}: {reason}")]
    Unavailable {
        /// The volume asked for.
        volume: u32,
        /// What went wrong, for the log.
        reason: String,
    },
    /// The request was given up meanwhile.
    #[error(transparent)]
    Stopped(#[from] Stopped),
}
