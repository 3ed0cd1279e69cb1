//! Permissions, where the kernel does not check them (`-defaultPermissions=false`).
//!
//! The kernel asks nothing about the directories it walks through then, so what
//! is checked is the last step of each operation: the file that is opened, the
//! directory whose names change, the inode whose attributes do.

use context::Context;
use fuse::{Attr, Errno, NodeId, Request, SetAttr, SetTime};

use crate::access::{allows, groups_of};
use crate::state::Core;

const READ: u32 = 4;
const WRITE: u32 = 2;
const EXECUTE: u32 = 1;
/// `S_ISVTX`.
const STICKY: u32 = 0o1000;

impl Core {
    /// Whether the caller may open a file with these flags.
    pub(crate) fn may_open(
        &self,
        ctx: &Context<'_>,
        req: Request<'_>,
        node: NodeId,
        flags: u32,
    ) -> Result<(), Errno> {
        const O_ACCMODE: u32 = 3;
        const O_TRUNC: u32 = 0o1000;
        let mask = match flags & O_ACCMODE {
            0 => READ,
            1 => WRITE,
            _ => READ | WRITE,
        };
        let truncates = if flags & O_TRUNC != 0 { WRITE } else { 0 };
        self.permit(ctx, req, node, mask | truncates)
    }

    /// Whether the caller may add names to a directory and take them away.
    pub(crate) fn may_change_dir(
        &self,
        ctx: &Context<'_>,
        req: Request<'_>,
        dir: NodeId,
    ) -> Result<(), Errno> {
        self.permit(ctx, req, dir, WRITE | EXECUTE)
    }

    /// Whether the sticky bit of `dir` lets the caller take the name of `node` away.
    pub(crate) fn may_remove(
        &self,
        ctx: &Context<'_>,
        req: Request<'_>,
        dir: NodeId,
        node: Option<NodeId>,
    ) -> Result<(), Errno> {
        let (false, Some(node)) = (self.config.default_permissions || req.uid == 0, node) else {
            return Ok(());
        };
        let (dir, _) = self.current(ctx, dir, true)?;
        let (victim, _) = self.current(ctx, node, true)?;
        let owns = req.uid == dir.uid || req.uid == victim.uid;
        if dir.perm & STICKY != 0 && !owns {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    /// Whether the caller may make this change of attributes.
    pub(crate) fn may_set(
        &self,
        ctx: &Context<'_>,
        req: Request<'_>,
        node: NodeId,
        change: &SetAttr,
    ) -> Result<(), Errno> {
        if self.config.default_permissions || req.uid == 0 {
            return Ok(());
        }
        let (attr, _) = self.current(ctx, node, true)?;
        let groups = groups_of(req.pid, req.gid);
        let owner = req.uid == attr.uid;
        let chowns = change.uid.is_some_and(|uid| !owner || uid != attr.uid);
        let joins = |gid| gid == attr.gid || groups.contains(&gid);
        let chgrps = change.gid.is_some_and(|gid| !owner || !joins(gid));
        if chowns || chgrps || change.perm.is_some() && !owner {
            return Err(Errno::EPERM);
        }
        // The handle was opened for writing, or it would not be here.
        if change.size.is_some() && change.handle.is_none() {
            allowed(&attr, WRITE, req.uid, &groups)?;
        }
        let times = [change.atime, change.mtime];
        let sets = times
            .iter()
            .any(|time| matches!(time, Some(SetTime::At(_))));
        if sets && !owner {
            return Err(Errno::EPERM);
        }
        let now = times.iter().any(|time| matches!(time, Some(SetTime::Now)));
        if now && !owner && change.size.is_none() {
            allowed(&attr, WRITE, req.uid, &groups)?;
        }
        Ok(())
    }

    /// Whether the caller may change this extended attribute. The kernel decides by itself about two name spaces
    /// (xattr(7)); but for `user.` the others mean nothing here.
    pub(crate) fn may_set_xattr(
        &self,
        ctx: &Context<'_>,
        req: Request<'_>,
        node: NodeId,
        name: &str,
    ) -> Result<(), Errno> {
        match name.split_once('.') {
            Some(("user", _)) => self.permit(ctx, req, node, WRITE),
            Some(("trusted" | "security", _)) => Ok(()),
            _ if self.config.default_permissions || req.uid == 0 => Ok(()),
            _ => Err(Errno::EPERM),
        }
    }

    fn permit(
        &self,
        ctx: &Context<'_>,
        req: Request<'_>,
        node: NodeId,
        mask: u32,
    ) -> Result<(), Errno> {
        if self.config.default_permissions || req.uid == 0 {
            return Ok(());
        }
        let (attr, _) = self.current(ctx, node, true)?;
        allowed(&attr, mask, req.uid, &groups_of(req.pid, req.gid))
    }
}

fn allowed(attr: &Attr, mask: u32, uid: u32, groups: &[u32]) -> Result<(), Errno> {
    match allows(attr, mask, uid, groups) {
        true => Ok(()),
        false => Err(Errno::EACCES),
    }
}
