//! What a mount tells about itself.

use std::fs::File;
use std::process::Command;

use e2e::{Random, Scene, needs_fuse, noise, read_at, riptide};

#[test]
fn the_documents_of_the_statistics_server() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/file", &noise(1, 3 << 20));
    let mount = scene.mount(&[]);
    assert_eq!(mount.read("/file").len(), 3 << 20);

    let stats = mount.stats();
    for field in [
        "enabled",
        "total_reads",
        "rdma_reads",
        "http_fallbacks",
        "rdma_ratio_pct",
    ] {
        assert!(stats.get(field).is_some(), "{field} in {stats:#}");
    }
    assert!(mount.stat("total_reads") > 0.0);
    assert!(mount.stat("total_bytes_read") >= f64::from(3 << 20));
    assert!(mount.stat("avg_latency_ns") > 0.0);
    assert_eq!(mount.stat("rdma_reads"), 0.0, "the fabric is off");

    let metrics = mount.http("/metrics");
    assert_eq!(metrics.status, 200);
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.contains("# TYPE "), "{text}");
    assert!(
        text.lines()
            .any(|l| l.starts_with("riptide_") && l.contains("read")),
        "{text}"
    );
    // Prometheus refuses a document in which a name is declared, or a series told, twice.
    let mut seen = std::collections::BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with("# HELP ")) {
        let key = line.rsplit_once(' ').map_or(line, |(key, _)| key);
        assert!(seen.insert(key), "twice: {key}");
    }
    let health = mount.http("/health");
    assert_eq!(health.status, 200);
    let health: serde_json::Value = serde_json::from_slice(&health.body).unwrap();
    assert!(health.is_object(), "{health}");
    assert_eq!(mount.http("/nothing").status, 404);
}

#[test]
fn the_stats_command_needs_no_port() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/file", b"x");
    let mount = scene.mount(&["-metricsPort=0"]);
    assert_eq!(mount.read("/file"), b"x");
    let stats = |flags: &[&str]| {
        let output = Command::new(riptide())
            .arg("stats")
            .args(flags)
            .arg(mount.dir())
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let json: serde_json::Value = serde_json::from_str(&stats(&["-json", "-once"])).unwrap();
    assert!(json["total_reads"].as_f64().unwrap() >= 1.0, "{json:#}");
    assert!(!stats(&["-once"]).is_empty());
}

/// Small random reads fetch what was asked for, at most a tenth more.
#[test]
fn random_reads_fetch_what_is_asked() {
    use std::os::unix::fs::OpenOptionsExt;
    needs_fuse!();
    let scene = Scene::start();
    let bytes = noise(1, 64 << 20);
    scene.put("/file", &bytes);
    let mount = scene.mount(&["-cacheCapacityMB=0", "-readerCacheSizeMB=8"]);
    let direct = rustix::fs::OFlags::DIRECT.bits() as i32;
    let file = File::options()
        .read(true)
        .custom_flags(direct)
        .open(mount.path("/file"))
        .unwrap();
    let mut random = Random::new(1);
    let mut asked = 0;
    for _ in 0..300 {
        let len = 4096 << random.below(6);
        let offset = random.below(((64 << 20) - len) / 4096) * 4096;
        let mut buffer = vec![0; len as usize + 4096];
        let align = buffer.as_ptr().align_offset(4096);
        let buffer = &mut buffer[align..align + len as usize];
        let count = std::os::unix::fs::FileExt::read_at(&file, buffer, offset).unwrap();
        assert!(count as u64 == len && *buffer == bytes[offset as usize..][..count]);
        asked += len;
    }
    let fetched = mount.stat("http_bytes");
    println!("asked {asked}, fetched {fetched}");
    assert!(
        fetched <= asked as f64 * 1.1,
        "asked {asked}, fetched {fetched}"
    );
    assert!(
        read_at(&file, 64 << 20, 4096).unwrap().is_empty(),
        "nothing behind the end"
    );
}
