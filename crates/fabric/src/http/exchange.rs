//! One question to one server: over a kept connection or a new one, along a redirection.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;
use seaweed::FileId;
use seaweed::jwt::SigningKey;

use super::answer::{Job, Miss, accept};
use super::body::Body;
use super::connection::Connection;
use super::head::{Framing, Head};
use super::pool::{Server, Servers};
use super::request::{Ask, Extent, Target, format, split_url};
use super::resolve::Resolver;
use super::stats::HttpStats;
use super::wait::{Halt, Watch};
use super::wire::{Secure, Wire, server_name};
use crate::eager::Eager;
use crate::{RouteError, Whole};

/// How long the end of a body is waited for when all wanted bytes are there.
const EPILOGUE: Duration = Duration::from_millis(100);

/// Everything an exchange needs apart from the question.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) servers: Servers,
    pub(crate) stats: Arc<HttpStats>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    /// Mints tokens for the servers asked.
    pub(crate) key: Option<SigningKey>,
    pub(crate) through_filer: bool,
    pub(crate) eager: Eager,
}

impl Client {
    /// Asks `server` to do `job` on `needle`, following one redirection.
    pub(crate) fn get(
        &self,
        watch: &Watch<'_>,
        server: &Server,
        needle: FileId,
        deleted: bool,
        job: &mut Job<'_>,
    ) -> Result<Whole, RouteError> {
        let extent = match job {
            Job::Range { offset, dst } => Extent::Range {
                offset: *offset,
                len: dst.len() as u64,
            },
            Job::Whole { .. } => Extent::Whole,
        };
        let ask = Ask {
            needle,
            extent,
            deleted,
        };
        let target = match self.through_filer {
            true => Target::Filer,
            false => Target::Volume,
        };
        let fault = |server: &Server, miss| match miss {
            Miss::Halt(halt) => fault(needle, server, halt),
            Miss::Answer(error) => error,
            Miss::Redirect(_) => malformed(needle, server, "it redirects in circles"),
        };
        match self.ask(watch, server, target, &ask, job) {
            Err(Miss::Redirect(url)) => {
                let Some((host, path)) = split_url(&url) else {
                    return Err(malformed(needle, server, "it redirects to nowhere"));
                };
                self.stats.redirects.inc();
                let named = self.servers.at(host);
                self.ask(watch, &named, Target::Redirected(path), &ask, job)
                    .map_err(|miss| fault(&named, miss))
            }
            other => other.map_err(|miss| fault(server, miss)),
        }
    }

    fn ask(
        &self,
        watch: &Watch<'_>,
        server: &Server,
        target: Target<'_>,
        ask: &Ask,
        job: &mut Job<'_>,
    ) -> Result<Whole, Miss> {
        let mint = |key: &SigningKey| key.mint(ask.needle, SystemTime::now());
        let token = self.key.as_ref().map(mint);
        let request = format(target, &server.address, ask, token.as_deref());
        let expected = match job {
            Job::Range { dst, .. } => dst.len() as u64,
            Job::Whole { to, .. } => to.likely().unwrap_or(u64::MAX),
        };
        let (mut connection, head) = self.converse(watch, server, &[&request], expected)?;
        if head.framing == Framing::Chunked {
            self.stats.chunked.inc();
        }
        let mut body = Body::new(&mut connection, head.framing, *watch);
        let outcome = accept(server, ask, job, &head, &mut body);
        let intact = head.keep_alive && !matches!(outcome, Err(Miss::Halt(_)));
        if intact && matches!(body.finish(EPILOGUE), Ok(true)) {
            self.servers.checkin(server, connection);
        }
        outcome
    }

    /// Sends `request` on a kept connection or, if the server has closed that one meanwhile,
    /// on a new one.
    pub(crate) fn converse(
        &self,
        watch: &Watch<'_>,
        server: &Server,
        request: &[&[u8]],
        expected: u64,
    ) -> Result<(Connection, Head), Halt> {
        let bytes: usize = request.iter().map(|part| part.len()).sum();
        let waiting = self.eager.begin(&server.credit, bytes as u64, expected);
        if let Some(mut kept) = self.servers.checkout(server) {
            self.stats.requests.inc();
            self.stats.reused.inc();
            match kept.exchange(request, expected, watch, Some(&waiting)) {
                Ok(head) => return Ok((kept, head)),
                Err(Halt::Broken(_)) if !kept.was_answered() => {
                    // Its siblings are most likely dead as well.
                    self.stats.stale.inc();
                    self.servers.discard_idle(server);
                }
                Err(halt) => return Err(halt),
            }
        }
        let mut fresh = self.connect(watch, server)?;
        self.stats.requests.inc();
        let head = fresh.exchange(request, expected, watch, None)?;
        Ok((fresh, head))
    }

    fn connect(&self, watch: &Watch<'_>, server: &Server) -> Result<Connection, Halt> {
        let tls = self.tls.as_ref();
        let wire = connect(watch, &server.resolver, &server.address, tls)?;
        self.stats.opened.inc();
        Ok(Connection::new(wire))
    }
}

/// Connects to `address` (`host:port`), which `resolver` resolves.
pub(super) fn connect(
    watch: &Watch<'_>,
    resolver: &Resolver,
    address: &str,
    tls: Option<&Arc<ClientConfig>>,
) -> Result<Wire, Halt> {
    let secure = match tls {
        None => None,
        Some(config) => Some(Secure {
            config: config.clone(),
            name: server_name(address)?,
        }),
    };
    resolver.try_each(watch, |address| Wire::open(address, secure.as_ref(), watch))
}

fn fault(needle: FileId, server: &Server, halt: Halt) -> RouteError {
    let address = server.address.clone();
    match halt {
        Halt::Stopped(why) => RouteError::stopped(needle, why),
        Halt::Silent => RouteError::Silent {
            needle,
            server: address,
        },
        Halt::Broken(source) => RouteError::Unreachable {
            needle,
            server: address,
            source: Arc::new(source),
        },
        Halt::Malformed(what) => malformed(needle, server, what),
    }
}

fn malformed(needle: FileId, server: &Server, what: &'static str) -> RouteError {
    RouteError::Malformed {
        needle,
        server: server.address.clone(),
        what,
    }
}
