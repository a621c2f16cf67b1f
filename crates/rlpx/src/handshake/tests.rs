//! The handshake against the vectors of EIP-8 (`tests/eip8.json`) and against packets that no honest node sends.
//! Curve operations run here where they are asked; both ends with a wire and time are `session/tests/handshake.rs`.

use std::{
    collections::BTreeSet,
    panic::catch_unwind,
    sync::{Arc, OnceLock},
};

use identity::{
    NodeKey,
    curve::{CurveOp, CurveOutput, CurveResult, EphemeralKey, InlineCurve, KeyRef},
};
use rand::{SeedableRng, TryCryptoRng, TryRng, rand_core::UnwrapErr, rngs::ChaCha20Rng};
use serde_json::Value;

use super::{ack::Ack, auth::Auth, secrets::Half, *};
use crate::p2p::tests::{SMALL_STACK, bombs};

fn key(byte: u8) -> NodeKey {
    NodeKey::from_bytes(&[byte; 32]).unwrap()
}

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// EIP-8's own vectors.
struct Vectors(Value);

impl Vectors {
    fn load() -> Self {
        Self(serde_json::from_str(include_str!("../../tests/eip8.json")).unwrap())
    }

    fn bytes(&self, section: &str, name: &str) -> [u8; 32] {
        hex::decode(self.0[section][name].as_str().unwrap()).unwrap().try_into().unwrap()
    }

    fn key(&self, name: &str) -> NodeKey {
        NodeKey::from_bytes(&self.bytes("keys", name)).unwrap()
    }

    fn packet(&self, name: &str) -> Vec<u8> {
        let packets = self.0["packets"].as_array().unwrap();
        let packet = packets.iter().find(|packet| packet["name"] == name).unwrap();
        hex::decode(packet["hex"].as_str().unwrap()).unwrap()
    }
}

/// Runs operations with a node key, but generates the ephemeral key given.
fn run(node: &NodeKey, ephemeral: &NodeKey, ops: Vec<CurveOp>) -> Vec<CurveOutput> {
    let mut curve = InlineCurve::new(std::sync::Arc::new(node.clone()), rng(5));
    let one = |op| match op {
        CurveOp::Generate => CurveOutput::Generated(EphemeralKey::new(ephemeral.clone())),
        op @ (CurveOp::Agree(..) | CurveOp::Sign(..) | CurveOp::Recover(..) | CurveOp::Verify(_)) => {
            let identity::curve::CurveResult::Done(mut outputs) = curve.run(vec![op]) else {
                panic!("refused")
            };
            outputs.pop().unwrap()
        }
    };
    ops.into_iter().map(one).collect()
}

/// Runs trips to the curve until the handshake waits for a packet, has one to send, or is over.
fn settle(mut step: Step, node: &NodeKey, ephemeral: &NodeKey) -> Result<Step, HandshakeError> {
    loop {
        step = match step {
            Step::Unproven(state, ops) | Step::Curve(state, ops) => {
                state.handle_curve(run(node, ephemeral, ops))?
            }
            Step::Send(..) | Step::Done(_) => return Ok(step),
        };
    }
}

fn entropy(nonce: Nonce) -> Entropy {
    Entropy { nonce, ..Entropy::draw(&mut rng(3)) }
}

#[test]
fn eip8_auth_packets_lead_to_the_initiator() {
    let vectors = Vectors::load();
    for name in ["Auth2", "Auth3"] {
        let (node, ephemeral) = (vectors.key("Static Key B"), vectors.key("Ephemeral Key B"));
        let state = Handshake::recipient(entropy(vectors.bytes("keys", "Nonce B")));
        let step = state.handle_packet(vectors.packet(name)).unwrap();
        let Step::Done(complete) = settle(step, &node, &ephemeral).unwrap() else { panic!("not over") };
        assert_eq!(complete.remote, vectors.key("Static Key A").public_key(), "{name}");
    }
}

#[test]
fn eip8_ack_packets_complete_the_initiator() {
    let vectors = Vectors::load();
    for name in ["Ack2", "Ack3"] {
        let (node, ephemeral) = (vectors.key("Static Key A"), vectors.key("Ephemeral Key A"));
        let remote = vectors.key("Static Key B").public_key();
        let start =
            Handshake::initiator(node.public_key(), remote, entropy(vectors.bytes("keys", "Nonce A")));
        let Step::Send(state, _) = settle(start, &node, &ephemeral).unwrap() else { panic!("no auth") };
        let step = state.handle_packet(vectors.packet(name)).unwrap();
        let Step::Done(complete) = settle(step, &node, &ephemeral).unwrap() else { panic!("not over") };
        // The secrets do not depend on the packets, only on the keys and nonces in them.
        assert_eq!(*complete.secrets.aes, vectors.bytes("secrets", "aes-secret"), "{name}");
        assert_eq!(*complete.secrets.mac, vectors.bytes("secrets", "mac-secret"), "{name}");
    }
}

