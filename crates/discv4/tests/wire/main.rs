//! The bytes of packets: against a plain model of RLP for every short prefix in every field, by chance for what is
//! written and read back, and by what they cost in memory.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#[path = "../../../../tests/counting/mod.rs"]
mod counting;
mod malformed;
mod memory;
mod properties;
#[path = "../stage/mod.rs"]
mod stage;

use discv4::wire::{
    EnrRequest, EnrResponse, FindNode, MAX_NEIGHBORS, Neighbors, PacketKind, Ping, Pong, Unsigned,
};
use identity::{Endpoint, Enr, EnrBuilder, PublicKey, Signature, keccak256};
use stage::key;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting { grows_in_place: false };

/// Where the body of a datagram begins: hash, signature and kind stand before it.
const BODY: usize = 98;

const KINDS: [PacketKind; 6] = [
    PacketKind::Ping,
    PacketKind::Pong,
    PacketKind::FindNode,
    PacketKind::Neighbors,
    PacketKind::EnrRequest,
    PacketKind::EnrResponse,
];

fn widest_endpoint() -> Endpoint {
    Endpoint { ip: "2606:4700:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(), udp: 65535, tcp: 65535 }
}

/// A record of almost 300 bytes in entries of a few each.
fn widest_record() -> Enr {
    let mut builder = EnrBuilder::new(u64::MAX).endpoint(widest_endpoint());
    for name in 'A'..='Z' {
        builder = builder.entry(&name.to_string(), vec![0x82, 1, 1].into());
    }
    builder.sign(&key(2)).unwrap()
}

/// The packet of each kind with the most in it that we make, and `nodes` nodes where it tells of any.
fn widest(kind: PacketKind, nodes: usize) -> Unsigned {
    let (endpoint, expiration) = (widest_endpoint(), i64::MAX as u64);
    let nodes: Vec<(PublicKey, Endpoint)> = vec![(key(2).public_key(), endpoint); nodes];
    match kind {
        PacketKind::Ping => Ping::encode(&endpoint, &endpoint, expiration, u64::MAX),
        PacketKind::Pong => Pong::encode(&endpoint, &[8; 32], expiration, u64::MAX),
        PacketKind::FindNode => FindNode::encode(&key(2).public_key(), expiration),
        PacketKind::Neighbors => {
            Neighbors::encode(nodes.iter().map(|(key, endpoint)| (key, endpoint)), expiration)
        }
        PacketKind::EnrRequest => EnrRequest::encode(expiration),
        PacketKind::EnrResponse => EnrResponse::encode(&[8; 32], &widest_record()),
    }
}

/// The datagram of a packet, under a good hash and a signature that nobody made.
fn datagram(packet: Unsigned) -> Vec<u8> {
    packet.seal(&Signature([7; 65])).0.to_vec()
}

/// A body of any bytes under a good hash.
fn with_body(kind: PacketKind, body: &[u8]) -> Vec<u8> {
    let mut datagram = vec![7; BODY - 1];
    datagram.push(kind as u8);
    datagram.extend_from_slice(body);
    let hash = keccak256(&datagram[32..]);
    datagram[..32].copy_from_slice(&hash);
    datagram
}

/// The widest packet of a kind as it goes over the wire.
fn widest_datagram(kind: PacketKind) -> Vec<u8> {
    datagram(widest(kind, MAX_NEIGHBORS))
}
