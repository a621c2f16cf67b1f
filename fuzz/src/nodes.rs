//! Two nodes with the static keys of EIP-8's test vectors, so that those vectors are for them, and two ways to run
//! their curve jobs. Public keys cost a multiplication each, so all are made once a process.

use std::sync::{Arc, OnceLock};

use identity::{
    NodeKey, PublicKey,
    curve::{CurveOp, CurveOutput, CurveResult, EphemeralKey},
};
use rlpx::testing::{self, Curve};
use world::SimCurve;

/// EIP-8, "Test Vectors": static keys A and B, ephemeral keys A and B.
const KEYS: [&str; 4] = [
    "49a7b37aa6f6645917e7b807e9d1c00d4fa71f18343b0d4122a4d2df64dd6fee",
    "b71c71a67e1177ad4e901695e1b4b9ee17ae16c6668d313eac2f96dbcda3f291",
    "869d6ecf5211f1cc60418a13b9d870b22959d0c16f02bec714c960dd2298a32d",
    "e238eb8e04fee6511ab04c6dd3c89ce097b11f25d584863ac2b6d5b35b1847e4",
];

/// A node of the vectors.
pub(crate) struct Node {
    pub(crate) key: Arc<NodeKey>,
    /// The key that it uses for one handshake.
    pub(crate) ephemeral: EphemeralKey,
}

impl Node {
    fn new(key: &str, ephemeral: &str) -> Self {
        let parse = |text| NodeKey::from_hex(text).expect("a key of EIP-8");
        Self { key: Arc::new(parse(key)), ephemeral: EphemeralKey::new(parse(ephemeral)) }
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    /// Its curve: a real one, or one that answers without curves.
    pub(crate) fn curve(&self, real: bool, seed: u64) -> Curve {
        if real {
            return testing::curve(Arc::clone(&self.key), seed);
        }
        let mut curve = SimCurve::new(Arc::clone(&self.key), seed);
        Box::new(move |ops| curve.run(ops))
    }
}

/// The node that dials in EIP-8, and the one that is dialed.
pub(crate) fn nodes() -> &'static [Node; 2] {
    static NODES: OnceLock<[Node; 2]> = OnceLock::new();
    NODES.get_or_init(|| [Node::new(KEYS[0], KEYS[2]), Node::new(KEYS[1], KEYS[3])])
}

/// Runs one operation. None when the curve has nothing for it.
pub(crate) fn run(curve: &mut Curve, op: CurveOp) -> Option<CurveOutput> {
    match curve(vec![op]) {
        CurveResult::Done(mut outputs) => outputs.pop(),
        CurveResult::Refused => None,
    }
}
