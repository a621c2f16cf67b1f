//! The table by story, each rule in its own, and by chance against its invariants:
//! twenty seeds, three thousand calls each, every invariant after every call.

use std::{collections::BTreeSet, net::IpAddr};

use rand::{SeedableRng, rngs::ChaCha8Rng};

use super::*;
use crate::{
    config::{MAX_INBOUND_IN_BUCKET, MAX_NETWORK_IN_BUCKET, MAX_REPLACEMENTS},
    story,
};

fn table() -> Table {
    Table::new(story::key(0).node_id(), AddressPolicy::default())
}

/// Nodes of the farthest bucket, on loopback.
fn far(count: usize) -> Vec<NodeEntry> {
    let local = story::key(0).node_id();
    let nodes = (1..).map(|number| story::node(number, "127.0.0.1"));
    nodes.filter(|node| bucket_index(&local, &node.node_id) == Some(BUCKET_COUNT - 1)).take(count).collect()
}

fn entries(table: &Table) -> Vec<NodeId> {
    table.snapshot().buckets[BUCKET_COUNT - 1].entries.iter().map(|node| node.node_id).collect()
}

fn waiting(table: &Table) -> Vec<NodeId> {
    table.snapshot().buckets[BUCKET_COUNT - 1].replacements.iter().map(|node| node.node_id).collect()
}

fn ids(nodes: &[NodeEntry]) -> Vec<NodeId> {
    nodes.iter().map(|node| node.node_id).collect()
}

#[test]
fn buckets_are_by_distance_and_we_are_in_none() {
    let local = NodeId::from_bytes([0; 32]);
    for distance in 1..=256usize {
        let mut id = [0; 32];
        id[(256 - distance) / 8] = 1 << ((distance - 1) % 8);
        let index = bucket_index(&local, &NodeId::from_bytes(id)).unwrap();
        assert_eq!(index, distance.saturating_sub(240), "{distance}");
        assert!(index < BUCKET_COUNT);
    }
    assert_eq!(bucket_index(&local, &local), None);
    let mut table = table();
    let me = story::node(0, "127.0.0.1");
    table.found(story::start().instant, me.clone());
    table.proved(story::start().instant, me, false);
    assert!(table.snapshot().is_empty());
}

#[test]
fn a_node_heard_of_moves_to_the_tail() {
    let (mut table, now, nodes) = (table(), story::start(), far(4));
    for node in &nodes {
        table.proved(now.instant, node.clone(), false);
    }
    table.proved(now.instant, nodes[1].clone(), false);
    let from = nodes[0].endpoint.udp_addr().unwrap();
    assert!(table.heard(now.instant, &nodes[0].node_id, from, 9, None));
    assert_eq!(entries(&table), [2, 3, 1, 0].map(|index: usize| nodes[index].node_id));
    assert_eq!(table.node(&nodes[0].node_id).unwrap().endpoint.tcp, 9);
    assert!(!table.heard(now.instant, &nodes[0].node_id, "127.0.0.1:1".parse().unwrap(), 0, None));
}

#[test]
fn a_full_bucket_asks_its_head_and_a_silent_head_makes_room() {
    let (mut table, now, nodes) = (table(), story::start(), far(18));
    for node in &nodes[..16] {
        table.proved(now.instant, node.clone(), false);
    }
    let fresh = table.proved(now.instant, nodes[16].clone(), false);
    assert_eq!(fresh.challenge, None, "the head was heard of just now");
    let later = now.later(CHALLENGE_INTERVAL).instant;
    let offered = table.proved(later, nodes[17].clone(), false);
    assert_eq!(offered.challenge.map(|node| node.node_id), Some(nodes[0].node_id));
    assert_eq!(
        table.evict(&nodes[0].node_id),
        [Change::Removed(nodes[0].node_id), Change::Live(NodeEntry { live: true, ..nodes[17].clone() }),]
    );
    assert_eq!(entries(&table).last(), Some(&nodes[17].node_id), "the youngest that waited is the last seen");
    assert_eq!(waiting(&table), [nodes[16].node_id]);
}

