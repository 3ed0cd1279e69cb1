//! What a file system gives the transport.

use std::ffi::OsStr;
use std::time::Duration;

use crate::{
    Access, Attr, DirReply, Errno, Lookup, NodeId, Opened, ReadReply, Request, StatFs, XattrReply,
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
    fn mounted(&self, notifier: crate::Notifier) {
        let _ = notifier;
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

    /// One descriptor of the handle was closed.
    fn flush(&self, req: Request<'_>, node: NodeId, handle: u64) -> Result<(), Errno> {
        let _ = (req, node, handle);
        Ok(())
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
}
