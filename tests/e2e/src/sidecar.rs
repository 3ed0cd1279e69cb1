//! The real `riptide sidecar`, as a process.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Cluster, Http, PortPair, Process, Response, Spec, free_port_pair};
use seaweed::FileId;
use serde_json::Value;
use volume::DataDir;
use volume::inspect::{Inspection, volumes};

use crate::{Scene, noise, riptide};

/// A sidecar by `riptide`; killed when dropped.
#[derive(Debug)]
pub struct Sidecar {
    ports: PortPair,
    process: Process,
    http: Http,
}

impl Sidecar {
    /// Starts one beside volume server `i` and waits until it serves.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(scene: &Scene, i: usize, flags: &[&str]) -> Self {
        let mut sidecar = Self::spawn(scene, i, flags);
        sidecar.wait_until(|health| {
            let volumes = health["volumes"].as_array().map_or(0, Vec::len);
            let loading = health["volume_states"]
                .as_array()
                .is_none_or(|all| all.iter().any(|volume| volume["state"] == "loading"));
            health["status"] == "healthy" && volumes > 0 && !loading
        });
        sidecar
    }

    /// Starts one and does not wait.
    ///
    /// # Panics
    /// When the program cannot be started.
    #[must_use]
    pub fn spawn(scene: &Scene, i: usize, flags: &[&str]) -> Self {
        let cluster = &scene.cluster;
        let ports = free_port_pair().unwrap_or_else(|e| panic!("{e:#}"));
        let name = format!("sidecar{}", ports.http());
        let mut args: Vec<OsString> = vec!["sidecar".into()];
        let mut default = |flag: &str, value: String| {
            let given = |given: &&str| {
                let name = given.trim_start_matches('-').split('=').next();
                name == Some(flag)
            };
            if !flags.iter().any(given) {
                args.push(format!("-{flag}={value}").into());
            }
        };
        default("volume-server", cluster.volume_http(i));
        default("filer", cluster.filer_list());
        default("bind", "127.0.0.1".to_owned());
        default("port", ports.http().to_string());
        let socket = scene.path(&format!("{name}.sock"));
        default("socket", socket.display().to_string());
        args.extend(flags.iter().map(OsString::from));
        let spec = Spec {
            name: "riptide sidecar".to_owned(),
            program: riptide().to_owned(),
            args,
            // Here lies the cluster's security.toml.
            home: cluster.home().to_owned(),
            log: scene.path(&format!("{name}.log")),
            env: Vec::new(),
        };
        let process = Process::start(spec).unwrap_or_else(|e| panic!("{e:#}"));
        Self {
            ports,
            process,
            http: cluster.http().clone(),
        }
    }

    /// `host:port` of its HTTP.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.http())
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.ports.http()
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// What it printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        self.process.log_tail(400)
    }

    /// Makes a request.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
        let target = format!("{}{path}", self.address());
        let answer = self.http.send(method, &target, headers, b"");
        answer.unwrap_or_else(|e| panic!("{e:#}\n{}", self.log()))
    }

    /// Reads a needle.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn read(&self, query: &str) -> Response {
        self.send("GET", &format!("/read?{query}"), &[])
    }

    /// Its health; nothing when it does not answer.
    #[must_use]
    pub fn health(&self) -> Option<Value> {
        let target = format!("{}/health", self.address());
        let answer = self.http.send("GET", &target, &[], b"").ok()?;
        serde_json::from_slice(&answer.body).ok()
    }

    /// One number of its statistics: all series of a metric added up.
    ///
    /// # Panics
    /// When there is none of that name.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let stats: Value = serde_json::from_slice(&self.send("GET", "/stats", &[]).body)
            .unwrap_or_else(|e| panic!("/stats: {e}"));
        let series = stats["metrics"][name].as_array();
        let series = series.unwrap_or_else(|| panic!("no metric {name} in {stats:#}"));
        series.iter().filter_map(|one| one["value"].as_f64()).sum()
    }

    /// Waits until its health is as wanted, and returns it.
    ///
    /// # Panics
    /// When that takes too long, or it ends.
    pub fn wait_until(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let health = self.health();
            if let Some(health) = &health
                && wanted(health)
            {
                return health.clone();
            }
            self.process
                .expect_running()
                .unwrap_or_else(|e| panic!("{e:#}"));
            let log = || format!("{health:#?}\n{}", self.log());
            assert!(start.elapsed() < READY, "after {READY:?}: {}", log());
            thread::sleep(POLL);
        }
    }

    /// Asks it to end (SIGTERM), and tells how it did.
    ///
    /// # Panics
    /// When it does not.
    pub fn terminate(&mut self) -> ExitStatus {
        let ended = self.process.terminate(READY);
        ended.unwrap_or_else(|e| panic!("{e:#}\n{}", self.log()))
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the log of riptide sidecar:\n{}", self.process.log_tail(60));
        }
    }
}

/// The data folder of volume server `i`.
#[must_use]
pub fn data_folder(cluster: &Cluster, i: usize) -> PathBuf {
    cluster.root().join(format!("volume{i}"))
}

/// Makes a volume on each of so many volume servers: where the first file has some made is left to chance.
///
/// # Panics
/// When the master does not make one.
pub fn grow_on_every_server(scene: &Scene, servers: usize) {
    let master = scene.cluster.master_http();
    for i in 0..servers {
        let node = scene.cluster.volume_http(i);
        let target = format!("{master}/vol/grow?count=1&replication=000&dataNode={node}");
        // One that has just started may not be known to the master yet.
        let grown = (0..ROUNDS).any(|_| {
            let answer = scene.cluster.http().send("GET", &target, &[], b"");
            let is_made = answer.is_ok_and(|answer| answer.ok().is_ok());
            if !is_made {
                thread::sleep(PAUSE);
            }
            is_made
        });
        assert!(grown, "no volume at {node}\n{}", scene.cluster.logs());
    }
}

/// Puts files until each volume server has some.
///
/// # Panics
/// When one of them never gets any.
pub fn put_on_every_server(scene: &Scene, servers: usize) {
    grow_on_every_server(scene, servers);
    for round in 0..ROUNDS {
        for i in 0..12 {
            let path = format!("/f{round}.{i}");
            scene.put(&path, &noise(round * 100 + i, 50_000));
        }
        if (0..servers).all(|i| !all_needles(&data_folder(&scene.cluster, i)).is_empty()) {
            return;
        }
    }
    panic!("a server has no needle after {ROUNDS} rounds");
}

/// Attempts at having something on each server.
const ROUNDS: u64 = 20;
const PAUSE: Duration = Duration::from_millis(500);

/// The ids of all needles that the indexes in a data folder say are there.
///
/// # Panics
/// When a volume cannot be read.
#[must_use]
pub fn all_needles(folder: &Path) -> Vec<FileId> {
    let dir = DataDir::new(folder);
    let mut all = Vec::new();
    for found in volumes(&dir).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let inspection = Inspection::open(&dir, &found);
        let inspection = inspection.unwrap_or_else(|e| panic!("volume {}: {e}", found.id));
        for live in inspection.needles() {
            let needle = inspection.needle(&live);
            let needle = needle.unwrap_or_else(|e| panic!("{},{:x}: {e}", found.id, live.key));
            all.push(needle.file_id());
        }
    }
    all
}

/// On a busy machine a start takes seconds; more means that something is broken.
const READY: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
