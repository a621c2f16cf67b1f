//! The encrypted handshake: who waits for what, from the first packet to the session's secrets.
//! devp2p specification, `rlpx.md`, "Initial Handshake", in the form of EIP-8 alone. States are structs consumed by
//! value; all curve work leaves as operations and comes back as outputs.

mod ack;
mod auth;
mod initiator;
#[cfg(test)]
mod properties;
mod recipient;
mod secrets;
#[cfg(test)]
mod tests;

use identity::{
    PublicKey, Signature,
    curve::{CurveOp, CurveOutput, EphemeralKey, SharedSecret},
};
use rand::CryptoRng;
use rlp::Rlp;
use zeroize::Zeroizing;

use crate::{
    ecies::{self, OVERHEAD, PREFIX_LEN},
    error::{DecodeError, Fault, HandshakeError, What},
};
pub(crate) use secrets::Secrets;

/// The version that auth and ack name; nobody checks it (EIP-8).
const VERSION: u8 = 4;
/// Largest size prefix taken, in bytes (go-ethereum `maxHandshakePacketSize`: 2,048).
const MAX_PACKET_LEN: usize = 2048;
/// Fewest padding bytes sent (EIP-8: 100 or more, so that no packet has the length of the old form).
const MIN_PADDING_LEN: usize = 100;
/// Most padding bytes sent (go-ethereum: under 200).
const MAX_PADDING_LEN: usize = 199;

/// What the longer of our messages takes with its padding, in bytes: auth has a signature, a key, a nonce and a version, with
/// two bytes or fewer before each.
const MAX_CONTENT_LEN: usize = 65 + 64 + 32 + 1 + 4 * 2 + MAX_PADDING_LEN;

/// 32 random bytes of each side.
pub(crate) type Nonce = [u8; 32];

/// Everything random that one side of a handshake needs, besides keys.
pub(crate) struct Entropy {
    nonce: Nonce,
    iv: [u8; 16],
    padding: Vec<u8>,
}

impl Entropy {
    pub(crate) fn draw(rng: &mut impl CryptoRng) -> Self {
        // All at once: each draw from the operating system is a call of its own.
        let mut drawn = [0; 32 + 16 + 1 + MAX_PADDING_LEN];
        rng.fill_bytes(&mut drawn);
        let (nonce, rest) = drawn.split_first_chunk().expect("it begins with 32 bytes");
        let (iv, rest) = rest.split_first_chunk().expect("16 bytes are next");
        let (len, padding) = rest.split_first().expect("then one byte");
        let len = MIN_PADDING_LEN + usize::from(*len) % (MAX_PADDING_LEN - MIN_PADDING_LEN + 1);
        let padding = padding.get(..len).unwrap_or_default().to_vec();
        Self { nonce: *nonce, iv: *iv, padding }
    }
}

/// A handshake that waits, for a packet or for the curve.
pub(crate) struct Handshake(State);

enum State {
    InitiatorKeys(initiator::KeysAsked),
    InitiatorSignature(initiator::SignatureAsked),
    InitiatorAck(initiator::AckAwaited),
    InitiatorAckSecret(initiator::AckSecretAsked),
    InitiatorEphemeral(initiator::EphemeralAsked),
    RecipientAuth(recipient::AuthAwaited),
    RecipientAuthSecret(recipient::AuthSecretAsked),
    RecipientKeys(recipient::KeysAsked),
    RecipientProof(recipient::ProofAsked),
    RecipientEphemeral(recipient::EphemeralAsked),
}

/// What follows from an input.
pub(crate) enum Step {
    /// Ask the curve, for someone of whom nothing is known.
    Unproven(Handshake, Vec<CurveOp>),
    /// Ask the curve.
    Curve(Handshake, Vec<CurveOp>),
    /// Send a packet and wait for the other's.
    Send(Handshake, Vec<u8>),
    /// Both sides have the secrets.
    Done(Box<Complete>),
}

