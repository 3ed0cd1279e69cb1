//! A write on a lane: from its frame to what became of it.
//!
//! The bytes are received by whoever owns the lane, or read from the client's memory by the RDMA device, a
//! few pieces at a time. Then a thread that may wait for a volume server takes the lane over, copies
//! what lies in shared memory, compares the checksum, and hands the bytes on.
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
use crate::server::outlet::{Bench, Sender};
use crate::server::rdma;
use crate::server::serve_item::PIECE;
use crate::server::shared::Shared;
use crate::wire::{Frame, FrameReader, Message, Outcome, Place, Region, Write, Written};

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
    /// Bytes of a region that the device was told to read.
    asked: u64,
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
        if let Some(memory) = &shared.config.memory {
            memory.give_back(bytes);
        }
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
        let is_placed = matches!(write.place, Place::Region { .. });
        let mut storing = Storing {
            id,
            intake: None,
            asked: 0,
            until: since + patience.min(LONGEST),
            since,
            charged: 0,
        };
        storing.intake = Some(match refusal {
            Some(written) => Intake::decline(write, written),
            None => {
                storing.charged = bytes;
                shared.stats.in_flight.add(bytes as i64);
                match self.link {
                    Link::Rdma(_) if is_placed => Intake::bring(write),
                    _ => Intake::accept(write),
                }
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
        while let Some(storing) = &mut self.storing
            && let Some(intake) = storing.intake.as_mut().filter(|it| it.missing() > 0)
        {
            if turn == 0 {
                return Ok(Stored::StepBack);
            }
            let brought = match (&mut self.link, intake.write().place) {
                (Link::Socket { sender, reader }, _) => receive(sender, reader, intake.space())?,
                (Link::Rdma(link), Place::Inline) => match link.take_data(intake.space()) {
                    0 => return Err(Fault("a write is longer than its message".into())),
                    got => Brought::Some(got),
                },
                (Link::Rdma(link), Place::Region { region, offset }) => {
                    let region = self.session.regions().get(usize::from(region));
                    let region = region.ok_or(Fault("there is no such region".into()))?;
                    fetch(link, region, offset, &mut storing.asked, intake)?
                }
            };
            match brought {
                Brought::Some(got) => {
                    intake.filled(got);
                    turn = turn.saturating_sub(got);
                }
                Brought::None => return Ok(Stored::Rest),
                Brought::End => return Ok(Stored::Over),
            }
        }
        if let Link::Rdma(link) = &mut self.link {
            // Others can use the pieces while this one waits for its volume server.
            link.finish();
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
        if is_closed(&mut self.link) {
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
    fn turned_down(&mut self, write: &Write, shared: &Shared<S>) -> Option<Written> {
        let declined = |text: &str| Some(Written::without(Outcome::Declined, text));
        if shared.config.courier.is_none() {
            return declined("this sidecar takes no writes");
        }
        let (bytes, limit) = (u64::from(write.len), shared.config.busy_bytes);
        if bytes > limit {
            return declined("the needle is larger than this sidecar keeps in memory");
        }
        let before = shared.in_flight.fetch_add(bytes, Ordering::Relaxed);
        let has_pieces = match &mut self.link {
            Link::Rdma(link) if matches!(write.place, Place::Region { .. }) => {
                link.begin(bytes, PIECE, &shared.slabs)
            }
            _ => true,
        };
        let is_busy = before.saturating_add(bytes) > limit || shared.couriers.is_full();
        let memory = shared.config.memory.as_ref();
        // The last, as it is what has to be given back.
        if is_busy || !has_pieces || memory.is_some_and(|memory| !memory.take(bytes)) {
            shared.in_flight.fetch_sub(bytes, Ordering::Relaxed);
            return Some(Written::without(Outcome::Busy, "too much to do"));
        }
        None
    }
}

/// What there was of the bytes of a write.
enum Brought {
    Some(usize),
    /// Nothing now; an event brings the lane back.
    None,
    /// The client has closed.
    End,
}

/// Receives what a socket has.
fn receive(
    sender: &mut Sender,
    reader: &mut FrameReader,
    space: &mut [u8],
) -> Result<Brought, Fault> {
    match reader.take_data(space) {
        0 => match sender.wire.try_recv(space) {
            Ok(0) => Ok(Brought::End),
            Ok(got) => {
                reader.received(got);
                Ok(Brought::Some(got))
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Brought::None),
            Err(error) => Err(error.into()),
        },
        taken => Ok(Brought::Some(taken)),
    }
}

/// Has the device read as much as there are pieces for, of what lies at `offset` of `region` from the
/// byte `asked` on, and takes what it has read.
fn fetch(
    link: &mut rdma::Link,
    region: &Region,
    offset: u64,
    asked: &mut u64,
    intake: &mut Intake,
) -> Result<Brought, Fault> {
    let len = u64::from(intake.write().len);
    loop {
        match link.fetch(region, offset + *asked, len - *asked)? {
            0 => {}
            more => {
                *asked += more;
                continue;
            }
        }
        let got = link.take_fetched(intake.space());
        if got > 0 {
            return Ok(Brought::Some(got));
        }
        let is_some = link.poll()?;
        match (link.is_lost(), is_some) {
            (true, _) => return Ok(Brought::End),
            (false, true) => {}
            (false, false) => return Ok(Brought::None),
        }
    }
}

/// Whether the client has closed its end, as far as is known here.
fn is_closed(link: &mut Link) -> bool {
    let sender = match link {
        Link::Socket { sender, .. } => sender,
        Link::Rdma(link) => {
            // Taking what has completed is how the end of a queue pair is heard of.
            while let Ok(true) = link.poll() {}
            return link.is_lost();
        }
    };
    let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
    let mut fds = [PollFd::new(&sender.wire, PollFlags::RDHUP)];
    // Where the system cannot tell, the client's time is still looked at.
    matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1)) && fds[0].revents().intersects(gone)
}
