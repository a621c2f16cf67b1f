//! Who is let in: the table of admission, slots for those who come in, the limits by host, site and network,
//! half-open connections, second sessions.

use std::{net::SocketAddr, time::Duration};

use identity::AddressPolicy;
use rlpx::{
    DisconnectReason, Incompatibility, PeerId, Refusal, ServerConfig, SessionEnd, SessionError, Slots,
    server::Output,
};

use crate::story::{BROKEN, OWN, Story, candidate, enode, established, far, key};

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
        let mut story = Story::new(ServerConfig {
            max_peers: 6,
            slots: Slots { dial_ratio: 2, ..Default::default() },
            trusted,
            ..Default::default()
        });
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
    let mut story = Story::new(ServerConfig {
        max_peers: 1,
        slots: Slots { dial_ratio: 100, ..Default::default() },
        ..Default::default()
    });
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
fn h13_the_record_of_hosts_has_an_end() {
    let mut story = Story::new(ServerConfig::default());
    for number in 0..20_000u32 {
        let id = story.accept(&format!("77.{}.{}.{}", number >> 16, number >> 8 & 0xff, number & 0xff));
        // A site's places are freed as it comes and goes.
        story.close(id.unwrap(), BROKEN);
        assert!(story.server.record_count() <= 16_384);
    }
    assert_eq!(story.accept("77.0.78.31"), Err(Refusal::Throttled), "the newest are those remembered");
    story.wait(Duration::from_secs(30));
    assert_eq!(story.server.record_count(), 0);
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
    let mut story = Story::new(ServerConfig { max_pending: 2, ..Default::default() });
    let known = story.accept("77.0.1.1").unwrap();
    story.server.handle_authenticated(story.now, known, key(1));
    assert_eq!(story.outputs(), [Output::Greet(known)]);
    let second = story.accept("77.0.2.1").unwrap();
    let third = story.accept("77.0.3.1").unwrap();
    assert!(story.outputs().is_empty());
    story.accept("77.0.4.1").unwrap();
    assert_eq!(story.outputs(), [Output::Abort(second)]);
    assert_eq!((story.server.rule(second), story.server.rule(third)), (Some(Refusal::Evicted), None));
    story.accept("77.0.5.1").unwrap();
    assert_eq!(story.outputs(), [Output::Abort(third)]);
    assert_eq!(story.count(Refusal::Evicted), 2);
    let mut closed = Story::new(ServerConfig { max_pending: 0, ..Default::default() });
    assert_eq!(closed.accept("77.0.2.1"), Err(Refusal::PendingFull));
}

#[test]
fn h11_ten_thousand_silent_connections_hold_fifty_places_and_keep_nobody_out() {
    let mut story = Story::new(ServerConfig::default());
    let mut let_in = 0;
    for number in 0..10_000u16 {
        let site = number / 4;
        // Four of each site, of which the fifth would be refused at the door.
        story.accept(&format!("88.{}.{}.{}", site >> 8, site & 0xff, number % 4)).unwrap();
        end_aborted(&mut story);
        if number % 1_000 == 0 {
            let id = story.accept("10.0.0.1").unwrap();
            end_aborted(&mut story);
            assert_eq!(story.go_on(id, number), [established(id)]);
            let_in += 1;
        }
        assert!(story.server.connection_count() <= 50 + let_in);
    }
    assert_eq!((story.server.peer_count(), story.count(Refusal::Evicted)), (10, 9_950));
}

#[test]
fn h12_a_connection_whose_auth_has_come_makes_no_room_for_silent_ones() {
    let mut story = Story::new(ServerConfig { max_pending: 2, ..Default::default() });
    let examined = story.accept("77.0.1.1").unwrap();
    story.server.handle_auth(story.now, examined);
    let silent: Vec<PeerId> = (2..6).map(|site| story.accept(&format!("77.0.{site}.1")).unwrap()).collect();
    assert_eq!(story.outputs(), [Output::Abort(silent[0]), Output::Abort(silent[1])]);
    story.server.handle_authenticated(story.now, examined, key(1));
    assert_eq!(story.outputs(), [Output::Greet(examined)]);
}

