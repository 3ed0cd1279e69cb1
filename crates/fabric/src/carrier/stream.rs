//! A lane over a socket, be it TCP or unix.
//!
//! Answers come through the [`FrameReader`]. Data behind one goes into the memory that the inbox
//! has for it: what came along with the frame is copied, the rest is received straight to where it
//! belongs. A small read is one send and one receive.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::{Shutdown, shutdown, sockopt};

use crate::http::wire::Wire;
use crate::lane::{Answered, Broken, Inbox, Lane, Retiring};
use crate::wire::{
    self, Answer, Extent, Frame, FrameReader, INLINE, Item, Limits, Message, Next, Place, Status,
    WireError, Write, Written,
};

/// An open lane over a socket.
#[derive(Debug)]
pub(super) struct StreamLane {
    carrier: &'static str,
    wire: Wire,
    reader: FrameReader,
    region: Option<u16>,
    limits: Limits,
    /// Of the exchange in flight, or the last one.
    id: u64,
    /// Asked for and not yet answered, from `next` on.
    items: Vec<Item>,
    next: usize,
    /// The answer whose data is arriving.
    arriving: Option<Arriving>,
    /// The write in flight.
    writing: Option<Writing>,
    /// What the socket did not take yet, from `sent` on.
    out: Vec<u8>,
    sent: usize,
    opened: Instant,
}

#[derive(Debug)]
struct Writing {
    id: u64,
    /// Bytes of the body that are still to be sent.
    left: usize,
    /// Whether the server reads from our memory.
    is_read: bool,
    written: Option<Written>,
}

#[derive(Debug)]
struct Arriving {
    answered: Answered,
    got: usize,
}

impl StreamLane {
    /// A lane that was just opened.
    pub(super) fn new(
        carrier: &'static str,
        wire: Wire,
        reader: FrameReader,
        region: Option<u16>,
        limits: Limits,
    ) -> Self {
        Self {
            carrier,
            wire,
            reader,
            region,
            limits,
            id: 0,
            items: Vec::new(),
            next: 0,
            arriving: None,
            writing: None,
            out: Vec::new(),
            sent: 0,
            opened: Instant::now(),
        }
    }

    fn is_idle(&self) -> bool {
        self.next == self.items.len() && self.writing.is_none()
    }

    /// Sends what is waiting to be sent, as far as the socket takes it.
    fn flush(&mut self) -> Result<(), Broken> {
        while self.sent < self.out.len() {
            let rest = [IoSlice::new(&self.out[self.sent..])];
            match self.wire.try_send(&rest).map_err(gone)? {
                0 => return Ok(()),
                sent => self.sent += sent,
            }
        }
        self.out.clear();
        self.sent = 0;
        self.wire.try_flush().map_err(gone)?;
        Ok(())
    }

    /// Sends what is waiting and then `rest`, as far as the socket takes it; how many bytes of `rest`.
    fn push_both(&mut self, rest: &[u8]) -> io::Result<usize> {
        let mut pushed = 0;
        loop {
            let waiting = &self.out[self.sent..];
            if waiting.is_empty() && pushed == rest.len() {
                break;
            }
            let parts = [IoSlice::new(waiting), IoSlice::new(&rest[pushed..])];
            let sent = self.wire.try_send(&parts)?;
            if sent == 0 {
                return Ok(pushed);
            }
            let of_waiting = sent.min(waiting.len());
            self.sent += of_waiting;
            pushed += sent - of_waiting;
        }
        self.out.clear();
        self.sent = 0;
        self.wire.try_flush()?;
        Ok(pushed)
    }

    fn take(&mut self, frame: Frame, inbox: &mut dyn Inbox) -> Result<(), Broken> {
        match frame.message {
            Message::Answer(answer) => self.answer(frame.id, answer, inbox),
            Message::Written(written) => self.written(frame.id, written),
            Message::Ping => {
                wire::encode(frame.id, &Message::Pong, &mut self.out).map_err(nonsense)?;
                self.flush()
            }
            Message::Pong => Ok(()),
            Message::Bye => Err(Broken::Gone("it says goodbye".into())),
            Message::Refusal(refusal) => Err(Broken::Refused(refusal.reason)),
            _ => Err(Broken::Protocol("a message is out of turn".into())),
        }
    }

    fn written(&mut self, id: u64, written: Written) -> Result<(), Broken> {
        match &mut self.writing {
            // A server takes all of a write before it says anything.
            Some(writing) if writing.id == id && writing.left == 0 => {
                writing.written = Some(written);
                Ok(())
            }
            _ => Err(Broken::Protocol("an answer that nobody waits for".into())),
        }
    }

