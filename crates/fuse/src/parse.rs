//! From the bytes of the device to a typed request.
//!
//! [`parse`] is total: every byte string is either a [`Message`] or a
//! [`ParseError`] that says which opcode was wrong and how. It copies the fixed
//! structures out, so alignment does not matter, and borrows names.

mod change;

use zerocopy::FromBytes;

use crate::abi::{
    AccessIn, BatchForgetIn, FSYNC_FDATASYNC, FlushIn, ForgetIn, ForgetOne, FsyncIn, GETATTR_FH,
    GetattrIn, GetxattrIn, InHeader, InitFlags, InitIn, InitTail, InterruptIn, LK_FLOCK, LkIn,
    LseekIn, OPEN_KILL_SUIDGID, Opcode, OpenIn, RELEASE_FLOCK_UNLOCK, ReadIn, ReleaseIn,
};
use crate::{FileLock, LockKind, SetLock};

pub use change::Change;

/// One request: who asks, and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// The common header.
    pub header: InHeader,
    /// The request code.
    pub opcode: Opcode,
    /// What is asked, as far as this transport understands it.
    pub operation: Operation<'a>,
}

/// What a request asks, one variant an opcode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation<'a> {
    Lookup {
        name: &'a [u8],
    },
    Forget {
        count: u64,
    },
    BatchForget(Forgets<'a>),
    Getattr {
        handle: Option<u64>,
    },
    Readlink,
    Open {
        flags: u32,
        kill_suidgid: bool,
    },
    Read {
        handle: u64,
        offset: u64,
        size: u32,
    },
    Flush {
        handle: u64,
        lock_owner: u64,
    },
    Release {
        handle: u64,
        /// Whose lock of flock(2) the handle may hold.
        flock_owner: Option<u64>,
    },
    Fsync {
        handle: u64,
        data_only: bool,
    },
    Opendir {
        flags: u32,
    },
    Readdir {
        handle: u64,
        offset: u64,
        size: u32,
    },
    Readdirplus {
        handle: u64,
        offset: u64,
        size: u32,
    },
    Releasedir {
        handle: u64,
    },
    Fsyncdir {
        handle: u64,
    },
    Statfs,
    Access {
        mask: u32,
    },
    Getxattr {
        name: &'a [u8],
        size: u32,
    },
    Listxattr {
        size: u32,
    },
    Lseek {
        handle: u64,
        offset: u64,
        whence: u32,
    },
    Interrupt {
        unique: u64,
    },
    Init {
        init: InitIn,
        flags: InitFlags,
    },
    Destroy,
    /// The answer to a notification that wants one; none sent here does.
    NotifyReply,
    /// GETLK.
    Getlk(SetLock),
    /// SETLK and SETLKW.
    Setlk(SetLock),
    /// Changes something ([`Opcode::mutates`]).
    Change(Change<'a>),
    /// Known or not, it is not served.
    Unsupported,
}

/// The inodes of a BATCH_FORGET with the lookups taken back from each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forgets<'a>(&'a [u8]);

impl Iterator for Forgets<'_> {
    type Item = (u64, u64);

    fn next(&mut self) -> Option<(u64, u64)> {
        let (one, rest) = ForgetOne::read_from_prefix(self.0).ok()?;
        self.0 = rest;
        Some((one.nodeid, one.nlookup))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.0.len() / size_of::<ForgetOne>();
        (count, Some(count))
    }
}

/// Why bytes are not a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not even a header.
    #[error("{length} bytes are too few for a request header of {}", size_of::<InHeader>())]
    NoHeader {
        /// Bytes there were.
        length: usize,
    },
    /// The header's length is not that of the message.
    #[error("{opcode} says it has {stated} bytes but {length} arrived")]
    WrongLength {
        /// The request code.
        opcode: Opcode,
        /// Length in the header.
        stated: u32,
        /// Bytes there were.
        length: usize,
    },
    /// The opcode's structure is cut off.
    #[error("{opcode} of {length} bytes ends within its arguments")]
    Truncated {
        /// The request code.
        opcode: Opcode,
        /// Bytes there were.
        length: usize,
    },
    /// A name is empty, or not ended by NUL.
    #[error("{opcode} of {length} bytes has no valid name")]
    BadName {
        /// The request code.
        opcode: Opcode,
        /// Bytes there were.
        length: usize,
    },
}

