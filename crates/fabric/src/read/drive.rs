//! Does what a [`Call`] decides, with real lanes and the real clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use context::{Context, Stopped};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use seaweed::FileId;

use super::attempt::{Attempt, Question, item};
use super::wanted::Wanted;
use super::{FabricRoute, Missed};
use crate::carrier::DialError;
use crate::client::{Call, Reason, Step, Verdict};
use crate::lane::Lane;
use crate::peers::Peer;
use crate::wire::{Answer, Status};

/// What the fabric has to say.
#[derive(Debug)]
pub(super) enum Told {
    /// The bytes are where they were wanted; so many, by this carrier.
    Delivered(usize, &'static str),
    /// What else to ask for.
    Otherwise(Answer),
}

/// A read that is under way.
pub(super) struct Drive<'r, 'w, 'd> {
    route: &'r FabricRoute,
    ctx: Context<'r>,
    needle: FileId,
    wanted: &'w mut Wanted<'d>,
    peers: Vec<Arc<Peer>>,
    running: Vec<Attempt>,
    /// Answered, until the call has decided which of them counts.
    answered: Vec<Attempt>,
    /// All is over by then.
    deadline: Instant,
}

/// Why an attempt was not begun.
enum Unasked {
    /// The sidecar, or the lane to it.
    Because(Reason),
    /// Its time went by while a lane was being opened, as the call sees by the clock.
    Late,
    /// There is no lane yet, and another attempt has to be listened to.
    Unready(Option<Instant>),
}

impl<'r, 'w, 'd> Drive<'r, 'w, 'd> {
    /// A read from any of `peers`, to be over by `deadline`.
    pub(super) fn new(
        route: &'r FabricRoute,
        ctx: &Context<'r>,
        needle: FileId,
        wanted: &'w mut Wanted<'d>,
        peers: Vec<Arc<Peer>>,
        deadline: Instant,
    ) -> Self {
        Self {
            route,
            ctx: *ctx,
            needle,
            wanted,
            peers,
            running: Vec::new(),
            answered: Vec::new(),
            deadline,
        }
    }

    /// Reads until there is a verdict. Whatever is on its way when it ends is given up.
    pub(super) fn run(mut self) -> Result<Told, Missed> {
        let began = Instant::now();
        let candidates = self.peers.iter().map(|peer| peer.candidate()).collect();
        let bytes = u64::from(self.wanted.extent().room());
        let policy = Arc::clone(&self.route.policy);
        let call = Call::new(policy, candidates, self.needle.volume, bytes, began);
        let mut call = call.by(self.deadline);
        loop {
            match call.next(Instant::now()) {
                Step::Start { attempt, candidate } => {
                    match self.start(attempt, candidate, call.patience(attempt))? {
                        Ok(()) | Err(Unasked::Late) => {}
                        Err(Unasked::Because(reason)) => {
                            call.broken(attempt, reason, Instant::now());
                        }
                        Err(Unasked::Unready(again)) => call.unready(attempt, again),
                    }
                }
                Step::Wait { until } => {
                    self.wait(until).map_err(Missed::Stopped)?;
                    self.advance(&mut call)?;
                }
                Step::Abandon { attempt } => {
                    // Dropping it closes the lane, and quarantines what it had offered.
                    let before = self.running.len();
                    self.running.retain(|running| running.number != attempt);
                    if self.running.len() < before {
                        self.route.stats.abandoned.inc();
                    }
                }
                Step::Finish(verdict) => return self.finish(verdict, began),
            }
        }
    }

    fn start(
        &mut self,
        number: u32,
        candidate: usize,
        until: Instant,
    ) -> Result<Result<(), Unasked>, Missed> {
        let peer = Arc::clone(&self.peers[candidate]);
        let is_hedge = !self.running.is_empty();
        let lane = match self.lane(&peer, is_hedge, until)? {
            Ok(lane) => lane,
            Err(why) => return Ok(Err(why)),
        };
        if is_hedge {
            self.route.stats.hedges.inc();
        }
        let declined = Unasked::Because(Reason::Declined);
        if u64::from(self.wanted.extent().room()) > lane.limits().max_read {
            peer.kept.lanes.keep(lane);
            return Ok(Err(declined));
        }
        let room = u64::from(self.wanted.extent().room());
        let block = Attempt::block(&*lane, self.route.arena.as_ref(), room);
        if block.is_none() && room > lane.most_inline() {
            // All memory is taken. A way that needs none of it is open.
            peer.kept.lanes.keep(lane);
            return Ok(Err(declined));
        }
        let question = Question {
            number,
            id: self.route.next_id(),
            item: item(self.needle, self.wanted),
            // Only one may write to the caller's memory.
            is_direct: !self.running.iter().any(Attempt::is_direct),
            is_hedge,
        };
        match Attempt::start(Arc::clone(&peer), lane, block, question) {
            Ok(attempt) => self.running.push(attempt),
            Err(broken) => {
                let reason = self.route.broken(&peer, &broken);
                return Ok(Err(Unasked::Because(reason)));
            }
        }
        Ok(Ok(()))
    }