    /// What the server had to say before it closed the lane, or else the failure.
    fn last_words(&mut self, failure: Broken) -> Broken {
        match self.receive_all(&mut Nobody) {
            Err(refused @ Broken::Refused(_)) => refused,
            _ => failure,
        }
    }

    /// Takes what has arrived: frames, and the data behind them.
    fn receive_all(&mut self, inbox: &mut dyn Inbox) -> Result<(), Broken> {
        let was_idle = self.is_idle();
        let mut is_drained = false;
        loop {
            if let Some(arriving) = self.arriving.take()
                && !self.receive(arriving, inbox)?
            {
                return Ok(());
            }
            let is_written = self.writing.as_ref().is_some_and(|it| it.written.is_some());
            if is_written || (self.is_idle() && !was_idle) {
                return Ok(());
            }
            match self.reader.next().map_err(nonsense)? {
                Next::Frame(frame) => self.take(frame, inbox)?,
                Next::NeedMore if is_drained => return Ok(()),
                Next::NeedMore => {
                    let space = self.reader.space();
                    let room = space.len();
                    match self.wire.try_recv(space) {
                        Ok(0) => return Err(closed()),
                        Ok(got) => {
                            self.reader.filled(got);
                            is_drained = got < room && self.wire.is_drained_when_short();
                        }
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                        Err(error) => return Err(gone(error)),
                    }
                }
                Next::Data(_) => {
                    return Err(Broken::Protocol("data without an answer".into()));
                }
            }
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
        // SAFETY: the answer to this item, in this exchange, has just been received on this lane.
        // A server answers when it has written, and does not write when it sends inline.
        let answered = unsafe { Answered::new(answer, item.place) };
        match answered.data() {
            0 => self.done(&answered, inbox),
            _ => self.arriving = Some(Arriving { answered, got: 0 }),
        }
        Ok(())
    }

    /// Receives data; false when there is no more of it at the moment.
    fn receive(&mut self, mut arriving: Arriving, inbox: &mut dyn Inbox) -> Result<bool, Broken> {
        let len = arriving.answered.data();
        while arriving.got < len {
            let rest = arriving.got..len;
            let step = match inbox.memory(&arriving.answered) {
                Some(memory) => match memory.get_mut(rest) {
                    Some(dst) => self.receive_into(dst),
                    None => {
                        let words = "there is less memory for an answer than it is long";
                        Err(io::Error::new(io::ErrorKind::InvalidInput, words))
                    }
                },
                None => self.skip(rest.len()),
            };
            match step {
                Ok(0) => return Err(closed()),
                Ok(got) => arriving.got += got,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wire.expect(len - arriving.got);
                    self.arriving = Some(arriving);
                    return Ok(false);
                }
                Err(error) => return Err(gone(error)),
            }
        }
        self.done(&arriving.answered, inbox);
        Ok(true)
    }

    fn receive_into(&mut self, dst: &mut [u8]) -> io::Result<usize> {
        match self.reader.take_data(dst) {
            0 => {
                let got = self.wire.try_recv(dst)?;
                self.reader.received(got);
                Ok(got)
            }
            taken => Ok(taken),
        }
    }

    /// Receives up to `len` bytes that nobody wants.
    fn skip(&mut self, len: usize) -> io::Result<usize> {
        let mut unwanted = [0; 16 << 10];
        let some = len.min(unwanted.len());
        self.receive_into(&mut unwanted[..some])
    }

    fn done(&mut self, answered: &Answered, inbox: &mut dyn Inbox) {
        self.wire.expect(1);
        self.next += 1;
        inbox.done(answered);
    }
}

