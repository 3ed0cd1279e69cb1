//! Sorted ranges that neither overlap nor touch.

use std::collections::BTreeMap;

/// Ranges by their start.
#[derive(Debug, Default)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(start, end)| (*start, *end))
    }

    /// Adds `[start, end)`.
    pub(super) fn insert(&mut self, mut start: u64, mut end: u64) {
        if start >= end {
            return;
        }
        while let Some((&first, &last)) = self.0.range(..=end).next_back() {
            if last < start {
                break;
            }
            self.0.remove(&first);
            start = start.min(first);
            end = end.max(last);
        }
        self.0.insert(start, end);
    }

    /// Removes what lies behind `size`.
    pub(super) fn truncate(&mut self, size: u64) {
        self.0.split_off(&size);
        if let Some((_, end)) = self.0.iter_mut().next_back() {
            *end = (*end).min(size);
        }
    }
}
