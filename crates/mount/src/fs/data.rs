//! The bytes of files.

use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use context::Context;
use filer::Filer;
use fuse::{Errno, NodeId, Opened, ReadReply, Request};
use parking_lot::Mutex;
use reader::{ReadError, Sink, Stream};
use seaweed::{Entry, FileView, Kind};
use whole::Whole;
use writer::Look;

use crate::fast::Local;
use crate::files::File;
use crate::remote::RemoteError;
use crate::streaming::Pass;
use crate::tree::{Content, Place};
use crate::walk::small_chunk;

use super::Mount;

/// An open file.
#[derive(Debug)]
pub(super) struct FileHandle {
    node: NodeId,
    stream: Stream,
    /// Whether anything was read through it.
    was_read: AtomicBool,
    /// Whether it was opened for writing.
    writes: bool,
    /// Whether a program runs by it.
    executes: bool,
    /// Whether the kernel reads it without asking.
    past_us: bool,
    /// Whether the kernel reads it past its page cache, and how it was read.
    direct: bool,
    pass: Mutex<Pass>,
    /// The directory it was opened in, if its ways are learnt.
    habit: Option<NodeId>,
    /// Where it is read by us, with `-cache.aggressive`.
    local: Mutex<Local>,
    pub(super) file: Arc<File>,
}

/// Where the kernel reads a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// In its page cache. With it goes the directory whose ways are learnt.
    Cached(Option<NodeId>),
    /// Here, past its page cache.
    Direct(Option<NodeId>),
    /// In a file of ours with this number, without asking.
    PastUs(u32),
}

/// `SEEK_DATA` and `SEEK_HOLE` of lseek(2).
const SEEK_DATA: u32 = 3;
const SEEK_HOLE: u32 = 4;

impl Mount {
    pub(super) fn open_file(
        &self,
        req: Request<'_>,
        node: NodeId,
        flags: u32,
    ) -> Result<Opened, Errno> {
        let ctx = self.core.context(req);
        self.core.may_open(&ctx, req, node, flags)?;
        if Self::writes(flags) {
            self.core.may_alter(&ctx, node)?;
            self.claim(req, node)?;
        }
        let opened = self.open_claimed(&ctx, node, flags);
        if opened.is_err() && Self::writes(flags) {
            self.core.unclaim(node);
        }
        opened
    }

    /// Waits while another mount writes a file, and finds what it wrote.
    fn claim(&self, req: Request<'_>, node: NodeId) -> Result<(), Errno> {
        if self.core.claim(req, node)?
            && let Err(error) = self.core.refresh(&self.core.context(req), node)
        {
            tracing::debug!(%error, inode = node.0, "not asked for before it was opened");
        }
        Ok(())
    }

    fn open_claimed(&self, ctx: &Context<'_>, node: NodeId, flags: u32) -> Result<Opened, Errno> {
        let whole = self.whole_of(node);
        let tree = self.core.tree.read();
        let held = tree.node(node).ok_or(Errno::ESTALE)?;
        let entry = &held.content.entry;
        match entry.kind {
            Kind::Directory => return Err(Errno::EISDIR),
            Kind::Symlink => return Err(Errno::ELOOP),
            _ => {}
        }
        if let Some(chunk) = entry.chunks.iter().find(|chunk| chunk.sse) {
            tracing::warn!(
                name = entry.name,
                chunk = %chunk.file_id,
                "encrypted by the S3 gateway (SSE), which alone holds the key: cannot be read here"
            );
            return Err(Errno::ENOTSUP);
        }
        self.reader.expect(&entry.chunks);
        let keep_cache = held.keep_cache();
        let backing = self.core.fast.as_ref().and_then(|fast| {
            let current = whole.filter(|(version, _)| held.content.version == *version);
            fast.open(node, held, current.map(|(_, whole)| whole))
        });
        held.open();
        let habit = match &held.place {
            Place::In(directory, _) if !Self::writes(flags) && backing.is_none() => {
                Some(*directory)
            }
            _ => None,
        };
        let direct = habit.is_some_and(|directory| {
            let streaming = &self.core.streaming;
            streaming.open(directory, node, entry.size)
        });
        drop(tree);
        let file = self.acquire(node);
        if Self::truncates(flags)
            && let Err(errno) =
                Self::may_empty(&file, flags).and_then(|()| self.truncate(ctx, &file, 0, false))
        {
            self.relinquish(&file);
            self.leave(node, backing.is_some());
            return Err(errno);
        }
        let how = match backing {
            Some(backing) => How::PastUs(backing),
            None if direct => How::Direct(habit),
            None => How::Cached(habit),
        };
        Ok(self.opened(node, file, flags, keep_cache, how))
    }

