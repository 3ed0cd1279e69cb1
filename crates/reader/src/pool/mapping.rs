//! Memory straight from the kernel, aligned for huge pages.
//!
//! A piece is filled by recv(2) and read by the kernel when it goes into a reply. With 4 KiB
//! pages both cost twice the CPU they cost with 2 MiB pages (measured on the FUSE reply path),
//! and the system allocator neither aligns that way nor keeps a freed block. Hence one mapping
//! a block, aligned to 2 MiB, marked for transparent huge pages, kept for recycling.

use std::ptr::NonNull;

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

/// The size of a huge page on the architectures SeaweedFS runs on.
pub(crate) const HUGE: usize = 2 << 20;

/// An anonymous private mapping, owned alone, zeroed when new.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping is private memory of this process without any tie to a thread, and
// `Mapping` owns it alone: shared access needs `&self`, writing needs `&mut self`.
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` only reads.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes, a multiple of the page size, from a huge page boundary on.
    pub(super) fn new(len: usize) -> std::io::Result<Self> {
        debug_assert!(len > 0 && len.is_multiple_of(4096));
        let room = len + HUGE;
        // SAFETY: no address is asked for, so that no existing mapping is touched.
        let base = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                room,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE | MapFlags::NORESERVE,
            )?
        };
        let before = base.cast::<u8>().align_offset(HUGE);
        let after = room - before - len;
        // SAFETY: `before <= HUGE`, thus the start and everything up to `start + len` lies
        // within the `room` bytes just mapped. What is unmapped lies before and behind it and
        // has never been handed out. Both borders are page borders, as `len` and HUGE are
        // multiples of a page.
        let start = unsafe {
            let start = base.cast::<u8>().add(before);
            if before > 0 {
                let _ = munmap(base, before);
            }
            if after > 0 {
                let _ = munmap(start.add(len).cast(), after);
            }
            // Advice: without it, or on a kernel without huge pages, it is merely slower.
            let _ = madvise(start.cast(), len, Advice::LinuxHugepage);
            start
        };
        match NonNull::new(start) {
            Some(start) => Ok(Self { start, len }),
            None => Err(std::io::ErrorKind::OutOfMemory.into()),
        }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        // SAFETY: `start..start + len` is mapped readable for as long as `self` lives and
        // initialised (the kernel zeroes it); writing needs `&mut self`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, mapped writable, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` kept; no reference into it outlives `self`.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_zeroed_aligned_and_writable_to_its_last_byte() {
        for len in [4096, HUGE, HUGE + 4096, 2 * HUGE + HUGE / 2] {
            let mut mapping = Mapping::new(len).unwrap();
            assert_eq!(mapping.as_slice().as_ptr().align_offset(HUGE), 0);
            assert_eq!(mapping.as_slice().len(), len);
            assert!(mapping.as_slice().iter().all(|byte| *byte == 0));
            mapping.as_mut_slice()[len - 1] = 7;
            mapping.as_mut_slice()[0] = 9;
            assert_eq!((mapping.as_slice()[0], mapping.as_slice()[len - 1]), (9, 7));
        }
    }
}
