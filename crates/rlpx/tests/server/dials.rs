//! Who is dialed and when: candidates and static peers, the delays after a failure, the slots for dials, names looked
//! up at each dial, and dials that are called off.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use identity::{Enode, Host, Now, Prefix, PublicKey};
use rlpx::{
    BookEntry, DisconnectReason, Incompatibility, PeerId, Refusal, ServerConfig, SessionEnd, SessionError,
    Slots, Wait,
    server::{Output, Server},
};

use crate::story::{BROKEN, OWN, Story, candidate, enode, epoch, established, far, ip, key, next_dial};

/// One moment of dial policy: what happens before it, and whom it makes the node dial.
struct Round {
    /// Seconds since the round before.
    after: u64,
    /// What discovery finds.
    found: &'static [(u16, &'static str)],
    /// Dials of these nodes reach them.
    reached: &'static [u16],
    /// Dials or sessions of these nodes end.
    ended: &'static [u16],
    /// Who is dialed then.
    dialed: &'static [u16],
}

fn play(config: ServerConfig, rounds: &[Round]) -> Story {
    play_on(Story::new(config), rounds)
}

fn play_on(mut story: Story, rounds: &[Round]) -> Story {
    let mut known: Vec<(PeerId, PublicKey)> = Vec::new();
    for (number, round) in rounds.iter().enumerate() {
        story.wait(Duration::from_secs(round.after));
        let number_of = |node: u16| move |(_, remote): &&(PeerId, PublicKey)| *remote == key(node);
        for node in round.reached {
            let dial = *known.iter().rev().find(number_of(*node)).unwrap();
            assert_eq!(story.reach(dial), [established(dial.0)], "round {number}");
        }
        for node in round.ended {
            story.fail(*known.iter().rev().find(number_of(*node)).unwrap());
        }
        for (node, address) in round.found {
            story.server.handle_candidate(story.now, candidate(*node, address));
        }
        let dials = story.dials();
        let expected: Vec<_> = round.dialed.iter().map(|node| key(*node)).collect();
        assert_eq!(dials.iter().map(|(_, remote)| *remote).collect::<Vec<_>>(), expected, "round {number}");
        known.extend(dials);
    }
    story
}

#[test]
fn dial_policy_with_known_and_static_peers_follows_the_rounds() {
    let config = ServerConfig {
        max_peers: 6,
        slots: Slots { dial_ratio: 2, ..Default::default() },
        max_dials: 4,
        static_peers: vec![enode(50)],
        ..Default::default()
    };
    let mut story = Story::new(config);
    let known = [(1, 4_000), (2, 3_000), (3, 1_000)];
    let stored = known.map(|(number, score)| known_node(number, &far(number), score));
    story.server.open_book(story.now, stored.into());
    let story = play_on(
        story,
        &[
            // The static peer first; the best two of the known ones take half of the four dials at once.
            Round { after: 0, found: &[], reached: &[], ended: &[], dialed: &[50, 1, 2] },
            // One found node takes the last dial; another is not wanted.
            Round {
                after: 1,
                found: &[(10, "77.9.0.1"), (11, "77.9.1.1")],
                reached: &[],
                ended: &[],
                dialed: &[10],
            },
            // A known one fails: the next one comes in its place. Who failed rests, whoever finds it.
            Round { after: 1, found: &[(2, "77.0.2.1")], reached: &[], ended: &[2], dialed: &[3] },
            // The static peer fails, and is dialed again after a second and its jitter; nothing else moves.
            Round { after: 1, found: &[], reached: &[], ended: &[50], dialed: &[] },
            Round { after: 2, found: &[], reached: &[], ended: &[], dialed: &[50] },
            // One known node is a peer, and the other gone: nobody is left to dial but who is found.
            Round {
                after: 1,
                found: &[(12, "77.9.2.1"), (1, "77.0.1.1")],
                reached: &[1],
                ended: &[3],
                dialed: &[12],
            },
            // 70 s later both that failed are due once more: one takes the last dial, the other the next that is free.
            Round { after: 70, found: &[], reached: &[], ended: &[10, 12], dialed: &[2] },
            Round { after: 1, found: &[], reached: &[], ended: &[], dialed: &[3] },
        ],
    );
    assert_eq!(story.server.known_count(), 3);
}

