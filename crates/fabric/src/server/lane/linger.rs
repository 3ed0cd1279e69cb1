//! What a worker does when a client was answered: it may look for the next request for a moment
//! before it lets go ([`crate::eager`]).
//!
//! Meanwhile the socket is not watched, or each request would wake another worker, which would find the lane
//! owned. A lane that rests is watched again, and epoll tells of what came in between (epoll_ctl(2)). The descriptor
//! of a queue pair's completions becomes readable once, and stays so until it is polled.

use std::sync::atomic::Ordering;

use rustix::event::epoll::EventFlags;

use super::receive::Received;
use super::{Fault, Lane, Link};
use crate::eager::Seen;
use crate::serve::Shelf;
use crate::server::connection::Connection;
use crate::server::shared::Shared;

impl<S: Shelf> Lane<S> {
    /// Receives what comes within a moment after a small answer.
    pub(super) fn linger(
        &mut self,
        connection: &Connection<S>,
        shared: &Shared<S>,
    ) -> Result<Received, Fault> {
        let Some(answered) = self.answered.take() else {
            return Ok(Received::None);
        };
        // Clients in turn keep the processors busy: to look for one of them would hold up the others.
        let before = shared.answered.swap(connection.number, Ordering::Relaxed);
        if before != connection.number {
            return Ok(Received::None);
        }
        let waiting = shared.eager.begin(&connection.credit, 0, answered);
        if !waiting.is_worth() {
            return Ok(Received::None);
        }
        if self.watched != UNWATCHED {
            self.watch(connection, shared, UNWATCHED)?;
        }
        let mut received = Ok(Received::None);
        let has_come = waiting.look(|| {
            received = self.look();
            match received {
                Ok(Received::None) if shared.in_flight.load(Ordering::Relaxed) > 0 => Seen::Enough,
                Ok(Received::None) => Seen::Nothing,
                _ => Seen::Came,
            }
        });
        if has_come {
            shared.stats.polled.inc();
        }
        match &self.link {
            // Before it sleeps it has to be polled once more.
            Link::Rdma(_) if !has_come => self.receive(),
            _ => received,
        }
    }

    fn look(&mut self) -> Result<Received, Fault> {
        match &mut self.link {
            Link::Socket { .. } => self.receive(),
            Link::Rdma(link) => {
                // That an answer was sent completes as well.
                link.spin()?;
                Ok(match link.has_message() {
                    true => Received::Some { is_all: false },
                    false => Received::None,
                })
            }
        }
    }
}

/// The end of a socket is told all the same.
const UNWATCHED: EventFlags = EventFlags::ET;
