//! With `-readOnly`, whatever would change the tree fails with EROFS (docs/SEMANTICS.md, section 8).

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, chown, symlink};
use std::path::Path;
use std::time::SystemTime;

use e2e::{Scene, needs_fuse, walk};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, RenameFlags, Timespec, Timestamps, XattrFlags,
};
use rustix::io::Errno;

/// What a program may try below the mount point, which has `file`, `other` and `dir`.
type Attempt = (&'static str, fn(&Path) -> io::Result<()>);

const ATTEMPTS: &[Attempt] = &[
    ("create", |d| File::create_new(d.join("new")).map(drop)),
    ("open for writing", |d| {
        File::options().write(true).open(d.join("file")).map(drop)
    }),
    ("open for both", |d| {
        File::options()
            .read(true)
            .write(true)
            .open(d.join("file"))
            .map(drop)
    }),
    ("open for appending", |d| {
        File::options().append(true).open(d.join("file")).map(drop)
    }),
    ("open and truncate", |d| {
        File::options()
            .write(true)
            .truncate(true)
            .open(d.join("file"))
            .map(drop)
    }),
    ("nameless file", |d| {
        Ok(rustix::fs::open(d, OFlags::TMPFILE | OFlags::RDWR, Mode::from(0o600)).map(drop)?)
    }),
    ("mkdir", |d| fs::create_dir(d.join("new"))),
    ("rmdir", |d| fs::remove_dir(d.join("dir"))),
    ("unlink", |d| fs::remove_file(d.join("file"))),
    ("rename", |d| fs::rename(d.join("file"), d.join("new"))),
    ("rename over", |d| {
        fs::rename(d.join("file"), d.join("other"))
    }),
    ("exchange", |d| {
        let (a, b) = (d.join("file"), d.join("other"));
        Ok(rustix::fs::renameat_with(
            CWD,
            a,
            CWD,
            b,
            RenameFlags::EXCHANGE,
        )?)
    }),
    ("hard link", |d| {
        fs::hard_link(d.join("file"), d.join("new"))
    }),
    ("symbolic link", |d| symlink("file", d.join("new"))),
    ("fifo", |d| {
        Ok(rustix::fs::mknodat(
            CWD,
            d.join("new"),
            FileType::Fifo,
            Mode::from(0o600),
            0,
        )?)
    }),
    ("chmod", |d| {
        Ok(rustix::fs::chmod(d.join("file"), Mode::from(0o600))?)
    }),
    ("chown", |d| chown(d.join("file"), Some(1), Some(1))),
    ("utimens", |d| {
        let time = Timespec {
            tv_sec: 1,
            tv_nsec: 1,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        Ok(rustix::fs::utimensat(
            CWD,
            d.join("file"),
            &times,
            AtFlags::empty(),
        )?)
    }),
    ("setxattr", |d| {
        Ok(rustix::fs::setxattr(
            d.join("file"),
            "user.a",
            b"b",
            XattrFlags::empty(),
        )?)
    }),
    ("removexattr", |d| {
        Ok(rustix::fs::removexattr(d.join("file"), "user.x")?)
    }),
];

#[test]
fn every_mutating_operation_answers_erofs_and_changes_nothing() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/file", b"content");
    scene.put("/other", b"more");
    scene.cluster.mkdir("/dir").unwrap();
    scene.craft().change("/file", |entry| {
        entry
            .extended
            .insert("xattr-user.x".to_owned(), b"y".to_vec().into());
    });
    let mount = scene.mount(&["-readOnly"]);
    let before = walk(mount.dir(), &[]);
    for (name, attempt) in ATTEMPTS {
        let error = attempt(mount.dir()).expect_err(name);
        let code = error.raw_os_error();
        assert_eq!(code, Some(Errno::ROFS.raw_os_error()), "{name}: {error}");
    }
    assert!(walk(mount.dir(), &[]) == before);
}

#[test]
fn what_does_not_change_the_tree_works_on_a_file_open_for_reading() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/file", b"content");
    let mount = scene.mount(&["-readOnly"]);
    let file = File::open(mount.path("/file")).unwrap();
    file.sync_all().unwrap();
    file.lock_shared().unwrap();
    file.unlock().unwrap();
    let written = file.write_all_at(b"x", 0).unwrap_err();
    assert_eq!(written.raw_os_error(), Some(Errno::BADF.raw_os_error()));
    File::open(mount.dir()).unwrap().sync_all().unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    assert!(modified <= SystemTime::now());
}
