//! A file system in memory, and what the tests need to mount it.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use context::Context;
use fuse::{
    Access, Attr, DirEntry, DirReply, Entry, Errno, FileSystem, FileType, Lookup, NodeId, Notifier,
    Opened, ReadReply, Request, Session, SessionConfig, StatFs, Transport, XattrReply,
};
use parking_lot::{Mutex, RwLock};

/// Whether this machine can mount; says why not.
pub fn can_mount() -> bool {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: mounting needs root");
        return false;
    }
    if !Path::new("/dev/fuse").exists() {
        eprintln!("SKIPPED: there is no /dev/fuse");
        return false;
    }
    true
}

/// Whether this kernel has FUSE over io_uring; says if not.
fn has_uring() -> bool {
    let has = Path::new("/sys/module/fuse/parameters/enable_uring").exists();
    if !has {
        eprintln!("SKIPPED: this kernel has no FUSE over io_uring, the device serves");
    }
    has
}

/// Leaves the test, with a message, where nothing can be mounted.
#[allow(unused_macros)]
macro_rules! needs_mount {
    () => {
        if !support::can_mount() {
            return;
        }
    };
}

/// A mounted [`MemFs`], unmounted at the end of the test.
pub struct Mounted {
    pub session: Session,
    pub fs: Arc<MemFs>,
    pub dir: tempfile::TempDir,
}

impl Mounted {
    pub fn new(fs: MemFs) -> Self {
        Self::with(fs, SessionConfig::default())
    }

