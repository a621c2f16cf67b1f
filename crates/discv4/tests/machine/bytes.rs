//! Datagrams by their bytes: expired, repeated, re-signed, flipped, cut, of no kind, malformed, or of a later version.
//! What is dropped is counted, and costs no work on the curve before it has to.

use std::time::Duration;

use discv4::{
    Load, Reject,
    wire::{Envelope, Packet, Ping},
};
use identity::Endpoint;

use super::{
    host, local_host, rehash, seal,
    stage::{Stranger, addr, endpoint, key, kinds},
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

#[test]
fn u10_another_signature_of_a_request_gets_no_second_answer() {
    let (mut host, stranger) = (host(), stranger(2));
    let ping = stranger.ping(&host);
    assert_eq!(kinds(&host.receive(stranger.addr, &ping)), ["pong", "ping"]);
    // (r, n-s, v^1) is a signature of the same signer over the same content.
    let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap();
    let mut malleated = ping.clone();
    let mut borrow = 0i16;
    for index in (0..32).rev() {
        let difference = i16::from(order[index]) - i16::from(ping[64 + index]) - borrow;
        borrow = i16::from(difference < 0);
        malleated[64 + index] = difference.rem_euclid(256) as u8;
    }
    malleated[96] ^= 1;
    rehash(&mut malleated);
    let envelope = Envelope::read(&malleated).unwrap();
    assert_eq!(envelope.signature.recover(&envelope.digest()), Some(stranger.key.public_key()));
    assert_eq!(host.receive(stranger.addr, &malleated), []);
    assert_eq!(host.rejected(Reject::Replay), 1);
}

#[test]
fn u11_signatures_out_of_range_are_counted() {
    let (mut host, stranger) = (local_host(), Stranger::new(2, "127.0.0.1:30304"));
    let good = stranger.ping(&host);
    let order = hex::decode("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141").unwrap();
    let mut sent_bad = 0;
    for v in 0..=255u8 {
        for edge in [&[0; 32][..], &order, &[0xff; 32]] {
            for part in [32, 64] {
                let mut bad = good.clone();
                bad[part..part + 32].copy_from_slice(edge);
                bad[96] = v;
                rehash(&mut bad);
                assert_eq!(host.receive(stranger.addr, &bad), []);
                sent_bad += 1;
                host.now = host.now.later(Duration::from_micros(200));
            }
        }
    }
    assert_eq!((host.rejected(Reject::BadSignature), host.machine.load()), (sent_bad, Load::default()));
}

#[test]
fn u12_flipped_bits_cost_no_curve_and_rehashed_ones_are_another_signer() {
    let (mut host, stranger) = (local_host(), Stranger::new(2, "127.0.0.1:30304"));
    let good = stranger.ping(&host);
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(host.receive(stranger.addr, &flipped), []);
    }
    assert_eq!((host.op_count, host.machine.load()), (0, Load::default()));
    for bit in 256..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        rehash(&mut flipped);
        host.receive(stranger.addr, &flipped);
        host.now = host.now.later(Duration::from_micros(200));
    }
    // Whoever those signers are, the real one has no state: its own Ping is new.
    assert_eq!(kinds(&host.receive(stranger.addr, &good))[0], "pong");
}

#[test]
fn u13_lengths_out_of_range_are_dropped_before_hashing() {
    let (mut host, stranger) = (local_host(), Stranger::new(2, "127.0.0.1:30304"));
    for len in (0..=98).chain([1281, 65_507]) {
        assert_eq!(host.receive(stranger.addr, &vec![7; len]), []);
    }
    assert_eq!((host.rejected(Reject::TooShort), host.rejected(Reject::TooLong)), (99, 2));
    for port in 1..1000 {
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
    let (mut host, stranger) = (local_host(), Stranger::new(2, "127.0.0.1:30304"));
    let bodies: [&[u8]; 6] = [&[0xc0], &[0x80], &[0xc1, 0xc0], &[0xbf; 40], &[0xff; 40], &[0xf8, 0x01, 0x80]];
    for body in bodies {
        assert_eq!(host.receive(stranger.addr, &seal(&stranger.key, 1, body)), []);
    }
    assert_eq!((host.rejected(Reject::BadRlp), host.op_count), (6, 0));
}
