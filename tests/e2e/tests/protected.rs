//! Clusters that ask for tokens and certificates.

use std::fs;

use cluster::{Certificates, Cluster};
use e2e::{Mount, Scene, assert_reads, needs_fuse, noise, text};

fn plant(scene: &Scene) -> [(&'static str, Vec<u8>); 3] {
    let files = [
        ("/a.bin", noise(1, 9 << 20)),
        ("/b.txt", text(2, 200_000)),
        ("/c", noise(3, 10)),
    ];
    for (path, bytes) in &files {
        scene.put(path, bytes);
    }
    files
}

#[test]
fn reads_are_signed_where_volume_servers_ask_for_it() {
    needs_fuse!();
    let scene = Scene::of(Cluster::builder().jwt(true));
    let files = plant(&scene);
    let fid = scene.craft().lookup("/c").unwrap().chunks[0]
        .file_id
        .clone();
    let target = format!("{}/{fid}", scene.cluster.volume_http(0));
    let unsigned = scene.cluster.http().send("GET", &target, &[], b"").unwrap();
    assert_eq!(unsigned.status, 401, "the cluster does ask");
    let mount = scene.mount(&[]);
    for (path, bytes) in &files {
        assert_reads(&mount.path(path), bytes);
    }
}

#[test]
fn a_wrong_key_reads_nothing() {
    needs_fuse!();
    let scene = Scene::of(Cluster::builder().jwt(true));
    let files = plant(&scene);
    let other = scene.path("other");
    fs::create_dir(&other).unwrap();
    fs::write(
        other.join("security.toml"),
        "[jwt.signing.read]\nkey = \"another\"\n",
    )
    .unwrap();
    let mount = scene.mount(&[
        &format!("-config_dir={}", other.display()),
        "-readRetryTime=1s",
    ]);
    let path = mount.path(files[0].0);
    assert_eq!(
        fs::metadata(&path).unwrap().len(),
        9 << 20,
        "names are the filer's"
    );
    assert!(fs::read(&path).is_err());
}

#[test]
fn mutual_tls_and_https_are_spoken_where_asked_for() {
    needs_fuse!();
    let scene = Scene::of(Cluster::builder().tls(true).jwt(true).encrypted(true));
    let files = plant(&scene);
    for access in ["direct", "filerProxy"] {
        let mount = scene.mount(&[
            &format!("-volumeServerAccess={access}"),
            "-cacheCapacityMB=0",
        ]);
        for (path, bytes) in &files {
            assert_reads(&mount.path(path), bytes);
        }
    }
}

#[test]
fn a_stranger_is_refused_with_a_reason() {
    needs_fuse!();
    let scene = Scene::of(Cluster::builder().tls(true));
    let other = scene.path("other");
    fs::create_dir(&other).unwrap();
    Certificates::generate().unwrap().write(&other).unwrap();
    let theirs = fs::read_to_string(scene.cluster.home().join("security.toml")).unwrap();
    let home = scene.cluster.home().to_string_lossy().into_owned();
    let ours = theirs.replace(&home, &other.to_string_lossy());
    fs::write(other.join("security.toml"), ours).unwrap();
    let config = format!("-config_dir={}", other.display());
    fs::create_dir(scene.path("mnt")).unwrap();
    let refused = Mount::refused(&scene, "mnt", &[&config, "-readRetryTime=1s"]);
    assert!(!refused.status.success());
    let filer = scene.cluster.filer_http();
    assert!(refused.output.contains(&filer), "{}", refused.output);
    let lower = refused.output.to_lowercase();
    assert!(
        lower.contains("certificate") || lower.contains("tls"),
        "{}",
        refused.output
    );
}