    pub fn with(fs: MemFs, mut config: SessionConfig) -> Self {
        // The tests of `device` are those of the others once more.
        if env!("CARGO_CRATE_NAME") == "device" || !has_uring() {
            config.transport = Transport::Device;
        } else if config.transport == Transport::Auto {
            config.transport = Transport::Uring;
        }
        let dir = tempfile::tempdir().unwrap();
        let fs = Arc::new(fs);
        let session = Session::mount(dir.path(), config, Arc::clone(&fs)).unwrap();
        Self { session, fs, dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// What a node of the tree is.
pub enum Kind {
    Directory(Vec<(Vec<u8>, u64)>),
    /// Content by pieces, so that replies are made of pieces too.
    File(RwLock<Vec<Piece>>),
    Symlink(&'static str),
    /// Reads block until they are interrupted or [`MemFs::release`] is set.
    Blocked,
    /// Reads panic.
    Panics,
    /// Reads put more into the reply than was asked for.
    Overflows,
    /// Reads go to this file without us.
    Backed(std::fs::File),
}

#[derive(Clone)]
pub enum Piece {
    Fill(Vec<u8>),
    Share(Bytes),
    Zeros(usize),
}

impl Piece {
    fn len(&self) -> usize {
        match self {
            Self::Fill(bytes) => bytes.len(),
            Self::Share(bytes) => bytes.len(),
            Self::Zeros(len) => *len,
        }
    }
}

pub struct Node {
    pub kind: Kind,
    pub open: Opened,
}

/// Nodes by number; 1 is the root. Lookups are counted as the kernel counts them.
pub struct MemFs {
    nodes: HashMap<u64, Node>,
    names: HashMap<(u64, Vec<u8>), u64>,
    pub lookups: Mutex<HashMap<u64, i64>>,
    pub lookups_seen: AtomicU64,
    /// READ requests as (offset, size).
    pub reads: Mutex<Vec<(u64, u32)>>,
    pub blocked: AtomicU64,
    pub interrupted: AtomicU64,
    pub release: AtomicBool,
    pub handles: AtomicU64,
    pub notifier: Mutex<Option<Notifier>>,
    pub ttl: Duration,
}

impl MemFs {
    pub fn new() -> Self {
        let mut fs = Self {
            nodes: HashMap::new(),
            names: HashMap::new(),
            lookups: Mutex::default(),
            lookups_seen: AtomicU64::new(0),
            reads: Mutex::default(),
            blocked: AtomicU64::new(0),
            interrupted: AtomicU64::new(0),
            release: AtomicBool::new(false),
            handles: AtomicU64::new(0),
            notifier: Mutex::default(),
            ttl: Duration::from_secs(3600),
        };
        fs.nodes.insert(1, node(Kind::Directory(Vec::new())));
        fs
    }

    /// Adds a node to the root and tells its number.
    pub fn add(&mut self, name: &str, kind: Kind) -> u64 {
        self.add_to(1, name, node(kind))
    }

    pub fn add_to(&mut self, parent: u64, name: &str, node: Node) -> u64 {
        let number = self.nodes.len() as u64 + 1;
        self.nodes.insert(number, node);
        let name = name.as_bytes().to_vec();
        self.names.insert((parent, name.clone()), number);
        match &mut self.nodes.get_mut(&parent).unwrap().kind {
            Kind::Directory(entries) => entries.push((name, number)),
            _ => panic!("{parent} is no directory"),
        }
        number
    }

    /// A file with this content, replied to as borrowed memory.
    pub fn add_file(&mut self, name: &str, content: impl Into<Bytes>) -> u64 {
        self.add(
            name,
            Kind::File(RwLock::new(vec![Piece::Share(content.into())])),
        )
    }

    pub fn set_content(&self, node: u64, content: Vec<Piece>) {
        match &self.nodes[&node].kind {
            Kind::File(pieces) => *pieces.write() = content,
            _ => panic!("{node} is no file"),
        }
    }

    /// Lookups the kernel has not taken back.
    pub fn lookups_held(&self) -> i64 {
        self.lookups.lock().values().sum()
    }

    fn node(&self, node: NodeId) -> Result<&Node, Errno> {
        self.nodes.get(&node.0).ok_or(Errno::ENOENT)
    }

    fn attr(&self, number: u64) -> Attr {
        let node = &self.nodes[&number];
        let (kind, size) = match &node.kind {
            Kind::Directory(entries) => (FileType::Directory, entries.len() as u64),
            Kind::File(pieces) => {
                let size = pieces.read().iter().map(Piece::len).sum::<usize>();
                (FileType::Regular, size as u64)
            }
            Kind::Symlink(target) => (FileType::Symlink, target.len() as u64),
            Kind::Backed(file) => (FileType::Regular, file.metadata().unwrap().len()),
            Kind::Blocked | Kind::Panics | Kind::Overflows => (FileType::Regular, 1 << 20),
        };
        let time = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
        Attr {
            ino: number + 1000,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            kind,
            perm: 0o777,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
        }
    }

    fn entry(&self, number: u64) -> Entry {
        Entry {
            node: NodeId(number),
            entry_ttl: self.ttl,
            attr_ttl: self.ttl,
            attr: self.attr(number),
        }
    }

    fn count(&self, number: u64) {
        *self.lookups.lock().entry(number).or_default() += 1;
    }

    fn list(&self, node: NodeId, offset: u64, reply: &mut DirReply<'_>) -> Result<(), Errno> {
        let Kind::Directory(entries) = &self.node(node)?.kind else {
            return Err(Errno::ENOTDIR);
        };
        for (index, (name, number)) in entries.iter().enumerate().skip(offset as usize) {
            let dirent = DirEntry {
                ino: number + 1000,
                next_offset: index as u64 + 1,
                kind: self.attr(*number).kind,
                name,
            };
            let added = reply.add_plus(&dirent, || {
                self.count(*number);
                Some(self.entry(*number))
            });
            if !added {
                break;
            }
        }
        Ok(())
    }

    fn block(&self, req: Request<'_>) -> Result<(), Errno> {
        self.blocked.fetch_add(1, Ordering::SeqCst);
        let ctx = Context::new(Duration::from_secs(60), req.interrupt);
        while !self.release.load(Ordering::SeqCst) {
            if ctx.sleep(Duration::from_millis(5)).is_err() {
                self.interrupted.fetch_add(1, Ordering::SeqCst);
                return Err(Errno::EINTR);
            }
        }
        Ok(())
    }
}

fn node(kind: Kind) -> Node {
    let open = Opened {
        keep_cache: true,
        ..Opened::default()
    };
    Node { kind, open }
}

/// A file whose every open bypasses the page cache.
pub fn direct(kind: Kind) -> Node {
    let open = Opened {
        direct_io: true,
        ..Opened::default()
    };
    Node { kind, open }
}

impl FileSystem for MemFs {
    fn mounted(&self, notifier: Notifier, _: &fuse::Negotiated) {
        *self.notifier.lock() = Some(notifier);
    }

    fn lookup(&self, _: Request<'_>, parent: NodeId, name: &OsStr) -> Result<Lookup, Errno> {
        self.lookups_seen.fetch_add(1, Ordering::SeqCst);
        match self.names.get(&(parent.0, name.as_bytes().to_vec())) {
            Some(number) => {
                self.count(*number);
                Ok(Lookup::Found(self.entry(*number)))
            }
            None => Ok(Lookup::Negative(self.ttl)),
        }
    }

    fn forget(&self, node: NodeId, count: u64) {
        *self.lookups.lock().entry(node.0).or_default() -= count as i64;
    }

    fn getattr(
        &self,
        _: Request<'_>,
        node: NodeId,
        _: Option<u64>,
    ) -> Result<(Attr, Duration), Errno> {
        self.node(node)?;
        Ok((self.attr(node.0), self.ttl))
    }

    fn readlink(&self, _: Request<'_>, node: NodeId) -> Result<Bytes, Errno> {
        match self.node(node)?.kind {
            Kind::Symlink(target) => Ok(Bytes::from_static(target.as_bytes())),
            _ => Err(Errno::EINVAL),
        }
    }

    fn open(&self, _: Request<'_>, node: NodeId, _: u32) -> Result<Opened, Errno> {
        use std::os::fd::AsFd;

        let node = self.node(node)?;
        let mut opened = node.open;
        if let Kind::Backed(file) = &node.kind {
            let notifier = self.notifier.lock().clone().unwrap();
            opened.backing = Some(
                notifier
                    .open_backing(file.as_fd())
                    .map_err(|_| Errno::EIO)?,
            );
        }
        opened.handle = self.handles.fetch_add(1, Ordering::SeqCst) + 1;
        Ok(opened)
    }

    fn read(
        &self,
        req: Request<'_>,
        node: NodeId,
        _: u64,
        offset: u64,
        size: u32,
        reply: &mut ReadReply<'_>,
    ) -> Result<(), Errno> {
        self.reads.lock().push((offset, size));
        match &self.node(node)?.kind {
            Kind::File(pieces) => {
                let (mut skip, mut left) = (offset as usize, size as usize);
                for piece in pieces.read().iter() {
                    if skip >= piece.len() {
                        skip -= piece.len();
                        continue;
                    }
                    let len = left.min(piece.len() - skip);
                    match piece {
                        Piece::Fill(bytes) => {
                            reply.fill(len).copy_from_slice(&bytes[skip..skip + len]);
                        }
                        Piece::Share(bytes) => reply.share(bytes.slice(skip..skip + len)),
                        Piece::Zeros(_) => reply.zeros(len),
                    }
                    skip = 0;
                    left -= len;
                    if left == 0 {
                        break;
                    }
                }
                Ok(())
            }
            Kind::Blocked => {
                self.block(req)?;
                reply.zeros(size as usize);
                Ok(())
            }
            Kind::Panics => panic!("a bug in read"),
            Kind::Overflows => {
                reply.zeros(size as usize + 1);
                Ok(())
            }
            _ => Err(Errno::EISDIR),
        }
    }

    fn release(&self, _: NodeId, _: u64) {
        self.handles.fetch_sub(1, Ordering::SeqCst);
    }

    fn opendir(&self, _: Request<'_>, _: NodeId, _: u32) -> Result<Opened, Errno> {
        Ok(Opened::default())
    }

    fn readdir(
        &self,
        _: Request<'_>,
        node: NodeId,
        _: u64,
        offset: u64,
        reply: &mut DirReply<'_>,
    ) -> Result<(), Errno> {
        self.list(node, offset, reply)
    }

    fn readdirplus(
        &self,
        _: Request<'_>,
        node: NodeId,
        _: u64,
        offset: u64,
        reply: &mut DirReply<'_>,
    ) -> Result<(), Errno> {
        self.list(node, offset, reply)
    }

    fn releasedir(&self, _: NodeId, _: u64) {}

    fn statfs(&self, _: Request<'_>, _: NodeId) -> Result<StatFs, Errno> {
        Ok(StatFs {
            blocks: 1000,
            bfree: 400,
            bavail: 300,
            files: 50,
            ffree: 20,
            bsize: 4096,
            namelen: 255,
            frsize: 512,
        })
    }

    fn access(&self, _: Request<'_>, _: NodeId, mask: Access) -> Result<(), Errno> {
        if mask.0 & libc::X_OK as u32 == 0 {
            Ok(())
        } else {
            Err(Errno::EACCES)
        }
    }

    fn getxattr(
        &self,
        _: Request<'_>,
        _: NodeId,
        name: &OsStr,
        _: u32,
    ) -> Result<XattrReply, Errno> {
        match name.as_bytes() {
            b"user.colour" => Ok(XattrReply::Data(Bytes::from_static(b"blue"))),
            _ => Err(Errno::ENODATA),
        }
    }

    fn listxattr(&self, _: Request<'_>, _: NodeId, size: u32) -> Result<XattrReply, Errno> {
        const NAMES: &[u8] = b"user.colour\0user.size\0";
        match size {
            0 => Ok(XattrReply::Size(NAMES.len() as u32)),
            _ => Ok(XattrReply::Data(Bytes::from_static(NAMES))),
        }
    }
}

/// Waits until `condition` holds, or fails the test with `what`.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A small generator of test data: the same sequence for the same seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}
