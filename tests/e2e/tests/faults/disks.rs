//! A disk that gets slow: the process of the sidecar is given a few reads a second of it.

use std::thread;
use std::time::Duration;

use cluster::Cluster;
use e2e::{Readers, Sample, Scene, Sidecar, SlowDisk, eventually, needs_fuse, noise};

use super::{SOON, STRICT, is_eio, metric, missed, mount, samples, tell};

/// Reads a second that the sidecar has of the disk.
const READS: u32 = 6;
/// How long the disk is slow.
const SLOW: Duration = Duration::from_secs(4);
/// The fabric's time, in which the disk gives one such read: who needs more, or is not the first, is late.
const TIMEOUT: Duration = Duration::from_millis(200);
/// The disk's: the volume server, although it is not rationed, waits for pages that the sidecar is reading.
const QUEUE: Duration = Duration::from_secs(5);

#[test]
fn a_slow_disk_sends_who_reads_from_it_to_http_and_delays_nobody_else() {
    needs_fuse!();
    slow_disk(&[]);
}

#[test]
fn without_fallback_reads_from_a_slow_disk_fail_and_nobody_else_is_delayed() {
    needs_fuse!();
    slow_disk(&[STRICT]);
}

/// Two mounts read by way of one sidecar: one what is only on the disk, the other what is in memory.
fn slow_disk(flags: &[&str]) {
    let disk = match SlowDisk::new() {
        Ok(disk) => disk,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let is_strict = flags.contains(&STRICT);
    let dir = format!("-dir={}", disk.dir().display());
    let scene = Scene::of(Cluster::builder().volume_arg(&dir));
    let warm = samples(&scene);
    let cold = samples_on(&scene, "cold");
    let mut sidecar = Sidecar::start(&scene, 0, &[]);
    let timeout = format!("-rdma.timeoutMs={}", TIMEOUT.as_millis());
    let flags = [&[timeout.as_str()], flags].concat();
    let late = mount(&scene, "late", &sidecar.address(), &flags);
    let memory = mount(&scene, "memory", &sidecar.address(), &[STRICT]);
    let of_disk = Readers::mixed(&late, &cold, 2);
    let of_memory = Readers::mixed(&memory, &warm, 2);
    of_disk.recovered(40, SOON);
    of_memory.recovered(40, SOON);

    let forgetting = disk.forgetting(|name| name.starts_with("cold_") && name.ends_with(".dat"));
    disk.slow(sidecar.process().id(), READS);
    let waited = sidecar.metric("fabric_disk");
    let before = [&of_disk, &of_memory].map(Readers::reads);
    let errors = of_disk.errors();
    eventually("a read waits for the disk", SOON, || {
        sidecar.metric("fabric_disk") > waited
    });
    thread::sleep(SLOW);
    let meanwhile = [&of_disk, &of_memory].map(Readers::reads);
    let [on_disk, in_memory] = [0, 1].map(|n| meanwhile[n] - before[n]);
    let failed = of_disk.errors() - errors;
    let waited = sidecar.metric("fabric_disk") - waited;
    disk.lift();
    let over = metric(&late, "fabric_reads");
    eventually("the fabric is used again", SOON, || {
        metric(&late, "fabric_reads") > over + 40
    });
    of_disk.recovered(40, SOON);
    drop(forgetting);

    let tally = of_memory.finish();
    tell(
        &format!("slow disk, {in_memory} reads of memory"),
        &memory,
        &tally,
        Duration::ZERO,
    );
    assert_eq!(tally.errors, 0, "{tally}");
    assert_eq!(metric(&memory, "http_requests"), 0);
    assert!(
        in_memory > MANY,
        "readers of memory wait for the disk: {in_memory} reads"
    );
    let tally = of_disk.finish();
    let what = format!("slow disk, {waited} waits, {on_disk} reads and {failed} errors meanwhile");
    tell(&what, &late, &tally, TIMEOUT + QUEUE);
    assert!(waited > 0.0 && missed(&late, &["timeout"]) > 0);
    match is_strict {
        false => assert!(tally.errors == 0 && on_disk > 0, "{tally}"),
        true => {
            assert!(failed > 0 && is_eio(&tally), "{tally}");
            assert_eq!(metric(&late, "http_requests"), 0);
        }
    }
}

/// Files in volumes of their own, so that these can be kept out of the page cache.
fn samples_on(scene: &Scene, collection: &str) -> Vec<Sample> {
    let plant = |n: u64| {
        let path = format!("/{collection}/{n}");
        let bytes = noise(100 + n, (n * 30_001) as usize);
        let query = format!("collection={collection}");
        let put = scene.cluster.put_with(&path, &query, &[], &bytes);
        put.unwrap();
        Sample { path, bytes }
    };
    (1..16).map(plant).collect()
}

/// Reads of what is in memory, in the time that the disk is slow: far fewer than there are on a busy machine, and more
/// than there were if each of them waited for one read of the disk.
const MANY: u64 = 100;
