//! How fast lanes are on this machine, with needles in memory: `cargo run --release -p fabric
//! --example lanes`.
//!
//! One client, one lane, one read at a time; so what is seen is the latency of the way. The rates
//! are those of that one lane. The needles are copied by the processor where a volume's would be by
//! pread(2).

#![allow(clippy::unwrap_used)]

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use context::Context;
use fabric::announce::{Endpoints, this_host};
use fabric::carrier::{Dial, Dialer, DialerConfig};
use fabric::lane::{Answered, Inbox, Lane};
use fabric::memory::{Arena, ArenaConfig, Block, Landing};
use fabric::serve::{Held, Miss, ReadFault, Shelf};
use fabric::server::{Server, ServerConfig};
use fabric::wire::{Extent, Item, Place, Status, VERSION};
use rustix::event::{PollFd, poll};
use seaweed::FileId;
use seaweed::crc::crc32c;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let unix = folder.path().join("fabric.sock");
    let config = ServerConfig {
        tcp: Some("127.0.0.1:0".parse().unwrap()),
        unix: Some(unix.clone()),
        ..ServerConfig::default()
    };
    let bytes: Arc<[u8]> = (0..8 * MIB).map(|n| (n % 251) as u8).collect();
    let server = Server::start(config, Arc::new(Memory::new(bytes))).unwrap();
    let endpoints = Endpoints {
        version: VERSION,
        host: this_host().unwrap(),
        unix: Some(unix.to_str().unwrap().into()),
        tcp: server.tcp_address().map(|address| address.to_string()),
        ..Endpoints::default()
    };
    let arena = Arena::new(ArenaConfig {
        size: 256 * MIB,
        keep: 256 * MIB,
        quarantine: 64 * MIB,
        reserved_pages: false,
    })
    .unwrap();
    let client = Client {
        dialer: Dialer::new(DialerConfig {
            name: "lanes".into(),
            host: endpoints.host.clone(),
            read_key: None,
            tls: None,
            arena: Some(arena.clone()),
            remote_reads: false,
            trusted: Vec::new(),
            patience: Duration::from_secs(1),
        }),
        arena,
    };
    let over_tcp = Endpoints {
        unix: None,
        ..endpoints.clone()
    };
    println!(
        "{:<34} {:>9} {:>9} {:>9} {:>9}",
        "", "p50 us", "p99 us", "MB/s", "reads/s"
    );
    for to in [&endpoints, &over_tcp] {
        for (name, extent) in [
            ("4 KiB, range", range(4 * KIB)),
            ("64 KiB, range", range(64 * KIB)),
            ("4 KiB, whole", whole(4 * KIB)),
            ("1 MiB, whole", whole(MIB)),
            ("8 MiB, whole", whole(8 * MIB)),
        ] {
            client.measure(to, name, extent, 1);
        }
        client.measure(to, "64 times 4 KiB, whole", whole(4 * KIB), 64);
    }
    server.stop(Duration::from_secs(1));
}

struct Client {
    dialer: Dialer,
    arena: Arena,
}

impl Client {
    fn measure(&self, to: &Endpoints, name: &str, extent: Extent, items: usize) {
        let ctx = Context::background(Duration::from_secs(10));
        let mut lane = self.dialer.dial(&ctx, to).unwrap();
        let name = format!("{} {name}", lane.carrier());
        let mut times = Vec::new();
        let len = extent.room() as usize;
        let since = Instant::now();
        while since.elapsed() < Duration::from_secs(2) {
            let start = Instant::now();
            self.read(&mut *lane, times.len() as u64, extent, items);
            times.push(start.elapsed());
        }
        let total = since.elapsed().as_secs_f64();
        let count = times.len();
        times.sort_unstable();
        let us = |share: usize| times[(count - 1) * share / 100].as_nanos() as f64 / 1e3;
        let rate = count as f64 / total;
        println!(
            "{name:<34} {:>9.1} {:>9.1} {:>9.0} {rate:>9.0}",
            us(50),
            us(99),
            rate * (len * items) as f64 / 1e6,
        );
    }

