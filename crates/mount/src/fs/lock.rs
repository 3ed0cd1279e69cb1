//! Locks of fcntl(2) and flock(2) that all mounts share.
//!
//! A lock is worth nothing if its owner reads what the one before has not stored yet. So what was
//! written is saved before a lock is given back, and the file's entry is asked for after one was
//! granted.

use std::sync::Arc;
use std::time::Duration;

use context::Context;
use filer::Filer;
use fuse::{Errno, FileLock, LockKind, NodeId, Request, SetLock};
use seaweed::pb::{PosixLockOp, PosixLockRange, PosixLockRequest, PosixLockResponse};

use crate::locks::Held;
use crate::save::stopped;

use super::Mount;

/// The pause before a lock is tried again grows from the first to the second.
const PAUSE: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);
/// fcntl(2) waits for as long as it takes.
const EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// What giving a lock back may take; nobody's interrupt ends it.
const BACK: Duration = Duration::from_secs(5);
/// What saving before that may take.
const SAVE: Duration = Duration::from_secs(120);

impl Mount {
    pub(super) fn conflicting(
        &self,
        req: Request<'_>,
        node: NodeId,
        lock: &SetLock,
    ) -> Result<FileLock, Errno> {
        let held = self.held(node);
        let asked = self.ask_lock(&self.core.context(req), &held, PosixLockOp::GetLk, lock);
        self.core.locks.give_back(node, held);
        Ok(match asked?.conflict {
            Some(found) => FileLock {
                start: found.start,
                end: found.end,
                kind: match found.r#type {
                    1 => LockKind::Read,
                    _ => LockKind::Write,
                },
                pid: found.pid,
            },
            None => FileLock {
                kind: LockKind::Unlock,
                ..lock.lock
            },
        })
    }

    pub(super) fn set_lock(
        &self,
        req: Request<'_>,
        node: NodeId,
        lock: &SetLock,
    ) -> Result<(), Errno> {
        if lock.lock.kind == LockKind::Unlock {
            self.save_locked(lock.handle);
            let held = self.held(node);
            let given = self.unlock(&held, lock);
            self.core.locks.give_back(node, held);
            return given;
        }
        let held = self.held(node);
        let locked = self.lock(req, &held, lock);
        self.core.locks.give_back(node, held);
        locked?;
        // Whoever had it before may have stored something the events have not brought yet.
        let ctx = self.core.context(req);
        if let Err(error) = self.core.refresh(&ctx, node) {
            tracing::debug!(%error, inode = node.0, "not asked for after it was locked");
        }
        Ok(())
    }

    /// close(2): the caller's locks of fcntl(2) are given back.
    pub(super) fn release_owner(&self, node: NodeId, owner: u64, flock: bool) {
        let Some(held) = self.core.locks.held(node) else {
            return;
        };
        if held.has(owner, flock) {
            let op = match flock {
                true => PosixLockOp::ReleaseFlockOwner,
                false => PosixLockOp::ReleasePosixOwner,
            };
            let range = PosixLockRange {
                sid: self.core.locks.session,
                owner,
                ..PosixLockRange::default()
            };
            let ctx = Context::background(BACK);
            if let Ok(_turn) = held.turn.take(&ctx) {
                held.forget(owner, flock);
                let _ = self.call_lock(&ctx, &held, op, range);
            }
        }
        self.core.locks.give_back(node, held);
    }

    /// Whether the caller has locks of fcntl(2) on the file.
    pub(super) fn is_locked_by(&self, node: NodeId, owner: u64) -> bool {
        let held = self.core.locks.held(node);
        held.is_some_and(|held| {
            let has = held.has(owner, false);
            self.core.locks.give_back(node, held);
            has
        })
    }

    /// Saves what was written under a lock that is about to be given back.
    pub(super) fn save_locked(&self, handle: u64) {
        let Ok(handle) = self.files.find(handle) else {
            return;
        };
        let file = &handle.file;
        if file.is_saved() {
            return;
        }
        let ctx = Context::background(SAVE);
        if let Err(error) = self.core.save(&ctx, file.node, Some(file), false, None) {
            // It is kept, and close and fsync tell.
            tracing::warn!(%error, inode = file.node.0, "not saved before it was unlocked");
        }
    }

    fn lock(&self, req: Request<'_>, held: &Held, lock: &SetLock) -> Result<(), Errno> {
        if !held.has_room() {
            return Err(Errno::ENOLCK);
        }
        let patience = Context::new(EVER, req.interrupt);
        let mut waiting = None;
        let mut pause = PAUSE;
        while !self.try_lock(req, held, lock)? {
            if !lock.wait {
                return Err(Errno::EAGAIN);
            }
            if waiting.is_none() {
                waiting = Some(self.core.locks.wait(self.core.config.lock_waiters)?);
            }
            patience.sleep(pause).map_err(stopped)?;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        Ok(())
    }

    fn try_lock(&self, req: Request<'_>, held: &Held, lock: &SetLock) -> Result<bool, Errno> {
        let ctx = self.core.context(req);
        let _turn = held.turn.take(&ctx).map_err(stopped)?;
        let locks = &self.core.locks;
        match self.call_lock(&ctx, held, PosixLockOp::TryLock, locks.wire(lock)) {
            Ok(answer) => {
                if answer.granted {
                    held.set(lock);
                }
                Ok(answer.granted)
            }
            Err(errno) => {
                // It may have been granted to nobody who knows.
                self.settle(held, lock);
                Err(errno)
            }
        }
    }

    /// Has the filer know what this mount holds of the range, and no more.
    fn settle(&self, held: &Held, lock: &SetLock) {
        let ctx = Context::background(BACK);
        let locks = &self.core.locks;
        match held.assertion(locks.session) {
            Some(assertion) => {
                let assert = async |filer: &Filer| filer.posix_lock(assertion).await;
                if let Err(error) = self.core.remote.ask(&ctx, assert) {
                    tracing::debug!(%error, key = held.key, "asserted by the next renewal");
                }
            }
            None => {
                let _ = self.call_lock(&ctx, held, PosixLockOp::Unlock, locks.wire(lock));
            }
        }
    }

    fn unlock(&self, held: &Held, lock: &SetLock) -> Result<(), Errno> {
        let ctx = Context::background(BACK);
        let _turn = held.turn.take(&ctx).map_err(stopped)?;
        // Whatever comes of the question, the next assertion does not have it.
        held.set(lock);
        let range = self.core.locks.wire(lock);
        self.call_lock(&ctx, held, PosixLockOp::Unlock, range)?;
        Ok(())
    }

    fn ask_lock(
        &self,
        ctx: &Context<'_>,
        held: &Held,
        op: PosixLockOp,
        lock: &SetLock,
    ) -> Result<PosixLockResponse, Errno> {
        let _turn = held.turn.take(ctx).map_err(stopped)?;
        self.call_lock(ctx, held, op, self.core.locks.wire(lock))
    }

    fn call_lock(
        &self,
        ctx: &Context<'_>,
        held: &Held,
        op: PosixLockOp,
        range: PosixLockRange,
    ) -> Result<PosixLockResponse, Errno> {
        let remote = &self.core.remote;
        let request = PosixLockRequest {
            key: held.key.clone(),
            op: op.into(),
            lock: Some(range),
            ..PosixLockRequest::default()
        };
        let asked = remote.ask(ctx, async |filer: &Filer| filer.posix_lock(request).await);
        asked.map_err(|error| remote.fail("lock", &held.key, &error))
    }

    /// The locks of a file, under the name that stock mounts give it too.
    fn held(&self, node: NodeId) -> Arc<Held> {
        let key = || {
            let tree = self.core.tree.read();
            let content = tree.content(node);
            let link = content.and_then(|content| content.entry.hard_link_id.clone());
            if let Some(id) = link {
                let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
                return format!("{PREFIX}hl:{hex}");
            }
            match tree.path(node) {
                Some(path) => format!("{PREFIX}{path}"),
                // It has no name any more, so nobody else can open it.
                None => format!("{PREFIX}gone:{:x}:{}", self.core.locks.session, node.0),
            }
        };
        self.core.locks.file(node, key)
    }
}

/// What the keys of locks begin with.
const PREFIX: &str = "s3.fuse.lock:";
