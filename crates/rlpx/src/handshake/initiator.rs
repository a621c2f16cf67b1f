//! The dialling side of the handshake, a struct a state. Trips to the curve: generate and agree; sign and agree;
//! and, once ack has come, agree; agree. 1 key generation, 4 agreements, 1 signature.
//!
//! The ephemeral key also seals auth, as Noise does with its own: each use derives its keys by a hash of another form.

use identity::{
    PublicKey,
    curve::{CurveOp, EphemeralKey, KeyRef, SharedSecret},
};

use super::{Complete, Entropy, Nonce, Outputs, Step, ack::Ack, auth::Auth, masked};
use crate::{
    ecies::{self, PREFIX_LEN},
    error::{DecodeError, Fault, HandshakeError, What},
    handshake::secrets::{Half, Secrets},
};

/// Waits for the ephemeral key and the static shared secret.
pub(super) struct KeysAsked {
    own: PublicKey,
    remote: PublicKey,
    entropy: Entropy,
}

/// Waits for the signature and the secret that seals auth.
pub(super) struct SignatureAsked {
    own: PublicKey,
    remote: PublicKey,
    entropy: Entropy,
    ephemeral: EphemeralKey,
}

/// Auth is out; waits for ack.
pub(super) struct AckAwaited {
    own: PublicKey,
    remote: PublicKey,
    ephemeral: EphemeralKey,
    nonce: Nonce,
    auth: Vec<u8>,
}

/// Waits for the secret that opens ack.
pub(super) struct AckSecretAsked {
    waited: AckAwaited,
    ack: Vec<u8>,
}

/// Waits for the ephemeral shared secret.
pub(super) struct EphemeralAsked {
    waited: AckAwaited,
    ack: Vec<u8>,
    ack_nonce: Nonce,
}

impl KeysAsked {
    pub(super) fn start(own: PublicKey, remote: PublicKey, entropy: Entropy) -> (Self, Vec<CurveOp>) {
        let ops = vec![CurveOp::Generate, CurveOp::Agree(KeyRef::Node, remote)];
        (Self { own, remote, entropy }, ops)
    }

    pub(super) fn handle_curve(self, mut outputs: Outputs) -> Result<Step, HandshakeError> {
        let ephemeral = outputs.generated()?;
        let token = masked(&outputs.agreed()?, &self.entropy.nonce);
        let key = || KeyRef::Ephemeral(ephemeral.clone());
        let ops = vec![CurveOp::Sign(key(), *token), CurveOp::Agree(key(), self.remote)];
        let Self { own, remote, entropy } = self;
        Ok(Step::Curve(SignatureAsked { own, remote, entropy, ephemeral }.into(), ops))
    }
}

impl SignatureAsked {
    pub(super) fn handle_curve(self, mut outputs: Outputs) -> Result<Step, HandshakeError> {
        let Self { own, remote, entropy, ephemeral } = self;
        let Entropy { nonce, iv, padding } = entropy;
        let message = Auth { signature: outputs.signed()?, initiator: own, nonce };
        let auth = ecies::seal(&outputs.agreed()?, &ephemeral.public_key(), iv, &message.encode(&padding));
        let send = auth.clone();
        Ok(Step::Send(AckAwaited { own, remote, ephemeral, nonce, auth }.into(), send))
    }
}

impl AckAwaited {
    pub(super) fn handle_packet(self, ack: Vec<u8>) -> Result<Step, HandshakeError> {
        let point = ecies::point(ack.get(PREFIX_LEN..).unwrap_or_default())?;
        let ops = vec![CurveOp::Agree(KeyRef::Node, point)];
        Ok(Step::Curve(AckSecretAsked { waited: self, ack }.into(), ops))
    }
}

impl AckSecretAsked {
    pub(super) fn handle_curve(self, mut outputs: Outputs) -> Result<Step, HandshakeError> {
        let Self { waited, ack } = self;
        let message = super::open(&outputs.agreed()?, &ack, Ack::decode)?;
        // A peer that echoes one of our own keys cannot know the secret that follows from it.
        if message.ephemeral == waited.ephemeral.public_key() || message.ephemeral == waited.own {
            return Err(HandshakeError::Content(DecodeError::new(What::Ack, Fault::Degenerate)));
        }
        let ops = vec![CurveOp::Agree(KeyRef::Ephemeral(waited.ephemeral.clone()), message.ephemeral)];
        Ok(Step::Curve(EphemeralAsked { waited, ack, ack_nonce: message.nonce }.into(), ops))
    }
}

impl EphemeralAsked {
    pub(super) fn handle_curve(self, mut outputs: Outputs) -> Result<Step, HandshakeError> {
        let Self { waited, ack, ack_nonce } = self;
        let ephemeral: SharedSecret = outputs.agreed()?;
        let auth = Half { nonce: &waited.nonce, packet: &waited.auth };
        let secrets = Secrets::of_initiator(&ephemeral, auth, Half { nonce: &ack_nonce, packet: &ack });
        Ok(Step::Done(Box::new(Complete { remote: waited.remote, secrets, send: Vec::new() })))
    }
}
