//! `access(2)`, for mounts without `default_permissions`.

use fuse::Attr;

const EXECUTE: u32 = 1;

/// Whether `uid` with the groups `gids` may do `mask` (the low three bits of `access(2)`) to an
/// inode. Root may do all but execute what nobody may execute.
pub(crate) fn allows(attr: &Attr, mask: u32, uid: u32, gids: &[u32]) -> bool {
    let mask = mask & 7;
    if mask == 0 {
        return true;
    }
    if uid == 0 {
        let directory = attr.kind == fuse::FileType::Directory;
        return mask & EXECUTE == 0 || directory || attr.perm & 0o111 != 0;
    }
    let granted = if uid == attr.uid {
        attr.perm >> 6
    } else if gids.contains(&attr.gid) {
        attr.perm >> 3
    } else {
        attr.perm
    };
    granted & mask == mask
}

/// The groups of thread `pid`: its own and the supplementary ones, as /proc tells. Without /proc
/// (a caller in another pid namespace has number 0) only `gid` is known.
pub(crate) fn groups_of(pid: u32, gid: u32) -> Vec<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
    let mut all = vec![gid];
    all.extend(
        groups
            .into_iter()
            .flat_map(str::split_whitespace)
            .flat_map(str::parse::<u32>),
    );
    all
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    fn inode(perm: u32) -> Attr {
        let now = SystemTime::UNIX_EPOCH;
        Attr {
            ino: 1,
            size: 0,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            kind: fuse::FileType::Regular,
            perm,
            nlink: 1,
            uid: 10,
            gid: 20,
            rdev: 0,
            blksize: 512,
        }
    }

    #[test]
    fn the_first_class_that_fits_decides() {
        let file = inode(0o074);
        assert!(
            !allows(&file, 4, 10, &[20]),
            "the owner has no rights, group or not"
        );
        assert!(
            allows(&file, 7, 11, &[5, 20]),
            "a supplementary group counts"
        );
        assert!(allows(&file, 4, 11, &[5]) && !allows(&file, 2, 11, &[5]));
    }

    #[test]
    fn root_executes_only_what_somebody_may() {
        assert!(allows(&inode(0o000), 6, 0, &[0]));
        assert!(!allows(&inode(0o666), 1, 0, &[0]));
        assert!(allows(&inode(0o100), 1, 0, &[0]));
    }

    #[test]
    fn own_groups_are_found() {
        let gid = rustix::process::getgid().as_raw();
        assert_eq!(groups_of(std::process::id(), gid)[0], gid);
        assert_eq!(groups_of(0, 7), [7]);
    }
}
