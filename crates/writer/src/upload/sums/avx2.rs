//! MD5's compression (RFC 1321, 3.4) of eight messages in the lanes of AVX2 registers.
//!
//! The words of eight blocks are turned so that a register has one word of each; then the 64 steps
//! are as in the RFC, with every variable a register. Without AVX2 nobody calls it.

/// Words in a register.
pub(super) const LANES: usize = 8;

type Block = [u8; 64];
type States = [[u32; 4]; LANES];

pub(super) use imp::{compress, is_there};

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
mod imp {
    use super::{Block, LANES, States};

    pub(in super::super) fn is_there() -> bool {
        false
    }

    pub(in super::super) fn compress(states: &mut States, blocks: &[&[Block]; LANES]) {
        for (state, blocks) in states.iter_mut().zip(blocks) {
            md5::block_api::compress(state, blocks);
        }
    }
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
mod imp {
    use std::arch::x86_64::{
        __m256i as Words, _mm256_add_epi32 as add, _mm256_and_si256 as and,
        _mm256_andnot_si256 as and_not, _mm256_or_si256 as or, _mm256_permute2x128_si256 as halves,
        _mm256_set1_epi32 as all, _mm256_setr_epi32 as words, _mm256_setr_epi64x as load64,
        _mm256_setzero_si256 as zero, _mm256_slli_epi32 as left, _mm256_srli_epi32 as right,
        _mm256_unpackhi_epi32 as high32, _mm256_unpackhi_epi64 as high64,
        _mm256_unpacklo_epi32 as low32, _mm256_unpacklo_epi64 as low64, _mm256_xor_si256 as xor,
    };

    use super::{Block, LANES, States};

    pub(in super::super) fn is_there() -> bool {
        is_x86_feature_detected!("avx2")
    }

    /// Takes the blocks of each message, as many of each, into its state.
    pub(in super::super) fn compress(states: &mut States, blocks: &[&[Block]; LANES]) {
        assert!(is_there(), "AVX2 is used where there is none");
        // SAFETY: the processor has AVX2, and that is all that the function asks for.
        unsafe { compress_wide(states, blocks) }
    }

