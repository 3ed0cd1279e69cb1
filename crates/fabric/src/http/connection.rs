//! One connection: a request goes out, the head of its answer comes in.
//!
//! The buffer holds what was received and not yet consumed. The first receive of an answer has
//! room for a head and a small body, so that a 4 KiB read needs only one; of a large body it
//! takes only what comes along with the head, and the rest bypasses the buffer.

use super::head::{Head, HeadError, MAX_HEAD, Parsed, parse_head};
use super::wait::{Halt, Watch};
use super::wire::Wire;
use crate::eager::Waiting;

/// What a usual head takes, with room to spare.
const USUAL_HEAD: usize = 1024;
/// Bodies up to this size are received together with their head and copied once.
const SMALL_BODY: usize = 15 * 1024;
/// How long the answer of a server that has closed is waited for.
const REFUSAL: std::time::Duration = std::time::Duration::from_millis(100);
/// Interim answers (1xx) accepted before the real one.
const MAX_INTERIM: usize = 8;

/// A connection to a server, between or amid exchanges.
#[derive(Debug)]
pub(crate) struct Connection {
    wire: Wire,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Bytes received since the last request.
    received: u64,
}

impl Connection {
    /// Takes over a freshly opened wire.
    pub(crate) fn new(wire: Wire) -> Self {
        Self {
            wire,
            buffer: Vec::new(),
            start: 0,
            end: 0,
            received: 0,
        }
    }

    /// Sends `request`, all pieces one behind the other, and waits for the head of the answer,
    /// expecting `body` bytes after it.
    ///
    /// A server that refuses a large body may answer and close amid it: the answer says more
    /// than that it closed. With `waiting` it may look for the answer before it sleeps.
    pub(crate) fn exchange(
        &mut self,
        request: &[&[u8]],
        body: u64,
        watch: &Watch<'_>,
        waiting: Option<&Waiting<'_>>,
    ) -> Result<Head, Halt> {
        debug_assert_eq!(self.start, self.end, "the previous body was not consumed");
        (self.start, self.end, self.received) = (0, 0, 0);
        match self.wire.send(request, watch) {
            Ok(()) => {}
            Err(Halt::Broken(error)) if request.len() > 1 => {
                let watch = Watch {
                    patience: REFUSAL.min(watch.patience),
                    ..*watch
                };
                return match self.head(body, &watch, None) {
                    Ok(head) => Ok(Head {
                        keep_alive: false,
                        ..head
                    }),
                    Err(_) => Err(Halt::Broken(error)),
                };
            }
            Err(halt) => return Err(halt),
        }
        self.head(body, watch, waiting)
    }

    fn head(
        &mut self,
        body: u64,
        watch: &Watch<'_>,
        waiting: Option<&Waiting<'_>>,
    ) -> Result<Head, Halt> {
        self.wire.expect_answer(watch, waiting)?;
        let body = usize::try_from(body).unwrap_or(usize::MAX);
        let room = USUAL_HEAD + if body <= SMALL_BODY { body } else { 0 };
        let mut interim = 0;
        loop {
            match parse_head(&self.buffer[self.start..self.end]) {
                Ok(Parsed::Complete { head, len }) => {
                    self.start += len;
                    if head.status >= 200 {
                        return Ok(head);
                    }
                    interim += 1;
                    if interim > MAX_INTERIM || head.status == 101 {
                        return Err(Halt::Malformed("it never answers for good"));
                    }
                }
                Ok(Parsed::NeedMore) => self.fill(room, watch)?,
                Err(HeadError(why)) => return Err(Halt::Malformed(why)),
            }
        }
    }

    /// Bytes received and not yet consumed.
    pub(crate) fn buffered(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Drops the first `count` buffered bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
    }

    /// Moves buffered bytes to the front of `to`; says how many.
    pub(crate) fn take(&mut self, to: &mut [u8]) -> usize {
        let count = to.len().min(self.end - self.start);
        to[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        count
    }

    /// Receives past the buffer, which is empty, into `to`, which is not; at least one byte.
    pub(crate) fn recv(&mut self, to: &mut [u8], watch: &Watch<'_>) -> Result<usize, Halt> {
        debug_assert_eq!(self.start, self.end);
        match self.wire.recv(to, watch)? {
            0 => Err(closed()),
            got => {
                self.received += got as u64;
                Ok(got)
            }
        }
    }

    /// Receives up to `room` more bytes behind the buffered ones; at least one.
    pub(crate) fn fill(&mut self, room: usize, watch: &Watch<'_>) -> Result<(), Halt> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        let want = (self.end + room).min(MAX_HEAD);
        if want <= self.end {
            return Err(Halt::Malformed("it does not get to the point"));
        }
        if self.buffer.len() < want {
            self.buffer.resize(want, 0);
        }
        match self.wire.recv(&mut self.buffer[self.end..want], watch)? {
            0 => Err(closed()),
            got => {
                self.end += got;
                self.received += got as u64;
                Ok(())
            }
        }
    }

    /// Whether the server has sent anything since the last request.
    pub(crate) fn was_answered(&self) -> bool {
        self.received > 0
    }

    /// Whether nothing of a previous answer is left, so that a new request may follow.
    pub(crate) fn is_clean(&self) -> bool {
        self.start == self.end
    }
}

fn closed() -> Halt {
    Halt::Broken(std::io::Error::new(
        std::io::ErrorKind::UnexpectedEof,
        "closed by the server",
    ))
}
