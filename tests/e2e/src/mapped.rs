//! Reading through a memory map. Unsafe, as mapping is: the memory is the
//! file's, and changes or vanishes with it. Kept sound by using it only here,
//! only for the copy, only on files that nobody changes meanwhile.

use std::fs::File;
use std::io;
use std::path::Path;
use std::ptr;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

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

const PAGE: usize = 4096;
