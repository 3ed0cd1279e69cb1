//! Files whose names go elsewhere while somebody has them open (docs/SEMANTICS.md, sections 8 to 10).

use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use e2e::{Scene, needs_fuse};

/// Enough for the filer to be busy with them for a while.
const FILES: usize = 1500;

/// A directory of small files, of which the mounts of the scene know nothing yet.
fn fill(scene: &Scene, directory: &str) {
    let maker = scene.mount_at("maker", &[]);
    fs::create_dir(maker.path(directory)).unwrap();
    for n in 0..FILES {
        fs::write(maker.path(&format!("{directory}/f{n}")), format!("{n}")).unwrap();
    }
}

#[test]
fn whoever_is_in_a_directory_that_is_moved_finds_all_its_names_at_any_time() {
    needs_fuse!();
    let scene = Scene::start();
    fill(&scene, "/before");
    let mount = scene.mount_at("mnt", &["-cacheDirMaxEntries=100"]);
    let inside = File::open(mount.path("/before")).unwrap();
    let inside = format!("/proc/self/fd/{}", inside.as_raw_fd());
    let moved = AtomicBool::new(false);
    let during = thread::scope(|scope| {
        let looker = scope.spawn(|| {
            let mut during = 0;
            // From the end, as the filer moves them from the beginning.
            for n in (0..FILES).rev() {
                let found = fs::read_to_string(format!("{inside}/f{n}"));
                during += usize::from(!moved.load(Ordering::SeqCst));
                let found = found.unwrap_or_else(|error| panic!("f{n}: {error}"));
                assert_eq!(found, n.to_string());
            }
            during
        });
        fs::rename(mount.path("/before"), mount.path("/after")).unwrap();
        moved.store(true, Ordering::SeqCst);
        looker.join().unwrap()
    });
    println!("{during} of {FILES} were found while the directory was moved");
    for n in 0..FILES {
        let found = fs::read_to_string(mount.path(&format!("/after/f{n}")));
        assert_eq!(found.unwrap(), n.to_string());
    }
}

#[test]
fn bytes_of_a_file_that_has_another_name_are_stored_before_one_is_removed() {
    needs_fuse!();
    let scene = Scene::start();
    {
        let maker = scene.mount_at("maker", &[]);
        for file in ["unlinked", "replaced"] {
            fs::write(maker.path(&format!("/{file}")), "old bytes").unwrap();
            let (from, to) = (format!("/{file}"), format!("/{file}-too"));
            fs::hard_link(maker.path(&from), maker.path(&to)).unwrap();
        }
    }
    // It knows nothing of the other names.
    let mount = scene.mount_at("mnt", &[]);
    let open = |name: &str| OpenOptions::new().write(true).open(mount.path(name));
    let unlinked = open("/unlinked").unwrap();
    unlinked.write_all_at(b"new", 0).unwrap();
    fs::remove_file(mount.path("/unlinked")).unwrap();
    let replaced = open("/replaced").unwrap();
    replaced.write_all_at(b"new", 0).unwrap();
    fs::write(mount.path("/other"), "another file").unwrap();
    fs::rename(mount.path("/other"), mount.path("/replaced")).unwrap();
    for file in ["/unlinked-too", "/replaced-too"] {
        let found = scene.cluster.get(file).unwrap();
        assert_eq!(String::from_utf8_lossy(&found), "new bytes", "{file}");
    }
    // From now on there is no name by which it could be stored, and that is said.
    unlinked.write_all_at(b"lost", 0).unwrap();
    assert!(unlinked.sync_all().is_err(), "nothing was stored");
}