    /// The file of a node as it is now, and which version that is, if a handle could be opened past
    /// us with it. If it is not here, it is brought in.
    fn whole_of(&self, node: NodeId) -> Option<(u64, Whole)> {
        let fast = self.core.fast.as_ref()?;
        let (content, path) = {
            let tree = self.core.tree.read();
            let held = tree.node(node).filter(|held| !held.stale)?;
            (Arc::clone(&held.content), tree.path(node)?)
        };
        let key = fast.key(&content).ok()?;
        if fast.wants_file(node)
            && let Some(whole) = fast.files.find(&key, Some(&path))
        {
            return Some((content.version, whole));
        }
        if let Err(reason) = self.keep_whole(&content.entry, &path, true) {
            tracing::debug!(path, reason, "not kept whole");
        }
        None
    }

    /// A handle of a node is closed, or was not opened after all.
    fn leave(&self, node: NodeId, past_us: bool) {
        if let Some(fast) = &self.core.fast {
            let tree = self.core.tree.read();
            fast.close(node, tree.node(node), past_us);
        }
        self.core.tree.write().closed(node);
    }

    /// A handle of `file`.
    pub(super) fn opened(
        &self,
        node: NodeId,
        file: Arc<File>,
        flags: u32,
        keep_cache: bool,
        how: How,
    ) -> Opened {
        let (direct, habit, backing) = match how {
            How::Cached(habit) => (false, habit, None),
            How::Direct(habit) => (true, habit, None),
            How::PastUs(backing) => (false, None, Some(backing)),
        };
        if direct {
            self.core.stats.direct_opens.inc();
        }
        let executes = Self::executes(flags);
        if executes {
            file.execute();
        }
        let handle = self.files.insert(FileHandle {
            node,
            stream: Stream::new(),
            was_read: AtomicBool::new(false),
            writes: Self::writes(flags),
            executes,
            past_us: backing.is_some(),
            direct,
            pass: Mutex::default(),
            habit,
            local: Mutex::default(),
            file,
        });
        Opened {
            handle,
            keep_cache,
            direct_io: direct,
            // Who cannot write has nothing to save; locks are given back with FLUSH.
            no_flush: !Self::writes(flags) && !self.core.config.shared_locks,
            backing,
            ..Opened::default()
        }
    }

    pub(super) fn close_file(&self, handle: u64) {
        if let Some(handle) = self.files.remove(handle) {
            self.save_released(&handle.file);
            if handle.was_read.load(Ordering::Relaxed) {
                self.core.was_read(&handle.file);
            }
            self.learn_from(&handle);
            if handle.executes {
                handle.file.leave();
            }
            self.relinquish(&handle.file);
            if handle.writes {
                self.core.unclaim(handle.node);
            }
            self.leave(handle.node, handle.past_us);
        }
    }

    /// How a handle was read says how its neighbours will be.
    fn learn_from(&self, handle: &FileHandle) {
        let Some(directory) = handle.habit else {
            return;
        };
        let size = {
            let tree = self.core.tree.read();
            tree.node(handle.node).map(|held| held.content.entry.size)
        };
        if let Some(size) = size {
            let pass = *handle.pass.lock();
            let streaming = &self.core.streaming;
            streaming.closed(directory, handle.node, size, pass, handle.direct);
        }
    }

