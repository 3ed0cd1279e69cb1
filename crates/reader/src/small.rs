//! Small files, fetched before they are opened.
//!
//! Somebody who goes through a directory and reads each file whole waits for one exchange after the other. Who sees
//! that coming names the chunks of the next files ([`Reader::fetch_small`](crate::Reader::fetch_small)); they are asked
//! for together, as many as the route takes at once, and are in memory when they are wanted. Who wants one that is on
//! its way waits for it. What does not come is no error: it is fetched by whoever reads it.
//!
//! A chunk's id stands for the same bytes for ever, so nothing can be read here that has become old. What can go wrong
//! is that files are fetched in vain: what is on its way at a time is bounded, and the statistics tell how many were
//! fetched and how many of them were read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use context::Context;
use fabric::{Ahead, Whole};
use seaweed::Chunk;

use crate::cache::Piece;
use crate::core::Core;
use crate::disk::{DiskKey, Form};
use crate::flight::{Lead, Role};
use crate::landing::Landing;
use crate::piece::{Cut, Part};
use crate::prefetch::{Prefetchers, Work};
use crate::stats::Source;

/// The largest file that is fetched before it is opened.
pub const SMALL: u64 = 64 << 10;
/// How long a batch may take: whoever wants one of its files waits for it, and fetches it by itself after that.
const AHEAD: Duration = Duration::from_millis(500);

/// Bytes on their way at most, and the share of all memory that they may be.
const MOST: usize = 4 << 20;
const SHARE: usize = 16;

/// Chunks to be asked for together.
pub(crate) struct Batch {
    chunks: Vec<Chunk>,
    core: Arc<Core>,
    bytes: usize,
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.core
            .small_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// One that this thread fetches.
struct Flight<'a> {
    chunk: &'a Chunk,
    cut: Cut,
    lead: Lead<'a>,
    landing: Landing<'a>,
}

impl Core {
    /// Has them fetched by other threads.
    pub(crate) fn fetch_small_later(
        self: &Arc<Self>,
        mut chunks: Vec<Chunk>,
        prefetchers: &Prefetchers,
    ) {
        chunks.retain(|chunk| self.is_worth_it(chunk));
        let most = MOST.min(self.memory.limit() / SHARE);
        let together = self.route.together().max(1);
        for part in chunks.chunks(together) {
            // Each is at most SMALL.
            let bytes = part.iter().map(|chunk| chunk.size as usize).sum();
            let before = self.small_bytes.fetch_add(bytes, Ordering::Relaxed);
            let batch = Batch {
                chunks: part.to_vec(),
                core: Arc::clone(self),
                bytes,
            };
            if before + bytes > most || !prefetchers.submit(Work::Small(batch)) {
                return;
            }
        }
    }

    fn is_worth_it(&self, chunk: &Chunk) -> bool {
        let is_plain = !chunk.is_opaque() && !chunk.is_manifest && !chunk.sse;
        if !is_plain || chunk.size == 0 || chunk.size > SMALL {
            return false;
        }
        let cut = self.geometry.cut(chunk, 0, chunk.size);
        let on_disk = || {
            let key = DiskKey {
                needle: chunk.file_id,
                form: Form::Plain,
            };
            self.disk
                .as_ref()
                .is_some_and(|disk| disk.len_of(&key).is_some())
        };
        cut.key.part == Part::Whole
            && self.memory.cached(&cut.key, false).is_none()
            && !self.route.is_near(chunk.file_id)
            && !on_disk()
    }

    /// Fetches a batch.
    pub(crate) fn fetch_small(&self, batch: &Batch, patience: Duration) {
        let ctx = Context::new(patience.min(AHEAD), &self.closing);
        if ctx.check().is_err() {
            return;
        }
        let mut flights: Vec<Flight<'_>> = Vec::with_capacity(batch.chunks.len());
        for chunk in &batch.chunks {
            let cut = self.geometry.cut(chunk, 0, chunk.size);
            // Whoever is fetching it already needs no help.
            let Role::Lead(lead) = self.flights.enter(cut.key) else {
                continue;
            };
            if let Some(piece) = self.memory.cached(&cut.key, false) {
                lead.land(Ok(piece));
                continue;
            }
            flights.push(Flight {
                chunk,
                cut,
                lead,
                landing: Landing::new(&self.memory, SMALL, None).expecting(chunk),
            });
        }
        let mut wanted: Vec<_> = flights
            .iter_mut()
            .map(|flight| Ahead::new(flight.chunk.file_id, &mut flight.landing))
            .collect();
        self.route.read_ahead(&ctx, &mut wanted);
        let done: Vec<Option<Whole>> = wanted.into_iter().map(|one| one.done).collect();
        for (flight, done) in flights.into_iter().zip(done) {
            // One that did not come is abandoned: whoever waits for it fetches it.
            if let Some(whole) = done {
                self.landed_small(flight, whole);
            }
        }
    }

    fn landed_small(&self, mut flight: Flight<'_>, whole: Whole) {
        let stored = flight.landing.finish(whole.len);
        self.stats.route_bytes.add(whole.len as u64);
        if (stored.len() as u64) < flight.chunk.size {
            return;
        }
        if let Some(disk) = &self.disk
            && whole.verified
            && !whole.near
            && disk.wants(flight.chunk.offset.saturating_add(flight.chunk.size))
        {
            let key = DiskKey {
                needle: flight.chunk.file_id,
                form: Form::Plain,
            };
            disk.offer(key, stored.clone());
        }
        self.stats.small_ahead.inc();
        let piece = Piece::unasked(stored, Source::Route(whole.way));
        self.memory.insert(flight.cut.key, Arc::clone(&piece));
        flight.lead.land(Ok(piece));
    }

    /// A piece is read.
    pub(crate) fn note_use(&self, piece: &Piece) {
        if piece.is_first_use() {
            self.stats.small_used.inc();
        }
    }
}
