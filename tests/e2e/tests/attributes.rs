//! Names and attributes (docs/SEMANTICS.md, section 7).

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt as _, fchown, symlink};
use std::os::unix::net::UnixListener;
use std::time::{Duration, UNIX_EPOCH};

use e2e::{Scene, needs_fuse, noise};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};
use rustix::io::Errno;
use seaweed::pb;

#[test]
fn what_the_stock_mount_made_is_shown_as_such() {
    needs_fuse!();
    let scene = Scene::start();
    let stock = scene.stock(&[]);
    let there = |name: &str| stock.dir().join(name);
    fs::write(there("file"), b"twelve bytes").unwrap();
    symlink("../some/where else", there("link")).unwrap();
    fs::hard_link(there("file"), there("second")).unwrap();
    fs::hard_link(there("file"), there("third")).unwrap();
    mknodat(CWD, there("fifo"), FileType::Fifo, Mode::from(0o640), 0).unwrap();
    let device = makedev(7, 300);
    mknodat(
        CWD,
        there("block"),
        FileType::BlockDevice,
        Mode::from(0o600),
        device,
    )
    .unwrap();
    mknodat(
        CWD,
        there("char"),
        FileType::CharacterDevice,
        Mode::from(0o666),
        makedev(1, 3),
    )
    .unwrap();
    let _listener = UnixListener::bind(there("socket")).unwrap();
    fs::create_dir(there("sticky")).unwrap();
    for (name, mode) in [("file", 0o4751), ("sticky", 0o1777)] {
        rustix::fs::chmod(there(name), Mode::from(mode)).unwrap();
    }
    std::os::unix::fs::chown(there("file"), Some(1234), Some(4321)).unwrap();
    // The kernel clears setuid when the owner changes.
    rustix::fs::chmod(there("file"), Mode::from(0o6751)).unwrap();

    let mount = scene.mount(&[]);
    let here = |name: &str| mount.dir().join(name);
    let look = |name: &str| fs::symlink_metadata(here(name)).unwrap();
    assert_eq!(
        fs::read_link(here("link")).unwrap().to_str(),
        Some("../some/where else")
    );
    assert_eq!(look("link").len(), "../some/where else".len() as u64);
    for name in ["file", "second", "third"] {
        let file = look(name);
        assert_eq!(
            (file.nlink(), file.mode(), file.len()),
            (3, 0o106_751, 12),
            "{name}"
        );
        assert_eq!((file.uid(), file.gid()), (1234, 4321), "{name}");
        assert_eq!(file.ino(), look("file").ino(), "{name}");
        assert_eq!(fs::read(here(name)).unwrap(), b"twelve bytes", "{name}");
    }
    assert!(look("fifo").file_type().is_fifo());
    assert_eq!(look("fifo").mode() & 0o7777, 0o640 & !umask());
    assert!(look("block").file_type().is_block_device());
    assert_eq!(look("block").rdev(), device);
    assert!(look("char").file_type().is_char_device());
    assert_eq!(look("char").rdev(), makedev(1, 3));
    assert!(look("socket").file_type().is_socket());
    assert_eq!(look("sticky").mode(), 0o041_777);
    // The null device works through the mount like anywhere, unless it is mounted nodev.
    match fs::read(here("char")) {
        Ok(bytes) => assert!(bytes.is_empty()),
        Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied),
    }
}

#[test]
fn times_have_nanoseconds() {
    needs_fuse!();
    let scene = Scene::start();
    scene.craft().inline("/file", 3, b"abc");
    scene.craft().change("/file", |entry| {
        let attributes = entry.attributes.as_mut().unwrap();
        (attributes.mtime, attributes.mtime_ns) = (1_234_567_890, 123_456_789);
        (attributes.ctime, attributes.ctime_ns) = (1_300_000_000, 1);
        (attributes.atime, attributes.atime_ns) = (1_400_000_000, 999_999_999);
    });
    let mount = scene.mount(&[]);
    let file = fs::metadata(mount.path("/file")).unwrap();
    assert_eq!(
        (file.mtime(), file.mtime_nsec()),
        (1_234_567_890, 123_456_789)
    );
    assert_eq!((file.ctime(), file.ctime_nsec()), (1_300_000_000, 1));
    assert_eq!(
        (file.atime(), file.atime_nsec()),
        (1_400_000_000, 999_999_999)
    );
    assert_eq!(
        file.modified().unwrap(),
        UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789)
    );
}