#[test]
fn eip8_secrets_follow_from_auth2_and_ack2() {
    let vectors = Vectors::load();
    let ephemeral =
        vectors.key("Ephemeral Key B").agree(&vectors.key("Ephemeral Key A").public_key()).unwrap();
    let (auth, ack) = (vectors.packet("Auth2"), vectors.packet("Ack2"));
    let (nonce_a, nonce_b) = (vectors.bytes("keys", "Nonce A"), vectors.bytes("keys", "Nonce B"));
    let auth = Half { nonce: &nonce_a, packet: &auth };
    let secrets = Secrets::of_recipient(&ephemeral, auth, Half { nonce: &nonce_b, packet: &ack });
    assert_eq!(*secrets.aes, vectors.bytes("secrets", "aes-secret"));
    assert_eq!(*secrets.mac, vectors.bytes("secrets", "mac-secret"));
    let mut ingress = secrets.ingress.clone();
    ingress.update(b"foo");
    assert_eq!(ingress.finalize(), vectors.bytes("secrets", "ingress-mac(\"foo\") of B after (Auth2, Ack2)"));
}

#[test]
fn eip8_messages_say_what_the_vectors_were_made_of() {
    let vectors = Vectors::load();
    let content = |name: &str, key: &str| {
        let packet = vectors.packet(name);
        let point = ecies::point(&packet[PREFIX_LEN..]).unwrap();
        super::content(&vectors.key(key).agree(&point).unwrap(), &packet).unwrap()
    };
    let auth = Auth::decode(&content("Auth3", "Static Key B")).unwrap();
    assert_eq!(auth.initiator, vectors.key("Static Key A").public_key());
    assert_eq!(auth.nonce, vectors.bytes("keys", "Nonce A"));
    let ack = Ack::decode(&content("Ack3", "Static Key A")).unwrap();
    assert_eq!(ack.ephemeral, vectors.key("Ephemeral Key B").public_key());
    assert_eq!(ack.nonce, vectors.bytes("keys", "Nonce B"));
}

#[test]
fn h01_only_sizes_from_113_to_2048_are_taken() {
    for size in 0..=u16::MAX {
        let taken = packet_len(size.to_be_bytes());
        if (113..=2048).contains(&size) {
            assert_eq!(taken, Ok(2 + usize::from(size)));
        } else {
            assert_eq!(taken, Err(HandshakeError::Size { found: size.into() }));
        }
    }
}

/// What a recipient with key 2 makes of an auth with this content.
fn recipient_takes(content: &[u8]) -> Result<Step, HandshakeError> {
    static SHARED: OnceLock<(PublicKey, SharedSecret)> = OnceLock::new();
    let (sealing, shared) =
        SHARED.get_or_init(|| (key(9).public_key(), key(9).agree(&key(2).public_key()).unwrap()));
    let packet = ecies::seal(shared, sealing, [7; 16], content);
    let Step::Unproven(state, ops) = Handshake::recipient(entropy([1; 32])).handle_packet(packet)? else {
        panic!("the first trip must be marked as unproven")
    };
    // The agreement that opens it is the same each time.
    assert!(matches!(&ops[..], [CurveOp::Agree(KeyRef::Node, point)] if point == sealing));
    state.handle_curve(vec![CurveOutput::Agreed(shared.clone())])
}

/// An honest auth of the node with key 1 to that with key 2.
fn auth() -> Auth {
    let nonce = [0x11; 32];
    let token = masked(&key(1).agree(&key(2).public_key()).unwrap(), &nonce);
    Auth { signature: key(7).sign(&token), initiator: key(1).public_key(), nonce }
}