/// A node of the address book that has this score now.
fn known_node(number: u16, address: &str, score: u32) -> BookEntry {
    let mut entry = rlp::RlpStream::new_list(7);
    let IpAddr::V4(ip) = ip(address) else { panic!("{address}") };
    entry.append(&key(number).as_bytes().as_slice()).begin_list(1);
    entry.begin_list(2).append(&ip.octets().as_slice()).append(&30_303u16);
    entry.append(&score).append(&1_700_000_000u64).append(&1_700_000_000u64).append(&0u64).append(&0u32);
    BookEntry::decode(&entry.out()).unwrap()
}

#[test]
fn dial_policy_follows_the_rounds() {
    let config = ServerConfig {
        max_peers: 4,
        slots: Slots { dial_ratio: 2, ..Default::default() },
        max_dials: 3,
        ..Default::default()
    };
    let story = play(
        config,
        &[
            // Two peers may be dialed and nobody is: three dials at once, for that is the most; ourselves never.
            Round {
                after: 0,
                found: &[
                    (OWN, "77.0.0.9"),
                    (1, "77.0.1.1"),
                    (1, "77.0.1.1"),
                    (2, "77.0.2.1"),
                    (3, "77.0.3.1"),
                    (4, "77.0.4.1"),
                ],
                reached: &[],
                ended: &[],
                dialed: &[1, 2, 3],
            },
            // One of the two has been found: two slots, of which two dials under way take both.
            Round { after: 1, found: &[(4, "77.0.4.1")], reached: &[1], ended: &[], dialed: &[] },
            // A dial fails: room for one. Nobody who was dialed less than 35 s ago, or is a peer.
            Round {
                after: 1,
                found: &[(2, "77.0.5.1"), (1, "77.0.6.1"), (4, "77.0.4.1")],
                reached: &[],
                ended: &[2],
                dialed: &[4],
            },
            // Both places taken: no more dials, whoever is found.
            Round { after: 1, found: &[(5, "77.0.5.1")], reached: &[3], ended: &[4], dialed: &[] },
            // A peer goes: two slots again. One second is early for it.
            Round {
                after: 1,
                found: &[(3, "77.0.3.1"), (5, "77.0.5.1")],
                reached: &[],
                ended: &[3],
                dialed: &[5],
            },
            // 35 s and their jitter later it may be dialed again.
            Round { after: 44, found: &[(3, "77.0.3.1")], reached: &[], ended: &[5], dialed: &[3] },
        ],
    );
    assert_eq!(story.count(Refusal::CandidateOwn), 1);
    assert_eq!(story.count(Refusal::CandidateRecent), 2);
}

/// Five nodes on one host and five on its site, over and over: `host` and `site` give their addresses by round.
fn plant(host: impl Fn(u16) -> String, site: impl Fn(u16) -> String) {
    let config = ServerConfig { max_peers: 300, max_dials: 300, ..Default::default() };
    let mut story = Story::new(config);
    let mut dialed: Vec<(Instant, IpAddr)> = Vec::new();
    for round in 0..600u16 {
        let host = candidate(1_000 + round, &host(round));
        let site = candidate(2_000 + round, &site(round));
        for found in [host, site] {
            let address = found.endpoint.ip;
            story.server.handle_candidate(story.now, found);
            for dial in story.dials() {
                dialed.push((story.now.instant, address));
                story.fail(dial);
            }
        }
        story.wait(Duration::from_millis(250));
    }
    for (at, address) in &dialed {
        let within = |window: u64| {
            dialed.iter().filter(move |(other, _)| other >= at && *other < *at + Duration::from_secs(window))
        };
        let host = Prefix::host(*address);
        assert_eq!(within(35).filter(|(_, other)| Prefix::host(*other) == host).count(), 1);
        assert!(within(10).count() <= 2);
    }
    assert!(dialed.len() >= 20, "{}", dialed.len());
    let loopback = |number| candidate(number, "127.0.0.1");
    for number in 3_000..3_020 {
        story.server.handle_candidate(story.now, loopback(number));
    }
    assert_eq!(story.dials().len(), 20);
}

#[test]
fn s03_planted_addresses_make_no_flooder_of_us() {
    plant(|_| "77.0.0.1".into(), |round| format!("77.0.0.{}", 2 + round % 200));
    // A host of IPv6 is a /64, a site a /48.
    plant(|round| format!("2a00:1:2:0::{round:x}"), |round| format!("2a00:1:2:{:x}::1", 1 + round % 200));
}

