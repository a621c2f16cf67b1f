//! The machine against single datagrams, good and hostile: what it answers, what it counts, what it keeps.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod stage;

use std::time::Duration;

use discv4::{
    Config, Event, Load, NodeEntry, Reject, RequestError,
    config::{MAX_JOBS, MAX_REQUEST_JOBS},
    wire::{EnrResponse, Envelope, Neighbors, Packet, Ping, Pong, Unsigned},
};
use identity::{AddressPolicy, Endpoint, EnrBuilder, NodeKey, PublicKey, curve::CurveResult, keccak256};
use stage::{Host, Sent, Stranger, addr, endpoint, key, kinds, public};

fn host() -> Host {
    quiet(Host::new(1, "8.0.0.1:30303", Config::default()))
}

/// A host on loopback, where limits by address do not count.
fn local_host() -> Host {
    quiet(Host::new(1, "127.0.0.1:30303", Config::default()))
}

fn quiet(mut host: Host) -> Host {
    host.tick();
    host
}

fn stranger(number: u32) -> Stranger {
    Stranger { key: key(number), addr: public(u16::try_from(number).unwrap()) }
}

fn target() -> PublicKey {
    key(999).public_key()
}

fn neighbors(nodes: &[NodeEntry], expiration: u64) -> Unsigned {
    Neighbors::encode(nodes.iter().map(|node| (&node.public_key, &node.endpoint)), expiration)
}

/// Puts a signed body of a kind under its hash.
fn seal(key: &NodeKey, kind: u8, body: &[u8]) -> Vec<u8> {
    let signed = [&[kind], body].concat();
    let mut datagram = key.sign(&keccak256(&signed)).0.to_vec();
    datagram.extend_from_slice(&signed);
    [&keccak256(&datagram)[..], &datagram].concat()
}

/// Gives a datagram the hash it should have.
fn rehash(datagram: &mut [u8]) {
    let hash = keccak256(&datagram[32..]);
    datagram[..32].copy_from_slice(&hash);
}

/// Makes the host ask the bonded stranger for nodes; gives the FindNode.
fn make_it_ask(host: &mut Host, stranger: &Stranger) -> Sent {
    host.bond(stranger);
    host.machine.lookup(host.now, target());
    let sent = host.drain();
    assert_eq!(kinds(&sent), ["find"]);
    sent[0].clone()
}

#[test]
fn a_ping_gets_a_pong_to_where_it_came_from_and_a_ping_back() {
    let (mut host, stranger) = (host(), stranger(2));
    let ping = stranger.ping(&host);
    let sent = host.receive(stranger.addr, &ping);
    assert_eq!(kinds(&sent), ["pong", "ping"]);
    assert!(sent.iter().all(|sent| sent.to == stranger.addr && sent.signer() == host.key.public_key()));
    let Packet::Pong(pong) = sent[0].packet() else { panic!("not a pong") };
    assert_eq!(pong.ping_hash, Envelope::read(&ping).unwrap().hash);
    assert_eq!(pong.to.endpoint(), Some(endpoint(stranger.addr)));
    assert_eq!((pong.enr_seq, pong.expiration), (Some(1), host.soon()));
    let Packet::Ping(ping_back) = sent[1].packet() else { panic!("not a ping") };
    assert_eq!(ping_back.from.endpoint(), Some(endpoint(host.addr)));
    assert_eq!(host.machine.table().len(), 0, "nobody enters without a proof");
    host.receive(stranger.addr, &stranger.pong(&host, &sent[1]));
    let table = host.machine.table();
    assert_eq!(
        table.nodes().map(|node| (node.public_key, node.live)).collect::<Vec<_>>(),
        [(stranger.key.public_key(), true)]
    );
}

#[test]
fn u01_a_stranger_gets_three_times_its_bytes_and_one_ping_in_ten_seconds() {
    let mut host = host();
    let (mut bytes_in, mut bytes_out, mut pings) = (0, 0, 0);
    let victim = stranger(2);
    for number in 0..50 {
        // Another key each time, from one spoofed endpoint.
        let spoofed = Stranger { key: key(1000 + number), addr: victim.addr };
        let ping = spoofed.ping(&host);
        bytes_in += ping.len();
        let sent = host.receive(victim.addr, &ping);
        bytes_out += sent.iter().map(|sent| sent.datagram.len()).sum::<usize>();
        pings += kinds(&sent).iter().filter(|kind| **kind == "ping").count();
        host.now = host.now.later(Duration::from_millis(100));
    }
    assert!(bytes_out <= 3 * bytes_in, "{bytes_out} for {bytes_in}");
    assert_eq!(pings, 1);
    assert_eq!(host.rejected(Reject::PingBackRate), 49);
}

