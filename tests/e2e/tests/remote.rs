//! Files that live in cloud storage, which here is the S3 gateway of the same cluster.

use std::fs;
use std::time::Duration;

use cluster::{Cluster, PortPair, free_port_pair};
use e2e::{Scene, assert_reads, eventually, needs_fuse, noise};

const BUCKET: &str = "cloudy";

/// A cluster with an S3 gateway, which its own filer and volume server may use as a cloud.
fn scene() -> (Scene, PortPair) {
    let s3 = free_port_pair().unwrap();
    let builder = Cluster::builder()
        .filer_arg("-s3")
        .filer_arg(&format!("-s3.port={}", s3.http()))
        .filer_arg("-s3.port.iceberg=0")
        .filer_arg("-s3.port.lance=0")
        .filer_arg("-allowUntrustedRemoteEndpoints")
        .volume_arg("-volume.allowUntrustedRemoteEndpoints");
    let scene = Scene::of(builder);
    (scene, s3)
}

#[test]
fn a_file_that_is_only_in_the_cloud_is_fetched_and_read() {
    needs_fuse!();
    let (scene, s3) = scene();
    let http = scene.cluster.http();
    let cloud = format!("127.0.0.1:{}/{BUCKET}", s3.http());
    let put = |target: &str, body: &[u8]| {
        let answer = http.send("PUT", target, &[], body);
        answer.and_then(cluster::Response::ok)
    };
    eventually("the gateway", Duration::from_secs(30), || {
        put(&cloud, b"").is_ok()
    });
    let files = [
        ("sub/large.bin", noise(1, 9_000_001)),
        ("small", noise(2, 100)),
    ];
    for (name, bytes) in &files {
        put(&format!("{cloud}/{name}"), bytes).unwrap();
    }
    scene.shell(&format!(
        "lock\n\
             remote.configure -name=cloud -type=s3 -s3.access_key=any -s3.secret_key=any \
             -s3.endpoint=http://127.0.0.1:{} -s3.region=us-east-1 -s3.force_path_style=true\n\
             remote.mount -dir=/mirror -remote=cloud/{BUCKET}\n\
             unlock",
        s3.http()
    ));
    let mount = scene.mount(&[]);
    for (name, bytes) in &files {
        let path = format!("/mirror/{name}");
        let entry = scene.craft().lookup(&path).unwrap();
        assert!(entry.chunks.is_empty(), "{path} is only in the cloud");
        let shown = fs::metadata(mount.path(&path)).unwrap();
        assert_eq!(shown.len(), bytes.len() as u64, "{path}");
        assert_reads(&mount.path(&path), bytes);
        let entry = scene.craft().lookup(&path).unwrap();
        assert!(!entry.chunks.is_empty(), "{path} is now in the cluster too");
    }
}
