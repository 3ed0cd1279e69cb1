//! Names, listings, attributes, and the lookups that the kernel gives back.
#![allow(clippy::unwrap_used)]

#[macro_use]
mod support;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use fuse::{NodeId, SessionConfig};
use support::{Kind, MemFs, Mounted, Piece, eventually};

const MANY: usize = 100_000;

fn many() -> MemFs {
    let mut fs = MemFs::new();
    for index in 0..MANY {
        // Names of every length, so that records end at every alignment.
        let name = format!("{index}-{}", "x".repeat(index % 240));
        fs.add(&name, Kind::Symlink("target"));
    }
    fs
}

/// Names and inode numbers as listed.
fn list(dir: &Path) -> HashMap<String, u64> {
    let mut all = HashMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        use std::os::unix::fs::DirEntryExt;

        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        assert!(entry.file_type().unwrap().is_symlink());
        assert_eq!(all.insert(name, entry.ino()), None, "listed twice");
    }
    all
}

#[test]
fn a_listing_of_a_hundred_thousand_is_exact_and_its_lookups_come_back() {
    needs_mount!();
    let mounted = Mounted::new(many());
    let listed = list(mounted.dir.path());
    assert_eq!(listed.len(), MANY);
    for index in 0..MANY {
        let name = format!("{index}-{}", "x".repeat(index % 240));
        assert_eq!(listed[&name], index as u64 + 2 + 1000);
    }
    // The adaptive kernel began with READDIRPLUS and counted its lookups.
    assert!(mounted.fs.lookups_held() > 0);
    // Attributes of all, as `ls -l` wants them: READDIRPLUS throughout.
    for entry in std::fs::read_dir(mounted.dir.path()).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().len(), 6);
    }
    assert!(mounted.fs.lookups_held() >= MANY as i64);

    let notifier = mounted.session.notifier();
    for name in listed.keys() {
        notifier
            .inval_entry(NodeId::ROOT, OsStr::new(name))
            .unwrap();
    }
    eventually("lookups are given back", || mounted.fs.lookups_held() == 0);
    assert!(mounted.fs.lookups.lock().values().all(|held| *held == 0));
}

#[test]
fn attributes_names_and_links_are_as_given() {
    needs_mount!();
    let mut fs = MemFs::new();
    fs.add_file("file", "content");
    fs.add("link", Kind::Symlink("file"));
    let dir = fs.add("dir", Kind::Directory(Vec::new()));
    let name = "é".repeat(127);
    fs.add_to(dir, &name, support::direct(Kind::File(Vec::new().into())));
    let mounted = Mounted::new(fs);

    let file = std::fs::metadata(mounted.path("file")).unwrap();
    assert_eq!((file.ino(), file.len(), file.mode()), (1002, 7, 0o100_777));
    assert_eq!(
        (file.mtime(), file.mtime_nsec()),
        (1_700_000_000, 123_456_789)
    );
    assert_eq!(
        std::fs::read_link(mounted.path("link")).unwrap(),
        Path::new("file")
    );
    assert_eq!(std::fs::read(mounted.path("link")).unwrap(), b"content");
    assert_eq!(
        std::fs::metadata(mounted.path("dir").join(&name))
            .unwrap()
            .len(),
        0
    );
    let missing = std::fs::metadata(mounted.path("missing")).unwrap_err();
    assert_eq!(missing.raw_os_error(), Some(libc::ENOENT));

    let statfs = rustix::fs::statvfs(mounted.dir.path()).unwrap();
    assert_eq!(
        (statfs.f_blocks, statfs.f_bavail, statfs.f_frsize),
        (1000, 300, 512)
    );
}

#[test]
fn extended_attributes_fit_or_say_so() {
    needs_mount!();
    let mut fs = MemFs::new();
    fs.add_file("file", "");
    let mounted = Mounted::new(fs);
    let file = mounted.path("file");

    let mut value = [0; 100];
    let size = rustix::fs::getxattr(&file, "user.colour", &mut value).unwrap();
    assert_eq!(&value[..size], b"blue");
    assert_eq!(rustix::fs::getxattr_query(&file, "user.colour").unwrap(), 4);
    let short = rustix::fs::getxattr(&file, "user.colour", &mut [0; 3]).unwrap_err();
    assert_eq!(short, rustix::io::Errno::RANGE);
    let missing = rustix::fs::getxattr(&file, "user.other", &mut value).unwrap_err();
    assert_eq!(missing, rustix::io::Errno::NODATA);
    let size = rustix::fs::listxattr(&file, &mut value).unwrap();
    assert_eq!(&value[..size], b"user.colour\0user.size\0");
    assert_eq!(rustix::fs::listxattr_query(&file).unwrap(), size);
}

