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

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::PollFlags;

use crate::wire::{Answer, Item};

/// An open connection to a sidecar, owned by one thread at a time.
pub trait Lane: Send {
    /// Which carrier it is: `shm`, `tcp` or `rdma`.
    fn carrier(&self) -> &'static str;

    /// The descriptor to wait on, and for what.
    fn wait_on(&self) -> (BorrowedFd<'_>, PollFlags);

    /// The number of the region that landings of the client's arena lie in, if the server can
    /// write there.
    fn region(&self) -> Option<u16>;

    /// Sends a request. Everything of an earlier exchange has been received.
    ///
    /// # Errors
    /// [`Broken`]; the lane is then of no use any more.
    fn start(&mut self, id: u64, items: &[Item]) -> Result<(), Broken>;

    /// Receives what is there, without waiting. Gives each answer to `inbox` once its bytes have
    /// arrived; true when the last of the exchange was given.
    ///
    /// # Errors
    /// [`Broken`]; the lane is then of no use any more.
    fn advance(&mut self, inbox: &mut dyn Inbox) -> Result<bool, Broken>;

    /// Ends the lane. Whatever the peer still does, it is told that nobody listens.
    fn close(self: Box<Self>) -> Option<Retiring>;
}

/// Takes answers as they come.
pub trait Inbox {
    /// Memory for the `answer.len` inline bytes of an answer whose frame has arrived.
    /// `None` if the bytes are not wanted any more; they are skipped.
    fn memory(&mut self, answer: &Answer) -> Option<&mut [u8]>;

    /// An answer is complete: its inline bytes are in the memory given for them, or its bytes
    /// in the region are written.
    fn done(&mut self, answer: &Answer);
}

/// A peer that may still write to memory. Readable or hung up when it is retired.
#[derive(Debug)]
pub struct Retiring(pub OwnedFd);

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
    /// The peer does not want us.
    #[error("refused: {0}")]
    Refused(String),
}
