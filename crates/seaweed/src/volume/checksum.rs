//! The two forms in which a needle's checksum is stored.
//!
//! Since SeaweedFS 3.09 it is the raw CRC-32C of the data. Before, it was masked the way
//! LevelDB does it: rotated, plus a constant. Servers accept either, so nothing but the data
//! itself tells which one a needle has.

/// The masked form of a raw checksum.
pub fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Whether a stored checksum vouches for data with the raw checksum `crc`.
pub fn proves(stored: u32, crc: u32) -> bool {
    stored == crc || stored == mask(crc)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crc::crc32c;

    #[test]
    fn both_forms_vouch_for_the_data_and_nothing_else_does() {
        let crc = crc32c(b"hello");
        assert_eq!(crc, 0x9a71_bb4c, "as a volume server answers it for hello");
        // 0x9a71bb4c >> 15 | << 17 = 0x769934e3, by hand.
        assert_eq!(mask(crc), 0x7699_34e3_u32.wrapping_add(0xa282_ead8));
        assert!(proves(crc, crc) && proves(mask(crc), crc));
        assert!(!proves(crc ^ 1, crc) && !proves(0, crc));
    }
}
