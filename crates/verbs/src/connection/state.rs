//! What the lock of a connection protects: its queues, slots, and work under way.

use std::io;
use std::os::fd::{AsRawFd, RawFd};

use super::flight::{Flight, Posted};
use super::{Connection, Write};
use crate::raw::{Completion, CompletionKind, Id, Incoming, Notice, Queue, Work};
use crate::slots::Slots;
use crate::{Config, Domain, Error, Event, Lost, MemorySlice, RemoteMemory, Status};

/// Marks the work request id of a receive slot.
const RECEIVE: u64 = 1 << 63;
/// Connection manager events taken in one turn; a connection sees three or four in its life.
const MAX_NOTICES: usize = 16;

pub(crate) struct State {
    queue: Queue,
    send: Slots,
    receive: Slots,
    free: Vec<u32>,
    flight: Flight,
    next: u64,
    send_depth: u32,
    recv_depth: u32,
    message_size: u32,
    /// Set at the end; what `poll` still has to report then is in `last_words`.
    lost: Option<Lost>,
    last_words: Vec<Event>,
    batch: Vec<Completion>,
}

impl State {
    /// Queues and slots on `id`, which is bound to the device of `domain`, with all receive slots
    /// offered to the peer.
    pub(crate) fn new(id: Id, domain: &'static Domain, config: &Config) -> Result<Self, Error> {
        let queue = Queue::new(id, domain, config)
            .map_err(|error| Error::call("cannot create a queue pair", error))?;
        let mut state = Self {
            queue,
            send: Slots::new(domain, config.send_depth, config.message_size)?,
            receive: Slots::new(domain, config.recv_depth, config.message_size)?,
            free: (0..config.send_depth).rev().collect(),
            flight: Flight::default(),
            next: 0,
            send_depth: config.send_depth,
            recv_depth: config.recv_depth,
            message_size: config.message_size,
            lost: None,
            last_words: Vec::new(),
            batch: Vec::new(),
        };
        for slot in 0..config.recv_depth {
            state.offer(slot)?;
        }
        Ok(state)
    }

    pub(crate) fn id(&mut self) -> &mut Id {
        self.queue.id()
    }

    /// To be called once connected.
    pub(crate) fn connected(&mut self) {
        if let Err(error) = self.queue.hurry_when_not_ready() {
            tracing::debug!(%error, "RDMA receiver-not-ready timer stays at its default");
        }
    }

    pub(crate) fn fds(&self) -> (RawFd, RawFd) {
        (self.queue.as_raw_fd(), self.queue.cm_fd())
    }

    pub(super) fn inline_size(&self) -> u32 {
        self.queue.inline_size()
    }

    pub(super) fn post(&mut self, writes: &[Write], message: Option<&[u8]>) -> Result<u64, Error> {
        let entries = writes.len() + usize::from(message.is_some());
        if !(1..=Connection::MAX_CHAIN).contains(&entries) {
            let what = format!(
                "chain of {entries}, expected 1 to {}",
                Connection::MAX_CHAIN
            );
            return Err(Error::Config { what });
        }
        for write in writes {
            self.check(write)?;
        }
        let max = self.message_size as usize;
        if let Some(len) = message.map(<[u8]>::len).filter(|len| *len > max) {
            return Err(Error::TooLong { len, max });
        }
        self.room(entries as u32)?;
        let mut memory: Vec<MemorySlice> = writes.iter().map(|write| write.local.clone()).collect();
        let mut slot = None;
        let mut chain: Vec<Work<'_>> = Vec::with_capacity(entries);
        for Write { local, remote, imm } in writes {
            chain.push(Work::Write {
                local: Some(local),
                remote: *remote,
                imm: *imm,
            });
        }
        let in_slot;
        match message {
            Some(bytes) if bytes.len() <= self.queue.inline_size() as usize => {
                chain.push(Work::Inline(bytes));
            }
            Some(bytes) => {
                // As many slots as entries, and there is an entry.
                let index = self.free.pop().ok_or(Error::Full)?;
                slot = Some(index);
                in_slot = self.send.fill(index, bytes)?;
                memory.push(in_slot.clone());
                chain.push(Work::Send(&in_slot));
            }
            None => {}
        }
        let id = self.next;
        let posted = self.queue.post(id, &chain);
        let entries = entries as u32;
        let wrote = !writes.is_empty();
        let work = Posted {
            id,
            entries,
            slot,
            wrote,
            _memory: memory,
        };
        self.launched(work, posted)
    }

