//! The scenario of gossip: whole nodes find each other through one bootnode and tell each other transactions, and blocks,
//! while packets are lost, connections break, nodes restart and the network parts. In the end all have all.
//! What happens when is `run`'s, the faults are `faults`', who has what is kept in `ledger`.

mod faults;
mod ledger;
mod run;

use std::{ops::ControlFlow, time::Duration};

use serde::Serialize;

use self::run::Run;

/// What happens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GossipSettings {
    /// How many nodes, the bootnode among them. Default: 20.
    pub nodes: usize,
    /// Transactions, each handed to a random node at a random moment, one in eight of them to be announced only.
    /// Default: 1,000.
    pub transactions: usize,
    /// Blocks, made one after the other by nodes that have the last one. With any, all nodes speak eth/68 alone, the
    /// version that gossips blocks. Default: 0.
    pub blocks: usize,
    /// The most peers of a node: fewer than there are nodes, or nothing goes by more than one hop. Default: 8.
    pub peers: usize,
    /// The share of packets that is lost, 0 to 1; in streams they are sent again. Default: 0.05.
    pub loss: f64,
    /// Faults in an hour, for each node: one of its connections breaks, it restarts, or it is cut off with others for a
    /// while. Default: 12.
    pub churn: f64,
    /// Decides on all that is left to chance. Default: 1.
    pub seed: u64,
    /// Virtual time of joining, transactions, blocks and faults; then loss alone goes on until all have all. Default:
    /// 5 minutes.
    #[serde(rename = "duration_s", serialize_with = "crate::seconds::one")]
    pub duration: Duration,
}

impl Default for GossipSettings {
    fn default() -> Self {
        Self {
            nodes: 20,
            transactions: 1_000,
            blocks: 0,
            peers: 8,
            loss: 0.05,
            churn: 12.0,
            seed: 1,
            duration: Duration::from_secs(300),
        }
    }
}

/// How long items took, each from the node it was handed to, to each of the others: those of 50, 90, 99 and 100 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Propagation {
    /// Arrivals.
    pub arrivals: usize,
    /// Half of them took no longer.
    #[serde(rename = "p50_s", serialize_with = "crate::seconds::one")]
    pub p50: Duration,
    /// 90 of 100.
    #[serde(rename = "p90_s", serialize_with = "crate::seconds::one")]
    pub p90: Duration,
    /// 99 of 100.
    #[serde(rename = "p99_s", serialize_with = "crate::seconds::one")]
    pub p99: Duration,
    /// The slowest.
    #[serde(rename = "max_s", serialize_with = "crate::seconds::one")]
    pub max: Duration,
}

/// The network at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct GossipSample {
    /// Virtual time since the beginning.
    #[serde(rename = "at_s", serialize_with = "crate::seconds::one")]
    pub at: Duration,
    /// Nodes that run.
    pub running: usize,
    /// Connections over which eth is spoken.
    pub connections: usize,
    /// Peers of the node that has the fewest.
    pub fewest_peers: usize,
    /// Transactions handed in so far ...
    pub submitted: usize,
    /// ... and those that every node that runs has.
    pub everywhere: usize,
    /// The height of the last block ...
    pub height: u64,
    /// ... and how many nodes have it.
    pub heads: usize,
    /// Transactions that came in full again, for each that came for the first time, so far.
    pub duplicates: f64,
    /// Bytes delivered so far, in datagrams and streams.
    pub bytes: u64,
    /// How long those transactions took that arrived since the last sample; None when none did.
    pub propagation: Option<Propagation>,
}

/// The faults of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Connections broken.
    pub breaks: usize,
    /// Nodes restarted, with nothing in their pools but what was handed to them.
    pub restarts: usize,
    /// Times that some nodes could not reach the others.
    pub partings: usize,
}

/// What it came to. Equal for equal settings.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GossipReport {
    /// What was asked for.
    pub settings: GossipSettings,
    /// A sample every ten seconds of virtual time, and one at the end, which tells what it came to.
    pub samples: Vec<GossipSample>,
    /// The faults.
    pub faults: Faults,
    /// What nodes disconnected peers for, silence left out. All are honest, so there must be nothing.
    pub accusations: Vec<String>,
    /// When all had all; None when they never had.
    #[serde(rename = "settled_s", serialize_with = "crate::seconds::maybe")]
    pub settled: Option<Duration>,
    /// How long transactions took; None when none arrived anywhere.
    pub propagation: Option<Propagation>,
    /// Whether all had all in the end, and nobody was accused.
    pub holds: bool,
    /// Whether somebody ended the run early.
    pub interrupted: bool,
    /// Datagrams delivered.
    pub datagrams: u64,
    /// Bytes delivered, in datagrams and streams.
    pub bytes: u64,
    /// A hash over every delivered byte with its time, hex.
    pub trace: String,
}

/// Runs the scenario. `progress` is called with each sample, and ends the run early by `Break`.
pub fn run_gossip(
    settings: &GossipSettings,
    progress: &mut dyn FnMut(&GossipSample) -> ControlFlow<()>,
) -> GossipReport {
    let mut run = Run::new(settings);
    let interrupted = run.live(progress).is_break();
    run.report(interrupted)
}