#[test]
fn s03_the_records_of_nodes_hosts_and_sites_have_an_end_and_keep_the_latest() {
    // Nodes by themselves: private addresses count for no host.
    let mut story = Story::new(ServerConfig::default());
    for number in 0..5_000 {
        if story.server.wanted_candidates(story.now) == 0 {
            story.wait(Duration::from_secs(1));
        }
        story.server.handle_candidate(story.now, candidate(number, "10.0.0.1"));
        let dial = story.dials()[0];
        story.fail(dial);
        assert_eq!(story.server.record_count(), 4_096.min(1 + usize::from(number)));
    }
    story.wait(Duration::from_secs(1));
    story.server.handle_candidate(story.now, candidate(4_999, "10.0.0.1"));
    assert_eq!((story.dials(), story.count(Refusal::CandidateRecent)), (vec![], 1));

    // Hosts and sites: names of static peers with four addresses each, all of them tried, fill both.
    let named = |number| Enode { host: Host::Dns(format!("{number}.example.org")), ..enode(number) };
    let static_peers = (1..=1_024).map(named).collect();
    let mut story =
        Story::new(ServerConfig { static_peers, max_peers: 2_000, max_dials: 2_000, ..Default::default() });
    let mut sites = (0..).map(|number| SocketAddr::new(far(number).parse().unwrap(), 1));
    for output in story.outputs() {
        let Output::Resolve { id, .. } = output else { panic!("{output:?}") };
        let addresses: Vec<SocketAddr> = sites.by_ref().take(4).collect();
        story.server.handle_resolved(story.now, id, &addresses);
    }
    let outputs = story.outputs();
    for output in &outputs {
        let Output::Connect { id, addresses, .. } = output else { panic!("{output:?}") };
        assert!(addresses[1..].iter().all(|other| story.server.handle_attempt(story.now, *id, *other)));
    }
    assert_eq!((outputs.len(), story.server.record_count()), (1_024, 2 * 4_096));
    // One more of each, and a record of the node.
    story.wait(Duration::from_millis(1));
    story.server.handle_candidate(story.now, candidate(5_000, "78.0.0.1"));
    assert_eq!((story.dials().len(), story.server.record_count()), (1, 2 * 4_096 + 1));
    story.server.handle_candidate(story.now, candidate(5_001, "78.0.0.1"));
    assert_eq!((story.dials(), story.count(Refusal::CandidateSite)), (vec![], 1));
}

#[test]
fn o04_a_system_without_ports_to_dial_from_is_asked_ever_less_and_never_in_a_spin() {
    let none_left = SessionEnd::Broken(SessionError::Io(ErrorKind::AddrNotAvailable));
    let static_peers = (5_000..5_003).map(enode).collect();
    let mut story = Story::new(ServerConfig { static_peers, ..Default::default() });
    let mut found = (0..500).cycle();
    let mut dials: BTreeMap<PublicKey, u32> = BTreeMap::new();
    for second in 0..3_600 {
        let mut in_this_second = 0;
        loop {
            for (id, remote) in story.dials() {
                *dials.entry(remote).or_default() += 1;
                in_this_second += 1;
                story.close(id, none_left);
            }
            if story.server.wanted_candidates(story.now) == 0 {
                break;
            }
            let number = found.next().unwrap();
            story.server.handle_candidate(story.now, candidate(number, &far(number)));
        }
        assert!(in_this_second <= 64 + 3, "{in_this_second} dials in second {second}");
        let next = story.server.next_timeout(story.now).unwrap();
        assert!(next > story.now.instant, "a timeout that is due at once is a spin");
        story.wait(Duration::from_secs(1));
    }
    for (number, most) in (0..500).map(|number| (number, 8)).chain((5_000..5_003).map(|number| (number, 40)))
    {
        let count = dials[&key(number)];
        assert!((2..=most).contains(&count), "node {number}: {count} dials in an hour");
    }
}

#[test]
fn a_source_of_useless_candidates_is_not_asked_without_end() {
    let mut story = Story::new(ServerConfig::default());
    let mut asked = 0;
    while story.server.wanted_candidates(story.now) > 0 {
        story.server.handle_candidate(story.now, candidate(1, "0.0.0.0"));
        asked += 1;
        assert!(asked <= 64);
    }
    assert_eq!(asked, 64);
    let next = story.server.next_timeout(story.now).unwrap();
    assert_eq!(next.saturating_duration_since(story.now.instant), Duration::from_secs(1));
    story.wait(Duration::from_secs(1));
    assert!(story.server.wanted_candidates(story.now) > 0);
}

