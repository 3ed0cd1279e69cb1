//! Storing what has changed of a node in its entry.
//!
//! A save reads the filer's entry (or has it from the save before), changes it
//! and stores it under the condition that it is still the same (see [`compare`](crate::compare)). If
//! it is not, somebody else wrote the file or changed its attributes meanwhile: the change is
//! applied to what is there now, and tried again. Edits are relative to what they are applied to,
//! so both writers' bytes stay, the later ones above. What was appended is moved
//! behind what others appended.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use context::Context;
use filer::{Filer, Stamped, Updated};
use fuse::{Errno, NodeId};
use seaweed::{Entry, pb};
use writer::{Edit, WriteError};

use crate::compare::Tries;
use crate::entry::{kill_suidgid, touch_mtime};
use crate::files::File;
use crate::remote::RemoteError;
use crate::state::{Core, SLACK};
use crate::tree::Place;

/// What an event is given to arrive that says where a name has gone, and how often it is looked for.
const EVENT_PAUSE: Duration = Duration::from_secs(1);
const EVENT_LOOK: Duration = Duration::from_millis(5);

/// A change of an entry; it may be made several times, each time on a newer entry.
pub(crate) type Amend<'a> = &'a dyn Fn(&mut pb::Entry) -> Result<(), Errno>;

/// What became of a save.
enum Saved {
    /// The entry has it.
    Done,
    /// There is no entry any more.
    Gone,
}

impl Core {
    /// Stores what was written to `file`, if it is open, and `amend`.
    pub(crate) fn save(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        file: Option<&File>,
        durable: bool,
        amend: Option<Amend<'_>>,
    ) -> Result<(), Errno> {
        let Some(file) = file else {
            let Some(amend) = amend else { return Ok(()) };
            let _turn = self.amending.of(node.0).take(ctx).map_err(stopped)?;
            return match self.save_entry(ctx, node, None, None, amend)? {
                Saved::Done => Ok(()),
                Saved::Gone => Err(Errno::ENOENT),
            };
        };
        let _turn = file.turn.take(ctx).map_err(stopped)?;
        if !file.is_changed() && amend.is_none() {
            return Ok(());
        }
        let pending = file.pending();
        let edit = file
            .dirty
            .flush(ctx, durable)
            .map_err(|error| self.write_failed(node, &error))?;
        let ctx = &ctx.at_least(self.config.retry + SLACK);
        if edit.is_none() && pending.wrote.is_none() && pending.set.is_none() && amend.is_none() {
            return Ok(());
        }
        let change = |entry: &mut pb::Entry| {
            if let Some(wrote) = pending.wrote {
                touch_mtime(entry, wrote);
            }
            if pending.killed {
                kill_suidgid(entry.attributes.get_or_insert_default());
            }
            if let Some(set) = &pending.set {
                crate::entry::amend(entry, set, SystemTime::now(), &self.config);
            }
            amend.map_or(Ok(()), |amend| amend(entry))
        };
        match self.save_entry(ctx, node, Some(file), edit.as_ref(), &change) {
            Ok(Saved::Done) => {
                file.dirty.saved();
                file.saved(&pending, edit.map(|edit| edit.end));
                Ok(())
            }
            Ok(Saved::Gone) => {
                // Only its handles have the file now: what was written stays with them.
                file.dirty.not_saved();
                amend.map_or(Ok(()), |amend| self.amend_here(node, amend))
            }
            Err(errno) => {
                file.dirty.not_saved();
                Err(errno)
            }
        }
    }

