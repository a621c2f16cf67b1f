//! Packets by chance: what is written is read back as it was, in a datagram under its hash and its signer's name; no
//! bytes panic, and what is read of any can be written again.

use std::net::IpAddr;

use discv4::wire::{
    DecodeError, EnrRequest, EnrResponse, Envelope, FindNode, MAX_DATAGRAM_LEN, MAX_NEIGHBORS, Neighbors,
    Packet, PacketKind, Ping, Pong, Unsigned, WireEndpoint,
};
use identity::{Endpoint, EnrBuilder, NodeKey, PublicKey, steps, unmapped};
use proptest::{collection::vec, prelude::*, sample::Index};

use super::{BODY, KINDS, stage::key, widest_datagram, with_body};

fn config(cases: u32) -> ProptestConfig {
    // A case that fails is printed; a fault that it shows is kept as a test of its own.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn endpoints() -> impl Strategy<Value = Endpoint> {
    any::<(IpAddr, u16, u16)>().prop_map(|(ip, udp, tcp)| Endpoint { ip, udp, tcp })
}

fn keys() -> impl Strategy<Value = NodeKey> {
    any::<[u8; 32]>().prop_filter_map("a number of the group", |secret| NodeKey::from_bytes(&secret).ok())
}

fn public_keys() -> impl Strategy<Value = PublicKey> {
    any::<[u8; 64]>().prop_map(PublicKey::from_bytes)
}

/// Expirations of all lengths.
fn times() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(time, shift)| time >> shift)
}

/// Signs a packet, and reads what goes over the wire.
fn travel(packet: Unsigned, signer: &NodeKey) -> Result<Packet, DecodeError> {
    let (digest, len) = (packet.digest(), packet.datagram_len());
    let (datagram, hash) = packet.seal(&signer.sign(&digest));
    assert!(datagram.len() == len && len <= MAX_DATAGRAM_LEN);
    let envelope = Envelope::read(&datagram)?;
    assert_eq!(envelope.hash, hash);
    envelope.check_hash()?;
    assert_eq!(envelope.digest(), digest);
    assert_eq!(envelope.signature.recover(&digest), Some(signer.public_key()));
    envelope.decode()
}

/// What reading must say of a packet that ends then: nothing of one that ends at a time.
fn end(kind: PacketKind, expiration: u64) -> Result<(), DecodeError> {
    let is_time = i64::try_from(expiration).is_ok();
    if is_time { Ok(()) } else { Err(DecodeError::Expiration { kind, found: expiration }) }
}

fn on_wire(endpoint: Endpoint) -> WireEndpoint {
    WireEndpoint { ip: Some(endpoint.ip), udp: endpoint.udp, tcp: endpoint.tcp }
}

/// Writes a packet again that was read, when all that was told in it can be written.
fn rewrite(packet: &Packet) -> Option<Unsigned> {
    let whole =
        |endpoint: &WireEndpoint| Some(Endpoint { ip: endpoint.ip?, udp: endpoint.udp, tcp: endpoint.tcp });
    Some(match packet {
        Packet::Ping(ping) => {
            Ping::encode(&whole(&ping.from)?, &whole(&ping.to)?, ping.expiration, ping.enr_seq.unwrap_or(0))
        }
        Packet::Pong(pong) => {
            Pong::encode(&whole(&pong.to)?, &pong.ping_hash, pong.expiration, pong.enr_seq.unwrap_or(0))
        }
        Packet::FindNode(find) => FindNode::encode(&find.target, find.expiration),
        Packet::Neighbors(neighbors) => {
            let nodes = neighbors
                .nodes
                .iter()
                .map(|node| Some((node.public_key, Endpoint { ip: node.ip?, udp: node.udp, tcp: node.tcp })));
            let nodes = nodes.collect::<Option<Vec<_>>>().filter(|nodes| nodes.len() <= MAX_NEIGHBORS)?;
            Neighbors::encode(nodes.iter().map(|(key, endpoint)| (key, endpoint)), neighbors.expiration)
        }
        Packet::EnrRequest(request) => EnrRequest::encode(request.expiration),
        Packet::EnrResponse(response) => {
            let record = (*response.record).clone().assume_signed_by(key(2).public_key());
            EnrResponse::encode(&response.request_hash, &record)
        }
    })
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn ping_and_pong_arrive_as_they_were_sent(
        signer in keys(),
        (from, to) in (endpoints(), endpoints()),
        expiration in times(),
        (hash, seq) in any::<([u8; 32], u64)>(),
    ) {
        let enr_seq = (seq > 0).then_some(seq);
        match travel(Ping::encode(&from, &to, expiration, seq), &signer) {
            Ok(Packet::Ping(ping)) => {
                let sent = Ping { from: on_wire(from), to: on_wire(to), expiration, enr_seq };
                prop_assert_eq!(ping, sent);
                prop_assert_eq!(ping.to.endpoint(), Some(Endpoint { ip: unmapped(to.ip), ..to }));
                prop_assert!(end(PacketKind::Ping, expiration).is_ok());
            }
            other => prop_assert_eq!(other.map(drop), end(PacketKind::Ping, expiration)),
        }
        match travel(Pong::encode(&to, &hash, expiration, seq), &signer) {
            Ok(Packet::Pong(pong)) => {
                prop_assert_eq!(pong, Pong { to: on_wire(to), ping_hash: hash, expiration, enr_seq });
                prop_assert!(end(PacketKind::Pong, expiration).is_ok());
            }
            other => prop_assert_eq!(other.map(drop), end(PacketKind::Pong, expiration)),
        }
    }

    #[test]
    fn find_node_and_neighbors_arrive_as_they_were_sent(
        signer in keys(),
        target in public_keys(),
        nodes in vec((public_keys(), endpoints()), 0..20),
        expiration in times(),
    ) {
        match travel(FindNode::encode(&target, expiration), &signer) {
            Ok(Packet::FindNode(find)) => prop_assert_eq!(find, FindNode { target, expiration }),
            other => prop_assert_eq!(other.map(drop), end(PacketKind::FindNode, expiration)),
        }
        let told = nodes.iter().map(|(key, endpoint)| (key, endpoint));
        match travel(Neighbors::encode(told, expiration), &signer) {
            Ok(Packet::Neighbors(neighbors)) => {
                prop_assert_eq!(neighbors.expiration, expiration);
                let read = neighbors.nodes.iter().map(|node| (node.public_key, node.ip, node.udp, node.tcp));
                let sent = nodes.iter().take(MAX_NEIGHBORS);
                let sent = sent.map(|(key, at)| (*key, Some(unmapped(at.ip)), at.udp, at.tcp));
                prop_assert!(read.eq(sent), "{:?}", neighbors);
            }
            other => prop_assert_eq!(other.map(drop), end(PacketKind::Neighbors, expiration)),
        }
    }

    #[test]
    fn enr_request_and_response_arrive_as_they_were_sent(
        signer in keys(),
        endpoint in endpoints(),
        (hash, seq) in any::<([u8; 32], u64)>(),
        value in vec(any::<u8>(), 0..80),
        expiration in times(),
    ) {
        match travel(EnrRequest::encode(expiration), &signer) {
            Ok(Packet::EnrRequest(request)) => prop_assert_eq!(request, EnrRequest { expiration }),
            other => prop_assert_eq!(other.map(drop), end(PacketKind::EnrRequest, expiration)),
        }
        let record = EnrBuilder::new(seq).endpoint(endpoint).entry("eth", rlp::encode(&value).freeze());
        let record = record.sign(&signer).unwrap();
        let packet = travel(EnrResponse::encode(&hash, &record), &signer);
        let Ok(Packet::EnrResponse(response)) = packet else { panic!("{packet:?}") };
        prop_assert_eq!((response.request_hash, response.record.seq()), (hash, seq));
        prop_assert_eq!(response.record.verify().unwrap(), record);
    }
}