/// Delays of `count` dials in a row that all fail, to a static peer or to one that is found at every moment.
fn delays_of_failures(mut story: Story, count: usize) -> Vec<Duration> {
    let first = story.dials()[0];
    story.fail(first);
    (0..count)
        .map(|_| {
            let (waited, dial) = next_dial(&mut story, Duration::from_secs(7_200)).unwrap();
            story.fail(dial);
            waited
        })
        .collect()
}

#[test]
fn a_lost_static_peer_is_dialed_again_soon_and_then_ever_less() {
    let story = Story::new(ServerConfig { static_peers: vec![enode(1)], ..Default::default() });
    let delays = delays_of_failures(story, 12);
    for (failures, delay) in delays.iter().enumerate() {
        let least = Duration::from_secs(1 << failures).min(Duration::from_secs(120));
        assert!(*delay >= least && *delay <= least.mul_f64(1.25), "{delays:?}");
    }
}

#[test]
fn a_static_peer_that_became_due_unseen_is_due_still() {
    let mut story = Story::new(ServerConfig { static_peers: vec![enode(1)], ..Default::default() });
    let dial = story.dials()[0];
    story.fail(dial);
    let due = story.server.next_timeout(story.now).unwrap();
    // The owner comes right then, or late, and handles something else first.
    for late in [Duration::ZERO, Duration::from_secs(10)] {
        story.now = story.now.later(due.saturating_duration_since(story.now.instant) + late);
        assert_eq!(story.accept("10.0.0.1").map(|_| ()), Ok(()));
        assert_eq!(story.server.next_timeout(story.now), Some(story.now.instant), "{late:?}");
    }
    story.wait(Duration::ZERO);
    assert_eq!(story.dials().len(), 1);
    assert_eq!(story.server.next_timeout(story.now), None, "and then it is not");
}

#[test]
fn a_static_peer_that_lasted_starts_from_the_shortest_delay() {
    let mut story = Story::new(ServerConfig { static_peers: vec![enode(1)], ..Default::default() });
    let mut dial = story.dials()[0];
    for _ in 0..5 {
        story.fail(dial);
        dial = next_dial(&mut story, Duration::from_secs(60)).unwrap().1;
    }
    assert_eq!(story.reach(dial), [Output::Establish { id: dial.0, static_peer: true, trusted: false }]);
    story.wait(Duration::from_secs(31));
    story.close(dial.0, SessionEnd::Remote(DisconnectReason::Quitting));
    let (waited, _) = next_dial(&mut story, Duration::from_secs(60)).unwrap();
    assert!(waited <= Duration::from_millis(1_250), "{waited:?}");
}

#[test]
fn h17_a_static_peer_that_holds_our_dead_session_is_reached_within_45_s() {
    for seed in 0..100 {
        let now = Now { instant: epoch(), unix: Duration::ZERO };
        let config = ServerConfig { static_peers: vec![enode(1)], ..Default::default() };
        let mut story = Story { now, server: Server::new(now, config, key(OWN), seed) };
        let mut dial = story.dials()[0];
        let refused = SessionEnd::Remote(DisconnectReason::AlreadyConnected);
        let mut waited = Duration::ZERO;
        while waited <= Duration::from_secs(30) {
            story.close(dial.0, refused);
            let (delay, next) = next_dial(&mut story, Duration::from_secs(60)).unwrap();
            waited += delay;
            dial = next;
        }
        assert!(waited <= Duration::from_secs(45), "seed {seed}: {waited:?}");
    }
}

#[test]
fn p10_a_found_node_that_fails_is_dialed_after_35_s_and_ever_less_up_to_an_hour() {
    let mut story = Story::new(ServerConfig::default());
    let (mut delays, mut last) = (Vec::new(), None);
    while delays.len() < 12 {
        story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
        if let Some(dial) = story.dials().first() {
            delays.extend(last.map(|last| story.now.instant.saturating_duration_since(last)));
            last = Some(story.now.instant);
            story.fail(*dial);
        }
        story.wait(Duration::from_secs(1));
    }
    let mut least = Duration::from_secs(35);
    for delay in &delays {
        assert!(*delay >= least && *delay <= least.mul_f64(1.25) + Duration::from_secs(1), "{delays:?}");
        least = (least * 2).min(Duration::from_secs(3_600));
    }
}

