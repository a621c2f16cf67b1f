//! Handshake packets by chance: what is sealed opens as it was, two ends that follow the rules end with the same
//! secrets, and no packet panics at either.

use identity::{
    NodeKey,
    curve::{CurveResult, InlineCurve},
};
use proptest::{collection::vec, prelude::*, sample::Index};
use rand::{SeedableRng, rngs::ChaCha20Rng};

use super::{ack::Ack, auth::Auth, *};

fn config(cases: u32) -> ProptestConfig {
    // A case that fails is printed; a fault that it shows is kept as a test of its own.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn keys() -> impl Strategy<Value = NodeKey> {
    any::<[u8; 32]>().prop_filter_map("a number of the group", |secret| NodeKey::from_bytes(&secret).ok())
}

/// A nonce as honest nodes draw it: not all zero.
fn nonces() -> impl Strategy<Value = Nonce> {
    any::<Nonce>().prop_filter("drawn at random", |nonce| *nonce != [0; 32])
}

fn entropies() -> impl Strategy<Value = Entropy> {
    let padding = vec(any::<u8>(), 0..=MAX_PADDING_LEN);
    (nonces(), any::<[u8; 16]>(), padding).prop_map(|(nonce, iv, padding)| Entropy { nonce, iv, padding })
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entropy({:02x?}, {} bytes)", self.nonce, self.padding.len())
    }
}

/// Runs trips to the curve until the handshake waits for a packet, has one to send, or is over.
fn settle(mut step: Step, curve: &mut InlineCurve<ChaCha20Rng>) -> Result<Step, HandshakeError> {
    loop {
        step = match step {
            Step::Unproven(state, ops) | Step::Curve(state, ops) => {
                let CurveResult::Done(outputs) = curve.run(ops) else { panic!("refused") };
                state.handle_curve(outputs)?
            }
            Step::Send(..) | Step::Done(_) => return Ok(step),
        };
    }
}

fn curve(key: &NodeKey, seed: u64) -> InlineCurve<ChaCha20Rng> {
    InlineCurve::new(std::sync::Arc::new(key.clone()), ChaCha20Rng::seed_from_u64(seed))
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn auth_and_ack_open_as_they_were_sealed(
        (initiator, sealing, recipient) in (keys(), keys(), keys()),
        signature in vec(any::<u8>(), 65),
        entropy in entropies(),
        more in vec(any::<u8>(), 0..200),
    ) {
        let shared = sealing.agree(&recipient.public_key()).unwrap();
        let open = |content: &[u8]| {
            let packet = ecies::seal(&shared, &sealing.public_key(), entropy.iv, content);
            let (prefix, envelope) = packet.split_first_chunk().unwrap();
            assert_eq!(packet_len(*prefix), Ok(packet.len()));
            let point = ecies::point(envelope).unwrap();
            assert_eq!(point, sealing.public_key());
            super::content(&recipient.agree(&point).unwrap(), &packet).unwrap()
        };
        let padding = [&entropy.padding[..], &more].concat();
        let signature = Signature(signature.try_into().unwrap());
        let auth = Auth { signature, initiator: initiator.public_key(), nonce: entropy.nonce };
        let read = Auth::decode(&open(&auth.encode(&padding))).unwrap();
        prop_assert_eq!((read.signature, read.initiator, read.nonce), (signature, auth.initiator, auth.nonce));
        let ack = Ack { ephemeral: initiator.public_key(), nonce: entropy.nonce };
        let read = Ack::decode(&open(&ack.encode(&padding))).unwrap();
        prop_assert_eq!((read.ephemeral, read.nonce), (ack.ephemeral, ack.nonce));
    }

    #[test]
    fn two_ends_agree_on_the_secrets_and_on_who_they_are(
        (a, b) in (keys(), keys()),
        (entropy_a, entropy_b) in (entropies(), entropies()),
        seed in any::<u64>(),
    ) {
        let (mut curve_a, mut curve_b) = (curve(&a, seed), curve(&b, seed.wrapping_add(1)));
        let step = Handshake::initiator(a.public_key(), b.public_key(), entropy_a);
        let Step::Send(waiting, auth) = settle(step, &mut curve_a).unwrap() else { panic!("no auth") };
        let step = Handshake::recipient(entropy_b).handle_packet(auth).unwrap();
        let Step::Done(at_b) = settle(step, &mut curve_b).unwrap() else { panic!("not over") };
        let step = waiting.handle_packet(at_b.send.clone()).unwrap();
        let Step::Done(at_a) = settle(step, &mut curve_a).unwrap() else { panic!("not over") };
        prop_assert_eq!((at_a.remote, at_b.remote), (b.public_key(), a.public_key()));
        prop_assert_eq!(&*at_a.secrets.aes, &*at_b.secrets.aes);
        prop_assert_eq!(&*at_a.secrets.mac, &*at_b.secrets.mac);
        let digests = |secrets: &Secrets| [&secrets.egress, &secrets.ingress].map(|hash| hash.clone().finalize());
        let ([egress_a, ingress_a], [egress_b, ingress_b]) = (digests(&at_a.secrets), digests(&at_b.secrets));
        prop_assert_eq!((egress_a, ingress_a), (ingress_b, egress_b));
    }
}

proptest! {
    #![proptest_config(config(3_000))]

    #[test]
    fn no_content_panics(
        bytes in vec(any::<u8>(), 0..300),
        changes in vec(any::<(Index, u8)>(), 1..4),
        cut in any::<Index>(),
    ) {
        let public = identity::NodeKey::from_bytes(&[1; 32]).unwrap().public_key();
        let auth = Auth { signature: Signature([5; 65]), initiator: public, nonce: [6; 32] }.encode(&[7; 20]).to_vec();
        let ack = Ack { ephemeral: public, nonce: [6; 32] }.encode(&[7; 20]).to_vec();
        for mut content in [bytes, auth, ack] {
            for (place, byte) in &changes {
                let place = place.index(content.len() + 1);
                content.get_mut(place).into_iter().for_each(|found| *found = *byte);
            }
            let cut = cut.index(content.len() + 1);
            for content in [&content[..], &content[..cut]] {
                let _ = Auth::decode(content);
                let _ = Ack::decode(content);
            }
        }
    }

    #[test]
    fn no_envelope_panics(shared in any::<[u8; 32]>(), packet in vec(any::<u8>(), 0..400)) {
        let _ = ecies::point(&packet);
        let _ = super::content(&SharedSecret::new(shared), &packet);
        let entropy = Entropy { nonce: [1; 32], iv: [1; 16], padding: Vec::new() };
        let taken = Handshake::recipient(entropy).handle_packet(packet).is_ok();
        prop_assert!(!taken);
    }
}
