//! Mounting, unmounting, and what is left when the server dies.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod support;

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use fuse::{MountError, MountMethod, NotifyError, Session, SessionConfig, UnmountError};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Pid, Signal, kill_process};
use support::{Kind, MemFs, Mounted, direct, eventually};

/// Set in a test's own process when it runs as the daemon of that test.
const SERVE: &str = "FUSE_TEST_SERVE";

fn small() -> MemFs {
    let mut fs = MemFs::new();
    fs.add_file("file", "content");
    fs
}

fn mounted_on(dir: &Path) -> usize {
    let mounts = fuse::mounts().unwrap();
    mounts
        .iter()
        .filter(|mount| mount.mount_point == dir)
        .count()
}

/// This test program again, running one test as another process.
fn again(test: &str, program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--exact", test, "--nocapture"])
        .env(SERVE, dir);
    command
}

#[test]
fn a_session_says_what_it_is_and_ends_when_unmounted_by_anybody() {
    needs_mount!();
    let mounted = Mounted::with(
        small(),
        SessionConfig {
            source: "filer:8888,other:8888:/a b".to_owned(),
            allow_other: true,
            ..SessionConfig::default()
        },
    );
    let dir = mounted.session.path().to_owned();
    let mounts = fuse::mounts().unwrap();
    let mount = mounts
        .iter()
        .find(|mount| mount.mount_point == dir)
        .unwrap();
    assert_eq!(mount.kind, "fuse.seaweedfs");
    assert_eq!(mount.source, "filer:8888,other:8888:/a b");
    assert!(mount.is_fuse());
    assert!(mounted.session.negotiated().minor >= 31);

    let notifier = mounted.session.notifier();
    assert!(!mounted.session.wait_for(Duration::from_millis(1)));
    fuse::unmount(&dir, false).unwrap();
    mounted.session.wait();
    assert_eq!(mounted.session.threads(), 0);
    assert_eq!(notifier.inc_epoch(), Err(NotifyError::Ended));
    mounted.session.unmount().unwrap();
    assert_eq!(Arc::strong_count(&mounted.fs), 1, "the threads have let go");
    assert!(matches!(
        fuse::unmount(&dir, false),
        Err(UnmountError::NotMounted(_))
    ));
}

#[test]
fn a_busy_mount_stays_until_it_is_free_or_detached() {
    needs_mount!();
    let mounted = Mounted::new(small());
    let dir = mounted.session.path().to_owned();
    let file = File::open(mounted.path("file")).unwrap();
    assert!(matches!(
        mounted.session.unmount(),
        Err(UnmountError::Busy(_))
    ));
    assert_eq!(std::fs::read(mounted.path("file")).unwrap(), b"content");

    mounted.session.unmounter().unmount(true).unwrap();
    assert_eq!(mounted_on(&dir), 0);
    let mut buffer = [0; 7];
    file.read_at(&mut buffer, 0).unwrap();
    assert_eq!(&buffer, b"content", "an open file survives the detaching");
    assert!(!mounted.session.wait_for(Duration::from_millis(20)));
    drop(file);
    mounted.session.wait();
}

#[test]
fn unmounting_with_a_blocked_read_interrupts_it() {
    needs_mount!();
    let mut fs = MemFs::new();
    fs.add_to(1, "blocked", direct(Kind::Blocked));
    let mounted = Mounted::new(fs);
    let path = mounted.path("blocked");
    let reader = std::thread::spawn(move || std::fs::read(path));
    eventually("the read blocks", || {
        mounted.fs.blocked.load(Ordering::SeqCst) == 1
    });
    // umount -f: the kernel fails what waits, and we are not to go on with it.
    let _ = rustix::mount::unmount(mounted.dir.path(), UnmountFlags::FORCE);
    assert!(reader.join().unwrap().is_err());
    eventually("the method stops", || {
        mounted.fs.interrupted.load(Ordering::SeqCst) == 1
    });
    mounted.session.unmounter().unmount(true).unwrap();
    mounted.session.wait();
}

#[test]
fn a_mount_that_is_not_ours_is_never_unmounted() {
    needs_mount!();
    let mounted = Mounted::new(small());
    let dir = mounted.session.path().to_owned();
    let over = |dir: &Path| {
        rustix::mount::mount("none", dir, "tmpfs", MountFlags::empty(), None).unwrap();
    };
    over(&dir);
    assert!(matches!(
        mounted.session.unmount(),
        Err(UnmountError::Covered(_))
    ));
    assert!(matches!(
        fuse::unmount(&dir, false),
        Err(UnmountError::NotFuse { .. })
    ));
    assert_eq!(mounted_on(&dir), 2);
    rustix::mount::unmount(&dir, UnmountFlags::empty()).unwrap();

    // Ours replaced by somebody else's.
    fuse::unmount(&dir, false).unwrap();
    over(&dir);
    mounted.session.unmount().unwrap();
    drop(mounted.session);
    assert_eq!(mounted_on(&dir), 1);
    rustix::mount::unmount(&dir, UnmountFlags::empty()).unwrap();
}

