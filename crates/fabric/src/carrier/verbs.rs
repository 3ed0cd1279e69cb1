//! A lane over RDMA verbs.
//!
//! Owned by the thread that reads or writes, like every lane: it posts the request, sleeps in poll(2) on the
//! queue pair's two descriptors (completions, and the end of the connection), which an epoll
//! instance joins to one, and takes what has completed itself. The arena is registered once
//! for each device ([`pins`]) and offered to servers that have proved themselves; `crate::rdma` tells how
//! frames travel.
//!
//! # Trust
//! A server is told the key of all of the arena when it has accepted our proof and has proved that it holds the
//! cluster's read key, for the address that we connected to: to write there, and, where this end wants to send
//! writes, to read. Where the cluster has no read key, whoever the filer, or the administrator, names as a
//! sidecar is trusted with the arena, and with nothing else. RDMA packets are neither encrypted nor signed, so
//! that whoever can read or forge them on the way has the key as well. The network of the rails has to be
//! one's own.

mod pins;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::PollFlags;
use rustix::event::epoll::{self, EventData, EventFlags};
use verbs::{Connecting, Connection, Event, Lost, Progress};

pub(super) use self::pins::Pins;
use super::error::Failure;
use super::greet::{Greeting, memory, nothing_to_offer};
use super::stream::{Nobody, check};
use crate::client::Reply;
use crate::http::wait::{Halt, Watch};
use crate::lane::{Answered, Broken, Inbox, Lane, Retiring};
use crate::rdma;
use crate::wire::{
    self, Answer, Frame, FrameReader, INLINE, Item, Limits, Message, Next, Place, Way, WireError,
    Write, Written,
};

/// Connects and shakes hands; the server may write to the arena of `pins`. Gives the name of the
/// device that leads there as well.
pub(super) fn open(
    address: SocketAddr,
    greeting: Greeting<'_>,
    pins: Option<&Pins>,
    watch: &Watch<'_>,
) -> Result<(VerbsLane, &'static str), Failure> {
    let connection = connect(address, watch)?;
    let domain = connection.domain();
    let region = match pins {
        Some(pins) => Some(pins.region(domain, watch)?),
        None => None,
    };
    let mut lane = VerbsLane::new(connection, region.map(|_| 0))?;
    lane.takes_writes = pins.is_some_and(Pins::can_be_read);
    let mut handshake = greeting.begin(Way::Rdma(address), region.is_some())?;
    lane.send(0, &handshake.hello())?;
    loop {
        match (handshake.take(lane.hear(watch)?)?, region) {
            (Reply::Send(message), _) => lane.send(0, &message)?,
            (Reply::Offer, Some(region)) => lane.send(0, &memory(region))?,
            (Reply::Offer, None) => return Err(nothing_to_offer()),
            (Reply::Open(limits), _) => {
                lane.limits = limits;
                return Ok((lane, domain.name()));
            }
        }
    }
}

fn connect(address: SocketAddr, watch: &Watch<'_>) -> Result<Connection, Failure> {
    let timeout = watch.patience.min(watch.ctx.remaining());
    let mut connecting =
        Connecting::start(address, &rdma::client(), timeout, &[]).map_err(unreached)?;
    loop {
        connecting = match connecting.advance(Instant::now()).map_err(unreached)? {
            Progress::Connected(connection) => return Ok(connection),
            Progress::Waiting(connecting) => connecting,
        };
        watch.ready(connecting.fd(), PollFlags::IN)?;
    }
}

/// An open lane over a queue pair.
pub(super) struct VerbsLane {
    connection: Connection,
    /// Watches both descriptors of the connection.
    both: OwnedFd,
    events: Vec<Event>,
    lost: Option<Lost>,
    reader: FrameReader,
    out: Vec<u8>,
    region: Option<u16>,
    limits: Limits,
    /// Of the exchange in flight, or the last one.
    id: u64,
    /// Asked for and not yet answered, from `next` on.
    items: Vec<Item>,
    next: usize,
    /// Whether the server may read our memory.
    takes_writes: bool,
    /// The write in flight.
    writing: Option<Writing>,
    opened: Instant,
}

struct Writing {
    id: u64,
    /// Whether the server reads from our memory.
    is_read: bool,
    written: Option<Written>,
}

impl VerbsLane {
    fn new(connection: Connection, region: Option<u16>) -> io::Result<Self> {
        let both = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for fd in connection.fds() {
            epoll::add(&both, fd, EventData::new_u64(0), EventFlags::IN)?;
        }
        Ok(Self {
            connection,
            both,
            events: Vec::new(),
            lost: None,
            reader: FrameReader::new(),
            out: Vec::new(),
            region,
            limits: Limits {
                max_items: 1,
                max_read: 0,
            },
            id: 0,
            items: Vec::new(),
            next: 0,
            takes_writes: false,
            writing: None,
            opened: Instant::now(),
        })
    }

    fn is_idle(&self) -> bool {
        self.next == self.items.len() && self.writing.is_none()
    }