    pub(super) fn post_probe(&mut self) -> Result<u64, Error> {
        self.room(1)?;
        let id = self.next;
        let remote = RemoteMemory {
            addr: 0,
            rkey: 0,
            len: 0,
        };
        let posted = self.queue.post(
            id,
            &[Work::Write {
                local: None,
                remote,
                imm: None,
            }],
        );
        let work = Posted {
            id,
            entries: 1,
            slot: None,
            wrote: true,
            _memory: Vec::new(),
        };
        self.launched(work, posted)
    }

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

    pub(super) fn revoke(&mut self) -> Result<(), Error> {
        if self.lost.is_none() {
            let mut events = std::mem::take(&mut self.last_words);
            self.end(Lost::Revoked, &mut events);
            self.last_words = events;
        }
        // Tried again when it failed before.
        self.queue
            .destroy()
            .map_err(|error| Error::call("cannot destroy a queue pair", error))?;
        self.flight.release();
        Ok(())
    }

    fn check(&self, write: &Write) -> Result<(), Error> {
        let (len, size) = (
            write.local.len() as u64,
            write.remote.len.min(Connection::MAX_WRITE),
        );
        if len > size {
            return Err(Error::Bounds {
                offset: 0,
                len,
                size,
            });
        }
        if write.local.domain() != self.send.domain() {
            let what = "memory is registered with another device".to_owned();
            return Err(Error::Config { what });
        }
        Ok(())
    }

    fn room(&self, entries: u32) -> Result<(), Error> {
        if let Some(why) = self.lost {
            return Err(Error::Lost(why));
        }
        if self.flight.entries() + entries > self.send_depth {
            return Err(Error::Full);
        }
        Ok(())
    }

    /// Work was handed to the device; where that failed some of it may have been, which nobody can
    /// tell, so the connection ends.
    fn launched(&mut self, work: Posted, posted: io::Result<()>) -> Result<u64, Error> {
        let id = work.id;
        self.next += 1;
        self.flight.push(work);
        if let Err(error) = posted {
            tracing::warn!(%error, "posting RDMA work failed");
            let mut events = std::mem::take(&mut self.last_words);
            self.end(Lost::Library, &mut events);
            // The caller learns of this one by the error.
            events.retain(
                |event| !matches!(event, Event::Failed { id: failed, .. } if *failed == id),
            );
            self.last_words = events;
            return Err(Error::Lost(Lost::Library));
        }
        Ok(id)
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
        events.push(match posted.wrote {
            true => Event::WriteDone { id },
            false => Event::SendDone { id },
        });
    }

    fn offer(&mut self, slot: u32) -> Result<(), Error> {
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

    fn end(&mut self, why: Lost, events: &mut Vec<Event>) {
        self.lost = Some(why);
        match self.queue.destroy() {
            Ok(()) => {
                self.flight.fail(u64::MAX, Status::FLUSHED, events);
                self.flight.release();
            }
            Err(error) => {
                tracing::error!(%error, "RDMA queue pair cannot be destroyed");
                self.flight.fail(u64::MAX, Status::FLUSHED, events);
            }
        }
        events.push(Event::Disconnected { why });
    }
}

impl Drop for State {
    fn drop(&mut self) {
        // Before the slots and the memory under way are released; they are not when this fails.
        if let Err(error) = self.queue.destroy() {
            tracing::error!(%error, "RDMA queue pair cannot be destroyed, its memory is leaked");
            self.flight.leak();
            self.send.leak();
            self.receive.leak();
        }
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
