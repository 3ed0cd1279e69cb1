//! One reliable connection: messages both ways, and writes into the peer's memory or reads of it.
//!
//! Posting and polling never block and may be done from any thread. What is posted completes in
//! order; the id that posting returns comes back in an [`Event`]. The send queue has a bounded number
//! of entries ([`Error::Full`]); the peer's receive slots are bounded too, and who uses them up makes
//! the peer's device refuse: a protocol on top counts its requests.
//!
//! # Sleeping
//!
//! The completion queue is armed from the start: a completion makes the first of [`Connection::fds`]
//! readable. [`Connection::poll`] takes those notifications, arms again and only then takes what has
//! completed, at least as much as there was when it armed. Nothing can fall between: what completed
//! before is taken, what completes after makes the descriptor readable. So the caller may sleep in
//! poll(2) or epoll_wait(2), level-triggered, after any call.
//!
//! # The end
//!
//! A connection ends once, by failed work, by the peer, by the device or by [`Connection::revoke`].
//! Its queue pair is then destroyed at once, whatever was pending is reported as failed, and memory that was
//! posted is released only after that.

mod flight;
mod post;
mod state;
mod turn;

use std::net::SocketAddr;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec};

pub(crate) use self::state::State;
use crate::connect::Progress;
use crate::{Config, Connecting, Domain, Error, Event, MemorySlice, RemoteMemory};

/// A connection. Dropping it ends it, as [`Connection::revoke`] does.
pub struct Connection {
    state: Mutex<State>,
    completion_fd: RawFd,
    manager_fd: RawFd,
    inline_size: u32,
    config: Config,
    domain: &'static Domain,
    peer: SocketAddr,
    private: Vec<u8>,
}

/// A write of local memory into the peer's.
#[derive(Clone)]
pub struct Write {
    /// What is written; registered with the connection's domain.
    pub local: MemorySlice,
    /// Where to; at least as long.
    pub remote: RemoteMemory,
    /// With it the peer gets [`Event::Landed`], which takes one of its receive slots.
    pub imm: Option<u32>,
}

impl Connection {
    /// Writes, and a message behind them, that go out with one call. Longer answers take several.
    pub const MAX_CHAIN: usize = 16;
    /// Bytes in one write or read: RC messages end at 2 GiB.
    pub const MAX_WRITE: u64 = 1 << 30;

