//! A cluster's filers seen as one.
//!
//! One of the configured filers is *current*, and everybody talks to it: its
//! answers and the subscription's events come from one store, so they can be
//! ordered (see [`Stamped`](crate::Stamped)). It stays current until it fails
//! to answer; then the next in the list takes over and stays. A filer that
//! came back is used again when its turn comes.
//!
//! Every call made here is idempotent, so an attempt that failed on the way is
//! repeated: at once on each other filer, then after a pause, and so on until
//! `retry` has passed. An attempt also ends after a time limit, because a
//! stopped process keeps accepting requests and never answers them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use seaweed::ServerAddress;
use seaweed::security::GrpcTls;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::RawClient;
use crate::attempt::Attempt;
use crate::backoff::Backoff;
use crate::configuration::Configuration;
use crate::error::{FilerError, describe, is_not_found, is_transport};
use crate::lanes::Way;
use crate::peer::{CONFIGURATION, Peer, PeerStats};
use crate::quiet::Quiet;

/// Time for one answer while another filer could give it instead.
const PATIENCE_WITH_OTHERS: Duration = Duration::from_secs(2);

/// Time for one answer of the only filer: what is slow there is slow for
/// everybody, and asking again only adds to its load.
const PATIENCE_ALONE: Duration = Duration::from_secs(10);

/// Whom to talk to, and how.
#[derive(Debug, Clone)]
pub struct FilerConfig {
    /// The filers of one cluster, in order of preference.
    pub addresses: Vec<ServerAddress>,
    /// Who we are, in the filer's list of subscribers.
    pub client_name: String,
    /// Mutual TLS, when the cluster demands it.
    pub tls: Option<GrpcTls>,
    /// How long a call is repeated before it fails (`-readRetryTime`).
    pub retry: Duration,
    /// Where this client is; replicas there come first (`-dataCenter`).
    pub data_center: String,
}

/// The filers of a cluster. Cheap to clone; all clones share one state.
#[derive(Clone)]
pub struct Filer {
    inner: Arc<Inner>,
    /// Tried first; else the connection that all share.
    way: Option<Arc<Way>>,
}

struct Inner {
    config: FilerConfig,
    peers: Box<[Peer]>,
    /// Index of the current filer; the subscription watches it.
    current: watch::Sender<usize>,
    configuration: ArcSwap<Configuration>,
    fail_overs: AtomicU64,
    quiet: Quiet,
    /// Runs what nobody waits for.
    background: Handle,
}

/// Counters since the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilerStats {
    /// How often another filer took over.
    pub fail_overs: u64,
    /// Each filer, in the configured order.
    pub peers: Vec<PeerStats>,
}

impl Filer {
    /// Connects to the first filer that answers, in the configured order, and
    /// learns the cluster's configuration from it.
    ///
    /// # Errors
    /// When the TLS files cannot be used, or no filer answered within `retry`;
    /// the error then lists each address with its reason.
    pub async fn connect(config: FilerConfig) -> Result<Self, FilerError> {
        if config.addresses.is_empty() {
            return Err(FilerError::NoAddress);
        }
        let tls = config.tls.as_ref().map(crate::tls::load).transpose()?;
        let peers = config.addresses.iter();
        let peers: Box<[Peer]> = peers.map(|a| Peer::new(a.clone(), tls.as_ref())).collect();
        let quiet = Quiet::new(config.addresses.len());
        let unknown = Configuration::unknown(config.addresses[0].clone());
        let filer = Self {
            inner: Arc::new(Inner {
                config,
                peers,
                current: watch::Sender::new(0),
                configuration: ArcSwap::from_pointee(unknown),
                fail_overs: AtomicU64::new(0),
                quiet,
                background: Handle::current(),
            }),
            way: None,
        };
        filer
            .refresh_configuration()
            .await
            .map_err(|error| filer.suspect_tls(error))?;
        // Trying the list at the start is no fail-over.
        filer.inner.fail_overs.store(0, Ordering::Relaxed);
        Ok(filer)
    }