/// Reads one request; `bytes` is what one read(2) of the device returned.
///
/// # Errors
/// [`ParseError`] for whatever no kernel sends.
pub fn parse(bytes: &[u8]) -> Result<Message<'_>, ParseError> {
    let Ok((header, body)) = InHeader::read_from_prefix(bytes) else {
        let length = bytes.len();
        return Err(ParseError::NoHeader { length });
    };
    parse_parts(header, body, &[])
}

/// Reads one request whose header, structure and data came apart, as io_uring brings them. What
/// is in `data` follows what is in `structure`.
///
/// # Errors
/// [`ParseError`] for whatever no kernel sends.
pub fn parse_parts<'a>(
    header: InHeader,
    structure: &'a [u8],
    data: &'a [u8],
) -> Result<Message<'a>, ParseError> {
    let length = size_of::<InHeader>() + structure.len() + data.len();
    let opcode = Opcode::from_raw(header.opcode);
    if u32::try_from(length) != Ok(header.len) {
        return Err(ParseError::WrongLength {
            opcode,
            stated: header.len,
            length,
        });
    }
    let operation = Body {
        opcode,
        length,
        rest: structure,
        then: data,
    }
    .operation()?;
    Ok(Message {
        header,
        opcode,
        operation,
    })
}

/// `F_RDLCK` and `F_WRLCK` as the protocol has them.
pub(crate) const LOCK_READ: u32 = libc::F_RDLCK as u32;
pub(crate) const LOCK_WRITE: u32 = libc::F_WRLCK as u32;
pub(crate) const LOCK_NONE: u32 = libc::F_UNLCK as u32;

/// What is left of a message while its parts are taken off the front.
struct Body<'a> {
    opcode: Opcode,
    length: usize,
    rest: &'a [u8],
    /// What comes after the rest; no part lies in both.
    then: &'a [u8],
}

