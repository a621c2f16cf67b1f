//! What a run of the devnet came to, for people and as one JSON object.
//! Numbers are made in `ledger` and `swarm`; here they are only named and written.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::ledger::Delivery;

/// The result of a run. Times are milliseconds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Summary {
    /// Whether every transaction and block reached every running node.
    pub(super) complete: bool,
    /// Whether the run was interrupted before its time.
    pub(super) interrupted: bool,
    /// Nodes started.
    pub(super) nodes: usize,
    /// Nodes stopped half-way.
    pub(super) stopped: usize,
    /// The seed of the load: give it as `--seed` to choose the same origins and producers.
    pub(super) seed: u64,
    /// From the first node's start until the graph was connected and each node had its peers.
    pub(super) connected_ms: Option<u64>,
    /// The fewest and the most peers of a running node at the end.
    pub(super) peers: (usize, usize),
    /// Transactions.
    pub(super) transactions: ItemSummary,
    /// Blocks.
    pub(super) blocks: ItemSummary,
    /// Bytes that all nodes read from their sockets.
    pub(super) bytes_received: u64,
    /// Bytes read for each byte of a transaction or block delivered.
    pub(super) bytes_per_delivered_byte: Option<f64>,
}

/// The deliveries of one kind of item.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ItemSummary {
    entered: usize,
    delivered_everywhere: usize,
    deliveries: usize,
    missing: usize,
    entered_in_last_second_of_a_stopped_node: usize,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    duplicates_per_item: Option<f64>,
}

impl ItemSummary {
    /// Sums up `delivery`; `duplicates` is how often a node was sent in full what it had.
    pub(super) fn new(delivery: &Delivery, duplicates: u64) -> Self {
        let milliseconds = |latency: Duration| round(latency.as_secs_f64() * 1_000.0);
        let per_item = |count: u64| round(count as f64 / delivery.entered as f64);
        Self {
            entered: delivery.entered,
            delivered_everywhere: delivery.everywhere,
            deliveries: delivery.deliveries,
            missing: delivery.missing,
            entered_in_last_second_of_a_stopped_node: delivery.in_last_second,
            p50_ms: delivery.percentile(0.50).map(milliseconds),
            p99_ms: delivery.percentile(0.99).map(milliseconds),
            duplicates_per_item: (delivery.entered > 0).then(|| per_item(duplicates)),
        }
    }
}

/// Three digits behind the point say enough.
pub(super) fn round(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let connected =
            self.connected_ms.map_or("never".to_owned(), |ms| format!("{:.1} s", ms as f64 / 1_000.0));
        writeln!(
            f,
            "nodes          {} started, {} stopped half-way; seed {}",
            self.nodes, self.stopped, self.seed
        )?;
        writeln!(f, "all connected  {connected}; {} to {} peers at the end", self.peers.0, self.peers.1)?;
        writeln!(f, "transactions   {}", self.transactions)?;
        writeln!(f, "blocks         {}", self.blocks)?;
        let ratio = self.bytes_per_delivered_byte.map_or("-".to_owned(), |ratio| format!("{ratio:.2}"));
        writeln!(f, "bytes          {} received, {ratio} for each delivered byte", self.bytes_received)?;
        let verdict = match (self.interrupted, self.complete) {
            (true, _) => "interrupted",
            (false, true) => "complete: every transaction and block reached every running node",
            (false, false) => "INCOMPLETE: not every transaction and block reached every running node",
        };
        write!(f, "result         {verdict}")
    }
}

impl fmt::Display for ItemSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{ms:.1} ms"));
        write!(
            f,
            "{} of {} everywhere ({} deliveries",
            self.delivered_everywhere, self.entered, self.deliveries
        )?;
        if self.missing > 0 {
            write!(f, ", {} missing", self.missing)?;
        }
        write!(f, "); p50 {}, p99 {}", time(self.p50_ms), time(self.p99_ms))?;
        if let Some(duplicates) = self.duplicates_per_item {
            write!(f, "; {duplicates:.2} duplicates an item")?;
        }
        match self.entered_in_last_second_of_a_stopped_node {
            0 => Ok(()),
            count => write!(f, "; {count} entered in the last second of a stopped node"),
        }
    }
}
