//! Sidecars in this process: a lane is a socket pair that rings when an answer is in the queue.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use context::Context;
use rustix::event::PollFlags;
use seaweed::FileId;
use seaweed::crc::crc32c;

use crate::announce::{Announcement, Endpoints};
use crate::carrier::{Attempt, Dial, DialError};
use crate::client::{Config, Policy};
use crate::lane::{Answered, Broken, Inbox, Lane, Retiring};
use crate::memory::{Arena, ArenaConfig};
use crate::peers::{Here, Peers};
use crate::wire::{Answer, Extent, INLINE, Item, Limits, MAX_READ, Place, Status};
use crate::{FabricConfig, FabricRoute, Locate, LocateError, Location};

/// A route over some sidecars that all stand beside the one volume server.
pub(super) struct Scene {
    pub(super) route: Arc<FabricRoute>,
    pub(super) arena: Arena,
    sidecars: Vec<Arc<Sidecar>>,
    beside: Arc<Beside>,
}

/// How a sidecar behaves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Mood {
    Well,
    /// Answers after this.
    Slow(Duration),
    /// Does not answer, and writes all the same when it is told to.
    Silent,
    /// Hangs up instead of answering.
    Breaks,
    /// Answers with this and no bytes.
    Says(Status),
    /// Sends bytes of which one is wrong.
    Flips,
    /// Opens no lane, and says why.
    Refuses,
    /// Is not there.
    Away,
    /// Takes connections and says nothing.
    Mute,
}

pub(super) struct Sidecar {
    needles: Mutex<HashMap<FileId, (Vec<u8>, bool)>>,
    mood: Mutex<Mood>,
    dialed: AtomicUsize,
    asked: AtomicUsize,
    /// The server's ends of all lanes.
    ends: Mutex<Vec<UnixStream>>,
    late: (Mutex<Late>, Condvar),
}

#[derive(Default)]
struct Late {
    may_write: bool,
    written: usize,
}

pub(super) fn needle(key: u64) -> FileId {
    FileId {
        volume: 3,
        key,
        cookie: 0x1234_5678,
    }
}

/// Bytes that differ everywhere and for each seed.
pub(super) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

impl Scene {
    /// `count` sidecars, which can write to the arena if it is offered as a `region`.
    pub(super) fn new(count: usize, region: bool) -> Self {
        Self::with(region, (0..count).map(announcement).collect())
    }

    /// Two, of which the first is asked first.
    pub(super) fn ordered() -> Self {
        let mut both = [announcement(0), announcement(1)];
        both[0].fabric.host = "here".to_owned();
        Self::with(true, both.into())
    }

    fn with(region: bool, announced: Vec<Announcement>) -> Self {
        let count = announced.len();
        let arena = Arena::new(ArenaConfig {
            size: 16 << 20,
            keep: 0,
            quarantine: 8 << 20,
            reserved_pages: false,
        })
        .unwrap();
        let policy = Arc::new(Policy::new(
            Config {
                timeout: Duration::from_millis(500),
                ..Config::default()
            },
            7,
        ));
        let here = Here {
            host: "here".to_owned(),
            ..Here::default()
        };
        let peers = Peers::new(Arc::clone(&policy), here).unwrap();
        peers.update(announced);
        let sidecars: Vec<_> = (0..count).map(|_| Arc::new(Sidecar::new())).collect();
        let dial = Operator {
            sidecars: sidecars.clone(),
            arena: arena.clone(),
            region,
        };
        let beside: Arc<Beside> = Arc::default();
        let route = FabricRoute::new(FabricConfig {
            policy,
            peers: Arc::new(peers),
            locate: beside.clone(),
            dial: Arc::new(dial),
            arena: Some(arena.clone()),
        });
        Self {
            route: Arc::new(route),
            arena,
            sidecars,
            beside,
        }
    }

    /// How often where the volume is was to be asked anew.
    pub(super) fn forgotten(&self) -> usize {
        self.beside.0.load(Ordering::Relaxed)
    }

    pub(super) fn sidecar(&self, index: usize) -> &Sidecar {
        &self.sidecars[index]
    }

    /// All sidecars have it.
    pub(super) fn store(&self, id: FileId, bytes: &[u8]) {
        for sidecar in &self.sidecars {
            let stored = (bytes.to_vec(), false);
            sidecar.needles.lock().unwrap().insert(id, stored);
        }
    }

    /// The same, compressed by the volume server.
    pub(super) fn store_gzip(&self, id: FileId, clear: &[u8]) {
        let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
        let mut stored = vec![0; compressor.gzip_compress_bound(clear.len())];
        let len = compressor.gzip_compress(clear, &mut stored).unwrap();
        stored.truncate(len);
        for sidecar in &self.sidecars {
            let stored = (stored.clone(), true);
            sidecar.needles.lock().unwrap().insert(id, stored);
        }
    }
}

