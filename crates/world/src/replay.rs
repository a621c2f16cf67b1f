//! The line that shows people a run of a scenario again: `devp2p sim` with a flag for every setting that is not the
//! default. A failed test prints it; the program's own tests hold it to the flags.

use std::fmt::Display;

use crate::{discovery::DiscoverySettings, gossip::GossipSettings};

/// Parts of one in a share's text: per cent with six digits behind the point.
const SHARE_PARTS: f64 = 1e8;
/// Parts of an hour in its text: four digits behind the point tell seconds apart.
const HOUR_PARTS: f64 = 1e4;
const SECONDS_AN_HOUR: f64 = 3_600.0;
const SECONDS_A_MINUTE: u64 = 60;

impl DiscoverySettings {
    /// The command line of the run with these settings; it has no flag for `lookups`.
    pub fn command(&self) -> String {
        let Self { nodes, loss, churn, seed, duration, partition, lookups: _ } = self;
        let default = Self::default();
        let hours = (duration.as_secs_f64() / SECONDS_AN_HOUR * HOUR_PARTS).round() / HOUR_PARTS;
        let minutes = partition.as_ref().map(|times| {
            let [from, to] = [times.start, times.end].map(|time| time.as_secs() / SECONDS_A_MINUTE);
            format!("{from}..{to}")
        });
        Line::new("discovery", *seed)
            .flag("nodes", nodes, *nodes != default.nodes)
            .flag("loss", percent(*loss), *loss != default.loss)
            .flag("churn", percent(*churn), *churn != default.churn)
            .flag("hours", hours, *duration != default.duration)
            .flag("partition", minutes.unwrap_or_default(), partition.is_some())
            .0
    }
}

impl GossipSettings {
    /// The command line of the run with these settings.
    pub fn command(&self) -> String {
        let Self { nodes, transactions, blocks, peers, loss, churn, seed, duration } = self;
        let default = Self::default();
        Line::new("gossip", *seed)
            .flag("nodes", nodes, *nodes != default.nodes)
            .flag("transactions", transactions, *transactions != default.transactions)
            .flag("blocks", blocks, *blocks != default.blocks)
            .flag("peers", peers, *peers != default.peers)
            .flag("loss", percent(*loss), *loss != default.loss)
            .flag("churn", percent(*churn), *churn != default.churn)
            .flag("duration", format_args!("{}s", duration.as_secs()), *duration != default.duration)
            .0
    }
}

/// A command line.
struct Line(String);

impl Line {
    fn new(scenario: &str, seed: u64) -> Self {
        Self(format!("devp2p sim {scenario} --seed {seed}"))
    }

    /// With a flag, if it says anything.
    fn flag(mut self, name: &str, value: impl Display, is_told: bool) -> Self {
        if is_told {
            self.0 += &format!(" --{name} {value}");
        }
        self
    }
}

/// A share in per cent. Of 0.07 times 100 something is left behind the point; the program reads 7.
fn percent(share: f64) -> f64 {
    (share * SHARE_PARTS).round() / (SHARE_PARTS / 100.0)
}
