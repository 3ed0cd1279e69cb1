//! How a sidecar tells what it is: the part of its `/health` document, and the whole of its entry at
//! the filer, that mounts go by.
//!
//! A mount that was told a sidecar's HTTP address asks `/health`; one that was told `auto` lists
//! [`FOLDER`] at the filer, where every sidecar keeps an entry of this content with a time to live.
//! Both say the same, so there is one reader for both. Unknown fields are ignored, so that newer
//! sidecars can say more.

use std::io;

use seaweed::host_and_port;
use serde::{Deserialize, Serialize};

use crate::wire::VERSION;

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
    /// Whether writes are taken. Those who do not say so would take one for nonsense.
    #[serde(default)]
    pub writes: bool,
    /// Whether the files of volumes are lent to mounts of this host, by the unix socket.
    #[serde(default)]
    pub lends: bool,
}

impl Announcement {
    /// Reads what a sidecar says of itself, at `/health` or in its entry at the filer.
    ///
    /// # Errors
    /// Names what is wrong with it. A sidecar of another version is refused by name.
    pub fn parse(document: &[u8]) -> Result<Self, AnnounceError> {
        if document.len() > MAX_BYTES {
            return Err(AnnounceError::TooLong {
                len: document.len(),
            });
        }
        // First, because the rest may mean something else then.
        let Versioned { fabric } = serde_json::from_slice(document).map_err(no_document)?;
        if fabric.version != VERSION {
            return Err(AnnounceError::Version {
                theirs: fabric.version,
            });
        }
        let announced: Self = serde_json::from_slice(document).map_err(no_document)?;
        let Endpoints {
            unix, tcp, rdma, ..
        } = &announced.fabric;
        let sockets = [("http", &announced.http)];
        let sockets = sockets.into_iter().chain(tcp.iter().map(|it| ("tcp", it)));
        let sockets = sockets.chain(rdma.iter().map(|it| ("rdma", it)));
        for (field, value) in sockets {
            if host_and_port(value).is_none() {
                return Err(wrong(field, value, "host:port"));
            }
        }
        if let Some(path) = unix
            && (!path.starts_with('/') || path.contains('\0') || path.len() > MAX_UNIX)
        {
            return Err(wrong("unix", path, "the absolute path of a socket"));
        }
        if unix.is_none() && tcp.is_none() && rdma.is_empty() {
            return Err(AnnounceError::Nowhere);
        }
        Ok(announced)
    }
}

/// What can be wrong with an announcement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnounceError {
    /// Nobody has that much to say.
    #[error("the announcement has {len} bytes, more than {MAX_BYTES}")]
    TooLong {
        /// Its bytes.
        len: usize,
    },
    /// It is something else.
    #[error("this is not the announcement of a sidecar: {reason}")]
    Format {
        /// What the parser says.
        reason: String,
    },
    /// It speaks another version.
    #[error("the sidecar speaks version {theirs} of the fabric's protocol, expected {VERSION}")]
    Version {
        /// The one it speaks.
        theirs: u8,
    },
    /// A field holds something else than it should.
    #[error("the announcement's {field} is {value:?}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// It listens nowhere.
    #[error("the sidecar does not say where it listens")]
    Nowhere,
}

/// The longest path of a unix socket that the system takes.
const MAX_UNIX: usize = 107;
/// How much of a bad value an error repeats.
const EXCERPT: usize = 100;

/// What stays the same in all versions.
#[derive(Deserialize)]
struct Versioned {
    fabric: Version,
}

#[derive(Deserialize)]
struct Version {
    version: u8,
}

fn no_document(error: serde_json::Error) -> AnnounceError {
    AnnounceError::Format {
        reason: error.to_string().chars().take(EXCERPT).collect(),
    }
}

fn wrong(field: &'static str, value: &str, expected: &'static str) -> AnnounceError {
    AnnounceError::Field {
        field,
        value: value.chars().take(EXCERPT).collect(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn document() -> Value {
        json!({
            "status": "healthy",
            "http": "a:8081",
            "fabric": {"version": VERSION, "host": "3f", "unix": "/run/s", "tcp": "a:18081", "rdma": ["10.0.0.1:18081"]},
            "volume_servers": ["a:8080"],
            "volumes": [1, 2],
            "generation": 7,
        })
    }

    fn parse(document: &Value) -> Result<Announcement, String> {
        Announcement::parse(document.to_string().as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_a_sidecar_says_is_read_whatever_else_it_says() {
        let announced = parse(&document()).unwrap();
        assert!(!announced.fabric.writes, "who is older does not say so");
        assert_eq!(announced.fabric.tcp.as_deref(), Some("a:18081"));
        assert_eq!(
            (announced.volumes, announced.rack),
            (vec![1, 2], String::new())
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (pointer, value, expected) in [
            (
                "/http",
                json!("a"),
                "the announcement's http is \"a\", expected host:port",
            ),
            (
                "/fabric/tcp",
                json!("x:0"),
                "the announcement's tcp is \"x:0\", expected host:port",
            ),
            (
                "/fabric/rdma/0",
                json!(""),
                "the announcement's rdma is \"\", expected host:port",
            ),
            (
                "/fabric/unix",
                json!("run/s"),
                "the announcement's unix is \"run/s\", expected the absolute path of a socket",
            ),
            (
                "/fabric/version",
                json!(1),
                "the sidecar speaks version 1 of the fabric's protocol, expected 2",
            ),
            (
                "/fabric",
                json!({"version": VERSION, "host": "3f"}),
                "the sidecar does not say where it listens",
            ),
        ] {
            let mut document = document();
            *document.pointer_mut(pointer).unwrap() = value;
            assert_eq!(parse(&document).unwrap_err(), expected);
        }
        for garbage in [json!({"status": "ok"}), json!(7), json!("<html>")] {
            let error = parse(&garbage).unwrap_err();
            assert!(
                error.starts_with("this is not the announcement of a sidecar: "),
                "{error}"
            );
        }
        assert_eq!(
            Announcement::parse(&vec![b' '; MAX_BYTES + 1]),
            Err(AnnounceError::TooLong { len: MAX_BYTES + 1 })
        );
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused_with_a_short_reason(bytes in prop::collection::vec(any::<u8>(), 0..200), cut in any::<prop::sample::Index>()) {
            let whole = document().to_string();
            for document in [&bytes[..], &whole.as_bytes()[..cut.index(whole.len())]] {
                let error = Announcement::parse(document).unwrap_err().to_string();
                prop_assert!(error.len() < 300, "{}", error);
            }
        }
    }
}
