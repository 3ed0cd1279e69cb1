//! Reads over the fabric: every kind of file, and who may read. What sidecars do to readers is in `faults`.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::Command;
use std::time::Duration;

use cluster::Cluster;
use e2e::{
    Mount, Random, Readers, Sample, Scene, Sidecar, assert_reads, eventually, needs_fuse, noise,
    plant, riptide,
};

/// Nothing is kept, so that every read needs a server.
const NO_CACHE: [&str; 2] = ["-readerCacheSizeMB=1", "-cacheCapacityMB=0"];
/// A sidecar that is found at the latest after a few looks.
const SOON: Duration = Duration::from_secs(60);

/// Mounts with the fabric; `more` flags win.
fn mount(scene: &Scene, sidecar: &str, more: &[&str]) -> Mount {
    let sidecar = format!("-rdma.sidecar={sidecar}");
    let ours = [
        "-rdma.enabled",
        &sidecar,
        "-rdma.timeoutMs=1000",
        // Everything here is on one host.
        "-rdma.shortCircuit=false",
    ];
    let flags = [&ours, more].concat();
    scene.mount(&flags)
}

/// Fallbacks by their reason, without those that never happened.
fn fallbacks(mount: &Mount) -> HashMap<String, u64> {
    let stats = mount.stats();
    let series = stats["metrics"]["fabric_fallbacks"].as_array().unwrap();
    let counted = series.iter().filter_map(|one| {
        let reason = one["labels"]["reason"].as_str()?.to_owned();
        Some((reason, one["value"].as_u64()?))
    });
    counted.filter(|(_, count)| *count > 0).collect()
}

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

#[test]
fn every_kind_reads_as_planted_and_nothing_goes_over_http() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = plant(&scene);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let strict = ["-rdma.fallback=false", "-cacheCapacityMB=0"];
    let mount = mount(&scene, &sidecar.address(), &strict);
    for Sample { path, bytes } in &samples {
        assert_reads(&mount.path(path), bytes);
    }
    assert_eq!(mount.stat("http_requests"), 0.0);
    assert!(mount.stat("fabric_reads") > samples.len() as f64 / 2.0);
    let (reads, total) = (mount.stat("rdma_reads"), mount.stat("total_reads"));
    assert!(reads > 0.0 && reads <= total);
    let ratio = mount.stat("rdma_ratio_pct");
    assert!((ratio - 100.0 * reads / total).abs() < 1.0, "{ratio}");
    assert_eq!(mount.stats()["enabled"], true);
    assert_eq!(mount.stat("http_fallbacks"), 0.0);
    let stats = mount.stats();
    let carriers = stats["metrics"]["fabric_reads"].as_array().unwrap();
    println!("{carriers:?}");
    assert!(carriers.iter().any(|one| one["labels"]["carrier"] == "shm"));
}

#[test]
fn over_tcp_everything_reads_as_planted_too() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = plant(&scene);
    let sidecar = Sidecar::start(&scene, 0, &["-transports=tcp"]);
    let strict = ["-rdma.fallback=false", "-cacheCapacityMB=0"];
    let mount = mount(&scene, &sidecar.address(), &strict);
    for Sample { path, bytes } in &samples {
        assert_reads(&mount.path(path), bytes);
    }
    assert_eq!(mount.stat("http_requests"), 0.0);
    let stats = mount.stats();
    let carriers = stats["metrics"]["fabric_reads"].as_array().unwrap();
    assert!(carriers.iter().all(|one| one["labels"]["carrier"] == "tcp"));
}

#[test]
fn a_protected_and_encrypted_cluster_reads_over_the_fabric() {
    needs_fuse!();
    let scene = Scene::of(Cluster::builder().jwt(true).encrypted(true).max_mb(1));
    let files = [
        ("/a.bin", noise(1, 5_000_001)),
        ("/b.txt", e2e::text(2, 3_000_000)),
        ("/c", noise(3, 10)),
    ];
    for (path, bytes) in &files {
        scene.put(path, bytes);
    }
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let strict = ["-rdma.fallback=false", "-cacheCapacityMB=0"];
    let mount = mount(&scene, &sidecar.address(), &strict);
    for (path, bytes) in &files {
        assert_reads(&mount.path(path), bytes);
    }
    assert_eq!(mount.stat("http_requests"), 0.0);
}

#[test]
fn a_mount_with_the_wrong_key_is_refused_by_the_sidecar() {
    needs_fuse!();
    let scene = Scene::of(Cluster::builder().jwt(true));
    scene.put("/a", &noise(1, 100_000));
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let other = scene.path("other");
    fs::create_dir(&other).unwrap();
    let key = "[jwt.signing.read]\nkey = \"another\"\n";
    fs::write(other.join("security.toml"), key).unwrap();
    let refused = Mount::refused(
        &scene,
        "mnt",
        &[
            "-dirAutoCreate",
            "-rdma.enabled",
            "-rdma.fallback=false",
            &format!("-rdma.sidecar={}", sidecar.address()),
            &format!("-config_dir={}", other.display()),
        ],
    );
    assert_eq!(refused.status.code(), Some(1));
    let said = refused.output;
    assert!(said.contains("needs a sidecar, and none works"), "{said}");
}

