//! Listings (docs/SEMANTICS.md, section 6).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use e2e::{Mount, Scene, needs_fuse};

#[test]
fn a_listing_of_twenty_thousand_is_complete_and_stable_under_change() {
    needs_fuse!();
    let scene = Scene::start();
    let expected: BTreeSet<String> = (0..20_000).map(|n| format!("entry-{n:05}")).collect();
    scene.craft().crowd("/big", expected.iter().cloned());
    // 5000 is a limit that another listing must not share.
    let read_through = scene.mount_at("through", &["-cacheDirMaxEntries=5000"]);
    let cached = scene.mount(&[]);
    for mount in [&cached, &read_through] {
        assert!(list(mount, "/big") == expected);
    }

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::Relaxed) {
                let name = format!("/big/churn-{:03}", n % 200);
                if n / 200 % 2 == 0 {
                    scene.put(&name, b"c");
                } else {
                    scene.cluster.delete(&name).unwrap();
                }
                n += 1;
            }
            println!("{n} changes meanwhile");
        });
        for mount in [&cached, &read_through] {
            for _ in 0..3 {
                let all = list(mount, "/big");
                let lasting: BTreeSet<_> =
                    all.into_iter().filter(|n| n.starts_with("entry")).collect();
                assert!(
                    lasting == expected,
                    "{} of {}",
                    lasting.len(),
                    expected.len()
                );
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn what_a_listing_says_is_what_stat_says() {
    needs_fuse!();
    let scene = Scene::start();
    for n in 0..50 {
        scene.put(&format!("/d/f{n}"), b"x");
        scene.cluster.mkdir(&format!("/d/d{n}")).unwrap();
    }
    let mount = scene.mount(&[]);
    let mut count = 0;
    for entry in fs::read_dir(mount.path("/d")).unwrap() {
        let entry = entry.unwrap();
        let metadata = fs::metadata(entry.path()).unwrap();
        assert_eq!(entry.ino(), metadata.ino(), "{:?}", entry.path());
        assert_eq!(
            entry.file_type().unwrap(),
            metadata.file_type(),
            "{:?}",
            entry.path()
        );
        count += 1;
    }
    assert_eq!(count, 100);
}

#[test]
fn a_rewound_listing_shows_what_came_since() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/d/one", b"1");
    let mount = scene.mount(&[]);
    let file = fs::File::open(mount.path("/d")).unwrap();
    let mut open = rustix::fs::Dir::new(file).unwrap();
    let names = |dir: &mut rustix::fs::Dir| {
        let all = dir.map(|e| e.unwrap().file_name().to_str().unwrap().to_owned());
        all.filter(|n| !n.starts_with('.')).collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&mut open), BTreeSet::from(["one".to_owned()]));
    scene.put("/d/two", b"2");
    e2e::eventually(
        "the new name after rewinddir",
        Duration::from_secs(5),
        || {
            open.rewind();
            names(&mut open).len() == 2
        },
    );
}

#[test]
fn an_empty_and_a_missing_directory_differ() {
    needs_fuse!();
    let scene = Scene::start();
    scene.cluster.mkdir("/empty").unwrap();
    let mount = scene.mount(&[]);
    let names: Vec<_> = list(&mount, "/empty").into_iter().collect();
    assert!(names.is_empty(), "{names:?}");
    let missing = fs::read_dir(mount.path("/missing"));
    assert_eq!(missing.unwrap_err().kind(), std::io::ErrorKind::NotFound);
}

fn list(mount: &Mount, path: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(mount.path(path)).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(names.insert(name.clone()), "{name} is listed twice");
    }
    names
}
