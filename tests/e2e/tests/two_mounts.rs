//! Two mounts that change one tree at the same time (docs/SEMANTICS.md, section 9).

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Scene, needs_fuse};

/// By when the other mount has seen a change, on a machine that runs other tests as well.
const SEEN: Duration = Duration::from_secs(5);

#[test]
fn of_two_that_create_a_name_exclusively_one_wins() {
    needs_fuse!();
    let scene = Scene::start();
    let (a, b) = (scene.mount_at("a", &[]), scene.mount_at("b", &[]));
    for round in 0..50 {
        let won = AtomicUsize::new(0);
        thread::scope(|scope| {
            for mount in [&a, &b] {
                scope.spawn(
                    || match File::create_new(mount.dir().join(format!("name{round}"))) {
                        Ok(_) => drop(won.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => assert_eq!(error.kind(), ErrorKind::AlreadyExists),
                    },
                );
            }
        });
        assert_eq!(won.into_inner(), 1, "round {round}");
    }
}

#[test]
fn records_appended_on_both_sides_are_all_there() {
    needs_fuse!();
    const RECORDS: usize = 40;
    let scene = Scene::start();
    let (a, b) = (scene.mount_at("a", &[]), scene.mount_at("b", &[]));
    fs::write(a.path("/log"), "").unwrap();
    until(|| b.path("/log").exists());
    thread::scope(|scope| {
        for (mount, letter) in [(&a, "a"), (&b, "b")] {
            scope.spawn(move || {
                for _ in 0..RECORDS {
                    let log = OpenOptions::new().append(true).open(mount.path("/log"));
                    let record = format!("{}\n", letter.repeat(99));
                    log.unwrap().write_all(record.as_bytes()).unwrap();
                }
            });
        }
    });
    for mount in [&a, &b] {
        until(|| fs::metadata(mount.path("/log")).unwrap().len() == (2 * RECORDS * 100) as u64);
        let log = fs::read_to_string(mount.path("/log")).unwrap();
        for letter in ["a", "b"] {
            let record = letter.repeat(99);
            let whole = log.lines().filter(|line| **line == record).count();
            assert_eq!(whole, RECORDS, "records of {letter}");
        }
    }
}

#[test]
fn ranges_written_on_both_sides_are_both_there() {
    needs_fuse!();
    let scene = Scene::start();
    let (a, b) = (scene.mount_at("a", &[]), scene.mount_at("b", &[]));
    fs::write(a.path("/file"), vec![b'0'; 4096]).unwrap();
    until(|| size(&b.path("/file")) == Some(4096));
    let open = |path: &Path| OpenOptions::new().write(true).open(path).unwrap();
    let (left, right) = (open(&a.path("/file")), open(&b.path("/file")));
    left.write_all_at(&[b'A'; 1000], 0).unwrap();
    right.write_all_at(&[b'B'; 1000], 2000).unwrap();
    drop(left);
    drop(right);
    let mut want = vec![b'0'; 4096];
    want[..1000].fill(b'A');
    want[2000..3000].fill(b'B');
    for mount in [&a, &b] {
        until(|| fs::read(mount.path("/file")).unwrap() == want);
    }
    assert!(
        scene.cluster.get("/file").unwrap() == want,
        "the filer's own answer"
    );
}

#[test]
fn a_name_that_is_replaced_again_and_again_is_always_there() {
    needs_fuse!();
    let scene = Scene::start();
    let (a, b) = (scene.mount_at("a", &[]), scene.mount_at("b", &[]));
    fs::write(a.path("/name"), "0").unwrap();
    until(|| b.path("/name").exists());
    let over = AtomicBool::new(false);
    let looks = AtomicUsize::new(0);
    thread::scope(|scope| {
        for mount in [&a, &b] {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if let Err(error) = fs::symlink_metadata(mount.path("/name")) {
                        over.store(true, Ordering::Relaxed);
                        panic!("{error}");
                    }
                    looks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for round in 0..100 {
            if over.load(Ordering::Relaxed) {
                break;
            }
            fs::write(a.path("/next"), round.to_string()).unwrap();
            fs::rename(a.path("/next"), a.path("/name")).unwrap();
        }
        over.store(true, Ordering::Relaxed);
    });
    assert!(looks.into_inner() > 100);
}

#[test]
fn changes_on_one_side_are_seen_on_the_other() {
    needs_fuse!();
    let scene = Scene::start();
    let (a, b) = (scene.mount_at("a", &[]), scene.mount_at("b", &[]));
    fs::write(a.path("/one"), "content").unwrap();
    until(|| fs::read(b.path("/one")).is_ok_and(|bytes| bytes == b"content"));
    fs::hard_link(a.path("/one"), a.path("/two")).unwrap();
    until(|| links(&b.path("/two")) == Some(2) && links(&b.path("/one")) == Some(2));
    fs::hard_link(b.path("/two"), b.path("/three")).unwrap();
    until(|| links(&a.path("/one")) == Some(3));
    fs::set_permissions(b.path("/three"), fs::Permissions::from_mode(0o601)).unwrap();
    until(|| fs::metadata(a.path("/one")).unwrap().mode() & 0o777 == 0o601);
    fs::remove_file(a.path("/one")).unwrap();
    until(|| links(&b.path("/two")) == Some(2) && !b.path("/one").exists());
    fs::rename(b.path("/two"), b.path("/zwei")).unwrap();
    until(|| a.path("/zwei").exists() && !a.path("/two").exists());
    let before = fs::metadata(b.dir()).unwrap();
    fs::create_dir(a.path("/dir")).unwrap();
    until(|| b.path("/dir").is_dir());
    fs::create_dir(b.path("/dir/below")).unwrap();
    let error = fs::remove_dir(a.path("/dir")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DirectoryNotEmpty);
    assert!(before.is_dir());
}

#[test]
fn a_directory_shows_on_both_sides_when_its_names_changed() {
    needs_fuse!();
    let scene = Scene::start();
    let (a, b) = (scene.mount_at("a", &[]), scene.mount_at("b", &[]));
    fs::create_dir(a.path("/dir")).unwrap();
    until(|| b.path("/dir").is_dir());
    let time = |path: &Path| {
        let metadata = fs::metadata(path).unwrap();
        (metadata.mtime(), metadata.mtime_nsec())
    };
    let before = time(&b.path("/dir"));
    thread::sleep(Duration::from_millis(20));
    fs::write(a.path("/dir/name"), "").unwrap();
    until(|| time(&b.path("/dir")) > before);
    assert!(time(&a.path("/dir")) > before);
    // And it is stored, for those who did not see the event.
    thread::sleep(Duration::from_secs(2));
    let late = scene.mount_at("late", &[]);
    assert!(time(&late.path("/dir")) > before);
}

fn until(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SEEN, "not seen within {SEEN:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn size(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.len())
}

fn links(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|metadata| metadata.nlink())
}

/// rename(2): if both are names of one file, nothing happens.
#[test]
fn a_rename_between_names_that_were_linked_elsewhere_changes_nothing() {
    needs_fuse!();
    let scene = Scene::start();
    let (a, b) = (scene.mount_at("a", &[]), scene.mount_at("b", &[]));
    for round in 0..10 {
        let name = |which: &str| format!("/{which}{round}");
        fs::write(a.path(&name("old")), b"bytes").unwrap();
        until(|| fs::read(b.path(&name("old"))).is_ok_and(|bytes| bytes == b"bytes"));
        fs::hard_link(a.path(&name("old")), a.path(&name("new"))).unwrap();
        until(|| b.path(&name("new")).exists());
        fs::rename(b.path(&name("old")), b.path(&name("new"))).unwrap();
        for mount in [&a, &b] {
            for which in ["old", "new"] {
                let seen = fs::metadata(mount.path(&name(which))).unwrap();
                assert_eq!(seen.nlink(), 2, "{which} {round}");
            }
        }
        // One file to the kernel as well: what is written to one is read from the other.
        fs::write(a.path(&name("new")), b"other").unwrap();
        until(|| fs::read(b.path(&name("old"))).is_ok_and(|bytes| bytes == b"other"));
    }
}
