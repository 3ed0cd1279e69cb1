//! The sizes that memory comes in.
//!
//! Four steps to each power of two, so that a block is at most a quarter larger than what is
//! asked of it, and a block given back fits most of those who come next. Chunks come in very
//! few sizes (a file's chunks are all alike but the last), so recycling nearly always hits.

use super::mapping::HUGE;

/// Nothing smaller is recycled in its own size: file systems have many files of a few hundred
/// bytes, and half a KiB is what two of them may share in waste.
const SMALLEST: usize = 512;
/// From here on blocks are multiples of a page, and from [`HUGE`] on of a quarter huge page.
const STEPS: usize = 4;
/// 512 B to 256 MiB: the largest stored chunk that is accepted whole.
pub(super) const CLASSES: usize = STEPS * 19 + 1;

/// The class whose blocks hold `len` bytes, and the size of these; `None` when too large.
pub(super) fn class_of(len: usize) -> Option<(usize, usize)> {
    if len <= SMALLEST {
        return Some((0, SMALLEST));
    }
    let top = (len - 1).ilog2() as usize; // len in (2^top, 2^(top+1)]
    let step = (1usize << top) / STEPS;
    let part = (len - (1 << top)).div_ceil(step); // 1..=STEPS
    let class = (top - SMALLEST.ilog2() as usize) * STEPS + part;
    let size = (1 << top) + part * step;
    (class < CLASSES).then_some((class, size))
}

/// Whether blocks of `size` bytes are mapped rather than allocated.
pub(super) fn is_mapped(size: usize) -> bool {
    size >= HUGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_fits_its_class_with_little_waste() {
        let mut last = (0, SMALLEST);
        for len in (1..100_000).chain((100_000..9 << 20).step_by(4099)) {
            let (class, size) = class_of(len).unwrap();
            assert!(size >= len, "{len}");
            assert!(
                len <= SMALLEST || size - len <= len / STEPS,
                "{len} in {size}"
            );
            assert!((class, size) >= last, "{len}");
            last = (class, size);
        }
        assert_eq!(class_of(4 << 20).unwrap().1, 4 << 20);
        assert_eq!(class_of((4 << 20) + 1).unwrap().1, 5 << 20);
        assert!(class_of(256 << 20).is_some());
        assert!(class_of((256 << 20) + 1).is_none());
    }
}
