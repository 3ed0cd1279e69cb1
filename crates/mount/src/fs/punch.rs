//! Ranges that become zero: `FALLOC_FL_PUNCH_HOLE` and `FALLOC_FL_ZERO_RANGE`.
//!
//! Chunks that lie wholly inside are taken out of the entry, and the filer deletes them as it deletes
//! those that were written over. A chunk can only go as a whole: where another one reaches into the range, and
//! could be seen or be uncovered, zeros are laid over it. Both happen in one save, so that nobody ever sees
//! bytes from below a chunk that is gone.
//!
//! What is not saved yet has no chunks to take out. It is saved first when the range is large, and is written over
//! with zeros when it is small.

use std::cell::Cell;
use std::collections::HashSet;
use std::ops::Range;
use std::time::SystemTime;

use context::Context;
use fuse::Errno;
use seaweed::{Chunk, Entry, FileId, pb};

use crate::files::File;

use super::Mount;

/// A range for which what was written is saved first: half a chunk by default.
const LARGE: u64 = 1 << 20;

/// What becomes of a range.
struct Plan {
    /// Chunks that go.
    gone: HashSet<FileId>,
    /// Manifests that were looked at; chunks may be inside of others by now.
    manifests: HashSet<FileId>,
    /// Where other chunks reach in.
    zeros: Vec<Range<u64>>,
}

impl Mount {
    /// Makes a range inside of the file zero.
    pub(super) fn zero(
        &self,
        ctx: &Context<'_>,
        file: &File,
        range: Range<u64>,
    ) -> Result<(), Errno> {
        if range.is_empty() {
            return Ok(());
        }
        self.prepare(ctx, file, false)?;
        if range.end - range.start >= LARGE && !file.dirty.is_clean() {
            self.core.save(ctx, file.node, Some(file), false, None)?;
        }
        if let Some(plan) = self.plan(ctx, file, &range)?
            && self.take_out(ctx, file, &plan)?
        {
            return Ok(());
        }
        // What is a hole stays one.
        let data = self.data_within(ctx, file, range)?;
        self.write_zeros(ctx, file, &data)
    }

    /// What to take out; None when there is nothing.
    fn plan(
        &self,
        ctx: &Context<'_>,
        file: &File,
        range: &Range<u64>,
    ) -> Result<Option<Plan>, Errno> {
        // Before the entry is looked at: a save in between would give it chunks that are not seen here.
        let clean = file.dirty.is_clean();
        let content = self.content(file.node)?;
        // A file without a name has no entry that could be changed.
        let named = self.core.tree.read().locate(file.node).is_some();
        if !named || !clean || !content.entry.content.is_empty() {
            return Ok(None);
        }
        let (inside, others): (Vec<&Chunk>, Vec<&Chunk>) = content
            .entry
            .chunks
            .iter()
            .partition(|chunk| range.start <= chunk.offset && chunk.end() <= range.end);
        if inside.is_empty() {
            return Ok(None);
        }
        let data = self.data_within(ctx, file, range.clone())?;
        let manifests = content
            .entry
            .chunks
            .iter()
            .filter(|chunk| chunk.is_manifest);
        Ok(Some(Plan {
            gone: inside.iter().map(|chunk| chunk.file_id).collect(),
            manifests: manifests.map(|chunk| chunk.file_id).collect(),
            zeros: common(&data, &union(others.iter().map(|c| c.offset..c.end()))),
        }))
    }

    /// Carries a plan out; false when the entry is another one by now.
    fn take_out(&self, ctx: &Context<'_>, file: &File, plan: &Plan) -> Result<bool, Errno> {
        self.write_zeros(ctx, file, &plan.zeros)?;
        let taken = Cell::new(false);
        let id = |chunk: &pb::FileChunk| Chunk::try_from(chunk).ok().map(|chunk| chunk.file_id);
        let take = |entry: &mut pb::Entry| {
            let known =
                |chunk: &pb::FileChunk| id(chunk).is_some_and(|id| plan.manifests.contains(&id));
            let mut manifests = entry.chunks.iter().filter(|chunk| chunk.is_chunk_manifest);
            taken.set(false);
            if manifests.all(known) {
                let size = Entry::from_pb("/", entry.clone()).map_or(0, |entry| entry.size);
                let before = entry.chunks.len();
                entry
                    .chunks
                    .retain(|chunk| id(chunk).is_none_or(|id| !plan.gone.contains(&id)));
                taken.set(entry.chunks.len() < before);
                // Chunks that are gone do not tell the length any more, and the sum is of the old bytes.
                let attributes = entry.attributes.get_or_insert_default();
                attributes.file_size = size;
                attributes.md5 = bytes::Bytes::new();
            }
            Ok(())
        };
        self.core
            .save(ctx, file.node, Some(file), false, Some(&take))?;
        Ok(taken.get())
    }

    fn write_zeros(
        &self,
        ctx: &Context<'_>,
        file: &File,
        ranges: &[Range<u64>],
    ) -> Result<(), Errno> {
        for range in ranges {
            file.dirty
                .zero(ctx, range.start, range.end)
                .map_err(|error| self.core.write_failed(file.node, &error))?;
        }
        file.wrote(SystemTime::now(), None, false);
        Ok(())
    }
}

/// Ranges, sorted, without overlaps.
fn union(ranges: impl Iterator<Item = Range<u64>>) -> Vec<Range<u64>> {
    let mut all: Vec<Range<u64>> = ranges.collect();
    all.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in all {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// What two lists of sorted ranges have in common.
fn common(a: &[Range<u64>], b: &[Range<u64>]) -> Vec<Range<u64>> {
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        let range = x.start.max(y.start)..x.end.min(y.end);
        if !range.is_empty() {
            found.push(range);
        }
        if x.end <= y.end {
            i += 1;
        } else {
            j += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_where_they_touch() {
        let joined = union([5..7, 0..2, 2..3, 6..9].into_iter());
        assert_eq!(joined, [0..3, 5..9]);
    }

    #[test]
    fn what_is_in_both_lists_is_found_once() {
        let found = common(&[0..10, 20..30], &[5..22, 25..26, 29..40]);
        assert_eq!(found, [5..10, 20..22, 25..26, 29..30]);
        assert!(common(&found, &[]).is_empty());
    }
}
