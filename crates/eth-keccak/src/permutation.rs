//! Blocks into one state, by the fastest permutation there is a crate for: nothing is hashed here by our own hand.
//! Several states at once are `vectors.rs`.

use crate::{RATE, State};

/// Takes whole blocks in; what is left of `bytes`.
#[cfg(all(target_arch = "x86_64", unix))]
pub(crate) fn absorb<'a>(state: &mut State, bytes: &'a [u8]) -> &'a [u8] {
    let rest = sha3_asm::sha3_absorb(state, bytes, RATE);
    bytes.get(bytes.len().saturating_sub(rest)..).unwrap_or_default()
}

/// Takes whole blocks in; what is left of `bytes`.
#[cfg(not(all(target_arch = "x86_64", unix)))]
pub(crate) fn absorb<'a>(state: &mut State, bytes: &'a [u8]) -> &'a [u8] {
    let blocks = bytes.chunks_exact(RATE);
    let rest = blocks.remainder();
    keccak::Keccak::new().with_f1600(|permute| {
        for block in blocks {
            for (word, bytes) in state.iter_mut().zip(block.chunks_exact(crate::WORD)) {
                *word ^= u64::from_le_bytes(bytes.try_into().expect("a word is 8 bytes"));
            }
            permute(state);
        }
    });
    rest
}
