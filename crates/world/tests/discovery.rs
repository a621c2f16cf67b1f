//! Discovery over hundreds of nodes: lookups find the true nearest nodes, and loss or a parting of the network does no
//! lasting harm. A test that fails prints the command line that replays its run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{ops::ControlFlow, time::Duration};

use world::discovery::{DiscoveryReport, DiscoverySettings, run_discovery};

const MINUTE: Duration = Duration::from_secs(60);
/// The seeds of the plain scenario.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=10;
/// The seeds of those with faults, which take longer; ten in a thorough run.
const FAULT_SEEDS: std::ops::RangeInclusive<u64> = 1..=if cfg!(feature = "thorough") { 10 } else { 3 };

/// Runs a scenario twice a seed, on two threads: the traces are equal, and the claim holds.
fn holds_for(seeds: impl Iterator<Item = u64>, settings: &DiscoverySettings) -> Vec<DiscoveryReport> {
    let run = |seed| {
        let settings = DiscoverySettings { seed, ..settings.clone() };
        let run = || run_discovery(&settings, &mut |_| ControlFlow::Continue(()));
        let (first, second) = std::thread::scope(|scope| {
            let second = scope.spawn(run);
            (run(), second.join().unwrap())
        });
        let DiscoveryReport { right, lookups, found, slowest, datagrams, .. } = &first;
        let command = settings.command();
        println!(
            "{command}: {right} of {lookups} right, {found:.4} found, slowest {slowest:?}, {datagrams} datagrams"
        );
        assert_eq!(first.trace, second.trace, "two runs differ: {command}");
        assert_eq!(first, second, "two runs differ: {command}");
        assert!(first.holds, "only {right} of {lookups} lookups were right: {command}");
        assert_eq!(*lookups, settings.lookups);
        first
    };
    seeds.map(run).collect()
}

#[test]
fn u29_two_hundred_nodes_that_joined_by_one_find_the_nearest() {
    holds_for(SEEDS, &DiscoverySettings::default());
}

#[test]
fn u29_one_datagram_in_twenty_lost_does_no_harm() {
    holds_for(FAULT_SEEDS, &DiscoverySettings { loss: 0.05, ..DiscoverySettings::default() });
}

#[test]
fn a_parting_of_ten_minutes_does_no_lasting_harm() {
    let settings = DiscoverySettings {
        partition: Some(10 * MINUTE..20 * MINUTE),
        duration: 30 * MINUTE,
        ..DiscoverySettings::default()
    };
    holds_for(FAULT_SEEDS, &settings);
}

#[test]
fn nodes_that_come_and_go_do_no_lasting_harm() {
    holds_for(1..=1, &DiscoverySettings { churn: 2.0, ..DiscoverySettings::default() });
}

#[test]
fn a_node_that_joins_under_loss_is_no_stranger_after_a_minute() {
    let settings = DiscoverySettings {
        nodes: 100,
        loss: 0.1,
        churn: 3.0,
        duration: 20 * MINUTE,
        ..DiscoverySettings::default()
    };
    for report in holds_for(1..=1, &settings) {
        let poorest = report.samples.iter().skip(1).map(|sample| sample.live_min).min();
        assert!(poorest >= Some(16), "{poorest:?} live nodes in the poorest table");
        let joined: usize = report.samples.iter().map(|sample| sample.young).sum();
        assert!(joined > 50, "only {joined} nodes joined");
    }
}

#[test]
fn an_interrupted_run_says_so_and_keeps_what_it_has() {
    let settings = DiscoverySettings { nodes: 10, ..DiscoverySettings::default() };
    let mut samples = 0;
    let report = run_discovery(&settings, &mut |_| {
        samples += 1;
        if samples == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(report.interrupted && !report.holds);
    assert_eq!((report.samples.len(), report.lookups), (3, 0));
}
