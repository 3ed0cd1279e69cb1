//! Following the filer's events.
//!
//! One task applies the stream of events to the tree and has the kernel told
//! what changed. Because names are only handed out as lasting while the stream
//! is whole, everything hangs on knowing when it is not:
//!
//! - **Lost**: the connection ended or went silent. Nothing happens for
//!   [`GRACE`], since most streams are back by then; after that the tree is not
//!   trusted, so each name is asked for, and the kernel forgets its names.
//! - **Resumed, continuous**: no event was missed. The tree is trusted again.
//! - **Resumed with a gap**: everything known is doubted and asked for anew.
//!   Files that are open are asked for at once, because the kernel reads
//!   their pages without telling us.
//!
//! A rename over a name that exists is two events, the first of which removes
//! it. Nobody shall see the moment between the two, so a removal is held back
//! until the next event tells what it was, or for [`HOLD`].

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use context::Context;
use filer::{Event, Notice, Subscription};
use fuse::NodeId;
use parking_lot::Mutex;
use seaweed::{ContentKey, Entry, pb};
use tokio::task::JoinHandle;

use crate::state::Core;
use crate::tree::{Moved, Placed};

/// How long a broken stream is believed to come back before names are doubted.
const GRACE: Duration = Duration::from_secs(1);
/// How long a removal may turn out to be the first half of a replacement: the filer sends both
/// in one go.
const HOLD: Duration = Duration::from_millis(10);
/// How often idle listings are looked for and sizes are counted.
const SWEEP: Duration = Duration::from_secs(10);
/// What asking for one open file after a gap may take.
const REFRESH: Duration = Duration::from_secs(30);

