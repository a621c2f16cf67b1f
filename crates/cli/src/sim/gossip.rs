//! `devp2p sim gossip`: flags, lines, table and plot of the crate world's scenario of gossip.
//! What happens in it, and when its claim holds, is decided there.

use std::{ops::ControlFlow, time::Duration};

use clap::Args;
use world::gossip::{Faults, GossipReport, GossipSample, GossipSettings, Propagation, run_gossip};

use super::{
    chart::{Chart, Line, Panel, rates},
    input::{
        Hours, OutputArgs, Percent, Span, parse_churn, parse_count, parse_hours, parse_loss, parse_span,
    },
    progress::clock,
    run::{Scenario, Verdict},
};
use crate::failure::Failure;

/// The most nodes: a hundred take two seconds for a minute of theirs, and more with every transaction.
const MAX_NODES: usize = 200;
/// The most transactions: what a node that has lost its pool takes from one peer at once (eth-wire, MAX_QUEUED_HASHES
/// and MAX_TRACKED_HASHES_PER_PEER: 4,096).
const MAX_TRANSACTIONS: usize = 4_000;
/// The most blocks: what a chain in memory holds is eight times as much.
const MAX_BLOCKS: usize = 1_000;
/// The most peers of a node: geth's default.
const MAX_PEERS: usize = 50;
/// Bytes of one, in the plot.
const KILOBYTE: f64 = 1e3;

/// Whole nodes find each other and gossip transactions and blocks until all have all.
///
/// Without other flags the run is that of the first test in crates/world/tests/gossip.rs. A test that fails prints the
/// command line of its run.
#[derive(Args, Clone, Debug)]
pub(crate) struct GossipCommand {
    /// How many nodes.
    #[arg(long, default_value_t = defaults().nodes, value_parser = parse_count::<2, MAX_NODES>,
          allow_negative_numbers = true)]
    nodes: usize,
    /// How many transactions, each handed to a random node at a random moment.
    #[arg(long, default_value_t = defaults().transactions, value_parser = parse_count::<0, MAX_TRANSACTIONS>,
          allow_negative_numbers = true)]
    transactions: usize,
    /// How many blocks, one after the other; with any, all nodes speak eth/68 alone, which gossips blocks.
    #[arg(long, default_value_t = defaults().blocks, value_parser = parse_count::<0, MAX_BLOCKS>,
          allow_negative_numbers = true)]
    blocks: usize,
    /// The most peers of a node.
    #[arg(long, default_value_t = defaults().peers, value_parser = parse_count::<2, MAX_PEERS>,
          allow_negative_numbers = true)]
    peers: usize,
    /// Packets lost, per cent: 5 or 5%; in streams they are sent again.
    #[arg(long, value_name = "PERCENT", default_value_t = Percent(defaults().loss), value_parser = parse_loss,
          allow_negative_numbers = true)]
    loss: Percent,
    /// Faults for each node, per cent an hour: one of its connections breaks, it restarts, or it is cut off for a while.
    #[arg(long, value_name = "PERCENT", default_value_t = Percent(defaults().churn), value_parser = parse_churn,
          allow_negative_numbers = true)]
    churn: Percent,
    /// Decides on all that is left to chance; equal seeds and flags give equal runs.
    #[arg(long, default_value_t = defaults().seed, allow_negative_numbers = true)]
    seed: u64,
    /// Virtual time of joining, transactions, blocks and faults; then loss alone goes on until all have all.
    #[arg(long, default_value_t = Span(defaults().duration), value_parser = parse_span,
          allow_negative_numbers = true)]
    duration: Span,
    /// The same in hours.
    #[arg(long, value_parser = parse_hours, conflicts_with = "duration", allow_negative_numbers = true)]
    hours: Option<Hours>,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

fn defaults() -> GossipSettings {
    GossipSettings::default()
}

impl GossipCommand {
    /// The scenario that the flags describe.
    pub(super) fn settings(&self) -> Result<GossipSettings, Failure> {
        let Self { nodes, transactions, blocks, peers, loss, churn, seed, duration, hours, .. } = *self;
        if transactions == 0 && blocks == 0 {
            return Err(Failure::input("there is nothing to gossip: raise --transactions or --blocks"));
        }
        Ok(GossipSettings {
            nodes,
            transactions,
            blocks,
            peers,
            loss: loss.0,
            churn: churn.0,
            seed,
            duration: hours.map_or(duration.0, |hours| hours.0),
        })
    }
}

impl Scenario for GossipSettings {
    type Sample = GossipSample;
    type Report = GossipReport;

    const CLAIM: &'static str = "every node has every transaction and the last block, and accused nobody";

    fn span(&self) -> Duration {
        self.duration
    }

    fn run(&self, progress: &mut dyn FnMut(&GossipSample) -> ControlFlow<()>) -> GossipReport {
        run_gossip(self, progress)
    }

    fn at(sample: &GossipSample) -> Duration {
        sample.at
    }

    fn line(sample: &GossipSample) -> String {
        let GossipSample { running, fewest_peers, submitted, everywhere, height, heads, .. } = sample;
        let block = match height {
            0 => String::new(),
            _ => format!(", block {height} at {heads}"),
        };
        let took = sample.propagation.map_or_else(String::new, |times| {
            let Propagation { p50, p99, .. } = times;
            format!(", lately half took {:.2} s and 99 % {:.2} s", p50.as_secs_f64(), p99.as_secs_f64())
        });
        format!(
            "{running} nodes, {fewest_peers} peers or more, {everywhere} of {submitted} transactions everywhere\
             {block}{took}"
        )
    }

