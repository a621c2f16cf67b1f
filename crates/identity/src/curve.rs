//! Elliptic-curve work as an effect: a machine puts out a [`CurveJob`] under a [`Ticket`] and is handed the
//! [`CurveResult`] later. Here are the job types and [`InlineCurve`], which runs a job where it is called;
//! `CurvePool` (feature `pool`) runs them on threads.
//!
//! A job names the node key and never carries it. Ephemeral secrets are zeroized and never printed.

use std::{fmt, sync::Arc};

use rand::CryptoRng;
use zeroize::Zeroizing;

use crate::{Enr, NodeKey, PublicKey, Signature, UnverifiedEnr};

/// Names a job among those its machine has put out; answered exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Jobs of one lane come back in the order they were put out: a hash of an endpoint, or a connection's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane(pub u64);

/// Who goes first when a pool is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The first trip of an inbound handshake: nothing is known of the sender. May be dropped, the oldest first.
    Unproven,
    /// A datagram, or something of our own. Refused when the pool is full.
    Normal,
    /// A handshake that has begun: finishing it frees more than it costs.
    Begun,
}

/// Which private key an operation uses.
#[derive(Clone, Debug)]
pub enum KeyRef {
    /// The node key, known to the runner alone.
    Node,
    /// A key that an earlier [`CurveOp::Generate`] gave.
    Ephemeral(EphemeralKey),
}

impl KeyRef {
    /// The key itself, where it lies: it is not copied.
    fn resolve<'a>(&'a self, node_key: &'a NodeKey) -> &'a NodeKey {
        match self {
            Self::Node => node_key,
            Self::Ephemeral(key) => &key.0,
        }
    }
}

/// A private key for one handshake. Zeroized when its last clone is dropped; never printed.
#[derive(Clone)]
pub struct EphemeralKey(Arc<NodeKey>);

impl EphemeralKey {
    /// Wraps a key, for runners.
    pub fn new(key: NodeKey) -> Self {
        Self(Arc::new(key))
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        self.0.public_key()
    }
}

impl fmt::Debug for EphemeralKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EphemeralKey")
    }
}

/// One operation on the curve.
#[derive(Clone, Debug)]
pub enum CurveOp {
    /// Draws an ephemeral key pair: [`CurveOutput::Generated`].
    Generate,
    /// The shared secret of a private and a public key: [`CurveOutput::Agreed`].
    Agree(KeyRef, PublicKey),
    /// A recoverable signature over a digest: [`CurveOutput::Signed`].
    Sign(KeyRef, [u8; 32]),
    /// Who signed the digest: [`CurveOutput::Recovered`].
    Recover([u8; 32], Signature),
    /// Whether a record's signature is its key's: [`CurveOutput::Verified`].
    Verify(Box<UnverifiedEnr>),
}

/// The x coordinate of a shared point, 32 bytes; zeroized when dropped.
pub type SharedSecret = Zeroizing<[u8; 32]>;

/// What one operation gave, in the order of the job's operations.
#[derive(Clone)]
pub enum CurveOutput {
    /// The new key; its public half is [`EphemeralKey::public_key`].
    Generated(EphemeralKey),
    /// The shared secret.
    Agreed(SharedSecret),
    /// The signature.
    Signed(Signature),
    /// The signer.
    Recovered(PublicKey),
    /// The record, now verified.
    Verified(Enr),
    /// The key, signature or record is not valid.
    Invalid,
}

impl fmt::Debug for CurveOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generated(_) => f.write_str("Generated"),
            Self::Agreed(_) => f.write_str("Agreed"),
            Self::Signed(_) => f.write_str("Signed"),
            Self::Recovered(key) => write!(f, "Recovered({key:?})"),
            Self::Verified(enr) => write!(f, "Verified({enr:?})"),
            Self::Invalid => f.write_str("Invalid"),
        }
    }
}

/// Operations that do not depend on each other, put out together.
#[derive(Clone, Debug)]
pub struct CurveJob {
    /// Comes back with the result.
    pub ticket: Ticket,
    /// Keeps order among the jobs of one endpoint or connection.
    pub lane: Lane,
    /// Who goes first.
    pub urgency: Urgency,
    /// What to do.
    pub ops: Vec<CurveOp>,
}

/// How a job ended.
#[derive(Clone, Debug)]
pub enum CurveResult {
    /// One output an operation, in order.
    Done(Vec<CurveOutput>),
    /// The runner was full; nothing was done.
    Refused,
}

/// Runs jobs on the calling thread with a node key and a source of randomness for ephemeral keys.
pub struct InlineCurve<R> {
    key: Arc<NodeKey>,
    rng: R,
}

impl<R: CryptoRng> InlineCurve<R> {
    /// A runner for the node with `key`; `rng` is the operating system's in every driver.
    pub const fn new(key: Arc<NodeKey>, rng: R) -> Self {
        Self { key, rng }
    }

    /// Runs every operation of a job.
    pub fn run(&mut self, ops: Vec<CurveOp>) -> CurveResult {
        CurveResult::Done(ops.into_iter().map(|op| run_op(&self.key, op, &mut self.rng)).collect())
    }
}

/// Runs one operation with `node_key` where it names the node key.
pub(crate) fn run_op(node_key: &NodeKey, op: CurveOp, rng: &mut (impl CryptoRng + ?Sized)) -> CurveOutput {
    match op {
        CurveOp::Generate => CurveOutput::Generated(EphemeralKey::new(NodeKey::generate(rng))),
        CurveOp::Agree(key, public) => {
            key.resolve(node_key).agree(&public).map_or(CurveOutput::Invalid, CurveOutput::Agreed)
        }
        CurveOp::Sign(key, digest) => CurveOutput::Signed(key.resolve(node_key).sign(&digest)),
        CurveOp::Recover(digest, signature) => {
            signature.recover(&digest).map_or(CurveOutput::Invalid, CurveOutput::Recovered)
        }
        CurveOp::Verify(record) => record.verify().map_or(CurveOutput::Invalid, CurveOutput::Verified),
    }
}

impl<R> fmt::Debug for InlineCurve<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InlineCurve({:?})", self.key)
    }
}
