//! The workloads, on the null file system mounted over each transport.
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::path::Path;
use std::sync::Arc;

use bench::{Caching, MANY, Tree};
use fuse::{Session, SessionConfig, Transport};
use null::NullFs;

fn can_mount() -> bool {
    let can = rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists();
    if !can {
        eprintln!("SKIPPED: mounting needs root and /dev/fuse");
    }
    can
}

fn every_workload_is_content(transport: Transport) {
    let tree = Tree::new((3 << 20) + 17, 100);
    let dir = tempfile::tempdir().unwrap();
    let config = SessionConfig {
        read_only: true,
        transport,
        ..SessionConfig::default()
    };
    let session = Session::mount(dir.path(), config, Arc::new(NullFs::new(&tree))).unwrap();
    let root = dir.path();
    for caching in [Caching::Buffered, Caching::Direct] {
        let stream = bench::sequential(root, tree.big(), caching).unwrap();
        assert_eq!(stream.bytes, tree.big().size);
    }
    assert_eq!(
        bench::random(root, tree.big(), Caching::Direct, 4, 50, 1)
            .unwrap()
            .count(),
        200
    );
    assert_eq!(
        bench::open_read_close(root, tree.small()).unwrap().count(),
        100
    );
    bench::walk(&root.join(MANY), tree.entries()).unwrap();
    bench::stat_all(root, &tree.many()).unwrap();
    bench::forced_getattr(root, tree.big(), 20).unwrap();
    bench::missing_lookup(root, 20, 3).unwrap();
    assert!(std::fs::write(root.join("new"), "x").is_err());
    session.unmount().unwrap();
}

#[test]
fn over_the_device() {
    if can_mount() {
        every_workload_is_content(Transport::Device);
    }
}

#[test]
fn over_io_uring() {
    if !Path::new("/sys/module/fuse/parameters/enable_uring").exists() {
        eprintln!("SKIPPED: this kernel has no FUSE over io_uring");
        return;
    }
    if can_mount() {
        every_workload_is_content(Transport::Uring);
    }
}
