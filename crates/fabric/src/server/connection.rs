//! A connection: a lane, or one that is to become a lane.
//!
//! Whoever wakes it while nobody owns it owns it, and drives it until nothing is left to do. A wake
//! that comes meanwhile is counted, and has the owner look once more. The sockets are watched
//! edge-triggered, so that an exchange costs no call to epoll but the one that waits.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown, recvmsg, shutdown,
};

use super::exchange::{Exchange, Progress};
use super::outlet::{Bench, Outlet, Sender};
use super::rdma;
use super::regions::Mapped;
use super::serve_item::{PIECE, Torn};
use super::session::{Effect, End, Session};
use super::shared::{FIRST_CONNECTION, Shared};
use crate::http::wire::Wire;
use crate::rdma::ITEMS;
use crate::serve::Shelf;
use crate::wire::{
    self, Answer, Frame, FrameReader, INLINE, Item, MAX_REGIONS, Message, Next, Place, Status,
    WireError,
};

/// How long the last word of a server may take to be sent.
const FAREWELL: Duration = Duration::from_secs(1);
/// What every connection is watched for.
pub(super) const WATCHED: EventFlags = EventFlags::IN
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);
/// Bytes that a lane delivers before others have their turn: some milliseconds.
const TURN: u64 = 4 << 20;
/// What a client that is refused may have sent already, which would make TCP forget the refusal.
const UNREAD: usize = 64 << 10;

/// A connection, shared by whoever may have to wake it.
pub(super) struct Connection<S: Shelf> {
    pub(super) number: u64,
    /// Not 0 while somebody owns it.
    wakes: AtomicU32,
    is_hung_up: AtomicBool,
    is_evicted: AtomicBool,
    is_open: AtomicBool,
    /// A moment by which something must have happened; 0 if nothing has to.
    deadline: AtomicU64,
    lane: Mutex<Lane<S>>,
}

/// What belongs to the owner.
struct Lane<S: Shelf> {
    carrier: &'static str,
    link: Link,
    session: Session,
    /// Descriptors that came with the Hello.
    files: Vec<OwnedFd>,
    regions: Vec<Arc<Mapped>>,
    serving: Option<Serving<S>>,
    watched: EventFlags,
    /// All is said, and must only be sent before it is closed.
    is_leaving: bool,
}

/// The way to the client.
pub(super) enum Link {
    Socket { sender: Sender, reader: FrameReader },
    Rdma(Box<rdma::Link>),
}

struct Serving<S: Shelf> {
    id: u64,
    exchange: Exchange<S::Needle>,
    bytes: u64,
    since: Instant,
}

/// What the owner does next.
enum Step {
    /// Lets go; a wake brings it back.
    Rest,
    /// Hands over to a thread that may wait for a disk.
    Disk,
    /// Closes.
    Over,
}

/// The socket, the peer or the disk ended it, for a reason that concerns only the log.
struct Fault(String);

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

/// Something has happened to `connection`.
pub(super) fn wake<S: Shelf>(
    shared: &Shared<S>,
    connection: &Arc<Connection<S>>,
    bench: &mut Bench,
) {
    if connection.wakes.fetch_add(1, Ordering::AcqRel) == 0 {
        drive(shared, connection, bench);
    }
}

/// Drives a connection as its owner.
pub(super) fn drive<S: Shelf>(
    shared: &Shared<S>,
    connection: &Arc<Connection<S>>,
    bench: &mut Bench,
) {
    loop {
        let seen = connection.wakes.load(Ordering::Acquire);
        bench.staging.clear();
        let step = {
            let mut lane = connection.lane.lock();
            // A panic in the shelf costs this lane, not the thread that serves all others.
            let step = catch_unwind(AssertUnwindSafe(|| lane.step(connection, shared, bench)));
            let step = step.unwrap_or_else(|_| Err(Fault("the server failed".into())));
            let step = step.unwrap_or_else(|Fault(error)| {
                shared.stats.ended.inc();
                let client = lane.session.name();
                tracing::debug!(client, error, "a lane ends");
                Step::Over
            });
            if let Step::Over = step {
                lane.end(connection, shared);
            }
            step
        };
        match step {
            // It stays owned, so that nobody else drives it.
            Step::Disk => return shared.disk.push(connection.clone()),
            Step::Over => return shared.table.remove(connection.number),
            Step::Rest => {}
        }
        let rest = connection
            .wakes
            .compare_exchange(seen, 0, Ordering::AcqRel, Ordering::Acquire);
        if rest.is_ok() {
            return;
        }
    }
}

