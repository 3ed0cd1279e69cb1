//! Writes over the fabric (docs/FABRIC.md, section on writes): what a sidecar hands to its volume server is
//! what was written, the numbers say which way it went, and nothing else changes for programs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::time::{Duration, Instant};

use cluster::Cluster;
use e2e::{Mount, Scene, Sidecar, eventually, needs_fuse, noise};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::writing::{everywhere, same, sequential_and_random};

/// Sidecars are looked for every few seconds.
const SOON: Duration = Duration::from_secs(60);

/// A sidecar beside a volume server that has a volume, so that it is known by the cluster's name.
fn beside(scene: &Scene, flags: &[&str]) -> Sidecar {
    scene.put("/seed", &noise(1, 1000));
    Sidecar::start(scene, 0, flags)
}

/// The flags of a mount that writes by way of it.
fn by_way_of(sidecar: &Sidecar) -> [String; 3] {
    let named = format!("-rdma.sidecar={}", sidecar.address());
    let all_by_it = "-rdma.shortCircuit=false".to_owned();
    ["-rdma.enabled".to_owned(), named, all_by_it]
}

/// With further flags, which win.
fn mount(scene: &Scene, name: &str, sidecar: &Sidecar, more: &[&str]) -> Mount {
    let ours = by_way_of(sidecar);
    let flags: Vec<&str> = ours
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    scene.mount_at(name, &flags)
}

/// A metric by one of its labels, without what is 0.
fn by_label(mount: &Mount, metric: &str, label: &str) -> BTreeMap<String, u64> {
    let stats = mount.stats();
    let series = stats["metrics"][metric]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let counted = series.iter().filter_map(|one| {
        let label = one["labels"][label].as_str()?.to_owned();
        Some((label, one["value"].as_u64()?))
    });
    counted.filter(|(_, count)| *count > 0).collect()
}

fn fallbacks(mount: &Mount) -> BTreeMap<String, u64> {
    by_label(mount, "fabric_write_fallbacks", "reason")
}

