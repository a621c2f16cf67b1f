//! Datagrams by their bytes: expired, repeated, re-signed, cut, of no kind, malformed, or of a later version.
//! What is dropped is counted, and costs no work on the curve before it has to.

use std::time::Duration;

use discv4::{
    Load, Reject,
    wire::{EnrRequest, Envelope, FindNode, Packet, Ping, Pong},
};
use identity::Endpoint;
use rlp::RlpStream;

use super::{
    host, local_host, make_it_ask, neighbors, rehash, seal,
    stage::{Host, Stranger, addr, endpoint, key, kinds},
    stranger, target,
};

#[test]
fn u07_a_packet_ends_when_its_second_is_over() {
    let (mut host, stranger) = (host(), stranger(2));
    host.now.unix = Duration::from_secs(1_800_000_000);
    let at = |expiration| stranger.ping_until(&host, expiration);
    let (past, present, future) = (at(1_799_999_999), at(1_800_000_000), at(1_800_000_001));
    assert_eq!(host.receive(stranger.addr, &past), []);
    assert_eq!(host.rejected(Reject::Expired), 1);
    assert_eq!(kinds(&host.receive(stranger.addr, &present)), ["pong", "ping"]);
    assert_eq!(kinds(&host.receive(stranger.addr, &future)), ["pong"]);
    host.now.unix += Duration::from_nanos(1);
    let again = Stranger { key: key(3), ..stranger.clone() }.ping_until(&host, 1_800_000_000);
    assert_eq!(host.receive(stranger.addr, &again), [], "the present second is past once it has begun");
    assert_eq!(host.rejected(Reject::Expired), 2);
}

#[test]
fn u07_a_replay_after_its_window_gets_nothing() {
    let (mut host, stranger) = (host(), stranger(2));
    let ping = stranger.ping(&host);
    host.receive(stranger.addr, &ping);
    host.now = host.now.later(Duration::from_secs(10));
    assert_eq!(host.receive(stranger.addr, &ping), []);
    assert_eq!(host.rejected(Reject::Replay), 1);
    host.now = host.now.later(Duration::from_secs(12));
    assert_eq!(host.receive(stranger.addr, &ping), []);
    assert_eq!(host.rejected(Reject::Expired), 1);
}

#[test]
fn u08_no_expiration_panics() {
    let (mut host, stranger) = (host(), stranger(2));
    for (expiration, reject) in [
        (0, Reject::Expired),
        (1, Reject::Expired),
        (1 << 63, Reject::BadExpiration),
        (u64::MAX, Reject::BadExpiration),
    ] {
        let before = host.rejected(reject);
        assert_eq!(host.receive(stranger.addr, &stranger.ping_until(&host, expiration)), []);
        assert_eq!(host.rejected(reject), before + 1, "{expiration}");
    }
    for expiration in [(1 << 63) - 1, 1 << 40] {
        let sent = host.receive(stranger.addr, &stranger.ping_until(&host, expiration));
        assert_eq!(kinds(&sent)[0], "pong", "{expiration}");
    }
    host.now.unix = Duration::MAX;
    assert_eq!(host.receive(stranger.addr, &stranger.ping_until(&host, (1 << 63) - 2)), []);
}

/// A packet of each kind that ends then, from a friend of whom the host awaits all answers.
fn each_kind(host: &mut Host, friend: &Stranger, expiration: u64) -> [Vec<u8>; 5] {
    make_it_ask(host, friend);
    host.machine.ping(host.now, friend.key.public_key(), endpoint(friend.addr));
    let ping = host.drain().pop().unwrap();
    [
        friend.ping_until(host, expiration),
        friend.sign(Pong::encode(&endpoint(host.addr), &ping.hash(), expiration, 0)),
        friend.sign(FindNode::encode(&target(), expiration)),
        friend.sign(neighbors(&[stranger(3).entry()], expiration)),
        friend.sign(EnrRequest::encode(expiration)),
    ]
}

