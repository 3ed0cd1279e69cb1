//! How the answers of one exchange leave through a socket.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use super::regions::Mapped;
use super::serve_item::{Output, PIECE, Taken};
use crate::http::wire::Wire;
use crate::wire::{self, Answer, INLINE};

/// What a thread needs to serve, used for one lane after the other.
#[derive(Debug)]
pub(super) struct Bench {
    /// The next piece.
    buffer: Box<[u8]>,
    /// Frames and small data that are sent together.
    pub(super) staging: Vec<u8>,
    may_wait: MayWait,
}

/// What a thread may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MayWait {
    Never,
    ForDisk,
    /// For a volume server as well.
    ForAll,
}

impl Bench {
    pub(super) fn new(may_wait: MayWait) -> Self {
        Self {
            buffer: vec![0; PIECE].into(),
            staging: Vec::with_capacity(STAGED + SMALL),
            may_wait,
        }
    }

    pub(super) fn buffer(&mut self) -> &mut [u8] {
        &mut self.buffer
    }

    /// Whether this thread may wait for a disk.
    pub(super) fn may_wait(&self) -> bool {
        self.may_wait != MayWait::Never
    }

    /// Whether this thread may wait for a volume server.
    pub(super) fn may_hand_on(&self) -> bool {
        self.may_wait == MayWait::ForAll
    }

    /// Appends the first `len` bytes of the buffer to what is staged.
    pub(super) fn stage(&mut self, len: usize) {
        self.staging.extend_from_slice(&self.buffer[..len]);
    }
}

/// Data up to this size is copied behind its answer, so that many answers are one send.
const SMALL: usize = 16 << 10;
/// As much is staged before it is sent.
const STAGED: usize = 64 << 10;

/// A socket's sending side: what the socket does not take is kept until it does.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) wire: Wire,
    queue: Vec<u8>,
    sent: usize,
    /// The socket has not taken all of a file, of which nothing is kept here.
    is_full: bool,
}

impl Sender {
    pub(super) fn new(wire: Wire) -> Self {
        Self {
            wire,
            queue: Vec::new(),
            sent: 0,
            is_full: false,
        }
    }

    /// Whether the socket is full. Nothing more should be sent then.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_full || !self.queue.is_empty() || !self.wire.is_flushed()
    }

    /// Sends `head` and then `tail`, or keeps what the socket does not take.
    pub(super) fn send(&mut self, mut head: &[u8], mut tail: &[u8]) -> io::Result<()> {
        while self.queue.is_empty() && head.len() + tail.len() > 0 {
            let parts = [IoSlice::new(head), IoSlice::new(tail)];
            let sent = self.wire.try_send(&parts)?;
            if sent == 0 {
                break;
            }
            let of_head = sent.min(head.len());
            head = &head[of_head..];
            tail = &tail[sent - of_head..];
        }
        self.queue.extend_from_slice(head);
        self.queue.extend_from_slice(tail);
        Ok(())
    }

    /// Sends `bytes`, and descriptors beside the first of them. The socket has to have room for one byte at
    /// least, as it has when nothing is waiting to be sent.
    pub(super) fn send_with(&mut self, bytes: &[u8], files: &[OwnedFd; 2]) -> io::Result<()> {
        let files = files.each_ref().map(AsFd::as_fd);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !beside.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let parts = [IoSlice::new(bytes)];
        let sent = loop {
            match sendmsg(self.wire.as_fd(), &parts, &mut beside, SendFlags::NOSIGNAL) {
                Ok(sent) => break sent,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        self.send(&bytes[sent..], &[])
    }

    /// Sends `head`, and then up to `len` bytes of `file` from `at` on, as far as the socket takes them
    /// now. What it does not take of `head` is kept, and then nothing of the file is sent.
    fn send_file(
        &mut self,
        head: &[u8],
        file: BorrowedFd<'_>,
        at: u64,
        len: usize,
    ) -> io::Result<Taken> {
        if !head.is_empty() {
            let sent = self.wire.try_send_more(head)?;
            self.send(&head[sent..], &[])?;
        }
        if self.is_blocked() {
            return Ok(Taken::Bytes(0));
        }
        let taken = self.wire.try_send_file(file, at, len)?;
        self.is_full = taken.is_none_or(|count| 0 < count && count < len);
        Ok(match taken {
            Some(0) => Taken::End,
            Some(count) => Taken::Bytes(count),
            None => Taken::Bytes(0),
        })
    }

    /// Sends what was kept, as far as the socket takes it now; whether it took anything.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        if self.is_full {
            self.is_full = !self.wire.is_writable()?;
            if self.is_full || self.queue.is_empty() {
                return Ok(!self.is_full);
            }
        }
        let before = self.sent;
        while self.sent < self.queue.len() {
            let rest = [IoSlice::new(&self.queue[self.sent..])];
            match self.wire.try_send(&rest)? {
                0 => return Ok(self.sent > before),
                sent => self.sent += sent,
            }
        }
        let progress = self.sent > before;
        // Given back rather than kept: most lanes never need it.
        self.queue = Vec::new();
        self.sent = 0;
        self.wire.try_flush()?;
        Ok(progress)
    }
}

