//! Nodes of the address book: dialed at the start, the best first, within every limit on dials, and beside what is found.

use std::{net::SocketAddr, time::Duration};

use identity::PublicKey;
use rlpx::{
    BookChanges, BookEntry, BookTimes, DisconnectReason, PeerId, Refusal, ServerConfig, ServerTimes,
    SessionEnd, SessionError, Slots, Verdict, server::Output,
};

use crate::story::{BROKEN, Story, candidate, enode, far, key, next_dial};

/// The book that a node leaves behind after sessions of so many minutes with nodes at these addresses.
fn book_after(sessions: &[(u16, &str, u64)]) -> Vec<BookEntry> {
    let mut story = Story::new(ServerConfig { max_peers: 3_000, max_dials: 1_000, ..Default::default() });
    story.server.open_book(story.now, vec![]);
    let (mut peers, mut stored) = (Vec::new(), Vec::new());
    for (number, address, minutes) in sessions {
        story.server.handle_candidate(story.now, candidate(*number, address));
        let dial = story.dials()[0];
        story.reach(dial);
        peers.push((*minutes, dial.0));
        story.now = story.now.later(Duration::from_secs(10));
        stored.extend(kept(&mut story));
    }
    peers.sort_unstable();
    let mut passed = 0;
    for (minutes, id) in peers {
        while passed < minutes {
            story.wait(Duration::from_secs(60));
            stored.extend(kept(&mut story));
            passed += 1;
        }
        story.close(id, SessionEnd::Remote(DisconnectReason::Quitting));
    }
    stored.extend(story.server.last_changes().into_iter().flat_map(|changes| changes.kept));
    // The last word on each node.
    let mut last: Vec<BookEntry> = Vec::new();
    for entry in stored.into_iter().rev() {
        if last.iter().all(|known| known.public_key != entry.public_key) {
            last.push(entry);
        }
    }
    last
}

/// What the server wants written, done at once.
fn stores(story: &mut Story) -> Vec<BookChanges> {
    let mut stores = Vec::new();
    for output in story.outputs() {
        if let Output::Store(changes) = output {
            stores.push(changes);
            story.server.handle_stored(story.now, true);
        }
    }
    stores
}

fn kept(story: &mut Story) -> Vec<BookEntry> {
    stores(story).into_iter().flat_map(|changes| changes.kept).collect()
}

fn many(count: u16, minutes: u64) -> Vec<BookEntry> {
    let addresses: Vec<String> = (0..count).map(far).collect();
    let sessions: Vec<(u16, &str, u64)> =
        (0..count).map(|number| (number, addresses[usize::from(number)].as_str(), minutes)).collect();
    book_after(&sessions)
}

fn dialed(story: &mut Story) -> Vec<PublicKey> {
    story.dials().into_iter().map(|(_, remote)| remote).collect()
}

#[test]
fn a_restarted_node_dials_whom_it_knows_before_anybody_is_found() {
    let book = book_after(&[(1, "77.0.1.1", 5), (2, "77.0.2.1", 1)]);
    let mut story = Story::new(ServerConfig::default());
    assert_eq!(story.dials(), []);
    story.server.open_book(story.now, book);
    let dials = story.dials();
    assert_eq!(dials.len(), 2);
    assert!(story.server.wanted_candidates(story.now) > 0, "and discovery is still asked");
    // It becomes a peer like any other, and is known the better for it.
    assert_eq!(story.reach(dials[0]), [crate::story::established(dials[0].0)]);
    story.wait(Duration::from_secs(31));
    assert_eq!(kept(&mut story).len(), 1);
}

#[test]
fn a_server_without_a_book_stores_nothing() {
    let mut story = Story::new(ServerConfig::default());
    story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
    let dial = story.dials()[0];
    story.reach(dial);
    for _ in 0..100 {
        story.wait(Duration::from_secs(60));
        assert_eq!(stores(&mut story), []);
    }
    story.close(dial.0, BROKEN);
    assert_eq!((story.server.last_changes(), story.server.known_count()), (None, 0));
}

