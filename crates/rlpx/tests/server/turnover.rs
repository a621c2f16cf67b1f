//! Rotation: who has to make room when the server is full, when, and who never does.

use std::{collections::BTreeSet, time::Duration};

use rlpx::{
    DisconnectReason, PeerId, Refusal, RotationTimes, ServerConfig, ServerTimes, SessionEnd, Slots, Verdict,
    server::{Output, Server},
};

use crate::story::{OWN, Story, candidate, enode, established, far, key};

const MINUTE: Duration = Duration::from_secs(60);

/// Advances from timeout to timeout; who is let go within `limit`, and when.
fn rotations(story: &mut Story, limit: Duration) -> Vec<(Duration, PeerId)> {
    let begin = story.now;
    let mut gone = Vec::new();
    let waited = |story: &Story| story.now.instant.saturating_duration_since(begin.instant);
    while let Some(at) = story.server.next_timeout(story.now) {
        let step = at.saturating_duration_since(story.now.instant);
        assert!(step > Duration::ZERO, "a timeout that is due at once is a spin");
        if waited(story) + step > limit {
            break;
        }
        story.wait(step);
        for output in story.outputs() {
            let Output::Disconnect(id, DisconnectReason::UselessPeer) = output else { panic!("{output:?}") };
            assert_eq!(story.server.rule(id), Some(Refusal::Rotated));
            gone.push((waited(story), id));
            story.close(id, SessionEnd::Local { reason: DisconnectReason::UselessPeer, error: None });
        }
    }
    story.now = begin.later(limit);
    gone
}

/// A server that lets `inbound` in and dials none, with peers 1 and on in all its places.
fn full(seed: u64, inbound: usize, config: ServerConfig) -> (Story, Vec<PeerId>) {
    let config = ServerConfig {
        max_peers: inbound,
        slots: Slots { max_inbound: Some(inbound), no_discovered_dials: true, ..Default::default() },
        ..config
    };
    let mut story = Story::new(config.clone());
    story.server = Server::new(story.now, config, key(OWN), seed);
    let ids = (1..=inbound as u16).map(|number| come_in(&mut story, number)).collect();
    (story, ids)
}

fn come_in(story: &mut Story, number: u16) -> PeerId {
    let (id, outputs) = story.come_in(number);
    assert!(matches!(outputs[..], [Output::Establish { .. }]), "{outputs:?}");
    id
}

#[test]
fn s02_a_full_server_lets_one_old_peer_go_every_three_to_seven_minutes() {
    let (mut story, mut peers) = full(7, 10, ServerConfig::default());
    let gone = rotations(&mut story, 10 * MINUTE);
    assert_eq!(gone, [], "none has been a peer for longer than ten minutes");
    let (mut next, mut intervals) = (100, Vec::new());
    for _ in 0..200 {
        let mut waited = Duration::ZERO;
        let id = loop {
            let gone = rotations(&mut story, MINUTE / 60);
            waited += MINUTE / 60;
            if let [(_, id)] = gone[..] {
                break id;
            }
            assert!(waited < 20 * MINUTE);
        };
        intervals.push(waited);
        peers.retain(|peer| *peer != id);
        peers.push(come_in(&mut story, next));
        next += 1;
    }
    // Full again at once, so that each interval counts from the last. The first had begun before.
    for interval in &intervals[1..] {
        assert!(
            *interval > 3 * MINUTE - MINUTE / 60 && *interval <= 7 * MINUTE + MINUTE / 60,
            "{interval:?}"
        );
    }
    let spread = intervals[1..].iter().max().unwrap().saturating_sub(*intervals[1..].iter().min().unwrap());
    assert!(spread > 3 * MINUTE, "{spread:?}");
    assert_eq!(story.count(Refusal::Rotated), 200);
    assert_eq!(story.server.counts().left.by_us.count(DisconnectReason::UselessPeer), 200);
}

#[test]
fn s02_who_goes_is_drawn_from_the_seed_and_every_one_may_be() {
    let first = |seed| {
        let (mut story, peers) = full(seed, 5, ServerConfig::default());
        let gone = rotations(&mut story, 20 * MINUTE);
        peers.iter().position(|peer| *peer == gone[0].1).unwrap()
    };
    let drawn: BTreeSet<usize> = (0..100).map(first).collect();
    assert_eq!(drawn.len(), 5);
    assert!((0..10).all(|seed| first(seed) == first(seed)));
}

#[test]
fn s02_static_trusted_praised_and_young_peers_never_go() {
    let config = ServerConfig { trusted: vec![key(2).node_id()], ..Default::default() };
    let (mut story, peers) = full(3, 4, config);
    // What is added while the peer is there counts too. It comes in by itself, so its dial is not needed.
    story.server.add_static(story.now, enode(1)).unwrap();
    for minute in 0..240 {
        story.server.report(story.now, key(3).node_id(), Verdict::Good);
        let gone = rotations(&mut story, MINUTE);
        if let [(_, id)] = gone[..] {
            assert_eq!(id, peers[3], "minute {minute}");
            let returned = come_in(&mut story, 4);
            // Young again: for ten minutes nobody can go.
            assert_eq!(rotations(&mut story, 5 * MINUTE), []);
            story.close(returned, SessionEnd::ABORTED);
            return;
        }
    }
    panic!("nobody went");
}