    fn send(&mut self, id: u64, message: &Message) -> Result<(), Broken> {
        self.out.clear();
        wire::encode(id, message, &mut self.out).map_err(nonsense)?;
        self.post()
    }

    fn post(&mut self) -> Result<(), Broken> {
        self.connection.post_send(&self.out).map_err(gone)?;
        Ok(())
    }

    /// The next message of a handshake.
    fn hear(&mut self, watch: &Watch<'_>) -> Result<Message, Failure> {
        loop {
            let mut events = std::mem::take(&mut self.events);
            self.connection.poll(&mut events);
            let mut heard = None;
            for event in events.drain(..) {
                match event {
                    // A server says nothing unasked before the lane is open.
                    Event::Received { bytes } if heard.is_none() => {
                        self.fill(&bytes)?;
                        heard = Some(self.frame()?);
                    }
                    Event::Received { .. } => {
                        return Err(Halt::Malformed("its handshake is out of turn").into());
                    }
                    Event::Disconnected { why } => self.lost = Some(why),
                    _ => {}
                }
            }
            self.events = events;
            match (heard, self.lost) {
                (Some(Some(frame)), _) => return Ok(frame.message),
                (Some(None), _) => return Err(torn().into()),
                (None, Some(why)) => return Err(Broken::Gone(why.to_string()).into()),
                (None, None) => watch.ready(self.both.as_fd(), PollFlags::IN)?,
            }
        }
    }

    fn fill(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let space = self.reader.space().get_mut(..bytes.len());
        space.ok_or_else(torn)?.copy_from_slice(bytes);
        self.reader.filled(bytes.len());
        Ok(())
    }

    /// The next frame of the message that was filled in.
    fn frame(&mut self) -> Result<Option<Frame>, Broken> {
        match self.reader.next().map_err(nonsense)? {
            Next::Frame(frame) => Ok(Some(frame)),
            Next::NeedMore => Ok(None),
            Next::Data(_) => Err(torn()),
        }
    }

    /// A message has come.
    fn take(&mut self, bytes: &[u8], inbox: &mut dyn Inbox) -> Result<(), Broken> {
        self.fill(bytes)?;
        while let Some(Frame { id, message }) = self.frame()? {
            match message {
                Message::Answer(answer) => self.answer(id, answer, inbox)?,
                Message::Written(written) => match &mut self.writing {
                    Some(writing) if writing.id == id => writing.written = Some(written),
                    _ => {
                        let words = "an answer that nobody waits for";
                        return Err(Broken::Protocol(words.into()));
                    }
                },
                Message::Ping => self.send(id, &Message::Pong)?,
                Message::Pong => {}
                Message::Bye => return Err(Broken::Gone("it says goodbye".into())),
                Message::Refusal(refusal) => return Err(Broken::Refused(refusal.reason)),
                _ => return Err(Broken::Protocol("a message is out of turn".into())),
            }
        }
        match self.reader.is_idle() {
            true => Ok(()),
            false => Err(torn()),
        }
    }

    fn answer(&mut self, id: u64, answer: Answer, inbox: &mut dyn Inbox) -> Result<(), Broken> {
        let Some(item) = self.items.get(self.next).filter(|_| id == self.id) else {
            return Err(Broken::Protocol("an answer that nobody waits for".into()));
        };
        if usize::from(answer.item) != self.next {
            return Err(Broken::Protocol("an answer is out of turn".into()));
        }
        check(&answer, item).map_err(|what| Broken::Protocol(what.into()))?;
        // SAFETY: the answer to this item, in this exchange, has just been received on this queue
        // pair, which delivers it after all that the server wrote before. A server answers when it
        // has posted the last write for the item, and does not write when it sends inline.
        let answered = unsafe { Answered::new(answer, item.place) };
        let len = answered.data();
        let mut got = 0;
        while got < len {
            let taken = match inbox.memory(&answered) {
                None => self.skip(len - got),
                Some(memory) => match memory.get_mut(got..len) {
                    Some(dst) => self.reader.take_data(dst),
                    None => {
                        let words = "there is less memory for an answer than it is long";
                        return Err(io::Error::new(io::ErrorKind::InvalidInput, words).into());
                    }
                },
            };
            if taken == 0 {
                return Err(torn());
            }
            got += taken;
        }
        self.next += 1;
        inbox.done(&answered);
        Ok(())
    }

    fn skip(&mut self, len: usize) -> usize {
        let mut unwanted = [0; rdma::MESSAGE as usize];
        let some = len.min(unwanted.len());
        self.reader.take_data(&mut unwanted[..some])
    }

    /// Takes what has completed; whether there was anything.
    fn turn(&mut self, inbox: &mut dyn Inbox) -> Result<bool, Broken> {
        let mut events = std::mem::take(&mut self.events);
        self.connection.poll(&mut events);
        let is_some = !events.is_empty();
        let mut taken = Ok(());
        for event in events.drain(..) {
            match event {
                Event::Received { bytes } if taken.is_ok() => taken = self.take(&bytes, inbox),
                Event::Disconnected { why } => self.lost = Some(why),
                // What failed is followed by the end.
                _ => {}
            }
        }
        self.events = events;
        taken.map(|()| is_some)
    }
}

