//! What a carrier is to the client: lanes that one thread at a time owns.
//!
//! A [`Lane`] is an open connection to one sidecar. The thread that reads takes one from a pool,
//! sends its request, waits in poll(2) on the lane's descriptor *and* on the request's interrupt
//! (and on a second lane, when it hedges), and receives on that lane itself: no progress thread, no
//! hand-over, because waking another thread costs more than a small read. This holds for sockets,
//! where a lane is a connection, and for verbs, where it is a queue pair with a completion channel
//! of its own.
//!
//! # Memory
//! A server may write to a client's memory only while the client waits for it. When a client
//! stops waiting (deadline, hedge won elsewhere, lane broken), the memory it offered must not be
//! used until the writer is known to be retired: [`Lane::close`] either retires it at once (sockets
//! that carry data inline; verbs, by destroying the queue pair) or gives a [`Retiring`] to watch. The
//! [`Landing`](crate::memory::Landing) that was offered is quarantined until then.
//!
//! An [`Answered`] and a [`Retiring`] are evidence that memory may be used again. Only a lane has it
//! first hand, so making one is `unsafe`; [`crate::memory`] says what rests on it.

use std::io;
use std::ops::Deref;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::wire::{Answer, Item, Limits, MAX_READ, Place, Write, Written};

/// An open connection to a sidecar, owned by one thread at a time.
pub trait Lane: Send {
    /// Which carrier it is: `shm`, `tcp` or `rdma`.
    fn carrier(&self) -> &'static str;

    /// When it was opened.
    fn opened(&self) -> Instant;

    /// The descriptor to wait on, and for what.
    fn wait_on(&self) -> (BorrowedFd<'_>, PollFlags);

    /// Whether [`advance`](Self::advance) is likely to find something; for looking again and again.
    fn has_come(&mut self) -> bool {
        let (fd, what) = self.wait_on();
        let mut fds = [PollFd::from_borrowed_fd(fd, what)];
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1..))
    }

    /// The number of the region that landings of the client's arena lie in, if the server can
    /// write there.
    fn region(&self) -> Option<u16>;

    /// The most bytes of an item whose place is inline.
    fn most_inline(&self) -> u64 {
        MAX_READ
    }

    /// What the server takes in one request.
    fn limits(&self) -> Limits;

    /// Sends a request. Everything of an earlier exchange has been received.
    ///
    /// A place in a region is that of a [`Landing`](crate::memory::Landing) which the caller
    /// keeps, and which is on its way on no other lane: the server writes wherever this says.
    ///
    /// # Errors
    /// [`Broken`]; the lane is then of no use any more.
    fn start(&mut self, id: u64, items: &[Item]) -> Result<(), Broken>;

    /// Receives what is there, without waiting. Gives each answer to `inbox` once its bytes have
    /// arrived; true when the last of the exchange was given. With no exchange in flight it tells
    /// whether the lane is still good: true, or why not.
    ///
    /// # Errors
    /// [`Broken`]; the lane is then of no use any more.
    fn advance(&mut self, inbox: &mut dyn Inbox) -> Result<bool, Broken>;

    /// Whether writes can be sent on it.
    fn takes_writes(&self) -> bool {
        false
    }

    /// Whether a write's bytes can go behind its frame.
    fn fits_inline(&self, write: &Write) -> bool {
        let _ = write;
        true
    }

    /// Sends a write and, where its bytes go behind the frame, as many of `body` as are taken without
    /// waiting; how many. Everything of an earlier exchange has been received. Memory that its
    /// place names stays as it is until the write is answered; when the lane is closed before, the
    /// server may still read there for as long as what [`close`](Self::close) gave is not retired.
    ///
    /// # Errors
    /// [`Broken`]; the lane is then of no use any more.
    fn start_write(&mut self, id: u64, write: &Write, body: &[u8]) -> Result<usize, Broken> {
        let _ = (id, write, body);
        let words = "no writes are sent over this carrier";
        Err(io::Error::new(io::ErrorKind::Unsupported, words).into())
    }

    /// Sends more of the body, the rest of it, without waiting; how many bytes.
    ///
    /// # Errors
    /// [`Broken`]; the lane is then of no use any more.
    fn push(&mut self, rest: &[u8]) -> Result<usize, Broken> {
        let _ = rest;
        Ok(0)
    }

    /// Receives what is there, without waiting: what became of the write, once it is known.
    ///
    /// # Errors
    /// [`Broken`]; the lane is then of no use any more.
    fn advance_write(&mut self) -> Result<Option<Written>, Broken> {
        Ok(None)
    }

    /// Ends the lane. Whatever the peer still does, it is told that nobody listens.
    fn close(self: Box<Self>) -> Option<Retiring>;
}

/// Takes answers as they come.
pub trait Inbox {
    /// Memory for the `answer.len` inline bytes of an answer whose frame has arrived.
    /// `None` if the bytes are not wanted any more; they are skipped. Asked again, for the same
    /// memory, whenever more of them come.
    fn memory(&mut self, answer: &Answered) -> Option<&mut [u8]>;

    /// An answer is complete: its inline bytes are in the memory given for them, or its bytes
    /// in the region are written. Also called for bytes that were skipped.
    fn done(&mut self, answer: &Answered);
}

/// An answer that has come, which is proof that the server has done with the item's place.
#[derive(Debug)]
pub struct Answered {
    answer: Answer,
    place: Place,
}

impl Answered {
    /// The answer to an item with this place.
    ///
    /// # Safety
    /// The answer was received on the lane on which the item was sent, in this exchange, and the
    /// server writes to the item's place no more.
    pub unsafe fn new(answer: Answer, place: Place) -> Self {
        Self { answer, place }
    }

    /// Where the item was to be put.
    pub fn place(&self) -> Place {
        self.place
    }
}

impl Deref for Answered {
    type Target = Answer;

    fn deref(&self) -> &Answer {
        &self.answer
    }
}

/// A peer that may still write to memory.
#[derive(Debug, Clone)]
pub struct Retiring {
    watched: Arc<OwnedFd>,
    sign: PollFlags,
}

impl Retiring {
    /// The peer is retired as soon as poll(2) tells of `sign`, a hang-up or an error on `watched`.
    ///
    /// # Safety
    /// None of these is told as long as the peer may write to any memory that it was offered on
    /// the lane.
    pub unsafe fn new(watched: OwnedFd, sign: PollFlags) -> Self {
        Self {
            watched: Arc::new(watched),
            sign,
        }
    }

    /// Whether the peer writes no more.
    pub fn is_retired(&self) -> bool {
        let mut fds = [PollFd::new(&self.watched, self.sign)];
        // When the system cannot tell, the next look will.
        matches!(poll(&mut fds, Some(&Timespec::default())), Ok(1))
            && fds[0].revents() != PollFlags::NVAL
    }
}

impl AsFd for Retiring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watched.as_fd()
    }
}

/// Why a lane is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The peer ended it, or is dead.
    #[error("the peer is gone: {0}")]
    Gone(String),
    /// The system refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The peer breaks the protocol.
    #[error("the peer breaks the protocol: {0}")]
    Protocol(String),
    /// The peer is not who it should be.
    #[error("the peer does not prove itself: {0}")]
    Unproven(&'static str),
    /// The peer does not want us.
    #[error("refused: {0}")]
    Refused(String),
}
