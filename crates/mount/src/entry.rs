//! Entries as the filer stores them: making new ones, and changing what is there.

use std::time::SystemTime;

use fuse::{Errno, SetAttr, SetTime};
use seaweed::{Entry, Kind, pb};

use crate::config::MountConfig;

/// What a new inode is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Birth<'a> {
    pub(crate) kind: Kind,
    /// The low twelve mode bits.
    pub(crate) perm: u32,
    /// Owner and group, local.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) rdev: u32,
    /// Of a symbolic link.
    pub(crate) target: &'a str,
}

impl Birth<'_> {
    /// The entry of the new inode.
    pub(crate) fn entry(
        &self,
        directory: &str,
        name: &str,
        now: SystemTime,
        config: &MountConfig,
    ) -> pb::Entry {
        let path = format!("{}/{name}", directory.trim_end_matches('/'));
        let (seconds, nanos) = Entry::stored_time(now);
        let is_directory = self.kind == Kind::Directory;
        let ttl_sec = if is_directory { 0 } else { config.ttl_seconds };
        pb::Entry {
            name: name.to_owned(),
            is_directory,
            attributes: Some(pb::FuseAttributes {
                file_mode: self.kind.to_go() | self.perm & 0o7777,
                uid: config.uid_map.to_filer(self.uid),
                gid: config.gid_map.to_filer(self.gid),
                mtime: seconds,
                mtime_ns: nanos,
                ctime: seconds,
                ctime_ns: nanos,
                crtime: seconds,
                crtime_ns: nanos,
                atime: seconds,
                atime_ns: nanos,
                rdev: self.rdev,
                inode: Entry::new_inode(&path, now),
                ttl_sec: i32::try_from(ttl_sec).unwrap_or(i32::MAX),
                symlink_target: self.target.to_owned(),
                file_size: self.target.len() as u64,
                ..pb::FuseAttributes::default()
            }),
            ..pb::Entry::default()
        }
    }
}

/// Applies everything of SETATTR but the size.
pub(crate) fn amend(
    entry: &mut pb::Entry,
    change: &SetAttr,
    now: SystemTime,
    config: &MountConfig,
) {
    let attributes = entry.attributes.get_or_insert_default();
    if let Some(perm) = change.perm {
        set_perm(attributes, perm);
    }
    if let Some(uid) = change.uid {
        attributes.uid = config.uid_map.to_filer(uid);
    }
    if let Some(gid) = change.gid {
        attributes.gid = config.gid_map.to_filer(gid);
    }
    if change.kill_suidgid {
        kill_suidgid(attributes);
    }
    let at = |time| match time {
        SetTime::Now => Entry::stored_time(now),
        SetTime::At(time) => Entry::stored_time(time),
    };
    if let Some(atime) = change.atime {
        (attributes.atime, attributes.atime_ns) = at(atime);
    }
    if let Some(mtime) = change.mtime {
        (attributes.mtime, attributes.mtime_ns) = at(mtime);
    }
    let ctime = change.ctime.unwrap_or(now);
    (attributes.ctime, attributes.ctime_ns) = Entry::stored_time(ctime);
}

/// The inode changes, nothing else: its ctime does.
pub(crate) fn touch_ctime(entry: &mut pb::Entry, now: SystemTime) {
    let attributes = entry.attributes.get_or_insert_default();
    (attributes.ctime, attributes.ctime_ns) = Entry::stored_time(now);
}

/// The content changed at `when`.
pub(crate) fn touch_mtime(entry: &mut pb::Entry, when: SystemTime) {
    let attributes = entry.attributes.get_or_insert_default();
    (attributes.mtime, attributes.mtime_ns) = Entry::stored_time(when);
    (attributes.ctime, attributes.ctime_ns) = Entry::stored_time(when);
}

/// Takes setuid away, and setgid where the group may execute.
pub(crate) fn kill_suidgid(attributes: &mut pb::FuseAttributes) {
    let perm = perm_of(attributes);
    set_perm(attributes, without_suidgid(perm));
}

/// The mode that is left when setuid, and setgid where the group may execute, are taken away.
pub(crate) fn without_suidgid(perm: u32) -> u32 {
    let perm = perm & !0o4000;
    if perm & 0o010 != 0 {
        perm & !0o2000
    } else {
        perm
    }
}

/// Sets or replaces an extended attribute.
pub(crate) fn set_xattr(
    entry: &mut pb::Entry,
    name: &str,
    value: &[u8],
    flags: u32,
) -> Result<(), Errno> {
    let key = Entry::xattr_key(name);
    let exists = entry.extended.contains_key(&key);
    if flags & XATTR_CREATE != 0 && exists {
        return Err(Errno::EEXIST);
    }
    if flags & XATTR_REPLACE != 0 && !exists {
        return Err(Errno::ENODATA);
    }
    entry
        .extended
        .insert(key, bytes::Bytes::copy_from_slice(value));
    Ok(())
}

/// Removes an extended attribute.
pub(crate) fn remove_xattr(entry: &mut pb::Entry, name: &str) -> Result<(), Errno> {
    let removed = entry.extended.remove(&Entry::xattr_key(name));
    removed.map(|_| ()).ok_or(Errno::ENODATA)
}

/// Flags of setxattr(2).
const XATTR_CREATE: u32 = 1;
const XATTR_REPLACE: u32 = 2;

/// Go's spelling of setuid, setgid and sticky; replaced by the POSIX one, as `weed mount` has it.
const GO_SPECIAL: u32 = 1 << 23 | 1 << 22 | 1 << 20;

fn set_perm(attributes: &mut pb::FuseAttributes, perm: u32) {
    attributes.file_mode = attributes.file_mode & !0o7777 & !GO_SPECIAL | perm & 0o7777;
}

fn perm_of(attributes: &pb::FuseAttributes) -> u32 {
    let go = [(1 << 23, 0o4000), (1 << 22, 0o2000), (1 << 20, 0o1000)];
    let special = go.iter().filter(|(bit, _)| attributes.file_mode & bit != 0);
    special.fold(attributes.file_mode & 0o7777, |perm, (_, bit)| perm | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn setgid_without_group_execute_is_a_locking_mark_and_stays() {
        assert_eq!(without_suidgid(0o6755), 0o755);
        assert_eq!(without_suidgid(0o6745), 0o2745);
    }

    #[test]
    fn go_spelling_of_special_bits_is_replaced() {
        let mut entry = pb::Entry {
            attributes: Some(pb::FuseAttributes {
                file_mode: 1 << 23 | 1 << 31 | 0o755,
                ..Default::default()
            }),
            ..Default::default()
        };
        let change = SetAttr {
            perm: Some(0o700),
            ..SetAttr::default()
        };
        amend(
            &mut entry,
            &change,
            SystemTime::UNIX_EPOCH,
            &MountConfig::default(),
        );
        assert_eq!(entry.attributes.unwrap().file_mode, 1 << 31 | 0o700);
    }

    #[test]
    fn xattr_flags_are_obeyed() {
        let mut entry = pb::Entry::default();
        let set = |entry: &mut pb::Entry, flags| set_xattr(entry, "user.a", b"1", flags);
        assert_eq!(set(&mut entry, XATTR_REPLACE), Err(Errno::ENODATA));
        assert_eq!(set(&mut entry, XATTR_CREATE), Ok(()));
        assert_eq!(set(&mut entry, XATTR_CREATE), Err(Errno::EEXIST));
        assert_eq!(remove_xattr(&mut entry, "user.a"), Ok(()));
        assert_eq!(remove_xattr(&mut entry, "user.a"), Err(Errno::ENODATA));
    }
}
