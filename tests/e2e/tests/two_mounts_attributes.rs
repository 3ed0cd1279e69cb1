//! Two mounts that change the attributes of one file at the same moment (docs/SEMANTICS.md, section 9).

use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use e2e::{Mount, Scene, needs_fuse, noise, text};
use rustix::fs::{XattrFlags, setxattr};

/// By when the other mount has seen a change, on a machine that runs other tests as well.
const SEEN: Duration = Duration::from_secs(5);
const ROUNDS: u32 = 60;

/// Does both at the same moment, round after round; `done` must hold of the filer's entry after each, and what
/// both mounts show must become the same.
fn race(
    path: &str,
    (a, b): (&Mount, &Mount),
    one: impl Fn(&Path, u32) + Sync,
    other: impl Fn(&Path, u32) + Sync,
    done: impl Fn(u32),
) {
    for round in 1..=ROUNDS {
        let start = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                one(&a.path(path), round);
            });
            scope.spawn(|| {
                start.wait();
                other(&b.path(path), round);
            });
        });
        done(round);
    }
}

fn mode(round: u32) -> u32 {
    0o600 + (round & 0o77)
}

fn time(round: u32) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_000_000 + u64::from(round))
}

fn xattr(path: &Path, round: u32) {
    let value = round.to_string();
    setxattr(path, "user.round", value.as_bytes(), XattrFlags::empty()).unwrap();
}

fn chmod(path: &Path, round: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode(round))).unwrap();
}

fn utimens(path: &Path, round: u32) {
    let file = File::open(path).unwrap();
    file.set_times(FileTimes::new().set_modified(time(round)))
        .unwrap();
}

/// What the filer has: the mode, the attribute, the second of the last change.
fn stored(scene: &Scene, path: &str) -> (u32, String, i64) {
    let entry = scene.craft().lookup(path).unwrap();
    let attributes = entry.attributes.unwrap();
    let value = entry.extended.get("xattr-user.round");
    let value = value.map(|value| String::from_utf8_lossy(value).into_owned());
    let mode = attributes.file_mode & 0o777;
    (mode, value.unwrap_or_default(), attributes.mtime)
}

#[test]
fn modes_and_extended_attributes_set_at_the_same_moment_are_both_there() {
    needs_fuse!();
    let scene = Scene::start();
    let (a, b) = (scene.mount_at("a", &[]), scene.mount_at("b", &[]));
    for path in ["/file", "/dir"] {
        match path {
            "/dir" => fs::create_dir(a.path(path)).unwrap(),
            _ => fs::write(a.path(path), "bytes").unwrap(),
        }
        until(|| b.path(path).exists());
        race(path, (&a, &b), chmod, xattr, |round| {
            let (mode_now, value, _) = stored(&scene, path);
            assert_eq!(
                (mode_now, value),
                (mode(round), round.to_string()),
                "{path}"
            );
        });
        for mount in [&a, &b] {
            until(|| fs::metadata(mount.path(path)).unwrap().mode() & 0o777 == mode(ROUNDS));
        }
    }
    // Whether they met at all: otherwise nothing was shown.
    assert!(a.stat("entry_conflicts") + b.stat("entry_conflicts") > 0.0);
}

#[test]
fn times_set_and_modes_changed_at_the_same_moment_are_both_there() {
    needs_fuse!();
    let scene = Scene::start();
    let (a, b) = (scene.mount_at("a", &[]), scene.mount_at("b", &[]));
    fs::write(a.path("/file"), "bytes").unwrap();
    until(|| b.path("/file").exists());
    race("/file", (&a, &b), utimens, chmod, |round| {
        let (mode_now, _, second) = stored(&scene, "/file");
        let seconds = time(round).duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert_eq!((mode_now, second as u64), (mode(round), seconds));
    });
}

#[test]
fn a_mode_changed_while_the_file_is_written_elsewhere_stays() {
    needs_fuse!();
    let scene = Scene::start();
    let (a, b) = (scene.mount_at("a", &[]), scene.mount_at("b", &[]));
    fs::write(a.path("/file"), "").unwrap();
    until(|| b.path("/file").exists());
    let mut log = OpenOptions::new()
        .append(true)
        .open(a.path("/file"))
        .unwrap();
    for round in 1..=ROUNDS {
        let start = Barrier::new(2);
        thread::scope(|scope| {
            let (log, start) = (&mut log, &start);
            scope.spawn(move || {
                start.wait();
                log.write_all(b"line\n").unwrap();
                log.sync_all().unwrap();
            });
            scope.spawn(|| {
                start.wait();
                chmod(&b.path("/file"), round);
            });
        });
        assert_eq!(stored(&scene, "/file").0, mode(round));
    }
    drop(log);
    let all = b"line\n".repeat(ROUNDS as usize);
    until(|| fs::read(b.path("/file")).unwrap() == all);
}

#[test]
fn without_others_the_filer_refuses_nothing() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&["-atime=relative"]);
    let path = |name: &str| mount.path(name);
    fs::create_dir(path("/dir")).unwrap();
    let mut file = File::create(path("/dir/file")).unwrap();
    for round in 1..=5 {
        // Chunks, chunks that are compressed, attributes of a file that is open.
        file.write_all(&noise(u64::from(round), 3 << 20)).unwrap();
        file.write_all(&text(u64::from(round), 3 << 20)).unwrap();
        file.sync_all().unwrap();
        chmod(&path("/dir/file"), round);
        xattr(&path("/dir/file"), round);
        file.set_times(FileTimes::new().set_modified(time(round)))
            .unwrap();
    }
    drop(file);
    fs::write(path("/dir/small"), "a few bytes").unwrap();
    std::os::unix::fs::symlink("file", path("/dir/link")).unwrap();
    fs::hard_link(path("/dir/file"), path("/dir/other")).unwrap();
    fs::rename(path("/dir/small"), path("/dir/moved")).unwrap();
    for round in 6..=8 {
        for name in ["/dir", "/dir/file", "/dir/other", "/dir/moved"] {
            chmod(&path(name), round);
            xattr(&path(name), round);
            utimens(&path(name), round);
            fs::read(path("/dir/moved")).unwrap();
        }
        std::os::unix::fs::lchown(path("/dir/link"), Some(round), None).unwrap();
    }
    fs::remove_file(path("/dir/other")).unwrap();
    chmod(&path("/dir/file"), 9);
    fs::hard_link(path("/dir/moved"), path("/dir/again")).unwrap();
    fs::hard_link(path("/dir/again"), path("/dir/and again")).unwrap();
    assert_eq!(fs::metadata(path("/dir/moved")).unwrap().nlink(), 3);
    assert_eq!(stored(&scene, "/dir/file").0, mode(9));
    assert_eq!(mount.stat("entry_conflicts"), 0.0);
}

fn until(holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < SEEN, "not seen within {SEEN:?}");
        thread::sleep(Duration::from_millis(5));
    }
}
