//! Blocked, killed, panicking and over-full requests harm nobody but themselves.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod support;

use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fuse::{Errno, SessionConfig, Transport};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use support::{Kind, MemFs, Mounted, direct, eventually};

fn blocked() -> MemFs {
    let mut fs = MemFs::new();
    fs.add_to(1, "blocked", direct(Kind::Blocked));
    fs.add_file("file", "fine");
    fs
}

#[test]
fn a_blocked_read_learns_that_its_reader_was_killed() {
    needs_mount!();
    let mounted = Mounted::new(blocked());
    for (times, signal) in [(1, Signal::KILL), (2, Signal::INT)] {
        let mut cat = Command::new("cat")
            .arg(mounted.path("blocked"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        eventually("the read blocks", || {
            mounted.fs.blocked.load(Ordering::SeqCst) == times
        });
        assert_eq!(mounted.fs.interrupted.load(Ordering::SeqCst), times - 1);
        kill_process(Pid::from_child(&cat), signal).unwrap();
        assert!(!cat.wait().unwrap().success());
        eventually("the method sees it", || {
            mounted.fs.interrupted.load(Ordering::SeqCst) == times
        });
    }
    assert_eq!(std::fs::read(mounted.path("file")).unwrap(), b"fine");
}

/// Interrupts at every moment of a short request: before it is known, while it
/// runs, after it is done. None may hit another request or hang one.
#[test]
fn interrupts_at_any_moment_leave_the_session_whole() {
    needs_mount!();
    let mounted = Mounted::with(
        {
            let mut fs = blocked();
            fs.ttl = Duration::ZERO;
            fs
        },
        SessionConfig::default(),
    );
    let deadline = Instant::now() + Duration::from_secs(3);
    let mut rounds = 0;
    while Instant::now() < deadline {
        let mut find = Command::new("cat")
            .args([
                mounted.path("file"),
                mounted.path("file"),
                mounted.path("blocked"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_micros(rounds % 40 * 100));
        kill_process(Pid::from_child(&find), Signal::KILL).unwrap();
        find.wait().unwrap();
        // Never interrupted itself, so never EINTR.
        assert_eq!(std::fs::read(mounted.path("file")).unwrap(), b"fine");
        rounds += 1;
    }
    eventually("every handle is released", || {
        mounted.fs.handles.load(Ordering::SeqCst) == 0
    });
    eventually("every blocked read was interrupted", || {
        mounted.fs.blocked.load(Ordering::SeqCst) == mounted.fs.interrupted.load(Ordering::SeqCst)
    });
    eprintln!("{rounds} readers killed");
}

#[test]
fn sixty_four_blocked_readers_do_not_stop_a_stat() {
    needs_mount!();
    for transport in [Transport::Auto, Transport::Device] {
        sixty_four_blocked_readers(transport);
    }
}

fn sixty_four_blocked_readers(transport: Transport) {
    let config = SessionConfig {
        transport,
        ..SessionConfig::default()
    };
    let mounted = Mounted::with(blocked(), config);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                let file = File::options()
                    .read(true)
                    .custom_flags(libc::O_NOATIME)
                    .open(mounted.path("blocked"))
                    .unwrap();
                let mut buffer = [1; 100];
                assert_eq!(file.read_at(&mut buffer, 0).unwrap(), 100);
                assert_eq!(buffer, [0; 100]);
            });
        }
        eventually("64 reads block", || {
            mounted.fs.blocked.load(Ordering::SeqCst) == 64
        });
        let start = Instant::now();
        assert_eq!(std::fs::read(mounted.path("file")).unwrap(), b"fine");
        eprintln!("read beside 64 blocked readers: {:?}", start.elapsed());
        assert!(mounted.session.threads() > 64);
        mounted.fs.release.store(true, Ordering::SeqCst);
    });
    assert_eq!(mounted.fs.interrupted.load(Ordering::SeqCst), 0);
    if mounted.session.negotiated().uring.is_err() {
        // Those beyond the waiting few park, and leave after a while.
        eventually("idle threads leave", || mounted.session.threads() <= 4);
    }
}

#[test]
fn a_panic_and_an_overfull_reply_answer_eio_and_nothing_else_suffers() {
    needs_mount!();
    let mut fs = MemFs::new();
    fs.add("panics", Kind::Panics);
    fs.add("overflows", Kind::Overflows);
    fs.add_file("file", "fine");
    let mounted = Mounted::new(fs);
    for name in ["panics", "overflows"] {
        let error = std::fs::read(mounted.path(name)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO), "{name}");
        assert_eq!(std::fs::read(mounted.path("file")).unwrap(), b"fine");
    }
}

#[test]
fn the_observer_sees_names_durations_and_errors() {
    needs_mount!();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let observer = {
        let seen = Arc::clone(&seen);
        move |opcode, took, result| seen.lock().push((opcode, took, result))
    };
    let mounted = Mounted::with(
        blocked(),
        SessionConfig {
            observer: Some(Arc::new(observer)),
            ..SessionConfig::default()
        },
    );
    std::fs::read(mounted.path("file")).unwrap();
    std::fs::write(mounted.path("new"), "").unwrap_err();
    // Told after the reply was sent, so perhaps after we have it.
    let saw = |opcode, result| {
        let seen = seen.lock();
        seen.iter().any(|(name, took, outcome)| {
            *name == opcode && *took > Duration::ZERO && *outcome == result
        })
    };
    for (opcode, result) in [
        ("LOOKUP", Ok(())),
        ("OPEN", Ok(())),
        ("READ", Ok(())),
        ("CREATE", Err(Errno::EROFS)),
    ] {
        eventually(opcode, || saw(opcode, result));
    }
}
