//! Writes: clients that drive real postings, sidecars that collect and hand on what comes, and the
//! volume servers beside them.

use std::time::{Duration, Instant};

use fabric::client::{Candidate, Posting, Reason, Sent, Turn};
use fabric::server::Intake;
use fabric::wire::{Frame, Message, Outcome, Place, Write, Written, encode_write};
use seaweed::FileId;
use seaweed::crc::crc32c;

use crate::client::{Hand, SLOT};
use crate::world::{Event, Mutant, World};

/// A write with all that belongs to it.
pub(crate) struct Post {
    posting: Option<Posting>,
    server: usize,
    body: Vec<u8>,
    write: Write,
    deadline: Instant,
    wake_at: Option<Instant>,
    lane: Option<usize>,
    written: Option<Written>,
    in_region: bool,
}

impl Post {
    pub(crate) fn is_going_on(&self) -> bool {
        self.posting.is_some()
    }
}

/// A write on a lane, at the client's end.
pub(crate) struct Sending {
    pub(crate) post: usize,
    pub(crate) slot: Option<usize>,
    id: u64,
    write: Write,
}

/// The same at the sidecar's end.
pub(crate) struct Incoming {
    id: u64,
    intake: Option<Intake>,
    /// What came behind the frame, for a sidecar that looks at nothing.
    raw: Vec<u8>,
    until: Instant,
}

impl World {
    /// The next write of a client.
    pub(crate) fn post(&mut self, client: usize) {
        let server = self.random.below(self.servers.len() as u64) as usize;
        let len = 1 + [50, 5000, 200_000][self.random.below(3) as usize];
        let seed = self.random.next() | 1;
        let body: Vec<u8> = (0..len as u64)
            .map(|n| (n.wrapping_mul(seed) >> 13) as u8)
            .collect();
        let c = &mut self.clients[client];
        let deadline = self.now + c.config.timeout;
        let candidate = Candidate {
            peer: c.writing[server].clone(),
            nearness: c.nearness[server],
        };
        let posting = Posting::new(
            c.policy.clone(),
            vec![candidate],
            8,
            body.len() as u64,
            deadline,
            self.now,
        );
        let write = Write {
            base: FileId {
                volume: 8,
                key: self.posted.len() as u64,
                cookie: 0,
            },
            delta: 0,
            gzip: false,
            fsync: false,
            place: Place::Inline,
            len: body.len() as u32,
            crc: crc32c(&body),
            patience: 0,
            server: format!("server:{server}"),
            token: String::new(),
        };
        c.posts.push(Post {
            posting: Some(posting),
            server,
            body,
            write,
            deadline,
            wake_at: None,
            lane: None,
            written: None,
            in_region: false,
        });
        let post = c.posts.len() - 1;
        self.posted.push((client, post));
        self.drive_post(client, post);
        let wait = Duration::from_micros(1 + self.random.below(60_000));
        self.after(wait, Event::Post { client });
    }

    /// Does what the posting wants until it wants to wait.
    pub(crate) fn drive_post(&mut self, client: usize, post: usize) {
        loop {
            let p = &mut self.clients[client].posts[post];
            let Some(posting) = &mut p.posting else {
                return;
            };
            match posting.next(self.now) {
                Turn::Start { until, .. } => self.start_post(client, post, until),
                Turn::Wait { until } => {
                    if self.now >= until {
                        return self.complain("a write waits for what is past".to_owned());
                    }
                    if p.wake_at.is_none_or(|at| at <= self.now || until < at) {
                        p.wake_at = Some(until);
                        self.at(until, Event::WakePost { client, post });
                    }
                    return;
                }
                Turn::Abandon => {
                    if let Some(lane) = p.lane.take() {
                        self.close(lane);
                    }
                }
                Turn::Finish(sent) => return self.finish_post(client, post, sent),
            }
        }
    }

    fn start_post(&mut self, client: usize, post: usize, until: Instant) {
        let server = self.clients[client].posts[post].server;
        let lane = self.lane(client, server);
        let id = self.random.next();
        let wants_region = self.random.below(2) == 0;
        let c = &mut self.clients[client];
        let p = &mut c.posts[post];
        let mut write = p.write.clone();
        write.patience = (until - self.now).as_millis() as u32;
        let fits = p.body.len() as u64 <= SLOT && wants_region;
        let slot = c.slots.iter().position(|slot| slot.hand == Hand::Free);
        let slot = slot.filter(|_| fits);
        if let Some(at) = slot {
            let slot = &mut c.slots[at];
            slot.hand = Hand::Offered(lane);
            slot.bytes.clear();
            slot.bytes.extend(&p.body);
            slot.bytes.resize(SLOT as usize, 0xee);
            write.place = Place::Region {
                region: 0,
                offset: at as u64 * SLOT,
            };
        }
        p.in_region = slot.is_some();
        p.lane = Some(lane);
        let in_flight = c.posts.iter().filter(|post| post.lane.is_some()).count();
        if in_flight > c.config.max_concurrent {
            return self.complain(format!("{in_flight} writes in flight exceed the permits"));
        }
        self.lanes[lane].sending = Some(Sending {
            post,
            slot,
            id,
            write,
        });
        if self.lanes[lane].handshake.is_none() {
            self.client_writes(lane);
        }
    }

