//! The method behind each opcode, and its answer's shape.
//!
//! Whatever a reply hands to the kernel (lookups, handles) is taken back when
//! the reply is not delivered: the kernel will never give it back itself.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::{Backend, Call};
use crate::abi::{GetxattrOut, LkOut, LseekOut};
use crate::parse::{LOCK_NONE, LOCK_READ, LOCK_WRITE, Operation};
use crate::reply::{ReadReply, Segments, entries_plus};
use crate::{Access, DirReply, Errno, FileSystem, LockKind, Lookup, Opcode, XattrReply, encode};

/// Flags of open(2) that ask to write.
const WRITES: u32 = (libc::O_ACCMODE | libc::O_TRUNC) as u32;

/// Targets of symbolic links are shorter than this (PATH_MAX).
const PATH_MAX: usize = libc::PATH_MAX as usize;

/// A listing: where it goes on and how long it may be.
struct Listing {
    handle: u64,
    offset: u64,
    size: u32,
    plus: bool,
}

impl<F: FileSystem + ?Sized, B: Backend> Call<'_, F, B> {
    /// Calls the method and sends its reply; an error is left to the caller to send.
    pub(super) fn serve(
        &self,
        opcode: Opcode,
        operation: Operation<'_>,
        segments: &mut Segments,
    ) -> Result<(), Errno> {
        let (fs, req, node) = (self.fs, self.request, self.node);
        match operation {
            Operation::Lookup { name } => self.lookup(name)?,
            Operation::Getattr { handle } => {
                let (attr, ttl) = fs.getattr(req, node, handle)?;
                self.send(&encode::attr_reply(&attr, ttl));
            }
            Operation::Read {
                handle,
                offset,
                size,
            } => {
                self.read(handle, offset, size, segments)?;
            }
            Operation::Readlink => {
                let target = fs.readlink(req, node)?;
                if target.len() >= PATH_MAX {
                    return Err(Errno::ENAMETOOLONG);
                }
                self.send_bytes(&target);
            }
            Operation::Open {
                flags,
                kill_suidgid,
            } => {
                if flags & WRITES != libc::O_RDONLY as u32 && !fs.is_writable() {
                    return Err(Errno::EROFS);
                }
                if kill_suidgid {
                    fs.kill_suidgid(req, node)?;
                }
                let opened = fs.open(req, node, flags)?;
                if !self.send(&encode::opened(&opened)) {
                    fs.release(node, opened.handle);
                }
            }
            Operation::Opendir { flags } => {
                let opened = fs.opendir(req, node, flags)?;
                if !self.send(&encode::opened(&opened)) {
                    fs.releasedir(node, opened.handle);
                }
            }
            Operation::Readdir {
                handle,
                offset,
                size,
            } => self.list(&Listing {
                handle,
                offset,
                size,
                plus: false,
            })?,
            Operation::Readdirplus {
                handle,
                offset,
                size,
            } => self.list(&Listing {
                handle,
                offset,
                size,
                plus: true,
            })?,
            Operation::Flush { handle, lock_owner } => {
                fs.flush(req, node, handle, lock_owner)?;
                self.send_done();
            }
            Operation::Release {
                handle,
                flock_owner,
            } => {
                if let Some(owner) = flock_owner {
                    fs.release_flock(node, handle, owner);
                }
                fs.release(node, handle);
                self.send_done();
            }
            Operation::Fsync { handle, data_only } => {
                fs.fsync(req, node, handle, data_only)?;
                self.send_done();
            }
            Operation::Fsyncdir { handle } => {
                fs.fsyncdir(req, node, handle)?;
                self.send_done();
            }
            Operation::Getlk(lock) => {
                let held = fs.getlk(req, node, lock)?;
                self.send(&LkOut {
                    start: held.start,
                    end: held.end,
                    kind: match held.kind {
                        LockKind::Read => LOCK_READ,
                        LockKind::Write => LOCK_WRITE,
                        LockKind::Unlock => LOCK_NONE,
                    },
                    pid: held.pid,
                });
            }
            Operation::Setlk(lock) => self.set_lock(lock)?,
            Operation::Releasedir { handle } => {
                fs.releasedir(node, handle);
                self.send_done();
            }
            Operation::Statfs => {
                let statfs = fs.statfs(req, node)?;
                self.send(&encode::statfs(&statfs));
            }
            Operation::Access { mask } => {
                fs.access(req, node, Access(mask))?;
                self.send_done();
            }
            Operation::Getxattr { name, size } => {
                let value = fs.getxattr(req, node, OsStr::from_bytes(name), size)?;
                self.xattr(&value, size)?;
            }
            Operation::Listxattr { size } => {
                let names = fs.listxattr(req, node, size)?;
                self.xattr(&names, size)?;
            }
            Operation::Lseek {
                handle,
                offset,
                whence,
            } => {
                let offset = fs.lseek(req, node, handle, offset, whence)?;
                self.send(&LseekOut { offset });
            }
            Operation::Destroy => {
                self.send_done();
            }
            Operation::Change(change) => self.change(change)?,
            Operation::Unsupported | Operation::Init { .. } => {
                // After ENOSYS the kernel does without, for good where it can.
                tracing::debug!(%opcode, "not served");
                return Err(Errno::ENOSYS);
            }
            // No answer is due; `Dispatcher::take_notice` has them.
            Operation::Forget { .. }
            | Operation::BatchForget(_)
            | Operation::Interrupt { .. }
            | Operation::NotifyReply => {}
        }
        Ok(())
    }

    fn lookup(&self, name: &[u8]) -> Result<(), Errno> {
        let name = OsStr::from_bytes(name);
        match self.fs.lookup(self.request, self.node, name)? {
            Lookup::Found(entry) => {
                if !self.send(&encode::entry(&entry)) {
                    self.fs.forget(entry.node, 1);
                }
            }
            Lookup::Negative(ttl) => {
                self.send(&encode::negative(ttl));
            }
        }
        Ok(())
    }

    fn read(
        &self,
        handle: u64,
        offset: u64,
        size: u32,
        segments: &mut Segments,
    ) -> Result<(), Errno> {
        let mut memory = self.backend.memory().map_err(|_| Errno::ENOMEM)?;
        // The kernel was told the limit; a shorter reply would mean end of file.
        let memory = memory.get_mut(..size as usize).ok_or(Errno::EIO)?;
        let mut reply = ReadReply::new(memory, segments);
        self.fs
            .read(self.request, self.node, handle, offset, size, &mut reply)?;
        let sent = match B::GATHERS {
            true => reply.gather(self.zeros, |slices| self.send_slices(slices)),
            false => reply.flatten().map(|body| self.send_lent(body)),
        };
        sent.map(|_| ()).map_err(|overflow| {
            tracing::error!(node = self.node.0, offset, size, "READ: {overflow}");
            debug_assert!(false, "READ: {overflow}");
            Errno::EIO
        })
    }

    fn list(&self, listing: &Listing) -> Result<(), Errno> {
        let mut memory = self.backend.memory().map_err(|_| Errno::ENOMEM)?;
        let size = memory.len().min(listing.size as usize);
        let mut reply = DirReply::new(&mut memory[..size], listing.plus);
        let Listing { handle, offset, .. } = *listing;
        let mut taken_back = TakenBack {
            fs: self.fs,
            plus: listing.plus,
            reply: &mut reply,
        };
        if listing.plus {
            let reply = &mut *taken_back.reply;
            self.fs
                .readdirplus(self.request, self.node, handle, offset, reply)?;
        } else {
            let reply = &mut *taken_back.reply;
            self.fs
                .readdir(self.request, self.node, handle, offset, reply)?;
        }
        if self.send_lent(taken_back.reply.bytes()) {
            taken_back.plus = false;
        }
        Ok(())
    }

    fn xattr(&self, value: &XattrReply, room: u32) -> Result<(), Errno> {
        match value {
            XattrReply::Size(size) => {
                if room != 0 {
                    return Err(Errno::ERANGE);
                }
                self.send_xattr_size(*size);
            }
            XattrReply::Data(data) => {
                let size = u32::try_from(data.len()).map_err(|_| Errno::ERANGE)?;
                if room == 0 {
                    self.send_xattr_size(size);
                } else if size > room {
                    return Err(Errno::ERANGE);
                } else {
                    self.send_bytes(data);
                }
            }
        }
        Ok(())
    }

    fn send_xattr_size(&self, size: u32) -> bool {
        self.send(&GetxattrOut { size, padding: 0 })
    }
}

/// Takes back the lookups of a listing unless it was delivered (`plus` cleared):
/// also when the method fails or panics after it has added entries.
struct TakenBack<'a, 'b, F: FileSystem + ?Sized> {
    fs: &'a F,
    plus: bool,
    reply: &'a mut DirReply<'b>,
}

impl<F: FileSystem + ?Sized> Drop for TakenBack<'_, '_, F> {
    fn drop(&mut self) {
        if self.plus {
            for node in entries_plus(self.reply.bytes()) {
                self.fs.forget(node, 1);
            }
        }
    }
}
