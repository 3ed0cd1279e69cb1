//! A sidecar beside the volume server, that offers one carrier.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cluster::{Cluster, Http, Process, Spec, free_port_pair};
use serde_json::Value;
use tempfile::TempDir;

use super::binary::Programs;

/// A running sidecar. Stopped when dropped.
#[derive(Debug)]
pub(crate) struct Sidecar {
    carrier: &'static str,
    http: String,
    process: Process,
    _scratch: TempDir,
}

impl Sidecar {
    /// Starts one, and waits until it serves.
    pub(crate) fn start(
        programs: &Programs,
        carrier: &'static str,
        cluster: &Cluster,
    ) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("riptide-bench-")
            .tempdir()?;
        let root = scratch.path().canonicalize()?;
        let ports = free_port_pair()?;
        let port = ports.http();
        let args = [
            "sidecar".to_owned(),
            format!("--port={port}"),
            format!("--fabric-port={}", ports.grpc()),
            "--bind=127.0.0.1".to_owned(),
            format!("--socket={}", root.join("fabric.sock").display()),
            format!("--transports={carrier}"),
            format!("--volume-server={}", cluster.volume_http(0)),
            format!("--filer={}", cluster.filer_http()),
        ];
        let process = Process::start(Spec {
            name: format!("the sidecar for {carrier}"),
            program: programs.riptide()?,
            args: args.into_iter().map(Into::into).collect(),
            home: root.clone(),
            log: root.join("sidecar.log"),
            env: Vec::new(),
        })?;
        let mut sidecar = Self {
            carrier,
            http: format!("127.0.0.1:{port}"),
            process,
            _scratch: scratch,
        };
        sidecar.wait()?;
        Ok(sidecar)
    }

    /// `host:port` of its HTTP server.
    pub(crate) fn http(&self) -> &str {
        &self.http
    }

    /// What it offers.
    pub(crate) fn carrier(&self) -> &'static str {
        self.carrier
    }

    /// Bytes of needles that it has sent over the fabric.
    pub(crate) fn sent(&self) -> Result<u64> {
        let answer = Http::new(None)?.send("GET", &format!("{}/stats", self.http), &[], &[])?;
        let stats: Value = serde_json::from_slice(&answer.body).context("/stats of the sidecar")?;
        sum(&stats, "fabric_bytes").context("no fabric_bytes in /stats of the sidecar")
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for volumes: one that serves none would send every read to HTTP.
    fn wait(&mut self) -> Result<()> {
        let (http, start) = (Http::new(None)?, Instant::now());
        loop {
            self.process.expect_running()?;
            let health = http.send("GET", &format!("{}/health", self.http), &[], &[]);
            let serves = health.ok().and_then(|answer| {
                let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
                Some(!body["volumes"].as_array()?.is_empty())
            });
            if serves == Some(true) {
                return Ok(());
            }
            if start.elapsed() > COMING {
                let log = self.process.log_tail(30);
                bail!("the sidecar serves nothing after {COMING:?}; its log:\n{log}");
            }
            thread::sleep(POLL);
        }
    }
}

/// The sum of all series of a counter, wherever in the document it stands.
fn sum(stats: &Value, name: &str) -> Option<u64> {
    let object = stats.as_object()?;
    let Some(found) = object.get(name) else {
        return object.values().find_map(|inner| sum(inner, name));
    };
    match found.as_array() {
        Some(series) => series.iter().map(|one| one["value"].as_u64()).sum(),
        None => found.as_u64(),
    }
}

const COMING: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_counter_is_the_sum_of_its_series() {
        let series = json!([{"labels": {"carrier": "shm"}, "value": 5}, {"value": 7}]);
        let stats = json!({"a": {"fabric_bytes": series}, "b": 3});
        assert_eq!(sum(&stats, "fabric_bytes"), Some(12));
        assert_eq!(sum(&stats, "b"), Some(3));
        assert_eq!(sum(&stats, "c"), None);
    }
}
