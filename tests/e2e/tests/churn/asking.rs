//! One question, put to the volume server and to the sidecar in each of its ways.

use std::thread;
use std::time::{Duration, Instant};

use context::Context;
use e2e::{Scene, Sidecar};
use fabric::announce::{Announcement, Endpoints, this_host};
use fabric::carrier::{Dial, Dialer, DialerConfig};
use fabric::lane::{Answered, Inbox, Lane};
use fabric::memory::{Arena, ArenaConfig, Landing};
use fabric::wire::{self, Extent, Item, Place, Status};
use seaweed::FileId;
use seaweed::crc::crc32c;

use super::answer::{Answer, Part, Way, inflate};

/// A thread's connections to both.
pub(super) struct Asker<'a> {
    scene: &'a Scene,
    sidecar: &'a Sidecar,
    server: String,
    arena: Arena,
    shared_memory: Box<dyn Lane>,
    tcp: Box<dyn Lane>,
    exchanges: u64,
}

impl<'a> Asker<'a> {
    pub(super) fn new(scene: &'a Scene, sidecar: &'a Sidecar) -> Self {
        let announced: Announcement = serde_json::from_value(sidecar.health().unwrap()).unwrap();
        let arena = Arena::new(ArenaConfig {
            size: 4 * ROOM as usize,
            keep: ROOM as usize,
            quarantine: ROOM as usize,
            reserved_pages: false,
        })
        .unwrap();
        let dialer = Dialer::new(DialerConfig {
            name: "e2e".to_owned(),
            host: this_host().unwrap(),
            read_key: None,
            tls: None,
            arena: Some(arena.clone()),
            remote_reads: false,
            trusted: Vec::new(),
            patience: PATIENCE,
        });
        let dial = |to| dialer.dial(&Context::background(PATIENCE), &to).unwrap();
        let all = announced.fabric;
        let tcp = dial(Endpoints {
            unix: None,
            ..all.clone()
        });
        let shared_memory = dial(Endpoints { tcp: None, ..all });
        assert_eq!((shared_memory.carrier(), tcp.carrier()), ("shm", "tcp"));
        Self {
            scene,
            sidecar,
            server: scene.cluster.volume_http(0),
            arena,
            shared_memory,
            tcp,
            exchanges: 0,
        }
    }

    /// What the sidecar has to say, if it is asked in that way, by the volume server's own account. One that breaks off
    /// has failed.
    pub(super) fn server(&self, id: FileId, part: Part, way: Way) -> Answer {
        let range = part.map(|(offset, len)| format!("bytes={offset}-{}", offset + len - 1));
        // What travels over the fabric is what is stored.
        let headers = match &range {
            Some(range) => vec![("Range", range.as_str())],
            None if way == Way::Http => Vec::new(),
            None => vec![("Accept-Encoding", "gzip")],
        };
        let target = format!("{}/{id}", self.server);
        let answer = match self
            .scene
            .cluster
            .http()
            .send("GET", &target, &headers, b"")
        {
            Ok(answer) => answer,
            Err(_) => return Answer::new(500, false, Vec::new()),
        };
        let is_gzip = answer.header("content-encoding") == Some("gzip");
        let answer = Answer::new(answer.status, is_gzip, answer.body);
        match part {
            Some((_, len)) if answer.body.len() < len && way != Way::Http => match answer.status {
                200 => Answer::new(416, false, Vec::new()),
                _ => answer,
            },
            _ => answer,
        }
    }

    /// What the sidecar says.
    pub(super) fn sidecar(&mut self, id: FileId, part: Part, way: Way) -> Answer {
        if way == Way::Http {
            let query = match part {
                Some((offset, len)) => format!("file_id={id}&offset={offset}&size={len}"),
                None => format!("file_id={id}"),
            };
            let answer = self.sidecar.read(&query);
            return Answer::new(answer.status, false, answer.body);
        }
        let whole = Extent::Whole { room: ROOM };
        let Some((offset, len)) = part else {
            return self.exchange(id, whole, way).answer();
        };
        let range = Extent::Range {
            offset: offset as u64,
            len: len as u32,
        };
        let received = self.exchange(id, range, way);
        if received.status() != Status::Gzip {
            return received.answer();
        }
        // As a mount does.
        let all = self.exchange(id, whole, way).answer();
        match all.is_gzip {
            true => Answer::cut(&inflate(&all.body), part, way),
            // It was overwritten by another that is not compressed, or is gone.
            false if all.status == 200 => Answer::cut(&all.body, part, way),
            false => all,
        }
    }

    fn exchange(&mut self, needle: FileId, extent: Extent, way: Way) -> Received {
        self.exchanges += 1;
        let lane = match way {
            Way::SharedMemory => &mut self.shared_memory,
            _ => &mut self.tcp,
        };
        let mut received = Received::default();
        let mut place = Place::Inline;
        if let Some(region) = lane.region() {
            let landing = self.arena.take(extent.room() as usize).unwrap().offer();
            place = landing.place(region);
            received.landing = Some(landing);
        }
        let item = Item {
            needle,
            extent,
            place,
        };
        lane.start(self.exchanges, &[item]).unwrap();
        let start = Instant::now();
        while !lane.advance(&mut received).unwrap() {
            assert!(start.elapsed() < PATIENCE, "{needle}: no answer by {way:?}");
            thread::sleep(Duration::from_micros(200));
        }
        received
    }
}

/// An answer over the fabric, whose bytes come inline or in memory that was offered.
#[derive(Default)]
struct Received {
    landing: Option<Landing>,
    bytes: Vec<u8>,
    answer: Option<wire::Answer>,
}

impl Received {
    fn status(&self) -> Status {
        self.answer.unwrap().status
    }

    fn answer(self) -> Answer {
        let status = match self.status() {
            Status::Done => {
                assert_eq!(crc32c(&self.bytes), self.answer.unwrap().crc);
                200
            }
            Status::Absent | Status::NotHere => 404,
            Status::PastEnd => 416,
            Status::Declined | Status::Loading | Status::Busy => 503,
            other => panic!("{other:?}"),
        };
        Answer::new(status, self.answer.unwrap().is_gzip, self.bytes)
    }
}

impl Inbox for Received {
    fn memory(&mut self, answered: &Answered) -> Option<&mut [u8]> {
        self.bytes.resize(answered.len as usize, 0);
        Some(&mut self.bytes)
    }

    fn done(&mut self, answered: &Answered) {
        let block = self.landing.take().map(|landing| landing.reclaim(answered));
        if let Some(block) = block
            && !answered.is_inline
        {
            self.bytes = block.unwrap()[..answered.len as usize].to_vec();
        }
        self.answer = Some(**answered);
    }
}

/// For one needle, more than any has.
const ROOM: u32 = 8 << 20;
/// On a busy machine anything may take seconds.
const PATIENCE: Duration = Duration::from_secs(30);
