//! The same tree through Riptide and through the stock `weed mount` (docs/SEMANTICS.md, section 7).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use e2e::{Difference, NESTED_MANIFEST, Node, Scene, differences, needs_fuse, plant, walk};
use rustix::fs::{CWD, FileType, Mode, SeekFrom, XattrFlags, makedev, mknodat};

/// Where Riptide differs on purpose, and exactly how.
struct Known {
    what: &'static str,
    /// Of the stock mount's node and of Riptide's.
    differ: fn(&Node, &Node) -> bool,
}

const KNOWN: &[Known] = &[
    // Blocks count what is stored; the stock mount takes holes for full.
    Known {
        what: "blocks",
        differ: |stock, ours| ours.blocks < stock.blocks,
    },
    // The filer keeps a time of the last read; the stock mount shows that of the last change.
    Known {
        what: "atime",
        differ: |stock, ours| stock.atime == stock.mtime && ours.atime <= ours.mtime,
    },
    // Now and then the stock mount shows Go's zero time, the year 1, as that of a folder's last change.
    Known {
        what: "ctime",
        differ: |stock, _| stock.ctime.0 == GO_ZERO,
    },
];

/// The first second of the year 1 (`time.Time{}` of Go), since 1970.
const GO_ZERO: i64 = -62_135_596_800;

#[test]
fn the_whole_tree_looks_alike() {
    needs_fuse!();
    let scene = Scene::start();
    let samples = plant(&scene);
    println!("{} files", samples.len());
    {
        let stock = scene.stock(&[]);
        specials(&stock.dir().join("kinds"));
    }
    // A new one, so that nothing is remembered from making them.
    let stock = scene.stock(&[]);
    let mount = scene.mount(&[]);
    // The stock mount resolves one level of manifests only, and takes half a minute to say EIO.
    let unread = Path::new(NESTED_MANIFEST.trim_start_matches('/'));
    let first = walk(stock.dir(), &[unread]);
    let second = walk(mount.dir(), &[unread]);
    assert!(first.len() > samples.len());
    let known = |d: &Difference| {
        let known = KNOWN.iter().find(|known| known.what == d.what);
        let nodes = first.get(&d.path).zip(second.get(&d.path));
        known
            .zip(nodes)
            .is_some_and(|(known, (stock, ours))| (known.differ)(stock, ours))
    };
    let unknown: Vec<_> = differences(&first, &second)
        .into_iter()
        .filter(|d| !known(d))
        .collect();
    let shown: Vec<_> = unknown.iter().take(20).collect();
    assert!(
        unknown.is_empty(),
        "{} differences (stock, riptide): {shown:#?}",
        unknown.len()
    );
}

/// What only a mount can make.
fn specials(dir: &Path) {
    fs::write(dir.join("named"), b"many names").unwrap();
    fs::hard_link(dir.join("named"), dir.join("named too")).unwrap();
    symlink("named", dir.join("link")).unwrap();
    symlink("/nowhere/at/all", dir.join("dangling")).unwrap();
    mknodat(CWD, dir.join("fifo"), FileType::Fifo, Mode::from(0o644), 0).unwrap();
    let device = makedev(8, 17);
    mknodat(
        CWD,
        dir.join("block"),
        FileType::BlockDevice,
        Mode::from(0o660),
        device,
    )
    .unwrap();
    mknodat(
        CWD,
        dir.join("char"),
        FileType::CharacterDevice,
        Mode::from(0o600),
        device,
    )
    .unwrap();
    fs::create_dir(dir.join("empty")).unwrap();
    let modes = [0o000, 0o400, 0o755, 0o1777, 0o2755, 0o4711, 0o6770];
    for mode in modes {
        let path = dir.join(format!("mode-{mode:o}"));
        fs::write(&path, b"").unwrap();
        rustix::fs::chmod(&path, Mode::from(mode)).unwrap();
    }
    for (name, value) in [
        ("user.a", b"1".as_slice()),
        ("user.b", b""),
        ("trusted.c", &[0; 300]),
    ] {
        rustix::fs::setxattr(dir.join("named"), name, value, XattrFlags::empty()).unwrap();
    }
    rustix::fs::setxattr(dir.join("empty"), "user.dir", b"d", XattrFlags::empty()).unwrap();
    std::os::unix::fs::chown(dir.join("empty"), Some(11), Some(22)).unwrap();
}