#[test]
fn u08_every_kind_is_taken_late_or_malformed_by_its_expiration() {
    let rows = [
        (0, Some(Reject::Expired)),
        (1_799_999_999, Some(Reject::Expired)),
        (1_800_000_000, None),
        (1 << 31, None),
        (i64::MAX as u64, None),
        (1 << 63, Some(Reject::BadExpiration)),
        (u64::MAX, Some(Reject::BadExpiration)),
    ];
    for (expiration, reject) in rows {
        for index in 0..5 {
            let (mut host, friend) = (host(), stranger(2));
            host.now.unix = Duration::from_secs(1_800_000_000);
            let packet = each_kind(&mut host, &friend, expiration)[index].clone();
            let (before, total) = (host.op_count, host.machine.rejects().total());
            host.receive(friend.addr, &packet);
            let found = reject.map_or(0, |reject| host.rejected(reject));
            let expected = u64::from(reject.is_some());
            assert_eq!(
                (found, host.machine.rejects().total() - total),
                (expected, expected),
                "{expiration}, {index}"
            );
            assert_eq!(host.op_count > before, reject.is_none(), "{expiration}, {index}");
        }
    }
}

#[test]
fn u09_a_repeated_request_gets_the_same_bytes_without_the_curve() {
    let (mut host, stranger) = (host(), stranger(2));
    let ping = stranger.ping(&host);
    let first = host.receive(stranger.addr, &ping);
    let ops = host.op_count;
    for _ in 0..4 {
        assert_eq!(host.receive(stranger.addr, &ping), first[..1], "the Pong again, no Ping");
    }
    assert_eq!(host.receive(stranger.addr, &ping), []);
    assert_eq!((host.op_count, host.rejected(Reject::Replay)), (ops, 1));
}

#[test]
fn u09_a_repeated_find_node_gets_its_neighbors_again() {
    let (mut host, asker) = (host(), stranger(2));
    host.bond(&asker);
    host.bond(&stranger(3));
    let find = asker.find_node(&host, target());
    let first = host.receive(asker.addr, &find);
    assert_eq!(host.receive(asker.addr, &find), first);
}

/// (r, n-s, v^1): a signature of the same signer over the same content.
fn malleated(datagram: &[u8]) -> Vec<u8> {
    let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap();
    let mut malleated = datagram.to_vec();
    let mut borrow = 0i16;
    for index in (0..32).rev() {
        let difference = i16::from(order[index]) - i16::from(datagram[64 + index]) - borrow;
        borrow = i16::from(difference < 0);
        malleated[64 + index] = difference.rem_euclid(256) as u8;
    }
    malleated[96] ^= 1;
    rehash(&mut malleated);
    malleated
}

#[test]
fn u10_another_signature_of_a_request_gets_no_second_answer() {
    let (mut host, friend) = (host(), stranger(2));
    host.bond(&friend);
    host.now = host.now.later(Duration::from_secs(1));
    let requests = [friend.ping(&host), friend.find_node(&host, target()), friend.enr_request(&host)];
    for (request, answer) in requests.iter().zip(["pong", "neighbors", "enr!"]) {
        assert_eq!(kinds(&host.receive(friend.addr, request)), [answer]);
        let before = host.rejected(Reject::Replay);
        let malleated = malleated(request);
        let envelope = Envelope::read(&malleated).unwrap();
        assert_eq!(envelope.signature.recover(&envelope.digest()), Some(friend.key.public_key()));
        assert_eq!(host.receive(friend.addr, &malleated), [], "{answer}");
        assert_eq!(host.rejected(Reject::Replay), before + 1, "{answer}");
    }
}

#[test]
fn u10_the_first_of_two_signatures_gets_the_answer_and_another_signer_its_own() {
    let (mut host, friend) = (host(), stranger(2));
    let ping = friend.ping(&host);
    assert_eq!(kinds(&host.receive(friend.addr, &malleated(&ping))), ["pong", "ping"]);
    assert_eq!(host.receive(friend.addr, &ping), []);
    let other = Stranger { key: key(3), ..friend.clone() };
    let same_content = seal(&other.key, 1, &ping[98..]);
    assert_eq!(kinds(&host.receive(other.addr, &same_content))[0], "pong");
}

