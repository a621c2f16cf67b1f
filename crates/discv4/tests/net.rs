//! Many machines on a simulated network: they join, find each other, and go on when some die.
//! All from one seed; a history can be had again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod stage;

use std::{collections::BTreeSet, time::Duration};

use discv4::Event;
use identity::{NodeId, PublicKey};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use stage::{net::Net, public};

/// Nodes of the simulated networks; the largest number that keeps a test at a few seconds.
const NODE_COUNT: u16 = 40;

/// A network whose nodes know the first one, and join one after the other.
fn joined(seed: u64, count: u16, loss_percent: u32) -> Net {
    let mut net = Net::new(seed);
    net.loss_percent = loss_percent;
    net.add(public(0), vec![]);
    let bootnode = net.hosts[0].entry();
    for number in 1..count {
        net.add(public(number), vec![bootnode.clone()]);
        net.run(Duration::from_millis(100));
    }
    net.run(Duration::from_secs(30));
    net
}

fn target(rng: &mut ChaCha8Rng) -> PublicKey {
    let mut bytes = [0; 64];
    rng.fill(&mut bytes[..]);
    PublicKey::from_bytes(bytes)
}

/// Of the nodes nearest to the target, how many a lookup found.
fn hits(net: &mut Net, from: usize, target: PublicKey) -> usize {
    let (found, took) = net.lookup(from, target);
    assert!(took <= Duration::from_secs(10), "{took:?}");
    let own = net.hosts[from].key.node_id();
    let nearest = net.nearest(&target).into_iter().filter(|id| *id != own).take(16);
    let nearest: BTreeSet<NodeId> = nearest.collect();
    found.iter().filter(|node| nearest.contains(&node.node_id)).count()
}

