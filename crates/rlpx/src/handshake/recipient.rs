//! The listening side of the handshake, a struct a state. Trips to the curve once auth has come: agree; agree and
//! generate; recover and agree; agree. 1 key generation, 4 agreements, 1 recovery.
//!
//! Only the first trip is for someone of whom nothing is known; whoever gets past it knows our key, at least. The ephemeral
//! key seals ack too, as the initiator's does auth (`initiator.rs`): its public half is in clear then, as in Noise.

use identity::{
    PublicKey,
    curve::{CurveOp, EphemeralKey, KeyRef},
};

use super::{Complete, Entropy, Nonce, Outputs, Step, ack::Ack, auth::Auth, masked};
use crate::{
    ecies::{self, PREFIX_LEN},
    error::{DecodeError, Fault, HandshakeError, What},
    handshake::secrets::{Half, Secrets},
};

/// Waits for auth.
pub(super) struct AuthAwaited {
    entropy: Entropy,
}

/// Waits for the secret that opens auth.
pub(super) struct AuthSecretAsked {
    entropy: Entropy,
    packet: Vec<u8>,
}

/// Waits for the static shared secret, and for the ephemeral key.
pub(super) struct KeysAsked {
    entropy: Entropy,
    packet: Vec<u8>,
    auth: Auth,
}

/// Waits for the initiator's ephemeral key and the secret that seals ack.
pub(super) struct ProofAsked {
    entropy: Entropy,
    received: Received,
    ephemeral: EphemeralKey,
}

/// Waits for the ephemeral shared secret.
pub(super) struct EphemeralAsked {
    received: Received,
    nonce: Nonce,
    ack: Vec<u8>,
}

/// What is kept of auth.
struct Received {
    packet: Vec<u8>,
    initiator: PublicKey,
    nonce: Nonce,
}

impl AuthAwaited {
    pub(super) const fn start(entropy: Entropy) -> Self {
        Self { entropy }
    }

    pub(super) fn handle_packet(self, packet: Vec<u8>) -> Result<Step, HandshakeError> {
        let point = ecies::point(packet.get(PREFIX_LEN..).unwrap_or_default())?;
        let state = AuthSecretAsked { entropy: self.entropy, packet };
        Ok(Step::Unproven(state.into(), vec![CurveOp::Agree(KeyRef::Node, point)]))
    }
}

impl AuthSecretAsked {
    pub(super) fn handle_curve(self, mut outputs: Outputs) -> Result<Step, HandshakeError> {
        let Self { entropy, packet } = self;
        let auth = super::open(&outputs.agreed()?, &packet, Auth::decode)?;
        let ops = vec![CurveOp::Agree(KeyRef::Node, auth.initiator), CurveOp::Generate];
        Ok(Step::Curve(KeysAsked { entropy, packet, auth }.into(), ops))
    }
}

impl KeysAsked {
    pub(super) fn handle_curve(self, mut outputs: Outputs) -> Result<Step, HandshakeError> {
        let Self { entropy, packet, auth: Auth { signature, initiator, nonce } } = self;
        let token = masked(&outputs.agreed()?, &nonce);
        let ephemeral = outputs.generated()?;
        let ops = vec![
            CurveOp::Recover(*token, signature),
            CurveOp::Agree(KeyRef::Ephemeral(ephemeral.clone()), initiator),
        ];
        let received = Received { packet, initiator, nonce };
        Ok(Step::Curve(ProofAsked { entropy, received, ephemeral }.into(), ops))
    }
}

impl ProofAsked {
    pub(super) fn handle_curve(self, mut outputs: Outputs) -> Result<Step, HandshakeError> {
        let Self { entropy: Entropy { nonce, iv, padding }, received, ephemeral } = self;
        let remote_ephemeral = outputs.recovered()?;
        if remote_ephemeral == ephemeral.public_key() {
            return Err(HandshakeError::Content(DecodeError::new(What::Auth, Fault::Degenerate)));
        }
        let message = Ack { ephemeral: ephemeral.public_key(), nonce }.encode(&padding);
        let ack = ecies::seal(&outputs.agreed()?, &ephemeral.public_key(), iv, &message);
        let ops = vec![CurveOp::Agree(KeyRef::Ephemeral(ephemeral), remote_ephemeral)];
        Ok(Step::Curve(EphemeralAsked { received, nonce, ack }.into(), ops))
    }
}

impl EphemeralAsked {
    pub(super) fn handle_curve(self, mut outputs: Outputs) -> Result<Step, HandshakeError> {
        let Self { received, nonce, ack } = self;
        let auth = Half { nonce: &received.nonce, packet: &received.packet };
        let secrets = Secrets::of_recipient(&outputs.agreed()?, auth, Half { nonce: &nonce, packet: &ack });
        Ok(Step::Done(Box::new(Complete { remote: received.initiator, secrets, send: ack })))
    }
}
