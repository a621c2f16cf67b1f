//! Bans and reports: who is kept out, for how long, and what the owner's word on a peer leads to.

use std::time::Duration;

use identity::{Enode, Host, Prefix};
use rlpx::{
    BanTarget, CommandError, DisconnectReason, ListLimits, Refusal, ServerConfig, SessionEnd, Verdict,
    server::Output,
};

use crate::story::{BROKEN, OWN, Story, candidate, enode, established, ip, key, next_dial};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn node(number: u16) -> BanTarget {
    key(number).node_id().into()
}

#[test]
fn s09_a_banned_address_is_refused_at_the_door_until_the_ban_ends() {
    let mut story = Story::new(ServerConfig::default());
    story.server.ban(story.now, Prefix::host(ip("77.0.0.1")).into(), HOUR).unwrap();
    story.server.ban(story.now, Prefix::site(ip("2a00:1:2::")).into(), HOUR).unwrap();
    story.server.ban(story.now, Prefix::host(ip("192.168.0.7")).into(), 2 * HOUR).unwrap();
    for (from, is_banned) in [
        ("77.0.0.1", true),
        ("::ffff:77.0.0.1", true),
        ("77.0.0.2", false),
        ("2a00:1:2:3::9", true),
        ("2a00:1:3::9", false),
        ("192.168.0.7", true),
    ] {
        assert_eq!(story.accept(from) == Err(Refusal::Banned), is_banned, "{from}");
    }
    story.wait(HOUR - Duration::from_millis(1));
    assert_eq!(story.accept("77.0.0.1"), Err(Refusal::Banned));
    story.wait(Duration::from_millis(1));
    assert!(story.accept("77.0.0.1").is_ok());
    assert_eq!(story.accept("192.168.0.7"), Err(Refusal::Banned));
    story.server.unban(story.now, &Prefix::host(ip("192.168.0.7")).into());
    assert!(story.accept("192.168.0.7").is_ok() && story.server.bans(story.now).is_empty());
}

#[test]
fn s09_a_banned_node_is_refused_once_it_has_proved_who_it_is() {
    let mut story = Story::new(ServerConfig { trusted: vec![key(1).node_id()], ..Default::default() });
    story.server.ban(story.now, node(1), HOUR).unwrap();
    let (id, outputs) = story.come_in(1);
    assert_eq!(outputs, [Output::Disconnect(id, DisconnectReason::UselessPeer)]);
    assert_eq!((story.server.rule(id), story.count(Refusal::Banned)), (Some(Refusal::Banned), 1));
    story.close(id, BROKEN);
    story.wait(HOUR);
    let (id, outputs) = story.come_in(1);
    assert_eq!(outputs, [Output::Establish { id, static_peer: false, trusted: true }]);
}

#[test]
fn s09_a_ban_ends_what_there_is_with_the_node_or_at_the_address() {
    let mut story = Story::new(ServerConfig::default());
    let by_id = story.come_in(1).0;
    let kept = story.come_in(2).0;
    let from_site = story.accept("77.0.0.1").unwrap();
    assert_eq!(story.go_on(from_site, 3), [established(from_site)]);
    let silent = story.accept("77.0.0.2").unwrap();
    story.server.handle_candidate(story.now, candidate(4, "77.0.0.3"));
    let (dial, _) = story.dials()[0];
    story.server.ban(story.now, node(1), HOUR).unwrap();
    let reason = DisconnectReason::UselessPeer;
    assert_eq!(story.outputs(), [Output::Disconnect(by_id, reason)]);
    story.server.ban(story.now, Prefix::site(ip("77.0.0.0")).into(), HOUR).unwrap();
    let outputs = story.outputs();
    assert_eq!(outputs, [Output::Disconnect(from_site, reason), Output::Abort(silent), Output::Abort(dial)]);
    for (id, rule) in [(silent, Some(Refusal::Banned)), (dial, Some(Refusal::Banned)), (kept, None)] {
        assert_eq!(story.server.rule(id), rule);
    }
    story.close(by_id, SessionEnd::Local { reason, error: None });
    assert_eq!(story.server.counts().left.by_us.count(reason), 1);
}

