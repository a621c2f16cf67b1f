//! Ping and Pong, and the endpoints in them. What they prove is `bond`'s; hash, signature and kind are `wire/mod.rs`.
//! `discv4.md`, "Ping Packet (0x01)" and "Pong Packet (0x02)"; EIP-868.

use std::net::IpAddr;

use identity::Endpoint;
use rlp::RlpStream;

use super::{DecodeError, Items, PacketKind, TYPICAL_LEN, Unsigned, append_hash};

/// The version that is sent; the one received is not looked at (EIP-8).
const VERSION: u8 = 4;

/// An address with ports as packets carry it.
///
/// ```text
/// [ip: 4 or 16 bytes, udp: at most 2 bytes, tcp: at most 2 bytes]
/// ```
/// In a Ping or Pong an address of another length says nothing and is read as None, as go-ethereum does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireEndpoint {
    /// The address, when it has 4 or 16 bytes.
    pub ip: Option<IpAddr>,
    /// The discovery port.
    pub udp: u16,
    /// The RLPx port.
    pub tcp: u16,
}

impl WireEndpoint {
    /// The endpoint, when the address is one; an IPv4-mapped address as IPv4.
    pub fn endpoint(&self) -> Option<Endpoint> {
        Some(Endpoint { ip: identity::unmapped(self.ip?), udp: self.udp, tcp: self.tcp })
    }

    pub(super) fn decode(mut items: Items<'_>) -> Result<Self, DecodeError> {
        let ip = read_ip(items.string("ip")?);
        Ok(Self { ip, udp: items.number("udp-port")?, tcp: items.number("tcp-port")? })
    }
}

/// An address of 4 or 16 bytes.
pub(super) fn read_ip(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

/// Appends the three fields of an endpoint.
pub(super) fn append_endpoint(stream: &mut RlpStream, endpoint: &Endpoint) {
    match endpoint.ip {
        IpAddr::V4(ip) => stream.append(&ip.octets().as_slice()),
        IpAddr::V6(ip) => stream.append(&ip.octets().as_slice()),
    };
    stream.append(&endpoint.udp).append(&endpoint.tcp);
}

/// Asks whether somebody is there.
///
/// ```text
/// [version, from: endpoint, to: endpoint, expiration, enr-seq]   enr-seq may be missing
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// What the sender says of itself; only its TCP port is of use, the rest is in the datagram's source.
    pub from: WireEndpoint,
    /// Where the sender sent it.
    pub to: WireEndpoint,
    /// When the packet ends, Unix seconds, at most 2^63-1.
    pub expiration: u64,
    /// The sequence number of the sender's record.
    pub enr_seq: Option<u64>,
}

impl Ping {
    pub(super) fn decode(mut items: Items<'_>) -> Result<Self, DecodeError> {
        let _version: u64 = items.number("version")?;
        Ok(Self {
            from: WireEndpoint::decode(items.list("from")?)?,
            to: WireEndpoint::decode(items.list("to")?)?,
            expiration: items.expiration()?,
            enr_seq: items.sequence()?,
        })
    }

    /// Encodes a Ping of ours.
    pub fn encode(from: &Endpoint, to: &Endpoint, expiration: u64, enr_seq: u64) -> Unsigned {
        let mut stream = Unsigned::begin(PacketKind::Ping, 5, TYPICAL_LEN);
        stream.append(&VERSION).begin_list(3);
        append_endpoint(&mut stream, from);
        stream.begin_list(3);
        append_endpoint(&mut stream, to);
        stream.append(&expiration).append(&enr_seq);
        Unsigned::finish(stream)
    }
}

/// Answers a Ping.
///
/// ```text
/// [to: endpoint, ping-hash: 32 bytes, expiration, enr-seq]   enr-seq may be missing
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pong {
    /// Where the sender saw the Ping come from.
    pub to: WireEndpoint,
    /// The hash of the Ping's datagram.
    pub ping_hash: [u8; 32],
    /// When the packet ends, Unix seconds, at most 2^63-1.
    pub expiration: u64,
    /// The sequence number of the sender's record.
    pub enr_seq: Option<u64>,
}

impl Pong {
    pub(super) fn decode(mut items: Items<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            to: WireEndpoint::decode(items.list("to")?)?,
            ping_hash: items.array("ping-hash")?,
            expiration: items.expiration()?,
            enr_seq: items.sequence()?,
        })
    }

    /// Encodes a Pong of ours.
    pub fn encode(to: &Endpoint, ping_hash: &[u8; 32], expiration: u64, enr_seq: u64) -> Unsigned {
        let mut stream = Unsigned::begin(PacketKind::Pong, 4, TYPICAL_LEN);
        stream.begin_list(3);
        append_endpoint(&mut stream, to);
        append_hash(&mut stream, ping_hash);
        stream.append(&expiration).append(&enr_seq);
        Unsigned::finish(stream)
    }
}