    /// Reads into `reply`; how many bytes. One read is answered from one version of the file.
    pub(super) fn read_file(
        &self,
        ctx: &Context<'_>,
        handle: u64,
        offset: u64,
        size: u32,
        reply: &mut ReadReply<'_>,
    ) -> Result<usize, Errno> {
        let file = self.files.find(handle)?;
        file.was_read.store(true, Ordering::Relaxed);
        file.pass.lock().read(offset, u64::from(size));
        let (content, done) = self.read_current(ctx, &file, offset, size, reply)?;
        match done {
            Err(DataError::Read(ReadError::NotFound { .. })) => {}
            done => return done.map_err(|error| self.read_failed(&content.entry, &error)),
        }
        // The chunk was deleted: the file must have changed since its entry was known.
        let refreshed = self.core.refresh(ctx, file.node);
        refreshed.map_err(|error| self.core.remote.fail("read", &content.entry.name, &error))?;
        if self.content(file.node)?.version == content.version {
            tracing::warn!(name = content.entry.name, "its chunks are gone");
            return Err(Errno::ESTALE);
        }
        reply.truncate(0);
        let (newer, done) = self.read_current(ctx, &file, offset, size, reply)?;
        done.map_err(|error| self.read_failed(&newer.entry, &error))
    }

    /// Reads the current version with what was written over it; which one that was, and what
    /// came of it.
    fn read_current(
        &self,
        ctx: &Context<'_>,
        handle: &FileHandle,
        offset: u64,
        size: u32,
        reply: &mut ReadReply<'_>,
    ) -> Result<(Arc<Content>, Result<usize, DataError>), Errno> {
        // The changes first: a save in between puts them into the entry, where laying them over
        // again does not matter. The other way round, they would be in neither.
        let end = offset.saturating_add(u64::from(size));
        let file = &handle.file;
        let look = file.is_changed().then(|| file.dirty.look(offset, end));
        let content = self.content(handle.node)?;
        let done = match look.transpose() {
            Ok(Some(look)) if !look.is_empty() => {
                self.read_changed(ctx, &content, look, handle, offset..end, reply)
            }
            Ok(_) => self.read_content(ctx, &content, handle, offset, size, reply),
            Err(error) => Err(error.into()),
        };
        Ok((content, done))
    }

