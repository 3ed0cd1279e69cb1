//! Whole files, for somebody who keeps them elsewhere.
//!
//! What is read once and kept by its reader is of no more use here: it takes what the caches and
//! the flights of others have, and leaves nothing in either cache, which belong to those who
//! come back. Pieces are fetched whole all the same, as only then their checksums count.

use std::ops::Range;

use context::Context;
use seaweed::{FileView, Piece as Shown};

use crate::core::{Core, Urgency};
use crate::piece::Part;
use crate::read::refuse_sse;
use crate::{ReadError, Sink};

impl Core {
    /// The data of a file, without its holes, in runs that end where pieces do: whoever reads each
    /// run once fetches each piece once (unless a chunk shows in several places). Runs are
    /// as long as a piece of a large chunk, or one piece.
    pub(crate) fn runs(&self, view: &FileView) -> Vec<Range<u64>> {
        let enough = self.geometry.part as u64;
        let mut runs: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        for shown in view.pieces(0, view.size) {
            if let Shown::Data {
                chunk,
                chunk_offset,
                len,
                ..
            } = shown
            {
                let mut done = 0;
                while done < len {
                    let cut = self.geometry.cut(chunk, chunk_offset + done, len - done);
                    let (start, end) = (at + done, at + done + cut.len as u64);
                    match runs.last_mut() {
                        Some(last) if last.end == start && end - last.start <= enough => {
                            last.end = end;
                        }
                        _ => runs.push(start..end),
                    }
                    done += cut.len as u64;
                }
            }
            at += shown.len();
        }
        runs
    }

    /// Appends a range of a file to `out`, keeping nothing.
    pub(crate) fn read_once(
        &self,
        ctx: &Context<'_>,
        view: &FileView,
        range: Range<u64>,
        out: &mut dyn Sink,
    ) -> Result<(), ReadError> {
        let len = range.end.saturating_sub(range.start);
        for shown in view.pieces(range.start, len) {
            let (chunk, chunk_offset, len) = match shown {
                Shown::Hole { len } => {
                    out.zeros(len as usize);
                    continue;
                }
                Shown::Data {
                    chunk,
                    chunk_offset,
                    len,
                    ..
                } => (chunk, chunk_offset, len),
            };
            refuse_sse(chunk)?;
            let mut done = 0;
            while done < len {
                let cut = self.geometry.cut(chunk, chunk_offset + done, len - done);
                let cached = self.memory.cached(&cut.key, false);
                let piece = match cached.filter(|piece| cut.fits(piece)) {
                    Some(piece) => Some(piece),
                    None => {
                        let fetched = self.piece(ctx, chunk, &cut, Urgency::Once)?;
                        fetched.map(|fetched| fetched.piece)
                    }
                };
                match piece {
                    Some(piece) => out.share(piece.bytes.slice(cut.at..cut.at + cut.len)),
                    // No memory left: the bytes can still go straight to where they are wanted.
                    None if cut.key.part != Part::Opened => {
                        let offset = cut.start + cut.at as u64;
                        self.read_exact(ctx, chunk, offset, out.fill(cut.len))?;
                    }
                    None => {
                        return Err(ReadError::TooLarge {
                            needle: chunk.file_id,
                            len: chunk.size,
                            limit: crate::OPAQUE_LIMIT,
                        });
                    }
                }
                done += cut.len as u64;
            }
        }
        Ok(())
    }
}
