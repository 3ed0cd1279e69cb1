//! Every operation that changes the tree does what it does on a local file system: the same
//! result or the same error number, and the same tree afterwards (docs/SEMANTICS.md, sections 8 and 10).

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{
    DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink,
};
use std::path::{Path, PathBuf};

use e2e::{Node, Scene, needs_fuse, walk};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, RenameFlags, SeekFrom as Seeking, Timespec,
    Timestamps, XattrFlags,
};

/// What a program does below a directory, which is empty at first; the tree is compared after
/// each step.
type Step = (&'static str, fn(&Path) -> io::Result<()>);

const STEPS: &[Step] = &[
    ("create", |d| {
        File::create_new(d.join("file"))?.write_all(b"content")
    }),
    ("create what exists", |d| {
        File::create_new(d.join("file")).map(drop)
    }),
    ("append", |d| {
        let mut file = OpenOptions::new().append(true).open(d.join("file"))?;
        file.write_all(b" and more")
    }),
    ("write in the middle", |d| {
        let file = OpenOptions::new().write(true).open(d.join("file"))?;
        file.write_all_at(b"XY", 3)
    }),
    ("write far behind the end", |d| {
        let file = OpenOptions::new().write(true).open(d.join("file"))?;
        file.write_all_at(b"far", 5_000_000)
    }),
    ("cut", |d| {
        OpenOptions::new()
            .write(true)
            .open(d.join("file"))?
            .set_len(10)
    }),
    ("lengthen", |d| {
        OpenOptions::new()
            .write(true)
            .open(d.join("file"))?
            .set_len(9000)
    }),
    ("overwrite", |d| fs::write(d.join("file"), b"new")),
    ("empty it", |d| File::create(d.join("file")).map(drop)),
    ("write again", |d| {
        fs::write(d.join("file"), vec![7; 100_000])
    }),
    ("create in nothing", |d| {
        File::create(d.join("none/file")).map(drop)
    }),
    ("create below a file", |d| {
        File::create(d.join("file/file")).map(drop)
    }),
    ("name of 255 bytes", |d| {
        File::create(d.join("n".repeat(255))).map(drop)
    }),
    ("name of 256 bytes", |d| {
        File::create(d.join("n".repeat(256))).map(drop)
    }),
    ("mkdir", |d| fs::create_dir(d.join("dir"))),
    ("mkdir what exists", |d| fs::create_dir(d.join("dir"))),
    ("mkdir where a file is", |d| fs::create_dir(d.join("file"))),
    ("mkdir in nothing", |d| fs::create_dir(d.join("none/dir"))),
    ("mkdir with a mode", |d| {
        fs::DirBuilder::new().mode(0o1775).create(d.join("sticky"))
    }),
    ("create with a mode", |d| {
        OpenOptions::new()
            .mode(0o640)
            .write(true)
            .create_new(true)
            .open(d.join("moded"))
            .map(drop)
    }),
    ("open a directory to write", |d| {
        File::options().write(true).open(d.join("dir")).map(drop)
    }),
    ("symlink", |d| symlink("file", d.join("link"))),
    ("symlink where something is", |d| {
        symlink("file", d.join("file"))
    }),
    ("dangling symlink", |d| {
        symlink("../nowhere/at all", d.join("dangling"))
    }),
    ("through a symlink", |d| {
        fs::write(d.join("link"), b"through")
    }),
    ("hard link", |d| {
        fs::hard_link(d.join("file"), d.join("second"))
    }),
    ("hard link to what exists", |d| {
        fs::hard_link(d.join("file"), d.join("moded"))
    }),
    ("hard link of a directory", |d| {
        fs::hard_link(d.join("dir"), d.join("dir2"))
    }),
    ("hard link of nothing", |d| {
        fs::hard_link(d.join("none"), d.join("x"))
    }),
    ("write through the second name", |d| {
        fs::write(d.join("second"), b"both")
    }),
    ("chmod one name", |d| {
        fs::set_permissions(d.join("file"), fs::Permissions::from_mode(0o751))
    }),
    ("remove the first name", |d| fs::remove_file(d.join("file"))),
    ("fifo", |d| mknod(d, "fifo", FileType::Fifo, 0)),
    ("socket", |d| mknod(d, "socket", FileType::Socket, 0)),
    ("character device", |d| {
        mknod(d, "null", FileType::CharacterDevice, makedev(1, 3))
    }),
    ("block device", |d| {
        mknod(d, "loop", FileType::BlockDevice, makedev(7, 200))
    }),
    ("mknod of what exists", |d| {
        mknod(d, "fifo", FileType::Fifo, 0)
    }),
    ("rename", |d| fs::rename(d.join("second"), d.join("third"))),
    ("rename of nothing", |d| {
        fs::rename(d.join("second"), d.join("x"))
    }),
    ("rename over a file", |d| {
        fs::rename(d.join("third"), d.join("moded"))
    }),
    ("rename into a directory", |d| {
        fs::rename(d.join("moded"), d.join("dir/moved"))
    }),
    ("rename a file over a directory", |d| {
        fs::rename(d.join("dir/moved"), d.join("sticky"))
    }),
    ("rename a directory over a file", |d| {
        fs::rename(d.join("sticky"), d.join("dir/moved"))
    }),
    ("rename a directory", |d| {
        fs::rename(d.join("dir"), d.join("dir3"))
    }),
    ("rename over a full directory", |d| {
        fs::rename(d.join("sticky"), d.join("dir3"))
    }),
    ("rename a full directory over an empty one", |d| {
        fs::rename(d.join("dir3"), d.join("sticky"))
    }),
    ("rename a directory below itself", |d| {
        fs::rename(d.join("sticky"), d.join("sticky/x"))
    }),
    ("rename into a namesake", |d| {
        fs::create_dir(d.join("name"))?;
        fs::create_dir(d.join("namesake"))?;
        fs::rename(d.join("name"), d.join("namesake/name"))
    }),
    ("rename to itself", |d| {
        fs::rename(d.join("sticky"), d.join("sticky"))
    }),
    ("rename that must not replace", |d| {
        fs::write(d.join("a"), b"a")?;
        fs::write(d.join("b"), b"b")?;
        noreplace(d, "a", "b")
    }),
    ("rename that need not replace", |d| noreplace(d, "a", "c")),
    ("rmdir of a full directory", |d| {
        fs::remove_dir(d.join("sticky"))
    }),
    ("rmdir of a file", |d| fs::remove_dir(d.join("b"))),
    ("rmdir of nothing", |d| fs::remove_dir(d.join("none"))),
    ("unlink of a directory", |d| {
        fs::remove_file(d.join("sticky"))
    }),
    ("unlink of nothing", |d| fs::remove_file(d.join("none"))),
    ("unlink", |d| fs::remove_file(d.join("b"))),
    ("rmdir", |d| fs::remove_dir(d.join("namesake/name"))),
    ("chmod with every bit", |d| {
        fs::set_permissions(d.join("c"), fs::Permissions::from_mode(0o7777))
    }),
    ("chown", |d| chown(d.join("c"), Some(3), Some(4))),
    ("chown takes setuid away", |d| {
        fs::set_permissions(d.join("c"), fs::Permissions::from_mode(0o6755))?;
        chown(d.join("c"), Some(5), None)
    }),
    ("setgid directory", |d| {
        fs::create_dir(d.join("shared"))?;
        chown(d.join("shared"), None, Some(42))?;
        fs::set_permissions(d.join("shared"), fs::Permissions::from_mode(0o2775))?;
        fs::write(d.join("shared/file"), b"")?;
        fs::create_dir(d.join("shared/dir"))
    }),
    ("utimens", |d| times(d, 86_400, 123_456_789)),
    ("utimens before 1970", |d| times(d, -5, 7)),
    ("set an attribute", |d| {
        setxattr(d, b"value", XattrFlags::empty())
    }),
    ("set an attribute that exists", |d| {
        setxattr(d, b"x", XattrFlags::CREATE)
    }),
    ("replace an attribute", |d| {
        setxattr(d, b"other", XattrFlags::REPLACE)
    }),
    ("remove an attribute", |d| {
        Ok(rustix::fs::removexattr(d.join("c"), "user.a")?)
    }),
    ("remove no attribute", |d| {
        Ok(rustix::fs::removexattr(d.join("c"), "user.a")?)
    }),
    ("replace no attribute", |d| {
        setxattr(d, b"x", XattrFlags::REPLACE)
    }),
    ("open handles of a removed file", |d| {
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(d.join("gone"))?;
        file.write_all(&[1; 300_000])?;
        file.sync_all()?;
        fs::remove_file(d.join("gone"))?;
        file.write_all(b"after")?;
        file.set_permissions(fs::Permissions::from_mode(0o600))?;
        file.sync_all()?;
        let metadata = file.metadata()?;
        assert_eq!((metadata.nlink(), metadata.len()), (0, 300_005));
        assert_eq!(metadata.mode() & 0o777, 0o600);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        assert!(bytes.len() == 300_005 && bytes.ends_with(b"\x01after"));
        file.set_len(5)?;
        assert_eq!(file.metadata()?.len(), 5);
        Ok(())
    }),
    ("a file that is replaced while open", |d| {
        fs::write(d.join("held"), vec![1; 100_000])?;
        let mut held = File::open(d.join("held"))?;
        fs::write(d.join("held.new"), b"new")?;
        fs::rename(d.join("held.new"), d.join("held"))?;
        let mut bytes = Vec::new();
        held.read_to_end(&mut bytes)?;
        assert!(bytes == vec![1; 100_000]);
        Ok(())
    }),
    (
        "a directory that is renamed while a file below it is written",
        |d| {
            fs::create_dir_all(d.join("up/down"))?;
            let mut file = File::create(d.join("up/down/file"))?;
            file.write_all(b"before ")?;
            fs::rename(d.join("up"), d.join("renamed"))?;
            file.write_all(b"and after")
        },
    ),
    ("allocate", |d| {
        fallocate(d, FallocateFlags::empty(), 0, 70_000)
    }),
    ("allocate and keep the size", |d| {
        fallocate(d, FallocateFlags::KEEP_SIZE, 0, 90_000)
    }),
    ("punch a hole", |d| {
        fs::write(d.join("holes"), vec![9; 40_000])?;
        fallocate(
            d,
            FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
            5000,
            10_000,
        )
    }),
    ("zero a range", |d| {
        fallocate(d, FallocateFlags::ZERO_RANGE, 35_000, 10_000)
    }),
    ("holes are found", |d| {
        let file = File::options()
            .write(true)
            .read(true)
            .create(true)
            .truncate(true)
            .open(d.join("sparse"))?;
        file.write_all_at(&[1; 4096], 1 << 20)?;
        file.set_len(3 << 20)?;
        assert_eq!(rustix::fs::seek(&file, Seeking::Data(0))?, 1 << 20);
        assert_eq!(
            rustix::fs::seek(&file, Seeking::Hole(1 << 20))?,
            (1 << 20) + 4096
        );
        Ok(())
    }),
    ("a copy by the kernel", |d| {
        fs::copy(d.join("holes"), d.join("copy")).map(drop)
    }),
    ("remove a tree", |d| fs::remove_dir_all(d.join("shared"))),
];

#[test]
fn every_operation_does_what_it_does_on_a_local_file_system() {
    needs_fuse!();
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root may chown and make devices");
        return;
    }
    let scene = Scene::start();
    let mount = scene.mount(&["-posix.dirNLink"]);
    let (ours, local) = (mount.path("/work"), scene.path("local"));
    fs::create_dir(&ours).unwrap();
    fs::create_dir(&local).unwrap();
    for (name, step) in STEPS {
        let result = |root: &Path| step(root).map_err(|error| error.raw_os_error());
        let (want, got) = (result(&local), result(&ours));
        assert_eq!(got, want, "{name}");
        let (want, got) = (shape(&local), shape(&ours));
        assert!(got == want, "after {name}: {}", difference(&want, &got));
    }
    // What others see, through a mount that has to ask the filer for everything.
    let other = scene.mount_at("other", &["-posix.dirNLink"]);
    let seen = shape(&other.path("/work"));
    assert!(
        seen == shape(&local),
        "{}",
        difference(&shape(&local), &seen)
    );
}

