//! Fetching one piece: from disk, else over the route.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use context::Context;
use fabric::{Destination, RouteError, Stored};
use seaweed::manifest::MAX_BYTES;
use seaweed::{Chunk, DecodeError, decode_chunk};

use crate::ReadError;
use crate::cache::Piece;
use crate::core::{Core, Fetched, Urgency};
use crate::depth::Departure;
use crate::disk::{DiskKey, Form};
use crate::landing::{Extra, Landing};
use crate::piece::{Cut, OPAQUE_LIMIT, Part};
use crate::read::refuse_sse;
use crate::stats::Source;

/// How often somebody who waits for the overdraft looks at its own interrupt.
const LOOK: Duration = Duration::from_millis(25);

impl Core {
    /// Fetches the piece of `cut`. `None` when there is no memory for it.
    pub(crate) fn fetch(
        &self,
        ctx: &Context<'_>,
        chunk: &Chunk,
        cut: &Cut,
        urgency: Urgency,
    ) -> Result<Option<Fetched>, ReadError> {
        match cut.key.part {
            Part::Whole => self.fetch_whole(ctx, chunk, urgency),
            Part::Range(_) => self.fetch_part(ctx, chunk, cut.start, cut.piece_len),
            Part::Opened | Part::Manifest if chunk.size > OPAQUE_LIMIT && !chunk.is_manifest => {
                Err(ReadError::TooLarge {
                    needle: chunk.file_id,
                    len: chunk.size,
                    limit: OPAQUE_LIMIT,
                })
            }
            Part::Opened | Part::Manifest => match self.open_chunk(ctx, chunk, None, urgency)? {
                Some(fetched) => Ok(Some(fetched)),
                None if urgency != Urgency::Ahead => self.overdraw(ctx, chunk, cut).map(Some),
                None => Ok(None),
            },
        }
    }

