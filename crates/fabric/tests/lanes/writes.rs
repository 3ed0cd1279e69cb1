//! Writes over real sockets, to a courier that keeps them in memory.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use context::Context;
use fabric::announce::Endpoints;
use fabric::lane::{Broken, Lane};
use fabric::memory::Block;
use fabric::serve::Courier;
use fabric::server::ServerConfig;
use fabric::wire::{
    Challenge, FrameReader, Hello, Limits, MAX_ITEMS, MAX_READ, Message, Next, Outcome, Place,
    Proof, Refusal, Welcome, Write, Written, encode,
};
use rustix::fs::{FallocateFlags, fallocate};
use seaweed::FileId;
use seaweed::crc::crc32c;

use crate::shelf::{bytes, id};
use crate::support::{BUDGET, Client, MIB, Served, eventually, read, tls, wait, whole};

const CARRIERS: [&str; 2] = ["shm", "tcp"];

/// A volume server that can be held up.
#[derive(Debug, Default)]
pub(crate) struct Depot {
    pub(crate) kept: Mutex<HashMap<FileId, Vec<u8>>>,
    orders: Mutex<Vec<Write>>,
    held: Mutex<bool>,
    freed: Condvar,
    begun: AtomicUsize,
    recalled: AtomicUsize,
}

impl Depot {
    pub(crate) fn hold(&self, is_held: bool) {
        *self.held.lock().unwrap() = is_held;
        self.freed.notify_all();
    }

    pub(crate) fn begun(&self) -> usize {
        self.begun.load(Ordering::SeqCst)
    }
}

impl Courier for Depot {
    fn deliver(&self, ctx: &Context<'_>, write: &Write, bytes: &[u8]) -> Written {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let mut held = self.held.lock().unwrap();
        while *held {
            if ctx.check().is_err() {
                self.recalled.fetch_add(1, Ordering::SeqCst);
                return Written::without(Outcome::Unreachable, "it is held");
            }
            let moment = Duration::from_millis(5);
            held = self.freed.wait_timeout(held, moment).unwrap().0;
        }
        drop(held);
        self.orders.lock().unwrap().push(write.clone());
        match write.base.volume {
            500 => panic!("a courier that fails"),
            401 => return Written::answered(401, None, "who are you?"),
            507 => return Written::answered(507, None, "no space"),
            409 => return Written::answered(201, Some(!crc32c(bytes)), ""),
            _ => {}
        }
        let mut kept = self.kept.lock().unwrap();
        kept.insert(write.needle(), bytes.to_vec());
        Written::answered(201, Some(crc32c(bytes)), "")
    }
}

pub(crate) fn served(adjust: impl FnOnce(&mut ServerConfig)) -> (Served, Arc<Depot>) {
    let depot: Arc<Depot> = Arc::default();
    let served = Served::with(|config| {
        config.courier = Some(depot.clone());
        adjust(config);
    });
    (served, depot)
}

/// A write that is under way.
struct Posting<'b> {
    body: &'b [u8],
    sent: usize,
    len: usize,
    /// Where the server reads the bytes.
    _block: Option<Block>,
}

fn order(needle: FileId, body: &[u8]) -> Write {
    Write {
        base: needle,
        delta: 0,
        gzip: false,
        fsync: false,
        place: Place::Inline,
        len: body.len() as u32,
        crc: crc32c(body),
        patience: 20_000,
        server: "volume:8080".into(),
        token: String::new(),
    }
}

fn next_id() -> u64 {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed) as u64
}

impl<'b> Posting<'b> {
    /// Sends it; the bytes lie in the arena where the lane has a region.
    fn start(
        lane: &mut dyn Lane,
        client: &Client,
        mut write: Write,
        body: &'b [u8],
    ) -> Result<Self, Broken> {
        let block = lane.region().map(|region| {
            let mut block = client.arena.take(body.len()).unwrap();
            block.copy_from_slice(body);
            write.place = block.place(region);
            block
        });
        let len = write.data();
        let sent = lane.start_write(next_id(), &write, &body[..len])?;
        Ok(Self {
            body,
            sent,
            len,
            _block: block,
        })
    }

    fn advance(&mut self, lane: &mut dyn Lane) -> Result<Option<Written>, Broken> {
        while self.sent < self.len {
            match lane.push(&self.body[self.sent..self.len])? {
                0 => return Ok(None),
                sent => self.sent += sent,
            }
        }
        lane.advance_write()
    }

