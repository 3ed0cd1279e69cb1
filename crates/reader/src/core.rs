//! What all reads and all prefetches of a mount share.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use context::{Context, Interrupt};
use fabric::Route;
use parking_lot::Mutex;
use seaweed::Chunk;

use crate::allowance::Allowance;
use crate::cache::Piece;
use crate::depth::Depth;
use crate::disk::{Disk, Pace};
use crate::flight::{Flights, Role};
use crate::memory::Memory;
use crate::piece::{Cut, Geometry, PieceKey};
use crate::proof::Proof;
use crate::stats::Source;
use crate::window::Reach;
use crate::{ReadError, ReaderStats};

/// The caches, the way to the servers, and the rules between them.
pub(crate) struct Core {
    pub(crate) route: Arc<dyn Route>,
    pub(crate) memory: Memory,
    pub(crate) disk: Option<Disk>,
    pub(crate) pace: Pace,
    pub(crate) depth: Depth,
    pub(crate) flights: Flights,
    pub(crate) allowance: Arc<Allowance>,
    /// Bytes of small files that are to be fetched or are on their way.
    pub(crate) small_bytes: AtomicUsize,
    /// See [`overdraw`](Core::overdraw).
    pub(crate) overdraft: Mutex<Option<(PieceKey, Arc<Piece>)>>,
    pub(crate) proof: Proof,
    pub(crate) geometry: Geometry,
    pub(crate) reach: Reach,
    /// Raised when the reader closes: ends the prefetches under way.
    pub(crate) closing: Interrupt,
    pub(crate) stats: Arc<ReaderStats>,
}

/// A piece and where it came from.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) piece: Arc<Piece>,
    pub(crate) source: Source,
    /// Its memory is counted, so that it may be kept for later reads.
    pub(crate) keep: bool,
}

/// Who wants a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// An application waits for it.
    Demand,
    /// Somebody may want it soon.
    Ahead,
    /// Somebody who keeps it takes it, and nobody else is expected to want it.
    Once,
}

impl Core {
    /// The piece that `cut` lies in: from memory, from whoever is fetching it, or fetched by
    /// this thread. `None` if it could be had only with more memory than there is; the bytes
    /// can still be read without keeping them.
    pub(crate) fn piece(
        &self,
        ctx: &Context<'_>,
        chunk: &Chunk,
        cut: &Cut,
        urgency: Urgency,
    ) -> Result<Option<Fetched>, ReadError> {
        loop {
            let lead = match self.flights.enter(cut.key) {
                Role::Lead(lead) => lead,
                Role::Join(flight) => {
                    self.stats.joins.inc();
                    if let Some(landing) = flight.wait(ctx)?
                        && let piece = landing?
                        && cut.fits(&piece)
                    {
                        return Ok(Some(Fetched {
                            source: piece.source,
                            piece,
                            // Whether it is cached was the leader's business.
                            keep: self.memory.cached(&cut.key, false).is_some(),
                        }));
                    }
                    // Abandoned, or fetched for an entry that shows less of the chunk.
                    continue;
                }
            };
            // It may have landed between our look into memory and here.
            let cached = self.memory.cached(&cut.key, false);
            if let Some(piece) = cached.filter(|piece| cut.fits(piece)) {
                lead.land(Ok(Arc::clone(&piece)));
                return Ok(Some(Fetched {
                    piece,
                    source: Source::Memory,
                    keep: true,
                }));
            }
            return match self.fetch(ctx, chunk, cut, urgency) {
                Ok(Some(fetched)) => {
                    if fetched.keep && urgency != Urgency::Once {
                        self.memory.insert(cut.key, Arc::clone(&fetched.piece));
                    }
                    lead.land(Ok(Arc::clone(&fetched.piece)));
                    Ok(Some(fetched))
                }
                Ok(None) => Ok(None),
                // Nobody else needs to fail for this: dropping the lead hands it over.
                Err(error) if error.is_own() => Err(error),
                Err(error) => {
                    lead.land(Err(error.clone()));
                    Err(error)
                }
            };
        }
    }
}

impl Cut {
    /// Whether the piece has all the bytes of this cut. It was fetched for an entry that may
    /// have shown less of the chunk.
    pub(crate) fn fits(&self, piece: &Piece) -> bool {
        piece.bytes.len() >= self.at + self.len
    }
}