/// What must be alike: inode numbers, times that nobody set, and space taken are the file
/// system's own.
fn shape(root: &Path) -> BTreeMap<PathBuf, Shape> {
    let nodes = walk(root, &[]).into_iter();
    nodes.map(|(path, node)| (path, Shape::of(node))).collect()
}

#[derive(Debug, PartialEq)]
struct Shape {
    mode: u32,
    nlink: u64,
    owner: (u32, u32),
    size: Option<u64>,
    rdev: u64,
    old_mtime: Option<(i64, i64)>,
    target: Option<PathBuf>,
    xattrs: usize,
    bytes: Option<Result<Vec<u8>, i32>>,
}

impl Shape {
    fn of(node: Node) -> Self {
        // S_IFMT and S_IFDIR: a directory's size is the file system's own.
        let directory = node.mode & 0o170_000 == 0o040_000;
        Self {
            mode: node.mode,
            nlink: node.nlink,
            owner: node.owner,
            size: (!directory).then_some(node.size),
            rdev: node.rdev,
            // Only `utimens` makes times of long ago.
            old_mtime: Some(node.mtime).filter(|(seconds, _)| *seconds < 1_000_000),
            target: node.target,
            xattrs: node.xattrs.len(),
            bytes: node.bytes,
        }
    }
}

