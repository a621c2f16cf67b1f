//! Node keys and public keys on secp256k1, and the four operations on them that protocols need.
//! Everything that touches the curve goes through here, so that one file decides what a valid key or signature is.
//! A machine never calls it: it puts out jobs (`curve.rs`). Keys on disk are `key_file.rs`.

use std::fmt;

use rand::CryptoRng;
use secp256k1::{
    Message, SecretKey,
    ecdh::shared_secret_point,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{NodeId, context};

/// Why bytes are no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not 64 hex digits.
    #[error("a node key is 64 hex digits, {found} characters found")]
    NotHex {
        /// How many characters the text has.
        found: usize,
    },
    /// The number is 0 or not below the group order.
    #[error("the number is not a private key of secp256k1 (zero, or not below the group order)")]
    OutOfRange,
}

/// The private key that a node is known by. Zeroized when dropped; never printed.
#[derive(Clone, ZeroizeOnDrop)]
pub struct NodeKey {
    secret: [u8; 32],
    #[zeroize(skip)]
    public: PublicKey,
}

/// Draws of a key: of 2^128 one is no key, so a source that gives no key in so many is broken.
const MAX_DRAWS: usize = 4;

impl NodeKey {
    /// Draws a new key from `rng`.
    ///
    /// # Panics
    /// When `rng` fails, or gives the same impossible key again and again: there is no key without randomness.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> Self {
        let mut secret = Zeroizing::new([0; 32]);
        let mut draw = || {
            rng.fill_bytes(secret.as_mut());
            Self::from_bytes(&secret).ok()
        };
        (0..MAX_DRAWS).find_map(|_| draw()).expect("a source of randomness gives keys")
    }

    /// Takes the 32 bytes of a key, big-endian.
    ///
    /// # Errors
    /// [`KeyError::OutOfRange`] when they are no key of the curve.
    pub fn from_bytes(secret: &[u8; 32]) -> Result<Self, KeyError> {
        let mut key = SecretKey::from_secret_bytes(*secret).map_err(|_| KeyError::OutOfRange)?;
        let public = PublicKey::from(&context::public_key(&key));
        key.non_secure_erase();
        Ok(Self { secret: *secret, public })
    }

    /// Reads 64 hex digits, as geth's `nodekey` file and `--nodekeyhex` hold them.
    ///
    /// # Errors
    /// [`KeyError::NotHex`] for any other text, [`KeyError::OutOfRange`] when the number is no key.
    pub fn from_hex(text: &str) -> Result<Self, KeyError> {
        let mut secret = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text, secret.as_mut())
            .map_err(|_| KeyError::NotHex { found: text.chars().count() })?;
        Self::from_bytes(&secret)
    }

    /// The key as 64 hex digits, for the key file.
    pub(crate) fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(self.secret))
    }

    /// The public half.
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// The id that follows from the public half.
    pub fn node_id(&self) -> NodeId {
        self.public.node_id()
    }

    /// Signs a 32-byte digest (RFC 6979 nonce, low s), with the recovery id.
    pub fn sign(&self, digest: &[u8; 32]) -> Signature {
        let mut key = self.secret_key();
        let (recovery_id, compact) = context::sign(&key, &Message::from_digest(*digest)).serialize_compact();
        key.non_secure_erase();
        let mut signature = [0; 65];
        signature[..64].copy_from_slice(&compact);
        signature[64] = recovery_id.to_u8();
        Signature(signature)
    }

    /// The x coordinate of `public` times this key: what ECIES and RLPx call the shared secret (`rlpx.md`, "Notation").
    /// None when `public` is no point of the curve.
    pub fn agree(&self, public: &PublicKey) -> Option<Zeroizing<[u8; 32]>> {
        let point = public.point()?;
        let mut key = self.secret_key();
        let mut xy = shared_secret_point(&point, &key);
        key.non_secure_erase();
        let mut x = Zeroizing::new([0; 32]);
        x.copy_from_slice(&xy[..32]);
        xy.zeroize();
        Some(x)
    }

    /// The key as libsecp256k1 takes it; whoever asks erases it.
    pub(crate) fn secret_key(&self) -> SecretKey {
        SecretKey::from_secret_bytes(self.secret).expect("checked when the key was made")
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey(of {:?})", self.node_id())
    }
}

/// A public key as the protocols write it: x and y, 32 bytes each, big-endian.
///
/// The bytes are taken as they come: a lookup's target need not be on the curve. Whoever uses a key as a key asks
/// [`PublicKey::is_on_curve`] first, or uses an operation that does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 64]);

impl PublicKey {
    /// Takes the 64 wire bytes as they are.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Expands the 33-byte compressed form. None when it is no point of the curve.
    pub fn from_compressed(bytes: &[u8; 33]) -> Option<Self> {
        secp256k1::PublicKey::from_byte_array_compressed(*bytes).ok().as_ref().map(Self::from)
    }

    /// The 33-byte compressed form. The bytes need not be a point.
    pub fn to_compressed(&self) -> [u8; 33] {
        let mut out = [0; 33];
        out[0] = 2 + (self.0[63] & 1);
        out[1..].copy_from_slice(&self.0[..32]);
        out
    }

