//! The filer crashes and comes back under readers (docs/SEMANTICS.md, sections 3 and 4).

use std::fs;
use std::process::Command;
use std::time::Duration;

use e2e::{Readers, Sample, Scene, eventually, needs_fuse, noise};

fn samples(scene: &Scene) -> Vec<Sample> {
    let plant = |n: u64| {
        let sample = Sample {
            path: format!("/d/{n}"),
            bytes: noise(n, (n * 70_001) as usize),
        };
        scene.put(&sample.path, &sample.bytes);
        sample
    };
    (0..24).map(plant).collect()
}

#[test]
fn readers_recover_and_never_see_a_wrong_byte() {
    needs_fuse!();
    let mut scene = Scene::start();
    let samples = samples(&scene);
    let mount = scene.mount(&[
        "-readerCacheSizeMB=4",
        "-cacheCapacityMB=0",
        "-readRetryTime=2s",
    ]);
    let readers = Readers::start(&mount, &samples, 4);
    readers.recovered(20, Duration::from_secs(20));
    for _ in 0..3 {
        scene.cluster.kill_filer(0).unwrap();
        std::thread::sleep(Duration::from_millis(1500));
        scene.cluster.restart_filer(0).unwrap();
        readers.recovered(50, Duration::from_secs(40));
    }
    let (reads, errors, last) = readers.stop();
    println!("{reads} reads, {errors} errors meanwhile, the last {last:?}");
}

#[test]
fn an_open_file_reads_on_without_the_filer() {
    needs_fuse!();
    let mut scene = Scene::start();
    let bytes = noise(1, 12 << 20);
    scene.put("/file", &bytes);
    let mount = scene.mount(&["-readerCacheSizeMB=4", "-cacheCapacityMB=0"]);
    let file = fs::File::open(mount.path("/file")).unwrap();
    assert!(e2e::read_at(&file, 0, 100).unwrap() == bytes[..100]);
    scene.cluster.kill_filer(0).unwrap();
    assert!(e2e::read_at(&file, 0, bytes.len()).unwrap() == bytes);
}

#[test]
fn changes_made_after_the_restart_are_seen() {
    needs_fuse!();
    let mut scene = Scene::start();
    scene.put("/d/old", b"old");
    let mount = scene.mount(&[]);
    assert_eq!(mount.read("/d/old"), b"old");
    scene.cluster.kill_filer(0).unwrap();
    scene.cluster.restart_filer(0).unwrap();
    scene.put("/d/new", b"new");
    scene.put("/d/old", b"OLD");
    eventually(
        "what came after the restart",
        Duration::from_secs(20),
        || {
            let read = |path| fs::read(mount.path(path)).unwrap_or_default();
            read("/d/new") == b"new" && read("/d/old") == b"OLD"
        },
    );
}

#[test]
fn a_waiting_program_can_be_killed() {
    needs_fuse!();
    let mut scene = Scene::start();
    scene.put("/d/file", b"x");
    let mount = scene.mount(&["-readRetryTime=120s"]);
    scene.cluster.stop_filer(0).unwrap();
    let mut stat = std::process::Command::new("stat")
        .arg(mount.path("/never/seen"))
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(stat.try_wait().unwrap().is_none(), "it waits for the filer");
    stat.kill().unwrap();
    let time = eventually(
        "the killed program is gone",
        Duration::from_secs(10),
        || stat.try_wait().unwrap().is_some(),
    );
    println!("gone after {time:?}");
    scene.cluster.cont_filer(0).unwrap();
}

/// What was given up is not cancelled, and what it makes in the end is no less there than anything else.
#[test]
fn what_is_made_late_is_seen_by_whoever_gave_it_up() {
    needs_fuse!();
    let mut scene = Scene::start();
    let mount = scene.mount(&[]);
    fs::create_dir(mount.path("/d")).unwrap();
    // So that names are made on connections of their own, and nothing else is looked at.
    for at in 0..5 {
        fs::write(mount.path(&format!("/d/{at}")), b"x").unwrap();
    }
    assert_eq!(fs::read_dir(mount.path("/d")).unwrap().count(), 5);
    scene.cluster.stop_filer(0).unwrap();
    let mut child = Command::new("touch")
        .arg(mount.path("/d/late"))
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none(), "it was to wait");
    child.kill().unwrap();
    child.wait().unwrap();
    scene.cluster.cont_filer(0).unwrap();
    let listed = || {
        let names = fs::read_dir(mount.path("/d")).unwrap();
        names
            .map(|name| name.unwrap().file_name())
            .any(|name| name == "late")
    };
    eventually("the name is there", Duration::from_secs(20), || {
        mount.path("/d/late").exists() && listed()
    });
    // From then on as before.
    fs::write(mount.path("/d/late"), b"bytes").unwrap();
    assert_eq!(scene.cluster.get("/d/late").unwrap(), b"bytes");
}
