//! A lane as its owner sees it: what to do next, until there is nothing to do.

mod lending;
mod linger;
mod link;
mod receive;
mod serving;
mod storing;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::net::{Shutdown, shutdown};

use super::connection::Connection;
use super::exchange::Progress;
use super::outlet::Bench;
use super::regions::Mapped;
use super::session::{Effect, End, Session};
use super::shared::Shared;
use crate::serve::Shelf;
use crate::wire::{self, Borrow, Frame, Message, Next};

pub(super) use link::Link;
use receive::Received;
use serving::Serving;
use storing::{Stored, Storing};

/// How long the last word of a server may take to be sent.
const FAREWELL: Duration = Duration::from_secs(1);
/// What every socket is watched for.
const WATCHED: EventFlags = EventFlags::IN
    .union(EventFlags::RDHUP)
    .union(EventFlags::ET);
/// Frames that are taken before others have their turn, from a client that sends without a break.
const FRAMES: usize = 64;
/// What a client that is refused may have sent already, which would make TCP forget the refusal.
const UNREAD: usize = 64 << 10;

/// What belongs to the owner.
pub(super) struct Lane<S: Shelf> {
    carrier: &'static str,
    link: Link,
    session: Session,
    /// Descriptors that came with the Memory.
    files: Vec<OwnedFd>,
    regions: Vec<Arc<Mapped>>,
    serving: Option<Serving<S>>,
    storing: Option<Storing>,
    /// A wish to borrow that is not answered, and its id.
    borrowing: Option<(u64, Borrow)>,
    watched: EventFlags,
    /// Bytes of the exchange that has just ended.
    answered: Option<u64>,
    /// All is said, and must only be sent before it is closed.
    is_leaving: bool,
}

/// What the owner does next.
pub(super) enum Step {
    /// Lets go; a wake brings it back.
    Rest,
    /// Hands over to a thread that may wait for a disk.
    Disk,
    /// Hands over to a thread that may wait for a volume server.
    Courier,
    /// Closes.
    Over,
}

/// The socket, the peer or the disk ended it, for a reason that concerns only the log.
pub(super) struct Fault(pub(super) String);

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self(error.to_string())
    }
}

impl<S: Shelf> Lane<S> {
    /// A connection that was just accepted.
    pub(super) fn new(carrier: &'static str, link: Link, session: Session) -> Self {
        Self {
            carrier,
            link,
            session,
            files: Vec::new(),
            regions: Vec::new(),
            serving: None,
            storing: None,
            borrowing: None,
            watched: EventFlags::empty(),
            answered: None,
            is_leaving: false,
        }
    }

    /// The client's name, for the log.
    pub(super) fn client(&self) -> &str {
        self.session.name()
    }

    /// Has epoll watch it from now on.
    pub(super) fn watch_first(
        &mut self,
        connection: &Connection<S>,
        shared: &Shared<S>,
    ) -> io::Result<()> {
        self.watched = WATCHED;
        let data = EventData::new_u64(connection.number);
        match &self.link {
            Link::Socket { sender, .. } => {
                epoll::add(&shared.epoll, sender.wire.as_fd(), data, WATCHED)?;
            }
            Link::Rdma(link) => {
                for fd in link.fds() {
                    epoll::add(&shared.epoll, fd, data, EventFlags::IN | EventFlags::ET)?;
                }
            }
        }
        Ok(())
    }