#[test]
fn h12_two_hundred_and_fifty_six_auths_are_looked_at_and_the_oldest_goes() {
    let mut story = Story::new(ServerConfig::default());
    for number in 0..300u16 {
        let id = story.accept(&format!("88.{}.{}.1", number >> 8, number & 0xff)).unwrap();
        story.server.handle_auth(story.now, id);
        end_aborted(&mut story);
    }
    assert_eq!((story.server.connection_count(), story.count(Refusal::Evicted)), (256, 44));
}

#[test]
fn h12_of_a_site_four_have_proved_nothing_whether_their_auth_has_come_or_not() {
    let mut story = Story::new(ServerConfig::default());
    for host in 1..=4 {
        let id = story.accept(&format!("77.0.0.{host}")).unwrap();
        story.server.handle_auth(story.now, id);
    }
    assert_eq!(story.accept("77.0.0.5"), Err(Refusal::HalfOpenSite));
}

fn end_aborted(story: &mut Story) {
    for output in story.outputs() {
        let Output::Abort(id) = output else { panic!("{output:?}") };
        story.close(id, SessionEnd::ABORTED);
    }
}

/// Someone comes from `from`, proves a key, and says no more.
fn linger(story: &mut Story, from: &str, number: u16) -> (PeerId, Vec<Output>) {
    let id = story.accept(from).unwrap();
    story.server.handle_authenticated(story.now, id, key(number));
    (id, story.outputs())
}

#[test]
fn h11_of_a_site_four_linger_between_key_and_hello_and_the_oldest_goes() {
    let mut story = Story::new(ServerConfig::default());
    let lingering: Vec<PeerId> =
        (1..=4).map(|host| linger(&mut story, &format!("77.0.0.{host}"), host).0).collect();
    let (fifth, outputs) = linger(&mut story, "77.0.0.5", 5);
    let refused = Output::Disconnect(lingering[0], DisconnectReason::TooManyPeers);
    assert_eq!(outputs, [refused, Output::Greet(fifth)]);
    assert_eq!(story.server.rule(lingering[0]), Some(Refusal::Unintroduced));
    let (other, outputs) = linger(&mut story, "77.0.1.1", 6);
    assert_eq!(outputs, [Output::Greet(other)]);
    // Who becomes a peer holds none of these places.
    story.server.handle_hello(story.now, fifth, 1);
    assert_eq!(story.outputs(), [established(fifth)]);
    let (sixth, outputs) = linger(&mut story, "77.0.0.6", 7);
    assert_eq!(outputs, [Output::Greet(sixth)]);
    for number in 100..110 {
        let (id, outputs) = linger(&mut story, "10.0.0.1", number);
        assert_eq!(outputs, [Output::Greet(id)], "private addresses are exempt");
    }
}

#[test]
fn h17_sixteen_at_a_time_say_to_be_one_node_and_the_oldest_goes() {
    let mut story = Story::new(ServerConfig::default());
    let first = linger(&mut story, "10.0.0.1", 1).0;
    for _ in 1..16 {
        assert!(matches!(linger(&mut story, "10.0.0.1", 1).1[..], [Output::Greet(_)]));
    }
    let (last, outputs) = linger(&mut story, "10.0.0.1", 1);
    assert_eq!(outputs, [Output::Disconnect(first, DisconnectReason::TooManyPeers), Output::Greet(last)]);
    assert_eq!(story.count(Refusal::Unintroduced), 1);
}

#[test]
fn h17_a_node_comes_in_at_once_while_others_say_to_be_it() {
    let mut story = Story::new(ServerConfig::default());
    for number in 0..3 {
        linger(&mut story, &far(number), 1);
    }
    let (id, outputs) = story.come_in(1);
    assert_eq!(outputs, [established(id)]);
    // From now on they are told that it is here.
    assert_eq!(linger(&mut story, &far(9), 1).1.len(), 1);
    assert_eq!(story.count(Refusal::AlreadyConnected), 1);
}

