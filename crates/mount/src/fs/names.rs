//! Names: lookup, attributes, links and directories.

use bytes::Bytes;
use context::Context;
use fuse::{DirEntry, DirReply, Errno, Lookup, NodeId, Opened};
use seaweed::Kind;

use crate::attr::file_type;
use crate::list::DirHandle;
use crate::state::Negative;
use crate::tree::Place;

use super::Mount;

/// `.` and `..` come first.
const DOTS: u64 = 2;

impl Mount {
    pub(super) fn find(
        &self,
        ctx: &Context<'_>,
        parent: NodeId,
        name: &str,
    ) -> Result<Lookup, Errno> {
        match self.core.lookup(ctx, parent, name)? {
            Ok(known) => Ok(Lookup::Found(self.core.reply(known)?)),
            Err(Negative { keep }) => Ok(Lookup::Negative(self.core.ttl(keep))),
        }
    }

    pub(super) fn link_target(&self, node: NodeId) -> Result<Bytes, Errno> {
        let tree = self.core.tree.read();
        let entry = &tree.content(node).ok_or(Errno::ESTALE)?.entry;
        match entry.kind {
            Kind::Symlink => Ok(Bytes::copy_from_slice(entry.symlink_target.as_bytes())),
            _ => Err(Errno::EINVAL),
        }
    }

    pub(super) fn open_directory(&self, node: NodeId) -> Result<Opened, Errno> {
        let keep_cache = self.core.tree.write().keep_listing(node);
        Ok(Opened {
            handle: self.dirs.insert(DirHandle::new()),
            keep_cache,
            cache_dir: self.core.stats.is_trusted(),
            ..Opened::default()
        })
    }

    /// Adds entries to `reply` until it is full; with attributes when `plus`.
    pub(super) fn list(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        handle: u64,
        offset: u64,
        plus: bool,
        reply: &mut DirReply<'_>,
    ) -> Result<(), Errno> {
        let dir = self.dirs.find(handle)?;
        dir.with(&self.core, ctx, node, offset, |listing| {
            let mut offset = offset;
            while let Some(name) = [".", ".."].get(offset as usize) {
                let entry = DirEntry {
                    ino: self.dot_ino(node, name),
                    next_offset: offset + 1,
                    kind: fuse::FileType::Directory,
                    name: name.as_bytes(),
                };
                let added = if plus {
                    reply.add_plus(&entry, || None)
                } else {
                    reply.add(&entry)
                };
                if !added {
                    return Ok(());
                }
                offset += 1;
            }
            loop {
                let index = usize::try_from(offset - DOTS).map_err(|_| Errno::EINVAL)?;
                let listed = match listing.entry(&self.core, ctx, node, index) {
                    Ok(Some(listed)) => listed,
                    Ok(None) => return Ok(()),
                    // What was added is shown first; the error comes when the rest is asked for.
                    Err(_) if !reply.is_empty() => return Ok(()),
                    Err(errno) => return Err(errno),
                };
                let entry = DirEntry {
                    ino: listed.entry.inode,
                    next_offset: offset + 1,
                    kind: file_type(listed.entry.kind),
                    name: listed.name.as_bytes(),
                };
                let added = if plus {
                    reply.add_plus(&entry, || {
                        // A name without an inode is looked up if somebody wants it.
                        if self.core.keeper.is_short() {
                            return None;
                        }
                        let adopted = self.core.change(|tree| {
                            tree.adopt_listed(node, &listed, listing.asked.as_ref())
                        });
                        self.core.reply(adopted?).ok()
                    })
                } else {
                    reply.add(&entry)
                };
                if !added {
                    return Ok(());
                }
                offset += 1;
            }
        })
    }

    fn dot_ino(&self, node: NodeId, name: &str) -> u64 {
        let tree = self.core.tree.read();
        let wanted = match tree.node(node).map(|held| &held.place) {
            Some(Place::In(parent, _)) if name == ".." => *parent,
            _ => node,
        };
        if wanted == NodeId::ROOT {
            return NodeId::ROOT.0;
        }
        tree.content(wanted)
            .map_or(wanted.0, |content| content.entry.inode)
    }
}
