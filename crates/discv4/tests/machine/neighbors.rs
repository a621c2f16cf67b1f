//! FindNode and Neighbors from both sides: what is told, what is believed, and when an answer has ended.
//! Also answers that nobody asked for.

use std::time::Duration;

use discv4::{
    Config, NodeEntry, Reject,
    wire::{EnrResponse, Packet, Pong},
};
use identity::{Endpoint, EnrBuilder, PublicKey};

use super::{
    host, make_it_ask, neighbors, quiet, seal,
    stage::{Host, Stranger, endpoint, key, kinds},
    stranger, target, told,
};

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
fn u17_any_target_is_answered() {
    let (mut host, asker) = (host(), stranger(2));
    host.bond(&asker);
    for target in [[0; 64], [0xff; 64]] {
        let find = asker.find_node(&host, PublicKey::from_bytes(target));
        assert_eq!(kinds(&host.receive(asker.addr, &find)), ["neighbors"]);
    }
}

/// Addresses of every class, and who may name them: everybody, the local network and loopback, loopback, nobody.
const ADDRESSES: [(&[&str], &str); 4] = [
    (&["8.8.8.8", "2606:4700::1", "::ffff:8.8.4.4", "172.15.0.1", "172.32.0.1"], "global"),
    (&["10.1.1.1", "172.16.0.1", "192.168.255.254", "fd00::1", "::ffff:10.1.1.2"], "lan"),
    (&["127.0.0.2", "127.255.255.255", "::1"], "loopback"),
    (
        &[
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "224.0.0.1",
            "239.255.255.255",
            "ff02::1",
            "255.255.255.255",
            "240.0.0.1",
            "192.0.2.1",
            "198.51.100.7",
            "203.0.113.9",
            "2001:db8::1",
            "198.18.0.1",
            "100.64.0.1",
            "192.88.99.1",
            "169.254.1.1",
            "fe80::1",
            "100::1",
            "2001::1",
            "3fff::1",
        ],
        "special",
    ),
];

/// Which classes of addresses a teller may name to us; each class is taken or refused as a whole.
fn accepted_from(teller: &str, own: &str) -> Vec<&'static str> {
    let mut accepted = Vec::new();
    for (number, (addresses, class)) in (100..).step_by(100).zip(ADDRESSES) {
        let mut taken = 0;
        for (number, ip) in (number..).zip(addresses) {
            let mut host = quiet(Host::new(1, own, Config::default()));
            let teller = Stranger::new(2, teller);
            make_it_ask(&mut host, &teller);
            let told = Endpoint { ip: ip.parse().unwrap(), udp: 30303, tcp: 30303 };
            let named = [NodeEntry::new(key(number).public_key(), told)];
            host.receive(teller.addr, &teller.sign(neighbors(&named, host.soon())));
            let is_taken = host.machine.table().len() == 2;
            taken += usize::from(is_taken);
            assert_eq!(host.rejected(Reject::BadNeighbor), u64::from(!is_taken), "{ip}");
        }
        assert!([0, addresses.len()].contains(&taken), "{taken} of the class {class} from {teller}");
        if taken > 0 {
            accepted.push(class);
        }
    }
    accepted
}

#[test]
fn u18_who_may_name_what() {
    // Whoever is at a special address is nobody's neighbour either.
    for wan in ["8.1.1.1:30303", "[2606:4700::9]:30303", "[::ffff:8.1.1.1]:30303", "100.64.1.1:30303"] {
        assert_eq!(accepted_from(wan, "8.0.0.1:30303"), ["global"], "{wan}");
    }
    for lan in ["10.9.9.9:30303", "192.168.0.1:30303", "[fd00::9]:30303", "169.254.7.7:30303"] {
        assert_eq!(accepted_from(lan, "10.0.0.1:30303"), ["global", "lan"], "{lan}");
    }
    for own in ["127.0.0.1:30304", "[::1]:30304"] {
        assert_eq!(accepted_from(own, "127.0.0.1:30303"), ["global", "lan", "loopback"], "{own}");
    }
}

#[test]
fn u18_addresses_of_another_length_are_skipped_and_good_ones_kept() {
    let (mut host, teller) = (host(), stranger(2));
    make_it_ask(&mut host, &teller);
    let lens = [0, 1, 3, 4, 5, 15, 16, 17];
    let mut packet = rlp::RlpStream::new_list(2);
    packet.begin_list(lens.len());
    for (number, len) in (100..).zip(lens) {
        packet.begin_list(4).append(&vec![8u8; len]).append(&30303u16).append(&30303u16);
        packet.append(&key(number).public_key().as_bytes().as_slice());
    }
    packet.append(&host.soon());
    host.receive(teller.addr, &seal(&teller.key, 4, &packet.out()));
    // 808:808:.. is an address of IPv6 that anybody may have.
    let known: Vec<_> = host.machine.table().nodes().map(|node| node.public_key).collect();
    assert!([103, 106].iter().all(|number| known.contains(&key(*number).public_key())));
    assert_eq!((known.len(), host.rejected(Reject::BadNeighbor)), (3, 6));
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

#[test]
fn u18_a_packet_full_of_bad_nodes_costs_sixteen_checks_and_names_nobody() {
    let (mut host, teller) = (host(), stranger(2));
    make_it_ask(&mut host, &teller);
    let ops = host.op_count;
    let key = PublicKey::from_bytes([7; 64]);
    let mut packet = rlp::RlpStream::new_list(2);
    packet.begin_list(16);
    for _ in 0..16 {
        packet.begin_list(4).append_empty_data().append_empty_data().append_empty_data();
        packet.append(&key.as_bytes().as_slice());
    }
    packet.append(&host.soon());
    host.receive(teller.addr, &seal(&teller.key, 4, &packet.out()));
    assert_eq!((host.rejected(Reject::BadNeighbor), host.machine.table().len()), (16, 1));
    assert_eq!(host.op_count, ops + 1, "the packet's signature alone is a job");
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