/// What the node with key 1, which has dialed that with key 2, makes of an ack with this content.
fn dialler_takes(content: &[u8]) -> Result<Step, HandshakeError> {
    static SHARED: OnceLock<(PublicKey, SharedSecret)> = OnceLock::new();
    let (sealing, shared) =
        SHARED.get_or_init(|| (key(9).public_key(), key(9).agree(&key(1).public_key()).unwrap()));
    let start = Handshake::initiator(key(1).public_key(), key(2).public_key(), entropy([1; 32]));
    let Step::Curve(state, _) = start else { panic!("no keys are asked for") };
    // What the curve says on the way to ack has no part in it.
    let agreed = || CurveOutput::Agreed(SharedSecret::new([3; 32]));
    let step = state.handle_curve(vec![CurveOutput::Generated(EphemeralKey::new(key(6))), agreed()])?;
    let Step::Curve(state, _) = step else { panic!("no signature is asked for") };
    let step = state.handle_curve(vec![CurveOutput::Signed(Signature([5; 65])), agreed()])?;
    let Step::Send(state, _) = step else { panic!("no auth") };
    let Step::Curve(state, _) = state.handle_packet(ecies::seal(shared, sealing, [7; 16], content))? else {
        panic!("no secret is asked for")
    };
    state.handle_curve(vec![CurveOutput::Agreed(shared.clone())])
}

#[test]
fn h02_no_content_under_a_valid_tag_panics() {
    for fill in [0x00, 0x80, 0xb8, 0xc0, 0xf8, 0xf9, 0xff] {
        // Longer than any packet that the size prefix lets through.
        for len in 0..=MAX_PACKET_LEN {
            assert!(recipient_takes(&vec![fill; len]).is_err(), "auth of {len} bytes of {fill:#x}");
            assert!(dialler_takes(&vec![fill; len]).is_err(), "ack of {len} bytes of {fill:#x}");
        }
    }
}

#[test]
fn h02_no_cut_ack_is_taken() {
    let whole = Ack { ephemeral: key(3).public_key(), nonce: [2; 32] }.encode(&[]);
    for len in 0..whole.len() {
        assert!(dialler_takes(&whole[..len]).is_err(), "{len} bytes");
    }
    assert!(matches!(dialler_takes(&whole), Ok(Step::Curve(..))));
}

#[test]
fn h02_no_cut_auth_is_taken() {
    let whole = auth().encode(&[]);
    for len in 0..whole.len() {
        assert!(recipient_takes(&whole[..len]).is_err(), "{len} bytes");
    }
    assert!(matches!(recipient_takes(&whole), Ok(Step::Curve(..))));
}

/// 64 bytes that are no point of the curve.
fn bad_points() -> Vec<[u8; 64]> {
    let number = |text: &str| hex::decode(text).unwrap();
    let prime = number("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f");
    let past_prime = number("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc30");
    let good = *key(9).public_key().as_bytes();
    let with = |place: usize, bytes: &[u8]| {
        let mut point = good;
        point[place..place + bytes.len()].copy_from_slice(bytes);
        point
    };
    // 1 is the x of a point; p + 1 must not stand for it.
    let mut compressed = [0; 33];
    (compressed[0], compressed[32]) = (2, 1);
    let mut twice_over = *PublicKey::from_compressed(&compressed).unwrap().as_bytes();
    twice_over[..32].copy_from_slice(&past_prime);
    // 5 is the x of no point: 5^3 + 7 is no square, so whatever y is, the point is on the twist.
    let mut twist = with(0, &[0; 32]);
    twist[31] = 5;
    let mut twist_with_x_alone = [0; 64];
    twist_with_x_alone[31] = 5;
    let mut points = vec![[0; 64], [0xff; 64], twice_over, twist, twist_with_x_alone];
    points.extend([with(0, &prime), with(32, &prime), with(0, &past_prime), with(32, &past_prime)]);
    points.extend([with(0, &[0; 32]), with(32, &[0; 32]), with(0, &[0xff; 32]), with(32, &[0xff; 32])]);
    points.extend((0..64).map(|place| with(place, &[good[place] ^ 1])));
    points
}

#[test]
fn h03_bad_points_never_reach_the_curve() {
    let envelope = |form: u8, xy: &[u8; 64]| {
        let mut packet = vec![form];
        packet.extend_from_slice(xy);
        packet.resize(300, 0xaa);
        packet
    };
    let good = *key(9).public_key().as_bytes();
    for form in 0..=255 {
        for xy in bad_points() {
            assert_eq!(ecies::point(&envelope(form, &xy)), Err(HandshakeError::Envelope), "{form} {xy:02x?}");
        }
        // 2 and 3 are compressed, 6 and 7 hybrid: the point would be one, but the protocol has a single form.
        assert_eq!(ecies::point(&envelope(form, &good)).is_ok(), form == 4, "{form}");
    }
    for xy in bad_points() {
        let packet = [&[0x01, 0x2c][..], &envelope(4, &xy)].concat();
        let at_recipient = Handshake::recipient(entropy([1; 32])).handle_packet(packet.clone());
        assert_eq!(at_recipient.err(), Some(HandshakeError::Envelope));
        let start = Handshake::initiator(key(1).public_key(), key(2).public_key(), entropy([1; 32]));
        let Step::Send(state, _) = settle(start, &key(1), &key(6)).unwrap() else { panic!("no auth") };
        assert_eq!(state.handle_packet(packet).err(), Some(HandshakeError::Envelope));
    }
    for len in 0..65 {
        assert_eq!(ecies::point(&envelope(4, &good)[..len]), Err(HandshakeError::Envelope), "{len} bytes");
    }
}

