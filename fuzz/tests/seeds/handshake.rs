//! Seeds of the handshake: the packets of EIP-8's test vectors, as they are and taken out of their envelopes; those of
//! our own sessions; and each of them with something wrong outside.

use std::{sync::Arc, time::Duration};

use hostile::handshake::{AS_IT_IS, FLIP, LISTENS, POINT, PREFIX, REAL_CURVE, SIGN};
use identity::{NodeKey, Now, PublicKey};
use rlpx::{
    SessionConfig,
    testing::{self, Curve, End},
};
use serde_json::Value;
use world::SimCurve;

use super::{Seed, json, seed, sized, text, unhex};

/// The counter block of what is sealed anew.
const IV: [u8; 16] = [1; 16];
/// In one piece.
const WHOLE: &[u8] = &[0];
/// Where an envelope's point begins, behind the size prefix and the byte that says its form, and where it ends.
const POINT_PLACE: std::ops::Range<usize> = 3..67;

pub(super) fn seeds() -> Vec<Seed> {
    let vectors = json(include_str!("../../../crates/rlpx/tests/eip8.json"));
    let keys = ["Static Key A", "Static Key B"]
        .map(|name| Arc::new(NodeKey::from_hex(text(&vectors["keys"][name])).expect("a key of the vectors")));
    let contents = [(LISTENS, &keys[1], "Auth2"), (0, &keys[0], "Ack2")]
        .map(|(side, key, name)| (side, open(key, &packet(&vectors, name))));
    [as_they_are(&vectors), sealed_anew(&contents), ours(&keys), faults(&contents)]
        .into_iter()
        .flatten()
        .collect()
}

fn packet(vectors: &Value, name: &str) -> Vec<u8> {
    let mut packets = vectors["packets"].as_array().expect("a list").iter();
    unhex(&packets.find(|packet| packet["name"] == name).expect("a packet of the vectors")["hex"])
}

/// What a packet for the node with `key` holds.
fn open(key: &NodeKey, packet: &[u8]) -> Vec<u8> {
    let point = PublicKey::from_bytes(packet[POINT_PLACE].try_into().expect("64 bytes"));
    let shared = key.agree(&point).expect("a point of the curve");
    testing::open(&shared, packet).expect("a packet for this key")
}

/// The six packets of EIP-8, "Test Vectors": two are of the old form, which is refused.
fn as_they_are(vectors: &Value) -> Vec<Seed> {
    let sides = [("Auth", LISTENS), ("Ack", 0)];
    let numbered = sides.into_iter().flat_map(|(name, side)| [1, 2, 3].map(|number| (name, side, number)));
    let mut seeds: Vec<Seed> = numbered
        .map(|(name, side, number)| {
            let packet = packet(vectors, &format!("{name}{number}"));
            let flags = side | AS_IT_IS | REAL_CURVE;
            seed(format!("eip8_{}{number}", name.to_lowercase()), &[&[flags], WHOLE, &IV, &sized(&packet)])
        })
        .collect();
    let auth = sized(&packet(vectors, "Auth2"));
    let flags = [LISTENS | AS_IT_IS | REAL_CURVE];
    seeds.push(seed("eip8_auth2_in_pieces", &[&flags, &[3, 1, 2, 200], &IV, &auth]));
    seeds.push(seed("eip8_auth2_then_no_frame", &[&flags, WHOLE, &IV, &auth, &[0; 32]]));
    seeds
}

/// What the vectors hold, under an envelope of the target's.
fn sealed_anew(contents: &[(u8, Vec<u8>); 2]) -> Vec<Seed> {
    let [(_, auth), (_, ack)] = contents;
    let (auth, ack) = (sized(auth), sized(ack));
    vec![
        seed("sealed_auth", &[&[LISTENS | SIGN], WHOLE, &IV, &auth]),
        seed("sealed_auth_in_pieces", &[&[LISTENS | SIGN], &[2, 1, 97], &IV, &auth]),
        seed("sealed_auth_real_curve", &[&[LISTENS | SIGN | REAL_CURVE], WHOLE, &IV, &auth]),
        seed("sealed_auth_signed_by_its_vector", &[&[LISTENS | REAL_CURVE], WHOLE, &IV, &auth]),
        seed("sealed_auth_signed_by_nobody", &[&[LISTENS], WHOLE, &IV, &auth]),
        seed("sealed_auth_then_a_piece", &[&[LISTENS | SIGN], WHOLE, &IV, &auth, &[0; 31]]),
        seed("sealed_auth_then_no_frame", &[&[LISTENS | SIGN], WHOLE, &IV, &auth, &[0; 40]]),
        seed("sealed_ack", &[&[0], WHOLE, &IV, &ack]),
        seed("sealed_ack_in_pieces", &[&[0], &[1, 50], &IV, &ack]),
        seed("sealed_ack_real_curve", &[&[REAL_CURVE], WHOLE, &IV, &ack]),
        seed("sealed_ack_then_no_frame", &[&[0], WHOLE, &IV, &ack, &[0; 32]]),
    ]
}

