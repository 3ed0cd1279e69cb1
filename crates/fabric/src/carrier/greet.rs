//! The client's side of the handshake.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use seaweed::jwt::SigningKey;

use super::error::Failure;
use super::stream::StreamLane;
use crate::client::{Handshake, Reply};
use crate::http::wait::{Halt, Watch};
use crate::http::wire::Wire;
use crate::memory::Arena;
use crate::nonce::nonce;
use crate::wire::{self, FrameReader, Hello, Message, Next, Region, Welcome};

/// What every lane says at its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Greeting<'a> {
    pub(super) name: &'a str,
    pub(super) key: Option<&'a SigningKey>,
}

impl Greeting<'_> {
    /// Opens a lane over a fresh connection. An arena is offered to the server, which must be a
    /// unix socket's then.
    pub(super) fn exchange(
        self,
        carrier: &'static str,
        wire: Wire,
        arena: Option<&Arena>,
        watch: &Watch<'_>,
    ) -> Result<StreamLane, Failure> {
        let (wire, reader, limits) = self.shake(wire, arena, watch)?;
        let region = arena.map(|_| 0);
        Ok(StreamLane::new(carrier, wire, reader, region, limits))
    }

    /// Shakes hands; what comes next is read by the reader.
    pub(super) fn shake(
        self,
        mut wire: Wire,
        arena: Option<&Arena>,
        watch: &Watch<'_>,
    ) -> Result<(Wire, FrameReader, Welcome), Failure> {
        let nonce = nonce()?;
        let regions = arena.map(|arena| Region {
            len: arena.len() as u64,
            base: 0,
            key: 0,
        });
        let hello = Hello {
            nonce,
            name: self.name.to_owned(),
            regions: regions.into_iter().collect(),
        };
        let mut handshake = Handshake::new(hello, self.key.cloned());
        let mut frame = Vec::new();
        wire::encode(0, &handshake.hello(), &mut frame)?;
        let sent = match arena {
            None => 0,
            Some(arena) => send_with(&wire, &frame, arena, watch)?,
        };
        wire.send(&[&frame[sent..]], watch)?;
        let mut reader = FrameReader::new();
        loop {
            let message = receive(&mut wire, &mut reader, watch)?;
            match handshake.take(message).map_err(Failure::Broken)? {
                Reply::Send(message) => {
                    frame.clear();
                    wire::encode(0, &message, &mut frame)?;
                    wire.send(&[&frame], watch)?;
                }
                Reply::Open(limits) => return Ok((wire, reader, limits)),
            }
        }
    }
}

/// Sends the front of `bytes`, and with it the arena's descriptor.
fn send_with(
    wire: &Wire,
    bytes: &[u8],
    arena: &Arena,
    watch: &Watch<'_>,
) -> Result<usize, Failure> {
    let files = [arena.descriptor()];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !beside.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory).into());
        }
        let parts = [IoSlice::new(bytes)];
        match sendmsg(wire.as_fd(), &parts, &mut beside, SendFlags::NOSIGNAL) {
            Ok(sent) => return Ok(sent),
            Err(Errno::AGAIN) => watch.ready(wire.as_fd(), PollFlags::OUT)?,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Waits for the next message.
fn receive(
    wire: &mut Wire,
    reader: &mut FrameReader,
    watch: &Watch<'_>,
) -> Result<Message, Failure> {
    loop {
        match reader.next()? {
            Next::Frame(frame) => return Ok(frame.message),
            Next::NeedMore => match wire.recv(reader.space(), watch)? {
                0 => return Err(Halt::Broken(io::ErrorKind::UnexpectedEof.into()).into()),
                got => reader.filled(got),
            },
            Next::Data(_) => {
                return Err(Halt::Malformed("it sends data before the lane is open").into());
            }
        }
    }
}