impl Lane for VerbsLane {
    fn carrier(&self) -> &'static str {
        "rdma"
    }

    fn opened(&self) -> Instant {
        self.opened
    }

    fn wait_on(&self) -> (BorrowedFd<'_>, PollFlags) {
        (self.both.as_fd(), PollFlags::IN)
    }

    fn has_come(&mut self) -> bool {
        // What is taken here waits for the next turn, which sees that the peer has closed. That the
        // request was sent completes as well, and is nothing to wait for.
        self.connection.spin(&mut self.events);
        let is_news =
            |event: &Event| matches!(event, Event::Received { .. } | Event::Disconnected { .. });
        self.events.iter().any(is_news)
    }

    fn region(&self) -> Option<u16> {
        self.region
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn most_inline(&self) -> u64 {
        INLINE
    }

    fn start(&mut self, id: u64, items: &[Item]) -> Result<(), Broken> {
        let Limits {
            max_items,
            max_read,
        } = self.limits;
        let is_large = |item: &Item| {
            let most = match item.place {
                Place::Inline => INLINE.min(max_read),
                Place::Region { .. } => max_read,
            };
            u64::from(item.extent.room()) > most
        };
        if !self.is_idle() || items.len() > max_items.into() || items.iter().any(is_large) {
            let words = "a read beyond what the server takes at a time";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words).into());
        }
        self.out.clear();
        wire::encode_read(id, items, &mut self.out).map_err(nonsense)?;
        self.id = id;
        self.items.clear();
        self.items.extend_from_slice(items);
        self.next = 0;
        self.post()
    }

    fn advance(&mut self, inbox: &mut dyn Inbox) -> Result<bool, Broken> {
        let was_idle = self.is_idle();
        loop {
            let is_some = self.turn(inbox)?;
            if !was_idle && self.is_idle() {
                return Ok(true);
            }
            if let Some(why) = self.lost {
                return Err(Broken::Gone(why.to_string()));
            }
            if !is_some {
                return Ok(self.is_idle());
            }
        }
    }

    fn takes_writes(&self) -> bool {
        self.takes_writes
    }

    fn fits_inline(&self, write: &Write) -> bool {
        let len = write.len as usize;
        len as u64 <= INLINE && write.frame_len() + len <= rdma::MESSAGE as usize
    }

    fn start_write(&mut self, id: u64, write: &Write, body: &[u8]) -> Result<usize, Broken> {
        let fits = match write.place {
            Place::Inline => body.len() == write.len as usize && self.fits_inline(write),
            Place::Region { .. } => {
                self.takes_writes && body.is_empty() && u64::from(write.len) <= self.limits.max_read
            }
        };
        if !self.is_idle() || !fits {
            let words = "a write beyond what the server takes at a time";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words).into());
        }
        self.out.clear();
        wire::encode_write(id, write, &mut self.out).map_err(nonsense)?;
        self.out.extend_from_slice(body);
        self.writing = Some(Writing {
            id,
            is_read: matches!(write.place, Place::Region { .. }),
            written: None,
        });
        self.post()?;
        Ok(body.len())
    }

    fn advance_write(&mut self) -> Result<Option<Written>, Broken> {
        while self.turn(&mut Nobody)? {}
        let is_written = |writing: &mut Writing| writing.written.is_some();
        if let Some(writing) = self.writing.take_if(is_written) {
            return Ok(writing.written);
        }
        match self.lost {
            Some(why) => Err(Broken::Gone(why.to_string())),
            None => Ok(None),
        }
    }

    fn close(self: Box<Self>) -> Option<Retiring> {
        let open = &self.items[self.next..];
        let is_user = open
            .iter()
            .any(|item| matches!(item.place, Place::Region { .. }))
            || self.writing.as_ref().is_some_and(|it| it.is_read);
        match self.connection.revoke() {
            Ok(()) => None,
            Err(error) if is_user => {
                tracing::error!(%error, "memory offered over RDMA is never used again");
                for fd in self.connection.fds() {
                    let _ = epoll::delete(&self.both, fd);
                }
                // SAFETY: an epoll instance that watches nothing, and whose descriptors are closed
                // when the connection is dropped here, never has anything to tell.
                Some(unsafe { Retiring::new(self.both, PollFlags::IN) })
            }
            Err(_) => None,
        }
    }
}

impl std::fmt::Debug for VerbsLane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VerbsLane")
            .field("peer", &self.connection.peer())
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

fn unreached(error: verbs::Error) -> Failure {
    Failure::Broken(Broken::Gone(error.to_string()))
}

fn gone(error: verbs::Error) -> Broken {
    Broken::Gone(error.to_string())
}

fn torn() -> Broken {
    Broken::Protocol("a message is not a whole frame".into())
}

fn nonsense(error: WireError) -> Broken {
    Broken::Protocol(error.to_string())
}