/// Writes, syncs and closes; what becomes of it.
fn store(mount: &Mount, path: &str, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(mount.path(path))?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// All that was written went over this carrier, by the mount's account and by the sidecar's.
fn went_over(mount: &Mount, sidecar: &Sidecar, carrier: &str) {
    let chunks = mount.stat("write_chunks");
    let writes = by_label(mount, "fabric_writes", "carrier");
    println!("{chunks} chunks: {writes:?}");
    assert!(chunks > 10.0);
    assert_eq!(
        writes.get(carrier).map(|n| *n as f64),
        Some(chunks),
        "{writes:?}"
    );
    assert_eq!(mount.stat("rdma_writes"), chunks);
    assert_eq!(mount.stat("http_writes"), 0.0);
    assert_eq!(mount.stat("write_fallbacks"), 0.0);
    assert_eq!(fallbacks(mount), BTreeMap::new());
    assert_eq!(sidecar.metric("fabric_writes"), chunks);
    let bytes = mount.stat("fabric_write_bytes");
    assert!(bytes > 0.0 && bytes == mount.stat("rdma_bytes_written"));
    assert_eq!(sidecar.metric("fabric_write_bytes"), bytes);
    assert_eq!(sidecar.metric("fabric_in_flight_bytes"), 0.0);
}

fn over(cluster: cluster::Builder, carrier: &str) {
    let scene = Scene::of(cluster);
    let transports = format!("-transports={carrier}");
    let sidecar = beside(&scene, &[&transports]);
    let ours = by_way_of(&sidecar);
    let flags: Vec<&str> = ours.iter().map(String::as_str).collect();
    let mount = sequential_and_random(&scene, &flags);
    went_over(&mount, &sidecar, carrier);
}

#[test]
fn what_is_written_over_shared_memory_is_the_same_everywhere() {
    needs_fuse!();
    over(Cluster::builder(), "shm");
}

#[test]
fn what_is_written_over_tcp_is_the_same_everywhere() {
    needs_fuse!();
    over(Cluster::builder(), "tcp");
}

#[test]
fn an_encrypted_cluster_holds_what_is_written_over_the_fabric() {
    needs_fuse!();
    over(Cluster::builder().encrypted(true), "shm");
}

#[test]
fn a_protected_cluster_takes_what_is_written_over_the_fabric() {
    needs_fuse!();
    over(Cluster::builder().jwt(true).tls(true), "tcp");
    over(Cluster::builder().jwt(true), "shm");
}

#[test]
fn with_read_only_nothing_is_written_over_the_fabric() {
    needs_fuse!();
    let scene = Scene::start();
    let sidecar = beside(&scene, &[]);
    let mount = mount(
        &scene,
        "mnt",
        &sidecar,
        &["-rdma.readOnly", "-rdma.fallback=false"],
    );
    let bytes = noise(3, 9 << 20);
    store(&mount, "/f", &bytes).unwrap();
    same(
        &scene.cluster.get("/f").unwrap(),
        &bytes,
        "through the filer",
    );
    assert!(by_label(&mount, "fabric_writes", "carrier").is_empty());
    assert_eq!(mount.stat("http_writes"), mount.stat("write_chunks"));
    assert_eq!(sidecar.metric("fabric_writes"), 0.0);
    assert_eq!(sidecar.metric("fabric_write_outcomes"), 0.0);
    // Reads do go over it, and over nothing else.
    assert!(mount.read("/seed") == noise(1, 1000));
    assert_eq!(mount.stat("http_requests"), 0.0);
    assert!(mount.stat("fabric_reads") > 0.0);
}

#[test]
fn replicas_get_what_is_written_by_way_of_one_sidecar_and_the_other_server_is_written_to_directly()
{
    needs_fuse!();
    let mut scene = Scene::of(Cluster::builder().volume_servers(2).replication("001"));
    let sidecar = beside(&scene, &[]);
    let mount = mount(&scene, "mnt", &sidecar, &["-chunkSizeLimitMB=1"]);
    let mut files = Vec::new();
    let began = Instant::now();
    // Which of the two servers is assigned is left to chance.
    loop {
        let n = files.len() as u64;
        let (path, bytes) = (format!("/d{n}/f"), noise(n, 3 << 20));
        fs::create_dir(mount.path(&format!("/d{n}"))).unwrap();
        store(&mount, &path, &bytes).unwrap();
        files.push((path, bytes));
        let direct = fallbacks(&mount).get("no_sidecar").copied().unwrap_or(0);
        let over = by_label(&mount, "fabric_writes", "carrier");
        if direct > 0 && !over.is_empty() {
            println!("{n} files: {over:?}, {direct} directly");
            break;
        }
        assert!(began.elapsed() < SOON, "{over:?}, {direct} directly");
    }
    assert_eq!(fallbacks(&mount).keys().collect::<Vec<_>>(), ["no_sidecar"]);
    drop(mount);
    scene.cluster.kill_volume(0).unwrap();
    for (path, bytes) in &files {
        same(
            &scene.cluster.get(path).unwrap(),
            bytes,
            "by the other server",
        );
    }
}

#[test]
fn a_sidecar_that_takes_no_writes_is_not_sent_any() {
    needs_fuse!();
    let scene = Scene::start();
    let guarded = scene.path("guarded");
    fs::create_dir(&guarded).unwrap();
    let list = "[guard]\nwhite_list = \"10.1.2.3\"\n";
    fs::write(guarded.join("security.toml"), list).unwrap();
    let config = format!("-config_dir={}", guarded.display());
    let sidecar = beside(&scene, &[&config]);
    assert_eq!(sidecar.health().unwrap()["fabric"]["writes"], false);
    let mount = mount(&scene, "mnt", &sidecar, &[]);
    let bytes = noise(3, 5 << 20);
    store(&mount, "/f", &bytes).unwrap();
    same(
        &scene.cluster.get("/f").unwrap(),
        &bytes,
        "through the filer",
    );
    let all = mount.stat("write_chunks") as u64;
    assert_eq!(
        fallbacks(&mount),
        BTreeMap::from([("no_sidecar".to_owned(), all)])
    );
    assert_eq!(sidecar.metric("fabric_write_outcomes"), 0.0);
}

#[test]
fn a_sidecar_with_little_memory_sends_writers_to_http() {
    needs_fuse!();
    let mut scene = Scene::start();
    let sidecar = beside(&scene, &["-memory-limit=16MiB"]);
    let mount = mount(&scene, "mnt", &sidecar, &[]);
    let bytes = noise(3, 80 << 20);
    scene.cluster.stop_volume(0).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| store(&mount, "/f", &bytes));
        // Chunks of two mebibytes, of which eight fit.
        eventually("the sidecar is full", SOON, || {
            fallbacks(&mount).contains_key("busy")
        });
        scene.cluster.cont_volume(0).unwrap();
        writer.join().unwrap().unwrap();
    });
    store(&mount, "/quiet", b"one at a time").unwrap();
    let missed = fallbacks(&mount);
    println!(
        "{missed:?}, {:?}",
        by_label(&mount, "fabric_writes", "carrier")
    );
    assert!(!missed.contains_key("open_breaker"), "{missed:?}");
    assert!(mount.stat("fabric_writes") > 0.0);
    assert_eq!(
        mount.stat("fabric_writes") + mount.stat("http_writes"),
        mount.stat("write_chunks")
    );
    same(
        &scene.cluster.get("/f").unwrap(),
        &bytes,
        "through the filer",
    );
    let mount = self::mount(&scene, "large", &sidecar, &["-chunkSizeLimitMB=20"]);
    fs::write(mount.path("/g"), &bytes[..40 << 20]).unwrap();
    let missed = fallbacks(&mount);
    assert!(
        missed.keys().all(|reason| reason == "declined"),
        "{missed:?}"
    );
    same(
        &scene.cluster.get("/g").unwrap(),
        &bytes[..40 << 20],
        "through the filer",
    );
}