    fn save_entry(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        file: Option<&File>,
        edit: Option<&Edit>,
        amend: Amend<'_>,
    ) -> Result<Saved, Errno> {
        let pending = file.map(File::pending);
        let mut tries = Tries::default();
        let mut moved = false;
        let mut now = *ctx;
        loop {
            tries.next(&now).inspect_err(|errno| {
                if *errno == Errno::EAGAIN {
                    tracing::warn!(inode = node.0, "others keep changing the file: giving up");
                }
            })?;
            let (_pass, later) = self.pass(&now)?;
            now = later;
            let ctx = &now;
            let (located, current) = {
                let tree = self.tree.read();
                let content = tree.content(node).ok_or(Errno::ESTALE)?;
                (tree.locate(node), Arc::clone(&content.entry))
            };
            let Some((directory, name, seq)) = located else {
                return self.gone(node, &current, edit);
            };
            if name.is_empty() {
                // The filer's root is no entry.
                return Err(Errno::ENOTSUP);
            }
            let _links = match &current.hard_link_id {
                Some(_) => Some(self.links.take(ctx).map_err(stopped)?),
                None => None,
            };
            let known = file.and_then(|file| file.base(&current));
            let known = known.filter(|_| current.hard_link_id.is_none());
            let base = match known {
                Some(base) => {
                    tries.remembered();
                    base
                }
                None => match self.stamped(ctx, &directory, &name) {
                    Ok(found) if is_same(&current, &found.value, &directory) => {
                        if tries.is_stored(&found.value) {
                            return self.took(node, file, &directory, (found, seq), moved);
                        }
                        let base = Arc::new(found.value);
                        tries.asked(&base, &self.compare);
                        base
                    }
                    Ok(_) => {
                        self.await_why(ctx, node, (&directory, &name))?;
                        continue;
                    }
                    Err(error) if error.is_not_found() => {
                        self.await_why(ctx, node, (&directory, &name))?;
                        continue;
                    }
                    Err(error) => return Err(self.remote.fail("save", &name, &error)),
                },
            };
            let mut next = pb::Entry::clone(&base);
            let appended = pending.as_ref().and_then(|pending| pending.appended_to);
            if let Some(edit) = edit {
                moved = lay(edit, appended, &mut next, &directory);
            }
            amend(&mut next)?;
            let condition = self.compare.condition(&base);
            let update = async |filer: &Filer| {
                let updated =
                    filer.update(&directory, &next, condition, self.signature, self.echo());
                updated.await
            };
            match self.remote.ask(ctx, update) {
                Ok(Updated::Done(stored)) => {
                    self.changed.note(&directory, &name);
                    self.compare.kept(condition);
                    return self.took(node, file, &directory, (*stored, seq), moved);
                }
                Ok(Updated::Conflict) => {
                    self.stats.conflicts.inc();
                    tries.refused(next);
                    if let Some(file) = file {
                        file.forget_base();
                    }
                }
                Err(error) if error.is_not_found() => {
                    if let Some(file) = file {
                        file.forget_base();
                    }
                }
                Err(error) => {
                    if let Some(file) = file {
                        file.forget_base();
                    }
                    self.doubt(node);
                    return Err(self.remote.fail("save", &name, &error));
                }
            }
        }
    }

    /// The filer has stored this, asked after change number `seq`; with `moved`, what was appended is
    /// elsewhere than the kernel has it.
    fn took(
        &self,
        node: NodeId,
        file: Option<&File>,
        directory: &str,
        (stored, seq): (Stamped<pb::Entry>, u64),
        moved: bool,
    ) -> Result<Saved, Errno> {
        let fence = self.stamp_of(&stored);
        let raw = Arc::new(stored.value);
        let parsed = self.parse(directory, pb::Entry::clone(&raw));
        let parsed = Arc::new(parsed.ok_or(Errno::EIO)?);
        self.change(|tree| tree.stored(node, Arc::clone(&parsed), fence, seq));
        if let Some(file) = file {
            file.set_base((raw, parsed));
        }
        if moved {
            self.invalidator
                .tell(vec![crate::tree::Invalidation::Data(node)]);
        }
        Ok(Saved::Done)
    }

    /// The filer's entry with all its fields.
    pub(crate) fn raw(
        &self,
        ctx: &Context<'_>,
        directory: &str,
        name: &str,
    ) -> Result<pb::Entry, RemoteError> {
        let asked = self.stamped(ctx, directory, name);
        asked.map(|answer| answer.value)
    }

