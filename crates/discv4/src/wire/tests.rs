//! The packets against the public vectors of EIP-8, and against every damage that can be listed:
//! each flipped bit, each length and kind. Each short prefix in each field is `tests/wire/malformed.rs`.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use std::net::IpAddr;

use identity::{Endpoint, EnrBuilder, NodeKey, PublicKey};

use super::*;
use crate::story;

/// Vectors of EIP-8 (CC0): packets with more list items and trailing bytes, and the key that signed them.
const EIP_8: &str = include_str!("../../tests/eip8.json");

/// 2006-01-02, when the packets of the vectors end.
const EIP_8_EXPIRATION: u64 = 1_136_239_445;

fn vectors() -> (NodeKey, Vec<Vec<u8>>) {
    let json: serde_json::Value = serde_json::from_str(EIP_8).unwrap();
    let key = NodeKey::from_hex(json["node_key"].as_str().unwrap()).unwrap();
    let packets = json["packets"].as_array().unwrap().iter();
    (key, packets.map(|packet| hex::decode(packet["hex"].as_str().unwrap()).unwrap()).collect())
}

fn read(datagram: &[u8]) -> Result<Packet, DecodeError> {
    let envelope = Envelope::read(datagram)?;
    envelope.check_hash()?;
    envelope.decode()
}

fn endpoint(ip: &str, udp: u16, tcp: u16) -> Endpoint {
    Endpoint { ip: ip.parse().unwrap(), udp, tcp }
}

fn wire(ip: &str, udp: u16, tcp: u16) -> WireEndpoint {
    WireEndpoint { ip: Some(ip.parse().unwrap()), udp, tcp }
}

fn seal(unsigned: Unsigned) -> Vec<u8> {
    let signature = story::key(1).sign(&unsigned.digest());
    unsigned.seal(&signature).0.to_vec()
}

/// One packet of each kind, as large as we make them.
fn each_kind() -> Vec<Unsigned> {
    let (v6, key) = (endpoint("2606:4700::1", 65535, 65535), story::key(2));
    let record = EnrBuilder::new(9).endpoint(v6).sign(&key).unwrap();
    let nodes = vec![(key.public_key(), v6); 3];
    vec![
        Ping::encode(&v6, &v6, EIP_8_EXPIRATION, 7),
        Pong::encode(&v6, &[8; 32], EIP_8_EXPIRATION, 7),
        FindNode::encode(&key.public_key(), EIP_8_EXPIRATION),
        Neighbors::encode(nodes.iter().map(|(key, endpoint)| (key, endpoint)), EIP_8_EXPIRATION),
        EnrRequest::encode(EIP_8_EXPIRATION),
        EnrResponse::encode(&[8; 32], &record),
    ]
}

/// Puts a body under a good hash.
fn rehash(kind: PacketKind, body: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; HASH_LEN + SIGNATURE_LEN];
    datagram.push(kind as u8);
    datagram.extend_from_slice(body);
    let hash = keccak256(&datagram[HASH_LEN..]);
    datagram[..HASH_LEN].copy_from_slice(&hash);
    datagram
}

#[test]
fn u15_eip_8_packets_are_read_and_recover_their_signer() {
    let (key, packets) = vectors();
    for packet in &packets {
        let envelope = Envelope::read(packet).unwrap();
        assert_eq!(envelope.check_hash(), Ok(()));
        assert_eq!(envelope.signature.recover(&envelope.digest()), Some(key.public_key()));
        assert_eq!(envelope.decode().unwrap().expiration(), Some(EIP_8_EXPIRATION));
    }
}

#[test]
fn u15_eip_8_pings_and_pong_have_their_fields() {
    let (_, packets) = vectors();
    let Packet::Ping(first) = read(&packets[0]).unwrap() else { panic!("not a ping") };
    assert_eq!((first.from, first.to), (wire("127.0.0.1", 3322, 5544), wire("::1", 2222, 3333)));
    assert_eq!(first.enr_seq, Some(1));
    let Packet::Ping(second) = read(&packets[1]).unwrap() else { panic!("not a ping") };
    assert_eq!(second.from, wire("2001:db8:3c4d:15::abcd:ef12", 3322, 5544));
    assert_eq!(second.to, wire("2001:db8:85a3:8d3:1319:8a2e:370:7348", 2222, 33338));
    assert_eq!(second.enr_seq, None, "a list in its place is an item of a later version");
    let Packet::Pong(pong) = read(&packets[2]).unwrap() else { panic!("not a pong") };
    assert_eq!(pong.to, second.to);
    assert_eq!(
        hex::encode(pong.ping_hash),
        "fbc914b16819237dcd8801d7e53f69e9719adecb3cc0e790c57e91ca4461c954"
    );
    assert_eq!(pong.enr_seq, None);
}