/// The way out for the answers of one exchange.
pub(super) struct Outlet<'a> {
    pub(super) sender: &'a mut Sender,
    pub(super) bench: &'a mut Bench,
    pub(super) regions: &'a [Arc<Mapped>],
    pub(super) id: u64,
    /// Bytes until others have their turn.
    pub(super) turn: u64,
}

impl Outlet<'_> {
    /// Sends what is staged.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.sender.send(&self.bench.staging, &[])?;
        self.bench.staging.clear();
        Ok(())
    }
}

impl Output for Outlet<'_> {
    type Broken = io::Error;

    fn buffer(&mut self) -> io::Result<&mut [u8]> {
        Ok(&mut self.bench.buffer)
    }

    fn mapped(&mut self, region: u16, offset: u64, len: usize) -> Option<*mut u8> {
        self.regions.get(usize::from(region))?.at(offset, len)
    }

    fn place(&mut self, region: u16, offset: u64, len: usize) -> io::Result<()> {
        // All regions of a lane are mapped, and the session has checked what lies within them.
        let words = format!("{len} bytes at {offset} of region {region} are not mapped");
        Err(io::Error::other(words))
    }

    fn answer(&mut self, answer: &Answer, len: usize) -> io::Result<()> {
        let staging = &mut self.bench.staging;
        wire::encode_answer(self.id, answer, staging).map_err(io::Error::other)?;
        let delivered = match answer.is_inline {
            true => len as u64,
            false => answer.len.into(),
        };
        self.turn = self.turn.saturating_sub(delivered);
        let data = &self.bench.buffer[..len];
        if len <= SMALL {
            staging.extend_from_slice(data);
            return match staging.len() >= STAGED {
                true => self.flush(),
                false => Ok(()),
            };
        }
        self.sender.send(staging, data)?;
        staging.clear();
        Ok(())
    }

    fn more(&mut self, len: usize) -> io::Result<()> {
        self.turn = self.turn.saturating_sub(len as u64);
        self.sender
            .send(&self.bench.staging, &self.bench.buffer[..len])?;
        self.bench.staging.clear();
        Ok(())
    }

    fn sends_files(&self) -> bool {
        self.sender.wire.sends_files()
    }

    fn more_of_file(&mut self, file: BorrowedFd<'_>, at: u64, len: usize) -> io::Result<Taken> {
        let taken = self.sender.send_file(&self.bench.staging, file, at, len)?;
        self.bench.staging.clear();
        if let Taken::Bytes(count) = taken {
            self.turn = self.turn.saturating_sub(count as u64);
        }
        Ok(taken)
    }

    fn wants_pause(&self) -> bool {
        self.turn == 0 || self.sender.is_blocked()
    }

    fn may_wait(&self) -> bool {
        self.bench.may_wait()
    }

    fn inline_up_to(&self) -> u64 {
        INLINE
    }
}