#[test]
fn h04_the_counter_carries_over_all_128_bits() {
    use aes::cipher::{BlockCipherEncrypt, KeyInit};
    use sha2::{Digest, Sha256};

    let shared = SharedSecret::new([0x42; 32]);
    let packet = ecies::seal(&shared, &key(9).public_key(), [0xff; 16], &[0; 48]);
    let kdf = Sha256::new().chain_update([0, 0, 0, 1]).chain_update([0x42; 32]).finalize();
    let cipher = aes::Aes128Enc::new_from_slice(&kdf[..16]).unwrap();
    let mut expected = Vec::new();
    for counter in [u128::MAX, 0, 1] {
        let mut block = aes::Block::from(counter.to_be_bytes());
        cipher.encrypt_block(&mut block);
        expected.extend_from_slice(&block);
    }
    assert_eq!(packet[PREFIX_LEN + 65 + 16..][..48], expected);
    assert_eq!(super::content(&shared, &packet).unwrap(), [0; 48]);
}

#[test]
fn h06_keys_nonces_and_signatures_that_cannot_be_are_refused() {
    let mut off_curve = *key(1).public_key().as_bytes();
    off_curve[63] ^= 1;
    for bad in [[0; 64], [0xff; 64], off_curve] {
        let auth = Auth { initiator: PublicKey::from_bytes(bad), ..auth() };
        let refused = recipient_takes(&auth.encode(&[])).err();
        assert_eq!(refused, Some(HandshakeError::Content(DecodeError::new(What::Auth, Fault::NotOnCurve))));
    }
    let refused = recipient_takes(&Auth { nonce: [0; 32], ..auth() }.encode(&[])).err();
    assert_eq!(refused, Some(HandshakeError::Content(DecodeError::new(What::Auth, Fault::Degenerate))));
    for signature in [[0; 65], [0xff; 65]] {
        let step = recipient_takes(&Auth { signature: Signature(signature), ..auth() }.encode(&[])).unwrap();
        assert_eq!(settle(step, &key(2), &key(8)).err(), Some(HandshakeError::Signature));
    }
}

/// The most bytes that fit behind a message.
fn longest_padding(message: &[u8]) -> usize {
    2_048 - OVERHEAD - message.len()
}

/// An honest ack of the node with key 2.
fn ack() -> Ack {
    Ack { ephemeral: key(8).public_key(), nonce: [0x22; 32] }
}

#[test]
fn h07_one_byte_more_of_padding_than_fits_is_one_too_many() {
    let (auth, ack) = (auth(), ack());
    let [of_auth, of_ack] = [longest_padding(&auth.encode(&[])), longest_padding(&ack.encode(&[]))];
    assert!(recipient_takes(&auth.encode(&vec![1; of_auth])).is_ok());
    assert!(dialler_takes(&ack.encode(&vec![1; of_ack])).is_ok());
    let too_long = |of: usize, message: &dyn Fn(&[u8]) -> Vec<u8>| {
        let sealed = message(&vec![1; of + 1]).len() + OVERHEAD;
        packet_len(u16::try_from(sealed).unwrap().to_be_bytes())
    };
    let refused = Err(HandshakeError::Size { found: 2_049 });
    assert_eq!(too_long(of_auth, &|padding| auth.encode(padding).to_vec()), refused);
    assert_eq!(too_long(of_ack, &|padding| ack.encode(padding).to_vec()), refused);
}

