//! The clients: they drive real calls over lanes, and keep memory that servers write to.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fabric::client::{
    Call, Candidate, Config, Handshake, Nearness, Peer, Policy, Reason, Reply, Step, Verdict,
};
use fabric::wire::{
    Answer, Extent, Frame, Hello, Item, Memory, Message, Next, Place, Region, Status, Way, encode,
    encode_read,
};
use seaweed::crc::crc32c;

use crate::shelf::{Content, file_id};
use crate::world::{Event, Mutant, Packet, World};
use crate::writes::Post;

pub(crate) struct Client {
    pub(crate) policy: Arc<Policy>,
    pub(crate) config: Config,
    pub(crate) peers: Vec<Arc<Peer>>,
    pub(crate) nearness: Vec<Nearness>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) readings: Vec<Reading>,
    /// How the sidecars do with writes.
    pub(crate) writing: Vec<Arc<Peer>>,
    pub(crate) posts: Vec<Post>,
    pub(crate) begun: u64,
    pub(crate) hedges: u64,
}

/// A piece of memory that is offered to servers.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) bytes: Vec<u8>,
    pub(crate) hand: Hand,
}

/// In whose hands a slot is.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hand {
    #[default]
    Free,
    /// A server may use it through this lane.
    Offered(usize),
    /// Nobody waits for it any more, but the server may still use it.
    Quarantined(usize),
}

/// One call with all that belongs to it.
pub(crate) struct Reading {
    call: Option<Call>,
    servers: Vec<usize>,
    needle: usize,
    extent: Extent,
    begun: Instant,
    wake_at: Option<Instant>,
    /// Attempts that run, with their lanes.
    lanes: Vec<(u32, usize)>,
    /// What the last answer brought.
    got: Vec<u8>,
    answer: Option<Answer>,
    in_region: bool,
}

impl Reading {
    pub(crate) fn is_going_on(&self) -> bool {
        self.call.is_some()
    }
}

/// What a lane is used for.
pub(crate) struct InFlight {
    reading: usize,
    attempt: u32,
    id: u64,
    item: Item,
    slot: Option<usize>,
    answer: Option<Answer>,
    inline: Vec<u8>,
    filled: usize,
}

/// Bytes of a slot.
pub(crate) const SLOT: u64 = 8192;

impl World {
    /// The next read of a client.
    pub(crate) fn begin(&mut self, client: usize) {
        let needle = self.random.below(self.truth.needles.len() as u64) as usize;
        let extent = match self.random.below(2) {
            0 => Extent::Whole {
                room: [8192, 8192, 100, 600_000][self.random.below(4) as usize],
            },
            _ => Extent::Range {
                offset: [0, self.random.below(9000)][self.random.below(2) as usize],
                len: 1 + [50, 5000, 400_000][self.random.below(3) as usize],
            },
        };
        let count = 1 + self.random.below(self.servers.len() as u64) as usize;
        let mut servers: Vec<_> = (0..self.servers.len()).collect();
        while servers.len() > count {
            servers.remove(self.random.below(servers.len() as u64) as usize);
        }
        let c = &mut self.clients[client];
        if self.mutant == Mutant::SharesNothing {
            let mut config = c.config.clone();
            config.hedge.percent = 0;
            c.policy = Arc::new(Policy::new(config, 0));
        }
        let candidates = servers.iter().map(|server| Candidate {
            peer: c.peers[*server].clone(),
            nearness: c.nearness[*server],
        });
        let bytes = u64::from(extent.room());
        let policy = c.policy.clone();
        let call = Call::new(policy, candidates.collect(), 7, bytes, self.now);
        c.begun += 1;
        c.readings.push(Reading {
            call: Some(call),
            servers,
            needle,
            extent,
            begun: self.now,
            wake_at: None,
            lanes: Vec::new(),
            got: Vec::new(),
            answer: None,
            in_region: false,
        });
        let reading = c.readings.len() - 1;
        self.drive(client, reading);
        let wait = Duration::from_micros(1 + self.random.below(40_000));
        self.after(wait, Event::Begin { client });
    }

    /// Does what the call wants until it wants to wait.
    pub(crate) fn drive(&mut self, client: usize, reading: usize) {
        loop {
            let r = &mut self.clients[client].readings[reading];
            let Some(call) = &mut r.call else { return };
            match call.next(self.now) {
                Step::Start { attempt, candidate } => {
                    let server = r.servers[candidate];
                    self.start(client, reading, attempt, server);
                }
                Step::Wait { until } => {
                    if self.now >= until {
                        return self.complain("a call waits for what is past".to_owned());
                    }
                    let until = match self.mutant {
                        Mutant::Oversleeps => until + Duration::from_secs(1),
                        _ => until,
                    };
                    if r.wake_at.is_none_or(|at| at <= self.now || until < at) {
                        r.wake_at = Some(until);
                        self.at(until, Event::Wake { client, reading });
                    }
                    return;
                }
                Step::Abandon { attempt } => {
                    let at = r.lanes.iter().position(|(number, _)| *number == attempt);
                    match at {
                        Some(at) => {
                            let (_, lane) = r.lanes.remove(at);
                            self.close(lane);
                        }
                        None if self.mutant == Mutant::KeepsAnswers => {}
                        None => return self.complain("an unknown attempt is abandoned".to_owned()),
                    }
                }
                Step::Finish(verdict) => return self.finish(client, reading, verdict),
            }
        }
    }