impl<S: Shelf> Connection<S> {
    /// A connection that was just accepted.
    pub(super) fn new(
        shared: &Shared<S>,
        carrier: &'static str,
        link: Link,
        nonce: [u8; 16],
    ) -> Self {
        let now = Instant::now();
        let mut terms = shared.terms.clone();
        if let Link::Rdma(_) = link {
            terms.max_items = ITEMS;
            terms.max_inline = INLINE;
        }
        let session = Session::new(terms, nonce, now);
        let deadline = session.deadline().map_or(0, |at| shared.moment(at));
        Self {
            number: NEXT.fetch_add(1, Ordering::Relaxed),
            wakes: AtomicU32::new(0),
            is_hung_up: AtomicBool::new(false),
            is_evicted: AtomicBool::new(false),
            is_open: AtomicBool::new(false),
            deadline: AtomicU64::new(deadline),
            lane: Mutex::new(Lane {
                carrier,
                link,
                session,
                files: Vec::new(),
                regions: Vec::new(),
                serving: None,
                watched: EventFlags::empty(),
                is_leaving: false,
            }),
        }
    }

    /// Has epoll watch it.
    pub(super) fn watch(&self, shared: &Shared<S>, what: EventFlags) -> io::Result<()> {
        let mut lane = self.lane.lock();
        lane.watched = what;
        let data = EventData::new_u64(self.number);
        match &lane.link {
            Link::Socket { sender, .. } => {
                epoll::add(&shared.epoll, sender.wire.as_fd(), data, what)?;
            }
            Link::Rdma(link) => {
                for fd in link.fds() {
                    epoll::add(&shared.epoll, fd, data, EventFlags::IN | EventFlags::ET)?;
                }
            }
        }
        Ok(())
    }

    /// The peer sends no more.
    pub(super) fn hang_up(&self) {
        self.is_hung_up.store(true, Ordering::Release);
    }

    /// It has to make room.
    pub(super) fn evict(&self) {
        self.is_evicted.store(true, Ordering::Release);
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.is_evicted.load(Ordering::Acquire)
    }

    pub(super) fn is_open(&self) -> bool {
        self.is_open.load(Ordering::Acquire)
    }

    pub(super) fn has_deadline(&self) -> bool {
        self.deadline.load(Ordering::Relaxed) != 0
    }

    pub(super) fn is_late(&self, now: u64) -> bool {
        let deadline = self.deadline.load(Ordering::Relaxed);
        deadline != 0 && deadline <= now
    }
}

static NEXT: AtomicU64 = AtomicU64::new(FIRST_CONNECTION);

