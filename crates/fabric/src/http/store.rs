//! Needles to volume servers.
//!
//! A PUT with the bare bytes as its body: no form to wrap them in, so that the
//! pieces go from where they are into the socket, and the server has nothing to
//! search for. It is told that they are of no known type, or it would look at them
//! and compress what looks like text. What it kept is known from its answer: the
//! ETag is the checksum of the stored bytes, compared with that of the bytes sent.
//!
//! One call is one attempt at one server. Sending the same bytes under the same
//! id again is harmless, so a kept connection that turns out to be closed is
//! replaced by a new one; which server to try after a failure is the caller's to
//! decide.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use context::{Context, Stopped};
use rustls::ClientConfig;
use seaweed::FileId;

use super::body::Body;
use super::exchange::Client;
use super::head::Head;
use super::pool::{Server, Servers};
use super::stats::HttpStats;
use super::wait::{Halt, Watch};
use crate::checksum;
use crate::eager::Eager;

/// How a store speaks.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Speak HTTPS, as [`client_config`](super::client_config) sets it up.
    pub tls: Option<Arc<ClientConfig>>,
    /// How long a server may keep silent: it answers after all replicas have what it has, and
    /// with `fsync` after their disks have it.
    pub patience: Duration,
    /// Idle connections kept for each server.
    pub idle_connections: usize,
    /// How long each is kept; below the servers' own limit of 30 s.
    pub idle_time: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            tls: None,
            patience: Duration::from_secs(20),
            idle_connections: 128,
            idle_time: Duration::from_secs(20),
        }
    }
}

/// Stores needles. All threads of a mount share one.
#[derive(Debug)]
pub struct HttpStore {
    client: Client,
    patience: Duration,
}

/// Where a needle goes.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// `host:port` of the volume server, or of a filer.
    pub server: &'a str,
    /// It is a filer, which passes the needle on.
    pub through_filer: bool,
    /// The first id of the assignment.
    pub base: FileId,
    /// Which of its ids: the token is for the first, and holds for `_n` behind it.
    pub delta: u32,
    /// The assignment's token; empty where none is needed.
    pub token: &'a str,
}

/// How its bytes are to be taken.
#[derive(Debug, Clone, Copy, Default)]
pub struct Form {
    /// They are a gzip stream.
    pub gzip: bool,
    /// They shall be on disk, on all replicas, before the answer.
    pub fsync: bool,
}

/// Why a needle was not stored.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The caller or the deadline ended the attempt.
    #[error("{0}")]
    Stopped(Stopped),
    /// The server cannot be reached, or broke off.
    #[error("{server}: {reason}")]
    Unreachable {
        /// Whom we asked.
        server: Arc<str>,
        /// What happened.
        reason: String,
    },
    /// The server answered, and has not taken it.
    #[error("{server} answers {status}: {text}")]
    Refused {
        /// Whom we asked.
        server: Arc<str>,
        /// Three digits.
        status: u16,
        /// What it says, as far as that fits.
        text: String,
    },
    /// The fabric does not bring it there, and nothing else is allowed.
    #[error("over the fabric to {server}: {why}")]
    Fabric {
        /// The volume server.
        server: Arc<str>,
        /// In words.
        why: &'static str,
    },
    /// The server took other bytes than were sent.
    #[error("{server} has checksum {got:08x}, sent was {sent:08x}")]
    Corrupt {
        /// Whom we asked.
        server: Arc<str>,
        /// What it has.
        got: u32,
        /// What it should have.
        sent: u32,
    },
}

/// A needle that a server says it has.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Whom we asked.
    pub server: Arc<str>,
    /// Three digits: 201, or 204 where it had the same bytes already.
    pub status: u16,
    /// CRC32C of what it has, as far as it says so.
    pub crc: Option<u32>,
}

/// Compares the checksum that a server tells with that of what was sent.
pub(crate) fn compare(server: &Arc<str>, told: Option<u32>, sent: u32) -> Result<(), StoreError> {
    match told {
        Some(got) if !checksum::agrees(got, sent) => Err(StoreError::Corrupt {
            server: Arc::clone(server),
            got,
            sent,
        }),
        _ => Ok(()),
    }
}

/// Longest answer read.
const MAX_ANSWER: usize = 64 << 10;
/// How much of it an error repeats: why comes last, after two paths.
const EXCERPT: usize = 1000;

