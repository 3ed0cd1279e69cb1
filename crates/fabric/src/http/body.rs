//! The body of an answer, moved into place.
//!
//! A body of known length is received straight into the destination, apart from what came along
//! with the head. (Gathering more bytes per wake-up, as [`wake`](super::wake) does for lanes, was measured twice on
//! loopback and makes no difference: a volume server sends so much at a time that a receive finds it there.) Chunks,
//! which a filer's proxy produces when it inflates on the way, are handled alike: only their size lines go through the buffer.

use std::time::Duration;

use super::connection::Connection;
use super::head::Framing;
use super::wait::{Halt, Watch};

/// Room for chunk sizes and trailers.
const LINE_ROOM: usize = 512;
/// Longest body worth reading to the end only to keep the connection.
const DRAIN: u64 = 16 * 1024;
/// Most trailer lines accepted after the last chunk.
const MAX_TRAILERS: usize = 16;

/// A body being read.
#[derive(Debug)]
pub(crate) struct Body<'c, 'a> {
    connection: &'c mut Connection,
    watch: Watch<'a>,
    left: Left,
}

#[derive(Debug)]
enum Left {
    /// This many bytes, then the next answer.
    Bytes(u64),
    /// This many bytes, then another chunk's size line.
    Chunk(u64),
    /// A size line, with the previous chunk's line end in front of it except for the first.
    Size { first: bool },
    /// Nobody knows.
    Unclear,
    /// Nothing; the last chunk and its trailers are behind us.
    Nothing,
}

impl<'c, 'a> Body<'c, 'a> {
    /// The body that follows a head.
    pub(crate) fn new(connection: &'c mut Connection, framing: Framing, watch: Watch<'a>) -> Self {
        let left = match framing {
            Framing::Length(len) => Left::Bytes(len),
            Framing::Chunked => Left::Size { first: true },
            Framing::UntilClose => Left::Unclear,
        };
        Self {
            connection,
            watch,
            left,
        }
    }

    /// Fills `to`; false when the body ends before that.
    pub(crate) fn read_exact(&mut self, mut to: &mut [u8]) -> Result<bool, Halt> {
        while !to.is_empty() {
            let window = self.advance()?.min(to.len() as u64) as usize;
            if window == 0 {
                return Ok(false);
            }
            let (part, rest) = to.split_at_mut(window);
            self.receive(part)?;
            match &mut self.left {
                Left::Bytes(left) | Left::Chunk(left) => *left -= window as u64,
                Left::Size { .. } | Left::Unclear | Left::Nothing => {}
            }
            to = rest;
        }
        Ok(true)
    }

    /// Skips `count` bytes; false when the body ends before that.
    pub(crate) fn skip(&mut self, mut count: u64) -> Result<bool, Halt> {
        let mut scrap = [0; 8 * 1024];
        while count > 0 {
            let part = count.min(scrap.len() as u64) as usize;
            if !self.read_exact(&mut scrap[..part])? {
                return Ok(false);
            }
            count -= part as u64;
        }
        Ok(true)
    }

    /// Reads all that is left, of any framing, as long as it is at most `limit` bytes.
    pub(crate) fn read_to_end(&mut self, limit: usize) -> Result<Option<Vec<u8>>, Halt> {
        let mut all = Vec::new();
        loop {
            let window = self.advance()?;
            if window == 0 {
                return Ok(Some(all));
            }
            let start = all.len();
            let Some(end) = usize::try_from(window)
                .ok()
                .and_then(|window| start.checked_add(window))
                .filter(|end| *end <= limit)
            else {
                return Ok(None);
            };
            all.resize(end, 0);
            if !self.read_exact(&mut all[start..])? {
                return Ok(None);
            }
        }
    }

    /// Reads the body to its end where that takes little and less than `patience`; whether it did.
    pub(crate) fn finish(mut self, patience: Duration) -> Result<bool, Halt> {
        self.watch.patience = patience.min(self.watch.patience);
        let mut spent = 0;
        loop {
            let window = self.advance()?;
            if window == 0 {
                return Ok(true);
            }
            spent += window;
            if spent > DRAIN {
                return Ok(false);
            }
            self.skip(window)?;
        }
    }

    /// Receives exactly `to`, all of it within what is left.
    fn receive(&mut self, to: &mut [u8]) -> Result<(), Halt> {
        let mut done = self.connection.take(to);
        while done < to.len() {
            done += self.connection.recv(&mut to[done..], &self.watch)?;
        }
        Ok(())
    }

    /// How many bytes come next without a break; 0 at the end.
    fn advance(&mut self) -> Result<u64, Halt> {
        loop {
            match self.left {
                Left::Chunk(0) => self.left = Left::Size { first: false },
                Left::Bytes(left) | Left::Chunk(left) => return Ok(left),
                Left::Unclear => return Err(Halt::Malformed("nothing says where it ends")),
                Left::Nothing => return Ok(0),
                Left::Size { first } => {
                    if !first && self.line()? != 0 {
                        return Err(Halt::Malformed("a chunk is longer than its size"));
                    }
                    self.left = match self.chunk_size()? {
                        0 => {
                            self.trailers()?;
                            Left::Nothing
                        }
                        size => Left::Chunk(size),
                    };
                }
            }
        }
    }

    fn chunk_size(&mut self) -> Result<u64, Halt> {
        loop {
            match httparse::parse_chunk_size(self.connection.buffered()) {
                Ok(httparse::Status::Complete((len, size))) => {
                    self.connection.consume(len);
                    return Ok(size);
                }
                Ok(httparse::Status::Partial) => self.connection.fill(LINE_ROOM, &self.watch)?,
                Err(_) => return Err(Halt::Malformed("a chunk has no size")),
            }
        }
    }

    fn trailers(&mut self) -> Result<(), Halt> {
        for _ in 0..MAX_TRAILERS {
            if self.line()? == 0 {
                return Ok(());
            }
        }
        Err(Halt::Malformed("it has too many trailers"))
    }

    /// Consumes a line and says how long it was, without its end.
    fn line(&mut self) -> Result<usize, Halt> {
        loop {
            let buffered = self.connection.buffered();
            if let Some(end) = buffered.iter().position(|byte| *byte == b'\n') {
                let len = buffered[..end].strip_suffix(b"\r").map(<[u8]>::len);
                self.connection.consume(end + 1);
                return len.ok_or(Halt::Malformed("a line has no proper end"));
            }
            self.connection.fill(LINE_ROOM, &self.watch)?;
        }
    }
}

#[cfg(test)]
mod tests;
