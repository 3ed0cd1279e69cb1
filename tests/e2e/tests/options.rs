//! Flags that change what is shown, and how it is fetched.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use cluster::Cluster;
use e2e::{Mount, Proxy, Scene, assert_reads, eventually, needs_fuse, noise};
use rustix::io::Errno;
use seaweed::pb;

#[test]
fn a_subtree_can_be_the_root() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/some/deep/dir/file", b"inside");
    scene.put("/some/other", b"outside");
    let mount = scene.mount(&["-filer.path=/some/deep"]);
    assert_eq!(mount.read("/dir/file"), b"inside");
    assert_eq!(names(&mount, "/"), ["dir"]);
    scene.put("/some/deep/dir/new", b"new");
    eventually("a change inside", Duration::from_secs(5), || {
        names(&mount, "/dir") == ["file", "new"]
    });
}

#[test]
fn a_root_that_is_missing_is_made_by_a_mount_that_writes() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/file", b"x");
    let refusals = [
        (
            vec!["-filer.path=/some/deep", "-readOnly"],
            "-filer.path=/some/deep: no such directory",
        ),
        (
            vec!["-filer.path=/file"],
            "-filer.path=/file: is not a directory",
        ),
    ];
    fs::create_dir(scene.path("refused")).unwrap();
    for (flags, expected) in refusals {
        let refused = Mount::refused(&scene, "refused", &flags);
        assert!(refused.output.contains(expected), "{}", refused.output);
    }
    let mount = scene.mount_at("deep", &["-filer.path=/some/deep"]);
    fs::write(mount.path("/new"), b"inside").unwrap();
    let other = scene.mount(&[]);
    assert_eq!(other.read("/some/deep/new"), b"inside");
    let made = fs::metadata(other.path("/some/deep")).unwrap();
    assert_eq!((made.mode() & 0o7777, made.uid()), (0o755, 0));
}

#[test]
fn owners_are_mapped() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/file", b"x");
    scene.craft().change("/file", |entry| {
        let attributes = entry.attributes.as_mut().unwrap();
        (attributes.uid, attributes.gid) = (500, 600);
    });
    let mount = scene.mount(&["-map.uid=1500:500,7:8", "-map.gid=1600:600"]);
    let file = fs::metadata(mount.path("/file")).unwrap();
    assert_eq!((file.uid(), file.gid()), (1500, 1600));
}

#[test]
fn system_entries_are_shown_only_when_asked_for() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/etc/seaweedfs/x", b"x");
    scene.put("/topics/t", b"t");
    scene.put("/d/etc/y", b"y");
    let hidden = scene.mount_at("hidden", &[]);
    let shown = scene.mount_at("shown", &["-includeSystemEntries"]);
    let has = |mount: &Mount, name| names(mount, "/").iter().any(|n| n == name);
    for name in ["etc", "topics"] {
        assert!(!has(&hidden, name), "{name}");
        assert!(has(&shown, name), "{name}");
    }
    assert_eq!(hidden.read("/d/etc/y"), b"y", "only at the root");
}

#[test]
fn extended_attributes_can_be_turned_off() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/file", b"x");
    let mount = scene.mount(&["-disableXAttr"]);
    let mut value = [0; 10];
    let answer = rustix::fs::getxattr(mount.path("/file"), "user.x", value.as_mut_slice());
    assert_eq!(answer, Err(Errno::OPNOTSUPP));
}

#[test]
fn data_can_come_through_the_filer() {
    needs_fuse!();
    let scene = Scene::start();
    let bytes = noise(1, 6 << 20);
    scene.put("/file", &bytes);
    for (access, through) in [("filerProxy", true), ("direct", false)] {
        let proxy = Proxy::to(&scene.cluster.filer_http());
        let filer = format!("-filer={}", proxy.address());
        let access = format!("-volumeServerAccess={access}");
        let mount = scene.mount(&[&filer, &access, "-cacheCapacityMB=0"]);
        assert!(mount.read("/file") == bytes);
        assert_eq!(
            proxy.answered() >= 6 << 20,
            through,
            "{access}: {} bytes",
            proxy.answered()
        );
        assert_reads(&mount.path("/file"), &bytes);
    }
}

