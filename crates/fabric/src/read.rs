//! Reads over the fabric, on the thread that wants the bytes.
//!
//! A [`Call`](crate::client::Call) decides whom to ask, for how long, and whom else; here its
//! decisions meet lanes and the clock. The thread takes an idle lane of the chosen sidecar, or opens
//! one, sends the question, waits in poll(2) on the lane and on the request's interrupt, and receives
//! by itself: there is nobody to hand over to.
//!
//! Every answer is compared with its checksum before anybody sees a byte of it. That of a whole
//! needle is the one the volume keeps, so it covers the disk, the sidecar and the way; that of a
//! range covers the way.
//!
//! What does not come is [`Missed`] with a reason, at the latest after the configured timeout. What to
//! do then is not decided here (see [`TieredRoute`](crate::TieredRoute)).

mod ask;
mod attempt;
mod drive;
mod missed;
mod stats;
#[cfg(test)]
mod tests;
mod together;
mod wanted;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ::stats::{Export, Exporter};
use context::Context;
use seaweed::FileId;

use crate::carrier::{Dial, DialError};
use crate::client::{Policy, Reason};
use crate::eager::Eager;
use crate::lane::{Broken, Lane};
use crate::memory::{Arena, ArenaStats};
use crate::peers::{Ahead, Kept, Peer, Peers, Turn};
use crate::wire::{Answer, MAX_READ, Status};
use crate::{Destination, Locate, LocateError, Refused, Stored, UpTo, Way, Whole};
pub(crate) use drive::timespec;
use drive::{Drive, Told};
use wanted::Wanted;

pub use ask::{AskError, ask};
pub use missed::Missed;
pub use stats::FabricStats;
pub(crate) use together::TOGETHER;

/// Longest part of a range that is asked for at a time. Ranges longer than what a FUSE request
/// or a reader's piece has are not worth more memory.
const PART: usize = 8 << 20;
/// What is asked for when nobody knows how long a needle is; most lists of chunks are shorter.
const GUESS: u32 = 64 << 10;
/// For how long a sidecar that has other bytes than its volume server is not asked for the volume.
const DISBELIEF: Duration = Duration::from_secs(600);
/// Longest needle that is inflated only to cut a range out of it.
const MAX_CUT: u64 = 64 << 20;

/// What a [`FabricRoute`] is made of.
#[derive(Clone)]
pub struct FabricConfig {
    /// What all reads share.
    pub policy: Arc<Policy>,
    /// The sidecars.
    pub peers: Arc<Peers>,
    /// Which volume servers have a volume.
    pub locate: Arc<dyn Locate>,
    /// Opens lanes.
    pub dial: Arc<dyn Dial>,
    /// Memory that sidecars may write to, which is the one that `dial` offers them.
    pub arena: Option<Arena>,
}

/// Needles over the fabric.
pub struct FabricRoute {
    policy: Arc<Policy>,
    peers: Arc<Peers>,
    locate: Arc<dyn Locate>,
    dial: Arc<dyn Dial>,
    arena: Option<Arena>,
    eager: Eager,
    stats: Arc<FabricStats>,
    id: AtomicU64,
}

impl FabricRoute {
    /// A route without lanes; they are opened as they are needed.
    pub fn new(config: FabricConfig) -> Self {
        let FabricConfig {
            policy,
            peers,
            locate,
            dial,
            arena,
        } = config;
        Self {
            policy,
            peers,
            locate,
            dial,
            arena,
            eager: Eager::default(),
            stats: Arc::default(),
            id: AtomicU64::new(1),
        }
    }

    /// Its numbers.
    pub fn stats(&self) -> &Arc<FabricStats> {
        &self.stats
    }

    /// What a read may take.
    pub fn timeout(&self) -> Duration {
        self.policy.config().timeout
    }