#[test]
fn a_killed_daemon_leaves_a_stale_mount_that_is_recognised_and_removed() {
    needs_mount!();
    if let Some(dir) = std::env::var_os(SERVE) {
        let session =
            Session::mount(Path::new(&dir), SessionConfig::default(), Arc::new(small())).unwrap();
        session.wait();
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    assert!(!fuse::stale(&path));
    let test = "a_killed_daemon_leaves_a_stale_mount_that_is_recognised_and_removed";
    let mut daemon = again(test, &std::env::current_exe().unwrap(), &path)
        .spawn()
        .unwrap();
    eventually("the daemon mounts", || mounted_on(&path) == 1);
    assert_eq!(std::fs::read(path.join("file")).unwrap(), b"content");
    assert!(!fuse::stale(&path));

    kill_process(Pid::from_child(&daemon), Signal::KILL).unwrap();
    daemon.wait().unwrap();
    // The kernel takes a ring apart a moment after its process.
    eventually("the mount is stale", || fuse::stale(&path));
    let again = Session::mount(&path, SessionConfig::default(), Arc::new(small()));
    assert!(matches!(again, Err(MountError::Stale(_))), "{again:?}");
    // Other tests start processes, which for a moment hold our files open.
    eventually("it is unmounted", || fuse::unmount(&path, false).is_ok());
    assert!(!fuse::stale(&path));
    Session::mount(&path, SessionConfig::default(), Arc::new(small())).unwrap();
}

#[test]
fn the_helper_mounts_for_root_too() {
    needs_mount!();
    let mounted = Mounted::with(
        small(),
        SessionConfig {
            method: MountMethod::Fusermount,
            source: "a,b\\c".to_owned(),
            ..SessionConfig::default()
        },
    );
    assert_eq!(std::fs::read(mounted.path("file")).unwrap(), b"content");
    let mounts = fuse::mounts().unwrap();
    let mount = mounts
        .iter()
        .find(|mount| mount.mount_point == mounted.session.path());
    assert_eq!(mount.unwrap().source, "a,b\\c");
    assert_eq!(mount.unwrap().kind, "fuse.seaweedfs");
    eventually("it is unmounted", || mounted.session.unmount().is_ok());
}

#[test]
fn without_root_the_helper_mounts_and_unmounts() {
    needs_mount!();
    let test = "without_root_the_helper_mounts_and_unmounts";
    if let Some(dir) = std::env::var_os(SERVE) {
        assert!(!rustix::process::geteuid().is_root());
        let dir = PathBuf::from(dir);
        let session = Session::mount(&dir, SessionConfig::default(), Arc::new(small())).unwrap();
        assert_eq!(std::fs::read(dir.join("file")).unwrap(), b"content");
        // Not root: the window cannot be raised, and that is no failure.
        assert!(matches!(session.negotiated().read_ahead_kb, Some(Err(_))));
        session.unmount().unwrap();
        return;
    }
    const NOBODY: u32 = 65534;
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let program = dir.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let mount_point = dir.path().join("mnt");
    std::fs::create_dir(&mount_point).unwrap();
    std::os::unix::fs::chown(&mount_point, Some(NOBODY), Some(NOBODY)).unwrap();
    let output = again(test, &program, &mount_point)
        .env("TMPDIR", &mount_point)
        .uid(NOBODY)
        .gid(NOBODY)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("1 passed"), "{said}{errors}");
    assert_eq!(mounted_on(&mount_point), 0);
}

#[test]
fn what_cannot_be_mounted_says_why() {
    needs_mount!();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let mount = |dir: &Path, config| Session::mount(dir, config, Arc::new(small())).unwrap_err();
    let config = SessionConfig::default;

    assert!(matches!(
        mount(&file, config()),
        MountError::NotADirectory(_)
    ));
    let missing = mount(&dir.path().join("missing"), config());
    assert!(missing.to_string().contains("missing"), "{missing}");
    let no_helper = mount(
        dir.path(),
        SessionConfig {
            method: MountMethod::Fusermount,
            fusermount: PathBuf::from("/nowhere/fusermount3"),
            ..config()
        },
    );
    assert!(
        no_helper.to_string().contains("/nowhere/fusermount3"),
        "{no_helper}"
    );
    let refused = mount(
        dir.path(),
        SessionConfig {
            method: MountMethod::Fusermount,
            fusermount: PathBuf::from("false"),
            ..config()
        },
    );
    assert!(matches!(refused, MountError::Helper { .. }), "{refused}");
}

#[test]
fn a_passthrough_open_reads_the_backing_file_without_us() {
    needs_mount!();
    let mut backing = tempfile::tempfile().unwrap();
    backing.write_all(b"straight from the disk").unwrap();
    let mut fs = MemFs::new();
    fs.add("backed", Kind::Backed(backing));
    let mounted = Mounted::with(
        fs,
        SessionConfig {
            passthrough: true,
            ..SessionConfig::default()
        },
    );
    if !mounted.session.negotiated().passthrough() {
        eprintln!("SKIPPED: this kernel has no FUSE passthrough");
        return;
    }
    assert_eq!(
        std::fs::read(mounted.path("backed")).unwrap(),
        b"straight from the disk"
    );
    assert!(mounted.fs.reads.lock().is_empty());
    let notifier = mounted.session.notifier();
    notifier.close_backing(1).unwrap();
    assert_eq!(
        notifier.close_backing(1),
        Err(NotifyError::Refused(fuse::Errno::ENOENT))
    );
}

#[test]
fn without_passthrough_a_backing_file_is_refused() {
    needs_mount!();
    use std::os::fd::AsFd;

    let mounted = Mounted::new(small());
    let file = tempfile::tempfile().unwrap();
    let refused = mounted.session.notifier().open_backing(file.as_fd());
    assert_eq!(refused, Err(NotifyError::Refused(fuse::Errno::EPERM)));
}