    fn start(&mut self, client: usize, reading: usize, attempt: u32, server: usize) {
        let lane = self.lane(client, server);
        let c = &mut self.clients[client];
        let r = &mut c.readings[reading];
        r.lanes.push((attempt, lane));
        if attempt > 0 && r.lanes.len() > 1 {
            c.hedges += 1;
            self.tally.hedges += 1;
            let earned = c.begun * u64::from(c.config.hedge.percent) / 100 + 1;
            if c.hedges > earned {
                let hedges = c.hedges;
                return self.complain(format!("{hedges} hedges, budget is {earned}"));
            }
        }
        let in_flight: usize = c.readings.iter().map(|r| r.lanes.len()).sum();
        if in_flight > c.config.max_concurrent {
            return self.complain(format!("{in_flight} in flight exceed the permits"));
        }
        let r = &c.readings[reading];
        let fits = u64::from(r.extent.room()) <= SLOT && self.random.below(5) > 0;
        let slot = c.slots.iter().position(|slot| slot.hand == Hand::Free);
        let slot = slot.filter(|_| fits);
        let place = match slot {
            None => Place::Inline,
            Some(slot) => {
                c.slots[slot].hand = Hand::Offered(lane);
                // What was read before must not pass for an answer.
                c.slots[slot].bytes.clear();
                c.slots[slot].bytes.resize(SLOT as usize, 0xee);
                Place::Region {
                    region: 0,
                    offset: slot as u64 * SLOT,
                }
            }
        };
        let item = Item {
            needle: file_id(r.needle),
            extent: r.extent,
            place,
        };
        self.lanes[lane].exchange = Some(InFlight {
            reading,
            attempt,
            id: self.random.next(),
            item,
            slot,
            answer: None,
            inline: Vec::new(),
            filled: 0,
        });
        if self.lanes[lane].handshake.is_none() {
            self.ask(lane);
        }
    }

    /// An idle lane, or else a new one.
    pub(crate) fn lane(&mut self, client: usize, server: usize) -> usize {
        let idle = self.lanes.iter().position(|lane| {
            (lane.client, lane.server) == (client, server)
                && lane.is_used
                && lane.handshake.is_none()
                && lane.exchange.is_none()
                && lane.sending.is_none()
        });
        idle.unwrap_or_else(|| self.open(client, server))
    }

