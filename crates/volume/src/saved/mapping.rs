//! A file of our own, mapped for reading.

use std::fs::File;
use std::io;
use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, munmap};

/// All of a file, as it is.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping has no tie to a thread, and is only read.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a file of `len` bytes, which must not be 0.
    ///
    /// # Safety
    /// For as long as the mapping lives, nobody may write to the file or cut it off. It has to be one that was
    /// written by this program into a folder of its own, which others cannot write to, and that is replaced by rename
    /// only, so that the one that is mapped stays as it is also without a name.
    pub(super) unsafe fn new(file: &File, len: usize) -> io::Result<Self> {
        // SAFETY: no address is asked for, so that no existing mapping is touched. What is mapped does not change,
        // as the caller promises.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                len,
                ProtFlags::READ,
                MapFlags::SHARED,
                file,
                0,
            )?
        };
        // SAFETY: exactly what was mapped. Advice only: a look-up wants one page, and not those around it.
        let _ = unsafe { madvise(start, len, Advice::Random) };
        match NonNull::new(start.cast()) {
            Some(start) => Ok(Self { start, len }),
            None => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }

    /// Its bytes. To touch one that the disk cannot give, or that lies behind the end of a file that was cut off all
    /// the same, is a SIGBUS.
    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: `start..start + len` is mapped readable for as long as `self` lives, and nobody writes to it, as
        // the caller of `new` has promised.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped; no reference into it outlives `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}