#[test]
fn extended_attributes_are_shown_with_acl_names() {
    needs_fuse!();
    let scene = Scene::start();
    let stock = scene.stock(&[]);
    fs::write(stock.dir().join("file"), b"x").unwrap();
    let large = noise(1, 60_000);
    // A POSIX ACL: version 2, then user::rw-, user:1000:r--, group::r--, mask::r--, other::---.
    let acl = [
        [2, 0, 0, 0].as_slice(),
        &[1, 0, 6, 0, 255, 255, 255, 255],
        &[2, 0, 4, 0, 0xe8, 3, 0, 0],
        &[4, 0, 4, 0, 255, 255, 255, 255],
        &[16, 0, 4, 0, 255, 255, 255, 255],
        &[32, 0, 0, 0, 255, 255, 255, 255],
    ]
    .concat();
    let attributes: [(&str, &[u8]); 4] = [
        ("user.text", b"value"),
        ("user.empty", b""),
        ("user.large", &large),
        ("trusted.bytes", &[0, 255, 10]),
    ];
    let file = stock.dir().join("file");
    for (name, value) in attributes {
        rustix::fs::setxattr(&file, name, value, XattrFlags::empty()).unwrap();
    }
    scene.craft().change("/file", |entry| {
        entry.extended.insert(
            "xattr-system.posix_acl_access".to_owned(),
            acl.clone().into(),
        );
        entry.extended.insert(
            "Seaweed-not-for-programs".to_owned(),
            b"hidden".to_vec().into(),
        );
    });

    let mount = scene.mount(&[]);
    let file = mount.path("/file");
    let value = |name: &str| {
        let mut value = vec![0; 65_536];
        let len = rustix::fs::getxattr(&file, name, value.as_mut_slice())?;
        value.truncate(len);
        Ok::<_, Errno>(value)
    };
    for (name, expected) in attributes {
        assert_eq!(value(name).as_deref(), Ok(expected), "{name}");
    }
    assert_eq!(value("system.posix_acl_access"), Ok(acl));
    assert_eq!(value("user.absent"), Err(Errno::NODATA));
    let mut small = [0; 3];
    let refused = rustix::fs::getxattr(&file, "user.text", small.as_mut_slice());
    assert_eq!(refused, Err(Errno::RANGE));

    let mut list = vec![0; 4096];
    let len = rustix::fs::listxattr(&file, list.as_mut_slice()).unwrap();
    let names: Vec<_> = list[..len]
        .split(|b| *b == 0)
        .filter(|n| !n.is_empty())
        .collect();
    assert_eq!(
        names.len(),
        5,
        "{:?}",
        String::from_utf8_lossy(&list[..len])
    );
    assert!(names.contains(&b"system.posix_acl_access".as_slice()));
}