#[test]
fn u15_eip_8_find_node_and_neighbors_have_their_fields() {
    let (_, packets) = vectors();
    let Packet::FindNode(find) = read(&packets[3]).unwrap() else { panic!("not a findnode") };
    assert!(
        find.target
            .to_string()
            .starts_with("ca634cae0d49acb401d8a4c6b6fe8c55b70d115bf400769cc1400f3258cd3138")
    );
    let Packet::Neighbors(neighbors) = read(&packets[4]).unwrap() else { panic!("not neighbors") };
    let told: Vec<_> =
        neighbors.nodes.iter().map(|node| (node.ip.unwrap().to_string(), node.udp, node.tcp)).collect();
    let expected = [
        ("99.33.22.55".to_owned(), 4444, 4445),
        ("1.2.3.4".to_owned(), 1, 1),
        ("2001:db8:3c4d:15::abcd:ef12".to_owned(), 3333, 3333),
        ("2001:db8:85a3:8d3:1319:8a2e:370:7348".to_owned(), 999, 1000),
    ];
    assert_eq!(told, expected);
    assert!(
        neighbors.nodes[0]
            .public_key
            .to_string()
            .starts_with("3155e1427f85f10a5c9a7755877748041af1bcd8d474ec06")
    );
}

#[test]
fn what_we_encode_we_read() {
    let packets: Vec<Packet> =
        each_kind().into_iter().map(|unsigned| read(&seal(unsigned)).unwrap()).collect();
    let v6 = wire("2606:4700::1", 65535, 65535);
    let [
        Packet::Ping(ping),
        Packet::Pong(pong),
        Packet::FindNode(find),
        Packet::Neighbors(neighbors),
        Packet::EnrRequest(_),
        Packet::EnrResponse(response),
    ] = &packets[..]
    else {
        panic!("{packets:?}")
    };
    assert_eq!((ping.from, ping.to, ping.enr_seq), (v6, v6, Some(7)));
    assert_eq!((pong.to, pong.ping_hash, pong.enr_seq), (v6, [8; 32], Some(7)));
    assert_eq!(find.target, story::key(2).public_key());
    assert_eq!((neighbors.nodes.len(), neighbors.nodes[2].public_key), (3, story::key(2).public_key()));
    assert_eq!((response.request_hash, response.record.seq()), ([8; 32], 9));
    let until = packets.iter().map(Packet::expiration).collect::<Vec<_>>();
    assert_eq!(until, [Some(EIP_8_EXPIRATION); 5].into_iter().chain([None]).collect::<Vec<_>>());
}

#[test]
fn u04_the_largest_answer_is_two_datagrams_within_the_limits() {
    let key = story::key(3).public_key();
    let request_len = FindNode::encode(&key, u64::MAX / 2).datagram_len();
    for (ip, total_limit) in [("255.255.255.255", 1_500), ("2606:4700:ffff:ffff:ffff:ffff:ffff:ffff", 1_700)]
    {
        let node = endpoint(ip, 65535, 65535);
        let nodes = [(key, node); 16];
        let len = |nodes: &[(PublicKey, Endpoint)]| {
            Neighbors::encode(nodes.iter().map(|(key, endpoint)| (key, endpoint)), u64::from(u32::MAX))
                .datagram_len()
        };
        let lens: Vec<usize> = nodes.chunks(MAX_NEIGHBORS).map(len).collect();
        assert_eq!(lens.len(), 2);
        assert!(lens.iter().all(|len| *len <= MAX_DATAGRAM_LEN), "{lens:?}");
        assert!(lens.iter().sum::<usize>() <= total_limit, "{lens:?}");
        assert!(lens.iter().sum::<usize>() <= 10 * request_len, "{lens:?} for {request_len}");
        assert!(len(&nodes[..13]) == len(&nodes[..12]), "the thirteenth is left out");
    }
}

#[test]
fn u01_a_stranger_gets_at_most_three_times_its_bytes() {
    // The shortest Ping there is: empty addresses, ports 0, no sequence number.
    let mut body = RlpStream::new_list(4);
    body.append(&4u8);
    for _ in 0..2 {
        body.begin_list(3).append_empty_data().append_empty_data().append_empty_data();
    }
    body.append(&u32::MAX);
    let ping_len = rehash(PacketKind::Ping, &body.out()).len();
    assert_eq!(ping_len, 113);
    let unix_millis = 1 << 41;
    for ip in ["8.8.8.8", "2606:4700::1"] {
        let node = endpoint(ip, 65535, 65535);
        let pong = Pong::encode(&node, &[0xff; 32], u64::from(u32::MAX), unix_millis).datagram_len();
        let ping_back = Ping::encode(&node, &node, u64::from(u32::MAX), unix_millis).datagram_len();
        assert!(pong + ping_back <= 3 * ping_len, "{pong} + {ping_back}");
    }
}

