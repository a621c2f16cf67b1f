//! The running MAC of one direction: a keccak state over everything sent, stirred with an AES block.
//! Its first state comes from `handshake/secrets.rs`; tags are compared in `decoder.rs`. `rlpx.md`, "MAC".

use std::mem::take;

use identity::Keccak256;

use super::{HEADER_LEN, MAC_LEN, block_cipher::BlockCipher};

/// The MAC state of one direction.
///
/// ```text
/// header-mac-seed = aes(mac-secret, digest[:16]) ^ header-ciphertext
/// frame-mac-seed  = aes(mac-secret, digest[:16]) ^ digest[:16]         (digest after the body's ciphertext)
/// ```
/// After each seed is absorbed, the digest's first half is the tag.
pub(crate) struct FrameMac {
    aes: BlockCipher,
    hash: Keccak256,
    /// The digest of `hash` as it stands, once computed: a frame's last tag is what the next header's starts from.
    digest: Option<[u8; MAC_LEN]>,
    #[cfg(test)]
    digests: usize,
}

impl FrameMac {
    /// One for each direction, after each of `hashes` has absorbed the masked nonce and the handshake packet.
    pub(crate) fn both(mac_secret: &[u8; 32], hashes: [Keccak256; 2]) -> [Self; 2] {
        let aes = BlockCipher::new(mac_secret);
        hashes.map(|hash| Self {
            aes: aes.clone(),
            hash,
            digest: None,
            #[cfg(test)]
            digests: 0,
        })
    }

    /// The tag of a header.
    pub(crate) fn header(&mut self, ciphertext: &[u8; HEADER_LEN]) -> [u8; MAC_LEN] {
        let digest = self.digest();
        self.stir(digest, ciphertext)
    }

    /// Takes in ciphertext of a body, in pieces of any length.
    pub(crate) fn absorb(&mut self, ciphertext: &[u8]) {
        self.hash.update(ciphertext);
        self.digest = None;
    }

    /// The hash, for a body to be absorbed elsewhere. Nothing is right until [`Self::go_on`].
    pub(super) fn lend(&mut self) -> Keccak256 {
        self.digest = None;
        take(&mut self.hash)
    }

    /// The hash as [`Self::lend`] gave it away, with the body absorbed.
    pub(super) fn go_on(&mut self, hash: Keccak256) {
        self.hash = hash;
    }

    /// The tag of the body that was absorbed.
    pub(crate) fn body(&mut self) -> [u8; MAC_LEN] {
        let digest = self.digest();
        self.stir(digest, &digest)
    }

    fn stir(&mut self, digest: [u8; MAC_LEN], with: &[u8; MAC_LEN]) -> [u8; MAC_LEN] {
        let mut block = self.aes.encrypt(digest);
        for (byte, other) in block.iter_mut().zip(with) {
            *byte ^= other;
        }
        self.absorb(&block);
        self.digest()
    }

    fn digest(&mut self) -> [u8; MAC_LEN] {
        if let Some(digest) = self.digest {
            return digest;
        }
        #[cfg(test)]
        {
            self.digests += 1;
        }
        let full = self.hash.digest();
        let mut half = [0; MAC_LEN];
        half.copy_from_slice(&full[..MAC_LEN]);
        self.digest = Some(half);
        half
    }

    /// How often a digest was computed.
    #[cfg(test)]
    pub(super) const fn digests(&self) -> usize {
        self.digests
    }
}