#[test]
fn s02_a_server_with_room_lets_nobody_go() {
    let (mut story, peers) = full(3, 4, ServerConfig::default());
    story.close(peers[0], SessionEnd::ABORTED);
    assert_eq!(rotations(&mut story, 600 * MINUTE), []);
    assert_eq!(story.server.next_timeout(story.now), None, "and no timer runs");
    come_in(&mut story, 9);
    let gone = rotations(&mut story, 8 * MINUTE);
    assert!(gone.len() == 1 && gone[0].0 >= 3 * MINUTE, "the interval begins when it is full: {gone:?}");
}

#[test]
fn s02_the_slots_for_dials_and_for_who_comes_in_are_full_by_themselves() {
    let config = ServerConfig {
        max_peers: 4,
        slots: Slots { max_outbound: Some(2), ..Default::default() },
        ..Default::default()
    };
    let mut story = Story::new(config);
    let mut dialed = Vec::new();
    for number in 1..=2 {
        story.server.handle_candidate(story.now, candidate(number, &far(number)));
        let dial = story.dials()[0];
        assert_eq!(story.reach(dial), [established(dial.0)]);
        dialed.push(dial.0);
    }
    come_in(&mut story, 3);
    let gone = rotations(&mut story, 20 * MINUTE);
    // One dialed peer went, and what came in stays while there is room for more like it.
    assert!(gone.len() == 1 && dialed.contains(&gone[0].1), "{gone:?}");
    // Its place is for somebody else: for an hour it is not dialed.
    let number = if gone[0].1 == dialed[0] { 1 } else { 2 };
    story.server.handle_candidate(story.now, candidate(number, &far(number)));
    assert_eq!((story.dials(), story.count(Refusal::CandidateRecent)), (vec![], 1));
}

#[test]
fn s02_those_with_the_most_demerits_go_first() {
    for seed in 0..20 {
        let (mut story, peers) = full(seed, 10, ServerConfig::default());
        for _ in 0..2 {
            story.server.report(story.now, key(4).node_id(), Verdict::Useless);
            story.server.report(story.now, key(5).node_id(), Verdict::Useless);
        }
        // Serving well takes one back.
        story.server.report(story.now, key(5).node_id(), Verdict::Good);
        let gone = rotations(&mut story, 20 * MINUTE);
        assert_eq!(gone[0].1, peers[3], "seed {seed}");
    }
}

#[test]
fn s02_the_intervals_are_the_owners() {
    let rotation = RotationTimes {
        min_interval: MINUTE,
        max_interval: MINUTE,
        min_age: Duration::ZERO,
        praise: Duration::ZERO,
    };
    let times = ServerTimes { rotation, ..Default::default() };
    let (mut story, _) = full(1, 3, ServerConfig { times, ..Default::default() });
    let gone = rotations(&mut story, 10 * MINUTE);
    assert!(gone.len() == 1 && gone[0].0 == MINUTE, "{gone:?}");
}

#[test]
fn s02_praise_protects_as_many_as_the_owner_says() {
    let mut config = ServerConfig::default();
    config.limits.lists.peers_per_protected = 1;
    let (mut story, peers) = full(5, 4, config);
    for _ in 0..6 {
        for number in 1..=4 {
            story.server.report(story.now, key(number).node_id(), Verdict::Good);
        }
        assert_eq!(rotations(&mut story, 5 * MINUTE), [], "all of {peers:?} are praised");
    }
}

#[test]
fn s02_praise_for_all_does_not_end_rotation_and_the_most_praised_tenth_stays() {
    let (mut story, peers) = full(5, 20, ServerConfig::default());
    let mut gone = BTreeSet::new();
    let mut next = 100;
    for _ in 0..120 {
        // Everybody is praised in every interval, and two of them twice.
        for number in (1..=20).chain([3, 4]).chain(100..next) {
            story.server.report(story.now, key(number).node_id(), Verdict::Good);
        }
        for (_, id) in rotations(&mut story, 5 * MINUTE) {
            gone.insert(id);
            come_in(&mut story, next);
            next += 1;
        }
    }
    let first_gone: Vec<usize> = (0..20).filter(|index| gone.contains(&peers[*index])).collect();
    let all_but_two: Vec<usize> = (0..20).filter(|index| ![2, 3].contains(index)).collect();
    assert_eq!(first_gone, all_but_two);
    // One word against it, and a peer is protected no longer.
    story.server.report(story.now, key(3).node_id(), Verdict::Useless);
    let (_, id) = rotations(&mut story, 8 * MINUTE)[0];
    assert_eq!(id, peers[2], "the first to go has the most demerits");
}
