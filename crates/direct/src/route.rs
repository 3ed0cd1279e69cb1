//! The short-circuit route, and the next one where it does not help.

use std::sync::Arc;

use context::Context;
use fabric::{
    Ahead, Destination, Inflated, Route, RouteError, Stored, Suspects, Way, Whole, inflate,
};
use seaweed::FileId;
use volume::{Needle, ReadError};

use crate::{Decline, Volumes};

/// Needles out of files of this host, or else by `next`.
#[derive(Debug)]
pub struct ShortCircuit<R> {
    volumes: Arc<Volumes>,
    next: R,
    /// Needles of which a damaged copy was seen, by this route or the next.
    suspects: Arc<Suspects>,
}

/// Why a whole needle is not delivered here.
enum Unread {
    Decline(Decline),
    Refused(u64),
}

impl From<Decline> for Unread {
    fn from(why: Decline) -> Self {
        Self::Decline(why)
    }
}

/// The longest needle that is inflated here.
const MAX_INFLATED: u64 = 64 << 20;

impl<R: Route> ShortCircuit<R> {
    /// Reads what is in `volumes`; `suspects` are those of the next route.
    pub fn new(volumes: Arc<Volumes>, next: R, suspects: Arc<Suspects>) -> Self {
        Self {
            volumes,
            next,
            suspects,
        }
    }

    fn find(&self, ctx: &Context<'_>, needle: FileId) -> Result<Needle, Decline> {
        if self.suspects.has(needle) {
            return Err(Decline::Suspect);
        }
        let found = self.volumes.find(ctx, needle);
        let found = found.inspect_err(|why| {
            if *why == Decline::Suspect {
                self.suspects.add(needle);
            }
        })?;
        match found.is_chunk_manifest() {
            true => Err(Decline::Form),
            false => Ok(found),
        }
    }

    /// A needle whose bytes are its clear data.
    fn find_clear(&self, ctx: &Context<'_>, needle: FileId) -> Result<Needle, Decline> {
        let found = self.find(ctx, needle)?;
        match found.is_gzip() {
            true => Err(Decline::Form),
            false => Ok(found),
        }
    }

    fn range(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        dst: &mut [u8],
    ) -> Result<(), Decline> {
        let found = self.find_clear(ctx, needle)?;
        self.fill(&found, offset, dst)
    }

    fn part(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        len: u64,
        to: &mut dyn Destination,
    ) -> Result<(), Unread> {
        let found = self.find_clear(ctx, needle)?;
        let memory = to.memory(len).map_err(|_| Unread::Refused(len))?;
        Ok(self.fill(&found, offset, memory)?)
    }

    fn whole(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        form: Stored,
        to: &mut dyn Destination,
    ) -> Result<usize, Unread> {
        let found = self.find(ctx, needle)?;
        let len = found.len();
        if form == Stored::Plain && found.is_gzip() {
            if len > MAX_INFLATED {
                return Err(Decline::Form.into());
            }
            let mut stored = vec![0; len as usize];
            self.fill(&found, 0, &mut stored)?;
            return inflate(&stored, to).map_err(|failed| match failed {
                Inflated::Refused(len) => Unread::Refused(len),
                // It is what was stored; let somebody else make sense of it.
                Inflated::Damaged => Decline::Form.into(),
            });
        }
        let memory = to.memory(len).map_err(|_| Unread::Refused(len))?;
        self.fill(&found, 0, memory)?;
        Ok(memory.len())
    }

    fn fill(&self, found: &Needle, offset: u64, dst: &mut [u8]) -> Result<(), Decline> {
        match found.read_cached_at(offset, dst) {
            Ok(Some(_)) => {
                let stats = self.volumes.stats();
                stats.reads.inc();
                stats.bytes.add(dst.len() as u64);
                Ok(())
            }
            Ok(None) => Err(Decline::Disk),
            Err(ReadError::Range { .. }) => Err(Decline::PastEnd),
            Err(ReadError::Corrupt(damage)) => {
                let needle = found.file_id();
                tracing::warn!(%needle, %damage, "a needle on this host is damaged");
                self.suspects.add(needle);
                Err(Decline::Suspect)
            }
            Err(ReadError::Io(error)) => {
                let needle = found.file_id();
                tracing::warn!(%needle, %error, "cannot read a needle on this host");
                Err(Decline::Failed)
            }
        }
    }
}

impl<R: Route> Route for ShortCircuit<R> {
    fn name(&self) -> &'static str {
        "short_circuit"
    }

    fn expect(&self, volumes: &[u32]) {
        // First, as that asks for the places of all of them at once.
        self.next.expect(volumes);
        self.volumes.expect(volumes);
    }

    fn together(&self) -> usize {
        self.next.together()
    }

    fn read_whole_from_server(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        form: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        self.next.read_whole_from_server(ctx, needle, form, to)
    }

    fn disbelieve(&self, needle: FileId) -> Result<(), RouteError> {
        self.next.disbelieve(needle)
    }

    /// A pread(2) by whoever wants it is faster than to have another thread do it.
    fn is_near(&self, needle: FileId) -> bool {
        self.volumes.is_open(needle.volume) || self.next.is_near(needle)
    }

    fn read_ahead(&self, ctx: &Context<'_>, wanted: &mut [Ahead<'_>]) {
        self.next.read_ahead(ctx, wanted);
    }

    fn read_at(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        dst: &mut [u8],
    ) -> Result<Way, RouteError> {
        match self.range(ctx, needle, offset, dst) {
            Ok(()) => Ok(Way::ShortCircuit),
            Err(why) => {
                self.volumes.stats().decline(why);
                self.next.read_at(ctx, needle, offset, dst)
            }
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
        match self.part(ctx, needle, offset, len, to) {
            Ok(()) => Ok(Way::ShortCircuit),
            Err(Unread::Refused(len)) => Err(RouteError::Refused { needle, len }),
            Err(Unread::Decline(why)) => {
                self.volumes.stats().decline(why);
                self.next.read_part(ctx, needle, offset, len, to)
            }
        }
    }

    fn read_whole(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        form: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        match self.whole(ctx, needle, form, to) {
            Ok(len) => Ok(Whole {
                len,
                verified: true,
                way: Way::ShortCircuit,
                near: true,
            }),
            Err(Unread::Refused(len)) => Err(RouteError::Refused { needle, len }),
            Err(Unread::Decline(why)) => {
                self.volumes.stats().decline(why);
                self.next.read_whole(ctx, needle, form, to)
            }
        }
    }
}
