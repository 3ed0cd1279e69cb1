//! Needles that a volume server compressed on its own account.

use crate::Destination;

/// The longest gzip stream taken, and the longest body whose length is not known before.
pub(crate) const MAX_UNPLANNED: usize = 256 << 20;

/// Why a gzip stream could not be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inflated {
    /// It is no gzip stream, or does not hold what it claims.
    Damaged,
    /// The destination does not take so many bytes.
    Refused(u64),
}

/// Puts what the gzip stream `stored` holds into memory of `to`; how many bytes.
///
/// # Errors
/// See [`Inflated`].
pub fn inflate(stored: &[u8], to: &mut dyn Destination) -> Result<usize, Inflated> {
    let len = inflated_len(stored).ok_or(Inflated::Damaged)?;
    let memory = to.memory(len).map_err(|_| Inflated::Refused(len))?;
    match libdeflater::Decompressor::new().gzip_decompress(stored, memory) {
        Ok(got) if got == memory.len() => Ok(got),
        _ => Err(Inflated::Damaged),
    }
}

/// The length a gzip stream of one member, less than 4 GiB, has when inflated (RFC 1952 ISIZE).
fn inflated_len(stored: &[u8]) -> Option<u64> {
    stored
        .last_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes).into())
}
