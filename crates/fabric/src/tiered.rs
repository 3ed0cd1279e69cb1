//! The fabric first, HTTP after.
//!
//! What the fabric does not deliver is asked for over HTTP at once, and counted by the reason. One
//! thing must not be lost on the way: when a sidecar has seen that the stored bytes are damaged, or
//! what it sent was, then a range read over HTTP would not notice, for ranges have no checksum. Such
//! a read fetches the whole needle, whose checksum is compared, and cuts the range out of it; and so
//! do later reads of that needle, for whatever reason they go over HTTP.
//!
//! Without fallback nothing is delivered over HTTP: a read that the fabric does not deliver fails. What is only compared with
//! what the fabric delivered comes from the volume server all the same.

mod doubts;
mod suspects;

use std::sync::Arc;
use std::time::{Duration, Instant};

use context::Context;
use seaweed::FileId;

use crate::client::Reason;
use crate::gzip::MAX_UNPLANNED;
use crate::read::TOGETHER;
use crate::{
    Ahead, Destination, FabricRoute, Missed, Refused, Route, RouteError, Stored, UpTo, Way, Whole,
};
use doubts::Doubts;
pub use suspects::Suspects;

/// Without fallback: pause before a sidecar that has too much to do, or of which too much is
/// wanted, is asked again. Neither is a failure.
const PAUSE: Duration = Duration::from_millis(5);

/// Needles over the fabric, or else over HTTP.
#[derive(Debug)]
pub struct TieredRoute<H> {
    fabric: Arc<FabricRoute>,
    http: H,
    fallback: bool,
    suspects: Arc<Suspects>,
    doubts: Doubts,
}

/// Which bytes from elsewhere are good enough.
enum Trust {
    /// Those that a volume server gives.
    Any,
    /// Those whose checksum was compared: a copy of the needle is damaged.
    Verified,
}

impl<H: Route> TieredRoute<H> {
    /// Asks `fabric`, and `http` if that does not help and `fallback` allows.
    pub fn new(fabric: Arc<FabricRoute>, http: H, fallback: bool) -> Self {
        Self {
            fabric,
            http,
            fallback,
            suspects: Arc::default(),
            doubts: Doubts::default(),
        }
    }

    /// Needles of which a damaged copy was seen; whoever sees others may add them.
    pub fn suspects(&self) -> &Arc<Suspects> {
        &self.suspects
    }

    /// One read over the fabric; without fallback again and again while it is merely busy.
    fn over_fabric<T>(
        &self,
        ctx: &Context<'_>,
        mut read: impl FnMut() -> Result<T, Missed>,
    ) -> Result<T, Missed> {
        let until = ctx.at_most(self.fabric.timeout());
        loop {
            let missed = match read() {
                Ok(done) => return Ok(done),
                Err(missed) => missed,
            };
            let is_busy = matches!(missed, Missed::Fallback(Reason::Busy | Reason::NoPermit));
            if self.fallback || !is_busy || until.remaining() < PAUSE {
                return Err(missed);
            }
            ctx.sleep(PAUSE).map_err(Missed::Stopped)?;
        }
    }

    /// What is left to do: `Ok` if HTTP is to be asked, and whether only verified bytes will do.
    fn give_up(&self, needle: FileId, missed: Missed) -> Result<Trust, RouteError> {
        match missed {
            Missed::Stopped(why) => return Err(RouteError::stopped(needle, why)),
            Missed::Refused { len } => return Err(RouteError::Refused { needle, len }),
            _ => self.fabric.stats().count(&missed),
        }
        self.doubt(needle.volume, missed);
        if self.fallback {
            tracing::debug!(%needle, reason = missed.kind(), "over HTTP instead");
            if missed == Missed::Suspect {
                self.suspects.add(needle);
            }
            return Ok(match self.suspects.has(needle) {
                true => Trust::Verified,
                false => Trust::Any,
            });
        }
        Err(match missed {
            Missed::Absent => RouteError::NotFound { needle },
            _ => RouteError::Fabric {
                needle,
                why: missed.words(),
            },
        })
    }