    fn finish(mut self, lane: &mut dyn Lane) -> Result<Written, Broken> {
        let until = Instant::now() + BUDGET;
        loop {
            if let Some(written) = self.advance(lane)? {
                return Ok(written);
            }
            match self.sent < self.len {
                true => std::thread::sleep(Duration::from_millis(1)),
                false => wait(lane),
            }
            assert!(Instant::now() < until, "no answer");
        }
    }
}

fn write(lane: &mut dyn Lane, client: &Client, order: Write, body: &[u8]) -> Written {
    let posting = Posting::start(lane, client, order, body).unwrap();
    posting.finish(lane).unwrap()
}

#[test]
fn what_is_written_arrives_as_it_was_sent_whatever_its_size() {
    let (server, trust) = tls();
    for is_secure in [false, true] {
        let (served, depot) = served(|config| {
            config.tls = is_secure.then(|| server.clone());
        });
        let client = Client::with(|config| config.tls = is_secure.then(|| trust.clone()));
        for carrier in CARRIERS {
            let mut lane = served.lane(&client, carrier);
            assert!(lane.takes_writes());
            for (at, len) in [1, 100, 8192, 70_001, 5 * MIB + 3, 64 * MIB]
                .into_iter()
                .enumerate()
            {
                let needle = id(3, at as u64 * 10);
                let body = bytes(len, at as u64);
                let order = Write {
                    delta: at as u32,
                    gzip: at % 2 == 0,
                    fsync: at % 3 == 0,
                    token: "head.body.sign".repeat(at),
                    ..order(needle, &body)
                };
                let written = write(&mut *lane, &client, order.clone(), &body);
                let kept = Written::answered(201, Some(order.crc), "");
                assert_eq!(written, kept, "{carrier} {len}");
                let stored = depot.kept.lock().unwrap().remove(&order.needle());
                assert!(stored.unwrap() == body, "{carrier} {len}");
                let told = depot.orders.lock().unwrap().pop().unwrap();
                let place = told.place;
                assert_eq!(told, Write { place, ..order });
                assert_eq!(matches!(place, Place::Region { .. }), carrier == "shm");
            }
            // The lane is as good as before.
            served.shelf.put(id(1, 1), bytes(MIB, 1), false);
            let reading = read(&mut *lane, &client.arena, &[(id(1, 1), whole(MIB))]);
            assert!(reading.slots[0].verified().is_ok());
        }
        let stats = served.server().stats();
        assert_eq!((stats.shm.writes.get(), stats.tcp.writes.get()), (6, 6));
        assert_eq!(stats.written(Outcome::Kept), 12);
        assert_eq!(stats.in_flight.get(), 0);
    }
}

#[test]
fn small_needles_go_through_the_socket_of_shared_memory_as_well() {
    let (served, depot) = served(|_| {});
    let client = Client::new();
    let mut lane = served.lane(&client, "shm");
    let body = bytes(300_000, 1);
    let order = order(id(3, 1), &body);
    let sent = lane.start_write(next_id(), &order, &body).unwrap();
    let posting = Posting {
        body: &body,
        sent,
        len: body.len(),
        _block: None,
    };
    assert_eq!(posting.finish(&mut *lane).unwrap().outcome, Outcome::Kept);
    assert!(depot.kept.lock().unwrap()[&id(3, 1)] == body);
}

#[test]
fn what_the_volume_server_says_comes_back() {
    let (served, _) = served(|_| {});
    let client = Client::new();
    for carrier in CARRIERS {
        let mut lane = served.lane(&client, carrier);
        let order = order(id(507, 1), b"bytes");
        let written = write(&mut *lane, &client, order, b"bytes");
        assert_eq!(written, Written::answered(507, None, "no space"));
        assert_eq!(written.outcome, Outcome::Refused);
    }
}

#[test]
fn a_server_without_a_courier_declines_by_name() {
    let served = Served::new();
    let client = Client::new();
    for carrier in CARRIERS {
        let mut lane = served.lane(&client, carrier);
        let body = bytes(3 * MIB, 1);
        for _ in 0..2 {
            let written = write(&mut *lane, &client, order(id(3, 1), &body), &body);
            assert_eq!(written.outcome, Outcome::Declined, "{carrier}");
            assert!(written.text.contains("takes no writes"), "{written:?}");
        }
    }
}

/// Memory of which others have a part.
#[derive(Debug)]
struct Shared(Mutex<u64>);

impl fabric::serve::Memory for Shared {
    fn take(&self, bytes: u64) -> bool {
        let mut left = self.0.lock().unwrap();
        let fits = *left >= bytes;
        if fits {
            *left -= bytes;
        }
        fits
    }