impl<S: Shelf> Lane<S> {
    /// Does what there is to do.
    fn step(
        &mut self,
        connection: &Connection<S>,
        shared: &Shared<S>,
        bench: &mut Bench,
    ) -> Result<Step, Fault> {
        if self.is_leaving {
            return self.leave(connection, shared);
        }
        if connection.is_evicted() {
            let effect = self.session.refuse("too many others open lanes just now");
            return self.apply(effect, connection, shared, bench);
        }
        if connection.has_deadline() && connection.is_late(shared.moment(Instant::now())) {
            if self.link.is_blocked() && !self.link.flush()? {
                return Err(Fault("the client does not take its answers".into()));
            }
            let effect = self.session.tick(Instant::now());
            if let Step::Over = self.apply(effect, connection, shared, bench)? {
                return Ok(Step::Over);
            }
        }
        let mut is_drained = false;
        loop {
            if self.is_leaving {
                return self.leave(connection, shared);
            }
            if self.link.is_blocked() {
                let took = self.link.flush()?;
                if self.link.is_blocked() {
                    return self.rest_blocked(took, connection, shared);
                }
                connection
                    .deadline
                    .store(self.deadline(shared), Ordering::Relaxed);
            }
            if self.serving.is_some() {
                match self.serve(shared, bench)? {
                    Progress::Done => {}
                    Progress::Disk => return Ok(Step::Disk),
                    Progress::Paused if self.link.is_blocked() => continue,
                    Progress::Paused if let Link::Rdma(link) = &mut self.link => {
                        let is_some = link.poll()?;
                        match (link.is_lost(), is_some) {
                            (true, _) => return Err(Fault("the client is gone".into())),
                            (false, true) => continue,
                            // A completion brings it back.
                            (false, false) => return Ok(Step::Rest),
                        }
                    }
                    Progress::Paused => {
                        // It can be written to, so epoll brings it back at once, behind others.
                        self.watch(connection, shared, WATCHED | EventFlags::OUT)?;
                        return Ok(Step::Rest);
                    }
                }
                continue;
            }
            if shared.stopping.load(Ordering::Acquire) {
                return self.say_goodbye(connection, shared, bench);
            }
            let effect = match self.link.next() {
                Ok(Next::Frame(frame)) => self.session.take(frame),
                Ok(Next::NeedMore) if is_drained => {
                    if connection.is_hung_up.load(Ordering::Acquire) {
                        return Ok(Step::Over);
                    }
                    if self.watched != WATCHED {
                        self.watch(connection, shared, WATCHED)?;
                    }
                    return Ok(Step::Rest);
                }
                Ok(Next::NeedMore) => match self.receive()? {
                    Received::Some { is_all } => {
                        is_drained = is_all;
                        continue;
                    }
                    Received::None => {
                        is_drained = true;
                        continue;
                    }
                    Received::End => return Ok(Step::Over),
                },
                Ok(Next::Data(_)) => return Err(Fault("a client sends data".into())),
                Err(error) => self.session.nonsense(&error),
            };
            if let Step::Over = self.apply(effect, connection, shared, bench)? {
                return Ok(Step::Over);
            }
        }
    }

    /// Does as the session says: goes on with `Rest`.
    fn apply(
        &mut self,
        effect: Effect,
        connection: &Connection<S>,
        shared: &Shared<S>,
        bench: &mut Bench,
    ) -> Result<Step, Fault> {
        match effect {
            Effect::Nothing => Ok(Step::Rest),
            Effect::Send(frame) => {
                self.send(&frame, bench)?;
                Ok(Step::Rest)
            }
            Effect::Admit => {
                let effect = match self.admit(connection, shared) {
                    Ok(()) => self.session.admit(),
                    Err(reason) => self.session.refuse(reason),
                };
                self.apply(effect, connection, shared, bench)
            }
            Effect::Serve { id, items } => {
                self.begin(id, items, shared, bench)?;
                Ok(Step::Rest)
            }
            Effect::Close(frame, end) => {
                if let Some(frame) = frame {
                    // Whether or not it arrives, this is the end.
                    let _ = self.send(&frame, bench);
                }
                self.is_leaving = true;
                if end != End::Bye {
                    let client = self.session.name();
                    tracing::debug!(client, carrier = self.carrier, %end, "a client is sent away");
                    if connection.is_open() {
                        shared.stats.ended.inc();
                    }
                }
                self.leave(connection, shared)
            }
        }
    }

