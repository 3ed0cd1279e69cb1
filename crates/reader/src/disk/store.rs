//! The chunk files of one place.
//!
//! A file appears under its name complete (it is written elsewhere and renamed) and never
//! changes. After a crash it may be anything nevertheless, since nothing is synced; that is
//! what its checksums are for, and it costs a miss.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use quick_cache::sync::Cache;

use super::around;
use super::format::{self, BLOCK, Table};
use super::index::{Index, footprint};
use super::key::{DiskKey, directory};
use super::place::{self, Place};
use crate::ReaderStats;

/// Files kept open: 4 MiB chunks of 1 GiB that random reads hit, at 4 KiB of checksums each.
const OPEN_FILES: usize = 256;

/// The chunks kept in one place.
pub(super) struct Store {
    place: Place,
    capacity: u64,
    index: Mutex<Index>,
    open: Cache<DiskKey, Arc<ChunkFile>>,
    next_temporary: AtomicU64,
    stats: Arc<ReaderStats>,
}

struct ChunkFile {
    file: File,
    table: Table,
}

/// Why a read found nothing.
enum Miss {
    Absent,
    Damaged,
    Failed(io::Error),
}

impl Store {
    /// The store at `place`, empty until [`load`](Self::load) has run.
    pub(super) fn new(place: Place, capacity: u64, stats: Arc<ReaderStats>) -> Self {
        Self {
            place,
            capacity,
            index: Mutex::default(),
            open: Cache::new(OPEN_FILES),
            next_temporary: AtomicU64::new(0),
            stats,
        }
    }

    /// Whether its directory is still there.
    pub(super) fn is_intact(&self) -> bool {
        self.place.is_intact()
    }

