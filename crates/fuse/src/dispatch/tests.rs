//! Dispatch over a back end that refuses replies, as the kernel does when the
//! caller is gone: whatever the reply handed out must be taken back.

use std::ffi::OsStr;
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::Mutex;

use super::*;
use crate::abi::InHeader;
use crate::{
    Access, Attr, DirEntry, DirReply, Entry, FileType, Lookup, Opcode, Opened, ReadReply, StatFs,
    XattrReply,
};

/// Remembers replies; delivers them if there is a caller.
struct Wire {
    caller: bool,
    replies: Mutex<Vec<(u64, i32, Vec<u8>)>>,
}

impl Backend for Wire {
    const GATHERS: bool = true;
    type Memory<'a> = Vec<u8>;

    fn memory(&self) -> io::Result<Vec<u8>> {
        Ok(vec![0; 4096])
    }

    fn reply(&self, unique: u64, error: i32, body: &[IoSlice<'_>]) -> Result<(), Undelivered> {
        let body = body.iter().flat_map(|slice| slice.to_vec()).collect();
        self.replies.lock().push((unique, error, body));
        if self.caller {
            Ok(())
        } else {
            Err(Undelivered::Unwanted)
        }
    }

    fn reply_lent(&self, unique: u64, body: &[u8]) -> Result<(), Undelivered> {
        self.reply(unique, 0, &[IoSlice::new(body)])
    }
}

/// Three files named by one byte each; counts what the kernel holds.
#[derive(Default)]
struct Tree {
    lookups: Mutex<i64>,
    handles: Mutex<i64>,
    fail_listing: bool,
}

impl Tree {
    fn entry(&self, node: u64) -> Entry {
        *self.lookups.lock() += 1;
        let time = SystemTime::UNIX_EPOCH;
        Entry {
            node: NodeId(node),
            entry_ttl: Duration::ZERO,
            attr_ttl: Duration::ZERO,
            attr: Attr {
                ino: node,
                size: 0,
                blocks: 0,
                atime: time,
                mtime: time,
                ctime: time,
                kind: FileType::Regular,
                perm: 0,
                nlink: 1,
                uid: 0,
                gid: 0,
                rdev: 0,
                blksize: 512,
            },
        }
    }
}

impl FileSystem for Tree {
    fn lookup(&self, _: Request<'_>, _: NodeId, _: &OsStr) -> Result<Lookup, Errno> {
        Ok(Lookup::Found(self.entry(2)))
    }

    fn forget(&self, _: NodeId, count: u64) {
        *self.lookups.lock() -= count as i64;
    }

    fn getattr(
        &self,
        _: Request<'_>,
        _: NodeId,
        _: Option<u64>,
    ) -> Result<(Attr, Duration), Errno> {
        Err(Errno::from_raw(100_000))
    }

    fn readlink(&self, _: Request<'_>, _: NodeId) -> Result<Bytes, Errno> {
        Ok(Bytes::from(vec![b'x'; 4096]))
    }

    fn open(&self, _: Request<'_>, _: NodeId, _: u32) -> Result<Opened, Errno> {
        *self.handles.lock() += 1;
        Ok(Opened::default())
    }

    fn read(
        &self,
        _: Request<'_>,
        _: NodeId,
        _: u64,
        _: u64,
        size: u32,
        reply: &mut ReadReply<'_>,
    ) -> Result<(), Errno> {
        reply.fill(size as usize).fill(b'r');
        Ok(())
    }

    fn release(&self, _: NodeId, _: u64) {
        *self.handles.lock() -= 1;
    }

    fn opendir(&self, req: Request<'_>, node: NodeId, flags: u32) -> Result<Opened, Errno> {
        self.open(req, node, flags)
    }

    fn readdir(
        &self,
        req: Request<'_>,
        node: NodeId,
        handle: u64,
        offset: u64,
        reply: &mut DirReply<'_>,
    ) -> Result<(), Errno> {
        self.readdirplus(req, node, handle, offset, reply)
    }

    fn readdirplus(
        &self,
        _: Request<'_>,
        _: NodeId,
        _: u64,
        _: u64,
        reply: &mut DirReply<'_>,
    ) -> Result<(), Errno> {
        for index in 2..5 {
            let dirent = DirEntry {
                ino: index,
                next_offset: index,
                kind: FileType::Regular,
                name: b"n",
            };
            assert!(reply.add_plus(&dirent, || Some(self.entry(index))));
        }
        if self.fail_listing {
            Err(Errno::EIO)
        } else {
            Ok(())
        }
    }

    fn releasedir(&self, node: NodeId, handle: u64) {
        self.release(node, handle);
    }

    fn statfs(&self, _: Request<'_>, _: NodeId) -> Result<StatFs, Errno> {
        Ok(StatFs::default())
    }

    fn access(&self, _: Request<'_>, _: NodeId, _: Access) -> Result<(), Errno> {
        Ok(())
    }

    fn getxattr(&self, _: Request<'_>, _: NodeId, _: &OsStr, _: u32) -> Result<XattrReply, Errno> {
        Ok(XattrReply::Data(Bytes::from_static(b"value")))
    }

