//! The envelope of handshake packets: ECIES over secp256k1, AES-128-CTR, HMAC-SHA256 and the concatenation KDF.
//! devp2p specification, `rlpx.md`, "ECIES Encryption"; the size prefix is authenticated (EIP-8).
//! The curve work is not done here: whoever opens or seals brings the shared secret.

use aes::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use identity::{PublicKey, curve::SharedSecret};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::error::HandshakeError;

/// Length of the size prefix, in bytes.
pub(crate) const PREFIX_LEN: usize = 2;
/// Length of the uncompressed point that opens an envelope, in bytes.
const POINT_LEN: usize = 65;
/// First byte of an uncompressed point (SEC 1, 2.3.3); no other form is taken.
const UNCOMPRESSED: u8 = 4;
/// Length of the counter block, in bytes.
const IV_LEN: usize = 16;
/// Length of the tag, in bytes.
const TAG_LEN: usize = 32;
/// What an envelope adds to its content, in bytes.
pub(crate) const OVERHEAD: usize = POINT_LEN + IV_LEN + TAG_LEN;

/// The counter runs over all 128 bits.
type Cipher = ctr::Ctr128BE<aes::Aes128>;

/// The point that an envelope is sealed with. Checked here, before any secret touches it, or the answer to a point of
/// another curve would tell bits of the node key.
pub(crate) fn point(envelope: &[u8]) -> Result<PublicKey, HandshakeError> {
    let (point, _) = envelope.split_first_chunk::<POINT_LEN>().ok_or(HandshakeError::Envelope)?;
    let (form, xy) = point.split_first().ok_or(HandshakeError::Envelope)?;
    let key = PublicKey::from_bytes(xy.try_into().map_err(|_| HandshakeError::Envelope)?);
    if *form != UNCOMPRESSED || !key.is_on_curve() {
        return Err(HandshakeError::Envelope);
    }
    Ok(key)
}

/// Decrypts an envelope in place and returns its content.
///
/// ```text
/// prefix: 2 bytes  point: 65 bytes  iv: 16 bytes  ciphertext  tag: 32 bytes
/// ```
pub(crate) fn open<'a>(
    shared: &SharedSecret,
    prefix: [u8; PREFIX_LEN],
    envelope: &'a mut [u8],
) -> Result<&'a mut [u8], HandshakeError> {
    let sealed = envelope.get_mut(POINT_LEN..).ok_or(HandshakeError::Envelope)?;
    let (sealed, tag) = sealed.split_last_chunk_mut::<TAG_LEN>().ok_or(HandshakeError::Envelope)?;
    let keys = Keys::derive(shared);
    // Compares in constant time.
    keys.mac(sealed, prefix).verify_slice(tag).map_err(|_| HandshakeError::Envelope)?;
    let (iv, content) = sealed.split_first_chunk_mut::<IV_LEN>().ok_or(HandshakeError::Envelope)?;
    keys.cipher(iv).apply_keystream(content);
    Ok(content)
}

/// Seals `content`, a message of ours (under 600 bytes): the whole packet with its size prefix. `ephemeral` is the key
/// whose agreement with the recipient's is `shared`.
pub(crate) fn seal(
    shared: &SharedSecret,
    ephemeral: &PublicKey,
    iv: [u8; IV_LEN],
    content: &[u8],
) -> Vec<u8> {
    let [.., high, low] = OVERHEAD.saturating_add(content.len()).to_be_bytes();
    let prefix = [high, low];
    let mut packet = Vec::with_capacity(PREFIX_LEN + OVERHEAD + content.len());
    packet.extend_from_slice(&prefix);
    packet.push(UNCOMPRESSED);
    packet.extend_from_slice(ephemeral.as_bytes());
    packet.extend_from_slice(&iv);
    packet.extend_from_slice(content);
    let keys = Keys::derive(shared);
    let (_, sealed) = packet.split_at_mut(PREFIX_LEN + POINT_LEN);
    let (_, content) = sealed.split_at_mut(IV_LEN);
    keys.cipher(&iv).apply_keystream(content);
    let tag = keys.mac(sealed, prefix).finalize().into_bytes();
    packet.extend_from_slice(&tag);
    packet
}

/// What an envelope is encrypted and authenticated with.
struct Keys {
    encryption: Zeroizing<[u8; 16]>,
    authentication: Zeroizing<[u8; 32]>,
}

impl Keys {
    /// One block of the concatenation KDF (NIST SP 800-56A, 5.8.1): half of it encrypts, the hash of the other half
    /// authenticates.
    fn derive(shared: &SharedSecret) -> Self {
        const FIRST_COUNTER: [u8; 4] = [0, 0, 0, 1];
        let block = Zeroizing::new(<[u8; 32]>::from(
            Sha256::new().chain_update(FIRST_COUNTER).chain_update(shared.as_slice()).finalize(),
        ));
        let (first, second) = block.split_at(16);
        let mut encryption = Zeroizing::new([0; 16]);
        encryption.copy_from_slice(first);
        Self { encryption, authentication: Zeroizing::new(Sha256::digest(second).into()) }
    }

    fn cipher(&self, iv: &[u8; IV_LEN]) -> Cipher {
        Cipher::new((&*self.encryption).into(), iv.into())
    }

    fn mac(&self, sealed: &[u8], prefix: [u8; PREFIX_LEN]) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(self.authentication.as_slice());
        mac.expect("HMAC takes keys of any length").chain_update(sealed).chain_update(prefix)
    }
}