#[test]
fn u02_requests_without_proof_get_nothing() {
    let (mut host, stranger) = (host(), stranger(2));
    for request in [stranger.find_node(&host, target()), stranger.enr_request(&host)] {
        assert_eq!(host.receive(stranger.addr, &request), []);
    }
    assert_eq!((host.rejected(Reject::NoProof), host.op_count), (2, 0));
}

#[test]
fn u02_a_pong_with_another_hash_or_from_another_address_proves_nothing() {
    let (mut host, stranger) = (host(), stranger(2));
    let sent = host.receive(stranger.addr, &stranger.ping(&host));
    let wrong = stranger.sign(Pong::encode(&endpoint(host.addr), &[9; 32], host.soon(), 0));
    assert_eq!(host.receive(stranger.addr, &wrong), []);
    let right = stranger.pong(&host, &sent[1]);
    assert_eq!(host.receive(public(3), &right), []);
    assert_eq!(host.rejected(Reject::Unsolicited), 2);
    assert_eq!(host.receive(stranger.addr, &stranger.find_node(&host, target())), []);
    assert_eq!((host.rejected(Reject::NoProof), host.machine.load().bonds), (1, 0));
    host.receive(stranger.addr, &right);
    assert_eq!(kinds(&host.receive(stranger.addr, &stranger.find_node(&host, target()))), ["neighbors"]);
}

#[test]
fn u02_a_pong_of_another_key_proves_nothing() {
    let (mut host, stranger) = (host(), stranger(2));
    let sent = host.receive(stranger.addr, &stranger.ping(&host));
    let impostor = Stranger { key: key(3), addr: stranger.addr };
    host.receive(stranger.addr, &impostor.pong(&host, &sent[1]));
    assert_eq!((host.rejected(Reject::Unsolicited), host.machine.load().bonds), (1, 0));
}

#[test]
fn u03_another_port_needs_another_proof() {
    let (mut host, stranger) = (host(), stranger(2));
    host.bond(&stranger);
    let moved = Stranger { addr: addr(&format!("{}:40404", stranger.addr.ip())), ..stranger.clone() };
    for request in [moved.find_node(&host, target()), moved.enr_request(&host)] {
        assert_eq!(host.receive(moved.addr, &request), []);
    }
    assert_eq!(host.rejected(Reject::NoProof), 2);
    assert_eq!(kinds(&host.receive(moved.addr, &moved.ping(&host))), ["pong", "ping"]);
    let neighbour = Stranger { key: key(3), addr: stranger.addr };
    assert_eq!(
        host.receive(neighbour.addr, &neighbour.find_node(&host, target())),
        [],
        "the address is proven, the key not"
    );
    assert_eq!(host.rejected(Reject::NoProof), 3);
}

#[test]
fn u04_an_answer_is_two_datagrams_and_ten_a_second() {
    let mut host = host();
    let asker = stranger(2);
    for number in 100..180 {
        host.bond(&stranger(number));
        host.now = host.now.later(Duration::from_millis(50));
    }
    host.bond(&asker);
    let sent = host.receive(asker.addr, &asker.find_node(&host, target()));
    assert_eq!(kinds(&sent), ["neighbors", "neighbors"]);
    let nodes: Vec<_> = sent.iter().flat_map(told).collect();
    assert_eq!(nodes.len(), 16);
    assert!(sent.iter().map(|sent| sent.datagram.len()).sum::<usize>() <= 1_700);
    let mut answered = 1;
    for number in 0..30 {
        let target = key(5000 + number).public_key();
        answered += usize::from(!host.receive(asker.addr, &asker.find_node(&host, target)).is_empty());
    }
    assert_eq!((answered, host.rejected(Reject::EndpointRate)), (10, 21));
}

fn told(sent: &Sent) -> Vec<PublicKey> {
    let Packet::Neighbors(neighbors) = sent.packet() else { panic!("not neighbors") };
    neighbors.nodes.iter().map(|node| node.public_key).collect()
}

#[test]
fn u04_nobody_known_is_one_empty_answer() {
    let (mut host, asker) = (host(), stranger(2));
    host.bond(&asker);
    let sent = host.receive(asker.addr, &asker.find_node(&host, target()));
    assert_eq!(
        (kinds(&sent), told(&sent[0])),
        (vec!["neighbors"], vec![]),
        "the asker is not told of itself"
    );
}