#[test]
fn h17_a_node_is_dialed_in_time_however_many_say_to_be_it() {
    let mut story = Story::new(ServerConfig { static_peers: vec![enode(1)], ..Default::default() });
    let (dial, candidate) = (story.dials()[0], candidate(2, "77.0.0.2"));
    story.fail(dial);
    // Each is there for a moment, one after the other, and another all the time.
    for step in 0..60 {
        let (id, outputs) = linger(&mut story, &far(step), 1);
        assert_eq!(outputs, [Output::Greet(id)]);
        story.wait(Duration::from_millis(50));
        if story
            .outputs()
            .iter()
            .any(|output| matches!(output, Output::Connect { remote, .. } if *remote == key(1)))
        {
            // It waits 1 s, and up to a quarter more.
            assert!((20..=26).contains(&step), "after {step} times 50 ms");
            linger(&mut story, "77.99.0.1", 2);
            story.server.handle_candidate(story.now, candidate);
            assert_eq!(story.dials().len(), 1, "nor is a found node left alone for it");
            return;
        }
        story.close(id, BROKEN);
    }
    panic!("it was not dialed");
}

#[test]
fn h16_h17_a_dial_gets_through_though_somebody_says_all_the_time_to_be_its_node() {
    const HOLD: Duration = Duration::from_millis(500);
    // Of both kinds: whose own dial would go before ours, and after it.
    let (lower, higher): (Vec<u16>, Vec<u16>) =
        (1..9).partition(|number| key(*number).node_id() < key(OWN).node_id());
    for number in [lower[0], higher[0]] {
        let mut story = Story::new(ServerConfig { static_peers: vec![enode(number)], ..Default::default() });
        let (id, remote) = story.dials()[0];
        linger(&mut story, &far(0), number);
        story.server.handle_connected(story.now, id);
        story.server.handle_authenticated(story.now, id, remote);
        let (mut waited, establish) =
            (Duration::ZERO, Output::Establish { id, static_peer: true, trusted: false });
        for step in 1.. {
            // A new one before the last has gone.
            let outputs = linger(&mut story, &far(step), number).1;
            if outputs.contains(&establish) {
                break;
            }
            story.wait(HOLD / 10);
            waited += HOLD / 10;
            assert!(waited <= HOLD * 8, "still waiting after {waited:?}");
            let outputs = story.outputs();
            if outputs.contains(&Output::Greet(id)) {
                assert_eq!(waited, HOLD);
                story.server.handle_hello(story.now, id, 1);
            }
            if outputs.contains(&establish) {
                break;
            }
        }
        assert_eq!(story.server.peer_count(), 1);
    }
}

#[test]
fn e02_a_node_that_came_in_and_proved_to_be_of_no_use_is_not_dialed_for_an_hour() {
    let useless = SessionError::Incompatible(Incompatibility::NothingShared);
    let rows = [
        // What nobody can be told who is not the node.
        (SessionEnd::Local { reason: DisconnectReason::UselessPeer, error: Some(useless) }, true),
        (SessionEnd::Remote(DisconnectReason::UselessPeer), true),
        // What becomes of whoever only says to be it.
        (SessionEnd::Local { reason: DisconnectReason::UselessPeer, error: None }, false),
        (SessionEnd::Broken(SessionError::Mac), false),
    ];
    for (end, rests) in rows {
        let mut story = Story::new(ServerConfig::default());
        let id = story.accept("77.0.0.9").unwrap();
        story.server.handle_authenticated(story.now, id, key(1));
        story.close(id, end);
        story.outputs();
        story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
        assert_eq!(story.dials().is_empty(), rests, "{end:?}");
        story.wait(Duration::from_secs(75 * 60));
        story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
        assert_eq!(story.dials().is_empty(), !rests, "{end:?}");
    }
}

