//! What both ends have in common after the handshake, and the frame ciphers and MACs made of it.
//! devp2p specification, `rlpx.md`, "Initial Handshake" and "MAC".

use identity::{Keccak256, curve::SharedSecret, keccak256_concat};
use zeroize::Zeroizing;

use super::Nonce;
use crate::{
    config::MAX_HELLO_LEN,
    frame::{FrameCipher, FrameDecoder, FrameEncoder, FrameMac},
};

/// Longest content of a frame before Hello, in bytes: a one-byte code and a payload.
const MAX_FIRST_LEN: usize = 1 + MAX_HELLO_LEN;

/// The secrets of a session.
pub(crate) struct Secrets {
    pub(crate) aes: Zeroizing<[u8; 32]>,
    pub(crate) mac: Zeroizing<[u8; 32]>,
    pub(crate) egress: Keccak256,
    pub(crate) ingress: Keccak256,
}

/// One end of the handshake: its nonce and the packet it sent, size prefix included.
#[derive(Clone, Copy)]
pub(crate) struct Half<'a> {
    pub(crate) nonce: &'a Nonce,
    pub(crate) packet: &'a [u8],
}

impl Secrets {
    /// The initiator's view.
    pub(crate) fn of_initiator(ephemeral: &SharedSecret, auth: Half<'_>, ack: Half<'_>) -> Self {
        Self::derive(ephemeral, auth, ack)
    }

    /// The recipient's view: the same with the directions swapped.
    pub(crate) fn of_recipient(ephemeral: &SharedSecret, auth: Half<'_>, ack: Half<'_>) -> Self {
        let Self { aes, mac, egress, ingress } = Self::derive(ephemeral, auth, ack);
        Self { aes, mac, egress: ingress, ingress: egress }
    }

    fn derive(ephemeral: &SharedSecret, auth: Half<'_>, ack: Half<'_>) -> Self {
        let nonces = keccak256_concat(&[ack.nonce, auth.nonce]);
        let shared = Zeroizing::new(keccak256_concat(&[ephemeral.as_slice(), &nonces]));
        let aes = Zeroizing::new(keccak256_concat(&[ephemeral.as_slice(), shared.as_slice()]));
        let mac = Zeroizing::new(keccak256_concat(&[ephemeral.as_slice(), aes.as_slice()]));
        Self {
            egress: mac_state(&mac, ack.nonce, auth.packet),
            ingress: mac_state(&mac, auth.nonce, ack.packet),
            aes,
            mac,
        }
    }

    /// The frame layer. The decoder takes nothing longer than a Hello until it is told so.
    pub(crate) fn into_frames(self) -> (FrameEncoder, FrameDecoder) {
        // Both directions run the same key stream from zero: the specification's known flaw, not ours to mend.
        let [sending, receiving] = FrameCipher::both(&self.aes);
        let [egress, ingress] = FrameMac::both(&self.mac, [self.egress, self.ingress]);
        (FrameEncoder::new(sending, egress), FrameDecoder::new(receiving, ingress, MAX_FIRST_LEN))
    }
}

/// A direction's MAC state: the secret masked with the receiver's nonce, then the packet that went that way.
fn mac_state(mac: &[u8; 32], nonce: &Nonce, packet: &[u8]) -> Keccak256 {
    let mut masked = Zeroizing::new(*mac);
    for (byte, other) in masked.iter_mut().zip(nonce) {
        *byte ^= other;
    }
    let mut state = Keccak256::new();
    state.update(masked.as_slice());
    state.update(packet);
    state
}