#[test]
fn t12_only_live_nodes_are_told() {
    let mut host = host();
    let (asker, live) = (stranger(2), stranger(3));
    make_it_ask(&mut host, &asker);
    host.bond(&live);
    let named: Vec<_> = (10..14).map(|number| stranger(number).entry()).collect();
    host.receive(asker.addr, &asker.sign(neighbors(&named, host.soon())));
    host.pass(Duration::from_millis(200));
    assert!(host.machine.table().len() > 2);
    let sent = host.receive(asker.addr, &asker.find_node(&host, target()));
    assert_eq!(told(&sent[0]), [live.key.public_key()]);
}

#[test]
fn u05_unsolicited_answers_change_nothing() {
    let (mut host, friend) = (host(), stranger(2));
    host.bond(&friend);
    let (table, load) = (host.machine.table(), host.machine.load());
    let ops = host.op_count;
    let record = EnrBuilder::new(9).sign(&friend.key).unwrap();
    let answers = [
        friend.sign(Pong::encode(&endpoint(host.addr), &[9; 32], host.soon(), 9)),
        friend.sign(neighbors(&[stranger(3).entry()], host.soon())),
        friend.sign(EnrResponse::encode(&[9; 32], &record)),
    ];
    for answer in answers {
        assert_eq!(host.receive(friend.addr, &answer), []);
    }
    assert_eq!((host.machine.table(), host.machine.load(), host.op_count), (table, load, ops));
    assert_eq!((host.rejected(Reject::Unsolicited), host.events.len()), (3, 0));
}

#[test]
fn u06_sixteen_nodes_end_an_answer_at_once() {
    let (mut host, teller) = (host(), stranger(2));
    make_it_ask(&mut host, &teller);
    let named: Vec<_> = (10..50).map(|number| stranger(number).entry()).collect();
    for chunk in named.chunks(1).take(15) {
        host.receive(teller.addr, &teller.sign(neighbors(chunk, host.soon())));
    }
    assert_eq!(host.machine.table().len(), 16);
    let sent = host.receive(teller.addr, &teller.sign(neighbors(&named[15..17], host.soon())));
    assert!(kinds(&sent).contains(&"ping"), "the lookup goes on at once");
    assert_eq!((host.machine.table().len(), host.rejected(Reject::NeighborsExcess)), (17, 1));
    host.receive(teller.addr, &teller.sign(neighbors(&named[20..30], host.soon())));
    assert_eq!((host.machine.table().len(), host.rejected(Reject::Unsolicited)), (17, 1));
}

#[test]
fn u06_sixteen_packets_are_read_for_one_question() {
    let (mut host, teller) = (host(), stranger(2));
    make_it_ask(&mut host, &teller);
    let ops = host.op_count;
    for number in 0..40 {
        let empty = teller.sign(neighbors(&[], host.soon() + number));
        host.receive(teller.addr, &empty);
    }
    assert_eq!((host.op_count - ops, host.rejected(Reject::NeighborsExcess)), (16, 24));
}

#[test]
fn u06_an_answer_that_drips_ends_with_the_question() {
    let (mut host, teller) = (host(), stranger(2));
    make_it_ask(&mut host, &teller);
    let mut answered_until = Duration::ZERO;
    for step in 0..60u32 {
        let named = [stranger(10 + step).entry()];
        let before = host.rejected(Reject::Unsolicited);
        host.receive(teller.addr, &teller.sign(neighbors(&named, host.soon())));
        if host.rejected(Reject::Unsolicited) == before {
            answered_until = Duration::from_millis(10) * step;
        }
        host.pass(Duration::from_millis(10));
    }
    assert!(answered_until <= Duration::from_millis(500), "{answered_until:?}");
}

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
    let json: serde_json::Value = serde_json::from_str(include_str!("eip8.json")).unwrap();
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

#[test]
fn u17_any_target_is_answered() {
    let (mut host, asker) = (host(), stranger(2));
    host.bond(&asker);
    for target in [[0; 64], [0xff; 64]] {
        let find = asker.find_node(&host, PublicKey::from_bytes(target));
        assert_eq!(kinds(&host.receive(asker.addr, &find)), ["neighbors"]);
    }
}

