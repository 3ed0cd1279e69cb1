//! Listing directories: from memory, or page by page from the filer.
//!
//! A listing is a snapshot that belongs to a directory handle: the place of an
//! entry in it is its offset, so a listing that is read in many steps shows
//! each name once however the directory changes meanwhile. `rewinddir` takes a
//! new snapshot. Pages are fetched as the reader gets to them; a listing that
//! was read to its end is kept in the tree, where the events keep it true.

use context::Context;
use fuse::{Errno, NodeId};
use parking_lot::Mutex;
use seaweed::pb;

use crate::remote::RemoteError;
use crate::state::{Core, resolve_name};
use crate::tree::{Listed, Question, in_order};

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
    pub(crate) entries: Vec<Listed>,
    /// Where the filer is asked for the next page; `None` when all is there.
    source: Option<Source>,
    /// The question the entries answer, and the filer's clock then.
    pub(crate) asked: Option<(Question, i64)>,
    started: bool,
}

#[derive(Debug)]
struct Source {
    last: String,
    too_large: bool,
}

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
                entries,
                source: None,
                asked: None,
                started: true,
            });
        }
        let directory = tree.path(node).ok_or(Errno::ENOENT)?;
        let seq = tree.seq();
        drop(tree);
        core.stats.listings.inc();
        Ok(Self {
            entries: Vec::new(),
            source: Some(Source {
                last: String::new(),
                too_large: false,
            }),
            asked: Some((Question { directory, seq }, i64::MIN)),
            started: true,
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
        while index >= self.entries.len() && self.source.is_some() {
            self.fetch(core, ctx, node)?;
        }
        Ok(self.entries.get(index).cloned())
    }

    fn fetch(&mut self, core: &Core, ctx: &Context<'_>, node: NodeId) -> Result<(), Errno> {
        let (Some(source), Some((question, fence))) = (&mut self.source, &mut self.asked) else {
            return Ok(());
        };
        let filer = &core.remote.filer;
        let asked = filer.list_page(&question.directory, &source.last, false, "", PAGE);
        let page = core
            .remote
            .ask(ctx, asked)
            .map_err(|error| core.remote.fail("readdir", &question.directory, &error))?;
        if *fence == i64::MIN {
            *fence = page.snapshot_ts_ns;
        }
        let whole = page.entries.len() < PAGE as usize;
        if let Some(last) = page.entries.last() {
            source.last.clone_from(&last.name);
        }
        self.entries
            .extend(shown(core, &question.directory, page.entries));
        let bound = core.config.dir_max_entries;
        source.too_large |= bound != 0 && self.entries.len() > bound;
        if whole {
            let too_large = source.too_large;
            self.source = None;
            if too_large {
                core.tree.write().not_listed(node, true);
            } else {
                let all = in_order(self.entries.clone());
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
    while listing.source.is_some() {
        listing.fetch(core, ctx, node)?;
    }
    let entries = listing.entries.iter();
    let count = entries.filter(|listed| listed.entry.is_directory()).count();
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
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