    /// The same, and up to where the filer's events are in it.
    pub(crate) fn stamped(
        &self,
        ctx: &Context<'_>,
        directory: &str,
        name: &str,
    ) -> Result<Stamped<pb::Entry>, RemoteError> {
        let lookup = async |filer: &Filer| filer.lookup(directory, name).await;
        self.remote.ask(ctx, lookup)
    }

    /// The error number for whoever wrote; says what went wrong.
    pub(crate) fn write_failed(&self, node: NodeId, error: &WriteError) -> Errno {
        let errno = match error {
            WriteError::Interrupted => return Errno::EINTR,
            WriteError::NoSpace(_) => Errno::ENOSPC,
            WriteError::Refused(_) => Errno::EPERM,
            WriteError::TooLarge => return Errno::EFBIG,
            WriteError::Upload(_) | WriteError::Swap(_) | WriteError::TimedOut => Errno::EIO,
        };
        let path = self.tree.read().path(node).unwrap_or_default();
        tracing::warn!(path, %error, "write failed");
        errno
    }

    /// The filer has another inode at the node's name, or none. Waits for the event that says why: the node
    /// was moved, or has lost its name.
    ///
    /// # Errors
    /// ESTALE when none comes, as while another mount still renames a directory above: the bytes are
    /// nowhere, and whoever wrote them has to know.
    fn await_why(&self, ctx: &Context<'_>, node: NodeId, asked: (&str, &str)) -> Result<(), Errno> {
        let until = Instant::now() + EVENT_PAUSE;
        loop {
            let (place, is_doomed) = {
                let tree = self.tree.read();
                let is_doomed = tree.node(node).is_some_and(|held| held.doomed);
                (tree.locate(node), is_doomed)
            };
            let is_there = |(directory, name, _): &(String, String, u64)| {
                (directory.as_str(), name.as_str()) == asked
            };
            if !place.as_ref().is_some_and(is_there) {
                return Ok(());
            }
            if is_doomed {
                self.change(|tree| tree.vanished(node));
                return Ok(());
            }
            if Instant::now() >= until {
                let (directory, name) = asked;
                tracing::warn!(
                    directory,
                    name,
                    "the entry is gone, and nothing says where to"
                );
                return Err(Errno::ESTALE);
            }
            ctx.sleep(EVENT_LOOK).map_err(stopped)?;
        }
    }

    /// The node has no name any more: what is changed stays with its handles. Unless it has other names, which
    /// are not known here.
    ///
    /// # Errors
    /// EIO for bytes that those names would have to show.
    fn gone(&self, node: NodeId, current: &Entry, edit: Option<&Edit>) -> Result<Saved, Errno> {
        if edit.is_some() && current.hard_link_id.is_some() && current.nlink > 0 {
            let names = current.nlink;
            tracing::warn!(
                inode = node.0,
                names,
                "written bytes cannot be stored: no name of the file is known"
            );
            return Err(Errno::EIO);
        }
        Ok(Saved::Gone)
    }

    /// It is not known what the filer has of a node now.
    fn doubt(&self, node: NodeId) {
        let place = self.tree.read().node(node).map(|held| held.place.clone());
        if let Some(Place::In(parent, name)) = place {
            self.change(|tree| tree.in_doubt(parent, &name));
        }
    }

    /// Amends a node that has no entry any more, for the handles that still have it.
    fn amend_here(&self, node: NodeId, amend: Amend<'_>) -> Result<(), Errno> {
        let entry = {
            let tree = self.tree.read();
            Arc::clone(&tree.content(node).ok_or(Errno::ESTALE)?.entry)
        };
        let mut raw = attributes_of(&entry);
        amend(&mut raw)?;
        let amended = Entry::from_pb("/", raw).map_err(|_| Errno::EIO)?;
        let amended = Entry {
            chunks: Arc::clone(&entry.chunks),
            content: entry.content.clone(),
            size: entry.size,
            nlink: entry.nlink,
            hard_link_id: entry.hard_link_id.clone(),
            ..amended
        };
        self.change(|tree| tree.amended(node, Arc::new(amended)));
        Ok(())
    }
}

/// Now, as the filer stores it: in nanoseconds since 1970.
pub(crate) fn now_ns() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX))
}

