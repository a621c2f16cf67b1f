//! A run of the scenario: an agenda of what happens when, worked off in the order of time, and the books that are kept.
//! When all have all is decided here, and asked of chains and pools, not of the books alone.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc, time::Duration};

use eth_wire::{
    Address, Block, BlockBuilder, Chain, Delivery, EthEvent, EthVersion, Hash, MemoryPool, PeerFault, Pool,
    TransferRequest,
};
use identity::NodeKey;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use rlpx::ServerConfig;
use simnet::Link;

use super::{GossipReport, GossipSample, GossipSettings, faults::Mischief, ledger::Ledger};
use crate::{
    node::{CHAIN_ID, Node, Nodes},
    numbered_key,
};

/// Between two nodes that join.
const JOIN_INTERVAL: Duration = Duration::from_millis(50);
/// Between two samples.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(10);
/// How long all may take to have all once nothing but loss goes wrong any more: a dial that failed is tried again after
/// 35 s, then after twice as long.
const RECOVERY: Duration = Duration::from_secs(600);
/// How often that is looked at.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// One in so many transactions is announced only.
const ANNOUNCED_ONLY: u32 = 8;
/// The most transactions of a block, and the most bytes of them.
const BLOCK_LIMITS: (usize, usize) = (50, 100_000);
const SECONDS_AN_HOUR: f64 = 3_600.0;
/// The key that signs all transactions, apart from those of nodes.
const SENDER: u64 = u64::MAX / 2;

/// Something on the agenda.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// The next node joins.
    Join,
    /// The transaction with this nonce is handed to somebody.
    Submit(u64),
    /// A block is made.
    MakeBlock,
    /// Something goes wrong.
    Strike,
    /// A node that was stopped runs again.
    Start(usize),
    /// The network is whole again.
    Heal,
    /// The network is looked at.
    Sample,
}

pub(super) struct Run<'a> {
    settings: &'a GossipSettings,
    nodes: Nodes,
    agenda: BTreeMap<(Duration, u64), Action>,
    next_entry: u64,
    ledger: Ledger,
    mischief: Mischief,
    sender: NodeKey,
    last_block: Option<Block>,
    /// Transactions that came in full at nodes that have stopped: for the first time, and again.
    delivered: (u64, u64),
    settled: Option<Duration>,
    samples: Vec<GossipSample>,
    rng: ChaCha8Rng,
}

impl<'a> Run<'a> {
    pub(super) fn new(settings: &'a GossipSettings) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(settings.seed);
        let versions = match settings.blocks {
            0 => EthVersion::ALL.to_vec(),
            _ => vec![EthVersion::Eth68],
        };
        let server = ServerConfig { max_peers: settings.peers, ..ServerConfig::default() };
        let mut nodes = Nodes::new(rng.random(), versions, server);
        nodes.net.set_link(Link { loss: settings.loss, ..Link::default() });
        let mut run = Self {
            settings,
            nodes,
            agenda: BTreeMap::new(),
            next_entry: 0,
            ledger: Ledger::default(),
            mischief: Mischief::default(),
            sender: numbered_key(SENDER),
            last_block: None,
            delivered: (0, 0),
            settled: None,
            samples: Vec::new(),
            rng,
        };
        run.plan();
        run
    }

    /// Fills the agenda: nodes join one after the other, blocks come evenly, all else at random moments.
    fn plan(&mut self) {
        let settings = self.settings;
        let mut at = Duration::ZERO;
        for _ in 0..settings.nodes {
            self.enter(at, Action::Join);
            at = at.saturating_add(JOIN_INTERVAL);
        }
        for nonce in 0..settings.transactions as u64 {
            let at = self.some_moment();
            self.enter(at, Action::Submit(nonce));
        }
        for block in 1..=settings.blocks {
            let share = block as f64 / (settings.blocks as f64 + 1.0);
            self.enter(settings.duration.mul_f64(share), Action::MakeBlock);
        }
        let hours = settings.duration.as_secs_f64() / SECONDS_AN_HOUR;
        let faults = (settings.churn * settings.nodes as f64 * hours).round() as u64;
        for _ in 0..faults {
            let at = self.some_moment();
            self.enter(at, Action::Strike);
        }
        let mut at = SAMPLE_INTERVAL;
        while at <= settings.duration {
            self.enter(at, Action::Sample);
            at = at.saturating_add(SAMPLE_INTERVAL);
        }
    }