#[test]
fn e02_a_node_of_no_use_is_not_dialed_for_an_hour() {
    let ends = [
        SessionEnd::Remote(DisconnectReason::UselessPeer),
        SessionEnd::Local { reason: DisconnectReason::SubprotocolError, error: None },
        SessionEnd::Broken(SessionError::Incompatible(Incompatibility::OtherIdentity)),
    ];
    for end in ends {
        let mut story = Story::new(ServerConfig::default());
        story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
        let dial = story.dials()[0];
        story.reach(dial);
        story.close(dial.0, end);
        for wait in [Duration::from_secs(36), Duration::from_secs(3_500)] {
            story.wait(wait);
            story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
            assert_eq!(story.dials(), [], "{end}");
        }
        story.wait(Duration::from_secs(1_000));
        story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
        assert_eq!(story.dials().len(), 1);
    }
}

#[test]
fn g04_a_static_peer_of_no_use_is_left_alone_for_half_a_minute() {
    let mut story = Story::new(ServerConfig { static_peers: vec![enode(1)], ..Default::default() });
    let dial = story.dials()[0];
    story.reach(dial);
    story.close(dial.0, SessionEnd::Remote(DisconnectReason::SubprotocolError));
    let (waited, _) = next_dial(&mut story, Duration::from_secs(60)).unwrap();
    assert!(waited >= Duration::from_secs(30), "{waited:?}");
}

#[test]
fn a_static_peer_is_dialed_though_every_slot_for_candidates_is_taken() {
    let config = ServerConfig {
        max_peers: 6,
        slots: Slots { dial_ratio: 6, ..Default::default() },
        ..Default::default()
    };
    let mut story = Story::new(config);
    story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
    let dial = story.dials()[0];
    story.reach(dial);
    assert_eq!(story.server.wanted_candidates(story.now), 0);
    story.server.add_static(story.now, enode(2)).unwrap();
    assert_eq!(story.dials().len(), 1);
}

#[test]
fn a_static_peer_waits_while_there_is_no_room_and_goes_first_when_there_is() {
    let mut story = Story::new(ServerConfig {
        max_peers: 1,
        slots: Slots { dial_ratio: 100, ..Default::default() },
        ..Default::default()
    });
    story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
    let peer = story.dials()[0];
    story.reach(peer);
    story.server.add_static(story.now, enode(2)).unwrap();
    assert_eq!(next_dial(&mut story, Duration::from_secs(150)), None);
    story.close(peer.0, BROKEN);
    assert_eq!(story.dials().iter().map(|(_, remote)| *remote).collect::<Vec<_>>(), [key(2)]);
}

#[test]
fn names_are_looked_up_at_each_dial_and_their_addresses_checked() {
    let named = Enode { host: Host::Dns("node.example.org".into()), ..enode(1) };
    let net_restrict = "10.0.0.0/8".parse().unwrap();
    let mut story =
        Story::new(ServerConfig { net_restrict, static_peers: vec![named], ..Default::default() });
    for _ in 0..2 {
        let outputs = story.outputs();
        let [Output::Resolve { id, name, port: 1 }] = &outputs[..] else { panic!("{outputs:?}") };
        assert_eq!(name, "node.example.org");
        let found: Vec<SocketAddr> =
            ["77.0.0.1:1", "10.1.1.1:1", "[::1]:1", "10.1.1.2:1"].map(|text| text.parse().unwrap()).into();
        story.server.handle_resolved(story.now, *id, &found);
        let connect = Output::Connect { id: *id, remote: key(1), addresses: vec![found[1], found[3]] };
        assert_eq!(story.outputs(), [connect]);
        story.close(*id, BROKEN);
        story.wait(Duration::from_secs(3));
    }
    let outputs = story.outputs();
    let [Output::Resolve { id, .. }] = outputs[..] else { panic!("{outputs:?}") };
    story.server.handle_resolved(story.now, id, &["77.0.0.1:1".parse().unwrap()]);
    assert_eq!(story.outputs(), [Output::Abort(id)]);
}

#[test]
fn a_dial_in_vain_is_called_off_when_the_node_comes_in() {
    let mut story = Story::new(ServerConfig { static_peers: vec![enode(1)], ..Default::default() });
    let (dialed, _) = story.dials()[0];
    let (id, outputs) = story.come_in(1);
    assert_eq!(outputs, [Output::Establish { id, static_peer: true, trusted: false }, Output::Abort(dialed)]);
    assert_eq!(story.server.rule(dialed), Some(Refusal::AlreadyConnected));
    story.close(dialed, BROKEN);
    assert_eq!(story.outputs(), []);
}

