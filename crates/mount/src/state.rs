//! What the operations and the follower share: the tree, and how it learns.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use context::Context;
use filer::{Echo, Filer, Stamped};
use fuse::{Attr, Entry as Reply, Errno, NodeId, Request};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use seaweed::{Entry, Kind, pb};

use crate::attr::attr;
use crate::changed::Changed;
use crate::claims::Claims;
use crate::compare::Compare;
use crate::config::{MountConfig, RootAttr};
use crate::fast::Fast;
use crate::files::Files;
use crate::gate::{Gate, Turn, Turns};
use crate::invalidate::Invalidator;
use crate::keeper::Keeper;
use crate::locks::Locks;
use crate::remote::{Remote, RemoteError};
use crate::save::stopped;
use crate::stats::Shared;
use crate::streaming::Streaming;
use crate::tree::{Content, Found, Known, Place, Question, Tree};
use crate::worm::Worm;

/// On top of `-readRetryTime`: what the last attempt may take after the retries are over.
pub(crate) const SLACK: Duration = Duration::from_secs(10);
/// So many names asked for one by one make a directory worth listing.
const MISSES_BEFORE_LISTING: u32 = 8;
/// Names that events made doubtful while they were asked for, again and again: give up.
const ATTEMPTS_MAX: usize = 8;

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: MountConfig,
    /// How long the kernel may keep what it is told, once that is agreed on.
    pub(crate) lifetime: OnceLock<Duration>,
    pub(crate) tree: RwLock<Tree>,
    pub(crate) remote: Remote,
    pub(crate) invalidator: Invalidator,
    /// Keeps the tree within its memory.
    pub(crate) keeper: Keeper,
    pub(crate) stats: Shared,
    /// Marks our own changes in the filer's events.
    pub(crate) signature: i32,
    /// What the root shows of itself: it is no entry that could be stored.
    pub(crate) root: Mutex<RootAttr>,
    /// Files that are open.
    pub(crate) files: Files,
    /// Whole files on the local disk, with `-cache.aggressive`.
    pub(crate) fast: Option<Arc<Fast>>,
    /// Which files are read past the kernel's page cache.
    pub(crate) streaming: Streaming,
    /// For those who follow changes.
    pub(crate) changed: Changed,
    /// Directories are renamed while nobody uses the paths below them.
    pub(crate) gate: Gate,
    /// How the filer compares entries.
    pub(crate) compare: Compare,
    /// Attributes of what is not open are changed by reading and writing: by those who ask for it, and by
    /// whoever stores the times of directories.
    pub(crate) amending: Turns,
    /// Links of one file are counted by reading and writing.
    pub(crate) links: Turn,
    /// Locks that all mounts share.
    pub(crate) locks: Locks,
    /// Files that no other mount may write.
    pub(crate) claims: Claims,
    /// Files that nobody may change any more.
    pub(crate) worm: Worm,
    /// Directories whose times are not stored yet.
    pub(crate) touched: Mutex<HashSet<NodeId>>,
    /// Files with attributes that wait for a save, and since when.
    pub(crate) waiting: Mutex<HashMap<NodeId, Instant>>,
}