#[test]
fn h07_the_dialler_ignores_extra_items_versions_and_padding_of_an_ack() {
    for padding in 0..=longest_padding(&ack().encode(&[])) {
        let step = dialler_takes(&ack().encode(&vec![0x5a; padding]));
        assert!(matches!(step, Ok(Step::Curve(..))), "{padding} bytes of padding");
    }
    let Ack { ephemeral, nonce } = ack();
    let items: [&[u8]; 2] = [ephemeral.as_bytes(), &nonce];
    for version in [0u64, 3, 5, 56, u64::MAX] {
        let mut stream = rlp::RlpStream::new_list(6);
        stream.append(&items[0]).append(&items[1]);
        stream.append(&version).begin_list(1).append(&7u8);
        stream.append(&"more").append_raw(&[0xc1; 40], 1);
        assert!(matches!(dialler_takes(&stream.out()), Ok(Step::Curve(..))), "version {version}");
    }
    are_all_needed(&items, &|content| dialler_takes(content).is_err());
}

/// That a message of `items` is refused when one is missing, whatever follows the list, and when one is a byte shorter
/// or longer than it should be.
fn are_all_needed(items: &[&[u8]], is_refused: &dyn Fn(&[u8]) -> bool) {
    let list = |items: &[Vec<u8>]| {
        let mut stream = rlp::RlpStream::new_list(items.len());
        items.iter().for_each(|item| _ = stream.append(item));
        stream.out().to_vec()
    };
    let items: Vec<Vec<u8>> = items.iter().map(|item| item.to_vec()).collect();
    for count in 0..items.len() {
        // What follows the list must not be taken for its missing items.
        let behind = rlp::encode(&items[items.len() - 1]);
        assert!(is_refused(&[list(&items[..count]), behind.to_vec()].concat()), "{count} items");
    }
    for (index, item) in items.iter().enumerate() {
        for wrong_len in [item.len() - 1, item.len() + 1] {
            let mut items = [&items[..], &[vec![4]]].concat();
            items[index].resize(wrong_len, 1);
            assert!(is_refused(&list(&items)), "item {index} of {wrong_len} bytes");
        }
    }
}

#[test]
fn h07_extra_items_versions_and_padding_are_ignored() {
    for padding in 0..=longest_padding(&auth().encode(&[])) {
        let step = recipient_takes(&auth().encode(&vec![0x5a; padding]));
        assert!(matches!(step, Ok(Step::Curve(..))), "{padding} bytes of padding");
    }
    let Auth { signature, initiator, nonce } = auth();
    for version in [0u64, 3, 5, 56, u64::MAX] {
        let mut stream = rlp::RlpStream::new_list(7);
        stream
            .append(&signature.0.as_slice())
            .append(&initiator.as_bytes().as_slice())
            .append(&nonce.as_slice());
        stream.append(&version).begin_list(1).append(&7u8);
        stream.append(&"more").append_raw(&[0xc1; 40], 1);
        let content = stream.out();
        let step = settle(recipient_takes(&content).unwrap(), &key(2), &key(8)).unwrap();
        let Step::Done(complete) = step else { panic!("not over") };
        assert_eq!(complete.remote, key(1).public_key());
    }
}

#[test]
fn h07_missing_and_misshapen_items_are_refused() {
    let Auth { signature, initiator, nonce } = auth();
    let items: [&[u8]; 3] = [&signature.0, initiator.as_bytes(), &nonce];
    are_all_needed(&items, &|content| recipient_takes(content).is_err());
    assert!(recipient_takes(&nested(1900)).is_err());
}

/// Lists in lists, `len` bytes of them.
fn nested(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    while bytes.len() < len {
        let mut stream = rlp::RlpStream::new_list(1);
        stream.append_raw(&bytes, 1);
        bytes = stream.out().to_vec();
    }
    bytes
}

#[test]
fn h09_the_dialler_refuses_bad_keys_in_ack() {
    let own = key(1);
    let ephemeral = key(6);
    let mut off_curve = *key(3).public_key().as_bytes();
    off_curve[63] ^= 1;
    let off_curve = PublicKey::from_bytes(off_curve);
    let zero = PublicKey::from_bytes([0; 64]);
    let attempt = |remote_ephemeral: PublicKey, nonce: Nonce| {
        let start = Handshake::initiator(own.public_key(), key(2).public_key(), entropy([1; 32]));
        let Step::Send(state, _) = settle(start, &own, &ephemeral).unwrap() else { panic!("no auth") };
        let shared = key(9).agree(&own.public_key()).unwrap();
        let content = Ack { ephemeral: remote_ephemeral, nonce }.encode(&[]);
        let ack = ecies::seal(&shared, &key(9).public_key(), [7; 16], &content);
        settle(state.handle_packet(ack).unwrap(), &own, &ephemeral).map(|_| ())
    };
    assert_eq!(attempt(key(3).public_key(), [2; 32]), Ok(()));
    let refused = |fault| Err(HandshakeError::Content(DecodeError::new(What::Ack, fault)));
    assert_eq!(attempt(off_curve, [2; 32]), refused(Fault::NotOnCurve));
    assert_eq!(attempt(zero, [2; 32]), refused(Fault::NotOnCurve));
    assert_eq!(attempt(ephemeral.public_key(), [2; 32]), refused(Fault::Degenerate));
    assert_eq!(attempt(own.public_key(), [2; 32]), refused(Fault::Degenerate));
    assert_eq!(attempt(key(3).public_key(), [0; 32]), refused(Fault::Degenerate));
}