/// The tasks that keep the tree true.
#[derive(Debug)]
pub(crate) struct Follower {
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Follower {
    /// Follows all changes after `since_ns` of the filer's clock.
    pub(crate) fn start(core: Arc<Core>, since_ns: i64) -> Self {
        let following = tokio::spawn(follow(Arc::clone(&core), since_ns));
        let sweeping = tokio::spawn(sweep(Arc::clone(&core)));
        let saving = tokio::spawn(crate::long_open::keep(Arc::clone(&core)));
        let locking = tokio::spawn(crate::locks::keep(Arc::clone(&core)));
        let claiming = tokio::spawn(crate::claims::keep(Arc::clone(&core)));
        let keeping = tokio::spawn(crate::times::keep(core));
        Self {
            tasks: Mutex::new(vec![
                following, sweeping, saving, locking, claiming, keeping,
            ]),
        }
    }

    pub(crate) fn stop(&self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }
}

async fn follow(core: Arc<Core>, since_ns: i64) {
    let mut stream = core.remote.filer.subscribe(Subscription {
        path_prefix: core.config.filer_path.clone(),
        since_ns,
    });
    let (mut whole, mut started) = (false, false);
    let mut held: Option<Event> = None;
    loop {
        let notice = if held.is_some() {
            match tokio::time::timeout(HOLD, stream.next()).await {
                Ok(notice) => notice,
                Err(_) => {
                    held.take()
                        .into_iter()
                        .for_each(|event| apply(&core, event, None));
                    continue;
                }
            }
        } else if whole || !core.tree.read().is_trusted() {
            stream.next().await
        } else {
            match tokio::time::timeout(GRACE, stream.next()).await {
                Ok(notice) => notice,
                Err(_) => {
                    tracing::warn!("the filer's events are lost: asking for each name");
                    distrust(&core);
                    continue;
                }
            }
        };
        let replaces = match (&held, &notice) {
            (Some(held), Some(Notice::Event(event))) => is_replaced(held, event),
            _ => false,
        };
        if !replaces && let Some(event) = held.take() {
            apply(&core, event, None);
        }
        match notice {
            None => return,
            Some(Notice::Event(event)) if event.old.is_some() && event.new.is_none() => {
                held = Some(*event);
            }
            Some(Notice::Event(event)) => {
                let replaced = held.take().and_then(|removal| removal.old);
                apply(&core, *event, replaced.as_ref());
            }
            Some(Notice::Alive { .. }) => {}
            Some(Notice::Lost { reason }) => {
                tracing::info!(reason, "the stream of filer events broke");
                core.stats.stream_breaks.inc();
                whole = false;
            }
            Some(Notice::Resumed {
                continuous, filer, ..
            }) => {
                whole = true;
                if !std::mem::replace(&mut started, true) {
                    tracing::debug!(%filer, "following the filer's events");
                    core.change(|tree| tree.trust(true));
                    core.stats.set_trusted(true);
                } else {
                    tracing::info!(%filer, continuous, "following the filer's events again");
                    resume(&core, continuous);
                }
            }
        }
    }
}

/// Whether `next` moves something else to the name that `removal` takes away.
fn is_replaced(removal: &Event, next: &Event) -> bool {
    let (Some(old), Some(_), Some(new)) = (&removal.old, &next.old, &next.new) else {
        return false;
    };
    let directory = match next.new_parent_path.as_str() {
        "" => &next.directory,
        moved => moved,
    };
    *directory == removal.directory && new.name == old.name
}

/// Applies an event; `replaced` is the entry that was removed for it, if that was told apart.
fn apply(core: &Core, event: Event, replaced: Option<&pb::Entry>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |now| i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
    let lag = now.saturating_sub(event.ts_ns).max(0);
    core.stats.events.inc();
    core.stats.last_lag_ns.set(lag);
    core.stats
        .event_lag
        .record(Duration::from_nanos(lag.unsigned_abs()));
    let new_directory = if event.new_parent_path.is_empty() {
        event.directory.clone()
    } else {
        event.new_parent_path
    };
    if let Some(new) = &event.new {
        core.changed.note(&new_directory, &new.name);
    }
    let outdated: Vec<_> = event
        .old
        .iter()
        .chain(replaced)
        .filter_map(|old| outdated(core, &event.directory, old, event.new.as_ref()))
        .collect();
    let ours = event.signatures.contains(&core.signature);
    let removed = event.old.as_ref().filter(|_| event.new.is_none());
    let unlinked = removed.or(replaced).map(|entry| entry.hard_link_id.clone());
    // Only where it was moved, and no clock tells whether it still has that name.
    let is_moved =
        |old: &pb::Entry, new: &pb::Entry| old.name != new.name || event.directory != new_directory;
    let was = event.old.as_ref().zip(event.new.as_ref());
    let was = was.filter(|(old, new)| !event.own && is_moved(old, new));
    let was = was.map(|(old, _)| old);
    let was = was.and_then(|old| Entry::from_pb(&event.directory, old.clone()).ok());
    let was = was.map(|old| old.inode);
    let moved = Moved {
        old: event.old.map(|old| Placed {
            directory: event.directory,
            name: old.name.as_str().into(),
        }),
        new: event.new.and_then(|new| placed(core, new_directory, new)),
        ts_ns: event.ts_ns,
        same_clock: event.own,
        was,
        unlinked: unlinked.filter(|id| !id.is_empty()),
        ours,
    };
    core.change(|tree| tree.apply(moved));
    // Behind the tree, from which nobody can take the old content any more.
    if let Some(fast) = &core.fast {
        outdated.iter().for_each(|key| fast.files.outdated(key));
    }
}

/// The content of `old`, if files are kept whole and it has lost a name, which `new` does not have
/// either.
fn outdated(
    core: &Core,
    directory: &str,
    old: &pb::Entry,
    new: Option<&pb::Entry>,
) -> Option<ContentKey> {
    if core.fast.is_none() || old.is_directory {
        return None;
    }
    // Of entries that cannot be shown nothing is kept.
    let key = |entry: &pb::Entry| {
        let entry = Entry::from_pb(directory, entry.clone()).ok()?;
        entry.content_key()
    };
    let old = key(old)?;
    (new.and_then(key) != Some(old)).then_some(old)
}

fn placed(core: &Core, directory: String, entry: pb::Entry) -> Option<(Placed, Arc<Entry>)> {
    if core.is_hidden(&directory, &entry.name) {
        return None;
    }
    let entry = core.parse(&directory, entry)?;
    let name = entry.name.as_str().into();
    Some((Placed { directory, name }, Arc::new(entry)))
}

fn distrust(core: &Core) {
    core.change(|tree| tree.trust(false));
    core.doubt_everything();
    core.stats.set_trusted(false);
}

fn resume(core: &Arc<Core>, continuous: bool) {
    if continuous {
        core.change(|tree| tree.trust(true));
    } else {
        core.stats.resyncs.inc();
        core.changed.lost();
        core.doubt_everything();
        core.change(|tree| tree.trust(true));
    }
    core.stats.set_trusted(true);
    let core = Arc::clone(core);
    tokio::task::spawn_blocking(move || refresh_open(&core));
}

/// Asks for each open file: if it changed, the kernel drops its pages.
fn refresh_open(core: &Core) {
    let open: Vec<NodeId> = core.tree.read().open_nodes();
    for node in open {
        let stale = core.tree.read().node(node).is_some_and(|held| held.stale);
        if stale && let Err(error) = core.refresh(&Context::background(REFRESH), node) {
            tracing::warn!(%error, "an open file could not be asked for after a gap");
        }
    }
}

async fn sweep(core: Arc<Core>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        let idle = core.config.dir_idle_evict;
        if !idle.is_zero() {
            core.tree.write().evict_idle(idle);
        }
        let (nodes, names) = core.tree.read().size();
        core.stats
            .nodes
            .set(i64::try_from(nodes).unwrap_or(i64::MAX));
        core.stats
            .names
            .set(i64::try_from(names).unwrap_or(i64::MAX));
    }
}
