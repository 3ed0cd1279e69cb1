//! Several small needles in one exchange, for somebody who will want them in a moment.
//!
//! Nobody waits for these: each sidecar is asked once, without a hedge and without a second try, and what does not
//! come is left to the read that wants it. What comes is compared with its checksum like everything else, and a
//! sidecar that fails is held to account like everywhere.

use std::sync::Arc;
use std::time::Instant;

use context::Context;
use rustix::event::{PollFd, PollFlags, poll};
use seaweed::FileId;

use super::drive::{timespec, up_to};
use super::wanted::Wanted;
use super::{FabricRoute, landed};
use crate::checksum;
use crate::client::{Call, Reason, Step};
use crate::lane::{Answered, Inbox, Lane};
use crate::peers::Peer;
use crate::wire::{Answer, Extent, Item, Place, Status};
use crate::{Ahead, Stored};

/// Needles in one exchange. The sidecar answers them one after the other, and the lane is taken as long.
pub(crate) const TOGETHER: usize = 32;

/// The longest needle that is asked for with others.
const LONGEST: u64 = 64 << 10;

impl FabricRoute {
    /// Fetches what can be had of `wanted`. Returns those of which damaged bytes came.
    pub(crate) fn read_together(&self, ctx: &Context<'_>, wanted: &mut [Ahead<'_>]) -> Vec<FileId> {
        let mut groups: Vec<(Arc<Peer>, Vec<usize>)> = Vec::new();
        for (at, one) in wanted.iter().enumerate() {
            let fits = one.to.likely().is_some_and(|len| len <= LONGEST);
            let Some(peer) = self.nearest(ctx, one.needle.volume).filter(|_| fits) else {
                continue;
            };
            match groups
                .iter_mut()
                .find(|(known, _)| Arc::ptr_eq(known, &peer))
            {
                Some((_, of)) => of.push(at),
                None => groups.push((peer, vec![at])),
            }
        }
        let mut suspects = Vec::new();
        for (peer, of) in groups {
            for part in of.chunks(TOGETHER) {
                let slots = part.iter().map(|at| Slot::of(*at, &wanted[*at]));
                let mut basket = Basket {
                    slots: slots.collect(),
                    rest: Vec::new(),
                    carrier: "",
                };
                while !basket.slots.is_empty() {
                    self.exchange(ctx, &peer, &mut basket);
                    let carrier = basket.carrier;
                    for slot in &basket.slots {
                        self.take(slot, &mut wanted[slot.at], &mut suspects, carrier);
                    }
                    if ctx.check().is_err() {
                        return suspects;
                    }
                    // Who does not answer is not asked for more.
                    let goes_on = basket.slots.iter().all(|slot| slot.answer.is_some());
                    basket = Basket {
                        slots: if goes_on { basket.rest } else { Vec::new() },
                        rest: Vec::new(),
                        carrier: "",
                    };
                }
            }
        }
        suspects
    }

    /// The sidecar to ask: the nearest that is not left alone.
    fn nearest(&self, ctx: &Context<'_>, volume: u32) -> Option<Arc<Peer>> {
        let now = Instant::now();
        let peers = self.candidates(ctx, volume).ok()?.into_iter();
        peers
            .filter(|peer| !peer.health.is_left_alone(now))
            .min_by_key(|peer| peer.nearness)
    }

    /// Asks `peer`, and puts into the basket what comes.
    fn exchange(&self, ctx: &Context<'_>, peer: &Peer, basket: &mut Basket) {
        let Some(volume) = basket.slots.first().map(|slot| slot.needle.volume) else {
            return;
        };
        let bytes = basket.slots.iter().map(|slot| u64::from(slot.room)).sum();
        let policy = Arc::clone(&self.policy);
        let candidates = vec![peer.candidate()];
        let mut call = Call::new(policy, candidates, volume, bytes, Instant::now());
        let mut running: Option<(u32, Box<dyn Lane>)> = None;
        loop {
            match call.next(Instant::now()) {
                Step::Start { attempt, .. } => {
                    match self.begin(&up_to(ctx, call.patience(attempt)), peer, basket) {
                        Ok(Some(lane)) => running = Some((attempt, lane)),
                        // Not the sidecar's fault.
                        Ok(None) => return,
                        Err(reason) => call.broken(attempt, reason, Instant::now()),
                    }
                }
                Step::Wait { until } => {
                    let Some((attempt, mut lane)) = running.take() else {
                        return;
                    };
                    wait(ctx, &*lane, until);
                    if ctx.check().is_err() {
                        lane.close();
                        return;
                    }
                    match lane.advance(basket) {
                        Ok(true) => {
                            peer.kept.lanes.keep(lane);
                            match basket.verdict(volume) {
                                Some((answer, is_right)) => {
                                    call.answered(attempt, &answer, is_right, Instant::now());
                                }
                                None => call.broken(attempt, Reason::Broken, Instant::now()),
                            }
                        }
                        Ok(false) => running = Some((attempt, lane)),
                        Err(broken) => {
                            lane.close();
                            let reason = self.broken(peer, &broken);
                            call.broken(attempt, reason, Instant::now());
                        }
                    }
                }
                Step::Abandon { .. } => {
                    if let Some((_, lane)) = running.take() {
                        lane.close();
                    }
                    self.stats.abandoned.inc();
                }
                Step::Finish(_) => return,
            }
        }
    }

    /// Sends the questions, as many as the lane takes. What is too long to come inline is not asked for; no
    /// lane when nothing is left.
    fn begin(
        &self,
        ctx: &Context<'_>,
        peer: &Peer,
        basket: &mut Basket,
    ) -> Result<Option<Box<dyn Lane>>, Reason> {
        let mut lane = match peer.kept.lanes.take() {
            Some(lane) => lane,
            None => self
                .open(ctx, peer)
                .map_err(|error| self.unopened(&error))?,
        };
        basket.carrier = lane.carrier();
        let limits = lane.limits();
        let most = limits.max_read.min(lane.most_inline());
        basket.slots.retain(|slot| u64::from(slot.room) <= most);
        let count = basket.slots.len().min(limits.max_items.into());
        basket.rest = basket.slots.split_off(count);
        let items: Vec<Item> = basket.slots.iter().map(Slot::item).collect();
        if items.is_empty() {
            peer.kept.lanes.keep(lane);
            return Ok(None);
        }
        match lane.start(self.next_id(), &items) {
            Ok(()) => {
                self.stats.together.inc();
                Ok(Some(lane))
            }
            Err(broken) => {
                lane.close();
                Err(self.broken(peer, &broken))
            }
        }
    }

    /// Puts one that came to where it is wanted. It came over `carrier`.
    fn take(&self, slot: &Slot, wanted: &mut Ahead<'_>, suspects: &mut Vec<FileId>, carrier: &str) {
        let Some(answer) = slot.answer else {
            return;
        };
        match answer.status {
            Status::Done if slot.is_right() => {}
            Status::Done => {
                self.stats.corrupt.inc();
                return suspects.push(slot.needle);
            }
            Status::Corrupt => return suspects.push(slot.needle),
            _ => return,
        }
        let mut to = Wanted::Whole {
            form: Stored::Plain,
            room: slot.room,
            to: &mut *wanted.to,
        };
        let inflate = to.inflates(&answer);
        if let Ok(len) = to.copy(&slot.bytes, inflate) {
            self.stats.together_needles.inc();
            self.stats.came_ahead(carrier, len);
            wanted.done = Some(landed(len, carrier));
        }
    }
}

