//! The exchange of a lane.
//!
//! What is being worked on counts against the server's limit; what waits for a client to take its
//! bytes does not, or a few clients that take nothing could make a server look busy.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::{Fault, Lane, Link};
use crate::serve::Shelf;
use crate::server::exchange::{Exchange, Progress};
use crate::server::outlet::{Bench, Outlet};
use crate::server::rdma;
use crate::server::serve_item::{PIECE, Torn};
use crate::server::shared::Shared;
use crate::wire::{Answer, Item, Place, Status};

/// Bytes that a lane delivers before others have their turn: some milliseconds.
const TURN: u64 = 4 << 20;

/// A read that is being answered.
pub(super) struct Serving<S: Shelf> {
    id: u64,
    exchange: Exchange<S::Needle>,
    /// How many it delivers.
    bytes: u64,
    /// Bytes counted as in flight.
    charged: u64,
    since: Instant,
}

impl<S: Shelf> Serving<S> {
    /// Counts what is left as in flight; gives what was in flight before, and this.
    fn charge(&mut self, shared: &Shared<S>) -> (u64, u64) {
        let bytes = self.exchange.len();
        self.charged = bytes;
        shared.stats.in_flight.add(bytes as i64);
        (shared.in_flight.fetch_add(bytes, Ordering::Relaxed), bytes)
    }

    /// Counts it no more.
    pub(super) fn discharge(&mut self, shared: &Shared<S>) {
        let bytes = std::mem::take(&mut self.charged);
        shared.stats.in_flight.add(-(bytes as i64));
        shared.in_flight.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl<S: Shelf> Lane<S> {
    /// A read has arrived.
    pub(super) fn begin(
        &mut self,
        id: u64,
        items: Vec<Item>,
        shared: &Shared<S>,
        bench: &mut Bench,
    ) -> Result<(), Fault> {
        let since = Instant::now();
        let placed = items.iter().filter_map(|item| match item.place {
            Place::Region { .. } => Some(u64::from(item.extent.room())),
            Place::Inline => None,
        });
        let placed = placed.sum();
        let exchange = Exchange::begin(&*shared.shelf, items);
        let serving = self.serving.insert(Serving {
            id,
            bytes: exchange.len(),
            exchange,
            charged: 0,
            since,
        });
        let (before, bytes) = serving.charge(shared);
        let is_served = match &mut self.link {
            Link::Socket { .. } => true,
            Link::Rdma(link) => link.begin(placed, PIECE, &shared.slabs),
        };
        if !is_served || is_too_much(before, bytes, shared) {
            self.turn_away(shared, bench)?;
        }
        Ok(())
    }

    /// Goes on with the exchange in flight.
    pub(super) fn serve(
        &mut self,
        shared: &Shared<S>,
        bench: &mut Bench,
    ) -> Result<Progress, Fault> {
        let Some(serving) = &mut self.serving else {
            return Ok(Progress::Done);
        };
        if bench.may_wait() && serving.exchange.look_up(&*shared.shelf) {
            serving.discharge(shared);
            let (before, bytes) = serving.charge(shared);
            if serving.exchange.is_between_items() && is_too_much(before, bytes, shared) {
                self.turn_away(shared, bench)?;
                return Ok(Progress::Done);
            }
        }
        let Some(serving) = &mut self.serving else {
            return Ok(Progress::Done);
        };
        if serving.charged == 0 {
            serving.charge(shared);
        }
        let count = |answer: &Answer| {
            shared.stats.answered(answer.status);
            shared.stats.of(self.carrier).bytes.add(answer.len.into());
        };
        // The session hears of the end below: nothing is received before it. What is done is
        // discharged before it is sent, before the client can know of it and ask for more.
        let progress = match &mut self.link {
            Link::Socket { sender, .. } => {
                let mut out = Outlet {
                    sender,
                    bench,
                    regions: &self.regions,
                    id: serving.id,
                    turn: TURN,
                };
                let progress = serving.exchange.proceed(&mut out, || {}, count);
                let progress = progress.map_err(torn)?;
                if progress == Progress::Done {
                    serving.discharge(shared);
                }
                out.flush()?;
                progress
            }
            Link::Rdma(link) => {
                let regions = self.session.regions();
                let mut out = rdma::Outlet::new(link, bench, regions, serving.id);
                let progress = serving.exchange.proceed(&mut out, || {}, count);
                let progress = progress.map_err(torn)?;
                if progress == Progress::Done {
                    serving.discharge(shared);
                }
                out.flush()?;
                progress
            }
        };
        match progress {
            Progress::Done => self.finish(shared),
            Progress::Disk if shared.disk.is_full() && serving.exchange.is_between_items() => {
                self.turn_away(shared, bench)?;
                return Ok(Progress::Done);
            }
            Progress::Disk => shared.stats.disk.inc(),
            Progress::Paused => {}
        }
        Ok(progress)
    }

    /// Answers what is left of the exchange with [`Status::Busy`].
    fn turn_away(&mut self, shared: &Shared<S>, bench: &mut Bench) -> Result<(), Fault> {
        shared.stats.busy.inc();
        if let Some(serving) = &mut self.serving {
            let count = |answer: &Answer| shared.stats.answered(answer.status);
            match &mut self.link {
                Link::Socket { sender, .. } => {
                    let mut out = Outlet {
                        sender,
                        bench,
                        regions: &self.regions,
                        id: serving.id,
                        turn: TURN,
                    };
                    let declined = serving.exchange.decline(&mut out, Status::Busy, count);
                    declined.map_err(torn)?;
                    out.flush()?;
                }
                Link::Rdma(link) => {
                    let regions = self.session.regions();
                    let mut out = rdma::Outlet::new(link, bench, regions, serving.id);
                    let declined = serving.exchange.decline(&mut out, Status::Busy, count);
                    declined.map_err(torn)?;
                    out.flush()?;
                }
            }
        }
        self.finish(shared);
        Ok(())
    }

    fn finish(&mut self, shared: &Shared<S>) {
        if let Link::Rdma(link) = &mut self.link {
            link.finish();
        }
        if let Some(mut serving) = self.serving.take() {
            self.session.finished(serving.id);
            self.answered = Some(serving.bytes);
            serving.discharge(shared);
            shared.stats.of(self.carrier).exchanges.inc();
            shared.stats.time.record(serving.since.elapsed());
        }
    }
}

/// One alone is always served, however large.
fn is_too_much<S: Shelf>(before: u64, bytes: u64, shared: &Shared<S>) -> bool {
    before > 0 && before.saturating_add(bytes) > shared.config.busy_bytes
}

fn torn(torn: Torn<io::Error>) -> Fault {
    match torn {
        Torn::Lane(error) => error.into(),
        Torn::Disk(fault) => Fault(fault.to_string()),
    }
}
