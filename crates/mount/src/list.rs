//! Listing directories: from memory, or page by page from the filer.
//!
//! A listing is a snapshot that belongs to a directory handle: the place of an
//! entry in it is its offset, so a listing that is read in many steps shows
//! each name once however the directory changes meanwhile. `rewinddir` takes a
//! new snapshot. Pages are fetched as the reader gets to them; a listing that
//! was read to its end is kept in the tree, where the events keep it true.
//!
//! Of a directory that is too large for that, or is read while memory is short,
//! the handle has the last pages only: who goes further back has it read anew.

use std::collections::VecDeque;

use context::Context;
use filer::Filer;
use fuse::{Errno, NodeId};
use ledger::Weight;
use parking_lot::Mutex;
use seaweed::pb;

use crate::remote::RemoteError;
use crate::state::{Core, resolve_name};
use crate::tree::{Listed, Question, in_order, weight};

/// Entries asked for at once. The filer streams them; one page is one gRPC call.
const PAGE: u32 = 4096;
/// With more doubtful names than this a directory is listed anew instead of asked name by name.
const DOUBTFUL_MAX: usize = 32;

/// An open directory.
#[derive(Debug)]
pub(crate) struct DirHandle {
    listing: Mutex<Listing>,
}

/// A snapshot of a directory, whole or still growing.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    entries: VecDeque<Listed>,
    /// How many were there before these, and are not kept.
    passed: usize,
    /// Memory of the entries that the tree does not have.
    weight: Option<Weight>,
    /// Where the filer is asked for the next page; `None` when all is there.
    source: Option<Source>,
    /// The question the entries answer, and the filer's clock then.
    pub(crate) asked: Option<(Question, i64)>,
    started: bool,
}

#[derive(Debug)]
struct Source {
    last: String,
    /// The tree will not keep it.
    is_for_once: bool,
}

/// Entries before the one asked for that are kept of a listing that is not kept whole: the kernel asks again
/// for what did not fit a reply, or the buffer of its caller.
const BEHIND: usize = 2 * PAGE as usize;

impl DirHandle {
    pub(crate) fn new() -> Self {
        Self {
            listing: Mutex::default(),
        }
    }

    /// Runs `with` on the snapshot, which is taken anew when the reader starts over.
    pub(crate) fn with<T>(
        &self,
        core: &Core,
        ctx: &Context<'_>,
        node: NodeId,
        offset: u64,
        with: impl FnOnce(&mut Listing) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let mut listing = self.listing.lock();
        if !listing.started || offset == 0 {
            *listing = Listing::start(core, ctx, node)?;
        }
        with(&mut listing)
    }
}

impl Listing {
    fn start(core: &Core, ctx: &Context<'_>, node: NodeId) -> Result<Self, Errno> {
        let doubtful = core.tree.read().doubtful_names(node);
        if doubtful.len() <= DOUBTFUL_MAX {
            for name in doubtful {
                resolve_name(core, ctx, node, &name)
                    .map_err(|error| core.remote.fail("readdir", &name, &error))?;
            }
        }
        let mut tree = core.tree.write();
        if let Some(entries) = tree.listing(node) {
            return Ok(Self {
                entries: entries.into(),
                started: true,
                ..Self::default()
            });
        }
        let directory = tree.path(node).ok_or(Errno::ENOENT)?;
        let seq = tree.seq();
        drop(tree);
        core.stats.listings.inc();
        Ok(Self {
            source: Some(Source {
                last: String::new(),
                is_for_once: false,
            }),
            asked: Some((Question { directory, seq }, i64::MIN)),
            weight: Some(core.keeper.account.weigh(0)),
            started: true,
            ..Self::default()
        })
    }

    /// Entry number `index`, fetching pages until it is there; `None` past the end.
    pub(crate) fn entry(
        &mut self,
        core: &Core,
        ctx: &Context<'_>,
        node: NodeId,
        index: usize,
    ) -> Result<Option<Listed>, Errno> {
        if index < self.passed {
            *self = Self::start(core, ctx, node)?;
        }
        while index >= self.passed + self.entries.len() && self.source.is_some() {
            self.fetch(core, ctx, node)?;
            self.leave_behind(core, index);
        }
        Ok(self.entries.get(index - self.passed).cloned())
    }

    /// Drops what lies far before `index`, unless the tree is to have it.
    fn leave_behind(&mut self, core: &Core, index: usize) {
        let Some(source) = self.source.as_mut() else {
            return;
        };
        source.is_for_once |= core.keeper.is_short();
        if !source.is_for_once {
            return;
        }
        let surplus = index
            .saturating_sub(BEHIND + self.passed)
            .min(self.entries.len());
        let dropped = self.entries.drain(..surplus);
        let bytes: usize = dropped.map(|listed| weight(&listed.entry)).sum();
        self.passed += surplus;
        if let Some(weight) = &mut self.weight {
            weight.set(weight.bytes() - bytes);
        }
    }