    /// Reads a part of a plain chunk straight into `dst`.
    pub(crate) fn read_exact(
        &self,
        ctx: &Context<'_>,
        chunk: &Chunk,
        offset: u64,
        dst: &mut [u8],
    ) -> Result<Source, ReadError> {
        let key = DiskKey {
            needle: chunk.file_id,
            form: Form::Plain,
        };
        let whole = chunk.size <= self.geometry.whole as u64;
        let stored = whole.then(|| self.stored_on_disk(&key)).flatten();
        let mut on_disk = stored.is_some_and(|len| len >= offset + dst.len() as u64);
        if on_disk && self.prefers_disk(dst.len()) {
            if self.read_disk(&key, offset, dst) {
                return Ok(Source::Disk);
            }
            on_disk = false;
        }
        let departure = self.depth.depart();
        match self.route.read_at(ctx, chunk.file_id, offset, dst) {
            Ok(way) => {
                self.came_over_route(dst.len(), departure);
                Ok(Source::Route(way))
            }
            Err(error)
                if on_disk && is_unreachable(&error) && self.read_disk(&key, offset, dst) =>
            {
                Ok(Source::Disk)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A part of a large chunk.
    fn fetch_part(
        &self,
        ctx: &Context<'_>,
        chunk: &Chunk,
        offset: u64,
        len: usize,
    ) -> Result<Option<Fetched>, ReadError> {
        let mut landing = Landing::new(&self.memory, len as u64, None);
        let departure = self.depth.depart();
        let (needle, wanted) = (chunk.file_id, len as u64);
        match self
            .route
            .read_part(ctx, needle, offset, wanted, &mut landing)
        {
            Ok(way) => {
                self.came_over_route(len, departure);
                let source = Source::Route(way);
                Ok(Some(Fetched {
                    piece: Piece::new(landing.finish(len), source),
                    source,
                    keep: true,
                }))
            }
            Err(RouteError::Refused { .. }) if landing.starved() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The beginning of a small chunk whose needle is longer.
    fn fetch_range(
        &self,
        ctx: &Context<'_>,
        chunk: &Chunk,
        len: usize,
    ) -> Result<Option<Fetched>, ReadError> {
        let Some(mut buffer) = self.memory.take(len) else {
            return Ok(None);
        };
        let source = self.read_exact(ctx, chunk, 0, buffer.as_mut_slice())?;
        Ok(Some(Fetched {
            piece: Piece::new(buffer.freeze(), source),
            source,
            keep: true,
        }))
    }

    /// All of a small plain chunk.
    fn fetch_whole(
        &self,
        ctx: &Context<'_>,
        chunk: &Chunk,
        urgency: Urgency,
    ) -> Result<Option<Fetched>, ReadError> {
        let len = chunk.size as usize; // at most geometry.whole
        let limit = self.geometry.whole as u64;
        let (stored, source) =
            match self.fetch_stored(ctx, chunk, Form::Plain, limit, None, urgency) {
                Ok(Some(stored)) => stored,
                Ok(None) => return Ok(None),
                // The needle is larger than the chunk: a file was truncated. Its checksum is not
                // worth fetching what nobody sees.
                Err(RouteError::Refused { .. }) => return self.fetch_range(ctx, chunk, len),
                Err(error) => return Err(error.into()),
            };
        if stored.len() < len {
            return Err(corrupt(
                chunk,
                format!("{} bytes instead of {len}", stored.len()),
            ));
        }
        Ok(Some(Fetched {
            piece: Piece::new(stored, source),
            source,
            keep: true,
        }))
    }

    /// All of a chunk that has to be opened, or of the list in a manifest chunk. Memory is
    /// taken from `extra` if given; `None` if there is not enough.
    fn open_chunk(
        &self,
        ctx: &Context<'_>,
        chunk: &Chunk,
        extra: Option<&Extra<'_>>,
        urgency: Urgency,
    ) -> Result<Option<Fetched>, ReadError> {
        let (form, limit) = match (chunk.is_opaque(), chunk.is_manifest) {
            (true, false) => (Form::Opaque, OPAQUE_LIMIT),
            (true, true) => (Form::Opaque, MAX_BYTES as u64),
            (false, _) => (Form::Plain, MAX_BYTES as u64),
        };
        // The size of a manifest chunk is that of the file behind it, not of the list.
        let list;
        let chunk = if chunk.is_manifest {
            list = Chunk {
                size: 0,
                ..chunk.clone()
            };
            &list
        } else {
            chunk
        };
        let charge = match extra {
            Some(extra) => Some(extra.charge(chunk.size as usize)),
            None => self.memory.charge(chunk.size as usize),
        };
        let Some(mut charge) = charge else {
            return Ok(None);
        };
        let stored = self.fetch_stored(ctx, chunk, form, limit, extra, urgency)?;
        let Some((stored, source)) = stored else {
            return Ok(None);
        };
        let clear = if chunk.is_opaque() {
            let clear = decode_chunk(chunk, stored).map_err(|error| match error {
                DecodeError::Sse { file_id } => ReadError::Sse { needle: file_id },
                error => corrupt(chunk, error.to_string()),
            })?;
            charge.set_len(clear.len());
            charge.cover(clear)
        } else {
            refuse_sse(chunk)?;
            stored
        };
        Ok(Some(Fetched {
            piece: Piece::new(clear, source),
            source,
            keep: extra.is_none(),
        }))
    }

    /// Opens a chunk for which there is no memory, one at a time.
    ///
    /// A chunk that must be opened cannot be read in smaller portions, and a read must not fail
    /// because others hold the memory. So there is one place for one such chunk beyond the
    /// ceiling. The last chunk stays there for the next read of it, else a sequential reader
    /// would open it anew for each request.
    fn overdraw(&self, ctx: &Context<'_>, chunk: &Chunk, cut: &Cut) -> Result<Fetched, ReadError> {
        let mut place = loop {
            if let Some(place) = self.overdraft.try_lock_for(LOOK) {
                break place;
            }
            ctx.check()?;
        };
        if let Some((key, piece)) = &*place
            && *key == cut.key
            && cut.fits(piece)
        {
            return Ok(Fetched {
                piece: Arc::clone(piece),
                source: Source::Memory,
                keep: false,
            });
        }
        *place = None;
        self.stats.starved.inc();
        let extra = Extra::of(&self.memory);
        match self.open_chunk(ctx, chunk, Some(&extra), Urgency::Demand)? {
            Some(fetched) => {
                *place = Some((cut.key, Arc::clone(&fetched.piece)));
                Ok(fetched)
            }
            None => Err(ReadError::TooLarge {
                needle: chunk.file_id,
                len: chunk.size,
                limit: OPAQUE_LIMIT,
            }),
        }
    }

    /// The stored bytes of a chunk, from disk or over the route; `None` without memory.
    fn fetch_stored(
        &self,
        ctx: &Context<'_>,
        chunk: &Chunk,
        form: Form,
        limit: u64,
        extra: Option<&Extra<'_>>,
        urgency: Urgency,
    ) -> Result<Option<(Bytes, Source)>, RouteError> {
        let key = DiskKey {
            needle: chunk.file_id,
            form,
        };
        let mut landing = Landing::new(&self.memory, limit, extra).expecting(chunk);
        let on_disk = self.stored_on_disk(&key).filter(|len| *len <= limit);
        let mut on_disk = on_disk.filter(|len| form == Form::Opaque || *len >= chunk.size);
        if let Some(len) = on_disk
            && self.prefers_disk(len as usize)
        {
            if let Some(stored) = self.fetch_disk(&key, len, &mut landing) {
                return Ok(Some((stored, Source::Disk)));
            }
            on_disk = None;
        }
        let wanted = if chunk.is_compressed {
            Stored::Gzip
        } else {
            Stored::Plain
        };
        let departure = self.depth.depart();
        match self
            .route
            .read_whole(ctx, chunk.file_id, wanted, &mut landing)
        {
            Ok(whole) => {
                self.came_over_route(whole.len, departure);
                let stored = landing.finish(whole.len);
                let (stored, whole) = self.proven(ctx, chunk, stored, whole)?;
                if let Some(disk) = &self.disk
                    && whole.verified
                    // What lies on a disk of this host need not lie there twice.
                    && !whole.near
                    && extra.is_none()
                    && urgency != Urgency::Once
                    && disk.wants(chunk.offset.saturating_add(chunk.size))
                {
                    disk.offer(key, stored.clone());
                }
                Ok(Some((stored, Source::Route(whole.way))))
            }
            Err(RouteError::Refused { .. }) if landing.starved() => Ok(None),
            Err(error) => match on_disk {
                Some(len) if is_unreachable(&error) => self
                    .fetch_disk(&key, len, &mut landing)
                    .map(|stored| Some((stored, Source::Disk)))
                    .ok_or(error),
                _ => Err(error),
            },
        }
    }

    fn fetch_disk(&self, key: &DiskKey, len: u64, landing: &mut Landing<'_>) -> Option<Bytes> {
        let dst = landing.memory(len).ok()?;
        let found = self.read_disk(key, 0, dst);
        found.then(|| landing.finish(len as usize))
    }

    fn read_disk(&self, key: &DiskKey, offset: u64, dst: &mut [u8]) -> bool {
        let began = Instant::now();
        let found = self
            .disk
            .as_ref()
            .is_some_and(|disk| disk.read(key, offset, dst));
        if found {
            self.pace.disk(dst.len(), began.elapsed());
        }
        found
    }

    fn stored_on_disk(&self, key: &DiskKey) -> Option<u64> {
        let disk = self.disk.as_ref()?;
        let len = disk.len_of(key);
        if len.is_none() {
            self.stats.disk_misses.inc();
        }
        len
    }

    /// Asked only about chunks that are on disk.
    fn prefers_disk(&self, len: usize) -> bool {
        let prefers = self.pace.prefers_disk(len);
        if !prefers {
            self.stats.disk_bypasses.inc();
        }
        prefers
    }

    fn came_over_route(&self, len: usize, departure: Departure<'_>) {
        self.stats.route_bytes.add(len as u64);
        let took = departure.arrived(len);
        if self.disk.is_some() {
            self.pace.route(len, took);
        }
    }
}

/// Whether the servers are at fault, so that the disk may help out.
fn is_unreachable(error: &RouteError) -> bool {
    error.is_transient() || matches!(error, RouteError::Unlocated { .. })
}

fn corrupt(chunk: &Chunk, reason: String) -> ReadError {
    ReadError::Corrupt {
        needle: chunk.file_id,
        reason: reason.into(),
    }
}
