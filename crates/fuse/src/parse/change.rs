//! Requests that change something.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{Body, ParseError};
use crate::abi::{
    CopyFileRangeIn, CreateIn, FallocateIn, LinkIn, MkdirIn, MknodIn, OPEN_KILL_SUIDGID, Opcode,
    Rename2In, RenameIn, SetattrIn, SetxattrIn, WRITE_CACHE, WRITE_KILL_SUIDGID, WriteIn, fattr,
};
use crate::{CopyPlace, NodeId, SetAttr, SetTime, Write};

/// What a request changes, one variant an opcode (RENAME and RENAME2 are one).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Change<'a> {
    Setattr(SetAttr),
    Mknod {
        name: &'a [u8],
        mode: u32,
        rdev: u32,
    },
    Mkdir {
        name: &'a [u8],
        mode: u32,
    },
    Unlink {
        name: &'a [u8],
    },
    Rmdir {
        name: &'a [u8],
    },
    Symlink {
        name: &'a [u8],
        target: &'a [u8],
    },
    Rename {
        name: &'a [u8],
        to: NodeId,
        to_name: &'a [u8],
        flags: u32,
    },
    Link {
        node: NodeId,
        name: &'a [u8],
    },
    Create {
        name: &'a [u8],
        mode: u32,
        flags: u32,
        kill_suidgid: bool,
    },
    Write {
        handle: u64,
        write: Write<'a>,
    },
    Setxattr {
        name: &'a [u8],
        value: &'a [u8],
        flags: u32,
    },
    Removexattr {
        name: &'a [u8],
    },
    Fallocate {
        handle: u64,
        offset: u64,
        length: u64,
        mode: u32,
    },
    CopyFileRange {
        from_handle: u64,
        from_offset: u64,
        to: CopyPlace,
        length: u64,
        /// The answer has 64 bits.
        wide: bool,
    },
    Tmpfile,
}

impl<'a> Body<'a> {
    /// A request whose opcode [`Opcode::mutates`].
    pub(super) fn change(&mut self) -> Result<Change<'a>, ParseError> {
        Ok(match self.opcode {
            Opcode::SETATTR => Change::Setattr(setattr(&self.take()?)),
            Opcode::MKNOD => {
                let arg: MknodIn = self.take()?;
                Change::Mknod {
                    name: self.name()?,
                    mode: arg.mode,
                    rdev: arg.rdev,
                }
            }
            Opcode::MKDIR => {
                let arg: MkdirIn = self.take()?;
                Change::Mkdir {
                    name: self.name()?,
                    mode: arg.mode,
                }
            }
            Opcode::UNLINK => Change::Unlink { name: self.name()? },
            Opcode::RMDIR => Change::Rmdir { name: self.name()? },
            Opcode::SYMLINK => Change::Symlink {
                name: self.name()?,
                target: self.name()?,
            },
            Opcode::RENAME => {
                let arg: RenameIn = self.take()?;
                self.rename(arg.newdir, 0)?
            }
            Opcode::RENAME2 => {
                let arg: Rename2In = self.take()?;
                self.rename(arg.newdir, arg.flags)?
            }
            Opcode::LINK => {
                let arg: LinkIn = self.take()?;
                Change::Link {
                    node: NodeId(arg.oldnodeid),
                    name: self.name()?,
                }
            }
            Opcode::CREATE => {
                let arg: CreateIn = self.take()?;
                Change::Create {
                    name: self.name()?,
                    mode: arg.mode,
                    flags: arg.flags,
                    kill_suidgid: arg.open_flags & OPEN_KILL_SUIDGID != 0,
                }
            }
            Opcode::WRITE => {
                let arg: WriteIn = self.take()?;
                Change::Write {
                    handle: arg.fh,
                    write: Write {
                        offset: arg.offset,
                        data: self.bytes(arg.size)?,
                        flags: arg.flags,
                        from_cache: arg.write_flags & WRITE_CACHE != 0,
                        kill_suidgid: arg.write_flags & WRITE_KILL_SUIDGID != 0,
                    },
                }
            }
            Opcode::SETXATTR => {
                let arg: SetxattrIn = self.take()?;
                Change::Setxattr {
                    name: self.name()?,
                    value: self.bytes(arg.size)?,
                    flags: arg.flags,
                }
            }
            Opcode::REMOVEXATTR => Change::Removexattr { name: self.name()? },
            Opcode::FALLOCATE => {
                let arg: FallocateIn = self.take()?;
                Change::Fallocate {
                    handle: arg.fh,
                    offset: arg.offset,
                    length: arg.length,
                    mode: arg.mode,
                }
            }
            Opcode::COPY_FILE_RANGE | Opcode::COPY_FILE_RANGE_64 => {
                let arg: CopyFileRangeIn = self.take()?;
                Change::CopyFileRange {
                    from_handle: arg.fh_in,
                    from_offset: arg.off_in,
                    to: CopyPlace {
                        node: NodeId(arg.nodeid_out),
                        handle: arg.fh_out,
                        offset: arg.off_out,
                    },
                    length: arg.len,
                    wide: self.opcode == Opcode::COPY_FILE_RANGE_64,
                }
            }
            // The only one left: see `Opcode::mutates`.
            _ => Change::Tmpfile,
        })
    }

    fn rename(&mut self, to: u64, flags: u32) -> Result<Change<'a>, ParseError> {
        Ok(Change::Rename {
            name: self.name()?,
            to: NodeId(to),
            to_name: self.name()?,
            flags,
        })
    }

    /// So many bytes off the front.
    fn bytes(&mut self, size: u32) -> Result<&'a [u8], ParseError> {
        let (bytes, rest) =
            self.front()
                .split_at_checked(size as usize)
                .ok_or(ParseError::Truncated {
                    opcode: self.opcode,
                    length: self.length,
                })?;
        self.rest = rest;
        Ok(bytes)
    }
}

