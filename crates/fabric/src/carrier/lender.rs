//! A connection to a sidecar of this host that lends the files of volumes.
//!
//! It is a lane like others, over the unix socket and opened by the same handshake, on which nothing is read: the
//! answers bring descriptors (`SCM_RIGHTS`, unix(7)). Whoever gave us files of his choice could have programs read
//! what he likes. So they are taken only from a process of root, of our own user or of one that we were told to
//! trust, as memory is given only to such; and only as many as the answer says, with the frame that says so. All others are closed.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use context::Context;
use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, recvmsg};

use super::error::Failure;
use super::greet::Greeting;
use super::shm;
use crate::http::wait::{Halt, Watch};
use crate::http::wire::Wire;
use crate::lane::Broken;
use crate::wire::{self, Borrow, FileTerms, FrameReader, Lent, Message, Next, Way};

/// An open connection to a lender.
#[derive(Debug)]
pub struct Lender {
    wire: Wire,
    reader: FrameReader,
    patience: std::time::Duration,
    id: u64,
    frame: Vec<u8>,
}

/// What became of a wish to borrow.
#[derive(Debug)]
pub enum Borrowed {
    /// Data and index.
    Files([OwnedFd; 2], FileTerms),
    /// As the lender says; never [`Lent::Files`].
    Otherwise(Lent),
}

/// Why an answer did not come.
#[derive(Debug, thiserror::Error)]
pub enum LenderError {
    /// The caller gave up, or had no time left.
    #[error("{0} while files were being borrowed")]
    Stopped(#[from] context::Stopped),
    /// The connection is of no use any more.
    #[error(transparent)]
    Broken(#[from] Broken),
}

impl From<Failure> for LenderError {
    fn from(failure: Failure) -> Self {
        match failure.into_broken() {
            Err(why) => Self::Stopped(why),
            Ok(why) => Self::Broken(why),
        }
    }
}

impl Lender {
    /// Connects and shakes hands.
    pub(super) fn open(
        path: &str,
        greeting: Greeting<'_>,
        trusted: &[u32],
        watch: &Watch<'_>,
    ) -> Result<Self, Failure> {
        let socket = shm::reach(path, watch)?;
        shm::check_peer(&socket, trusted)?;
        let (wire, reader, _) = greeting.shake(Way::Shm, Wire::over(socket), None, watch)?;
        Ok(Self {
            wire,
            reader,
            patience: watch.patience,
            id: 0,
            frame: Vec::new(),
        })
    }

    /// Asks for the files of a volume. After an error the connection is to be dropped.
    ///
    /// # Errors
    /// See [`LenderError`].
    pub fn borrow(&mut self, ctx: &Context<'_>, borrow: Borrow) -> Result<Borrowed, LenderError> {
        Ok(self.exchange(ctx, borrow)?)
    }

    fn exchange(&mut self, ctx: &Context<'_>, borrow: Borrow) -> Result<Borrowed, Failure> {
        let watch = Watch {
            ctx: *ctx,
            patience: self.patience,
        };
        self.id += 1;
        self.frame.clear();
        wire::encode(self.id, &Message::Borrow(borrow), &mut self.frame)?;
        self.wire.send(&[&self.frame], &watch)?;
        let mut files = Vec::new();
        loop {
            match self.reader.next()? {
                Next::Frame(frame) => match frame.message {
                    Message::Lent(lent) if frame.id == self.id => return lend(lent, files),
                    Message::Pong => {}
                    Message::Bye => return Err(Broken::Gone("it says goodbye".into()).into()),
                    Message::Refusal(refusal) => return Err(Broken::Refused(refusal.reason).into()),
                    _ => return Err(Halt::Malformed("a message is out of turn").into()),
                },
                Next::NeedMore => match self.receive(&mut files, &watch)? {
                    0 => return Err(Halt::Broken(io::ErrorKind::UnexpectedEof.into()).into()),
                    got => self.reader.filled(got),
                },
                Next::Data(_) => return Err(Halt::Malformed("it sends data unasked").into()),
            }
        }
    }

    /// Receives bytes, and the descriptors beside them.
    fn receive(&mut self, files: &mut Vec<OwnedFd>, watch: &Watch<'_>) -> Result<usize, Failure> {
        loop {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FILES))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(self.reader.space())];
            let flags = RecvFlags::CMSG_CLOEXEC;
            match recvmsg(self.wire.as_fd(), &mut parts, &mut beside, flags) {
                Ok(received) => {
                    for message in beside.drain() {
                        if let RecvAncillaryMessage::ScmRights(some) = message {
                            files.extend(some);
                        }
                    }
                    // What does not fit was closed by the kernel.
                    let is_cut = received.flags.contains(ReturnFlags::CTRUNC);
                    if is_cut || files.len() > FILES {
                        return Err(Halt::Malformed("it sends too many descriptors").into());
                    }
                    return Ok(received.bytes);
                }
                Err(Errno::AGAIN) => watch.ready(self.wire.as_fd(), PollFlags::IN)?,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Descriptors of an answer, at most.
const FILES: usize = 2;

fn lend(lent: Lent, files: Vec<OwnedFd>) -> Result<Borrowed, Failure> {
    let wrong = || Failure::from(Halt::Malformed("not as many descriptors as it says"));
    match lent {
        Lent::Files(terms) => {
            let files = files.try_into().map_err(|_| wrong())?;
            Ok(Borrowed::Files(files, terms))
        }
        other if files.is_empty() => Ok(Borrowed::Otherwise(other)),
        _ => Err(wrong()),
    }
}