impl<'a> Body<'a> {
    fn operation(mut self) -> Result<Operation<'a>, ParseError> {
        Ok(match self.opcode {
            Opcode::LOOKUP => Operation::Lookup { name: self.name()? },
            Opcode::FORGET => {
                let arg: ForgetIn = self.take()?;
                Operation::Forget { count: arg.nlookup }
            }
            Opcode::BATCH_FORGET => self.batch_forget()?,
            Opcode::GETATTR => {
                let arg: GetattrIn = self.take()?;
                let handle = (arg.flags & GETATTR_FH != 0).then_some(arg.fh);
                Operation::Getattr { handle }
            }
            Opcode::READLINK => Operation::Readlink,
            Opcode::OPEN => {
                let arg: OpenIn = self.take()?;
                Operation::Open {
                    flags: arg.flags,
                    kill_suidgid: arg.open_flags & OPEN_KILL_SUIDGID != 0,
                }
            }
            Opcode::OPENDIR => {
                let arg: OpenIn = self.take()?;
                Operation::Opendir { flags: arg.flags }
            }
            Opcode::READ | Opcode::READDIR | Opcode::READDIRPLUS => self.read()?,
            Opcode::FLUSH => {
                let arg: FlushIn = self.take()?;
                Operation::Flush {
                    handle: arg.fh,
                    lock_owner: arg.lock_owner,
                }
            }
            Opcode::RELEASE => {
                let arg: ReleaseIn = self.take()?;
                let flock = arg.release_flags & RELEASE_FLOCK_UNLOCK != 0;
                Operation::Release {
                    handle: arg.fh,
                    flock_owner: flock.then_some(arg.lock_owner),
                }
            }
            Opcode::RELEASEDIR => {
                let arg: ReleaseIn = self.take()?;
                Operation::Releasedir { handle: arg.fh }
            }
            Opcode::FSYNC => {
                let arg: FsyncIn = self.take()?;
                Operation::Fsync {
                    handle: arg.fh,
                    data_only: arg.fsync_flags & FSYNC_FDATASYNC != 0,
                }
            }
            Opcode::FSYNCDIR => {
                let arg: FsyncIn = self.take()?;
                Operation::Fsyncdir { handle: arg.fh }
            }
            Opcode::STATFS => Operation::Statfs,
            Opcode::ACCESS => {
                let arg: AccessIn = self.take()?;
                Operation::Access { mask: arg.mask }
            }
            Opcode::GETXATTR => {
                let arg: GetxattrIn = self.take()?;
                Operation::Getxattr {
                    name: self.name()?,
                    size: arg.size,
                }
            }
            Opcode::LISTXATTR => {
                let arg: GetxattrIn = self.take()?;
                Operation::Listxattr { size: arg.size }
            }
            Opcode::LSEEK => {
                let arg: LseekIn = self.take()?;
                Operation::Lseek {
                    handle: arg.fh,
                    offset: arg.offset,
                    whence: arg.whence,
                }
            }
            Opcode::INTERRUPT => {
                let arg: InterruptIn = self.take()?;
                Operation::Interrupt { unique: arg.unique }
            }
            Opcode::INIT => self.init()?,
            Opcode::DESTROY => Operation::Destroy,
            Opcode::NOTIFY_REPLY => Operation::NotifyReply,
            Opcode::GETLK => Operation::Getlk(self.lock()?),
            Opcode::SETLK | Opcode::SETLKW => Operation::Setlk(self.lock()?),
            opcode if opcode.mutates() => Operation::Change(self.change()?),
            _ => Operation::Unsupported,
        })
    }

    fn lock(&mut self) -> Result<SetLock, ParseError> {
        let arg: LkIn = self.take()?;
        let kind = match arg.kind {
            LOCK_READ => LockKind::Read,
            LOCK_WRITE => LockKind::Write,
            // No kernel sends anything else, and giving a lock back harms nobody.
            _ => LockKind::Unlock,
        };
        Ok(SetLock {
            handle: arg.fh,
            owner: arg.owner,
            lock: FileLock {
                start: arg.start,
                end: arg.end,
                kind,
                pid: arg.pid,
            },
            flock: arg.lk_flags & LK_FLOCK != 0,
            wait: self.opcode == Opcode::SETLKW,
        })
    }

    /// What is left of the part that has something left.
    fn front(&mut self) -> &'a [u8] {
        if self.rest.is_empty() {
            self.rest = std::mem::take(&mut self.then);
        }
        self.rest
    }

    /// A structure off the front.
    fn take<T: FromBytes>(&mut self) -> Result<T, ParseError> {
        let Ok((value, rest)) = T::read_from_prefix(self.front()) else {
            return Err(ParseError::Truncated {
                opcode: self.opcode,
                length: self.length,
            });
        };
        self.rest = rest;
        Ok(value)
    }

    /// A name off the front, without its NUL.
    fn name(&mut self) -> Result<&'a [u8], ParseError> {
        let front = self.front();
        match front.iter().position(|byte| *byte == 0) {
            Some(end) if end > 0 => {
                let (name, rest) = front.split_at(end);
                self.rest = &rest[1..];
                Ok(name)
            }
            _ => Err(ParseError::BadName {
                opcode: self.opcode,
                length: self.length,
            }),
        }
    }

    fn read(&mut self) -> Result<Operation<'a>, ParseError> {
        let ReadIn {
            fh: handle,
            offset,
            size,
            ..
        } = self.take()?;
        Ok(match self.opcode {
            Opcode::READDIR => Operation::Readdir {
                handle,
                offset,
                size,
            },
            Opcode::READDIRPLUS => Operation::Readdirplus {
                handle,
                offset,
                size,
            },
            _ => Operation::Read {
                handle,
                offset,
                size,
            },
        })
    }

    fn batch_forget(&mut self) -> Result<Operation<'a>, ParseError> {
        let arg: BatchForgetIn = self.take()?;
        let wanted = (arg.count as usize).checked_mul(size_of::<ForgetOne>());
        match wanted.and_then(|wanted| self.front().get(..wanted)) {
            Some(forgets) => Ok(Operation::BatchForget(Forgets(forgets))),
            None => Err(ParseError::Truncated {
                opcode: self.opcode,
                length: self.length,
            }),
        }
    }

    fn init(&mut self) -> Result<Operation<'a>, ParseError> {
        let init: InitIn = self.take()?;
        // Kernels before 7.36 end here.
        let flags2 = match self.take::<InitTail>() {
            Ok(tail) => tail.flags2,
            Err(_) => 0,
        };
        let flags = InitFlags::from_wire(init.flags, flags2);
        Ok(Operation::Init { init, flags })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::IntoBytes;

    use super::*;

    /// A message with a true length.
    fn message(opcode: u32, body: &[u8]) -> Vec<u8> {
        let header = InHeader {
            len: (size_of::<InHeader>() + body.len()) as u32,
            opcode,
            unique: 4,
            nodeid: 1,
            uid: 1000,
            gid: 100,
            pid: 7,
            total_extlen: 0,
            padding: 0,
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_lookup_has_the_name_up_to_its_nul() {
        let bytes = message(1, b"caf\xc3\xa9\0");
        let parsed = parse(&bytes).unwrap();
        assert_eq!(parsed.opcode, Opcode::LOOKUP);
        assert_eq!(parsed.header.uid, 1000);
        let name = "café".as_bytes();
        assert_eq!(parsed.operation, Operation::Lookup { name });
    }

    #[test]
    fn names_without_end_or_without_beginning_are_refused() {
        for body in [&b"abc"[..], b"", b"\0"] {
            let bytes = message(1, body);
            let length = bytes.len();
            let opcode = Opcode::LOOKUP;
            assert_eq!(parse(&bytes), Err(ParseError::BadName { opcode, length }));
        }
    }

    #[test]
    fn a_batch_forget_cannot_promise_more_than_it_has() {
        let mut body = vec![2, 0, 0, 0, 0, 0, 0, 0];
        body.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]);
        assert!(parse(&message(42, &body)).is_err());
        body.extend_from_slice(&[4, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0]);
        let bytes = message(42, &body);
        match parse(&bytes).unwrap().operation {
            Operation::BatchForget(all) => {
                assert_eq!(all.collect::<Vec<_>>(), [(3, 5), (4, 6)]);
            }
            other => panic!("{other:?}"),
        }
        let huge = message(42, &[0xff; 8]);
        assert!(parse(&huge).is_err());
    }

    #[test]
    fn an_old_kernels_short_init_is_understood() {
        let mut body = Vec::new();
        for word in [7u32, 31, 131_072, 1 << 30 | 1] {
            body.extend_from_slice(&word.to_ne_bytes());
        }
        let bytes = message(26, &body);
        match parse(&bytes).unwrap().operation {
            Operation::Init { init, flags } => {
                assert_eq!((init.major, init.minor), (7, 31));
                assert!(flags.contains(InitFlags::ASYNC_READ));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_length_that_lies_is_refused() {
        let mut bytes = message(17, b"");
        bytes.push(0);
        assert!(matches!(
            parse(&bytes),
            Err(ParseError::WrongLength {
                stated: 40,
                length: 41,
                ..
            })
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        /// With a true header every opcode's own parser is reached.
        #[test]
        fn any_body_of_any_opcode_is_a_message_or_an_error(
            opcode in 0u32..64,
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let bytes = message(opcode, &body);
            if let Ok(parsed) = parse(&bytes) {
                prop_assert_eq!(parsed.opcode.raw(), opcode);
                if let Operation::BatchForget(all) = parsed.operation {
                    prop_assert!(all.count() * 16 <= body.len());
                }
            }
        }

        /// Cut where the kernel cuts, a request is what it is in one piece.
        #[test]
        fn a_request_in_parts_is_the_same(name in "[a-z]{1,20}", data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let write = crate::abi::WriteIn {
                fh: 7, offset: 9, size: data.len() as u32, write_flags: 0, lock_owner: 0, flags: 0, padding: 0,
            };
            let name = [name.as_bytes(), b"\0"].concat();
            for (opcode, structure, data) in [(16, write.as_bytes(), &data[..]), (1, &[][..], &name[..])] {
                let whole = message(opcode, &[structure, data].concat());
                let (header, _) = InHeader::read_from_prefix(&whole).unwrap();
                prop_assert_eq!(parse_parts(header, structure, data), parse(&whole));
                prop_assert!(parse_parts(header, structure, &data[..data.len().saturating_sub(1)]).is_err() || data.is_empty());
            }
        }

        #[test]
        fn a_read_survives_the_wire(handle: u64, offset: u64, size: u32, cut in 0usize..40) {
            let arg = ReadIn {
                fh: handle, offset, size,
                read_flags: 0, lock_owner: 0, flags: 0, padding: 0,
            };
            let bytes = message(15, arg.as_bytes());
            prop_assert_eq!(
                parse(&bytes).unwrap().operation,
                Operation::Read { handle, offset, size }
            );
            // Whatever is cut off, it is noticed.
            prop_assert!(parse(&message(15, &arg.as_bytes()[..cut])).is_err());
        }
    }
}
