//! Keccak-256, the hash of all three layers: of packets, ids, MACs, blocks and transactions. In assembly where there is
//! some for the processor, which saves a fifth of the time; portable elsewhere. Yellow paper, appendix B (KEC).

#[cfg(all(target_arch = "x86_64", unix))]
use keccak_asm::{Digest, Keccak256 as State};
#[cfg(not(all(target_arch = "x86_64", unix)))]
use sha3::{Digest, Keccak256 as State};

/// Keccak-256 of bytes that come in pieces. A clone goes on from where it stands.
#[derive(Clone, Default)]
pub struct Keccak256(State);

impl Keccak256 {
    /// Nothing taken in yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all that was taken in, 32 bytes.
    pub fn finalize(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The Keccak-256 hash of `data`, 32 bytes.
pub fn keccak256(data: &[u8]) -> [u8; 32] {
    State::digest(data).into()
}

/// The Keccak-256 hash of the `parts` one after the other, 32 bytes.
pub fn keccak256_concat(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_that_of_sha3_for_every_length_and_cut() {
        let bytes: Vec<u8> = (0..600u32).map(|byte| byte as u8).collect();
        for len in 0..bytes.len() {
            let data = &bytes[..len];
            let expected: [u8; 32] = <sha3::Keccak256 as sha3::Digest>::digest(data).into();
            assert_eq!(keccak256(data), expected, "{len} bytes");
            let (head, tail) = data.split_at(len * 7 % (len + 1));
            assert_eq!(keccak256_concat(&[head, tail]), expected, "{} of {len} bytes", head.len());
        }
    }

    #[test]
    fn a_clone_goes_on_by_itself() {
        let mut hasher = Keccak256::new();
        hasher.update(&[1; 200]);
        let mut other = hasher.clone();
        other.update(&[2; 200]);
        hasher.update(&[3; 200]);
        assert_eq!(hasher.finalize(), keccak256_concat(&[&[1; 200], &[3; 200]]));
        assert_eq!(other.finalize(), keccak256_concat(&[&[1; 200], &[2; 200]]));
    }
}
