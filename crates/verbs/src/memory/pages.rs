//! Anonymous memory for slots and for callers without memory of their own.

use std::io;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

use super::Pinned;
use crate::Error;

/// Zeroed pages, accessed only by copying. A copy that races with a device sees a mix of old and new
/// bytes, as with any shared memory; nothing here depends on them.
pub struct Pages {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: the mapping belongs to the object and is no thread's own.
unsafe impl Send for Pages {}
// SAFETY: `read` and `write` copy through raw pointers and form no references to the bytes.
unsafe impl Sync for Pages {}

// SAFETY: the mapping exists, at one place and with one length, from `new` to Drop, and no
// reference to its bytes is ever formed.
unsafe impl Pinned for Pages {
    fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    fn len(&self) -> usize {
        self.len
    }
}

impl Pages {
    /// `len` zeroed bytes, at least one.
    ///
    /// # Errors
    /// [`Error::Call`] when there is no memory.
    pub fn new(len: usize) -> Result<Self, Error> {
        let failed = |source: io::Error| Error::call(format!("cannot map {len} bytes"), source);
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new private mapping at a place of the kernel's choice touches nothing else.
        let start =
            unsafe { mmap_anonymous(std::ptr::null_mut(), len, protection, MapFlags::PRIVATE) }
                .map_err(|errno| failed(errno.into()))?;
        let start =
            NonNull::new(start.cast()).ok_or_else(|| failed(io::ErrorKind::OutOfMemory.into()))?;
        Ok(Self { start, len })
    }

    /// Copies `bytes` to `offset`.
    ///
    /// # Errors
    /// [`Error::Bounds`] when they do not fit.
    pub fn write(&self, offset: usize, bytes: &[u8]) -> Result<(), Error> {
        self.check(offset, bytes.len())?;
        // SAFETY: checked to be inside the mapping; `bytes` is a reference, so elsewhere.
        unsafe {
            let target = self.start.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
        Ok(())
    }

    /// Copies from `offset` on into all of `bytes`.
    ///
    /// # Errors
    /// [`Error::Bounds`] when there are not that many.
    pub fn read(&self, offset: usize, bytes: &mut [u8]) -> Result<(), Error> {
        self.check(offset, bytes.len())?;
        // SAFETY: as in `write`.
        unsafe {
            let source = self.start.as_ptr().add(offset);
            std::ptr::copy_nonoverlapping(source, bytes.as_mut_ptr(), bytes.len());
        }
        Ok(())
    }

    fn check(&self, offset: usize, len: usize) -> Result<(), Error> {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            let (offset, len, size) = (offset as u64, len as u64, self.len as u64);
            return Err(Error::Bounds { offset, len, size });
        }
        Ok(())
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: mapped in `new`, unmapped once; nobody else has the pointer any more, since
        // regions hold their owner.
        let result = unsafe { munmap(self.start.as_ptr().cast(), self.len) };
        debug_assert!(result.is_ok(), "munmap of an own mapping: {result:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_the_end_is_guarded() {
        let pages = Pages::new(10_000).unwrap();
        pages.write(9_000, &[7; 1_000]).unwrap();
        let mut back = [0; 1_001];
        pages.read(8_999, &mut back).unwrap();
        assert_eq!(back[0], 0);
        assert!(back[1..].iter().all(|&b| b == 7));
        assert!(pages.write(9_001, &[0; 1_000]).is_err());
        assert!(pages.read(usize::MAX, &mut back).is_err());
        assert!(Pages::new(0).is_err());
    }
}
