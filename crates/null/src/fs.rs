//! The answers.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use bench::Tree;
use bytes::Bytes;
use fuse::{
    Access, Attr, DirEntry, DirReply, Entry, Errno, FileSystem, FileType, Lookup, NodeId, Opened,
    ReadReply, Request, StatFs, XattrReply,
};

use crate::nodes::{Node, Nodes};

/// A tree in memory, read-only.
#[derive(Debug)]
pub struct NullFs {
    nodes: Nodes,
    /// When it was made: the time of everything in it.
    time: SystemTime,
    uid: u32,
    gid: u32,
}

impl NullFs {
    /// Makes all of `tree`, with the bytes of its files.
    #[must_use]
    pub fn new(tree: &Tree) -> Self {
        Self {
            nodes: Nodes::of(tree),
            time: SystemTime::now(),
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        }
    }

    fn attr(&self, node: NodeId, found: &Node) -> Attr {
        let (size, perm, nlink) = match found {
            Node::Folder(_) => (4096, 0o755, 2),
            Node::File(bytes) => (bytes.len() as u64, 0o644, 1),
        };
        Attr {
            ino: node.0,
            size,
            blocks: size.div_ceil(512),
            atime: self.time,
            mtime: self.time,
            ctime: self.time,
            kind: found.kind(),
            perm,
            nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: 0,
            blksize: 4096,
        }
    }

    fn entry(&self, node: NodeId, found: &Node) -> Entry {
        Entry {
            node,
            entry_ttl: TTL,
            attr_ttl: TTL,
            attr: self.attr(node, found),
        }
    }

    fn list(
        &self,
        node: NodeId,
        offset: u64,
        reply: &mut DirReply<'_>,
        plus: bool,
    ) -> Result<(), Errno> {
        let names = &self.nodes.folder(node)?.names;
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        for (index, (name, number)) in names.iter().enumerate().skip(start) {
            let found = self.nodes.get(*number)?;
            let dirent = DirEntry {
                ino: number.0,
                next_offset: index as u64 + 1,
                kind: found.kind(),
                name,
            };
            let entry = || plus.then(|| self.entry(*number, found));
            if !reply.add_plus(&dirent, entry) {
                break;
            }
        }
        Ok(())
    }
}

impl FileSystem for NullFs {
    fn lookup(&self, _: Request<'_>, parent: NodeId, name: &OsStr) -> Result<Lookup, Errno> {
        match self.nodes.folder(parent)?.find(name.as_bytes()) {
            Some(node) => Ok(Lookup::Found(self.entry(node, self.nodes.get(node)?))),
            None => Ok(Lookup::Negative(TTL)),
        }
    }

    /// Nothing goes while it is mounted.
    fn forget(&self, _: NodeId, _: u64) {}

    fn getattr(
        &self,
        _: Request<'_>,
        node: NodeId,
        _: Option<u64>,
    ) -> Result<(Attr, Duration), Errno> {
        Ok((self.attr(node, self.nodes.get(node)?), TTL))
    }

    fn readlink(&self, _: Request<'_>, _: NodeId) -> Result<Bytes, Errno> {
        Err(Errno::EINVAL)
    }

    fn open(&self, _: Request<'_>, node: NodeId, _: u32) -> Result<Opened, Errno> {
        self.nodes.file(node)?;
        // As a mount of Riptide opens what nobody writes.
        Ok(Opened {
            keep_cache: true,
            no_flush: true,
            ..Opened::default()
        })
    }

    fn read(
        &self,
        _: Request<'_>,
        node: NodeId,
        _: u64,
        offset: u64,
        size: u32,
        reply: &mut ReadReply<'_>,
    ) -> Result<(), Errno> {
        let bytes = self.nodes.file(node)?;
        let start = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let end = start.saturating_add(size as usize).min(bytes.len());
        reply.share(bytes.slice(start..end));
        Ok(())
    }

    fn release(&self, _: NodeId, _: u64) {}

    fn opendir(&self, _: Request<'_>, node: NodeId, _: u32) -> Result<Opened, Errno> {
        self.nodes.folder(node)?;
        Ok(Opened {
            keep_cache: true,
            cache_dir: true,
            ..Opened::default()
        })
    }

    fn readdir(
        &self,
        _: Request<'_>,
        node: NodeId,
        _: u64,
        offset: u64,
        reply: &mut DirReply<'_>,
    ) -> Result<(), Errno> {
        self.list(node, offset, reply, false)
    }

    fn readdirplus(
        &self,
        _: Request<'_>,
        node: NodeId,
        _: u64,
        offset: u64,
        reply: &mut DirReply<'_>,
    ) -> Result<(), Errno> {
        self.list(node, offset, reply, true)
    }

    fn releasedir(&self, _: NodeId, _: u64) {}

    fn statfs(&self, _: Request<'_>, _: NodeId) -> Result<StatFs, Errno> {
        Ok(StatFs {
            files: self.nodes.count() as u64,
            bsize: 4096,
            frsize: 4096,
            namelen: 255,
            ..StatFs::default()
        })
    }

    fn access(&self, _: Request<'_>, node: NodeId, mask: Access) -> Result<(), Errno> {
        let executes = mask.0 & libc::X_OK.cast_unsigned() != 0;
        match self.nodes.get(node)?.kind() {
            FileType::Regular if executes => Err(Errno::EACCES),
            _ => Ok(()),
        }
    }

    fn getxattr(&self, _: Request<'_>, _: NodeId, _: &OsStr, _: u32) -> Result<XattrReply, Errno> {
        Err(Errno::ENODATA)
    }

    fn listxattr(&self, _: Request<'_>, _: NodeId, size: u32) -> Result<XattrReply, Errno> {
        Ok(match size {
            0 => XattrReply::Size(0),
            _ => XattrReply::Data(Bytes::new()),
        })
    }
}

/// As long as both `weed mount` and Riptide let the kernel keep names, by default.
const TTL: Duration = Duration::from_secs(60);
