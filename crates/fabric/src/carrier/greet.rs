//! The client's side of the handshake.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::rand::{GetRandomFlags, getrandom};
use seaweed::jwt::SigningKey;

use super::error::Failure;
use super::stream::StreamLane;
use crate::http::wait::{Halt, Watch};
use crate::http::wire::Wire;
use crate::lane::Broken;
use crate::memory::Arena;
use crate::wire::{self, FrameReader, Hello, Message, Next, Proof, Region};

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
        mut wire: Wire,
        arena: Option<&Arena>,
        watch: &Watch<'_>,
    ) -> Result<StreamLane, Failure> {
        let nonce = nonce()?;
        let regions = arena.map(|arena| Region {
            len: arena.len() as u64,
            base: 0,
            key: 0,
        });
        let hello = Message::Hello(Hello {
            nonce,
            name: self.name.to_owned(),
            regions: regions.into_iter().collect(),
        });
        let mut frame = Vec::new();
        wire::encode(0, &hello, &mut frame)?;
        match arena {
            None => wire.send(&frame, watch)?,
            Some(arena) => {
                let sent = send_with(&wire, &frame, arena, watch)?;
                wire.send(&frame[sent..], watch)?;
            }
        }
        let mut reader = FrameReader::new();
        let challenge = match receive(&mut wire, &mut reader, watch)? {
            Message::Challenge(challenge) => challenge,
            other => return Err(unexpected(other)),
        };
        if challenge.wants_proof && self.key.is_none() {
            let words = "it wants proof of the read key, and none is configured here";
            return Err(Failure::Broken(Broken::Refused(words.into())));
        }
        let key = self.key.filter(|_| challenge.wants_proof);
        let proof = Message::Proof(Proof::new(key, &nonce, &challenge.nonce));
        frame.clear();
        wire::encode(0, &proof, &mut frame)?;
        wire.send(&frame, watch)?;
        match receive(&mut wire, &mut reader, watch)? {
            Message::Welcome(limits) => Ok(StreamLane::new(
                carrier,
                wire,
                reader,
                arena.map(|_| 0),
                limits,
            )),
            other => Err(unexpected(other)),
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

fn unexpected(message: Message) -> Failure {
    Failure::Broken(match message {
        Message::Refusal(refusal) => Broken::Refused(refusal.reason),
        _ => Broken::Protocol("its handshake is out of turn".into()),
    })
}

pub(super) fn nonce() -> Result<[u8; 16], Failure> {
    let mut nonce = [0; 16];
    let mut filled = 0;
    while filled < nonce.len() {
        match getrandom(&mut nonce[filled..], GetRandomFlags::empty()) {
            Ok(more) => filled += more,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(nonce)
}
