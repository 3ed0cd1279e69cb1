//! Changing the bytes of files.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use context::Context;
use filer::Filer;
use fuse::{Errno, NodeId, Opened, Request, Write};
use seaweed::Kind;
use writer::WriteError;

use crate::files::{Base, File};
use crate::remote::RemoteError;
use crate::save::stopped;
use crate::tree::{Content, Invalidation};

use super::Mount;
use super::data::How;

/// What a save may take: a full buffer over a slow line.
const SAVE_BUDGET: Duration = Duration::from_secs(120);

/// Flags of open(2).
pub(super) const O_ACCMODE: u32 = 3;
const O_TRUNC: u32 = 0o1000;
const O_APPEND: u32 = 0o2000;

/// Modes of fallocate(2).
const KEEP_SIZE: u32 = 1;
const PUNCH_HOLE: u32 = 2;
const ZERO_RANGE: u32 = 16;

impl Mount {
    /// A handle of a file that was just made.
    pub(super) fn open_made(&self, node: NodeId, base: Base, flags: u32) -> Opened {
        {
            let tree = self.core.tree.read();
            if let Some(held) = tree.node(node) {
                // The kernel has no pages of it, so it has the right ones.
                held.keep_cache();
                held.open();
            }
        }
        let file = self.acquire(node);
        // The first save need not ask for what was just made.
        file.set_base(base);
        self.opened(node, file, flags, true, How::Cached(None))
    }

    /// The file's shared state, one handle more.
    pub(super) fn acquire(&self, node: NodeId) -> Arc<File> {
        let path = || self.core.tree.read().path(node).unwrap_or_default();
        self.core.files.open(node, path)
    }

    /// One handle less; with the last one goes what nobody can name any more.
    pub(super) fn relinquish(&self, file: &File) {
        if !self.core.files.close(file) {
            return;
        }
        let mut chunks = file.take_orphans();
        if !file.dirty.is_clean() {
            chunks.extend(file.dirty.abandon());
        }
        self.discard(&Context::background(SAVE_BUDGET), chunks);
    }

    pub(super) fn write_file(
        &self,
        req: Request<'_>,
        handle: u64,
        write: Write<'_>,
    ) -> Result<(), Errno> {
        let handle = self.files.find(handle)?;
        let file = &handle.file;
        if write.data.is_empty() {
            return Ok(());
        }
        let ctx = self.core.context(req);
        if let Some(error) = file.dirty.take_error() {
            return Err(self.core.write_failed(file.node, &error));
        }
        self.has_room()?;
        self.prepare(&ctx, file, false)?;
        let size = self.size_of(file)?;
        // The kernel may not have heard yet how long others have made the file.
        let append = write.flags & O_APPEND != 0 && !write.from_cache;
        let offset = if append { size } else { write.offset };
        file.dirty
            .write(&ctx, offset, write.data)
            .map_err(|error| self.core.write_failed(file.node, &error))?;
        self.quota.wrote(write.data.len() as u64);
        let appended_to = append.then_some(size);
        file.wrote(SystemTime::now(), appended_to, write.kill_suidgid);
        if offset != write.offset {
            let pages = Invalidation::Data(file.node);
            self.core.invalidator.tell(vec![pages]);
        }
        Ok(())
    }

    /// Takes bytes that do not come from the kernel.
    pub(super) fn write_copied(
        &self,
        ctx: &Context<'_>,
        file: &File,
        offset: u64,
        bytes: &[u8],
    ) -> Result<(), Errno> {
        self.has_room()?;
        self.prepare(ctx, file, false)?;
        file.dirty
            .write(ctx, offset, bytes)
            .map_err(|error| self.core.write_failed(file.node, &error))?;
        self.quota.wrote(bytes.len() as u64);
        file.wrote(SystemTime::now(), None, false);
        Ok(())
    }

    /// Sets the length of a file, without saving it.
    pub(super) fn truncate(
        &self,
        ctx: &Context<'_>,
        file: &File,
        size: u64,
        killed: bool,
    ) -> Result<(), Errno> {
        self.prepare(ctx, file, size == 0)?;
        if size > self.size_of(file)? {
            self.has_room()?;
        }
        file.dirty
            .truncate(size)
            .map_err(|error| self.core.write_failed(file.node, &error))?;
        file.wrote(SystemTime::now(), None, killed);
        Ok(())
    }

    pub(super) fn allocate(
        &self,
        req: Request<'_>,
        handle: u64,
        offset: u64,
        length: u64,
        mode: u32,
    ) -> Result<(), Errno> {
        let handle = self.files.find(handle)?;
        let file = &handle.file;
        let ctx = Context::new(SAVE_BUDGET, req.interrupt);
        let end = offset.checked_add(length).ok_or(Errno::EFBIG)?;
        let size = self.size_of(file)?;
        let keep = mode & KEEP_SIZE != 0;
        match mode & !KEEP_SIZE {
            0 => {
                self.has_room()?;
                if keep || end <= size {
                    return Ok(());
                }
                self.truncate(&ctx, file, end, false)
            }
            PUNCH_HOLE if keep => self.zero(&ctx, file, offset..end.min(size)),
            ZERO_RANGE => {
                self.has_room()?;
                self.zero(&ctx, file, offset..end.min(size))?;
                if keep || end <= size {
                    return Ok(());
                }
                self.truncate(&ctx, file, end, false)
            }
            _ => Err(Errno::ENOTSUP),
        }
    }