proptest! {
    #![proptest_config(config(5_000))]

    #[test]
    fn no_datagram_panics(bytes in vec(any::<u8>(), 0..1400)) {
        if let Ok(envelope) = Envelope::read(&bytes) {
            let _ = envelope.check_hash();
            let _ = envelope.decode();
        }
    }

    #[test]
    fn f15_reading_a_body_takes_a_step_a_byte_and_two_more_for_each_of_a_record(
        kind in 0..KINDS.len(),
        changes in vec(any::<(Index, u8)>(), 0..4),
        cut in any::<Index>(),
        bytes in vec(prop_oneof![prop::sample::select(vec![0x00, 0x80, 0x81, 0xc0, 0xc1, 0xf8]), any::<u8>()], 0..200),
    ) {
        let kind = KINDS[kind];
        let honest = widest_datagram(kind)[BODY..].to_vec();
        let mut changed = honest.clone();
        for (place, byte) in changes {
            let place = place.index(changed.len());
            changed[place] = byte;
        }
        let cut = changed[..=cut.index(changed.len())].to_vec();
        let listed = [&[0xf8, bytes.len() as u8], &bytes[..]].concat();
        for body in [honest, changed, cut, listed] {
            let datagram = with_body(kind, &body);
            let passes = if kind == PacketKind::EnrResponse { 3 } else { 1 };
            // One that takes more ends in a panic.
            let (_, taken) = steps::within(passes * body.len(), || {
                Envelope::read(&datagram).and_then(|envelope| envelope.decode()).map(drop)
            });
            prop_assert!(taken > 0);
        }
    }

    #[test]
    fn no_body_panics_and_what_is_read_can_be_written(
        kind in 0..KINDS.len(),
        changes in vec(any::<(Index, u8)>(), 0..4),
        cut in any::<Index>(),
        keeps_all in any::<bool>(),
        more in vec(any::<u8>(), 0..20),
    ) {
        let kind = KINDS[kind];
        let mut body = widest_datagram(kind)[BODY..].to_vec();
        for (place, byte) in changes {
            let place = place.index(body.len());
            body[place] = byte;
        }
        body.truncate(if keeps_all { body.len() } else { cut.index(body.len()) + 1 });
        body.extend(more);
        body.truncate(MAX_DATAGRAM_LEN - BODY);
        let datagram = with_body(kind, &body);
        let Ok(packet) = Envelope::read(&datagram).and_then(|envelope| envelope.decode()) else { return Ok(()) };
        if let Some(again) = rewrite(&packet) {
            let read = travel(again, &key(1)).unwrap();
            // Both say the same: a packet's own words tell all its fields.
            prop_assert_eq!(format!("{read:?}"), format!("{packet:?}"));
        }
    }
}