#[test]
fn p10_a_found_node_that_lasts_is_forgiven_its_failures() {
    let mut story = Story::new(ServerConfig::default());
    let dial = |story: &mut Story| {
        for seconds in 0..2_000 {
            story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
            if let Some(dial) = story.dials().first() {
                return (seconds, *dial);
            }
            story.wait(Duration::from_secs(1));
        }
        panic!("not dialed");
    };
    for least in [0, 35, 70, 140] {
        let (waited, failed) = dial(&mut story);
        assert!(waited >= least, "{waited} s");
        story.fail(failed);
    }
    let (_, reached) = dial(&mut story);
    assert_eq!(story.reach(reached), [established(reached.0)]);
    story.wait(Duration::from_secs(30));
    story.close(reached.0, SessionEnd::Remote(DisconnectReason::TooManyPeers));
    let (waited, _) = dial(&mut story);
    assert!((35..=44).contains(&waited), "{waited} s");
}

#[test]
fn p10_a_session_that_was_short_forgives_nothing() {
    let mut story = Story::new(ServerConfig::default());
    let mut waits = Vec::new();
    while waits.len() < 4 {
        story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
        if let Some(dial) = story.dials().first() {
            story.reach(*dial);
            story.close(dial.0, SessionEnd::Remote(DisconnectReason::TooManyPeers));
            waits.push(0);
        }
        story.wait(Duration::from_secs(1));
        if let Some(last) = waits.last_mut() {
            *last += 1;
        }
    }
    assert!(waits[0] >= 35 && waits[1] >= 70 && waits[2] >= 140, "{waits:?}");
}

#[test]
fn s03_a_dial_to_a_static_peer_counts_for_what_is_planted_at_its_address() {
    let static_peer = Enode { host: Host::Ip("77.0.0.1".parse().unwrap()), ..enode(1) };
    let mut story = Story::new(ServerConfig { static_peers: vec![static_peer], ..Default::default() });
    assert_eq!(story.dials().len(), 1);
    story.server.handle_candidate(story.now, candidate(2, "77.0.0.1"));
    assert_eq!((story.dials(), story.count(Refusal::CandidateSite)), (vec![], 1));
    story.server.handle_candidate(story.now, candidate(3, "77.0.0.2"));
    assert_eq!(story.dials().len(), 1);
    story.server.handle_candidate(story.now, candidate(4, "77.0.0.3"));
    assert_eq!(story.dials(), [], "the second place of the site is taken too");
    story.wait(Duration::from_secs(10));
    story.server.handle_candidate(story.now, candidate(5, "77.0.0.3"));
    assert_eq!(story.dials().len(), 1);
}

#[test]
fn h14_tarpits_hold_thirty_dials_and_each_is_free_again_when_it_ends() {
    let mut story = Story::new(ServerConfig::default());
    let mut silent = Vec::new();
    for number in 0..200 {
        story.server.handle_candidate(story.now, candidate(number, &far(number)));
        silent.extend(story.dials());
        if number % 50 == 0 {
            story.wait(Duration::from_secs(1));
        }
    }
    assert_eq!((silent.len(), story.server.wanted_candidates(story.now)), (30, 0));
    for (id, _) in &silent {
        story.server.handle_connected(story.now, *id);
    }
    assert_eq!(story.server.wanted_candidates(story.now), 0);
    story.close(silent[0].0, SessionEnd::Broken(SessionError::TimedOut(Wait::Handshake)));
    assert_eq!(story.server.wanted_candidates(story.now), 1);
    // Not the one that has just been silent, even if nothing else is found.
    story.server.handle_candidate(story.now, candidate(0, &far(0)));
    assert_eq!((story.dials(), story.count(Refusal::CandidateRecent)), (vec![], 1));
}

#[test]
fn h18_a_node_that_turns_out_to_be_this_one_is_told_and_not_dialed_again() {
    let mut story = Story::new(ServerConfig::default());
    // Our own address, under our own key: refused before it is dialed, and when it comes in.
    story.server.handle_candidate(story.now, candidate(OWN, "77.0.0.1"));
    assert_eq!((story.dials(), story.count(Refusal::CandidateOwn)), (vec![], 1));
    let (id, outputs) = story.come_in(OWN);
    assert_eq!(outputs, [Output::Disconnect(id, DisconnectReason::ConnectedToSelf)]);
    assert_eq!(story.server.rule(id), Some(Refusal::OwnKey));
}