    fn listxattr(&self, _: Request<'_>, _: NodeId, _: u32) -> Result<XattrReply, Errno> {
        Ok(XattrReply::Size(9))
    }
}

/// One request through dispatch: the last reply, lookups and handles held after it.
fn ask(
    tree: Tree,
    caller: bool,
    opcode: Opcode,
    body: &[u8],
) -> (Option<(i32, Vec<u8>)>, i64, i64) {
    let header = InHeader {
        len: (size_of::<InHeader>() + body.len()) as u32,
        opcode: opcode.raw(),
        unique: 6,
        nodeid: 1,
        uid: 0,
        gid: 0,
        pid: 1,
        total_extlen: 0,
        padding: 0,
    };
    let mut message = header.as_bytes().to_vec();
    message.extend_from_slice(body);
    let dispatcher = Dispatcher::new(Arc::new(tree), None, 4096, true).unwrap();
    let mut scratch = Scratch {
        slot: dispatcher.running.register().unwrap(),
        segments: Segments::default(),
    };
    let wire = Wire {
        caller,
        replies: Mutex::default(),
    };
    dispatcher.handle(&message, &mut scratch, &wire);
    let reply = wire.replies.lock().pop().map(|(unique, error, body)| {
        assert_eq!(unique, 6);
        (error, body)
    });
    let (lookups, handles) = (*dispatcher.fs.lookups.lock(), *dispatcher.fs.handles.lock());
    (reply, lookups, handles)
}

/// Arguments of READ, READDIR and READDIRPLUS.
fn sized(size: u32) -> Vec<u8> {
    let mut body = vec![0; 40];
    body[16..20].copy_from_slice(&size.to_ne_bytes());
    body
}

#[test]
fn what_an_undelivered_reply_handed_out_is_taken_back() {
    for (opcode, body, lookups, handles) in [
        (Opcode::LOOKUP, b"name\0".to_vec(), 1, 0),
        (Opcode::READDIRPLUS, sized(4096), 3, 0),
        (Opcode::READDIR, sized(4096), 0, 0),
        (Opcode::OPEN, vec![0; 8], 0, 1),
        (Opcode::OPENDIR, vec![0; 8], 0, 1),
    ] {
        let (_, held, open) = ask(Tree::default(), true, opcode, &body);
        assert_eq!((held, open), (lookups, handles), "{opcode} delivered");
        let (_, held, open) = ask(Tree::default(), false, opcode, &body);
        assert_eq!((held, open), (0, 0), "{opcode} undelivered");
    }
}

#[test]
fn a_listing_that_fails_or_panics_half_way_keeps_no_lookups() {
    let tree = Tree {
        fail_listing: true,
        ..Tree::default()
    };
    let (reply, held, _) = ask(tree, true, Opcode::READDIRPLUS, &sized(4096));
    assert_eq!((reply.unwrap().0, held), (-libc::EIO, 0));
    // Room for two of the three: the assertion in the method panics.
    let (reply, held, _) = ask(Tree::default(), true, Opcode::READDIRPLUS, &sized(320));
    assert_eq!((reply.unwrap().0, held), (-libc::EIO, 0));
}

#[test]
fn replies_that_break_a_limit_become_errors() {
    let error = |opcode, body: &[u8]| ask(Tree::default(), true, opcode, body).0.unwrap().0;
    // An errno no kernel knows.
    assert_eq!(error(Opcode::GETATTR, &[0; 16]), -libc::EIO);
    assert_eq!(error(Opcode::READLINK, &[]), -libc::ENAMETOOLONG);
    // A READ larger than agreed on must not end early: that means end of file.
    assert_eq!(error(Opcode::READ, &sized(4097)), -libc::EIO);
    let xattr = |size: u8| [&[size, 0, 0, 0, 0, 0, 0, 0][..], b"user.x\0"].concat();
    assert_eq!(error(Opcode::GETXATTR, &xattr(4)), -libc::ERANGE);
    assert_eq!(error(Opcode::GETXATTR, &xattr(5)), 0);
    assert_eq!(
        error(Opcode::LISTXATTR, &[1, 0, 0, 0, 0, 0, 0, 0]),
        -libc::ERANGE
    );
}

#[test]
fn every_opcode_gets_exactly_the_answer_it_is_due() {
    for raw in 0..60 {
        let opcode = Opcode::from_raw(raw);
        // Names of one letter wherever there is one, and no bytes where their number stands.
        let mut body = b"x\0".repeat(64);
        match opcode {
            Opcode::WRITE | Opcode::BATCH_FORGET => body.fill(0),
            Opcode::SETXATTR => body[..4].fill(0),
            _ => {}
        }
        let (reply, ..) = ask(Tree::default(), true, opcode, &body);
        match reply {
            None => assert!(opcode.is_oneway(), "{opcode} is not answered"),
            Some((error, _)) if opcode == Opcode::INTERRUPT => assert_eq!(error, -libc::EAGAIN),
            Some((error, _)) => {
                assert!(!opcode.is_oneway(), "{opcode} is answered");
                if opcode.mutates() {
                    assert_eq!(error, -libc::EROFS, "{opcode}");
                }
                if opcode.name().is_none() {
                    assert_eq!(error, -libc::ENOSYS, "{opcode}");
                }
            }
        }
    }
}