#[test]
fn f14_nested_lists_need_no_stack() {
    let run = || {
        for bomb in bombs().chain([nested(1_900)]) {
            assert!(Auth::decode(&bomb).is_err());
            assert!(Ack::decode(&bomb).is_err());
            assert!(crate::frame::decode_code(&bomb).is_err());
        }
    };
    std::thread::Builder::new().stack_size(SMALL_STACK).spawn(run).unwrap().join().unwrap();
}

#[test]
fn padding_is_random_within_its_bounds() {
    let mut rng = rng(1);
    let mut lens = std::collections::BTreeSet::new();
    for _ in 0..5000 {
        lens.insert(Entropy::draw(&mut rng).padding.len());
    }
    assert_eq!((lens.first(), lens.last(), lens.len()), (Some(&100), Some(&199), 100));
}

/// Handshakes that are drawn for.
const DRAWS: usize = if cfg!(feature = "thorough") { 1_000_000 } else { 20_000 };

#[test]
fn h21_no_two_handshakes_draw_the_same() {
    let mut rng = rng(2);
    let drawn: Vec<Entropy> = (0..DRAWS).map(|_| Entropy::draw(&mut rng)).collect();
    let nonces: BTreeSet<Nonce> = drawn.iter().map(|drawn| drawn.nonce).collect();
    let ivs: BTreeSet<[u8; 16]> = drawn.iter().map(|drawn| drawn.iv).collect();
    let mut curve = InlineCurve::new(Arc::new(key(1)), rng);
    let ephemeral = |_| match curve.run(vec![CurveOp::Generate]) {
        CurveResult::Done(outputs) => match &outputs[..] {
            [CurveOutput::Generated(key)] => *key.public_key().as_bytes(),
            other => panic!("{other:?}"),
        },
        CurveResult::Refused => panic!("refused"),
    };
    let keys: BTreeSet<[u8; 64]> = (0..DRAWS).map(ephemeral).collect();
    println!("{DRAWS} handshakes (thorough: 1000000)");
    assert_eq!((nonces.len(), ivs.len(), keys.len()), (DRAWS, DRAWS, DRAWS));
}

/// A system whose randomness fails.
struct NoEntropy;

impl TryRng for NoEntropy {
    type Error = std::io::Error;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Err(std::io::ErrorKind::Other.into())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Err(std::io::ErrorKind::Other.into())
    }

    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> {
        Err(std::io::ErrorKind::Other.into())
    }
}

impl TryCryptoRng for NoEntropy {}

#[test]
fn h21_without_randomness_there_is_neither_a_packet_nor_a_key() {
    let drawn = catch_unwind(|| Entropy::draw(&mut UnwrapErr(NoEntropy)).nonce);
    assert!(drawn.is_err(), "{drawn:?}");
    let generated = catch_unwind(|| {
        let mut curve = InlineCurve::new(Arc::new(key(1)), UnwrapErr(NoEntropy));
        curve.run(vec![CurveOp::Generate])
    });
    assert!(generated.is_err(), "{generated:?}");
}

#[test]
fn an_answer_of_another_kind_fails_the_handshake() {
    let outputs = || vec![CurveOutput::Invalid, CurveOutput::Invalid];
    let start = || match Handshake::initiator(key(1).public_key(), key(2).public_key(), entropy([1; 32])) {
        Step::Curve(state, ops) => (state, ops),
        Step::Unproven(..) | Step::Send(..) | Step::Done(_) => panic!("another step"),
    };
    assert!(start().0.handle_curve(outputs()).is_err());
    assert!(start().0.handle_curve(Vec::new()).is_err());
    assert!(start().0.handle_packet(vec![0; 300]).is_err());
    let (_, ops) = start();
    assert!(matches!(ops[..], [CurveOp::Generate, CurveOp::Agree(KeyRef::Node, _)]));
}
