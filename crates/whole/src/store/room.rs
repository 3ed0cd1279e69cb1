//! The room there is: never more than the capacity, and never the last of the disk.

use std::io;
use std::sync::Arc;

use super::Store;

/// Room for a file being filled, until this is dropped.
#[derive(Debug)]
pub(crate) struct Room {
    store: Arc<Store>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.store.state.lock().reserved -= self.bytes;
    }
}

/// Why there is no room.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoRoom {
    #[error("it has {need} bytes, and the cache {capacity}")]
    TooLarge { need: u64, capacity: u64 },
    #[error("the cache is full of files that are open")]
    AllOpen,
    #[error("less than {min_free} bytes are free on the disk of the cache")]
    DiskFull { min_free: u64 },
    #[error("the disk of the cache: {0}")]
    Io(#[from] io::Error),
}

impl Store {
    /// Makes room for `bytes` more, removing others.
    pub(crate) fn room(self: &Arc<Self>, bytes: u64) -> Result<Room, NoRoom> {
        self.make_room(bytes)?;
        Ok(Room {
            store: Arc::clone(self),
            bytes,
        })
    }

    /// Whether the disk is so full that what is being filled should not go on.
    pub(crate) fn is_short(&self) -> bool {
        self.free().is_ok_and(|free| free < self.min_free)
    }

    /// Removes files until `bytes` more fit, and reserves them.
    pub(super) fn make_room(&self, bytes: u64) -> Result<(), NoRoom> {
        if bytes > self.capacity {
            return Err(NoRoom::TooLarge {
                need: bytes,
                capacity: self.capacity,
            });
        }
        let mut state = self.state.lock();
        loop {
            let held = state.index.bytes() + state.reserved;
            let fits = held + bytes <= self.capacity;
            // What is reserved may not have been written yet.
            let wanted = self.min_free.saturating_add(state.reserved + bytes);
            let free = self.free()?;
            if fits && (free >= wanted || bytes == 0 && free >= self.min_free) {
                state.reserved += bytes;
                return Ok(());
            }
            match state.index.evict() {
                Some((key, _)) => {
                    self.delete(&key);
                    self.stats.evictions.inc();
                }
                None if fits => {
                    return Err(NoRoom::DiskFull {
                        min_free: self.min_free,
                    });
                }
                None => return Err(NoRoom::AllOpen),
            }
        }
    }

    fn free(&self) -> io::Result<u64> {
        let disk = rustix::fs::statvfs(self.place.path())?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}