/// Which of these addresses a teller may name to us.
fn accepted_from(teller: &str, own: &str) -> Vec<&'static str> {
    const ADDRESSES: [&str; 11] = [
        "8.8.8.8",
        "2606:4700::1",
        "127.0.0.2",
        "::1",
        "10.1.1.1",
        "169.254.1.1",
        "fe80::1",
        "224.0.0.1",
        "0.0.0.0",
        "192.0.2.1",
        "255.255.255.255",
    ];
    let mut accepted = Vec::new();
    for (number, ip) in (100..).zip(ADDRESSES) {
        let mut host = quiet(Host::new(1, own, Config::default()));
        let teller = Stranger::new(2, teller);
        make_it_ask(&mut host, &teller);
        let told = Endpoint { ip: ip.parse().unwrap(), udp: 30303, tcp: 30303 };
        let named = [NodeEntry::new(key(number).public_key(), told)];
        host.receive(teller.addr, &teller.sign(neighbors(&named, host.soon())));
        if host.machine.table().len() == 2 {
            accepted.push(ip);
        }
        assert_eq!(host.rejected(Reject::BadNeighbor), u64::from(host.machine.table().len() == 1), "{ip}");
    }
    accepted
}

#[test]
fn u18_who_may_name_what() {
    assert_eq!(accepted_from("8.1.1.1:30303", "8.0.0.1:30303"), ["8.8.8.8", "2606:4700::1"]);
    assert_eq!(accepted_from("10.9.9.9:30303", "10.0.0.1:30303"), ["8.8.8.8", "2606:4700::1", "10.1.1.1"]);
    assert_eq!(
        accepted_from("127.0.0.1:30304", "127.0.0.1:30303"),
        ["8.8.8.8", "2606:4700::1", "127.0.0.2", "::1", "10.1.1.1"]
    );
}

#[test]
fn u18_bad_neighbors_are_skipped_and_good_ones_kept() {
    let (mut host, teller) = (host(), stranger(2));
    make_it_ask(&mut host, &teller);
    let good = stranger(3).entry();
    let with_port = |number, udp| {
        NodeEntry::new(key(number).public_key(), Endpoint { udp, ..stranger(4).entry().endpoint })
    };
    let named = [
        NodeEntry::new(PublicKey::from_bytes([7; 64]), good.endpoint),
        NodeEntry::new(host.key.public_key(), good.endpoint),
        good.clone(),
        good.clone(),
        with_port(5, 0),
        with_port(6, 1024),
        with_port(7, 1025),
    ];
    host.receive(teller.addr, &teller.sign(neighbors(&named, host.soon())));
    assert_eq!(host.rejected(Reject::BadNeighbor), 4, "ourselves are skipped and not counted");
    let known: Vec<_> = host.machine.table().nodes().map(|node| node.public_key).collect();
    assert!(known.contains(&good.public_key) && known.contains(&key(7).public_key()));
    assert_eq!(known.len(), 3);
}

/// Makes the host ask the bonded stranger for its record; gives the request.
fn make_it_want_the_record(host: &mut Host, stranger: &Stranger) -> Sent {
    host.bond(stranger);
    host.machine.request_enr(host.now, stranger.key.public_key(), endpoint(stranger.addr));
    let sent = host.drain();
    assert_eq!(kinds(&sent), ["enr?"]);
    sent[0].clone()
}

#[test]
fn u20_a_record_arrives_at_its_asker_and_in_the_table() {
    let (mut host, friend) = (host(), stranger(2));
    let request = make_it_want_the_record(&mut host, &friend);
    let record = EnrBuilder::new(5).endpoint(endpoint(friend.addr)).sign(&friend.key).unwrap();
    host.receive(friend.addr, &friend.sign(EnrResponse::encode(&request.hash(), &record)));
    assert!(
        matches!(&host.events[..], [Event::EnrReceived { enr, .. }] if *enr == record),
        "{:?}",
        host.events
    );
    assert_eq!(host.machine.table().nodes().next().unwrap().enr, Some(record));
}

#[test]
fn u20_a_record_for_another_request_is_unsolicited() {
    let (mut host, friend) = (host(), stranger(2));
    make_it_want_the_record(&mut host, &friend);
    let record = EnrBuilder::new(5).sign(&friend.key).unwrap();
    host.receive(friend.addr, &friend.sign(EnrResponse::encode(&[9; 32], &record)));
    assert_eq!((host.rejected(Reject::Unsolicited), host.events.len()), (1, 0));
}

#[test]
fn u20_a_record_of_somebody_else_or_with_a_broken_signature_is_refused() {
    let somebody_else = EnrBuilder::new(5).sign(&key(3)).unwrap();
    let mut broken = EnrBuilder::new(5).sign(&key(2)).unwrap().encoded().to_vec();
    broken[10] ^= 1;
    for record in [somebody_else.encoded().to_vec(), broken] {
        let (mut host, friend) = (host(), stranger(2));
        let request = make_it_want_the_record(&mut host, &friend);
        let mut body = vec![0xf8, 0];
        body.push(0xa0);
        body.extend_from_slice(&request.hash());
        body.extend_from_slice(&record);
        body[1] = u8::try_from(body.len() - 2).unwrap();
        host.receive(friend.addr, &seal(&friend.key, 6, &body));
        assert_eq!(host.rejected(Reject::BadRecord), 1);
        assert!(matches!(host.events[..], [Event::RequestFailed { error: RequestError::BadRecord, .. }]));
        assert_eq!(host.machine.table().nodes().next().unwrap().enr, None);
    }
}