    /// Makes the client's memory usable and counts the lane.
    fn admit(&mut self, connection: &Connection<S>, shared: &Shared<S>) -> Result<(), String> {
        let files = std::mem::take(&mut self.files);
        let regions = match self.carrier {
            "shm" => shared.regions.map(self.session.regions(), files)?,
            // They are reached by their keys.
            "rdma" => Vec::new(),
            _ if self.session.regions().is_empty() => Vec::new(),
            other => return Err(format!("memory cannot be reached over {other}")),
        };
        let max = shared.config.max_lanes;
        let counted = shared
            .lanes
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |lanes| {
                (lanes < max).then_some(lanes + 1)
            });
        counted.map_err(|_| format!("all {max} lanes of this server are in use"))?;
        shared.opening.fetch_sub(1, Ordering::Relaxed);
        self.regions = regions;
        shared.stats.of(self.carrier).lanes.add(1);
        connection.is_open.store(true, Ordering::Release);
        connection.deadline.store(0, Ordering::Relaxed);
        Ok(())
    }

    fn begin(
        &mut self,
        id: u64,
        items: Vec<Item>,
        shared: &Shared<S>,
        bench: &mut Bench,
    ) -> Result<(), Fault> {
        let since = Instant::now();
        let placed = items.iter().filter_map(|item| match item.place {
            Place::Region { .. } => Some(u64::from(item.extent.room())),
            Place::Inline => None,
        });
        let placed = placed.sum();
        let exchange = Exchange::begin(&*shared.shelf, items);
        let bytes = exchange.len();
        let before = shared.in_flight.fetch_add(bytes, Ordering::Relaxed);
        shared.stats.in_flight.add(bytes as i64);
        self.serving = Some(Serving {
            id,
            exchange,
            bytes,
            since,
        });
        let is_served = match &mut self.link {
            Link::Socket { .. } => true,
            Link::Rdma(link) => link.begin(placed, PIECE, &shared.slabs),
        };
        if !is_served {
            return self.turn_away(shared, bench);
        }
        // One alone is always served, however large.
        if before > 0 && before.saturating_add(bytes) > shared.config.busy_bytes {
            self.turn_away(shared, bench)?;
        }
        Ok(())
    }

    fn serve(&mut self, shared: &Shared<S>, bench: &mut Bench) -> Result<Progress, Fault> {
        let Some(serving) = &mut self.serving else {
            return Ok(Progress::Done);
        };
        let count = |answer: &Answer| {
            shared.stats.answered(answer.status);
            shared.stats.of(self.carrier).bytes.add(answer.len.into());
        };
        // The session hears of the end below: nothing is received before it.
        let progress = match &mut self.link {
            Link::Socket { sender, .. } => {
                let mut out = Outlet {
                    sender,
                    bench,
                    regions: &self.regions,
                    id: serving.id,
                    turn: TURN,
                };
                let progress = serving.exchange.proceed(&mut out, || {}, count);
                let progress = progress.map_err(torn)?;
                out.flush()?;
                progress
            }
            Link::Rdma(link) => {
                let regions = self.session.regions();
                let mut out = rdma::Outlet::new(link, bench, regions, serving.id);
                let progress = serving.exchange.proceed(&mut out, || {}, count);
                let progress = progress.map_err(torn)?;
                out.flush()?;
                progress
            }
        };
        match progress {
            Progress::Done => self.finish(shared),
            Progress::Disk if shared.disk.is_full() && serving.exchange.is_between_items() => {
                self.turn_away(shared, bench)?;
                return Ok(Progress::Done);
            }
            Progress::Disk => shared.stats.disk.inc(),
            Progress::Paused => {}
        }
        Ok(progress)
    }

    /// Answers what is left of the exchange with [`Status::Busy`].
    fn turn_away(&mut self, shared: &Shared<S>, bench: &mut Bench) -> Result<(), Fault> {
        shared.stats.busy.inc();
        if let Some(serving) = &mut self.serving {
            let count = |answer: &Answer| shared.stats.answered(answer.status);
            match &mut self.link {
                Link::Socket { sender, .. } => {
                    let mut out = Outlet {
                        sender,
                        bench,
                        regions: &self.regions,
                        id: serving.id,
                        turn: TURN,
                    };
                    let declined = serving.exchange.decline(&mut out, Status::Busy, count);
                    declined.map_err(torn)?;
                    out.flush()?;
                }
                Link::Rdma(link) => {
                    let regions = self.session.regions();
                    let mut out = rdma::Outlet::new(link, bench, regions, serving.id);
                    let declined = serving.exchange.decline(&mut out, Status::Busy, count);
                    declined.map_err(torn)?;
                    out.flush()?;
                }
            }
        }
        self.finish(shared);
        Ok(())
    }

    fn finish(&mut self, shared: &Shared<S>) {
        if let Link::Rdma(link) = &mut self.link {
            link.finish();
        }
        if let Some(serving) = self.serving.take() {
            self.session.finished(serving.id);
            shared.in_flight.fetch_sub(serving.bytes, Ordering::Relaxed);
            shared.stats.in_flight.add(-(serving.bytes as i64));
            shared.stats.of(self.carrier).exchanges.inc();
            shared.stats.time.record(serving.since.elapsed());
        }
    }

    fn send(&mut self, frame: &Frame, bench: &mut Bench) -> Result<(), Fault> {
        bench.staging.clear();
        let encoded = wire::encode(frame.id, &frame.message, &mut bench.staging);
        encoded.map_err(io::Error::other)?;
        self.link.send(&bench.staging)?;
        bench.staging.clear();
        Ok(())
    }

    /// Closes: at once, or, over RDMA, when what was said has been sent.
    fn leave(&mut self, connection: &Connection<S>, shared: &Shared<S>) -> Result<Step, Fault> {
        let Link::Rdma(link) = &mut self.link else {
            return Ok(Step::Over);
        };
        while link.poll()? {}
        if !link.is_busy() || link.is_lost() {
            return Ok(Step::Over);
        }
        let now = Instant::now();
        if self.session.deadline().is_none() && !connection.has_deadline() {
            let late = shared.moment(now + FAREWELL);
            connection.deadline.store(late, Ordering::Relaxed);
            shared.arm();
        }
        match connection.is_late(shared.moment(now)) {
            true => Ok(Step::Over),
            false => Ok(Step::Rest),
        }
    }

    /// Waits for a socket that is full.
    fn rest_blocked(
        &mut self,
        took: bool,
        connection: &Connection<S>,
        shared: &Shared<S>,
    ) -> Result<Step, Fault> {
        if connection.is_hung_up.load(Ordering::Acquire) {
            return Err(Fault("the client is gone without its answers".into()));
        }
        if took || !connection.has_deadline() {
            let late = shared.moment(Instant::now() + shared.config.stall);
            let opened = self.deadline(shared);
            // The patience with a handshake is not made longer by this.
            let late = if opened == 0 { late } else { late.min(opened) };
            connection.deadline.store(late, Ordering::Relaxed);
            shared.arm();
        }
        self.watch(connection, shared, WATCHED | EventFlags::OUT)?;
        Ok(Step::Rest)
    }

    /// By when the session wants to be asked.
    fn deadline(&self, shared: &Shared<S>) -> u64 {
        self.session.deadline().map_or(0, |at| shared.moment(at))
    }

    fn watch(
        &mut self,
        connection: &Connection<S>,
        shared: &Shared<S>,
        what: EventFlags,
    ) -> io::Result<()> {
        // Those of RDMA are watched for all there is.
        let Link::Socket { sender, .. } = &self.link else {
            return Ok(());
        };
        self.watched = what;
        let data = EventData::new_u64(connection.number);
        let socket = sender.wire.as_fd();
        Ok(epoll::modify(&shared.epoll, socket, data, what)?)
    }

    fn receive(&mut self) -> Result<Received, Fault> {
        let wants_files = self.carrier == "shm" && !self.session.is_open();
        let (sender, reader) = match &mut self.link {
            Link::Socket { sender, reader } => (sender, reader),
            Link::Rdma(link) => {
                let is_some = link.poll()?;
                return Ok(match (link.has_message(), is_some) {
                    (true, _) => Received::Some { is_all: false },
                    (false, _) if link.is_lost() => Received::End,
                    (false, true) => Received::Some { is_all: false },
                    (false, false) => Received::None,
                });
            }
        };
        let wire = &mut sender.wire;
        let space = reader.space();
        let room = space.len();
        let got = match wants_files && self.files.is_empty() {
            true => receive_with(wire, space, &mut self.files),
            false => wire.try_recv(space),
        };
        match got {
            Ok(0) => Ok(Received::End),
            Ok(got) => {
                reader.filled(got);
                let is_all = got < room && sender.wire.is_drained_when_short();
                Ok(Received::Some { is_all })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Received::None),
            Err(error) => Err(error.into()),
        }
    }

    fn say_goodbye(
        &mut self,
        connection: &Connection<S>,
        shared: &Shared<S>,
        bench: &mut Bench,
    ) -> Result<Step, Fault> {
        if self.session.is_open() {
            let message = Message::Bye;
            let _ = self.send(&Frame { id: 0, message }, bench);
            self.is_leaving = true;
            return self.leave(connection, shared);
        }
        let effect = self.session.refuse("this server is about to end");
        self.apply(effect, connection, shared, bench)
    }

    /// Gives everything back.
    fn end(&mut self, connection: &Connection<S>, shared: &Shared<S>) {
        if let Some(serving) = self.serving.take() {
            shared.in_flight.fetch_sub(serving.bytes, Ordering::Relaxed);
            shared.stats.in_flight.add(-(serving.bytes as i64));
        }
        if connection.is_open() {
            shared.lanes.fetch_sub(1, Ordering::AcqRel);
            shared.stats.of(self.carrier).lanes.add(-1);
        } else {
            shared.opening.fetch_sub(1, Ordering::Relaxed);
            shared.stats.refused.inc();
        }
        connection.deadline.store(0, Ordering::Relaxed);
        if let Link::Socket { sender, .. } = &mut self.link {
            let mut unread = UNREAD;
            let mut waste = [0; 4 << 10];
            while unread > 0
                && let Ok(got @ 1..) = sender.wire.try_recv(&mut waste)
            {
                unread = unread.saturating_sub(got);
            }
            // Nothing of ours writes to the client's memory from here on, which is what this
            // tells it.
            let _ = shutdown(sender.wire.as_fd(), Shutdown::Both);
        }
        self.regions.clear();
        self.files.clear();
    }
}