/// What fails, and must fail in the same way; below `d`, which has `file`, `dir` and `link`.
type Attempt = (&'static str, fn(&Path) -> io::Result<()>);

const FAILING: &[Attempt] = &[
    ("stat of what is not there", |d| {
        fs::metadata(d.join("no")).map(drop)
    }),
    ("stat below what is not there", |d| {
        fs::metadata(d.join("no/no")).map(drop)
    }),
    ("stat below a file", |d| {
        fs::metadata(d.join("file/no")).map(drop)
    }),
    ("a name of 256 bytes", |d| {
        fs::metadata(d.join("x".repeat(256))).map(drop)
    }),
    ("listing a file", |d| fs::read_dir(d.join("file")).map(drop)),
    ("listing what is not there", |d| {
        fs::read_dir(d.join("no")).map(drop)
    }),
    ("reading a directory", |d| fs::read(d.join("dir")).map(drop)),
    ("readlink of a file", |d| {
        fs::read_link(d.join("file")).map(drop)
    }),
    ("readlink of a directory", |d| {
        fs::read_link(d.join("dir")).map(drop)
    }),
    ("a link into itself", |d| {
        fs::metadata(d.join("loop")).map(drop)
    }),
    ("an absent attribute", |d| {
        attribute(&d.join("file"), "user.no", 100)
    }),
    ("an attribute larger than the buffer", |d| {
        attribute(&d.join("file"), "user.x", 2)
    }),
    ("attributes of what is not there", |d| {
        attribute(&d.join("no"), "user.x", 100)
    }),
    ("attribute names larger than the buffer", |d| {
        let mut list = [0_u8; 2];
        Ok(rustix::fs::listxattr(d.join("file"), list.as_mut_slice()).map(drop)?)
    }),
    ("data behind the end", |d| seek(d, SeekFrom::Data(1 << 40))),
    ("a hole behind the end", |d| {
        seek(d, SeekFrom::Hole(1 << 40))
    }),
    ("opening what is not there", |d| {
        File::open(d.join("no")).map(drop)
    }),
    ("creating", |d| File::create_new(d.join("new")).map(drop)),
    ("opening for writing", |d| {
        File::options().write(true).open(d.join("file")).map(drop)
    }),
    ("making a directory", |d| fs::create_dir(d.join("new"))),
    ("making a directory that is there", |d| {
        fs::create_dir(d.join("dir"))
    }),
    ("removing a file", |d| fs::remove_file(d.join("file"))),
    ("removing what is not there", |d| {
        fs::remove_file(d.join("no"))
    }),
    ("removing a directory", |d| fs::remove_dir(d.join("dir"))),
    ("renaming", |d| fs::rename(d.join("file"), d.join("new"))),
    ("changing the mode", |d| {
        Ok(rustix::fs::chmod(d.join("file"), Mode::from(0o600))?)
    }),
    ("setting an attribute", |d| {
        Ok(rustix::fs::setxattr(
            d.join("file"),
            "user.y",
            b"1",
            XattrFlags::empty(),
        )?)
    }),
];

#[test]
fn what_fails_fails_alike() {
    needs_fuse!();
    let scene = Scene::start();
    {
        let stock = scene.stock(&[]);
        let d = stock.dir();
        fs::write(d.join("file"), b"content").unwrap();
        rustix::fs::setxattr(d.join("file"), "user.x", b"value", XattrFlags::empty()).unwrap();
        fs::create_dir(d.join("dir")).unwrap();
        symlink("loop", d.join("loop")).unwrap();
    }
    let stock = scene.stock(&["-readOnly"]);
    let mount = scene.mount(&["-readOnly"]);
    let errno = |dir: &Path| -> BTreeMap<&str, Option<i32>> {
        let run =
            |(name, attempt): &Attempt| (*name, attempt(dir).err().and_then(|e| e.raw_os_error()));
        FAILING.iter().map(run).collect()
    };
    let (first, second) = (errno(stock.dir()), errno(mount.dir()));
    assert_eq!(first, second, "stock on the left, riptide on the right");
    assert!(
        first.values().all(Option::is_some),
        "all of them fail: {first:?}"
    );
}

fn attribute(path: &Path, name: &str, size: usize) -> io::Result<()> {
    let mut value = vec![0; size];
    Ok(rustix::fs::getxattr(path, name, value.as_mut_slice()).map(drop)?)
}

fn seek(dir: &Path, to: SeekFrom) -> io::Result<()> {
    let file = File::open(dir.join("file"))?;
    Ok(rustix::fs::seek(&file, to).map(drop)?)
}
