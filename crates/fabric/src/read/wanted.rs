//! What is wanted of a needle, and where it goes.

use super::Missed;
use crate::gzip::{self, Inflated};
use crate::memory::Block;
use crate::wire::{Answer, Extent};
use crate::{Destination, Stored};

/// What is wanted of a needle, and where it goes.
pub(super) enum Wanted<'d> {
    /// These bytes of it, as many as there is room for.
    Range { offset: u64, dst: &'d mut [u8] },
    /// So many bytes of it.
    Part {
        offset: u64,
        len: u32,
        to: &'d mut dyn Destination,
    },
    /// All of it, if it is at most `room` bytes.
    Whole {
        form: Stored,
        room: u32,
        to: &'d mut dyn Destination,
    },
}

impl Wanted<'_> {
    pub(super) fn extent(&self) -> Extent {
        match self {
            Self::Range { offset, dst } => Extent::Range {
                offset: *offset,
                // Cut to what one item may ask for before it came here.
                len: dst.len() as u32,
            },
            Self::Part { offset, len, .. } => Extent::Range {
                offset: *offset,
                len: *len,
            },
            Self::Whole { room, .. } => Extent::Whole { room: *room },
        }
    }

    /// Whether the stored bytes are to be inflated on their way.
    pub(super) fn inflates(&self, answer: &Answer) -> bool {
        let wants_clear = matches!(
            self,
            Self::Whole {
                form: Stored::Plain,
                ..
            }
        );
        wants_clear && answer.is_gzip
    }

    /// The caller's own memory for `len` bytes, the same whenever it is asked for.
    pub(super) fn memory(&mut self, len: usize) -> Result<&mut [u8], Missed> {
        match self {
            Self::Range { dst, .. } => dst.get_mut(..len).ok_or(Missed::PastEnd),
            Self::Part { to, .. } | Self::Whole { to, .. } => {
                let len = len as u64;
                to.memory(len).map_err(|_| Missed::Refused { len })
            }
        }
    }

    /// Puts bytes that lie elsewhere to where they are wanted; how many that makes.
    pub(super) fn copy(&mut self, bytes: &[u8], inflate: bool) -> Result<usize, Missed> {
        match self {
            Self::Whole { to, .. } if inflate => {
                gzip::inflate(bytes, *to).map_err(|failed| match failed {
                    // They are what is stored; let somebody else make sense of it.
                    Inflated::Damaged => Missed::Suspect,
                    Inflated::Refused(len) => Missed::Refused { len },
                })
            }
            _ => {
                self.memory(bytes.len())?.copy_from_slice(bytes);
                Ok(bytes.len())
            }
        }
    }

    /// The same, without copying where the block itself is welcome.
    pub(super) fn adopt(&mut self, block: Block, inflate: bool) -> Result<usize, Missed> {
        let len = block.len();
        let left = match self {
            Self::Part { to, .. } | Self::Whole { to, .. } if !inflate => to.adopt(block),
            _ => Err(block),
        };
        match left {
            Ok(()) => Ok(len),
            Err(block) => self.copy(&block, inflate),
        }
    }
}