    fn some_moment(&mut self) -> Duration {
        self.settings.duration.mul_f64(self.rng.random_range(0.0..1.0))
    }

    fn enter(&mut self, at: Duration, action: Action) {
        self.agenda.insert((at, self.next_entry), action);
        self.next_entry += 1;
    }

    /// Works off the agenda, then waits until all have all.
    pub(super) fn live(
        &mut self,
        progress: &mut dyn FnMut(&GossipSample) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        while let Some(((at, _), action)) = self.agenda.pop_first() {
            self.go_to(at);
            self.act(action);
            if action == Action::Sample {
                self.sample(progress)?;
            }
        }
        self.go_to(self.settings.duration);
        let (begin, mut next_sample) = (self.nodes.net.elapsed(), SAMPLE_INTERVAL);
        while !self.is_settled() && self.nodes.net.elapsed().saturating_sub(begin) < RECOVERY {
            self.go_to(self.nodes.net.elapsed().saturating_add(CHECK_INTERVAL));
            if self.nodes.net.elapsed().saturating_sub(begin) >= next_sample {
                next_sample = next_sample.saturating_add(SAMPLE_INTERVAL);
                self.sample(progress)?;
            }
        }
        if self.is_settled() {
            self.settled = Some(self.nodes.net.elapsed());
        }
        self.sample(progress)
    }