#[test]
fn names_that_no_file_system_could_show_are_left_out() {
    needs_fuse!();
    let scene = Scene::start();
    scene.put("/d/fine", b"1");
    // A slash cannot get into a name: the filer takes what has one for a path.
    let unshowable = [".".to_owned(), "..".to_owned(), "l".repeat(256)];
    for name in &unshowable {
        // A filer that refuses such a name is fine too: then there is nothing to hide.
        let entry = pb::Entry {
            name: name.clone(),
            ..file(0)
        };
        let request = pb::CreateEntryRequest {
            directory: "/d".to_owned(),
            entry: Some(entry),
            ..Default::default()
        };
        let answer = scene
            .craft()
            .call(|mut c| async move { c.create_entry(request).await });
        println!("the filer on {name:?}: {:?}", answer.into_inner().error);
    }
    let mount = scene.mount(&[]);
    let names: Vec<_> = fs::read_dir(mount.path("/d"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["fine"]);

    let long = mount.path(&format!("/d/{}", "x".repeat(256)));
    assert_eq!(
        fs::metadata(long).unwrap_err().raw_os_error(),
        Some(Errno::NAMETOOLONG.raw_os_error())
    );
    let bytes = mount.path("/d").join(OsStr::from_bytes(b"\xff\xfe"));
    assert_eq!(fs::metadata(bytes).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn blocks_count_what_is_stored() {
    needs_fuse!();
    let scene = Scene::start();
    let chunk = scene.craft().chunk(1 << 20, &noise(1, 4096));
    scene.craft().file("/sparse", 1 << 30, vec![chunk]);
    let mount = scene.mount(&[]);
    let file = fs::metadata(mount.path("/sparse")).unwrap();
    assert_eq!(file.len(), 1 << 30);
    assert!(file.blocks() <= 16, "{} blocks", file.blocks());

    let fd = fs::File::open(mount.path("/sparse")).unwrap();
    let seek = |whence| rustix::fs::seek(&fd, whence);
    assert_eq!(seek(rustix::fs::SeekFrom::Data(0)), Ok(1 << 20));
    assert_eq!(
        seek(rustix::fs::SeekFrom::Hole(1 << 20)),
        Ok((1 << 20) + 4096)
    );
    assert_eq!(seek(rustix::fs::SeekFrom::Data(2 << 20)), Err(Errno::NXIO));
}

fn file(size: u64) -> pb::Entry {
    let attributes = pb::FuseAttributes {
        file_size: size,
        file_mode: 0o644,
        ..Default::default()
    };
    pb::Entry {
        attributes: Some(attributes),
        ..Default::default()
    }
}

fn umask() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|l| l.strip_prefix("Umask:"))
        .unwrap();
    u32::from_str_radix(line.trim(), 8).unwrap()
}

#[test]
fn a_read_is_remembered_by_all_when_it_is_wanted() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount_at("one", &["-atime=relative"]);
    let other = scene.mount_at("other", &[]);
    scene.put("/f", b"x");
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    let file = std::fs::File::options()
        .write(true)
        .open(mount.path("/f"))
        .unwrap();
    let times = std::fs::FileTimes::new();
    file.set_times(times.set_accessed(long_ago).set_modified(long_ago))
        .unwrap();
    drop(file);
    let patience = std::time::Duration::from_secs(20);
    let accessed = |mount: &e2e::Mount| {
        let found = std::fs::metadata(mount.path("/f")).unwrap();
        assert_eq!(found.modified().unwrap(), long_ago);
        found.accessed().unwrap()
    };
    e2e::eventually("the other mount has the old time", patience, || {
        std::fs::metadata(other.path("/f")).is_ok_and(|found| found.accessed().unwrap() == long_ago)
    });
    assert_eq!(other.read("/f"), b"x");
    assert_eq!(
        accessed(&mount),
        long_ago,
        "the other one does not keep times"
    );
    assert_eq!(mount.read("/f"), b"x");
    e2e::eventually("both have the time of the read", patience, || {
        accessed(&mount) > long_ago && accessed(&mount) == accessed(&other)
    });
    let first = accessed(&mount);
    assert_eq!(mount.read("/f"), b"x");
    assert_eq!(mount.read("/f"), b"x");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(accessed(&mount), first, "once a day is enough");
}

