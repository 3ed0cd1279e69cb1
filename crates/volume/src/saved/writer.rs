//! Writes a saved index, in one pass from the first key to the last.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};

use seaweed::crc::crc32c;

use super::page::{self, Page, Widths};
use super::{Header, Origin};
use crate::index::Packed;

/// A file that is being written.
pub(super) struct Writer {
    to: BufWriter<File>,
    /// Bytes that may still be written.
    room: u64,
    /// The pairs of the next page.
    pairs: Vec<(u64, u64)>,
    widths: Widths,
    fences: Vec<u8>,
    entries: u64,
    live: u64,
    last_key: u64,
}

impl Writer {
    /// Into an empty file, `room` bytes at most.
    pub(super) fn new(file: File, room: u64) -> io::Result<Self> {
        let mut writer = Self {
            to: BufWriter::with_capacity(BUFFER, file),
            room,
            pairs: Vec::with_capacity(Page::MOST),
            widths: Widths::new(0),
            fences: Vec::new(),
            entries: 0,
            live: 0,
            last_key: 0,
        };
        // Until all is there the file has no header.
        writer.put(&[0; Header::LEN])?;
        Ok(writer)
    }

    /// Adds a key that is larger than all before.
    pub(super) fn push(&mut self, key: u64, place: Packed) -> io::Result<()> {
        let bits = place.bits();
        if self.pairs.is_empty() {
            self.widths = Widths::new(key);
        }
        let widths = self.widths.with(key, bits);
        if self.pairs.len() < widths.capacity() {
            self.widths = widths;
        } else {
            self.end_page()?;
            self.widths = Widths::new(key).with(key, bits);
        }
        self.pairs.push((key, bits));
        self.entries += 1;
        self.live += u64::from(!place.is_deleted());
        self.last_key = key;
        Ok(())
    }

    fn end_page(&mut self) -> io::Result<()> {
        let Some(bytes) = page::encode(&self.pairs) else {
            return Err(io::Error::other(
                "a page does not hold what it has room for",
            ));
        };
        self.fences.extend(self.pairs[0].0.to_le_bytes());
        self.pairs.clear();
        self.put(&bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.room = match self.room.checked_sub(bytes.len() as u64) {
            Some(left) => left,
            None => return Err(io::ErrorKind::QuotaExceeded.into()),
        };
        self.to.write_all(bytes)
    }

    /// Writes the rest and has it on disk.
    pub(super) fn finish(mut self, origin: Origin, covered: u64, samples: u32) -> io::Result<()> {
        if !self.pairs.is_empty() {
            self.end_page()?;
        }
        let fences = std::mem::take(&mut self.fences);
        self.put(&fences)?;
        let header = Header {
            origin,
            covered,
            samples,
            entries: self.entries,
            live: self.live,
            last_key: self.last_key,
            pages: (fences.len() / size_of::<u64>()) as u64,
            fences: crc32c(&fences),
        };
        self.to.seek(SeekFrom::Start(0))?;
        self.to.write_all(&header.to_bytes())?;
        self.to.into_inner()?.sync_data()
    }
}

const BUFFER: usize = 1 << 20;
