//! From where a sidecar listens to an open lane.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use context::Context;
use parking_lot::Mutex;
use rustls::ClientConfig;
use seaweed::jwt::SigningKey;

use super::error::{Attempt, DialError, Failure};
use super::greet::Greeting;
use super::lender::Lender;
use super::verbs::{self, Pins};
use super::ways::Ways;
use super::{shm, tcp};
use crate::announce::Endpoints;
use crate::http::resolve::Resolver;
use crate::http::wait::Watch;
use crate::lane::{Broken, Lane};
use crate::memory::Arena;
use crate::wire::VERSION;

/// Opens lanes.
pub trait Dial: Send + Sync {
    /// Opens the best lane that there is to a sidecar.
    ///
    /// # Errors
    /// See [`DialError`], which tells what was tried.
    fn dial(&self, ctx: &Context<'_>, to: &Endpoints) -> Result<Box<dyn Lane>, DialError>;

    /// Since when a way works again that may be better than that of lanes which were opened before.
    fn mended(&self, to: &Endpoints) -> Option<Instant> {
        let _ = to;
        None
    }

    /// Whether a way that may be better than that of the lanes there are failed lately, and may be tried again.
    fn is_mendable(&self, to: &Endpoints) -> bool {
        let _ = to;
        false
    }

    /// Tries the ways that failed lately; a lane over the first of them that works again.
    fn mend(&self, ctx: &Context<'_>, to: &Endpoints) -> Option<Box<dyn Lane>> {
        let _ = (ctx, to);
        None
    }
}

/// What a [`Dialer`] shows of itself, and what it may use.
#[derive(Debug, Clone)]
pub struct DialerConfig {
    /// Who we are, for the servers' logs: at most 64 bytes of printable ASCII.
    pub name: String,
    /// What tells our kernel from others ([`this_host`](crate::announce::this_host)); empty if
    /// that is not known.
    pub host: String,
    /// The cluster's read key, if it has one.
    pub read_key: Option<SigningKey>,
    /// For sidecars whose TCP is TLS.
    pub tls: Option<Arc<ClientConfig>>,
    /// Memory that servers may write to.
    pub arena: Option<Arena>,
    /// Whether they may read it over RDMA as well, without which no writes are sent that way. On the
    /// same host they can in any case.
    pub remote_reads: bool,
    /// Users, beside root and our own, whose servers on this host get that memory over shared memory, and lend us
    /// files. They can then read and change whatever is in it, of other sidecars' files as well.
    pub trusted: Vec<u32>,
    /// How long a server may keep silent while a lane is opened. Short, for there is another
    /// way, and the caller is waiting.
    pub patience: Duration,
}

/// Opens lanes over shared memory, RDMA and TCP.
#[derive(Debug)]
pub struct Dialer {
    config: DialerConfig,
    resolvers: Mutex<HashMap<String, Arc<Resolver>>>,
    pins: Option<Pins>,
    ways: Ways,
}

/// How many host names are remembered; far more than a mount has sidecars.
const MAX_NAMES: usize = 4096;

impl Dialer {
    /// A dialer, which opens nothing yet.
    pub fn new(config: DialerConfig) -> Self {
        Self {
            pins: config
                .arena
                .clone()
                .map(|arena| Pins::new(arena, config.remote_reads)),
            ways: Ways::default(),
            config,
            resolvers: Mutex::default(),
        }
    }

    fn greeting(&self) -> Greeting<'_> {
        Greeting {
            name: &self.config.name,
            key: self.config.read_key.as_ref(),
        }
    }

    /// Connects to a sidecar of this host to borrow files from it.
    ///
    /// # Errors
    /// See [`DialError`].
    pub fn lender(&self, ctx: &Context<'_>, to: &Endpoints) -> Result<Lender, DialError> {
        if to.version != VERSION {
            return Err(DialError::Version(to.version));
        }
        let Some(path) = self.socket(to) else {
            return Err(DialError::Failed(Vec::new()));
        };
        let watch = Watch {
            ctx: *ctx,
            patience: self.config.patience,
        };
        Lender::open(path, self.greeting(), &self.config.trusted, &watch).map_err(|failure| {
            match failure.into_broken() {
                Err(why) => DialError::Stopped(why),
                Ok(why) => DialError::Failed(vec![Attempt {
                    carrier: "shm",
                    address: path.clone(),
                    why,
                }]),
            }
        })
    }

    /// Whether a sidecar runs on the same kernel.
    fn is_here(&self, to: &Endpoints) -> bool {
        !to.host.is_empty() && to.host == self.config.host
    }

    fn shm(&self, path: &str, watch: &Watch<'_>) -> Result<Box<dyn Lane>, Failure> {
        let arena = self.config.arena.as_ref();
        match shm::open(path, self.greeting(), arena, &self.config.trusted, watch) {
            Ok(lane) => {
                self.ways.worked("shm", path, lane.opened());
                Ok(Box::new(lane))
            }
            Err(failure) => Err(self.noted("shm", path, failure)),
        }
    }

