//! Nodes with more than one address, of both families or by a name: which is tried first, and when each counts.
//! How a race goes on is `race.rs`.

use std::{net::SocketAddr, time::Duration};

use identity::{Enode, Host};
use rlpx::{Candidate, PeerId, Refusal, ServerConfig, server::Output};

use crate::story::{Story, candidate, enode, far, ip, key};

fn both(number: u16, v4: &str, v6: &str) -> Candidate {
    let other = candidate(number, v6).endpoint;
    Candidate { other: Some(other), ..candidate(number, v4) }
}

/// The addresses of the one dial that was put out.
fn raced(story: &mut Story) -> (PeerId, Vec<SocketAddr>) {
    match &story.outputs()[..] {
        [Output::Connect { id, addresses, .. }] => (*id, addresses.clone()),
        outputs => panic!("{outputs:?}"),
    }
}

fn at(address: &str) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), 30_303)
}

#[test]
fn s03_of_two_addresses_each_counts_when_it_is_tried_and_not_before() {
    let mut story = Story::new(ServerConfig::default());
    story.server.handle_candidate(story.now, both(1, "77.0.0.1", "2600:1::1"));
    let (id, addresses) = raced(&mut story);
    assert_eq!(addresses, [at("2600:1::1"), at("77.0.0.1")], "IPv6 first");
    // Its IPv4 address was not tried, so it is free for another; its IPv6 address is not.
    story.server.handle_candidate(story.now, candidate(2, "2600:1::1"));
    assert_eq!((story.dials(), story.count(Refusal::CandidateSite)), (vec![], 1));
    story.server.handle_candidate(story.now, candidate(3, "77.0.0.1"));
    assert_eq!(story.dials().len(), 1);
    // And now it is too late for the first dial to try it.
    assert!(!story.server.handle_attempt(story.now, id, at("77.0.0.1")));
    // A dial that may try its second address takes a place with it.
    story.server.handle_candidate(story.now, both(4, "77.1.0.1", "2600:4::1"));
    let (id, _) = raced(&mut story);
    assert!(story.server.handle_attempt(story.now, id, at("77.1.0.1")));
    story.server.handle_candidate(story.now, candidate(5, "77.1.0.1"));
    assert_eq!((story.dials(), story.count(Refusal::CandidateSite)), (vec![], 2));
}

#[test]
fn s03_of_two_addresses_only_those_that_may_be_dialed_are() {
    let mut story = Story::new(ServerConfig::default());
    story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
    assert_eq!(story.dials().len(), 1);
    let rows = [("77.0.0.1", "2600:1::1", "2600:1::1"), ("77.2.0.1", "2001:db8::1", "77.2.0.1")];
    for (number, (v4, v6, expected)) in (10..).zip(rows) {
        story.server.handle_candidate(story.now, both(number, v4, v6));
        assert_eq!(raced(&mut story).1, [at(expected)]);
    }
    story.server.handle_candidate(story.now, both(20, "0.0.0.0", "ff02::1"));
    assert_eq!((story.dials(), story.count(Refusal::CandidateAddress)), (vec![], 1));
}

#[test]
fn s03_an_attempt_at_an_address_that_was_banned_meanwhile_is_not_made() {
    let mut story = Story::new(ServerConfig::default());
    story.server.handle_candidate(story.now, both(1, "77.0.0.1", "2600:1::1"));
    let (id, _) = raced(&mut story);
    let target = rlpx::BanTarget::Addresses(identity::Prefix::site(ip("77.0.0.1")));
    story.server.ban(story.now, target, Duration::from_secs(60)).unwrap();
    assert!(!story.server.handle_attempt(story.now, id, at("77.0.0.1")));
    // Nor one of a dial that is over, or was never made.
    let gone = PeerId(99);
    assert!(!story.server.handle_attempt(story.now, gone, at("77.9.0.1")));
}

#[test]
fn a_family_that_keeps_losing_goes_second() {
    let mut story = Story::new(ServerConfig::default());
    for number in 1..=3 {
        story.server.handle_candidate(story.now, both(number, &far(number), &format!("2600:{number}::1")));
        let (id, addresses) = raced(&mut story);
        assert!(addresses[0].is_ipv6());
        assert!(story.server.handle_attempt(story.now, id, addresses[1]));
        story.server.handle_connected_to(story.now, id, addresses[1]);
    }
    story.server.handle_candidate(story.now, both(9, &far(9), "2600:9::1"));
    assert_eq!(raced(&mut story).1, [at(&far(9)), at("2600:9::1")]);
}

#[test]
fn s03_of_a_name_with_many_addresses_four_are_tried() {
    let named = Enode { host: Host::Dns("node.example.org".into()), ..enode(1) };
    let mut story = Story::new(ServerConfig { static_peers: vec![named], ..Default::default() });
    let outputs = story.outputs();
    let [Output::Resolve { id, .. }] = outputs[..] else { panic!("{outputs:?}") };
    let found: Vec<SocketAddr> =
        (0..100).map(|number| SocketAddr::new(far(number).parse().unwrap(), 1)).collect();
    story.server.handle_resolved(story.now, id, &found);
    assert_eq!(story.outputs(), [Output::Connect { id, remote: key(1), addresses: found[..4].to_vec() }]);
}
