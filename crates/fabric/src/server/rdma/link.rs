//! A queue pair, and the work that is under way on it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use verbs::{Connection, Event, Lost, RemoteMemory, Write};

use super::super::serve_item::PIECE;
use super::slabs::{Slab, Slabs};
use crate::rdma::SERVER_DEPTH;
use crate::wire::{FrameReader, Next, Region, WireError};

/// Pieces that one exchange may have at a time: one is read while others are written.
const PIECES: usize = 4;
/// Entries of the send queue that are left for what is said beside answers.
const RESERVE: u32 = 6;
/// Messages of a client that wait; one that sends more at a time breaks the protocol.
const MAX_WAITING: usize = 16;

/// A server's end of a lane.
pub(in crate::server) struct Link {
    connection: Connection,
    /// Where it was accepted.
    rail: SocketAddr,
    reader: FrameReader,
    events: Vec<Event>,
    waiting: VecDeque<Vec<u8>>,
    posted: VecDeque<Posted>,
    entries: u32,
    pub(super) free: Vec<Slab>,
    /// Pieces that were read from the client's memory, and how much each holds.
    fetched: VecDeque<(Slab, usize)>,
    wanted: usize,
    has_heard: bool,
    lost: Option<Lost>,
}

struct Posted {
    id: u64,
    entries: u32,
    slabs: Vec<Slab>,
    /// How many bytes of the one piece are being read from the client's memory.
    fetches: Option<usize>,
}

impl Link {
    pub(in crate::server) fn new(connection: Connection, rail: SocketAddr) -> Self {
        Self {
            connection,
            rail,
            reader: FrameReader::new(),
            events: Vec::new(),
            waiting: VecDeque::new(),
            posted: VecDeque::new(),
            entries: 0,
            free: Vec::new(),
            fetched: VecDeque::new(),
            wanted: 0,
            has_heard: false,
            lost: None,
        }
    }

    pub(in crate::server) fn fds(&self) -> [BorrowedFd<'_>; 2] {
        self.connection.fds()
    }

    /// The address that the client connected to.
    pub(in crate::server) fn rail(&self) -> SocketAddr {
        self.rail
    }

