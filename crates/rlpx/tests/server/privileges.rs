//! What static and trusted peers may, and what they may not: slots are all they are spared, and the budget of places,
//! hosts and dials holds for them as for anybody (S14). What peers tell of themselves changes nothing at all.

use rlpx::{DisconnectReason, Refusal, ServerConfig, SessionEnd, Slots, server::Output};

use crate::story::{BROKEN, Story, enode, established, key};

#[test]
fn s14_trusted_peers_skip_the_limits_on_slots_and_no_others() {
    let trusted = (1..=20).map(|number| key(number).node_id()).collect();
    let mut story = Story::new(ServerConfig { max_peers: 2, trusted, ..Default::default() });
    for number in 1..=10 {
        let (id, outputs) = story.come_in(number);
        assert_eq!(outputs, [Output::Establish { id, static_peer: false, trusted: true }]);
    }
    // One session a node.
    let (second, outputs) = story.come_in(1);
    assert_eq!(outputs, [Output::Disconnect(second, DisconnectReason::AlreadyConnected)]);
    // One connection a host in thirty seconds.
    let id = story.accept("77.0.0.1").unwrap();
    story.server.handle_authenticated(story.now, id, key(11));
    assert_eq!(story.outputs(), [Output::Greet(id)]);
    assert_eq!(story.accept("77.0.0.1"), Err(Refusal::Throttled));
    // Four that linger between key and Hello from one site.
    for (host, number) in (2..=5).zip(12..) {
        let id = story.accept(&format!("77.0.0.{host}")).unwrap();
        story.server.handle_authenticated(story.now, id, key(number));
    }
    assert_eq!((story.count(Refusal::Unintroduced), story.server.rule(id)), (1, Some(Refusal::Unintroduced)));
    // Nothing in common is of no use.
    let id = story.accept("10.0.0.1").unwrap();
    story.server.handle_authenticated(story.now, id, key(20));
    story.outputs();
    story.server.handle_hello(story.now, id, 0);
    assert_eq!(story.outputs(), [Output::Disconnect(id, DisconnectReason::UselessPeer)]);
}

#[test]
fn s14_a_static_peer_takes_a_slot_like_any_other() {
    let mut story = Story::new(ServerConfig {
        max_peers: 1,
        slots: Slots { max_outbound: Some(1), ..Default::default() },
        ..Default::default()
    });
    story.server.add_static(story.now, enode(1)).unwrap();
    let dial = story.dials()[0];
    story.server.add_trusted(key(2).node_id()).unwrap();
    story.come_in(2);
    story.server.handle_connected(story.now, dial.0);
    let outputs = story.go_on(dial.0, 1);
    assert_eq!(outputs, [Output::Disconnect(dial.0, DisconnectReason::TooManyPeers)]);
}

#[test]
fn s14_trust_that_is_taken_back_counts_from_the_next_session_on() {
    let mut story = Story::new(ServerConfig { max_peers: 0, ..Default::default() });
    story.server.add_trusted(key(1).node_id()).unwrap();
    assert_eq!(story.server.privileges(&key(1).node_id()), (false, true));
    let (id, outputs) = story.come_in(1);
    assert_eq!(outputs, [Output::Establish { id, static_peer: false, trusted: true }]);
    story.server.remove_trusted(key(1).node_id());
    assert_eq!((story.outputs(), story.server.privileges(&key(1).node_id())), (vec![], (false, false)));
    story.close(id, BROKEN);
    let (id, outputs) = story.come_in(1);
    assert_eq!(outputs, [Output::Disconnect(id, DisconnectReason::TooManyPeers)]);
}

#[test]
fn every_end_is_counted_once_under_its_reason() {
    use DisconnectReason::{NetworkError, Quitting, TooManyPeers};
    let mut story = Story::new(ServerConfig {
        max_peers: 1,
        slots: Slots { max_inbound: Some(1), ..Default::default() },
        ..Default::default()
    });
    let (peer, outputs) = story.come_in(1);
    assert_eq!(outputs, [established(peer)]);
    let (refused, _) = story.come_in(2);
    let silent = story.accept("10.0.0.1").unwrap();
    story.close(refused, SessionEnd::Local { reason: TooManyPeers, error: None });
    story.close(silent, BROKEN);
    story.close(peer, SessionEnd::Remote(Quitting));
    let (peer, _) = story.come_in(3);
    story.close(peer, BROKEN);
    let counts = story.server.counts();
    assert_eq!((counts.turned_away.by_us.count(TooManyPeers), counts.turned_away.total()), (1, 1));
    assert_eq!((counts.left.by_peer.count(Quitting), counts.left.wordless.count(NetworkError)), (1, 1));
    assert_eq!((counts.left.total(), counts.refusals.total()), (2, 1));
}