    fn give_back(&self, bytes: u64) {
        *self.0.lock().unwrap() += bytes;
    }
}

#[test]
fn writes_are_kept_in_what_others_leave_of_the_memory() {
    let memory = Arc::new(Shared(Mutex::new(MIB as u64)));
    let given = Arc::clone(&memory);
    let (served, _depot) = served(|config| config.memory = Some(given));
    let client = Client::new();
    let body = bytes(700_000, 1);
    for carrier in CARRIERS {
        let mut lane = served.lane(&client, carrier);
        let mut outcome = || write(&mut *lane, &client, order(id(3, 1), &body), &body).outcome;
        assert_eq!(outcome(), Outcome::Kept, "{carrier}");
        *memory.0.lock().unwrap() -= 400_000;
        assert_eq!(outcome(), Outcome::Busy, "{carrier}");
        *memory.0.lock().unwrap() += 400_000;
        assert_eq!(outcome(), Outcome::Kept, "{carrier}");
    }
    // It is given back when the answer is on its way.
    assert!(eventually(|| *memory.0.lock().unwrap() == MIB as u64));
}

#[test]
fn more_than_there_is_memory_for_is_busy_and_what_never_fits_is_declined() {
    let (served, depot) = served(|config| config.busy_bytes = MIB as u64);
    let client = Client::new();
    for carrier in CARRIERS {
        depot.hold(true);
        let before = depot.begun();
        let mut first = served.lane(&client, carrier);
        let body = bytes(700_000, 1);
        let posting = Posting::start(&mut *first, &client, order(id(3, 1), &body), &body);
        let mut posting = posting.unwrap();
        assert!(eventually(|| {
            posting.advance(&mut *first).unwrap();
            depot.begun() > before
        }));
        let mut second = served.lane(&client, carrier);
        let written = write(&mut *second, &client, order(id(3, 2), &body), &body);
        assert_eq!(written.outcome, Outcome::Busy, "{carrier}");
        let large = bytes(MIB + 1, 1);
        let written = write(&mut *second, &client, order(id(3, 2), &large), &large);
        assert_eq!(written.outcome, Outcome::Declined, "{carrier}");
        depot.hold(false);
        let written = posting.finish(&mut *first).unwrap();
        assert_eq!(written.outcome, Outcome::Kept);
        let written = write(&mut *second, &client, order(id(3, 2), &body), &body);
        assert_eq!(written.outcome, Outcome::Kept);
    }
    assert_eq!(served.server().stats().in_flight.get(), 0);
}

#[test]
fn other_bytes_than_were_sent_are_handed_to_nobody() {
    let (served, depot) = served(|_| {});
    let client = Client::new();
    for carrier in CARRIERS {
        let mut lane = served.lane(&client, carrier);
        let body = bytes(100_000, 1);
        let wrong = Write {
            crc: !crc32c(&body),
            ..order(id(3, 1), &body)
        };
        let written = write(&mut *lane, &client, wrong, &body);
        assert_eq!(written.outcome, Outcome::Corrupt, "{carrier}");
    }
    assert_eq!(depot.begun(), 0);
}

#[test]
fn a_client_that_takes_its_memory_away_or_changes_it_harms_nobody() {
    let (served, depot) = served(|config| config.courier_threads = 1);
    let client = Client::new();
    let body = bytes(MIB, 1);
    let mut block = client.arena.take(MIB).unwrap();
    block.copy_from_slice(&body);
    let Place::Region { offset, .. } = block.place(0) else {
        panic!("a block lies in a region");
    };
    depot.hold(true);
    let mut first = served.lane(&client, "shm");
    let small = bytes(10, 1);
    let posting = Posting::start(&mut *first, &client, order(id(3, 1), &small), &small);
    assert!(eventually(|| depot.begun() == 1));
    // The only thread is taken, so that the memory goes before anybody has looked at it.
    let mut lane = served.lane(&client, "shm");
    let write = Write {
        place: block.place(0),
        ..order(id(3, 2), &body)
    };
    lane.start_write(next_id(), &write, &[]).unwrap();
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(client.arena.descriptor(), punch, offset, MIB as u64).unwrap();
    depot.hold(false);
    posting.unwrap().finish(&mut *first).unwrap();
    let written = loop {
        if let Some(written) = lane.advance_write().unwrap() {
            break written;
        }
        wait(&*lane);
    };
    assert_eq!(written.outcome, Outcome::Corrupt);
    assert_eq!(depot.begun(), 1);
    // What is no memory of its is refused by name.
    let beyond = Write {
        place: Place::Region {
            region: 0,
            offset: client.arena.len() as u64 - 1000,
        },
        ..order(id(3, 2), &body)
    };
    lane.start_write(next_id(), &beyond, &[]).unwrap();
    let refused = loop {
        match lane.advance_write() {
            Ok(None) => wait(&*lane),
            Ok(Some(written)) => panic!("{written:?}"),
            Err(broken) => break broken.to_string(),
        }
    };
    assert!(refused.contains("is outside region 0"), "{refused}");
}

