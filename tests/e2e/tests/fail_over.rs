//! Several filers: one goes, another answers, and no program notices (docs/SEMANTICS.md, section 4).

use std::fs;
use std::time::Duration;

use cluster::Cluster;
use e2e::{Mount, Readers, Sample, Scene, eventually, needs_fuse, noise};

/// Two filers that both know the same files.
fn scene() -> (Scene, Vec<Sample>) {
    let scene = Scene::of(Cluster::builder().filers(2));
    let plant = |n: u64| {
        let sample = Sample {
            path: format!("/d/{n}"),
            bytes: noise(n, (n * 40_001) as usize),
        };
        scene.put(&sample.path, &sample.bytes);
        sample
    };
    let samples: Vec<Sample> = (0..20).map(plant).collect();
    eventually(
        "the second filer has every file",
        Duration::from_secs(30),
        || {
            samples.iter().all(|s| {
                let answer = scene.cluster.filer(1, "GET", &s.path, "", &[], b"");
                answer.is_ok_and(|a| a.status == 200 && a.body == s.bytes)
            })
        },
    );
    (scene, samples)
}

#[test]
fn a_killed_filer_is_replaced_without_an_error() {
    needs_fuse!();
    let (mut scene, samples) = scene();
    let mount = scene.mount(&["-readerCacheSizeMB=1", "-cacheCapacityMB=0"]);
    let readers = Readers::start(&mount, &samples, 3);
    readers.recovered(20, Duration::from_secs(20));
    scene.cluster.kill_filer(0).unwrap();
    readers.recovered(100, Duration::from_secs(30));
    names_that_were_never_asked_for(&mount);
    let (reads, errors, last) = readers.stop();
    assert_eq!(errors, 0, "{last:?} in {reads} reads");
    assert!(mount.stat("metadata_trusted") == 1.0 || !mount.log().is_empty());

    // Changes at the filer that took over are followed.
    let put = scene.cluster.filer(1, "PUT", "/d/late", "", &[], b"late");
    put.and_then(cluster::Response::ok).unwrap();
    eventually(
        "a change at the other filer",
        Duration::from_secs(20),
        || fs::read(mount.path("/d/late")).is_ok_and(|bytes| bytes == b"late"),
    );
}

#[test]
fn a_frozen_filer_is_replaced_without_an_error() {
    needs_fuse!();
    let (mut scene, samples) = scene();
    let mount = scene.mount(&["-readRetryTime=15s"]);
    let readers = Readers::start(&mount, &samples, 2);
    readers.recovered(20, Duration::from_secs(20));
    scene.cluster.stop_filer(0).unwrap();
    names_that_were_never_asked_for(&mount);
    readers.recovered(50, Duration::from_secs(40));
    scene.cluster.cont_filer(0).unwrap();
    let (reads, errors, last) = readers.stop();
    assert_eq!(errors, 0, "{last:?} in {reads} reads");
}

#[test]
fn a_mount_starts_although_the_first_filer_is_down() {
    needs_fuse!();
    let (mut scene, samples) = scene();
    scene.cluster.kill_filer(0).unwrap();
    let mount = scene.mount(&[]);
    for sample in &samples {
        assert!(mount.read(&sample.path) == sample.bytes, "{}", sample.path);
    }
}

/// Such a question goes to a filer, whatever is cached.
fn names_that_were_never_asked_for(mount: &Mount) {
    for n in 0..20 {
        let answer = fs::metadata(mount.path(&format!("/nowhere-{n}")));
        assert_eq!(
            answer.unwrap_err().kind(),
            std::io::ErrorKind::NotFound,
            "question {n}"
        );
    }
}