    /// The settings given to [`Filer::connect`].
    pub fn config(&self) -> &FilerConfig {
        &self.inner.config
    }

    /// The filer that answers at present.
    pub fn current(&self) -> ServerAddress {
        self.current_peer().address.clone()
    }

    /// The generated client on the current filer's connection, for methods
    /// that are not offered here; it neither retries nor fails over.
    pub fn client(&self) -> RawClient {
        self.current_peer().client()
    }

    /// What the current filer said about its cluster. After a fail-over it is
    /// fetched anew in the background.
    pub fn configuration(&self) -> Arc<Configuration> {
        self.inner.configuration.load_full()
    }

    /// Counters of calls, errors and fail-overs.
    pub fn stats(&self) -> FilerStats {
        FilerStats {
            fail_overs: self.inner.fail_overs.load(Ordering::Relaxed),
            peers: self.inner.peers.iter().map(Peer::stats).collect(),
        }
    }

    /// Asks the filers until one answers. `ask` makes one attempt; it must be
    /// idempotent.
    pub(crate) async fn call<T, F, A>(&self, what: &'static str, ask: F) -> Result<T, FilerError>
    where
        F: Fn(Attempt) -> A,
        A: Future<Output = Result<T, Status>>,
    {
        let give_up = Instant::now() + self.inner.config.retry;
        let mut backoff = Backoff::new();
        let mut attempts: Vec<(ServerAddress, String)> = Vec::new();
        loop {
            // One round: every filer once, the current one first.
            for _ in 0..self.inner.peers.len() {
                let index = self.current_index();
                let peer = &self.inner.peers[index];
                peer.called();
                let status = match self.attempt(index, &ask).await {
                    Ok(answer) => return Ok(answer),
                    Err(status) => status,
                };
                if !is_transport(&status) {
                    if !is_not_found(&status) {
                        peer.refused();
                    }
                    return Err(refused(peer, what, &status));
                }
                peer.failed();
                note(&mut attempts, &peer.address, describe(&status));
                if status.code() == tonic::Code::DeadlineExceeded {
                    // The next one is everybody's: it must not end with the runtime of a lane.
                    let _inside = self.inner.background.enter();
                    peer.abandon_connection();
                }
                self.leave(index, &status);
            }
            let pause = backoff.pause();
            if Instant::now() + pause >= give_up {
                return Err(FilerError::Unavailable { what, attempts });
            }
            sleep(pause).await;
        }
    }

    async fn attempt<T, F, A>(&self, index: usize, ask: &F) -> Result<T, Status>
    where
        F: Fn(Attempt) -> A,
        A: Future<Output = Result<T, Status>>,
    {
        if let Some(way) = &self.way
            && let Some(transport) = way.begins(index)
        {
            match ask(Attempt::new(transport, self.patience())).await {
                Err(status) if is_transport(&status) => {
                    way.breaks();
                    if status.code() == tonic::Code::DeadlineExceeded {
                        return Err(status);
                    }
                    tracing::debug!(%status, "a lane to the filer broke");
                }
                done => {
                    way.ends();
                    return done;
                }
            }
        }
        ask(Attempt::new(self.peer(index).transport(), self.patience())).await
    }

    /// The same filers, asked by `way` as long as that works.
    pub(crate) fn by(&self, way: Arc<Way>) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            way: Some(way),
        }
    }

    /// Makes the next filer current, unless somebody already did.
    pub(crate) fn leave(&self, index: usize, why: &Status) {
        let count = self.inner.peers.len();
        if count == 1 {
            return;
        }
        let next = (index + 1) % count;
        let left = self.inner.current.send_if_modified(|current| {
            let ours = *current == index;
            if ours {
                *current = next;
            }
            ours
        });
        if !left {
            return;
        }
        self.inner.fail_overs.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            from = %self.inner.peers[index].address,
            to = %self.inner.peers[next].address,
            reason = describe(why),
            "filer does not answer, asking the next"
        );
        let filer = Self {
            inner: Arc::clone(&self.inner),
            way: None,
        };
        self.inner.background.spawn(async move {
            // Without an answer the next fail-over tries again.
            if filer.current_index() == next {
                let _ = filer.configuration_of(next).await;
            }
        });
    }

    /// Index of the current filer.
    pub(crate) fn current_index(&self) -> usize {
        *self.inner.current.borrow()
    }

    /// Follows the choice of the current filer.
    pub(crate) fn watch_current(&self) -> watch::Receiver<usize> {
        self.inner.current.subscribe()
    }

    /// The filer with this index.
    pub(crate) fn peer(&self, index: usize) -> &Peer {
        &self.inner.peers[index]
    }

    /// Whether we are told what we do ourselves.
    pub(crate) fn quiet(&self) -> &Quiet {
        &self.inner.quiet
    }

    /// How long one attempt may take.
    pub(crate) fn patience(&self) -> Duration {
        if self.inner.peers.len() > 1 {
            PATIENCE_WITH_OTHERS
        } else {
            PATIENCE_ALONE
        }
    }

    /// Remembers what a filer said about itself, if it is the current one.
    pub(crate) fn learn(&self, index: usize, configuration: Configuration) {
        if self.current_index() == index {
            self.inner.configuration.store(Arc::new(configuration));
        }
    }

    fn current_peer(&self) -> &Peer {
        self.peer(self.current_index())
    }

    async fn refresh_configuration(&self) -> Result<(), FilerError> {
        let ask = |attempt: Attempt| async move {
            attempt
                .unary(
                    |mut client| async move { client.get_filer_configuration(CONFIGURATION).await },
                )
                .await
        };
        let answer = self.call("GetFilerConfiguration", ask).await?;
        let index = self.current_index();
        self.learn(
            index,
            Configuration::new(self.peer(index).address.clone(), answer),
        );
        Ok(())
    }

    /// A port that demands TLS closes plain connections without a word.
    fn suspect_tls(&self, mut error: FilerError) -> FilerError {
        if let FilerError::Unavailable { attempts, .. } = &mut error
            && self.inner.config.tls.is_none()
        {
            let broken = |reason: &str| BROKEN.iter().any(|start| reason.starts_with(start));
            for (_, reason) in attempts.iter_mut().filter(|(_, reason)| broken(reason)) {
                reason.push_str(" (does it demand TLS? grpc.ca is not set in security.toml)");
            }
        }
        error
    }

    async fn configuration_of(&self, index: usize) -> Result<(), Status> {
        let attempt = Attempt::new(self.peer(index).transport(), self.patience());
        let answer = attempt
            .unary(|mut client| async move { client.get_filer_configuration(CONFIGURATION).await })
            .await?;
        self.learn(
            index,
            Configuration::new(self.peer(index).address.clone(), answer),
        );
        Ok(())
    }
}

impl std::fmt::Debug for Filer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Filer")
            .field("addresses", &self.inner.config.addresses)
            .field("current", &self.current())
            .finish_non_exhaustive()
    }
}

/// How hyper begins when a connection that was established breaks: amid a request, or before it
/// got to send one.
const BROKEN: [&str; 2] = ["connection error", "operation was canceled"];

fn refused(peer: &Peer, what: &'static str, status: &Status) -> FilerError {
    FilerError::Refused {
        filer: peer.address.clone(),
        what,
        code: status.code(),
        message: status.message().to_owned(),
    }
}

/// Keeps the latest reason of each filer, in the order of their first failure.
fn note(attempts: &mut Vec<(ServerAddress, String)>, address: &ServerAddress, reason: String) {
    match attempts.iter_mut().find(|(known, _)| known == address) {
        Some(known) => known.1 = reason,
        None => attempts.push((address.clone(), reason)),
    }
}