#[test]
fn who_closes_the_lane_takes_back_what_was_not_handed_on() {
    let (served, depot) = served(|config| config.courier_threads = 1);
    let client = Client::new();
    for carrier in CARRIERS {
        depot.hold(true);
        let before = depot.begun();
        let mut first = served.lane(&client, carrier);
        let body = bytes(1000, 1);
        let posting = Posting::start(&mut *first, &client, order(id(3, 1), &body), &body);
        assert!(eventually(|| depot.begun() > before));
        // The only thread is taken, so this one waits.
        let mut second = served.lane(&client, carrier);
        let large = bytes(2 * MIB, 1);
        let mut given_up =
            Posting::start(&mut *second, &client, order(id(3, 2), &large), &large).unwrap();
        assert!(eventually(|| {
            given_up.advance(&mut *second).unwrap();
            given_up.sent == given_up.len
        }));
        std::thread::sleep(Duration::from_millis(100));
        second.close();
        std::thread::sleep(Duration::from_millis(100));
        depot.hold(false);
        let written = posting.unwrap().finish(&mut *first).unwrap();
        assert_eq!(written.outcome, Outcome::Kept);
        let written = write(&mut *first, &client, order(id(3, 3), &body), &body);
        assert_eq!(written.outcome, Outcome::Kept);
        let kept = depot.kept.lock().unwrap();
        assert!(!kept.contains_key(&id(3, 2)), "{carrier}");
    }
    assert!(eventually(|| served.server().stats().in_flight.get() == 0));
}

#[test]
fn what_waits_longer_than_its_client_is_dropped() {
    let (served, depot) = served(|config| config.courier_threads = 1);
    let client = Client::new();
    depot.hold(true);
    let body = bytes(1000, 1);
    let mut first = served.lane(&client, "tcp");
    let posting = Posting::start(&mut *first, &client, order(id(3, 1), &body), &body);
    assert!(eventually(|| depot.begun() == 1));
    let mut second = served.lane(&client, "tcp");
    let hasty = Write {
        patience: 50,
        ..order(id(3, 2), &body)
    };
    let late = Posting::start(&mut *second, &client, hasty, &body).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    depot.hold(false);
    let written = late.finish(&mut *second).unwrap();
    assert_eq!(written.outcome, Outcome::Late);
    posting.unwrap().finish(&mut *first).unwrap();
    assert_eq!(depot.begun(), 1);
}

#[test]
fn a_volume_server_that_does_not_answer_is_told_of_before_the_clients_time_is_over() {
    let (served, depot) = served(|_| {});
    let client = Client::new();
    depot.hold(true);
    for carrier in CARRIERS {
        let mut lane = served.lane(&client, carrier);
        let hasty = Write {
            patience: 800,
            ..order(id(3, 2), b"bytes")
        };
        let since = Instant::now();
        let written = write(&mut *lane, &client, hasty, b"bytes");
        assert_eq!(written.outcome, Outcome::Unreachable);
        assert!(since.elapsed() >= Duration::from_millis(650));
    }
    assert_eq!(depot.recalled.load(Ordering::SeqCst), 2);
}

#[test]
fn bytes_that_do_not_come_in_time_cost_the_lane_and_no_memory() {
    let (served, depot) = served(|config| config.stall = Duration::from_millis(200));
    let body = bytes(MIB, 1);
    let hasty = Write {
        patience: 200,
        ..order(id(3, 1), &body)
    };
    let mut out = Vec::new();
    encode(7, &Message::Write(hasty), &mut out).unwrap();
    let mut raw = TcpStream::connect(served.over_tcp().tcp.unwrap()).unwrap();
    open_raw(&mut raw);
    raw.write_all(&out).unwrap();
    raw.write_all(&body[..1000]).unwrap();
    let stats = served.server().stats();
    assert!(eventually(|| stats.in_flight.get() > 0));
    assert!(eventually(|| stats.ended.get() == 1));
    assert_eq!(stats.in_flight.get(), 0);
    assert_eq!(depot.begun(), 0);
}