    /// Does what there is to do.
    pub(super) fn step(
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
            if self.link.is_blocked() {
                if !self.link.flush()? {
                    return Err(Fault("the client does not take its answers".into()));
                }
                connection.set_deadline(self.deadline(shared));
            }
            if self
                .storing
                .as_ref()
                .is_some_and(|it| it.deadline().is_some())
            {
                return Err(Fault("a write does not arrive in its time".into()));
            }
            let effect = self.session.tick(Instant::now());
            if let Step::Over = self.apply(effect, connection, shared, bench)? {
                return Ok(Step::Over);
            }
        }
        let mut is_drained = false;
        let mut frames = 0;
        loop {
            if self.is_leaving {
                return self.leave(connection, shared);
            }
            if self.link.is_blocked() {
                let took = self.link.flush()?;
                if self.link.is_blocked() {
                    return self.rest_blocked(took, connection, shared);
                }
                connection.set_deadline(self.deadline(shared));
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
                    Progress::Paused => return self.step_back(connection, shared),
                }
                continue;
            }
            if self.storing.is_some() {
                match self.store(connection, shared, bench)? {
                    Stored::Done => continue,
                    Stored::Rest => return self.rest(connection, shared),
                    Stored::StepBack => return self.step_back(connection, shared),
                    Stored::HandOver => return Ok(Step::Courier),
                    Stored::Over => return Ok(Step::Over),
                }
            }
            if self.borrowing.is_some() {
                match self.lend(shared, bench)? {
                    true => continue,
                    false => return Ok(Step::Disk),
                }
            }
            if frames >= FRAMES {
                return self.step_back(connection, shared);
            }
            if shared.stopping.load(Ordering::Acquire) {
                return self.say_goodbye(connection, shared, bench);
            }
            let effect = match self.link.next() {
                Ok(Next::Frame(frame)) => {
                    frames += 1;
                    self.session.take(frame)
                }
                Ok(Next::NeedMore) if is_drained => {
                    if connection.is_hung_up() {
                        return Ok(Step::Over);
                    }
                    match self.linger(connection, shared)? {
                        Received::Some { is_all } => is_drained = is_all,
                        Received::None => return self.rest(connection, shared),
                        Received::End => return Ok(Step::Over),
                    }
                    continue;
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
                Ok(Next::Data(_)) => {
                    return Err(Fault("a client sends data without a write".into()));
                }
                Err(error) => self.session.nonsense(&error),
            };
            if let Step::Over = self.apply(effect, connection, shared, bench)? {
                return Ok(Step::Over);
            }
        }
    }

    /// Waits for the client to send more.
    fn rest(&mut self, connection: &Connection<S>, shared: &Shared<S>) -> Result<Step, Fault> {
        if self.watched != WATCHED {
            self.watch(connection, shared, WATCHED)?;
        }
        Ok(Step::Rest)
    }

    /// Lets others have their turn. It can be written to, so epoll brings it back at once, but
    /// behind those that wait.
    fn step_back(&mut self, connection: &Connection<S>, shared: &Shared<S>) -> Result<Step, Fault> {
        self.watch(connection, shared, WATCHED | EventFlags::OUT)?;
        Ok(Step::Rest)
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
            Effect::Store { id, write } => {
                self.begin_write(id, write, connection, shared);
                Ok(Step::Rest)
            }
            Effect::Lend { id, borrow } => {
                self.borrowing = Some((id, borrow));
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
        connection.open();
        Ok(())
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
            connection.set_deadline(shared.moment(now + FAREWELL));
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
        if connection.is_hung_up() {
            return Err(Fault("the client is gone without its answers".into()));
        }
        if let Some(serving) = &mut self.serving {
            serving.discharge(shared);
        }
        if took || !connection.has_deadline() {
            let late = shared.moment(Instant::now() + shared.config.stall);
            let opened = self.deadline(shared);
            // The patience with a handshake is not made longer by this.
            let late = if opened == 0 { late } else { late.min(opened) };
            connection.set_deadline(late);
            shared.arm();
        }
        self.watch(connection, shared, WATCHED | EventFlags::OUT)?;
        Ok(Step::Rest)
    }

    /// By when the session wants to be asked, or a write has to have arrived.
    fn deadline(&self, shared: &Shared<S>) -> u64 {
        let arriving = self.storing.as_ref().and_then(Storing::deadline);
        let deadline = self.session.deadline().or(arriving);
        deadline.map_or(0, |at| shared.moment(at))
    }

    fn watch(
        &mut self,
        connection: &Connection<S>,
        shared: &Shared<S>,
        what: EventFlags,
    ) -> io::Result<()> {
        // Queue pairs are watched for all there is.
        let Link::Socket { sender, .. } = &self.link else {
            return Ok(());
        };
        self.watched = what;
        let data = EventData::new_u64(connection.number);
        let socket = sender.wire.as_fd();
        Ok(epoll::modify(&shared.epoll, socket, data, what)?)
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
    pub(super) fn end(&mut self, connection: &Connection<S>, shared: &Shared<S>) {
        if let Some(mut serving) = self.serving.take() {
            serving.discharge(shared);
        }
        if let Some(mut storing) = self.storing.take() {
            storing.discharge(shared);
        }
        if connection.is_open() {
            shared.lanes.fetch_sub(1, Ordering::AcqRel);
            shared.stats.of(self.carrier).lanes.add(-1);
        } else {
            shared.opening.fetch_sub(1, Ordering::Relaxed);
            shared.stats.refused.inc();
        }
        connection.set_deadline(0);
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