#[test]
fn access_is_asked_without_default_permissions_only() {
    needs_mount!();
    for default_permissions in [false, true] {
        let mut fs = MemFs::new();
        fs.add_file("file", "");
        let mounted = Mounted::with(
            fs,
            SessionConfig {
                default_permissions,
                ..SessionConfig::default()
            },
        );
        let execute = rustix::fs::access(mounted.path("file"), rustix::fs::Access::EXEC_OK);
        // The mode allows it, the file system's own answer does not.
        assert_eq!(execute.is_ok(), default_permissions);
    }
}

#[test]
fn an_invalidated_inode_shows_its_new_content_and_size() {
    needs_mount!();
    let mut fs = MemFs::new();
    let node = fs.add_file("file", "old content");
    let mounted = Mounted::new(fs);
    let notifier = mounted.session.notifier();
    let file = mounted.path("file");
    let change = |content: &[u8]| {
        mounted
            .fs
            .set_content(node, vec![Piece::Fill(content.to_vec())]);
    };
    assert_eq!(std::fs::read(&file).unwrap(), b"old content");
    change(b"new content");
    // Same size, same time, and nobody told the kernel: its page is kept over the open.
    assert_eq!(std::fs::read(&file).unwrap(), b"old content");
    notifier.inval_inode(NodeId(node), 0, 0).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"new content");

    // Told of the attributes alone, the kernel finds another size and drops the
    // page itself: the old page would show zeros where the file has grown.
    for content in [&b"new content, longer"[..], b"NEWER"] {
        change(content);
        notifier.inval_inode(NodeId(node), -1, 0).unwrap();
        assert_eq!(
            std::fs::metadata(&file).unwrap().len(),
            content.len() as u64
        );
        assert_eq!(std::fs::read(&file).unwrap(), content);
    }
}

#[test]
fn names_are_invalidated_expired_and_deleted() {
    needs_mount!();
    let mut fs = MemFs::new();
    let node = fs.add_file("file", "x");
    let mounted = Mounted::new(fs);
    let notifier = mounted.session.notifier();
    let lookups = || mounted.fs.lookups_seen.load(Ordering::SeqCst);
    let stat = || std::fs::metadata(mounted.path("file")).unwrap();
    let name = OsStr::new("file");

    stat();
    stat();
    assert_eq!(lookups(), 1, "the name is cached");
    notifier
        .inval_entry_expire_only(NodeId::ROOT, name)
        .unwrap();
    stat();
    assert_eq!(lookups(), 2, "an expired name is looked up again");
    notifier.inc_epoch().unwrap();
    stat();
    assert_eq!(lookups(), 3, "a new epoch makes every name be looked up");
    notifier.delete(NodeId::ROOT, NodeId(node), name).unwrap();
    eventually("a deleted name is forgotten", || {
        mounted.fs.lookups_held() == 0
    });
    // Nothing known under that name is no error.
    notifier
        .inval_entry(NodeId::ROOT, OsStr::new("never seen"))
        .unwrap();
    notifier.inval_inode(NodeId(4711), 0, 0).unwrap();
}

#[test]
fn pruned_inodes_are_forgotten_unless_they_are_open() {
    needs_mount!();
    let mut fs = MemFs::new();
    let idle: Vec<u64> = (0..3000)
        .map(|n| fs.add_file(&format!("idle{n}"), "x"))
        .collect();
    let open = fs.add_file("open", "still here");
    let mounted = Mounted::new(fs);
    if mounted.session.negotiated().minor < 45 {
        println!("skipped: no pruning before FUSE 7.45");
        return;
    }
    for n in 0..idle.len() {
        std::fs::metadata(mounted.path(&format!("idle{n}"))).unwrap();
    }
    let mut file = std::fs::File::open(mounted.path("open")).unwrap();
    assert_eq!(mounted.fs.lookups_held(), 3001);
    let nodes: Vec<NodeId> = idle
        .iter()
        .chain([&open])
        .map(|node| NodeId(*node))
        .collect();
    mounted.session.notifier().prune(&nodes).unwrap();
    eventually("what is not open is forgotten", || {
        mounted.fs.lookups_held() == 1
    });
    let mut text = String::new();
    std::io::Read::read_to_string(&mut file, &mut text).unwrap();
    assert_eq!(text, "still here");
    // What is not known is no error, and neither is nothing.
    mounted.session.notifier().prune(&nodes).unwrap();
    mounted.session.notifier().prune(&[]).unwrap();
    assert_eq!(std::fs::read(mounted.path("idle7")).unwrap(), b"x");
}