#[test]
fn s09_a_banned_node_is_never_dialed() {
    let mut story = Story::new(ServerConfig { static_peers: vec![enode(1)], ..Default::default() });
    let dial = story.dials()[0];
    story.server.ban(story.now, node(1), HOUR).unwrap();
    assert_eq!(story.outputs(), [Output::Abort(dial.0)]);
    story.close(dial.0, SessionEnd::ABORTED);
    story.server.ban(story.now, node(2), HOUR).unwrap();
    story.server.ban(story.now, Prefix::host(ip("77.0.0.3")).into(), HOUR).unwrap();
    for found in [candidate(2, "77.0.2.1"), candidate(3, "77.0.0.3")] {
        story.server.handle_candidate(story.now, found);
    }
    assert_eq!((story.outputs(), story.count(Refusal::CandidateBanned)), (vec![], 2));
    // The end of the ban wakes the server, and the static peer is dialed.
    let (waited, again) = next_dial(&mut story, 2 * HOUR).unwrap();
    assert_eq!((waited, again.1), (HOUR, key(1)));
    story.server.handle_candidate(story.now, candidate(2, "77.0.2.1"));
    assert_eq!(story.dials().len(), 1);
}

#[test]
fn s09_a_name_that_leads_to_a_banned_address_is_not_dialed_there() {
    let named = Enode { host: Host::Dns("node.example.org".into()), ..enode(1) };
    let mut story = Story::new(ServerConfig { static_peers: vec![named], ..Default::default() });
    story.server.ban(story.now, Prefix::host(ip("77.0.0.1")).into(), HOUR).unwrap();
    let outputs = story.outputs();
    let [Output::Resolve { id, .. }] = outputs[..] else { panic!("{outputs:?}") };
    let found = ["77.0.0.1:1", "77.0.0.2:1"].map(|text| text.parse().unwrap());
    story.server.handle_resolved(story.now, id, &found);
    assert_eq!(story.outputs(), [Output::Connect { id, remote: key(1), addresses: vec![found[1]] }]);
    // Banned while it is tried, it is called off.
    story.server.ban(story.now, Prefix::host(ip("77.0.0.2")).into(), HOUR).unwrap();
    assert_eq!(story.outputs(), [Output::Abort(id)]);
}

#[test]
fn s09_a_static_peer_is_dialed_as_soon_as_its_ban_is_lifted() {
    let mut story = Story::new(ServerConfig::default());
    story.server.ban(story.now, node(1), HOUR).unwrap();
    story.server.add_static(story.now, enode(1)).unwrap();
    assert_eq!(story.outputs(), []);
    story.server.unban(story.now, &node(1));
    assert_eq!(story.dials().len(), 1);
}

#[test]
fn s09_the_list_of_bans_has_an_end_and_drops_what_would_end_first() {
    let ListLimits { bans: max_bans, longest_ban, .. } = ListLimits::default();
    let mut story = Story::new(ServerConfig::default());
    assert_eq!(story.server.ban(story.now, node(OWN), HOUR), Err(CommandError::Own));
    for number in 0..6_000u32 {
        let target =
            Prefix::host(ip(&format!("77.{}.{}.{}", number >> 16, number >> 8 & 0xff, number & 0xff)));
        story.server.ban(story.now, target.into(), HOUR + Duration::from_secs(number.into())).unwrap();
    }
    assert_eq!(story.server.bans(story.now).len(), max_bans);
    assert!(story.accept("77.0.0.0").is_ok());
    assert_eq!(story.accept("77.0.23.111"), Err(Refusal::Banned));
    // Said again, it is one ban still, with the new end.
    story.server.ban(story.now, node(1), Duration::MAX).unwrap();
    story.server.ban(story.now, node(1), DAY).unwrap();
    let bans = story.server.bans(story.now);
    assert_eq!((bans.len(), bans[max_bans - 1].target), (max_bans, node(1)));
    assert_eq!(bans[max_bans - 1].ends.saturating_duration_since(story.now.instant), DAY);
    story.server.ban(story.now, node(1), Duration::MAX).unwrap();
    let ends = story.server.bans(story.now)[max_bans - 1].ends;
    assert_eq!(ends.saturating_duration_since(story.now.instant), longest_ban);
    story.wait(longest_ban);
    assert_eq!((story.server.bans(story.now), story.server.record_count()), (vec![], 0));
}