    /// Sends the frame, and the bytes behind it.
    pub(crate) fn client_writes(&mut self, lane: usize) {
        let client = self.lanes[lane].client;
        let sending = self.lanes[lane].sending.as_ref().unwrap();
        let mut bytes = Vec::new();
        encode_write(sending.id, &sending.write, &mut bytes).unwrap();
        let body = &self.clients[client].posts[sending.post].body;
        bytes.extend(&body[..sending.write.data()]);
        self.send_up(lane, bytes);
    }

    /// What became of a write has arrived.
    pub(crate) fn client_is_told(
        &mut self,
        lane: usize,
        id: u64,
        written: Written,
    ) -> Result<(), String> {
        let client = self.lanes[lane].client;
        let sending = &mut self.lanes[lane].sending;
        let Some(Sending { post, slot, .. }) = sending.take_if(|sending| sending.id == id) else {
            return Err("nobody waits for what became of a write".to_owned());
        };
        let c = &mut self.clients[client];
        if let Some(slot) = slot {
            c.slots[slot].hand = Hand::Free;
        }
        let p = &mut c.posts[post];
        p.lane = None;
        let outcome = written.outcome;
        p.written = Some(written);
        if let Some(posting) = &mut p.posting {
            posting.answered(outcome, self.now);
        }
        self.drive_post(client, post);
        Ok(())
    }

    /// The lane of a write broke.
    pub(crate) fn post_breaks(&mut self, client: usize, post: usize, reason: Reason) {
        let p = &mut self.clients[client].posts[post];
        p.lane = None;
        if let Some(posting) = &mut p.posting {
            posting.broken(reason, self.now);
        }
        self.drive_post(client, post);
    }

    fn finish_post(&mut self, client: usize, post: usize, sent: Sent) {
        let c = &mut self.clients[client];
        let p = &mut c.posts[post];
        p.posting = None;
        if self.now > p.deadline {
            let late = self.now - p.deadline;
            return self.complain(format!("a write ends {late:?} after its deadline"));
        }
        if p.lane.is_some() {
            return self.complain("a write ends while it is under way".to_owned());
        }
        let outcome = p.written.as_ref().map(|written| written.outcome);
        let is_kept = match (sent, outcome) {
            (Sent::Answered, Some(Outcome::Kept)) => true,
            (Sent::Answered, Some(Outcome::Refused)) => false,
            (Sent::Answered, other) => {
                return self.complain(format!("{other:?} is taken for an answer"));
            }
            (Sent::Fallback(reason), _) => {
                *self.tally.unsent.entry(reason.name()).or_default() += 1;
                let is_probed = c.writing[p.server].in_flight() > 0;
                let is_expected = match reason {
                    Reason::NoPermit => true,
                    Reason::OpenBreaker if is_probed => true,
                    _ => self.now < self.well_from,
                };
                if !is_expected {
                    let reason = reason.name();
                    return self
                        .complain(format!("a write falls back after the trouble: {reason}"));
                }
                reason == Reason::Timeout && self.mutant == Mutant::BelievesSilence
            }
        };
        if !is_kept {
            self.tally.refused += u64::from(sent == Sent::Answered);
            return;
        }
        let stored = self.servers[p.server].depot.get(&p.write.base.key);
        if stored != Some(&p.body) {
            return self.complain("a write is acknowledged and is not stored".to_owned());
        }
        self.tally.kept += 1;
        self.tally.kept_from_region += u64::from(p.in_region);
    }

    /// A write has arrived at a sidecar.
    pub(crate) fn server_begins_write(&mut self, lane: usize, id: u64, write: Write) {
        let until = self.now + Duration::from_millis(write.patience.into());
        let declined = match self.random.below(40) {
            _ if self.is_calm() => None,
            0 => Some(Outcome::Busy),
            1 => Some(Outcome::Declined),
            _ => None,
        };
        let intake = match declined {
            Some(outcome) => Intake::decline(write, Written::without(outcome, "")),
            None => Intake::accept(write),
        };
        let is_whole = intake.missing() == 0;
        self.lanes[lane].incoming = Some(Incoming {
            id,
            intake: Some(intake),
            raw: Vec::new(),
            until,
        });
        match is_whole {
            true => self.server_will_hand_on(lane, id),
            false => self.at(until, Event::Overdue { lane, id }),
        }
    }

