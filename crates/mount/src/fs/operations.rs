//! What the transport calls.

use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fuse::{
    Access, Attr, CopyPlace, DirReply, Entry, Errno, FileLock, FileSystem, Lookup, Negotiated,
    NodeId, Notifier, Opened, ReadReply, Request, SetAttr, SetLock, StatFs, Write, XattrReply,
};

use crate::access;
use crate::tree::Place;

use super::{Mount, old_name};

impl FileSystem for Mount {
    fn mounted(&self, notifier: Notifier, agreed: &Negotiated) {
        if let Some(fast) = &self.core.fast {
            fast.attach(notifier.clone(), agreed);
        }
        self.core.streaming.attach(agreed.maps_direct_io());
        let config = &self.core.config;
        let long = config
            .long_meta_ttl
            .filter(|_| agreed.drops_everything())
            .unwrap_or(config.meta_ttl);
        // There is one session only.
        let _ = self.core.lifetime.set(long);
        self.core.keeper.attach(notifier.clone(), agreed.minor);
        let core = Arc::downgrade(&self.core);
        self.core.invalidator.attach(notifier, move |node| {
            let core = core.upgrade()?;
            let tree = core.tree.read();
            match &tree.node(node)?.place {
                Place::In(parent, name) => Some((*parent, Arc::clone(name))),
                Place::At(..) | Place::Gone => None,
            }
        });
    }

    fn is_writable(&self) -> bool {
        !self.core.config.read_only
    }

    fn lookup(&self, req: Request<'_>, parent: NodeId, name: &OsStr) -> Result<Lookup, Errno> {
        self.find(&self.core.context(req), parent, old_name(name)?)
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

    fn open(&self, req: Request<'_>, node: NodeId, flags: u32) -> Result<Opened, Errno> {
        self.open_file(req, node, flags)
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

    fn opendir(&self, req: Request<'_>, node: NodeId, flags: u32) -> Result<Opened, Errno> {
        self.core
            .may_open(&self.core.context(req), req, node, flags)?;
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
        self.capacity.now(
            &ctx,
            &self.core.remote,
            &self.core.config,
            self.quota.limit(),
        )
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

    fn setattr(
        &self,
        req: Request<'_>,
        node: NodeId,
        change: SetAttr,
    ) -> Result<(Attr, Duration), Errno> {
        self.change_attributes(req, node, &change)
    }

    fn mknod(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        rdev: u32,
    ) -> Result<Entry, Errno> {
        self.make_node(req, parent, name, mode, rdev)
    }

    fn mkdir(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
    ) -> Result<Entry, Errno> {
        self.make_directory(req, parent, name, mode)
    }

    fn symlink(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<Entry, Errno> {
        self.make_symlink(req, parent, name, target)
    }

    fn link(
        &self,
        req: Request<'_>,
        node: NodeId,
        parent: NodeId,
        name: &OsStr,
    ) -> Result<Entry, Errno> {
        self.link_node(req, node, parent, name)
    }

    fn unlink(&self, req: Request<'_>, parent: NodeId, name: &OsStr) -> Result<(), Errno> {
        self.remove(req, parent, name, false)
    }

    fn rmdir(&self, req: Request<'_>, parent: NodeId, name: &OsStr) -> Result<(), Errno> {
        self.remove(req, parent, name, true)
    }

    fn rename(
        &self,
        req: Request<'_>,
        from: (NodeId, &OsStr),
        to: (NodeId, &OsStr),
        flags: u32,
    ) -> Result<(), Errno> {
        self.rename_name(req, from, to, flags)
    }

    fn create(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        flags: u32,
        kill_suidgid: bool,
    ) -> Result<(Entry, Opened), Errno> {
        self.create_file(req, parent, name, mode, flags, kill_suidgid)
    }

    fn kill_suidgid(&self, req: Request<'_>, node: NodeId) -> Result<(), Errno> {
        self.take_suidgid(&self.core.context(req), node)
    }

    fn write(
        &self,
        req: Request<'_>,
        _node: NodeId,
        handle: u64,
        write: Write<'_>,
    ) -> Result<(), Errno> {
        let started = Instant::now();
        let len = write.data.len() as u64;
        self.write_file(req, handle, write)?;
        self.core.stats.write_time.record(started.elapsed());
        self.core.stats.bytes_written.add(len);
        Ok(())
    }

    fn flush(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: u64,
        lock_owner: u64,
    ) -> Result<(), Errno> {
        let later = self.core.config.save_later;
        if !self.core.config.shared_locks {
            return match later {
                true => self.flush_later(handle),
                false => self.save_handle(req, handle, false),
            };
        }
        // Whoever gets the lock next has to find what was written.
        let saved = match later && !self.is_locked_by(node, lock_owner) {
            true => self.flush_later(handle),
            false => self.save_handle(req, handle, false),
        };
        self.release_owner(node, lock_owner, false);
        saved
    }

    fn release_flock(&self, node: NodeId, handle: u64, lock_owner: u64) {
        self.save_locked(handle);
        self.release_owner(node, lock_owner, true);
    }

    fn getlk(&self, req: Request<'_>, node: NodeId, lock: SetLock) -> Result<FileLock, Errno> {
        self.conflicting(req, node, &lock)
    }

    fn setlk(&self, req: Request<'_>, node: NodeId, lock: SetLock) -> Result<(), Errno> {
        self.set_lock(req, node, &lock)
    }

    fn fsync(&self, req: Request<'_>, _: NodeId, handle: u64, _: bool) -> Result<(), Errno> {
        self.save_handle(req, handle, true)
    }

    fn fsyncdir(&self, req: Request<'_>, node: NodeId, _: u64) -> Result<(), Errno> {
        self.core.save_times(&self.core.context(req), node)
    }

    fn setxattr(
        &self,
        req: Request<'_>,
        node: NodeId,
        name: &OsStr,
        value: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        self.change_xattr(req, node, name, Some((value, flags)))
    }

    fn removexattr(&self, req: Request<'_>, node: NodeId, name: &OsStr) -> Result<(), Errno> {
        self.change_xattr(req, node, name, None)
    }

    fn copy_file_range(
        &self,
        req: Request<'_>,
        from: CopyPlace,
        to: CopyPlace,
        length: u64,
    ) -> Result<u64, Errno> {
        let copied = self.copy(req, from, to, length)?;
        self.core.stats.bytes_copied.add(copied);
        Ok(copied)
    }

    fn fallocate(
        &self,
        req: Request<'_>,
        _: NodeId,
        handle: u64,
        offset: u64,
        length: u64,
        mode: u32,
    ) -> Result<(), Errno> {
        self.allocate(req, handle, offset, length, mode)
    }
}
