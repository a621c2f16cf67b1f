//! The server machine on virtual time: who is let in, who is dialed and when, what is forgotten.

#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use identity::{AddressPolicy, Endpoint, Enode, Host, NodeKey, Now, PublicKey};
use rlpx::{
    Candidate, CommandError, DisconnectReason, Incompatibility, PeerId, Refusal, ServerConfig, ServerTimes,
    SessionEnd, SessionError,
    server::{Output, Server},
};

/// A node with a clock, driven by short sentences.
struct Story {
    now: Now,
    server: Server,
}

#[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
fn epoch() -> Instant {
    Instant::now()
}

fn key(number: u16) -> PublicKey {
    let mut secret = [7; 32];
    secret[..2].copy_from_slice(&number.to_be_bytes());
    NodeKey::from_bytes(&secret).unwrap().public_key()
}

/// The node whose server it is.
const OWN: u16 = 60_000;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn enode(number: u16) -> Enode {
    Enode { public_key: key(number), host: Host::Ip(ip("10.0.0.9")), tcp: number, udp: 0 }
}

fn candidate(number: u16, address: &str) -> Candidate {
    Candidate { public_key: key(number), endpoint: Endpoint { ip: ip(address), udp: 0, tcp: 30_303 } }
}

/// A public address of its own site.
fn far(number: u16) -> String {
    format!("77.{}.{}.1", number >> 8, number & 0xff)
}

const BROKEN: SessionEnd = SessionEnd::Broken(SessionError::Eof);

impl Story {
    fn new(config: ServerConfig) -> Self {
        let now = Now { instant: epoch(), unix: Duration::from_secs(1_700_000_000) };
        Self { now, server: Server::new(now, config, key(OWN), 7) }
    }

    fn wait(&mut self, by: Duration) {
        self.now = self.now.later(by);
        self.server.handle_timeout(self.now);
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.server.poll_output()).collect()
    }

    /// The dials put out since the last look.
    fn dials(&mut self) -> Vec<(PeerId, PublicKey)> {
        let dial = |output| match output {
            Output::Connect { id, remote, .. } => Some((id, remote)),
            Output::Resolve { .. }
            | Output::Greet(_)
            | Output::Establish { .. }
            | Output::Disconnect(..)
            | Output::Abort(_) => None,
        };
        self.outputs().into_iter().filter_map(dial).collect()
    }

    fn accept(&mut self, from: &str) -> Result<PeerId, Refusal> {
        self.server.handle_accepted(self.now, SocketAddr::new(ip(from), 40_000))
    }

    /// Someone comes in and goes as far as it is let; what the server says at the end.
    fn come_in(&mut self, number: u16) -> (PeerId, Vec<Output>) {
        let id = self.accept("10.0.0.1").unwrap();
        (id, self.go_on(id, number))
    }

    fn go_on(&mut self, id: PeerId, number: u16) -> Vec<Output> {
        self.server.handle_authenticated(self.now, id, key(number));
        let outputs = self.outputs();
        if outputs != [Output::Greet(id)] {
            return outputs;
        }
        self.server.handle_hello(self.now, id, 1);
        self.outputs()
    }

    /// A dial reaches the node it was meant for.
    fn reach(&mut self, (id, remote): (PeerId, PublicKey)) -> Vec<Output> {
        self.server.handle_connected(self.now, id);
        self.server.handle_authenticated(self.now, id, remote);
        assert_eq!(self.outputs(), [Output::Greet(id)]);
        self.server.handle_hello(self.now, id, 1);
        self.outputs()
    }

    fn close(&mut self, id: PeerId, end: SessionEnd) {
        self.server.handle_closed(self.now, id, &end);
    }

    fn fail(&mut self, (id, _): (PeerId, PublicKey)) {
        self.close(id, BROKEN);
    }

    fn count(&self, refusal: Refusal) -> u64 {
        self.server.refusals().count(refusal)
    }
}

fn established(id: PeerId) -> Output {
    Output::Establish { id, static_peer: false, trusted: false }
}

