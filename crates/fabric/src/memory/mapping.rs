//! The memory under an arena: a memfd, mapped once, for as long as anybody has a block of it.
//!
//! Sealed against shrinking, so that no access of ours, or of a server that maps it, can run into
//! SIGBUS; against growing, as its size is all that a server is told; and against further seals, with
//! which a peer could lock us out. Pages come when their part of the arena is first used, and it is
//! our process that has them put there: memory counts against the control group of whoever touches it
//! first, and a sidecar's would soon be full of its clients' memory.
//!
//! Miri knows neither memfd nor mmap: for it the same bytes come from the allocator.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;

/// Bytes shared with whoever was given the descriptor. Zeroed when new.
#[derive(Debug)]
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    file: OwnedFd,
    /// Whether its pages come from the system's reserve of huge pages.
    reserved: bool,
}

// SAFETY: a mapping has no tie to a thread, and gives out nothing but its address: who may access
// which part of it is decided by the hands that a block is in.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether its pages come from the system's reserve of huge pages.
    pub(super) fn is_reserved(&self) -> bool {
        self.reserved
    }

    /// The memfd.
    pub(super) fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// The first byte.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Byte `offset`, at most `len`.
    pub(super) fn at(&self, offset: usize) -> NonNull<u8> {
        assert!(offset <= self.len);
        // SAFETY: within the mapping or right behind it.
        unsafe { self.start.add(offset) }
    }
}

#[cfg(not(miri))]
mod system {
    use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
    use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

    use super::super::arena::HUGE;
    use super::*;

    impl Mapping {
        /// Maps `len` bytes, a multiple of [`HUGE`], from a huge page boundary on. With `reserved`
        /// they come from the system's reserve of huge pages, if it has as many to spare.
        pub(in crate::memory) fn new(len: usize, reserved: bool) -> io::Result<Self> {
            if reserved
                && let Ok(mapping) = Self::over(create(len, MemfdFlags::HUGETLB)?, len, true)
            {
                return Ok(mapping);
            }
            Self::over(create(len, MemfdFlags::empty())?, len, false)
        }

        fn over(file: OwnedFd, len: usize, reserved: bool) -> io::Result<Self> {
            let access = ProtFlags::READ | ProtFlags::WRITE;
            let room = len + HUGE;
            // SAFETY: no address is asked for, so that no existing mapping is touched.
            let base = unsafe {
                mmap_anonymous(
                    std::ptr::null_mut(),
                    room,
                    ProtFlags::empty(),
                    MapFlags::PRIVATE | MapFlags::NORESERVE,
                )?
            };
            let before = base.cast::<u8>().align_offset(HUGE);
            let after = room - before - len;
            // SAFETY: `before <= HUGE`, so `start..start + len` lies within the `room` bytes that
            // were just mapped for this purpose; MAP_FIXED replaces nothing else. What is unmapped
            // lies before and behind it. All borders are page borders.
            let start = unsafe {
                let start = base.cast::<u8>().add(before);
                let fixed = MapFlags::SHARED | MapFlags::FIXED;
                if let Err(errno) = mmap(start.cast(), len, access, fixed, &file, 0) {
                    let _ = munmap(base, room);
                    return Err(errno.into());
                }
                if before > 0 {
                    let _ = munmap(base, before);
                }
                if after > 0 {
                    let _ = munmap(start.add(len).cast(), after);
                }
                // Advice, without which it is merely slower.
                let _ = madvise(start.cast(), len, Advice::LinuxHugepage);
                // A child that is forked has no business with it; for verbs it would be harmful.
                let _ = madvise(start.cast(), len, Advice::LinuxDontFork);
                start
            };
            let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(Self {
                start,
                len,
                file,
                reserved,
            })
        }

        /// Has the system put memory behind `offset..offset + len` now, if it can.
        pub(in crate::memory) fn populate(&self, offset: usize, len: usize) {
            let start = self.at(offset).as_ptr();
            assert!(len <= self.len - offset);
            // SAFETY: within the mapping. Populating is as if each page was written to without a
            // change, which is no access to what anybody has there.
            let _ = unsafe { madvise(start.cast(), len, Advice::LinuxPopulateWrite) };
        }

        /// Gives the memory behind `offset..offset + len` back to the system; it reads as zeros
        /// afterwards. Nobody may have a slice of it.
        pub(in crate::memory) fn release(&self, offset: usize, len: usize) -> io::Result<()> {
            let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            Ok(rustix::fs::fallocate(
                &self.file,
                how,
                offset as u64,
                len as u64,
            )?)
        }
    }

    fn create(len: usize, more: MemfdFlags) -> io::Result<OwnedFd> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | more;
        // Kernels before 6.3 do not know the flag, and have no objection to its absence.
        let file = rustix::fs::memfd_create("riptide", flags | MemfdFlags::NOEXEC_SEAL)
            .or_else(|_| rustix::fs::memfd_create("riptide", flags))?;
        rustix::fs::ftruncate(&file, len as u64)?;
        let seals = SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        rustix::fs::fcntl_add_seals(&file, seals)?;
        Ok(file)
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: exactly the range that `over` kept. Blocks keep the mapping alive, so that no
            // reference into it is left.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        }
    }
}

#[cfg(miri)]
mod allocated {
    use std::alloc::{Layout, alloc_zeroed, dealloc};

    use super::*;

    impl Mapping {
        pub(in crate::memory) fn new(len: usize, _reserved: bool) -> io::Result<Self> {
            // SAFETY: `len` is not zero.
            let start = unsafe { alloc_zeroed(layout(len)) };
            let start = NonNull::new(start).ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(Self {
                start,
                len,
                file: std::fs::File::open("/dev/null")?.into(),
                reserved: false,
            })
        }

        pub(in crate::memory) fn populate(&self, _offset: usize, _len: usize) {}

        pub(in crate::memory) fn release(&self, offset: usize, len: usize) -> io::Result<()> {
            // SAFETY: `at` checks the start; free memory that the caller alone has in hand.
            unsafe { self.at(offset).as_ptr().write_bytes(0, len) };
            Ok(())
        }
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len, 4096).unwrap_or(Layout::new::<u8>())
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: as it was allocated.
            unsafe { dealloc(self.start.as_ptr(), layout(self.len)) };
        }
    }
}