#[test]
fn u08_expirations_past_2_to_the_63_are_malformed_in_every_packet() {
    let edges = [0, 1 << 31, i64::MAX as u64, 1 << 63, u64::MAX];
    for expiration in edges {
        let key = story::key(1).public_key();
        let node = endpoint("8.8.8.8", 1, 1);
        let packets = [
            Ping::encode(&node, &node, expiration, 1),
            Pong::encode(&node, &[1; 32], expiration, 1),
            FindNode::encode(&key, expiration),
            Neighbors::encode([(&key, &node)].into_iter(), expiration),
            EnrRequest::encode(expiration),
        ];
        for packet in packets.map(seal) {
            let kind = Envelope::read(&packet).unwrap().kind;
            match read(&packet) {
                Ok(read) => assert!(expiration < 1 << 63 && read.expiration() == Some(expiration)),
                Err(error) => {
                    assert_eq!(error, DecodeError::Expiration { kind, found: expiration });
                    assert!(expiration >= 1 << 63);
                }
            }
        }
    }
}

#[test]
fn u12_every_flipped_bit_breaks_the_hash() {
    for datagram in each_kind().into_iter().map(seal) {
        for bit in 0..datagram.len() * 8 {
            let mut flipped = datagram.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let error = read(&flipped).unwrap_err();
            assert!(matches!(error, DecodeError::Hash | DecodeError::Kind { .. }), "bit {bit}: {error:?}");
        }
    }
}

#[test]
fn u13_lengths_are_checked_before_anything_else() {
    for len in (0..99).chain([1281, 65_507]) {
        let error = Envelope::read(&vec![1; len]).unwrap_err();
        let short = DecodeError::TooShort { found: len };
        assert_eq!(error, if len < 99 { short } else { DecodeError::TooLong { found: len } });
    }
    for len in [99, 1280] {
        assert_eq!(Envelope::read(&vec![1; len]).unwrap().check_hash(), Err(DecodeError::Hash));
    }
}

#[test]
fn u14_kinds_are_one_to_six() {
    let mut datagram = vec![0; 99];
    for kind in 0..=255 {
        datagram[HASH_LEN + SIGNATURE_LEN] = kind;
        let known = Envelope::read(&datagram).map(|envelope| envelope.kind as u8);
        assert_eq!(
            known,
            if (1..=6).contains(&kind) { Ok(kind) } else { Err(DecodeError::Kind { found: kind }) }
        );
    }
}

#[test]
fn u16_malformed_fields_are_named() {
    let expiration = [0x84, 0x43, 0xb9, 0xa3, 0x55];
    let rows: [(&[u8], &str); 12] = [
        (&[0xc0], "target"),
        (&[0x80], "the body"),
        (&[0xc1, 0xc0], "target"),
        (&[0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "the body"),
        (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "the body"),
        (&[0xf8, 0x01, 0x80], "the body"),
        (&[0xc2, 0x81, 0x05], "target"),
        (&[0xc3, 0xb8, 0x01, 0x05], "target"),
        (&[0xc5, 0x80], "the body"),
        (&[0xc1, 0xf8], "target"),
        (&[0xc1, 0xb8], "target"),
        (&[0xc1, 0x81], "target"),
    ];
    for (body, field) in rows {
        let read = read(&rehash(PacketKind::FindNode, body)).unwrap_err();
        assert_eq!(read, DecodeError::Rlp { kind: PacketKind::FindNode, field }, "{}", hex::encode(body));
    }
    for bad in [&[0x81, 0x05][..], &[0x82, 0x00, 0x05], &[0x89, 1, 1, 1, 1, 1, 1, 1, 1, 1], &[0xc0], &[0x00]]
    {
        let mut body = vec![0xc0 + u8::try_from(bad.len()).unwrap()];
        body.extend_from_slice(bad);
        let error = DecodeError::Rlp { kind: PacketKind::EnrRequest, field: "expiration" };
        assert_eq!(read(&rehash(PacketKind::EnrRequest, &body)).unwrap_err(), error, "{}", hex::encode(bad));
    }
    let mut good = vec![0xc5];
    good.extend_from_slice(&expiration);
    assert_eq!(read(&rehash(PacketKind::EnrRequest, &good)).unwrap().expiration(), Some(EIP_8_EXPIRATION));
}

#[test]
fn u18_addresses_of_another_length_are_no_addresses() {
    for len in 0..20usize {
        let bytes = vec![9; len];
        assert_eq!(ping::read_ip(&bytes).is_some(), len == 4 || len == 16);
    }
    let (key, mapped) = (story::key(1).public_key(), endpoint("::ffff:8.8.8.8", 1, 1));
    let packet = seal(Neighbors::encode([(&key, &mapped)].into_iter(), 1));
    let Packet::Neighbors(neighbors) = read(&packet).unwrap() else { panic!("not neighbors") };
    assert_eq!(neighbors.nodes[0].ip, Some(IpAddr::from([8, 8, 8, 8])));
}

#[test]
fn u17_any_64_bytes_are_a_target() {
    for target in [[0; 64], [0xff; 64], [7; 64]] {
        let unsigned = FindNode::encode(&PublicKey::from_bytes(target), 1);
        let Packet::FindNode(find) = read(&seal(unsigned)).unwrap() else { panic!("not a findnode") };
        assert_eq!(find.target.as_bytes(), &target);
    }
}
