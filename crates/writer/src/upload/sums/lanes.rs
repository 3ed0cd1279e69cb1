//! MD5 of up to [`LANES`] messages at once, of whatever lengths.
//!
//! As long as enough of them have whole blocks left they go through the vector code side by side;
//! what is left of each, and its end (RFC 1321, 3.1 and 3.2), goes alone.

use md5::block_api::compress;

use super::{Sum, avx2};

/// Messages at once.
pub(super) const LANES: usize = avx2::LANES;
/// Fewer are quicker one after the other.
const WORTH: usize = 3;
/// What MD5 begins with: A, B, C and D of RFC 1321, 3.3.
const BEGIN: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];

type Block = [u8; 64];

/// One message under way.
struct Lane<'a> {
    state: [u32; 4],
    left: &'a [Block],
    rest: &'a [u8],
    len: u64,
}

/// Whether this processor has vectors for it.
pub(super) fn are_wide() -> bool {
    avx2::is_there()
}

/// The MD5 of each of `messages`.
pub(super) fn digests(messages: &[&[u8]]) -> Vec<Sum> {
    let mut sums = Vec::with_capacity(messages.len());
    for group in messages.chunks(LANES) {
        let mut lanes: Vec<_> = group.iter().map(|message| Lane::new(message)).collect();
        if are_wide() {
            side_by_side(&mut lanes);
        }
        sums.extend(lanes.into_iter().map(Lane::finish));
    }
    sums
}

/// Brings all forward for as long as there are enough of them.
fn side_by_side(lanes: &mut [Lane<'_>]) {
    loop {
        let mut going: Vec<_> = lanes
            .iter_mut()
            .filter(|lane| !lane.left.is_empty())
            .collect();
        if going.len() < WORTH {
            return;
        }
        let common = going.iter().map(|lane| lane.left.len()).min().unwrap_or(0);
        // Lanes without a message of their own do the first one's work again.
        let of = |lane: usize| if lane < going.len() { lane } else { 0 };
        let mut states = std::array::from_fn(|lane| going[of(lane)].state);
        let blocks = std::array::from_fn(|lane| &going[of(lane)].left[..common]);
        avx2::compress(&mut states, &blocks);
        for (lane, state) in going.iter_mut().zip(states) {
            lane.state = state;
            lane.left = &lane.left[common..];
        }
    }
}

impl<'a> Lane<'a> {
    fn new(message: &'a [u8]) -> Self {
        let (left, rest) = message.as_chunks();
        Self {
            state: BEGIN,
            left,
            rest,
            len: message.len() as u64,
        }
    }

    fn finish(mut self) -> Sum {
        compress(&mut self.state, self.left);
        let mut end = [0; 128];
        end[..self.rest.len()].copy_from_slice(self.rest);
        end[self.rest.len()] = 0x80;
        let bytes = if self.rest.len() < 56 { 64 } else { 128 };
        end[bytes - 8..bytes].copy_from_slice(&self.len.wrapping_mul(8).to_le_bytes());
        let (end, _) = end[..bytes].as_chunks();
        compress(&mut self.state, end);
        let mut sum = [0; 16];
        for (bytes, word) in sum.as_chunks_mut().0.iter_mut().zip(self.state) {
            *bytes = word.to_le_bytes();
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use md5::{Digest as _, Md5};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]
        #[test]
        fn they_are_those_of_the_library(
            lens in prop::collection::vec(0usize..700, 0..20),
            seed in any::<u8>(),
        ) {
            let make = |(at, len): (usize, &usize)| -> Vec<u8> {
                (0..*len).map(|i| (i * 7 + at * 13) as u8 ^ seed).collect()
            };
            let messages: Vec<_> = lens.iter().enumerate().map(make).collect();
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            let expected: Vec<Sum> = messages.iter().map(|one| Md5::digest(one).into()).collect();
            prop_assert_eq!(digests(&messages), expected);
        }
    }

    #[test]
    fn lengths_around_the_ends_of_blocks() {
        let bytes = [0x5a; 400];
        let messages: Vec<&[u8]> = (0..400).map(|len| &bytes[..len]).collect();
        for (sum, message) in digests(&messages).iter().zip(&messages) {
            let expected: Sum = Md5::digest(message).into();
            assert_eq!(*sum, expected, "{}", message.len());
        }
    }
}
