//! Inode numbers of entries that carry none.
//!
//! Filer and mounts compute the same number from what they all know, so a file
//! keeps it across mounts. Two files may get one number; that is rare enough
//! to be accepted, since the kernel identifies inodes otherwise.

use md5::{Digest, Md5};

/// From the full path and the second of creation.
pub(super) fn of_path(path: &str, crtime: i64) -> u64 {
    let distance = crtime.cast_unsigned().wrapping_mul(SPREAD);
    not_zero(hash(path.as_bytes()).wrapping_add(distance))
}

/// From what all names of a file share.
pub(super) fn of_hard_link(id: &[u8]) -> u64 {
    not_zero(hash(id))
}

/// Upstream's factor, which sets a path apart from its earlier lives.
const SPREAD: u64 = 37;

fn hash(bytes: &[u8]) -> u64 {
    let digest = Md5::digest(bytes);
    let first = digest.iter().take(8);
    first.fold(0, |number, &byte| number << 8 | u64::from(byte))
}

/// `readdir(3)` skips names whose inode number is 0.
fn not_zero(number: u64) -> u64 {
    number.max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_eight_bytes_of_md5_count() {
        // echo -n /a/b | md5sum: aee31d71a4dce5fe…
        let expected = u64::from_str_radix("aee31d71a4dce5fe", 16).unwrap();
        assert_eq!(of_path("/a/b", 0), expected);
        assert_eq!(of_hard_link(b"/a/b"), expected);
    }

    #[test]
    fn creation_moves_it_and_wraps() {
        let base = of_path("/a/b", 0);
        assert_eq!(of_path("/a/b", 1), base.wrapping_add(37));
        assert_eq!(of_path("/a/b", -1), base.wrapping_sub(37));
        assert_eq!(
            of_path("/a/b", i64::MAX),
            base.wrapping_add((i64::MAX as u64).wrapping_mul(37))
        );
    }
}
