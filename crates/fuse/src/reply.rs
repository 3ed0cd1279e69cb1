//! Replies whose body is too large or too varied to be a return value.

use bytes::Bytes;

use crate::{DirEntry, Entry};

/// The body of a READ: pieces in file order, some written in place, some
/// borrowed from a cache, gathered by one writev(2).
#[derive(Debug)]
pub struct ReadReply<'a> {
    _private: std::marker::PhantomData<&'a mut ()>,
}

impl ReadReply<'_> {
    /// Appends `len` bytes of this request's own page-aligned memory and hands
    /// them out to be written. Their content is unspecified until then.
    pub fn fill(&mut self, len: usize) -> &mut [u8] {
        let _ = len;
        unimplemented!()
    }

    /// Appends bytes that somebody else owns, without copying them.
    pub fn share(&mut self, bytes: Bytes) {
        let _ = bytes;
    }

    /// Appends `len` zeros.
    pub fn zeros(&mut self, len: usize) {
        let _ = len;
    }
}

/// The body of a READDIR or READDIRPLUS.
#[derive(Debug)]
pub struct DirReply<'a> {
    _private: std::marker::PhantomData<&'a mut ()>,
}

impl DirReply<'_> {
    /// Adds an entry; false, and nothing added, when the reply is full.
    pub fn add(&mut self, entry: &DirEntry<'_>) -> bool {
        let _ = entry;
        unimplemented!()
    }

    /// Adds an entry with attributes; `None` gives the name alone and counts
    /// no lookup (for `.` and `..`). `attr` is asked only if there is room.
    pub fn add_plus(
        &mut self,
        entry: &DirEntry<'_>,
        attr: impl FnOnce() -> Option<Entry>,
    ) -> bool {
        let _ = (entry, attr);
        unimplemented!()
    }
}