#[test]
fn the_best_go_first_with_some_chance_in_it() {
    // Ten that served for two hours, and thirty for less than a minute beside them.
    let addresses: Vec<String> = (0..40).map(far).collect();
    let minutes = |number: u16| if number < 10 { 120 } else { 1 };
    let sessions: Vec<(u16, &str, u64)> =
        (0..40).map(|number| (number, addresses[usize::from(number)].as_str(), minutes(number))).collect();
    let book = book_after(&sessions);
    let mut firsts = Vec::new();
    for seed in 0..20 {
        let config = ServerConfig { max_dials: 10, ..Default::default() };
        let mut story = Story::with_seed(config, seed);
        story.server.open_book(story.now, book.clone());
        let dials = dialed(&mut story);
        assert_eq!(dials.len(), 5, "half of the slots");
        assert!(dials.iter().all(|dial| (0..10).any(|number| key(number) == *dial)));
        firsts.push(dials[0]);
    }
    firsts.sort_unstable_by_key(|key| key.node_id());
    firsts.dedup();
    assert!(firsts.len() > 3, "always the same {} first", firsts.len());
}

#[test]
fn t06_known_nodes_take_half_of_the_slots_for_dials_and_found_ones_the_other() {
    let book = many(100, 2);
    let mut story = Story::new(ServerConfig::default());
    story.server.open_book(story.now, book);
    let known = story.dials();
    assert_eq!((known.len(), story.server.wanted_candidates(story.now)), (15, 15));
    for number in 1_000..1_100 {
        story.server.handle_candidate(story.now, candidate(number, &far(number)));
    }
    assert_eq!(story.dials().len(), 15);
    // As one fails, the next known one takes its place, and no second one.
    story.wait(Duration::from_secs(2));
    story.fail(known[0]);
    assert_eq!(story.dials().len(), 1);
}

#[test]
fn s03_known_nodes_of_one_site_are_not_dialed_in_a_burst() {
    let mut story = Story::new(ServerConfig::default());
    let book = book_after(&[(1, "77.0.0.1", 2), (2, "77.0.0.2", 2), (3, "77.0.0.3", 2), (4, "77.0.0.4", 2)]);
    assert_eq!(book.len(), 4);
    story.server.open_book(story.now, book);
    let mut dials: Vec<(u64, (PeerId, PublicKey))> =
        story.dials().into_iter().map(|dial| (0, dial)).collect();
    assert_eq!(dials.len(), 2, "two of a site in ten seconds");
    for second in 1..=600 {
        for (_, dial) in dials.iter().filter(|(at, _)| *at + 1 == second) {
            story.fail(*dial);
        }
        story.wait(Duration::from_secs(1));
        dials.extend(story.dials().into_iter().map(|dial| (second, dial)));
    }
    for (at, (_, remote)) in &dials {
        let near = |window| dials.iter().filter(move |(other, _)| other >= at && *other < at + window);
        assert!(near(10).count() <= 2);
        assert_eq!(near(35).filter(|(_, (_, other))| other == remote).count(), 1);
    }
    // Found by others meanwhile it is not dialed the more often.
    assert!(dials.len() >= 8, "{}", dials.len());
    story.server.handle_candidate(story.now, candidate(1, "77.0.0.1"));
    assert!(story.count(Refusal::CandidateRecent) + story.count(Refusal::CandidateSite) > 0);
}

#[test]
fn p10_a_known_node_that_is_gone_is_dialed_ever_less_and_then_forgotten() {
    let book = book_after(&[(1, "77.0.1.1", 5)]);
    let mut story = Story::new(ServerConfig::default());
    // Somebody else can be reached, so it is not our line.
    story.server.add_static(story.now, enode(2)).unwrap();
    let other = story.dials()[0];
    story.reach(other);
    story.server.open_book(story.now, book);
    let (mut delays, mut dial) = (Vec::new(), story.dials()[0]);
    loop {
        story.fail(dial);
        let Some((waited, next)) = next_dial(&mut story, Duration::from_secs(10_000)) else { break };
        delays.push(waited);
        dial = next;
    }
    assert!(delays.windows(2).take(5).all(|pair| pair[1] >= pair[0]), "{delays:?}");
    assert!(delays[0] >= Duration::from_secs(35) && delays.len() == 15, "{delays:?}");
    assert_eq!(story.server.known_count(), 0);
}

#[test]
fn nobody_is_looked_for_in_vain_without_end() {
    let book = book_after(&[(1, "77.0.1.1", 5)]);
    let mut story = Story::new(ServerConfig::default());
    story.server.open_book(story.now, book);
    // One dial that never ends: the book is looked at now and then, and not all the time.
    assert_eq!(story.dials().len(), 1);
    let begin = story.now.instant;
    let mut wakes = 0;
    while story.now.instant < begin + Duration::from_secs(3_600) {
        let next = story.server.next_timeout(story.now).unwrap();
        let step = next.saturating_duration_since(story.now.instant);
        assert!(step > Duration::ZERO, "a spin");
        story.wait(step);
        wakes += 1;
    }
    assert!(wakes <= 3_600 / 10 + 2, "{wakes} wakes in an hour");
}