    /// Connects to a [`crate::Listener`] and waits until that has answered. See [`Connecting`]
    /// for a way that does not block.
    ///
    /// # Errors
    /// As [`Connecting::advance`].
    pub fn connect(
        peer: SocketAddr,
        config: &Config,
        timeout: Duration,
        private: &[u8],
    ) -> Result<Self, Error> {
        let mut connecting = Connecting::start(peer, config, timeout, private)?;
        loop {
            connecting = match connecting.advance(Instant::now())? {
                Progress::Connected(connection) => return Ok(connection),
                Progress::Waiting(connecting) => connecting,
            };
            let left = connecting
                .deadline()
                .saturating_duration_since(Instant::now());
            // Rounded up by the kernel; the next turn sees the deadline passed.
            let left = Timespec::try_from(left).ok();
            let mut fds = [PollFd::from_borrowed_fd(connecting.fd(), PollFlags::IN)];
            match rustix::event::poll(&mut fds, left.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::call("poll", errno.into())),
            }
        }
    }

    pub(crate) fn new(
        state: State,
        config: Config,
        domain: &'static Domain,
        peer: SocketAddr,
        private: Vec<u8>,
    ) -> Self {
        let (completion_fd, manager_fd) = state.fds();
        let inline_size = state.inline_size();
        let state = Mutex::new(state);
        Self {
            state,
            completion_fd,
            manager_fd,
            inline_size,
            config,
            domain,
            peer,
            private,
        }
    }

    /// Sends a message. It is copied; `bytes` is free again at once.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Full`], [`Error::Lost`]. Nothing was sent then.
    pub fn post_send(&self, bytes: &[u8]) -> Result<u64, Error> {
        self.state.lock().post(&[], Some(bytes))
    }

    /// Writes `local` to the beginning of `remote`, and tells the peer if there is an `imm`.
    ///
    /// # Errors
    /// As [`Self::post_writes`].
    pub fn post_write(
        &self,
        local: &MemorySlice,
        remote: RemoteMemory,
        imm: Option<u32>,
    ) -> Result<u64, Error> {
        let write = Write {
            local: local.clone(),
            remote,
            imm,
        };
        self.post_writes(&[write])
    }

    /// Makes several writes with one call, in order. The memory stays registered until
    /// [`Event::WriteDone`]; that it also stays as it is, is up to the caller.
    ///
    /// # Errors
    /// [`Error::Bounds`] for a write that is longer than its target, [`Error::Config`] for memory
    /// of another device or a chain that is empty or too long, [`Error::Full`], [`Error::Lost`].
    /// Nothing was written then.
    pub fn post_writes(&self, writes: &[Write]) -> Result<u64, Error> {
        self.state.lock().post(writes, None)
    }

    /// Makes several writes and sends a message behind them: the peer receives it when all bytes
    /// are in place. Reported as [`Event::WriteDone`].
    ///
    /// # Errors
    /// As [`Self::post_send`] and [`Self::post_writes`].
    pub fn post_writes_then_send(&self, writes: &[Write], message: &[u8]) -> Result<u64, Error> {
        self.state.lock().post(writes, Some(message))
    }

    /// Reads the beginning of `remote` into `local`, as much as that holds, which then has the bytes
    /// when [`Event::ReadDone`] is reported; until then the memory stays registered, and what it
    /// holds is anybody's guess. Reads of one connection are done one after the other.
    ///
    /// # Errors
    /// As [`Self::post_writes`].
    pub fn post_read(&self, local: &MemorySlice, remote: RemoteMemory) -> Result<u64, Error> {
        self.state.lock().post_read(local, remote)
    }

    /// Asks the peer's device for a sign of life: a write of no bytes. Without work under way a
    /// peer that has lost its power is not noticed. Reported as [`Event::WriteDone`]; takes no slot
    /// of the peer, nor its processor.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Lost`].
    pub fn post_probe(&self) -> Result<u64, Error> {
        self.state.lock().post_probe()
    }

    /// Appends what has happened, and readies [`Self::fds`] for sleeping. After
    /// [`Event::Disconnected`] it appends nothing any more, and `fds` mean nothing.
    ///
    /// The connection manager is asked only when nothing has completed.
    pub fn poll(&self, events: &mut Vec<Event>) {
        self.state.lock().poll(events);
    }

    /// Appends what has completed, without any system call: for spinning. Does not see that the
    /// peer has closed, and leaves `fds` readable; [`Self::poll`] follows before sleeping.
    pub fn spin(&self, events: &mut Vec<Event>) {
        self.state.lock().spin(events);
    }

    /// Descriptors that become readable when [`Self::poll`] has something to do: the first for
    /// completions, the second for the end of the connection.
    pub fn fds(&self) -> [BorrowedFd<'_>; 2] {
        // SAFETY: both belong to objects in `state` that close them when the connection is dropped,
        // which the borrow of `self` prevents.
        unsafe {
            [
                BorrowedFd::borrow_raw(self.completion_fd),
                BorrowedFd::borrow_raw(self.manager_fd),
            ]
        }
    }

    /// Ends the connection so that memory can be used for something else.
    ///
    /// When this has returned `Ok`, no write of the peer that arrives over this connection can change
    /// memory any more, however late: the queue pair was moved to the error state, in
    /// which a device drops what arrives (IBA 10.3.1.7), and then destroyed, which waits for what
    /// the device was doing for it (ibv_destroy_qp(3); soft-RoCE waits for its tasks). Packets that
    /// still come name a queue pair that does not exist. Likewise nothing is read from this end's memory.
    ///
    /// It says nothing about other connections. A peer that writes to the same address over another
    /// one still can, so a protocol ties every offered buffer to one connection.
    ///
    /// The next [`Self::poll`] reports what was pending and [`Event::Disconnected`]. Who sleeps on
    /// `fds` elsewhere must be woken by the caller.
    ///
    /// # Errors
    /// [`Error::Call`] when the device does not confirm. Memory that the peer knows must then be
    /// kept aside for as long as the process lives.
    pub fn revoke(&self) -> Result<(), Error> {
        self.state.lock().revoke()
    }

    /// The peer's address.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// What the peer sent with its request or its answer.
    pub fn private(&self) -> &[u8] {
        &self.private
    }

    /// The device, for registering memory.
    pub fn domain(&self) -> &'static Domain {
        self.domain
    }

    /// What it was made with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Messages up to this length travel in the work request itself.
    pub fn inline_size(&self) -> u32 {
        self.inline_size
    }
}
