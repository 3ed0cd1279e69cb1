//! Does what a [`Posting`] decides, with real lanes and the real clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use context::Context;
use rustix::event::{PollFd, PollFlags, poll};

use super::{Beside, FabricStore, Unwritten};
use crate::client::{Posting, Reason, Sent, Turn};
use crate::lane::{Broken, Lane};
use crate::memory::Block;
use crate::peers::Peer;
use crate::read::timespec;
use crate::wire::{Outcome, Write, Written};

/// From this many bytes on a needle is put into the arena, where the lane has a region: below, the
/// way behind the frame takes as long, if the lane has one that is long enough.
const ARENA_FROM: usize = 64 << 10;

/// A write that is under way.
pub(super) struct Drive<'s, 'b> {
    store: &'s FabricStore,
    ctx: Context<'s>,
    write: Write,
    body: &'b [u8],
    candidates: Vec<Beside>,
    running: Option<Attempt>,
    written: Option<Written>,
}

/// A write on a lane, not answered yet.
struct Attempt {
    peer: Arc<Peer>,
    /// `None` as soon as it is idle again or closed.
    lane: Option<Box<dyn Lane>>,
    carrier: &'static str,
    /// Where the server reads the bytes.
    block: Option<Block>,
    /// Bytes of the body that were sent behind the frame, and how many there are to send.
    sent: usize,
    len: usize,
}

impl<'s, 'b> Drive<'s, 'b> {
    /// A write of `body` by way of any of `candidates`.
    pub(super) fn new(
        store: &'s FabricStore,
        ctx: &Context<'s>,
        write: Write,
        body: &'b [u8],
        candidates: Vec<Beside>,
    ) -> Self {
        Self {
            store,
            ctx: *ctx,
            write,
            body,
            candidates,
            running: None,
            written: None,
        }
    }

    /// Writes until there is a verdict. What is on its way when it ends is given up.
    pub(super) fn run(mut self) -> Result<Written, Unwritten> {
        let began = Instant::now();
        let each = self.candidates.iter();
        let candidates = each.map(|one| one.peer.candidate_for_writes()).collect();
        let policy = Arc::clone(self.store.route.policy());
        let (volume, bytes) = (self.write.base.volume, self.body.len() as u64);
        let deadline = self.ctx.deadline();
        let mut posting = Posting::new(policy, candidates, volume, bytes, deadline, began);
        loop {
            match posting.next(Instant::now()) {
                Turn::Start { candidate, until } => self.start(&mut posting, candidate, until)?,
                Turn::Wait { until } => {
                    self.wait(until).map_err(Unwritten::Stopped)?;
                    self.advance(&mut posting);
                }
                Turn::Abandon => self.running = None,
                Turn::Finish(Sent::Fallback(reason)) => return Err(Unwritten::Fallback(reason)),
                Turn::Finish(Sent::Answered) => {
                    let nothing = Unwritten::Fallback(Reason::Broken);
                    let written = self.written.ok_or(nothing)?;
                    if let (Some(attempt), Outcome::Kept) = (&self.running, written.outcome) {
                        let took = began.elapsed();
                        self.store.stats.delivered(attempt.carrier, bytes, took);
                    }
                    return Ok(written);
                }
            }
        }
    }

    fn start(
        &mut self,
        posting: &mut Posting,
        candidate: usize,
        until: Instant,
    ) -> Result<(), Unwritten> {
        self.running = None;
        let Beside { peer, server } = &self.candidates[candidate];
        let peer = Arc::clone(peer);
        let wait = until.saturating_duration_since(Instant::now());
        let lane = self
            .store
            .route
            .lane_for_writes(&self.ctx.at_most(wait), &peer);
        self.ctx.check().map_err(Unwritten::Stopped)?;
        let lane = match lane {
            Ok(lane) => lane,
            Err(reason) => {
                posting.broken(reason, Instant::now());
                return Ok(());
            }
        };
        if !lane.takes_writes() || self.body.len() as u64 > lane.limits().max_read {
            peer.kept.lanes.keep(lane);
            posting.passed_over(Reason::Declined);
            return Ok(());
        }
        let mut write = self.write.clone();
        write.server.clone_from(server);
        let block = self.block(&*lane, &write);
        if block.is_none() && !lane.fits_inline(&write) {
            // All memory is taken. A way that needs none of it is open.
            peer.kept.lanes.keep(lane);
            posting.passed_over(Reason::Declined);
            return Ok(());
        }
        write.patience = millis(until.saturating_duration_since(Instant::now()));
        match Attempt::start(&self.store.route, peer, lane, block, write, self.body) {
            Ok(attempt) => self.running = Some(attempt),
            Err((peer, broken)) => {
                let reason = self.store.route.broken(&peer, &broken);
                posting.broken(reason, Instant::now());
            }
        }
        Ok(())
    }