#[test]
fn u20_no_damage_to_a_record_panics_or_enters_the_table() {
    let (mut host, friend) = (host(), stranger(2));
    let request = make_it_want_the_record(&mut host, &friend);
    let record = EnrBuilder::new(5).endpoint(endpoint(friend.addr)).sign(&friend.key).unwrap();
    let good = friend.sign(EnrResponse::encode(&request.hash(), &record));
    for offset in 98..good.len() {
        for value in [0x00, 0x7f, 0x80, 0x81, 0xb7, 0xb8, 0xbf, 0xc0, 0xf7, 0xf8, 0xff] {
            let mut bad = good[98..].to_vec();
            if bad[offset - 98] != value {
                bad[offset - 98] = value;
                // Signed by its sender, so that only the record is at fault.
                host.machine.handle_datagram(host.now, friend.addr, &seal(&friend.key, 6, &bad));
                host.drain();
            }
        }
    }
    assert_eq!(host.machine.table().nodes().next().unwrap().enr, None);
}

#[test]
fn u21_an_older_record_does_not_replace_a_newer_one() {
    let (mut host, friend) = (host(), stranger(2));
    let tell = |host: &mut Host, seq| {
        host.machine.request_enr(host.now, friend.key.public_key(), endpoint(friend.addr));
        let request = host.drain().pop().unwrap();
        let record = EnrBuilder::new(seq).sign(&friend.key).unwrap();
        host.receive(friend.addr, &friend.sign(EnrResponse::encode(&request.hash(), &record)));
        host.now = host.now.later(Duration::from_secs(1));
        host.machine.table().nodes().next().unwrap().enr.as_ref().unwrap().seq()
    };
    host.bond(&friend);
    assert_eq!([5, 4, 6, 5].map(|seq| tell(&mut host, seq)), [5, 5, 6, 6]);
}

#[test]
fn eip_868_a_newer_sequence_number_is_followed_by_a_request() {
    let (mut host, friend) = (host(), stranger(2));
    let sent = host.receive(friend.addr, &friend.ping(&host));
    let pong = friend.sign(Pong::encode(&endpoint(host.addr), &sent[1].hash(), host.soon(), 7));
    let sent = host.receive(friend.addr, &pong);
    assert_eq!(kinds(&sent), ["enr?"]);
    let record = EnrBuilder::new(7).sign(&friend.key).unwrap();
    host.receive(friend.addr, &friend.sign(EnrResponse::encode(&sent[0].hash(), &record)));
    assert_eq!(host.machine.table().nodes().next().unwrap().enr, Some(record));
    let again = friend.sign(Ping::encode(&endpoint(friend.addr), &endpoint(host.addr), host.soon() + 1, 7));
    assert_eq!(kinds(&host.receive(friend.addr, &again)), ["pong"], "it is known");
    host.now = host.now.later(Duration::from_secs(61));
    let newer = friend.sign(Ping::encode(&endpoint(friend.addr), &endpoint(host.addr), host.soon() + 2, 8));
    let mut kinds = kinds(&host.receive(friend.addr, &newer));
    kinds.sort_unstable();
    assert_eq!(kinds, ["enr?", "pong"]);
}

#[test]
fn eip_868_our_record_is_given_to_the_proven() {
    let (mut host, friend) = (host(), stranger(2));
    host.bond(&friend);
    let request = friend.enr_request(&host);
    let sent = host.receive(friend.addr, &request);
    let Packet::EnrResponse(response) = sent[0].packet() else { panic!("not a record") };
    assert_eq!(response.request_hash, Envelope::read(&request).unwrap().hash);
    assert_eq!(response.record.verify().unwrap(), *host.machine.local());
}

#[test]
fn u30_a_record_that_names_another_endpoint_moves_the_node_after_its_pong() {
    let (mut host, friend) = (host(), stranger(2));
    let request = make_it_want_the_record(&mut host, &friend);
    let moved = Stranger { addr: public(77), ..friend.clone() };
    let record = EnrBuilder::new(5).endpoint(endpoint(moved.addr)).sign(&friend.key).unwrap();
    let sent = host.receive(friend.addr, &friend.sign(EnrResponse::encode(&request.hash(), &record)));
    assert_eq!((kinds(&sent), sent[0].to), (vec!["ping"], moved.addr));
    let endpoints = |host: &Host| host.machine.table().nodes().map(|node| node.endpoint).collect::<Vec<_>>();
    assert_eq!(endpoints(&host), [endpoint(friend.addr)]);
    host.receive(moved.addr, &moved.pong(&host, &sent[0]));
    assert_eq!(endpoints(&host), [endpoint(moved.addr)]);
}

