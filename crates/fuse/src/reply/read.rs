//! The body of a READ.

use std::io::IoSlice;

use bytes::Bytes;

/// The body of a READ: pieces in file order, some written in place, some
/// borrowed from a cache, gathered by one writev(2).
///
/// What is written in place lies in the reply's memory at the position it has
/// in the file's range, so that a back end that cannot gather can copy the
/// borrowed pieces into the gaps between ([`ReadReply::flatten`]).
#[derive(Debug)]
pub struct ReadReply<'a> {
    memory: &'a mut [u8],
    segments: &'a mut Segments,
    len: usize,
    overflow: bool,
}

/// The pieces of a reply; kept by a thread so that its memory is used again.
#[derive(Debug, Default)]
pub struct Segments(Vec<Segment>);

#[derive(Debug)]
enum Segment {
    Filled(usize),
    Shared(Bytes),
    Zeros(usize),
}

impl Segment {
    fn len(&self) -> usize {
        match self {
            Self::Filled(len) | Self::Zeros(len) => *len,
            Self::Shared(bytes) => bytes.len(),
        }
    }
}

/// More was put into a reply than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reply was given more than the {0} bytes asked for")]
pub struct Overflow(pub usize);

/// Pieces beyond this many are copied together: writev(2) takes 1024 at once
/// (IOV_MAX), the header being one, and so short pieces are cheaper copied.
const MOST_PIECES: usize = 512;

impl<'a> ReadReply<'a> {
    /// An empty reply of at most `memory.len()` bytes.
    pub fn new(memory: &'a mut [u8], segments: &'a mut Segments) -> Self {
        segments.0.clear();
        Self {
            memory,
            segments,
            len: 0,
            overflow: false,
        }
    }

    /// Appends `len` bytes of this request's own page-aligned memory and hands
    /// them out to be written. Their content is unspecified until then.
    ///
    /// Asking for more than [`remaining`](Self::remaining) is a bug of the
    /// caller: it gets less, and the kernel gets EIO instead of the reply.
    pub fn fill(&mut self, len: usize) -> &mut [u8] {
        let start = self.len;
        let len = self.grow(len);
        match self.segments.0.last_mut() {
            Some(Segment::Filled(before)) => *before += len,
            _ => self.segments.0.push(Segment::Filled(len)),
        }
        &mut self.memory[start..start + len]
    }

    /// Appends bytes that somebody else owns, without copying them.
    pub fn share(&mut self, bytes: Bytes) {
        if bytes.is_empty() {
            return;
        }
        let len = self.grow(bytes.len());
        if len == bytes.len() {
            self.segments.0.push(Segment::Shared(bytes));
        }
    }

    /// Appends `len` zeros.
    pub fn zeros(&mut self, len: usize) {
        match self.grow(len) {
            0 => {}
            len => self.segments.0.push(Segment::Zeros(len)),
        }
    }

    /// Takes back all but the first `len` bytes, as when a source had fewer.
    pub fn truncate(&mut self, len: usize) {
        while self.len > len {
            let surplus = self.len - len;
            let Some(last) = self.segments.0.last_mut() else {
                return;
            };
            let size = last.len();
            if size <= surplus {
                self.segments.0.pop();
                self.len -= size;
                continue;
            }
            match last {
                Segment::Filled(size) | Segment::Zeros(size) => *size -= surplus,
                Segment::Shared(bytes) => bytes.truncate(size - surplus),
            }
            self.len = len;
        }
    }

    /// Bytes in the reply so far.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been put in yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that may still be added.
    pub fn remaining(&self) -> usize {
        self.memory.len() - self.len
    }

