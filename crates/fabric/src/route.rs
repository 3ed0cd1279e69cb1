//! The contract of a route.

use context::Context;
use seaweed::FileId;

use crate::RouteError;
use crate::memory::Block;

/// A way to fetch needles. Blocking; called from many threads at once.
pub trait Route: Send + Sync {
    /// Its name in statistics and logs, such as `http`.
    fn name(&self) -> &'static str;

    /// Says that needles in these volumes will be read soon, so that the way there can be
    /// looked up at once. Does not wait.
    fn expect(&self, volumes: &[u32]) {
        let _ = volumes;
    }

    /// Fills `dst` with the clear data of `needle` from byte `offset` on.
    ///
    /// For chunks that are neither encrypted nor compressed. Exactly `dst.len()` bytes are
    /// delivered or the read fails; after an error `dst` holds anything. A range has no
    /// checksum of its own: only [`read_whole`](Route::read_whole) is verified end to end.
    ///
    /// # Errors
    /// See [`RouteError`]; asking past the end of the data is [`RouteError::PastEnd`].
    fn read_at(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        dst: &mut [u8],
    ) -> Result<Way, RouteError>;

    /// The same for `len` bytes that `to` has no memory for yet: it may be given memory that holds them
    /// already.
    ///
    /// # Errors
    /// The same, and [`RouteError::Refused`] when `to` had no memory for so many.
    fn read_part(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        offset: u64,
        len: u64,
        to: &mut dyn Destination,
    ) -> Result<Way, RouteError> {
        let memory = to.memory(len);
        let memory = memory.map_err(|Refused| RouteError::Refused { needle, len })?;
        self.read_at(ctx, needle, offset, memory)
    }

    /// Fetches all data of `needle` and compares it with the checksum the server keeps.
    ///
    /// `to` is asked for memory once the length is known, and again for each further attempt.
    ///
    /// # Errors
    /// See [`RouteError`]; [`RouteError::Refused`] when `to` had no memory for that length.
    fn read_whole(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        form: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError>;

    /// The same from a volume server or a filer, whatever faster ways there are: to compare with.
    ///
    /// # Errors
    /// The same.
    fn read_whole_from_server(
        &self,
        ctx: &Context<'_>,
        needle: FileId,
        form: Stored,
        to: &mut dyn Destination,
    ) -> Result<Whole, RouteError> {
        self.read_whole(ctx, needle, form, to)
    }

    /// Whoever delivered `needle` by a faster way has other bytes than the volume server.
    ///
    /// # Errors
    /// Where what the volume server has may not be delivered instead.
    fn disbelieve(&self, needle: FileId) -> Result<(), RouteError> {
        let _ = needle;
        Ok(())
    }

    /// How many needles are worth asking for together.
    fn together(&self) -> usize {
        1
    }

    /// Whether a needle is so near that to have it fetched ahead gains nothing. Does not wait.
    fn is_near(&self, needle: FileId) -> bool {
        let _ = needle;
        false
    }

    /// Fetches small needles that nobody waits for yet, in as few exchanges as can be, whole and as clear data. What
    /// is not delivered is no error: whoever wants it asks for it.
    fn read_ahead(&self, ctx: &Context<'_>, wanted: &mut [Ahead<'_>]) {
        for one in wanted {
            let read = self.read_whole(ctx, one.needle, Stored::Plain, one.to);
            one.done = read.ok();
        }
    }
}

/// A small needle that somebody may want in a moment.
pub struct Ahead<'d> {
    /// Which one.
    pub needle: FileId,
    /// Where its data goes; it says how long that probably is.
    pub to: &'d mut dyn Destination,
    /// How it came, once it has.
    pub done: Option<Whole>,
}

impl<'d> Ahead<'d> {
    /// One that was not asked for yet.
    pub fn new(needle: FileId, to: &'d mut dyn Destination) -> Self {
        Self {
            needle,
            to,
            done: None,
        }
    }
}

/// In which form the data of a needle is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Clear data. A needle the volume server compressed on its own account is inflated.
    /// Also right for encrypted chunks, whose needles are never marked as compressed.
    Plain,
    /// The bytes as they lie in the volume, for a chunk that its entry marks as compressed:
    /// a gzip stream, or cipher text with one inside.
    Gzip,
}

/// What [`Route::read_whole`] delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Bytes written to the front of the destination's memory.
    pub len: usize,
    /// Whether a checksum was there to compare with. A volume server always sends one; a
    /// proxy in between may lose it.
    pub verified: bool,
    /// How they came.
    pub way: Way,
    /// Whether they lie on a disk of this host: whoever keeps them there as well keeps them twice.
    pub near: bool,
}

/// How bytes came here, the faster one first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Out of volume files of this host, without another process.
    ShortCircuit,
    /// From a sidecar.
    Fabric,
    /// From a volume server or a filer.
    Http,
}

/// Gives memory for data whose length only the server knows.
pub trait Destination {
    /// Memory of exactly `len` bytes. Asked for the same length again, without anything else in
    /// between, it is the same memory with what is in it.
    ///
    /// # Errors
    /// [`Refused`] when that is more than the caller is willing to hold.
    fn memory(&mut self, len: u64) -> Result<&mut [u8], Refused>;

    /// How long the stored data probably is, if that can be told. A route that has to provide
    /// for the data before it knows better then provides for this much.
    fn likely(&self) -> Option<u64> {
        None
    }

    /// Takes over memory that holds the data, all of it and nothing else, so that it need not
    /// be copied; instead of [`memory`](Destination::memory).
    ///
    /// # Errors
    /// The block, when it cannot be kept. Memory may still be had then, or refused.
    fn adopt(&mut self, block: Block) -> Result<(), Block> {
        Err(block)
    }
}

/// A destination has no room for this many bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused;

/// A vector that grows up to a limit, for data of no particular home.
#[derive(Debug)]
pub struct UpTo {
    /// What was delivered.
    pub bytes: Vec<u8>,
    limit: usize,
}

impl UpTo {
    /// An empty vector that takes at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::new(),
            limit,
        }
    }
}

impl Destination for UpTo {
    fn memory(&mut self, len: u64) -> Result<&mut [u8], Refused> {
        let len = usize::try_from(len).map_err(|_| Refused)?;
        if len > self.limit {
            return Err(Refused);
        }
        self.bytes.resize(len, 0);
        Ok(&mut self.bytes)
    }
}
