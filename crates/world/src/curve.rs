//! Curve jobs answered without curves, so that thousands of nodes cost little: packets keep their size and shape, and who
//! signed what is still told apart. Nothing here is secret.

use std::sync::{Arc, OnceLock};

use identity::{
    Enr, EnrBuilder, EnrError, NodeKey, PublicKey, Signature, UnverifiedEnr,
    curve::{CurveOp, CurveOutput, CurveResult, EphemeralKey, KeyRef},
    keccak256_concat,
};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use rlp::Rlp;

/// Key pairs that all ephemeral keys are taken from. Parsers look whether a key is on the curve, so they are real ones.
const EPHEMERAL_KEYS: usize = 64;

/// Answers the jobs of one node.
#[derive(Debug)]
pub struct SimCurve {
    key: Arc<NodeKey>,
    rng: ChaCha8Rng,
}

impl SimCurve {
    /// For the node with `key`. `seed` decides on ephemeral keys.
    pub fn new(key: Arc<NodeKey>, seed: u64) -> Self {
        Self { key, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Does what a job asks for, after its shape.
    pub fn run(&mut self, ops: Vec<CurveOp>) -> CurveResult {
        CurveResult::Done(ops.into_iter().map(|op| self.run_op(op)).collect())
    }

    fn run_op(&mut self, op: CurveOp) -> CurveOutput {
        match op {
            CurveOp::Generate => {
                let keys = ephemeral_keys();
                CurveOutput::Generated(keys[self.rng.random_range(0..keys.len())].clone())
            }
            CurveOp::Agree(key, public) => {
                let own = self.public_key(&key);
                let (low, high) = if own < public { (own, public) } else { (public, own) };
                let secret = keccak256_concat(&[low.as_bytes(), high.as_bytes()]);
                CurveOutput::Agreed(secret.into())
            }
            CurveOp::Sign(key, digest) => CurveOutput::Signed(sign(&self.public_key(&key), &digest)),
            CurveOp::Recover(digest, signature) => {
                recover(&digest, &signature).map_or(CurveOutput::Invalid, CurveOutput::Recovered)
            }
            CurveOp::Verify(record) => verify(*record).map_or(CurveOutput::Invalid, CurveOutput::Verified),
        }
    }

    fn public_key(&self, key: &KeyRef) -> PublicKey {
        match key {
            KeyRef::Node => self.key.public_key(),
            KeyRef::Ephemeral(key) => key.public_key(),
        }
    }
}

/// The node's record, signed as [`SimCurve`] signs.
///
/// # Errors
/// As [`EnrBuilder::sign`].
pub fn sign_record(key: &NodeKey, record: &EnrBuilder) -> Result<Enr, EnrError> {
    let public = key.public_key();
    record.assume_signed(&public, public.as_bytes())
}

/// A signature is its signer, and two bits of what is signed.
fn sign(signer: &PublicKey, digest: &[u8; 32]) -> Signature {
    let mut signature = [0; 65];
    signature[..64].copy_from_slice(signer.as_bytes());
    signature[64] = mark(digest);
    Signature(signature)
}

fn recover(digest: &[u8; 32], signature: &Signature) -> Option<PublicKey> {
    let (signer, v) = signature.0.split_first_chunk::<64>()?;
    let signer = PublicKey::from_bytes(*signer);
    (v == [mark(digest)] && signer.is_on_curve()).then_some(signer)
}

/// What a signature's last byte, 0 to 3, says of the digest.
const fn mark(digest: &[u8; 32]) -> u8 {
    digest[0] & 3
}

fn verify(record: UnverifiedEnr) -> Option<Enr> {
    let items = Rlp::new(record.encoded());
    let signature: [u8; 64] = items.at(0).ok()?.data().ok()?.try_into().ok()?;
    let signer = PublicKey::from_bytes(signature);
    let mut names = (2..items.item_count().ok()?).step_by(2);
    let place = names.find(|place| items.at(*place).is_ok_and(|name| name.data() == Ok(b"secp256k1")))?;
    let named = items.at(place.checked_add(1)?).ok()?;
    (named.data().ok()? == signer.to_compressed()).then(|| record.assume_signed_by(signer))
}

fn ephemeral_keys() -> &'static [EphemeralKey] {
    static KEYS: OnceLock<Vec<EphemeralKey>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let numbers = (1..).take(EPHEMERAL_KEYS);
        numbers.map(|number: u64| EphemeralKey::new(numbered_key(u64::MAX - number))).collect()
    })
}