/// Packets that our own sessions write, on the real curve and without curves.
fn ours(keys: &[Arc<NodeKey>; 2]) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for (about, real, curves) in
        [("real_curve", REAL_CURVE, curves(keys, testing::curve)), ("no_curve", 0, curves(keys, sim_curve))]
    {
        let (auth, ack) = handshake(keys, curves);
        let flags = LISTENS | AS_IT_IS | real;
        seeds.push(seed(format!("own_auth_{about}"), &[&[flags], WHOLE, &IV, &sized(&auth)]));
        seeds.push(seed(format!("own_ack_{about}"), &[&[AS_IT_IS | real], WHOLE, &IV, &sized(&ack)]));
    }
    // Nonces, keys and padding are drawn.
    seeds.into_iter().map(|seed| Seed { is_drawn: true, ..seed }).collect()
}

fn curves([a, b]: &[Arc<NodeKey>; 2], curve: fn(Arc<NodeKey>, u64) -> Curve) -> [Curve; 2] {
    [curve(Arc::clone(a), 11), curve(Arc::clone(b), 14)]
}

fn sim_curve(key: Arc<NodeKey>, seed: u64) -> Curve {
    let mut curve = SimCurve::new(key, seed);
    Box::new(move |ops| curve.run(ops))
}

/// What two sessions say to each other before frames.
fn handshake(keys: &[Arc<NodeKey>; 2], [dialler, listener]: [Curve; 2]) -> (Vec<u8>, Vec<u8>) {
    let now = Now::simulated(Duration::from_secs(1_800_000_000));
    let [a, b] =
        keys.each_ref().map(|key| Arc::new(SessionConfig::new(key.public_key(), "test/1.0", vec![])));
    let auth = End::dialer(now, a, keys[1].public_key(), dialler, 12).written(now);
    let mut end = End::listener(now, b, listener, 13);
    end.read(now, &auth, usize::MAX);
    let mut ack = end.written(now);
    // Behind the ack comes Hello already.
    ack.truncate(2 + usize::from(u16::from_be_bytes([ack[0], ack[1]])));
    (auth, ack)
}

/// Packets of which one thing is wrong.
fn faults(contents: &[(u8, Vec<u8>); 2]) -> Vec<Seed> {
    // The first bit of the packet's last third is in the ciphertext.
    let place = 2_000_u16.to_le_bytes();
    let mut seeds = Vec::new();
    for (side, content) in contents {
        let (name, sealed) = if *side == LISTENS { ("auth", LISTENS | SIGN) } else { ("ack", 0) };
        let (whole, cut) = (sized(content), sized(&content[..content.len().min(90)]));
        let off_curve = [[4; 1].as_slice(), &[5; 64]].concat();
        seeds.extend([
            seed(format!("fault_{name}_flipped_bit"), &[&[sealed | FLIP], WHOLE, &IV, &whole, &place]),
            seed(format!("fault_{name}_size_0"), &[&[sealed | PREFIX], WHOLE, &IV, &whole, &[0, 0]]),
            seed(format!("fault_{name}_size_65535"), &[&[sealed | PREFIX], WHOLE, &IV, &whole, &[255; 2]]),
            seed(
                format!("fault_{name}_point_off_curve"),
                &[&[sealed | POINT], WHOLE, &IV, &whole, &off_curve],
            ),
            seed(format!("fault_{name}_cut_content"), &[&[sealed], WHOLE, &IV, &cut]),
        ]);
    }
    seeds.push(seed("fault_nothing_sent", &[&[LISTENS | AS_IT_IS], WHOLE, &IV]));
    seeds
}