    fn rdma(&self, rail: &str, watch: &Watch<'_>) -> Result<Box<dyn Lane>, Failure> {
        let opened = match rail.parse() {
            Ok(address) => verbs::open(address, self.greeting(), self.pins.as_ref(), watch),
            Err(_) => Err(io::Error::other("expected an IP address and a port").into()),
        };
        match opened {
            Ok((lane, device)) => {
                self.ways.rail_worked(rail, device, lane.opened());
                Ok(Box::new(lane))
            }
            Err(failure) => Err(self.noted("rdma", rail, failure)),
        }
    }

    /// Remembers that a way does not work.
    fn noted(&self, carrier: &str, way: &str, failure: Failure) -> Failure {
        if let Failure::Broken(why) = &failure {
            self.ways
                .failed(carrier, way, why.to_string(), Instant::now());
        }
        failure
    }

    /// Where a sidecar of this host has its socket.
    fn socket<'a>(&self, to: &'a Endpoints) -> Option<&'a String> {
        to.unix.as_ref().filter(|_| self.is_here(to))
    }

    fn tcp(&self, address: &str, tls: bool, watch: &Watch<'_>) -> Result<Box<dyn Lane>, Failure> {
        let tls = match (tls, &self.config.tls) {
            (false, _) => None,
            (true, Some(config)) => Some(config),
            (true, None) => return Err(tcp::without_tls()),
        };
        let resolver = self.resolver(address);
        let lane = tcp::open(address, &resolver, tls, self.greeting(), watch)?;
        Ok(Box::new(lane))
    }

    fn resolver(&self, address: &str) -> Arc<Resolver> {
        let mut known = self.resolvers.lock();
        if let Some(resolver) = known.get(address) {
            return resolver.clone();
        }
        if known.len() >= MAX_NAMES {
            known.clear();
        }
        let resolver = Arc::new(Resolver::new(address.into()));
        known.insert(address.to_owned(), resolver.clone());
        resolver
    }
}

impl Dial for Dialer {
    fn dial(&self, ctx: &Context<'_>, to: &Endpoints) -> Result<Box<dyn Lane>, DialError> {
        if to.version != VERSION {
            return Err(DialError::Version(to.version));
        }
        let rails = self.ways.order(&to.rdma, Instant::now());
        let unix = self.socket(to);
        let mut ways = usize::from(unix.is_some()) + rails.len() + usize::from(to.tcp.is_some());
        // One that keeps silent leaves time for the next.
        let mut watch = || {
            ways -= 1;
            let patience = match ways {
                0 => self.config.patience,
                _ => self.config.patience.min(ctx.remaining() / 2),
            };
            Watch {
                ctx: *ctx,
                patience,
            }
        };
        let mut attempts = Vec::new();
        // Keeps the reason of a failure; ends the search with a lane, or when time is over.
        let mut tried = |carrier, address: &str, outcome: Result<_, Failure>| match outcome {
            Ok(lane) => Some(Ok(lane)),
            Err(failure) => match failure.into_broken() {
                Err(why) => Some(Err(DialError::Stopped(why))),
                Ok(why) => {
                    attempts.push(Attempt {
                        carrier,
                        address: address.to_owned(),
                        why,
                    });
                    None
                }
            },
        };
        if let Some(path) = unix
            && let Some(end) = tried("shm", path, self.shm(path, &watch()))
        {
            return end;
        }
        for rail in rails {
            if let Some(end) = tried("rdma", rail, self.rdma(rail, &watch())) {
                return end;
            }
        }
        if let Some(address) = &to.tcp
            && let Some(end) = tried("tcp", address, self.tcp(address, to.tls, &watch()))
        {
            return end;
        }
        for rail in &to.rdma {
            if !attempts.iter().any(|attempt| attempt.address == *rail)
                && let Some(why) = self.ways.why(rail)
            {
                attempts.push(Attempt {
                    carrier: "rdma",
                    address: rail.clone(),
                    why: Broken::Gone(why),
                });
            }
        }
        Err(DialError::Failed(attempts))
    }

    fn mended(&self, to: &Endpoints) -> Option<Instant> {
        self.ways
            .mended(self.socket(to).into_iter().chain(&to.rdma))
    }

    fn is_mendable(&self, to: &Endpoints) -> bool {
        let better = self.socket(to).into_iter().chain(&to.rdma);
        to.version == VERSION && !self.ways.due(better, Instant::now()).is_empty()
    }

    fn mend(&self, ctx: &Context<'_>, to: &Endpoints) -> Option<Box<dyn Lane>> {
        let socket = self.socket(to);
        let better = socket.into_iter().chain(&to.rdma);
        self.ways
            .due(better, Instant::now())
            .into_iter()
            .find_map(|way| {
                let watch = Watch {
                    ctx: *ctx,
                    patience: self.config.patience,
                };
                match socket.is_some_and(|path| path == way) {
                    true => self.shm(way, &watch).ok(),
                    false => self.rdma(way, &watch).ok(),
                }
            })
    }
}