    /// Finds what was kept, and removes what was left unfinished. Reads hit what it has found
    /// so far. Ends early when `stop` is set.
    pub(super) fn load(&self, stop: &AtomicBool) -> io::Result<()> {
        for entry in fs::read_dir(self.place.path().join("tmp"))? {
            let _ = fs::remove_file(entry?.path());
        }
        for low in 0..=u8::MAX {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let entries = match fs::read_dir(self.place.path().join(directory(low))) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let name = entry?.file_name();
                if let Some((key, len)) = name.to_str().and_then(DiskKey::parse) {
                    self.index.lock().insert(key, len);
                }
            }
        }
        self.make_room(0);
        Ok(())
    }

    /// Length of a chunk that is kept.
    pub(super) fn len_of(&self, key: &DiskKey) -> Option<u64> {
        self.index.lock().touch(key)
    }

    pub(super) fn contains(&self, key: &DiskKey) -> bool {
        self.index.lock().contains(key)
    }

    /// Fills `dst` with the chunk's bytes from `offset` on, verified; false when it cannot.
    pub(super) fn read(&self, key: &DiskKey, offset: u64, dst: &mut [u8]) -> bool {
        match self.try_read(key, offset, dst) {
            Ok(()) => return true,
            Err(Miss::Absent) => {}
            Err(Miss::Damaged) => {
                self.stats.disk_corrupt.inc();
                tracing::warn!(chunk = %key.needle, "dropped a damaged file of the disk cache");
                self.remove(key);
            }
            Err(Miss::Failed(error)) => {
                self.stats.disk_errors.inc();
                tracing::warn!(chunk = %key.needle, %error, "dropped an unreadable file of the disk cache");
                self.remove(key);
            }
        }
        false
    }

    /// Keeps a chunk, in place of others if need be.
    pub(super) fn write(&self, key: &DiskKey, data: &[u8]) -> io::Result<()> {
        let len = data.len() as u64;
        if self.contains(key) || footprint(len) > self.capacity {
            return Ok(());
        }
        self.make_room(footprint(len));
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self.place.path().join("tmp").join(number.to_string());
        let moved = self
            .write_file(&temporary, key, data)
            .and_then(|()| self.move_in(&temporary, key, len));
        if let Err(error) = moved {
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        self.index.lock().insert(*key, len);
        self.stats.disk_writes.inc();
        self.update_gauge();
        Ok(())
    }

    fn try_read(&self, key: &DiskKey, offset: u64, dst: &mut [u8]) -> Result<(), Miss> {
        let len = self.len_of(key).ok_or(Miss::Absent)?;
        let end = offset + dst.len() as u64;
        if end > len {
            return Err(Miss::Absent);
        }
        let chunk = self.opened(key, len)?;
        let block = BLOCK as u64;
        let mut at = offset;
        let mut rest = dst;
        while !rest.is_empty() {
            // Whole blocks, and the chunk's last one, are read in place; the part of a block
            // at either end goes through a copy of that block.
            let aligned = match end == len {
                true => rest.len(),
                false => (end / block * block).saturating_sub(at) as usize,
            };
            if at.is_multiple_of(block) && aligned > 0 {
                let (now, later) = rest.split_at_mut(aligned);
                chunk.read(at, now)?;
                at += aligned as u64;
                rest = later;
            } else {
                let start = at / block * block;
                let mut copy = [0; BLOCK];
                let copy = &mut copy[..(len - start).min(block) as usize];
                chunk.read(start, copy)?;
                let skip = (at - start) as usize;
                let wanted = rest.len().min(copy.len() - skip);
                let (now, later) = rest.split_at_mut(wanted);
                now.copy_from_slice(&copy[skip..skip + wanted]);
                at += wanted as u64;
                rest = later;
            }
        }
        Ok(())
    }

    fn opened(&self, key: &DiskKey, len: u64) -> Result<Arc<ChunkFile>, Miss> {
        if let Some(chunk) = self.open.get(key) {
            return Ok(chunk);
        }
        let file = File::open(self.path(key, len)).map_err(Miss::Failed)?;
        if file.metadata().map_err(Miss::Failed)?.len() != format::file_size(len) {
            return Err(Miss::Damaged);
        }
        let mut tail = vec![0; format::tail_size(len) as usize];
        file.read_exact_at(&mut tail, len).map_err(Miss::of_read)?;
        let table = Table::parse(key, len, &tail).ok_or(Miss::Damaged)?;
        let chunk = Arc::new(ChunkFile { file, table });
        self.open.insert(*key, Arc::clone(&chunk));
        Ok(chunk)
    }

    fn make_room(&self, bytes: u64) {
        loop {
            let mut index = self.index.lock();
            if index.bytes() + bytes <= self.capacity {
                break;
            }
            let Some((key, len)) = index.evict() else {
                break;
            };
            drop(index);
            self.delete(&key, len);
            self.stats.disk_evictions.inc();
        }
        self.update_gauge();
    }

    /// Every chunk that is kept, with its length.
    pub(super) fn all(&self) -> Vec<(DiskKey, u64)> {
        self.index.lock().all()
    }

    /// Drops a chunk; its length, if it was here.
    pub(super) fn remove(&self, key: &DiskKey) -> Option<u64> {
        let len = self.index.lock().remove(key);
        if let Some(len) = len {
            self.delete(key, len);
        }
        self.update_gauge();
        len
    }

    fn delete(&self, key: &DiskKey, len: u64) {
        self.open.remove(key);
        // Gone already, or found again by the next mount and dropped then.
        let _ = fs::remove_file(self.path(key, len));
    }

    fn write_file(&self, path: &Path, key: &DiskKey, data: &[u8]) -> io::Result<()> {
        let mut file = self.create_in(path)?;
        let tail = format::tail(key, data);
        around::write(&mut file, data, &tail)
    }

    fn create_in(&self, path: &Path) -> io::Result<File> {
        let create = || {
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(true).mode(0o600);
            options.open(path)
        };
        self.with_directory(path, create)
    }

    fn move_in(&self, temporary: &Path, key: &DiskKey, len: u64) -> io::Result<()> {
        let path = self.path(key, len);
        self.with_directory(&path, || fs::rename(temporary, &path))
    }

    /// Makes the directory of `path` if that is missing: `path` may be the first in it, and
    /// cleaners of temporary files remove empty directories. The place itself is not made
    /// anew, since then it would have to be claimed again.
    fn with_directory<T>(&self, path: &Path, act: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.is_intact() => {
                path.parent().map_or(Ok(()), place::create)?;
                act()
            }
            done => done,
        }
    }

    fn path(&self, key: &DiskKey, len: u64) -> PathBuf {
        self.place.path().join(key.path(len))
    }

    fn update_gauge(&self) {
        let bytes = self.index.lock().bytes();
        self.stats
            .disk_held
            .set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}

impl ChunkFile {
    /// Fills `dst`, which starts at a block, and checks it.
    fn read(&self, at: u64, dst: &mut [u8]) -> Result<(), Miss> {
        self.file.read_exact_at(dst, at).map_err(Miss::of_read)?;
        let first = (at / BLOCK as u64) as usize;
        if self.table.verify(first, dst) {
            Ok(())
        } else {
            Err(Miss::Damaged)
        }
    }
}

impl Miss {
    fn of_read(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged,
            _ => Self::Failed(error),
        }
    }
}