#[test]
fn data_can_come_from_the_public_address() {
    needs_fuse!();
    let proxy = Proxy::unaimed();
    let announce = format!("-publicUrl={}", proxy.address());
    let scene = Scene::of(Cluster::builder().volume_arg(&announce));
    proxy.aim(&scene.cluster.volume_http(0));
    let bytes = noise(1, 6 << 20);
    scene.put("/file", &bytes);
    let before = proxy.answered();
    let mount = scene.mount(&["-volumeServerAccess=publicUrl", "-cacheCapacityMB=0"]);
    assert!(mount.read("/file") == bytes);
    assert!(
        proxy.answered() - before >= 6 << 20,
        "{} bytes",
        proxy.answered() - before
    );
}

#[test]
fn directories_can_count_their_subdirectories() {
    needs_fuse!();
    let scene = Scene::start();
    for name in ["a", "b", "c"] {
        scene.cluster.mkdir(&format!("/d/{name}")).unwrap();
    }
    scene.put("/d/file", b"x");
    let mount = scene.mount(&["-posix.dirNLink"]);
    let links = || fs::metadata(mount.path("/d")).unwrap().nlink();
    assert_eq!(links(), 5);
    scene.cluster.mkdir("/d/late").unwrap();
    eventually("one more", Duration::from_secs(5), || links() == 6);
    scene.cluster.delete("/d/a").unwrap();
    eventually("one less", Duration::from_secs(5), || links() == 5);
}

#[test]
fn the_mount_is_named_like_the_stock_one() {
    needs_fuse!();
    let scene = Scene::start();
    let line = |mount: &Mount| {
        let list = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let dir = mount.dir().to_string_lossy().into_owned();
        list.lines().find(|l| l.contains(&dir)).unwrap().to_owned()
    };
    let mount = scene.mount(&[]);
    let source = format!("fuse.seaweedfs {}:/", scene.cluster.filer_http());
    assert!(line(&mount).contains(&source), "{}", line(&mount));
    assert!(
        line(&mount).contains("default_permissions,allow_other"),
        "{}",
        line(&mount)
    );
    drop(mount);
    let mount = scene.mount(&["-volumeName=tides", "-allowOthers=false"]);
    assert!(
        line(&mount).contains("fuse.seaweedfs tides "),
        "{}",
        line(&mount)
    );
    assert!(!line(&mount).contains("allow_other"), "{}", line(&mount));
}

#[test]
fn free_space_is_reported() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/file", &noise(1, 5 << 20));
    let mount = scene.mount(&[]);
    let space = rustix::fs::statvfs(mount.dir()).unwrap();
    assert!(space.f_blocks > 0 && space.f_bfree > 0 && space.f_bfree <= space.f_blocks);
    assert_eq!(space.f_namemax, 255);
    drop(mount);

    // A quota is the size that is shown, as by the stock mount.
    let quota = ["-collectionQuotaMB=100"];
    let (stock, mount) = (scene.stock(&quota), scene.mount(&quota));
    for dir in [stock.dir(), mount.dir()] {
        let space = rustix::fs::statvfs(dir).unwrap();
        assert_eq!(space.f_blocks * space.f_frsize, 100 << 20);
        assert!(space.f_bfree <= space.f_blocks);
    }
}

#[test]
fn remote_entries_without_a_copy_show_their_size() {
    needs_fuse!();
    let scene = Scene::start();
    let mut entry = pb::Entry {
        attributes: Some(pb::FuseAttributes {
            file_mode: 0o644,
            mtime: 1,
            ..Default::default()
        }),
        ..Default::default()
    };
    entry.remote_entry = Some(pb::RemoteEntry {
        storage_name: "cloud".to_owned(),
        remote_mtime: 2_000_000_000,
        remote_size: 12_345,
        ..Default::default()
    });
    scene.craft().entry("/d/remote", entry);
    let mount = scene.mount(&["-readRetryTime=1s"]);
    assert_eq!(fs::metadata(mount.path("/d/remote")).unwrap().len(), 12_345);
    // No such cloud is configured, so its bytes cannot be had: an error, never zeros.
    assert!(fs::read(mount.path("/d/remote")).is_err());
}

fn names(mount: &Mount, path: &str) -> Vec<String> {
    let list = fs::read_dir(mount.path(path)).unwrap();
    let mut names: Vec<_> = list
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
