//! Files below a mount of this machine, and questions to the mount about them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::run::real_path;
use crate::server::Connection;

/// How long a mount may take to answer what it has to ask the filer for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A path below a mount, and the way to that mount.
#[derive(Debug)]
pub(super) struct Below {
    connection: Connection,
    /// The mount point.
    pub(super) dir: PathBuf,
    /// The path, without symbolic links above its last part.
    pub(super) path: PathBuf,
}

impl Below {
    /// Finds the mount that a path is below.
    pub(super) fn find(path: &Path) -> anyhow::Result<Self> {
        let real = real_path(path).with_context(|| format!("{}", path.display()))?;
        let mounts = fuse::mounts().context("reading the list of mounts")?;
        let above = mounts
            .iter()
            .filter(|mount| real.starts_with(&mount.mount_point));
        // Of two on one point the later one is on top.
        let innermost = above.max_by_key(|mount| mount.mount_point.components().count());
        let Some(mount) = innermost.filter(|mount| mount.is_fuse()) else {
            bail!("{} is not below a mount of riptide", path.display());
        };
        let dir = mount.mount_point.clone();
        Ok(Self {
            connection: Connection::find(&dir)?,
            dir,
            path: real,
        })
    }

    /// A path below the mount point as the mount is asked for it.
    pub(super) fn name(&self, path: &Path) -> anyhow::Result<String> {
        let below = path.strip_prefix(&self.dir)?;
        let below = below.to_str();
        let below = below.with_context(|| format!("{}: its name is not UTF-8", path.display()))?;
        Ok(format!("/{below}"))
    }

    /// Asks for a page.
    pub(super) fn get(&self, page: &str, parts: &[(&str, &str)]) -> anyhow::Result<Value> {
        self.ask("GET", page, parts, Some(PATIENCE))
    }

    /// Has something done; waits for it as long as it takes, if `endless`.
    pub(super) fn post(
        &self,
        page: &str,
        parts: &[(&str, &str)],
        endless: bool,
    ) -> anyhow::Result<Value> {
        self.ask("POST", page, parts, Some(PATIENCE).filter(|_| !endless))
    }

    fn ask(
        &self,
        method: &str,
        page: &str,
        parts: &[(&str, &str)],
        patience: Option<Duration>,
    ) -> anyhow::Result<Value> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parts);
        let page = format!("{page}?{}", query.finish());
        let answer = self.connection.ask(method, &page, patience)?;
        match answer["error"].as_str() {
            Some(reason) => bail!("{reason}"),
            None => Ok(answer),
        }
    }
}

/// Calls `with` for each regular file at or below a path of one file system, in order of names.
/// Folders that go away meanwhile are left out.
pub(super) fn files(
    path: &Path,
    with: &mut dyn FnMut(PathBuf, u64) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
    };
    if metadata.is_file() {
        return with(path.to_owned(), metadata.len());
    }
    if !metadata.is_dir() {
        return Ok(());
    }
    let mut names = Vec::new();
    match fs::read_dir(path) {
        Ok(entries) => {
            for entry in entries {
                names.push(entry.with_context(|| format!("{}", path.display()))?.path());
            }
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
    }
    names.sort();
    for name in names {
        files(&name, with)?;
    }
    Ok(())
}
