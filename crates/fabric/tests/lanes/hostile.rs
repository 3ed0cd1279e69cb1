//! Peers that mean no good, or know no better.

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use fabric::wire::{FrameReader, Hello, Memory, Message, Next, Proof, Region, Status, encode};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::shelf::{bytes, id};
use crate::support::{Client, MIB, Served, eventually, read, whole};

/// A client that says what it likes.
struct Raw {
    socket: UnixStream,
    reader: FrameReader,
}

impl Raw {
    fn new(served: &Served) -> Self {
        let socket = UnixStream::connect(served.socket()).unwrap();
        let patience = Some(Duration::from_secs(20));
        socket.set_read_timeout(patience).unwrap();
        Self {
            socket,
            reader: FrameReader::new(),
        }
    }

    fn send(&mut self, message: &Message, files: &[BorrowedFd<'_>]) {
        let mut frame = Vec::new();
        encode(0, message, &mut frame).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !files.is_empty() {
            assert!(beside.push(SendAncillaryMessage::ScmRights(files)));
        }
        let parts = [IoSlice::new(&frame)];
        sendmsg(&self.socket, &parts, &mut beside, SendFlags::NOSIGNAL).unwrap();
    }

    fn receive(&mut self) -> io::Result<Message> {
        loop {
            match self.reader.next().unwrap() {
                Next::Frame(frame) => return Ok(frame.message),
                Next::NeedMore => match self.socket.read(self.reader.space())? {
                    0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                    got => self.reader.filled(got),
                },
                Next::Data(_) => panic!("data"),
            }
        }
    }

    /// Introduces itself without memory.
    fn open(&mut self) -> String {
        self.introduce(Vec::new(), &[])
    }

    /// Introduces itself with memory, if there is any; gives what the server makes of it. Without, the files
    /// are beside the Hello, where nobody looks for them.
    fn offer(mut self, regions: Vec<Region>, files: &[BorrowedFd<'_>]) -> String {
        self.introduce(regions, files)
    }

    fn introduce(&mut self, regions: Vec<Region>, files: &[BorrowedFd<'_>]) -> String {
        let offers = !regions.is_empty();
        let hello = Hello {
            nonce: [7; 16],
            offers,
            name: "raw".into(),
        };
        let (early, late) = match offers {
            true => (&[][..], files),
            false => (files, &[][..]),
        };
        self.send(&Message::Hello(hello), early);
        assert!(matches!(self.receive().unwrap(), Message::Challenge(_)));
        self.send(&Message::Proof(Proof::EMPTY), &[]);
        if offers {
            assert!(matches!(self.receive().unwrap(), Message::Welcome(_)));
            self.send(&Message::Memory(Memory { regions }), late);
        }
        match self.receive().unwrap() {
            Message::Welcome(_) | Message::Ready => "welcome".into(),
            Message::Refusal(refusal) => refusal.reason,
            other => panic!("{other:?}"),
        }
    }
}

fn memory(size: usize, seals: SealFlags) -> OwnedFd {
    let file = memfd_create("raw", MemfdFlags::ALLOW_SEALING | MemfdFlags::CLOEXEC).unwrap();
    ftruncate(&file, size as u64).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

fn region(len: usize) -> Region {
    Region {
        len: len as u64,
        base: 0,
        key: 0,
    }
}

#[test]
fn memory_that_could_vanish_or_is_none_is_refused() {
    let served = Served::with(|config| config.memory_limit = 3 * MIB as u64);
    let good = memory(2 * MIB, SealFlags::SHRINK);
    let open = memory(2 * MIB, SealFlags::GROW);
    let other = memory(2 * MIB, SealFlags::SHRINK);
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    let (pipe, _other_end) = rustix::pipe::pipe().unwrap();
    let one = || vec![region(2 * MIB)];
    let cases: [(Vec<Region>, Vec<&OwnedFd>, &str); 10] = [
        (one(), vec![&good], "welcome"),
        (
            one(),
            vec![&open],
            "region 0: the file is not sealed against shrinking",
        ),
        (one(), vec![&file], "region 0: the file is no memfd"),
        (one(), vec![&pipe], "region 0: the file is no memfd"),
        (one(), vec![], "1 regions and 0 descriptors for them"),
        (vec![], vec![&good], "welcome"),
        (
            one(),
            vec![&good, &other],
            "1 regions and 2 descriptors for them",
        ),
        (
            vec![region(MIB)],
            vec![&good],
            "region 0: 1048576 bytes in a file of 2097152",
        ),
        (
            vec![region(2 * MIB), region(2 * MIB)],
            vec![&good, &other],
            "region 1: with 2097152 bytes more, more than 3145728 would be mapped",
        ),
        (
            vec![region(2 * MIB), region(2 * MIB)],
            vec![&good, &good],
            "welcome",
        ),
    ];
    for (regions, files, expected) in cases {
        let files: Vec<_> = files.iter().map(|file| file.as_fd()).collect();
        assert_eq!(Raw::new(&served).offer(regions, &files), expected);
        assert!(eventually(|| served.server().stats().mapped.get() == 0));
    }
    // Over TCP there is no memory.
    let mut socket = TcpStream::connect(served.server().tcp_address().unwrap()).unwrap();
    let mut frames = Vec::new();
    let hello = Hello {
        nonce: [7; 16],
        offers: true,
        name: String::new(),
    };
    encode(0, &Message::Hello(hello), &mut frames).unwrap();
    encode(0, &Message::Proof(Proof::EMPTY), &mut frames).unwrap();
    let memory = Memory { regions: one() };
    encode(0, &Message::Memory(memory), &mut frames).unwrap();
    socket.write_all(&frames).unwrap();
    let mut said = Vec::new();
    let _ = socket.read_to_end(&mut said);
    assert!(String::from_utf8_lossy(&said).contains("memory cannot be reached over tcp"));
}

/// A connection to do mischief with.
enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => socket.write(bytes),
            Self::Tcp(socket) => socket.write(bytes),
        }
    }

    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(socket) => socket.read(to),
            Self::Tcp(socket) => socket.read(to),
        }
    }

    fn set_nonblocking(&self) {
        match self {
            Self::Unix(socket) => socket.set_nonblocking(true).unwrap(),
            Self::Tcp(socket) => socket.set_nonblocking(true).unwrap(),
        }
    }
}

