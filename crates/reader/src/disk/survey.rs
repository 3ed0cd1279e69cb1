//! The disk cache as people look at it: what is there, whether it is right, and away with it.

use seaweed::Chunk;

use super::key::{DiskKey, Form};
use super::{Disk, Store};

/// Chunks in the disk cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskUse {
    /// How many.
    pub chunks: u64,
    /// Bytes of them as stored.
    pub bytes: u64,
}

impl DiskUse {
    fn add(&mut self, len: u64) {
        self.chunks += 1;
        self.bytes += len;
    }
}

/// Read at a time.
const STEP: usize = 1 << 20;

impl Disk {
    /// Clear bytes of these chunks that are here.
    pub(crate) fn held_of(&self, chunks: &[Chunk]) -> u64 {
        let Some(store) = self.store() else {
            return 0;
        };
        let here = chunks.iter().filter(|chunk| store.contains(&key(chunk)));
        here.map(|chunk| chunk.size).sum()
    }

    /// All that is here.
    pub(crate) fn held(&self) -> DiskUse {
        let mut held = DiskUse::default();
        if let Some(store) = self.store() {
            store.all().iter().for_each(|(_, len)| held.add(*len));
        }
        held
    }

    /// Removes these chunks, or all.
    pub(crate) fn evict(&self, chunks: Option<&[Chunk]>) -> DiskUse {
        let mut evicted = DiskUse::default();
        let Some(store) = self.store() else {
            return evicted;
        };
        let keys: Vec<DiskKey> = match chunks {
            Some(chunks) => chunks.iter().map(key).collect(),
            None => store.all().into_iter().map(|(key, _)| key).collect(),
        };
        for key in keys {
            if let Some(len) = store.remove(&key) {
                evicted.add(len);
            }
        }
        evicted
    }

    /// Reads everything; what was right is counted first, then the chunks that were not, which
    /// are removed.
    pub(crate) fn verify(&self) -> (DiskUse, u64) {
        let (mut good, mut bad) = (DiskUse::default(), 0);
        let Some(store) = self.store() else {
            return (good, bad);
        };
        let mut buffer = vec![0; STEP];
        for (key, len) in store.all() {
            let steps = (0..len.max(1)).step_by(STEP);
            let mut right = true;
            for at in steps {
                let part = (len - at).min(STEP as u64) as usize;
                right = right && store.read(&key, at, &mut buffer[..part]);
            }
            match right {
                true => good.add(len),
                // Evicted meanwhile, it is not damaged.
                false if store.contains(&key) => {}
                false => bad += 1,
            }
        }
        (good, bad)
    }

    fn store(&self) -> Option<std::sync::Arc<Store>> {
        self.shared.store.read().clone()
    }
}

fn key(chunk: &Chunk) -> DiskKey {
    let form = match chunk.is_opaque() {
        true => Form::Opaque,
        false => Form::Plain,
    };
    DiskKey {
        needle: chunk.file_id,
        form,
    }
}
