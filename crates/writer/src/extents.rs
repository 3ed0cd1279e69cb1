//! Bytes in memory, by their place in the file.

use std::collections::BTreeMap;

use bytes::Bytes;

/// Written ranges that do not overlap.
#[derive(Debug, Default)]
pub(crate) struct Extents(BTreeMap<u64, Vec<u8>>);

impl Extents {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Puts `bytes` at `offset`, over what was there.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = offset + bytes.len() as u64;
        // The common case: right behind what was written last.
        let before = self.0.range_mut(..=offset).next_back();
        if let Some((start, held)) = before
            && *start + held.len() as u64 >= offset
        {
            let at = (offset - *start) as usize;
            let inside = (held.len() - at).min(bytes.len());
            held[at..at + inside].copy_from_slice(&bytes[..inside]);
            if inside == bytes.len() {
                return;
            }
            held.extend_from_slice(&bytes[inside..]);
            let start = *start;
            self.swallow(start, end);
            return;
        }
        self.0.insert(offset, bytes.to_vec());
        self.swallow(offset, end);
    }

    /// Drops what lies behind `size`.
    pub(crate) fn truncate(&mut self, size: u64) {
        self.0.split_off(&size);
        if let Some((start, held)) = self.0.range_mut(..size).next_back() {
            let keep = (size - *start).min(held.len() as u64) as usize;
            held.truncate(keep);
        }
    }

    /// Everything, and leaves nothing.
    pub(crate) fn take(&mut self) -> Vec<(u64, Bytes)> {
        let all = std::mem::take(&mut self.0);
        all.into_iter()
            .map(|(offset, held)| (offset, Bytes::from(held)))
            .collect()
    }

    /// Copies of the parts inside `[offset, end)`.
    pub(crate) fn within(&self, offset: u64, end: u64) -> Vec<(u64, Bytes)> {
        let first = self.0.range(..=offset).next_back().map(|(start, _)| *start);
        let range = self.0.range(first.unwrap_or(offset)..end);
        let parts = range.filter_map(|(start, held)| {
            let from = (*start).max(offset);
            let to = (*start + held.len() as u64).min(end);
            let part = held.get((from - *start) as usize..to.checked_sub(*start)? as usize)?;
            (!part.is_empty()).then(|| (from, Bytes::copy_from_slice(part)))
        });
        parts.collect()
    }

    /// The extent at `start` has grown to `end`: what it covers now is dropped, what sticks out
    /// is joined to it.
    fn swallow(&mut self, start: u64, end: u64) {
        while let Some((&next, _)) = self.0.range(start + 1..=end).next() {
            let Some(held) = self.0.remove(&next) else {
                return;
            };
            let covered = (end - next) as usize;
            if covered < held.len()
                && let Some(grown) = self.0.get_mut(&start)
            {
                grown.extend_from_slice(&held[covered..]);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn extents_are_what_a_plain_file_would_be(
            steps in proptest::collection::vec((0u64..200, 0usize..60, any::<u8>(), any::<bool>()), 0..30),
            from in 0u64..250, len in 0u64..250,
        ) {
            let mut extents = Extents::default();
            let mut model: Vec<Option<u8>> = vec![None; 300];
            for (offset, len, byte, cut) in steps {
                if cut {
                    extents.truncate(offset);
                    model[offset as usize..].fill(None);
                } else {
                    extents.write(offset, &vec![byte; len]);
                    model[offset as usize..offset as usize + len].fill(Some(byte));
                }
            }
            let mut seen: Vec<Option<u8>> = vec![None; 300];
            for (start, part) in extents.within(from, from + len) {
                for (index, byte) in part.iter().enumerate() {
                    let place = &mut seen[start as usize + index];
                    prop_assert!(place.is_none());
                    *place = Some(*byte);
                }
            }
            for (index, want) in model.iter().enumerate() {
                let inside = (from..from + len).contains(&(index as u64));
                prop_assert_eq!(seen[index], want.filter(|_| inside));
            }
        }
    }
}