    #[target_feature(enable = "avx2")]
    fn compress_wide(states: &mut States, blocks: &[&[Block]; LANES]) {
        let count = blocks[0].len();
        assert!(blocks.iter().all(|blocks| blocks.len() == count));
        let mut state: [Words; 4] = [zero(); 4];
        for (word, register) in state.iter_mut().enumerate() {
            let of = |lane: usize| states[lane][word].cast_signed();
            *register = words(of(0), of(1), of(2), of(3), of(4), of(5), of(6), of(7));
        }
        #[expect(
            clippy::needless_range_loop,
            reason = "it is an index into eight slices"
        )]
        for at in 0..count {
            let m = turned(std::array::from_fn(|lane| &blocks[lane][at]));
            let [mut a, mut b, mut c, mut d] = state;
            round!(f, 0, m, (a, b, c, d), (1, 0), (7, 12, 17, 22));
            round!(g, 16, m, (a, b, c, d), (5, 1), (5, 9, 14, 20));
            round!(h, 32, m, (a, b, c, d), (3, 5), (4, 11, 16, 23));
            round!(i, 48, m, (a, b, c, d), (7, 0), (6, 10, 15, 21));
            state = [
                add(state[0], a),
                add(state[1], b),
                add(state[2], c),
                add(state[3], d),
            ];
        }
        for (word, register) in state.into_iter().enumerate() {
            for (lane, value) in lanes(register).into_iter().enumerate() {
                states[lane][word] = value;
            }
        }
    }

    /// Sixteen steps; step `n` takes word `mul * n + add` of the block.
    macro_rules! round {
        ($f:ident, $first:literal, $m:ident, ($a:ident, $b:ident, $c:ident, $d:ident),
         ($mul:literal, $add:literal), ($s:literal, $t:literal, $u:literal, $v:literal)) => {
            for n in [0, 4, 8, 12] {
                let word = |n: usize| $m[($mul * n + $add) % 16];
                let k = |n: usize| all(K[$first + n].cast_signed());
                step!($f, $a, $b, $c, $d, word(n), k(n), $s);
                step!($f, $d, $a, $b, $c, word(n + 1), k(n + 1), $t);
                step!($f, $c, $d, $a, $b, word(n + 2), k(n + 2), $u);
                step!($f, $b, $c, $d, $a, word(n + 3), k(n + 3), $v);
            }
        };
    }
    use round;

    /// `a = b + ((a + f(b, c, d) + m + k) <<< s)`
    macro_rules! step {
        ($f:ident, $a:ident, $b:ident, $c:ident, $d:ident, $m:expr, $k:expr, $s:literal) => {
            let sum = add(add($a, $f($b, $c, $d)), add($m, $k));
            $a = add($b, or(left::<$s>(sum), right::<{ 32 - $s }>(sum)));
        };
    }
    use step;

    #[inline]
    #[target_feature(enable = "avx2")]
    fn f(x: Words, y: Words, z: Words) -> Words {
        xor(z, and(x, xor(y, z)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn g(x: Words, y: Words, z: Words) -> Words {
        or(and(x, z), and_not(z, y))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn h(x: Words, y: Words, z: Words) -> Words {
        xor(x, xor(y, z))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn i(x: Words, y: Words, z: Words) -> Words {
        xor(y, or(x, xor(z, all(-1))))
    }

    /// Word `n` of each block in register `n`.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn turned(blocks: [&Block; LANES]) -> [Words; 16] {
        let mut turned = [zero(); 16];
        for half in [0, 1] {
            let mut rows = [zero(); LANES];
            for (row, block) in rows.iter_mut().zip(blocks) {
                let word = |n: usize| i64::from_le_bytes(block.as_chunks().0[half * 4 + n]);
                *row = load64(word(0), word(1), word(2), word(3));
            }
            turned[half * 8..half * 8 + 8].copy_from_slice(&transposed(rows));
        }
        turned
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn transposed(r: [Words; 8]) -> [Words; 8] {
        let (a, b) = (low32(r[0], r[1]), high32(r[0], r[1]));
        let (c, d) = (low32(r[2], r[3]), high32(r[2], r[3]));
        let (e, f) = (low32(r[4], r[5]), high32(r[4], r[5]));
        let (g, h) = (low32(r[6], r[7]), high32(r[6], r[7]));
        let upper = [low64(a, c), high64(a, c), low64(b, d), high64(b, d)];
        let lower = [low64(e, g), high64(e, g), low64(f, h), high64(f, h)];
        let mut columns = [zero(); 8];
        for n in 0..4 {
            columns[n] = halves::<0x20>(upper[n], lower[n]);
            columns[n + 4] = halves::<0x31>(upper[n], lower[n]);
        }
        columns
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn lanes(register: Words) -> [u32; LANES] {
        use std::arch::x86_64::_mm256_extract_epi32 as extract;
        [
            extract::<0>(register),
            extract::<1>(register),
            extract::<2>(register),
            extract::<3>(register),
            extract::<4>(register),
            extract::<5>(register),
            extract::<6>(register),
            extract::<7>(register),
        ]
        .map(i32::cast_unsigned)
    }

    /// `floor(2^32 * abs(sin(n + 1)))`
    const K: [u32; 64] = [
        0xd76a_a478,
        0xe8c7_b756,
        0x2420_70db,
        0xc1bd_ceee,
        0xf57c_0faf,
        0x4787_c62a,
        0xa830_4613,
        0xfd46_9501,
        0x6980_98d8,
        0x8b44_f7af,
        0xffff_5bb1,
        0x895c_d7be,
        0x6b90_1122,
        0xfd98_7193,
        0xa679_438e,
        0x49b4_0821,
        0xf61e_2562,
        0xc040_b340,
        0x265e_5a51,
        0xe9b6_c7aa,
        0xd62f_105d,
        0x0244_1453,
        0xd8a1_e681,
        0xe7d3_fbc8,
        0x21e1_cde6,
        0xc337_07d6,
        0xf4d5_0d87,
        0x455a_14ed,
        0xa9e3_e905,
        0xfcef_a3f8,
        0x676f_02d9,
        0x8d2a_4c8a,
        0xfffa_3942,
        0x8771_f681,
        0x6d9d_6122,
        0xfde5_380c,
        0xa4be_ea44,
        0x4bde_cfa9,
        0xf6bb_4b60,
        0xbebf_bc70,
        0x289b_7ec6,
        0xeaa1_27fa,
        0xd4ef_3085,
        0x0488_1d05,
        0xd9d4_d039,
        0xe6db_99e5,
        0x1fa2_7cf8,
        0xc4ac_5665,
        0xf429_2244,
        0x432a_ff97,
        0xab94_23a7,
        0xfc93_a039,
        0x655b_59c3,
        0x8f0c_cc92,
        0xffef_f47d,
        0x8584_5dd1,
        0x6fa8_7e4f,
        0xfe2c_e6e0,
        0xa301_4314,
        0x4e08_11a1,
        0xf753_7e82,
        0xbd3a_f235,
        0x2ad7_d2bb,
        0xeb86_d391,
    ];
}