    fn fetch(&mut self, core: &Core, ctx: &Context<'_>, node: NodeId) -> Result<(), Errno> {
        let (Some(source), Some((question, fence))) = (&mut self.source, &mut self.asked) else {
            return Ok(());
        };
        let list = async |filer: &Filer| {
            let page = filer.list_page(&question.directory, &source.last, false, "", PAGE);
            page.await
        };
        let page = core
            .remote
            .ask(ctx, list)
            .map_err(|error| core.remote.fail("readdir", &question.directory, &error))?;
        if *fence == i64::MIN {
            *fence = page.snapshot_ts_ns;
        }
        let whole = page.entries.len() < PAGE as usize;
        if let Some(last) = page.entries.last() {
            source.last.clone_from(&last.name);
        }
        let more = shown(core, &question.directory, page.entries);
        if let Some(held) = &mut self.weight {
            let bytes: usize = more.iter().map(|listed| weight(&listed.entry)).sum();
            held.set(held.bytes() + bytes);
        }
        self.entries.extend(more);
        let bound = core.config.dir_max_entries;
        let too_large = bound != 0 && self.passed + self.entries.len() > bound;
        source.is_for_once |= too_large;
        let is_for_once = source.is_for_once;
        if whole {
            self.source = None;
            if is_for_once {
                core.tree.write().not_listed(node, too_large);
            } else {
                // It is the tree's from here on.
                self.weight = None;
                let all = in_order(self.entries.iter().cloned().collect());
                let (question, fence) = (question.clone(), *fence);
                core.change(|tree| {
                    tree.listed(node, &question.directory, &all, fence, question.seq)
                });
            }
        }
        Ok(())
    }
}

/// How many subdirectories a directory has: from memory, or by listing it.
pub(crate) fn subdirectories(core: &Core, ctx: &Context<'_>, node: NodeId) -> Result<u32, Errno> {
    if let Some(count) = core.tree.read().subdirectories(node) {
        return Ok(count);
    }
    let mut listing = Listing::start(core, ctx, node)?;
    let (mut count, mut index) = (0_u32, 0);
    while let Some(listed) = listing.entry(core, ctx, node, index)? {
        count = count.saturating_add(u32::from(listed.entry.is_directory()));
        index += 1;
    }
    Ok(count)
}

/// Lists a whole directory into the tree.
pub(crate) async fn load(core: &Core, node: NodeId) {
    let question = {
        let tree = core.tree.read();
        tree.path(node).map(|directory| Question {
            directory,
            seq: tree.seq(),
        })
    };
    let Some(question) = question else {
        core.tree.write().not_listed(node, false);
        return;
    };
    core.stats.listings.inc();
    match load_pages(core, &question.directory).await {
        Ok(Some((all, fence))) => {
            let all = in_order(all);
            let kept = core
                .change(|tree| tree.listed(node, &question.directory, &all, fence, question.seq));
            if !kept {
                core.tree.write().not_listed(node, false);
            }
        }
        Ok(None) => core.tree.write().not_listed(node, true),
        Err(error) => {
            tracing::debug!(directory = question.directory, %error, "listing failed");
            core.tree.write().not_listed(node, false);
        }
    }
}

/// All entries and the filer's clock before the first; `None` when there are more than are kept.
async fn load_pages(
    core: &Core,
    directory: &str,
) -> Result<Option<(Vec<Listed>, i64)>, RemoteError> {
    let mut all = Vec::new();
    let mut last = String::new();
    let mut fence = None;
    loop {
        let filer = &core.remote.filer;
        let page = filer.list_page(directory, &last, false, "", PAGE).await?;
        let fence = *fence.get_or_insert(page.snapshot_ts_ns);
        let whole = page.entries.len() < PAGE as usize;
        if let Some(entry) = page.entries.last() {
            last.clone_from(&entry.name);
        }
        all.extend(shown(core, directory, page.entries));
        let bound = core.config.dir_max_entries;
        if bound != 0 && all.len() > bound {
            return Ok(None);
        }
        if whole {
            return Ok(Some((all, fence)));
        }
    }
}

/// The entries that are shown.
fn shown(core: &Core, directory: &str, page: Vec<pb::Entry>) -> Vec<Listed> {
    let entries = page.into_iter();
    let visible = entries.filter(|entry| !core.is_hidden(directory, &entry.name));
    visible
        .filter_map(|entry| core.parse(directory, entry))
        .map(Listed::from)
        .collect()
}
