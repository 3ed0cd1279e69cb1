//! The throw-away cluster against the real `weed`.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use cluster::Cluster;

#[test]
fn files_come_back_and_nothing_stays_behind() {
    let start = Instant::now();
    let cluster = Cluster::builder()
        .volume_servers(2)
        .replication("001")
        .start()
        .unwrap();
    println!("ready after {:?}", start.elapsed());
    let body: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    cluster
        .put_with("/a/ü b.bin", "maxMB=1", &[], &body)
        .unwrap();
    assert_eq!(cluster.get("/a/ü b.bin").unwrap(), body);
    cluster.rename("/a/ü b.bin", "/a/c").unwrap();
    assert_eq!(cluster.get("/a/c").unwrap(), body);
    cluster.delete("/a/c").unwrap();
    assert!(cluster.get("/a/c").is_err());

    let root = cluster.root().to_owned();
    let ids = processes_of(&root);
    assert_eq!(ids.len(), 4, "master, two volume servers, filer");
    let start = Instant::now();
    drop(cluster);
    println!("gone after {:?}", start.elapsed());
    assert!(!root.exists());
    assert!(
        ids.iter()
            .all(|id| !Path::new(&format!("/proc/{id}")).exists())
    );
}

#[test]
fn each_server_can_be_killed_frozen_and_restarted() {
    let mut cluster = Cluster::builder().filers(2).start().unwrap();
    cluster.put("/f", b"kept").unwrap();
    cluster.kill_filer(0).unwrap();
    assert!(cluster.get("/f").is_err());
    cluster.restart_filer(0).unwrap();
    assert_eq!(cluster.get("/f").unwrap(), b"kept");
    cluster.stop_filer(1).unwrap();
    assert!(cluster.filer_process(1).is_running());
    cluster.cont_filer(1).unwrap();
    cluster.kill_volume(0).unwrap();
    cluster.restart_volume(0).unwrap();
    assert_eq!(cluster.get("/f").unwrap(), b"kept");
}

#[test]
fn protected_and_encrypted_clusters_come_up() {
    let cluster = Cluster::builder()
        .tls(true)
        .jwt(true)
        .encrypted(true)
        .start()
        .unwrap();
    cluster.put("/f", b"secret").unwrap();
    assert_eq!(cluster.get("/f").unwrap(), b"secret");
    let stranger = cluster::Http::new(None).unwrap();
    let target = format!("{}/f", cluster.filer_http());
    let answer = stranger.send("GET", &target, &[], b"");
    assert!(
        answer.is_err() || answer.unwrap().status == 400,
        "HTTPS only"
    );
}

#[test]
fn the_stock_mount_shows_the_files_and_is_gone_when_dropped() {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        println!("skipped: needs root and /dev/fuse");
        return;
    }
    let cluster = Cluster::builder().start().unwrap();
    cluster.put("/d/f", b"hello").unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let mount = cluster
        .stock_mount(&scratch.path().join("m nt"), &[])
        .unwrap();
    let dir = mount.dir().to_owned();
    assert_eq!(fs::read(dir.join("d/f")).unwrap(), b"hello");
    drop(mount);
    assert!(!cluster::mounted(&dir).unwrap());
}

#[test]
fn servers_die_with_a_process_that_could_not_clean_up() {
    const CHILD: &str = "RIPTIDE_TEST_CLUSTER_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let cluster = Cluster::builder().start().unwrap();
        println!("root={}", cluster.root().display());
        std::process::abort();
    }
    let this = std::env::current_exe().unwrap();
    let name = "servers_die_with_a_process_that_could_not_clean_up";
    let output = Command::new(this)
        .args(["--exact", name, "--nocapture"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let root = text.split("root=").nth(1).unwrap().lines().next().unwrap();
    // The kernel's signal is sent at once; the dying takes a moment.
    let start = Instant::now();
    while !processes_of(Path::new(root)).is_empty() {
        assert!(start.elapsed().as_secs() < 10, "servers outlive their test");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    fs::remove_dir_all(root).unwrap();
}

/// Ids of the processes that name a folder in their arguments.
fn processes_of(root: &Path) -> Vec<u32> {
    let root = root.to_string_lossy();
    let mut ids = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Ok(id) = entry.file_name().to_string_lossy().parse::<u32>() else {
            continue;
        };
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&arguments).contains(&*root) {
            ids.push(id);
        }
    }
    ids
}
