//! Seeds of discovery: the packets of EIP-8's test vectors, as they are and signed anew; every kind of packet as our
//! encoders write it; and stories in which the machine asks and strangers answer.

use discv4::wire::{EnrRequest, EnrResponse, FindNode, Neighbors, Ping, Pong, Unsigned};
use hostile::discv4::{
    ASK, HOLD, HONEST, LOOKUP, MARK, PACKET, RAW, SEAL_AS_OTHER, SEAL_FREELY, SEAL_NO_HASH, START, WAIT,
    WANT, host_endpoint, stranger_endpoint, stranger_key,
};
use identity::{EnrBuilder, Signature};

use super::{Seed, file_name, json, seed, sized, text, unhex};

/// Where a packet's kind stands; its body follows.
const KIND: usize = 32 + 65;
/// When the packets end, in seconds since 1970.
const END: u64 = START + 25;
/// The argument of `ASK` that asks for a record.
const FOR_RECORD: u8 = 4;
/// The first stranger that has not proved its endpoint.
const UNPROVEN: u8 = 2;

pub(super) fn seeds() -> Vec<Seed> {
    [vectors(), packets(), seals(), stories()].into_iter().flatten().collect()
}

/// The five packets of EIP-8, "Test Vectors". An answer among them is made to name what it answers.
fn vectors() -> Vec<Seed> {
    let vectors = json(include_str!("../../../crates/discv4/tests/eip8.json"));
    let packets = vectors["packets"].as_array().expect("a list");
    let mut seeds = Vec::new();
    for packet in packets {
        let (about, datagram) = (file_name(text(&packet["about"])), unhex(&packet["hex"]));
        let about = about.split("_additional").next().unwrap_or_default().trim_end_matches("_with");
        seeds.push(seed(format!("eip8_{about}_as_it_is"), &[&[RAW, 0], &sized(&datagram)]));
        let mut datagram = datagram;
        let before: &[u8] = match datagram[KIND] {
            2 => {
                mark_hash(&mut datagram);
                &[ASK, 0]
            }
            4 => &[LOOKUP, 0],
            _ => &[],
        };
        seeds.push(seed(format!("eip8_{about}_signed_anew"), &[before, &inside(0, &datagram)]));
    }
    seeds
}

/// The hash in a Pong's body follows the first header of a string of 32 bytes.
fn mark_hash(pong: &mut [u8]) {
    let header = pong.iter().skip(KIND).position(|byte| *byte == 0xa0).expect("a hash") + KIND;
    pong[header + 1..header + 33].fill(MARK);
}

/// Every kind as we write it, from strangers that have proved their endpoints and that have not.
fn packets() -> Vec<Seed> {
    let find = || FindNode::encode(&stranger_key(3).public_key(), END);
    let pong = || Pong::encode(&host_endpoint(), &[MARK; 32], END, 1);
    let request = || EnrRequest::encode(END);
    let nodes = |count: usize| {
        let nodes: Vec<_> =
            (0..count).map(|n| (stranger_key(n).public_key(), stranger_endpoint(n))).collect();
        Neighbors::encode(nodes.iter().map(|(key, endpoint)| (key, endpoint)), END)
    };
    let late = Ping::encode(&stranger_endpoint(0), &host_endpoint(), START - 1, 1);
    vec![
        seed("ping_from_ipv4", &[&packet(0, ping(0))]),
        seed("ping_unproven_from_ipv6", &[&packet(UNPROVEN, ping(2))]),
        seed("ping_unproven_from_loopback", &[&packet(3, ping(3))]),
        seed("ping_expired", &[&packet(0, late)]),
        seed("find_node", &[&packet(0, find())]),
        seed("find_node_unproven", &[&packet(UNPROVEN, find())]),
        seed("enr_request", &[&packet(1, request())]),
        seed("enr_request_unproven", &[&packet(UNPROVEN, request())]),
        seed("pong_unasked", &[&packet(0, pong())]),
        seed("pong_to_our_ping", &[&[ASK, 1], &packet(1, pong())]),
        seed("neighbors_unasked", &[&packet(0, nodes(2))]),
        seed("neighbors_to_our_lookup", &[&[LOOKUP, 0], &packet(0, nodes(3)), &packet(1, nodes(1))]),
        // The fourth is on loopback.
        seed("neighbors_that_nobody_far_can_know", &[&[LOOKUP, 0], &packet(0, nodes(4))]),
        seed("neighbors_of_nobody", &[&[LOOKUP, 3], &packet(0, nodes(0))]),
        seed("enr_response_unasked", &[&packet(UNPROVEN, response(2))]),
        seed("enr_response_to_our_request", &[&[ASK, FOR_RECORD], &packet(0, response(0))]),
        seed("enr_response_of_another", &[&[ASK, FOR_RECORD], &packet(0, response(1))]),
    ]
}