/// A handshake's result.
pub(crate) struct Complete {
    /// The node at the other end. It has proved its key once its first frame's MAC is right.
    pub(crate) remote: PublicKey,
    pub(crate) secrets: Secrets,
    /// What is still to be sent: the recipient's ack.
    pub(crate) send: Vec<u8>,
}

impl Handshake {
    /// The dialling side: `own` calls `remote`.
    pub(crate) fn initiator(own: PublicKey, remote: PublicKey, entropy: Entropy) -> Step {
        let (state, ops) = initiator::KeysAsked::start(own, remote, entropy);
        Step::Curve(state.into(), ops)
    }

    /// The listening side.
    pub(crate) fn recipient(entropy: Entropy) -> Self {
        recipient::AuthAwaited::start(entropy).into()
    }

    /// Whether a packet is awaited; otherwise the curve is.
    pub(crate) const fn wants_packet(&self) -> bool {
        match self.0 {
            State::InitiatorAck(_) | State::RecipientAuth(_) => true,
            State::InitiatorKeys(_)
            | State::InitiatorSignature(_)
            | State::InitiatorAckSecret(_)
            | State::InitiatorEphemeral(_)
            | State::RecipientAuthSecret(_)
            | State::RecipientKeys(_)
            | State::RecipientProof(_)
            | State::RecipientEphemeral(_) => false,
        }
    }

    /// The awaited packet came, size prefix included. Nothing happens when none is awaited.
    pub(crate) fn handle_packet(self, packet: Vec<u8>) -> Result<Step, HandshakeError> {
        match self.0 {
            State::InitiatorAck(state) => state.handle_packet(packet),
            State::RecipientAuth(state) => state.handle_packet(packet),
            State::InitiatorKeys(_)
            | State::InitiatorSignature(_)
            | State::InitiatorAckSecret(_)
            | State::InitiatorEphemeral(_)
            | State::RecipientAuthSecret(_)
            | State::RecipientKeys(_)
            | State::RecipientProof(_)
            | State::RecipientEphemeral(_) => Err(HandshakeError::Refused),
        }
    }

    /// The outputs of the last operations asked for, in order.
    pub(crate) fn handle_curve(self, outputs: Vec<CurveOutput>) -> Result<Step, HandshakeError> {
        let outputs = Outputs(outputs.into_iter());
        match self.0 {
            State::InitiatorKeys(state) => state.handle_curve(outputs),
            State::InitiatorSignature(state) => state.handle_curve(outputs),
            State::InitiatorAckSecret(state) => state.handle_curve(outputs),
            State::InitiatorEphemeral(state) => state.handle_curve(outputs),
            State::RecipientAuthSecret(state) => state.handle_curve(outputs),
            State::RecipientKeys(state) => state.handle_curve(outputs),
            State::RecipientProof(state) => state.handle_curve(outputs),
            State::RecipientEphemeral(state) => state.handle_curve(outputs),
            State::InitiatorAck(_) | State::RecipientAuth(_) => Err(HandshakeError::Refused),
        }
    }
}

/// The length of the packet that begins with `prefix`, prefix included, in bytes.
pub(crate) fn packet_len(prefix: [u8; PREFIX_LEN]) -> Result<usize, HandshakeError> {
    let size = usize::from(u16::from_be_bytes(prefix));
    if !(OVERHEAD..=MAX_PACKET_LEN).contains(&size) {
        return Err(HandshakeError::Size { found: size });
    }
    Ok(PREFIX_LEN + size)
}

macro_rules! states {
    ($($variant:ident($side:ident::$state:ident)),+ $(,)?) => {$(
        impl From<$side::$state> for Handshake {
            fn from(state: $side::$state) -> Self {
                Self(State::$variant(state))
            }
        }
    )+};
}