impl Core {
    /// The context of a request.
    pub(crate) fn context<'a>(&self, req: Request<'a>) -> Context<'a> {
        Context::new(self.config.retry + SLACK, req.interrupt)
    }

    /// Whether events of what is made and saved here have to come: only the tree could do without.
    pub(crate) fn echo(&self) -> Echo {
        match self.fast {
            Some(_) => Echo::Wanted,
            None => Echo::Spared,
        }
    }

    /// Uses paths, while no directory is being renamed; with the context for what follows.
    pub(crate) fn pass<'c>(
        &self,
        ctx: &Context<'c>,
    ) -> Result<(RwLockReadGuard<'_, ()>, Context<'c>), Errno> {
        let passed = self.gate.pass(ctx, self.config.retry + SLACK);
        passed.map_err(stopped)
    }

    /// Changes the tree, and has the kernel told what follows from it.
    pub(crate) fn change<T>(&self, with: impl FnOnce(&mut Tree) -> T) -> T {
        let mut tree = self.tree.write();
        let done = with(&mut tree);
        let told = tree.take_told();
        drop(tree);
        self.invalidator.tell(told);
        done
    }

    /// Whatever is known is asked for again, by the kernel as well.
    pub(crate) fn doubt_everything(&self) {
        let nodes = self.change(|tree| {
            tree.doubt_everything();
            tree.node_ids()
        });
        self.invalidator.tell_everything(nodes);
    }

    /// Finds a name, counting a lookup; `Err(ENOENT)` with whether the kernel may keep that.
    pub(crate) fn lookup(
        self: &Arc<Self>,
        ctx: &Context<'_>,
        parent: NodeId,
        name: &str,
    ) -> Result<Result<Known, Negative>, Errno> {
        let (mut paced, mut now) = (false, *ctx);
        for _ in 0..ATTEMPTS_MAX {
            let ctx = &now;
            let found = self.tree.read().find(parent, name);
            let question = match found {
                Found::Known(known) => {
                    self.stats.lookup_hits.inc();
                    return Ok(Ok(known));
                }
                Found::Absent => {
                    self.stats.lookup_hits.inc();
                    return Ok(Err(Negative { keep: true }));
                }
                // Both make an inode, mostly.
                Found::Unnamed | Found::Unknown(_) if !paced && self.keeper.is_short() => {
                    paced = true;
                    self.keeper.pace(ctx)?;
                    continue;
                }
                Found::Unnamed => {
                    if let Some(known) = self.tree.write().adopt(parent, name) {
                        self.stats.lookup_hits.inc();
                        return Ok(Ok(known));
                    }
                    continue;
                }
                Found::NotADirectory => return Err(Errno::ENOTDIR),
                Found::Stale => return Err(Errno::ESTALE),
                Found::Unknown(question) => question,
            };
            if self.is_hidden(&question.directory, name) {
                return Ok(Err(Negative { keep: true }));
            }
            self.stats.lookup_misses.inc();
            let answer = self.ask(ctx, &question.directory, name);
            self.list_if_wanted(parent);
            match answer {
                Ok(Some((entry, fence))) => {
                    let known =
                        self.change(|tree| tree.found(parent, name, &question, entry, fence));
                    return known.map(Ok).ok_or(Errno::ESTALE);
                }
                Ok(None) if self.tree.read().was_elsewhere(parent, name, &question) => {
                    // It may be at its new place already.
                    now = self.pass(ctx)?.1;
                }
                Ok(None) => {
                    let keep = self.change(|tree| tree.absent(parent, name, &question));
                    return Ok(Err(Negative { keep }));
                }
                Err(error) => {
                    let path = format!("{}/{name}", question.directory);
                    return Err(self.remote.fail("lookup", &path, &error));
                }
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Asks the filer for one entry. `None` when it does not exist, or cannot be shown.
    pub(crate) fn ask(
        &self,
        ctx: &Context<'_>,
        directory: &str,
        name: &str,
    ) -> Result<Option<(Arc<Entry>, i64)>, RemoteError> {
        let lookup = async |filer: &Filer| filer.lookup(directory, name).await;
        match self.remote.ask(ctx, lookup) {
            Ok(answer) => {
                let fence = self.fence(&answer);
                let entry = self.parse(directory, answer.value);
                Ok(entry.map(|entry| (Arc::new(entry), fence)))
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Events up to here are in the answer. One by another filer than the one whose events are
    /// followed (a fail-over is under way) cannot be ordered against them.
    fn fence<T>(&self, answer: &Stamped<T>) -> i64 {
        let following = self.remote.filer.configuration().signature;
        if answer.log_signature == following {
            answer.log_ts_ns
        } else {
            i64::MIN
        }
    }

    /// Asks the filer again for a node that may be out of date.
    pub(crate) fn refresh(&self, ctx: &Context<'_>, node: NodeId) -> Result<(), RemoteError> {
        let Some((directory, name, seq)) = self.tree.read().locate(node) else {
            return Ok(());
        };
        if name.is_empty() {
            // The root of the filer is no entry: it cannot change.
            return Ok(());
        }
        let answer = self.ask(ctx, &directory, &name)?;
        self.change(|tree| match answer {
            Some((entry, fence)) => tree.refreshed(node, entry, fence, seq),
            // Else it is on its way, or was when it was asked for, and is asked for again.
            None if tree.is_moving(&directory, &name) => {}
            None if !tree.is_at(node, &directory, &name) => {}
            None => tree.vanished(node),
        });
        Ok(())
    }

    /// What a node holds, asked for again when it may be out of date. With `known_will_do`, what
    /// is known is shown when the filer cannot be reached.
    pub(crate) fn current(
        &self,
        ctx: &Context<'_>,
        node: NodeId,
        known_will_do: bool,
    ) -> Result<(Attr, Duration), Errno> {
        let (stale, trusted) = {
            let tree = self.tree.read();
            let held = tree.node(node).ok_or(Errno::ESTALE)?;
            held.mark_used();
            (held.stale || !tree.is_trusted(), tree.is_trusted())
        };
        if stale && let Err(error) = self.refresh(ctx, node) {
            let errno = self
                .remote
                .fail("getattr", &format!("inode {}", node.0), &error);
            if !known_will_do {
                return Err(errno);
            }
        }
        let counted = self.count_links(ctx, node);
        let tree = self.tree.read();
        let held = tree.node(node).ok_or(Errno::ESTALE)?;
        let mut attr = self.attr_in(&tree, node, &held.content);
        let counted = counted.or_else(|errno| if known_will_do { Ok(None) } else { Err(errno) })?;
        if let Some(nlink) = counted.filter(|_| attr.nlink > 0) {
            attr.nlink = nlink;
        }
        let fresh = trusted && !held.stale && !self.counts_links(&held.content.entry);
        Ok((attr, self.ttl(fresh)))
    }

    /// The link count of a directory that has to be listed for it.
    fn count_links(&self, ctx: &Context<'_>, node: NodeId) -> Result<Option<u32>, Errno> {
        let counts = {
            let tree = self.tree.read();
            let held = tree.node(node).ok_or(Errno::ESTALE)?;
            self.counts_links(&held.content.entry)
        };
        if !counts {
            return Ok(None);
        }
        let count = crate::list::subdirectories(self, ctx, node)?;
        Ok(Some(count.saturating_add(2)))
    }

    /// Whether the link count is that of the subdirectories, which change without an event about
    /// the directory: the kernel may not keep it.
    fn counts_links(&self, entry: &Entry) -> bool {
        self.config.dir_nlink && entry.is_directory()
    }

    /// A node as LOOKUP and READDIRPLUS answer it.
    pub(crate) fn reply(&self, known: Known) -> Result<Reply, Errno> {
        let tree = self.tree.read();
        // What it holds now, not when it was found: a save since then has moved into the entry what the open
        // file no longer adds.
        let content = tree.content(known.node).ok_or(Errno::ESTALE)?;
        let attr = self.attr_in(&tree, known.node, content);
        let keep_attr = known.fresh && !self.counts_links(&content.entry);
        Ok(Reply {
            node: known.node,
            entry_ttl: self.ttl(known.fresh),
            attr_ttl: self.ttl(keep_attr),
            attr,
        })
    }

    /// How long the kernel may keep what it is told.
    pub(crate) fn ttl(&self, fresh: bool) -> Duration {
        if fresh {
            self.lifetime.get().copied().unwrap_or(self.config.meta_ttl)
        } else {
            Duration::ZERO
        }
    }

    /// An entry as the filer gave it; `None`, counted and said, when it cannot be shown.
    pub(crate) fn parse(&self, directory: &str, entry: pb::Entry) -> Option<Entry> {
        let name = entry.name.clone();
        match Entry::from_pb(directory, entry) {
            Ok(entry) => Some(entry),
            Err(error) => {
                self.stats.bad_entries.inc();
                tracing::warn!(directory, name, %error, "entry cannot be shown");
                None
            }
        }
    }

    /// Whether the name is one of the filer's own.
    pub(crate) fn is_hidden(&self, directory: &str, name: &str) -> bool {
        !self.config.include_system_entries
            && directory == "/"
            && self.config.filer_path == "/"
            && matches!(name, "topics" | "etc")
    }

    /// Starts listing a directory in which many names were asked for one by one.
    fn list_if_wanted(self: &Arc<Self>, node: NodeId) {
        let wants = {
            let mut tree = self.tree.write();
            tree.wants_listing(node, MISSES_BEFORE_LISTING)
        };
        if wants {
            let core = Arc::clone(self);
            self.remote
                .spawn(async move { crate::list::load(&core, node).await });
        }
    }

    /// Whether a stamp can be compared with the times of the events that are followed.
    pub(crate) fn stamp_of<T>(&self, answer: &Stamped<T>) -> i64 {
        self.fence(answer)
    }

    pub(crate) fn attr_in(&self, tree: &Tree, node: NodeId, content: &Content) -> Attr {
        let entry = &content.entry;
        let gone = node != NodeId::ROOT
            && tree
                .node(node)
                .is_some_and(|held| held.place == Place::Gone);
        let nlink = match entry.kind {
            // Of a hard link group the other names may be unknown here.
            _ if gone && entry.hard_link_id.is_some() => entry.nlink,
            _ if gone => 0,
            // With -posix.dirNLink, GETATTR counts: see `count_links`.
            Kind::Directory => 2,
            _ => entry.nlink,
        };
        let mut attr = attr(entry, nlink, &self.config);
        if node == NodeId::ROOT {
            self.root.lock().cover(&mut attr);
        }
        if let Some(touched) = tree.touched(node) {
            attr.mtime = attr.mtime.max(touched);
            attr.ctime = attr.ctime.max(touched);
        }
        if let Some(file) = self.files.find(node) {
            file.cover(&mut attr, &self.config);
        }
        attr
    }
}

/// A name that does not exist.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Negative {
    /// Whether the kernel may keep that.
    pub(crate) keep: bool,
}

/// Asks one name of a directory without telling the kernel of it.
pub(crate) fn resolve_name(
    core: &Core,
    ctx: &Context<'_>,
    parent: NodeId,
    name: &str,
) -> Result<(), RemoteError> {
    let question = {
        let tree = core.tree.read();
        match tree.path(parent) {
            Some(directory) => Question {
                directory,
                seq: tree.seq(),
            },
            None => return Ok(()),
        }
    };
    let answer = core.ask(ctx, &question.directory, name)?;
    core.change(|tree| tree.learned(parent, name, &question, answer));
    Ok(())
}