/// Advances to each timeout in turn; when, after `from`, the next dial came.
fn next_dial(story: &mut Story, limit: Duration) -> Option<(Duration, (PeerId, PublicKey))> {
    let begin = story.now.instant;
    let dials = story.dials();
    if let Some(dial) = dials.first() {
        return Some((Duration::ZERO, *dial));
    }
    while let Some(at) = story.server.next_timeout(story.now) {
        let waited = at.saturating_duration_since(begin);
        if waited > limit {
            return None;
        }
        let step = at.saturating_duration_since(story.now.instant);
        assert!(step > Duration::ZERO, "a timeout that is due at once is a spin");
        story.wait(step);
        if let Some(dial) = story.dials().first() {
            return Some((waited, *dial));
        }
    }
    None
}

#[test]
fn admission_follows_the_table() {
    use DisconnectReason::{AlreadyConnected, ConnectedToSelf, TooManyPeers, UselessPeer};
    // Peers in, peers dialed, who comes, by whom opened, what it is told. Three may come in, three be dialed.
    let rows: [(u16, u16, u16, bool, Option<DisconnectReason>); 9] = [
        (0, 0, 1, true, None),
        (3, 0, 1_000, true, Some(TooManyPeers)),
        (3, 0, 1_000, false, None),
        (3, 3, 1_000, false, Some(TooManyPeers)),
        (2, 0, 1, true, Some(AlreadyConnected)),
        (3, 0, 1, true, Some(TooManyPeers)),
        (0, 0, OWN, true, Some(ConnectedToSelf)),
        (3, 0, OWN, true, Some(TooManyPeers)),
        (3, 3, 9, true, None),
    ];
    for (inbound, dialed, who, comes_in, expected) in rows {
        let trusted = vec![key(9).node_id()];
        let mut story =
            Story::new(ServerConfig { max_peers: 6, dial_ratio: 2, trusted, ..Default::default() });
        for number in 1..=inbound {
            let (id, outputs) = story.come_in(number);
            assert_eq!(outputs, [established(id)]);
        }
        let late = (!comes_in).then(|| {
            story.server.handle_candidate(story.now, candidate(who, &far(who)));
            story.dials()[0]
        });
        for number in 101..=100 + dialed {
            story.server.handle_candidate(story.now, candidate(number, &far(number)));
            let dial = story.dials()[0];
            assert_eq!(story.reach(dial), [established(dial.0)]);
        }
        let (id, outputs) = match late {
            Some((id, remote)) => {
                story.server.handle_connected(story.now, id);
                let _ = remote;
                (id, story.go_on(id, who))
            }
            None => story.come_in(who),
        };
        match expected {
            Some(reason) => assert_eq!(outputs, [Output::Disconnect(id, reason)], "{who}"),
            None => assert_eq!(
                outputs,
                [Output::Establish { id, static_peer: false, trusted: who == 9 }],
                "{who}"
            ),
        }
    }
    let mut story = Story::new(ServerConfig::default());
    let id = story.accept("10.0.0.1").unwrap();
    story.server.handle_authenticated(story.now, id, key(1));
    assert_eq!(story.outputs(), [Output::Greet(id)]);
    story.server.handle_hello(story.now, id, 0);
    assert_eq!(story.outputs(), [Output::Disconnect(id, UselessPeer)]);
    assert_eq!(story.count(Refusal::Useless), 1);
}

#[test]
fn what_was_free_at_the_first_stop_is_checked_again_at_the_second() {
    let mut story = Story::new(ServerConfig { max_peers: 1, dial_ratio: 100, ..Default::default() });
    story.server.add_trusted(key(2).node_id()).unwrap();
    let dialed = {
        story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
        story.dials()[0]
    };
    story.server.handle_connected(story.now, dialed.0);
    story.server.handle_authenticated(story.now, dialed.0, dialed.1);
    assert_eq!(story.outputs(), [Output::Greet(dialed.0)]);
    let (trusted, outputs) = story.come_in(2);
    assert_eq!(outputs, [Output::Establish { id: trusted, static_peer: false, trusted: true }]);
    story.server.handle_hello(story.now, dialed.0, 1);
    assert_eq!(story.outputs(), [Output::Disconnect(dialed.0, DisconnectReason::TooManyPeers)]);
}