#[test]
fn u31_a_find_node_before_its_pong_is_dropped() {
    let (mut host, stranger) = (host(), stranger(2));
    let sent = host.receive(stranger.addr, &stranger.ping(&host));
    let find = stranger.find_node(&host, target());
    assert_eq!(host.receive(stranger.addr, &find), []);
    host.receive(stranger.addr, &stranger.pong(&host, &sent[1]));
    assert_eq!(
        kinds(&host.receive(stranger.addr, &find)),
        ["neighbors"],
        "the same bytes again are no replay"
    );
}

#[test]
fn u31_a_find_node_behind_its_pong_is_answered_though_the_curve_is_slow() {
    let (mut host, stranger) = (host(), stranger(2));
    let sent = host.receive(stranger.addr, &stranger.ping(&host));
    host.hold_jobs = true;
    host.receive(stranger.addr, &stranger.pong(&host, &sent[1]));
    host.receive(stranger.addr, &stranger.find_node(&host, target()));
    assert_eq!(kinds(&host.release()), ["neighbors"]);
}

#[test]
fn u31_our_question_is_asked_once_more_after_500_ms() {
    let (mut host, friend) = (host(), stranger(2));
    let find = make_it_ask(&mut host, &friend);
    assert_eq!(host.pass(Duration::from_millis(499)), []);
    let again = host.pass(Duration::from_millis(1));
    assert_eq!((kinds(&again), again[0].to), (vec!["find"], find.to));
    host.pass(Duration::from_millis(500));
    assert!(matches!(&host.events[..], [Event::LookupFinished { nodes, .. }] if nodes.is_empty()));
    assert_eq!(host.machine.load().pending, 0);
    host.machine.lookup(host.now, target());
    assert_eq!(kinds(&host.drain()), ["ping"], "whoever did not answer has to be given our proof again");
}

#[test]
fn u28_requests_end_with_their_deadline_to_the_tick() {
    let mut host = host();
    host.machine.ping(host.now, key(2).public_key(), endpoint(public(2)));
    assert_eq!(kinds(&host.drain()), ["ping"]);
    host.pass(Duration::from_nanos(499_999_999));
    assert_eq!(host.events, []);
    host.pass(Duration::from_nanos(1));
    assert!(matches!(host.events[..], [Event::RequestFailed { error: RequestError::Timeout, .. }]));
    assert_eq!(host.machine.load().pending, 0);
}

#[test]
fn a_ping_of_the_owner_tells_what_the_pong_says() {
    let (mut host, friend) = (host(), stranger(2));
    let request = host.machine.ping(host.now, friend.key.public_key(), endpoint(friend.addr));
    let ping = host.drain().pop().unwrap();
    host.now = host.now.later(Duration::from_millis(30));
    let told = Endpoint { ip: [7, 7, 7, 7].into(), udp: 7, tcp: 8 };
    host.receive(friend.addr, &friend.sign(Pong::encode(&told, &ping.hash(), host.soon(), 12)));
    let Some(Event::PongReceived { request: answered, pong }) = host.events.last().cloned() else {
        panic!("{:?}", host.events)
    };
    assert_eq!((answered, pong.rtt, pong.enr_seq), (request, Duration::from_millis(30), Some(12)));
    assert_eq!((pong.told_endpoint, pong.from), (told, friend.addr));
}