    fn open(&mut self, client: usize, server: usize) -> usize {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&self.random.next().to_le_bytes());
        let hello = Hello {
            nonce,
            offers: true,
            name: format!("mount {client}"),
        };
        let handshake = Handshake::new(hello, self.key.clone(), Way::Tcp);
        let hello = handshake.hello();
        let lane = self.connect(client, server, handshake);
        self.client_sends(lane, &hello);
        lane
    }

    fn ask(&mut self, lane: usize) {
        if self.lanes[lane].sending.is_some() {
            return self.client_writes(lane);
        }
        let exchange = self.lanes[lane].exchange.as_ref().unwrap();
        let mut bytes = Vec::new();
        encode_read(exchange.id, &[exchange.item], &mut bytes).unwrap();
        self.send_up(lane, bytes);
    }

    fn client_sends(&mut self, lane: usize, message: &Message) {
        let mut bytes = Vec::new();
        encode(0, message, &mut bytes).unwrap();
        self.send_up(lane, bytes);
    }

    /// The client lets go of a lane. What it had offered there is quarantined.
    pub(crate) fn close(&mut self, lane: usize) {
        if !std::mem::replace(&mut self.lanes[lane].is_used, false) {
            return;
        }
        let of_read = self.lanes[lane].exchange.take().and_then(|it| it.slot);
        let of_write = self.lanes[lane].sending.take().and_then(|it| it.slot);
        if let Some(slot) = of_read.or(of_write) {
            let client = self.lanes[lane].client;
            self.clients[client].slots[slot].hand = match self.mutant {
                Mutant::ReusesMemory => Hand::Free,
                _ => Hand::Quarantined(lane),
            };
        }
        self.hang_up(lane);
    }

    pub(crate) fn client_is_refused(&mut self, lane: usize) {
        self.lane_breaks(lane, Reason::Unreachable);
        // Nobody has ever seen the memory.
        self.client_receives(lane, Packet::Retired);
    }

    /// Something has come through a lane.
    pub(crate) fn client_receives(&mut self, lane: usize, packet: Packet) {
        match packet {
            Packet::Write { offset, bytes } => self.written(lane, offset, &bytes),
            Packet::Retired => {
                self.lane_breaks(lane, Reason::Broken);
                for slot in &mut self.clients[self.lanes[lane].client].slots {
                    if slot.hand == Hand::Quarantined(lane) {
                        slot.hand = Hand::Free;
                    }
                }
            }
            Packet::Bytes(mut bytes) => {
                while !bytes.is_empty() && self.lanes[lane].is_used {
                    let reader = &mut self.lanes[lane].reader;
                    let space = reader.space();
                    let len = space.len().min(bytes.len());
                    space[..len].copy_from_slice(&bytes[..len]);
                    reader.filled(len);
                    bytes.drain(..len);
                    self.client_reads(lane);
                }
            }
        }
    }

    /// A server writes to the client's memory.
    fn written(&mut self, lane: usize, offset: u64, bytes: &[u8]) {
        let client = self.lanes[lane].client;
        let at = (offset % SLOT) as usize;
        let slot = &mut self.clients[client].slots[(offset / SLOT) as usize];
        match slot.hand {
            Hand::Offered(to) if to == lane => {}
            Hand::Quarantined(to) if to == lane => self.tally.late_writes += 1,
            _ => {
                return self.complain(format!("memory is written to by lane {lane}, a stranger"));
            }
        }
        slot.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn client_reads(&mut self, lane: usize) {
        while self.lanes[lane].is_used {
            let l = &mut self.lanes[lane];
            let taken = match l.reader.next() {
                Ok(Next::NeedMore) => return,
                Ok(Next::Frame(frame)) => self.client_takes(lane, frame),
                Ok(Next::Data(_)) => {
                    // The answer was accepted, so there is an exchange with memory for it.
                    let exchange = l.exchange.as_mut().unwrap();
                    let len = l.reader.take_data(&mut exchange.inline[exchange.filled..]);
                    if len == 0 {
                        return;
                    }
                    exchange.filled += len;
                    if exchange.filled == exchange.inline.len() {
                        self.complete(lane);
                    }
                    Ok(())
                }
                Err(error) => Err(error.to_string()),
            };
            if taken.is_err() {
                self.tally.broken_streams += 1;
                self.lane_breaks(lane, Reason::Broken);
            }
        }
    }

    fn client_takes(&mut self, lane: usize, frame: Frame) -> Result<(), String> {
        let l = &mut self.lanes[lane];
        if let Some(handshake) = &mut l.handshake {
            match handshake.take(frame.message) {
                Ok(Reply::Send(message)) => self.client_sends(lane, &message),
                Ok(Reply::Offer) => {
                    let regions = vec![Region {
                        len: self.clients[l.client].slots.len() as u64 * SLOT,
                        base: 0,
                        key: 0,
                    }];
                    self.client_sends(lane, &Message::Memory(Memory { regions }));
                }
                Ok(Reply::Open(_)) => {
                    l.handshake = None;
                    self.ask(lane);
                }
                Err(broken) => return Err(broken.to_string()),
            }
            return Ok(());
        }
        if let Message::Written(written) = frame.message {
            return self.client_is_told(lane, frame.id, written);
        }
        let (Message::Answer(answer), Some(exchange)) = (frame.message, &mut l.exchange) else {
            return Err("not an answer".to_owned());
        };
        let is_fit = match exchange.item.extent {
            _ if answer.status != Status::Done => true,
            Extent::Whole { room } => answer.len <= room,
            Extent::Range { len, .. } => answer.len == len,
        };
        if frame.id != exchange.id || answer.item != 0 || exchange.answer.is_some() || !is_fit {
            return Err("an answer to something else".to_owned());
        }
        exchange.answer = Some(answer);
        exchange.inline = vec![0; answer.data()];
        if answer.data() == 0 {
            self.complete(lane);
        }
        Ok(())
    }

    /// An answer is complete.
    fn complete(&mut self, lane: usize) {
        let client = self.lanes[lane].client;
        let exchange = self.lanes[lane].exchange.take().unwrap();
        let answer = exchange.answer.unwrap();
        let mut bytes = exchange.inline;
        let mut in_region = false;
        if let Some(slot) = exchange.slot {
            // The server has answered for it: it is ours again.
            let slot = &mut self.clients[client].slots[slot];
            slot.hand = Hand::Free;
            if answer.status == Status::Done && !answer.is_inline {
                bytes = slot.bytes[..answer.len as usize].to_vec();
                in_region = true;
            }
        }
        let mut is_right = crc32c(&bytes) == answer.crc;
        if answer.status == Status::Done && !is_right {
            self.tally.wrong_checksums += 1;
            is_right = self.mutant == Mutant::IgnoresChecksums;
        }
        let reading = exchange.reading;
        let r = &mut self.clients[client].readings[reading];
        r.lanes.retain(|(_, used)| *used != lane);
        if self.mutant == Mutant::KeepsAnswers {
            return;
        }
        r.got = bytes;
        r.answer = Some(answer);
        r.in_region = in_region;
        let call = r.call.as_mut().unwrap();
        if self.mutant == Mutant::InventsAbsence && answer.status == Status::Absent {
            let lanes: Vec<_> = r.lanes.drain(..).collect();
            lanes.iter().for_each(|(_, lane)| self.close(*lane));
            return self.finish(client, reading, Verdict::Absent);
        }
        call.answered(exchange.attempt, &answer, is_right, self.now);
        self.drive(client, reading);
    }

    fn lane_breaks(&mut self, lane: usize, reason: Reason) {
        if !self.lanes[lane].is_used {
            return;
        }
        let client = self.lanes[lane].client;
        let exchange = self.lanes[lane].exchange.as_ref();
        let exchange = exchange.map(|exchange| (exchange.reading, exchange.attempt));
        let post = self.lanes[lane].sending.as_ref().map(|it| it.post);
        self.close(lane);
        if let Some(post) = post {
            self.post_breaks(client, post, reason);
        }
        if let Some((reading, attempt)) = exchange {
            let r = &mut self.clients[client].readings[reading];
            r.lanes.retain(|(_, used)| *used != lane);
            r.call.as_mut().unwrap().broken(attempt, reason, self.now);
            self.drive(client, reading);
        }
    }

    fn finish(&mut self, client: usize, reading: usize, verdict: Verdict) {
        let c = &mut self.clients[client];
        let r = &mut c.readings[reading];
        r.call = None;
        let deadline = r.begun + c.config.timeout;
        if self.now > deadline {
            let late = self.now - deadline;
            return self.complain(format!("a call ends {late:?} after its deadline"));
        }
        if !r.lanes.is_empty() {
            return self.complain("a call ends while its attempts go on".to_owned());
        }
        let versions = self.truth.since(r.needle, r.begun);
        let any = |is: &dyn Fn(&Content) -> bool| {
            let mut contents = versions.iter().filter_map(|v| v.content.as_deref());
            contents.any(is)
        };
        let complaint = match verdict {
            Verdict::Delivered { attempt } => {
                self.tally.delivered += 1;
                self.tally.in_region += u64::from(r.in_region);
                self.tally.by_another += u64::from(attempt > 0);
                let is_right = any(&|content| match r.extent {
                    Extent::Whole { .. } => content.bytes == r.got,
                    Extent::Range { offset, len } => {
                        let from = offset as usize;
                        content.bytes.get(from..from + len as usize) == Some(&r.got)
                    }
                });
                (!is_right).then(|| "a wrong byte is delivered".to_owned())
            }
            Verdict::Told { .. } => {
                self.tally.told += 1;
                let status = r.answer.unwrap().status;
                let is_right = any(&|content| {
                    let stored = content.bytes.len() as u64;
                    match (status, r.extent) {
                        (Status::Gzip, Extent::Range { .. }) => content.is_gzip,
                        (Status::TooLarge, Extent::Whole { room }) => stored > room.into(),
                        (Status::PastEnd, Extent::Range { offset, len }) => {
                            offset + u64::from(len) > stored
                        }
                        _ => false,
                    }
                });
                (!is_right).then(|| format!("{status:?} is told and not true"))
            }
            Verdict::Absent => {
                self.tally.absent += 1;
                let is_gone = versions.iter().any(|version| version.content.is_none());
                let lost = |server: &usize| self.servers[*server].lost[r.needle];
                let is_right = is_gone || r.servers.iter().all(lost);
                (!is_right).then(|| "a needle is said to be absent and is not".to_owned())
            }
            Verdict::Suspect => {
                self.tally.suspect += 1;
                None
            }
            Verdict::Fallback(reason) => {
                *self.tally.fallbacks.entry(reason.name()).or_default() += 1;
                // A sidecar that nobody needed may be found to be well only now.
                let is_probed = |server: &usize| c.peers[*server].in_flight() > 0;
                let is_expected = match reason {
                    Reason::NoPermit => true,
                    Reason::OpenBreaker if r.servers.iter().any(is_probed) => true,
                    _ => self.now < self.well_from,
                };
                (!is_expected).then(|| format!("{} after the trouble", reason.name()))
            }
        };
        complaint.into_iter().for_each(|what| self.complain(what));
    }
}
