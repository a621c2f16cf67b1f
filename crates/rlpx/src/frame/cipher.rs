//! The stream cipher of one direction: one key stream from a zero counter for the whole session. `rlpx.md`, "Framing".
//! Key stream is made ahead, a batch of blocks at once: a call for the one block of a header costs as much as thirty.
//! A quiet connection has no batch.

use aes::{
    Aes256,
    cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper, StreamCipherSeek},
};
use ctr::CtrCore;
use zeroize::Zeroizing;

/// Key stream made at once, in bytes: 64 blocks, the most that a processor works on side by side.
const BATCH_LEN: usize = 1024;
/// Calls after a silence that are served without a batch: Ping and Pong, or Hello and the first message, are two each.
const QUIET_CALLS: u8 = 8;

/// AES-256-CTR over the bytes of one direction.
pub(crate) struct FrameCipher {
    /// The counter has 128 bits by the specification; it starts at zero, so the upper 64 are never reached.
    stream: ctr::Ctr64BE<Aes256>,
    /// Key stream of which the last `left` bytes are still to be used.
    batch: Option<Box<Zeroizing<[u8; BATCH_LEN]>>>,
    left: usize,
    /// Calls that go on without a batch.
    quiet_calls: u8,
}

impl FrameCipher {
    /// The stream of `key` from its start, for each direction.
    pub(crate) fn both(key: &[u8; 32]) -> [Self; 2] {
        let aes = Aes256::new(key.into());
        [aes.clone(), aes].map(|aes| {
            let stream = StreamCipherCoreWrapper::from_core(CtrCore::inner_iv_init(aes, &[0; 16].into()));
            Self { stream, batch: None, left: 0, quiet_calls: QUIET_CALLS }
        })
    }

    /// Encrypts or decrypts what comes next, of any length.
    pub(crate) fn apply(&mut self, bytes: &mut [u8]) {
        if self.quiet_calls > 0 {
            self.quiet_calls -= 1;
            self.stream.apply_keystream(bytes);
        } else {
            self.apply_batches(bytes);
        }
    }

    fn apply_batches(&mut self, mut bytes: &mut [u8]) {
        let batch = self.batch.get_or_insert_with(|| Box::new(Zeroizing::new([0; BATCH_LEN])));
        while !bytes.is_empty() {
            if self.left == 0 {
                let (long, rest) = bytes.split_at_mut(bytes.len() / BATCH_LEN * BATCH_LEN);
                self.stream.apply_keystream(long);
                bytes = rest;
                if bytes.is_empty() {
                    return;
                }
                let made = self.stream.try_write_keystream(batch.as_mut_slice());
                made.expect("a stream has 2^68 bytes");
                self.left = BATCH_LEN;
            }
            let (here, rest) = bytes.split_at_mut(bytes.len().min(self.left));
            let ready = batch.get(BATCH_LEN.saturating_sub(self.left)..).unwrap_or_default();
            here.iter_mut().zip(ready).for_each(|(byte, key)| *byte ^= key);
            self.left = self.left.saturating_sub(here.len());
            bytes = rest;
        }
    }

    /// Frees the batch: the connection is quiet.
    pub(crate) fn shrink(&mut self) {
        let made: u64 = self.stream.current_pos();
        self.stream.seek(made.saturating_sub(self.left as u64));
        (self.batch, self.left, self.quiet_calls) = (None, 0, QUIET_CALLS);
    }
}

#[cfg(test)]
mod tests {
    use aes::cipher::KeyIvInit;

    use super::*;

    #[test]
    fn the_stream_is_that_of_a_128_bit_counter_however_it_is_cut() {
        let key = [7; 32];
        let mut expected: Vec<u8> = (0..20_000u32).map(|byte| byte as u8).collect();
        let mut ciphered = expected.clone();
        ctr::Ctr128BE::<Aes256>::new(&key.into(), &[0; 16].into()).apply_keystream(&mut expected);
        let [mut cipher, _] = FrameCipher::both(&key);
        let mut rest = ciphered.as_mut_slice();
        for len in [16, 80, 1, 0, 15, 1024, 7, 1023, 1025, 4096, 3, 2048].into_iter().cycle() {
            let (here, after) = rest.split_at_mut(rest.len().min(len));
            cipher.apply(here);
            // Now and then it falls silent.
            if len == 7 {
                cipher.shrink();
            }
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        assert_eq!(ciphered, expected);
    }
}