#[test]
fn u11_signatures_out_of_range_are_counted() {
    let (mut host, stranger) = (local_host(), Stranger::new(2, "127.0.0.1:30304"));
    let good = stranger.ping(&host);
    let number = |text: &str| hex::decode(text).unwrap();
    let order = number("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141");
    let past_order = number("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364142");
    let prime = number("fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f");
    let mut sent_bad = 0;
    let mut send_bad = |bad: &mut [u8]| {
        rehash(bad);
        assert_eq!(host.receive(stranger.addr, bad), []);
        sent_bad += 1;
        host.now = host.now.later(Duration::from_micros(200));
    };
    for v in 0..=255u8 {
        for edge in [&[0; 32][..], &order, &past_order, &prime, &[0xff; 32]] {
            for (part, len) in [(32, 32), (64, 32)] {
                let mut bad = good.clone();
                bad[part..part + len].copy_from_slice(edge);
                bad[96] = v;
                send_bad(&mut bad);
            }
            let mut both = good.clone();
            both[32..64].copy_from_slice(edge);
            both[64..96].copy_from_slice(edge);
            both[96] = v;
            send_bad(&mut both);
        }
        // 5 is the x of no point, so no key gives this signature. With 2 and 3 it stands for another x.
        let mut no_point = good.clone();
        no_point[32..64].copy_from_slice(&[&[0; 31][..], &[5]].concat());
        no_point[96] = v;
        if !(2..4).contains(&v) {
            send_bad(&mut no_point);
        }
    }
    assert_eq!((host.rejected(Reject::BadSignature), host.machine.load()), (sent_bad, Load::default()));
}

#[test]
fn u13_lengths_out_of_range_are_dropped_before_hashing() {
    let (mut host, stranger) = (local_host(), Stranger::new(2, "127.0.0.1:30304"));
    for len in (0..=98).chain([1281, 65_507]) {
        assert_eq!(host.receive(stranger.addr, &vec![7; len]), []);
    }
    assert_eq!((host.rejected(Reject::TooShort), host.rejected(Reject::TooLong)), (99, 2));
    for port in 1..=1000 {
        host.receive(addr(&format!("127.0.0.1:{port}")), &[0x5a; 46]);
    }
    assert_eq!((host.machine.load(), host.op_count), (Load::default(), 0));
    let mut longest = stranger.ping(&host);
    longest.resize(1280, 0);
    let signed = longest.split_off(98);
    let longest = seal(&stranger.key, 1, &signed);
    assert_eq!((longest.len(), kinds(&host.receive(stranger.addr, &longest))[0]), (1280, "pong"));
}

#[test]
fn u14_unknown_kinds_get_no_answer() {
    let (mut host, stranger) = (local_host(), Stranger::new(2, "127.0.0.1:30304"));
    let ping = stranger.ping(&host);
    for kind in (0..=255u8).filter(|kind| !(1..=6).contains(kind)) {
        assert_eq!(host.receive(stranger.addr, &seal(&stranger.key, kind, &ping[98..])), []);
    }
    assert_eq!((host.rejected(Reject::UnknownKind), host.op_count), (250, 0));
}

/// An ordinary message of discovery v5, from the test vectors of its specification (`discv5-wire-test-vectors.md`, CC0).
const V5_PING: &str = "00000000000000000000000000000000088b3d4342774649325f313964a39e55\
                       ea96c005ad52be8c7560413a7008f16c9e6d2f43bbea8814a546b7409ce783d3\
                       4c4f53245d08dab84102ed931f66d1492acb308fa1c6715b9d139b81acbdcc";

#[test]
fn u14_a_packet_of_discovery_v5_gets_no_answer() {
    let (mut host, stranger) = (local_host(), Stranger::new(2, "127.0.0.1:30304"));
    let mut packet = hex::decode(V5_PING).unwrap();
    let load = host.machine.load();
    // As it is, and as long as packets of every length are that carry a request or an answer.
    for len in [packet.len(), 99, 200, 1280] {
        packet.resize(len, 0x5a);
        assert_eq!(host.receive(stranger.addr, &packet), [], "{len} bytes");
    }
    let counted =
        [Reject::TooShort, Reject::UnknownKind, Reject::BadHash].map(|reject| host.rejected(reject));
    assert_eq!((counted.iter().sum::<u64>(), host.machine.load(), host.op_count), (4, load, 0));
}