    /// The 64 wire bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// Whether the bytes are a point of the curve, the point at infinity left out. Costs about a microsecond.
    pub fn is_on_curve(&self) -> bool {
        self.point().is_some()
    }

    /// The id of the node with this key.
    pub fn node_id(&self) -> NodeId {
        NodeId::from(self)
    }

    fn point(&self) -> Option<secp256k1::PublicKey> {
        let mut uncompressed = [4; 65];
        uncompressed[1..].copy_from_slice(&self.0);
        secp256k1::PublicKey::from_byte_array_uncompressed(uncompressed).ok()
    }
}

impl From<&secp256k1::PublicKey> for PublicKey {
    fn from(point: &secp256k1::PublicKey) -> Self {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(&point.serialize_uncompressed()[1..]);
        Self(bytes)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({}..)", hex::encode(&self.0[..4]))
    }
}

/// A recoverable signature as the protocols write it.
///
/// ```text
/// r: 32 bytes  s: 32 bytes  v: 1 byte, 0 to 3
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature(pub [u8; 65]);

impl Signature {
    /// The key that signed `digest`. None when r, s or v are out of range or no key gives this signature.
    pub fn recover(&self, digest: &[u8; 32]) -> Option<PublicKey> {
        let id = RecoveryId::try_from(i32::from(self.0[64])).ok()?;
        let signature = RecoverableSignature::from_compact(&self.0[..64], id).ok()?;
        signature.recover(Message::from_digest(*digest)).ok().as_ref().map(PublicKey::from)
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, panic::catch_unwind};

    use rand::{TryCryptoRng, TryRng};

    use super::*;

    fn key(byte: u8) -> NodeKey {
        NodeKey::from_bytes(&[byte; 32]).unwrap()
    }

    /// A source that is stuck, and after how many draws it gives a key after all.
    struct Stuck(usize);

    impl TryRng for Stuck {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok(0)
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            Ok(0)
        }

        fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
            bytes.fill(u8::from(self.0 == 0));
            self.0 = self.0.saturating_sub(1);
            Ok(())
        }
    }

    impl TryCryptoRng for Stuck {}

    #[test]
    fn h21_a_source_that_gives_no_key_ends_the_drawing() {
        assert_eq!(NodeKey::generate(&mut Stuck(MAX_DRAWS - 1)).public_key(), key(1).public_key());
        assert!(catch_unwind(|| NodeKey::generate(&mut Stuck(usize::MAX)).public_key()).is_err());
    }

    #[test]
    fn signature_recovers_to_its_signer() {
        let digest = [7; 32];
        assert_eq!(key(1).sign(&digest).recover(&digest), Some(key(1).public_key()));
        assert_ne!(key(1).sign(&digest).recover(&[8; 32]), Some(key(1).public_key()));
    }

    #[test]
    fn agreement_is_the_same_from_both_sides() {
        assert_eq!(key(1).agree(&key(2).public_key()), key(2).agree(&key(1).public_key()));
    }

    #[test]
    fn u11_out_of_range_signatures_recover_nothing() {
        let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap();
        let good = key(1).sign(&[7; 32]);
        for v in 0..=255u8 {
            for edge in [vec![0; 32], order.clone(), vec![0xff; 32]] {
                for part in [0, 32] {
                    let mut bad = good;
                    bad.0[part..part + 32].copy_from_slice(&edge);
                    bad.0[64] = v;
                    assert_eq!(bad.recover(&[7; 32]), None);
                }
            }
            let mut other = good;
            other.0[64] = v;
            assert!(v < 4 || other.recover(&[7; 32]).is_none());
        }
    }

    #[test]
    fn h03_only_points_of_the_curve_agree() {
        let prime = hex::decode("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f").unwrap();
        let mut past_prime = *key(2).public_key().as_bytes();
        past_prime[..32].copy_from_slice(&prime);
        let mut off_curve = *key(2).public_key().as_bytes();
        off_curve[63] ^= 1;
        for bad in [[0; 64], [0xff; 64], past_prime, off_curve] {
            assert!(!PublicKey::from_bytes(bad).is_on_curve());
            assert_eq!(key(1).agree(&PublicKey::from_bytes(bad)), None);
        }
    }

    #[test]
    fn compressed_form_round_trips() {
        for byte in 1..20 {
            let public = key(byte).public_key();
            assert_eq!(PublicKey::from_compressed(&public.to_compressed()), Some(public));
        }
    }

    #[test]
    fn d07_debug_shows_no_secret() {
        let secret = hex::encode([0x5a; 32]);
        assert!(!format!("{:?}", NodeKey::from_hex(&secret).unwrap()).contains("5a5a"));
    }

    #[test]
    fn bad_key_text_is_named() {
        assert_eq!(NodeKey::from_hex("12").unwrap_err(), KeyError::NotHex { found: 2 });
        assert_eq!(NodeKey::from_hex(&"0".repeat(64)).unwrap_err(), KeyError::OutOfRange);
        assert_eq!(NodeKey::from_hex(&"f".repeat(64)).unwrap_err(), KeyError::OutOfRange);
    }
}