#[test]
fn a_thousand_hostile_connections_do_not_stop_the_service() {
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: files.maximum,
        ..files
    };
    setrlimit(Resource::Nofile, all).unwrap();

    let served = Served::with(|config| {
        config.patience = Duration::from_secs(2);
        // Fewer than there are enemies: they are no lanes and take no lane's room.
        config.max_lanes = 8;
    });
    let client = Client::new();
    served.shelf.put(id(1, 1), bytes(100_000, 1), false);
    let mut hello = Vec::new();
    let message = Message::Hello(Hello {
        nonce: [1; 16],
        offers: true,
        name: "mischief".into(),
    });
    encode(0, &message, &mut hello).unwrap();
    let mut huge = hello.clone();
    huge[4..8].copy_from_slice(&u32::MAX.to_le_bytes());

    let address = served.server().tcp_address().unwrap();
    let mut enemies: Vec<Socket> = (0..1000)
        .map(|number| match number % 2 {
            0 => Socket::Tcp(TcpStream::connect(address).unwrap()),
            _ => Socket::Unix(UnixStream::connect(served.socket()).unwrap()),
        })
        .collect();
    for (number, enemy) in enemies.iter_mut().enumerate() {
        enemy.set_nonblocking();
        let _ = match number / 2 % 5 {
            0 => enemy.write(&bytes(3000, number as u64)),
            1 => enemy.write(&hello[..30]),
            2 => Ok(0),
            3 => enemy.write(&huge),
            // The first of many single bytes.
            _ => enemy.write(&hello[..1]),
        };
    }
    // Good ones come and read while the bad ones are at it.
    let since = Instant::now();
    let mut worst = Duration::ZERO;
    let mut position = 1;
    while since.elapsed() < Duration::from_millis(1500) {
        for carrier in ["shm", "tcp"] {
            let start = Instant::now();
            let mut lane = served.lane(&client, carrier);
            let reading = read(&mut *lane, &client.arena, &[(id(1, 1), whole(100_000))]);
            assert!(reading.slots[0].verified().is_ok());
            worst = worst.max(start.elapsed());
            lane.close();
        }
        for enemy in enemies.iter_mut().skip(8).step_by(10) {
            let _ = enemy.write(&hello[position..position + 1]);
        }
        position = (position + 1).min(hello.len() - 10);
    }
    println!("a lane and a read amid 1,000 enemies took at most {worst:?}");
    // All of them are gone when their time is over.
    assert!(eventually(|| served.server().stats().refused.get() >= 1000));
    for (number, enemy) in enemies.iter_mut().enumerate() {
        let gone = eventually(|| {
            let mut buffer = [0; 4096];
            loop {
                match enemy.read(&mut buffer) {
                    Ok(0) => return true,
                    // A refusal.
                    Ok(_) => {}
                    Err(error) => return error.kind() != io::ErrorKind::WouldBlock,
                }
            }
        });
        assert!(gone, "{number} is still connected");
    }
    let mut lane = served.lane(&client, "tcp");
    let reading = read(&mut *lane, &client.arena, &[(id(1, 2), whole(1))]);
    assert_eq!(reading.slots[0].status(), Status::Absent);
}

