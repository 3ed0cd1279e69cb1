//! What is saved after `close`, or before it (docs/SEMANTICS.md, section on durability).

use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

use e2e::{Scene, eventually, needs_fuse, noise};

/// Longer than anything here takes; what never comes fails the test.
const PATIENCE: Duration = Duration::from_secs(40);

#[test]
fn close_need_not_wait_for_a_volume_server() {
    needs_fuse!();
    let mut scene = Scene::start();
    let mut mount = scene.mount(&["-writebackCache"]);
    // The filer knows a volume to write to before its server stops.
    fs::write(mount.path("/first"), b"x").unwrap();
    eventually("the first file is stored", PATIENCE, || {
        scene.cluster.get("/first").is_ok_and(|bytes| bytes == b"x")
    });
    let bytes = noise(1, 3 << 20);
    scene.cluster.stop_volume(0).unwrap();
    fs::write(mount.path("/f"), &bytes).unwrap();
    // A close that waited would not have come back before the server does.
    assert_eq!(fs::metadata(mount.path("/f")).unwrap().len(), 3 << 20);
    let entry = scene.craft().lookup("/f").unwrap();
    assert!(
        entry.chunks.is_empty(),
        "it is stored, with a server that stands still"
    );
    scene.cluster.cont_volume(0).unwrap();
    eventually("the file is stored", PATIENCE, || {
        scene.cluster.get("/f").is_ok_and(|stored| stored == bytes)
    });
    assert_eq!(mount.read("/f"), bytes);

    // What is on its way when the mount ends arrives.
    for at in 0..50 {
        fs::write(mount.path(&format!("/many{at}")), noise(at, 10_000)).unwrap();
    }
    assert!(mount.terminate().success());
    for at in 0..50 {
        let stored = scene.cluster.get(&format!("/many{at}")).unwrap();
        assert_eq!(stored, noise(at, 10_000), "{at}");
    }
}

#[test]
fn fsync_waits_all_the_same() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&["-writebackCache"]);
    for at in 0..20 {
        let mut file = File::create(mount.path("/f")).unwrap();
        let bytes = noise(at, 300_000);
        file.write_all(&bytes).unwrap();
        file.sync_all().unwrap();
        assert_eq!(scene.cluster.get("/f").unwrap(), bytes, "round {at}");
    }
}

#[test]
fn times_set_before_close_are_not_those_of_the_last_write() {
    needs_fuse!();
    let scene = Scene::start();
    let mut mount = scene.mount(&["-writebackCache"]);
    let mut file = File::create(mount.path("/f")).unwrap();
    file.write_all(b"x").unwrap();
    let then = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    file.set_modified(then).unwrap();
    drop(file);
    assert!(mount.terminate().success());
    let mount = scene.mount(&[]);
    let found = fs::metadata(mount.path("/f")).unwrap();
    assert_eq!(found.modified().unwrap(), then);
}

#[test]
fn a_file_that_stays_open_is_saved_now_and_then() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&["-metadataFlushSeconds=1"]);
    let mut file = File::create(mount.path("/log")).unwrap();
    for round in 1..=2 {
        file.write_all(&[round; 100_000]).unwrap();
        let length = 100_000 * usize::from(round);
        eventually("what was written is in the entry", PATIENCE, || {
            scene
                .cluster
                .get("/log")
                .is_ok_and(|bytes| bytes.len() == length)
        });
    }
    assert!(mount.stat("open_saves") >= 2.0);
    drop(file);
    let stored = scene.cluster.get("/log").unwrap();
    assert_eq!(stored, [[1; 100_000], [2; 100_000]].concat());
}

/// As rsync does it: a folder's time is set when it is made, and again when all its files are there.
#[test]
fn a_folders_time_stays_as_set_however_its_own_is_being_stored() {
    needs_fuse!();
    let scene = Scene::start();
    let mut mount = scene.mount(&[]);
    let then = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let set = |dir: &std::path::Path| File::open(dir).unwrap().set_modified(then).unwrap();
    let dirs: Vec<_> = (0..4).map(|at| mount.path(&format!("/d{at}"))).collect();
    for dir in &dirs {
        fs::create_dir(dir).unwrap();
        set(dir);
    }
    std::thread::scope(|scope| {
        for dir in &dirs {
            scope.spawn(move || {
                let began = std::time::Instant::now();
                let mut made = 0;
                while began.elapsed() < Duration::from_secs(6) {
                    fs::create_dir(dir.join(made.to_string())).unwrap();
                    set(dir);
                    // Whether it was changed since shows only while nothing else is made.
                    std::thread::sleep(Duration::from_millis(5));
                    let found = fs::metadata(dir).unwrap().modified().unwrap();
                    assert_eq!(found, then, "after {made}");
                    made += 1;
                }
                assert!(made > 50, "{made}");
            });
        }
    });
    assert!(mount.terminate().success());
    let mount = scene.mount(&[]);
    for at in 0..dirs.len() {
        let found = fs::metadata(mount.path(&format!("/d{at}"))).unwrap();
        assert_eq!(found.modified().unwrap(), then, "{at}");
    }
}
