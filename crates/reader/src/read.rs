//! One read: from a range of a file to bytes in a reply.
//!
//! ```text
//! range ── judge ──► fetch ahead (other threads)
//!   │
//!   ├─ hole ─────────────────────────────────────────► zeros
//!   └─ bytes of a chunk, cut at pieces
//!        ├─ pinned by the handle, or cached ─────────► shared
//!        ├─ random access, plain chunk ── exact range ► read into the reply
//!        └─ else the whole piece, fetched once ──────► shared
//! ```

use std::ops::Range;
use std::sync::Arc;

use context::Context;
use seaweed::{Chunk, FileView, Piece as Shown};

use crate::cache::Piece;
use crate::core::{Core, Urgency};
use crate::piece::{Cut, Part};
use crate::prefetch::{Job, Prefetchers, Work};
use crate::stats::Source;
use crate::stream::Pin;
use crate::window::{Access, Course};
use crate::{ReadError, Sink, Stream};

/// Pieces put into the queue by one request: many small chunks in a window should not make
/// one request slow.
const JOBS: usize = 64;

/// A run of wanted bytes, and where it lies in the file.
struct Wanted<'a> {
    chunk: &'a Chunk,
    cut: Cut,
    /// Of the first wanted byte.
    position: u64,
}

impl Core {
    /// Appends `range`, which lies within the file, to `out`. Returns the slowest source.
    pub(crate) fn read(
        &self,
        ctx: &Context<'_>,
        view: &FileView,
        stream: &Stream,
        range: Range<u64>,
        prefetchers: &Prefetchers,
        out: &mut dyn Sink,
    ) -> Result<Source, ReadError> {
        let len = range.end - range.start;
        let reach = self.depth.reach(self.memory.reach(self.reach));
        let (access, _turn) = stream.begin(reach, range.start, len);
        if let Access::Sequential(course) = access {
            // First, so that other threads fetch while this one does.
            self.fetch_ahead(view, stream, course, range.end, prefetchers);
        }
        let mut slowest = Source::Nowhere;
        let mut position = range.start;
        for shown in view.pieces(range.start, len) {
            match shown {
                Shown::Hole { len } => {
                    self.stats.hole_bytes.add(len);
                    // At most the length of the request, which is a usize.
                    out.zeros(len as usize);
                }
                Shown::Data {
                    chunk,
                    chunk_offset,
                    len,
                    ..
                } => {
                    refuse_sse(chunk)?;
                    let mut done = 0;
                    while done < len {
                        let cut = self.geometry.cut(chunk, chunk_offset + done, len - done);
                        let wanted = Wanted {
                            chunk,
                            cut,
                            position: position + done,
                        };
                        let source = self.append(ctx, view, stream, access, &wanted, out)?;
                        slowest = slowest.max(source);
                        done += cut.len as u64;
                    }
                }
            }
            position += shown.len();
        }
        Ok(slowest)
    }

    /// Appends the bytes of one cut.
    fn append(
        &self,
        ctx: &Context<'_>,
        view: &FileView,
        stream: &Stream,
        access: Access,
        wanted: &Wanted<'_>,
        out: &mut dyn Sink,
    ) -> Result<Source, ReadError> {
        let cut = &wanted.cut;
        if let Some(piece) = stream.inner.read(&cut.key).filter(|piece| cut.fits(piece)) {
            return Ok(self.share_hit(cut, &piece, out));
        }
        let cached = self.memory.cached(&cut.key, true);
        if let Some(piece) = cached.filter(|piece| cut.fits(piece)) {
            if access != Access::Random {
                self.pin(view, stream, wanted, &piece);
            }
            return Ok(self.share_hit(cut, &piece, out));
        }
        self.stats.memory_misses.inc();
        if self.wants_piece(access, wanted)
            && let Some(fetched) = self.piece(ctx, wanted.chunk, cut, Urgency::Demand)?
        {
            if access != Access::Random && fetched.keep {
                self.pin(view, stream, wanted, &fetched.piece);
            }
            self.note_use(&fetched.piece);
            out.share(fetched.piece.bytes.slice(cut.at..cut.at + cut.len));
            return Ok(fetched.source);
        }
        if cut.key.part != Part::Opened {
            let offset = cut.start + cut.at as u64;
            if self.wants_piece(access, wanted) {
                self.stats.starved.inc();
            }
            return self.read_exact(ctx, wanted.chunk, offset, out.fill(cut.len));
        }
        // Demand for an opaque chunk either has it or fails.
        Err(ReadError::TooLarge {
            needle: wanted.chunk.file_id,
            len: wanted.chunk.size,
            limit: crate::OPAQUE_LIMIT,
        })
    }

