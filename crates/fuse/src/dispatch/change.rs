//! The methods that change something.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use zerocopy::IntoBytes;

use super::{Backend, Call};
use crate::abi::{CopyFileRangeOut, EntryOut, OpenOut, WriteOut};
use crate::parse::Change;
use crate::{CopyPlace, Entry, Errno, FileSystem, SetLock, encode};

/// The reply to CREATE: that of LOOKUP, and that of OPEN.
#[derive(zerocopy::IntoBytes, zerocopy::Immutable)]
#[repr(C)]
struct CreateOut {
    entry: EntryOut,
    open: OpenOut,
}

impl<F: FileSystem + ?Sized, B: Backend> Call<'_, F, B> {
    /// Calls the method and sends its reply; an error is left to the caller to send.
    pub(super) fn change(&self, change: Change<'_>) -> Result<(), Errno> {
        let (fs, req, node) = (self.fs, self.request, self.node);
        if !fs.is_writable() {
            return Err(Errno::EROFS);
        }
        match change {
            Change::Setattr(change) => {
                let (attr, ttl) = fs.setattr(req, node, change)?;
                self.send(&encode::attr_reply(&attr, ttl));
            }
            Change::Mknod { name, mode, rdev } => {
                self.made(&fs.mknod(req, node, os(name), mode, rdev)?);
            }
            Change::Mkdir { name, mode } => self.made(&fs.mkdir(req, node, os(name), mode)?),
            Change::Symlink { name, target } => {
                self.made(&fs.symlink(req, node, os(name), os(target))?);
            }
            Change::Link { node: linked, name } => {
                self.made(&fs.link(req, linked, node, os(name))?);
            }
            Change::Unlink { name } => {
                fs.unlink(req, node, os(name))?;
                self.send_done();
            }
            Change::Rmdir { name } => {
                fs.rmdir(req, node, os(name))?;
                self.send_done();
            }
            Change::Rename {
                name,
                to,
                to_name,
                flags,
            } => {
                fs.rename(req, (node, os(name)), (to, os(to_name)), flags)?;
                self.send_done();
            }
            Change::Create {
                name,
                mode,
                flags,
                kill_suidgid,
            } => {
                let (entry, opened) = fs.create(req, node, os(name), mode, flags, kill_suidgid)?;
                let out = CreateOut {
                    entry: encode::entry(&entry),
                    open: encode::opened(&opened),
                };
                if !self.send_bytes(out.as_bytes()) {
                    fs.release(entry.node, opened.handle);
                    fs.forget(entry.node, 1);
                }
            }
            Change::Write { handle, write } => {
                let size = u32::try_from(write.data.len()).map_err(|_| Errno::EINVAL)?;
                fs.write(req, node, handle, write)?;
                self.send(&WriteOut { size, padding: 0 });
            }
            Change::Setxattr { name, value, flags } => {
                fs.setxattr(req, node, os(name), value, flags)?;
                self.send_done();
            }
            Change::Removexattr { name } => {
                fs.removexattr(req, node, os(name))?;
                self.send_done();
            }
            Change::Fallocate {
                handle,
                offset,
                length,
                mode,
            } => {
                fs.fallocate(req, node, handle, offset, length, mode)?;
                self.send_done();
            }
            Change::CopyFileRange {
                from_handle,
                from_offset,
                to,
                length,
                wide,
            } => {
                let from = CopyPlace {
                    node,
                    handle: from_handle,
                    offset: from_offset,
                };
                // The narrow answer has 32 bits, and copying less is always allowed.
                let most = if wide {
                    u64::MAX
                } else {
                    u64::from(MOST_NARROW)
                };
                let copied = fs.copy_file_range(req, from, to, length.min(most))?;
                if wide {
                    self.send(&CopyFileRangeOut {
                        bytes_copied: copied,
                    });
                } else {
                    let size = u32::try_from(copied).map_err(|_| Errno::EIO)?;
                    self.send(&WriteOut { size, padding: 0 });
                }
            }
            // Without it programs make a named file and remove it.
            Change::Tmpfile => return Err(Errno::ENOSYS),
        }
        Ok(())
    }

    /// SETLK and SETLKW.
    pub(super) fn set_lock(&self, lock: SetLock) -> Result<(), Errno> {
        self.fs.setlk(self.request, self.node, lock)?;
        if !self.send_done() && lock.lock.kind != crate::LockKind::Unlock {
            // Nobody is left to give it back.
            let mut undo = lock;
            undo.lock.kind = crate::LockKind::Unlock;
            undo.wait = false;
            let _ = self.fs.setlk(self.request, self.node, undo);
        }
        Ok(())
    }

    fn made(&self, entry: &Entry) {
        if !self.send(&encode::entry(entry)) {
            self.fs.forget(entry.node, 1);
        }
    }
}

/// A multiple of every page size.
const MOST_NARROW: u32 = 1 << 30;

fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}
