//! How a sidecar tells what it is: the part of its `/health` document, and the whole of its entry at
//! the filer, that mounts go by.
//!
//! A mount that was told a sidecar's HTTP address asks `/health`; one that was told `auto` lists
//! [`FOLDER`] at the filer, where every sidecar keeps an entry of this content with a time to live.
//! Both say the same, so there is one reader for both. Unknown fields are ignored, so that newer
//! sidecars can say more.

use std::io;

use serde::{Deserialize, Serialize};

/// Where sidecars register at the filer: one entry each, named by its HTTP address.
pub const FOLDER: &str = "/etc/riptide/sidecars";
/// How long an entry there lives without being renewed, in seconds.
pub const LEASE_SECONDS: u32 = 60;
/// The longest announcement that is read, in bytes.
pub const MAX_BYTES: usize = 4 << 20;

/// What a sidecar offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// `host:port` of its HTTP server.
    pub http: String,
    /// How to reach it with the fabric's protocol.
    pub fabric: Endpoints,
    /// `host:port` of the volume servers it stands beside, spelled as the filer spells them.
    pub volume_servers: Vec<String>,
    /// Volumes that it serves now. A volume that is not listed may be asked for all the same, for
    /// it may have appeared a moment ago.
    pub volumes: Vec<u32>,
    /// Counts up whenever `volumes` changes.
    pub generation: u64,
    /// Data center of its volume servers; may be empty.
    #[serde(default)]
    pub data_center: String,
    /// Rack of its volume servers; may be empty.
    #[serde(default)]
    pub rack: String,
}

/// What tells this running kernel from others, for [`Endpoints::host`].
///
/// # Errors
/// The system's, where /proc is not mounted.
pub fn this_host() -> io::Result<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(id.trim().to_owned())
}

/// Where a sidecar listens.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoints {
    /// Version of the protocol ([`crate::wire::VERSION`]).
    pub version: u8,
    /// What tells one running kernel from another (`/proc/sys/kernel/random/boot_id`): the same
    /// as the client's means that the unix socket is worth trying.
    pub host: String,
    /// Path of the unix socket for shared memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unix: Option<String>,
    /// `host:port` for TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<String>,
    /// Whether TCP is TLS.
    #[serde(default)]
    pub tls: bool,
    /// `address:port` for verbs, one for each rail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rdma: Vec<String>,
}