    /// Whether to fetch the whole piece rather than the bytes wanted of it.
    fn wants_piece(&self, access: Access, wanted: &Wanted<'_>) -> bool {
        let cut = &wanted.cut;
        if cut.key.part == Part::Opened || cut.is_nearly_whole() {
            return true;
        }
        match access {
            Access::Random => false,
            // Someone who turned out to be sequential in the back half of a piece has fetched
            // most of what came before: the rest is read as it is asked for, and the next
            // piece is being fetched ahead.
            Access::Sequential(course) => {
                let piece_from = wanted.position.saturating_sub(cut.at as u64);
                course.since <= piece_from || cut.at * 2 <= cut.piece_len
            }
        }
    }

    fn share_hit(&self, cut: &Cut, piece: &Piece, out: &mut dyn Sink) -> Source {
        self.stats.memory_hits.inc();
        self.note_use(piece);
        self.stats.memory_bytes.add(cut.len as u64);
        out.share(piece.bytes.slice(cut.at..cut.at + cut.len));
        Source::Memory
    }

    /// Keeps a piece until its sequential reader has passed it.
    fn pin(&self, view: &FileView, stream: &Stream, wanted: &Wanted<'_>, piece: &Arc<Piece>) {
        let Wanted { chunk, cut, .. } = wanted;
        if stream.inner.arrived_late(&cut.key, piece) {
            return;
        }
        if let Some(permit) = self.allowance.permit(piece.bytes.len()) {
            self.memory.register(stream);
            let (from, until) = extent(view, chunk, cut);
            stream.inner.pin(Pin {
                key: cut.key,
                from,
                until,
                piece: Some(Arc::clone(piece)),
                unread: false,
                permit,
            });
        }
    }

    /// Queues the pieces that `course` reaches and this request, which ends at `end`, does not.
    fn fetch_ahead(
        &self,
        view: &FileView,
        stream: &Stream,
        course: Course,
        end: u64,
        prefetchers: &Prefetchers,
    ) {
        if course.from >= course.to {
            return;
        }
        let mut jobs = 0;
        let mut position = course.from;
        for shown in view.pieces(course.from, course.to - course.from) {
            if let Shown::Data {
                chunk,
                chunk_offset,
                len,
                ..
            } = shown
                && !chunk.sse
            {
                let mut done = 0;
                while done < len {
                    let cut = self.geometry.cut(chunk, chunk_offset + done, len - done);
                    let (from, until) = extent(view, chunk, &cut);
                    // A piece that this request lies in is fetched on its behalf.
                    if from >= end && !stream.inner.holds(&cut.key) {
                        if jobs == JOBS {
                            return stream.inner.stopped_at(position + done, false);
                        }
                        jobs += 1;
                        if !self.queue(stream, chunk, cut, (from, until), prefetchers) {
                            self.stats.prefetch_refused.inc();
                            return stream.inner.stopped_at(position + done, true);
                        }
                    }
                    done += cut.len as u64;
                }
            }
            position += shown.len();
        }
    }

    /// Pins a piece and has it fetched; false when there is no room for it.
    fn queue(
        &self,
        stream: &Stream,
        chunk: &Chunk,
        cut: Cut,
        (from, until): (u64, u64),
        prefetchers: &Prefetchers,
    ) -> bool {
        let Some(permit) = self.allowance.permit(cut.piece_len) else {
            return false;
        };
        let piece = self.memory.cached(&cut.key, true);
        let piece = piece.filter(|piece| piece.bytes.len() >= cut.piece_len);
        let is_here = piece.is_some();
        self.memory.register(stream);
        stream.inner.pin(Pin {
            key: cut.key,
            from,
            until,
            piece,
            unread: false,
            permit,
        });
        is_here
            || prefetchers.submit(Work::Piece(Job {
                awaited_by: Arc::downgrade(&stream.inner),
                chunk: chunk.clone(),
                cut,
            }))
    }
}

/// Where a piece lies in the file.
fn extent(view: &FileView, chunk: &Chunk, cut: &Cut) -> (u64, u64) {
    let from = chunk.offset + cut.start;
    (from, (from + cut.piece_len as u64).min(view.size))
}

/// Data that only an S3 gateway can decrypt is refused rather than shown as garbage.
pub(crate) fn refuse_sse(chunk: &Chunk) -> Result<(), ReadError> {
    if chunk.sse {
        return Err(ReadError::Sse {
            needle: chunk.file_id,
        });
    }
    Ok(())
}
