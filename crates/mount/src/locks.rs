//! Locks that all mounts share (`-dlm`).
//!
//! The filer that owns a file keeps the table of its locks; any filer passes the
//! question on. Here is kept what this mount was granted, for two reasons: the
//! filer forgets a mount that is silent for 15 seconds, and a filer that was
//! restarted, or that took files over, knows only what mounts assert. So all
//! of it is asserted again every few seconds.
//!
//! An assertion replaces what the filer has of this mount. Therefore each question
//! about a file waits for the one before: an assertion that was written down before
//! a lock was granted, and arrives after it, would take it away.
//!
//! Locks are found by a file's path, or by the number its hard links share. A file
//! keeps the key under which its first lock was taken for as long as it has any here.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use context::Context;
use filer::Filer;
use fuse::{Errno, LockKind, NodeId, SetLock};
use parking_lot::Mutex;
use seaweed::pb::{PosixLockOp, PosixLockRange, PosixLockRequest};

use crate::gate::Turn;
use crate::state::Core;

/// How often locks are asserted: three times before the filer forgets them.
const ASSERT: Duration = Duration::from_secs(5);
/// What one assertion may take.
const BUDGET: Duration = Duration::from_secs(5);
/// More ranges of one file than any program has; each assertion carries them all.
const RANGES_MAX: usize = 10_000;

/// What this mount holds.
#[derive(Debug)]
pub(crate) struct Locks {
    /// What tells our owners from those of other mounts.
    pub(crate) session: u64,
    files: Mutex<HashMap<NodeId, Arc<Held>>>,
    /// Requests that wait for a lock, each with a thread.
    waiting: AtomicUsize,
}

/// What it holds of one file.
#[derive(Debug)]
pub(crate) struct Held {
    /// The file's name among locks.
    pub(crate) key: String,
    /// Whoever asks the filer about it.
    pub(crate) turn: Turn,
    ranges: Mutex<Vec<Range>>,
}

/// A lock that is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    start: u64,
    /// The last byte.
    end: u64,
    exclusive: bool,
    owner: u64,
    pid: u32,
    flock: bool,
}

/// A request that waits; one less when dropped.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Locks {
    pub(crate) fn new() -> Self {
        Self {
            session: RandomState::new().hash_one(std::process::id()),
            files: Mutex::default(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// One request more that waits, if there are fewer than `most`.
    pub(crate) fn wait(&self, most: usize) -> Result<Waiting<'_>, Errno> {
        let waiting = Waiting(&self.waiting);
        match self.waiting.fetch_add(1, Ordering::Relaxed) < most {
            true => Ok(waiting),
            false => Err(Errno::ENOLCK),
        }
    }

    /// The locks of a file; `key` names it, if it has none yet.
    pub(crate) fn file(&self, node: NodeId, key: impl FnOnce() -> String) -> Arc<Held> {
        let mut files = self.files.lock();
        let held = files.entry(node).or_insert_with(|| {
            Arc::new(Held {
                key: key(),
                turn: Turn::default(),
                ranges: Mutex::default(),
            })
        });
        Arc::clone(held)
    }

    /// The locks of a file, if it has any.
    pub(crate) fn held(&self, node: NodeId) -> Option<Arc<Held>> {
        self.files.lock().get(&node).cloned()
    }

    /// Gives a file back; it is forgotten when it has no locks and nobody asks for any.
    pub(crate) fn give_back(&self, node: NodeId, held: Arc<Held>) {
        let mut files = self.files.lock();
        drop(held);
        if let Some(held) = files.get(&node)
            && Arc::strong_count(held) == 1
            && held.ranges.lock().is_empty()
        {
            files.remove(&node);
        }
    }

    fn all(&self) -> Vec<(NodeId, Arc<Held>)> {
        let files = self.files.lock();
        let all = files.iter().map(|(node, held)| (*node, Arc::clone(held)));
        all.collect()
    }

    /// `lock` in the filer's form.
    pub(crate) fn wire(&self, lock: &SetLock) -> PosixLockRange {
        PosixLockRange {
            start: lock.lock.start,
            end: lock.lock.end,
            r#type: match lock.lock.kind {
                LockKind::Read => SHARED,
                LockKind::Write => EXCLUSIVE,
                LockKind::Unlock => NONE,
            },
            sid: self.session,
            owner: lock.owner,
            pid: lock.lock.pid,
            is_flock: lock.flock,
        }
    }
}

