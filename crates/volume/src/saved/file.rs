//! A saved index, open.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seaweed::crc::crc32c;

use super::mapping::Mapping;
use super::{Header, Origin, Page, Refused};
use crate::index::Packed;
use crate::raw::{self, FillError, Wait};

/// A saved index that fits its `.idx`.
#[derive(Debug)]
pub(crate) struct Saved {
    header: Header,
    file: File,
    mapping: Mapping,
    /// The first key of each page.
    fences: Vec<u64>,
    /// A bit for each page: its checksum was compared.
    checked: Vec<AtomicU64>,
    /// Bytes mapped, by all.
    mapped: Arc<AtomicU64>,
}

/// Why a page cannot be looked at.
#[derive(Debug)]
pub(crate) enum Touch {
    /// The disk would have to be waited for.
    WouldWait,
    /// The index is not to be used any more.
    Refused(Refused),
}

impl Saved {
    /// Opens a file, checks that it was made of `origin`, and that `idx`, of `idx_len` bytes, still begins with
    /// what it was made of.
    pub(super) fn open(
        path: &Path,
        origin: &Origin,
        idx: &File,
        idx_len: u64,
        mapped: &Arc<AtomicU64>,
    ) -> Result<Self, Refused> {
        let (file, header) = open_header(path)?;
        header.origin.is_same(origin)?;
        if header.covered > idx_len {
            return Err(Refused::Shorter {
                covered: header.covered,
                len: idx_len,
            });
        }
        if Origin::samples(idx, header.covered).map_err(Refused::Io)? != header.samples {
            return Err(Refused::Foreign("it has another content"));
        }
        let found = file.metadata().map_err(Refused::Io)?.len();
        let Some(expected) = header.file_len().filter(|len| *len == found) else {
            let expected = header.file_len().unwrap_or(u64::MAX);
            return Err(Refused::Length { expected, found });
        };
        let fences = fences(&file, &header)?;
        // SAFETY: the file lies in the folder of saved indexes, which `Folder::open` has found to be writable for
        // nobody else; this program writes there under other names only, and renames.
        let mapping = unsafe { Mapping::new(&file, expected as usize) }.map_err(Refused::Io)?;
        mapped.fetch_add(expected, Ordering::Relaxed);
        let words = fences.len().div_ceil(64);
        Ok(Self {
            header,
            file,
            mapping,
            fences,
            checked: (0..words).map(|_| AtomicU64::new(0)).collect(),
            mapped: Arc::clone(mapped),
        })
    }

    /// What it says of itself.
    pub(crate) fn header(&self) -> &Header {
        &self.header
    }

    /// Bytes that it takes of memory which is not the page cache's.
    pub(crate) fn resident(&self) -> u64 {
        (self.fences.len() * size_of::<u64>() + self.checked.len() * size_of::<u64>()) as u64
    }

    /// The place of a key; the first time that a page is touched, the disk may have to be waited for.
    pub(crate) fn find(&self, key: u64, wait: Wait) -> Result<Option<Packed>, Touch> {
        if key > self.header.last_key {
            return Ok(None);
        }
        let Some(at) = self
            .fences
            .partition_point(|first| *first <= key)
            .checked_sub(1)
        else {
            return Ok(None);
        };
        let found = self.page(at, wait)?.find(key);
        Ok(found.map(Packed::from_bits))
    }