fn difference(want: &BTreeMap<PathBuf, Shape>, got: &BTreeMap<PathBuf, Shape>) -> String {
    let brief = |shape: Option<&Shape>| {
        shape.map(|shape| {
            let bytes = shape.bytes.as_ref().map(|bytes| bytes.as_ref().map(Vec::len));
            format!(
                "mode {:o} nlink {} owner {:?} size {:?} rdev {} mtime {:?} target {:?} xattrs {} bytes {bytes:?}",
                shape.mode, shape.nlink, shape.owner, shape.size, shape.rdev, shape.old_mtime, shape.target,
                shape.xattrs,
            )
        })
    };
    let paths = want.keys().chain(got.keys());
    let differing = paths.filter(|path| want.get(*path) != got.get(*path));
    let lines = differing.map(|path| {
        let (want, got) = (brief(want.get(path)), brief(got.get(path)));
        format!("{}: {want:?} locally, {got:?} here", path.display())
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn mknod(d: &Path, name: &str, kind: FileType, device: u64) -> io::Result<()> {
    Ok(rustix::fs::mknodat(
        CWD,
        d.join(name),
        kind,
        Mode::from(0o644),
        device,
    )?)
}

fn makedev(major: u32, minor: u32) -> u64 {
    rustix::fs::makedev(major, minor)
}

fn noreplace(d: &Path, from: &str, to: &str) -> io::Result<()> {
    Ok(rustix::fs::renameat_with(
        CWD,
        d.join(from),
        CWD,
        d.join(to),
        RenameFlags::NOREPLACE,
    )?)
}

fn times(d: &Path, tv_sec: i64, tv_nsec: i64) -> io::Result<()> {
    let time = Timespec { tv_sec, tv_nsec };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    Ok(rustix::fs::utimensat(
        CWD,
        d.join("c"),
        &times,
        AtFlags::empty(),
    )?)
}

fn setxattr(d: &Path, value: &[u8], flags: XattrFlags) -> io::Result<()> {
    Ok(rustix::fs::setxattr(d.join("c"), "user.a", value, flags)?)
}

fn fallocate(d: &Path, mode: FallocateFlags, offset: u64, len: u64) -> io::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(d.join("holes"))?;
    Ok(rustix::fs::fallocate(&file, mode, offset, len)?)
}
