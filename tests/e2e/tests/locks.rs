//! Locks that hold across mounts (`-dlm`).

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use e2e::{Scene, eventually, needs_fuse};
use rustix::fs::{FlockOperation, fcntl_lock, flock};
use rustix::io::Errno;

/// A filer grants nothing in its first ten seconds, and keeps the locks of a dead mount for up to twenty.
const PATIENCE: Duration = Duration::from_secs(60);

type Lock = fn(&File, FlockOperation) -> rustix::io::Result<()>;

fn by_flock(file: &File, how: FlockOperation) -> rustix::io::Result<()> {
    flock(file, how)
}

fn by_fcntl(file: &File, how: FlockOperation) -> rustix::io::Result<()> {
    fcntl_lock(file, how)
}

fn open(path: &Path) -> File {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true);
    options.open(path).unwrap()
}

#[test]
fn one_mount_waits_for_the_lock_of_another() {
    needs_fuse!();
    let scene = Scene::start();
    let one = scene.mount_at("one", &["-dlm", "-dlm.shareFiles"]);
    let other = scene.mount_at("other", &["-dlm", "-dlm.shareFiles"]);
    fs::write(one.path("/f"), b"").unwrap();
    eventually("the other mount sees the file", PATIENCE, || {
        other.path("/f").exists()
    });
    for lock in [by_flock as Lock, by_fcntl] {
        let (mine, theirs) = (open(&one.path("/f")), open(&other.path("/f")));
        lock(&mine, FlockOperation::LockExclusive).unwrap();
        let refused = lock(&theirs, FlockOperation::NonBlockingLockExclusive);
        assert!(
            matches!(refused, Err(Errno::AGAIN | Errno::ACCESS)),
            "{refused:?}"
        );
        let refused = lock(&theirs, FlockOperation::NonBlockingLockShared);
        assert!(
            matches!(refused, Err(Errno::AGAIN | Errno::ACCESS)),
            "{refused:?}"
        );

        let waiter = thread::spawn(move || {
            lock(&theirs, FlockOperation::LockExclusive).unwrap();
            theirs
        });
        thread::sleep(Duration::from_millis(300));
        assert!(!waiter.is_finished(), "it was granted twice");
        lock(&mine, FlockOperation::Unlock).unwrap();
        let theirs = waiter.join().unwrap();
        let refused = lock(&mine, FlockOperation::NonBlockingLockShared);
        assert!(
            matches!(refused, Err(Errno::AGAIN | Errno::ACCESS)),
            "{refused:?}"
        );
        // Closing it gives it back, and shared locks are shared.
        drop(theirs);
        lock(&mine, FlockOperation::LockShared).unwrap();
        let theirs = open(&other.path("/f"));
        lock(&theirs, FlockOperation::NonBlockingLockShared).unwrap();
    }
}

/// Adds one to the number in a file, `times` times, each under the lock.
fn count(path: &Path, times: u32, lock: Lock) {
    for _ in 0..times {
        let mut file = open(path);
        lock(&file, FlockOperation::LockExclusive).unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        let next = text.trim().parse::<u32>().unwrap() + 1;
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(format!("{next:08}").as_bytes()).unwrap();
        lock(&file, FlockOperation::Unlock).unwrap();
    }
}

#[test]
fn whoever_has_the_lock_finds_what_those_before_wrote() {
    needs_fuse!();
    let scene = Scene::start();
    let one = scene.mount_at("one", &["-dlm", "-dlm.shareFiles"]);
    let other = scene.mount_at("other", &["-dlm", "-dlm.shareFiles"]);
    for (name, lock) in [("/flock", by_flock as Lock), ("/fcntl", by_fcntl)] {
        fs::write(one.path(name), b"00000000").unwrap();
        eventually("the other mount sees the file", PATIENCE, || {
            other.path(name).exists()
        });
        let paths = [one.path(name), other.path(name)];
        let counting = paths.map(|path| thread::spawn(move || count(&path, 25, lock)));
        for thread in counting {
            thread.join().unwrap();
        }
        assert_eq!(scene.cluster.get(name).unwrap(), b"00000050", "{name}");
    }
}

