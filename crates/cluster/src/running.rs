//! A cluster that runs: its addresses, its files over HTTP, and the power over its processes.

use std::path::{Path, PathBuf};
use std::thread;

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::http::encode_path;
use crate::scratch::Scratch;
use crate::{Builder, Certificates, Http, PortPair, Process, Response, StockMount};

/// A running SeaweedFS; stopped and removed when dropped.
#[derive(Debug)]
pub struct Cluster {
    // Fields are dropped in this order: the servers end before their folder goes.
    pub(crate) filers: Vec<(Process, PortPair)>,
    pub(crate) volumes: Vec<(Process, PortPair)>,
    pub(crate) master: (Process, PortPair),
    http: Http,
    certificates: Option<Certificates>,
    weed: PathBuf,
    home: PathBuf,
    root: Scratch,
}

/// What a [`Builder`] hands over.
pub(crate) struct Parts {
    pub(crate) root: Scratch,
    pub(crate) home: PathBuf,
    pub(crate) weed: PathBuf,
    pub(crate) certificates: Option<Certificates>,
    pub(crate) http: Http,
    pub(crate) master: (Process, PortPair),
}

impl From<Parts> for Cluster {
    fn from(parts: Parts) -> Self {
        let Parts {
            root,
            home,
            weed,
            certificates,
            http,
            master,
        } = parts;
        Self {
            filers: Vec::new(),
            volumes: Vec::new(),
            master,
            http,
            certificates,
            weed,
            home,
            root,
        }
    }
}

/// Addresses and places.
impl Cluster {
    /// Describes a cluster to start.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// `host:port` of the first filer's HTTP, which is also what `-filer=` takes.
    #[must_use]
    pub fn filer_http(&self) -> String {
        self.filer_http_of(0)
    }

    /// `host:port` of a filer's HTTP.
    #[must_use]
    pub fn filer_http_of(&self, i: usize) -> String {
        format!("127.0.0.1:{}", self.filers[i].1.http())
    }

    /// `host:port` of the first filer's gRPC.
    #[must_use]
    pub fn filer_grpc(&self) -> String {
        self.filer_grpc_of(0)
    }

    /// `host:port` of a filer's gRPC.
    #[must_use]
    pub fn filer_grpc_of(&self, i: usize) -> String {
        format!("127.0.0.1:{}", self.filers[i].1.grpc())
    }

    /// All filers, comma-separated, as `-filer=` takes them.
    #[must_use]
    pub fn filer_list(&self) -> String {
        (0..self.filers.len())
            .map(|i| self.filer_http_of(i))
            .collect::<Vec<_>>()
            .join(",")
    }

    /// `host:port` of the master's HTTP.
    #[must_use]
    pub fn master_http(&self) -> String {
        format!("127.0.0.1:{}", self.master.1.http())
    }

    /// `host:port` of a volume server's HTTP.
    #[must_use]
    pub fn volume_http(&self, i: usize) -> String {
        format!("127.0.0.1:{}", self.volumes[i].1.http())
    }

    /// The folder with everything of this cluster; removed with it.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.root.path()
    }

    /// HOME and working directory of its processes. Here lies `security.toml`, if there
    /// is one: clients that shall know it are started here, or get it as `-config_dir`.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// The certificates of a cluster started with [`Builder::tls`].
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_ref()
    }

    /// The `weed` binary it runs.
    #[must_use]
    pub fn weed(&self) -> &Path {
        &self.weed
    }

    /// The HTTP client that fits its protection.
    #[must_use]
    pub fn http(&self) -> &Http {
        &self.http
    }
}

/// Files, through the first filer's HTTP.
impl Cluster {
    /// Writes a file, with the parents it needs. The name's extension tells the type.
    ///
    /// # Errors
    /// When the filer does not store it.
    pub fn put(&self, path: &str, body: &[u8]) -> Result<()> {
        self.put_with(path, "", &[], body)
    }

