//! The scenario of discovery: nodes join through one bootnode, live through loss, churn and a parting of the network, and
//! in the end find the true nearest nodes of random targets.

use std::{
    ops::{ControlFlow, Range},
    time::Duration,
};

use rand::seq::SliceRandom;
use serde::Serialize;
use simnet::Link;

use super::{Discoveries, Found};

/// Between two nodes that join.
const JOIN_INTERVAL: Duration = Duration::from_millis(50);
/// Between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);
/// So long after it has joined a node's table is no longer expected to be poor. Under a loss of 10 % one in 20 takes
/// more than 15 s, the slowest of hundreds took 40 s.
const YOUTH: Duration = Duration::from_secs(60);
/// Lookups that are made for each sample.
const PROBES: usize = 10;
/// From the end of all faults to the lookups that count: what was lost is asked for again by then.
const RECOVERY: Duration = Duration::from_secs(60);
/// Between two lookups at the end.
const LOOKUP_INTERVAL: Duration = Duration::from_millis(100);
/// What a lookup may take, and more than it does.
const LOOKUP_TIME: Duration = Duration::from_secs(11);
/// How many nodes nearest to a target count.
const NEAREST: usize = 16;
/// How many of them a lookup must find to be right.
const RIGHT: usize = 15;
/// The share of lookups that must be right.
const CLAIM: f64 = 0.99;
const SECONDS_AN_HOUR: f64 = 3_600.0;

/// What happens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DiscoverySettings {
    /// How many nodes, the bootnode among them. Default: 200.
    pub nodes: usize,
    /// The share of datagrams that is lost, 0 to 1, until the lookups that count. Default: 0.
    pub loss: f64,
    /// The share of the nodes that is replaced by others in an hour. Default: 0.
    pub churn: f64,
    /// Decides on all that is left to chance. Default: 1.
    pub seed: u64,
    /// Virtual time of joining, faults and samples; the lookups that count come a minute later. Default: 10 minutes.
    #[serde(rename = "duration_s", serialize_with = "crate::seconds::one")]
    pub duration: Duration,
    /// From when until when one half of the nodes does not reach the other. Default: never.
    #[serde(rename = "partition_s", serialize_with = "crate::seconds::range")]
    pub partition: Option<Range<Duration>>,
    /// Lookups that count. Default: 200.
    pub lookups: usize,
}

impl Default for DiscoverySettings {
    fn default() -> Self {
        Self {
            nodes: 200,
            loss: 0.0,
            churn: 0.0,
            seed: 1,
            duration: Duration::from_secs(600),
            partition: None,
            lookups: 200,
        }
    }
}

/// The network at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DiscoverySample {
    /// Virtual time since the beginning.
    #[serde(rename = "at_s", serialize_with = "crate::seconds::one")]
    pub at: Duration,
    /// Nodes that run.
    pub running: usize,
    /// Those of them that joined within the last minute: their tables are still filling, and do not count below.
    pub young: usize,
    /// Live nodes in a node's table, on average.
    pub live_mean: f64,
    /// Live nodes in the poorest table.
    pub live_min: usize,
    /// Lookups made for this sample ...
    pub probes: usize,
    /// ... and how many of them found the true nearest nodes.
    pub probes_right: usize,
    /// Datagrams delivered so far.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What it came to. Equal for equal settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DiscoveryReport {
    /// What was asked for.
    pub settings: DiscoverySettings,
    /// A sample a minute.
    pub samples: Vec<DiscoverySample>,
    /// Lookups that counted ...
    pub lookups: usize,
    /// ... how many found at least 15 of the true 16 nearest running nodes (of all, when there are fewer) ...
    pub right: usize,
    /// ... the share of the true nearest that they found ...
    pub found: f64,
    /// ... and how long the slowest took.
    #[serde(rename = "slowest_s", serialize_with = "crate::seconds::one")]
    pub slowest: Duration,
    /// Whether at least 99 % were right.
    pub holds: bool,
    /// Whether somebody ended the run early.
    pub interrupted: bool,
    /// Datagrams delivered.
    pub datagrams: u64,
    /// Their bytes.
    pub bytes: u64,
    /// A hash over every delivered byte with its time, hex.
    pub trace: String,
}

/// Runs the scenario. `progress` is called with each sample, and ends the run early by `Break`.
pub fn run_discovery(
    settings: &DiscoverySettings,
    progress: &mut dyn FnMut(&DiscoverySample) -> ControlFlow<()>,
) -> DiscoveryReport {
    let mut run = Run::new(settings);
    let interrupted = run.live(progress).is_break();
    if !interrupted {
        run.calm();
        for _ in 0..settings.lookups {
            run.world.random_lookup();
            run.pass(LOOKUP_INTERVAL);
        }
        run.pass(LOOKUP_TIME);
    }
    run.report(interrupted)
}

struct Run<'a> {
    settings: &'a DiscoverySettings,
    world: Discoveries,
    elapsed: Duration,
    joined: usize,
    /// Nodes that are to be replaced, with the part of one that is left over.
    leaving: f64,
    samples: Vec<DiscoverySample>,
}

