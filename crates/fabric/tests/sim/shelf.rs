//! What the sidecars serve, and what is true about it at which time.

use std::sync::Arc;
use std::time::Instant;

use fabric::client::Random;
use fabric::serve::{Held, Miss, ReadFault, Shelf};
use seaweed::FileId;
use seaweed::crc::crc32c;

/// All needles ever, each with its history. All replicas change at once.
pub(crate) struct Truth {
    pub(crate) needles: Vec<Vec<Version>>,
}

/// What a needle is from a moment on; nothing when it is deleted.
#[derive(Clone)]
pub(crate) struct Version {
    pub(crate) from: Instant,
    pub(crate) content: Option<Arc<Content>>,
}

pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_gzip: bool,
    pub(crate) crc: u32,
}

impl Content {
    pub(crate) fn random(random: &mut Random) -> Arc<Self> {
        let len = match random.below(60) {
            0 => 262_144 + random.below(300_000),
            1 => 0,
            2..20 => random.below(100),
            _ => random.below(8192),
        };
        let mut bytes = vec![0; len as usize];
        for piece in bytes.chunks_mut(8) {
            piece.copy_from_slice(&random.next().to_le_bytes()[..piece.len()]);
        }
        Arc::new(Self {
            is_gzip: random.below(10) == 0,
            crc: crc32c(&bytes),
            bytes,
        })
    }
}

impl Truth {
    /// What the needle was at any time from `since` on.
    pub(crate) fn since(&self, needle: usize, since: Instant) -> &[Version] {
        let history = &self.needles[needle];
        let later = history.iter().rposition(|version| version.from <= since);
        &history[later.unwrap_or(0)..]
    }
}

/// The volume that all needles are in, and the cookie of all of them.
pub(crate) fn file_id(needle: usize) -> FileId {
    FileId {
        volume: 7,
        key: needle as u64,
        cookie: 0xc00c_1e00,
    }
}

/// A sidecar's view of the needles at one moment.
pub(crate) struct View {
    pub(crate) now: Vec<Option<Arc<Content>>>,
    /// Needles whose bytes on this disk are damaged.
    pub(crate) damaged: Vec<bool>,
    /// Needles that this replica has lost.
    pub(crate) lost: Vec<bool>,
    /// Why the volume is not served, if it is not.
    pub(crate) miss: Option<Miss>,
    /// Whether reads fail.
    pub(crate) is_broken: bool,
}

pub(crate) struct Found {
    content: Arc<Content>,
    is_damaged: bool,
    is_broken: bool,
}

impl Shelf for View {
    type Needle = Found;

    fn try_find(&self, needle: FileId) -> Option<Result<Found, Miss>> {
        Some(self.find(needle))
    }

    fn find(&self, needle: FileId) -> Result<Found, Miss> {
        if let Some(miss) = self.miss {
            return Err(miss);
        }
        let at = needle.key as usize;
        let content = self.now[at].clone().filter(|_| !self.lost[at]);
        Ok(Found {
            content: content.ok_or(Miss::Absent)?,
            is_damaged: self.damaged[at],
            is_broken: self.is_broken,
        })
    }
}

impl Held for Found {
    fn stored_len(&self) -> u64 {
        self.content.bytes.len() as u64
    }

    fn is_gzip(&self) -> bool {
        self.content.is_gzip
    }

    fn crc(&self) -> u32 {
        self.content.crc
    }

    fn is_cached(&self, _offset: u64, _len: usize) -> bool {
        false
    }

    fn will_need(&self, _offset: u64, _len: u64) {}

    fn read_at(&self, offset: u64, dst: &mut [u8]) -> Result<u32, ReadFault> {
        if self.is_broken {
            return Err(ReadFault::Failed);
        }
        // A range's checksum covers the way only, so damage would go unnoticed from here on.
        if self.is_damaged {
            return Err(ReadFault::Corrupt);
        }
        let from = offset as usize;
        dst.copy_from_slice(&self.content.bytes[from..from + dst.len()]);
        Ok(crc32c(dst))
    }

    unsafe fn read_into(&self, offset: u64, dst: *mut u8, len: usize) -> Result<(), ReadFault> {
        if self.is_broken {
            return Err(ReadFault::Failed);
        }
        let from = offset as usize;
        let mut bytes = self.content.bytes[from..from + len].to_vec();
        if self.is_damaged
            && let Some(byte) = bytes.first_mut()
        {
            *byte ^= 0x40;
        }
        // SAFETY: the caller promises that `dst` takes `len` bytes that nobody else uses.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), dst, len) };
        Ok(())
    }
}
