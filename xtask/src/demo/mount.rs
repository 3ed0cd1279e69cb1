//! The mount of the demo: the real `riptide mount`, as a process.

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use cluster::{Cluster, Http, PortPair, Process, Spec, free_port_pair, mounted, unmount};
use serde_json::Value;
use tempfile::TempDir;

/// A mount that works. Unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Mounted {
    dir: PathBuf,
    metrics: PortPair,
    process: Process,
    program: PathBuf,
    _scratch: TempDir,
}

impl Mounted {
    /// Mounts the cluster with the flags that everybody gets.
    pub(crate) fn start(program: &Path, cluster: &Cluster) -> Result<Self> {
        let scratch = tempfile::Builder::new().prefix("riptide-demo-").tempdir()?;
        let root = scratch.path().canonicalize()?;
        let (dir, cache) = (root.join("mnt"), root.join("cache"));
        fs::create_dir(&dir)?;
        fs::create_dir(&cache)?;
        let metrics = free_port_pair()?;
        let args = [
            "mount".to_owned(),
            format!("-filer={}", cluster.filer_http()),
            format!("-dir={}", dir.display()),
            format!("-cacheDir={}", cache.display()),
            format!("-metricsPort={}", metrics.http()),
        ];
        let process = Process::start(Spec {
            name: "riptide mount".to_owned(),
            program: program.to_owned(),
            args: args.map(OsString::from).to_vec(),
            home: root.clone(),
            log: root.join("mount.log"),
            env: Vec::new(),
        })?;
        let program = program.to_owned();
        let mut mount = Self {
            dir,
            metrics,
            process,
            program,
            _scratch: scratch,
        };
        mount.wait()?;
        Ok(mount)
    }

    /// Where it is mounted.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path of the filer below the mount point.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path.trim_start_matches('/'))
    }

    /// The `riptide` that runs it.
    pub(crate) fn program(&self) -> &Path {
        &self.program
    }

    /// `host:port` of its statistics.
    pub(crate) fn metrics(&self) -> String {
        format!("127.0.0.1:{}", self.metrics.http())
    }

    /// Whether it still is there.
    pub(crate) fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// Adds the end of its log to an error.
    pub(crate) fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        error.context(format!(
            "the log of riptide mount:\n{}",
            self.process.log_tail(30)
        ))
    }

    /// What it counted, for people: the numbers about caches and routes.
    pub(crate) fn statistics(&self) -> Result<String> {
        let target = format!("{}/stats", self.metrics());
        let answer = Http::new(None)?.send("GET", &target, &[], b"")?.ok()?;
        let stats: Value = serde_json::from_slice(&answer.body).context("parse /stats")?;
        let mut text = String::from("counted meanwhile (its /stats):\n");
        for name in SHOWN {
            series(name, &stats["metrics"][name], &mut text);
        }
        Ok(text)
    }

    fn wait(&mut self) -> Result<()> {
        let start = Instant::now();
        while !(mounted(&self.dir)? && fs::read_dir(&self.dir).is_ok()) {
            self.process.expect_running()?;
            if start.elapsed() > READY {
                bail!(
                    "no mount after {READY:?}; its log:\n{}",
                    self.process.log_tail(30)
                );
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.process.terminate(GONE).is_err() {
            eprintln!("riptide mount does not end, killed");
        }
        if let Err(error) = unmount(&self.dir) {
            eprintln!("{error:#}");
        }
    }
}

/// The series of one metric that are not zero, a line each.
fn series(name: &str, metric: &Value, text: &mut String) {
    for one in metric.as_array().into_iter().flatten() {
        let value = one["value"].as_f64().unwrap_or_default();
        if value != 0.0 {
            let labels = one["labels"].as_object().into_iter().flatten();
            let labels: Vec<&str> = labels.filter_map(|(_, label)| label.as_str()).collect();
            let name = format!("{name} {}", labels.join(" "));
            let _ = writeln!(text, "  {name:<28} {value:>14}");
        }
    }
}

/// The counters that the demo shows: where bytes came from, and what the caches did.
const SHOWN: [&str; 9] = [
    "reads",
    "read_bytes",
    "cache_hits",
    "cache_misses",
    "cache_read_bytes",
    "http_requests",
    "http_bytes",
    "reader_prefetch_used",
    "invalidations",
];
const READY: Duration = Duration::from_secs(30);
const GONE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
