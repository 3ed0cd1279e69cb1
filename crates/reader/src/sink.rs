//! Where the bytes of a read go.

use bytes::Bytes;

/// The reply to a read: pieces appended in file order, each in the way that costs least.
pub trait Sink {
    /// Appends `len` bytes of the reply's own memory and hands them out to be written at once.
    fn fill(&mut self, len: usize) -> &mut [u8];

    /// Appends bytes that live elsewhere, without copying them.
    fn share(&mut self, bytes: Bytes);

    /// Appends `len` zeros.
    fn zeros(&mut self, len: usize);
}

impl Sink for Vec<u8> {
    fn fill(&mut self, len: usize) -> &mut [u8] {
        let from = self.len();
        self.resize(from + len, 0);
        &mut self[from..]
    }

    fn share(&mut self, bytes: Bytes) {
        self.extend_from_slice(&bytes);
    }

    fn zeros(&mut self, len: usize) {
        self.resize(self.len() + len, 0);
    }
}
