//! Times of directories, and other attributes whose save may wait a moment.
//!
//! A directory's mtime and ctime change with every name that comes or goes in
//! it. This mount shows that at once, and so does any other Riptide, which sees
//! the events. The directory's entry is brought up to date a moment later, once
//! for however many names: a save for each would double what a creation costs.
//!
//! So are the attributes of a file that stays open after they were set while what
//! was written to it is not saved (`unsaved`).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use context::Context;
use fuse::{Errno, NodeId};
use seaweed::{Entry, pb};

use crate::state::Core;

/// How long what waits may be behind in its entry.
const LAG: Duration = Duration::from_secs(1);
/// What one save may take.
const BUDGET: Duration = Duration::from_secs(10);

impl Core {
    /// A name came or went in `dir` by our own doing.
    pub(crate) fn touch_dir(&self, dir: NodeId) {
        let now = SystemTime::now();
        if dir == NodeId::ROOT {
            self.root.lock().mtime = now;
        }
        self.tree.write().touch_dir(dir, now);
        self.touched.lock().insert(dir);
    }

    /// Stores the times of one directory, if they are not stored.
    pub(crate) fn save_times(&self, ctx: &Context<'_>, dir: NodeId) -> Result<(), Errno> {
        if !self.touched.lock().remove(&dir) || dir == NodeId::ROOT {
            return Ok(());
        }
        let (touched, known) = {
            let tree = self.tree.read();
            let known = tree.content(dir).map(|content| content.entry.mtime);
            match (tree.touched(dir), known) {
                (Some(touched), Some(known)) => {
                    (Entry::stored_time(touched), Entry::stored_time(known))
                }
                _ => return Ok(()),
            }
        };
        let amend = |entry: &mut pb::Entry| {
            let attributes = entry.attributes.get_or_insert_default();
            let mtime = (attributes.mtime, attributes.mtime_ns);
            // By us, while this waited for its turn; perhaps to what it was before.
            if self.tree.read().touched(dir).is_none() {
                return Ok(());
            }
            // Somebody has set it since, and we have not heard of it yet.
            let set = mtime != known && (attributes.ctime, attributes.ctime_ns) >= touched;
            if mtime < touched && !set {
                (attributes.mtime, attributes.mtime_ns) = touched;
                (attributes.ctime, attributes.ctime_ns) = touched;
            }
            Ok(())
        };
        match self.save(ctx, dir, None, false, Some(&amend)) {
            // It was removed meanwhile.
            Err(Errno::ENOENT | Errno::ESTALE) => Ok(()),
            Err(errno) => {
                self.touched.lock().insert(dir);
                Err(errno)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Stores the times of every directory.
    pub(crate) fn save_all_times(&self) {
        let touched: Vec<NodeId> = self.touched.lock().iter().copied().collect();
        for dir in touched {
            if let Err(error) = self.save_times(&Context::background(BUDGET), dir) {
                tracing::warn!(%error, inode = dir.0, "a directory's times are not stored");
            }
        }
    }
}

impl Core {
    /// Saves files that are still open and have attributes which no save has taken.
    fn save_waiting(&self) {
        let is_due = |_: &NodeId, since: &mut Instant| since.elapsed() >= LAG;
        let due: Vec<(NodeId, Instant)> = self.waiting.lock().extract_if(is_due).collect();
        let open = due
            .into_iter()
            .filter_map(|(node, _)| self.files.find(node));
        // Most are closed by now, or saved for another reason.
        for file in open.filter(|file| file.is_set()) {
            let ctx = Context::background(BUDGET);
            if let Err(error) = self.save(&ctx, file.node, Some(&file), false, None) {
                // Who closes it is told, if it goes on failing.
                tracing::debug!(%error, inode = file.node.0, "its attributes are not stored yet");
                self.waiting.lock().insert(file.node, Instant::now());
            }
        }
    }
}

/// Stores times now and then, for as long as the mount is there.
pub(crate) async fn keep(core: Arc<Core>) {
    loop {
        tokio::time::sleep(LAG).await;
        if core.touched.lock().is_empty() && core.waiting.lock().is_empty() {
            continue;
        }
        let core = Arc::clone(&core);
        // Questions to the filer block.
        let save = move || {
            core.save_all_times();
            core.save_waiting();
        };
        let _ = tokio::task::spawn_blocking(save).await;
    }
}
