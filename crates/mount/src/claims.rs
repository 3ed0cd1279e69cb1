//! Files that one mount writes, and no other (`-dlm`).
//!
//! Whoever opens a file for writing first has the filers say that it is this mount's; another mount's open waits
//! until the last of these handles is closed and saved. It is a lease by the file's path, renewed every few seconds,
//! with the names and times that stock mounts use, so that they wait for each other too. Within a
//! mount nobody waits: its handles share one set of changes anyway.
//!
//! A filer that was restarted knows no leases: the renewal asks for a new one then, which fails if another
//! mount was quicker.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use context::Context;
use filer::Filer;
use fuse::{Errno, NodeId, Request};
use parking_lot::Mutex;
use seaweed::pb::{LockRequest, LockResponse, UnlockRequest};

use crate::gate::Turn;
use crate::remote::RemoteError;
use crate::save::stopped;
use crate::state::Core;

/// How long a lease holds, and how often it is renewed: as stock mounts do it.
const LEASE_SECONDS: i64 = 7;
const RENEW: Duration = Duration::from_secs(3);
/// What a renewal, and giving back, may take.
const BUDGET: Duration = Duration::from_secs(3);
/// open(2) waits for as long as it takes.
const EVER: Duration = Duration::from_secs(365 * 24 * 3600);
/// The pause before it is tried again grows from the first to the second.
const PAUSE: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(200);

/// Files that this mount has open for writing.
#[derive(Debug, Default)]
pub(crate) struct Claims(Mutex<HashMap<NodeId, Arc<Claim>>>);

/// One of them.
#[derive(Debug)]
struct Claim {
    /// The path when it was opened first.
    name: String,
    turn: Turn,
    lease: Mutex<Lease>,
}

#[derive(Debug, Default)]
struct Lease {
    handles: usize,
    /// What the filer wants to see at the next renewal.
    token: String,
}

impl Core {
    /// One handle more that writes; waits while another mount writes the file. Whether that was
    /// the first one here: what others wrote has to be asked for then.
    pub(crate) fn claim(&self, req: Request<'_>, node: NodeId) -> Result<bool, Errno> {
        if !self.config.whole_files {
            return Ok(false);
        }
        let Some(name) = self.tree.read().path(node) else {
            // It has no name any more, so nobody else can open it.
            return Ok(false);
        };
        let claim = {
            let mut all = self.claims.0.lock();
            let claim = all.entry(node).or_insert_with(|| {
                Arc::new(Claim {
                    name,
                    turn: Turn::default(),
                    lease: Mutex::default(),
                })
            });
            Arc::clone(claim)
        };
        let claimed = self.wait_for(req, &claim);
        if claimed.is_err() {
            self.forget(node, &claim);
        }
        claimed
    }

    fn wait_for(&self, req: Request<'_>, claim: &Claim) -> Result<bool, Errno> {
        let patience = Context::new(EVER, req.interrupt);
        let mut waiting = None;
        let mut pause = PAUSE;
        loop {
            {
                let _turn = claim.turn.take(&patience).map_err(stopped)?;
                if claim.lease.lock().handles > 0 {
                    claim.lease.lock().handles += 1;
                    return Ok(false);
                }
                let asked = self.ask_lease(&self.context(req), &claim.name, String::new());
                let answer =
                    asked.map_err(|error| self.remote.fail("lock", &claim.name, &error))?;
                if answer.error.is_empty() {
                    *claim.lease.lock() = Lease {
                        handles: 1,
                        token: answer.renew_token,
                    };
                    return Ok(true);
                }
                tracing::debug!(
                    name = claim.name,
                    owner = answer.lock_owner,
                    error = answer.error,
                    "waiting"
                );
            }
            if waiting.is_none() {
                waiting = Some(self.locks.wait(self.config.lock_waiters)?);
            }
            patience.sleep(pause).map_err(stopped)?;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One handle that writes is closed, and saved.
    pub(crate) fn unclaim(&self, node: NodeId) {
        let Some(claim) = self.claims.0.lock().get(&node).cloned() else {
            return;
        };
        // Behind a renewal that waits for a filer.
        let ctx = Context::background(BUDGET * 2);
        let turn = claim.turn.take(&ctx);
        let token = {
            let mut lease = claim.lease.lock();
            lease.handles = lease.handles.saturating_sub(1);
            if lease.handles > 0 {
                return;
            }
            std::mem::take(&mut lease.token)
        };
        if turn.is_err() {
            // It ends by itself when nobody renews it.
            return self.forget(node, &claim);
        }
        let request = UnlockRequest {
            name: claim.name.clone(),
            renew_token: token,
            is_moved: false,
        };
        let unlock = async |filer: &Filer| filer.unlock(request).await;
        match self.remote.ask(&ctx, unlock) {
            Ok(answer) if answer.error.is_empty() => {}
            Ok(answer) => {
                tracing::debug!(name = claim.name, error = answer.error, "not given back")
            }
            Err(error) => {
                tracing::warn!(name = claim.name, %error, "not given back: others wait some seconds")
            }
        }
        self.forget(node, &claim);
    }

    /// Forgets a file that nobody has or waits for.
    fn forget(&self, node: NodeId, claim: &Arc<Claim>) {
        let mut all = self.claims.0.lock();
        // The map's and the caller's.
        if Arc::strong_count(claim) == 2 && claim.lease.lock().handles == 0 {
            all.remove(&node);
        }
    }

    fn ask_lease(
        &self,
        ctx: &Context<'_>,
        name: &str,
        token: String,
    ) -> Result<LockResponse, RemoteError> {
        let request = LockRequest {
            name: name.to_owned(),
            seconds_to_lock: LEASE_SECONDS,
            renew_token: token,
            is_moved: false,
            owner: format!("mount-{}", self.signature),
        };
        self.remote
            .ask(ctx, async |filer: &Filer| filer.lock(request).await)
    }

    fn renew(&self, claim: &Claim) {
        let ctx = Context::background(BUDGET);
        let Ok(_turn) = claim.turn.take(&ctx) else {
            return;
        };
        let (handles, token) = {
            let lease = claim.lease.lock();
            (lease.handles, lease.token.clone())
        };
        if handles == 0 {
            return;
        }
        let renewed = self.ask_lease(&ctx, &claim.name, token);
        let renewed = match renewed {
            Ok(answer) if !answer.error.is_empty() => {
                self.ask_lease(&ctx, &claim.name, String::new())
            }
            renewed => renewed,
        };
        match renewed {
            Ok(answer) if answer.error.is_empty() => claim.lease.lock().token = answer.renew_token,
            Ok(answer) => tracing::error!(
                name = claim.name,
                owner = answer.lock_owner,
                error = answer.error,
                "another mount may write the file that is open here"
            ),
            Err(error) => {
                tracing::warn!(name = claim.name, %error, "cannot be renewed: others may write the file");
            }
        }
    }
}

/// Renews what is held, for as long as the mount is there.
pub(crate) async fn keep(core: Arc<Core>) {
    if !core.config.whole_files {
        return;
    }
    loop {
        tokio::time::sleep(RENEW).await;
        let core = Arc::clone(&core);
        // Turns and questions to the filer block.
        let renewing = tokio::task::spawn_blocking(move || {
            let all: Vec<_> = {
                let all = core.claims.0.lock();
                let all = all.iter();
                all.map(|(node, claim)| (*node, Arc::clone(claim)))
                    .collect()
            };
            for (node, claim) in all {
                core.renew(&claim);
                core.forget(node, &claim);
            }
        });
        let _ = renewing.await;
    }
}
