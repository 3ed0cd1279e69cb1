//! Whether a file has the bytes that were written.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use seaweed::ContentKey;
use seaweed::crc::Crc;

use super::{Store, mtime_ns};
use crate::index::Slot;

/// Read at a time.
const CHECKED: usize = 1 << 20;

impl Store {
    /// Reads a file and compares it with its checksums; `None` when it is not here. A damaged one
    /// is removed.
    pub(crate) fn verify(&self, key: &ContentKey) -> Option<io::Result<bool>> {
        let slot = self.state.lock().index.get(key)?.clone();
        let good = self.check(key, &slot);
        if matches!(good, Ok(false)) {
            self.stats.damaged.inc();
            self.remove(key);
        }
        Some(good)
    }

    /// The file, if it is the one that was written.
    pub(super) fn open_checked(&self, key: &ContentKey, slot: &Slot) -> io::Result<Option<File>> {
        if !slot.checked {
            if !self.check(key, slot)? {
                return Ok(None);
            }
            if let Some(slot) = self.state.lock().index.get_mut(key) {
                slot.checked = true;
            }
        }
        let file = File::open(self.path(key))?;
        let metadata = file.metadata()?;
        let same = metadata.len() == slot.size && mtime_ns(&metadata) == slot.mtime_ns;
        Ok(same.then_some(file))
    }

    /// Reads a file; whether it has the bytes of its record.
    fn check(&self, key: &ContentKey, slot: &Slot) -> io::Result<bool> {
        let Some((record, _)) = self.read_record(key) else {
            return Ok(false);
        };
        let file = File::open(self.path(key))?;
        let metadata = file.metadata()?;
        if metadata.len() != slot.size || mtime_ns(&metadata) != slot.mtime_ns {
            return Ok(false);
        }
        let mut buffer = vec![0; CHECKED];
        let mut at = 0;
        for run in &record.runs {
            if !is_zero(&file, at..run.range.start, &mut buffer)? {
                return Ok(false);
            }
            at = run.range.start;
            let mut crc = Crc::new();
            while at < run.range.end {
                let len = (run.range.end - at).min(CHECKED as u64) as usize;
                file.read_exact_at(&mut buffer[..len], at)?;
                crc.update(&buffer[..len]);
                at += len as u64;
            }
            if crc.value() != run.crc {
                return Ok(false);
            }
        }
        is_zero(&file, at..record.size, &mut buffer)
    }
}

fn is_zero(file: &File, range: Range<u64>, buffer: &mut [u8]) -> io::Result<bool> {
    let mut at = range.start;
    while at < range.end {
        let len = (range.end - at).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..len], at)?;
        if buffer[..len].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        at += len as u64;
    }
    Ok(true)
}
