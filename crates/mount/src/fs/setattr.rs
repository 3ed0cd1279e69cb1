//! Attributes: chmod, chown, utimens, truncate, and extended ones.

use std::ffi::OsStr;
use std::time::{Duration, Instant, SystemTime};

use context::Context;
use fuse::{Attr, Errno, NodeId, Request, SetAttr, SetTime};
use seaweed::{Kind, pb};

use crate::entry::{amend, remove_xattr, set_xattr, touch_ctime};
use crate::files::File;
use crate::save::stopped;
use crate::worm::protect;

use super::Mount;

/// Longest value of an extended attribute (`XATTR_SIZE_MAX` of Linux).
const XATTR_MAX: usize = 65_536;

impl Mount {
    pub(super) fn change_attributes(
        &self,
        req: Request<'_>,
        node: NodeId,
        change: &SetAttr,
    ) -> Result<(Attr, Duration), Errno> {
        let core = &self.core;
        let ctx = core.context(req);
        self.core.may_set(&ctx, req, node, change)?;
        core.may_alter(&ctx, node)?;
        if let Some(size) = change.size {
            self.resize(&ctx, node, size, change)?;
        }
        let rest = SetAttr {
            // The handle of ftruncate(2) saves when it is closed, and sets the times then.
            size: None,
            ..*change
        };
        let only_size = change.size.is_some()
            && rest.perm.is_none()
            && rest.uid.is_none()
            && rest.gid.is_none()
            && !explicit(rest.mtime)
            && !explicit(rest.atime);
        if !only_size {
            self.change_entry(&ctx, node, &rest)?;
        }
        core.current(&ctx, node, true)
    }

    fn change_entry(&self, ctx: &Context<'_>, node: NodeId, change: &SetAttr) -> Result<(), Errno> {
        let core = &self.core;
        let now = SystemTime::now();
        if node == NodeId::ROOT {
            let (mut attr, _) = core.current(ctx, node, true)?;
            apply(&mut attr, change, now);
            core.tree.write().untouch(node);
            core.root.lock().keep(&attr);
            return Ok(());
        }
        let file = core.files.find(node);
        let takes_writing = change.perm.is_some_and(|perm| perm & WRITING == 0);
        let protects = takes_writing && core.begins_protection(ctx, node)?;
        if let Some(file) = &file
            && !protects
            && self.set_later(ctx, file, change, now)?
        {
            return Ok(());
        }
        let change_it = |entry: &mut pb::Entry| {
            amend(entry, change, now, &core.config);
            if protects && !entry.is_directory {
                protect(entry, now);
            }
            Ok(())
        };
        // Before it is stored: whoever is storing the directory's own time looks once more.
        let touched = match change.mtime {
            Some(_) => core.tree.write().untouch(node),
            None => None,
        };
        let saved = core.save(ctx, node, file.as_deref(), false, Some(&change_it));
        if let (Err(_), Some(touched)) = (&saved, touched) {
            core.tree.write().touch_dir(node, touched);
        }
        saved
    }

    /// Keeps a change for the save of what was written, if something was.
    fn set_later(
        &self,
        ctx: &Context<'_>,
        file: &File,
        change: &SetAttr,
        now: SystemTime,
    ) -> Result<bool, Errno> {
        if !file.is_changed() {
            return Ok(false);
        }
        let _turn = file.turn.take(ctx).map_err(stopped)?;
        let later = file.set_later(change, now);
        if later {
            let mut waiting = self.core.waiting.lock();
            waiting.entry(file.node).or_insert_with(Instant::now);
        }
        Ok(later)
    }

    /// O_TRUNC and writes by others than root take setuid away.
    pub(super) fn take_suidgid(&self, ctx: &Context<'_>, node: NodeId) -> Result<(), Errno> {
        let held = {
            let tree = self.core.tree.read();
            let content = tree.content(node).ok_or(Errno::ESTALE)?;
            self.core.attr_in(&tree, node, content).perm & 0o6000 != 0
        };
        if !held {
            return Ok(());
        }
        let change = SetAttr {
            kill_suidgid: true,
            ..SetAttr::default()
        };
        self.change_entry(ctx, node, &change)
    }

    pub(super) fn change_xattr(
        &self,
        req: Request<'_>,
        node: NodeId,
        name: &OsStr,
        value: Option<(&[u8], u32)>,
    ) -> Result<(), Errno> {
        if self.core.config.disable_xattr {
            return Err(Errno::ENOSYS);
        }
        let name = name.to_str().ok_or(Errno::EILSEQ)?;
        if name.starts_with("system.posix_acl_") {
            // They would be kept and not obeyed.
            return Err(Errno::ENOTSUP);
        }
        if value.is_some_and(|(value, _)| value.len() > XATTR_MAX) {
            return Err(Errno::from_raw(E2BIG));
        }
        let ctx = self.core.context(req);
        self.core.may_set_xattr(&ctx, req, node, name)?;
        let now = SystemTime::now();
        let change = |entry: &mut pb::Entry| {
            match value {
                Some((value, flags)) => set_xattr(entry, name, value, flags)?,
                None => remove_xattr(entry, name)?,
            }
            touch_ctime(entry, now);
            Ok(())
        };
        let file = self.core.files.find(node);
        self.core
            .save(&ctx, node, file.as_deref(), false, Some(&change))
    }

    fn resize(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        size: u64,
        change: &SetAttr,
    ) -> Result<(), Errno> {
        {
            let tree = self.core.tree.read();
            match tree.content(node).ok_or(Errno::ESTALE)?.entry.kind {
                Kind::Regular => {}
                Kind::Directory => return Err(Errno::EISDIR),
                _ => return Err(Errno::EINVAL),
            }
        }
        let file = self.acquire(node);
        let resized = self.truncate(ctx, &file, size, change.kill_suidgid);
        // Without a handle there is no close that would save it.
        let saved = match (resized, change.handle) {
            (Ok(()), None) => self.core.save(ctx, node, Some(&file), false, None),
            (resized, _) => resized,
        };
        self.relinquish(&file);
        saved
    }
}

/// The permissions to write, of anybody.
const WRITING: u32 = 0o222;

/// Argument list too long: what Linux says of a value that is too large.
const E2BIG: i32 = 7;

/// Whether a time was given, and not only said to be that of the change.
fn explicit(time: Option<SetTime>) -> bool {
    matches!(time, Some(SetTime::At(_)))
}

/// As [`amend`], for the root, which has no entry.
fn apply(attr: &mut Attr, change: &SetAttr, now: SystemTime) {
    attr.perm = change.perm.unwrap_or(attr.perm);
    attr.uid = change.uid.unwrap_or(attr.uid);
    attr.gid = change.gid.unwrap_or(attr.gid);
    attr.mtime = match change.mtime {
        Some(SetTime::At(time)) => time,
        Some(SetTime::Now) => now,
        None => attr.mtime,
    };
}