/// What is asked for, and what came.
struct Basket {
    slots: Vec<Slot>,
    /// What the lane does not take at once.
    rest: Vec<Slot>,
    /// By what it came.
    carrier: &'static str,
}

struct Slot {
    /// Its number among all that is wanted.
    at: usize,
    needle: FileId,
    room: u32,
    bytes: Vec<u8>,
    answer: Option<Answer>,
}

impl Basket {
    /// What the sidecar is judged by: the first answer about `volume` that brought no sound bytes, or the last one about
    /// it; and whether its bytes are right.
    fn verdict(&self, volume: u32) -> Option<(Answer, bool)> {
        let of = self
            .slots
            .iter()
            .filter(|slot| slot.needle.volume == volume);
        let answered = of.filter_map(|slot| Some((slot.answer?, slot.is_right())));
        let mut last = None;
        for (answer, is_right) in answered {
            last = Some((answer, is_right));
            if !is_right {
                break;
            }
        }
        last
    }
}

impl Slot {
    fn of(at: usize, wanted: &Ahead<'_>) -> Self {
        let room = wanted.to.likely().unwrap_or(1).clamp(1, LONGEST);
        Self {
            at,
            needle: wanted.needle,
            room: room as u32, // at most LONGEST
            bytes: Vec::new(),
            answer: None,
        }
    }

    fn item(&self) -> Item {
        Item {
            needle: self.needle,
            extent: Extent::Whole { room: self.room },
            place: Place::Inline,
        }
    }

    fn is_right(&self) -> bool {
        self.answer.is_some_and(|answer| {
            let got = seaweed::crc::crc32c(&self.bytes);
            answer.status == Status::Done
                && self.bytes.len() == answer.len as usize
                && checksum::agrees(answer.crc, got)
        })
    }
}

impl Inbox for Basket {
    fn memory(&mut self, answered: &Answered) -> Option<&mut [u8]> {
        let slot = self.slots.get_mut(usize::from(answered.item))?;
        // The lane has checked that it is no more than there is room for.
        slot.bytes.resize(answered.len.min(slot.room) as usize, 0);
        Some(&mut slot.bytes)
    }

    fn done(&mut self, answered: &Answered) {
        if let Some(slot) = self.slots.get_mut(usize::from(answered.item)) {
            slot.answer = Some(**answered);
        }
    }
}

/// Waits for the lane, the caller's interrupt, or the time.
fn wait(ctx: &Context<'_>, lane: &dyn Lane, until: Instant) {
    let (fd, what) = lane.wait_on();
    let mut fds = vec![PollFd::from_borrowed_fd(fd, what)];
    if let Some(interrupt) = ctx.interrupt() {
        fds.push(PollFd::new(interrupt, PollFlags::IN));
    }
    let left = until.min(ctx.deadline());
    let left = left.saturating_duration_since(Instant::now());
    // A failure to wait is like nothing having come: the loop looks at the clock.
    let _ = poll(&mut fds, Some(&timespec(left)));
}