/// A node key by its number.
pub fn numbered_key(number: u64) -> NodeKey {
    let mut secret = [1; 32];
    secret[..8].copy_from_slice(&number.to_be_bytes());
    // The number above the group order would begin with 15 bytes of ones: none does.
    NodeKey::from_bytes(&secret).expect("between zero and the group order")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(number: u64) -> SimCurve {
        SimCurve::new(Arc::new(numbered_key(number)), number)
    }

    fn one(curve: &mut SimCurve, op: CurveOp) -> CurveOutput {
        match curve.run(vec![op]) {
            CurveResult::Done(mut outputs) => outputs.remove(0),
            CurveResult::Refused => panic!("refused"),
        }
    }

    #[test]
    fn a_signature_tells_its_signer_and_no_other_digest() {
        let (mut alice, mut bob) = (curve(1), curve(2));
        let CurveOutput::Signed(signature) = one(&mut alice, CurveOp::Sign(KeyRef::Node, [4; 32])) else {
            panic!("not signed")
        };
        let found = one(&mut bob, CurveOp::Recover([4; 32], signature));
        assert!(matches!(found, CurveOutput::Recovered(key) if key == alice.key.public_key()));
        assert!(matches!(one(&mut bob, CurveOp::Recover([5; 32], signature)), CurveOutput::Invalid));
        assert!(matches!(one(&mut bob, CurveOp::Recover([4; 32], Signature([4; 65]))), CurveOutput::Invalid));
    }

    #[test]
    fn both_sides_agree_on_the_same_secret() {
        let (mut alice, mut bob) = (curve(1), curve(2));
        let CurveOutput::Generated(ephemeral) = one(&mut alice, CurveOp::Generate) else { panic!("no key") };
        let agreed = |curve: &mut SimCurve, key, with| match one(curve, CurveOp::Agree(key, with)) {
            CurveOutput::Agreed(secret) => secret,
            other @ (CurveOutput::Generated(_)
            | CurveOutput::Signed(_)
            | CurveOutput::Recovered(_)
            | CurveOutput::Verified(_)
            | CurveOutput::Invalid) => panic!("{other:?}"),
        };
        let to_bob = agreed(&mut alice, KeyRef::Ephemeral(ephemeral.clone()), curve(2).key.public_key());
        assert_eq!(to_bob, agreed(&mut bob, KeyRef::Node, ephemeral.public_key()));
        assert_ne!(to_bob, agreed(&mut alice, KeyRef::Node, curve(2).key.public_key()));
    }

    #[test]
    fn a_record_is_verified_by_its_own_key_alone() {
        let endpoint = identity::Endpoint { ip: [16, 0, 0, 1].into(), udp: 30303, tcp: 30303 };
        let record = sign_record(&numbered_key(1), &EnrBuilder::new(1).endpoint(endpoint)).unwrap();
        let check = |encoded: &[u8]| {
            let record = UnverifiedEnr::decode(encoded).unwrap();
            one(&mut curve(2), CurveOp::Verify(Box::new(record)))
        };
        assert!(matches!(check(record.encoded()), CurveOutput::Verified(found) if found == record));
        let mut forged = record.encoded().to_vec();
        forged[10] ^= 1;
        assert!(matches!(check(&forged), CurveOutput::Invalid));
    }
}