    /// Memory for the bytes, for the server to read from, if that is worth it.
    fn block(&self, lane: &dyn Lane, write: &Write) -> Option<(u16, Block)> {
        let (region, arena) = (lane.region()?, self.store.route.arena()?);
        if self.body.len() < ARENA_FROM && lane.fits_inline(write) {
            return None;
        }
        Some((region, arena.take(self.body.len())?))
    }

    /// Waits for the lane, for the caller to give up, or for `until`.
    fn wait(&self, until: Instant) -> Result<(), context::Stopped> {
        let until = until.min(self.ctx.deadline());
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = Vec::with_capacity(2);
        if let Some(attempt) = &self.running
            && let Some(lane) = &attempt.lane
        {
            let (fd, mut what) = lane.wait_on();
            if attempt.sent < attempt.len {
                what |= PollFlags::OUT;
            }
            fds.push(PollFd::from_borrowed_fd(fd, what));
        }
        if let Some(interrupt) = self.ctx.interrupt() {
            fds.push(PollFd::new(interrupt, PollFlags::IN));
        }
        // A failure to wait is like nothing having come: the loop looks at the clock.
        let _ = poll(&mut fds, Some(&timespec(left)));
        self.ctx.check()
    }

    fn advance(&mut self, posting: &mut Posting) {
        let Some(attempt) = &mut self.running else {
            return;
        };
        match attempt.advance(self.body) {
            Ok(None) => {}
            Ok(Some(mut written)) => {
                // It may be the sidecar's address that the volume server does not like.
                if written.outcome == Outcome::Refused && matches!(written.status, 401 | 403) {
                    written.outcome = Outcome::Declined;
                }
                if !matches!(written.outcome, Outcome::Kept | Outcome::Refused) {
                    let (sidecar, why) = (attempt.peer.name(), &written.text);
                    let outcome = written.outcome.name();
                    tracing::debug!(sidecar, outcome, why, "a write is not taken");
                }
                posting.answered(written.outcome, Instant::now());
                self.written = Some(written);
            }
            Err(broken) => {
                let peer = Arc::clone(&attempt.peer);
                self.running = None;
                let reason = self.store.route.broken(&peer, &broken);
                posting.broken(reason, Instant::now());
            }
        }
    }
}

impl Attempt {
    /// Sends the write on `lane`, and as much of its bytes as can be sent at once.
    fn start(
        route: &crate::FabricRoute,
        peer: Arc<Peer>,
        lane: Box<dyn Lane>,
        block: Option<(u16, Block)>,
        mut write: Write,
        body: &[u8],
    ) -> Result<Self, (Arc<Peer>, Broken)> {
        let block = block.map(|(region, mut block)| {
            block.copy_from_slice(body);
            write.place = block.place(region);
            block
        });
        let mut attempt = Self {
            peer,
            carrier: lane.carrier(),
            lane: Some(lane),
            len: write.data(),
            block,
            sent: 0,
        };
        let rest = &body[..attempt.len];
        let started = match &mut attempt.lane {
            Some(lane) => lane.start_write(route.next_id(), &write, rest),
            None => unreachable!("it was put there above"),
        };
        match started {
            Ok(sent) => {
                attempt.sent = sent;
                Ok(attempt)
            }
            Err(broken) => Err((Arc::clone(&attempt.peer), broken)),
        }
    }

    /// Sends what can be sent, and receives what is there; the answer, once it has come.
    fn advance(&mut self, body: &[u8]) -> Result<Option<Written>, Broken> {
        let Some(mut lane) = self.lane.take() else {
            return Ok(None);
        };
        let mut turn = || {
            while self.sent < self.len {
                match lane.push(&body[self.sent..self.len])? {
                    0 => break,
                    sent => self.sent += sent,
                }
            }
            lane.advance_write()
        };
        let outcome = turn();
        match outcome {
            // The block is free when this is dropped: it was read.
            Ok(Some(_)) => self.peer.kept.lanes.keep(lane),
            Ok(None) | Err(_) => self.lane = Some(lane),
        }
        outcome
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(lane) = self.lane.take() {
            let retiring = lane.close();
            if let Some(block) = self.block.take() {
                block.offer().abandon(retiring.as_ref());
            }
        }
    }
}

fn millis(left: Duration) -> u32 {
    u32::try_from(left.as_millis()).unwrap_or(u32::MAX)
}