    /// A page whose checksum was compared.
    fn page(&self, at: usize, wait: Wait) -> Result<Page<'_>, Touch> {
        let (word, bit) = (&self.checked[at / 64], 1 << (at % 64));
        if word.load(Ordering::Acquire) & bit == 0 {
            let mut buffer = [0; Page::LEN];
            let read = raw::read(&self.file, offset(at), &mut buffer, wait);
            read.map_err(|error| match error {
                FillError::WouldWait => Touch::WouldWait,
                FillError::End => Touch::Refused(Refused::Shape("a page is missing")),
                FillError::Io(error) => Touch::Refused(Refused::Io(error)),
            })?;
            self.check(at, &buffer).map_err(Touch::Refused)?;
            word.fetch_or(bit, Ordering::Release);
        }
        let bytes = self.mapping.as_slice()[offset(at) as usize..].first_chunk();
        let page = bytes.ok_or(Refused::Shape("a page is missing"));
        let page = page.and_then(Page::parse);
        page.map_err(Touch::Refused)
    }

    fn check(&self, at: usize, bytes: &[u8; Page::LEN]) -> Result<(), Refused> {
        Page::verify(bytes)?;
        let first = Page::parse(bytes)?.entries().next();
        // One page in the place of another is sound in itself.
        match first.map(|(key, _)| key) == self.fences.get(at).copied() {
            true => Ok(()),
            false => Err(Refused::Shape("a page is in the place of another")),
        }
    }

    /// All keys in ascending order, from the disk in large pieces.
    pub(super) fn stream(&self) -> Stream<'_> {
        Stream {
            saved: self,
            piece: Vec::new(),
            next: 0,
            pairs: Vec::new().into_iter(),
        }
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        let len = self.mapping.as_slice().len() as u64;
        self.mapped.fetch_sub(len, Ordering::Relaxed);
    }
}

/// Keys and places of a saved index, one after the other.
pub(super) struct Stream<'a> {
    saved: &'a Saved,
    /// Pages that were read and not yet taken apart, the next one last.
    piece: Vec<[u8; Page::LEN]>,
    /// The page after those.
    next: usize,
    pairs: std::vec::IntoIter<(u64, u64)>,
}

impl Stream<'_> {
    /// The next one; nothing behind the last.
    pub(super) fn next(&mut self) -> Result<Option<(u64, Packed)>, Refused> {
        loop {
            if let Some((key, place)) = self.pairs.next() {
                return Ok(Some((key, Packed::from_bits(place))));
            }
            if self.piece.is_empty() && !self.read()? {
                return Ok(None);
            }
            if let Some(bytes) = self.piece.pop() {
                let at = self.next - 1 - self.piece.len();
                self.saved.check(at, &bytes)?;
                let pairs: Vec<_> = Page::parse(&bytes)?.entries().collect();
                self.pairs = pairs.into_iter();
            }
        }
    }

    fn read(&mut self) -> Result<bool, Refused> {
        let pages = PIECE.min(self.saved.fences.len() - self.next);
        self.piece.resize(pages, [0; Page::LEN]);
        let bytes = self.piece.as_flattened_mut();
        let read = raw::read(&self.saved.file, offset(self.next), bytes, Wait::Yes);
        read.map_err(|error| match error {
            FillError::Io(error) => Refused::Io(error),
            FillError::End | FillError::WouldWait => Refused::Shape("a page is missing"),
        })?;
        self.piece.reverse();
        self.next += pages;
        Ok(pages > 0)
    }
}

/// Pages that are read at once where all are wanted.
const PIECE: usize = 64;

/// Opens a file and reads what it says of itself.
pub(super) fn open_header(path: &Path) -> Result<(File, Header), Refused> {
    let file = OpenOptions::new()
        .read(true)
        // A link, or a pipe that would be waited for, is none of ours.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Refused::Absent,
            _ => Refused::Io(error),
        })?;
    let mut head = [0; Header::LEN];
    match raw::read(&file, 0, &mut head, Wait::Yes) {
        Ok(()) => Ok((file, Header::parse(&head)?)),
        Err(FillError::Io(error)) => Err(Refused::Io(error)),
        Err(FillError::End | FillError::WouldWait) => Err(Refused::Magic),
    }
}

fn fences(file: &File, header: &Header) -> Result<Vec<u64>, Refused> {
    // The file is as long as the header says, so that there is this much.
    let mut bytes = vec![0; header.pages as usize * size_of::<u64>()];
    raw::read(file, header.fences_at(), &mut bytes, Wait::Yes).map_err(|error| match error {
        FillError::Io(error) => Refused::Io(error),
        FillError::End | FillError::WouldWait => Refused::Shape("first keys are missing"),
    })?;
    if crc32c(&bytes) != header.fences {
        let what = "the list of first keys";
        return Err(Refused::Checksum { what });
    }
    let (words, _) = bytes.as_chunks::<8>();
    Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

fn offset(page: usize) -> u64 {
    (Header::LEN + page * Page::LEN) as u64
}
