//! Short-circuit reads: the mount reads the volume files of its host itself, and nobody else is asked.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cluster::Cluster;
use e2e::{
    Mount, Random, Readers, Sample, Scene, Sidecar, assert_reads, data_folder, eventually,
    needs_fuse, noise, plant,
};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::faults::metric;
use crate::faults::servers::inodes;

/// Nothing is kept, so that every read needs a server.
const NO_CACHE: [&str; 2] = ["-readerCacheSizeMB=1", "-cacheCapacityMB=0"];
const STRICT: [&str; 2] = ["-rdma.fallback=false", "-cacheCapacityMB=0"];
const SOON: Duration = Duration::from_secs(60);
/// What the fabric gets of a read's time (5 s), and as much for the rest on a busy machine.
const NO_HANG: Duration = Duration::from_secs(10);
/// Longer than files are read that no sidecar has confirmed.
const LEASE_OVER: Duration = Duration::from_secs(7);

fn mount(scene: &Scene, sidecar: &Sidecar, more: &[&str]) -> Mount {
    let sidecar = format!("-rdma.sidecar={}", sidecar.address());
    let ours = ["-rdma.enabled", &sidecar, "-rdma.timeoutMs=1000"];
    scene.mount(&[&ours, more].concat())
}

/// Reads left to the fabric by the reason, without those that never happened.
fn declines(mount: &Mount) -> BTreeMap<String, u64> {
    let stats = mount.stats();
    let series = stats["metrics"]["short_circuit_declines"].as_array();
    let counted = series.into_iter().flatten().filter_map(|one| {
        let reason = one["labels"]["reason"].as_str()?.to_owned();
        Some((reason, one["value"].as_u64()?))
    });
    counted.filter(|(_, count)| *count > 0).collect()
}

fn short(mount: &Mount) -> u64 {
    metric(mount, "short_circuit_reads")
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

/// Everything was read out of the files: nothing came over the fabric or HTTP.
fn only_short(mount: &Mount) {
    println!("{} reads, declined: {:?}", short(mount), declines(mount));
    assert_eq!(metric(mount, "http_requests"), 0);
    assert_eq!(metric(mount, "fabric_reads"), 0, "{:?}", declines(mount));
    assert_eq!(declines(mount), BTreeMap::new());
    assert!(short(mount) > 0);
}

#[test]
fn every_kind_reads_as_planted_and_no_other_process_takes_part() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = plant(&scene);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let mount = mount(&scene, &sidecar, &STRICT);
    for Sample { path, bytes } in &samples {
        assert_reads(&mount.path(path), bytes);
    }
    // Ranges of what a volume server has compressed are inflated by who has all of it anyway.
    let declined = declines(&mount);
    println!("{} reads, declined: {declined:?}", short(&mount));
    assert_eq!(metric(&mount, "http_requests"), 0);
    assert!(
        declined.keys().all(|reason| reason == "form"),
        "{declined:?}"
    );
    assert_eq!(
        metric(&mount, "fabric_reads"),
        declined.get("form").copied().unwrap_or(0)
    );
    assert!(short(&mount) > samples.len() as u64 / 2);
    let (reads, total) = (mount.stat("rdma_reads"), mount.stat("total_reads"));
    assert!(reads > 0.0 && reads <= total);
    assert!(mount.stats()["short_circuit_reads"].as_u64().unwrap() > 0);
    let ratio = mount.stat("rdma_ratio_pct");
    assert!((ratio - 100.0 * reads / total).abs() < 1.0, "{ratio}");
    assert!(sidecar.metric("fabric_lent") > 0.0);
}

#[test]
fn random_pages_are_read_one_by_one_and_nothing_else_is() {
    needs_fuse!();
    let scene = Scene::start();
    let bytes = noise(1, 32 << 20);
    scene.put("/file", &bytes);
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let mount = mount(&scene, &sidecar, &NO_CACHE);
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
    assert_eq!(mount.stat("total_reads") - before, 300.0);
    only_short(&mount);
    assert!(mount.stat("rdma_reads") >= 299.0, "{}", mount.stats());
}

