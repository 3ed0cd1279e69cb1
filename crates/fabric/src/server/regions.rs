//! Memory of clients, mapped here.
//!
//! All lanes of a client offer the same memfd; it is mapped once, and unmapped when the last of them
//! is gone. A file must be sealed against shrinking: behind the end of a file that shrank a mapping
//! faults.
//!
//! # Why this is sound
//! There is never a reference to this memory, only an address that the kernel writes to, by pread(2):
//! a client may write and read there whenever it pleases, and may punch holes into it, to which the
//! kernel answers with new pages or with an error, not with a signal. What a client has for us to read
//! is copied by the kernel as well, by pread(2) from the file: what the copy holds cannot be changed any
//! more.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use rustix::io::{Errno, pread};
use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

use super::ServerStats;
use crate::wire::Region;

/// What is mapped of all clients.
#[derive(Debug)]
pub(super) struct Regions {
    known: Mutex<Known>,
    limit: u64,
    stats: Arc<ServerStats>,
}

#[derive(Debug, Default)]
struct Known {
    /// By device and inode.
    files: HashMap<(u64, u64), Weak<Mapped>>,
    bytes: u64,
}

impl Regions {
    pub(super) fn new(limit: u64, stats: Arc<ServerStats>) -> Arc<Self> {
        Arc::new(Self {
            known: Mutex::default(),
            limit,
            stats,
        })
    }

    /// Maps the regions that these files are for.
    ///
    /// # Errors
    /// What is wrong with them, for the client.
    pub(super) fn map(
        self: &Arc<Self>,
        regions: &[Region],
        files: Vec<OwnedFd>,
    ) -> Result<Vec<Arc<Mapped>>, String> {
        if regions.len() != files.len() {
            let (told, got) = (regions.len(), files.len());
            return Err(format!("{told} regions and {got} descriptors for them"));
        }
        let each = regions.iter().zip(files).enumerate();
        each.map(|(at, (region, file))| {
            let mapped = self.map_one(region, file);
            mapped.map_err(|what| format!("region {at}: {what}"))
        })
        .collect()
    }

    fn map_one(self: &Arc<Self>, region: &Region, file: OwnedFd) -> Result<Arc<Mapped>, String> {
        if region.base != 0 || region.key != 0 {
            return Err("shared memory has neither base nor key".into());
        }
        match fcntl_get_seals(&file) {
            Ok(seals) if seals.contains(SealFlags::SHRINK) => {}
            Ok(_) => return Err("the file is not sealed against shrinking".into()),
            Err(_) => return Err("the file is no memfd".into()),
        }
        let found = fstat(&file).map_err(|errno| errno.to_string())?;
        let (len, size) = (region.len, found.st_size);
        if u64::try_from(size) != Ok(len) {
            return Err(format!("{len} bytes in a file of {size}"));
        }
        let id = (found.st_dev, found.st_ino);
        let mut known = self.known.lock();
        if let Some(mapped) = known.files.get(&id).and_then(Weak::upgrade) {
            return Ok(mapped);
        }
        let after = known.bytes.checked_add(len);
        if after.is_none_or(|after| after > self.limit) {
            let limit = self.limit;
            return Err(format!(
                "with {len} bytes more, more than {limit} would be mapped"
            ));
        }
        let mapped = Mapped::new(file, len, id, self.clone());
        let mapped = Arc::new(mapped.map_err(|error| format!("it cannot be mapped: {error}"))?);
        known.bytes += len;
        self.stats.mapped.set(known.bytes as i64);
        known.files.insert(id, Arc::downgrade(&mapped));
        Ok(mapped)
    }
}

/// A client's memory.
#[derive(Debug)]
pub(super) struct Mapped {
    file: OwnedFd,
    start: NonNull<u8>,
    len: usize,
    id: (u64, u64),
    regions: Arc<Regions>,
}

// SAFETY: an address range without ties to a thread, of which nothing but addresses is given out.
unsafe impl Send for Mapped {}
// SAFETY: as above.
unsafe impl Sync for Mapped {}

impl Mapped {
    fn new(file: OwnedFd, len: u64, id: (u64, u64), regions: Arc<Regions>) -> io::Result<Self> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        let address = std::ptr::null_mut();
        // SAFETY: no address is asked for, so that no existing mapping is touched. The file cannot
        // shrink below `len`; what else happens to it is the business of whoever accesses it.
        let start = unsafe {
            let start = mmap(address, len, access, MapFlags::SHARED, file.as_fd(), 0)?;
            // Advice, without which it is merely slower, or merely copied on a fork.
            let _ = madvise(start, len, Advice::LinuxHugepage);
            let _ = madvise(start, len, Advice::LinuxDontFork);
            start
        };
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self {
            file,
            start,
            len,
            id,
            regions,
        })
    }

    /// Copies bytes from `offset` on to `to`, which is as much as there is.
    pub(super) fn read_at(&self, offset: u64, to: &mut [u8]) -> io::Result<()> {
        let mut done = 0;
        while done < to.len() {
            match pread(&self.file, &mut to[done..], offset + done as u64) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(got) => done += got,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// The address of these bytes, if all of them are within.
    pub(super) fn at(&self, offset: u64, len: usize) -> Option<*mut u8> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(len)?;
        if end > self.len {
            return None;
        }
        // SAFETY: within the mapping.
        Some(unsafe { self.start.as_ptr().add(offset) })
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let mut known = self.regions.known.lock();
        // It may have been mapped anew since the last lane let go of this one.
        if let Some(last) = known.files.get(&self.id)
            && last.strong_count() == 0
        {
            known.files.remove(&self.id);
        }
        known.bytes -= self.len as u64;
        self.regions.stats.mapped.set(known.bytes as i64);
        drop(known);
        // SAFETY: exactly what `new` mapped; the lanes whose exchanges wrote there are gone.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}