#[test]
fn locks_outlive_a_filer_and_not_their_mount() {
    needs_fuse!();
    let mut scene = Scene::start();
    let mut one = scene.mount_at("one", &["-dlm", "-readRetryTime=30s"]);
    let other = scene.mount_at("other", &["-dlm", "-readRetryTime=30s"]);
    fs::write(one.path("/f"), b"").unwrap();
    eventually("the other mount sees the file", PATIENCE, || {
        other.path("/f").exists()
    });
    // A program of its own, as a lock of ours would be given back when the mount dies.
    let mut holder = Command::new("flock")
        .arg("--no-fork")
        .arg(one.path("/f"))
        .args(["sh", "-c", "echo held; exec sleep 300"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut word = [0; 5];
    holder
        .stdout
        .as_mut()
        .unwrap()
        .read_exact(&mut word)
        .unwrap();
    let theirs = open(&other.path("/f"));
    let is_refused = || flock(&theirs, FlockOperation::NonBlockingLockExclusive).is_err();
    assert!(is_refused());
    scene.cluster.restart_filer(0).unwrap();
    // Long enough for a filer that knows nothing to begin granting.
    let begin = std::time::Instant::now();
    while begin.elapsed() < Duration::from_secs(16) {
        assert!(is_refused(), "the filer has forgotten the lock");
        thread::sleep(Duration::from_millis(200));
    }
    one.process().kill().unwrap();
    eventually("the lock of the dead mount ends", PATIENCE, || {
        !is_refused()
    });
    let _ = holder.kill();
    let _ = holder.wait();
}

#[test]
fn a_stock_mount_shares_them() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&["-dlm"]);
    let stock = scene.stock(&["-dlm"]);
    fs::write(mount.path("/f"), b"x").unwrap();
    let theirs = stock.dir().join("f");
    eventually("the stock mount sees the file", PATIENCE, || {
        theirs.exists()
    });
    let (mine, theirs) = (
        File::open(mount.path("/f")).unwrap(),
        File::open(theirs).unwrap(),
    );
    for lock in [by_flock as Lock, by_fcntl] {
        lock(&mine, FlockOperation::LockShared).unwrap();
        lock(&theirs, FlockOperation::LockShared).unwrap();
        lock(&theirs, FlockOperation::Unlock).unwrap();
        lock(&mine, FlockOperation::Unlock).unwrap();
    }
    by_flock(&mine, FlockOperation::LockExclusive).unwrap();
    assert_eq!(
        by_flock(&theirs, FlockOperation::NonBlockingLockShared),
        Err(Errno::AGAIN)
    );
    by_flock(&mine, FlockOperation::Unlock).unwrap();
    by_flock(&theirs, FlockOperation::LockExclusive).unwrap();
    assert_eq!(
        by_flock(&mine, FlockOperation::NonBlockingLockShared),
        Err(Errno::AGAIN)
    );
}

/// Opens a file for writing on a thread of its own, writes `text` over its beginning, and closes it.
fn writer(path: PathBuf, text: &'static [u8]) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(text, 0).unwrap();
    })
}

#[test]
fn one_mount_writes_a_file_at_a_time() {
    needs_fuse!();
    let scene = Scene::start();
    let one = scene.mount_at("one", &["-dlm"]);
    let other = scene.mount_at("other", &["-dlm"]);
    let stock = scene.stock(&["-dlm"]);
    let theirs = stock.dir().join("f");
    fs::write(one.path("/f"), b"......").unwrap();
    eventually("the others see the file", PATIENCE, || {
        other.path("/f").exists() && theirs.exists()
    });
    for (first, second) in [
        (one.path("/f"), other.path("/f")),
        (one.path("/f"), theirs.clone()),
        (theirs, other.path("/f")),
    ] {
        let name = |path: &Path| path.display().to_string();
        let (holder, waiter) = (name(&first), name(&second));
        fs::write(&first, b"......").unwrap();
        let file = open(&first);
        // Within a mount nobody waits, and who only reads waits nowhere.
        drop(open(&first));
        drop(File::open(&second).unwrap());
        // Longer than a lease.
        let waiting = writer(second.clone(), b"wait");
        thread::sleep(Duration::from_secs(9));
        assert!(!waiting.is_finished(), "{waiter} beside {holder}");
        file.write_all_at(b"holder", 0).unwrap();
        drop(file);
        waiting.join().unwrap();
        for path in [&first, &second] {
            eventually("both writers' bytes are there", PATIENCE, || {
                fs::read(path).unwrap() == b"waiter"
            });
        }
    }
}

#[test]
fn a_mount_that_dies_keeps_others_from_writing_for_as_long_as_its_lease() {
    needs_fuse!();
    let scene = Scene::start();
    let mut dying = scene.mount_at("dying", &["-dlm"]);
    let other = scene.mount_at("other", &["-dlm"]);
    fs::write(dying.path("/f"), b"......").unwrap();
    eventually("the other sees the file", PATIENCE, || {
        other.path("/f").exists()
    });
    // A process that waits can be ended.
    let file = open(&dying.path("/f"));
    let start = Instant::now();
    let ended = Command::new("timeout")
        .args(["1", "sh", "-c", "echo more >> \"$1\"", "sh"])
        .arg(other.path("/f"))
        .status()
        .unwrap();
    assert_eq!(ended.code(), Some(124), "it waited");
    assert!(start.elapsed() < Duration::from_secs(5));
    dying.process().kill().unwrap();
    let start = Instant::now();
    writer(other.path("/f"), b"after").join().unwrap();
    println!("written {:?} after the other mount died", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(20));
    drop(file);
    assert_eq!(other.read("/f"), b"after.");
}

#[test]
fn a_filer_that_was_restarted_is_told_who_writes() {
    needs_fuse!();
    let mut scene = Scene::start();
    let one = scene.mount_at("one", &["-dlm"]);
    let other = scene.mount_at("other", &["-dlm"]);
    fs::write(one.path("/f"), b"......").unwrap();
    eventually("the other sees the file", PATIENCE, || {
        other.path("/f").exists()
    });
    let file = open(&one.path("/f"));
    scene.cluster.kill_filer(0).unwrap();
    scene.cluster.restart_filer(0).unwrap();
    // A renewal comes every three seconds; who asks before it may be quicker.
    thread::sleep(Duration::from_secs(8));
    let waiting = writer(other.path("/f"), b"wait");
    thread::sleep(Duration::from_secs(9));
    assert!(!waiting.is_finished());
    file.write_all_at(b"holder", 0).unwrap();
    drop(file);
    waiting.join().unwrap();
    eventually("both writers' bytes are there", PATIENCE, || {
        one.read("/f") == b"waiter"
    });
}