#[test]
fn a_protected_and_encrypted_cluster_is_read_by_who_holds_the_key_and_by_nobody_else() {
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
    {
        let mount = mount(&scene, &sidecar, &STRICT);
        for (path, bytes) in &files {
            assert_reads(&mount.path(path), bytes);
        }
        only_short(&mount);
    }
    let other = scene.path("other");
    fs::create_dir(&other).unwrap();
    let key = "[jwt.signing.read]\nkey = \"another\"\n";
    fs::write(other.join("security.toml"), key).unwrap();
    let config = format!("-config_dir={}", other.display());
    let mount = mount(&scene, &sidecar, &[&config]);
    let _ = fs::read(mount.path("/a.bin"));
    assert_eq!(short(&mount), 0);
    assert!(
        declines(&mount).contains_key("unreachable"),
        "{:?}",
        declines(&mount)
    );
    let log = mount.log();
    assert!(log.contains("cannot borrow volume files"), "{log}");
}

/// Writes, deletes and vacuums while others read, until the files were replaced a few times.
#[test]
fn no_wrong_byte_is_read_while_others_write_delete_and_vacuum() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = samples(&scene);
    for n in 0..20 {
        scene.put(&format!("/junk/{n}"), &noise(n, 200_000));
    }
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let mount = mount(&scene, &sidecar, &NO_CACHE);
    let readers = Readers::mixed(&mount, &samples, 2);
    readers.recovered(40, SOON);
    let folder = data_folder(&scene.cluster, 0);
    let (over, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut replaced = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            // What was just written is read at once, and what was deleted is gone at once.
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                n += 1;
                let (path, bytes) = (format!("/new/{n}"), noise(n, 30_000 + n as usize));
                if scene.cluster.put(&path, &bytes).is_err() {
                    // In the midst of a vacuum there may be nothing to write to.
                    continue;
                }
                eventually("the name is there", SOON, || mount.path(&path).exists());
                assert!(mount.read(&path) == bytes, "{path}");
                fs::remove_file(mount.path(&path)).unwrap();
                assert!(fs::read(mount.path(&path)).is_err());
                written.store(n, Ordering::Relaxed);
            }
        });
        for round in 0..3 {
            for n in 0..20 {
                let path = format!("/junk/{n}");
                scene.cluster.delete(&path).unwrap();
            }
            let before = inodes(&folder);
            eventually("a volume is replaced", SOON, || {
                let mut master = TcpStream::connect(scene.cluster.master_http()).unwrap();
                let ask = b"GET /vol/vacuum?garbageThreshold=0.0001 HTTP/1.0\r\n\r\n";
                master.write_all(ask).unwrap();
                let second = Some(Duration::from_secs(1));
                master.set_read_timeout(second).unwrap();
                let _ = master.read(&mut [0; 1000]);
                inodes(&folder) != before
            });
            replaced += 1;
            readers.recovered(100, SOON);
            for n in 0..20 {
                let path = format!("/junk/{n}");
                let _ = scene.cluster.put(&path, &noise(n + round, 200_000));
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let tally = readers.finish();
    println!(
        "{tally}; {} files written, read and deleted, files replaced {replaced} times; {} short-circuit reads, \
         declined: {:?}",
        written.load(Ordering::Relaxed),
        short(&mount),
        declines(&mount)
    );
    assert_eq!(tally.errors, 0, "{tally}");
    assert!(written.load(Ordering::Relaxed) > 3);
    let borrowed = metric(&mount, "short_circuit_borrowed");
    assert!(
        borrowed > metric(&mount, "short_circuit_volumes"),
        "{borrowed}"
    );
}

#[test]
fn files_are_read_for_seconds_without_their_sidecar_and_again_when_it_is_back() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = samples(&scene);
    let mut sidecar = Sidecar::start(&scene, 0, &[]);
    let mount = mount(&scene, &sidecar, &NO_CACHE);
    let readers = Readers::mixed(&mount, &samples, 2);
    readers.recovered(40, SOON);
    for fault in ["killed", "frozen"] {
        let before = short(&mount);
        match fault {
            "killed" => sidecar.process().kill().unwrap(),
            _ => sidecar.process().signal(Signal::STOP).unwrap(),
        }
        thread::sleep(LEASE_OVER);
        let (after, http) = (short(&mount), metric(&mount, "http_requests"));
        assert!(after > before, "the files are still the right ones");
        readers.recovered(40, SOON);
        assert_eq!(short(&mount), after, "nobody has confirmed them, {fault}");
        assert!(declines(&mount)["lease"] > 0, "{:?}", declines(&mount));
        assert!(metric(&mount, "http_requests") > http);
        match fault {
            "killed" => sidecar.process().restart().unwrap(),
            _ => sidecar.process().signal(Signal::CONT).unwrap(),
        }
        eventually("files are read again", SOON, || short(&mount) > after + 40);
        println!("{fault}: {after} reads, declined: {:?}", declines(&mount));
    }
    let tally = readers.finish();
    println!("sidecar killed and frozen, files lent: {tally}");
    tally.assert_within(NO_HANG);
    assert_eq!(tally.errors, 0, "{tally}");
}

