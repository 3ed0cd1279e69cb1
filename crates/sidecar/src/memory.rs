//! A shelf of needles in memory, for tests: what comes over HTTP must not depend on volume files.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use fabric::serve::{Held, Miss, ReadFault, Shelf};
use parking_lot::Mutex;
use seaweed::FileId;
use seaweed::crc::crc32c;
use stats::Exporter;

use crate::shelves::{Stock, VolumeReport, VolumeState};

/// Needles in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryShelf {
    needles: Mutex<BTreeMap<FileId, Result<MemoryNeedle, Miss>>>,
    /// Those that are found only by who may wait.
    sunk: Mutex<BTreeSet<FileId>>,
}

/// One of them.
#[derive(Debug, Clone)]
pub(crate) struct MemoryNeedle {
    pub(crate) stored: Bytes,
    pub(crate) is_gzip: bool,
    /// As it was when the needle was written.
    pub(crate) crc: u32,
}

impl MemoryShelf {
    /// Puts a needle that is stored as it is.
    pub(crate) fn put(&self, id: FileId, bytes: &[u8]) {
        self.put_needle(
            id,
            MemoryNeedle {
                stored: Bytes::copy_from_slice(bytes),
                is_gzip: false,
                crc: crc32c(bytes),
            },
        );
    }

    /// Puts any needle.
    pub(crate) fn put_needle(&self, id: FileId, needle: MemoryNeedle) {
        self.needles.lock().insert(id, Ok(needle));
    }

    /// Has a needle be found only by who may wait.
    pub(crate) fn sink(&self, id: FileId) {
        self.sunk.lock().insert(id);
    }

    /// Has a needle be missed.
    pub(crate) fn miss(&self, id: FileId, miss: Miss) {
        self.needles.lock().insert(id, Err(miss));
    }
}

impl Shelf for MemoryShelf {
    type Needle = MemoryNeedle;

    fn try_find(&self, id: FileId) -> Option<Result<MemoryNeedle, Miss>> {
        let is_sunk = self.sunk.lock().contains(&id);
        (!is_sunk).then(|| self.find(id))
    }

    fn find(&self, id: FileId) -> Result<MemoryNeedle, Miss> {
        let needles = self.needles.lock();
        match needles.get(&id) {
            Some(known) => known.clone(),
            None if needles.keys().any(|known| known.volume == id.volume) => Err(Miss::Absent),
            None => Err(Miss::NotHere),
        }
    }
}

impl Stock for MemoryShelf {
    fn volumes(&self) -> Vec<VolumeReport> {
        let mut volumes: Vec<VolumeReport> = Vec::new();
        for id in self.needles.lock().keys() {
            match volumes.last_mut() {
                Some(last) if last.id == id.volume => last.needles += 1,
                _ => volumes.push(VolumeReport {
                    id: id.volume,
                    collection: String::new(),
                    state: VolumeState::Serving,
                    reason: None,
                    needles: 1,
                }),
            }
        }
        volumes
    }

    fn export(&self, _: &mut dyn Exporter) {}
}

impl Held for MemoryNeedle {
    fn stored_len(&self) -> u64 {
        self.stored.len() as u64
    }

    fn is_gzip(&self) -> bool {
        self.is_gzip
    }

    fn crc(&self) -> u32 {
        self.crc
    }

    fn is_cached(&self, _offset: u64, _len: usize) -> bool {
        true
    }

    fn will_need(&self, _offset: u64, _len: u64) {}

    fn read_at(&self, offset: u64, dst: &mut [u8]) -> Result<u32, ReadFault> {
        let from = usize::try_from(offset).map_err(|_| ReadFault::Failed)?;
        let found = from
            .checked_add(dst.len())
            .and_then(|to| self.stored.get(from..to));
        dst.copy_from_slice(found.ok_or(ReadFault::Failed)?);
        Ok(crc32c(dst))
    }

    unsafe fn read_into(&self, _: u64, _: *mut u8, _: usize) -> Result<(), ReadFault> {
        // Only carriers that share memory ask for this, and no test here has one.
        Err(ReadFault::Failed)
    }
}
