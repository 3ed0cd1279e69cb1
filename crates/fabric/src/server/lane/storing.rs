//! A write on a lane: from its frame to what became of it.
//!
//! The bytes are received by whoever owns the lane. Then a thread that may wait for a volume server
//! takes the lane over, compares the checksum, and hands them on.
//!
//! # Late writes
//! A client that stops waiting sends the same bytes by another way, and may delete them later. A write
//! that is handed on after that would bring a needle back that nobody names: a waste of space until
//! `volume.fsck`. So it is dropped when the client's time is over, and when the client has closed the
//! lane, which it does before it goes another way. The clock alone would not do: a process that was
//! stopped while the frame lay in the socket takes it for new.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use context::Context;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Fault, Lane, Link};
use crate::serve::Shelf;
use crate::server::connection::Connection;
use crate::server::intake::Intake;
use crate::server::outlet::Bench;
use crate::server::shared::Shared;
use crate::wire::{Frame, Message, Outcome, Write, Written};

/// Bytes that are received before others have their turn: some milliseconds.
const TURN: usize = 4 << 20;
/// No write is waited for longer, whatever the client says.
const LONGEST: Duration = Duration::from_secs(60);
/// Of a client's time the volume server gets all but this part, so that the client hears in time
/// that it is the volume server that does not answer.
const OWN_PART: u32 = 8;

/// A write that is under way.
pub(super) struct Storing {
    id: u64,
    /// `None` once it was handed on.
    intake: Option<Intake>,
    /// When nobody waits for it any more.
    until: Instant,
    since: Instant,
    /// Bytes counted as in flight.
    charged: u64,
}

/// What the owner of the lane does next.
pub(super) enum Stored {
    /// Goes on: the write is done with.
    Done,
    /// Lets go until more has arrived.
    Rest,
    /// Lets others have their turn.
    StepBack,
    /// Hands over to a thread that may wait for a volume server.
    HandOver,
    /// Closes: the client has.
    Over,
}