impl Held {
    /// What was granted, or given back.
    pub(crate) fn set(&self, lock: &SetLock) {
        let exclusive = match lock.lock.kind {
            LockKind::Read => Some(false),
            LockKind::Write => Some(true),
            LockKind::Unlock => None,
        };
        let new = Range {
            start: lock.lock.start,
            end: lock.lock.end,
            exclusive: exclusive.unwrap_or_default(),
            owner: lock.owner,
            pid: lock.lock.pid,
            flock: lock.flock,
        };
        set(&mut self.ranges.lock(), new, exclusive.is_some());
    }

    /// Whether one range more could be kept.
    pub(crate) fn has_room(&self) -> bool {
        self.ranges.lock().len() < RANGES_MAX
    }

    /// Whether `owner` has locks of fcntl(2), or of flock(2).
    pub(crate) fn has(&self, owner: u64, flock: bool) -> bool {
        let ranges = self.ranges.lock();
        ranges
            .iter()
            .any(|range| range.owner == owner && range.flock == flock)
    }

    /// All locks of `owner` of that kind are given back.
    pub(crate) fn forget(&self, owner: u64, flock: bool) {
        let mut ranges = self.ranges.lock();
        ranges.retain(|range| range.owner != owner || range.flock != flock);
    }

    /// All there is, for the filer; `None` when there is nothing.
    pub(crate) fn assertion(&self, session: u64) -> Option<PosixLockRequest> {
        let ranges = self.ranges.lock();
        let locks = ranges.iter().map(|range| PosixLockRange {
            start: range.start,
            end: range.end,
            r#type: if range.exclusive { EXCLUSIVE } else { SHARED },
            sid: session,
            owner: range.owner,
            pid: range.pid,
            is_flock: range.flock,
        });
        let locks: Vec<_> = locks.collect();
        (!locks.is_empty()).then(|| PosixLockRequest {
            key: self.key.clone(),
            op: PosixLockOp::KeepAlive.into(),
            lock: Some(PosixLockRange {
                sid: session,
                ..PosixLockRange::default()
            }),
            locks,
            ..PosixLockRequest::default()
        })
    }
}

/// Asserts what is held, for as long as the mount is there.
pub(crate) async fn keep(core: Arc<Core>) {
    if !core.config.shared_locks {
        return;
    }
    loop {
        tokio::time::sleep(ASSERT).await;
        let core = Arc::clone(&core);
        // Turns and questions to the filer block.
        let _ = tokio::task::spawn_blocking(move || assert_all(&core)).await;
    }
}

fn assert_all(core: &Core) {
    let locks = &core.locks;
    for (node, held) in locks.all() {
        let ctx = Context::background(BUDGET);
        let asserted = held.turn.take(&ctx).map(|_turn| {
            let request = held.assertion(locks.session)?;
            let assert = async |filer: &Filer| filer.posix_lock(request).await;
            Some(core.remote.ask(&ctx, assert))
        });
        let key = held.key.clone();
        locks.give_back(node, held);
        match asserted {
            Ok(Some(Ok(answer))) if answer.has_conflict => {
                tracing::error!(
                    key,
                    "a lock was lost: another mount was granted it meanwhile"
                );
            }
            Ok(Some(Err(error))) => {
                tracing::warn!(key, %error, "locks cannot be renewed: they end when this lasts");
                // The others would wait as long.
                return;
            }
            _ => {}
        }
    }
}

/// Kinds of locks as the filer counts them.
const SHARED: u32 = 1;
const EXCLUSIVE: u32 = 2;
const NONE: u32 = 3;