#[test]
fn nodes_join_through_a_bootnode_and_fill_their_tables() {
    let net = joined(1, NODE_COUNT, 0);
    for host in &net.hosts {
        let table = host.machine.table();
        assert!(table.live_count() >= 16, "{} of {}", table.live_count(), table.len());
        assert!(
            table.nodes().filter(|node| node.live).all(|node| node.enr.is_some()),
            "each live node gave its record"
        );
    }
    // Nobody is unknown: each node is live in somebody's table.
    let known: BTreeSet<NodeId> = net
        .hosts
        .iter()
        .flat_map(|host| {
            host.machine.table().nodes().filter(|node| node.live).map(|node| node.node_id).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(known.len(), usize::from(NODE_COUNT));
}

#[test]
fn u29_lookups_find_the_nearest_nodes() {
    let (mut net, mut rng) = (joined(2, NODE_COUNT, 0), ChaCha8Rng::seed_from_u64(2));
    for _ in 0..20 {
        let (from, target) = (rng.random_range(0..net.hosts.len()), target(&mut rng));
        let hits = hits(&mut net, from, target);
        assert!(hits >= 15, "{hits}");
    }
}

#[test]
fn u29_lookups_bear_loss() {
    for (loss_percent, least) in [(1, 99), (10, 95), (20, 85)] {
        let (mut net, mut rng) = (joined(3, 30, loss_percent), ChaCha8Rng::seed_from_u64(3));
        let mut succeeded = 0;
        for _ in 0..100 {
            let (from, target) = (rng.random_range(0..net.hosts.len()), target(&mut rng));
            let (found, _) = net.lookup(from, target);
            let own = net.hosts[from].key.node_id();
            let nearest: Vec<_> = net.nearest(&target).into_iter().filter(|id| *id != own).take(3).collect();
            let hit = found.iter().take(6).any(|node| nearest.contains(&node.node_id));
            succeeded += usize::from(hit && found.len() >= 8);
        }
        assert!(succeeded >= least, "{succeeded} of 100 at {loss_percent} %");
    }
}

#[test]
fn t10_the_dead_leave_the_tables_and_lookups_go_on() {
    let (mut net, mut rng) = (joined(4, NODE_COUNT, 0), ChaCha8Rng::seed_from_u64(4));
    let dead: BTreeSet<usize> = (1..usize::from(NODE_COUNT)).filter(|index| index % 3 == 0).collect();
    dead.iter().for_each(|index| net.stop(*index));
    let dead_ids: BTreeSet<NodeId> = dead.iter().map(|index| net.hosts[*index].key.node_id()).collect();
    for _ in 0..5 {
        let (found, _) = net.lookup(1, target(&mut rng));
        assert!(
            found.iter().all(|node| !dead_ids.contains(&node.node_id)),
            "only nodes that answered are given"
        );
    }
    net.run(Duration::from_secs(600));
    let (mut held, mut held_dead) = (0, 0);
    for (_, host) in net.hosts.iter().enumerate().filter(|(index, _)| !dead.contains(index)) {
        for node in host.machine.table().nodes().filter(|node| node.live) {
            held += 1;
            held_dead += usize::from(dead_ids.contains(&node.node_id));
        }
    }
    assert!(held_dead * 5 <= held, "{held_dead} of {held}");
    let hits = hits(&mut net, 1, target(&mut rng));
    assert!(hits >= 14, "{hits}");
}

#[test]
fn t09_dead_bootnodes_are_asked_every_ten_seconds() {
    let mut net = Net::new(5);
    let dead = stage::Stranger { key: stage::key(500), addr: public(500) };
    let index = net.add(public(1), vec![dead.entry()]);
    net.act(index, |host| host.machine.want_candidates(host.now));
    net.run(Duration::from_secs(100));
    assert!((5..=22).contains(&net.datagram_count), "{}", net.datagram_count);
    // It comes to life: the node joins within one pause.
    let mut revived = stage::Host::new(500, &dead.addr.to_string(), discv4::Config::default());
    assert_eq!(revived.entry(), dead.entry());
    revived.tick();
    net.revive(revived);
    net.run(Duration::from_secs(11));
    assert_eq!(net.hosts[index].machine.table().live_count(), 1);
}

#[test]
fn candidates_come_with_their_records_a_second_apart() {
    let mut net = joined(6, 20, 0);
    let begun = net.now;
    for round in 1..=5 {
        net.hosts[3].events.clear();
        net.act(3, |host| host.machine.want_candidates(host.now));
        net.run_until(Duration::from_secs(5), |net| net.hosts[3].events.contains(&Event::CandidatesFinished));
        let candidates: Vec<_> = net.hosts[3]
            .events
            .iter()
            .filter_map(|event| if let Event::Candidate(node) = event { Some(node.clone()) } else { None })
            .collect();
        assert!(candidates.len() >= 12, "round {round}: {}", candidates.len());
        assert!(candidates.iter().all(|node| node.enr.is_some()));
    }
    let took = net.now.instant.saturating_duration_since(begun.instant);
    assert!(took >= Duration::from_secs(4), "{took:?}");
}

#[test]
fn a_lookup_is_a_matter_of_round_trips() {
    let (mut net, mut rng) = (joined(7, NODE_COUNT, 0), ChaCha8Rng::seed_from_u64(7));
    let mut total = Duration::ZERO;
    for _ in 0..20 {
        let target = target(&mut rng);
        total += net.lookup(5, target).1;
    }
    // Round trips take 10 to 80 ms here; with a fixed wait of 500 ms a node, a lookup would take 3 s and more.
    assert!(total / 20 <= Duration::from_millis(1200), "{:?}", total / 20);
}

#[test]
fn one_seed_gives_one_history() {
    let history = |seed| {
        let net = joined(seed, 12, 5);
        let tables = net.hosts.iter().map(|host| host.machine.table());
        // The signatures of records hold chance of their own, so the records are left out.
        let known: Vec<Vec<_>> = tables
            .map(|table| table.nodes().map(|node| (node.node_id, node.live, node.enr_seq)).collect())
            .collect();
        (net.datagram_count, known)
    };
    let first = history(8);
    assert_eq!(first, history(8));
    assert_ne!(first.0, history(9).0);
}
