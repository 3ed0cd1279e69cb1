//! Time, the network, and everything that goes wrong.

use std::cmp::{Ordering, Reverse};
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fabric::client::{
    BreakerConfig, Config, Handshake, HedgeConfig, Nearness, Peer, Policy, Random,
};
use fabric::server::{Session, Terms};
use fabric::wire::{FrameReader, Item, Way, Written};
use seaweed::jwt::SigningKey;

use crate::client::{Client, InFlight, Reading, Slot};
use crate::shelf::{Content, Truth, Version};
use crate::writes::{Incoming, Post, Sending};

/// A client that is wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    None,
    /// Takes every answer for right.
    IgnoresChecksums,
    /// Gives memory away again as soon as nobody waits for its writer.
    ReusesMemory,
    /// Comes back a second later than it was told.
    Oversleeps,
    /// Has a policy of its own for every call.
    SharesNothing,
    /// Never tells the call of an answer.
    KeepsAnswers,
    /// Believes the first replica that says a needle is absent.
    InventsAbsence,
    /// Takes a write that nobody answers for done.
    BelievesSilence,
    /// Hands on whatever came. A sidecar, as the next one.
    StoresUnchecked,
    /// Hands on although the lane is closed, and the time is over.
    HandsOnLate,
}

/// What happened, to see that it did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) delivered: u64,
    pub(crate) in_region: u64,
    pub(crate) told: u64,
    pub(crate) absent: u64,
    pub(crate) suspect: u64,
    pub(crate) fallbacks: std::collections::BTreeMap<&'static str, u64>,
    pub(crate) hedges: u64,
    pub(crate) by_another: u64,
    pub(crate) wrong_checksums: u64,
    pub(crate) late_writes: u64,
    pub(crate) broken_streams: u64,
    pub(crate) kept: u64,
    pub(crate) kept_from_region: u64,
    pub(crate) refused: u64,
    pub(crate) unsent: std::collections::BTreeMap<&'static str, u64>,
    pub(crate) wrong_bodies: u64,
    pub(crate) dropped: u64,
    pub(crate) silent: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, more: &Self) {
        self.delivered += more.delivered;
        self.in_region += more.in_region;
        self.told += more.told;
        self.absent += more.absent;
        self.suspect += more.suspect;
        self.hedges += more.hedges;
        self.by_another += more.by_another;
        self.wrong_checksums += more.wrong_checksums;
        self.late_writes += more.late_writes;
        self.broken_streams += more.broken_streams;
        self.kept += more.kept;
        self.kept_from_region += more.kept_from_region;
        self.refused += more.refused;
        self.wrong_bodies += more.wrong_bodies;
        self.dropped += more.dropped;
        self.silent += more.silent;
        for (reason, count) in &more.fallbacks {
            *self.fallbacks.entry(reason).or_default() += count;
        }
        for (reason, count) in &more.unsent {
            *self.unsent.entry(reason).or_default() += count;
        }
    }

    /// A simulation in which nothing happens promises nothing.
    pub(crate) fn check_coverage(&self) {
        for (what, count) in [
            ("delivered", self.delivered),
            ("delivered in a region", self.in_region),
            ("told", self.told),
            ("absent", self.absent),
            ("suspect", self.suspect),
            ("hedge", self.hedges),
            ("delivered by another than the first", self.by_another),
            ("wrong checksum", self.wrong_checksums),
            ("late write", self.late_writes),
            ("broken stream", self.broken_streams),
            ("kept", self.kept),
            ("kept, out of a region", self.kept_from_region),
            ("refused by the volume server", self.refused),
            ("body with another checksum", self.wrong_bodies),
            ("write dropped", self.dropped),
            ("kept and not told", self.silent),
        ] {
            assert!(count > 20, "{what}: seen {count} times only");
        }
        for reason in [
            "no_permit",
            "open_breaker",
            "unreachable",
            "broken",
            "timeout",
            "busy",
            "not_here",
            "declined",
            "loading",
            "failed",
        ] {
            let count = self.fallbacks.get(reason).copied().unwrap_or(0);
            assert!(count > 5, "{reason}: seen {count} times only");
        }
        for reason in [
            "no_permit",
            "open_breaker",
            "unreachable",
            "broken",
            "timeout",
            "busy",
            "corrupt",
            "declined",
            "failed",
        ] {
            let count = self.unsent.get(reason).copied().unwrap_or(0);
            assert!(count > 5, "{reason}, of writes: seen {count} times only");
        }
    }
}

