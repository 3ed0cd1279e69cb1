//! A volume server goes and comes back (docs/SEMANTICS.md, section 4).

use std::fs;
use std::time::Duration;

use cluster::Cluster;
use e2e::{Readers, Sample, Scene, Tally, needs_fuse, noise};
use rustix::io::Errno;

fn samples(scene: &Scene) -> Vec<Sample> {
    let plant = |n: u64| {
        let sample = Sample {
            path: format!("/d/{n}"),
            bytes: noise(n, (n * 90_001) as usize),
        };
        scene.put(&sample.path, &sample.bytes);
        sample
    };
    (1..16).map(plant).collect()
}

const NO_CACHE: [&str; 2] = ["-readerCacheSizeMB=1", "-cacheCapacityMB=0"];
/// `-readRetryTime` unless a flag says otherwise.
const RETRY: Duration = Duration::from_secs(6);
/// What the last attempt may take after `-readRetryTime` is over.
const LAST: Duration = Duration::from_secs(10);

/// Prints what readers saw, and sees to it that none of them waited for longer than `retry` and the last attempt.
fn tell(what: &str, readers: Readers, retry: Duration) -> Tally {
    let tally = readers.finish();
    println!("{what}: {tally}");
    tally.assert_within(retry + LAST);
    tally
}

#[test]
fn reads_fail_while_the_only_copy_is_away_and_recover_by_themselves() {
    needs_fuse!();
    let mut scene = Scene::start();
    let samples = samples(&scene);
    let mount = scene.mount(&[NO_CACHE.as_slice(), &["-readRetryTime=1s"]].concat());
    let readers = Readers::start(&mount, &samples, 2);
    readers.recovered(20, Duration::from_secs(20));
    scene.cluster.kill_volume(0).unwrap();
    let fresh = scene.path("mnt/d/3");
    let error = fs::read(&fresh).err();
    println!("while it is away: {error:?}");
    std::thread::sleep(Duration::from_secs(2));
    assert!(readers.errors() > 0, "no copy is left");
    scene.cluster.restart_volume(0).unwrap();
    readers.recovered(30, Duration::from_secs(40));
    let tally = tell("the only copy away", readers, Duration::from_secs(1));
    assert_eq!(
        tally.last.and_then(|e| e.raw_os_error()),
        Some(Errno::IO.raw_os_error())
    );
}

#[test]
fn another_replica_takes_over_without_an_error() {
    needs_fuse!();
    let mut scene = Scene::of(Cluster::builder().volume_servers(2).replication("001"));
    let samples = samples(&scene);
    let mount = scene.mount(&NO_CACHE);
    let readers = Readers::start(&mount, &samples, 2);
    readers.recovered(20, Duration::from_secs(20));
    for i in [0, 1] {
        scene.cluster.kill_volume(i).unwrap();
        readers.recovered(50, Duration::from_secs(30));
        scene.cluster.restart_volume(i).unwrap();
        // Until the master, and so the filer, knows that it is back.
        std::thread::sleep(Duration::from_secs(6));
    }
    let tally = tell("a replica away", readers, RETRY);
    assert_eq!(tally.errors, 0, "{tally}");
}

#[test]
fn a_frozen_replica_does_not_stop_readers() {
    needs_fuse!();
    let mut scene = Scene::of(Cluster::builder().volume_servers(2).replication("001"));
    let samples = samples(&scene);
    let mount = scene.mount(&[NO_CACHE.as_slice(), &["-readRetryTime=20s"]].concat());
    let readers = Readers::start(&mount, &samples, 2);
    readers.recovered(20, Duration::from_secs(20));
    scene.cluster.stop_volume(0).unwrap();
    readers.recovered(50, Duration::from_secs(60));
    scene.cluster.cont_volume(0).unwrap();
    let tally = tell("a replica frozen", readers, RETRY);
    assert_eq!(tally.errors, 0, "{tally}");
}