    fn read(&self, lane: &mut dyn Lane, id: u64, extent: Extent, items: usize) {
        let mut reading = Reading {
            slots: (0..items)
                .map(|_| {
                    let block = self.arena.take(extent.room() as usize).unwrap();
                    match lane.region() {
                        Some(_) => (Some(block.offer()), None),
                        None => (None, Some(block)),
                    }
                })
                .collect(),
        };
        let places = reading
            .slots
            .iter()
            .map(|slot| match (&slot.0, lane.region()) {
                (Some(landing), Some(region)) => landing.place(region),
                _ => Place::Inline,
            });
        let items: Vec<_> = places
            .map(|place| Item {
                needle: FileId {
                    volume: 1,
                    key: extent.room().into(),
                    cookie: 1,
                },
                extent,
                place,
            })
            .collect();
        lane.start(id, &items).unwrap();
        while !lane.advance(&mut reading).unwrap() {
            let (fd, what) = lane.wait_on();
            poll(&mut [PollFd::from_borrowed_fd(fd.as_fd(), what)], None).unwrap();
        }
    }
}

/// Checks every answer, as a mount would.
struct Reading {
    slots: Vec<(Option<Landing>, Option<Block>)>,
}

impl Reading {
    fn reclaim(&mut self, answer: &Answered) -> &mut Block {
        let slot = &mut self.slots[usize::from(answer.item)];
        if let Some(landing) = slot.0.take() {
            slot.1 = landing.reclaim(answer).ok();
        }
        slot.1.as_mut().unwrap()
    }
}

impl Inbox for Reading {
    fn memory(&mut self, answer: &Answered) -> Option<&mut [u8]> {
        Some(self.reclaim(answer))
    }

    fn done(&mut self, answer: &Answered) {
        assert_eq!(answer.status, Status::Done);
        let (len, crc) = (answer.len as usize, answer.crc);
        let block = self.reclaim(answer);
        assert_eq!(crc32c(&block[..len]), crc);
    }
}

fn whole(len: usize) -> Extent {
    Extent::Whole { room: len as u32 }
}

fn range(len: usize) -> Extent {
    Extent::Range {
        offset: 0,
        len: len as u32,
    }
}

/// Needles of some lengths, which are their keys.
struct Memory {
    bytes: Arc<[u8]>,
    sums: Vec<(u64, u32)>,
}

impl Memory {
    fn new(bytes: Arc<[u8]>) -> Self {
        let lens = [4 * KIB, 64 * KIB, MIB, 8 * MIB];
        let sums = lens.map(|len| (len as u64, crc32c(&bytes[..len])));
        Self {
            bytes,
            sums: sums.into(),
        }
    }
}

struct Needle {
    bytes: Arc<[u8]>,
    len: u64,
    crc: u32,
}

impl Shelf for Memory {
    type Needle = Needle;

    fn try_find(&self, needle: FileId) -> Option<Result<Needle, Miss>> {
        Some(self.find(needle))
    }

    fn find(&self, needle: FileId) -> Result<Needle, Miss> {
        let found = self.sums.iter().find(|(len, _)| *len == needle.key);
        let (len, crc) = *found.ok_or(Miss::Absent)?;
        Ok(Needle {
            bytes: self.bytes.clone(),
            len,
            crc,
        })
    }
}

impl Held for Needle {
    fn stored_len(&self) -> u64 {
        self.len
    }

    fn is_gzip(&self) -> bool {
        false
    }

    fn crc(&self) -> u32 {
        self.crc
    }

    fn is_cached(&self, _offset: u64, _len: usize) -> bool {
        true
    }

    fn will_need(&self, _offset: u64, _len: u64) {}

    fn read_at(&self, offset: u64, dst: &mut [u8]) -> Result<u32, ReadFault> {
        dst.copy_from_slice(&self.bytes[offset as usize..][..dst.len()]);
        Ok(crc32c(dst))
    }

    unsafe fn read_into(&self, offset: u64, dst: *mut u8, len: usize) -> Result<(), ReadFault> {
        let from = &self.bytes[offset as usize..][..len];
        // SAFETY: the caller has `len` bytes writable at `dst`.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), dst, len) };
        Ok(())
    }
}