#[test]
fn u15_eip_8_pings_are_answered() {
    let json: serde_json::Value = serde_json::from_str(include_str!("../eip8.json")).unwrap();
    let packets = json["packets"].as_array().unwrap();
    for packet in &packets[..2] {
        let mut host = local_host();
        // The vectors ended in 2006.
        host.now.unix = Duration::from_secs(1_136_239_440);
        let from = addr("127.0.0.1:5555");
        let ping = hex::decode(packet["hex"].as_str().unwrap()).unwrap();
        let sent = host.receive(from, &ping);
        assert_eq!(kinds(&sent), ["pong", "ping"], "{}", packet["about"]);
        assert!(sent.iter().all(|sent| sent.to == from));
    }
}

#[test]
fn u15_extra_data_and_wrong_addresses_inside_are_answered_to_the_envelope() {
    let (mut host, stranger) = (local_host(), Stranger::new(2, "127.0.0.1:30304"));
    let elsewhere = Endpoint { ip: [9, 9, 9, 9].into(), udp: 1, tcp: 77 };
    let ping = stranger.sign(Ping::encode(&elsewhere, &elsewhere, host.soon(), 1));
    let mut body = ping[98..].to_vec();
    body.extend_from_slice(&[0xde, 0xad, 0xbe, 0xef]);
    let sent = host.receive(stranger.addr, &seal(&stranger.key, 1, &body));
    assert_eq!(kinds(&sent), ["pong", "ping"]);
    let Packet::Pong(pong) = sent[0].packet() else { panic!("not a pong") };
    assert_eq!(pong.to.endpoint(), Some(Endpoint { tcp: 77, ..endpoint(stranger.addr) }));
    assert!(sent.iter().all(|sent| sent.to == stranger.addr));
}

#[test]
fn u16_bad_rlp_under_a_good_hash_costs_no_curve() {
    let (mut host, friend) = (local_host(), Stranger::new(2, "127.0.0.1:30304"));
    each_kind(&mut host, &friend, 1);
    host.machine.request_enr(host.now, friend.key.public_key(), endpoint(friend.addr));
    host.drain();
    let bodies: [&[u8]; 6] = [&[0xc0], &[0x80], &[0xc1, 0xc0], &[0xbf; 40], &[0xff; 40], &[0xf8, 0x01, 0x80]];
    let (ops, load, before) = (host.op_count, host.machine.load(), host.rejected(Reject::BadRlp));
    for kind in 1..=6 {
        for body in bodies {
            assert_eq!(host.receive(friend.addr, &seal(&friend.key, kind, body)), []);
        }
    }
    assert_eq!((host.rejected(Reject::BadRlp) - before, host.op_count, host.machine.load()), (36, ops, load));
}

#[test]
fn u15_any_version_more_items_and_bytes_behind_are_answered() {
    let (mut host, friend) = (local_host(), Stranger::new(2, "127.0.0.1:30304"));
    host.bond(&friend);
    let endpoint = |stream: &mut RlpStream| {
        stream.begin_list(4).append(&vec![9u8; 4]).append(&1u8).append(&2u8).append(&"more");
    };
    let more = |stream: &mut RlpStream| {
        stream.begin_list(2).append(&7u8).begin_list(0);
        stream.append(&"more");
    };
    let mut bodies = Vec::new();
    for version in [0u64, 3, 5, 56, u64::MAX] {
        let mut ping = RlpStream::new_list(7);
        ping.append(&version);
        endpoint(&mut ping);
        endpoint(&mut ping);
        ping.append(&host.soon()).append(&0u8);
        more(&mut ping);
        bodies.push((1, ping.out().to_vec(), "pong"));
    }
    let mut find_node = RlpStream::new_list(4);
    find_node.append(&target().as_bytes().as_slice()).append(&host.soon());
    more(&mut find_node);
    bodies.push((3, find_node.out().to_vec(), "neighbors"));
    let mut enr_request = RlpStream::new_list(3);
    enr_request.append(&host.soon());
    more(&mut enr_request);
    bodies.push((5, enr_request.out().to_vec(), "enr!"));
    for (kind, body, answer) in bodies {
        for behind in [&[][..], &[0xff; 40], &[0xc0; 300]] {
            let sent = host.receive(friend.addr, &seal(&friend.key, kind, &[&body[..], behind].concat()));
            assert_eq!(kinds(&sent), [answer], "kind {kind}, {} bytes behind", behind.len());
            assert_eq!(sent[0].to, friend.addr);
            host.now = host.now.later(Duration::from_millis(200));
        }
    }
}