states! {
    InitiatorKeys(initiator::KeysAsked),
    InitiatorSignature(initiator::SignatureAsked),
    InitiatorAck(initiator::AckAwaited),
    InitiatorAckSecret(initiator::AckSecretAsked),
    InitiatorEphemeral(initiator::EphemeralAsked),
    RecipientAuth(recipient::AuthAwaited),
    RecipientAuthSecret(recipient::AuthSecretAsked),
    RecipientKeys(recipient::KeysAsked),
    RecipientProof(recipient::ProofAsked),
    RecipientEphemeral(recipient::EphemeralAsked),
}

/// The outputs of one trip, taken in order. One that is missing, invalid or of another kind fails the handshake.
struct Outputs(std::vec::IntoIter<CurveOutput>);

impl Outputs {
    fn generated(&mut self) -> Result<EphemeralKey, HandshakeError> {
        let Some(CurveOutput::Generated(key)) = self.0.next() else { return Err(HandshakeError::Refused) };
        Ok(key)
    }

    fn agreed(&mut self) -> Result<SharedSecret, HandshakeError> {
        let Some(CurveOutput::Agreed(secret)) = self.0.next() else { return Err(HandshakeError::Envelope) };
        Ok(secret)
    }

    fn signed(&mut self) -> Result<Signature, HandshakeError> {
        let Some(CurveOutput::Signed(signature)) = self.0.next() else { return Err(HandshakeError::Refused) };
        Ok(signature)
    }

    fn recovered(&mut self) -> Result<PublicKey, HandshakeError> {
        let Some(CurveOutput::Recovered(key)) = self.0.next() else { return Err(HandshakeError::Signature) };
        Ok(key)
    }
}

/// What `decode` makes of the content of a packet. The packet stays as it came: the MACs are seeded with it.
fn open<T>(
    shared: &SharedSecret,
    packet: &[u8],
    decode: impl FnOnce(&[u8]) -> Result<T, HandshakeError>,
) -> Result<T, HandshakeError> {
    let (prefix, envelope) = packet.split_first_chunk::<PREFIX_LEN>().ok_or(HandshakeError::Envelope)?;
    let mut envelope = envelope.to_vec();
    decode(ecies::open(shared, *prefix, &mut envelope)?)
}

/// The content of a packet.
#[cfg(test)]
fn content(shared: &SharedSecret, packet: &[u8]) -> Result<Vec<u8>, HandshakeError> {
    open(shared, packet, |content| Ok(content.to_vec()))
}

/// `secret ^ nonce`: what the initiator signs.
fn masked(secret: &SharedSecret, nonce: &Nonce) -> Zeroizing<[u8; 32]> {
    let mut masked = secret.clone();
    for (byte, other) in masked.iter_mut().zip(nonce) {
        *byte ^= other;
    }
    masked
}

/// The string of exactly `N` bytes at `index`.
fn item<const N: usize>(list: &Rlp<'_>, index: usize) -> Option<[u8; N]> {
    let item = list.at(index).ok()?;
    item.decoder().decode_value(|bytes| Ok(bytes.try_into().ok())).ok()?
}

/// The key at `index`, checked to be a point of the curve.
fn public_key(list: &Rlp<'_>, index: usize, what: What) -> Result<PublicKey, HandshakeError> {
    let fail = |fault| HandshakeError::Content(DecodeError::new(what, fault));
    let key = PublicKey::from_bytes(item(list, index).ok_or(fail(Fault::Rlp))?);
    if key.is_on_curve() { Ok(key) } else { Err(fail(Fault::NotOnCurve)) }
}

/// The nonce at `index`. All zero is none that was drawn at random.
fn nonce(list: &Rlp<'_>, index: usize, what: What) -> Result<Nonce, HandshakeError> {
    let fail = |fault| HandshakeError::Content(DecodeError::new(what, fault));
    let nonce = item(list, index).ok_or(fail(Fault::Rlp))?;
    if nonce == [0; 32] { Err(fail(Fault::Degenerate)) } else { Ok(nonce) }
}
