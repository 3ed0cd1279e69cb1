//! An entry as `stat(2)` shows it.

use fuse::{Attr, FileType};
use seaweed::{Entry, Kind};

use crate::config::MountConfig;

/// `st_blksize` and the unit of `st_blocks`, as `weed mount` shows them.
const BLOCK: u64 = 512;

pub(crate) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::Regular => FileType::Regular,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::BlockDevice => FileType::BlockDevice,
        Kind::CharDevice => FileType::CharDevice,
        Kind::Fifo => FileType::Fifo,
        Kind::Socket => FileType::Socket,
    }
}

/// The attributes of an entry; `nlink` is for what the entry alone does not tell.
pub(crate) fn attr(entry: &Entry, nlink: u32, config: &MountConfig) -> Attr {
    Attr {
        ino: entry.inode,
        size: size(entry),
        blocks: blocks(entry),
        atime: entry.atime,
        mtime: entry.mtime,
        ctime: entry.ctime,
        kind: file_type(entry.kind),
        perm: entry.perm,
        nlink,
        uid: config.uid_map.to_local(entry.uid),
        gid: config.gid_map.to_local(entry.gid),
        rdev: entry.rdev,
        blksize: BLOCK as u32,
    }
}

fn size(entry: &Entry) -> u64 {
    match entry.kind {
        Kind::Symlink => entry.symlink_target.len() as u64,
        _ => entry.size,
    }
}

/// Space that is really taken: holes are not counted. Chunks that overlap are counted once at
/// most, as the sum never exceeds the file's size.
fn blocks(entry: &Entry) -> u64 {
    let held: u64 = if entry.chunks.is_empty() {
        entry.content.len() as u64
    } else {
        let sizes = entry.chunks.iter().map(|chunk| chunk.size);
        sizes.fold(0, u64::saturating_add)
    };
    let held = if entry.is_remote_only() {
        entry.size
    } else {
        held
    };
    held.min(entry.size).div_ceil(BLOCK)
}
