//! Blocks into four states side by side: a word of each state in a vector of 256 bits, so that one instruction serves four
//! hashes. With AVX-512VL, which rotates and combines three words at once, or with AVX2. Keccak reference, section 1.2.
//! Why it is sound: each version is called only where the processor was seen to have its instructions, and vectors become
//! words and back by value, as types of the same 32 bytes. Everything else in this file is safe.

#![expect(unsafe_code, reason = "instructions that not every processor has cannot be called safely")]

use std::{
    arch::{
        is_x86_feature_detected,
        x86_64::{
            __m256i, _mm256_andnot_si256, _mm256_or_si256, _mm256_rol_epi64, _mm256_set_epi64x,
            _mm256_slli_epi64, _mm256_srli_epi64, _mm256_ternarylogic_epi64, _mm256_xor_si256,
        },
    },
    mem::transmute,
};

use crate::{RATE, RATE_WORDS, STATE_WORDS, State, WORD};

/// Words in a vector.
pub(crate) const LANES: usize = 4;

/// A word of each of four states.
type Vector = __m256i;

/// What makes the rounds differ.
const ROUND_CONSTANTS: [u64; 24] = [
    0x0000_0000_0000_0001,
    0x0000_0000_0000_8082,
    0x8000_0000_0000_808a,
    0x8000_0000_8000_8000,
    0x0000_0000_0000_808b,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8009,
    0x0000_0000_0000_008a,
    0x0000_0000_0000_0088,
    0x0000_0000_8000_8009,
    0x0000_0000_8000_000a,
    0x0000_0000_8000_808b,
    0x8000_0000_0000_008b,
    0x8000_0000_0000_8089,
    0x8000_0000_0000_8003,
    0x8000_0000_0000_8002,
    0x8000_0000_0000_0080,
    0x0000_0000_0000_800a,
    0x8000_0000_8000_000a,
    0x8000_0000_8000_8081,
    0x8000_0000_0000_8080,
    0x0000_0000_8000_0001,
    0x8000_0000_8000_8008,
];

/// Which instructions there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Instructions {
    Avx512,
    Avx2,
}

fn instructions() -> Option<Instructions> {
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl") {
        Some(Instructions::Avx512)
    } else {
        is_x86_feature_detected!("avx2").then_some(Instructions::Avx2)
    }
}

/// Whether the processor can do this.
pub(crate) fn are_there() -> bool {
    instructions().is_some()
}

/// Takes blocks in for up to [`LANES`] states, of each as many bytes as of the first.
pub(crate) fn absorb<'a>(each: impl Iterator<Item = (&'a mut State, &'a [u8])>) {
    let Some(instructions) = instructions() else { return };
    // A lane that nobody needs works on a state that nobody reads.
    let mut spare: [State; LANES] = [[0; STATE_WORDS]; LANES];
    let mut states = spare.each_mut();
    let mut blocks: [&[u8]; LANES] = [&[]; LANES];
    for ((state, bytes), (own, own_bytes)) in states.iter_mut().zip(&mut blocks).zip(each) {
        (*state, *bytes) = (own, own_bytes);
    }
    let first = blocks[0];
    for bytes in &mut blocks {
        if bytes.is_empty() {
            *bytes = first;
        }
    }
    match instructions {
        // SAFETY: the processor has AVX-512VL.
        Instructions::Avx512 => unsafe { absorb_avx512(states, blocks) },
        // SAFETY: the processor has AVX2.
        Instructions::Avx2 => unsafe { absorb_avx2(states, blocks) },
    }
}

const fn words(vector: Vector) -> [u64; LANES] {
    // SAFETY: both are 32 bytes, and any bytes are four words.
    unsafe { transmute(vector) }
}

const fn vector(words: [u64; LANES]) -> Vector {
    // SAFETY: as above.
    unsafe { transmute(words) }
}

fn word(block: &[u8], place: usize) -> i64 {
    let bytes = block.get(place * WORD..).and_then(|bytes| bytes.first_chunk());
    i64::from_le_bytes(*bytes.expect("a block has 17 words"))
}