/// What is wrong outside the body.
fn seals() -> Vec<Seed> {
    let invalid =
        [&[PACKET, SEAL_FREELY, 1][..], &sized(&[&body(ping(0))[..], &[0xff; 65]].concat())].concat();
    vec![
        seed("seal_wrong_hash", &[&packet(SEAL_NO_HASH, ping(0))]),
        seed("seal_by_another_key", &[&packet(SEAL_AS_OTHER, ping(0))]),
        seed("seal_invalid_signature", &[&invalid]),
        seed("seal_unknown_kind", &[&[PACKET, 0, 7], &sized(&body(ping(0)))]),
        seed("seal_empty_body", &[&[PACKET, 0, 1], &sized(&[])]),
        seed("raw_too_short", &[&[RAW, 0], &sized(&[0; 97])]),
        seed("raw_too_long", &[&[RAW, 0], &sized(&[0; 1281])]),
    ]
}

/// The owner commands, time passes, and strangers do as they should, or not at all.
fn stories() -> Vec<Seed> {
    let twice = packet(0, ping(0));
    let proof = [&packet(UNPROVEN, ping(2))[..], &[HONEST, UNPROVEN]].concat();
    let find = packet(UNPROVEN, FindNode::encode(&stranger_key(0).public_key(), END));
    vec![
        seed("story_same_ping_twice", &[&twice, &twice]),
        seed("story_proof_then_find_node", &[&proof, &find]),
        seed("story_proof_then_record", &[&proof, &[ASK, UNPROVEN | FOR_RECORD, HONEST, UNPROVEN]]),
        seed("story_lookup_answered", &[&[LOOKUP, 2, HONEST, 0, HONEST, 1, WAIT, 40, HONEST, 0]]),
        seed("story_lookup_unanswered", &[&[LOOKUP, 2, WAIT, 20, WAIT, 20], &packet(1, ping(1))]),
        seed(
            "story_refresh_and_candidates",
            &[&[WANT, 0, WANT, 1, HONEST, 0, HONEST, 1, WAIT, 100, HONEST, 0]],
        ),
        seed("story_new_record_then_request", &[&[WANT, 9], &packet(0, EnrRequest::encode(END))]),
        seed("story_held_curve_jobs", &[&[HOLD, 0], &packet(0, ping(0)), &find, &[HOLD, 0], &proof]),
        seed("story_a_day_of_silence", &[&[WAIT, 255, WAIT, 255, WAIT, 255], &[HONEST, 0, HONEST, 1]]),
        seed("story_revalidation", &[&[WAIT, 129, HONEST, 0, HONEST, 1, WAIT, 129, HONEST, 0, HONEST, 1]]),
    ]
}

fn ping(stranger: usize) -> Unsigned {
    Ping::encode(&stranger_endpoint(stranger), &host_endpoint(), END, 1)
}

fn response(stranger: usize) -> Unsigned {
    let record = EnrBuilder::new(2).endpoint(stranger_endpoint(stranger));
    EnrResponse::encode(
        &[MARK; 32],
        &world::sign_record(stranger_key(stranger), &record).expect("few entries"),
    )
}

/// A step that sends a packet under a seal of this kind.
fn packet(how: u8, unsigned: Unsigned) -> Vec<u8> {
    inside(how, &seal(unsigned))
}

fn body(unsigned: Unsigned) -> Vec<u8> {
    seal(unsigned).split_off(KIND + 1)
}

/// The target signs anew, so the signature is none.
fn seal(unsigned: Unsigned) -> Vec<u8> {
    unsigned.seal(&Signature([0; 65])).0.to_vec()
}

/// A step that sends what is inside a datagram.
fn inside(how: u8, datagram: &[u8]) -> Vec<u8> {
    [&[PACKET, how, datagram[KIND]][..], &sized(&datagram[KIND + 1..])].concat()
}
