//! Keccak-256, the hash of all layers of the stack: of packets, ids, MACs, blocks and transactions. Yellow paper,
//! appendix B (KEC); Keccak reference, sections 1.2 and 2.2.
//!
//! The permutation is assembly where there is some for the processor (`sha3-asm`), which saves a fifth of the time;
//! portable elsewhere (`keccak`). [`update_each`] takes in bytes for several hashes side by side, by vector instructions:
//! on a processor with AVX-512 four then cost as much as one.

mod permutation;
#[cfg(target_arch = "x86_64")]
mod vectors;

use permutation::absorb;

/// Words of a state, 64 bits each.
const STATE_WORDS: usize = 25;
/// Words of a state that a block is added to: 1,600 bits less twice the hash's length.
const RATE_WORDS: usize = 17;
/// Length of a block, in bytes.
const RATE: usize = RATE_WORDS * WORD;
/// Length of a word, in bytes.
const WORD: usize = 8;
/// Length of the hash, in bytes.
const HASH_LEN: usize = 32;
/// What follows a message, and what ends its last block (Keccak's own padding, not that of SHA-3).
const PADDING: (u8, u8) = (0x01, 0x80);

/// The state between two blocks.
type State = [u64; STATE_WORDS];

/// Keccak-256 of bytes that come in pieces. A clone goes on from where it stands.
#[derive(Clone)]
pub struct Keccak256 {
    state: State,
    /// What has come of the next block.
    block: [u8; RATE],
    /// How much of it has.
    len: u8,
}

impl Keccak256 {
    /// Nothing taken in yet.
    pub const fn new() -> Self {
        Self { state: [0; STATE_WORDS], block: [0; RATE], len: 0 }
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        let bytes = self.fill(bytes);
        let rest = absorb(&mut self.state, bytes);
        self.fill(rest);
    }

    /// The hash of all that was taken in, 32 bytes.
    pub fn finalize(self) -> [u8; HASH_LEN] {
        self.digest()
    }

    /// The hash of all that was taken in so far, 32 bytes. Taking in may go on.
    pub fn digest(&self) -> [u8; HASH_LEN] {
        finish(self.state, self.block.get(..usize::from(self.len)).unwrap_or_default())
    }

    /// Completes the block that was begun, or begins one with less than a block; what is left of `bytes`.
    fn fill<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let (begun, room) = (usize::from(self.len), RATE.saturating_sub(usize::from(self.len)));
        if begun == 0 && bytes.len() >= RATE {
            return bytes;
        }
        let (here, rest) = bytes.split_at(bytes.len().min(room));
        let end = begun.saturating_add(here.len());
        self.block[begun..end].copy_from_slice(here);
        self.len = end as u8;
        if end == RATE {
            absorb(&mut self.state, &self.block);
            self.len = 0;
        }
        rest
    }
}

impl Default for Keccak256 {
    fn default() -> Self {
        Self::new()
    }
}

/// The hash, when `begun` is all there is of the last block.
fn finish(mut state: State, begun: &[u8]) -> [u8; HASH_LEN] {
    let mut block = [0; RATE];
    let (first, last) = PADDING;
    block[..begun.len()].copy_from_slice(begun);
    block[begun.len()] = first;
    // Both may be the same byte.
    block[RATE - 1] |= last;
    absorb(&mut state, &block);
    let mut hash = [0; HASH_LEN];
    for (bytes, word) in hash.chunks_exact_mut(WORD).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    hash
}

/// The Keccak-256 hash of `data`, 32 bytes.
pub fn keccak256(data: &[u8]) -> [u8; HASH_LEN] {
    let mut state = [0; STATE_WORDS];
    let begun = if data.len() < RATE { data } else { absorb(&mut state, data) };
    finish(state, begun)
}

/// The Keccak-256 hash of the `parts` one after the other, 32 bytes.
pub fn keccak256_concat(parts: &[&[u8]]) -> [u8; HASH_LEN] {
    let mut hasher = Keccak256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// How many hashes [`update_each`] works on side by side here; 1 where the processor has no instructions for it.
pub fn lanes() -> usize {
    #[cfg(target_arch = "x86_64")]
    if vectors::are_there() {
        return vectors::LANES;
    }
    1
}

/// Takes in more bytes for each of several hashes, as [`Keccak256::update`] does for one. [`lanes`] at a time are worked
/// on side by side, as far as they have whole blocks in common.
pub fn update_each(hashes: &mut [(&mut Keccak256, &[u8])]) {
    #[cfg(target_arch = "x86_64")]
    if vectors::are_there() {
        hashes.chunks_mut(vectors::LANES).for_each(update_side_by_side);
        return;
    }
    hashes.iter_mut().for_each(|(hash, bytes)| hash.update(bytes));
}

/// Up to [`vectors::LANES`] hashes: begun blocks and what is left over one after the other, the blocks between together.
#[cfg(target_arch = "x86_64")]
fn update_side_by_side(hashes: &mut [(&mut Keccak256, &[u8])]) {
    if hashes.len() > 1 {
        for (hash, bytes) in hashes.iter_mut() {
            *bytes = hash.fill(bytes);
        }
        let len = hashes.iter().map(|(_, bytes)| bytes.len() / RATE * RATE).min().unwrap_or(0);
        vectors::absorb(hashes.iter_mut().map(|(hash, bytes)| {
            let (blocks, rest) = bytes.split_at(len);
            *bytes = rest;
            (&mut hash.state, blocks)
        }));
    }
    hashes.iter_mut().for_each(|(hash, bytes)| hash.update(bytes));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expected(data: &[u8]) -> [u8; 32] {
        <sha3::Keccak256 as sha3::Digest>::digest(data).into()
    }

    fn bytes(len: usize) -> Vec<u8> {
        (0..len as u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
    }

    #[test]
    fn the_hash_is_that_of_sha3_for_every_length_and_cut() {
        let bytes = bytes(600);
        for len in 0..bytes.len() {
            let data = &bytes[..len];
            assert_eq!(keccak256(data), expected(data), "{len} bytes");
            let (head, tail) = data.split_at(len * 7 % (len + 1));
            assert_eq!(keccak256_concat(&[head, tail]), expected(data), "{} of {len} bytes", head.len());
        }
    }

    #[test]
    fn a_clone_and_a_digest_leave_the_hash_as_it_was() {
        let mut hasher = Keccak256::new();
        hasher.update(&[1; 200]);
        let mut other = hasher.clone();
        other.update(&[2; 200]);
        assert_eq!(hasher.digest(), expected(&[1; 200]));
        hasher.update(&[3; 200]);
        assert_eq!(hasher.digest(), hasher.clone().finalize());
        assert_eq!(hasher.finalize(), keccak256_concat(&[&[1; 200], &[3; 200]]));
        assert_eq!(other.finalize(), keccak256_concat(&[&[1; 200], &[2; 200]]));
    }

    proptest! {
        #[test]
        fn side_by_side_each_hash_is_what_it_is_alone(
            inputs in prop::collection::vec((0usize..300, 0usize..3_000), 0..10)
        ) {
            let source = bytes(3_300);
            let mut hashes: Vec<_> = inputs.iter().map(|(before, _)| {
                let mut hash = Keccak256::new();
                hash.update(&source[..*before]);
                hash
            }).collect();
            let mut each: Vec<_> = hashes.iter_mut().zip(&inputs)
                .map(|(hash, (before, len))| (hash, &source[*before..before + len])).collect();
            update_each(&mut each);
            for (hash, (before, len)) in hashes.into_iter().zip(&inputs) {
                prop_assert_eq!(hash.finalize(), expected(&source[..before + len]));
            }
        }
    }
}