#[test]
fn a_head_that_answers_keeps_its_place() {
    let (mut table, now, nodes) = (table(), story::start(), far(17));
    for node in &nodes[..16] {
        table.proved(now.instant, node.clone(), false);
    }
    let later = now.later(CHALLENGE_INTERVAL).instant;
    let head = table.proved(later, nodes[16].clone(), false).challenge.unwrap();
    assert_eq!(table.proved(later, nodes[16].clone(), false).challenge, None, "it is being asked");
    table.proved(later, head.clone(), false);
    assert_eq!(entries(&table), [ids(&nodes[1..16]), vec![head.node_id]].concat());
    assert_eq!(waiting(&table), [nodes[16].node_id]);
}

#[test]
fn u21_liveness_evicts_whatever_the_sequence_number() {
    let (mut table, now) = (table(), story::start());
    let key = story::key(5);
    let record = |seq| identity::EnrBuilder::new(seq).sign(&key).unwrap();
    let node = story::node(5, "127.0.0.1");
    table.proved(now.instant, node.clone(), false);
    assert!(table.set_record(&record(7)));
    assert!(!table.set_record(&record(7)) && !table.set_record(&record(6)));
    assert_eq!(table.node(&node.node_id).unwrap().enr.as_ref().unwrap().seq(), 7);
    assert!(table.set_record(&record(u64::MAX)));
    assert!(!table.set_record(&record(8)));
    assert_eq!(table.silent(&node.node_id), [Change::Removed(node.node_id)]);
    table.proved(now.instant, node.clone(), false);
    assert!(table.set_record(&record(8)), "nothing of it is left behind");
}

#[test]
fn a_node_with_many_checks_survives_a_silence() {
    let (mut table, now, node) = (table(), story::start(), story::node(5, "127.0.0.1"));
    for _ in 0..9 {
        table.proved(now.instant, node.clone(), false);
    }
    assert_eq!((table.silent(&node.node_id), table.silent(&node.node_id)), (vec![], vec![]));
    assert_eq!(table.silent(&node.node_id), [Change::Removed(node.node_id)]);
}

#[test]
fn t07_a_node_that_left_meanwhile_is_no_trouble() {
    let (mut table, now, node) = (table(), story::start(), story::node(5, "127.0.0.1"));
    table.found(now.instant, node.clone());
    let checked = table.take_unverified(&mut ChaCha8Rng::seed_from_u64(1)).unwrap();
    assert_eq!(table.evict(&checked.node_id).len(), 1);
    for _ in 0..2 {
        assert_eq!(table.silent(&node.node_id), []);
        assert_eq!(table.evict(&node.node_id), []);
        assert_eq!(table.find_failed(&node.node_id), []);
        table.unchecked(&node.node_id);
    }
    assert!(table.snapshot().is_empty());
}

#[test]
fn find_node_failures_remove_a_node_unless_its_bucket_has_few() {
    let (mut table, now, nodes) = (table(), story::start(), far(4));
    let fail = |table: &mut Table| (0..6).flat_map(|_| table.find_failed(&nodes[0].node_id)).count();
    for node in &nodes[..3] {
        table.found(now.instant, node.clone());
    }
    assert_eq!(fail(&mut table), 0);
    table.found(now.instant, nodes[3].clone());
    table.find_answered(&nodes[0].node_id);
    assert_eq!((0..4).flat_map(|_| table.find_failed(&nodes[0].node_id)).count(), 0);
    assert_eq!(table.find_failed(&nodes[0].node_id), [Change::Removed(nodes[0].node_id)]);
}

#[test]
fn t01_a_network_has_two_nodes_in_a_bucket_and_ten_in_the_table() {
    let (mut table, now) = (table(), story::start());
    let mut limited = 0;
    for number in 1..20_000 {
        let node = story::node(number, &format!("8.8.8.{}", number % 256));
        limited += usize::from(table.proved(now.instant, node, false).limited);
    }
    let snapshot = table.snapshot();
    for bucket in &snapshot.buckets {
        assert!(bucket.entries.len() + bucket.replacements.len() <= usize::from(MAX_NETWORK_IN_BUCKET));
    }
    assert_eq!(snapshot.len(), usize::from(MAX_NETWORK_IN_TABLE));
    assert_eq!(limited, 19_999 - 10);
    let evicted = snapshot.nodes().next().unwrap().node_id;
    table.evict(&evicted);
    assert_eq!(table.networks.counts().values().sum::<u16>(), 9);
}

