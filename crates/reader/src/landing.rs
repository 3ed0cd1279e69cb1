//! Where stored bytes land when only the server knows how many there are.

use bytes::Bytes;
use fabric::{Destination, Refused};

use crate::memory::Memory;
use crate::pool::{Buffer, Charge};

/// Memory beyond the ceiling. Counted, so that others see that it is gone.
pub(crate) struct Extra<'a>(&'a Memory);

impl<'a> Extra<'a> {
    pub(crate) fn of(memory: &'a Memory) -> Self {
        Self(memory)
    }

    /// Counts `len` bytes, be there room for them or not.
    pub(crate) fn charge(&self, len: usize) -> Charge {
        let mut charge = self.0.empty_charge();
        charge.set_len(len);
        charge
    }
}

/// Memory for stored bytes, taken when their number is known.
pub(crate) struct Landing<'a> {
    memory: &'a Memory,
    limit: u64,
    extra: Option<&'a Extra<'a>>,
    bytes: Option<Landed>,
    starved: bool,
}

enum Landed {
    Pooled(Buffer),
    Extra(Vec<u8>, Charge),
}

impl<'a> Landing<'a> {
    /// Takes at most `limit` bytes, from `extra` if given.
    pub(crate) fn new(memory: &'a Memory, limit: u64, extra: Option<&'a Extra<'a>>) -> Self {
        Self {
            memory,
            limit,
            extra,
            bytes: None,
            starved: false,
        }
    }

    /// Whether the last refusal was for want of memory.
    pub(crate) fn starved(&self) -> bool {
        self.starved
    }

    /// The first `len` bytes of the memory that was given last.
    pub(crate) fn finish(&mut self, len: usize) -> Bytes {
        match self.bytes.take() {
            Some(Landed::Pooled(mut buffer)) => {
                buffer.set_len(len);
                buffer.freeze()
            }
            Some(Landed::Extra(bytes, charge)) => charge.cover(Bytes::from(bytes).slice(..len)),
            None => Bytes::new(),
        }
    }
}

impl Destination for Landing<'_> {
    fn memory(&mut self, len: u64) -> Result<&mut [u8], Refused> {
        if len > self.limit {
            return Err(Refused);
        }
        let len = len as usize; // at most the limit, itself a usize
        // A second attempt gets the memory of the first, if that is enough.
        let fits = match &self.bytes {
            Some(Landed::Pooled(buffer)) => buffer.capacity() >= len,
            Some(Landed::Extra(bytes, _)) => bytes.len() == len,
            None => false,
        };
        if !fits {
            self.bytes = None;
            let taken = match self.extra {
                Some(extra) => Some(Landed::Extra(vec![0; len], extra.charge(len))),
                None => self.memory.take(len).map(Landed::Pooled),
            };
            self.starved = taken.is_none();
            self.bytes = taken;
        }
        match &mut self.bytes {
            Some(Landed::Pooled(buffer)) => {
                buffer.set_len(len);
                Ok(buffer.as_mut_slice())
            }
            Some(Landed::Extra(bytes, _)) => Ok(bytes),
            None => Err(Refused),
        }
    }
}
