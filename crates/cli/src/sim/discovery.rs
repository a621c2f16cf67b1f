//! `devp2p sim discovery`: flags, lines, table and plot of the crate world's scenario of discovery.
//! What happens in it, and when its claim holds, is decided there.

use std::{
    ops::{ControlFlow, Range},
    time::Duration,
};

use clap::Args;
use world::discovery::{DiscoveryReport, DiscoverySample, DiscoverySettings, run_discovery};

use super::{
    chart::{Chart, Line, Panel, rates},
    input::{Hours, OutputArgs, Percent, parse_churn, parse_count, parse_hours, parse_loss, parse_minutes},
    progress::clock,
    run::{Scenario, Verdict},
};
use crate::failure::Failure;

/// The most nodes: 10,000 hold five gigabytes, at half a megabyte each.
const MAX_NODES: usize = 10_000;
/// The most nodes that a run starts, one after the other: half a megabyte each, and those that have left are kept too.
const MAX_STARTED: f64 = 20_000.0;

/// Nodes join through one bootnode; in the end lookups of random targets are compared with the truth.
///
/// Without other flags the run is that of the first test in crates/world/tests/discovery.rs. A test that fails prints
/// the command line of its run.
#[derive(Args, Clone, Debug)]
pub(crate) struct DiscoveryCommand {
    /// How many nodes.
    #[arg(long, default_value_t = defaults().nodes, value_parser = parse_count::<2, MAX_NODES>, allow_negative_numbers = true)]
    nodes: usize,
    /// Datagrams lost, per cent: 5 or 5%.
    #[arg(long, value_name = "PERCENT", default_value_t = Percent(defaults().loss), value_parser = parse_loss,
          allow_negative_numbers = true)]
    loss: Percent,
    /// Nodes replaced by new ones, per cent an hour.
    #[arg(long, value_name = "PERCENT", default_value_t = Percent(defaults().churn), value_parser = parse_churn,
          allow_negative_numbers = true)]
    churn: Percent,
    /// Decides on all that is left to chance; equal seeds and flags give equal runs.
    #[arg(long, default_value_t = defaults().seed, allow_negative_numbers = true)]
    seed: u64,
    /// Virtual time of joining, loss, churn and parting; a calm minute later come the lookups that count.
    #[arg(long, default_value_t = Hours(defaults().duration), value_parser = parse_hours,
          allow_negative_numbers = true)]
    hours: Hours,
    /// Part one half of the nodes from the other between these virtual minutes, such as 10..20.
    #[arg(long, value_name = "FROM..TO", value_parser = parse_minutes)]
    partition: Option<Range<Duration>>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

fn defaults() -> DiscoverySettings {
    DiscoverySettings::default()
}

impl DiscoveryCommand {
    /// The scenario that the flags describe.
    pub(super) fn settings(&self) -> Result<DiscoverySettings, Failure> {
        let Self { nodes, loss, churn, seed, hours, partition, .. } = self;
        let replaced = *nodes as f64 * churn.0 * hours.0.as_secs_f64() / 3_600.0;
        let started = *nodes as f64 + replaced;
        if started > MAX_STARTED {
            return Err(Failure::input(format!(
                "{nodes} nodes with a churn of {churn} an hour are {started:.0} in {hours} hours, at most \
                 {MAX_STARTED} are simulated: lower --churn or --hours"
            )));
        }
        if let Some(partition) = partition.as_ref().filter(|partition| partition.end > hours.0) {
            return Err(Failure::input(format!(
                "--partition ends after {} and the run after {}: raise --hours",
                clock(partition.end),
                clock(hours.0)
            )));
        }
        Ok(DiscoverySettings {
            nodes: *nodes,
            loss: loss.0,
            churn: churn.0,
            seed: *seed,
            duration: hours.0,
            partition: partition.clone(),
            ..defaults()
        })
    }
}

impl Scenario for DiscoverySettings {
    type Sample = DiscoverySample;
    type Report = DiscoveryReport;

    const CLAIM: &'static str = "at least 99 % of the lookups at the end were right";

    fn span(&self) -> Duration {
        self.duration
    }

    fn run(&self, progress: &mut dyn FnMut(&DiscoverySample) -> ControlFlow<()>) -> DiscoveryReport {
        run_discovery(self, progress)
    }

    fn at(sample: &DiscoverySample) -> Duration {
        sample.at
    }