    /// Saves what was written; `durable` is fsync(2).
    pub(super) fn save_handle(
        &self,
        req: Request<'_>,
        handle: u64,
        durable: bool,
    ) -> Result<(), Errno> {
        let handle = self.files.find(handle)?;
        let file = &handle.file;
        let ctx = Context::new(SAVE_BUDGET, req.interrupt);
        if !file.is_changed() {
            // What was written through descriptors that are closed may not be on disk.
            return match durable {
                true => self.sync_closed(&ctx, file),
                false => Ok(()),
            };
        }
        let failed = file.dirty.take_error();
        self.core.save(&ctx, file.node, Some(file), durable, None)?;
        match failed {
            Some(error) => Err(self.core.write_failed(file.node, &error)),
            None => Ok(()),
        }
    }

    /// Has what was written through closed descriptors put on disk. A failure is told once, as everywhere on
    /// Linux: a volume may have become one that nothing can be written to, and stay so.
    fn sync_closed(&self, ctx: &Context<'_>, file: &File) -> Result<(), Errno> {
        let _turn = file.turn.take(ctx).map_err(stopped)?;
        file.dirty.sync(ctx).map_err(|error| {
            if !matches!(error, WriteError::Interrupted | WriteError::TimedOut) {
                file.dirty.take_unsynced();
            }
            self.core.write_failed(file.node, &error)
        })
    }

    /// close(2) when nobody waits for the bytes: tells what an upload has failed with before. RELEASE,
    /// which the kernel sends with the last close and does not wait for, saves them.
    pub(super) fn flush_later(&self, handle: u64) -> Result<(), Errno> {
        let handle = self.files.find(handle)?;
        match handle.file.dirty.take_error() {
            Some(error) => Err(self.core.write_failed(handle.file.node, &error)),
            None => Ok(()),
        }
    }

    /// The last descriptor of a handle is closed: what no flush has saved is saved now.
    pub(super) fn save_released(&self, file: &File) {
        if file.is_saved() {
            return;
        }
        let ctx = Context::background(SAVE_BUDGET);
        if let Err(error) = self.core.save(&ctx, file.node, Some(file), false, None) {
            tracing::error!(inode = file.node.0, %error, "written bytes are lost");
        }
    }

    /// Saves every file that is open; before the mount ends.
    pub(super) fn save_all(&self) {
        for file in self.core.files.all() {
            self.save_released(&file);
        }
    }

    /// The length with what was written.
    pub(super) fn size_of(&self, file: &File) -> Result<u64, Errno> {
        // Both under one lock: a save gives the length to the entry before it takes it from the
        // changes, and in between it must not be missed.
        let tree = self.core.tree.read();
        let content = tree.content(file.node).ok_or(Errno::ESTALE)?;
        Ok(file.dirty.size(content.entry.size))
    }

    /// Brings a file into a state in which chunks can be laid over it. With `drop_all` its bytes
    /// are not needed any more.
    pub(super) fn prepare(
        &self,
        ctx: &Context<'_>,
        file: &File,
        drop_all: bool,
    ) -> Result<(), Errno> {
        let mut content = self.content(file.node)?;
        if content.entry.kind != Kind::Regular {
            return Err(Errno::EINVAL);
        }
        if content.entry.is_remote_only() && !drop_all {
            content = self.bring_in(ctx, file, &content)?;
        }
        if content.entry.content.is_empty() {
            return Ok(());
        }
        // Bytes in the entry itself would hide all chunks. Nobody writes before they are copied, or
        // they would lie above.
        let _seeding = file.seeding.take(ctx).map_err(stopped)?;
        if file.is_seeded() {
            return Ok(());
        }
        // Unless a save has made them a chunk meanwhile.
        let content = self.content(file.node)?;
        if !drop_all && !content.entry.content.is_empty() {
            let inline = &content.entry.content;
            file.dirty
                .write(ctx, 0, inline)
                .map_err(|error| self.core.write_failed(file.node, &error))?;
        }
        file.seeded();
        Ok(())
    }

    /// Has the filer fetch a file that is only in cloud storage.
    fn bring_in(
        &self,
        ctx: &Context<'_>,
        file: &File,
        content: &Content,
    ) -> Result<Arc<Content>, Errno> {
        let core = &self.core;
        let located = core.tree.read().locate(file.node);
        let (directory, name, seq) = located.ok_or(Errno::ESTALE)?;
        let cache = async |filer: &Filer| filer.cache_remote(&directory, &name).await;
        let cached = core
            .remote
            .ask(ctx, cache)
            .map_err(|error: RemoteError| core.remote.fail("write", &content.entry.name, &error))?;
        let fence = core.stamp_of(&cached);
        let entry = core.parse(&directory, cached.value).ok_or(Errno::EIO)?;
        core.change(|tree| tree.stored(file.node, Arc::new(entry), fence, seq));
        self.content(file.node)
    }

    /// Whether an open with these flags may change the file.
    pub(super) fn writes(flags: u32) -> bool {
        flags & O_ACCMODE != 0 || flags & O_TRUNC != 0
    }

    /// Whether an open with these flags empties the file.
    pub(super) fn truncates(flags: u32) -> bool {
        flags & O_TRUNC != 0
    }
}
