//! `riptide bench`: on a plain folder, on a mount, and on the null mount.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use e2e::{Scene, eventually, needs_fuse, riptide};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const LITTLE: [&str; 4] = ["-sizeMB=2", "-files=20", "-count=40", "-rounds=1"];

fn bench(args: &[&str]) -> Output {
    let mut command = Command::new(riptide());
    command.arg("bench").args(LITTLE).args(args);
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&both).into_owned()
}

/// What was measured, by key; every number of it is one.
fn measured(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", said(output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = told["rows"].as_array().unwrap();
    let key = |row: &Value| {
        assert!(row["median"].as_f64().unwrap() > 0.0, "{row}");
        assert_eq!(row["samples"].as_array().unwrap().len(), 1, "{row}");
        row["key"].as_str().unwrap().to_owned()
    };
    rows.iter().map(key).collect()
}

fn names(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_folder_is_measured_and_left_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("mine"), "x").unwrap();
    let at = dir.path().to_str().unwrap();
    let keys = measured(&bench(&["-write", "-json", at]));
    for key in ["seq-buffered", "random-p50", "small-files", "missing"] {
        assert!(keys.iter().any(|it| it == key), "{key} of {keys:?}");
    }
    for key in ["write", "overwrite-p99", "create", "unlink", "rm-rf"] {
        assert!(keys.iter().any(|it| it == key), "{key} of {keys:?}");
    }
    assert_eq!(names(dir.path()), [dir.path().join("mine")]);

    let table = bench(&[at]);
    let text = said(&table);
    assert!(table.status.success(), "{text}");
    assert!(text.contains("sequential 1 MiB, buffered"), "{text}");
    assert!(!text.contains("sequential write"), "{text}");
}

#[test]
fn a_tree_that_was_kept_is_read_and_a_wrong_byte_in_it_found() {
    let dir = tempfile::tempdir().unwrap();
    let kept = bench(&["-keep", dir.path().to_str().unwrap()]);
    assert!(kept.status.success(), "{}", said(&kept));
    let [tree] = &names(dir.path())[..] else {
        panic!("{:?}", names(dir.path()));
    };
    assert!(said(&kept).contains(tree.to_str().unwrap()));
    let at = tree.to_str().unwrap();
    measured(&bench(&["-json", at]));
    assert!(tree.join("big.bin").exists());

    let mut bytes = fs::read(tree.join("big.bin")).unwrap();
    bytes[1_500_001] ^= 4;
    fs::write(tree.join("big.bin"), bytes).unwrap();
    let wrong = bench(&["-json", at]);
    assert_eq!(wrong.status.code(), Some(1));
    let text = said(&wrong);
    assert!(
        text.contains("big.bin: the 8 bytes at 1500000 are"),
        "{text}"
    );
}

#[test]
fn nonsense_is_refused_with_its_name() {
    for (args, error) in [
        (&["/none/of/that"][..], "/none/of/that: No such file"),
        (&["/etc/passwd"], "/etc/passwd is not a folder"),
        (&["/proc"], "cannot write into /proc"),
        (&["-sizeMB=1e9", "/tmp"], "flag -sizeMB"),
        (&["-null", "/tmp"], "no DIR with -null"),
        (&[], "missing argument DIR"),
    ] {
        let refused = bench(args);
        let text = said(&refused);
        assert!(!refused.status.success(), "{args:?}");
        assert!(text.contains(error), "{args:?}: {text}");
    }
}

#[test]
fn a_measurement_that_is_stopped_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(riptide());
    let command = command.args(["bench", "-rounds=100", "-sizeMB=8", "-files=50"]);
    let command = command.arg(dir.path()).stdout(Stdio::null());
    let mut child = command.spawn().unwrap();
    eventually("it has begun", Duration::from_secs(60), || {
        !names(dir.path()).is_empty()
    });
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let ended = child.wait().unwrap();
    assert_eq!(ended.code(), Some(1));
    assert!(names(dir.path()).is_empty(), "{:?}", names(dir.path()));
}

#[test]
fn a_mount_is_measured_with_all_that_is_written_to_it() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    let at = mount.dir().to_str().unwrap();
    let output = bench(&["-write", "-json", at]);
    let keys = measured(&output);
    assert!(keys.iter().any(|it| it == "seq-direct"), "{keys:?}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let place = told["place"].as_str().unwrap();
    assert!(place.contains("fuse.seaweedfs"), "{place}");
    let left: Vec<_> = names(mount.dir())
        .into_iter()
        .filter(|path| path.to_string_lossy().contains("riptide-bench"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_null_mount_is_measured_and_gone_afterwards() {
    needs_fuse!();
    let mounted = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    for transport in ["dev", "uring"] {
        let has = Path::new("/sys/module/fuse/parameters/enable_uring").exists();
        if transport == "uring" && !has {
            eprintln!("SKIPPED: this kernel has no FUSE over io_uring");
            continue;
        }
        let keys = measured(&bench(&[
            "-null",
            "-json",
            &format!("-fuse.transport={transport}"),
        ]));
        for key in ["seq-direct", "parallel", "getattr", "find-stat"] {
            assert!(keys.iter().any(|it| it == key), "{key} of {keys:?}");
        }
    }
    assert!(!mounted().contains("/riptide-null-"), "{}", mounted());
}

#[test]
fn the_null_mount_is_served_until_it_is_unmounted() {
    needs_fuse!();
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().canonicalize().unwrap();
    let mut command = Command::new(riptide());
    let command = command.args(["bench", "-null", "-sizeMB=1", "-files=3"]);
    let command = command.arg(format!("-serve={}", at.display()));
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    eventually("it is mounted", Duration::from_secs(60), || {
        cluster::mounted(&at).unwrap()
    });
    assert_eq!(fs::metadata(at.join("big.bin")).unwrap().len(), 1 << 20);
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(!cluster::mounted(&at).unwrap());
}