    pub(super) fn seek(
        &self,
        ctx: &Context<'_>,
        handle: u64,
        offset: u64,
        whence: u32,
    ) -> Result<u64, Errno> {
        let file = self.files.find(handle)?;
        // Holes are known of chunks: what is only in memory becomes some.
        self.core
            .save(ctx, file.node, Some(&file.file), false, None)?;
        // Somebody wrote meanwhile, or the file has no name any more and nothing is saved.
        let unsaved = file.file.is_changed() && !file.file.dirty.is_clean();
        let content = self.content(file.node)?;
        let size = match unsaved {
            true => self.size_of(&file.file)?,
            false => content.entry.size,
        };
        if offset >= size {
            return Err(Errno::ENXIO);
        }
        if unsaved || !content.entry.content.is_empty() {
            // All data, as far as is known, and a hole behind the end as everywhere.
            return match whence {
                SEEK_DATA => Ok(offset),
                SEEK_HOLE => Ok(size),
                _ => Err(Errno::EINVAL),
            };
        }
        let view = self
            .view(ctx, &content, file.node)
            .map_err(|error| self.read_failed(&content.entry, &error))?;
        match whence {
            SEEK_DATA => view.next_data(offset).ok_or(Errno::ENXIO),
            SEEK_HOLE => Ok(view.next_hole(offset).unwrap_or(size)),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Where there may be data in a range: all else is known to be a hole.
    pub(super) fn data_within(
        &self,
        ctx: &Context<'_>,
        file: &File,
        range: Range<u64>,
    ) -> Result<Vec<Range<u64>>, Errno> {
        // In this order: a save in between would make a hole of what it has just put into the entry.
        let unsaved = file.is_changed() && !file.dirty.is_clean();
        let content = self.content(file.node)?;
        if unsaved || !content.entry.content.is_empty() {
            return Ok(vec![range]);
        }
        let view = self
            .view(ctx, &content, file.node)
            .map_err(|error| self.read_failed(&content.entry, &error))?;
        let mut found = Vec::new();
        let mut at = range.start;
        while let Some(start) = view.next_data(at).filter(|start| *start < range.end) {
            let end = view.next_hole(start).unwrap_or(range.end).min(range.end);
            found.push(start..end);
            at = end;
        }
        Ok(found)
    }

    /// Reads one version with changes over it.
    fn read_changed(
        &self,
        ctx: &Context<'_>,
        content: &Content,
        look: Look,
        handle: &FileHandle,
        wanted: Range<u64>,
        reply: &mut ReadReply<'_>,
    ) -> Result<usize, DataError> {
        let offset = wanted.start;
        let end = look.edit.size(content.entry.size).min(wanted.end);
        if end <= offset {
            return Ok(0);
        }
        let view = handle.file.view(content, &look, |chunks, size| {
            self.reader.resolve(ctx, chunks, size)
        })?;
        let mut at = offset;
        for (start, bytes) in look.over {
            self.read_view(ctx, &view, handle, at, start.min(end), reply)?;
            at = at.max(start.min(end));
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let bytes = bytes.slice(..bytes.len().min(left));
            at += bytes.len() as u64;
            reply.share(bytes);
        }
        self.read_view(ctx, &view, handle, at, end, reply)?;
        Ok((end - offset) as usize)
    }

    fn read_view(
        &self,
        ctx: &Context<'_>,
        view: &Arc<FileView>,
        handle: &FileHandle,
        from: u64,
        to: u64,
        reply: &mut ReadReply<'_>,
    ) -> Result<(), DataError> {
        if from < to {
            let len = (to - from) as usize;
            self.reader
                .read(ctx, view, &handle.stream, from, len, &mut Reply(reply))?;
        }
        Ok(())
    }

    pub(super) fn content(&self, node: NodeId) -> Result<Arc<Content>, Errno> {
        let tree = self.core.tree.read();
        tree.content(node).cloned().ok_or(Errno::ESTALE)
    }

    fn read_content(
        &self,
        ctx: &Context<'_>,
        content: &Content,
        file: &FileHandle,
        offset: u64,
        size: u32,
        reply: &mut ReadReply<'_>,
    ) -> Result<usize, DataError> {
        let entry = &content.entry;
        let left = entry.size.saturating_sub(offset);
        let len = left.min(u64::from(size)) as usize;
        if len == 0 {
            return Ok(0);
        }
        if let Some(fast) = &self.core.fast {
            let whole = file.local.lock().find(fast, content);
            let read = whole.is_some_and(|whole| read_whole(&whole, offset, len, reply));
            fast.was_read(read);
            if read {
                return Ok(len);
            }
        }
        if !entry.content.is_empty() {
            self.core.stats.inline_reads.inc();
            inline(&entry.content, offset, len, reply);
            return Ok(len);
        }
        if len as u64 == entry.size && small_chunk(entry).is_some() {
            // First, so that other threads fetch while this one does.
            self.look_ahead(file.node);
        }
        let view = self.view(ctx, content, file.node)?;
        self.reader
            .read(ctx, &view, &file.stream, offset, len, &mut Reply(reply))?;
        Ok(len)
    }

    /// A small file is read whole: has the next ones fetched where that is the habit.
    fn look_ahead(&self, node: NodeId) {
        let next = self.walks.read(&self.core.tree.read(), node);
        if !next.is_empty() {
            self.reader.fetch_small(next);
        }
    }

    /// The chunks of this version sorted out; made once, whoever comes first.
    fn view(
        &self,
        ctx: &Context<'_>,
        content: &Content,
        node: NodeId,
    ) -> Result<Arc<FileView>, DataError> {
        if let Some(view) = content.view.get() {
            return Ok(Arc::clone(view));
        }
        let _making = content.resolving.lock();
        if let Some(view) = content.view.get() {
            return Ok(Arc::clone(view));
        }
        let entry = &content.entry;
        let cached = entry
            .is_remote_only()
            .then(|| self.cache_remote(ctx, entry, node))
            .transpose()?;
        let chunks = cached
            .as_ref()
            .map_or(&entry.chunks, |cached| &cached.chunks);
        let view = self.reader.resolve(ctx, chunks, entry.size)?;
        Ok(Arc::clone(content.view.get_or_init(|| view)))
    }

    /// Has the cluster fetch a file that is only in the cloud; its entry with chunks.
    fn cache_remote(
        &self,
        ctx: &Context<'_>,
        entry: &Entry,
        node: NodeId,
    ) -> Result<Entry, DataError> {
        let fail = |reason: String| DataError::Remote {
            name: entry.name.clone(),
            reason,
        };
        let located = self.core.tree.read().locate(node);
        let (directory, name, _) = located.ok_or_else(|| fail("it was removed".to_owned()))?;
        let cache = async |filer: &Filer| filer.cache_remote(&directory, &name).await;
        match self.core.remote.ask(ctx, cache) {
            Ok(cached) => {
                Entry::from_pb(&directory, cached.value).map_err(|error| fail(error.to_string()))
            }
            Err(RemoteError::Stopped(stopped)) => Err(ReadError::from(stopped).into()),
            Err(error) => Err(fail(error.to_string())),
        }
    }

    fn read_failed(&self, entry: &Entry, error: &DataError) -> Errno {
        let errno = error.errno();
        if errno != Errno::EINTR {
            self.core.stats.read_errors.inc();
            tracing::warn!(name = entry.name, %error, "read failed");
        }
        errno
    }
}

/// Why the bytes of a file cannot be had.
#[derive(Debug, thiserror::Error)]
enum DataError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Written(#[from] writer::WriteError),
    #[error("{name} is only in cloud storage, and the filer cannot fetch it: {reason}")]
    Remote { name: String, reason: String },
}

impl DataError {
    fn errno(&self) -> Errno {
        match self {
            Self::Read(ReadError::Interrupted) => Errno::EINTR,
            Self::Read(ReadError::NotFound { .. }) => Errno::ESTALE,
            Self::Read(ReadError::Sse { .. }) => Errno::ENOTSUP,
            Self::Read(ReadError::TooLarge { .. }) => Errno::EFBIG,
            _ => Errno::EIO,
        }
    }
}

/// Reads a whole file on the local disk; false when that fails, and then nothing is appended.
fn read_whole(whole: &Whole, offset: u64, len: usize, reply: &mut ReadReply<'_>) -> bool {
    let before = reply.len();
    match whole.file().read_exact_at(reply.fill(len), offset) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "a whole file cannot be read, the servers are asked");
            reply.truncate(before);
            false
        }
    }
}

/// Bytes kept in the entry itself; what the size promises beyond them is a hole.
fn inline(content: &Bytes, offset: u64, len: usize, reply: &mut ReadReply<'_>) {
    let held = content.len();
    let start = usize::try_from(offset).map_or(held, |offset| offset.min(held));
    let end = (start + len).min(held);
    if end > start {
        reply.share(content.slice(start..end));
    }
    reply.zeros(len - (end - start));
}

/// The reader's way into a FUSE reply.
struct Reply<'a, 'b>(&'a mut ReadReply<'b>);

impl Sink for Reply<'_, '_> {
    fn fill(&mut self, len: usize) -> &mut [u8] {
        self.0.fill(len)
    }

    fn share(&mut self, bytes: Bytes) {
        self.0.share(bytes);
    }

    fn zeros(&mut self, len: usize) {
        self.0.zeros(len);
    }
}