impl Link {
    /// The server's end of a socket that was accepted.
    pub(super) fn socket<S: Shelf>(
        shared: &Shared<S>,
        carrier: &'static str,
        socket: OwnedFd,
    ) -> io::Result<Self> {
        let tls = shared.config.tls.as_ref().filter(|_| carrier == "tcp");
        Ok(Self::Socket {
            sender: Sender::new(Wire::accepted(socket, tls)?),
            reader: FrameReader::new(),
        })
    }

    fn next(&mut self) -> Result<Next, WireError> {
        match self {
            Self::Socket { reader, .. } => reader.next(),
            Self::Rdma(link) => link.next(),
        }
    }

    fn is_blocked(&self) -> bool {
        match self {
            Self::Socket { sender, .. } => sender.is_blocked(),
            Self::Rdma(_) => false,
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        match self {
            Self::Socket { sender, .. } => sender.flush(),
            Self::Rdma(_) => Ok(true),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Socket { sender, .. } => sender.send(bytes, &[]),
            Self::Rdma(link) => link.send(bytes),
        }
    }
}

/// What there was to receive.
enum Received {
    Some { is_all: bool },
    None,
    End,
}

/// Receives bytes, and the descriptors that come with them.
fn receive_with(wire: &Wire, to: &mut [u8], files: &mut Vec<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_REGIONS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(to)];
    let received = loop {
        match recvmsg(
            wire.as_fd(),
            &mut parts,
            &mut beside,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(some) = message {
            files.extend(some);
        }
    }
    Ok(received.bytes)
}

fn torn(torn: Torn<io::Error>) -> Fault {
    match torn {
        Torn::Lane(error) => error.into(),
        Torn::Disk(fault) => Fault(fault.to_string()),
    }
}