#[test]
fn t01_loopback_is_exempt_unless_it_counts_as_public() {
    for (loopback_is_public, expected) in [(false, 16), (true, 2)] {
        let mut table = Table::new(story::key(0).node_id(), AddressPolicy { loopback_is_public });
        for node in far(40) {
            table.proved(story::start().instant, node, false);
        }
        assert_eq!(entries(&table).len(), expected);
    }
}

#[test]
fn t04_nodes_that_pinged_us_fill_half_a_bucket() {
    let (mut table, now, nodes) = (table(), story::start(), far(60));
    for node in &nodes[..20] {
        table.proved(now.instant, node.clone(), true);
    }
    assert_eq!(entries(&table), ids(&nodes[..MAX_INBOUND_IN_BUCKET]));
    assert_eq!(waiting(&table), ids(&nodes[10..20]));
    for node in &nodes[20..28] {
        table.proved(now.instant, node.clone(), false);
    }
    let later = now.later(CHALLENGE_INTERVAL * 2).instant;
    for node in &nodes[28..60] {
        table.proved(later, node.clone(), true);
    }
    let kept: BTreeSet<_> = entries(&table).into_iter().collect();
    assert!(ids(&nodes[20..28]).iter().all(|id| kept.contains(id)), "nodes we found stay");
}

#[test]
fn t04_a_node_that_others_name_too_is_no_longer_inbound() {
    let (mut table, now, nodes) = (table(), story::start(), far(10));
    for node in &nodes {
        table.proved(now.instant, node.clone(), true);
    }
    assert_eq!(waiting(&table).len(), 2);
    let offered = table.found(now.instant, nodes[9].clone());
    assert_eq!(offered.change, Some(Change::Live(NodeEntry { live: true, ..nodes[9].clone() })));
    assert_eq!((entries(&table).len(), waiting(&table)), (9, vec![nodes[8].node_id]));
}

#[test]
fn t08_what_others_say_of_a_known_node_is_ignored() {
    let (mut table, now) = (table(), story::start());
    table.proved(now.instant, story::node(5, "8.8.8.8"), false);
    let before = table.clone();
    table.found(now.instant, story::node(5, "9.9.9.9"));
    assert_eq!(table, before);
}

#[test]
fn u30_a_proven_new_endpoint_moves_the_one_entry() {
    let (mut table, now) = (table(), story::start());
    table.proved(now.instant, story::node(5, "8.8.8.8"), false);
    table.proved(now.instant, story::node(5, "9.9.9.9"), false);
    let nodes: Vec<_> = table.nodes().map(|node| node.endpoint.ip).collect();
    assert_eq!(nodes, [IpAddr::from([9, 9, 9, 9])]);
    assert_eq!(table.networks.counts().len(), 1);
}

#[test]
fn u30_a_move_into_a_full_network_is_refused_and_changes_nothing() {
    let (mut table, now, nodes) = (table(), story::start(), far(3));
    let at = |node: &NodeEntry, ip: &str| {
        NodeEntry::new(node.public_key, Endpoint { ip: ip.parse().unwrap(), ..node.endpoint })
    };
    table.proved(now.instant, at(&nodes[0], "8.8.8.1"), false);
    table.proved(now.instant, at(&nodes[1], "8.8.8.2"), false);
    table.proved(now.instant, at(&nodes[2], "9.9.9.9"), false);
    let before = table.clone();
    assert!(table.proved(now.instant, at(&nodes[2], "8.8.8.3"), false).limited);
    assert_eq!(table, before);
}

#[test]
fn the_record_gives_the_tcp_port_of_the_endpoint_it_is_about() {
    let (mut table, now) = (table(), story::start());
    let mut node = story::node(5, "127.0.0.1");
    node.endpoint.tcp = 0;
    table.proved(now.instant, node.clone(), false);
    let elsewhere = Endpoint { ip: [8, 8, 8, 8].into(), udp: 1, tcp: 2 };
    assert!(
        table.set_record(&identity::EnrBuilder::new(1).endpoint(elsewhere).sign(&story::key(5)).unwrap())
    );
    assert_eq!(table.node(&node.node_id).unwrap().endpoint, node.endpoint);
    let here = Endpoint { tcp: 77, ..node.endpoint };
    assert!(table.set_record(&identity::EnrBuilder::new(2).endpoint(here).sign(&story::key(5)).unwrap()));
    assert_eq!(table.node(&node.node_id).unwrap().endpoint, here);
}

