//! Servers, and the connections kept to them.
//!
//! The connection used last is used next: it is warm, and those that a quieter time does not
//! need grow old at the bottom and are closed before the server does so (volume servers close
//! after 30 s, `-idleTimeout`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};

use super::connection::Connection;
use super::resolve::Resolver;
use crate::eager::Credit;

/// How long a server that failed is asked only after all others.
const SUSPECT: Duration = Duration::from_secs(3);
/// How often all servers are looked through for connections grown old.
const SWEEP_EVERY: Duration = Duration::from_secs(10);

/// All servers talked to so far.
#[derive(Debug)]
pub(crate) struct Servers {
    all: RwLock<HashMap<Arc<str>, Arc<Server>>>,
    epoch: Instant,
    swept_ms: AtomicU64,
    keep: usize,
    keep_for: Duration,
}

/// One server.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: Arc<str>,
    pub(crate) resolver: Resolver,
    /// Whether looking for its answers pays.
    pub(crate) credit: Credit,
    idle: Mutex<Vec<Idle>>,
    /// Milliseconds since the epoch; 0 while nothing is held against it.
    suspect_until_ms: AtomicU64,
}

#[derive(Debug)]
struct Idle {
    connection: Connection,
    since: Instant,
}

impl Servers {
    /// Keeps up to `keep` idle connections per server, each for `keep_for`.
    pub(crate) fn new(keep: usize, keep_for: Duration) -> Self {
        Self {
            all: RwLock::default(),
            epoch: Instant::now(),
            swept_ms: AtomicU64::new(0),
            keep,
            keep_for,
        }
    }

    /// The server at `address`, new or known.
    pub(crate) fn at(&self, address: &str) -> Arc<Server> {
        if let Some(server) = self.all.read().get(address) {
            return server.clone();
        }
        let address: Arc<str> = address.into();
        let mut all = self.all.write();
        let server = all
            .entry(address.clone())
            .or_insert_with(|| Arc::new(Server::new(address)));
        server.clone()
    }

    /// The connection to `server` that was used last, if it is still fresh.
    pub(crate) fn checkout(&self, server: &Server) -> Option<Connection> {
        let mut idle = server.idle.lock();
        let last = idle.pop()?;
        if last.since.elapsed() < self.keep_for {
            return Some(last.connection);
        }
        // The others have waited even longer.
        idle.clear();
        None
    }

    /// Closes all idle connections to `server`.
    pub(crate) fn discard_idle(&self, server: &Server) {
        server.idle.lock().clear();
    }

    /// Keeps `connection` for the next request.
    pub(crate) fn checkin(&self, server: &Server, connection: Connection) {
        if !connection.is_clean() {
            return;
        }
        let now = Instant::now();
        {
            let mut idle = server.idle.lock();
            if idle.len() >= self.keep {
                return;
            }
            idle.push(Idle {
                connection,
                since: now,
            });
        }
        self.sweep(now);
    }

    /// Holds a failure against `server` for a while.
    pub(crate) fn suspect(&self, server: &Server) {
        let until = self.epoch.elapsed() + SUSPECT;
        let until = u64::try_from(until.as_millis()).unwrap_or(u64::MAX);
        server.suspect_until_ms.store(until, Ordering::Relaxed);
    }

    /// Forgives `server`, which has just delivered.
    pub(crate) fn trust(&self, server: &Server) {
        if server.suspect_until_ms.load(Ordering::Relaxed) != 0 {
            server.suspect_until_ms.store(0, Ordering::Relaxed);
        }
    }

    /// Whether `server` failed a short while ago.
    pub(crate) fn is_suspect(&self, server: &Server) -> bool {
        let until = server.suspect_until_ms.load(Ordering::Relaxed);
        until != 0 && self.epoch.elapsed().as_millis() < u128::from(until)
    }

    /// Idle connections, over all servers.
    pub(crate) fn idle(&self) -> usize {
        let all = self.all.read();
        all.values().map(|server| server.idle.lock().len()).sum()
    }

    /// Closes connections that nobody took for too long and forgets servers without any.
    fn sweep(&self, now: Instant) {
        let now_ms = u64::try_from((now - self.epoch).as_millis()).unwrap_or(u64::MAX);
        let swept = self.swept_ms.load(Ordering::Relaxed);
        let due = swept.saturating_add(SWEEP_EVERY.as_millis() as u64);
        if now_ms < due
            || self
                .swept_ms
                .compare_exchange(swept, now_ms, Ordering::Relaxed, Ordering::Relaxed)
                .is_err()
        {
            return;
        }
        self.all.write().retain(|_, server| {
            let mut idle = server.idle.lock();
            idle.retain(|one| now.saturating_duration_since(one.since) < self.keep_for);
            !idle.is_empty() || Arc::strong_count(server) > 1 || self.is_suspect(server)
        });
    }
}

impl Server {
    fn new(address: Arc<str>) -> Self {
        Self {
            resolver: Resolver::new(address.clone()),
            address,
            credit: Credit::default(),
            idle: Mutex::default(),
            suspect_until_ms: AtomicU64::new(0),
        }
    }
}
