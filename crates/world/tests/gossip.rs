//! Whole nodes that find each other by discovery and gossip until all have all: under loss, broken connections, restarts
//! and partings. A test that fails prints the command line that replays its run.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{ops::ControlFlow, sync::Arc, time::Duration};

use eth_wire::{EthVersion, MemoryPool};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use rlpx::ServerConfig;
use simnet::Link;
use world::{
    gossip::{GossipReport, GossipSettings, run_gossip},
    node::{CHAIN_ID, Nodes},
};

/// The seeds of each scenario.
const SEEDS: std::ops::RangeInclusive<u64> = 1..=if cfg!(feature = "thorough") { 20 } else { 3 };

/// Pairs of nodes that dial each other.
const DIALS: u64 = if cfg!(feature = "thorough") { 10_000 } else { 300 };

/// Runs a scenario twice a seed, on two threads: the traces are equal, and all have all in the end.
fn holds_for(seeds: impl Iterator<Item = u64>, settings: &GossipSettings) -> Vec<GossipReport> {
    let run = |seed| {
        let settings = GossipSettings { seed, ..settings.clone() };
        let run = || run_gossip(&settings, &mut |_| ControlFlow::Continue(()));
        let (first, second) = std::thread::scope(|scope| {
            let second = scope.spawn(run);
            (run(), second.join().unwrap())
        });
        let (command, last) = (settings.command(), *first.samples.last().unwrap());
        println!("{command}: settled {:?}, {:?}, {last:?}", first.settled, first.faults);
        assert_eq!(first.trace, second.trace, "two runs differ: {command}");
        assert_eq!(first, second, "two runs differ: {command}");
        assert_eq!(first.accusations, [""; 0], "an honest node was accused: {command}");
        assert!(first.holds, "not all have all: {command}\n{last:?}");
        assert_eq!((last.submitted, last.everywhere), (settings.transactions, settings.transactions));
        first
    };
    seeds.map(run).collect()
}

#[test]
fn twenty_nodes_gossip_a_thousand_transactions_under_loss_and_faults() {
    let reports = holds_for(SEEDS, &GossipSettings::default());
    for report in reports {
        let faults = report.faults;
        assert!(faults.breaks >= 2 && faults.restarts >= 2 && faults.partings >= 1, "{faults:?}");
    }
}

#[test]
fn blocks_reach_all_under_loss_and_faults() {
    let settings = GossipSettings { transactions: 100, blocks: 30, ..GossipSettings::default() };
    for report in holds_for(SEEDS, &settings) {
        let last = report.samples.last().unwrap();
        assert_eq!((last.height, last.heads), (30, 20));
    }
}

#[test]
fn without_faults_all_have_all_within_seconds() {
    let settings = GossipSettings { loss: 0.0, churn: 0.0, ..GossipSettings::default() };
    for report in holds_for(1..=1, &settings) {
        // The first are handed in while nodes still look for each other; the rest take two hops and a fetch.
        let steady = report.samples[3..].iter().filter_map(|sample| sample.propagation);
        let slowest = steady.map(|times| times.max).max().unwrap();
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
        assert!(
            report.settled.unwrap() <= settings.duration + Duration::from_secs(2),
            "{:?}",
            report.settled
        );
    }
}

#[test]
fn an_interrupted_run_says_so_and_keeps_what_it_has() {
    let settings = GossipSettings { nodes: 3, transactions: 10, ..GossipSettings::default() };
    let mut samples = 0;
    let report = run_gossip(&settings, &mut |_| {
        samples += 1;
        if samples == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(report.interrupted && !report.holds && report.settled.is_none());
    assert_eq!((report.samples.len(), report.samples[2].at), (3, Duration::from_secs(30)));
}

/// Two nodes a way of up to `delay` apart that dial each other at once: how many peers each has after so many seconds, how
/// many connections there were at the beginning, and the trace.
fn crossing_dials(seed: u64, delay: Duration, after: [u64; 3]) -> ([[usize; 2]; 3], usize, String) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut nodes = Nodes::new(seed, EthVersion::ALL.to_vec(), ServerConfig::default());
    nodes.net.set_link(Link { delay: Duration::from_millis(1)..delay, ..Link::default() });
    for index in 0..2 {
        nodes.add(Vec::new());
        nodes.start(index, Arc::new(MemoryPool::new(CHAIN_ID)));
    }
    let (first, between) = (rng.random_range(0..2), 3 * delay.mul_f64(rng.random_range(0.0..1.0)));
    for (index, wait) in [(first, between), (1 - first, Duration::ZERO)] {
        let enode = nodes.enode(1 - index);
        nodes.with(index, |node, net| node.add_static(net, enode)).unwrap().unwrap();
        nodes.run(wait);
    }
    let connections = nodes.running().map(|(_, node)| node.server().connection_count()).max().unwrap();
    let counts = after.map(|seconds| {
        nodes.run(Duration::from_secs(seconds).saturating_sub(nodes.net.elapsed()));
        [0, 1].map(|index| nodes.node(index).unwrap().eth().peer_infos().len())
    });
    (counts, connections, nodes.net.trace().to_string())
}

fn end_in_one_session(delay: Duration, after: [u64; 3]) {
    let mut raced = 0;
    for seed in 0..DIALS {
        let (counts, connections, trace) = crossing_dials(seed, delay, after);
        assert_eq!(counts, [[1, 1]; 3], "seed {seed}");
        raced += u64::from(connections > 1);
        if seed % 20 == 0 {
            assert_eq!(trace, crossing_dials(seed, delay, after).2, "seed {seed}");
        }
    }
    println!("{DIALS} pairs (thorough: 10000), {raced} races");
    // They are worth something only if the dials do cross.
    assert!(raced > DIALS / 4, "only {raced} races");
}

#[test]
fn h16_whole_nodes_that_dial_each_other_at_once_end_in_one_session() {
    end_in_one_session(Duration::from_millis(40), [2, 30, 120]);
}

#[test]
fn h16_whole_nodes_far_apart_that_dial_each_other_at_once_end_in_one_session() {
    end_in_one_session(Duration::from_millis(600), [15, 60, 180]);
}

/// What becomes of the session between a node that keeps another as its static peer, and that one. The simulated network
/// resets a stream of a host that was down as soon as something passes again; silence without end is tested in rlpx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// Nothing passes between them for a while.
    Silence,
    /// The other starts anew, with the same key.
    OtherRestarts,
    /// The keeper does: what it dials holds a session with it that is dead.
    KeeperRestarts,
}