#[test]
fn a_flood_of_handshakes_does_not_keep_out_who_finishes_one() {
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: files.maximum,
        ..files
    };
    setrlimit(Resource::Nofile, all).unwrap();
    let served = Served::with(|config| config.patience = Duration::from_secs(60));
    let client = Client::new();
    // More than may be opening at once; none of them ever says anything.
    let silent: Vec<_> = (0..1500)
        .map(|_| UnixStream::connect(served.socket()).unwrap())
        .collect();
    let lane = served.lane(&client, "shm");
    lane.close();
    assert!(eventually(|| served.server().stats().refused.get() >= 400));
    drop(silent);
}

#[test]
fn reads_beyond_the_limits_end_the_lane_in_words() {
    let served = Served::new();
    let mut raw = Raw::new(&served);
    let file = memory(2 * MIB, SealFlags::SHRINK);
    let offered = raw.introduce(vec![region(2 * MIB)], &[file.as_fd()]);
    assert_eq!(offered, "welcome");
    raw.send(&Message::Ping, &[]);
    assert!(matches!(raw.receive().unwrap(), Message::Pong));
    let item = fabric::wire::Item {
        needle: id(1, 1),
        extent: whole(MIB),
        place: fabric::wire::Place::Region {
            region: 0,
            offset: MIB as u64 + 1,
        },
    };
    let read = fabric::wire::Read { items: vec![item] };
    raw.send(&Message::Read(read), &[]);
    let Message::Refusal(refusal) = raw.receive().unwrap() else {
        panic!("no refusal");
    };
    assert!(
        refusal.reason.contains("outside region 0"),
        "{}",
        refusal.reason
    );
    assert!(raw.receive().is_err());
    assert_eq!(served.server().stats().ended.get(), 1);
}

#[test]
fn a_client_that_never_stops_asking_does_not_keep_a_worker() {
    let served = Served::with(|config| config.workers = 1);
    let client = Client::new();
    served.shelf.put(id(1, 1), bytes(1000, 1), false);
    let mut raw = Raw::new(&served);
    let socket = raw.socket.try_clone().unwrap();
    assert_eq!(raw.open(), "welcome");
    // Pings without end, whose answers are taken, so that it is not a matter of a full socket.
    let mut pings = Vec::new();
    for _ in 0..1000 {
        encode(1, &Message::Ping, &mut pings).unwrap();
    }
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let mut from = socket.try_clone().unwrap();
        let mut to = socket.try_clone().unwrap();
        let (is_over, pings) = (&is_over, &pings);
        scope.spawn(move || {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) && to.write_all(pings).is_ok()
            {
            }
            let _ = to.shutdown(std::net::Shutdown::Both);
        });
        scope.spawn(move || while let Ok(1..) = from.read(&mut [0; 64 << 10]) {});
        let mut lane = served.lane(&client, "shm");
        for _ in 0..100 {
            let reading = read(&mut *lane, &client.arena, &[(id(1, 1), whole(1000))]);
            assert!(reading.slots[0].verified().is_ok());
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