/// A version for some instructions: how three words are added, two are, `a ^ (!b & c)`, and a rotation to the left.
macro_rules! version {
    ($absorb:ident, $permute:ident, $features:literal, $xor3:expr, $chi:expr, $rotate:ident) => {
        #[target_feature(enable = $features)]
        fn $absorb(mut states: [&mut State; LANES], blocks: [&[u8]; LANES]) {
            let mut lanes: [Vector; STATE_WORDS] =
                std::array::from_fn(|place| vector(states.each_ref().map(|state| state[place])));
            let [a, b, c, d] = blocks.map(|bytes| bytes.chunks_exact(RATE));
            for (((a, b), c), d) in a.zip(b).zip(c).zip(d) {
                for place in 0..RATE_WORDS {
                    let [a, b, c, d] = [a, b, c, d].map(|block| word(block, place));
                    lanes[place] = _mm256_xor_si256(lanes[place], _mm256_set_epi64x(d, c, b, a));
                }
                $permute(&mut lanes);
            }
            for (place, vector) in lanes.into_iter().enumerate() {
                for (state, word) in states.iter_mut().zip(words(vector)) {
                    state[place] = word;
                }
            }
        }

        /// Keccak-f[1600] of four states.
        #[target_feature(enable = $features)]
        fn $permute(a: &mut [Vector; STATE_WORDS]) {
            for constant in ROUND_CONSTANTS {
                // Theta: each column's parity, added to its neighbours.
                let mut parity = [vector([0; LANES]); 5];
                for x in 0..5 {
                    parity[x] = $xor3($xor3(a[x], a[x + 5], a[x + 10]), a[x + 15], a[x + 20]);
                }
                let mut added = parity;
                for x in 0..5 {
                    added[x] = _mm256_xor_si256(parity[(x + 4) % 5], $rotate!(1, parity[(x + 1) % 5]));
                }
                // Rho and pi: each word turned by a number of its own, and put in its new place.
                macro_rules! moved {
                    ($place:literal, $by:literal) => {
                        $rotate!($by, _mm256_xor_si256(a[$place], added[$place % 5]))
                    };
                }
                let b = [
                    _mm256_xor_si256(a[0], added[0]),
                    moved!(6, 44),
                    moved!(12, 43),
                    moved!(18, 21),
                    moved!(24, 14),
                    moved!(3, 28),
                    moved!(9, 20),
                    moved!(10, 3),
                    moved!(16, 45),
                    moved!(22, 61),
                    moved!(1, 1),
                    moved!(7, 6),
                    moved!(13, 25),
                    moved!(19, 8),
                    moved!(20, 18),
                    moved!(4, 27),
                    moved!(5, 36),
                    moved!(11, 10),
                    moved!(17, 15),
                    moved!(23, 56),
                    moved!(2, 62),
                    moved!(8, 55),
                    moved!(14, 39),
                    moved!(15, 41),
                    moved!(21, 2),
                ];
                // Chi, the step that is not linear, row by row.
                for row in [0, 5, 10, 15, 20] {
                    for x in 0..5 {
                        a[row + x] = $chi(b[row + x], b[row + (x + 1) % 5], b[row + (x + 2) % 5]);
                    }
                }
                // Iota.
                a[0] = _mm256_xor_si256(a[0], vector([constant; LANES]));
            }
        }
    };
}

macro_rules! rotate_avx512 {
    ($by:literal, $vector:expr) => {
        _mm256_rol_epi64::<$by>($vector)
    };
}

macro_rules! rotate_avx2 {
    ($by:literal, $vector:expr) => {{
        let vector = $vector;
        _mm256_or_si256(_mm256_slli_epi64::<$by>(vector), _mm256_srli_epi64::<{ 64 - $by }>(vector))
    }};
}

version!(
    absorb_avx512,
    permute_avx512,
    "avx512f,avx512vl",
    |a, b, c| _mm256_ternarylogic_epi64::<0x96>(a, b, c),
    |a, b, c| _mm256_ternarylogic_epi64::<0xd2>(a, b, c),
    rotate_avx512
);
version!(
    absorb_avx2,
    permute_avx2,
    "avx2",
    |a, b, c| _mm256_xor_si256(_mm256_xor_si256(a, b), c),
    |a, b, c| _mm256_xor_si256(a, _mm256_andnot_si256(b, c)),
    rotate_avx2
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::permutation;

    /// Every version there is here does what the permutation of one state does.
    #[test]
    fn four_states_become_what_each_becomes_alone() {
        let bytes: Vec<u8> = (0..6 * RATE as u32).map(|place| (place * 167 + 13) as u8).collect();
        let blocks: [&[u8]; LANES] = std::array::from_fn(|lane| &bytes[lane * 50..][..3 * RATE]);
        let before: [State; LANES] =
            std::array::from_fn(|lane| std::array::from_fn(|place| (place as u64 + 7) << (lane * 9)));
        let mut expected = before;
        for (state, blocks) in expected.iter_mut().zip(blocks) {
            assert!(permutation::absorb(state, blocks).is_empty());
        }
        let Some(found) = instructions() else { return };
        let mut states = before;
        // SAFETY: what has AVX-512VL has AVX2, and something was found.
        unsafe { absorb_avx2(states.each_mut(), blocks) };
        assert_eq!(states, expected);
        if found == Instructions::Avx512 {
            states = before;
            // SAFETY: it was found.
            unsafe { absorb_avx512(states.each_mut(), blocks) };
            assert_eq!(states, expected);
        }
    }
}