fn announcement(index: usize) -> Announcement {
    let http = format!("sidecar:{}", index + 1);
    Announcement {
        fabric: Endpoints {
            version: crate::wire::VERSION,
            tcp: Some(http.clone()),
            ..Endpoints::default()
        },
        http,
        volume_servers: vec!["volume:8080".to_owned()],
        volumes: vec![3],
        generation: 0,
        data_center: String::new(),
        rack: String::new(),
    }
}

/// Every volume is on the one server. Counts how often it was told to forget that.
#[derive(Default)]
struct Beside(AtomicUsize);

impl Locate for Beside {
    fn locate(&self, _: &Context<'_>, _: u32) -> Result<Arc<[Location]>, LocateError> {
        Ok(Arc::new([Location {
            url: "volume:8080".to_owned(),
            public_url: String::new(),
            data_center: String::new(),
        }]))
    }

    fn forget(&self, _: u32) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Connects to sidecars by the number that is their port.
struct Operator {
    sidecars: Vec<Arc<Sidecar>>,
    arena: Arena,
    region: bool,
}

impl Dial for Operator {
    fn dial(&self, ctx: &Context<'_>, to: &Endpoints) -> Result<Box<dyn Lane>, DialError> {
        let address = to.tcp.clone().unwrap();
        let number: usize = address.rsplit_once(':').unwrap().1.parse().unwrap();
        let sidecar = Arc::clone(&self.sidecars[number - 1]);
        let failed = |why| {
            DialError::Failed(vec![Attempt {
                carrier: "tcp",
                address: address.clone(),
                why,
            }])
        };
        let mood = *sidecar.mood.lock().unwrap();
        match mood {
            Mood::Mute => {
                sidecar.dialed.fetch_add(1, Ordering::Relaxed);
                let never = ctx.sleep(Duration::from_secs(3600));
                return Err(never
                    .map(|()| unreachable!())
                    .unwrap_or_else(DialError::Stopped));
            }
            Mood::Refuses => return Err(failed(Broken::Refused("not you".to_owned()))),
            Mood::Away => {
                let why = io::Error::from(io::ErrorKind::ConnectionRefused);
                return Err(failed(Broken::Io(why)));
            }
            _ => {}
        }
        sidecar.dialed.fetch_add(1, Ordering::Relaxed);
        let (near, far) = UnixStream::pair().unwrap();
        near.set_nonblocking(true).unwrap();
        sidecar.ends.lock().unwrap().push(far.try_clone().unwrap());
        let (ask, asked) = channel();
        let queue: Arc<Queue> = Arc::default();
        let server = Server {
            sidecar,
            asked,
            far,
            queue: Arc::clone(&queue),
            arena: self.arena.clone(),
        };
        std::thread::spawn(move || server.run());
        Ok(Box::new(DoubleLane {
            near,
            ask,
            queue,
            open: VecDeque::new(),
            region: self.region.then_some(0),
            opened: Instant::now(),
        }))
    }
}

impl Sidecar {
    fn new() -> Self {
        Self {
            needles: Mutex::default(),
            mood: Mutex::new(Mood::Well),
            dialed: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            ends: Mutex::default(),
            late: (Mutex::default(), Condvar::new()),
        }
    }

    pub(super) fn mood(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Lanes opened.
    pub(super) fn dialed(&self) -> usize {
        self.dialed.load(Ordering::Relaxed)
    }

    /// Questions asked.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// All lanes are gone at once, and new ones can be opened.
    pub(super) fn restart(&self) {
        for end in self.ends.lock().unwrap().drain(..) {
            end.shutdown(Shutdown::Both).unwrap();
        }
    }

    /// A silent one writes now to where it was told to, and hangs up then. Returns when it has written.
    pub(super) fn write_late(&self) {
        self.ends.lock().unwrap().clear();
        let (late, changed) = &self.late;
        let mut late = late.lock().unwrap();
        late.may_write = true;
        changed.notify_all();
        while late.written == 0 {
            late = changed.wait(late).unwrap();
        }
    }

    fn answer(&self, item: &Item) -> (Answer, Vec<u8>) {
        let blank = Answer {
            item: 0,
            status: Status::Absent,
            is_inline: false,
            is_gzip: false,
            len: 0,
            stored: 0,
            crc: 0,
        };
        let needles = self.needles.lock().unwrap();
        let Some((stored, is_gzip)) = needles.get(&item.needle) else {
            return (blank, Vec::new());
        };
        let found = Answer {
            is_gzip: *is_gzip,
            stored: stored.len() as u64,
            ..blank
        };
        let says = |status| (Answer { status, ..found }, Vec::new());
        let bytes = match item.extent {
            Extent::Whole { room } if stored.len() > room as usize => {
                return says(Status::TooLarge);
            }
            Extent::Whole { .. } => stored.clone(),
            Extent::Range { .. } if *is_gzip => return says(Status::Gzip),
            Extent::Range { offset, len } => {
                let rest = stored.get(offset as usize..).unwrap_or_default();
                match rest.get(..len as usize) {
                    Some(bytes) => bytes.to_vec(),
                    None => return says(Status::PastEnd),
                }
            }
        };
        let answer = Answer {
            status: Status::Done,
            len: bytes.len() as u32,
            crc: crc32c(&bytes),
            ..found
        };
        (answer, bytes)
    }
}

/// Answers on their way, with the bytes that come inline.
#[derive(Default)]
struct Queue(Mutex<VecDeque<(Answer, Vec<u8>)>>);

/// The server's side of a lane.
struct Server {
    sidecar: Arc<Sidecar>,
    asked: Receiver<Item>,
    far: UnixStream,
    queue: Arc<Queue>,
    arena: Arena,
}

impl Server {
    fn run(mut self) {
        while let Ok(item) = self.asked.recv() {
            self.sidecar.asked.fetch_add(1, Ordering::Relaxed);
            let (mut answer, mut bytes) = self.sidecar.answer(&item);
            let mood = *self.sidecar.mood.lock().unwrap();
            match mood {
                Mood::Slow(pause) => std::thread::sleep(pause),
                Mood::Breaks => break,
                Mood::Says(status) => {
                    (answer.status, answer.len) = (status, 0);
                    bytes.clear();
                }
                Mood::Flips if !bytes.is_empty() => {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 1;
                }
                Mood::Silent => {
                    self.write_late(&item, bytes.len());
                    return;
                }
                _ => {}
            }
            if let Place::Region { offset, .. } = item.place
                && bytes.len() as u64 > INLINE
            {
                self.write(offset, &bytes);
                bytes.clear();
            } else {
                answer.is_inline = !bytes.is_empty();
            }
            self.queue.0.lock().unwrap().push_back((answer, bytes));
            if self.far.write_all(&[1]).is_err() {
                return;
            }
        }
        let _ = self.far.shutdown(Shutdown::Both);
    }

