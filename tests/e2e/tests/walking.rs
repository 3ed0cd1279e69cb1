//! Going through a folder of small files, one after the other.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Mount, Scene, Sidecar, needs_fuse, noise};

const FILES: u64 = 120;

fn path(at: u64) -> String {
    format!("/folder/f{at:04}")
}

fn plant(scene: &Scene) {
    for at in 0..FILES {
        scene.put(&path(at), &noise(at + 1, 4096));
    }
}

/// A mount that starts hears once more what was changed lately, and doubts these names until it has.
fn settle(mount: &Mount) {
    let began = Instant::now();
    while mount.stat("events") < FILES as f64 {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{}",
            mount.stats()
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// What a program does that reads all files of a folder.
fn walk(mount: &Mount) {
    let mut names: Vec<_> = fs::read_dir(mount.path("/folder"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len() as u64, FILES);
    names.sort();
    for (at, name) in (0..).zip(names) {
        let bytes = fs::read(mount.path(&format!("/folder/{name}"))).unwrap();
        assert!(bytes == noise(at + 1, 4096), "{name}");
    }
}

#[test]
fn the_next_files_come_together_over_the_fabric() {
    needs_fuse!();
    let scene = Scene::start();
    plant(&scene);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let to = format!("-rdma.sidecar={}", sidecar.address());
    let flags = [
        "-rdma.enabled",
        &to,
        "-rdma.shortCircuit=false",
        "-rdma.fallback=false",
        "-cacheCapacityMB=0",
    ];
    let mount = scene.mount_at("walk", &flags);
    settle(&mount);
    walk(&mount);
    let [ahead, used] = ["reader_small_ahead", "reader_small_used"].map(|name| mount.stat(name));
    let exchanges = mount.stat("fabric_together");
    println!("{ahead} of {FILES} files ahead in {exchanges} exchanges, {used} of them read");
    assert!(ahead > 0.5 * FILES as f64, "{}", mount.stats());
    assert!(used >= 0.9 * ahead, "{used} of {ahead}");
    assert!(exchanges <= ahead / 4.0, "{exchanges} for {ahead}");
    assert_eq!(mount.stat("http_requests"), 0.0);
}

#[test]
fn over_http_they_come_side_by_side_and_what_was_changed_since_is_read_as_it_is() {
    needs_fuse!();
    let scene = Scene::start();
    plant(&scene);
    let mount = scene.mount_at("walk", &["-cacheCapacityMB=0"]);
    settle(&mount);
    let read = |at: u64| fs::read(mount.path(&path(at))).unwrap();
    assert_eq!(
        fs::read_dir(mount.path("/folder")).unwrap().count() as u64,
        FILES
    );
    for at in 0..6 {
        assert!(read(at) == noise(at + 1, 4096));
    }
    let ahead = || mount.stat("reader_small_ahead");
    let began = Instant::now();
    while ahead() < 5.0 {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{}",
            mount.stats()
        );
        thread::sleep(Duration::from_millis(20));
    }
    // Through the same mount, so that it is known at once; one that was fetched already.
    fs::write(mount.path(&path(8)), b"anew").unwrap();
    assert_eq!(read(6), noise(7, 4096));
    assert_eq!(read(7), noise(8, 4096));
    assert_eq!(read(8), b"anew");
    assert_eq!(read(9), noise(10, 4096));
}

#[test]
fn files_in_any_order_bring_no_others() {
    needs_fuse!();
    let scene = Scene::start();
    plant(&scene);
    let mount = scene.mount_at("walk", &["-cacheCapacityMB=0"]);
    settle(&mount);
    assert_eq!(
        fs::read_dir(mount.path("/folder")).unwrap().count() as u64,
        FILES
    );
    for step in 0..FILES {
        let at = step * 37 % FILES;
        assert!(fs::read(mount.path(&path(at))).unwrap() == noise(at + 1, 4096));
    }
    assert_eq!(mount.stat("reader_small_ahead"), 0.0);
}
