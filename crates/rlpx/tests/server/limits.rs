//! Limits that an owner has set otherwise: what holds then is what it said. What the defaults come to is beside each rule.

use std::{net::SocketAddr, time::Duration};

use identity::{Enode, Host};

use rlpx::{
    AdmissionLimits, BanTarget, CommandError, DialLimits, DisconnectReason, Limits, ListLimits, Refusal,
    ServerConfig, Verdict, server::Output,
};

use crate::story::{BROKEN, Story, candidate, enode, established, far, key};

fn story(change: impl Fn(&mut Limits)) -> Story {
    let mut config = ServerConfig::default();
    change(&mut config.limits);
    assert_eq!(config.check(true, true), Ok(()));
    Story::new(config)
}

#[test]
fn who_may_come_in_is_as_the_owner_says() {
    let admission = AdmissionLimits {
        half_open_per_site: 1,
        newcomers_per_site: 1,
        graceful_closers: 1,
        ..AdmissionLimits::default()
    };
    let mut story = story(|limits| limits.admission = admission.clone());
    let first = story.accept("77.0.0.1").unwrap();
    assert_eq!(story.accept("77.0.0.2"), Err(Refusal::HalfOpenSite));
    story.server.handle_authenticated(story.now, first, key(1));
    assert_eq!(story.outputs(), [Output::Greet(first)]);
    // A second of the site ends the first, which is told; a third ends the second, for which no place to be told is left.
    let second = story.accept("77.0.0.2").unwrap();
    story.server.handle_authenticated(story.now, second, key(2));
    let told = Output::Disconnect(first, DisconnectReason::TooManyPeers);
    assert_eq!(story.outputs(), [told, Output::Greet(second)]);
    let third = story.accept("77.0.0.3").unwrap();
    story.server.handle_authenticated(story.now, third, key(3));
    assert_eq!(story.outputs(), [Output::Abort(second), Output::Greet(third)]);
}

#[test]
fn who_is_examined_and_who_is_new_are_as_many_as_the_owner_says() {
    let admission = AdmissionLimits {
        examined: 2,
        newcomers: 2,
        newcomers_per_node: 1,
        throttled_hosts: 1,
        ..AdmissionLimits::default()
    };
    let mut story = story(|limits| limits.admission = admission.clone());
    let ids: Vec<_> = (1..=3).map(|number| story.accept(&format!("77.0.{number}.1")).unwrap()).collect();
    for id in &ids {
        story.server.handle_auth(story.now, *id);
    }
    assert_eq!(story.outputs(), [Output::Abort(ids[0])]);
    // Only the last host is remembered.
    assert_eq!(story.accept("77.0.3.1"), Err(Refusal::Throttled));
    assert!(story.accept("77.0.1.1").is_ok());
    for (id, number) in ids[1..].iter().zip([1, 1]) {
        story.server.handle_authenticated(story.now, *id, key(number));
    }
    let one_of_a_node = Output::Disconnect(ids[1], DisconnectReason::TooManyPeers);
    assert_eq!(story.outputs(), [Output::Greet(ids[1]), one_of_a_node, Output::Greet(ids[2])]);
    let more: Vec<_> =
        (2..=3).map(|number| (story.accept(&format!("78.0.{number}.1")).unwrap(), number)).collect();
    for (id, number) in &more {
        story.server.handle_authenticated(story.now, *id, key(*number));
    }
    let surplus = Output::Disconnect(ids[2], DisconnectReason::TooManyPeers);
    assert_eq!(story.outputs(), [Output::Greet(more[0].0), surplus, Output::Greet(more[1].0)]);
}

#[test]
fn lists_are_as_long_as_the_owner_says() {
    let lists = ListLimits {
        static_peers: 1,
        trusted: 1,
        bans: 2,
        longest_ban: Duration::from_secs(60),
        ..ListLimits::default()
    };
    let mut story = story(|limits| limits.lists = lists.clone());
    story.server.add_static(story.now, enode(1)).unwrap();
    assert_eq!(story.server.add_static(story.now, enode(2)), Err(CommandError::Full));
    story.server.add_trusted(key(1).node_id()).unwrap();
    assert_eq!(story.server.add_trusted(key(2).node_id()), Err(CommandError::Full));
    for number in 3..=5 {
        let target = BanTarget::Node(key(number).node_id());
        story.server.ban(story.now, target, Duration::from_secs(3_600)).unwrap();
    }
    assert_eq!(story.server.bans(story.now).len(), 2);
    story.wait(Duration::from_secs(60));
    assert_eq!(story.server.bans(story.now), []);
}