#[test]
fn static_peers_are_the_owners_to_remember_and_banned_nodes_nobodys() {
    let mut story = Story::new(ServerConfig { static_peers: vec![enode(1)], ..Default::default() });
    story.server.open_book(story.now, vec![]);
    let dial = story.dials()[0];
    story.reach(dial);
    story.wait(Duration::from_secs(3_600));
    assert_eq!((stores(&mut story), story.server.known_count()), (vec![], 0));
    let book = book_after(&[(2, "77.0.2.1", 5), (3, "77.0.3.1", 5)]);
    let mut story = Story::new(ServerConfig {
        slots: Slots { no_discovered_dials: true, ..Default::default() },
        ..Default::default()
    });
    story.server.open_book(story.now, book);
    assert_eq!((story.dials(), story.server.known_count()), (vec![], 2), "dials nobody but static peers");
    story.server.ban(story.now, key(2).node_id().into(), Duration::from_secs(60)).unwrap();
    story.server.report(story.now, key(3).node_id(), Verdict::Malicious);
    assert_eq!(story.server.known_count(), 0);
    // The first change is written at once, the next with what comes within ten seconds.
    let mut dropped = Vec::new();
    for _ in 0..2 {
        dropped.extend(stores(&mut story).into_iter().flat_map(|changes| changes.dropped));
        story.wait(Duration::from_secs(10));
    }
    dropped.extend(stores(&mut story).into_iter().flat_map(|changes| changes.dropped));
    assert_eq!(dropped, [key(2).node_id(), key(3).node_id()]);
}

#[test]
fn a_full_node_is_known_still_and_one_with_another_key_is_not() {
    let book = book_after(&[(1, "77.0.1.1", 5), (2, "77.0.2.1", 5)]);
    let mut story = Story::new(ServerConfig::default());
    story.server.open_book(story.now, book);
    let ends = [
        SessionEnd::Remote(DisconnectReason::TooManyPeers),
        SessionEnd::Local { reason: DisconnectReason::UnexpectedIdentity, error: None },
    ];
    for (dial, end) in story.dials().into_iter().zip(ends) {
        story.server.handle_connected(story.now, dial.0);
        story.close(dial.0, end);
    }
    assert_eq!(story.server.known_count(), 1);
}

#[test]
fn a_known_node_is_dialed_first_where_it_answered_last() {
    let book = BookTimes { stable: Duration::ZERO, ..Default::default() };
    let times = ServerTimes { book, ..Default::default() };
    let mut story = Story::new(ServerConfig { times, ..Default::default() });
    story.server.open_book(story.now, vec![]);
    let v6 = candidate(1, "2600:1::1").endpoint;
    story.server.handle_candidate(story.now, rlpx::Candidate { other: Some(v6), ..candidate(1, "77.0.1.1") });
    let [Output::Connect { id, addresses, .. }] = &story.outputs()[..] else { panic!("one dial") };
    let (id, v6, v4): (PeerId, SocketAddr, SocketAddr) = (*id, addresses[0], addresses[1]);
    assert!(story.server.handle_attempt(story.now, id, v4));
    story.server.handle_connected_to(story.now, id, v4);
    story.go_on(id, 1);
    story.close(id, SessionEnd::Remote(DisconnectReason::Quitting));
    let book = kept(&mut story);
    let mut story = Story::new(ServerConfig::default());
    story.server.open_book(story.now, book);
    let outputs = story.outputs();
    let [Output::Connect { addresses, .. }] = &outputs[..] else { panic!("{outputs:?}") };
    assert_eq!(*addresses, [v4, v6]);
}

#[test]
fn o04_a_known_node_that_is_not_reached_for_want_of_ports_here_is_not_forgotten() {
    let mut story = Story::new(ServerConfig::default());
    // Somebody is here all the time: what fails then is a node's own fault, as a rule.
    story.come_in(50);
    story.server.open_book(story.now, book_after(&[(1, "10.0.0.1", 5)]));
    for round in 0..40 {
        let (_, (id, remote)) = next_dial(&mut story, Duration::from_secs(60)).expect("it is dialed");
        assert_eq!((remote, story.server.known_count()), (key(1), 1), "round {round}");
        story.close(id, SessionEnd::Broken(SessionError::Exhausted));
    }
    assert_eq!((story.server.known_count(), story.count(Refusal::DialShortage)), (1, 40));
}