#[test]
fn h11_a_thousand_and_twenty_four_linger_between_key_and_hello_and_no_more() {
    let mut story = Story::new(ServerConfig::default());
    for number in 0..1_200 {
        linger(&mut story, &far(number), number);
        let closing = story.count(Refusal::Unintroduced);
        assert_eq!(closing, u64::from(number).saturating_sub(1_023));
    }
    assert_eq!(story.server.connection_count(), 1_200, "closed are they by their tasks");
}

#[test]
fn h11_a_site_has_four_half_open_connections() {
    let mut story = Story::new(ServerConfig::default());
    for host in 1..=4 {
        story.accept(&format!("77.0.0.{host}")).unwrap();
    }
    assert_eq!(story.accept("77.0.0.5"), Err(Refusal::HalfOpenSite));
    // A /48, whose hosts are /64s.
    for host in 1..=4 {
        story.accept(&format!("2a00:1:2:{host}::1")).unwrap();
    }
    assert_eq!(story.accept("2a00:1:2:5::1"), Err(Refusal::HalfOpenSite));
    assert!(story.accept("2a00:1:3:5::1").is_ok());
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
    // All others are cut off, and leave for the same reason.
    let (id, outputs) = story.come_in(40);
    assert_eq!(outputs, [Output::Abort(id)]);
    let told = SessionEnd::Local { reason: DisconnectReason::TooManyPeers, error: None };
    assert_eq!(story.server.end_of(id, SessionEnd::ABORTED), told);
    // What its task has seen before is no less true.
    assert_eq!(story.server.end_of(id, BROKEN), BROKEN);
    story.close(id, SessionEnd::ABORTED);
    assert_eq!(story.server.counts().turned_away.by_us.count(DisconnectReason::TooManyPeers), 1);
}

#[test]
fn p10_a_closer_that_is_through_makes_room_for_one_more_to_be_told() {
    let mut story = Story::new(ServerConfig { max_peers: 0, max_pending: 100, ..Default::default() });
    let told = |id| Output::Disconnect(id, DisconnectReason::TooManyPeers);
    let closing: Vec<PeerId> = (0..15).map(|number| story.come_in(number).0).collect();
    let (id, outputs) = story.come_in(15);
    assert_eq!(outputs, [Output::Abort(id)]);
    for (number, closer) in (16..).step_by(2).zip(closing) {
        story.close(closer, SessionEnd::Local { reason: DisconnectReason::TooManyPeers, error: None });
        let (id, outputs) = story.come_in(number);
        assert_eq!(outputs, [told(id)]);
        let (id, outputs) = story.come_in(number + 1);
        assert_eq!(outputs, [Output::Abort(id)], "one place and no more");
    }
}

#[test]
fn s10_who_comes_in_and_proves_our_own_key_is_told_of_by_its_address() {
    let own = SessionError::Incompatible(Incompatibility::OwnKey);
    let proved = SessionEnd::Local { reason: DisconnectReason::ConnectedToSelf, error: Some(own) };
    let mut story = Story::new(ServerConfig { static_peers: vec![enode(1)], ..Default::default() });
    let dial = story.dials()[0].0;
    let from: SocketAddr = "77.0.0.1:40000".parse().unwrap();
    for count in 1..=2 {
        let id = story.accept("77.0.0.1").unwrap();
        story.close(id, proved);
        assert_eq!((story.outputs(), story.count(Refusal::OwnKey)), (vec![Output::KeyInUse(from)], count));
        story.wait(Duration::from_secs(31));
        story.outputs();
    }
    // One that only says that it is connected to itself, or breaks off, has proved nothing, and our own dials are ours.
    for end in [SessionEnd::Remote(DisconnectReason::ConnectedToSelf), BROKEN] {
        let id = story.accept("10.0.0.1").unwrap();
        story.close(id, end);
    }
    story.close(dial, proved);
    assert_eq!((story.outputs(), story.count(Refusal::OwnKey)), (vec![], 2));
}
