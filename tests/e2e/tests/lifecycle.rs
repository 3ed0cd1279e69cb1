//! Start and end of a mount.

use std::fs;
use std::io::ErrorKind;
use std::process::Command;
use std::time::Duration;

use cluster::mounted;
use e2e::{Mount, Scene, eventually, needs_fuse, riptide};
use rustix::io::Errno;
use rustix::process::Signal;

#[test]
fn a_signal_unmounts_and_ends_with_success() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/f", b"x");
    for signal in [Signal::TERM, Signal::INT] {
        let mut mount = scene.mount(&[]);
        assert_eq!(mount.read("/f"), b"x");
        mount.signal(signal);
        let status = mount.process().wait(Duration::from_secs(10)).unwrap();
        assert!(status.success(), "{signal:?}: {status}\n{}", mount.log());
        assert!(!mounted(mount.dir()).unwrap());
    }
}

#[test]
fn a_signal_detaches_it_while_files_are_open_and_it_ends_with_the_last() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/f", b"x");
    let mut mount = scene.mount(&[]);
    let file = fs::File::open(mount.path("/f")).unwrap();
    mount.signal(Signal::TERM);
    eventually("it is detached", Duration::from_secs(15), || {
        !mounted(mount.dir()).unwrap()
    });
    drop(file);
    let status = mount.process().wait(Duration::from_secs(15)).unwrap();
    assert!(status.success(), "{status}\n{}", mount.log());
}

#[test]
fn unmounting_from_outside_ends_it_with_success() {
    needs_fuse!();
    let scene = Scene::start();
    let mut mount = scene.mount(&[]);
    let unmounted = Command::new(riptide())
        .arg("umount")
        .arg(mount.dir())
        .output()
        .unwrap();
    assert!(unmounted.status.success(), "{unmounted:?}");
    let status = mount.process().wait(Duration::from_secs(10)).unwrap();
    assert!(status.success(), "{status}\n{}", mount.log());

    let mut mount = scene.mount(&[]);
    cluster::unmount(mount.dir()).unwrap();
    assert!(
        mount
            .process()
            .wait(Duration::from_secs(10))
            .unwrap()
            .success()
    );
    let again = Command::new(riptide())
        .arg("umount")
        .arg(mount.dir())
        .output()
        .unwrap();
    assert!(!again.status.success(), "nothing is mounted there");
}

#[test]
fn a_stale_mount_point_is_recovered() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/f", b"x");
    let mut dead = scene.mount(&[]);
    dead.process().kill().unwrap();
    // The kernel still knows the root's attributes, but has nobody to ask.
    let stale = rustix::fs::statvfs(dead.dir()).map(drop);
    assert_eq!(stale, Err(Errno::NOTCONN));
    let mount = Mount::start(&scene, "mnt", &[]);
    assert_eq!(mount.read("/f"), b"x");
}

#[test]
fn a_mount_point_must_be_empty_free_and_there() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/f", b"x");
    fs::create_dir(scene.path("full")).unwrap();
    fs::write(scene.path("full/mine"), b"mine").unwrap();
    let refused = Mount::refused(&scene, "full", &[]);
    assert!(!refused.status.success());
    assert!(refused.output.contains("nonempty"), "{}", refused.output);
    {
        let mount = scene.mount_at("full", &["-nonempty"]);
        assert_eq!(mount.read("/f"), b"x");
        let busy = Mount::refused(&scene, "full", &["-nonempty"]);
        assert!(!busy.status.success(), "{}", busy.output);
        assert_eq!(mount.read("/f"), b"x", "the first one is left alone");
    }
    assert_eq!(fs::read(scene.path("full/mine")).unwrap(), b"mine");

    let refused = Mount::refused(&scene, "missing", &[]);
    assert!(!refused.status.success());
    assert!(
        refused.output.contains("dirAutoCreate"),
        "{}",
        refused.output
    );
    assert_eq!(
        fs::metadata(scene.path("missing")).unwrap_err().kind(),
        ErrorKind::NotFound
    );

    fs::write(scene.path("file"), b"").unwrap();
    assert!(!Mount::refused(&scene, "file", &[]).status.success());
}

#[test]
fn the_mount_point_can_be_made() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/f", b"x");
    let dir = scene.path("outer/inner");
    let flag = format!("-dir={}", dir.display());
    let mut mount = Command::new(riptide());
    let filer = format!("-filer={}", scene.cluster.filer_http());
    let mut child = mount
        .args(["mount", &filer, &flag, "-dirAutoCreate"])
        .spawn()
        .unwrap();
    eventually("the mount", Duration::from_secs(20), || {
        fs::read(dir.join("f")).is_ok_and(|bytes| bytes == b"x")
    });
    cluster::unmount(&dir).unwrap();
    assert!(child.wait().unwrap().success());
}

#[test]
fn an_unreachable_filer_is_named() {
    needs_fuse!();
    let mut scene = Scene::start();
    let filer = scene.cluster.filer_http();
    scene.cluster.kill_filer(0).unwrap();
    fs::create_dir(scene.path("mnt")).unwrap();
    let refused = Mount::refused(&scene, "mnt", &["-readRetryTime=1s"]);
    assert!(!refused.status.success());
    assert!(refused.output.contains(&filer), "{}", refused.output);
}

#[test]
fn a_wrong_flag_is_named() {
    needs_fuse!();
    let scene = Scene::start();
    fs::create_dir(scene.path("mnt")).unwrap();
    for (flag, named) in [
        ("-no.such.flag=1", "no.such.flag"),
        ("-umask=999", "umask"),
        ("-map.uid=1:2:3", "map.uid"),
        ("-cacheCapacityMB=-1", "cacheCapacityMB"),
        ("-volumeServerAccess=sideways", "volumeServerAccess"),
        ("-readRetryTime=soon", "readRetryTime"),
    ] {
        let refused = Mount::refused(&scene, "mnt", &[flag]);
        assert!(!refused.status.success(), "{flag}");
        assert!(refused.output.contains(named), "{flag}: {}", refused.output);
        fs::remove_file(scene.path("mnt.log")).unwrap();
    }
}