pub(crate) enum Event {
    ToServer {
        lane: usize,
        bytes: Vec<u8>,
    },
    ToClient {
        lane: usize,
        packet: Packet,
    },
    Serve {
        lane: usize,
        id: u64,
        items: Vec<Item>,
    },
    /// The client has closed the lane.
    Hangup {
        lane: usize,
    },
    /// Nobody listens where the client wanted to connect.
    NoListener {
        lane: usize,
    },
    Begin {
        client: usize,
    },
    Wake {
        client: usize,
        reading: usize,
    },
    Change,
    Trouble,
    /// A client writes.
    Post {
        client: usize,
    },
    WakePost {
        client: usize,
        post: usize,
    },
    /// All of a write is there, and a thread gets to it.
    HandOn {
        lane: usize,
        id: u64,
    },
    /// The volume server has answered.
    Settled {
        lane: usize,
        id: u64,
        written: Written,
    },
    /// A write has to have arrived by now.
    Overdue {
        lane: usize,
        id: u64,
    },
}

/// What travels to a client.
pub(crate) enum Packet {
    Bytes(Vec<u8>),
    /// Past the client's processor, into its memory.
    Write {
        offset: u64,
        bytes: Vec<u8>,
    },
    /// The server's end is closed: nothing more comes, nothing more is written.
    Retired,
}

pub(crate) struct Server {
    pub(crate) is_dead: bool,
    pub(crate) frozen_until: Option<Instant>,
    pub(crate) maps: bool,
    pub(crate) inline_up_to: u64,
    pub(crate) damaged: Vec<bool>,
    pub(crate) lost: Vec<bool>,
    /// What the volume server beside it was given to keep, by the key.
    pub(crate) depot: HashMap<u64, Vec<u8>>,
}

/// Both ends of a connection.
pub(crate) struct Lane {
    pub(crate) client: usize,
    pub(crate) server: usize,
    pub(crate) session: Session,
    pub(crate) server_reader: FrameReader,
    pub(crate) is_served: bool,
    pub(crate) reader: FrameReader,
    pub(crate) handshake: Option<Handshake>,
    /// The client listens.
    pub(crate) is_used: bool,
    pub(crate) exchange: Option<InFlight>,
    pub(crate) sending: Option<Sending>,
    pub(crate) incoming: Option<Incoming>,
    /// When the server hears that the client has closed it.
    pub(crate) hung_up: Option<Instant>,
    /// When the last bytes of each direction arrive.
    up: Instant,
    down: Instant,
    /// When the last write arrives. No carrier lets an answer overtake what it answers for.
    written: Instant,
}

struct Scheduled {
    at: Instant,
    number: u64,
    event: Event,
}

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) random: Random,
    pub(crate) mutant: Mutant,
    pub(crate) truth: Truth,
    pub(crate) servers: Vec<Server>,
    pub(crate) clients: Vec<Client>,
    pub(crate) lanes: Vec<Lane>,
    pub(crate) buffer: Vec<u8>,
    pub(crate) tally: Tally,
    pub(crate) complaint: Option<String>,
    pub(crate) key: Option<SigningKey>,
    /// Whose write every key is.
    pub(crate) posted: Vec<(usize, usize)>,
    /// When the trouble is over.
    calm_from: Instant,
    /// When breakers have to be closed again.
    pub(crate) well_from: Instant,
    end: Instant,
    /// Of 1000 chunks, how many are damaged in each way.
    faulty: u64,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
}

