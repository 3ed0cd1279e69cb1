//! Waiting until servers serve.
//!
//! A server that finds another one not yet there sleeps for seconds before it tries again, so
//! each kind is started when the one it talks to is ready: the master, the volume servers, a
//! filer. That makes a start take less than a second.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::Cluster;

/// On a busy machine a start takes seconds; more means that something is broken.
const READY: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Larger than what a filer may be told to keep in the entry: a chunk must be written.
const PROBE_SIZE: usize = 256 * 1024;

impl Cluster {
    /// Until the master leads, so that whoever registers is taken.
    pub(crate) fn wait_for_master(&mut self) -> Result<()> {
        self.wait("the master", |cluster| {
            let status = cluster.ask_master("cluster/status")?;
            match status.contains("\"IsLeader\":true") {
                true => Ok(()),
                false => bail!("it does not lead: {status}"),
            }
        })
    }

    /// Until the master knows all volume servers.
    pub(crate) fn wait_for_registration(&mut self) -> Result<()> {
        self.wait("the volume servers", |cluster| {
            let status = cluster.ask_master("dir/status")?;
            let registered = status.matches("\"PublicUrl\":").count();
            match registered >= cluster.volumes.len() {
                true => Ok(()),
                false => bail!("{registered} of {} registered", cluster.volumes.len()),
            }
        })
    }

    /// Until volume server `i` answers.
    pub(crate) fn wait_for_volume(&mut self, i: usize) -> Result<()> {
        let target = format!("{}/status", self.volume_http(i));
        self.wait(&format!("volume server {i}"), |cluster| {
            cluster.http().send("GET", &target, &[], b"").map(drop)
        })
    }

    /// Until a file that is written through filer `i` reads back.
    pub(crate) fn wait_for_filer(&mut self, i: usize) -> Result<()> {
        self.wait(&format!("filer {i}"), |cluster| cluster.probe(i))
    }

    fn wait(&mut self, what: &str, done: impl Fn(&Self) -> Result<()>) -> Result<()> {
        let start = Instant::now();
        while let Err(failure) = done(self) {
            self.expect_running()?;
            if start.elapsed() > READY {
                let logs = self.logs();
                return Err(failure.context(format!("{what}: not ready after {READY:?}\n{logs}")));
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// All servers but those that were killed on purpose.
    fn expect_running(&mut self) -> Result<()> {
        let servers = [&mut self.master]
            .into_iter()
            .chain(&mut self.volumes)
            .chain(&mut self.filers);
        for (process, _) in servers.filter(|(process, _)| !process.ended_on_purpose()) {
            process.expect_running()?;
        }
        Ok(())
    }

    fn ask_master(&self, path: &str) -> Result<String> {
        let target = format!("{}/{path}", self.master_http());
        let answer = self.http().send("GET", &target, &[], b"")?.ok()?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    fn probe(&self, i: usize) -> Result<()> {
        let body = vec![b'p'; PROBE_SIZE];
        // Of its own: filers repeat each other's deletions.
        let path = format!("/.ready{i}");
        self.filer(i, "PUT", &path, "", &[], &body)?.ok()?;
        let back = self.filer(i, "GET", &path, "", &[], b"")?.ok()?;
        let _ = self.filer(i, "DELETE", &path, "", &[], b"")?;
        if back.body != body {
            bail!("the probe file reads back differently");
        }
        Ok(())
    }
}
