//! Attributes of an open file that its entry does not have yet.
//!
//! tar(1) and its like write a file, set its times, its owner and its mode, and
//! close it. Stored one by one, these would be three saves, the first of which
//! uploads the bytes. So while a file has changes that are not saved, attributes
//! wait with them for the one save that `close` or `fsync` makes. Whoever asks
//! this mount sees them at once.

use std::time::SystemTime;

use fuse::{Attr, SetAttr, SetTime};

use crate::config::MountConfig;
use crate::entry::without_suidgid;

/// `change` on top of `earlier`. All times are moments then, and there is a ctime.
pub(crate) fn merge(earlier: Option<SetAttr>, change: &SetAttr, now: SystemTime) -> SetAttr {
    let mut all = earlier.unwrap_or_default();
    if change.perm.is_some() {
        all.perm = change.perm;
        // Which was before it.
        all.kill_suidgid = false;
    }
    all.uid = change.uid.or(all.uid);
    all.gid = change.gid.or(all.gid);
    if change.kill_suidgid {
        kill(&mut all);
    }
    let at = |time| match time {
        SetTime::Now => SetTime::At(now),
        moment @ SetTime::At(_) => moment,
    };
    all.atime = change.atime.map(at).or(all.atime);
    all.mtime = change.mtime.map(at).or(all.mtime);
    all.ctime = change.ctime.or(Some(now));
    all
}

/// The content changed after `set` was, which counts as far as that does not touch it.
pub(crate) fn written(set: &mut SetAttr, now: SystemTime, killed: bool) {
    set.mtime = None;
    set.ctime = Some(now);
    if killed {
        kill(set);
    }
}

/// Shows what is set. Owners are shown as they will be after their way to the filer and back.
pub(crate) fn show(attr: &mut Attr, set: &SetAttr, config: &MountConfig) {
    attr.perm = set.perm.unwrap_or(attr.perm);
    if set.kill_suidgid {
        attr.perm = without_suidgid(attr.perm);
    }
    if let Some(uid) = set.uid {
        attr.uid = config.uid_map.to_local(config.uid_map.to_filer(uid));
    }
    if let Some(gid) = set.gid {
        attr.gid = config.gid_map.to_local(config.gid_map.to_filer(gid));
    }
    if let Some(SetTime::At(atime)) = set.atime {
        attr.atime = atime;
    }
    if let Some(SetTime::At(mtime)) = set.mtime {
        attr.mtime = mtime;
    }
    attr.ctime = attr.ctime.max(set.ctime.unwrap_or(attr.ctime));
}

fn kill(set: &mut SetAttr) {
    match &mut set.perm {
        Some(perm) => *perm = without_suidgid(*perm),
        None => set.kill_suidgid = true,
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use seaweed::pb;

    use super::*;
    use crate::entry::{amend, touch_mtime};

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn perm(perm: u32) -> SetAttr {
        SetAttr {
            perm: Some(perm),
            ..SetAttr::default()
        }
    }

    fn chown(uid: u32) -> SetAttr {
        SetAttr {
            uid: Some(uid),
            kill_suidgid: true,
            ..SetAttr::default()
        }
    }

    fn mtime(mtime: SetTime) -> SetAttr {
        SetAttr {
            mtime: Some(mtime),
            ..SetAttr::default()
        }
    }

    fn entry() -> pb::Entry {
        pb::Entry {
            attributes: Some(pb::FuseAttributes {
                file_mode: 0o6755,
                uid: 1,
                gid: 1,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// What `changes` make of an entry one by one, and all at once.
    fn both(changes: &[SetAttr]) -> [pb::FuseAttributes; 2] {
        let config = MountConfig::default();
        let (mut single, mut merged, mut set) = (entry(), entry(), None);
        for (change, second) in changes.iter().zip(1..) {
            amend(&mut single, change, at(second), &config);
            set = Some(merge(set, change, at(second)));
        }
        amend(&mut merged, &set.unwrap(), at(999), &config);
        [single, merged].map(|entry| entry.attributes.unwrap())
    }

    #[test]
    fn all_at_once_is_as_one_by_one_in_any_order() {
        let changes = [
            perm(0o4711),
            perm(0o6710),
            chown(7),
            mtime(SetTime::Now),
            mtime(SetTime::At(at(5000))),
            SetAttr {
                gid: Some(9),
                atime: Some(SetTime::Now),
                ..SetAttr::default()
            },
            SetAttr {
                perm: Some(0o6777),
                kill_suidgid: true,
                ..SetAttr::default()
            },
        ];
        for first in changes {
            for second in changes {
                for third in changes {
                    let [single, merged] = both(&[first, second, third]);
                    assert_eq!(single, merged, "{first:?}, {second:?}, {third:?}");
                }
            }
        }
    }

    #[test]
    fn a_write_takes_back_the_mtime_and_setuid_but_not_the_rest() {
        let mut set = merge(None, &mtime(SetTime::At(at(50))), at(1));
        set = merge(Some(set), &perm(0o4755), at(2));
        set = merge(Some(set), &chown(7), at(3));
        set = merge(Some(set), &perm(0o4750), at(4));
        written(&mut set, at(5), true);
        let mut stored = entry();
        touch_mtime(&mut stored, at(5));
        amend(&mut stored, &set, at(999), &MountConfig::default());
        let stored = stored.attributes.unwrap();
        assert_eq!((stored.file_mode, stored.uid), (0o750, 7));
        assert_eq!((stored.mtime, stored.ctime), (5, 5));
    }
}