    /// When a read that begins now has to be over, with all its parts and lanes that are opened for it.
    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout()
    }

    /// The sidecars it knows.
    pub fn peers(&self) -> &Arc<Peers> {
        &self.peers
    }

    /// Fills `dst` with the clear data of `needle` from byte `offset` on, as
    /// [`Route::read_at`](crate::Route::read_at) does.
    ///
    /// # Errors
    /// See [`Missed`].
    pub fn read_at(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        dst: &mut [u8],
    ) -> Result<(), Missed> {
        let mut offset = offset;
        let deadline = self.deadline();
        for part in dst.chunks_mut(PART) {
            let len = part.len() as u64;
            let mut wanted = Wanted::Range { offset, dst: part };
            match self.ask(ctx, needle, &mut wanted, deadline)? {
                Told::Delivered(..) => {}
                Told::Otherwise(answer) if answer.status == Status::Gzip => {
                    let Wanted::Range { dst, .. } = wanted else {
                        return Err(Missed::PastEnd);
                    };
                    self.cut(ctx, needle, (offset, dst), &answer, deadline)?;
                }
                Told::Otherwise(answer) => return Err(otherwise(&answer)),
            }
            offset += len;
        }
        Ok(())
    }

    /// Fetches `len` bytes of the clear data of `needle` from byte `offset` on, as
    /// [`Route::read_part`](crate::Route::read_part) does.
    ///
    /// # Errors
    /// See [`Missed`].
    pub fn read_part(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        len: u64,
        to: &mut dyn Destination,
    ) -> Result<(), Missed> {
        let refused = |Refused| Missed::Refused { len };
        if len > PART as u64 {
            return self.read_at(ctx, needle, offset, to.memory(len).map_err(refused)?);
        }
        let deadline = self.deadline();
        let mut wanted = Wanted::Part {
            offset,
            len: len as u32, // at most PART
            to: &mut *to,
        };
        match self.ask(ctx, needle, &mut wanted, deadline)? {
            Told::Delivered(..) => Ok(()),
            Told::Otherwise(answer) if answer.status == Status::Gzip => {
                let dst = to.memory(len).map_err(refused)?;
                self.cut(ctx, needle, (offset, dst), &answer, deadline)
            }
            Told::Otherwise(answer) => Err(otherwise(&answer)),
        }
    }

    /// Fetches all data of `needle` and compares it with the checksum that the volume keeps, as
    /// [`Route::read_whole`](crate::Route::read_whole) does.
    ///
    /// # Errors
    /// See [`Missed`].
    pub fn read_whole(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        form: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, Missed> {
        let deadline = self.deadline();
        let likely = to.likely().map(|len| len.clamp(1, MAX_READ) as u32);
        let room = likely.unwrap_or(GUESS);
        let mut wanted = Wanted::Whole { form, room, to };
        let answer = match self.ask(ctx, needle, &mut wanted, deadline)? {
            Told::Delivered(len, carrier) => return Ok(landed(len, carrier)),
            Told::Otherwise(answer) if answer.status == Status::TooLarge => answer,
            Told::Otherwise(answer) => return Err(otherwise(&answer)),
        };
        // Now its length is known. A needle never changes.
        let room = match u32::try_from(answer.stored) {
            Ok(stored) if u64::from(stored) <= MAX_READ && stored > room => stored,
            _ => return Err(Missed::TooLarge),
        };
        if !wanted.inflates(&answer) {
            wanted.memory(room as usize)?;
        }
        if let Wanted::Whole { room: asked, .. } = &mut wanted {
            *asked = room;
        }
        match self.ask(ctx, needle, &mut wanted, deadline)? {
            Told::Delivered(len, carrier) => Ok(landed(len, carrier)),
            Told::Otherwise(answer) => Err(otherwise(&answer)),
        }
    }

    /// Opens a lane to `peer` and closes it again, to see whether it can be done.
    ///
    /// # Errors
    /// See [`DialError`].
    pub fn try_out(&self, ctx: &Context<'_>, peer: &Peer) -> Result<&'static str, DialError> {
        let lane = self.open(ctx, peer)?;
        let carrier = lane.carrier();
        peer.kept.lanes.keep(lane);
        Ok(carrier)
    }

    /// Housekeeping, to be called every second or so: closes lanes that nobody needs, sees whether better ways
    /// work again than those of the lanes that are in use, and gives memory back.
    pub fn tidy(&self) {
        for peer in self.peers.all() {
            peer.kept.lanes.close_old();
            if peer.kept.lanes.count() > 0 && self.dial.is_mendable(&peer.announced.fabric) {
                self.mend(&peer);
            }
        }
        if let Some(arena) = &self.arena {
            arena.tidy();
        }
    }

    /// A range out of a needle that is stored compressed: all of it has to be inflated.
    fn cut(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        (offset, dst): (u64, &mut [u8]),
        answer: &Answer,
        deadline: Instant,
    ) -> Result<(), Missed> {
        if answer.stored > MAX_CUT {
            return Err(Missed::TooLarge);
        }
        let mut all = UpTo::new(crate::gzip::MAX_UNPLANNED);
        let mut wanted = Wanted::Whole {
            form: Stored::Plain,
            room: answer.stored.max(1) as u32, // at most MAX_CUT
            to: &mut all,
        };
        match self.ask(ctx, needle, &mut wanted, deadline)? {
            Told::Delivered(..) => {}
            Told::Otherwise(answer) => return Err(otherwise(&answer)),
        }
        let from = usize::try_from(offset).map_err(|_| Missed::PastEnd)?;
        let clear = all.bytes.get(from..).and_then(|rest| rest.get(..dst.len()));
        dst.copy_from_slice(clear.ok_or(Missed::PastEnd)?);
        Ok(())
    }

    fn ask(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        wanted: &mut Wanted<'_>,
        deadline: Instant,
    ) -> Result<Told, Missed> {
        let began = Instant::now();
        let peers = self.candidates(ctx, needle.volume)?;
        if peers.is_empty() {
            return Err(Missed::Fallback(Reason::NoSidecar));
        }
        // That a filer takes long to say where the volume is, is no fault of a sidecar's.
        let deadline = deadline + began.elapsed();
        Drive::new(self, ctx, needle, wanted, peers, deadline).run()
    }

    /// The sidecars of `volume` are not asked for it for a while: one of them has other bytes than
    /// the volume server.
    pub fn disbelieve(&self, volume: u32) {
        let patience = Context::background(self.timeout());
        let until = Instant::now() + DISBELIEF;
        for peer in self.candidates(&patience, volume).unwrap_or_default() {
            peer.health.disbelieve(volume, until);
        }
    }

    /// Where `volume` is has to be asked anew: it is not where it was.
    pub(crate) fn forget(&self, volume: u32) {
        self.locate.forget(volume);
    }

    /// The sidecars that may have `volume`.
    ///
    /// # Errors
    /// When the caller has given up.
    pub fn candidates(&self, ctx: &Context<'_>, volume: u32) -> Result<Vec<Arc<Peer>>, Missed> {
        if self.peers.is_empty() {
            return Ok(Vec::new());
        }
        match self.locate.locate(ctx, volume) {
            Ok(locations) => Ok(self.peers.beside(&locations)),
            Err(LocateError::Stopped(why)) => Err(Missed::Stopped(why)),
            // Nobody can say, but a sidecar may have said.
            Err(_) => Ok(self.peers.with_volume(volume)),
        }
    }

    fn open(&self, ctx: &Context<'_>, peer: &Peer) -> Result<Box<dyn Lane>, DialError> {
        open(&*self.dial, &self.stats, ctx, peer)
    }

    /// Has a lane to `peer` opened that is kept, by a thread of its own. Gives whether there may be one soon.
    fn open_ahead(&self, peer: &Arc<Peer>) -> bool {
        self.aside(
            peer,
            |kept| &kept.ahead,
            |dial, stats, ctx, to| {
                let opened = open(dial, stats, ctx, to);
                opened.map(|lane| to.kept.lanes.keep(lane)).is_ok()
            },
        )
    }

    /// Has the ways to `peer` tried that failed lately, by a thread of its own. Its lanes are opened anew when one works.
    fn mend(&self, peer: &Arc<Peer>) {
        self.aside(
            peer,
            |kept| &kept.mending,
            |dial, stats, ctx, to| {
                let began = Instant::now();
                let Some(lane) = dial.mend(ctx, &to.announced.fabric) else {
                    return false;
                };
                stats.opened.inc();
                renew(dial, to, began, &*lane);
                to.kept.lanes.keep(lane);
                true
            },
        );
    }

    /// Has something done about `peer` by a thread of its own, once at a time. Gives whether that is under way.
    fn aside(
        &self,
        peer: &Arc<Peer>,
        which: fn(&Kept) -> &Ahead,
        what: fn(&dyn Dial, &FabricStats, &Context<'_>, &Peer) -> bool,
    ) -> bool {
        match which(&peer.kept).ask(Instant::now()) {
            Turn::Soon => return true,
            Turn::No => return false,
            Turn::Open => {}
        }
        let (dial, stats) = (Arc::clone(&self.dial), Arc::clone(&self.stats));
        let (to, timeout) = (Arc::clone(peer), self.timeout());
        let task = move || {
            let is_done = what(&*dial, &stats, &Context::background(timeout), &to);
            which(&to.kept).over(is_done);
        };
        let spawned = thread::Builder::new()
            .name("fabric-dial".into())
            .spawn(task);
        if spawned.is_err() {
            which(&peer.kept).over(false);
        }
        spawned.is_ok()
    }

    /// A lane to `peer`, kept, if it takes writes, or new.
    pub(crate) fn lane_for_writes(
        &self,
        ctx: &Context<'_>,
        peer: &Peer,
    ) -> Result<Box<dyn Lane>, Reason> {
        if let Some(lane) = peer.kept.lanes.take_for_writes() {
            return Ok(lane);
        }
        let opened = self.open(ctx, peer);
        opened.map_err(|error| self.unopened(&error))
    }

    /// No lane could be opened.
    fn unopened(&self, error: &DialError) -> Reason {
        self.peers.look_again();
        let refused = |attempt: &crate::carrier::Attempt| {
            matches!(attempt.why, Broken::Refused(_) | Broken::Unproven(_))
        };
        match error {
            DialError::Failed(attempts) if attempts.iter().any(refused) => Reason::Refused,
            DialError::Version(_) => Reason::Refused,
            DialError::Failed(_) | DialError::Stopped(_) => Reason::Unreachable,
        }
    }

    /// A lane to `peer` is of no use any more.
    pub(crate) fn broken(&self, peer: &Peer, broken: &Broken) -> Reason {
        tracing::debug!(sidecar = peer.name(), %broken, "lane broke");
        self.peers.look_again();
        Reason::from(broken)
    }

    /// What all reads and writes share.
    pub(crate) fn policy(&self) -> &Arc<Policy> {
        &self.policy
    }

    /// Writes under way.
    pub(crate) fn writes_in_flight(&self) -> usize {
        self.policy.writes_in_flight()
    }

    /// What the memory is used for that sidecars can reach, if there is any.
    pub fn arena_stats(&self) -> Option<Arc<ArenaStats>> {
        self.arena.as_ref().map(|arena| Arc::clone(arena.stats()))
    }

    /// Memory that sidecars can reach.
    pub(crate) fn arena(&self) -> Option<&Arena> {
        self.arena.as_ref()
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.id.fetch_add(1, Ordering::Relaxed)
    }
}

impl Export for FabricRoute {
    fn export(&self, to: &mut dyn Exporter) {
        self.stats.export(to);
        if let Some(arena) = &self.arena {
            arena.stats().export(to);
        }
        let now = std::time::Instant::now();
        let in_flight = self.policy.in_flight() as f64;
        to.gauge("fabric_reads_in_flight", "Reads under way.", &[], in_flight);
        for peer in self.peers.all() {
            let labels = [("sidecar", peer.name())];
            let closed = f64::from(u8::from(!peer.health.is_left_alone(now)));
            let help = "1 if the sidecar is used, 0 while it is left alone after failures.";
            to.gauge("fabric_sidecar_usable", help, &labels, closed);
            let idle = peer.kept.lanes.count() as f64;
            to.gauge("fabric_lanes_idle", "Lanes kept for later.", &labels, idle);
            let in_flight = peer.health.in_flight() as f64;
            let help = "Reads that the sidecar was given.";
            to.gauge("fabric_sidecar_in_flight", help, &labels, in_flight);
        }
    }
}

impl std::fmt::Debug for FabricRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FabricRoute")
            .field("peers", &self.peers)
            .finish_non_exhaustive()
    }
}