#[test]
fn s01_inbound_peers_never_take_the_slots_for_dials() {
    let mut story = Story::new(ServerConfig::default());
    let ids: Vec<_> = (0..200).map(|number| story.come_in(number)).collect();
    let let_in = ids.iter().filter(|(id, outputs)| *outputs == [established(*id)]).count();
    assert_eq!(let_in, 33);
    assert_eq!(story.server.peer_count(), 33);
    for number in 300..317 {
        story.server.handle_candidate(story.now, candidate(number, &far(number)));
        let dial = story.dials()[0];
        assert_eq!(story.reach(dial), [established(dial.0)]);
    }
    assert_eq!((story.server.peer_count(), story.server.wanted_candidates(story.now)), (50, 0));
}

#[test]
fn h13_a_host_connects_once_in_thirty_seconds() {
    let mut story = Story::new(ServerConfig::default());
    let rows = [
        ("77.1.1.1", Ok(())),
        ("77.1.1.1", Err(Refusal::Throttled)),
        ("::ffff:77.1.1.1", Err(Refusal::Throttled)),
        ("77.1.1.2", Ok(())),
        ("2a00:1:2:3::1", Ok(())),
        ("2a00:1:2:3:ffff::9", Err(Refusal::Throttled)),
        ("2a00:1:2:4::1", Ok(())),
        ("127.0.0.1", Ok(())),
        ("127.0.0.1", Ok(())),
        ("192.168.1.1", Ok(())),
        ("192.168.1.1", Ok(())),
    ];
    for (from, expected) in rows {
        let result = story.accept(from);
        assert_eq!(result.map(|_| ()), expected, "{from}");
        if let Ok(id) = result {
            story.close(id, BROKEN);
        }
    }
    assert_eq!(story.count(Refusal::Throttled), 3);
    story.wait(Duration::from_millis(29_999));
    assert_eq!(story.accept("77.1.1.1"), Err(Refusal::Throttled));
    story.wait(Duration::from_millis(1));
    assert!(story.accept("77.1.1.1").is_ok());
}

#[test]
fn h13_loopback_can_be_counted_as_public() {
    let address_policy = AddressPolicy { loopback_is_public: true };
    let mut story = Story::new(ServerConfig { address_policy, ..Default::default() });
    assert!(story.accept("127.0.0.1").is_ok());
    assert_eq!(story.accept("127.0.0.1"), Err(Refusal::Throttled));
}

#[test]
fn h11_half_open_connections_make_room_and_authenticated_ones_stay() {
    let mut story = Story::new(ServerConfig { max_pending: 3, max_peers: 0, ..Default::default() });
    story.server.add_trusted(key(1).node_id()).unwrap();
    let known = story.accept("77.0.1.1").unwrap();
    story.server.handle_authenticated(story.now, known, key(1));
    assert_eq!(story.outputs(), [Output::Greet(known)]);
    let second = story.accept("77.0.2.1").unwrap();
    let third = story.accept("77.0.3.1").unwrap();
    assert!(story.outputs().is_empty());
    story.accept("77.0.4.1").unwrap();
    assert_eq!(story.outputs(), [Output::Abort(second)]);
    story.accept("77.0.5.1").unwrap();
    assert_eq!(story.outputs(), [Output::Abort(third)]);
    assert_eq!(story.count(Refusal::Evicted), 2);
    let mut full = Story::new(ServerConfig { max_pending: 1, ..Default::default() });
    let known = full.accept("77.0.1.1").unwrap();
    full.server.handle_authenticated(full.now, known, key(1));
    assert_eq!(full.accept("77.0.2.1"), Err(Refusal::PendingFull));
}

#[test]
fn h11_a_site_has_four_half_open_connections() {
    let mut story = Story::new(ServerConfig::default());
    for host in 1..=4 {
        story.accept(&format!("77.0.0.{host}")).unwrap();
    }
    assert_eq!(story.accept("77.0.0.5"), Err(Refusal::HalfOpenSite));
    assert!(story.accept("77.0.1.5").is_ok());
    for _ in 0..10 {
        story.accept("127.0.0.1").unwrap();
    }
}

