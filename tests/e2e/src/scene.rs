//! A cluster and a place for mounts.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use cluster::{Builder, Cluster, StockMount};
use tempfile::TempDir;

use crate::{Craft, Mount};

/// A running cluster with a folder for mount points and caches beside it.
#[derive(Debug)]
pub struct Scene {
    /// The cluster.
    pub cluster: Cluster,
    craft: OnceLock<Craft>,
    scratch: TempDir,
}

impl Scene {
    /// One volume server, one filer.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::of(Cluster::builder())
    }

    /// A cluster of that shape.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn of(builder: Builder) -> Self {
        let cluster = builder
            .start()
            .unwrap_or_else(|e| panic!("start a cluster: {e:#}"));
        let scratch = tempfile::Builder::new().prefix("riptide-e2e-").tempdir();
        let scratch = scratch.unwrap_or_else(|e| panic!("temporary folder: {e}"));
        Self {
            cluster,
            craft: OnceLock::new(),
            scratch,
        }
    }

    /// Mounts it with `riptide` and these further flags.
    ///
    /// # Panics
    /// When the mount does not come up; its log is shown.
    #[must_use]
    pub fn mount(&self, flags: &[&str]) -> Mount {
        self.mount_at("mnt", flags)
    }

    /// The same at a mount point of another name.
    ///
    /// # Panics
    /// When the mount does not come up; its log is shown.
    #[must_use]
    pub fn mount_at(&self, name: &str, flags: &[&str]) -> Mount {
        Mount::start(self, name, flags)
    }

    /// Mounts it with the stock `weed mount` and these further flags.
    ///
    /// # Panics
    /// When the mount does not come up; its log is shown.
    #[must_use]
    pub fn stock(&self, flags: &[&str]) -> StockMount {
        let mount = self.cluster.stock_mount(&self.path("stock"), flags);
        mount.unwrap_or_else(|e| panic!("stock mount: {e:#}"))
    }

    /// Writes a file through the filer.
    ///
    /// # Panics
    /// When the filer refuses.
    pub fn put(&self, path: &str, bytes: &[u8]) {
        self.cluster
            .put(path, bytes)
            .unwrap_or_else(|e| panic!("{e:#}"));
    }

    /// Makes entries that no upload makes.
    #[must_use]
    pub fn craft(&self) -> &Craft {
        self.craft.get_or_init(|| Craft::connect(&self.cluster))
    }

    /// Has `weed shell` carry out a command for each line; what it says.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn shell(&self, commands: &str) -> String {
        let mut shell = Command::new(self.cluster.weed())
            .arg("shell")
            .arg(format!("-master={}", self.cluster.master_http()))
            .arg(format!("-filer={}", self.cluster.filer_http()))
            .current_dir(self.cluster.home())
            .env("HOME", self.cluster.home())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("weed shell");
        let mut input = shell.stdin.take().expect("piped");
        input
            .write_all(format!("{commands}\nexit\n").as_bytes())
            .expect("weed shell reads");
        drop(input);
        let output = shell.wait_with_output().expect("weed shell ends");
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// A path in the scratch folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The scratch folder.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }
}
