//! What the lock of a connection protects: its queues, slots, and work under way.

use std::os::fd::{AsRawFd, RawFd};

use super::flight::Flight;
use crate::raw::{Completion, Id, Queue};
use crate::slots::Slots;
use crate::{Config, Domain, Error, Event, Lost, Status};

pub(crate) struct State {
    pub(super) queue: Queue,
    pub(super) send: Slots,
    pub(super) receive: Slots,
    pub(super) free: Vec<u32>,
    pub(super) flight: Flight,
    pub(super) next: u64,
    pub(super) send_depth: u32,
    pub(super) recv_depth: u32,
    pub(super) message_size: u32,
    /// Set at the end; what `poll` still has to report then is in `last_words`.
    pub(super) lost: Option<Lost>,
    pub(super) last_words: Vec<Event>,
    pub(super) batch: Vec<Completion>,
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

    pub(super) fn end(&mut self, why: Lost, events: &mut Vec<Event>) {
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