#[test]
fn nobody_outside_the_named_networks_comes_in_or_is_dialed() {
    let net_restrict = "127.0.0.0/8".parse().unwrap();
    let mut story = Story::new(ServerConfig { net_restrict, ..Default::default() });
    assert_eq!(story.accept("77.0.0.1"), Err(Refusal::NetRestrict));
    story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
    story.server.handle_candidate(story.now, candidate(2, "127.0.0.1"));
    assert_eq!(story.dials().iter().map(|(_, remote)| *remote).collect::<Vec<_>>(), [key(2)]);
    assert_eq!(story.count(Refusal::CandidateAddress), 1);
    story.server.add_static(story.now, enode(3)).unwrap();
    let outputs = story.outputs();
    assert!(matches!(outputs[..], [Output::Abort(_)]), "{outputs:?}");
}

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
    let mut story = Story::new(config);
    let mut known: Vec<(PeerId, PublicKey)> = story.dials();
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
fn dial_policy_follows_the_rounds() {
    let config = ServerConfig { max_peers: 4, dial_ratio: 2, max_dials: 3, ..Default::default() };
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

#[test]
fn s03_planted_addresses_make_no_flooder_of_us() {
    let config = ServerConfig { max_peers: 300, max_dials: 300, ..Default::default() };
    let mut story = Story::new(config);
    let mut dialed: Vec<(Instant, IpAddr)> = Vec::new();
    for round in 0..600u16 {
        // Five nodes on one host, five on its site, over and over.
        let host = candidate(1_000 + round, "77.0.0.1");
        let site = candidate(2_000 + round, &format!("77.0.0.{}", 2 + round % 200));
        for found in [host, site] {
            story.server.handle_candidate(story.now, found);
            for dial in story.dials() {
                dialed.push((story.now.instant, found.endpoint.ip));
                story.fail(dial);
            }
        }
        story.wait(Duration::from_millis(250));
    }
    for (at, address) in &dialed {
        let within = |window: u64| {
            dialed.iter().filter(move |(other, _)| other >= at && *other < *at + Duration::from_secs(window))
        };
        assert_eq!(within(35).filter(|(_, other)| other == address).count(), 1);
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
fn a_source_of_useless_candidates_is_not_asked_without_end() {
    let mut story = Story::new(ServerConfig::default());
    let mut asked = 0;
    while story.server.wanted_candidates(story.now) > 0 {
        story.server.handle_candidate(story.now, candidate(1, "0.0.0.0"));
        asked += 1;
        assert!(asked < 1_000);
    }
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
    let config = ServerConfig { max_peers: 6, dial_ratio: 6, ..Default::default() };
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
    let mut story = Story::new(ServerConfig { max_peers: 1, dial_ratio: 100, ..Default::default() });
    story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
    let peer = story.dials()[0];
    story.reach(peer);
    story.server.add_static(story.now, enode(2)).unwrap();
    assert_eq!(story.outputs(), []);
    assert_eq!(story.server.next_timeout(story.now), None);
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
    story.close(dialed, BROKEN);
    assert_eq!(story.outputs(), []);
}

#[test]
fn h17_the_second_session_of_a_node_is_refused_and_the_first_unharmed() {
    let mut story = Story::new(ServerConfig::default());
    let (first, _) = story.come_in(1);
    let (second, outputs) = story.come_in(1);
    assert_eq!(outputs, [Output::Disconnect(second, DisconnectReason::AlreadyConnected)]);
    story.close(second, SessionEnd::Local { reason: DisconnectReason::AlreadyConnected, error: None });
    assert_eq!(story.server.peer_count(), 1);
    story.close(first, BROKEN);
    let (third, outputs) = story.come_in(1);
    assert_eq!(outputs, [established(third)]);
}

#[test]
fn p10_only_fifteen_are_told_at_once_why_they_have_to_go() {
    let mut story = Story::new(ServerConfig { max_peers: 0, max_pending: 100, ..Default::default() });
    let told =
        (0..40).filter(|number| matches!(story.come_in(*number).1[..], [Output::Disconnect(..)])).count();
    assert_eq!(told, 15);
    assert_eq!(story.count(Refusal::TooManyPeers), 40);
}

#[test]
fn the_owner_ends_sessions_and_a_removed_peer_stays_away() {
    let mut story = Story::new(ServerConfig { static_peers: vec![enode(1)], ..Default::default() });
    let dial = story.dials()[0];
    story.reach(dial);
    story.server.disconnect(story.now, key(1).node_id(), DisconnectReason::TooManyPeers);
    assert_eq!(story.outputs(), [Output::Disconnect(dial.0, DisconnectReason::TooManyPeers)]);
    story.close(dial.0, SessionEnd::Local { reason: DisconnectReason::TooManyPeers, error: None });
    let (_, again) = next_dial(&mut story, Duration::from_secs(5)).unwrap();
    story.reach(again);
    story.server.remove_static(story.now, key(1).node_id());
    assert_eq!(story.outputs(), [Output::Disconnect(again.0, DisconnectReason::Requested)]);
    story.close(again.0, BROKEN);
    assert_eq!(next_dial(&mut story, Duration::from_secs(7_200)), None);
}

#[test]
fn lists_of_the_owner_have_ends() {
    let mut story = Story::new(ServerConfig::default());
    assert_eq!(story.server.add_static(story.now, enode(OWN)), Err(CommandError::Own));
    assert_eq!(story.server.add_static(story.now, Enode { tcp: 0, ..enode(1) }), Err(CommandError::NoPort));
    for number in 1..=1_024 {
        story.server.add_static(story.now, enode(number)).unwrap();
        story.server.add_trusted(key(number).node_id()).unwrap();
    }
    assert_eq!(story.server.add_static(story.now, enode(2_000)), Err(CommandError::Full));
    assert_eq!(story.server.add_static(story.now, enode(5)), Ok(()));
    assert_eq!(story.server.add_trusted(key(2_000).node_id()), Err(CommandError::Full));
    assert_eq!(story.dials().len(), 30, "no more dials at once than are allowed");
}

#[test]
fn s07_shutdown_says_goodbye_to_all_who_have_proved_a_key() {
    let mut story = Story::new(ServerConfig { static_peers: vec![enode(900)], ..Default::default() });
    let (dialed, _) = story.dials()[0];
    let peers: Vec<PeerId> = (0..33).map(|number| story.come_in(number).0).collect();
    let silent = story.accept("10.0.0.1").unwrap();
    story.server.shutdown(story.now);
    let outputs = story.outputs();
    for id in &peers {
        assert!(outputs.contains(&Output::Disconnect(*id, DisconnectReason::Quitting)));
    }
    assert!(outputs.contains(&Output::Abort(dialed)) && outputs.contains(&Output::Abort(silent)));
    assert_eq!(story.accept("10.0.0.1"), Err(Refusal::ShuttingDown));
    assert_eq!((story.server.wanted_candidates(story.now), story.server.next_timeout(story.now)), (0, None));
    for id in peers.into_iter().chain([dialed, silent]) {
        story.close(id, BROKEN);
    }
    assert_eq!((story.outputs(), story.server.connection_count()), (vec![], 0));
}

#[test]
fn s08_churn_leaves_nothing_behind() {
    let times = ServerTimes {
        redial: Duration::from_secs(1),
        redial_max: Duration::from_secs(1),
        ..Default::default()
    };
    let mut story = Story::new(ServerConfig { times, ..Default::default() });
    for round in 0..20_000u16 {
        let (id, _) = story.come_in(round % 500);
        story.server.handle_candidate(story.now, candidate(1_000 + round % 500, &far(round % 4_000)));
        for dial in story.dials() {
            story.fail(dial);
        }
        story.close(id, BROKEN);
        story.wait(Duration::from_millis(100));
    }
    assert_eq!((story.server.connection_count(), story.server.peer_count()), (0, 0));
    story.wait(Duration::from_secs(10_000));
    assert_eq!(story.server.record_count(), 0);
}