    fn go_to(&mut self, at: Duration) {
        self.nodes.run(at.saturating_sub(self.nodes.net.elapsed()));
        self.keep_books();
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Join => {
                let bootnodes = if self.nodes.is_empty() { Vec::new() } else { vec![self.nodes.entry(0)] };
                let index = self.nodes.add(bootnodes);
                self.start(index);
            }
            Action::Start(index) => self.start(index),
            Action::Submit(nonce) => self.submit(nonce),
            Action::MakeBlock => self.make_block(),
            Action::Strike => self.strike(),
            Action::Heal => self.mischief.heal(&mut self.nodes),
            Action::Sample => {}
        }
        self.keep_books();
    }

    /// Starts a node with what was handed to it before: such transactions are kept through a restart, as go-ethereum does
    /// in its journal.
    fn start(&mut self, index: usize) {
        let pool = MemoryPool::new(CHAIN_ID);
        let journal: Vec<Hash> = self
            .ledger
            .submitted_to(index)
            .filter(|transaction| pool.insert(transaction.envelope().clone()) == eth_wire::Insert::New)
            .map(eth_wire::Transaction::hash)
            .collect();
        let at = self.nodes.net.elapsed();
        journal.iter().for_each(|hash| self.ledger.arrive(at, index, hash));
        self.nodes.start(index, Arc::new(pool));
    }

    fn submit(&mut self, nonce: u64) {
        let running: Vec<usize> = self.nodes.running().map(|(index, _)| index).collect();
        let index = running[self.rng.random_range(0..running.len())];
        let transaction = TransferRequest::new(CHAIN_ID, nonce, Address([1; 20]), 1).sign(&self.sender);
        let announce_only = self.rng.random_ratio(1, ANNOUNCED_ONLY);
        self.ledger.submit(self.nodes.net.elapsed(), index, transaction.clone());
        self.nodes.with(index, |node, net| node.submit_transaction(net, transaction, announce_only));
    }

    /// Somebody who has the last block makes the next, so that there are no branches. When all who have it are stopped, it
    /// is made later: one of them runs again within seconds.
    fn make_block(&mut self) {
        let last = self.last_block.as_ref().map(|block| block.header.hash);
        let has_last = |node: &Node| last.is_none_or(|last| node.config().chain.head().hash == last);
        let makers = self.nodes.running().filter(|(_, node)| has_last(node));
        let makers: Vec<usize> = makers.map(|(index, _)| index).collect();
        if makers.is_empty() {
            return self.enter(self.nodes.net.elapsed().saturating_add(CHECK_INTERVAL), Action::MakeBlock);
        }
        let index = makers[self.rng.random_range(0..makers.len())];
        let Some(config) = self.nodes.node(index).map(Node::config) else { return };
        let Some(parent) = config.chain.block_by_hash(&config.chain.head().hash) else { return };
        let (max_count, max_bytes) = BLOCK_LIMITS;
        let transactions = config.pool.oldest(max_count, max_bytes);
        let time = self.nodes.net.now().unix_seconds();
        let block = BlockBuilder::child_of(&parent.header, time).transactions(&transactions).build();
        self.last_block = Some(block.clone());
        self.nodes.with(index, |node, net| node.submit_block(net, block));
    }

    fn strike(&mut self) {
        let before: BTreeMap<usize, (u64, u64)> =
            self.nodes.running().map(|(index, node)| (index, deliveries(node))).collect();
        let (stopped, follow_up) = self.mischief.strike(&mut self.nodes, &mut self.rng);
        if let Some((index, (first, again))) = stopped.and_then(|index| Some((index, before.get(&index)?))) {
            self.delivered.0 += first;
            self.delivered.1 += again;
            self.ledger.lose(index);
        }
        if let Some((delay, action)) = follow_up {
            self.enter(self.nodes.net.elapsed().saturating_add(delay), action);
        }
    }

    fn keep_books(&mut self) {
        for happening in self.nodes.take_happenings() {
            if let EthEvent::TransactionsReceived { new, .. } = happening.event {
                new.iter().for_each(|hash| self.ledger.arrive(happening.at, happening.node, hash));
            }
        }
    }

    /// Whether every node runs and has everything.
    fn is_settled(&self) -> bool {
        let nodes = self.settings.nodes;
        self.nodes.running().count() == nodes
            && self.ledger.held_by(nodes) == self.settings.transactions
            && self.heads() == nodes
            && self.pools_have_all()
    }

    fn pools_have_all(&self) -> bool {
        let mut pools = self.nodes.running().map(|(_, node)| &node.config().pool);
        pools.all(|pool| self.ledger.hashes().all(|hash| pool.contains(&hash)))
    }

    /// How many nodes have the last block.
    fn heads(&self) -> usize {
        let heads = self.nodes.running().map(|(_, node)| node.config().chain.head().hash);
        match &self.last_block {
            None => heads.count(),
            Some(last) => heads.filter(|head| *head == last.header.hash).count(),
        }
    }

    /// Transactions that came in full again, for each that came for the first time.
    fn duplicates(&self) -> f64 {
        let now = self.nodes.running().map(|(_, node)| deliveries(node));
        let (first, again) =
            now.fold(self.delivered, |(first, again), (more, much)| (first + more, again + much));
        if first == 0 { 0.0 } else { again as f64 / first as f64 }
    }

    fn sample(&mut self, progress: &mut dyn FnMut(&GossipSample) -> ControlFlow<()>) -> ControlFlow<()> {
        let peers: Vec<usize> = self.nodes.running().map(|(_, node)| node.eth().peer_infos().len()).collect();
        let trace = self.nodes.net.trace();
        let sample = GossipSample {
            at: self.nodes.net.elapsed(),
            running: peers.len(),
            connections: peers.iter().sum::<usize>() / 2,
            fewest_peers: peers.iter().copied().min().unwrap_or(0),
            submitted: self.ledger.submitted(),
            everywhere: self.ledger.held_by(peers.len()),
            height: self.last_block.as_ref().map_or(0, |block| block.header.number),
            heads: self.heads(),
            duplicates: self.duplicates(),
            bytes: trace.datagram_bytes + trace.stream_bytes,
            propagation: self.ledger.propagation_lately(),
        };
        self.samples.push(sample);
        progress(&sample)
    }

    pub(super) fn report(mut self, interrupted: bool) -> GossipReport {
        // Who is cut off is silent through no fault of his own.
        let accused = self.nodes.accusations().into_iter().filter(|fault| *fault != PeerFault::StatusTimeout);
        let accusations: Vec<String> = accused.map(|fault| fault.to_string()).collect();
        let trace = self.nodes.net.trace();
        GossipReport {
            settings: self.settings.clone(),
            faults: self.mischief.count,
            settled: self.settled,
            propagation: self.ledger.propagation(),
            holds: !interrupted && self.settled.is_some() && accusations.is_empty(),
            accusations,
            interrupted,
            datagrams: trace.datagrams,
            bytes: trace.datagram_bytes + trace.stream_bytes,
            trace: trace.to_string(),
            samples: self.samples,
        }
    }
}

/// Transactions that came in full at a node: for the first time, and again.
fn deliveries(node: &Node) -> (u64, u64) {
    let deliveries = node.eth().counters().deliveries;
    (deliveries.count(Delivery::Transaction), deliveries.count(Delivery::TransactionAgain))
}
