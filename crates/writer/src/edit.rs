//! What has to be done to an entry's chunks.
//!
//! An edit is relative, so that it can be applied to whatever the entry is by
//! then: first the file is cut, then chunks are laid over it, and it is at
//! least so long. Two mounts that write different parts of a file both keep
//! what they wrote.

use std::collections::BTreeMap;

use seaweed::pb::FileChunk;

/// A change of a file's chunks and size.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Edit {
    /// What the entry holds from here on is gone.
    pub cut: Option<u64>,
    /// The file has at least this length afterwards.
    pub end: u64,
    /// Chunks over the rest, in the order in which they were written; their stamps are given
    /// when the edit is applied.
    pub chunks: Vec<FileChunk>,
}

/// What a file is after an edit.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// All chunks.
    pub chunks: Vec<FileChunk>,
    /// Length in bytes.
    pub size: u64,
}

impl Edit {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.cut.is_none() && self.end == 0 && self.chunks.is_empty()
    }

    /// The length of a file of `size` bytes afterwards.
    pub fn size(&self, size: u64) -> u64 {
        self.cut.map_or(size, |cut| size.min(cut)).max(self.end)
    }

    /// Applies it to a file of these chunks and this size. Every new chunk gets a stamp above
    /// those of all chunks before it, and not below `now_ns`.
    ///
    /// A manifest that the cut goes through is kept whole but for its size, which clips its
    /// children wherever a manifest is resolved.
    pub fn apply(&self, chunks: &[FileChunk], size: u64, now_ns: i64) -> Applied {
        let mut all = clip(chunks, self.cut);
        let newest = all.iter().map(|chunk| chunk.modified_ts_ns).max();
        let mut stamp = newest.map_or(now_ns, |newest| now_ns.max(newest.saturating_add(1)));
        for chunk in &self.chunks {
            all.push(FileChunk {
                modified_ts_ns: stamp,
                ..chunk.clone()
            });
            stamp = stamp.saturating_add(1);
        }
        Applied {
            chunks: visible(all),
            size: self.size(size),
        }
    }

    /// This edit and then `next`, as one.
    #[must_use]
    pub fn then(&self, next: &Self) -> Self {
        let mut chunks = clip(&self.chunks, next.cut);
        chunks.extend(next.chunks.iter().cloned());
        let cut = match (self.cut, next.cut) {
            (Some(first), Some(second)) => Some(first.min(second)),
            (first, second) => first.or(second),
        };
        Self {
            cut,
            end: next.size(self.end),
            chunks,
        }
    }

    /// Its chunks, as far as they lie before `limit`.
    pub(crate) fn clipped(&self, limit: u64) -> Vec<FileChunk> {
        clip(&self.chunks, Some(limit))
    }

    /// The file is cut or made longer.
    pub(crate) fn truncate(&mut self, size: u64) {
        self.chunks = clip(&self.chunks, Some(size));
        self.cut = Some(self.cut.map_or(size, |cut| cut.min(size)));
        self.end = size;
    }
}

/// The chunks without what lies behind `cut`.
fn clip(chunks: &[FileChunk], cut: Option<u64>) -> Vec<FileChunk> {
    let Some(cut) = cut else {
        return chunks.to_vec();
    };
    let kept = chunks.iter().filter_map(|chunk| {
        let offset = u64::try_from(chunk.offset).unwrap_or(0);
        let left = cut.checked_sub(offset).filter(|left| *left > 0)?;
        Some(FileChunk {
            size: chunk.size.min(left),
            ..chunk.clone()
        })
    });
    kept.collect()
}

/// The chunks without those of which nothing can be seen, in the same order.
fn visible(chunks: Vec<FileChunk>) -> Vec<FileChunk> {
    let mut newest_first: Vec<usize> = (0..chunks.len()).collect();
    // Of equal stamps the later one wins or does not; both are kept.
    newest_first.sort_by_key(|index| std::cmp::Reverse(chunks[*index].modified_ts_ns));
    let mut covered: BTreeMap<i64, i64> = BTreeMap::new();
    let mut keep = vec![true; chunks.len()];
    let mut waiting: Vec<(i64, i64)> = Vec::new();
    let mut stamp = i64::MAX;
    for index in newest_first {
        let chunk = &chunks[index];
        let size = i64::try_from(chunk.size).unwrap_or(i64::MAX);
        let (start, end) = (chunk.offset, chunk.offset.saturating_add(size));
        if chunk.modified_ts_ns < stamp {
            stamp = chunk.modified_ts_ns;
            for (start, end) in waiting.drain(..) {
                cover(&mut covered, start, end);
            }
        }
        let above = covered.range(..=start).next_back();
        keep[index] = above.is_none_or(|(_, last)| *last < end);
        // What a manifest shows may have holes.
        if !chunk.is_chunk_manifest {
            waiting.push((start, end));
        }
    }
    let mut keep = keep.into_iter();
    let mut chunks = chunks;
    chunks.retain(|_| keep.next().unwrap_or(true));
    chunks
}

/// Adds a range to sorted ones that neither overlap nor touch.
fn cover(ranges: &mut BTreeMap<i64, i64>, mut start: i64, mut end: i64) {
    while let Some((&first, &last)) = ranges.range(..=end).next_back() {
        if last < start {
            break;
        }
        ranges.remove(&first);
        start = start.min(first);
        end = end.max(last);
    }
    ranges.insert(start, end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(offset: i64, size: u64, stamp: i64) -> FileChunk {
        FileChunk {
            file_id: format!("1,{offset:02x}{size:02x}00000000"),
            offset,
            size,
            modified_ts_ns: stamp,
            ..FileChunk::default()
        }
    }

    #[test]
    fn new_chunks_lie_over_all_that_were_there() {
        let edit = Edit {
            cut: Some(15),
            end: 30,
            chunks: vec![chunk(20, 10, 0), chunk(25, 5, 0)],
        };
        let after = edit.apply(&[chunk(0, 10, 7), chunk(10, 10, 900)], 20, 100);
        let shape: Vec<_> = after
            .chunks
            .iter()
            .map(|c| (c.offset, c.size, c.modified_ts_ns))
            .collect();
        assert_eq!(
            shape,
            [(0, 10, 7), (10, 5, 900), (20, 10, 901), (25, 5, 902)]
        );
        assert_eq!(after.size, 30);
    }

    #[test]
    fn one_after_the_other_is_both_at_once() {
        let first = Edit {
            cut: Some(0),
            end: 50,
            chunks: vec![chunk(0, 50, 0)],
        };
        let mut second = Edit::default();
        second.truncate(10);
        second.truncate(40);
        let base = [chunk(0, 100, 1)];
        let apart = {
            let middle = first.apply(&base, 100, 5);
            second.apply(&middle.chunks, middle.size, 6)
        };
        let together = first.then(&second).apply(&base, 100, 5);
        assert_eq!(together.size, apart.size);
        assert_eq!(together.chunks, apart.chunks);
        assert_eq!((apart.size, apart.chunks[0].size), (40, 10));
    }
}
