//! What the owner orders: sessions ended, lists of static and trusted peers, shutdown.
//! And churn, after which no connection, peer or record is left.

use std::time::Duration;

use identity::Enode;
use rlpx::{
    CommandError, DisconnectReason, PeerId, RedialTimes, Refusal, ServerConfig, ServerTimes, SessionEnd,
    Verdict, server::Output,
};

use crate::story::{BROKEN, OWN, Story, candidate, enode, far, key, next_dial};

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
        redial: RedialTimes { first: Duration::from_secs(1), max: Duration::from_secs(1) },
        ..Default::default()
    };
    let mut story = Story::new(ServerConfig { times, ..Default::default() });
    let rounds = if cfg!(feature = "thorough") { 100_000 } else { 20_000u32 };
    let mut dials = 0;
    for round in 0..rounds {
        let number = (round % 500) as u16;
        let (id, _) = story.come_in(number);
        story.server.handle_candidate(story.now, candidate(1_000 + number, &far((round % 4_000) as u16)));
        for dial in story.dials() {
            story.fail(dial);
            dials += 1;
        }
        match round % 100 {
            0 => story.server.report(story.now, key(number).node_id(), Verdict::Malicious),
            1 => story.server.ban(story.now, key(number).node_id().into(), Duration::from_secs(5)).unwrap(),
            2 => story.server.report(story.now, key(number).node_id(), Verdict::Good),
            _ => {}
        }
        story.outputs();
        story.close(id, BROKEN);
        story.wait(Duration::from_millis(100));
    }
    println!("{rounds} rounds (thorough: 100000)");
    assert_eq!((story.server.connection_count(), story.server.peer_count()), (0, 0));
    story.wait(Duration::from_secs(100_000));
    assert_eq!((story.server.record_count(), story.server.next_timeout(story.now)), (0, None));
    let counts = story.server.counts();
    // Every connection, and every dial, was counted once.
    assert_eq!(counts.left.total() + counts.turned_away.total(), u64::from(rounds) + dials);
    assert!(dials > u64::from(rounds) / 100, "{dials} dials");
}
