//! FindNode and Neighbors: the nodes nearest to a key, asked for and told. Which nodes are told is `table`'s, which of
//! the told ones are believed `lookup`'s and `discovery/answers.rs`. `discv4.md`, "FindNode Packet (0x03)" and
//! "Neighbors Packet (0x04)".

use std::net::IpAddr;

use identity::{Endpoint, PublicKey};
use rlp::RlpStream;

use super::{DecodeError, Items, MAX_DATAGRAM_LEN, PacketKind, TYPICAL_LEN, Unsigned, append_key, ping};

/// How many nodes one Neighbors carries, as go-ethereum: 12 nodes with IPv6 addresses give 1,201 bytes, 13 would not fit.
pub const MAX_NEIGHBORS: usize = 12;

/// The shortest node on the wire, in bytes: a list's header of 2, three empty strings, and a key with its header of 2.
/// Room is made for no more nodes than the bytes can hold, or a packet of 100 would take 1,000.
const MIN_NODE_LEN: usize = 2 + 3 + 2 + 64;

/// Asks for the nodes nearest to a key.
///
/// ```text
/// [target: 64 bytes, expiration]
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FindNode {
    /// The key; it is only hashed, so it need not be on the curve.
    pub target: PublicKey,
    /// When the packet ends, Unix seconds, at most 2^63-1.
    pub expiration: u64,
}

impl FindNode {
    pub(super) fn decode(mut items: Items<'_>) -> Result<Self, DecodeError> {
        Ok(Self { target: PublicKey::from_bytes(items.array("target")?), expiration: items.expiration()? })
    }

    /// Encodes a FindNode of ours.
    pub fn encode(target: &PublicKey, expiration: u64) -> Unsigned {
        let mut stream = Unsigned::begin(PacketKind::FindNode, 2, TYPICAL_LEN);
        append_key(&mut stream, target);
        stream.append(&expiration);
        Unsigned::finish(stream)
    }
}

/// One node of a Neighbors packet, as told: nothing of it is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// The address, when it has 4 or 16 bytes.
    pub ip: Option<IpAddr>,
    /// The discovery port.
    pub udp: u16,
    /// The RLPx port.
    pub tcp: u16,
    /// The 64 bytes that should be a key.
    pub public_key: PublicKey,
}

impl Neighbor {
    fn decode(mut items: Items<'_>) -> Result<Self, DecodeError> {
        let ip = ping::read_ip(items.string("ip")?).map(identity::unmapped);
        let (udp, tcp) = (items.number("udp-port")?, items.number("tcp-port")?);
        Ok(Self { ip, udp, tcp, public_key: PublicKey::from_bytes(items.array("node-id")?) })
    }
}

/// Answers a FindNode, in one packet or more.
///
/// ```text
/// [nodes: [[ip, udp-port, tcp-port, node-id: 64 bytes], ...], expiration]
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbors {
    /// The nodes told; a datagram holds no more than 16.
    pub nodes: Vec<Neighbor>,
    /// When the packet ends, Unix seconds, at most 2^63-1.
    pub expiration: u64,
}

impl Neighbors {
    pub(super) fn decode(mut items: Items<'_>) -> Result<Self, DecodeError> {
        let mut list = items.list("nodes")?;
        let mut nodes = Vec::with_capacity(list.rest.len() / MIN_NODE_LEN);
        while !list.rest.is_empty() {
            nodes.push(Neighbor::decode(list.list("nodes")?)?);
        }
        Ok(Self { nodes, expiration: items.expiration()? })
    }

    /// Encodes a Neighbors of ours with at most [`MAX_NEIGHBORS`] nodes; more are left out.
    pub fn encode<'a>(
        nodes: impl ExactSizeIterator<Item = (&'a PublicKey, &'a Endpoint)>,
        expiration: u64,
    ) -> Unsigned {
        let mut stream = Unsigned::begin(PacketKind::Neighbors, 2, MAX_DATAGRAM_LEN);
        stream.begin_list(nodes.len().min(MAX_NEIGHBORS));
        for (public_key, endpoint) in nodes.take(MAX_NEIGHBORS) {
            append_node(&mut stream, public_key, endpoint);
        }
        stream.append(&expiration);
        Unsigned::finish(stream)
    }
}

fn append_node(stream: &mut RlpStream, public_key: &PublicKey, endpoint: &Endpoint) {
    stream.begin_list(4);
    ping::append_endpoint(stream, endpoint);
    append_key(stream, public_key);
}
