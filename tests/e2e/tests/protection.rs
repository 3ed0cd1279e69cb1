//! Files that a WORM rule of the filer protects, on a mount of ours and on a stock one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use e2e::{Scene, eventually, needs_fuse};
use rustix::io::Errno;

const RULES: &str = "fs.configure -locationPrefix=/kept/ -worm -apply
fs.configure -locationPrefix=/kept/free/ -worm=false -apply
fs.configure -locationPrefix=/briefly/ -worm -wormRetentionTime=3 -apply";

#[test]
fn a_protected_file_stays_as_it_is_as_on_a_stock_mount() {
    needs_fuse!();
    let scene = Scene::start();
    let said = scene.shell(RULES);
    assert!(!said.contains("error"), "{said}");
    let (ours, stock) = (scene.mount(&[]), scene.stock(&[]));
    for (name, root) in [("ours", ours.dir()), ("stock", stock.dir())] {
        let dir = root.join("kept").join(name);
        fs::create_dir_all(&dir).unwrap();
        let file = protected(&dir);
        for (what, attempt) in attempts(&file) {
            let errno = attempt.err().and_then(|error| error.raw_os_error());
            assert_eq!(errno, Some(Errno::PERM.raw_os_error()), "{name}: {what}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"as it is", "{name}");
    }
    // What stock allows: another file in its place.
    let file = ours.path("/kept/ours/file");
    let other = ours.path("/kept/ours/other");
    fs::write(&other, b"another").unwrap();
    let replaced = fs::rename(&other, &file).unwrap_err();
    assert_eq!(replaced.raw_os_error(), Some(Errno::PERM.raw_os_error()));
    assert_eq!(fs::read(&file).unwrap(), b"as it is");
    // One that may be written is not protected yet, whichever mount protects others.
    fs::remove_file(&other).unwrap();
    let theirs = ours.path("/kept/stock/file");
    assert!(
        fs::remove_file(theirs).is_err(),
        "protected by the other mount"
    );

    for free in ["/kept/free", "/elsewhere"] {
        let dir = ours.path(free);
        fs::create_dir_all(&dir).unwrap();
        fs::remove_file(protected(&dir)).unwrap();
    }
}

#[test]
fn protection_ends_with_the_time_of_its_rule() {
    needs_fuse!();
    let scene = Scene::start();
    scene.shell(RULES);
    let mount = scene.mount(&[]);
    let dir = mount.path("/briefly");
    fs::create_dir_all(&dir).unwrap();
    let file = protected(&dir);
    assert!(fs::remove_file(&file).is_err());
    eventually("the end of the time", Duration::from_secs(20), || {
        fs::remove_file(&file).is_ok()
    });
}

/// Makes a file that nobody may write any more.
fn protected(dir: &Path) -> PathBuf {
    let file = dir.join("file");
    fs::write(&file, b"as it is").unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
    file
}

/// Everything that would change a file.
fn attempts(file: &Path) -> [(&'static str, io::Result<()>); 7] {
    let beside = file.with_extension("new");
    let times = || {
        let open = File::open(file)?;
        open.set_modified(SystemTime::UNIX_EPOCH)
    };
    [
        (
            "open to write",
            OpenOptions::new().append(true).open(file).map(drop),
        ),
        (
            "open to truncate",
            OpenOptions::new()
                .write(true)
                .truncate(true)
                .open(file)
                .map(drop),
        ),
        (
            "chmod",
            fs::set_permissions(file, Permissions::from_mode(0o644)),
        ),
        ("utimens", times()),
        ("link", fs::hard_link(file, &beside)),
        ("rename", fs::rename(file, &beside)),
        ("unlink", fs::remove_file(file)),
    ]
}
