//! Who has to prove what before anything is given, and what the proof costs.
//! A stranger gets a Pong and one Ping, and nothing else.

use std::time::Duration;

use discv4::{
    Config, Event, Reject, RequestError,
    wire::{Envelope, Packet, Pong},
};

use super::{
    host, make_it_ask, quiet,
    stage::{Host, Sent, Stranger, addr, endpoint, key, kinds, public},
    stranger, target,
};

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
