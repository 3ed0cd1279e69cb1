//! Views: which chunk shows where.
//!
//! A file is written by laying chunks over each other. At every byte the chunk
//! with the highest `modified_ts_ns` shows; where there is none, zeros do.
//! [`FileView::resolve`] sweeps over the file once from front to back with the
//! chunks that cover the current byte in a heap, the newest on top, which takes
//! O(n log n) however they overlap.
//!
//! Of two chunks with the same stamp the later one in the list shows, since
//! writers append to the list. Upstream has no rule to follow here: what its
//! readers show depends on how their sweep happens to meet the two.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::Arc;

use crate::Chunk;

/// The visible part of one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// First byte of the file.
    pub start: u64,
    /// Number of bytes, never 0.
    pub len: u64,
    /// Which chunk, as an index into [`FileView::chunks`].
    pub chunk: u32,
    /// Where in the chunk's clear data `start` is.
    pub chunk_offset: u64,
}

impl View {
    /// First byte of the file behind it.
    pub fn end(&self) -> u64 {
        self.start + self.len
    }
}

/// A file as a reader sees it: views in order, that never overlap, with holes between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileView {
    /// All chunks, visible or not.
    pub chunks: Arc<[Chunk]>,
    /// The visible parts, by `start`.
    pub views: Vec<View>,
    /// Length of the file.
    pub size: u64,
}

/// What a stretch of a file consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Zeros.
    Hole {
        /// Number of bytes, never 0.
        len: u64,
    },
    /// Bytes of a chunk.
    Data {
        /// The chunk.
        chunk: &'a Chunk,
        /// Its index in [`FileView::chunks`].
        chunk_index: u32,
        /// Where in its clear data.
        chunk_offset: u64,
        /// Number of bytes, never 0.
        len: u64,
    },
}

impl Piece<'_> {
    /// Number of bytes, never 0.
    pub fn len(&self) -> u64 {
        match self {
            Self::Hole { len } | Self::Data { len, .. } => *len,
        }
    }

    /// Never: there are no pieces of nothing.
    pub fn is_empty(&self) -> bool {
        false
    }
}

impl FileView {
    /// Sorts out chunks, whose manifests were resolved before, in a file of `size` bytes.
    pub fn resolve(chunks: impl Into<Arc<[Chunk]>>, size: u64) -> Self {
        let chunks = chunks.into();
        debug_assert!(
            chunks.iter().all(|c| !c.is_manifest),
            "an unresolved manifest"
        );
        debug_assert!(u32::try_from(chunks.len()).is_ok(), "too many chunks");
        let views = sweep(&chunks, size);
        debug_assert!(views.is_sorted_by(|a, b| a.end() <= b.start));
        Self {
            chunks,
            views,
            size,
        }
    }

    /// What `len` bytes from `offset` on consist of, or fewer at the end of the file.
    pub fn pieces(&self, offset: u64, len: u64) -> impl Iterator<Item = Piece<'_>> {
        let end = offset.saturating_add(len).min(self.size);
        let mut at = offset;
        let mut next = self.first_ending_after(offset);
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let view = self.views.get(next).filter(|view| view.start < end);
            let piece = match view {
                Some(view) if view.start <= at => {
                    next += 1;
                    let skipped = at - view.start;
                    Piece::Data {
                        chunk: &self.chunks[view.chunk as usize],
                        chunk_index: view.chunk,
                        chunk_offset: view.chunk_offset + skipped,
                        len: view.end().min(end) - at,
                    }
                }
                Some(view) => Piece::Hole {
                    len: view.start - at,
                },
                None => Piece::Hole { len: end - at },
            };
            at += piece.len();
            Some(piece)
        })
    }

    /// The first byte at or behind `offset` that is no hole (`SEEK_DATA`), if there is one.
    pub fn next_data(&self, offset: u64) -> Option<u64> {
        let view = self.views.get(self.first_ending_after(offset))?;
        Some(view.start.max(offset))
    }

    /// The first byte at or behind `offset` that is a hole (`SEEK_HOLE`); the end of the file
    /// counts as one. Nothing when `offset` is not in the file.
    pub fn next_hole(&self, offset: u64) -> Option<u64> {
        if offset >= self.size {
            return None;
        }
        let views = &self.views[self.first_ending_after(offset)..];
        let touching = views
            .iter()
            .try_fold(offset, |at, view| match view.start <= at {
                true => Ok(view.end()),
                false => Err(at),
            });
        Some(touching.unwrap_or_else(|at| at))
    }

    fn first_ending_after(&self, offset: u64) -> usize {
        self.views.partition_point(|view| view.end() <= offset)
    }
}

/// A chunk that covers the byte the sweep is at; the greatest shows.
#[derive(PartialEq, Eq)]
struct Covering {
    modified_ts_ns: i64,
    index: u32,
    end: u64,
}

impl Ord for Covering {
    fn cmp(&self, other: &Self) -> Ordering {
        let rank = |c: &Self| (c.modified_ts_ns, c.index);
        rank(self).cmp(&rank(other))
    }
}

impl PartialOrd for Covering {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn sweep(chunks: &[Chunk], size: u64) -> Vec<View> {
    let inside = |&index: &u32| {
        let chunk = &chunks[index as usize];
        chunk.size > 0 && chunk.offset < size
    };
    let mut order: Vec<u32> = (0..chunks.len() as u32).filter(inside).collect();
    order.sort_by_key(|&index| chunks[index as usize].offset);

    let mut views: Vec<View> = Vec::with_capacity(order.len());
    let mut covering = BinaryHeap::new();
    let mut starting = order.into_iter().peekable();
    let mut at = 0;
    loop {
        while covering.peek().is_some_and(|top: &Covering| top.end <= at) {
            covering.pop();
        }
        if covering.is_empty() {
            let Some(&index) = starting.peek() else {
                return views;
            };
            at = chunks[index as usize].offset;
        }
        while let Some(index) = starting.next_if(|&i| chunks[i as usize].offset <= at) {
            let chunk = &chunks[index as usize];
            covering.push(Covering {
                modified_ts_ns: chunk.modified_ts_ns,
                index,
                end: chunk.end().min(size),
            });
        }
        let Some(top) = covering.peek() else {
            return views;
        };
        let next_start = starting.peek().map(|&i| chunks[i as usize].offset);
        let until = next_start.map_or(top.end, |start| start.min(top.end));
        show(&mut views, chunks, top.index, at, until);
        at = until;
    }
}

/// Appends a view, or lengthens the last one when the same chunk goes on.
fn show(views: &mut Vec<View>, chunks: &[Chunk], index: u32, start: u64, end: u64) {
    match views.last_mut() {
        Some(last) if last.chunk == index && last.end() == start => last.len += end - start,
        _ => views.push(View {
            start,
            len: end - start,
            chunk: index,
            chunk_offset: start - chunks[index as usize].offset,
        }),
    }
}

#[cfg(test)]
mod tests;