    /// Writes a file with a query (`maxMB=1`, `op=append`) and headers.
    ///
    /// # Errors
    /// When the filer does not store it.
    pub fn put_with(
        &self,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<()> {
        self.filer(0, "PUT", path, query, headers, body)?
            .ok()
            .with_context(|| format!("PUT {path}"))?;
        Ok(())
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// When the filer refuses.
    pub fn mkdir(&self, path: &str) -> Result<()> {
        // A POST to a path that ends in a slash; a PUT would make a file inside, of the same name.
        let folder = format!("{}/", path.trim_end_matches('/'));
        self.filer(0, "POST", &folder, "", &[], b"")?
            .ok()
            .with_context(|| format!("make {path}"))?;
        Ok(())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When the filer does not give it.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        let response = self.filer(0, "GET", path, "", &[], b"")?;
        Ok(response.ok().with_context(|| format!("GET {path}"))?.body)
    }

    /// Deletes a file or, with everything below, a directory.
    ///
    /// # Errors
    /// When the filer refuses.
    pub fn delete(&self, path: &str) -> Result<()> {
        self.filer(0, "DELETE", path, "recursive=true", &[], b"")?
            .ok()
            .with_context(|| format!("DELETE {path}"))?;
        Ok(())
    }

    /// Moves a file or directory.
    ///
    /// # Errors
    /// When the filer refuses.
    pub fn rename(&self, from: &str, to: &str) -> Result<()> {
        let query = format!("mv.from={}", encode_path(from));
        self.filer(0, "POST", to, &query, &[], b"")?
            .ok()
            .with_context(|| format!("rename {from} to {to}"))?;
        Ok(())
    }

    /// Any request to a filer about a path (not encoded yet); every status is an answer.
    ///
    /// # Errors
    /// When the filer cannot be reached.
    pub fn filer(
        &self,
        i: usize,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response> {
        let mark = if query.is_empty() { "" } else { "?" };
        let target = format!(
            "{}{}{mark}{query}",
            self.filer_http_of(i),
            encode_path(path)
        );
        self.http.send(method, &target, headers, body)
    }
}

/// Power over the processes.
impl Cluster {
    /// The process of a filer.
    pub fn filer_process(&mut self, i: usize) -> &mut Process {
        &mut self.filers[i].0
    }

    /// The process of a volume server.
    pub fn volume_process(&mut self, i: usize) -> &mut Process {
        &mut self.volumes[i].0
    }

    /// The process of the master.
    pub fn master_process(&mut self) -> &mut Process {
        &mut self.master.0
    }

    /// Kills a filer as a crash would.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill_filer(&mut self, i: usize) -> Result<()> {
        self.filers[i].0.kill()
    }

    /// Freezes a filer: connections stay open, nothing is answered.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn stop_filer(&mut self, i: usize) -> Result<()> {
        self.filers[i].0.signal(Signal::STOP)
    }

    /// Lets a frozen filer go on.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn cont_filer(&mut self, i: usize) -> Result<()> {
        self.filers[i].0.signal(Signal::CONT)
    }

    /// Starts a filer again (killing it first if it runs) and waits until it serves.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart_filer(&mut self, i: usize) -> Result<()> {
        self.filers[i].0.restart()?;
        self.wait_for_filer(i)
    }

    /// Kills a volume server as a crash would.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill_volume(&mut self, i: usize) -> Result<()> {
        self.volumes[i].0.kill()
    }

    /// Freezes a volume server.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn stop_volume(&mut self, i: usize) -> Result<()> {
        self.volumes[i].0.signal(Signal::STOP)
    }

    /// Lets a frozen volume server go on.
    ///
    /// # Errors
    /// When it cannot be signalled.
    pub fn cont_volume(&mut self, i: usize) -> Result<()> {
        self.volumes[i].0.signal(Signal::CONT)
    }

    /// Starts a volume server again (killing it first if it runs) and waits until it serves.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart_volume(&mut self, i: usize) -> Result<()> {
        self.volumes[i].0.restart()?;
        self.wait_for_volume(i)
    }

    /// Mounts it at `dir` with the real `weed mount`.
    ///
    /// # Errors
    /// When the mount does not appear; the log of `weed mount` is part of the text.
    pub fn stock_mount(&self, dir: &Path, extra: &[&str]) -> Result<StockMount> {
        StockMount::start(self, &self.weed, dir, extra)
    }

    /// The same with another `weed` than that of the servers.
    ///
    /// # Errors
    /// When the mount does not appear; the log of `weed mount` is part of the text.
    pub fn stock_mount_by(&self, weed: &Path, dir: &Path, extra: &[&str]) -> Result<StockMount> {
        StockMount::start(self, weed, dir, extra)
    }

    /// The ends of all logs.
    #[must_use]
    pub fn logs(&self) -> String {
        let servers = [&self.master]
            .into_iter()
            .chain(&self.volumes)
            .chain(&self.filers);
        let tail = |(process, _): &(Process, PortPair)| {
            format!(
                "--- {} (pid {})\n{}\n",
                process.spec().name,
                process.id(),
                process.log_tail(25)
            )
        };
        servers.map(tail).collect()
    }

    pub(crate) fn master_ports(&self) -> &PortPair {
        &self.master.1
    }

    pub(crate) fn add_filer(&mut self, process: Process, ports: PortPair) -> Result<()> {
        self.filers.push((process, ports));
        self.wait_for_filer(self.filers.len() - 1)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!(
                "the logs of the cluster in {}:\n{}",
                self.root.path().display(),
                self.logs()
            );
        }
        // The servers die by SIGKILL as their fields are dropped: a filer whose master is
        // gone ignores SIGTERM, and nothing they could save outlives the folder.
    }
}
