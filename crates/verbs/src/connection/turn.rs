//! Taking from the device what has happened.

use super::flight::Kind;
use super::state::State;
use crate::raw::{Completion, CompletionKind, Incoming, Notice};
use crate::{Error, Event, Lost, Status};

/// Marks the work request id of a receive slot.
const RECEIVE: u64 = 1 << 63;
/// Connection manager events taken in one turn; a connection sees three or four in its life.
const MAX_NOTICES: usize = 16;

impl State {
    pub(super) fn poll(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.last_words);
        if self.lost.is_some() {
            return;
        }
        let turn = self.turn(events);
        self.settle(turn, events);
    }

    pub(super) fn spin(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.last_words);
        if self.lost.is_some() {
            return;
        }
        let drained = self.drain(events);
        self.settle(drained, events);
    }

    fn turn(&mut self, events: &mut Vec<Event>) -> Result<Option<Lost>, Error> {
        let before = events.len();
        let library = |error| Error::call("completion queue", error);
        if self.queue.take_events().map_err(library)? {
            self.queue.arm().map_err(library)?;
        }
        if let Some(lost) = self.drain(events)? {
            return Ok(Some(lost));
        }
        if events.len() > before {
            return Ok(None);
        }
        let Some(lost) = self.notices()? else {
            return Ok(None);
        };
        // What the peer sent before it went has completed by now.
        let failed = self.drain(events)?;
        Ok(Some(match lost {
            Lost::Closed => lost,
            _ => failed.unwrap_or(lost),
        }))
    }

    /// Ends the connection where a turn says so.
    fn settle(&mut self, turn: Result<Option<Lost>, Error>, events: &mut Vec<Event>) {
        match turn {
            Ok(None) => {}
            Ok(Some(lost)) => self.end(lost, events),
            Err(error) => {
                tracing::warn!(%error, "RDMA connection given up");
                self.end(Lost::Library, events);
            }
        }
    }

    /// Takes what has completed: at least all that had when it was called, of which there are no
    /// more than entries in both queues, and not without end when the peer keeps sending.
    fn drain(&mut self, events: &mut Vec<Event>) -> Result<Option<Lost>, Error> {
        let mut left = (self.send_depth + self.recv_depth) as usize;
        let mut lost = None;
        let mut batch = std::mem::take(&mut self.batch);
        while left > 0 {
            batch.clear();
            self.queue
                .take(&mut batch)
                .map_err(|error| Error::call("completion queue", error))?;
            if batch.is_empty() {
                break;
            }
            left = left.saturating_sub(batch.len());
            for completion in &batch {
                if !completion.status.is_success() {
                    lost = lost.or(Some(Lost::Work(completion.status)));
                }
                self.complete(completion, events)?;
            }
        }
        self.batch = batch;
        Ok(lost)
    }

    fn complete(&mut self, completion: &Completion, events: &mut Vec<Event>) -> Result<(), Error> {
        let Completion { id, status, kind } = *completion;
        if id & RECEIVE == 0 {
            self.sent(id, status, events);
            return Ok(());
        }
        if !status.is_success() {
            return Ok(());
        }
        let slot = (id & !RECEIVE) as u32;
        match kind {
            CompletionKind::Received { len } => {
                let bytes = self.receive.take(slot, len as usize)?;
                events.push(Event::Received { bytes });
            }
            CompletionKind::Landed { len, imm } => events.push(Event::Landed { imm, len }),
            CompletionKind::Sent => {}
        }
        self.offer(slot)
    }

    fn sent(&mut self, id: u64, status: Status, events: &mut Vec<Event>) {
        if !status.is_success() {
            self.flight.fail(id, status, events);
            return;
        }
        let Some(posted) = self.flight.finish(id) else {
            return;
        };
        self.free.extend(posted.slot);
        events.push(match posted.kind {
            Kind::Wrote => Event::WriteDone { id },
            Kind::Sent => Event::SendDone { id },
            Kind::Read => Event::ReadDone { id },
        });
    }

    pub(super) fn offer(&mut self, slot: u32) -> Result<(), Error> {
        let memory = self.receive.slice(slot, self.message_size as usize)?;
        self.queue
            .post_receive(RECEIVE | u64::from(slot), &memory)
            .map_err(|error| Error::call("cannot post a receive slot", error))
    }

    /// What the connection manager says about the end, if anything.
    fn notices(&mut self) -> Result<Option<Lost>, Error> {
        for _ in 0..MAX_NOTICES {
            let incoming = self.queue.id().next();
            let incoming = incoming.map_err(|error| Error::call("connection manager", error))?;
            let lost = match incoming {
                None => return Ok(None),
                Some(Incoming::Notice { notice, .. }) => lost(notice),
                Some(Incoming::Request { .. }) => None,
            };
            if lost.is_some() {
                return Ok(lost);
            }
        }
        Ok(None)
    }
}

fn lost(notice: Notice) -> Option<Lost> {
    match notice {
        Notice::Disconnected => Some(Lost::Closed),
        Notice::DeviceRemoved => Some(Lost::DeviceRemoved),
        Notice::ConnectError => Some(Lost::Manager("a failed connection")),
        Notice::Unreachable => Some(Lost::Manager("an unreachable peer")),
        Notice::Rejected => Some(Lost::Manager("a refusal by the peer")),
        Notice::Established
        | Notice::AddressResolved
        | Notice::RouteResolved
        | Notice::AddressError
        | Notice::RouteError
        | Notice::Other(_) => None,
    }
}