#[test]
fn a_malicious_node_is_disconnected_and_banned_for_a_day() {
    let mut story = Story::new(ServerConfig::default());
    let id = story.come_in(1).0;
    story.server.report(story.now, key(1).node_id(), Verdict::Malicious);
    let reason = DisconnectReason::SubprotocolError;
    assert_eq!(story.outputs(), [Output::Disconnect(id, reason)]);
    assert_eq!((story.server.rule(id), story.count(Refusal::Malicious)), (Some(Refusal::Malicious), 1));
    story.close(id, SessionEnd::Local { reason, error: None });
    let bans = story.server.bans(story.now);
    assert_eq!(bans[0].target, node(1));
    assert_eq!(bans[0].ends.saturating_duration_since(story.now.instant), DAY);
    let (id, outputs) = story.come_in(1);
    assert_eq!(outputs, [Output::Disconnect(id, DisconnectReason::UselessPeer)]);
    // Nobody can be made to ban itself.
    story.server.report(story.now, key(OWN).node_id(), Verdict::Malicious);
    assert_eq!(story.server.bans(story.now).len(), 1);
}

#[test]
fn three_misbehaviours_in_an_hour_are_malice_and_uselessness_never_is() {
    let mut story = Story::new(ServerConfig::default());
    let (wrong, useless) = (story.come_in(1).0, story.come_in(2).0);
    for _ in 0..100 {
        story.server.report(story.now, key(2).node_id(), Verdict::Useless);
    }
    for _ in 0..2 {
        story.server.report(story.now, key(1).node_id(), Verdict::Misbehaved);
    }
    assert_eq!(story.outputs(), []);
    // An hour later they are forgotten; praise does not wipe out a strike.
    story.wait(HOUR);
    for verdict in [Verdict::Misbehaved, Verdict::Good, Verdict::Misbehaved, Verdict::Good] {
        story.server.report(story.now, key(1).node_id(), verdict);
    }
    assert_eq!(story.outputs(), []);
    // Nor does a new session.
    story.close(wrong, BROKEN);
    let again = story.come_in(1).0;
    story.server.report(story.now, key(1).node_id(), Verdict::Misbehaved);
    assert_eq!(story.outputs(), [Output::Disconnect(again, DisconnectReason::SubprotocolError)]);
    assert_eq!(story.server.rule(useless), None);
}

#[test]
fn strikes_an_hour_apart_are_none_too_many_however_often_there_is_praise_between_them() {
    let mut story = Story::new(ServerConfig::default());
    let id = story.come_in(1).0;
    let report = |story: &mut Story, verdict| {
        story.server.report(story.now, key(1).node_id(), verdict);
        story.outputs()
    };
    for _ in 0..20 {
        assert_eq!(report(&mut story, Verdict::Misbehaved), []);
        for _ in 0..3 {
            story.wait(HOUR / 6);
            assert_eq!(report(&mut story, Verdict::Good), []);
        }
    }
    for _ in 0..2 {
        story.wait(HOUR / 6);
    }
    let goes = [Output::Disconnect(id, DisconnectReason::SubprotocolError)];
    assert_eq!(report(&mut story, Verdict::Misbehaved), []);
    assert_eq!(report(&mut story, Verdict::Misbehaved), goes);
}

#[test]
fn reports_of_any_number_of_nodes_are_kept_of_so_many() {
    let mut story = Story::new(ServerConfig::default());
    for number in 0..5_000 {
        story.server.report(story.now, key(number).node_id(), Verdict::Useless);
    }
    assert_eq!(story.server.record_count(), 4_096);
    story.wait(HOUR);
    assert_eq!(story.server.record_count(), 0);
}