/// Gives a range to its owner in place of what he has there, or takes it from him.
fn set(ranges: &mut Vec<Range>, new: Range, granted: bool) {
    let mut kept = Vec::with_capacity(ranges.len() + 2);
    for old in ranges.drain(..) {
        let other = old.owner != new.owner || old.flock != new.flock;
        if other || old.end < new.start || old.start > new.end {
            kept.push(old);
            continue;
        }
        if old.start < new.start {
            kept.push(Range {
                end: new.start - 1,
                ..old
            });
        }
        if old.end > new.end {
            kept.push(Range {
                start: new.end + 1,
                ..old
            });
        }
    }
    if granted {
        kept.push(new);
    }
    *ranges = kept;
}

#[cfg(test)]
mod tests {
    use fuse::FileLock;

    use super::*;

    fn lock(owner: u64, start: u64, end: u64, kind: LockKind, flock: bool) -> SetLock {
        SetLock {
            handle: 0,
            owner,
            lock: FileLock {
                start,
                end,
                kind,
                pid: 1,
            },
            flock,
            wait: false,
        }
    }

    /// What `owner` has of each byte, by the slow way.
    fn bytes(held: &Held, owner: u64, flock: bool) -> String {
        let ranges = held.ranges.lock();
        let of = |byte: u64| {
            let mut found = ranges.iter().filter(|range| {
                range.owner == owner
                    && range.flock == flock
                    && (range.start..=range.end).contains(&byte)
            });
            let first = found.next();
            assert!(found.next().is_none(), "two ranges at {byte}: {ranges:?}");
            first.map_or('-', |range| if range.exclusive { 'w' } else { 'r' })
        };
        (0..10).map(of).collect()
    }

    #[test]
    fn ranges_of_one_owner_replace_each_other() {
        let locks = Locks::new();
        let held = locks.file(NodeId(2), || "key".to_owned());
        for (step, expected) in [
            (lock(1, 0, 9, LockKind::Read, false), "rrrrrrrrrr"),
            (lock(1, 2, 4, LockKind::Write, false), "rrwwwrrrrr"),
            (lock(1, 4, 7, LockKind::Unlock, false), "rrww----rr"),
            (lock(2, 0, 9, LockKind::Read, false), "rrww----rr"),
            (lock(1, 0, 0, LockKind::Unlock, false), "-rww----rr"),
            (lock(1, 9, u64::MAX, LockKind::Unlock, false), "-rww----r-"),
            (lock(1, 0, 9, LockKind::Unlock, true), "-rww----r-"),
        ] {
            held.set(&step);
            assert_eq!(bytes(&held, 1, false), expected, "{step:?}");
        }
        assert_eq!(bytes(&held, 2, false), "rrrrrrrrrr");
        assert_eq!(bytes(&held, 1, true), "----------");
    }

    #[test]
    fn what_is_asserted_is_what_is_held() {
        let locks = Locks::new();
        let held = locks.file(NodeId(2), || "key".to_owned());
        assert_eq!(held.assertion(7), None);
        held.set(&lock(1, 0, 9, LockKind::Write, false));
        held.set(&lock(5, 0, 9, LockKind::Read, true));
        assert!(held.has(1, false) && held.has(5, true) && !held.has(5, false));
        let asserted = held.assertion(7).unwrap();
        assert_eq!(asserted.key, "key");
        let kinds: Vec<_> = asserted
            .locks
            .iter()
            .map(|lock| (lock.owner, lock.r#type, lock.is_flock, lock.sid))
            .collect();
        assert_eq!(kinds, [(1, EXCLUSIVE, false, 7), (5, SHARED, true, 7)]);
        held.forget(1, false);
        held.forget(5, true);
        assert_eq!(held.assertion(7), None);
        locks.give_back(NodeId(2), held);
        assert!(locks.held(NodeId(2)).is_none(), "it is forgotten");
    }

    #[test]
    fn so_many_may_wait_and_no_more() {
        let locks = Locks::new();
        let first = locks.wait(1).unwrap();
        assert_eq!(locks.wait(1).unwrap_err(), Errno::ENOLCK);
        drop(first);
        locks.wait(1).unwrap();
    }
}