#[test]
fn requests_that_cannot_be_begun_say_why() {
    let config = Config { net_restrict: "127.0.0.0/8".parse().unwrap(), ..Config::default() };
    let mut host = Host::new(1, "127.0.0.1:30303", config);
    let mut error = |key: PublicKey, address: &str| {
        host.machine.ping(host.now, key, endpoint(addr(address)));
        host.drain();
        match host.events.pop() {
            Some(Event::RequestFailed { error, .. }) => error,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(error(key(2).public_key(), "8.8.8.8:30303"), RequestError::NetRestrict);
    assert_eq!(error(key(2).public_key(), "127.0.0.1:0"), RequestError::NoEndpoint);
    assert_eq!(error(key(1).public_key(), "127.0.0.1:30304"), RequestError::NoEndpoint);
}

#[test]
fn the_proof_costs_no_fixed_wait_when_the_other_side_pings_back() {
    let (mut host, friend) = (host(), stranger(2));
    host.machine.request_enr(host.now, friend.key.public_key(), endpoint(friend.addr));
    let ping = host.drain().pop().unwrap();
    assert_eq!(host.receive(friend.addr, &friend.pong(&host, &ping)), [], "it has no proof of ours yet");
    assert_eq!(kinds(&host.receive(friend.addr, &friend.ping(&host))), ["pong", "enr?"]);
}

#[test]
fn the_proof_waits_for_a_ping_that_does_not_come_no_longer_than_for_the_pong() {
    let (mut host, friend) = (host(), stranger(2));
    host.machine.request_enr(host.now, friend.key.public_key(), endpoint(friend.addr));
    let ping = host.drain().pop().unwrap();
    host.now = host.now.later(Duration::from_millis(80));
    host.receive(friend.addr, &friend.pong(&host, &ping));
    assert_eq!(host.pass(Duration::from_millis(79)), []);
    assert_eq!(kinds(&host.pass(Duration::from_millis(1))), ["enr?"]);
}

#[test]
fn a_dead_node_costs_one_ping_and_its_timeout() {
    let mut host = host();
    host.machine.request_enr(host.now, key(2).public_key(), endpoint(public(2)));
    assert_eq!(kinds(&host.drain()), ["ping"]);
    assert_eq!(host.pass(Duration::from_millis(500)), []);
    assert!(matches!(host.events[..], [Event::RequestFailed { error: RequestError::Timeout, .. }]));
}

#[test]
fn two_find_nodes_to_one_node_are_asked_one_after_the_other() {
    let (mut host, friend) = (host(), stranger(2));
    make_it_ask(&mut host, &friend);
    host.machine.lookup(host.now, key(777).public_key());
    assert_eq!(host.drain(), []);
    host.receive(friend.addr, &friend.sign(neighbors(&[], host.soon())));
    let sent = host.pass(Duration::from_millis(100));
    assert_eq!(kinds(&sent), ["find"]);
    let Packet::FindNode(find) = sent[0].packet() else { panic!("not a findnode") };
    assert_eq!(find.target, key(777).public_key());
}

#[test]
fn u34_two_nodes_set_on_each_other_are_quiet_after_six_packets() {
    let (mut a, mut b) = (host(), quiet(Host::new(2, "8.0.1.1:30303", Config::default())));
    // Somebody writes to a from b's address.
    let spoofed = Stranger { key: key(3), addr: b.addr };
    let mut to_b = a.receive(b.addr, &spoofed.ping(&a));
    let mut count = 0;
    while !to_b.is_empty() {
        count += to_b.len();
        let to_a: Vec<Sent> = to_b.iter().flat_map(|sent| b.receive(a.addr, &sent.datagram)).collect();
        count += to_a.len();
        to_b = to_a.iter().flat_map(|sent| a.receive(b.addr, &sent.datagram)).collect();
    }
    assert!(count <= 6, "{count}");
}

#[test]
fn u34_source_port_0_and_impossible_sources_are_dropped() {
    let mut host = host();
    let ping = stranger(2).ping(&host);
    for source in ["8.8.8.8:0", "0.0.0.0:30303", "224.0.0.1:30303", "255.255.255.255:30303"] {
        assert_eq!(host.receive(addr(source), &ping), []);
    }
    assert_eq!((host.rejected(Reject::BadSource), host.op_count), (4, 0));
    let own = Stranger { key: key(1), addr: public(2) };
    assert_eq!(host.receive(own.addr, &own.ping(&host)), []);
    assert_eq!(host.rejected(Reject::OwnKey), 1);
}

#[test]
fn netrestrict_keeps_others_out() {
    let config = Config { net_restrict: "10.0.0.0/8".parse().unwrap(), ..Config::default() };
    let mut host = quiet(Host::new(1, "10.0.0.1:30303", config));
    let (inside, outside) = (Stranger::new(2, "10.0.0.2:30303"), stranger(3));
    assert_eq!(host.receive(outside.addr, &outside.ping(&host)), []);
    assert_eq!(host.rejected(Reject::NetRestrict), 1);
    assert_eq!(kinds(&host.receive(inside.addr, &inside.ping(&host)))[0], "pong");
}

#[test]
fn u22_a_flood_from_one_host_is_cut_and_others_are_heard() {
    let mut host = host();
    let mut answered = 0;
    for number in 0..500 {
        let flooder = Stranger { key: key(1000 + number), addr: public(9) };
        answered += usize::from(!host.receive(flooder.addr, &flooder.ping(&host)).is_empty());
    }
    assert_eq!((answered, host.rejected(Reject::HostRate)), (60, 440));
    assert_eq!(kinds(&host.receive(public(2), &stranger(2).ping(&host))), ["pong", "ping"]);
}

#[test]
fn u22_loopback_floods_meet_the_limits_when_it_counts_as_public() {
    let config = Config { address_policy: AddressPolicy { loopback_is_public: true }, ..Config::default() };
    let mut host = quiet(Host::new(1, "127.0.0.1:30303", config));
    for number in 0..100 {
        let flooder = Stranger { key: key(1000 + number), addr: addr("127.1.2.3:9999") };
        host.receive(flooder.addr, &flooder.ping(&host));
    }
    assert_eq!(host.rejected(Reject::HostRate), 40);
}

#[test]
fn u23_strangers_leave_nothing_behind() {
    let mut host = local_host();
    for number in 0..3000u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let stranger = Stranger { key: key(1000 + number), addr: addr(&format!("127.1.{high}.{low}:30303")) };
        host.receive(stranger.addr, &stranger.ping(&host));
        host.now = host.now.later(Duration::from_millis(1));
    }
    assert!(host.machine.load().pending <= 2048);
    host.pass(Duration::from_secs(1));
    assert_eq!((host.machine.load(), host.machine.table().len()), (Load::default(), 0));
}

#[test]
fn jobs_are_refused_at_the_door_and_a_third_is_left_for_answers() {
    let mut host = local_host();
    let friend = Stranger::new(2, "127.0.0.1:30304");
    host.machine.ping(host.now, friend.key.public_key(), endpoint(friend.addr));
    let ping = host.drain().pop().unwrap();
    host.hold_jobs = true;
    for number in 0..1000u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let stranger = Stranger { key: key(1000 + number), addr: addr(&format!("127.1.{high}.{low}:30303")) };
        host.receive(stranger.addr, &stranger.ping(&host));
        host.now = host.now.later(Duration::from_micros(200));
    }
    assert_eq!(host.machine.load().jobs, MAX_REQUEST_JOBS);
    assert!(host.rejected(Reject::Busy) >= 300);
    host.receive(friend.addr, &friend.pong(&host, &ping));
    assert_eq!(host.held.len(), MAX_REQUEST_JOBS + 1);
    let pong = host.held.pop().unwrap();
    host.run(pong);
    host.drain();
    assert!(host.events.iter().any(|event| matches!(event, Event::PongReceived { .. })));
    assert!(host.machine.load().jobs <= MAX_JOBS);
}

