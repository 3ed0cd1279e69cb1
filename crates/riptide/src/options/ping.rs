//! What `riptide ping` needs to know.

use std::ffi::OsStr;
use std::path::PathBuf;

use seaweed::{FileId, host_and_port};

use super::SIDECAR_USER;
use super::users::users;
use crate::flags::{FlagError, Values};

/// The largest read that is measured: as much as one question may ask for.
const MAX_SIZE: u64 = fabric::wire::MAX_READ;

/// Whom to measure, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PingOptions {
    /// `host:port` of the sidecar's HTTP server.
    pub sidecar: String,
    /// The needle to read, if any.
    pub needle: Option<FileId>,
    /// `-count`: questions of each kind.
    pub count: u64,
    /// `-size`: bytes of each read.
    pub sizes: Vec<usize>,
    /// `-rdma.sidecarUser`: numbers of users whose sidecars of this host are trusted with memory.
    pub sidecar_users: Vec<u32>,
    /// `-config_dir`: the folder with security.toml.
    pub config_dir: Option<PathBuf>,
}

impl PingOptions {
    /// Reads what the words and the flags say.
    pub(crate) fn new(
        sidecar: &OsStr,
        needle: Option<&OsStr>,
        values: &Values,
    ) -> Result<Self, FlagError> {
        let unexpected = |word: &OsStr, expected| FlagError::Unexpected {
            word: word.to_string_lossy().into_owned(),
            expected,
        };
        let address = sidecar.to_str().filter(|it| host_and_port(it).is_some());
        let address = address.ok_or_else(|| unexpected(sidecar, "host:port of a sidecar"))?;
        let needle =
            match needle {
                Some(word) => {
                    let parsed = word.to_str().and_then(|it| it.parse().ok());
                    Some(parsed.ok_or_else(|| {
                        unexpected(word, "the id of a file, such as 3,01637037d6")
                    })?)
                }
                None => None,
            };
        Ok(Self {
            sidecar: address.to_owned(),
            needle,
            count: values.count("count"),
            sizes: sizes(values.text("size")?)?,
            sidecar_users: users(SIDECAR_USER, values.text(SIDECAR_USER)?)?,
            config_dir: values.path("config_dir"),
        })
    }
}

fn sizes(text: &str) -> Result<Vec<usize>, FlagError> {
    let size = |word: &str| {
        let size: u64 = word.trim().parse().ok()?;
        (1..=MAX_SIZE).contains(&size).then_some(size as usize)
    };
    let sizes: Option<Vec<usize>> = text.split(',').map(size).collect();
    sizes.ok_or_else(|| {
        let expected = format!("numbers from 1 to {MAX_SIZE}, separated by commas");
        FlagError::bad("size", text, expected)
    })
}