    /// A lane to `peer`, kept or new. A hedge takes none that is not there yet: while it is opened nobody
    /// would hear the answer that the first attempt gets.
    fn lane(
        &self,
        peer: &Arc<Peer>,
        is_hedge: bool,
        until: Instant,
    ) -> Result<Result<Box<dyn Lane>, Unasked>, Missed> {
        if let Some(lane) = peer.kept.lanes.take() {
            return Ok(Ok(lane));
        }
        if is_hedge {
            let soon = self.route.open_ahead(peer);
            let again = soon.then(|| Instant::now() + LOOK);
            return Ok(Err(Unasked::Unready(again)));
        }
        let error = match self.route.open(&up_to(&self.ctx, until), peer) {
            Ok(lane) => return Ok(Ok(lane)),
            Err(error) => error,
        };
        self.ctx.check().map_err(Missed::Stopped)?;
        Ok(Err(match error {
            DialError::Stopped(_) => Unasked::Late,
            error => Unasked::Because(self.route.unopened(&error)),
        }))
    }

    /// Waits for a lane to have something to say, the caller to give up, or `until`.
    fn wait(&mut self, until: Instant) -> Result<(), Stopped> {
        let room = u64::from(self.wanted.extent().room());
        let first = self.running.first();
        let kept = first.map(|attempt| Arc::clone(&attempt.peer.kept));
        let waiting = kept.as_ref();
        let waiting = waiting.map(|kept| self.route.eager.begin(&kept.credit, 0, room));
        // A hedge is there because the first attempt takes long.
        if let ([attempt], Some(waiting)) = (&mut self.running[..], &waiting)
            && waiting.look(|| attempt.look())
        {
            self.route.stats.polled.inc();
            return self.ctx.check();
        }
        let until = until.min(self.ctx.deadline());
        let left = until.saturating_duration_since(Instant::now());
        let lanes = self.running.iter().filter_map(Attempt::lane);
        let mut fds: Vec<_> = lanes
            .map(|lane| {
                let (fd, what) = lane.wait_on();
                PollFd::from_borrowed_fd(fd, what)
            })
            .collect();
        if let Some(interrupt) = self.ctx.interrupt() {
            fds.push(PollFd::new(interrupt, PollFlags::IN));
        }
        // A failure to wait is like nothing having come: the loop looks at the clock.
        let _ = poll(&mut fds, Some(&timespec(left)));
        self.ctx.check()
    }

    fn advance(&mut self, call: &mut Call) -> Result<(), Missed> {
        let mut at = 0;
        while at < self.running.len() {
            match self.running[at].advance(self.wanted) {
                Ok(None) => at += 1,
                Ok(Some(answer)) => {
                    let attempt = self.running.remove(at);
                    self.answered(call, attempt, &answer)?;
                }
                Err(broken) => {
                    let attempt = self.running.remove(at);
                    let reason = self.route.broken(&attempt.peer, &broken);
                    call.broken(attempt.number, reason, Instant::now());
                }
            }
        }
        Ok(())
    }

    fn answered(
        &mut self,
        call: &mut Call,
        attempt: Attempt,
        answer: &Answer,
    ) -> Result<(), Missed> {
        if let Some(missed) = attempt.missed() {
            return Err(missed);
        }
        let is_right = attempt.is_right(self.wanted);
        if answer.status == Status::Done && !is_right {
            self.route.stats.corrupt.inc();
            tracing::warn!(
                sidecar = attempt.peer.name(),
                carrier = attempt.carrier(),
                needle = %self.needle,
                "the bytes that came have another checksum"
            );
        }
        if answer.status == Status::NotHere {
            self.route.peers.look_again();
        }
        call.answered(attempt.number, answer, is_right, Instant::now());
        self.answered.push(attempt);
        Ok(())
    }

    fn finish(mut self, verdict: Verdict, began: Instant) -> Result<Told, Missed> {
        let mut take = |number: u32| {
            let at = self.answered.iter().position(|one| one.number == number);
            let attempt = self.answered.swap_remove(at?);
            if attempt.is_hedge {
                self.route.stats.hedges_won.inc();
            }
            Some(attempt)
        };
        match verdict {
            Verdict::Delivered { attempt } => {
                let Some(attempt) = take(attempt) else {
                    return Err(Missed::Fallback(Reason::Broken));
                };
                let carrier = attempt.carrier();
                let len = attempt.deliver(self.wanted)?;
                self.route.stats.delivered(carrier, len, began.elapsed());
                Ok(Told::Delivered(len, carrier))
            }
            Verdict::Told { attempt } => match take(attempt).and_then(|one| one.answer()) {
                Some(answer) => Ok(Told::Otherwise(answer)),
                None => Err(Missed::Fallback(Reason::Broken)),
            },
            Verdict::Absent => Err(Missed::Absent),
            Verdict::Suspect => Err(Missed::Suspect),
            Verdict::Fallback(reason) => Err(Missed::Fallback(reason)),
        }
    }
}

/// How often a hedge looks whether its lane is open: a few round trips.
const LOOK: Duration = Duration::from_millis(2);

/// The same request, to be over by `until`.
pub(super) fn up_to<'c>(ctx: &Context<'c>, until: Instant) -> Context<'c> {
    ctx.at_most(until.saturating_duration_since(Instant::now()))
}

pub(crate) fn timespec(left: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    }
}