impl World {
    pub(crate) fn new(seed: u64, mutant: Mutant) -> Self {
        let mut random = Random::new(seed);
        let now = Instant::now();
        let needles = 12;
        let servers = 1 + random.below(3) as usize;
        let truth = Truth {
            needles: (0..needles)
                .map(|_| {
                    let content = Some(Content::random(&mut random));
                    vec![Version { from: now, content }]
                })
                .collect(),
        };
        let config = Config {
            timeout: Duration::from_millis(100 + random.below(200)),
            max_concurrent: 2 + random.below(4) as usize,
            hedge: HedgeConfig {
                percent: random.below(30) as u32,
                unknown: Duration::from_millis(5),
                ..HedgeConfig::default()
            },
            breaker: BreakerConfig {
                first_pause: Duration::from_millis(20),
                max_pause: Duration::from_millis(200),
            },
            overload: 2 + random.below(4) as usize,
            forget_after: Duration::from_millis(50),
            ..Config::default()
        };
        let mut is_rare = |one_in: u64| random.below(one_in) == 0;
        let servers: Vec<_> = (0..servers)
            .map(|_| Server {
                is_dead: false,
                frozen_until: None,
                maps: is_rare(2),
                inline_up_to: if is_rare(2) { 4096 } else { 0 },
                damaged: (0..needles).map(|_| is_rare(25)).collect(),
                lost: (0..needles).map(|_| is_rare(25)).collect(),
                depot: HashMap::new(),
            })
            .collect();
        let has_key = is_rare(2);
        let clients = 1 + random.below(2);
        let clients = (0..clients).map(|_| Client {
            policy: Arc::new(Policy::new(config.clone(), random.next())),
            config: config.clone(),
            peers: (0..servers.len())
                .map(|at| {
                    let name = format!("sidecar {at}");
                    Arc::new(Peer::new(name, &config, random.next()))
                })
                .collect(),
            writing: (0..servers.len())
                .map(|at| {
                    let name = format!("sidecar {at} (writes)");
                    Arc::new(Peer::new(name, &config, random.next()))
                })
                .collect(),
            posts: Vec::new(),
            nearness: servers
                .iter()
                .map(|_| match random.below(3) {
                    0 => Nearness::Local,
                    1 => Nearness::Rack,
                    _ => Nearness::Other,
                })
                .collect(),
            slots: (0..3 + random.below(4)).map(|_| Slot::default()).collect(),
            readings: Vec::new(),
            begun: 0,
            hedges: 0,
        });
        let clients = clients.collect();
        let ms = Duration::from_millis;
        Self {
            now,
            clients,
            mutant,
            truth,
            servers,
            lanes: Vec::new(),
            buffer: Vec::new(),
            tally: Tally::default(),
            complaint: None,
            posted: Vec::new(),
            key: has_key.then(|| SigningKey::new(b"read key", None)),
            calm_from: now + ms(600),
            well_from: now + ms(1200),
            end: now + ms(1400),
            faulty: [0, 3, 15, 60][random.below(4) as usize],
            queue: BinaryHeap::new(),
            scheduled: 0,
            random,
        }
    }

    /// Runs to the end.
    pub(crate) fn run(mut self) -> Result<Tally, String> {
        for client in 0..self.clients.len() {
            self.after(Duration::ZERO, Event::Begin { client });
            self.after(Duration::ZERO, Event::Post { client });
        }
        self.after(Duration::from_millis(10), Event::Change);
        self.after(Duration::from_millis(30), Event::Trouble);
        while let Some(Reverse(next)) = self.queue.pop() {
            self.now = next.at;
            self.happen(next.event);
            if let Some(complaint) = self.complaint {
                return Err(complaint);
            }
        }
        for client in &self.clients {
            for peer in client.peers.iter().chain(&client.writing) {
                if peer.is_left_alone(self.now) {
                    return Err(format!("{} is left alone after the trouble", peer.name()));
                }
                if peer.in_flight() != 0 {
                    return Err(format!("{} has reads in flight at the end", peer.name()));
                }
            }
            if client.policy.in_flight() != 0 || client.readings.iter().any(Reading::is_going_on) {
                return Err("a call has not ended, or keeps its permit".to_owned());
            }
            if client.policy.writes_in_flight() != 0 || client.posts.iter().any(Post::is_going_on) {
                return Err("a write has not ended, or keeps its permit".to_owned());
            }
        }
        Ok(self.tally)
    }

