//! When the checksum that a volume keeps and that of bytes are the same.

/// Whether `got`, the CRC32C of bytes, is what `kept` stands for.
pub(crate) fn agrees(kept: u32, got: u32) -> bool {
    got == kept || mask(got) == kept
}

/// The form in which volumes written before SeaweedFS 3.09 keep a checksum, and in which a
/// server that streams a large needle repeats it (as in the LevelDB log format).
fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}