impl Storing {
    /// By when its bytes have to be here; nothing is waited for that is here already.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let is_missing = |intake: &Intake| intake.missing() > 0;
        self.intake.as_ref().filter(|it| is_missing(it))?;
        Some(self.until)
    }

    /// Counts its bytes as in flight no more.
    pub(super) fn discharge<S: Shelf>(&mut self, shared: &Shared<S>) {
        let bytes = std::mem::take(&mut self.charged);
        shared.stats.in_flight.add(-(bytes as i64));
        shared.in_flight.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl<S: Shelf> Lane<S> {
    /// A write has arrived, its bytes may follow.
    pub(super) fn begin_write(
        &mut self,
        id: u64,
        write: Write,
        connection: &Connection<S>,
        shared: &Shared<S>,
    ) {
        let since = Instant::now();
        let patience = Duration::from_millis(write.patience.into());
        let (bytes, refusal) = (u64::from(write.len), self.turned_down(&write, shared));
        let mut storing = Storing {
            id,
            intake: None,
            until: since + patience.min(LONGEST),
            since,
            charged: 0,
        };
        storing.intake = Some(match refusal {
            Some(written) => Intake::decline(write, written),
            None => {
                storing.charged = bytes;
                shared.stats.in_flight.add(bytes as i64);
                Intake::accept(write)
            }
        });
        if let Some(until) = storing.deadline() {
            connection.set_deadline(shared.moment(until));
            shared.arm();
        }
        self.storing = Some(storing);
    }

    /// Goes on with the write that is under way.
    pub(super) fn store(
        &mut self,
        connection: &Connection<S>,
        shared: &Shared<S>,
        bench: &mut Bench,
    ) -> Result<Stored, Fault> {
        let mut turn = TURN;
        loop {
            let Some(storing) = &mut self.storing else {
                return Ok(Stored::Done);
            };
            let Some(intake) = storing.intake.as_mut().filter(|it| it.missing() > 0) else {
                break;
            };
            if turn == 0 {
                return Ok(Stored::StepBack);
            }
            let space = intake.space();
            let (sender, reader) = match &mut self.link {
                Link::Socket { sender, reader } => (sender, reader),
                Link::Rdma(link) => match link.take_data(space) {
                    0 => return Err(Fault("a write is longer than its message".into())),
                    taken => {
                        intake.filled(taken);
                        continue;
                    }
                },
            };
            let got = match reader.take_data(space) {
                0 => match sender.wire.try_recv(space) {
                    Ok(0) => return Ok(Stored::Over),
                    Ok(got) => {
                        reader.received(got);
                        got
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Ok(Stored::Rest);
                    }
                    Err(error) => return Err(error.into()),
                },
                taken => taken,
            };
            intake.filled(got);
            turn = turn.saturating_sub(got);
        }
        connection.set_deadline(0);
        let is_ready = |storing: &Storing| storing.intake.as_ref().is_some_and(Intake::is_ready);
        if self.storing.as_ref().is_some_and(is_ready) && !bench.may_hand_on() {
            return Ok(Stored::HandOver);
        }
        let Some(written) = self.hand_on(shared) else {
            return Ok(Stored::Over);
        };
        self.finish_write(written, shared, bench)?;
        Ok(Stored::Done)
    }

    /// Hands the bytes to the volume server. What became of them; nothing if the client has closed
    /// the lane before.
    fn hand_on(&mut self, shared: &Shared<S>) -> Option<Written> {
        let storing = self.storing.as_mut()?;
        let (since, until) = (storing.since, storing.until);
        let regions = &self.regions;
        let fetch = |region, offset, to: &mut [u8]| match regions.get(usize::from(region)) {
            Some(region) => region.read_at(offset, to),
            None => Err(io::Error::other("there is no such region")),
        };
        let (write, bytes) = match storing.intake.take()?.complete(fetch) {
            Ok(whole) => whole,
            Err(written) => return Some(written),
        };
        if is_closed(&self.link) {
            return None;
        }
        let own = until.saturating_duration_since(since) / OWN_PART;
        let left = until.saturating_duration_since(Instant::now());
        let left = left.saturating_sub(own);
        if left.is_zero() {
            return Some(Written::without(Outcome::Late, "its time is over"));
        }
        let courier = shared.config.courier.as_ref()?;
        Some(courier.deliver(&Context::new(left, &shared.recall), &write, &bytes))
    }

    /// Tells the client what became of its write.
    fn finish_write(
        &mut self,
        written: Written,
        shared: &Shared<S>,
        bench: &mut Bench,
    ) -> Result<(), Fault> {
        let Some(mut storing) = self.storing.take() else {
            return Ok(());
        };
        let Storing { id, since, .. } = storing;
        shared.stats.wrote(written.outcome);
        shared.stats.write_time.record(since.elapsed());
        if written.outcome == Outcome::Kept {
            let of = shared.stats.of(self.carrier);
            of.writes.inc();
            of.written.add(storing.charged);
        }
        storing.discharge(shared);
        self.session.finished(id);
        let message = Message::Written(written);
        self.send(&Frame { id, message }, bench)
    }

    /// Why a write is not taken; its bytes count as in flight if it is.
    fn turned_down(&self, write: &Write, shared: &Shared<S>) -> Option<Written> {
        let declined = |text: &str| Some(Written::without(Outcome::Declined, text));
        if shared.config.courier.is_none() {
            return declined("this sidecar takes no writes");
        }
        if let Link::Rdma(_) = self.link {
            return declined("no writes are taken over RDMA");
        }
        let (bytes, limit) = (u64::from(write.len), shared.config.busy_bytes);
        if bytes > limit {
            return declined("the needle is larger than this sidecar keeps in memory");
        }
        let before = shared.in_flight.fetch_add(bytes, Ordering::Relaxed);
        if before.saturating_add(bytes) > limit || shared.couriers.is_full() {
            shared.in_flight.fetch_sub(bytes, Ordering::Relaxed);
            return Some(Written::without(Outcome::Busy, "too much to do"));
        }
        None
    }
}

/// Whether the client has closed its end, as far as is known here.
fn is_closed(link: &Link) -> bool {
    let Link::Socket { sender, .. } = link else {
        return false;
    };
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut fds = [PollFd::new(&sender.wire, PollFlags::RDHUP)];
    // Where the system cannot tell, the client's time is still looked at.
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1)) && fds[0].revents().intersects(gone)
}