#[test]
fn without_fallback_writes_fail_while_the_sidecar_is_away_and_recover_by_themselves() {
    needs_fuse!();
    let scene = Scene::start();
    let mut sidecar = beside(&scene, &[]);
    let strict = ["-rdma.fallback=false", "-rdma.timeoutMs=1000"];
    let mount = mount(&scene, "mnt", &sidecar, &strict);
    let other = scene.mount_at("other", &[]);
    let bytes = noise(3, 40 << 20);
    store(&mount, "/before", &bytes).unwrap();
    everywhere(&scene, &other, "/before", &bytes);

    for fault in ["killed", "frozen"] {
        match fault {
            "killed" => sidecar.process().kill().unwrap(),
            _ => sidecar.process().signal(Signal::STOP).unwrap(),
        }
        let began = Instant::now();
        let failed = store(&mount, "/meanwhile", &bytes[..1 << 20]).unwrap_err();
        let took = began.elapsed();
        println!("{fault}: {failed} after {took:?}; {:?}", fallbacks(&mount));
        assert_eq!(failed.raw_os_error(), Some(Errno::IO.raw_os_error()));
        assert!(took < Duration::from_secs(45), "{took:?}");
        match fault {
            "killed" => sidecar.process().restart().unwrap(),
            _ => sidecar.process().signal(Signal::CONT).unwrap(),
        }
        eventually("writes go over the fabric again", SOON, || {
            store(&mount, "/after", &bytes[..3 << 20]).is_ok()
        });
        everywhere(&scene, &other, "/after", &bytes[..3 << 20]);
    }
    assert_eq!(mount.stat("http_writes"), 0.0);
    let log = mount.log();
    assert!(log.contains("over the fabric to"), "{log}");
}