    pub(crate) fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    pub(crate) fn at(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        let number = self.scheduled;
        self.queue.push(Reverse(Scheduled { at, number, event }));
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.now >= self.calm_from
    }

    pub(crate) fn complain(&mut self, what: String) {
        self.complaint.get_or_insert(what);
    }

    /// A new connection; it may turn out that nobody listens.
    pub(crate) fn connect(&mut self, client: usize, server: usize, handshake: Handshake) -> usize {
        let terms = Terms {
            key: self.key.clone(),
            ..Terms::default()
        };
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.random.next().to_le_bytes());
        self.lanes.push(Lane {
            client,
            server,
            session: Session::new(terms, Way::Tcp, nonce, self.now),
            server_reader: FrameReader::new(),
            is_served: !self.servers[server].is_dead,
            reader: FrameReader::new(),
            handshake: Some(handshake),
            is_used: true,
            exchange: None,
            sending: None,
            incoming: None,
            hung_up: None,
            up: self.now,
            down: self.now,
            written: self.now,
        });
        let lane = self.lanes.len() - 1;
        if self.servers[server].is_dead {
            self.after(Duration::from_micros(100), Event::NoListener { lane });
        }
        lane
    }

    /// Bytes on their way to a server.
    pub(crate) fn send_up(&mut self, lane: usize, bytes: Vec<u8>) {
        for (bytes, is_early) in self.maul(bytes) {
            let at = match is_early {
                true => self.now,
                false => self.lanes[lane].up.max(self.now + self.delay()),
            };
            self.lanes[lane].up = self.lanes[lane].up.max(at);
            self.at(at, Event::ToServer { lane, bytes });
        }
    }

    /// The client has closed its end.
    pub(crate) fn hang_up(&mut self, lane: usize) {
        let at = self.lanes[lane].up.max(self.now + self.delay());
        self.lanes[lane].hung_up = Some(at);
        self.at(at, Event::Hangup { lane });
    }

    /// Something on its way to a client.
    pub(crate) fn send_down(&mut self, lane: usize, packet: Packet) {
        let packets = match packet {
            Packet::Bytes(bytes) => {
                let mauled = self.maul(bytes).into_iter();
                mauled
                    .map(|(bytes, is_early)| (Packet::Bytes(bytes), is_early))
                    .collect()
            }
            Packet::Write { offset, bytes } => match self.maul_write(bytes) {
                Some(bytes) => vec![(Packet::Write { offset, bytes }, false)],
                None => vec![],
            },
            Packet::Retired => vec![(Packet::Retired, false)],
        };
        for (packet, is_early) in packets {
            let at = match is_early {
                true => self.lanes[lane].written.max(self.now),
                false => self.lanes[lane].down.max(self.now + self.delay()),
            };
            if let Packet::Write { .. } = packet {
                self.lanes[lane].written = at;
            }
            self.lanes[lane].down = self.lanes[lane].down.max(at);
            self.at(at, Event::ToClient { lane, packet });
        }
    }

    fn delay(&mut self) -> Duration {
        let micros = match self.random.below(50) {
            0 if !self.is_calm() => 20_000,
            _ => 200,
        };
        Duration::from_micros(10 + self.random.below(micros))
    }

    /// Splits bytes, and damages them in all ways; tells which come before what was sent earlier.
    fn maul(&mut self, bytes: Vec<u8>) -> Vec<(Vec<u8>, bool)> {
        let mut chunks = vec![bytes];
        while self.random.below(3) == 0
            && let Some(last) = chunks.pop()
        {
            let at = self.random.below(last.len() as u64 + 1) as usize;
            let (head, tail) = last.split_at(at);
            chunks.extend([head.to_vec(), tail.to_vec()]);
        }
        chunks.retain(|chunk| !chunk.is_empty());
        let mut mauled = Vec::new();
        for mut chunk in chunks {
            if self.is_calm() || self.random.below(1000) >= self.faulty {
                mauled.push((chunk, false));
                continue;
            }
            match self.random.below(5) {
                0 => {}
                1 => mauled.extend([(chunk.clone(), false), (chunk, false)]),
                2 => mauled.push((chunk, true)),
                _ => {
                    let at = self.random.below(chunk.len() as u64) as usize;
                    chunk[at] ^= 1 << self.random.below(8);
                    mauled.push((chunk, false));
                }
            }
        }
        mauled
    }

    fn maul_write(&mut self, mut bytes: Vec<u8>) -> Option<Vec<u8>> {
        if !bytes.is_empty() && !self.is_calm() && self.random.below(1000) < self.faulty {
            if self.random.below(3) == 0 {
                return None;
            }
            let at = self.random.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << self.random.below(8);
        }
        Some(bytes)
    }

    fn happen(&mut self, event: Event) {
        let server = match &event {
            Event::ToServer { lane, .. }
            | Event::Serve { lane, .. }
            | Event::Hangup { lane }
            | Event::HandOn { lane, .. }
            | Event::Settled { lane, .. }
            | Event::Overdue { lane, .. } => Some(self.lanes[*lane].server),
            _ => None,
        };
        let thawed = server.and_then(|server| self.servers[server].frozen_until);
        if let Some(thawed) = thawed
            && self.now < thawed
        {
            return self.at(thawed, event);
        }
        match event {
            Event::ToServer { lane, bytes } => self.server_receives(lane, &bytes),
            Event::Serve { lane, id, items } => self.server_serves(lane, id, &items),
            Event::Hangup { lane } => self.server_closes(lane),
            Event::ToClient { lane, packet } => self.client_receives(lane, packet),
            Event::NoListener { lane } => self.client_is_refused(lane),
            Event::Begin { client } => self.begin(client),
            Event::Wake { client, reading } => self.drive(client, reading),
            Event::Change => self.change(),
            Event::Trouble => self.trouble(),
            Event::Post { client } => self.post(client),
            Event::WakePost { client, post } => self.drive_post(client, post),
            Event::HandOn { lane, id } => self.server_hands_on(lane, id),
            Event::Settled { lane, id, written } => self.server_settles(lane, id, written),
            Event::Overdue { lane, id } => self.server_waits_no_longer(lane, id),
        }
        if self.now < self.end || !matches!(self.queue.peek(), Some(Reverse(_))) {
            return;
        }
        // Nothing new is begun after the end; what is under way comes to its own.
        self.queue.retain(|Reverse(next)| {
            !matches!(
                next.event,
                Event::Begin { .. } | Event::Post { .. } | Event::Change | Event::Trouble
            )
        });
    }

    /// Somebody writes to the cluster.
    fn change(&mut self) {
        let needle = self.random.below(self.truth.needles.len() as u64) as usize;
        let content = match self.random.below(4) {
            0 => None,
            _ => Some(Content::random(&mut self.random)),
        };
        let from = self.now;
        self.truth.needles[needle].push(Version { from, content });
        let wait = Duration::from_micros(1 + self.random.below(60_000));
        self.after(wait, Event::Change);
    }

    fn trouble(&mut self) {
        let server = self.random.below(self.servers.len() as u64) as usize;
        if self.is_calm() {
            for server in &mut self.servers {
                server.is_dead = false;
                server.damaged.fill(false);
            }
            return;
        }
        match self.random.below(4) {
            0 if !self.servers[server].is_dead => {
                self.servers[server].is_dead = true;
                self.servers[server].frozen_until = None;
                for lane in 0..self.lanes.len() {
                    if self.lanes[lane].server == server {
                        self.server_closes(lane);
                    }
                }
            }
            1 => self.servers[server].is_dead = false,
            _ if !self.servers[server].is_dead => {
                let frozen = Duration::from_micros(self.random.below(400_000));
                let until = (self.now + frozen).min(self.calm_from);
                self.servers[server].frozen_until = Some(until);
            }
            _ => {}
        }
        let wait = Duration::from_micros(1 + self.random.below(120_000));
        let at = (self.now + wait).min(self.calm_from);
        self.at(at, Event::Trouble);
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}