    /// Whether the connection has ended.
    pub(in crate::server) fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Whether a message waits to be looked at.
    pub(in crate::server) fn has_message(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether anything that was posted has not completed.
    pub(in crate::server) fn is_busy(&self) -> bool {
        !self.posted.is_empty()
    }

    /// Takes what has completed; whether there was anything. Readies the descriptors for sleeping.
    pub(in crate::server) fn poll(&mut self) -> io::Result<bool> {
        let mut events = std::mem::take(&mut self.events);
        self.connection.poll(&mut events);
        self.take(events)
    }

    /// The same for looking again and again; [`Self::poll`] follows before sleeping.
    pub(in crate::server) fn spin(&mut self) -> io::Result<bool> {
        let mut events = std::mem::take(&mut self.events);
        self.connection.spin(&mut events);
        self.take(events)
    }

    fn take(&mut self, mut events: Vec<Event>) -> io::Result<bool> {
        let is_some = !events.is_empty();
        for event in events.drain(..) {
            match event {
                Event::Received { bytes } => self.waiting.push_back(bytes),
                Event::SendDone { id } | Event::WriteDone { id } | Event::ReadDone { id } => {
                    self.completed(id);
                }
                Event::Disconnected { why } => self.lost = Some(why),
                // What failed is followed by the end; a client does not write.
                Event::Failed { .. } | Event::Landed { .. } => {}
            }
        }
        self.events = events;
        match self.waiting.len() > MAX_WAITING {
            true => Err(io::Error::other("a client sends more than it is answered")),
            false => Ok(is_some),
        }
    }

    /// The next frame of what has been received.
    pub(in crate::server) fn next(&mut self) -> Result<Next, WireError> {
        loop {
            match self.reader.next()? {
                Next::NeedMore => {}
                some => return Ok(some),
            }
            let Some(bytes) = self.waiting.pop_front() else {
                return Ok(Next::NeedMore);
            };
            self.has_heard = true;
            // A slot is shorter than the reader's buffer; a message that is no whole frame is
            // followed by one that is none at all.
            let space = self.reader.space();
            let len = bytes.len().min(space.len());
            space[..len].copy_from_slice(&bytes[..len]);
            self.reader.filled(len);
        }
    }

    /// Takes data that came behind a frame, in its message.
    pub(in crate::server) fn take_data(&mut self, to: &mut [u8]) -> usize {
        self.reader.take_data(to)
    }

    /// Sends a message; none before the client has spoken.
    pub(in crate::server) fn send(&mut self, message: &[u8]) -> io::Result<()> {
        match self.has_heard && !message.is_empty() {
            true => self.post(&[], Some(message), Vec::new()),
            false => Ok(()),
        }
    }

    /// Takes pieces for an exchange that will write `bytes` to the client's memory, or read them from
    /// there; whether there are any.
    pub(in crate::server) fn begin(
        &mut self,
        bytes: u64,
        piece: usize,
        slabs: &Arc<Slabs>,
    ) -> bool {
        let pieces = usize::try_from(bytes.div_ceil(piece as u64)).unwrap_or(PIECES);
        self.wanted = pieces.min(PIECES);
        while self.free.len() < self.wanted
            && let Some(slab) = slabs.take(self.connection.domain())
        {
            self.free.push(slab);
        }
        self.wanted = self.free.len();
        self.wanted > 0 || bytes == 0
    }

    /// The exchange is over. Pieces that are still being written come back on their own.
    pub(in crate::server) fn finish(&mut self) {
        self.wanted = 0;
        self.free.clear();
        self.fetched.clear();
    }

    /// Begins to read the next piece of what the client has at `offset` of `region`, of which `left` bytes
    /// are left; how many are on their way now, none when there is no room for more.
    pub(in crate::server) fn fetch(
        &mut self,
        region: &Region,
        offset: u64,
        left: u64,
    ) -> io::Result<u64> {
        if left == 0 || self.is_full() {
            return Ok(0);
        }
        let Some(slab) = self.free.pop() else {
            return Ok(0);
        };
        let len = left.min(PIECE as u64);
        let memory = RemoteMemory {
            addr: region.base,
            rkey: region.key,
            len: region.len,
        };
        let remote = memory.part(offset, len).map_err(io::Error::other)?;
        let local = slab.slice(len as usize).map_err(io::Error::other)?;
        let posted = self.connection.post_read(&local, remote);
        // Where posting failed, some of it may be under way.
        let (id, entries) = posted.as_ref().map_or((u64::MAX, 0), |id| (*id, 1));
        self.entries += entries;
        self.posted.push_back(Posted {
            id,
            entries,
            slabs: vec![slab],
            fetches: Some(len as usize),
        });
        posted.map(|_| len).map_err(io::Error::other)
    }

    /// Takes a piece that has been read, all of which fits; how many bytes.
    pub(in crate::server) fn take_fetched(&mut self, to: &mut [u8]) -> usize {
        let Some((mut slab, len)) = self.fetched.pop_front() else {
            return 0;
        };
        let len = len.min(to.len());
        to[..len].copy_from_slice(&slab.bytes()[..len]);
        if self.free.len() < self.wanted {
            self.free.push(slab);
        }
        len
    }

    /// Whether there is nothing to do before something has completed.
    pub(super) fn is_full(&self) -> bool {
        self.entries + RESERVE > SERVER_DEPTH || (self.wanted > 0 && self.free.is_empty())
    }

    pub(super) fn post(
        &mut self,
        writes: &[Write],
        message: Option<&[u8]>,
        slabs: Vec<Slab>,
    ) -> io::Result<()> {
        let id = match message {
            Some(message) => self.connection.post_writes_then_send(writes, message),
            None => self.connection.post_writes(writes),
        };
        let id = match id {
            Ok(id) => id,
            Err(error) => {
                // Where that is not known, some of it may be under way.
                self.posted.push_back(Posted {
                    id: u64::MAX,
                    entries: 0,
                    slabs,
                    fetches: None,
                });
                return Err(io::Error::other(error));
            }
        };
        let entries = writes.len() as u32 + u32::from(message.is_some());
        self.entries += entries;
        self.posted.push_back(Posted {
            id,
            entries,
            slabs,
            fetches: None,
        });
        Ok(())
    }

    fn completed(&mut self, id: u64) {
        while let Some(posted) = self.posted.pop_front_if(|posted| posted.id <= id) {
            self.entries -= posted.entries;
            for slab in posted.slabs {
                if let Some(len) = posted.fetches {
                    self.fetched.push_back((slab, len));
                } else if self.free.len() < self.wanted {
                    self.free.push(slab);
                }
            }
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Err(error) = self.connection.revoke() {
            tracing::error!(%error, "buffers of an RDMA lane are never used again");
            std::mem::forget(std::mem::take(&mut self.posted));
        }
    }
}