#[test]
fn a_volume_server_that_is_frozen_costs_writers_time_and_readers_nothing() {
    needs_fuse!();
    let scene = std::sync::Mutex::new(Scene::start());
    let sidecar = beside(&scene.lock().unwrap(), &[]);
    let (mount, bytes) = {
        let scene = scene.lock().unwrap();
        let flags = [
            "-rdma.timeoutMs=1000",
            "-readerCacheSizeMB=1",
            "-cacheCapacityMB=0",
        ];
        let mount = mount(&scene, "mnt", &sidecar, &flags);
        (mount, noise(3, 5 << 20))
    };
    store(&mount, "/before", &bytes).unwrap();
    assert!(mount.read("/before") == bytes);
    let reads = mount.stat("fabric_reads");
    scene.lock().unwrap().cluster.stop_volume(0).unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| store(&mount, "/f", &bytes));
        std::thread::sleep(Duration::from_millis(2500));
        // The sidecar reads the files by itself, and is not blamed.
        assert!(mount.read("/seed") == noise(1, 1000));
        scene.lock().unwrap().cluster.cont_volume(0).unwrap();
        writer.join().unwrap().unwrap();
    });
    let missed = fallbacks(&mount);
    println!("{missed:?}");
    assert!(missed.get("failed").is_some_and(|n| *n > 0), "{missed:?}");
    assert!(
        !missed.contains_key("timeout") && !missed.contains_key("open_breaker"),
        "{missed:?}"
    );
    assert!(mount.stat("fabric_reads") > reads);
    assert_eq!(mount.stat("http_requests"), 0.0);
    let scene = scene.lock().unwrap();
    same(
        &scene.cluster.get("/f").unwrap(),
        &bytes,
        "through the filer",
    );
}

/// A write that lies in the socket of a frozen sidecar is sent over HTTP meanwhile; when its chunk has been
/// deleted by the time the sidecar wakes up, handing it on would bring the needle back for good.
fn a_late_write_is_dropped(transports: &str, len: usize) {
    let scene = Scene::start();
    let mut sidecar = beside(&scene, &[transports]);
    let mount = mount(&scene, "mnt", &sidecar, &["-rdma.timeoutMs=600"]);
    let bytes = noise(3, len);
    store(&mount, "/before", &bytes).unwrap();
    assert!(mount.stat("rdma_writes") > 0.0);
    let outcomes = sidecar.metric("fabric_write_outcomes");

    sidecar.process().signal(Signal::STOP).unwrap();
    store(&mount, "/victim", &bytes).unwrap();
    assert!(fallbacks(&mount)["timeout"] > 0, "{:?}", fallbacks(&mount));
    let needle = scene.craft().lookup("/victim").unwrap().chunks[0]
        .file_id
        .clone();
    let target = format!("{}/{needle}", scene.cluster.volume_http(0));
    let status = || {
        let asked = scene.cluster.http().send("GET", &target, &[], b"");
        asked.unwrap().status
    };
    assert_eq!(status(), 200);
    fs::remove_file(mount.path("/victim")).unwrap();
    eventually("the chunk is deleted", SOON, || status() == 404);

    sidecar.process().signal(Signal::CONT).unwrap();
    eventually("writes go over the fabric again", SOON, || {
        store(&mount, "/after", &bytes).unwrap();
        sidecar.metric("fabric_write_outcomes") > outcomes
    });
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(status(), 404, "it is back");
}

#[test]
fn a_write_that_was_given_up_does_not_bring_a_deleted_chunk_back() {
    needs_fuse!();
    // In shared memory, whole in a socket, and more than that holds.
    a_late_write_is_dropped("-transports=shm", 300_000);
    a_late_write_is_dropped("-transports=tcp", 30_000);
    a_late_write_is_dropped("-transports=tcp", 2 << 20);
}
