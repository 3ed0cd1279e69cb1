//! A buffer that starts on a page, as `O_DIRECT` wants it.

/// Memory for one read.
#[derive(Debug)]
pub(crate) struct Buffer {
    memory: Vec<u8>,
    start: usize,
    size: usize,
}

impl Buffer {
    pub(crate) fn new(size: usize) -> Self {
        let memory = vec![0; size + PAGE];
        let start = memory.as_ptr().align_offset(PAGE);
        Self {
            memory,
            start,
            size,
        }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.size]
    }
}

/// A read into a buffer that does not start on a page covers one page more,
/// and 1 MiB then no longer fits in one FUSE request.
const PAGE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_starts_on_a_page_and_has_its_size() {
        for size in [1, 4096, 1 << 20] {
            let mut buffer = Buffer::new(size);
            assert_eq!(buffer.bytes().len(), size);
            assert_eq!(buffer.bytes().as_ptr().align_offset(PAGE), 0);
        }
    }
}
