//! The bytes of all files, in huge pages: with small ones the kernel's copy out of them costs twice as
//! much, and that would be measured.

use bytes::Bytes;
use rustix::mm::{Advice, madvise};

/// `len` bytes, filled by `fill` and never changed again.
pub(crate) fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> Bytes {
    let mut memory = Huge::new(len);
    fill(&mut memory.bytes[memory.start..memory.start + len]);
    Bytes::from_owner(memory)
}

struct Huge {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Huge {
    fn new(len: usize) -> Self {
        // Zeroed memory of this size comes from the kernel, which backs it when it is first written.
        let bytes = vec![0; len + HUGE];
        let start = bytes.as_ptr().align_offset(HUGE).min(HUGE);
        let range = bytes[start..].as_ptr().cast_mut().cast();
        let whole = len / HUGE * HUGE;
        // Only a hint: where huge pages are off, small ones serve.
        // SAFETY: the range lies in our own vector, and the advice does not change its content.
        let _ = unsafe { madvise(range, whole, Advice::LinuxHugepage) };
        Self { bytes, start, len }
    }
}

impl AsRef<[u8]> for Huge {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

/// Size and alignment of a huge page on x86-64 and on arm64 with 4 KiB pages.
const HUGE: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_starts_on_a_huge_page_and_keeps_what_is_filled_in() {
        for len in [0, 1, HUGE, 3 * HUGE + 5] {
            let bytes = filled(len, |memory| {
                memory.fill(7);
                assert_eq!(memory.len(), len);
            });
            assert_eq!(bytes.len(), len);
            assert_eq!(bytes.as_ptr().align_offset(HUGE), 0);
            assert!(bytes.iter().all(|byte| *byte == 7));
        }
    }
}
