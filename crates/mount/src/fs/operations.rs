//! What the transport calls.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fuse::{
    Access, Attr, DirReply, Errno, FileSystem, Lookup, NodeId, Notifier, Opened, ReadReply,
    Request, StatFs, XattrReply,
};

use crate::access;

use super::{Mount, utf8};

impl FileSystem for Mount {
    fn mounted(&self, notifier: Notifier) {
        self.core.invalidator.attach(notifier);
    }

    fn lookup(&self, req: Request<'_>, parent: NodeId, name: &OsStr) -> Result<Lookup, Errno> {
        self.find(&self.core.context(req), parent, utf8(name)?)
    }

    fn forget(&self, node: NodeId, count: u64) {
        self.core.tree.write().forget(node, count);
    }

    fn getattr(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: Option<u64>,
    ) -> Result<(Attr, Duration), Errno> {
        self.core
            .current(&self.core.context(req), node, handle.is_some())
    }

    fn readlink(&self, _: Request<'_>, node: NodeId) -> Result<Bytes, Errno> {
        self.link_target(node)
    }

    fn open(&self, _: Request<'_>, node: NodeId, _flags: u32) -> Result<Opened, Errno> {
        self.open_file(node)
    }

    fn read(
        &self,
        req: Request<'_>,
        _node: NodeId,
        handle: u64,
        offset: u64,
        size: u32,
        reply: &mut ReadReply<'_>,
    ) -> Result<(), Errno> {
        let started = Instant::now();
        let read = self.read_file(&self.core.context(req), handle, offset, size, reply)?;
        self.core.stats.read_time.record(started.elapsed());
        self.core.stats.bytes_read.add(read as u64);
        Ok(())
    }

    fn release(&self, _node: NodeId, handle: u64) {
        self.close_file(handle);
    }

    fn opendir(&self, _: Request<'_>, node: NodeId, _flags: u32) -> Result<Opened, Errno> {
        self.open_directory(node)
    }

    fn readdir(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: u64,
        offset: u64,
        reply: &mut DirReply<'_>,
    ) -> Result<(), Errno> {
        self.list(&self.core.context(req), node, handle, offset, false, reply)
    }

    fn readdirplus(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: u64,
        offset: u64,
        reply: &mut DirReply<'_>,
    ) -> Result<(), Errno> {
        self.list(&self.core.context(req), node, handle, offset, true, reply)
    }

    fn releasedir(&self, _node: NodeId, handle: u64) {
        self.dirs.remove(handle);
    }

    fn statfs(&self, req: Request<'_>, _node: NodeId) -> Result<StatFs, Errno> {
        let ctx = self.core.context(req);
        self.capacity
            .now(&ctx, &self.core.remote, &self.core.config)
    }

    fn access(&self, req: Request<'_>, node: NodeId, mask: Access) -> Result<(), Errno> {
        let (attr, _) = self.core.current(&self.core.context(req), node, true)?;
        let groups = access::groups_of(req.pid, req.gid);
        if access::allows(&attr, mask.0, req.uid, &groups) {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    fn getxattr(
        &self,
        _: Request<'_>,
        node: NodeId,
        name: &OsStr,
        size: u32,
    ) -> Result<XattrReply, Errno> {
        if self.core.config.disable_xattr {
            // The kernel stops asking, and tells callers EOPNOTSUPP.
            return Err(Errno::ENOSYS);
        }
        self.xattr(node, name.to_str().ok_or(Errno::ENODATA)?, size)
    }

    fn listxattr(&self, _: Request<'_>, node: NodeId, size: u32) -> Result<XattrReply, Errno> {
        if self.core.config.disable_xattr {
            return Err(Errno::ENOSYS);
        }
        self.xattr_names(node, size)
    }

    fn lseek(
        &self,
        req: Request<'_>,
        _node: NodeId,
        handle: u64,
        offset: u64,
        whence: u32,
    ) -> Result<u64, Errno> {
        self.seek(&self.core.context(req), handle, offset, whence)
    }
}