    /// Takes what has arrived of the bytes behind a write; whether there was anything.
    pub(crate) fn server_takes_data(&mut self, lane: usize) -> bool {
        let l = &mut self.lanes[lane];
        let Some(incoming) = &mut l.incoming else {
            self.complain("data without a write".to_owned());
            return false;
        };
        let Some(intake) = &mut incoming.intake else {
            return false;
        };
        let space = intake.space();
        let len = l.server_reader.take_data(space);
        incoming.raw.extend(&space[..len]);
        intake.filled(len);
        if intake.missing() == 0 {
            let id = incoming.id;
            self.server_will_hand_on(lane, id);
        }
        len > 0
    }

    fn server_will_hand_on(&mut self, lane: usize, id: u64) {
        let slow = match self.random.below(20) {
            0 | 1 if !self.is_calm() => 400_000,
            _ => 400,
        };
        let wait = Duration::from_micros(20 + self.random.below(slow));
        self.after(wait, Event::HandOn { lane, id });
    }

    /// A thread gets to a write that is all there.
    pub(crate) fn server_hands_on(&mut self, lane: usize, id: u64) {
        let is_late = self.mutant == Mutant::HandsOnLate;
        let client = self.lanes[lane].client;
        let l = &mut self.lanes[lane];
        let Some(incoming) = l.incoming.as_mut().filter(|it| it.id == id) else {
            return;
        };
        // The kernel knows of a hang-up as soon as it has arrived, even if the process was frozen.
        let is_closed = !l.is_served || l.hung_up.is_some_and(|at| at <= self.now);
        if is_closed && !is_late {
            self.tally.dropped += 1;
            return;
        }
        let (raw, until) = (std::mem::take(&mut incoming.raw), incoming.until);
        let Some(intake) = incoming.intake.take() else {
            return;
        };
        let write = intake.write().clone();
        let slots = &self.clients[client].slots;
        let fetch = |_, offset: u64, to: &mut [u8]| {
            let slot = &slots[(offset / SLOT) as usize];
            to.copy_from_slice(&slot.bytes[..to.len()]);
            Ok::<_, String>(())
        };
        let complete = match intake.complete(fetch) {
            Err(written) if written.outcome == Outcome::Corrupt => {
                self.tally.wrong_bodies += 1;
                match self.mutant {
                    Mutant::StoresUnchecked if !raw.is_empty() => Ok((write, raw)),
                    _ => Err(written),
                }
            }
            other => other,
        };
        let written = match complete {
            Err(written) => written,
            Ok(_) if self.now >= until && !is_late => Written::without(Outcome::Late, ""),
            Ok((write, bytes)) => self.volume_server_takes(lane, &write, bytes),
        };
        let slow = match self.random.below(20) {
            0 if !self.is_calm() => 400_000,
            _ => 400,
        };
        let wait = Duration::from_micros(20 + self.random.below(slow));
        self.after(wait, Event::Settled { lane, id, written });
    }

    /// The volume server beside the sidecar gets a needle.
    fn volume_server_takes(&mut self, lane: usize, write: &Write, bytes: Vec<u8>) -> Written {
        let server = self.lanes[lane].server;
        let fate = match self.is_calm() {
            true => 100,
            false => self.random.below(60),
        };
        if fate == 0 {
            return Written::without(Outcome::Unreachable, "");
        }
        if fate == 1 {
            return Written::answered(507, None, "");
        }
        let (client, post) = self.posted[write.base.key as usize];
        let p = &self.clients[client].posts[post];
        if bytes != p.body || server != p.server {
            self.complain("a volume server is given other bytes than were sent".to_owned());
        }
        let hung_up = self.lanes[lane].hung_up;
        if hung_up.is_some_and(|at| self.now > at) {
            self.complain("a write is handed on after it was given up".to_owned());
        }
        let crc = crc32c(&bytes);
        self.servers[server].depot.insert(write.base.key, bytes);
        match fate {
            2 | 3 => {
                self.tally.silent += 1;
                Written::without(Outcome::Unreachable, "")
            }
            _ => Written::answered(201, Some(crc), ""),
        }
    }

    /// What became of a write is told.
    pub(crate) fn server_settles(&mut self, lane: usize, id: u64, written: Written) {
        let l = &mut self.lanes[lane];
        if !l.is_served {
            return;
        }
        l.incoming = None;
        l.session.finished(id);
        let message = Message::Written(written);
        self.server_sends(lane, &Frame { id, message });
    }

    /// A write that has not arrived by now costs its lane.
    pub(crate) fn server_waits_no_longer(&mut self, lane: usize, id: u64) {
        let is_missing = |it: &Incoming| {
            let missing = it.intake.as_ref().map_or(0, Intake::missing);
            it.id == id && missing > 0
        };
        if self.lanes[lane].incoming.as_ref().is_some_and(is_missing) {
            self.server_closes(lane);
        }
    }
}