#[test]
fn strikes_are_as_many_and_count_for_as_long_as_the_owner_says() {
    let report_memory = Duration::from_secs(60);
    let lists = ListLimits { strikes: 2, report_memory, reported: 1, ..ListLimits::default() };
    let mut story = story(|limits| limits.lists = lists.clone());
    let report = |story: &mut Story, number: u16| {
        story.server.report(story.now, key(number).node_id(), Verdict::Misbehaved);
        story.server.bans(story.now).len()
    };
    assert_eq!(report(&mut story, 1), 0);
    story.wait(report_memory);
    assert_eq!(report(&mut story, 1), 0, "the first is forgotten");
    // Another takes the only place.
    assert_eq!((report(&mut story, 2), report(&mut story, 1)), (0, 0));
    assert_eq!(report(&mut story, 1), 1);
}

#[test]
fn of_a_name_as_many_addresses_are_tried_as_the_owner_says() {
    let dials = DialLimits { addresses: 2, ..DialLimits::default() };
    let mut story = story(|limits| limits.dials = dials.clone());
    let named = Enode { host: Host::Dns("a.example.org".to_owned()), ..enode(1) };
    story.server.add_static(story.now, named).unwrap();
    let Output::Resolve { id, .. } = story.outputs()[0].clone() else { panic!("a name") };
    let found: Vec<SocketAddr> = (1..=5).map(|host| SocketAddr::from(([77, 0, 0, host], 1))).collect();
    story.server.handle_resolved(story.now, id, &found);
    let Output::Connect { addresses, .. } = story.outputs()[0].clone() else { panic!("addresses") };
    assert_eq!(addresses, found[..2]);
}

#[test]
fn dials_are_remembered_as_the_owner_says() {
    let dials = DialLimits {
        redial_records: 1,
        dialed_addresses: 256,
        stable_session: Duration::from_secs(5),
        candidates: 1_000,
        ..DialLimits::default()
    };
    let mut story = story(|limits| limits.dials = dials.clone());
    for number in 1..=300 {
        story.server.handle_candidate(story.now, candidate(number, &far(number)));
        let dial = story.dials()[0];
        story.fail(dial);
    }
    // Of nodes, hosts and sites the latest.
    assert_eq!(story.server.record_count(), 1 + 256 + 256);
    // After a session of five seconds it is as if the failure before had not been.
    story.wait(Duration::from_secs(100));
    story.server.handle_candidate(story.now, candidate(2, &far(2)));
    let dial = story.dials()[0];
    assert_eq!(story.reach(dial), [established(dial.0)]);
    story.wait(Duration::from_secs(5));
    story.close(dial.0, BROKEN);
    story.wait(Duration::from_secs(44));
    story.server.handle_candidate(story.now, candidate(2, &far(2)));
    assert_eq!(story.dials().len(), 1, "within the first delay and a quarter");
}

#[test]
fn dials_are_as_many_as_the_owner_says() {
    let dials = DialLimits {
        per_site: 1,
        site_window: Duration::from_secs(60),
        candidates: 3,
        candidate_window: Duration::from_secs(20),
        ..DialLimits::default()
    };
    let mut story = story(|limits| limits.dials = dials.clone());
    assert_eq!(story.server.wanted_candidates(story.now), 3);
    for (number, dialed) in [(1, 1), (2, 0)] {
        story.server.handle_candidate(story.now, candidate(number, &format!("77.0.0.{number}")));
        assert_eq!(story.dials().len(), dialed);
    }
    story.server.handle_candidate(story.now, candidate(3, "78.0.0.3"));
    assert_eq!((story.dials().len(), story.server.wanted_candidates(story.now)), (1, 0));
    story.wait(Duration::from_secs(20));
    assert_eq!(story.server.wanted_candidates(story.now), 3);
    story.server.handle_candidate(story.now, candidate(4, "77.0.0.4"));
    assert_eq!((story.dials(), story.count(Refusal::CandidateSite)), (vec![], 2));
    story.wait(Duration::from_secs(40));
    story.server.handle_candidate(story.now, candidate(4, "77.0.0.4"));
    assert_eq!(story.dials().len(), 1);
}
