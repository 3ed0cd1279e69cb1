//! Requests that come through io_uring (docs/SEMANTICS.md holds for both ways).

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::{Mount, Sample, Scene, Sidecar, assert_reads, eventually, needs_fuse, noise, plant};
use rustix::process::Signal;

/// For what comes by itself.
const SOON: Duration = Duration::from_secs(60);

const URING: &str = "-fuse.transport=uring";

/// Whether this kernel can; says if not.
fn offered() -> bool {
    let offered = Path::new("/sys/module/fuse/parameters/enable_uring").exists();
    if !offered {
        eprintln!("SKIPPED: this kernel has no FUSE over io_uring");
    }
    offered
}

/// What the mount says its transport is, as soon as it has started.
fn transport(mount: &Mount) -> String {
    let mut found = None;
    eventually("the session is in the metrics", SOON, || {
        let text = String::from_utf8(mount.http("/metrics").body).unwrap();
        let line = text.lines().find(|line| line.contains("fuse_session{"));
        let value = line.and_then(|line| line.split_once("transport=\""));
        found = value.and_then(|(_, rest)| Some(rest.split_once('"')?.0.to_owned()));
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn every_kind_reads_as_planted_and_the_mount_says_how_it_came() {
    needs_fuse!();
    if !offered() {
        return;
    }
    let scene = Scene::start();
    let samples = plant(&scene);
    let mount = scene.mount(&[URING, "-readOnly"]);
    assert_eq!(transport(&mount), "uring");
    for Sample { path, bytes } in &samples {
        assert_reads(&mount.path(path), bytes);
    }
    let device = scene.mount_at("device", &["-fuse.transport=dev"]);
    assert_eq!(transport(&device), "dev");
}

#[test]
fn the_fabric_and_long_listings_come_through_it() {
    needs_fuse!();
    if !offered() {
        return;
    }
    let scene = Scene::start();
    let bytes = noise(7, 9_000_001);
    scene.put("/file", &bytes);
    let names: Vec<String> = (0..300).map(|n| format!("{n:0>255}")).collect();
    for name in &names {
        scene.put(&format!("/folder/{name}"), b"x");
    }
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let at = format!("-rdma.sidecar={}", sidecar.address());
    let mount = scene.mount(&[
        URING,
        "-readOnly",
        "-rdma.enabled",
        "-rdma.shortCircuit=false",
        &at,
    ]);
    assert_reads(&mount.path("/file"), &bytes);
    let mut listed: Vec<_> = fs::read_dir(mount.path("/folder"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    listed.sort();
    assert_eq!(listed, names);
}

/// A read could overtake the write it has to follow (see `run::mount::transport`).
#[test]
fn a_mount_that_writes_is_refused() {
    needs_fuse!();
    let scene = Scene::start();
    let refused = Mount::refused(&scene, "writes", &[URING, "-dirAutoCreate"]);
    assert!(
        refused.output.contains("needs -readOnly"),
        "{}",
        refused.output
    );
}

/// Readers beyond the threads of the queues, all stuck, and killed: nothing is left of them, and
/// the mount goes on.
#[test]
fn readers_of_a_stopped_server_can_be_killed() {
    needs_fuse!();
    if !offered() {
        return;
    }
    let mut scene = Scene::start();
    for number in 0..40 {
        scene.put(&format!("/{number}"), &noise(number, 70_000));
    }
    let mut mount = scene.mount(&[
        URING,
        "-readOnly",
        "-fuse.maxThreads=1",
        "-cacheCapacityMB=0",
    ]);
    let server = scene.cluster.volume_process(0);
    server.signal(Signal::STOP).unwrap();
    let readers: Vec<_> = (0..40)
        .map(|number| {
            Command::new("cat")
                .arg(mount.path(&format!("/{number}")))
                .stdout(Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    std::thread::sleep(Duration::from_secs(1));
    let began = Instant::now();
    for mut reader in readers {
        reader.kill().unwrap();
        reader.wait().unwrap();
    }
    let took = began.elapsed();
    server.signal(Signal::CONT).unwrap();
    assert!(took < Duration::from_secs(10), "{took:?}");
    eventually("the mount reads again", SOON, || {
        fs::read(mount.path("/0")).is_ok_and(|bytes| bytes == noise(0, 70_000))
    });
    assert!(mount.terminate().success());
}
