//! `mount.configure` of the real `weed shell`.

use std::fs;
use std::path::Path;

use e2e::{Scene, needs_fuse};
use rustix::io::Errno;

fn total(dir: &Path) -> u64 {
    let space = rustix::fs::statvfs(dir).unwrap();
    space.f_blocks * space.f_frsize
}

const MIB: usize = 1 << 20;

#[test]
fn the_shell_sets_the_quota_of_a_running_mount() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&["-collection=c"]);
    let dir = mount.dir().display().to_string();
    let unlimited = total(mount.dir());
    fs::write(mount.path("/before"), vec![1; MIB]).unwrap();

    let said = scene.shell(&format!("mount.configure -dir={dir} -quotaMB=4"));
    assert!(!said.contains("error"), "{said}");
    assert_eq!(total(mount.dir()), 4 << 20);
    let mut written = 0;
    let refused = loop {
        match fs::write(mount.path(&format!("/more{written}")), vec![1; MIB]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
        assert!(written <= 5, "the quota does not hold");
    };
    assert_eq!(refused.raw_os_error(), Some(Errno::NOSPC.raw_os_error()));
    assert_eq!(fs::read(mount.path("/before")).unwrap().len(), MIB);

    scene.shell(&format!("mount.configure -dir={dir} -quotaMB=0"));
    assert_eq!(total(mount.dir()), unlimited);
    fs::write(mount.path("/after"), vec![1; MIB]).unwrap();
}

#[test]
fn a_mount_without_a_collection_says_why_it_takes_no_quota() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    let dir = mount.dir().display();
    let said = scene.shell(&format!("mount.configure -dir={dir} -quotaMB=4"));
    assert!(said.contains("needs a mount with -collection"), "{said}");
    assert!(total(mount.dir()) > 4 << 20);
}
