//! The real `riptide mount`, as a process.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use cluster::{Http, PortPair, Process, Response, Spec, free_port_pair, mounted, unmount};
use rustix::process::Signal;

use crate::{Scene, riptide};

/// A mount by `riptide`; unmounted when dropped.
#[derive(Debug)]
pub struct Mount {
    dir: PathBuf,
    metrics: PortPair,
    process: Process,
    /// Whether what is mounted there is its own.
    came_up: bool,
}

/// A start that ended without a mount, as some must.
#[derive(Debug)]
pub struct Refused {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub output: String,
}

impl Mount {
    /// Starts it and waits until the root can be listed. `flags` may begin with another subcommand
    /// than `mount`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    pub fn start(scene: &Scene, name: &str, flags: &[&str]) -> Self {
        let dir = scene.path(name);
        // Fails where a mount has died, which the new one must recover from.
        let _ = fs::create_dir_all(&dir);
        let mut mount = Self::spawn(scene, name, flags);
        mount.came_up = true;
        let start = Instant::now();
        while !(mounted(&mount.dir).unwrap_or(false) && fs::read_dir(&mount.dir).is_ok()) {
            mount
                .process
                .expect_running()
                .unwrap_or_else(|e| panic!("{e:#}"));
            let log = || mount.process.log_tail(40);
            assert!(
                start.elapsed() < READY,
                "no mount after {READY:?}; its log:\n{}",
                log()
            );
            thread::sleep(POLL);
        }
        mount
    }

    /// Starts it where it must not come up, and waits for its end.
    ///
    /// # Panics
    /// When it keeps running.
    #[must_use]
    pub fn refused(scene: &Scene, name: &str, flags: &[&str]) -> Refused {
        let mut mount = Self::spawn(scene, name, flags);
        let status = mount
            .process
            .wait(READY)
            .unwrap_or_else(|e| panic!("{e:#}"));
        Refused {
            status,
            output: mount.log(),
        }
    }

    fn spawn(scene: &Scene, name: &str, flags: &[&str]) -> Self {
        let cluster = &scene.cluster;
        let metrics = free_port_pair().unwrap_or_else(|e| panic!("{e:#}"));
        let dir = scene.path(name);
        let (command, flags) = match flags.split_first() {
            Some((command, rest)) if !command.starts_with('-') => (*command, rest),
            _ => ("mount", flags),
        };
        let mut args: Vec<OsString> = vec![command.into()];
        let mut default = |flag: &str, value: String| {
            let given = |given: &&str| {
                given
                    .trim_start_matches('-')
                    .starts_with(&format!("{flag}="))
            };
            if !flags.iter().any(given) {
                args.push(format!("-{flag}={value}").into());
            }
        };
        default("filer", cluster.filer_list());
        default("dir", dir.display().to_string());
        default(
            "cacheDir",
            scene.path(&format!("{name}.cache")).display().to_string(),
        );
        default("metricsPort", metrics.http().to_string());
        let _ = fs::create_dir_all(scene.path(&format!("{name}.cache")));
        args.extend(flags.iter().map(OsString::from));
        let spec = Spec {
            name: "riptide mount".to_owned(),
            program: riptide().to_owned(),
            args,
            // Here lies the cluster's security.toml.
            home: cluster.home().to_owned(),
            log: scene.path(&format!("{name}.log")),
            env: Vec::new(),
        };
        let process = Process::start(spec).unwrap_or_else(|e| panic!("{e:#}"));
        let dir = scene
            .scratch()
            .canonicalize()
            .unwrap_or_default()
            .join(name);
        Self {
            dir,
            metrics,
            process,
            came_up: false,
        }
    }

    /// Where it is mounted.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path below the mount point; `path` is the filer's, so it starts with a slash.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.join(path.trim_start_matches('/'))
    }

    /// Reads a file by its path on the filer.
    ///
    /// # Panics
    /// When it cannot be read.
    #[must_use]
    pub fn read(&self, path: &str) -> Vec<u8> {
        fs::read(self.path(path)).unwrap_or_else(|e| panic!("read {path}: {e}"))
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

    /// Asks its statistics server.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn http(&self, path: &str) -> Response {
        let http = Http::new(None).unwrap_or_else(|e| panic!("{e:#}"));
        let target = format!("127.0.0.1:{}{path}", self.metrics.http());
        http.send("GET", &target, &[], b"")
            .unwrap_or_else(|e| panic!("{e:#}"))
    }

    /// Its statistics, as JSON.
    ///
    /// # Panics
    /// When there are none.
    #[must_use]
    pub fn stats(&self) -> serde_json::Value {
        let answer = self.http("/stats");
        assert_eq!(answer.status, 200);
        serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("/stats: {e}"))
    }

    /// One number of its statistics, wherever in the document it stands; a metric with
    /// several series is their sum.
    ///
    /// # Panics
    /// When there is no number of that name.
    #[must_use]
    pub fn stat(&self, name: &str) -> f64 {
        let stats = self.stats();
        let found = find(&stats, name).and_then(number);
        found.unwrap_or_else(|| panic!("no number {name} in {stats:#}"))
    }

    /// Asks it to end (SIGTERM), and tells how it did.
    ///
    /// # Panics
    /// When it does not.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process
            .terminate(GONE)
            .unwrap_or_else(|e| panic!("{e:#}\n{}", self.log()))
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub fn signal(&mut self, signal: Signal) {
        self.process
            .signal(signal)
            .unwrap_or_else(|e| panic!("{e:#}"));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("the log of riptide mount:\n{}", self.process.log_tail(60));
        }
        if self.process.is_running() && self.process.terminate(GONE).is_err() {
            eprintln!("riptide mount ignored SIGTERM; killed");
            let _ = self.process.kill();
        }
        if self.came_up
            && let Err(error) = unmount(&self.dir)
        {
            eprintln!("{error:#}");
        }
    }
}

fn find<'a>(value: &'a serde_json::Value, name: &str) -> Option<&'a serde_json::Value> {
    let object = value.as_object()?;
    object
        .get(name)
        .or_else(|| object.values().find_map(|inner| find(inner, name)))
}

fn number(value: &serde_json::Value) -> Option<f64> {
    match value.as_array() {
        Some(series) => series.iter().map(|one| one["value"].as_f64()).sum(),
        None => value.as_f64(),
    }
}

const READY: Duration = Duration::from_secs(30);
const GONE: Duration = Duration::from_secs(15);
const POLL: Duration = Duration::from_millis(10);
