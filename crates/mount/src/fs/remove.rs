//! Names that go: unlink and rmdir.
//!
//! A file that is open here keeps its chunks when its last name goes: the filer
//! is told to remove the name alone, and the chunks are deleted when the last
//! handle is closed.

use std::ffi::OsStr;
use std::sync::Arc;

use context::Context;
use filer::{Deleted, Echo, Filer};
use fuse::{Errno, NodeId, Request};
use seaweed::pb;

use crate::files::File;
use crate::save::stopped;
use crate::tree::Question;

use super::{Mount, old_name};

/// Where chunks get a name for the moment in which they are deleted: below the filer's own
/// folder, which mounts do not show.
const DISCARD: &str = "/etc/riptide/discarded";

impl Mount {
    pub(super) fn remove(
        &self,
        req: Request<'_>,
        parent: NodeId,
        name: &OsStr,
        directory: bool,
    ) -> Result<(), Errno> {
        let name = old_name(name)?;
        let core = &self.core;
        let ctx = core.context(req);
        self.core.may_change_dir(&ctx, req, parent)?;
        let victim = core.tree.read().node_of(parent, name);
        self.core.may_remove(&ctx, req, parent, victim)?;
        let file = victim.and_then(|victim| core.files.find(victim));
        self.save_for_other_names(&ctx, file.as_ref())?;
        let _turn = match &file {
            Some(file) => Some(file.turn.take(&ctx).map_err(stopped)?),
            None => None,
        };
        let (_pass, ctx) = core.pass(&ctx)?;
        let question = self.question(parent)?;
        if core.is_hidden(&question.directory, name) {
            return Err(Errno::ENOENT);
        }
        core.may_alter_name(&ctx, &question.directory, name)?;
        let _links = match self.is_linked(victim) {
            true => Some(core.links.take(&ctx).map_err(stopped)?),
            false => None,
        };
        let keep = self.kept(&ctx, file.as_ref(), &question, name)?;
        let (within, data) = (&question.directory, keep.is_none());
        let delete = async |filer: &Filer| {
            let deleted = filer.delete(within, name, data, core.signature);
            deleted.await
        };
        match core.remote.ask(&ctx, delete) {
            Ok(Deleted::Done(done)) => {
                let fence = core.stamp_of(&done);
                core.change(|tree| tree.unmade(parent, name, fence));
                if let (Some(file), Some(chunks)) = (&file, keep) {
                    file.orphaned(chunks);
                }
                core.touch_dir(parent);
                Ok(())
            }
            Ok(Deleted::Absent) => {
                core.change(|tree| tree.absent(parent, name, &question));
                Err(Errno::ENOENT)
            }
            Ok(Deleted::NotEmpty) => Err(Errno::ENOTEMPTY),
            Err(error) => {
                core.change(|tree| tree.in_doubt(parent, name));
                let what = if directory { "rmdir" } else { "unlink" };
                Err(core.remote.fail(what, name, &error))
            }
        }
    }

    /// The chunks that handles of the file need after its last name is gone; `None` when nobody
    /// has it open here.
    pub(super) fn kept(
        &self,
        ctx: &Context<'_>,
        file: Option<&Arc<File>>,
        question: &Question,
        name: &str,
    ) -> Result<Option<Vec<pb::FileChunk>>, Errno> {
        if file.is_none() {
            return Ok(None);
        }
        let raw = self.core.raw(ctx, &question.directory, name);
        match raw {
            // The filer keeps the chunks as long as there is another name.
            Ok(raw) if raw.hard_link_id.is_empty() || raw.hard_link_counter <= 1 => {
                Ok(Some(raw.chunks))
            }
            Ok(_) => Ok(None),
            Err(error) if error.is_not_found() => Err(Errno::ENOENT),
            Err(error) => Err(self.core.remote.fail("unlink", name, &error)),
        }
    }

    /// A file is about to lose the name by which it is known here, while it may have others, which show what
    /// was written to it: that is stored as long as there is a name for it.
    pub(super) fn save_for_other_names(
        &self,
        ctx: &Context<'_>,
        file: Option<&Arc<File>>,
    ) -> Result<(), Errno> {
        match file {
            Some(file) if !file.is_saved() && self.is_linked(Some(file.node)) => {
                match self.core.save(ctx, file.node, Some(file), false, None) {
                    Err(Errno::EINTR) => Err(Errno::EINTR),
                    Err(errno) => {
                        // No reason to keep a name, of all things when there is no room. Whoever wrote is told.
                        tracing::warn!(inode = file.node.0, %errno, "not saved before a name goes");
                        Ok(())
                    }
                    Ok(()) => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }

    /// Whether the node is known to have several names.
    pub(super) fn is_linked(&self, node: Option<NodeId>) -> bool {
        let tree = self.core.tree.read();
        let content = node.and_then(|node| tree.content(node));
        content.is_some_and(|content| content.entry.hard_link_id.is_some())
    }

    /// A question about a name in `parent`.
    pub(super) fn question(&self, parent: NodeId) -> Result<Question, Errno> {
        let tree = self.core.tree.read();
        Ok(Question {
            directory: tree.path(parent).ok_or(Errno::ENOENT)?,
            seq: tree.seq(),
        })
    }

    /// Deletes chunks that no entry names: they get one that is removed with its data.
    pub(super) fn discard(&self, ctx: &Context<'_>, chunks: Vec<pb::FileChunk>) {
        if chunks.is_empty() {
            return;
        }
        let core = &self.core;
        let name = format!("{:08x}-{:016x}", core.signature, crate::save::now_ns());
        let entry = pb::Entry {
            name: name.clone(),
            attributes: Some(pb::FuseAttributes::default()),
            chunks,
            ..pb::Entry::default()
        };
        let discard = async |filer: &Filer| {
            filer
                .create(DISCARD, &entry, core.signature, Echo::Wanted)
                .await?;
            filer.delete(DISCARD, &name, true, core.signature).await
        };
        if let Err(error) = core.remote.ask(ctx, discard) {
            // volume.fsck finds them.
            tracing::warn!(%error, "chunks of a removed file are left behind");
        }
    }
}