#[test]
fn without_fallback_reads_fail_when_no_sidecar_confirms_and_recover_by_themselves() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = samples(&scene);
    let mut sidecar = Sidecar::start(&scene, 0, &[]);
    let mount = mount(&scene, &sidecar, &[&NO_CACHE[..], &STRICT[..1]].concat());
    let readers = Readers::mixed(&mount, &samples, 2);
    readers.recovered(40, SOON);
    sidecar.process().kill().unwrap();
    thread::sleep(LEASE_OVER);
    eventually("reads fail", SOON, || readers.errors() > 0);
    sidecar.process().restart().unwrap();
    readers.recovered(40, SOON);
    let before = short(&mount);
    eventually("files are read again", SOON, || short(&mount) > before + 40);
    let tally = readers.finish();
    println!("sidecar killed, files lent, strict: {tally}");
    tally.assert_within(NO_HANG);
    let errno = tally.last.as_ref().and_then(std::io::Error::raw_os_error);
    assert_eq!(errno, Some(Errno::IO.raw_os_error()), "{tally}");
    assert_eq!(metric(&mount, "http_requests"), 0);
}

#[test]
fn either_side_can_turn_it_off() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = samples(&scene);
    let lends = Sidecar::start(&scene, 0, &[]);
    let keeps = Sidecar::start(&scene, 0, &["-short-circuit=false"]);
    assert_eq!(lends.health().unwrap()["fabric"]["lends"], true);
    assert_eq!(keeps.health().unwrap()["fabric"]["lends"], false);
    for (sidecar, flag) in [
        (&lends, "-rdma.shortCircuit=false"),
        (&keeps, "-rdma.shortCircuit=true"),
    ] {
        let mount = mount(&scene, sidecar, &[&STRICT[..], &[flag]].concat());
        for Sample { path, bytes } in &samples {
            assert!(mount.read(path) == *bytes);
        }
        assert_eq!(short(&mount), 0);
        assert!(metric(&mount, "fabric_reads") > 0);
        let declined = declines(&mount);
        assert!(
            declined.keys().all(|reason| reason == "no_sidecar"),
            "{declined:?}"
        );
    }
    assert_eq!(keeps.metric("fabric_lent"), 0.0);
}

#[test]
fn a_volume_beyond_the_memory_for_indexes_goes_over_the_fabric() {
    needs_fuse!();
    let scene = Scene::start();
    // 70,000 needles take more than a mebibyte.
    let small = noise(1, 16);
    scene.put("/seed", &noise(2, 10_000));
    let seed = scene.craft().lookup("/seed").unwrap().chunks[0]
        .file_id
        .clone();
    let volume: u32 = seed.split(',').next().unwrap().parse().unwrap();
    let sidecar = Sidecar::start(&scene, 0, &[]);
    let target = scene.cluster.volume_http(0);
    thread::scope(|scope| {
        for thread in 0..4u64 {
            let (small, target, scene) = (&small, &target, &scene);
            scope.spawn(move || {
                let http = scene.cluster.http();
                for n in 0..17_500u64 {
                    let key = 0x1000_0000 + thread * 100_000 + n;
                    let at = format!("{target}/{volume},{key:x}00000001");
                    let headers = [("Content-Type", "application/octet-stream")];
                    let put = http.send("PUT", &at, &headers, small).unwrap();
                    assert_eq!(put.status, 201, "{at}");
                }
            });
        }
    });
    let mount = mount(
        &scene,
        &sidecar,
        &["-rdma.shortCircuitIndexMB=1", "-cacheCapacityMB=0"],
    );
    assert!(mount.read("/seed") == noise(2, 10_000));
    println!("declined: {:?}", declines(&mount));
    assert!(
        declines(&mount).contains_key("budget"),
        "{:?}",
        declines(&mount)
    );
    assert_eq!(short(&mount), 0);
    assert!(metric(&mount, "fabric_reads") > 0);
    assert!(metric(&mount, "short_circuit_index_bytes") <= 1 << 20);
}