    fn table(report: &GossipReport) -> Vec<(&'static str, String)> {
        let GossipReport { settings, faults, accusations, settled, datagrams, bytes, trace, .. } = report;
        let mut rows = vec![("settings", told(settings))];
        if let Some(last) = report.samples.last() {
            let GossipSample { at, running, connections, fewest_peers, submitted, everywhere, .. } = last;
            let peers = format!("{connections} connections, {fewest_peers} peers or more");
            rows.push(("nodes", format!("{running} running after {}, {peers}", clock(*at))));
            rows.push(("transactions", format!("{everywhere} of {submitted} at every node")));
            if settings.blocks > 0 {
                let GossipSample { height, heads, .. } = last;
                rows.push(("blocks", format!("{height}, the last at {heads} nodes")));
            }
            rows.push(("duplicates", format!("{:.2} more copies of each transaction", last.duplicates)));
            let rate = last.bytes as f64 / (at.as_secs_f64() * *running as f64);
            rows.push(("traffic", format!("{rate:.0} bytes a second to each node")));
        }
        let Faults { breaks, restarts, partings } = faults;
        rows.push((
            "faults",
            format!("{breaks} broken connections, {restarts} restarts, {partings} partings"),
        ));
        if let Some(times) = &report.propagation {
            rows.push(("propagation", took(times)));
        }
        rows.push((
            "settled",
            settled.map_or_else(|| "never".to_owned(), |at| format!("after {}", clock(at))),
        ));
        if !accusations.is_empty() {
            rows.push(("accused", accusations.join("; ")));
        }
        rows.push(("datagrams", format!("{datagrams} delivered, {bytes} bytes with those in streams")));
        rows.push(("trace", trace.clone()));
        rows
    }

    fn chart(report: &GossipReport) -> Chart {
        let GossipReport { settings, samples, .. } = report;
        let line = |name, number: fn(&GossipSample) -> f64| {
            let points = samples.iter().map(|sample| (sample.at, number(sample))).collect();
            Line { name, points }
        };
        let times = |name, time: fn(&Propagation) -> Duration| {
            let told = |sample: &GossipSample| {
                sample.propagation.as_ref().map(|times| (sample.at, time(times).as_secs_f64()))
            };
            Line { name, points: samples.iter().filter_map(told).collect() }
        };
        let mut nodes = vec![
            line("running", |sample| sample.running as f64),
            line("peers of the node with the fewest", |sample| sample.fewest_peers as f64),
        ];
        if settings.blocks > 0 {
            nodes.push(line("with the last block", |sample| sample.heads as f64));
        }
        let bytes = samples.iter().map(|sample| (sample.at, sample.bytes as f64 / KILOBYTE));
        let transactions = vec![
            line("handed in", |sample| sample.submitted as f64),
            line("at every node that runs", |sample| sample.everywhere as f64),
        ];
        let took = vec![times("half took no longer", |times| times.p50), times("99 %", |times| times.p99)];
        let traffic = vec![Line { name: "delivered, to all", points: rates(bytes) }];
        let panels = [
            ("transactions", transactions),
            ("seconds", took),
            ("nodes", nodes),
            ("kilobytes a second", traffic),
        ];
        let end = samples.last().map_or(Duration::ZERO, |sample| sample.at);
        Chart {
            title: "Gossip in a simulated network".to_owned(),
            subtitle: told(settings),
            span: settings.duration.max(end),
            shaded: None,
            panels: panels.into_iter().map(|(unit, lines)| Panel { unit, top: None, lines }).collect(),
        }
    }

    fn verdict(report: &GossipReport) -> Verdict {
        Verdict::of(report.interrupted, report.holds)
    }
}

fn told(settings: &GossipSettings) -> String {
    let GossipSettings { nodes, transactions, blocks, peers, loss, churn, seed, duration } = settings;
    let (loss, churn, duration) = (Percent(*loss), Percent(*churn), clock(*duration));
    format!(
        "{nodes} nodes of {peers} peers, {transactions} transactions, {blocks} blocks, loss {loss}, churn {churn} an \
         hour, seed {seed}, {duration} of virtual time"
    )
}

fn took(times: &Propagation) -> String {
    let Propagation { arrivals, p50, p90, p99, max } = times;
    let [p50, p90, p99, max] = [p50, p90, p99, max].map(|time| format!("{:.2} s", time.as_secs_f64()));
    format!("of {arrivals} arrivals half took {p50} at most, 90 % {p90}, 99 % {p99}, all {max}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::parsed;

    fn settings(line: &str) -> GossipSettings {
        parsed::<GossipCommand>("gossip", line).settings().unwrap()
    }

    #[test]
    fn the_line_that_a_failed_test_prints_replays_it() {
        let changed = GossipSettings {
            nodes: 7,
            transactions: 100,
            blocks: 30,
            peers: 3,
            loss: 0.07,
            churn: 0.57,
            seed: u64::MAX,
            duration: Duration::from_secs(301),
        };
        let calm = GossipSettings { loss: 0.0, churn: 0.0, transactions: 0, blocks: 1, ..changed.clone() };
        for run in [GossipSettings::default(), changed, calm] {
            assert_eq!(settings(&run.command()), run, "{}", run.command());
        }
        let hours = settings("devp2p sim gossip --hours 0.5").duration;
        assert_eq!(hours, Duration::from_secs(1_800));
    }
}