#[test]
fn attributes_of_what_is_not_saved_wait_for_the_save_that_comes_with_close() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&[]);
    let stored = |path: &str| scene.craft().lookup(path).unwrap();
    let old = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let mut file = fs::File::create(mount.path("/f")).unwrap();
    let mode = |mode| fs::Permissions::from_mode(mode);
    file.write_all(b"bytes").unwrap();
    file.set_modified(old).unwrap();
    fchown(&file, Some(1234), Some(4321)).unwrap();
    file.set_permissions(mode(0o4751)).unwrap();
    let shown = |found: &fs::Metadata| {
        let owner = (found.uid(), found.gid());
        (found.mode(), owner, found.modified().unwrap(), found.len())
    };
    let wanted = (0o104_751, (1234, 4321), old, 5);
    assert_eq!(shown(&file.metadata().unwrap()), wanted, "fstat");
    let by_path = || fs::metadata(mount.path("/f")).unwrap();
    assert_eq!(shown(&by_path()), wanted, "stat");
    let changed = by_path().ctime();
    assert!(changed > 1_000_000_000, "ctime is the time of the change");
    let before = stored("/f").attributes.unwrap();
    assert_eq!((before.uid, before.file_size), (0, 0), "one save, later");
    drop(file);
    let entry = stored("/f");
    let after = entry.attributes.unwrap();
    assert_eq!(
        (after.file_mode & 0o7777, after.mtime),
        (0o4751, 1_000_000_000)
    );
    assert_eq!((after.uid, after.gid, entry.chunks.len()), (1234, 4321, 1));
    assert_eq!(shown(&by_path()), wanted, "after close");

    // What is written afterwards is newer than a time that was set, and the rest stays.
    let mut file = fs::File::create(mount.path("/g")).unwrap();
    file.write_all(b"by").unwrap();
    file.set_modified(old).unwrap();
    file.set_permissions(mode(0o640)).unwrap();
    file.write_all(b"tes").unwrap();
    let found = file.metadata().unwrap();
    assert!(found.modified().unwrap() > old, "written since");
    assert_eq!(found.mode() & 0o7777, 0o640);
    drop(file);
    let after = stored("/g").attributes.unwrap();
    assert!(after.mtime > 1_000_000_000);
    assert_eq!(after.file_mode & 0o7777, 0o640);
}

#[test]
fn attributes_wait_for_fsync_for_a_second_for_a_link_and_for_nothing_without_a_name() {
    needs_fuse!();
    let scene = Scene::start();
    let mount = scene.mount(&["-metadataFlushSeconds=0"]);
    let other = scene.mount_at("other", &[]);
    let mode_of = |path: &str| {
        let entry = scene.craft().lookup(path).unwrap();
        entry.attributes.unwrap().file_mode & 0o7777
    };
    let begin = |name: &str| {
        let mut file = fs::File::create(mount.path(name)).unwrap();
        file.write_all(b"bytes").unwrap();
        file.set_permissions(fs::Permissions::from_mode(0o600))
            .unwrap();
        file
    };
    let synced = begin("/synced");
    synced.sync_all().unwrap();
    assert_eq!(mode_of("/synced"), 0o600);

    // It stays open, and nobody syncs it.
    let kept = begin("/kept");
    let patience = Duration::from_secs(10);
    e2e::eventually("the other mount sees the mode", patience, || {
        fs::metadata(other.path("/kept")).is_ok_and(|found| found.mode() & 0o7777 == 0o600)
    });
    assert_eq!(mode_of("/kept"), 0o600);

    let linked = begin("/one");
    fs::hard_link(mount.path("/one"), mount.path("/two")).unwrap();
    assert_eq!((mode_of("/one"), mode_of("/two")), (0o600, 0o600));
    (&linked).write_all(b" and more").unwrap();
    fs::set_permissions(mount.path("/two"), fs::Permissions::from_mode(0o604)).unwrap();
    let look = |name| fs::metadata(mount.path(name)).unwrap().mode() & 0o7777;
    assert_eq!((look("/one"), look("/two")), (0o604, 0o604), "one inode");
    drop(linked);
    assert_eq!((mode_of("/one"), mode_of("/two")), (0o604, 0o604));

    // The last name goes: its handle has it still, attributes included, before and after.
    let gone = begin("/gone");
    fs::remove_file(mount.path("/gone")).unwrap();
    let mode = || gone.metadata().unwrap().mode() & 0o7777;
    assert_eq!(mode(), 0o600);
    gone.set_permissions(fs::Permissions::from_mode(0o611))
        .unwrap();
    gone.sync_all().unwrap();
    assert_eq!(mode(), 0o611);
    drop(gone);
    assert!(scene.craft().lookup("/gone").is_none());

    // It moves while they wait, and what another mount changes meanwhile stays.
    let moved = begin("/old");
    fs::rename(mount.path("/old"), mount.path("/new")).unwrap();
    e2e::eventually("the other mount sees the name", patience, || {
        other.path("/new").exists()
    });
    std::os::unix::fs::chown(other.path("/new"), Some(77), None).unwrap();
    drop(moved);
    assert_eq!(mode_of("/new"), 0o600);
    let owner = scene.craft().lookup("/new").unwrap().attributes.unwrap();
    assert_eq!((owner.uid, owner.file_size), (77, 5));
    drop((synced, kept));
}