    /// Has it asked anew where `volume` is, if it may have moved. With fallback its server tells of the rest.
    fn doubt(&self, volume: u32, missed: Missed) {
        let is_doubtful = match missed {
            Missed::Fallback(Reason::NotHere) => true,
            Missed::Fallback(_) => !self.fallback,
            _ => false,
        };
        if is_doubtful && self.doubts.raise(volume, Instant::now()) {
            self.fabric.forget(volume);
        }
    }

    /// A range whose bytes are known to be right, since one copy is known to be damaged.
    fn read_verified(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        dst: &mut [u8],
    ) -> Result<Way, RouteError> {
        let mut all = UpTo::new(MAX_UNPLANNED);
        let whole = self.http.read_whole(ctx, needle, Stored::Plain, &mut all)?;
        if !whole.verified {
            return Err(self.unverified(needle));
        }
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = all.bytes.get(..whole.len).and_then(|all| all.get(from..));
        let bytes = bytes.and_then(|rest| rest.get(..dst.len()));
        dst.copy_from_slice(bytes.ok_or_else(|| RouteError::PastEnd {
            needle,
            server: self.http.name().into(),
            offset,
            len: dst.len() as u64,
        })?);
        Ok(whole.way)
    }

    fn unverified(&self, needle: FileId) -> RouteError {
        RouteError::Malformed {
            needle,
            server: self.http.name().into(),
            what: "no checksum, although a copy is known to be damaged",
        }
    }
}

impl<H: Route> Route for TieredRoute<H> {
    fn name(&self) -> &'static str {
        "fabric"
    }

    fn expect(&self, volumes: &[u32]) {
        self.http.expect(volumes);
    }

    fn read_at(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        dst: &mut [u8],
    ) -> Result<Way, RouteError> {
        let read = || self.fabric.read_at(ctx, needle, offset, dst);
        match self.over_fabric(ctx, read) {
            Ok(()) => Ok(Way::Fabric),
            Err(missed) => match self.give_up(needle, missed)? {
                Trust::Verified => self.read_verified(ctx, needle, offset, dst),
                Trust::Any => self.http.read_at(ctx, needle, offset, dst),
            },
        }
    }

    fn read_part(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        len: u64,
        to: &mut dyn Destination,
    ) -> Result<Way, RouteError> {
        let read = || self.fabric.read_part(ctx, needle, offset, len, to);
        match self.over_fabric(ctx, read) {
            Ok(()) => Ok(Way::Fabric),
            Err(missed) => match self.give_up(needle, missed)? {
                Trust::Verified => {
                    let memory = to.memory(len);
                    let memory = memory.map_err(|Refused| RouteError::Refused { needle, len })?;
                    self.read_verified(ctx, needle, offset, memory)
                }
                Trust::Any => self.http.read_part(ctx, needle, offset, len, to),
            },
        }
    }

    fn read_whole(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        form: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        match self.over_fabric(ctx, || self.fabric.read_whole(ctx, needle, form, to)) {
            Ok(whole) => Ok(whole),
            Err(missed) => {
                let trust = self.give_up(needle, missed)?;
                let whole = self.http.read_whole(ctx, needle, form, to)?;
                match trust {
                    Trust::Verified if !whole.verified => Err(self.unverified(needle)),
                    _ => Ok(whole),
                }
            }
        }
    }

    fn read_whole_from_server(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        form: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        self.http.read_whole(ctx, needle, form, to)
    }

    fn disbelieve(&self, needle: FileId) -> Result<(), RouteError> {
        self.fabric.disbelieve(needle.volume);
        match self.fallback {
            true => Ok(()),
            false => Err(RouteError::Fabric {
                needle,
                why: "a sidecar has other bytes than the volume server",
            }),
        }
    }

    fn together(&self) -> usize {
        match self.fabric.peers().is_empty() {
            true => self.http.together(),
            false => TOGETHER,
        }
    }

    /// Over HTTP only where no sidecar is known at all: what a sidecar does not give at once is not worth more
    /// before somebody wants it.
    fn read_ahead(&self, ctx: &Context<'_>, wanted: &mut [Ahead<'_>]) {
        if self.fabric.peers().is_empty() {
            if self.fallback {
                self.http.read_ahead(ctx, wanted);
            }
            return;
        }
        for needle in self.fabric.read_together(ctx, wanted) {
            self.suspects.add(needle);
        }
    }
}
