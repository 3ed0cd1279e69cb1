//! `riptide dev`, `stats` and `umount` on a real mount of a real SeaweedFS.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const START: Duration = Duration::from_secs(120);
const END: Duration = Duration::from_secs(60);

struct Dev {
    child: Child,
    point: PathBuf,
    _home: tempfile::TempDir,
}

impl Dev {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let point = home.path().canonicalize().unwrap().join("mnt");
        let child = Command::new(env!("CARGO_BIN_EXE_riptide"))
            .args(["dev", "-files=4", "-dir"])
            .arg(&point)
            .spawn()
            .unwrap();
        let mut dev = Self {
            child,
            point,
            _home: home,
        };
        let started = Instant::now();
        while !dev.point.join("sample").is_dir() {
            let ended = dev.child.try_wait().unwrap();
            assert!(ended.is_none() && started.elapsed() < START, "{ended:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        dev
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < END, "does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn is_mounted(&self) -> bool {
        riptide::lifecycle::mounted_at(&self.point)
            .unwrap()
            .is_some()
    }

    fn ask(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_riptide"))
            .args(args)
            .arg(&self.point)
            .output()
            .unwrap()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if self.is_mounted() {
            let _ = fuse::unmount(&self.point, true);
        }
    }
}

fn can_mount() -> bool {
    let able = rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists();
    if !able {
        eprintln!("skipped: needs root and /dev/fuse");
    }
    able
}

#[test]
fn a_mount_shows_files_and_statistics_until_it_is_interrupted() {
    if !can_mount() {
        return;
    }
    let mut dev = Dev::start();
    let sizes: Vec<u64> = (0..4)
        .map(|number| dev.point.join(format!("sample/{number:05}.bin")))
        .map(|path| std::fs::read(path).unwrap().len() as u64)
        .collect();
    assert_eq!(sizes, [0, 100, 64 << 10, 1 << 20]);

    let output = dev.ask(&["stats", "-once", "-json"]);
    let stats: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(stats["total_reads"].as_u64().unwrap() >= 3, "{stats:#}");
    assert_eq!(stats["total_bytes_read"], 100 + (64 << 10) + (1 << 20));
    let output = dev.ask(&["stats", "-once"]);
    let page = String::from_utf8(output.stdout).unwrap();
    assert!(page.contains("latency") && page.contains("READ"), "{page}");

    let busy = dev.ask(&["umount"]);
    assert!(busy.status.success(), "nobody uses it: {busy:?}");
    assert!(dev.wait().success());
    assert!(!dev.is_mounted());
}

#[test]
fn a_mount_in_use_is_not_unmounted_by_umount_and_detached_by_a_second_signal() {
    if !can_mount() {
        return;
    }
    let mut dev = Dev::start();
    let user = std::fs::File::open(dev.point.join("sample/00001.bin")).unwrap();
    let busy = dev.ask(&["umount"]);
    assert_eq!(busy.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&busy.stderr).contains("in use"),
        "{busy:?}"
    );
    assert!(dev.is_mounted());

    dev.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(500));
    assert!(dev.is_mounted(), "a busy mount is tried again for a while");
    dev.signal(Signal::TERM);
    let started = Instant::now();
    while dev.is_mounted() {
        assert!(started.elapsed() < END);
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(user);
    assert!(dev.wait().success());
}

#[test]
fn an_interrupt_while_the_cluster_starts_leaves_nothing_behind() {
    if !can_mount() {
        return;
    }
    // A folder of its own for what is temporary, to see what is left.
    let temporary = tempfile::tempdir().unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_riptide"))
        .args(["dev", "-files=0"])
        .env("TMPDIR", temporary.path())
        .spawn()
        .unwrap();
    let mut dev = Dev {
        child,
        point: temporary.path().join("none"),
        _home: tempfile::tempdir().unwrap(),
    };
    let entries = || std::fs::read_dir(temporary.path()).unwrap().count();
    let started = Instant::now();
    while entries() == 0 {
        assert!(started.elapsed() < START);
        std::thread::sleep(Duration::from_millis(5));
    }
    dev.signal(Signal::TERM);
    assert!(dev.wait().success());
    assert_eq!(entries(), 0);
}
