//! Where the volume servers keep their data.
//!
//! A volume server tells its data folders in its `/status`: `DiskStatuses[].dir`, and for each
//! volume the number of its disk. What it says are paths as *it* sees them. So they are
//! believed only when they are absolute, exist here, and hold files of the volumes that
//! the server says are there: in another container the same path may be another folder.
//! Where index files are is not told; `-dir.idx` says it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use seaweed::ServerAddress;
use serde::Deserialize;

use crate::client::Client;

/// Longest status that is read: some 300 bytes a volume, 100,000 volumes.
const MAX_STATUS: usize = 64 << 20;
/// Time for it. A server that starts reads its indexes first.
const PATIENCE: Duration = Duration::from_secs(10);

/// The part of `/status` that matters here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Status {
    /// In the order of the flag `-dir`.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub disk_statuses: Vec<Disk>,
    /// Volumes, without erasure coded ones.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub volumes: Vec<Volume>,
}

/// A data folder.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Disk {
    /// Its path, as the server sees it.
    pub dir: PathBuf,
}

/// A volume.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Volume {
    /// Its number.
    pub id: u32,
    /// Empty for the default one.
    #[serde(default)]
    pub collection: String,
    /// Index of its disk.
    #[serde(default)]
    pub disk_id: usize,
}

impl Status {
    /// Asks a volume server.
    ///
    /// # Errors
    /// When it does not answer, or not as a volume server does.
    pub async fn ask(client: &Client, server: &ServerAddress) -> anyhow::Result<Self> {
        let host = server.http();
        let document = client
            .document(&host, "/status", MAX_STATUS, PATIENCE)
            .await?;
        let status: Self = serde_json::from_slice(&document)
            .with_context(|| format!("{host}/status is not what a volume server says"))?;
        if status.disk_statuses.is_empty() {
            bail!("{host}/status names no data folder: is it a volume server?");
        }
        Ok(status)
    }

    /// The data folders, if they are the server's own.
    ///
    /// # Errors
    /// Says which is not, and what to do.
    pub fn folders(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut folders = Vec::new();
        for (number, disk) in self.disk_statuses.iter().enumerate() {
            let dir = &disk.dir;
            if !dir.is_absolute() {
                bail!(
                    "its data folder {} is relative to a place that is not known: give -dir",
                    dir.display()
                );
            }
            let names = fs::read_dir(dir).with_context(|| {
                format!(
                    "its data folder {} cannot be listed here; where it is elsewhere, give -dir",
                    dir.display()
                )
            })?;
            let here: Vec<_> = self
                .volumes
                .iter()
                .filter(|v| v.disk_id == number)
                .collect();
            if !here.is_empty() && !holds_any(names, &here) {
                bail!(
                    "its data folder {} has no file of its volumes, such as {}.dat: the path means \
                     another folder here; give -dir",
                    dir.display(),
                    here[0].stem()
                );
            }
            folders.push(dir.clone());
        }
        Ok(folders)
    }
}

impl Volume {
    /// What its files' names begin with.
    fn stem(&self) -> String {
        match self.collection.as_str() {
            "" => self.id.to_string(),
            collection => format!("{collection}_{}", self.id),
        }
    }
}

/// Go writes a list that nothing was ever put into as null: a server without volumes does.
fn null_is_empty<'de, D, T>(source: D) -> Result<Vec<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    Ok(Option::deserialize(source)?.unwrap_or_default())
}

fn holds_any(names: fs::ReadDir, volumes: &[&Volume]) -> bool {
    let stems: std::collections::HashSet<String> = volumes.iter().map(|v| v.stem()).collect();
    names.flatten().any(|entry| {
        let name = entry.file_name();
        let name = Path::new(&name);
        let is_data = name.extension().is_some_and(|e| e == "dat" || e == "vif");
        let stem = name.file_stem().and_then(|stem| stem.to_str());
        is_data && stem.is_some_and(|stem| stems.contains(stem))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cut from what a volume server 4.48 answered.
    fn status(dir: &str) -> Status {
        let text = r#"{"DiskStatuses":[{"dir":"DIR","all":270553174016,"used":216847683584,"free":53705490432,
            "percent_free":19.850254,"percent_used":80.14975}],"Version":"8000GB 4.48 pypi","Volumes":[{"Collection":
            "c","DiskType":"","RemoteStorageName":"","ReplicaPlacement":{},"Ttl":{"Count":0,"Unit":0},"Size":558,
            "DeletedByteCount":0,"Id":7,"DiskId":0,"CompactRevision":0,"FileCount":1,"DeleteCount":0,"Version":3,
            "ReadOnly":false,"ReadOnlyCanDelete":false}]}"#;
        serde_json::from_str(&text.replace("DIR", dir)).unwrap()
    }

    #[test]
    fn folders_are_believed_only_when_they_hold_the_servers_files() {
        let dir = tempfile::tempdir().unwrap();
        let status = status(dir.path().to_str().unwrap());
        let error = status.folders().unwrap_err().to_string();
        assert!(
            error.contains("c_7.dat") && error.contains("-dir"),
            "{error}"
        );
        fs::write(dir.path().join("7.dat"), "of another collection").unwrap();
        assert!(status.folders().is_err());
        fs::write(dir.path().join("c_7.dat"), "").unwrap();
        assert_eq!(status.folders().unwrap(), [dir.path()]);
    }

    #[test]
    fn a_server_without_volumes_is_one() {
        let text = r#"{"DiskStatuses":[{"dir":"/data"}],"Version":"8000GB 4.48","Volumes":null}"#;
        let status: Status = serde_json::from_str(text).unwrap();
        assert_eq!(status.volumes, []);
        assert_eq!(status.disk_statuses.len(), 1);
    }

    #[test]
    fn folders_that_mean_nothing_here_are_named() {
        for (dir, told) in [
            ("data", "data is relative"),
            (
                "/nonexistent/data",
                "/nonexistent/data cannot be listed here",
            ),
        ] {
            let error = status(dir).folders().unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("-dir"), "{error}");
        }
    }
}