    fn write_late(&self, item: &Item, len: usize) {
        let (late, changed) = &self.sidecar.late;
        let mut late = late.lock().unwrap();
        while !late.may_write {
            late = changed.wait(late).unwrap();
        }
        if let Place::Region { offset, .. } = item.place {
            self.write(offset, &vec![0xee; len]);
        }
        late.written += 1;
        changed.notify_all();
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        let offset = offset as usize;
        assert!(offset + bytes.len() <= self.arena.len());
        // SAFETY: within the mapping, which `self.arena` keeps. The place was offered to this
        // server, so that there is no reference to it until the answer is in the queue, or, of
        // an abandoned one, until the socket hangs up, which is after this.
        unsafe {
            let dst = self.arena.base().add(offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), dst, bytes.len());
        }
    }
}

/// The client's side.
struct DoubleLane {
    near: UnixStream,
    ask: Sender<Item>,
    queue: Arc<Queue>,
    /// What was asked and not answered, with its number.
    open: VecDeque<(u16, Item)>,
    region: Option<u16>,
    opened: Instant,
}

impl Lane for DoubleLane {
    fn carrier(&self) -> &'static str {
        "shm"
    }

    fn opened(&self) -> Instant {
        self.opened
    }

    fn wait_on(&self) -> (BorrowedFd<'_>, PollFlags) {
        (self.near.as_fd(), PollFlags::IN)
    }

    fn region(&self) -> Option<u16> {
        self.region
    }

    fn limits(&self) -> Limits {
        Limits {
            max_items: 8,
            max_read: MAX_READ,
        }
    }

    fn start(&mut self, _: u64, items: &[Item]) -> Result<(), Broken> {
        assert!(self.open.is_empty(), "one exchange at a time");
        self.open = (0..).zip(items.iter().copied()).collect();
        let gone = |_| Broken::Gone("it hung up".to_owned());
        let mut items = items.iter();
        items.try_for_each(|item| self.ask.send(*item).map_err(gone))
    }

    fn advance(&mut self, inbox: &mut dyn Inbox) -> Result<bool, Broken> {
        match self.near.read(&mut [0]) {
            Ok(1) => {}
            Ok(_) => return Err(Broken::Gone("it hung up".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(self.open.is_empty());
            }
            Err(error) => return Err(error.into()),
        }
        let (mut answer, bytes) = self.queue.0.lock().unwrap().pop_front().unwrap();
        let (number, item) = self.open.pop_front().unwrap();
        answer.item = number;
        // SAFETY: it answers the item that was sent on this lane, and the server has done with it.
        let answered = unsafe { Answered::new(answer, item.place) };
        // In two steps, as bytes come from a socket.
        let (head, tail) = bytes.split_at(bytes.len() / 2);
        for (from, part) in [(0, head), (head.len(), tail)] {
            if !part.is_empty()
                && let Some(memory) = inbox.memory(&answered)
            {
                memory[from..][..part.len()].copy_from_slice(part);
            }
        }
        inbox.done(&answered);
        Ok(self.open.is_empty())
    }

    fn close(self: Box<Self>) -> Option<Retiring> {
        let place = self.open.front().map(|(_, item)| item.place);
        match place {
            Some(Place::Region { .. }) => {
                let near = self.near.into();
                // SAFETY: the server hangs up when it has written, and not before.
                Some(unsafe { Retiring::new(near, PollFlags::empty()) })
            }
            _ => None,
        }
    }
}
