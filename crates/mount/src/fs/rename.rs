//! Moving names.
//!
//! The filer moves a name over another in one call. Its answer has no time by
//! which it could be ordered among the events, so the new name is asked for
//! afterwards: the filer answers that under the same lock.

use std::ffi::OsStr;
use std::time::Duration;

use context::Context;
use filer::{Echo, Filer, Renamed};
use fuse::{Errno, NodeId, Request};
use seaweed::pb;

use crate::entry::touch_ctime;
use crate::save::{now_ns, stopped};
use crate::tree::Question;

use super::{Mount, new_name, old_name};

/// What the filer may take to move a directory with all that is below it.
const DIRECTORY_BUDGET: Duration = Duration::from_secs(3600);
/// Flags of renameat2(2).
const NOREPLACE: u32 = 1;

/// Whether the new directory is what is moved, or below it.
fn is_below(old: &Question, name: &str, new: &Question) -> bool {
    let moved = format!("{}/{name}", old.directory.trim_end_matches('/'));
    let rest = new.directory.strip_prefix(&moved);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Mount {
    pub(super) fn rename_name(
        &self,
        req: Request<'_>,
        from: (NodeId, &OsStr),
        to: (NodeId, &OsStr),
        flags: u32,
    ) -> Result<(), Errno> {
        if flags & !NOREPLACE != 0 {
            // The filer has nothing that exchanges two names at once, and one after the other
            // would lose a file when it breaks off in between.
            return Err(Errno::EINVAL);
        }
        let (old, new) = (old_name(from.1)?, new_name(to.1)?);
        let core = &self.core;
        let ctx = core.context(req);
        self.core.may_change_dir(&ctx, req, from.0)?;
        self.core.may_change_dir(&ctx, req, to.0)?;
        let (source, target) = {
            let tree = core.tree.read();
            (tree.node_of(from.0, old), tree.node_of(to.0, new))
        };
        self.core.may_remove(&ctx, req, from.0, source)?;
        self.core.may_remove(&ctx, req, to.0, target)?;
        let replaced = target.filter(|target| source != Some(*target));
        let replaced = replaced.and_then(|target| core.files.find(target));
        self.save_for_other_names(&ctx, replaced.as_ref())?;
        // In one order, whoever else takes two.
        let mut nodes: Vec<NodeId> = source.into_iter().chain(target).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let files: Vec<_> = nodes
            .into_iter()
            .filter_map(|node| core.files.find(node))
            .collect();
        let turns: Result<Vec<_>, _> = files.iter().map(|file| file.turn.take(&ctx)).collect();
        let _turns = turns.map_err(stopped)?;
        let is_directory = {
            let tree = core.tree.read();
            let content = source.and_then(|source| tree.content(source));
            content.is_some_and(|content| content.entry.is_directory())
        };
        if is_directory {
            let _closed = core.gate.close(&ctx).map_err(stopped)?;
            self.move_directory(source, (from.0, old), (to.0, new), flags)?;
        } else {
            let (_pass, ctx) = core.pass(&ctx)?;
            self.move_file(&ctx, (source, target), (from.0, old), (to.0, new), flags)?;
        }
        core.touch_dir(from.0);
        core.touch_dir(to.0);
        Ok(())
    }

    fn move_file(
        &self,
        ctx: &Context<'_>,
        (source, target): (Option<NodeId>, Option<NodeId>),
        from: (NodeId, &str),
        to: (NodeId, &str),
        flags: u32,
    ) -> Result<(), Errno> {
        let core = &self.core;
        let _links = match self.is_linked(target) {
            true => Some(core.links.take(ctx).map_err(stopped)?),
            false => None,
        };
        // A name that is there is in the way of a rename that replaces none, whatever it names.
        if flags & NOREPLACE == 0 && self.are_one(ctx, target, from, to)? {
            return Ok(());
        }
        self.move_name(ctx, source, from, to, flags)?;
        if let Some(file) = source.and_then(|source| core.files.find(source))
            && let Some(path) = core.tree.read().path(file.node)
        {
            file.dirty.set_path(path);
        }
        Ok(())
    }

    /// Whether both are names of one file: rename(2) leaves both, then. The kernel sees to that itself, but where it knows
    /// them by two nodes, as one of them became a link elsewhere.
    fn are_one(
        &self,
        ctx: &Context<'_>,
        target: Option<NodeId>,
        from: (NodeId, &str),
        to: (NodeId, &str),
    ) -> Result<bool, Errno> {
        let core = &self.core;
        let may_be = {
            let tree = core.tree.read();
            let target = target.and_then(|target| tree.node(target));
            target.is_some_and(|held| held.stale || held.content.entry.hard_link_id.is_some())
        };
        if !may_be {
            return Ok(false);
        }
        let group = |(parent, name): (NodeId, &str)| {
            let asked = core.ask(ctx, &self.question(parent)?.directory, name);
            let found = asked.map_err(|error| core.remote.fail("rename", name, &error))?;
            Ok(found.and_then(|(entry, _)| entry.hard_link_id.clone()))
        };
        let replaced = group(to)?;
        Ok(replaced.is_some() && replaced == group(from)?)
    }

    /// The filer moves what is below name by name, and a move that breaks off is half made. So it is
    /// waited for as long as it goes on, whoever gives up.
    fn move_directory(
        &self,
        source: Option<NodeId>,
        from: (NodeId, &str),
        to: (NodeId, &str),
        flags: u32,
    ) -> Result<(), Errno> {
        let core = &self.core;
        let place = self.question(to.0)?;
        let was_there = {
            let mut tree = core.tree.write();
            let path = source.and_then(|source| tree.path(source));
            tree.set_moving(path);
            tree.node_of(to.0, to.1).is_some()
        };
        let moved = self.move_name(
            &Context::background(DIRECTORY_BUDGET),
            source,
            from,
            to,
            flags,
        );
        core.tree.write().set_moving(None);
        let half_made = match moved {
            // Somebody has made something in it meanwhile.
            Err(Errno::ENOTEMPTY) => !was_there,
            Err(errno) => errno == Errno::EIO,
            Ok(()) => false,
        };
        if half_made {
            let from = from.1;
            tracing::warn!(
                from,
                directory = place.directory,
                to = to.1,
                "perhaps moved in part"
            );
            core.doubt_everything();
        }
        moved
    }

    fn move_name(
        &self,
        ctx: &Context<'_>,
        source: Option<NodeId>,
        from: (NodeId, &str),
        to: (NodeId, &str),
        flags: u32,
    ) -> Result<(), Errno> {
        let core = &self.core;
        let (old, new) = (self.question(from.0)?, self.question(to.0)?);
        if core.is_hidden(&old.directory, from.1) {
            return Err(Errno::ENOENT);
        }
        if core.is_hidden(&new.directory, to.1) {
            return Err(Errno::EPERM);
        }
        core.may_alter_name(ctx, &old.directory, from.1)?;
        core.may_alter_name(ctx, &new.directory, to.1)?;
        if flags & NOREPLACE != 0 {
            match core.ask(ctx, &new.directory, to.1) {
                Ok(None) => {}
                Ok(Some(_)) => {
                    core.change(|tree| tree.in_doubt(to.0, to.1));
                    return Err(Errno::EEXIST);
                }
                Err(error) => return Err(core.remote.fail("rename", to.1, &error)),
            }
        }
        let in_doubt = || {
            core.change(|tree| {
                tree.in_doubt(from.0, from.1);
                tree.in_doubt(to.0, to.1);
            });
        };
        let rename = async |filer: &Filer| {
            let (from, to) = ((&*old.directory, from.1), (&*new.directory, to.1));
            filer.rename(from, to, core.signature).await
        };
        match core.remote.ask(ctx, rename) {
            Ok(Renamed::Done) => {}
            Ok(Renamed::Absent) => {
                in_doubt();
                return Err(Errno::ENOENT);
            }
            Ok(Renamed::NotEmpty) => return Err(Errno::ENOTEMPTY),
            Ok(Renamed::IsDirectory) => return Err(Errno::EISDIR),
            Ok(Renamed::NotDirectory) => return Err(Errno::ENOTDIR),
            Ok(Renamed::BelowItself) if is_below(&old, from.1, &new) => {
                return Err(Errno::EINVAL);
            }
            Ok(Renamed::BelowItself) => {
                self.detour(ctx, (&old, from.1), (&new, to.1))
                    .inspect_err(|_| in_doubt())?;
            }
            Ok(Renamed::Forbidden) => return Err(Errno::EPERM),
            Ok(Renamed::OtherCollection) => return Err(Errno::EXDEV),
            Err(error) => {
                in_doubt();
                return Err(core.remote.fail("rename", from.1, &error));
            }
        }
        self.learn_moved(ctx, source, from, to, &new.directory)
            .inspect_err(|_| in_doubt())
    }

    /// The filer takes `/a/foobar` for a folder below `/a/foo`, as its path begins in the same
    /// way, and does not move one into the other. By way of another name it does.
    fn detour(
        &self,
        ctx: &Context<'_>,
        from: (&Question, &str),
        to: (&Question, &str),
    ) -> Result<(), Errno> {
        let core = &self.core;
        let old = from.0.directory.as_str();
        let aside = format!(".riptide-{:08x}-{:016x}", core.signature, now_ns());
        let step = |from: (&str, &str), to: (&str, &str)| {
            let rename = async |filer: &Filer| filer.rename(from, to, core.signature).await;
            match core.remote.ask(ctx, rename) {
                Ok(Renamed::Done) => Ok(()),
                Ok(Renamed::Absent) => Err(Errno::ENOENT),
                Ok(Renamed::NotEmpty) => Err(Errno::ENOTEMPTY),
                Ok(Renamed::IsDirectory) => Err(Errno::EISDIR),
                Ok(Renamed::NotDirectory) => Err(Errno::ENOTDIR),
                Ok(_) => Err(Errno::EINVAL),
                Err(error) => Err(core.remote.fail("rename", from.1, &error)),
            }
        };
        step((old, from.1), (old, &aside))?;
        let moved = step((old, &aside), (&to.0.directory, to.1));
        if moved.is_err()
            && let Err(errno) = step((old, &aside), (old, from.1))
        {
            tracing::error!(old, aside, %errno, "a name is left aside");
        }
        moved
    }

    /// Asks for the new name, gives it the time of the rename and keeps it.
    fn learn_moved(
        &self,
        ctx: &Context<'_>,
        source: Option<NodeId>,
        from: (NodeId, &str),
        to: (NodeId, &str),
        directory: &str,
    ) -> Result<(), Errno> {
        let core = &self.core;
        let touch = async |filer: &Filer| {
            let base = filer.lookup(directory, to.1).await?.value;
            let mut raw = base.clone();
            touch_ctime(&mut raw, std::time::SystemTime::now());
            let condition = core.compare.condition(&base);
            filer
                .update(directory, &raw, condition, core.signature, Echo::Wanted)
                .await
        };
        let stored: filer::Stamped<pb::Entry> = match core.remote.ask(ctx, touch) {
            Ok(filer::Updated::Done(stored)) => *stored,
            // Somebody changes the entry, or the filer compares otherwise.
            Ok(filer::Updated::Conflict) => {
                let touch = |entry: &mut _| {
                    touch_ctime(entry, std::time::SystemTime::now());
                    Ok(())
                };
                // It has been moved; a time that cannot be stored is no reason to say otherwise.
                if let Err(error) = core.change_raw(ctx, "rename", (directory, to.1), &touch) {
                    tracing::debug!(%error, name = to.1, "renamed without a new ctime");
                }
                let lookup = async |filer: &Filer| filer.lookup(directory, to.1).await;
                let asked = core.remote.ask(ctx, lookup);
                asked.map_err(|error| core.remote.fail("rename", to.1, &error))?
            }
            Err(error) if error.is_not_found() => {
                // Somebody has moved or removed it already.
                core.change(|tree| {
                    tree.in_doubt(from.0, from.1);
                    tree.in_doubt(to.0, to.1);
                });
                return Ok(());
            }
            Err(error) => return Err(core.remote.fail("rename", to.1, &error)),
        };
        let fence = core.stamp_of(&stored);
        let entry = core.parse(directory, stored.value).ok_or(Errno::EIO)?;
        let entry = std::sync::Arc::new(entry);
        core.change(|tree| tree.moved(source, from, to, entry, fence));
        Ok(())
    }
}
