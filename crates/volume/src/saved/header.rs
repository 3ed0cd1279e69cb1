//! The first 4 KiB of a saved index: what it was made of, and what is in it.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use seaweed::crc::Crc;
use seaweed::volume::OffsetWidth;

use super::page::Page;
use super::{Origin, Refused};

/// What a saved index says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Which `.idx` it was made of.
    pub origin: Origin,
    /// Bytes of the `.idx` from its start that it stands for.
    pub covered: u64,
    /// Checksum of pieces of these bytes.
    pub samples: u32,
    /// Keys in it, those of deleted needles included.
    pub entries: u64,
    /// Keys of needles that were not deleted.
    pub live: u64,
    /// The largest key.
    pub last_key: u64,
    /// Pages behind the header.
    pub pages: u64,
    /// Checksum of the first keys of all pages.
    pub fences: u32,
}

const MAGIC: [u8; 8] = *b"RIPTIDX\n";
const VERSION: u32 = 1;

/// Where the path begins; before it stand fields of fixed places.
const PATH: usize = 96;

impl Header {
    /// Its bytes in the file.
    pub const LEN: usize = 4096;

    /// Bytes of a path that it has room for.
    pub const MAX_PATH: usize = Self::LEN - PATH;

    /// As it is written. A path that is too long is cut off, and then is not the one that is looked for.
    pub fn to_bytes(&self) -> Vec<u8> {
        let path = self.origin.path.as_os_str().as_bytes();
        let path = &path[..path.len().min(Self::MAX_PATH)];
        let mut bytes = Vec::with_capacity(Self::LEN);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend([0; 4]);
        for field in [
            self.origin.inode,
            self.origin.born,
            self.covered,
            self.entries,
            self.live,
            self.last_key,
            self.pages,
        ] {
            bytes.extend(field.to_le_bytes());
        }
        bytes.extend(self.samples.to_le_bytes());
        bytes.extend(self.fences.to_le_bytes());
        bytes.extend(self.origin.revision.to_le_bytes());
        bytes.extend([self.origin.width.bytes(), 0]);
        // As checked above.
        bytes.extend((path.len() as u16).to_le_bytes());
        bytes.resize(PATH, 0);
        bytes.extend(path);
        bytes.resize(Self::LEN, 0);
        let sum = checksum(&bytes);
        bytes[SUM].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads the start of a file.
    ///
    /// # Errors
    /// When it is none, or damaged, or says what cannot be.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refused> {
        let bytes: &[u8; Self::LEN] = bytes.first_chunk().ok_or(Refused::Length {
            expected: Self::LEN as u64,
            found: bytes.len() as u64,
        })?;
        if bytes[..8] != MAGIC {
            return Err(Refused::Magic);
        }
        match u32_at(bytes, 8) {
            VERSION => {}
            other => return Err(Refused::Version(other)),
        }
        if u32_at(bytes, SUM.start) != checksum(bytes) {
            return Err(Refused::Checksum { what: "the header" });
        }
        let width = OffsetWidth::from_bytes_offset(bytes[82].into());
        let path_len = usize::from(u16::from_le_bytes([bytes[84], bytes[85]]));
        let path = bytes[PATH..].get(..path_len);
        let header = Self {
            origin: Origin {
                path: Path::new(std::ffi::OsStr::from_bytes(
                    path.ok_or(Refused::Shape("the path is too long"))?,
                ))
                .to_owned(),
                inode: u64_at(bytes, 16),
                born: u64_at(bytes, 24),
                revision: u16::from_le_bytes([bytes[80], bytes[81]]),
                width: width.ok_or(Refused::Shape("the width of offsets"))?,
            },
            covered: u64_at(bytes, 32),
            entries: u64_at(bytes, 40),
            live: u64_at(bytes, 48),
            last_key: u64_at(bytes, 56),
            pages: u64_at(bytes, 64),
            samples: u32_at(bytes, 72),
            fences: u32_at(bytes, 76),
        };
        header.check()?;
        Ok(header)
    }

    fn check(&self) -> Result<(), Refused> {
        let entry = self.origin.width.entry_len() as u64;
        let shape = |holds: bool, what| match holds {
            true => Ok(()),
            false => Err(Refused::Shape(what)),
        };
        shape(
            self.covered.is_multiple_of(entry),
            "it covers half an entry",
        )?;
        shape(
            self.entries <= self.covered / entry,
            "more keys than it covers",
        )?;
        shape(self.live <= self.entries, "more live keys than keys")?;
        let most = self.pages.saturating_mul(Page::MOST as u64);
        shape(
            (1..=self.entries).contains(&self.pages) && self.entries <= most,
            "the number of pages",
        )?;
        shape(self.file_len().is_some(), "the number of pages")
    }

    /// Bytes of the whole file; nothing where no file is that long.
    pub fn file_len(&self) -> Option<u64> {
        let each = (Page::LEN + size_of::<u64>()) as u64;
        let len = self
            .pages
            .checked_mul(each)?
            .checked_add(Self::LEN as u64)?;
        // Whoever maps it needs it to fit an address, and the kernel a signed one.
        (len <= i64::MAX as u64 && usize::try_from(len).is_ok()).then_some(len)
    }

    /// Where the first keys of pages begin in the file.
    pub(super) fn fences_at(&self) -> u64 {
        Self::LEN as u64 + self.pages * Page::LEN as u64
    }
}

/// Where the checksum of the header stands; it counts as zeros in itself.
const SUM: std::ops::Range<usize> = 12..16;

fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = Crc::new();
    sum.update(&bytes[..SUM.start]);
    sum.update(&[0; 4]);
    sum.update(&bytes[SUM.end..Header::LEN]);
    sum.value()
}

fn u32_at(bytes: &[u8; Header::LEN], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn u64_at(bytes: &[u8; Header::LEN], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}