#[test]
fn a_record_is_asked_for_once_a_minute_and_only_when_newer() {
    let (mut table, now) = (table(), story::start());
    let node = story::node(5, "127.0.0.1");
    table.proved(now.instant, node.clone(), false);
    assert_eq!(table.take_record_turn(now.instant, &node.node_id), None, "it says of none");
    table.proved(now.instant, NodeEntry { enr_seq: Some(3), ..node.clone() }, false);
    assert!(table.take_record_turn(now.instant, &node.node_id).is_some());
    assert!(table.take_record_turn(now.later(RECORD_INTERVAL / 2).instant, &node.node_id).is_none());
    assert!(table.take_record_turn(now.later(RECORD_INTERVAL).instant, &node.node_id).is_some());
    table.set_record(&identity::EnrBuilder::new(3).sign(&story::key(5)).unwrap());
    assert!(table.take_record_turn(now.later(RECORD_INTERVAL * 3).instant, &node.node_id).is_none());
}

#[test]
fn the_closest_are_the_closest_of_all() {
    let (mut table, now) = (table(), story::start());
    for number in 1..300 {
        table.found(now.instant, story::node(number, "127.0.0.1"));
    }
    for target in 1000..1020 {
        let target = story::key(target).node_id();
        let mut all: Vec<_> = table.nodes().map(|node| node.node_id).collect();
        all.sort_by_key(|id| target.distance(id));
        let closest: Vec<_> = table.closest(&target, 16, |_| true).iter().map(|node| node.node_id).collect();
        assert_eq!(closest, all[..16]);
        assert!(table.closest(&target, 16, |node| node.live).is_empty());
    }
}

fn assert_invariants(table: &Table) {
    let mut seen = BTreeSet::new();
    let mut networks = std::collections::BTreeMap::new();
    for (index, bucket) in table.buckets.iter().enumerate() {
        assert!(bucket.entries.len() <= BUCKET_SIZE && bucket.replacements.len() <= MAX_REPLACEMENTS);
        let inbound = bucket.entries.iter().filter(|slot| slot.inbound).count();
        assert!(inbound <= MAX_INBOUND_IN_BUCKET, "{inbound}");
        let mut in_bucket = std::collections::BTreeMap::new();
        for slot in bucket.entries.iter().chain(&bucket.replacements) {
            assert!(seen.insert(slot.node.node_id), "twice in the table");
            assert_eq!(bucket_index(&table.local, &slot.node.node_id), Some(index));
            if let Some(of) = Networks::of(table.policy, slot.node.endpoint.ip) {
                *in_bucket.entry(of.bucket).or_insert(0) += 1;
                *networks.entry(of.table).or_insert(0) += 1;
            }
        }
        assert_eq!(&in_bucket, bucket.networks.counts());
        assert!(in_bucket.values().all(|count| *count <= MAX_NETWORK_IN_BUCKET));
        let live: Vec<_> =
            bucket.entries.iter().filter(|slot| slot.node.live).map(|slot| slot.seen_at).collect();
        assert!(live.is_sorted(), "least recently seen first");
    }
    assert_eq!(&networks, table.networks.counts());
    assert!(networks.values().all(|count| *count <= MAX_NETWORK_IN_TABLE));
}

#[test]
fn no_order_of_calls_breaks_the_invariants() {
    for seed in 0..20 {
        let (mut rng, mut table, mut now) = (ChaCha8Rng::seed_from_u64(seed), table(), story::start());
        for _ in 0..3000 {
            now = now.later(Duration::from_millis(rng.random_range(0..2000)));
            let ip = format!("8.8.{}.{}", rng.random_range(0..40), rng.random_range(0..256));
            let node = story::node(rng.random_range(0..400), &ip);
            match rng.random_range(0..12) {
                0..4 => drop(table.found(now.instant, node)),
                4..6 => drop(table.proved(now.instant, node, true)),
                6..8 => drop(table.proved(now.instant, node, false)),
                8 => drop(table.silent(&node.node_id)),
                9 => drop(table.evict(&node.node_id)),
                10 => drop(table.take_unverified(&mut rng)),
                _ => drop(table.take_least_recent(&mut rng)),
            }
            assert_invariants(&table);
        }
        assert!(table.snapshot().len() > 20);
    }
}
