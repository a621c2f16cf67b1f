//! A system without ports, file handles or memory to dial with: all dials pause, no node is blamed, and one dial after a
//! pause tries for all. How long the pauses are is tested beside `shortage.rs`, which errors mean it beside `dial.rs`.

use std::time::Duration;

use identity::{Enode, Host};
use rlpx::{PeerId, Refusal, ServerConfig, SessionEnd, SessionError};

use crate::story::{Story, candidate, enode, established, far, ip, next_dial};

const STARVED: SessionEnd = SessionEnd::Broken(SessionError::Exhausted);
const SECOND: Duration = Duration::from_secs(1);

/// Finds nodes `numbers` while any are wanted, and says whom that made the server dial.
fn find(story: &mut Story, numbers: impl IntoIterator<Item = u16>) -> Vec<PeerId> {
    for number in numbers {
        if story.server.wanted_candidates(story.now) == 0 {
            break;
        }
        story.server.handle_candidate(story.now, candidate(number, &far(number)));
    }
    story.dials().into_iter().map(|(id, _)| id).collect()
}

#[test]
fn o04_while_the_system_has_nothing_to_dial_with_all_dials_pause_ever_longer_and_then_one_tries() {
    let config = ServerConfig { static_peers: vec![enode(5_000)], ..Default::default() };
    let mut story = Story::new(config);
    let mut under_way: Vec<PeerId> = story.dials().into_iter().map(|(id, _)| id).collect();
    under_way.extend(find(&mut story, 0..100));
    assert_eq!(under_way.len(), 30);
    for id in under_way {
        story.close(id, STARVED);
    }
    let (mut tries, mut found) = (Vec::new(), 100..);
    for second in 1..=120u64 {
        assert_eq!(story.server.wanted_candidates(story.now), 0, "before second {second}");
        let next = story.server.next_timeout(story.now).unwrap();
        assert!(next > story.now.instant, "a timeout that is due at once is a spin");
        story.wait(SECOND);
        let mut dials = story.dials().into_iter().map(|(id, _)| id).collect::<Vec<_>>();
        dials.extend(find(&mut story, found.by_ref().take(5)));
        assert!(dials.len() <= 1, "{dials:?} in second {second}");
        for id in dials {
            tries.push(second);
            story.close(id, STARVED);
        }
    }
    assert_eq!(tries, [1, 3, 7, 15, 31, 61, 91]);
    assert_eq!(story.count(Refusal::DialShortage), 30 + 7);
}

#[test]
fn o04_a_dial_that_gets_past_the_system_ends_the_pauses_whatever_comes_of_it() {
    let refused = SessionEnd::Broken(SessionError::Io(std::io::ErrorKind::ConnectionRefused));
    for reached in [true, false] {
        let mut story = Story::new(ServerConfig::default());
        let [starved, lost, late] = find(&mut story, 0..3)[..] else { panic!("three") };
        story.close(starved, STARVED);
        // Those that began before are of no account, however they end.
        story.close(lost, refused);
        assert_eq!(find(&mut story, [10]), []);
        story.wait(SECOND);
        assert_eq!(find(&mut story, [11]), [], "one is under way");
        story.server.handle_connected(story.now, late);
        story.close(late, refused);
        let [starved] = find(&mut story, 12..20)[..] else { panic!("one alone") };
        story.close(starved, STARVED);
        story.wait(SECOND);
        assert_eq!(find(&mut story, [21]), [], "the second pause is longer");
        story.wait(SECOND);
        let [last] = find(&mut story, 22..30)[..] else { panic!("one alone") };
        match reached {
            true => story.server.handle_connected(story.now, last),
            false => story.close(last, refused),
        }
        let free = if reached { 29 } else { 30 };
        assert_eq!(find(&mut story, 300..340).len(), free, "{reached}");
    }
}

#[test]
fn o04_no_node_is_charged_with_what_this_system_lacks() {
    // A static peer is dialed anew at the end of the pause, with the shortest delay when it is its own fault then.
    let mut story = Story::new(ServerConfig { static_peers: vec![enode(1)], ..Default::default() });
    let mut waited = Vec::new();
    let mut dial = story.dials()[0];
    for _ in 0..4 {
        story.close(dial.0, STARVED);
        let (after, next) = next_dial(&mut story, Duration::from_secs(100)).unwrap();
        waited.push(after.as_secs());
        dial = next;
    }
    assert_eq!(waited, [1, 2, 4, 8]);
    story.fail(dial);
    let (after, _) = next_dial(&mut story, Duration::from_secs(100)).unwrap();
    assert!(after <= Duration::from_millis(1_250), "{after:?}");

    // One that was found may be dialed at once when it is found again, and has failed no time. Nothing was sent to it;
    // that its address was to be dialed counts for a while, but not in the local network.
    let mut story = Story::new(ServerConfig::default());
    let find = |story: &mut Story| {
        story.server.handle_candidate(story.now, candidate(7, "10.0.0.7"));
        story.dials().first().copied()
    };
    for pause in [1, 2, 4] {
        let (id, _) = find(&mut story).unwrap();
        story.close(id, STARVED);
        story.wait(SECOND * pause);
    }
    let dial = find(&mut story).unwrap();
    story.fail(dial);
    story.wait(SECOND * 34);
    assert_eq!(find(&mut story), None, "this time it was the node's own fault");
    story.wait(SECOND * 10);
    assert!(find(&mut story).is_some(), "35 s and their jitter, as after a first failure");
}

#[test]
fn o04_a_machine_without_ipv6_dials_on_by_ipv4() {
    let mut story = Story::new(ServerConfig::default());
    let v6 = |story: &mut Story, number: u16| {
        story.server.handle_candidate(story.now, candidate(number, &format!("2600:{number}::1")));
        story.dials()[0]
    };
    let (id, _) = v6(&mut story, 1);
    story.close(id, STARVED);
    assert_eq!((find(&mut story, 10..20).len(), story.count(Refusal::DialShortage)), (10, 0));
    // Where IPv6 has worked before, it is as with IPv4.
    let reached = v6(&mut story, 2);
    assert_eq!(story.reach(reached), [established(reached.0)]);
    let (id, _) = v6(&mut story, 3);
    story.close(id, STARVED);
    assert_eq!((find(&mut story, 20..30).len(), story.count(Refusal::DialShortage)), (0, 1));
}

#[test]
fn o04_a_pause_holds_names_and_new_static_peers_back_too() {
    let mut story = Story::new(ServerConfig { static_peers: vec![enode(1)], ..Default::default() });
    let (id, _) = story.dials()[0];
    story.close(id, STARVED);
    let named = Enode { host: Host::Dns("node.example.org".into()), ..enode(2) };
    story.server.add_static(story.now, named).unwrap();
    let literal = Enode { host: Host::Ip(ip("77.0.0.3")), ..enode(3) };
    story.server.add_static(story.now, literal).unwrap();
    assert_eq!(story.outputs(), []);
    story.wait(SECOND);
    assert_eq!(story.outputs().len(), 1, "one of the three");
}