#[test]
fn a_refused_job_ends_its_request_and_forgets_its_answer() {
    let (mut host, stranger) = (host(), stranger(2));
    host.hold_jobs = true;
    host.machine.ping(host.now, stranger.key.public_key(), endpoint(stranger.addr));
    host.drain();
    let job = host.held.pop().unwrap();
    host.machine.handle_curve(host.now, job.ticket, CurveResult::Refused);
    host.drain();
    assert!(matches!(host.events[..], [Event::RequestFailed { error: RequestError::Busy, .. }]));
    let ping = stranger.ping(&host);
    host.receive(stranger.addr, &ping);
    let recover = host.held.pop().unwrap();
    host.run(recover);
    host.drain();
    let sign = host.held.pop().unwrap();
    host.machine.handle_curve(host.now, sign.ticket, CurveResult::Refused);
    host.machine.handle_curve(host.now, sign.ticket, CurveResult::Refused);
    host.hold_jobs = false;
    assert_eq!(kinds(&host.receive(stranger.addr, &ping))[0], "pong", "its like is new");
    assert_eq!(host.rejected(Reject::CurveRefused), 2);
}

#[test]
fn a_datagram_whose_first_copy_is_being_worked_on_is_dropped() {
    let (mut host, stranger) = (host(), stranger(2));
    host.hold_jobs = true;
    let ping = stranger.ping(&host);
    host.receive(stranger.addr, &ping);
    host.receive(stranger.addr, &ping);
    assert_eq!((host.held.len(), host.rejected(Reject::InFlight)), (1, 1));
    assert_eq!(kinds(&host.release()), ["pong", "ping"]);
}

#[test]
fn a_request_cancelled_while_it_is_signed_is_not_sent() {
    let (mut host, stranger) = (host(), stranger(2));
    host.hold_jobs = true;
    let id = host.machine.ping(host.now, stranger.key.public_key(), endpoint(stranger.addr));
    host.drain();
    host.machine.cancel_request(id);
    assert_eq!((host.release(), host.machine.load()), (vec![], Load::default()));
}