    fn line(sample: &DiscoverySample) -> String {
        let DiscoverySample { running, live_mean, live_min, probes, probes_right, datagrams, .. } = sample;
        let lookups = match probes {
            0 => "joining".to_owned(),
            _ => format!("lookups right {probes_right} of {probes}"),
        };
        format!(
            "{running} nodes, live in a table {live_mean:.0} (least {live_min}), {lookups}, {datagrams} datagrams"
        )
    }

    fn table(report: &DiscoveryReport) -> Vec<(&'static str, String)> {
        let DiscoveryReport { settings, lookups, right, found, slowest, datagrams, bytes, trace, .. } =
            report;
        let mut rows = vec![("settings", told(settings))];
        if let Some(last) = report.samples.last() {
            let DiscoverySample { at, running, young, live_mean, live_min, .. } = last;
            rows.push(("nodes", format!("{running} running after {}", clock(*at))));
            let seconds = at.as_secs_f64() * *running as f64;
            let rate = last.datagrams as f64 / seconds;
            rows.push(("traffic", format!("{rate:.2} datagrams a second to each node")));
            rows.push(("tables", format!(
                "{live_mean:.1} live nodes on average, {live_min} in the poorest; {young} joined within a minute do not count"
            )));
        }
        if *lookups > 0 {
            let (slowest, percent) = (slowest.as_secs_f64(), *right as f64 / *lookups as f64 * 100.0);
            rows.push((
                "lookups",
                format!("{right} of {lookups} right ({percent:.1} %), the slowest took {slowest:.2} s"),
            ));
            rows.push(("found", format!("{:.2} % of the nodes nearest to a target", found * 100.0)));
        }
        rows.push(("datagrams", format!("{datagrams} delivered, {bytes} bytes")));
        rows.push(("trace", trace.clone()));
        rows
    }

    fn chart(report: &DiscoveryReport) -> Chart {
        let samples = &report.samples;
        let probed = samples.iter().filter(|sample| sample.probes > 0);
        let right =
            probed.map(|sample| (sample.at, 100.0 * sample.probes_right as f64 / sample.probes as f64));
        let live = |number: fn(&DiscoverySample) -> f64| {
            samples.iter().map(|sample| (sample.at, number(sample))).collect()
        };
        let datagrams = samples.iter().map(|sample| (sample.at, sample.datagrams as f64));
        let panels = vec![
            Panel {
                unit: "% of the lookups",
                top: Some(100.0),
                lines: vec![Line {
                    name: "lookups that found the true nearest nodes",
                    points: right.collect(),
                }],
            },
            Panel {
                unit: "nodes",
                top: None,
                lines: vec![
                    Line { name: "running", points: live(|sample| sample.running as f64) },
                    Line { name: "live in a table, on average", points: live(|sample| sample.live_mean) },
                    Line { name: "live in the poorest table", points: live(|sample| sample.live_min as f64) },
                ],
            },
            Panel {
                unit: "datagrams a second",
                top: None,
                lines: vec![Line { name: "datagrams delivered", points: rates(datagrams) }],
            },
        ];
        Chart {
            title: "Discovery in a simulated network".to_owned(),
            subtitle: told(&report.settings),
            span: report.settings.duration,
            shaded: report.settings.partition.clone(),
            panels,
        }
    }

    fn verdict(report: &DiscoveryReport) -> Verdict {
        Verdict::of(report.interrupted, report.holds)
    }
}

fn told(settings: &DiscoverySettings) -> String {
    let DiscoverySettings { nodes, loss, churn, seed, duration, partition, .. } = settings;
    let (loss, churn) = (Percent(*loss), Percent(*churn));
    let parted = partition.as_ref().map_or_else(String::new, |times| {
        format!(", parted from {} to {}", clock(times.start), clock(times.end))
    });
    let duration = clock(*duration);
    format!(
        "{nodes} nodes, loss {loss}, churn {churn} an hour, seed {seed}, {duration} of virtual time{parted}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::parsed;

    fn settings(line: &str) -> DiscoverySettings {
        parsed::<DiscoveryCommand>("discovery", line).settings().unwrap()
    }

    #[test]
    fn the_line_that_a_failed_test_prints_replays_it() {
        let parted = DiscoverySettings {
            duration: Duration::from_secs(1_800),
            partition: Some(Duration::from_secs(600)..Duration::from_secs(1_200)),
            ..DiscoverySettings::default()
        };
        let changed = DiscoverySettings {
            nodes: 7,
            loss: 0.07,
            churn: 0.57,
            seed: u64::MAX,
            duration: Duration::from_secs(301),
            ..DiscoverySettings::default()
        };
        for run in [DiscoverySettings::default(), parted, changed] {
            assert_eq!(settings(&run.command()), run, "{}", run.command());
        }
    }
}