/// How many peers each has 45 s after the loss and four minutes later, and the trace.
fn after_loss(seed: u64, loss: Loss) -> ([[usize; 2]; 2], String) {
    const REPLACED: Duration = Duration::from_secs(45);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut nodes = Nodes::new(seed, EthVersion::ALL.to_vec(), ServerConfig::default());
    let pool = || Arc::new(MemoryPool::new(CHAIN_ID));
    let keep = |nodes: &mut Nodes| {
        let enode = nodes.enode(1);
        nodes.with(0, |node, net| node.add_static(net, enode)).unwrap().unwrap();
    };
    let part = |nodes: &mut Nodes| {
        let host = nodes.host(0);
        nodes.net.partition(|other| u32::from(other == host));
    };
    for index in 0..2 {
        nodes.add(Vec::new());
        nodes.start(index, pool());
    }
    keep(&mut nodes);
    let peers = |nodes: &Nodes| [0, 1].map(|index| nodes.node(index).unwrap().eth().peer_infos().len());
    nodes.run(Duration::from_millis(rng.random_range(5_000..40_000)));
    while peers(&nodes) != [1, 1] {
        nodes.run(Duration::from_secs(1));
        assert!(nodes.net.elapsed() < Duration::from_secs(300), "seed {seed}");
    }
    // The way is whole again before the loss is noticed, so that no dial in vain makes the next one late.
    let away = Duration::from_millis(rng.random_range(1..10_000));
    match loss {
        Loss::Silence => {
            part(&mut nodes);
            nodes.run(away);
        }
        Loss::OtherRestarts | Loss::KeeperRestarts => {
            // As when the power fails: nobody is told that the streams are gone.
            let index = usize::from(loss == Loss::OtherRestarts);
            part(&mut nodes);
            nodes.stop(index);
            nodes.run(away);
            nodes.start(index, pool());
            if loss == Loss::KeeperRestarts {
                keep(&mut nodes);
            }
        }
    }
    nodes.net.heal();
    // A keeper that was away cannot dial: its time begins when it is back.
    let passed = if loss == Loss::KeeperRestarts { Duration::ZERO } else { away };
    nodes.run(REPLACED.saturating_sub(passed));
    let in_time = peers(&nodes);
    nodes.run(Duration::from_secs(240));
    ([in_time, peers(&nodes)], nodes.net.trace().to_string())
}

#[test]
fn h17_a_session_that_died_in_silence_or_with_its_node_is_replaced_within_45_s() {
    for loss in [Loss::Silence, Loss::OtherRestarts, Loss::KeeperRestarts] {
        let mut late = 0;
        for seed in 0..DIALS {
            let ([in_time, in_the_end], trace) = after_loss(seed, loss);
            assert_eq!(in_the_end, [1, 1], "{loss:?}, seed {seed}");
            late += u64::from(in_time != [1, 1]);
            if seed % 20 == 0 {
                assert_eq!(trace, after_loss(seed, loss).1, "{loss:?}, seed {seed}");
            }
        }
        println!("{loss:?}: {DIALS} seeds (thorough: 10000), {late} late");
        // The simulated curve has 64 ephemeral keys: one handshake in as many fails because both ends drew the same, and
        // its host may come again after 30 s.
        assert!(late <= DIALS / 30, "{loss:?}: {late} of {DIALS} late");
    }
}