#[test]
fn random_reads_go_over_the_fabric_one_by_one() {
    needs_fuse!();
    let scene = Scene::start();
    let bytes = noise(1, 32 << 20);
    scene.put("/file", &bytes);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let mount = mount(&scene, &sidecar.address(), &NO_CACHE);
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let mut options = File::options();
    let file = options.read(true).custom_flags(direct);
    let file = file.open(mount.path("/file")).unwrap();
    let mut random = Random::new(1);
    let before = mount.stat("total_reads");
    for _ in 0..300 {
        let offset = random.below((32 << 20) / 4096) * 4096;
        let mut buffer = vec![0; 8192];
        let align = buffer.as_ptr().align_offset(4096);
        let buffer = &mut buffer[align..align + 4096];
        assert_eq!(file.read_at(buffer, offset).unwrap(), 4096);
        assert!(*buffer == bytes[offset as usize..][..4096]);
    }
    let reads = mount.stat("total_reads") - before;
    assert_eq!(reads, 300.0);
    assert!(mount.stat("rdma_reads") >= 299.0, "{}", mount.stats());
    assert_eq!(mount.stat("http_requests"), 0.0);
    assert_eq!(mount.stat("http_fallbacks"), 0.0);
}

#[test]
fn sidecars_that_register_are_found_and_one_may_come_late() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = samples(&scene);
    let mount = mount(&scene, "auto", &NO_CACHE);
    for Sample { path, bytes } in &samples[..4] {
        assert!(mount.read(path) == *bytes);
    }
    assert!(mount.stat("http_requests") > 0.0, "there is no other way");
    assert!(fallbacks(&mount)["no_sidecar"] > 0);
    let _sidecar = Sidecar::start(&scene, 0, &[]);
    let readers = Readers::start(&mount, &samples, 1);
    eventually("the sidecar is found", SOON, || {
        mount.stats()["metrics"]["fabric_reads"].is_array()
    });
    readers.recovered(30, SOON);
    let (_, errors, last) = readers.stop();
    assert_eq!(errors, 0, "{last:?}");
    let http = mount.stat("http_requests");
    for Sample { path, bytes } in &samples {
        assert!(mount.read(path) == *bytes);
    }
    assert_eq!(mount.stat("http_requests"), http);
}

#[test]
fn without_fallback_a_mount_needs_a_sidecar_to_start() {
    needs_fuse!();
    let scene = Scene::start();
    for (sidecar, said) in [
        ("-rdma.sidecar=127.0.0.1:1", "127.0.0.1:1"),
        ("-rdma.sidecar=auto", "none answers"),
    ] {
        let flags = [
            "-dirAutoCreate",
            "-rdma.enabled",
            "-rdma.fallback=false",
            sidecar,
        ];
        let refused = Mount::refused(&scene, "mnt", &flags);
        assert_eq!(refused.status.code(), Some(1));
        let output = refused.output;
        assert!(
            output.contains("-rdma.fallback=false needs a sidecar"),
            "{output}"
        );
        assert!(output.contains(said), "{output}");
    }
}

#[test]
fn ping_measures_every_way_to_a_sidecar() {
    let scene = Scene::start();
    scene.put("/file", &noise(1, 2 << 20));
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let entry = scene.craft().lookup("/file").unwrap();
    let needle = &entry.chunks[0].file_id;
    let ping = |args: &[&str]| {
        let ping = Command::new(riptide()).arg("ping").args(args).output();
        let ping = ping.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (ping.status.code(), text(&ping.stdout), text(&ping.stderr))
    };
    let (status, said, trouble) = ping(&[&sidecar.address(), needle, "-count=50"]);
    assert_eq!(status, Some(0), "{said}{trouble}");
    println!("{said}");
    for (way, what) in [
        ("shm", "round"),
        ("tcp", "round"),
        ("shm", "read"),
        ("tcp", "read"),
    ] {
        let is_it = |line: &&str| {
            let words: Vec<_> = line.split_whitespace().collect();
            words.first() == Some(&way) && words.get(1) == Some(&what)
        };
        assert!(
            said.lines().any(|line| is_it(&line)),
            "{way} {what}: {said}"
        );
    }
    let (status, _, trouble) = ping(&["127.0.0.1:1"]);
    assert_eq!(status, Some(1), "{trouble}");
    let (status, _, trouble) = ping(&[&sidecar.address(), "-size=0"]);
    assert_eq!(status, Some(2), "{trouble}");
}
