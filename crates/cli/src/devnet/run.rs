//! A run from the first node's start to the summary: connect, let items enter, stop some nodes, wait for the rest.
//! The nodes stand in `swarm`, what enters in `load`, what arrived in `ledger`.

use std::time::{Duration, Instant};

use devp2p::identity::Now;
use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::{
    DevnetCommand,
    ledger::{Item, Kind, deliveries, now},
    load::Load,
    summary::{ItemSummary, Summary, round},
    swarm::Swarm,
    view::{Progress, View},
};
use crate::{failure::Failure, setup::PRIVATE_CHAIN_ID};

/// How long the nodes may take to find each other and connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long after the last item the nodes may take to have all of them.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(30);
/// How often peers and deliveries are looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often progress is shown.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);

/// A run while it goes.
struct Run {
    command: DevnetCommand,
    seed: u64,
    swarm: Swarm,
    load: Load,
    items: Vec<Item>,
    view: View,
    started: Instant,
    connected: Option<Duration>,
    shown: Option<Instant>,
}

/// How a phase ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Done,
    TimedOut,
    Interrupted,
}

/// Runs the network that `command` describes.
pub(super) async fn run(command: DevnetCommand) -> Result<Summary, Failure> {
    let seed = command.seed.unwrap_or_else(|| UnwrapErr(SysRng).next_u64());
    let started = now().instant;
    let swarm = Swarm::start(command.nodes).await?;
    let view = View::new(command.json);
    let load = Load::new(seed, PRIVATE_CHAIN_ID);
    let mut run =
        Run { command, seed, swarm, load, items: Vec::new(), view, started, connected: None, shown: None };
    let mut interrupted = false;
    for phase in [Step::Connect, Step::Gossip, Step::Settle] {
        match run.step(phase).await {
            Phase::Interrupted => {
                interrupted = true;
                break;
            }
            Phase::TimedOut if phase == Step::Connect => break,
            Phase::TimedOut | Phase::Done => {}
        }
    }
    let summary = run.summary(interrupted);
    run.swarm.shutdown().await;
    Ok(summary)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Connect,
    Gossip,
    Settle,
}

impl Run {
    async fn step(&mut self, step: Step) -> Phase {
        tokio::select! {
            phase = async {
                match step {
                    Step::Connect => self.connect().await,
                    Step::Gossip => self.gossip().await,
                    Step::Settle => self.settle().await,
                }
            } => phase,
            _ = tokio::signal::ctrl_c() => Phase::Interrupted,
        }
    }

    /// Waits until the running nodes are one graph and each has its peers.
    async fn connect(&mut self) -> Phase {
        let mut look = every(LOOK_INTERVAL);
        loop {
            look.tick().await;
            if self.swarm.is_connected().await {
                self.connected = Some(self.elapsed());
                self.show("connected", true).await;
                return Phase::Done;
            }
            if self.elapsed() > CONNECT_TIMEOUT {
                return Phase::TimedOut;
            }
            self.show("connecting", false).await;
        }
    }

    /// Lets transactions and blocks enter for the run's duration, and stops nodes half-way.
    async fn gossip(&mut self) -> Phase {
        let begun = now().instant;
        let half = self.command.duration / 2;
        let mut to_stop = self.command.kill;
        let mut transactions =
            (self.command.tx_rate > 0.0).then(|| every(Duration::from_secs_f64(1.0 / self.command.tx_rate)));
        let mut blocks = every(self.command.block_time);
        blocks.reset();
        let mut look = every(LOOK_INTERVAL);
        loop {
            tokio::select! {
                () = tick(transactions.as_mut()) => self.enter_transaction().await,
                _ = blocks.tick() => self.enter_block().await,
                _ = look.tick() => self.show("gossip", false).await,
            }
            let elapsed = now().instant.saturating_duration_since(begun);
            if to_stop > 0 && elapsed >= half {
                let stopping = self.load.choose_many(&self.swarm.running(), to_stop);
                self.swarm.stop(&stopping).await;
                to_stop = 0;
            }
            if elapsed >= self.command.duration {
                return Phase::Done;
            }
        }
    }

    /// Waits until every running node has everything.
    async fn settle(&mut self) -> Phase {
        let begun = now().instant;
        let mut look = every(LOOK_INTERVAL);
        loop {
            look.tick().await;
            self.show("settling", false).await;
            let receivers = self.swarm.receivers();
            if [Kind::Transaction, Kind::Block]
                .iter()
                .all(|kind| deliveries(*kind, &self.items, &receivers).is_complete())
            {
                self.show("done", true).await;
                return Phase::Done;
            }
            if now().instant.saturating_duration_since(begun) > SETTLE_TIMEOUT {
                return Phase::TimedOut;
            }
        }
    }

    async fn enter_transaction(&mut self) {
        let Some(origin) = self.load.choose(&self.swarm.running()) else { return };
        let (hash, envelope) = self.load.transaction();
        let (len, entered) = (envelope.len(), now().instant);
        if self.swarm.submit_transaction(origin, envelope).await {
            self.items.push(Item { kind: Kind::Transaction, hash, len, origin, entered });
        }
    }

    async fn enter_block(&mut self) {
        let Some(origin) = self.load.choose(&self.swarm.running()) else { return };
        let Now { instant: entered, unix } = now();
        if let Some((hash, len)) = self.swarm.produce_block(origin, unix.as_secs()).await {
            self.items.push(Item { kind: Kind::Block, hash, len, origin, entered });
        }
    }

    async fn show(&mut self, phase: &str, at_once: bool) {
        let moment = now().instant;
        let due = self.shown.is_none_or(|shown| moment.saturating_duration_since(shown) >= SHOW_INTERVAL);
        if !due && !at_once {
            return;
        }
        self.shown = Some(moment);
        let rows = self.swarm.rows().await;
        let count = |kind| self.items.iter().filter(|item| item.kind == kind).count();
        let entered = (count(Kind::Transaction), count(Kind::Block));
        self.view.show(&Progress { phase, elapsed: self.elapsed(), entered, rows: &rows });
    }

    fn elapsed(&self) -> Duration {
        now().instant.saturating_duration_since(self.started)
    }

    fn summary(&self, interrupted: bool) -> Summary {
        let receivers = self.swarm.receivers();
        let transactions = deliveries(Kind::Transaction, &self.items, &receivers);
        let blocks = deliveries(Kind::Block, &self.items, &receivers);
        let totals = self.swarm.totals();
        let delivered = transactions.bytes + blocks.bytes;
        Summary {
            complete: self.connected.is_some() && transactions.is_complete() && blocks.is_complete(),
            interrupted,
            nodes: self.command.nodes,
            stopped: receivers.iter().filter(|receiver| receiver.stopped.is_some()).count(),
            seed: self.seed,
            connected_ms: self.connected.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            peers: totals.peers,
            transactions: ItemSummary::new(&transactions, totals.duplicate_transactions),
            blocks: ItemSummary::new(&blocks, totals.duplicate_blocks),
            bytes_received: totals.bytes_received,
            bytes_per_delivered_byte: (delivered > 0)
                .then(|| round(totals.bytes_received as f64 / delivered as f64)),
        }
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Burst);
    interval
}

/// The interval's next tick; never, without an interval.
async fn tick(interval: Option<&mut Interval>) {
    match interval {
        Some(interval) => {
            interval.tick().await;
        }
        None => std::future::pending().await,
    }
}
