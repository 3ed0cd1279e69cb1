//! The files of a volume, for a client of the same host that reads them by itself.

use super::error::WireError;
use super::header::Kind;

/// Which files a client holds: device and inode of the data, then of the index.
pub type Inodes = [u64; 4];

/// The files of a volume, please, unless those that are held are the ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Borrow {
    /// Its number.
    pub volume: u32,
    /// What is held; not all zeros.
    pub held: Option<Inodes>,
}

/// What became of it. Numbered in this order, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lent {
    /// Data and index, in this order, are the two descriptors that come beside this frame
    /// (`SCM_RIGHTS`), open for reading.
    Files(FileTerms),
    /// The files that are held are the ones, and may be read on.
    Same,
    /// The volume is not here.
    NotHere,
    /// The volume is here in a form that is not served out of its files.
    Declined,
    /// Nothing is lent to this client.
    Refused,
    /// The system failed.
    Failed,
}

/// What has to be known of files that are lent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileTerms {
    /// Bytes of an offset in the index: 4 or 5.
    pub width: u8,
    /// How ranges of needles are checked against the whole.
    pub verify: Verify,
    /// The volume's compaction revision.
    pub revision: u16,
}

/// When a range of a needle is checked against the checksum of the whole. Numbered in this order, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Always.
    Always,
    /// When that costs no disk read.
    Cached,
    /// Never.
    Never,
}

impl Borrow {
    pub(super) fn check(&self) -> Result<(), WireError> {
        match self.held {
            Some([0, 0, 0, 0]) => Err(Kind::Borrow.malformed("files that are none")),
            _ => Ok(()),
        }
    }
}

impl Lent {
    /// One word for statistics; it does not change from version to version.
    pub fn name(&self) -> &'static str {
        Self::NAMES[usize::from(self.number())]
    }

    /// All words, in the order of their numbers.
    pub const NAMES: [&'static str; 6] =
        ["files", "same", "not_here", "declined", "refused", "failed"];

    /// Descriptors that come beside the frame.
    pub fn descriptors(&self) -> usize {
        match self {
            Self::Files(_) => 2,
            _ => 0,
        }
    }

    pub(crate) fn number(&self) -> u8 {
        match self {
            Self::Files(_) => 0,
            Self::Same => 1,
            Self::NotHere => 2,
            Self::Declined => 3,
            Self::Refused => 4,
            Self::Failed => 5,
        }
    }

    /// Number, width, way of checking, revision.
    pub(super) fn fields(&self) -> Result<(u8, u8, u8, u16), WireError> {
        let number = self.number();
        match self {
            Self::Files(terms) if !matches!(terms.width, 4 | 5) => {
                Err(Kind::Lent.malformed("an impossible width of offsets"))
            }
            Self::Files(terms) => Ok((number, terms.width, terms.verify as u8, terms.revision)),
            _ => Ok((number, 0, 0, 0)),
        }
    }

    pub(super) fn of(
        (number, width, verify, revision): (u8, u8, u8, u16),
    ) -> Result<Self, WireError> {
        let lent = match number {
            0 => {
                let verify = match verify {
                    0 => Verify::Always,
                    1 => Verify::Cached,
                    2 => Verify::Never,
                    _ => return Err(Kind::Lent.malformed("an unknown way of checking")),
                };
                Self::Files(FileTerms {
                    width,
                    verify,
                    revision,
                })
            }
            1 => Self::Same,
            2 => Self::NotHere,
            3 => Self::Declined,
            4 => Self::Refused,
            5 => Self::Failed,
            _ => return Err(Kind::Lent.malformed("an unknown outcome")),
        };
        match lent.fields()? == (number, width, verify, revision) {
            true => Ok(lent),
            false => Err(Kind::Lent.malformed("terms of files that are not lent")),
        }
    }
}
