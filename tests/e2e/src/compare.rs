//! Walks a tree and tells in what two of them differ.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Everything a program can see of one file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Type and permissions.
    pub mode: u32,
    /// Names it has.
    pub nlink: u64,
    /// Owner and group.
    pub owner: (u32, u32),
    /// Bytes.
    pub size: u64,
    /// Device number of a device.
    pub rdev: u64,
    /// Inode number.
    pub ino: u64,
    /// Time of the last change of the data: seconds, nanoseconds.
    pub mtime: (i64, i64),
    /// Time of the last change of the entry.
    pub ctime: (i64, i64),
    /// Time of the last read.
    pub atime: (i64, i64),
    /// Half-kilobytes in use.
    pub blocks: u64,
    /// Where a symbolic link leads.
    pub target: Option<PathBuf>,
    /// Extended attributes.
    pub xattrs: BTreeMap<OsString, Vec<u8>>,
    /// The bytes of a regular file that was read, or the error that reading them gives.
    pub bytes: Option<Result<Vec<u8>, i32>>,
}

/// One thing in which two trees differ.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    /// Below the roots.
    pub path: PathBuf,
    /// Name of the property.
    pub what: &'static str,
    /// In the first and the second tree.
    pub values: (String, String),
}

/// All nodes of a tree by their path below its root, without the root. The bytes of
/// `unread` files are left alone.
///
/// # Panics
/// When anything cannot be read.
#[must_use]
pub fn walk(root: &Path, unread: &[&Path]) -> BTreeMap<PathBuf, Node> {
    let mut nodes = BTreeMap::new();
    let mut todo = vec![PathBuf::new()];
    while let Some(directory) = todo.pop() {
        let full = root.join(&directory);
        let list = fs::read_dir(&full).unwrap_or_else(|e| panic!("list {}: {e}", full.display()));
        for entry in list {
            let entry = entry.unwrap_or_else(|e| panic!("list {}: {e}", full.display()));
            let path = directory.join(entry.file_name());
            let node = look(&entry.path(), !unread.contains(&&*path));
            let node = node.unwrap_or_else(|e| panic!("look at {}: {e}", entry.path().display()));
            if node.mode & FORMAT == DIRECTORY {
                todo.push(path.clone());
            }
            let double = nodes.insert(path, node);
            assert!(
                double.is_none(),
                "{} is listed twice",
                entry.path().display()
            );
        }
    }
    nodes
}

/// In what the second tree differs from the first.
#[must_use]
pub fn differences(
    first: &BTreeMap<PathBuf, Node>,
    second: &BTreeMap<PathBuf, Node>,
) -> Vec<Difference> {
    let mut found = Vec::new();
    let paths: std::collections::BTreeSet<_> = first.keys().chain(second.keys()).collect();
    for path in paths {
        let mut add = |what, a: String, b: String| {
            if a != b {
                found.push(Difference {
                    path: path.clone(),
                    what,
                    values: (a, b),
                });
            }
        };
        let (Some(a), Some(b)) = (first.get(path), second.get(path)) else {
            let present = |tree: &BTreeMap<_, _>| tree.contains_key(path).to_string();
            add("presence", present(first), present(second));
            continue;
        };
        add("mode", format!("{:o}", a.mode), format!("{:o}", b.mode));
        add("nlink", a.nlink.to_string(), b.nlink.to_string());
        add("owner", format!("{:?}", a.owner), format!("{:?}", b.owner));
        add("size", a.size.to_string(), b.size.to_string());
        add("rdev", a.rdev.to_string(), b.rdev.to_string());
        add("ino", a.ino.to_string(), b.ino.to_string());
        add("mtime", format!("{:?}", a.mtime), format!("{:?}", b.mtime));
        add("ctime", format!("{:?}", a.ctime), format!("{:?}", b.ctime));
        add("atime", format!("{:?}", a.atime), format!("{:?}", b.atime));
        add("blocks", a.blocks.to_string(), b.blocks.to_string());
        add(
            "target",
            format!("{:?}", a.target),
            format!("{:?}", b.target),
        );
        add(
            "xattrs",
            format!("{:?}", a.xattrs),
            format!("{:?}", b.xattrs),
        );
        if a.bytes != b.bytes {
            let told = |node: &Node| match &node.bytes {
                Some(Ok(bytes)) => format!("{} bytes", bytes.len()),
                other => format!("{other:?}"),
            };
            add(
                "bytes",
                format!("{} here", told(a)),
                format!("{} there", told(b)),
            );
        }
    }
    found
}

fn look(path: &Path, read: bool) -> io::Result<Node> {
    let metadata = fs::symlink_metadata(path)?;
    let is = |format| metadata.mode() & FORMAT == format;
    Ok(Node {
        mode: metadata.mode(),
        nlink: metadata.nlink(),
        owner: (metadata.uid(), metadata.gid()),
        size: metadata.size(),
        rdev: metadata.rdev(),
        ino: metadata.ino(),
        mtime: (metadata.mtime(), metadata.mtime_nsec()),
        ctime: (metadata.ctime(), metadata.ctime_nsec()),
        atime: (metadata.atime(), metadata.atime_nsec()),
        blocks: metadata.blocks(),
        target: if is(SYMLINK) {
            Some(fs::read_link(path)?)
        } else {
            None
        },
        xattrs: xattrs(path)?,
        bytes: (read && is(REGULAR))
            .then(|| fs::read(path).map_err(|e| e.raw_os_error().unwrap_or_default())),
    })
}

fn xattrs(path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    use std::os::unix::ffi::OsStringExt;
    let mut list = vec![0_u8; 64 * 1024];
    let len = rustix::fs::llistxattr(path, list.as_mut_slice())?;
    let names = list[..len]
        .split(|&b| b == 0)
        .filter(|name| !name.is_empty());
    let mut all = BTreeMap::new();
    for name in names {
        let name = OsString::from_vec(name.to_vec());
        let mut value = vec![0_u8; 64 * 1024];
        let len = rustix::fs::lgetxattr(path, &name, value.as_mut_slice())?;
        value.truncate(len);
        all.insert(name, value);
    }
    Ok(all)
}

const FORMAT: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const SYMLINK: u32 = 0o120_000;
const REGULAR: u32 = 0o100_000;
