//! A needle for a volume server, and what became of it.

use std::fmt;

use seaweed::FileId;

use super::error::WireError;
use super::header::{Kind, WRITE};
use super::{HEADER, MAX_READ, Place};

/// The longest name of a volume server: a host of 255 bytes and a port.
pub const MAX_SERVER: usize = 255 + 6;
/// The longest token. Those of a master have about 200 bytes.
pub const MAX_TOKEN: usize = 2 << 10;
/// The longest text beside an outcome, in bytes.
pub const MAX_TEXT: usize = 256;

/// A needle for a volume server beside the sidecar, as an upload over HTTP would bring it there.
#[derive(Clone, PartialEq, Eq)]
pub struct Write {
    /// The first id of the assignment.
    pub base: FileId,
    /// Which of its ids: the token is for the first, and holds for `_n` behind it.
    pub delta: u32,
    /// The bytes are a gzip stream, and the volume server may know.
    pub gzip: bool,
    /// They shall be on disk, on all replicas, before the answer.
    pub fsync: bool,
    /// Where they are.
    pub place: Place,
    /// How many, at least one.
    pub len: u32,
    /// Their CRC32C.
    pub crc: u32,
    /// How long the client waits for an answer, in milliseconds. What has not been handed to the
    /// volume server by then is dropped.
    pub patience: u32,
    /// Which volume server, by the name that the sidecar announced.
    pub server: String,
    /// The assignment's token; empty where none is needed.
    pub token: String,
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// In one word.
    pub outcome: Outcome,
    /// The volume server's HTTP status; 0 if it gave none.
    pub status: u16,
    /// CRC32C of what it stored, by its own account.
    pub stored: Option<u32>,
    /// What it says, or the sidecar; at most [`MAX_TEXT`] bytes.
    pub text: String,
}

/// What became of a write, in one word. Numbered in this order, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The volume server has it, with all its replicas.
    Kept,
    /// The volume server answered, and has not taken it.
    Refused,
    /// The sidecar gets no answer from the volume server, which may have taken it or not.
    Unreachable,
    /// The sidecar has too much to do, and has handed on nothing.
    Busy,
    /// The sidecar does not take this write, and has handed on nothing.
    Declined,
    /// Other bytes came than were sent, and were handed to nobody.
    Corrupt,
    /// It came when nobody waited for it any more, and was handed to nobody.
    Late,
}

impl Outcome {
    /// All, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Kept,
        Self::Refused,
        Self::Unreachable,
        Self::Busy,
        Self::Declined,
        Self::Corrupt,
        Self::Late,
    ];

    /// One word for statistics; it does not change from version to version.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Busy => "busy",
            Self::Declined => "declined",
            Self::Corrupt => "corrupt",
            Self::Late => "late",
        }
    }
}

impl Write {
    /// Bytes that follow the frame.
    pub fn data(&self) -> usize {
        match self.place {
            Place::Inline => self.len as usize,
            Place::Region { .. } => 0,
        }
    }

    /// Bytes of the frame.
    pub(crate) fn frame_len(&self) -> usize {
        HEADER + WRITE + self.server.len() + self.token.len()
    }

    /// The id it is stored under.
    pub fn needle(&self) -> FileId {
        FileId {
            key: self.base.key.wrapping_add(u64::from(self.delta)),
            ..self.base
        }
    }

    /// Whether it is within the protocol's limits.
    pub(super) fn check(&self) -> Result<(), WireError> {
        let Self {
            len, server, token, ..
        } = self;
        // Both go into requests and logs as they are.
        let is_word = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        if !(1..=MAX_READ).contains(&u64::from(*len)) {
            return Err(Kind::Write.malformed("an impossible number of bytes"));
        }
        if server.is_empty() || server.len() > MAX_SERVER || !is_word(server) {
            return Err(Kind::Write.malformed("a server that is none"));
        }
        if token.len() > MAX_TOKEN || !is_word(token) {
            return Err(Kind::Write.malformed("a token that is none"));
        }
        Ok(())
    }
}

impl fmt::Debug for Write {
    /// Without the token, which is a secret for as long as it is good.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Write")
            .field("needle", &self.needle())
            .field("gzip", &self.gzip)
            .field("fsync", &self.fsync)
            .field("place", &self.place)
            .field("len", &self.len)
            .field("patience", &self.patience)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Written {
    /// An outcome of which the volume server knows nothing.
    pub fn without(outcome: Outcome, text: impl Into<String>) -> Self {
        let mut text = text.into();
        text.truncate(text.floor_char_boundary(MAX_TEXT));
        Self {
            outcome,
            status: 0,
            stored: None,
            text,
        }
    }

    /// What a volume server answered.
    pub fn answered(status: u16, stored: Option<u32>, text: impl Into<String>) -> Self {
        let outcome = match (200..300).contains(&status) {
            true => Outcome::Kept,
            false => Outcome::Refused,
        };
        Self {
            status,
            stored,
            ..Self::without(outcome, text)
        }
    }

    pub(super) fn check(&self) -> Result<(), WireError> {
        match self.text.len() > MAX_TEXT {
            true => Err(Kind::Written.malformed("a text that is too long")),
            false => Ok(()),
        }
    }
}