impl<'a> Run<'a> {
    fn new(settings: &'a DiscoverySettings) -> Self {
        let mut world = Discoveries::new(settings.seed);
        world.net.set_link(Link { loss: settings.loss, ..Link::default() });
        world.add(Vec::new());
        Self { settings, world, elapsed: Duration::ZERO, joined: 1, leaving: 0.0, samples: Vec::new() }
    }

    /// Everything until the lookups that count.
    fn live(&mut self, progress: &mut dyn FnMut(&DiscoverySample) -> ControlFlow<()>) -> ControlFlow<()> {
        while self.elapsed < self.settings.duration {
            let next = self.elapsed.saturating_add(SAMPLE_INTERVAL).min(self.settings.duration);
            self.world.lookups_ended();
            // Probes of a network that is still joining say nothing.
            let probes = if self.joined < self.settings.nodes { 0 } else { PROBES };
            (0..probes).for_each(|_| self.world.random_lookup());
            while self.elapsed < next {
                self.join();
                self.pass(JOIN_INTERVAL.min(next.saturating_sub(self.elapsed)));
                self.replace(JOIN_INTERVAL);
            }
            let sample = self.sample(probes);
            self.samples.push(sample);
            progress(&sample)?;
        }
        ControlFlow::Continue(())
    }

    /// Ends all faults: what counts is that they did no lasting harm.
    fn calm(&mut self) {
        self.world.net.set_link(Link::default());
        self.world.net.heal();
        self.pass(RECOVERY);
        // Of probes that were under way.
        self.world.lookups_ended();
    }

    fn join(&mut self) {
        if self.joined < self.settings.nodes {
            self.joined += 1;
            let bootnode = self.world.entry(0);
            self.world.add(vec![bootnode]);
        }
    }

    /// Lets time pass, and the network part and heal when it is to.
    fn pass(&mut self, time: Duration) {
        let end = self.elapsed.saturating_add(time);
        if let Some(partition) = &self.settings.partition {
            if (self.elapsed..end).contains(&partition.start) {
                self.world.net.partition(|host| host.0 % 2);
            }
            if (self.elapsed..end).contains(&partition.end) {
                self.world.net.heal();
            }
        }
        self.world.run(time);
        self.elapsed = end;
    }

    /// Replaces nodes, never the bootnode, as often as `churn` says.
    fn replace(&mut self, time: Duration) {
        if self.joined < self.settings.nodes {
            return;
        }
        let an_hour = self.settings.churn * self.settings.nodes as f64;
        self.leaving += an_hour * time.as_secs_f64() / SECONDS_AN_HOUR;
        while self.leaving >= 1.0 {
            self.leaving -= 1.0;
            let mut running = self.world.running();
            running.retain(|index| *index != 0);
            let (leaver, _) = running.partial_shuffle(&mut self.world.rng, 1);
            let [leaver] = leaver else { return };
            self.world.stop(*leaver);
            let bootnode = self.world.entry(0);
            self.world.add(vec![bootnode]);
        }
    }

    fn sample(&mut self, probes: usize) -> DiscoverySample {
        let running = self.world.running();
        let grown = running.iter().filter(|index| self.world.age(**index) >= YOUTH);
        let live: Vec<usize> = grown.map(|index| self.world.live_count(*index)).collect();
        let ended = self.world.lookups_ended();
        let trace = self.world.net.trace();
        DiscoverySample {
            at: self.elapsed,
            running: running.len(),
            young: running.len() - live.len(),
            live_mean: live.iter().sum::<usize>() as f64 / live.len().max(1) as f64,
            live_min: live.into_iter().min().unwrap_or(0),
            probes,
            probes_right: ended.iter().filter(|found| self.is_right(found)).count(),
            datagrams: trace.datagrams,
            bytes: trace.datagram_bytes,
        }
    }

    /// How many of the true nearest a lookup found, and of how many.
    fn hits(&self, found: &Found) -> (usize, usize) {
        let mut truth = self.world.truth(found.asker, &found.target);
        truth.truncate(NEAREST);
        (truth.iter().filter(|id| found.nodes.contains(id)).count(), truth.len())
    }

    fn is_right(&self, found: &Found) -> bool {
        let (hits, all) = self.hits(found);
        hits >= all.min(RIGHT)
    }

    fn report(mut self, interrupted: bool) -> DiscoveryReport {
        let ended = if interrupted { Vec::new() } else { self.world.lookups_ended() };
        let right = ended.iter().filter(|found| self.is_right(found)).count();
        let (hits, all) = ended
            .iter()
            .map(|found| self.hits(found))
            .fold((0, 0), |(hits, all), (own, of)| (hits + own, all + of));
        let lookups = if interrupted { 0 } else { self.settings.lookups };
        let trace = self.world.net.trace();
        DiscoveryReport {
            settings: self.settings.clone(),
            samples: self.samples,
            lookups,
            right,
            found: if all == 0 { 0.0 } else { hits as f64 / all as f64 },
            slowest: ended.iter().map(|found| found.took).max().unwrap_or_default(),
            holds: !interrupted && right as f64 >= CLAIM * lookups as f64,
            interrupted,
            datagrams: trace.datagrams,
            bytes: trace.datagram_bytes,
            trace: trace.to_string(),
        }
    }
}
