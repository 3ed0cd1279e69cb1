//! How chunks are cut into the pieces that are fetched, cached and prefetched.
//!
//! - A plain chunk up to [`Geometry::whole`] is one piece: it is fetched whole, and so its
//!   checksum can be compared. That covers the chunks that mounts (2 MiB), filers (4 MiB) and
//!   the S3 gateway (8 MiB) write.
//! - A larger plain chunk is cut into parts of [`Geometry::part`]: nobody should wait for 64 MiB
//!   to see the first byte. Parts are ranges of a needle and have no checksum of their own.
//! - An encrypted or compressed chunk can only be opened whole, so it is one piece whatever its
//!   size, up to [`OPAQUE_LIMIT`].
//!
//! With little memory the sizes shrink, so that there are always several pieces to it: with
//! room for a piece or two every second read would fetch what the last one dropped.

use seaweed::{Chunk, FileId};

/// The largest chunk that is opened (decrypted, decompressed) in memory. Writers cut files at
/// 2 to 64 MiB; whatever claims more is not worth dying for.
pub const OPAQUE_LIMIT: u64 = 256 << 20;
/// The part of a large chunk: long enough that a fetch is bound by bandwidth.
const PART: usize = 4 << 20;
/// The smallest part, however little memory there is: a page.
const PART_MIN: usize = 4096;
/// Parts that must fit into memory at once.
const PARTS_IN_MEMORY: usize = 8;

/// What a piece is called: file ids are never used again for other content, so a name stands
/// for the same bytes for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PieceKey {
    pub(crate) needle: FileId,
    pub(crate) part: Part,
}

/// Which bytes of a chunk, in which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// All of a small plain chunk.
    Whole,
    /// The part of this number of a large plain chunk.
    Range(u64),
    /// All of a chunk that had to be opened.
    Opened,
    /// The list of chunks behind a manifest chunk.
    Manifest,
}

/// The sizes of pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Geometry {
    /// Large chunks are cut at multiples of this.
    pub(crate) part: usize,
    /// Chunks up to this are one piece.
    pub(crate) whole: usize,
}

/// A run of wanted bytes within one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) key: PieceKey,
    /// First byte of the piece, counted from the start of the chunk.
    pub(crate) start: u64,
    /// Length of the piece, by the entry.
    pub(crate) piece_len: usize,
    /// First wanted byte, counted from the start of the piece.
    pub(crate) at: usize,
    /// Wanted bytes.
    pub(crate) len: usize,
}

impl Geometry {
    /// Piece sizes for a memory budget.
    pub(crate) fn for_memory(bytes: usize) -> Self {
        let room = (bytes / PARTS_IN_MEMORY).max(1);
        let part = (1 << room.ilog2()).clamp(PART_MIN, PART);
        Self {
            part,
            whole: 2 * part,
        }
    }

    /// The piece of `chunk` that holds byte `offset` of it, with the wanted bytes clipped to
    /// that piece. `offset` lies within the chunk.
    pub(crate) fn cut(&self, chunk: &Chunk, offset: u64, len: u64) -> Cut {
        let (part, start, piece_len) = if chunk.is_opaque() {
            (Part::Opened, 0, chunk.size)
        } else if chunk.size <= self.whole as u64 {
            (Part::Whole, 0, chunk.size)
        } else {
            let number = offset / self.part as u64;
            let start = number * self.part as u64;
            let len = (chunk.size - start).min(self.part as u64);
            (Part::Range(number), start, len)
        };
        let at = offset - start;
        Cut {
            key: PieceKey {
                needle: chunk.file_id,
                part,
            },
            start,
            piece_len: piece_len as usize,
            at: at as usize,
            len: len.min(piece_len - at) as usize,
        }
    }
}

impl Cut {
    /// Whether so much of the piece is wanted that fetching all of it costs next to nothing
    /// more, and buys a checksum and a cached piece.
    pub(crate) fn is_nearly_whole(&self) -> bool {
        // At most 1.1 bytes fetched for each byte asked.
        self.len * 11 >= self.piece_len * 10
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(size: u64, is_compressed: bool) -> Chunk {
        Chunk {
            file_id: FileId {
                volume: 1,
                key: 2,
                cookie: 3,
            },
            offset: 1 << 40,
            size,
            modified_ts_ns: 1,
            cipher_key: None,
            is_compressed,
            is_manifest: false,
            sse: false,
            e_tag: "".into(),
        }
    }

    #[test]
    fn usual_chunks_are_one_piece_and_large_ones_are_cut_without_gaps() {
        let geometry = Geometry::for_memory(256 << 20);
        for size in [1, 4096, 2 << 20, 4 << 20, 8 << 20] {
            let cut = geometry.cut(&chunk(size, false), size - 1, 100);
            assert_eq!((cut.key.part, cut.start), (Part::Whole, 0));
            assert_eq!((cut.piece_len as u64, cut.len), (size, 1));
        }
        let large = chunk((64 << 20) + 5, false);
        let mut at = 0;
        while at < large.size {
            let cut = geometry.cut(&large, at, u64::MAX);
            assert_eq!(cut.key.part, Part::Range(at / (4 << 20)));
            assert_eq!((cut.start, cut.at, cut.len), (at, 0, cut.piece_len));
            at += cut.len as u64;
        }
        assert_eq!(at, large.size);
        let opaque = geometry.cut(&chunk(64 << 20, true), 9 << 20, 7);
        assert_eq!((opaque.key.part, opaque.at), (Part::Opened, 9 << 20));
    }

    #[test]
    fn pieces_shrink_with_memory_so_that_several_fit() {
        for memory in [0, 1, 4096, 64 << 10, 1 << 20, 8 << 20, 30 << 20, 1 << 40] {
            let Geometry { part, whole } = Geometry::for_memory(memory);
            assert!(part.is_power_of_two() && (PART_MIN..=PART).contains(&part));
            assert!(part == PART_MIN || part * PARTS_IN_MEMORY <= memory);
            assert_eq!(whole, 2 * part);
        }
    }

    #[test]
    fn only_what_costs_a_tenth_more_is_fetched_whole() {
        let geometry = Geometry::for_memory(256 << 20);
        let whole = |size, len| geometry.cut(&chunk(size, false), 0, len).is_nearly_whole();
        assert!(whole(5000, 5000) && whole(5000, 8192) && whole(11_000, 10_000));
        assert!(!whole(11_001, 10_000) && !whole(2 << 20, 128 << 10));
    }
}