fn setattr(arg: &SetattrIn) -> SetAttr {
    let has = |bit| arg.valid & bit != 0;
    let time = |bit, now, seconds, nanos| match (has(bit), has(now)) {
        (true, true) => Some(SetTime::Now),
        (true, false) => Some(SetTime::At(time(seconds, nanos))),
        (false, _) => None,
    };
    SetAttr {
        perm: has(fattr::MODE).then_some(arg.mode & 0o7777),
        uid: has(fattr::UID).then_some(arg.uid),
        gid: has(fattr::GID).then_some(arg.gid),
        size: has(fattr::SIZE).then_some(arg.size),
        atime: time(fattr::ATIME, fattr::ATIME_NOW, arg.atime, arg.atimensec),
        mtime: time(fattr::MTIME, fattr::MTIME_NOW, arg.mtime, arg.mtimensec),
        ctime: has(fattr::CTIME).then(|| self::time(arg.ctime, arg.ctimensec)),
        handle: has(fattr::FH).then_some(arg.fh),
        kill_suidgid: has(fattr::KILL_SUIDGID),
    }
}

/// The reverse of `encode`: seconds in two's complement, and nanoseconds after them.
fn time(seconds: u64, nanos: u32) -> SystemTime {
    let seconds = seconds.cast_signed();
    let whole = Duration::from_secs(seconds.unsigned_abs());
    let second = match seconds < 0 {
        true => UNIX_EPOCH.checked_sub(whole),
        false => UNIX_EPOCH.checked_add(whole),
    };
    let nanos = Duration::from_nanos(u64::from(nanos));
    let moment = second.and_then(|second| second.checked_add(nanos));
    moment.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_the_epoch_come_back() {
        let early = time((-2i64).cast_unsigned(), 500_000_000);
        assert_eq!(UNIX_EPOCH - Duration::from_millis(1500), early);
        assert_eq!(time(0, 7), UNIX_EPOCH + Duration::from_nanos(7));
    }
}
