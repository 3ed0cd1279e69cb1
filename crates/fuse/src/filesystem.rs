//! What a file system gives the transport.

use std::ffi::OsStr;
use std::time::Duration;

use crate::{
    Access, Attr, CopyPlace, DirReply, Entry, Errno, FileLock, Lookup, NodeId, Opened, ReadReply,
    Request, SetAttr, SetLock, StatFs, Write, XattrReply,
};

/// The operations of a file system, one method a FUSE opcode.
///
/// A method runs on the thread that took the request from the kernel and may
/// block there; the session keeps another thread waiting for the next request
/// meanwhile. Methods not given here answer what their default says: EROFS for
/// whatever would change the tree, ENOSYS for what does not exist (after which
/// the kernel stops asking).
pub trait FileSystem: Send + Sync + 'static {
    /// Called once when the kernel has accepted the mount, before any request.
    /// `notifier` may be used from any thread except one that is answering a
    /// request (see [`Notifier`](crate::Notifier)); it outlives the session.
    /// `agreed` is what the kernel offers.
    fn mounted(&self, notifier: crate::Notifier, agreed: &crate::Negotiated) {
        let _ = (notifier, agreed);
    }

    /// Whether anything can be changed. If not, no method that changes something is called, and
    /// no file is opened for writing: the answer is EROFS.
    fn is_writable(&self) -> bool {
        false
    }

    /// Finds `name` in `parent`.
    fn lookup(&self, req: Request<'_>, parent: NodeId, name: &OsStr) -> Result<Lookup, Errno>;

    /// Takes back `count` lookups of `node`.
    fn forget(&self, node: NodeId, count: u64);

    /// Attributes, and how long the kernel may use them.
    fn getattr(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: Option<u64>,
    ) -> Result<(Attr, Duration), Errno>;

    /// The target of a symbolic link.
    fn readlink(&self, req: Request<'_>, node: NodeId) -> Result<bytes::Bytes, Errno>;

    /// Opens a file; `flags` are those of open(2).
    fn open(&self, req: Request<'_>, node: NodeId, flags: u32) -> Result<Opened, Errno>;

    /// Puts up to `size` bytes from `offset` into `reply`; fewer only at the end of the file.
    fn read(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: u64,
        offset: u64,
        size: u32,
        reply: &mut ReadReply<'_>,
    ) -> Result<(), Errno>;

    /// One descriptor of the handle was closed; `lock_owner`, who closed it, gives his locks of
    /// fcntl(2) on the file back.
    fn flush(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: u64,
        lock_owner: u64,
    ) -> Result<(), Errno> {
        let _ = (req, node, handle, lock_owner);
        Ok(())
    }

    /// The handle, about to be released, gives its lock of flock(2) back.
    fn release_flock(&self, node: NodeId, handle: u64, lock_owner: u64) {
        let _ = (node, handle, lock_owner);
    }

    /// The last descriptor of the handle was closed.
    fn release(&self, node: NodeId, handle: u64);

    /// Opens a directory.
    fn opendir(&self, req: Request<'_>, node: NodeId, flags: u32) -> Result<Opened, Errno>;

    /// Adds entries from `offset` on to `reply` until it is full.
    fn readdir(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: u64,
        offset: u64,
        reply: &mut DirReply<'_>,
    ) -> Result<(), Errno>;

    /// The same with attributes: every entry added by [`DirReply::add_plus`]
    /// counts as one lookup of its node.
    fn readdirplus(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: u64,
        offset: u64,
        reply: &mut DirReply<'_>,
    ) -> Result<(), Errno>;

    /// Closes a directory.
    fn releasedir(&self, node: NodeId, handle: u64);

    /// Capacity of the file system.
    fn statfs(&self, req: Request<'_>, node: NodeId) -> Result<StatFs, Errno>;

    /// access(2), asked only without `default_permissions`.
    fn access(&self, req: Request<'_>, node: NodeId, mask: Access) -> Result<(), Errno>;

    /// One extended attribute. `size` 0 asks for the length.
    fn getxattr(
        &self,
        req: Request<'_>,
        node: NodeId,
        name: &OsStr,
        size: u32,
    ) -> Result<XattrReply, Errno>;

    /// The names of the extended attributes, each ended by NUL. `size` 0 asks for the length.
    fn listxattr(&self, req: Request<'_>, node: NodeId, size: u32) -> Result<XattrReply, Errno>;

    /// SEEK_DATA and SEEK_HOLE; `whence` is lseek(2)'s.
    fn lseek(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: u64,
        offset: u64,
        whence: u32,
    ) -> Result<u64, Errno> {
        let _ = (req, node, handle, offset, whence);
        Err(Errno::ENOSYS)
    }

    /// Changes attributes; those it has afterwards, and how long the kernel may use them.
    fn setattr(
        &self,
        req: Request<'_>,
        node: NodeId,
        change: SetAttr,
    ) -> Result<(Attr, Duration), Errno> {
        let _ = (req, node, change);
        Err(Errno::EROFS)
    }

    /// Makes an inode without opening it; `mode` has its type, and the umask is applied.
    fn mknod(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        rdev: u32,
    ) -> Result<Entry, Errno> {
        let _ = (req, parent, name, mode, rdev);
        Err(Errno::EROFS)
    }

    /// Makes a directory; the umask is applied.
    fn mkdir(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
    ) -> Result<Entry, Errno> {
        let _ = (req, parent, name, mode);
        Err(Errno::EROFS)
    }

    /// Makes a symbolic link to `target`.
    fn symlink(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &OsStr,
        target: &OsStr,
    ) -> Result<Entry, Errno> {
        let _ = (req, parent, name, target);
        Err(Errno::EROFS)
    }

    /// Gives `node` another name.
    fn link(
        &self,
        req: Request<'_>,
        node: NodeId,
        parent: NodeId,
        name: &OsStr,
    ) -> Result<Entry, Errno> {
        let _ = (req, node, parent, name);
        Err(Errno::EROFS)
    }

    /// Removes a name that is no directory.
    fn unlink(&self, req: Request<'_>, parent: NodeId, name: &OsStr) -> Result<(), Errno> {
        let _ = (req, parent, name);
        Err(Errno::EROFS)
    }

    /// Removes an empty directory.
    fn rmdir(&self, req: Request<'_>, parent: NodeId, name: &OsStr) -> Result<(), Errno> {
        let _ = (req, parent, name);
        Err(Errno::EROFS)
    }

    /// Moves a name; `flags` are those of renameat2(2).
    fn rename(
        &self,
        req: Request<'_>,
        from: (NodeId, &OsStr),
        to: (NodeId, &OsStr),
        flags: u32,
    ) -> Result<(), Errno> {
        let _ = (req, from, to, flags);
        Err(Errno::EROFS)
    }

    /// Makes a file, unless it is there (which is EEXIST with O_EXCL), and opens it. The umask
    /// is applied; `kill_suidgid` belongs to O_TRUNC, as for [`FileSystem::open`].
    fn create(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &OsStr,
        mode: u32,
        flags: u32,
        kill_suidgid: bool,
    ) -> Result<(Entry, Opened), Errno> {
        let _ = (req, parent, name, mode, flags, kill_suidgid);
        Err(Errno::EROFS)
    }

    /// O_TRUNC of an open by somebody whose write takes setuid away; called before
    /// [`FileSystem::open`].
    fn kill_suidgid(&self, req: Request<'_>, node: NodeId) -> Result<(), Errno> {
        let _ = (req, node);
        Ok(())
    }

    /// Writes all of the data.
    fn write(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: u64,
        write: Write<'_>,
    ) -> Result<(), Errno> {
        let _ = (req, node, handle, write);
        Err(Errno::EROFS)
    }

    /// fsync(2); with `data_only`, fdatasync(2).
    fn fsync(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: u64,
        data_only: bool,
    ) -> Result<(), Errno> {
        let _ = (req, node, handle, data_only);
        Ok(())
    }

    /// fsync(2) of a directory.
    fn fsyncdir(&self, req: Request<'_>, node: NodeId, handle: u64) -> Result<(), Errno> {
        let _ = (req, node, handle);
        Ok(())
    }

    /// Sets an extended attribute; `flags` are XATTR_CREATE and XATTR_REPLACE.
    fn setxattr(
        &self,
        req: Request<'_>,
        node: NodeId,
        name: &OsStr,
        value: &[u8],
        flags: u32,
    ) -> Result<(), Errno> {
        let _ = (req, node, name, value, flags);
        Err(Errno::EROFS)
    }

    /// Removes an extended attribute.
    fn removexattr(&self, req: Request<'_>, node: NodeId, name: &OsStr) -> Result<(), Errno> {
        let _ = (req, node, name);
        Err(Errno::EROFS)
    }

    /// A lock that keeps `lock.lock` from being set; of kind [`LockKind::Unlock`] if there is
    /// none. Asked only with `SessionConfig::remote_locks`, like [`FileSystem::setlk`].
    ///
    /// [`LockKind::Unlock`]: crate::LockKind::Unlock
    fn getlk(&self, req: Request<'_>, node: NodeId, lock: SetLock) -> Result<FileLock, Errno> {
        let _ = (req, node, lock);
        Err(Errno::ENOSYS)
    }

    /// Sets a lock or gives it back; EAGAIN when another's is in the way and `lock.wait` is not
    /// set.
    fn setlk(&self, req: Request<'_>, node: NodeId, lock: SetLock) -> Result<(), Errno> {
        let _ = (req, node, lock);
        Err(Errno::ENOSYS)
    }

    /// fallocate(2); `mode` is its.
    fn fallocate(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: u64,
        offset: u64,
        length: u64,
        mode: u32,
    ) -> Result<(), Errno> {
        let _ = (req, node, handle, offset, length, mode);
        Err(Errno::ENOSYS)
    }

    /// Copies up to `length` bytes between two files; how many.
    fn copy_file_range(
        &self,
        req: Request<'_>,
        from: CopyPlace,
        to: CopyPlace,
        length: u64,
    ) -> Result<u64, Errno> {
        let _ = (req, from, to, length);
        Err(Errno::ENOSYS)
    }
}
