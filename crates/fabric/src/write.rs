//! Writes over the fabric, on the thread that has the bytes.
//!
//! A needle goes to the sidecar beside the volume server that was assigned for it, which hands it to
//! that server as an upload over HTTP would, and passes on what the server says. A
//! [`Posting`](crate::client::Posting) decides whom to ask and for how long; here its decisions meet
//! lanes and the clock.
//!
//! Over shared memory the bytes are copied to a block of the arena, from where the sidecar
//! copies them in turn, and over RDMA to one that its device reads. A small needle goes behind its frame, as
//! all do over TCP, and over a unix socket those for which the arena has no room.
//!
//! # Why a second attempt is harmless
//! When an attempt fails nobody knows whether the volume server has the needle: the sidecar may have
//! died before or after it handed it on. So the same bytes are sent under the same id again, over
//! HTTP. A volume server that has them already finds that nothing changes and says that it has them; one
//! that gets the first attempt late does so then. The id of a chunk is never used for other bytes.

mod drive;
mod stats;
mod tiered;

use std::sync::Arc;

use ::stats::{Export, Exporter};
use context::{Context, Stopped};
use seaweed::FileId;

use crate::client::Reason;
use crate::http::{Form, Place};
use crate::peers::Peer;
use crate::wire::{MAX_SERVER, MAX_TOKEN, Outcome, Write, Written};
use crate::{FabricRoute, Location};
use drive::Drive;

pub use stats::WriteStats;
pub use tiered::TieredStore;

/// Hands needles to sidecars, over the lanes of a [`FabricRoute`].
#[derive(Debug)]
pub struct FabricStore {
    route: Arc<FabricRoute>,
    stats: WriteStats,
}

/// The volume server says that it has a needle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    /// CRC32C of what it has, as far as it says so.
    pub stored: Option<u32>,
    /// CRC32C of what was sent.
    pub sent: u32,
}

/// Why the volume server has not said that it has a needle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unwritten {
    /// It has to go another way. The volume server may have it all the same.
    Fallback(Reason),
    /// The volume server has answered, and has not taken it.
    Refused {
        /// Three digits.
        status: u16,
        /// What it says.
        text: String,
    },
    /// The caller gave up, or has no time left.
    Stopped(Stopped),
}

impl FabricStore {
    /// Over the sidecars that `route` knows, and by its policy.
    pub fn new(route: Arc<FabricRoute>) -> Self {
        Self {
            route,
            stats: WriteStats::default(),
        }
    }

    /// Its numbers.
    pub fn stats(&self) -> &WriteStats {
        &self.stats
    }

    /// Has a sidecar beside the server at `location` hand `body` to it, under the id and with the token
    /// of `place`.
    ///
    /// # Errors
    /// See [`Unwritten`].
    pub fn put(
        &self,
        ctx: &Context<'_>,
        location: &Location,
        place: &Place<'_>,
        form: Form,
        body: &[u8],
    ) -> Result<Taken, Unwritten> {
        let candidates = self.candidates(location);
        if candidates.is_empty() {
            return Err(Unwritten::Fallback(Reason::NoSidecar));
        }
        let fits = candidates.iter().all(|one| one.server.len() <= MAX_SERVER);
        let (Ok(len), true) = (u32::try_from(body.len()), fits) else {
            return Err(Unwritten::Fallback(Reason::Declined));
        };
        if len == 0 || place.token.len() > MAX_TOKEN {
            return Err(Unwritten::Fallback(Reason::Declined));
        }
        let sent = seaweed::crc::crc32c(body);
        let write = Write {
            base: place.base,
            delta: place.delta,
            gzip: form.gzip,
            fsync: form.fsync,
            place: crate::wire::Place::Inline,
            len,
            crc: sent,
            patience: 0,
            server: String::new(),
            token: place.token.to_owned(),
        };
        let Written {
            outcome,
            status,
            stored,
            text,
        } = Drive::new(self, ctx, write, body, candidates).run()?;
        match outcome {
            Outcome::Kept => Ok(Taken { stored, sent }),
            _ => Err(Unwritten::Refused { status, text }),
        }
    }

    /// The sidecars that stand beside the server and take writes, each with its own name for it.
    fn candidates(&self, location: &Location) -> Vec<Beside> {
        let beside = self.route.peers().beside(std::slice::from_ref(location));
        let takers = beside
            .into_iter()
            .filter(|peer| peer.announced.fabric.writes);
        let named = takers.filter_map(|peer| {
            let names = [&location.url, &location.public_url];
            let known = &peer.announced.volume_servers;
            let server = names.into_iter().find(|name| known.contains(name))?;
            let server = server.clone();
            Some(Beside { peer, server })
        });
        named.collect()
    }
}

/// A sidecar, and what it calls the volume server.
#[derive(Debug)]
struct Beside {
    peer: Arc<Peer>,
    server: String,
}

impl Export for FabricStore {
    fn export(&self, to: &mut dyn Exporter) {
        self.stats.export(to);
        let now = std::time::Instant::now();
        let in_flight = self.route.writes_in_flight() as f64;
        let help = "Writes under way over the fabric.";
        to.gauge("fabric_writes_in_flight", help, &[], in_flight);
        for peer in self.route.peers().all() {
            let labels = [("sidecar", peer.name())];
            let is_used = peer.announced.fabric.writes && !peer.writing.is_left_alone(now);
            let help =
                "1 if the sidecar is used for writes, 0 while it is left alone or takes none.";
            let is_used = f64::from(u8::from(is_used));
            to.gauge("fabric_sidecar_takes_writes", help, &labels, is_used);
        }
    }
}

/// In words, why a write does not go over the fabric.
fn words(reason: Reason) -> &'static str {
    match reason {
        Reason::NoSidecar => "no sidecar that takes writes stands beside the volume server",
        Reason::NoPermit => "too many writes are under way",
        Reason::OpenBreaker => "the sidecar failed lately and is left alone",
        Reason::Unreachable => "the sidecar cannot be reached",
        Reason::Refused => "the sidecar refuses us",
        Reason::Broken => "the connection to the sidecar broke",
        Reason::Timeout => "the sidecar does not answer in time",
        Reason::Busy => "the sidecar has too much to do",
        Reason::Corrupt => "other bytes came to the sidecar than were sent",
        Reason::Declined => "the sidecar does not take the write",
        Reason::Failed => "the volume server does not answer the sidecar",
        Reason::NotHere | Reason::Loading => "the sidecar does not have the volume",
    }
}

/// The id under which `place` stores.
fn needle(place: &Place<'_>) -> FileId {
    FileId {
        key: place.base.key.wrapping_add(u64::from(place.delta)),
        ..place.base
    }
}