    /// The whole body in one piece.
    ///
    /// # Errors
    /// [`Overflow`] when more was put in than was asked for.
    pub fn flatten(mut self) -> Result<&'a [u8], Overflow> {
        self.check()?;
        self.copy_from(0);
        let memory = std::mem::take(&mut self.memory);
        Ok(&memory[..self.len])
    }

    /// Hands the body to `send` as slices; `zeros` must be as long as any reply.
    pub(crate) fn gather<R>(
        mut self,
        zeros: &[u8],
        send: impl FnOnce(&[IoSlice<'_>]) -> R,
    ) -> Result<R, Overflow> {
        self.check()?;
        if self.segments.0.len() > MOST_PIECES {
            self.copy_from(MOST_PIECES - 1);
        }
        let mut few = [IoSlice::new(&[]); FEW];
        let mut many;
        let slices = if self.segments.0.len() <= FEW {
            &mut few[..self.segments.0.len()]
        } else {
            many = vec![IoSlice::new(&[]); self.segments.0.len()];
            &mut many[..]
        };
        let mut start = 0;
        for (slice, segment) in slices.iter_mut().zip(&self.segments.0) {
            let len = segment.len();
            *slice = IoSlice::new(match segment {
                Segment::Filled(_) => &self.memory[start..start + len],
                Segment::Shared(bytes) => bytes,
                Segment::Zeros(_) => zeros.get(..len).ok_or(Overflow(zeros.len()))?,
            });
            start += len;
        }
        Ok(send(slices))
    }

    /// Makes room for `len` bytes, or for as many as there is room for.
    fn grow(&mut self, len: usize) -> usize {
        let fits = len.min(self.remaining());
        self.overflow |= fits < len;
        self.len += fits;
        fits
    }

    fn check(&self) -> Result<(), Overflow> {
        let sum: usize = self.segments.0.iter().map(Segment::len).sum();
        if self.overflow || sum != self.len {
            return Err(Overflow(self.memory.len()));
        }
        Ok(())
    }

    /// Copies the pieces from number `first` on into memory, as one piece.
    fn copy_from(&mut self, first: usize) {
        let (kept, copied) = self.segments.0.split_at(first);
        let begin: usize = kept.iter().map(Segment::len).sum();
        let mut start = begin;
        for segment in copied {
            let end = start + segment.len();
            match segment {
                Segment::Filled(_) => {}
                Segment::Shared(bytes) => self.memory[start..end].copy_from_slice(bytes),
                Segment::Zeros(_) => self.memory[start..end].fill(0),
            }
            start = end;
        }
        self.segments.0.truncate(first);
        self.segments.0.push(Segment::Filled(start - begin));
    }
}

/// Replies of up to this many pieces need no allocation.
const FEW: usize = 16;

impl Drop for ReadReply<'_> {
    fn drop(&mut self) {
        // Shared pieces must not keep a cache's memory until the next request.
        self.segments.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Piece {
        Fill(Vec<u8>),
        Share(Vec<u8>),
        Zeros(usize),
        Truncate(usize),
    }

    fn piece() -> impl Strategy<Value = Piece> {
        let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
        prop_oneof![
            bytes().prop_map(Piece::Fill),
            bytes().prop_map(Piece::Share),
            (0usize..40).prop_map(Piece::Zeros),
            (0usize..400).prop_map(Piece::Truncate),
        ]
    }

    /// The reply and what it should hold.
    fn build(reply: &mut ReadReply<'_>, pieces: &[Piece]) -> Vec<u8> {
        let mut expected = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Fill(bytes) => {
                    reply.fill(bytes.len()).copy_from_slice(bytes);
                    expected.extend_from_slice(bytes);
                }
                Piece::Share(bytes) => {
                    reply.share(Bytes::copy_from_slice(bytes));
                    expected.extend_from_slice(bytes);
                }
                Piece::Zeros(len) => {
                    reply.zeros(*len);
                    expected.resize(expected.len() + len, 0);
                }
                Piece::Truncate(len) => {
                    reply.truncate(*len);
                    expected.truncate(*len);
                }
            }
        }
        expected
    }

    proptest! {
        #[test]
        fn gathered_and_flattened_bodies_are_what_was_put_in(
            pieces in proptest::collection::vec(piece(), 0..30),
        ) {
            let zeros = vec![0u8; 2000];
            let mut segments = Segments::default();
            let mut memory = vec![0xEE; 2000];
            let mut reply = ReadReply::new(&mut memory, &mut segments);
            let expected = build(&mut reply, &pieces);
            prop_assert_eq!(reply.len(), expected.len());
            let gathered = reply.gather(&zeros, |slices| {
                slices.iter().flat_map(|slice| slice.to_vec()).collect::<Vec<_>>()
            });
            prop_assert_eq!(gathered.unwrap(), expected);

            let mut reply = ReadReply::new(&mut memory, &mut segments);
            let expected = build(&mut reply, &pieces);
            prop_assert_eq!(reply.flatten().unwrap(), expected);
        }
    }

    #[test]
    fn a_thousand_pieces_are_copied_into_few() {
        let mut memory = vec![0; 4000];
        let mut segments = Segments::default();
        let mut reply = ReadReply::new(&mut memory, &mut segments);
        let mut expected = Vec::new();
        for index in 0..1000u16 {
            let bytes = index.to_le_bytes();
            reply.share(Bytes::copy_from_slice(&bytes));
            reply.zeros(1);
            expected.extend_from_slice(&bytes);
            expected.push(0);
        }
        let (count, body) = reply
            .gather(&[0; 4000], |slices| {
                let body: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                (slices.len(), body)
            })
            .unwrap();
        assert_eq!(count, MOST_PIECES);
        assert_eq!(body, expected);
    }

    #[test]
    fn too_much_is_an_error_and_not_a_longer_reply() {
        let mut memory = vec![0; 10];
        let mut segments = Segments::default();
        let mut reply = ReadReply::new(&mut memory, &mut segments);
        reply.zeros(6);
        assert_eq!(reply.fill(5).len(), 4);
        assert_eq!(reply.flatten().unwrap_err(), Overflow(10));

        let mut reply = ReadReply::new(&mut memory, &mut segments);
        reply.share(Bytes::from_static(b"eleven byte"));
        assert_eq!(reply.gather(&[0; 10], |_| ()).unwrap_err(), Overflow(10));
    }
}
