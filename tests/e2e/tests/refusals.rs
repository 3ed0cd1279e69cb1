//! What a mount that writes refuses (docs/SEMANTICS.md, sections 7 and 8), and that nothing is lost by it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

use e2e::{Scene, needs_fuse};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

#[test]
fn a_name_that_is_not_utf8_is_not_made_as_another() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    let name = mount.dir().join(OsStr::from_bytes(b"caf\xe9"));
    let there = mount.path("/there");
    fs::write(&there, b"x").unwrap();
    let attempts = [
        ("create", File::create(&name).map(drop)),
        ("mkdir", fs::create_dir(&name)),
        ("symlink", symlink("there", &name)),
        ("link", fs::hard_link(&there, &name)),
        ("rename", fs::rename(&there, &name)),
    ];
    for (what, outcome) in attempts {
        let errno = outcome.map_err(|error| error.raw_os_error());
        assert_eq!(errno, Err(Some(Errno::ILSEQ.raw_os_error())), "{what}");
    }
    let found = File::open(&name).map(drop).map_err(|error| error.kind());
    assert_eq!(found, Err(std::io::ErrorKind::NotFound));
    assert_eq!(fs::read_dir(mount.dir()).unwrap().count(), 1);
    assert_eq!(mount.read("/there"), b"x");
}

#[test]
fn names_are_not_exchanged_by_halves() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    let (one, other) = (mount.path("/one"), mount.path("/other"));
    fs::write(&one, b"one").unwrap();
    fs::write(&other, b"other").unwrap();
    for flags in [RenameFlags::EXCHANGE, RenameFlags::WHITEOUT] {
        let outcome = renameat_with(CWD, &one, CWD, &other, flags);
        assert_eq!(outcome, Err(Errno::INVAL), "{flags:?}");
        assert_eq!(mount.read("/one"), b"one");
        assert_eq!(mount.read("/other"), b"other");
    }
}