/// What a caller is told whose wait was ended.
pub(crate) fn stopped(stopped: context::Stopped) -> Errno {
    match stopped {
        context::Stopped::Interrupted => Errno::EINTR,
        context::Stopped::TimedOut => Errno::EIO,
    }
}

/// Lays an edit over an entry; whether it had to be moved behind what others appended.
fn lay(edit: &Edit, appended_to: Option<u64>, entry: &mut pb::Entry, directory: &str) -> bool {
    let attributes = entry.attributes.get_or_insert_default();
    // The sum of the old bytes.
    attributes.md5 = bytes::Bytes::new();
    let size = Entry::from_pb(directory, entry.clone()).map_or(0, |entry| entry.size);
    let mut base = std::mem::take(&mut entry.chunks);
    // Where an attempt whose answer was lost has put them, behind where the edit has them.
    let landed = base.iter().find_map(|old| {
        let new = edit.chunks.iter().find(|new| new.fid == old.fid)?;
        u64::try_from(old.offset.checked_sub(new.offset)?).ok()
    });
    // An attempt whose answer was lost may have put them there.
    base.retain(|chunk| !edit.chunks.iter().any(|new| new.fid == chunk.fid));
    if !entry.content.is_empty() {
        entry.content = bytes::Bytes::new();
        base.clear();
    }
    let shift = match (landed, appended_to) {
        (Some(by), _) => by,
        (None, Some(was)) if size > was && edit.cut.is_none() => size - was,
        (None, _) => 0,
    };
    let applied = if shift > 0 {
        let mut edit = edit.clone();
        edit.end = edit.end.saturating_add(shift);
        for chunk in &mut edit.chunks {
            chunk.offset = chunk.offset.saturating_add_unsigned(shift);
        }
        edit.apply(&base, size, now_ns())
    } else {
        edit.apply(&base, size, now_ns())
    };
    entry.chunks = applied.chunks;
    let attributes = entry.attributes.get_or_insert_default();
    attributes.file_size = applied.size;
    shift > 0
}

/// Whether the filer's entry is the inode that the tree knows, and not a newer one of its name.
fn is_same(current: &Entry, base: &pb::Entry, directory: &str) -> bool {
    match Entry::from_pb(directory, base.clone()) {
        Ok(found) if found.inode == current.inode => true,
        // Giving it a second name makes an inode number of another kind where none is stored.
        Ok(found) => {
            let stored = base.attributes.as_ref().map_or(0, |it| it.inode);
            let group = &current.hard_link_id;
            let is_same = match found.hard_link_id {
                Some(_) => group.is_none() || *group == found.hard_link_id,
                // The path counts in it, which a rename of a directory above changes.
                None => group.is_none() && found.crtime == current.crtime,
            };
            stored == 0 && is_same
        }
        Err(_) => false,
    }
}

/// The attributes of an entry in the filer's form.
fn attributes_of(entry: &Entry) -> pb::Entry {
    let (mtime, mtime_ns) = Entry::stored_time(entry.mtime);
    let (ctime, ctime_ns) = Entry::stored_time(entry.ctime);
    let (atime, atime_ns) = Entry::stored_time(entry.atime);
    let (crtime, crtime_ns) = Entry::stored_time(entry.crtime);
    let xattrs = entry.xattrs.iter();
    pb::Entry {
        name: entry.name.clone(),
        is_directory: entry.is_directory(),
        attributes: Some(pb::FuseAttributes {
            file_mode: entry.kind.to_go() | entry.perm,
            uid: entry.uid,
            gid: entry.gid,
            rdev: entry.rdev,
            inode: entry.inode,
            symlink_target: entry.symlink_target.clone(),
            mime: entry.mime.clone(),
            ttl_sec: entry.ttl_sec,
            mtime,
            mtime_ns,
            ctime,
            ctime_ns,
            atime,
            atime_ns,
            crtime,
            crtime_ns,
            ..pb::FuseAttributes::default()
        }),
        extended: xattrs
            .map(|(name, value)| (Entry::xattr_key(name), value.clone()))
            .collect(),
        ..pb::Entry::default()
    }
}
