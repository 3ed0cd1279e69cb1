//! Which `.idx` a saved index is made of.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::UNIX_EPOCH;

use seaweed::crc::Crc;
use seaweed::volume::OffsetWidth;

use super::Refused;
use crate::raw::{self, FillError, Wait};

/// An `.idx` as it can be told from others, also after a boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its path, from the root.
    pub path: PathBuf,
    /// Its inode. File systems give numbers out again, so it is not enough.
    pub inode: u64,
    /// When it was made, in nanoseconds since 1970; 0 where the file system does not tell.
    pub born: u64,
    /// What the super block of its `.dat` says: one more with every vacuum.
    pub revision: u16,
    /// How its entries are read.
    pub width: OffsetWidth,
}

impl Origin {
    /// Of an open file.
    pub(crate) fn of(
        path: PathBuf,
        idx: &File,
        revision: u16,
        width: OffsetWidth,
    ) -> io::Result<Self> {
        let metadata = idx.metadata()?;
        let born = metadata.created().ok();
        let born = born.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        Ok(Self {
            path: std::path::absolute(path)?,
            inode: metadata.ino(),
            // Until 2554.
            born: born.map_or(0, |time| time.as_nanos() as u64),
            revision,
            width,
        })
    }

    /// Whether `other` is the same.
    ///
    /// # Errors
    /// Says what differs.
    pub(super) fn is_same(&self, other: &Self) -> Result<(), Refused> {
        let differs = [
            (self.path != other.path, "it has another path"),
            (self.inode != other.inode, "it has another inode"),
            (self.born != other.born, "it was made at another time"),
            (
                self.revision != other.revision,
                "the volume has another revision",
            ),
            (self.width != other.width, "its offsets have another width"),
        ];
        match differs.into_iter().find(|(differs, _)| *differs) {
            Some((_, what)) => Err(Refused::Foreign(what)),
            None => Ok(()),
        }
    }

    /// The checksum of pieces of the first `covered` bytes of an `.idx`: its start, its middle, and what was
    /// written last.
    pub(super) fn samples(idx: &File, covered: u64) -> io::Result<u32> {
        let mut sum = Crc::new();
        let mut buffer = Vec::new();
        let (small, large) = (covered.min(SAMPLE), covered.min(LAST));
        for (at, len) in [
            (0, small),
            ((covered / 2).min(covered - small), small),
            (covered - large, large),
        ] {
            buffer.resize(len as usize, 0);
            let read = raw::read(idx, at, &mut buffer, Wait::Yes);
            read.map_err(|error| match error {
                FillError::Io(error) => error,
                FillError::End | FillError::WouldWait => io::ErrorKind::UnexpectedEof.into(),
            })?;
            sum.update(&buffer);
        }
        Ok(sum.value())
    }
}

const SAMPLE: u64 = 4096;
const LAST: u64 = 64 << 10;
