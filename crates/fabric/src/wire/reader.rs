//! Frames out of a stream of bytes.
//!
//! A socket's driver receives into [`FrameReader::space`] and asks [`FrameReader::next`] what it
//! has got. Behind an answer or a write with inline data, what of the data came along is taken with
//! [`FrameReader::take_data`], and the rest is received straight into its destination and only
//! counted here ([`FrameReader::received`]):
//!
//! ```text
//! loop {
//!     match reader.next()? {
//!         Next::NeedMore    => reader.filled(recv(reader.space())),
//!         Next::Frame(..)   => the message, its data follows as:
//!         Next::Data(left)  => copied = reader.take_data(dst);
//!                              if copied == 0 { reader.received(recv(&mut dst[..left])) }
//!     }
//! }
//! ```

use super::decode::decode;
use super::header::Header;
use super::{HEADER, MAX_BODY, Message, WireError};

/// A message and the exchange it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Of the exchange.
    pub id: u64,
    /// What it says.
    pub message: Message,
}

/// What there is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Receive more bytes.
    NeedMore,
    /// A message has arrived.
    Frame(Frame),
    /// This many bytes of data are still to come before the next frame.
    Data(usize),
}

/// Finds frames in bytes as they come from a socket.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Box<[u8]>,
    /// What of the buffer is received and not yet used.
    start: usize,
    end: usize,
    /// Bytes of data before the next frame.
    data: usize,
    /// Once refused, always refused: nobody knows where the next frame starts.
    refused: Option<WireError>,
}

impl FrameReader {
    /// A reader at the start of a stream.
    pub fn new() -> Self {
        Self {
            buffer: vec![0; HEADER + MAX_BODY].into(),
            start: 0,
            end: 0,
            data: 0,
            refused: None,
        }
    }

    /// Where to receive; not empty as long as [`next`](Self::next) wants more.
    pub fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..]
    }

    /// The first `len` bytes of [`space`](Self::space) were received.
    pub fn filled(&mut self, len: usize) {
        debug_assert!(
            len <= self.buffer.len() - self.end,
            "more than there was space"
        );
        self.end = (self.end + len).min(self.buffer.len());
    }

    /// What there is to do next.
    ///
    /// # Errors
    /// The peer breaks the protocol; nothing more can be read from it.
    #[expect(
        clippy::should_implement_trait,
        reason = "it does not end and can fail"
    )]
    pub fn next(&mut self) -> Result<Next, WireError> {
        if let Some(error) = &self.refused {
            return Err(error.clone());
        }
        let next = self.advance();
        self.refused = next.as_ref().err().cloned();
        next
    }

    /// Moves data that has been received already to `dst`; gives the number of bytes. When it is
    /// 0, the rest comes straight from the socket.
    pub fn take_data(&mut self, dst: &mut [u8]) -> usize {
        let len = dst.len().min(self.data).min(self.end - self.start);
        dst[..len].copy_from_slice(&self.buffer[self.start..self.start + len]);
        self.start += len;
        self.data -= len;
        len
    }

    /// `len` bytes of data were received past this reader.
    pub fn received(&mut self, len: usize) {
        debug_assert!(self.start == self.end, "data before it is still here");
        debug_assert!(len <= self.data, "more than the data");
        self.data = self.data.saturating_sub(len);
    }

    /// Whether the stream is between two frames, so that it may end here.
    pub fn is_idle(&self) -> bool {
        self.start == self.end && self.data == 0
    }

    fn advance(&mut self) -> Result<Next, WireError> {
        if self.data > 0 {
            return Ok(Next::Data(self.data));
        }
        let bytes = &self.buffer[self.start..self.end];
        let Some(header) = Header::parse(bytes)? else {
            return Ok(Next::NeedMore);
        };
        let Some(frame) = bytes.get(..HEADER + header.body) else {
            return Ok(Next::NeedMore);
        };
        let (head, body) = frame.split_at(HEADER);
        header.verify(head, body)?;
        let message = decode(header.kind, body)?;
        let data = message.data();
        if header.data as usize != data {
            return Err(WireError::Data {
                kind: header.kind.name(),
                len: header.data,
            });
        }
        self.start += frame.len();
        self.data = data;
        Ok(Next::Frame(Frame {
            id: header.id,
            message,
        }))
    }
}

impl Default for FrameReader {
    fn default() -> Self {
        Self::new()
    }
}