impl HttpStore {
    /// A store without connections; they are opened as they are needed.
    pub fn new(config: StoreConfig) -> Self {
        Self {
            client: Client {
                key: None,
                through_filer: false,
                eager: Eager::default(),
                servers: Servers::new(config.idle_connections, config.idle_time),
                stats: Arc::new(HttpStats::new()),
                tls: config.tls,
            },
            patience: config.patience,
        }
    }

    /// Stores `body`, all pieces one behind the other.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(
        &self,
        ctx: &Context<'_>,
        place: &Place<'_>,
        form: Form,
        body: &[&[u8]],
    ) -> Result<(), StoreError> {
        let Kept { server, crc, .. } = self.offer(ctx, place, form, body)?;
        let mut sent = seaweed::crc::Crc::new();
        body.iter().for_each(|part| sent.update(part));
        compare(&server, crc, sent.value())
    }

    /// The same without a look at the checksum that comes back.
    ///
    /// # Errors
    /// [`StoreError`], but for [`StoreError::Corrupt`].
    pub fn offer(
        &self,
        ctx: &Context<'_>,
        place: &Place<'_>,
        form: Form,
        body: &[&[u8]],
    ) -> Result<Kept, StoreError> {
        let len = body.iter().map(|part| part.len()).sum();
        let head = request("PUT", place, form, Some(len));
        let mut parts = Vec::with_capacity(body.len() + 1);
        parts.push(head.as_slice());
        parts.extend_from_slice(body);
        let (server, answer) = self.ask(ctx, place.server, &parts)?;
        Ok(Kept {
            server: Arc::clone(&server.address),
            status: answer.status,
            crc: answer.crc,
        })
    }

    /// Deletes a needle.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn delete(&self, ctx: &Context<'_>, place: &Place<'_>) -> Result<(), StoreError> {
        let head = request("DELETE", place, Form::default(), None);
        self.ask(ctx, place.server, &[&head]).map(|_| ())
    }

    fn ask(
        &self,
        ctx: &Context<'_>,
        server: &str,
        parts: &[&[u8]],
    ) -> Result<(Arc<Server>, Head), StoreError> {
        let server = self.client.servers.at(server);
        let watch = Watch {
            ctx: *ctx,
            patience: self.patience,
        };
        let failed = |halt| failed(&server, halt);
        let (mut connection, head) = self
            .client
            .converse(&watch, &server, parts, 1024)
            .map_err(failed)?;
        let mut body = Body::new(&mut connection, head.framing, watch);
        let text = body.read_to_end(MAX_ANSWER).map_err(failed)?;
        if text.is_some() && head.keep_alive {
            self.client.servers.checkin(&server, connection);
        }
        if !(200..300).contains(&head.status) {
            let text = text.unwrap_or_default();
            let text = String::from_utf8_lossy(&text[..text.len().min(EXCERPT)]);
            return Err(StoreError::Refused {
                server: Arc::clone(&server.address),
                status: head.status,
                text: text.trim().to_owned(),
            });
        }
        Ok((server, head))
    }
}

fn request(method: &str, place: &Place<'_>, form: Form, len: Option<usize>) -> Vec<u8> {
    let mut text = Vec::with_capacity(512);
    let Place { server, base, .. } = place;
    // Writing to a vector does not fail.
    let _ = match place.through_filer {
        true => write!(text, "{method} /?proxyChunkId={base}"),
        false => write!(text, "{method} /{base}"),
    };
    if place.delta > 0 {
        let _ = write!(text, "_{}", place.delta);
    }
    if form.fsync {
        let sign = if place.through_filer { '&' } else { '?' };
        let _ = write!(text, "{sign}fsync=true");
    }
    let _ = write!(text, " HTTP/1.1\r\nHost: {server}\r\n");
    if let Some(len) = len {
        let _ = write!(
            text,
            "Content-Type: application/octet-stream\r\nContent-Length: {len}\r\n"
        );
    }
    if form.gzip {
        text.extend_from_slice(b"Content-Encoding: gzip\r\n");
    }
    if !place.token.is_empty() {
        let _ = write!(text, "Authorization: Bearer {}\r\n", place.token);
    }
    let version = env!("CARGO_PKG_VERSION");
    let _ = write!(text, "User-Agent: riptide/{version}\r\n\r\n");
    text
}

fn failed(server: &Server, halt: Halt) -> StoreError {
    let reason = match halt {
        Halt::Stopped(why) => return StoreError::Stopped(why),
        Halt::Silent => "it keeps silent".to_owned(),
        Halt::Broken(error) => error.to_string(),
        Halt::Malformed(what) => format!("its answer makes no sense: {what}"),
    };
    StoreError::Unreachable {
        server: Arc::clone(&server.address),
        reason,
    }
}
