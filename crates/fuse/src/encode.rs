//! From this crate's types to the wire's.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::abi::{self, AttrOut, EntryOut, OpenOut, StatfsOut, open_reply};
use crate::{Attr, Entry, NodeId, Opened, StatFs};

/// An existing name.
pub(crate) fn entry(entry: &Entry) -> EntryOut {
    EntryOut {
        nodeid: entry.node.0,
        generation: 0,
        entry_valid: entry.entry_ttl.as_secs(),
        attr_valid: entry.attr_ttl.as_secs(),
        entry_valid_nsec: entry.entry_ttl.subsec_nanos(),
        attr_valid_nsec: entry.attr_ttl.subsec_nanos(),
        attr: attr(&entry.attr),
    }
}

/// A name that the kernel may take as missing for `ttl`.
pub(crate) fn negative(ttl: Duration) -> EntryOut {
    EntryOut {
        entry_valid: ttl.as_secs(),
        entry_valid_nsec: ttl.subsec_nanos(),
        ..EntryOut::default()
    }
}

/// The node of an encoded entry, if it has one.
pub(crate) fn node_of(entry: &EntryOut) -> Option<NodeId> {
    (entry.nodeid != 0).then_some(NodeId(entry.nodeid))
}

/// The answer to GETATTR.
pub(crate) fn attr_reply(value: &Attr, ttl: Duration) -> AttrOut {
    AttrOut {
        attr_valid: ttl.as_secs(),
        attr_valid_nsec: ttl.subsec_nanos(),
        dummy: 0,
        attr: attr(value),
    }
}

/// The answer to OPEN and OPENDIR.
pub(crate) fn opened(opened: &Opened) -> OpenOut {
    let mut open_flags = 0;
    // A passthrough handle has no pages of ours to keep, and the kernel answers
    // EIO to an open that claims both.
    let own = opened.backing.is_none();
    for (wanted, flag) in [
        (opened.keep_cache && own, open_reply::KEEP_CACHE),
        (opened.direct_io, open_reply::DIRECT_IO),
        (opened.cache_dir && own, open_reply::CACHE_DIR),
        (opened.no_flush, open_reply::NOFLUSH),
        (!own, open_reply::PASSTHROUGH),
    ] {
        if wanted {
            open_flags |= flag;
        }
    }
    OpenOut {
        fh: opened.handle,
        open_flags,
        // The kernel numbers backing files with positive ints.
        backing_id: opened.backing.unwrap_or(0).cast_signed(),
    }
}

/// The answer to STATFS.
pub(crate) fn statfs(statfs: &StatFs) -> StatfsOut {
    StatfsOut {
        blocks: statfs.blocks,
        bfree: statfs.bfree,
        bavail: statfs.bavail,
        files: statfs.files,
        ffree: statfs.ffree,
        bsize: statfs.bsize,
        namelen: statfs.namelen,
        frsize: statfs.frsize,
        ..StatfsOut::default()
    }
}

fn attr(attr: &Attr) -> abi::Attr {
    let (atime, atimensec) = time(attr.atime);
    let (mtime, mtimensec) = time(attr.mtime);
    let (ctime, ctimensec) = time(attr.ctime);
    abi::Attr {
        ino: attr.ino,
        size: attr.size,
        blocks: attr.blocks,
        atime,
        mtime,
        ctime,
        atimensec,
        mtimensec,
        ctimensec,
        mode: attr.kind.mode_bits() | (attr.perm & 0o7777),
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: attr.blksize,
        flags: 0,
    }
}

/// Seconds (two's complement before 1970) and nanoseconds after them.
fn time(time: SystemTime) -> (u64, u32) {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => (after.as_secs(), after.subsec_nanos()),
        Err(before) => {
            let before = before.duration();
            let whole = before.as_secs().wrapping_neg();
            match before.subsec_nanos() {
                0 => (whole, 0),
                nanos => (whole.wrapping_sub(1), 1_000_000_000 - nanos),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_count_down() {
        let early = UNIX_EPOCH - Duration::from_millis(1500);
        assert_eq!(time(early), ((-2i64).cast_unsigned(), 500_000_000));
        assert_eq!(
            time(UNIX_EPOCH - Duration::from_secs(3)).0.cast_signed(),
            -3
        );
        assert_eq!(time(UNIX_EPOCH + Duration::from_nanos(7)), (0, 7));
    }

    #[test]
    fn a_backing_file_sets_its_flag_and_number_and_keeps_no_pages() {
        let out = opened(&Opened {
            handle: 9,
            keep_cache: true,
            no_flush: true,
            backing: Some(3),
            ..Opened::default()
        });
        assert_eq!(
            out.open_flags,
            open_reply::NOFLUSH | open_reply::PASSTHROUGH
        );
        assert_eq!((out.fh, out.backing_id), (9, 3));
    }
}