fn open(
    dial: &dyn Dial,
    stats: &FabricStats,
    ctx: &Context<'_>,
    peer: &Peer,
) -> Result<Box<dyn Lane>, DialError> {
    let began = Instant::now();
    match dial.dial(ctx, &peer.announced.fabric) {
        Ok(lane) => {
            stats.opened.inc();
            peer.forget_trouble();
            renew(dial, peer, began, &*lane);
            Ok(lane)
        }
        Err(error) => {
            if !matches!(error, DialError::Stopped(_)) {
                peer.tell_trouble(error.to_string());
            }
            Err(error)
        }
    }
}

/// A lane was opened, which took since `began`: a better way may work again than that of older lanes.
fn renew(dial: &dyn Dial, peer: &Peer, began: Instant, lane: &dyn Lane) {
    let Some(mended) = dial.mended(&peer.announced.fabric) else {
        return;
    };
    // It works since another lane was opened, while this one took a way that is worse.
    let is_missed = mended > began && mended != lane.opened();
    let since = if is_missed { Instant::now() } else { mended };
    peer.kept.lanes.renew(since);
}

/// What `carrier` brought: nothing but a sidecar on this host can share memory with us.
fn landed(len: usize, carrier: &str) -> Whole {
    Whole {
        len,
        verified: true,
        way: Way::Fabric,
        near: carrier == "shm",
    }
}

/// What an answer without bytes means when nothing else is worth asking for.
fn otherwise(answer: &Answer) -> Missed {
    match answer.status {
        Status::PastEnd => Missed::PastEnd,
        _ => Missed::TooLarge,
    }
}
