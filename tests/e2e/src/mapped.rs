//! Reading and writing through a memory map. Unsafe, as mapping is: the memory
//! is the file's, and changes or vanishes with it. Kept sound by using it only
//! here, only for the copy, only on files that nobody else changes meanwhile.

use std::fs::File;
use std::io;
use std::path::Path;
use std::ptr;

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags, mmap, msync, munmap};

/// The bytes of a file, through a private read-only map touched from its end
/// to its start, page by page, so that the kernel cannot read ahead.
///
/// # Errors
/// When it cannot be opened or mapped.
pub fn read_mapped(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
    if len == 0 {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; len];
    // SAFETY: the address is the kernel's choice and the length is not zero. The map is
    // read only, and unmapped below with the same length before anything else can see it.
    let start = unsafe {
        mmap(
            ptr::null_mut(),
            len,
            ProtFlags::READ,
            MapFlags::PRIVATE,
            &file,
            0,
        )?
    };
    for page in (0..len.div_ceil(PAGE)).rev() {
        let from = page * PAGE;
        let count = PAGE.min(len - from);
        // SAFETY: `from + count <= len`, so both ranges lie inside their memory, which do
        // not overlap. A file cut short meanwhile would raise SIGBUS, not undefined behaviour.
        unsafe {
            let source = start.cast::<u8>().add(from);
            ptr::copy_nonoverlapping(source, bytes.as_mut_ptr().add(from), count);
        }
    }
    // SAFETY: exactly the map made above; no reference to it exists.
    unsafe { munmap(start, len)? };
    Ok(bytes)
}

/// `len` bytes from `at`, through a shared map. The file reaches that far.
pub(crate) fn map_read(file: &File, at: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let shift = (at % PAGE as u64) as usize;
    let map = Shared::map(file, at - shift as u64, shift + len)?;
    // SAFETY: `shift + len` bytes are mapped, and `bytes` are other memory of `len` bytes.
    unsafe {
        let source = map.start.cast::<u8>().add(shift);
        ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), len);
    }
    Ok(bytes)
}

/// Puts `bytes` at `at` through a shared map, and waits until the file has them. The file
/// reaches that far.
pub(crate) fn map_write(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    let shift = (at % PAGE as u64) as usize;
    let map = Shared::map(file, at - shift as u64, shift + bytes.len())?;
    // SAFETY: `shift + bytes.len()` bytes are mapped, and `bytes` are other memory.
    unsafe {
        let target = map.start.cast::<u8>().add(shift);
        ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
    }
    // SAFETY: exactly the mapped range.
    unsafe { msync(map.start, map.len, MsyncFlags::SYNC)? };
    Ok(())
}

/// A shared map of a file; unmapped when dropped.
struct Shared {
    start: *mut std::ffi::c_void,
    len: usize,
}

impl Shared {
    /// Maps `len` bytes, not zero, from a page on.
    fn map(file: &File, from: u64, len: usize) -> io::Result<Self> {
        // SAFETY: the address is the kernel's choice, and the length is not zero.
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                len,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                file,
                from,
            )?
        };
        Ok(Self { start, len })
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: exactly the map that was made; no reference to it exists.
        let unmapped = unsafe { munmap(self.start, self.len) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

const PAGE: usize = 4096;
