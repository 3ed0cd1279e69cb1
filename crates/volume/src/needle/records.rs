//! Records of needles used last, so that the next range of one costs one pread(2).
//!
//! What is kept of a record is all but its data: where that lies, and the header that was compared
//! with the name and the index. Nothing is believed because it is kept: a range is compared with
//! the sums of its blocks, which were made when the whole was checked behind that very header, and
//! where there are none the header is read again with the range. Small records are not kept: they are
//! read whole in one call anyway.

use std::sync::Arc;

use quick_cache::sync::Cache;

use super::Record;
use crate::sums::SumsKey;

/// The records used last.
#[derive(Debug)]
pub(crate) struct RecordCache(Cache<SumsKey, Arc<Record>>);

/// As many as the chunks of 32 GiB, in about 4 MB.
const RECORDS: usize = 16 << 10;

impl Default for RecordCache {
    fn default() -> Self {
        Self(Cache::new(RECORDS))
    }
}

impl RecordCache {
    pub(crate) fn known(&self, key: &SumsKey) -> Option<Arc<Record>> {
        self.0.get(key)
    }

    pub(crate) fn keep(&self, key: SumsKey, record: Arc<Record>) {
        self.0.insert(key, record);
    }
}
