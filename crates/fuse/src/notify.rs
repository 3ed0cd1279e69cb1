//! Telling the kernel that what it cached is no longer true.
//!
//! # The deadlock rule
//!
//! A notification waits for locks that a request in flight may hold: dropping
//! pages waits for pages that a READ is filling, dropping a name waits for the
//! lock of its directory, which a LOOKUP or READDIR in it holds. The request
//! ends when it is answered, so **no thread that is answering a request may
//! notify, nor hold a lock that an answer needs while it notifies**. Notify from
//! a thread of its own.

use std::ffi::OsStr;
use std::io::IoSlice;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Weak};

use rustix::io::Errno;
use zerocopy::IntoBytes;

use crate::abi::{
    NotifyDeleteOut, NotifyInvalEntryOut, NotifyInvalInodeOut, NotifyPruneOut, notify,
};
use crate::device::Device;
use crate::{NodeId, backing};

/// Invalidates what the kernel has cached of a session.
///
/// Works until the session ends, then answers [`NotifyError::Ended`]. That the
/// kernel has not cached what is invalidated is no error.
#[derive(Debug, Clone)]
pub struct Notifier {
    device: Weak<Device>,
}

/// Inodes named in one notification at most, of any number that fits a message.
const PRUNE_BATCH: usize = 1024;

/// Why a notification failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotifyError {
    /// The file system is no longer mounted.
    #[error("the FUSE session has ended")]
    Ended,
    /// The kernel refused.
    #[error("the kernel refused the notification: {0}")]
    Refused(crate::Errno),
}

impl Notifier {
    pub(crate) fn new(device: &Arc<Device>) -> Self {
        Self {
            device: Arc::downgrade(device),
        }
    }

    /// Drops the name from its directory; the next use looks it up. The parent's
    /// attributes and cached listing are dropped too.
    ///
    /// # Errors
    /// [`NotifyError`].
    pub fn inval_entry(&self, parent: NodeId, name: &OsStr) -> Result<(), NotifyError> {
        self.entry(parent, name, 0)
    }

    /// Lets the name's lifetime end, but keeps it where it is in use (a mount
    /// point below it stays). Before Linux 6.2 the same as
    /// [`inval_entry`](Self::inval_entry).
    ///
    /// # Errors
    /// [`NotifyError`].
    pub fn inval_entry_expire_only(&self, parent: NodeId, name: &OsStr) -> Result<(), NotifyError> {
        self.entry(parent, name, notify::EXPIRE_ONLY)
    }

    /// The name is gone: drops it and, unlike the others, tells inotify watchers.
    /// `child` is the inode it named.
    ///
    /// # Errors
    /// [`NotifyError`]; ENOTEMPTY or EBUSY where the kernel knows better.
    pub fn delete(&self, parent: NodeId, child: NodeId, name: &OsStr) -> Result<(), NotifyError> {
        let out = NotifyDeleteOut {
            parent: parent.0,
            child: child.0,
            namelen: name_len(name)?,
            padding: 0,
        };
        self.send(notify::DELETE, &[out.as_bytes(), name.as_bytes(), b"\0"])
    }

    /// Drops the attributes of an inode and its pages from `offset` on, `len` ≤ 0
    /// meaning all of them. With a negative `offset` only the attributes. Whether the kernel knows the inode:
    /// one that an answer under way names it may not know yet.
    ///
    /// # Errors
    /// [`NotifyError`].
    pub fn inval_inode(&self, node: NodeId, offset: i64, len: i64) -> Result<bool, NotifyError> {
        let out = NotifyInvalInodeOut {
            ino: node.0,
            off: offset,
            len,
        };
        self.told(notify::INVAL_INODE, &[out.as_bytes()])
    }

    /// Makes every name the kernel knows be looked up again at its next use.
    ///
    /// # Errors
    /// [`NotifyError`]; EINVAL before Linux 6.16.
    pub fn inc_epoch(&self) -> Result<(), NotifyError> {
        self.send(notify::INC_EPOCH, &[])
    }

    /// Has the kernel drop the names of these inodes that nobody uses: what it gives up by that it forgets.
    /// Inodes that are open, the current directory of somebody or mounted on keep theirs, as do
    /// directories with names that are kept.
    ///
    /// # Errors
    /// [`NotifyError`]; EINVAL before Linux 6.18, which is FUSE 7.45.
    pub fn prune(&self, nodes: &[NodeId]) -> Result<(), NotifyError> {
        for batch in nodes.chunks(PRUNE_BATCH) {
            let out = NotifyPruneOut {
                count: batch.len() as u32,
                padding: 0,
                spare: 0,
            };
            let numbers: Vec<u64> = batch.iter().map(|node| node.0).collect();
            self.send(notify::PRUNE, &[out.as_bytes(), numbers.as_bytes()])?;
        }
        Ok(())
    }

    /// Registers a file that handles may be passed through to
    /// ([`Opened::backing`](crate::Opened)). The number stays valid until
    /// [`close_backing`](Self::close_backing); handles opened with it go on working.
    ///
    /// May be called while answering OPEN.
    ///
    /// # Errors
    /// [`NotifyError`]; EPERM without CAP_SYS_ADMIN or if
    /// [`SessionConfig::passthrough`](crate::SessionConfig) is not in force.
    pub fn open_backing(&self, file: BorrowedFd<'_>) -> Result<u32, NotifyError> {
        backing::open(&*self.device()?, file).map_err(NotifyError::from_kernel)
    }

    /// Gives a backing file's number back.
    ///
    /// # Errors
    /// [`NotifyError`]; ENOENT for a number that is not in use.
    pub fn close_backing(&self, id: u32) -> Result<(), NotifyError> {
        backing::close(&*self.device()?, id).map_err(NotifyError::from_kernel)
    }

    fn entry(&self, parent: NodeId, name: &OsStr, flags: u32) -> Result<(), NotifyError> {
        let out = NotifyInvalEntryOut {
            parent: parent.0,
            namelen: name_len(name)?,
            flags,
        };
        self.send(
            notify::INVAL_ENTRY,
            &[out.as_bytes(), name.as_bytes(), b"\0"],
        )
    }

    fn send(&self, code: i32, parts: &[&[u8]]) -> Result<(), NotifyError> {
        self.told(code, parts).map(|_| ())
    }

    /// Whether anything of that node or name was cached.
    fn told(&self, code: i32, parts: &[&[u8]]) -> Result<bool, NotifyError> {
        tracing::trace!(target: "fuse::wire", code, parts = ?parts, "notify");
        let mut slices = [IoSlice::new(&[]); 3];
        for (slice, part) in slices.iter_mut().zip(parts) {
            *slice = IoSlice::new(part);
        }
        match self.device()?.send(0, code, &slices[..parts.len()]) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(NotifyError::from_kernel(errno)),
        }
    }

    fn device(&self) -> Result<Arc<Device>, NotifyError> {
        match self.device.upgrade() {
            Some(device) if !device.has_ended() => Ok(device),
            _ => Err(NotifyError::Ended),
        }
    }
}

impl NotifyError {
    fn from_kernel(errno: Errno) -> Self {
        match errno {
            Errno::NODEV | Errno::CONNABORTED | Errno::NOTCONN => Self::Ended,
            errno => Self::Refused(crate::Errno::from_raw(errno.raw_os_error())),
        }
    }
}

/// Length of a name for the wire. The kernel's own limit is checked by the kernel.
fn name_len(name: &OsStr) -> Result<u32, NotifyError> {
    u32::try_from(name.len()).map_err(|_| NotifyError::Refused(crate::Errno::ENAMETOOLONG))
}
