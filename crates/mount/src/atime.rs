//! Times of last access (`-atime=relative`).
//!
//! By the rule of relatime: a read is kept when it is the first since the last
//! change, or the first for a day. It is stored when the handle is closed, which
//! nobody waits for. The filer has a call for it, TouchAccessTime, but none that
//! was released answers it; so the entry is stored again with the new time, under
//! the condition that nobody has changed its chunks.

use std::time::{Duration, SystemTime};

use context::Context;
use fuse::Errno;
use seaweed::{Entry, pb};

use crate::files::File;
use crate::state::Core;
use crate::tree::Invalidation;

/// However often a file is read, its time is kept once in that.
const DAY: Duration = Duration::from_secs(24 * 3600);
/// What storing it may take.
const BUDGET: Duration = Duration::from_secs(10);

impl Core {
    /// A handle of the file is closed through which it was read.
    pub(crate) fn was_read(&self, file: &File) {
        // Somebody writes the file: the next read after that counts.
        if !self.config.keep_atime || self.config.read_only || !file.dirty.is_clean() {
            return;
        }
        let now = SystemTime::now();
        let due = |entry: &Entry| is_due(entry, now);
        let tree = self.tree.read();
        let due = tree
            .content(file.node)
            .is_some_and(|content| due(&content.entry));
        drop(tree);
        if !due {
            return;
        }
        let amend = |entry: &mut pb::Entry| {
            let attributes = entry.attributes.get_or_insert_default();
            (attributes.atime, attributes.atime_ns) = Entry::stored_time(now);
            Ok(())
        };
        let ctx = Context::background(BUDGET);
        match self.save(&ctx, file.node, Some(file), false, Some(&amend)) {
            // The kernel did not ask for this change, so it does not know of it.
            Ok(()) => self.invalidator.tell(vec![Invalidation::Attr(file.node)]),
            // It was removed meanwhile.
            Err(Errno::ENOENT | Errno::ESTALE) => {}
            Err(error) => {
                tracing::debug!(%error, inode = file.node.0, "its time of access is not kept");
            }
        }
    }
}

fn is_due(entry: &Entry, now: SystemTime) -> bool {
    let changed = entry.mtime.max(entry.ctime);
    let age = now.duration_since(entry.atime).unwrap_or_default();
    entry.atime <= changed || age >= DAY
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_time_is_kept_after_a_change_and_once_a_day() {
        let at = |hours: u64| UNIX_EPOCH + Duration::from_secs(hours * 3600);
        let due = |atime, mtime, ctime, now| {
            let raw = seaweed::pb::Entry {
                name: "f".to_owned(),
                ..Default::default()
            };
            let entry = Entry {
                atime: at(atime),
                mtime: at(mtime),
                ctime: at(ctime),
                ..Entry::from_pb("/", raw).unwrap()
            };
            is_due(&entry, at(now))
        };
        assert!(due(100, 100, 100, 101), "never read");
        assert!(!due(101, 100, 100, 102), "read since");
        assert!(due(101, 102, 100, 103), "written since");
        assert!(due(101, 100, 102, 103), "given other attributes since");
        assert!(due(101, 100, 100, 125), "a day ago");
        assert!(!due(101, 100, 100, 99), "the clock was set back");
    }
}
