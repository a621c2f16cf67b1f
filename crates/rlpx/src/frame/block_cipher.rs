//! AES-256 of a single block, for the MAC. The crate `aes` makes ready for 64 blocks at once whenever it is called, on
//! processors with AVX-512, which takes longer than the one block: a sixth of a small frame's time. Here it is one block at
//! a time by the processor's AES instructions where there are some, and by the crate elsewhere. FIPS 197.
//! Why it is sound: the functions for AES-NI are called only where the processor was seen to have it, they read and write
//! through references of the right length without regard to alignment, and nothing else in this file is unsafe.

#![expect(unsafe_code, reason = "instructions that not every processor has cannot be called safely")]

use std::sync::Arc;

use super::MAC_LEN;

/// Keys of all rounds: one before the first of 14.
const ROUND_KEYS: usize = 15;

/// AES-256 with one key, encrypting only. Clones share the keys of all rounds.
#[derive(Clone)]
pub(super) enum BlockCipher {
    #[cfg(target_arch = "x86_64")]
    Native(Arc<zeroize::Zeroizing<[[u8; MAC_LEN]; ROUND_KEYS]>>),
    Portable(Arc<aes::Aes256Enc>),
}

impl BlockCipher {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("aes") {
            // SAFETY: the processor has AES-NI.
            return Self::Native(Arc::new(unsafe { native::expand(key) }.into()));
        }
        Self::portable(key)
    }

    fn portable(key: &[u8; 32]) -> Self {
        Self::Portable(Arc::new(aes::cipher::KeyInit::new(key.into())))
    }

    /// The block's ciphertext.
    pub(super) fn encrypt(&self, block: [u8; MAC_LEN]) -> [u8; MAC_LEN] {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this variant is made only where the processor has AES-NI.
            Self::Native(keys) => unsafe { native::encrypt(keys, block) },
            Self::Portable(cipher) => {
                let mut block = aes::Block::from(block);
                aes::cipher::BlockCipherEncrypt::encrypt_block(cipher.as_ref(), &mut block);
                block.into()
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod native {
    use std::arch::x86_64::{
        __m128i, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128, _mm_loadu_si128,
        _mm_shuffle_epi32, _mm_slli_si128, _mm_storeu_si128, _mm_xor_si128,
    };

    use super::{MAC_LEN, ROUND_KEYS};

    type Block = [u8; MAC_LEN];

    fn load(block: &Block) -> __m128i {
        // SAFETY: 16 bytes may be read from a reference to 16 bytes, wherever they lie.
        unsafe { _mm_loadu_si128(block.as_ptr().cast()) }
    }

    fn store(value: __m128i) -> Block {
        let mut block = [0; MAC_LEN];
        // SAFETY: 16 bytes may be written to a reference to 16 bytes, wherever they lie.
        unsafe { _mm_storeu_si128(block.as_mut_ptr().cast(), value) };
        block
    }

    /// Each word of a round key is the sum of the words before it in the round key two rounds earlier, and of `mixed`.
    #[target_feature(enable = "aes")]
    fn next(mut key: __m128i, mixed: __m128i) -> __m128i {
        for _ in 0..3 {
            key = _mm_xor_si128(key, _mm_slli_si128::<4>(key));
        }
        _mm_xor_si128(key, mixed)
    }

    /// The keys of all rounds (FIPS 197, 5.2).
    #[target_feature(enable = "aes")]
    pub(super) fn expand(key: &[u8; 32]) -> [Block; ROUND_KEYS] {
        let (low, high) = key.split_at(MAC_LEN);
        let half = |bytes: &[u8]| load(bytes.try_into().expect("half a key is a block"));
        let mut keys = [[0; MAC_LEN]; ROUND_KEYS];
        let (mut even, mut odd) = (half(low), half(high));
        (keys[0], keys[1]) = (store(even), store(odd));
        macro_rules! two_keys {
            ($($place:literal: $constant:literal),*) => {$(
                // The last word is rotated and substituted, and takes the round's constant in; for the second it is only
                // substituted.
                let mixed = _mm_aeskeygenassist_si128::<$constant>(odd);
                even = next(even, _mm_shuffle_epi32::<0xff>(mixed));
                let mixed = _mm_aeskeygenassist_si128::<0>(even);
                odd = next(odd, _mm_shuffle_epi32::<0xaa>(mixed));
                (keys[$place], keys[$place + 1]) = (store(even), store(odd));
            )*};
        }
        two_keys!(2: 0x01, 4: 0x02, 6: 0x04, 8: 0x08, 10: 0x10, 12: 0x20);
        let mixed = _mm_aeskeygenassist_si128::<0x40>(odd);
        keys[ROUND_KEYS - 1] = store(next(even, _mm_shuffle_epi32::<0xff>(mixed)));
        keys
    }

    #[target_feature(enable = "aes")]
    pub(super) fn encrypt(keys: &[Block; ROUND_KEYS], block: Block) -> Block {
        let [first, middle @ .., last] = keys;
        let mut state = _mm_xor_si128(load(&block), load(first));
        for key in middle {
            state = _mm_aesenc_si128(state, load(key));
        }
        store(_mm_aesenclast_si128(state, load(last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 197, C.3.
    #[test]
    fn the_example_of_the_standard_is_encrypted_as_it_says() {
        let key: [u8; 32] = std::array::from_fn(|place| place as u8);
        let plain: [u8; 16] = std::array::from_fn(|place| place as u8 * 0x11);
        for cipher in [BlockCipher::new(&key), BlockCipher::portable(&key)] {
            assert_eq!(hex::encode(cipher.encrypt(plain)), "8ea2b7ca516745bfeafc49904b496089");
        }
    }

    #[test]
    fn any_block_under_any_key_is_what_the_crate_aes_makes_of_it() {
        for number in 0..=255u8 {
            let key: [u8; 32] = std::array::from_fn(|place| number.wrapping_mul(place as u8 | 1) ^ 0x5a);
            let (ours, theirs) = (BlockCipher::new(&key), BlockCipher::portable(&key));
            let mut block = [number; 16];
            for _ in 0..8 {
                let next = ours.encrypt(block);
                assert_eq!(next, theirs.encrypt(block));
                block = next;
            }
        }
    }
}
