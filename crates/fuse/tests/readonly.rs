//! Until there is a write path, whatever would change something answers EROFS,
//! also where the kernel lets the request through.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod support;

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use fuse::SessionConfig;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;
use support::{Kind, MemFs, Mounted};

fn tree() -> MemFs {
    let mut fs = MemFs::new();
    fs.add_file("file", "content");
    fs.add_file("other", "more");
    fs.add("dir", Kind::Directory(Vec::new()));
    fs
}

fn open(path: &Path, flags: OFlags) -> Result<(), Errno> {
    rustix::fs::open(path, flags, Mode::from(0o644)).map(|_| ())
}

#[test]
fn every_call_that_changes_something_answers_erofs() {
    needs_mount!();
    for read_only in [false, true] {
        let mounted = Mounted::with(
            tree(),
            SessionConfig {
                read_only,
                ..SessionConfig::default()
            },
        );
        let at = |name| mounted.path(name);
        let (file, new) = (&at("file"), &at("new"));
        let now = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        let times = Timestamps {
            last_access: now,
            last_modification: now,
        };
        let (user, group) = (Some(Uid::from_raw(7)), Some(Gid::from_raw(7)));
        let calls: Vec<(&str, Result<(), Errno>)> = vec![
            ("open to write", open(file, OFlags::WRONLY)),
            ("open to read and write", open(file, OFlags::RDWR)),
            (
                "open to append",
                open(file, OFlags::WRONLY | OFlags::APPEND),
            ),
            (
                "open to truncate",
                open(file, OFlags::RDONLY | OFlags::TRUNC),
            ),
            ("create", open(new, OFlags::WRONLY | OFlags::CREATE)),
            (
                "create exclusively",
                open(new, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL),
            ),
            ("truncate", truncate(file)),
            ("chmod", rustix::fs::chmod(file, Mode::from(0o600))),
            ("chown", rustix::fs::chown(file, user, group)),
            (
                "utimens",
                rustix::fs::utimensat(CWD, file, &times, AtFlags::empty()),
            ),
            ("mkdir", rustix::fs::mkdir(new, Mode::from(0o755))),
            ("rmdir", rustix::fs::rmdir(at("dir"))),
            ("unlink", rustix::fs::unlink(file)),
            ("rename", rustix::fs::rename(file, new)),
            ("rename over", rustix::fs::rename(file, at("other"))),
            (
                "exchange",
                rustix::fs::renameat_with(CWD, file, CWD, at("other"), RenameFlags::EXCHANGE),
            ),
            ("link", rustix::fs::link(file, new)),
            ("symlink", rustix::fs::symlink("target", new)),
            (
                "mkfifo",
                rustix::fs::mknodat(CWD, new, FileType::Fifo, Mode::from(0o644), 0),
            ),
            (
                "mknod",
                rustix::fs::mknodat(CWD, new, FileType::RegularFile, Mode::from(0o644), 0),
            ),
            (
                "setxattr",
                rustix::fs::setxattr(file, "user.x", b"1", XattrFlags::empty()),
            ),
            ("removexattr", rustix::fs::removexattr(file, "user.colour")),
            (
                "tmpfile",
                open(mounted.dir.path(), OFlags::TMPFILE | OFlags::RDWR),
            ),
        ];
        for (call, result) in calls {
            assert_eq!(result, Err(Errno::ROFS), "{call}, read_only {read_only}");
        }
        // What only reads still does, locks and fsync included.
        let open = File::options()
            .read(true)
            .custom_flags(libc::O_NOFOLLOW)
            .open(file)
            .unwrap();
        open.sync_all().unwrap();
        File::open(mounted.dir.path()).unwrap().sync_all().unwrap();
        open.lock_shared().unwrap();
        assert_eq!(std::fs::read(file).unwrap(), b"content");
        assert_eq!(std::fs::read_dir(mounted.dir.path()).unwrap().count(), 3);
    }
}

fn truncate(path: &Path) -> Result<(), Errno> {
    let path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
    // SAFETY: `path` is a NUL-terminated string.
    match unsafe { libc::truncate(path.as_ptr(), 3) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap()),
    }
}
