//! Connections without sockets, for tests: two sessions with a wire between them ([`SessionPair`]), and a peer that shakes
//! hands as it should and then sends what a test likes ([`ScriptedPeer`]). Feature `testing`, for `[dev-dependencies]`.
//! With tokio, two protocols that talk to each other are a [`ProtocolPair`].
//! Nothing here is secret or random: keys and all that is drawn follow from seeds.

mod pair;
mod scripted;

use std::sync::Arc;

use identity::{
    NodeKey, PublicKey,
    curve::{CurveOp, CurveResult, InlineCurve, SharedSecret},
};
use rand::{SeedableRng, rngs::ChaCha20Rng};

pub use pair::{End, SessionPair};
pub use scripted::{Role, ScriptedPeer};

#[cfg(feature = "tokio")]
pub use crate::driver::ProtocolPair;
use crate::{HandshakeError, Session, ecies};

/// Runs the operations of a job, in order, with one node's key.
pub type Curve = Box<dyn FnMut(Vec<CurveOp>) -> CurveResult + Send>;

/// The curve of the node with `key`; ephemeral keys follow from `seed`.
pub fn curve(key: Arc<NodeKey>, seed: u64) -> Curve {
    let mut curve = InlineCurve::new(key, ChaCha20Rng::seed_from_u64(seed));
    Box::new(move |ops| curve.run(ops))
}

/// Seals a handshake message of any content up to 65,422 bytes: the whole packet, size prefix and tag as they should be.
/// `shared` is the agreement of `ephemeral` with the receiver's key.
pub fn seal(shared: &SharedSecret, ephemeral: &PublicKey, iv: [u8; 16], content: &[u8]) -> Vec<u8> {
    ecies::seal(shared, ephemeral, iv, content)
}

/// Opens a handshake packet, its size prefix included: the content.
///
/// # Errors
/// `Envelope` when it is cut or its tag is wrong.
pub fn open(shared: &SharedSecret, packet: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    let (prefix, envelope) = packet.split_first_chunk().ok_or(HandshakeError::Envelope)?;
    Ok(ecies::open(shared, *prefix, &mut envelope.to_vec())?.to_vec())
}

/// Bytes that a session has allocated for what is read, and for what waits to be written.
pub fn buffer_capacities(session: &Session) -> (usize, usize) {
    session.buffer_capacities()
}
