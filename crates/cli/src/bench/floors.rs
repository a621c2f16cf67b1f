//! What rows are held against: hashing, ciphering and compressing at the speed of the fastest implementation there is,
//! whatever the program itself uses. Which one that is is measured when a bench begins. The curve is `libsecp`'s.

use std::hint::black_box;

use aes::Aes256;
use ctr::cipher::{KeyIvInit, StreamCipher};

use super::measure::time_each;

/// Bytes that one permutation of Keccak-256 absorbs.
const RATE: usize = 136;

/// How often each candidate is tried; the best counts.
const TRIALS: usize = 20;
/// What candidates work on, in bytes: some 20 µs.
const TRIAL_LEN: usize = 64 * 1024;

/// A whole message in, its hash out.
type Keccak = fn(&[u8]) -> [u8; 32];
/// A key stream from zero over bytes.
type Cipher = fn(&mut [u8]);

/// The fastest of each kind on this machine.
#[derive(Clone, Copy)]
pub(super) struct Floors {
    keccak: (&'static str, Keccak),
    cipher: (&'static str, Cipher),
}

impl Floors {
    /// Tries all candidates.
    pub(super) fn choose() -> Self {
        let message = vec![0x5a; TRIAL_LEN];
        let mut scratch = vec![0; TRIAL_LEN];
        let keccak = fastest(&KECCAKS, |keccak| {
            black_box(keccak(black_box(&message)));
        });
        let cipher = fastest(&CIPHERS, |cipher| cipher(black_box(&mut scratch)));
        Self { keccak, cipher }
    }

    /// What was chosen.
    pub(super) fn names(&self) -> String {
        let (keccak, cipher) = (self.keccak.0, self.cipher.0);
        format!("libsecp256k1 on a plain context, {keccak}, aes with {cipher}, snap")
    }

    /// The hash of `message`.
    pub(super) fn keccak(&self, message: &[u8]) -> [u8; 32] {
        self.keccak.1(message)
    }

    /// AES-256-CTR over `bytes`.
    pub(super) fn encrypt(&self, bytes: &mut [u8]) {
        self.cipher.1(bytes);
    }
}

/// The length of a message whose hash takes so many permutations.
pub(super) const fn message_of(permutations: usize) -> usize {
    // The padding takes a byte of the last one.
    permutations * RATE - 1
}

/// How many permutations it takes to absorb `len` bytes of a longer stream.
pub(super) const fn permutations_for(len: usize) -> usize {
    len / RATE
}

/// Snappy with everything allocated beforehand.
pub(super) struct Snappy {
    payload: Vec<u8>,
    block: Vec<u8>,
    inflated: Vec<u8>,
    encoder: snap::raw::Encoder,
    decoder: snap::raw::Decoder,
}

impl Snappy {
    pub(super) fn new(payload: &[u8]) -> Self {
        Self {
            payload: payload.to_vec(),
            block: vec![0; snap::raw::max_compress_len(payload.len())],
            inflated: vec![0; payload.len()],
            encoder: snap::raw::Encoder::new(),
            decoder: snap::raw::Decoder::new(),
        }
    }

    /// Compresses the payload; gives the block's length.
    pub(super) fn compress(&mut self) -> usize {
        self.encoder.compress(black_box(&self.payload), &mut self.block).unwrap_or(0)
    }

    /// Compresses the payload and inflates it again; gives the block's length.
    pub(super) fn round_trip(&mut self) -> usize {
        let len = self.compress();
        let block = self.block.get(..len).unwrap_or_default();
        let inflated = self.decoder.decompress(black_box(block), &mut self.inflated);
        black_box(inflated).map_or(0, |_| len)
    }
}

#[cfg(all(target_arch = "x86_64", unix))]
const KECCAKS: [(&str, Keccak); 2] = [("keccak-asm", by_keccak_asm), ("sha3", by_sha3)];
#[cfg(not(all(target_arch = "x86_64", unix)))]
const KECCAKS: [(&str, Keccak); 1] = [("sha3", by_sha3)];

/// The counter's width makes no difference to the first 64 GiB of a stream, but to the speed.
const CIPHERS: [(&str, Cipher); 3] = [
    ("a 32-bit counter", by_cipher::<ctr::Ctr32BE<Aes256>>),
    ("a 64-bit counter", by_cipher::<ctr::Ctr64BE<Aes256>>),
    ("a 128-bit counter", by_cipher::<ctr::Ctr128BE<Aes256>>),
];

#[cfg(all(target_arch = "x86_64", unix))]
fn by_keccak_asm(message: &[u8]) -> [u8; 32] {
    keccak_asm::Keccak256::digest(message).into()
}

fn by_sha3(message: &[u8]) -> [u8; 32] {
    use sha3::Digest;

    sha3::Keccak256::digest(message).into()
}

fn by_cipher<
    C: KeyIvInit<KeySize = ctr::cipher::consts::U32, IvSize = ctr::cipher::consts::U16> + StreamCipher,
>(
    bytes: &mut [u8],
) {
    C::new(&[1; 32].into(), &[0; 16].into()).apply_keystream(bytes);
}

/// The candidate whose best trial is the shortest.
fn fastest<C: Copy>(candidates: &[(&'static str, C)], mut trial: impl FnMut(C)) -> (&'static str, C) {
    let mut best = (f64::INFINITY, candidates[0]);
    for _ in 0..TRIALS {
        for (name, candidate) in candidates {
            let time = time_each(1, || trial(*candidate));
            if time < best.0 {
                best = (time, (*name, *candidate));
            }
        }
    }
    best.1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_do_the_same_work() {
        let message: Vec<u8> = (0..1_000u32).map(|byte| byte as u8).collect();
        let hashes = KECCAKS.map(|(_, keccak)| keccak(&message));
        assert!(hashes.iter().all(|hash| *hash == devp2p::identity::keccak256(&message)));
        let ciphered = CIPHERS.map(|(_, cipher)| {
            let mut bytes = message.clone();
            cipher(&mut bytes);
            bytes
        });
        assert!(ciphered.iter().all(|bytes| *bytes == ciphered[0] && *bytes != message));
    }

    #[test]
    fn snappy_gives_the_payload_back() {
        let mut snappy = Snappy::new(&[7; 1_000]);
        assert!((1..1_000).contains(&snappy.round_trip()));
        assert_eq!(snappy.inflated, [7; 1_000]);
    }
}