/// Shakes hands without a word too many.
fn open_raw(socket: &mut TcpStream) {
    let hello = Hello {
        nonce: [7; 16],
        offers: false,
        name: "raw".into(),
    };
    let mut out = Vec::new();
    encode(0, &Message::Hello(hello), &mut out).unwrap();
    let mut reader = FrameReader::new();
    socket.write_all(&out).unwrap();
    assert!(matches!(heard(socket, &mut reader), Message::Challenge(_)));
    out.clear();
    encode(0, &Message::Proof(Proof::EMPTY), &mut out).unwrap();
    socket.write_all(&out).unwrap();
    assert!(matches!(heard(socket, &mut reader), Message::Welcome(_)));
}

fn heard(socket: &mut TcpStream, reader: &mut FrameReader) -> Message {
    loop {
        match reader.next().unwrap() {
            Next::Frame(frame) => return frame.message,
            _ => {
                let got = socket.read(reader.space()).unwrap();
                assert!(got > 0, "it is closed");
                reader.filled(got);
            }
        }
    }
}

#[test]
fn a_server_that_ends_recalls_what_is_on_its_way() {
    let (mut served, depot) = served(|_| {});
    let client = Client::new();
    depot.hold(true);
    let mut lane = served.lane(&client, "shm");
    let body = bytes(MIB, 1);
    let posting = Posting::start(&mut *lane, &client, order(id(3, 1), &body), &body).unwrap();
    assert!(eventually(|| depot.begun() == 1));
    let since = Instant::now();
    served
        .server
        .take()
        .unwrap()
        .stop(Duration::from_millis(100));
    assert!(since.elapsed() < Duration::from_secs(5));
    assert_eq!(depot.recalled.load(Ordering::SeqCst), 1);
    match posting.finish(&mut *lane) {
        Ok(written) => assert_eq!(written.outcome, Outcome::Unreachable),
        Err(broken) => assert!(matches!(broken, Broken::Gone(_)), "{broken}"),
    }
}

#[test]
fn a_panic_in_the_courier_costs_one_lane() {
    let (served, _) = served(|config| config.courier_threads = 1);
    let client = Client::new();
    for carrier in CARRIERS {
        let mut lane = served.lane(&client, carrier);
        let posting = Posting::start(&mut *lane, &client, order(id(500, 1), b"x"), b"x");
        posting.unwrap().finish(&mut *lane).unwrap_err();
        let mut lane = served.lane(&client, carrier);
        let written = write(&mut *lane, &client, order(id(3, 1), b"x"), b"x");
        assert_eq!(written.outcome, Outcome::Kept);
    }
    assert!(eventually(|| served.server().stats().in_flight.get() == 0));
}

#[test]
fn a_sidecar_that_knows_no_writes_refuses_them_by_name() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let older = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut reader = FrameReader::new();
        let say = |socket: &mut TcpStream, message| {
            let mut out = Vec::new();
            encode(0, &message, &mut out).unwrap();
            socket.write_all(&out).unwrap();
        };
        heard(&mut socket, &mut reader);
        let challenge = Challenge {
            nonce: [1; 16],
            wants_proof: false,
        };
        say(&mut socket, Message::Challenge(challenge));
        heard(&mut socket, &mut reader);
        let welcome = Welcome {
            limits: Limits {
                max_items: MAX_ITEMS as u16,
                max_read: MAX_READ,
            },
            proof: Proof::EMPTY,
        };
        say(&mut socket, Message::Welcome(welcome));
        // It sees the frame of the write, and reads no further.
        let mut frame = [0; 24];
        socket.read_exact(&mut frame).unwrap();
        assert_eq!(frame[3], 11);
        let reason = "frame is of unknown kind 11".to_owned();
        say(&mut socket, Message::Refusal(Refusal { reason }));
        std::thread::sleep(Duration::from_millis(100));
    });
    let client = Client::new();
    let to = Endpoints {
        version: fabric::wire::VERSION,
        tcp: Some(address.to_string()),
        ..Endpoints::default()
    };
    let mut lane = client.dial(&to).unwrap();
    let body = bytes(8 * MIB, 1);
    let posting = Posting::start(&mut *lane, &client, order(id(3, 1), &body), &body);
    let broken = posting.and_then(|posting| posting.finish(&mut *lane));
    let broken = broken.unwrap_err();
    assert!(
        matches!(&broken, Broken::Refused(why) if why.contains("unknown kind 11")),
        "{broken}"
    );
    older.join().unwrap();
}
