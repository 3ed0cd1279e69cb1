//! Hard links.
//!
//! To the filer the names of a file are entries that share an id; what they have
//! in common, their number included, it keeps under that id. A first link makes
//! the file such an entry, and each further one counts up.

use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use context::{Context, Stopped};
use fuse::{Entry as Reply, Errno, NodeId, Request};
use seaweed::{Entry, Kind, pb};

use crate::entry::touch_ctime;
use crate::save::{now_ns, stopped};
use crate::tree::Question;

use super::make::Unmade;
use super::{Mount, new_name};

/// How long what is left of a link that failed may take.
const AFTERWARDS: Duration = Duration::from_secs(10);

/// Marks an id as one of a hard link, as the filer makes them.
const MARK: u8 = 0x01;

impl Mount {
    pub(super) fn link_node(
        &self,
        req: Request<'_>,
        node: NodeId,
        parent: NodeId,
        name: &OsStr,
    ) -> Result<Reply, Errno> {
        let name = new_name(name)?;
        let core = &self.core;
        let ctx = core.context(req);
        self.core.may_change_dir(&ctx, req, parent)?;
        self.has_room()?;
        core.keeper.pace(&ctx)?;
        {
            let tree = core.tree.read();
            let content = tree.content(node).ok_or(Errno::ESTALE)?;
            if content.entry.kind == Kind::Directory {
                return Err(Errno::EPERM);
            }
        }
        core.may_alter(&ctx, node)?;
        // What is written so far belongs to all names.
        let file = core.files.find(node);
        core.save(&ctx, node, file.as_deref(), false, None)?;
        let _turn = match &file {
            Some(file) => Some(file.turn.take(&ctx).map_err(stopped)?),
            None => None,
        };
        let _links = core.links.take(&ctx).map_err(stopped)?;
        let (_pass, ctx) = core.pass(&ctx)?;
        let question = self.question(parent)?;
        if core.is_hidden(&question.directory, name) {
            return Err(Errno::EPERM);
        }
        let located = core.tree.read().locate(node);
        let (directory, old_name, seq) = located.ok_or(Errno::ENOENT)?;
        let fail = |error| core.remote.fail("link", name, &error);
        // Whoever is there first has it, and then nothing is changed.
        if core
            .ask(&ctx, &question.directory, name)
            .map_err(fail)?
            .is_some()
        {
            core.change(|tree| tree.in_doubt(parent, name));
            return Err(Errno::EEXIST);
        }
        let id = new_id(core.signature);
        let changed = core.change_raw(&ctx, "link", (&directory, &old_name), &|entry| {
            count(entry, &id)
        })?;
        let new = pb::Entry {
            name: name.to_owned(),
            ..changed.sent
        };
        let group = new.hard_link_id.clone();
        let made = self.create_at(&ctx, parent, &question, new);
        let (entry, fence) = match made {
            Ok(made) => (made.entry, made.fence),
            Err(unmade) => match self.perhaps_made(&ctx, &unmade, &question, &group, name) {
                Some(made) => made,
                None => {
                    if unmade.surely {
                        self.take_back((&directory, &old_name), &group, &id);
                    } else {
                        tracing::warn!(old_name, "a link was counted and perhaps not made");
                    }
                    return Err(unmade.errno);
                }
            },
        };
        core.change(|tree| {
            if let Some((entry, fence)) = changed.stored {
                tree.stored(node, entry, fence, seq);
            }
        });
        if let Some(file) = &file {
            file.forget_base();
        }
        let known = core.change(|tree| tree.linked(parent, name, &question, entry, fence));
        core.touch_dir(parent);
        let known = known.ok_or(Errno::ESTALE)?;
        core.reply(known)
    }

    /// The new name, if the filer made it although it was not heard to say so.
    fn perhaps_made(
        &self,
        ctx: &Context<'_>,
        unmade: &Unmade,
        question: &Question,
        group: &Bytes,
        name: &str,
    ) -> Option<(Arc<Entry>, i64)> {
        // Who is killed does not wait for this.
        if unmade.surely || ctx.check() == Err(Stopped::Interrupted) {
            return None;
        }
        let ctx = Context::background(AFTERWARDS);
        let found = self
            .core
            .ask(&ctx, &question.directory, name)
            .ok()
            .flatten();
        found.filter(|(entry, _)| entry.hard_link_id.as_ref() == Some(group))
    }

    /// The number goes back to what it was, since the new name was surely not made. Where it may
    /// still be, it stays: a number too high keeps bytes for too long, one too low loses those of a name.
    fn take_back(&self, old: (&str, &str), group: &Bytes, id: &Bytes) {
        // The filer has just answered, so this is no long wait, even for who is killed.
        let ctx = Context::background(AFTERWARDS);
        let back = |entry: &mut pb::Entry| uncount(entry, group, id);
        if let Err(errno) = self.core.change_raw(&ctx, "link", old, &back) {
            tracing::warn!(name = old.1, %errno, "a link was counted and not made");
        }
    }
}

/// One more name: the first link makes the file a group of that id.
fn count(entry: &mut pb::Entry, id: &Bytes) -> Result<(), Errno> {
    if entry.hard_link_id.is_empty() {
        entry.hard_link_id = id.clone();
        entry.hard_link_counter = 1;
    }
    let counted = entry.hard_link_counter.checked_add(1);
    entry.hard_link_counter = counted.ok_or(Errno::EMLINK)?;
    touch_ctime(entry, SystemTime::now());
    Ok(())
}

/// One name less of `group`, unless the entry is in another by now; one that was made for this, `id`, and has
/// one name left is none.
fn uncount(entry: &mut pb::Entry, group: &Bytes, id: &Bytes) -> Result<(), Errno> {
    if entry.hard_link_id != group {
        return Ok(());
    }
    entry.hard_link_counter -= 1;
    if group == id && entry.hard_link_counter <= 1 {
        entry.hard_link_id = Bytes::new();
        entry.hard_link_counter = 0;
    }
    touch_ctime(entry, SystemTime::now());
    Ok(())
}

/// An id that nobody else makes: whose it is, when it was made, and how many were before.
fn new_id(signature: i32) -> Bytes {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let mut id = Vec::with_capacity(17);
    id.extend_from_slice(&signature.to_be_bytes());
    id.extend_from_slice(&now_ns().to_be_bytes());
    let made = MADE.fetch_add(1, Ordering::Relaxed);
    id.extend_from_slice(&(made as u32).to_be_bytes());
    id.push(MARK);
    id.into()
}
