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
use crate::wire::{self, FrameReader, Hello, Limits, Memory, Message, Next, Region, Way};

/// What every lane says at its start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Greeting<'a> {
    pub(super) name: &'a str,
    pub(super) key: Option<&'a SigningKey>,
}

impl Greeting<'_> {
    /// A handshake, with a nonce of its own; `offers` tells whether memory will be told.
    pub(super) fn begin(self, way: Way, offers: bool) -> io::Result<Handshake> {
        let hello = Hello {
            nonce: nonce()?,
            offers,
            name: self.name.to_owned(),
        };
        Ok(Handshake::new(hello, self.key.cloned(), way))
    }

    /// Opens a lane over a fresh connection. An arena is offered to the server, which must be a
    /// unix socket's then, once it has proved itself.
    pub(super) fn exchange(
        self,
        way: Way,
        wire: Wire,
        arena: Option<&Arena>,
        watch: &Watch<'_>,
    ) -> Result<StreamLane, Failure> {
        let (wire, reader, limits) = self.shake(way, wire, arena, watch)?;
        let carrier = match way {
            Way::Shm => "shm",
            _ => "tcp",
        };
        let region = arena.map(|_| 0);
        Ok(StreamLane::new(carrier, wire, reader, region, limits))
    }

    /// Shakes hands; what comes next is read by the reader.
    pub(super) fn shake(
        self,
        way: Way,
        mut wire: Wire,
        arena: Option<&Arena>,
        watch: &Watch<'_>,
    ) -> Result<(Wire, FrameReader, Limits), Failure> {
        let mut handshake = self.begin(way, arena.is_some())?;
        let mut frame = Vec::new();
        wire::encode(0, &handshake.hello(), &mut frame)?;
        wire.send(&[&frame], watch)?;
        let mut reader = FrameReader::new();
        loop {
            let message = receive(&mut wire, &mut reader, watch)?;
            frame.clear();
            let sent = match (handshake.take(message)?, arena) {
                (Reply::Open(limits), _) => return Ok((wire, reader, limits)),
                (Reply::Send(message), _) => {
                    wire::encode(0, &message, &mut frame)?;
                    0
                }
                (Reply::Offer, Some(arena)) => {
                    let region = Region {
                        len: arena.len() as u64,
                        base: 0,
                        key: 0,
                    };
                    wire::encode(0, &memory(region), &mut frame)?;
                    send_with(&wire, &frame, arena, watch)?
                }
                (Reply::Offer, None) => return Err(nothing_to_offer()),
            };
            wire.send(&[&frame[sent..]], watch)?;
        }
    }
}

pub(super) fn memory(region: Region) -> Message {
    Message::Memory(Memory {
        regions: vec![region],
    })
}

/// Never: the Hello says whether there is memory.
pub(super) fn nothing_to_offer() -> Failure {
    io::Error::other("there is no memory to offer").into()
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