impl Lane for StreamLane {
    fn carrier(&self) -> &'static str {
        self.carrier
    }

    fn opened(&self) -> Instant {
        self.opened
    }

    fn wait_on(&self) -> (BorrowedFd<'_>, PollFlags) {
        let what = match self.out.is_empty() && self.wire.is_flushed() {
            true => PollFlags::IN,
            false => PollFlags::IN | PollFlags::OUT,
        };
        (self.wire.as_fd(), what)
    }

    fn region(&self) -> Option<u16> {
        self.region
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn start(&mut self, id: u64, items: &[Item]) -> Result<(), Broken> {
        let Limits {
            max_items,
            max_read,
        } = self.limits;
        let is_large = |item: &Item| u64::from(item.extent.room()) > max_read;
        if !self.is_idle() || items.len() > max_items.into() || items.iter().any(is_large) {
            let words = "a read beyond what the server takes at a time";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words).into());
        }
        wire::encode_read(id, items, &mut self.out).map_err(nonsense)?;
        self.id = id;
        self.items.clear();
        self.items.extend_from_slice(items);
        self.next = 0;
        self.flush()
    }

    fn advance(&mut self, inbox: &mut dyn Inbox) -> Result<bool, Broken> {
        self.flush()?;
        self.receive_all(inbox)?;
        Ok(self.is_idle())
    }

    fn takes_writes(&self) -> bool {
        true
    }

    fn start_write(&mut self, id: u64, write: &Write, body: &[u8]) -> Result<usize, Broken> {
        let is_large = u64::from(write.len) > self.limits.max_read;
        if !self.is_idle() || is_large || body.len() != write.data() {
            let words = "a write beyond what the server takes at a time";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, words).into());
        }
        wire::encode_write(id, write, &mut self.out).map_err(nonsense)?;
        self.writing = Some(Writing {
            id,
            left: body.len(),
            is_read: matches!(write.place, Place::Region { .. }),
            written: None,
        });
        self.push(body)
    }

    fn push(&mut self, rest: &[u8]) -> Result<usize, Broken> {
        let pushed = self.push_both(rest).map_err(gone);
        let pushed = pushed.map_err(|broken| self.last_words(broken))?;
        if let Some(writing) = &mut self.writing {
            debug_assert_eq!(writing.left, rest.len(), "it is not the rest");
            writing.left = writing.left.saturating_sub(pushed);
        }
        Ok(pushed)
    }

    fn advance_write(&mut self) -> Result<Option<Written>, Broken> {
        let flushed = self.flush();
        flushed.map_err(|broken| self.last_words(broken))?;
        self.receive_all(&mut Nobody)?;
        match &mut self.writing {
            Some(writing) if writing.written.is_some() => {
                let written = writing.written.take();
                self.writing = None;
                Ok(written)
            }
            _ => Ok(None),
        }
    }

    fn close(mut self: Box<Self>) -> Option<Retiring> {
        let open = &self.items[self.next..];
        let is_user = open
            .iter()
            .any(|item| matches!(item.place, Place::Region { .. }))
            || self.writing.as_ref().is_some_and(|it| it.is_read);
        // A courtesy: the end of the stream says the same. Amid a body it would be taken for more of it.
        let is_between = self.writing.as_ref().is_none_or(|it| it.left == 0);
        if is_between
            && self.out.is_empty()
            && wire::encode(0, &Message::Bye, &mut self.out).is_ok()
        {
            let _ = self.flush();
        }
        if !is_user {
            if self.writing.is_some() {
                // What the server has not got yet it need not get: the connection is reset.
                let _ = sockopt::set_socket_linger(self.wire.as_fd(), Some(Duration::ZERO));
            }
            return None;
        }
        let socket = self.wire.into_socket();
        let _ = shutdown(&socket, Shutdown::Write);
        // SAFETY: only our sending half was shut down, so a hang-up is told when the server has
        // closed its end. It does so when it has done with the exchange, or the kernel does it
        // when the last of its threads is gone; until then one of them may be writing. That
        // answers may be left unread is no sign: it is the hang-up alone that is waited for.
        Some(unsafe { Retiring::new(socket, PollFlags::empty()) })
    }
}

/// Expects no answer.
pub(super) struct Nobody;

impl Inbox for Nobody {
    fn memory(&mut self, _: &Answered) -> Option<&mut [u8]> {
        None
    }

    fn done(&mut self, _: &Answered) {}
}

/// Whether an answer is one that this item can have.
pub(super) fn check(answer: &Answer, item: &Item) -> Result<(), &'static str> {
    if answer.status != Status::Done {
        return match answer.len {
            0 => Ok(()),
            _ => Err("an answer without bytes that has some"),
        };
    }
    let fits = match item.extent {
        Extent::Whole { room } => answer.len <= room && answer.stored == u64::from(answer.len),
        Extent::Range { offset, len } => {
            let end = offset.checked_add(len.into());
            answer.len == len && end.is_some_and(|end| end <= answer.stored)
        }
    };
    if !fits {
        return Err("an answer with other bytes than were asked for");
    }
    match (item.place, answer.is_inline) {
        (Place::Inline, false) => Err("bytes that were to be inline and are not"),
        (Place::Region { .. }, true) if u64::from(answer.len) > INLINE => {
            Err("more bytes inline than belong there")
        }
        _ => Ok(()),
    }
}

fn gone(error: io::Error) -> Broken {
    match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::TimedOut => Broken::Gone(error.to_string()),
        _ => Broken::Io(error),
    }
}

fn closed() -> Broken {
    Broken::Gone("it has closed the connection".into())
}

fn nonsense(error: WireError) -> Broken {
    Broken::Protocol(error.to_string())
}
