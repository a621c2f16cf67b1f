//! Machines wired by hand: every message goes through `encode` and `intake`, time is virtual, chain and pool are the
//! memory ones and answer at once unless they are held.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use eth_wire::{
    Address, BackendCall, BackendTicket, Block, BlockBuilder, Chain, ChainStatus, CommandId, Eth, EthEvent,
    EthMessage, EthTimes, EthVersion, ForkSchedule, MemoryChain, MemoryPool, Output, PeerFault, Reply,
    Transaction, TransferRequest, intake,
};
use identity::{NodeId, NodeKey, Now};
use rand::{Rng, RngExt, SeedableRng, rngs::ChaCha8Rng};
use rlpx::{DisconnectReason, PeerId, SharedMessage, Verdict};

pub(crate) const CHAIN_ID: u64 = 1_337;
pub(crate) const CREDIT: usize = 1 << 20;
pub(crate) const GENESIS_TIME: u64 = 1_700_000_000;

#[expect(clippy::disallowed_methods, reason = "tests need a first moment, and any will do")]
pub(crate) fn start() -> Now {
    Now::system()
}

pub(crate) fn genesis() -> Block {
    BlockBuilder::genesis(GENESIS_TIME).build()
}

pub(crate) fn status(chain: &dyn Chain) -> ChainStatus {
    let forks = ForkSchedule::new(chain.genesis(), GENESIS_TIME, &[], &[]);
    ChainStatus::new(CHAIN_ID, chain.genesis(), forks, chain.head())
}

/// A transaction of its own for each number.
pub(crate) fn transfer(number: u64) -> Transaction {
    let key = NodeKey::from_bytes(&[7; 32]).unwrap();
    TransferRequest::new(CHAIN_ID, number, Address([1; 20]), 1).sign(&key)
}

/// One with so many bytes of data.
pub(crate) fn large_transfer(number: u64, len: usize) -> Transaction {
    let key = NodeKey::from_bytes(&[7; 32]).unwrap();
    let request = TransferRequest::new(CHAIN_ID, number, Address([1; 20]), 1);
    TransferRequest { data: vec![1; len].into(), ..request }.sign(&key)
}

pub(crate) fn node_id(number: usize) -> NodeId {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    NodeId::from_bytes(bytes)
}

/// A machine with its chain and pool, and what it has put out.
pub(crate) struct Node {
    pub(crate) eth: Eth,
    pub(crate) chain: Arc<MemoryChain>,
    pub(crate) pool: Arc<MemoryPool>,
    pub(crate) sent: VecDeque<(PeerId, SharedMessage)>,
    pub(crate) disconnected: Vec<(PeerId, DisconnectReason, PeerFault)>,
    pub(crate) paused: BTreeMap<PeerId, bool>,
    pub(crate) replies: BTreeMap<CommandId, Reply>,
    pub(crate) events: Vec<EthEvent>,
    pub(crate) reports: Vec<(PeerId, Verdict)>,
    /// Calls are kept here instead of being run.
    pub(crate) held: Option<VecDeque<(BackendTicket, BackendCall)>>,
}

impl Node {
    pub(crate) fn new(seed: u64) -> Self {
        let chain = Arc::new(MemoryChain::new(&genesis()));
        Self {
            eth: Eth::new(EthTimes::default(), status(&*chain), seed),
            chain,
            pool: Arc::new(MemoryPool::new(CHAIN_ID)),
            sent: VecDeque::new(),
            disconnected: Vec::new(),
            paused: BTreeMap::new(),
            replies: BTreeMap::new(),
            events: Vec::new(),
            reports: Vec::new(),
            held: None,
        }
    }

    /// Does all that the machine has put out.
    pub(crate) fn pump(&mut self, now: Now) {
        while let Some(output) = self.eth.poll_output() {
            match output {
                Output::Send { peer, message } => self.sent.push_back((peer, message)),
                Output::Disconnect { peer, reason, fault } => self.disconnected.push((peer, reason, fault)),
                Output::Report { peer, verdict } => self.reports.push((peer, verdict)),
                Output::Reading { peer, paused } => _ = self.paused.insert(peer, paused),
                Output::Backend { ticket, call } => match &mut self.held {
                    Some(held) => held.push_back((ticket, call)),
                    None => self.run(now, ticket, call),
                },
                Output::Reply { command, reply } => _ = self.replies.insert(command, reply),
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    fn run(&mut self, now: Now, ticket: BackendTicket, call: BackendCall) {
        let answer = call.run(&*self.chain, &*self.pool);
        self.eth.handle_backend(now, ticket, answer);
    }

    /// Runs what was held, and from now on everything at once.
    pub(crate) fn release(&mut self, now: Now) {
        for (ticket, call) in self.held.take().unwrap_or_default() {
            self.run(now, ticket, call);
        }
        self.pump(now);
    }

    pub(crate) fn submit(&mut self, now: Now, transaction: &Transaction) -> CommandId {
        let command = self.eth.submit_transactions(now, vec![transaction.clone()], false).unwrap();
        self.pump(now);
        command
    }

    /// The next block on this node's head, with what its pool has.
    pub(crate) fn produce(&mut self, now: Now) -> Block {
        let head = self.chain.block_by_hash(&self.chain.head().hash).unwrap();
        let transactions = self.pool.oldest(100, 1 << 20);
        let block =
            BlockBuilder::child_of(&head.header, head.header.time + 2).transactions(&transactions).build();
        self.eth.submit_block(now, block.clone(), None).unwrap();
        self.pump(now);
        block
    }
}

/// A peer played by the test, against one node.
pub(crate) struct Script {
    pub(crate) now: Now,
    pub(crate) node: Node,
    pub(crate) version: EthVersion,
}

impl Script {
    pub(crate) fn new(version: EthVersion) -> Self {
        Self { now: start(), node: Node::new(1), version }
    }

    /// Connects without saying anything.
    pub(crate) fn connect(&mut self, peer: PeerId) {
        let id = node_id(usize::try_from(peer.0).unwrap());
        self.node.eth.handle_connected(self.now, peer, id, self.version, None, CREDIT);
        self.node.pump(self.now);
    }

    /// Connects and shakes hands; what the node said so far is forgotten.
    pub(crate) fn greet(&mut self, peer: PeerId) {
        self.connect(peer);
        let status = status(&*self.node.chain).status(self.version);
        self.say(peer, &EthMessage::Status(status));
        self.written(peer);
    }

    pub(crate) fn say(&mut self, peer: PeerId, message: &EthMessage) {
        self.say_raw(peer, message.code(), message.encode());
    }

    pub(crate) fn say_raw(&mut self, peer: PeerId, code: u64, payload: Bytes) {
        match intake(self.version, code, payload) {
            Ok(message) => self.node.eth.handle_message(self.now, peer, message),
            Err(error) => self.node.eth.handle_refused(self.now, peer, error),
        }
        self.node.pump(self.now);
    }

    /// The connection writes what the node has put out for the peer: here it is.
    pub(crate) fn written(&mut self, peer: PeerId) -> Vec<(u64, Bytes)> {
        let mut written = Vec::new();
        loop {
            let Some(place) = self.node.sent.iter().position(|(to, _)| *to == peer) else { return written };
            let (_, message) = self.node.sent.remove(place).unwrap();
            self.node.eth.handle_credit(self.now, peer, 1, message.payload().len());
            self.node.pump(self.now);
            written.push((message.code(), message.payload().clone()));
        }
    }

    /// Of what is written, what has this code.
    pub(crate) fn written_of(&mut self, peer: PeerId, code: u64) -> Vec<Bytes> {
        self.written(peer)
            .into_iter()
            .filter(|(found, _)| *found == code)
            .map(|(_, payload)| payload)
            .collect()
    }

    /// Lets time pass, waking the machine when it wants to be.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.later(time);
        while let Some(at) = self.node.eth.next_timeout().filter(|at| *at <= end.instant) {
            self.now = self.now.later(at.saturating_duration_since(self.now.instant));
            self.node.eth.handle_timeout(self.now);
            self.node.pump(self.now);
            let next = self.node.eth.next_timeout();
            assert!(next.is_none_or(|next| next > self.now.instant), "woken for nothing at {at:?}");
        }
        self.now = end;
        self.node.eth.handle_timeout(self.now);
        self.node.pump(self.now);
    }

    pub(crate) fn fault_of(&self, peer: PeerId) -> Option<(DisconnectReason, PeerFault)> {
        let found = self.node.disconnected.iter().find(|(of, ..)| *of == peer);
        found.map(|(_, reason, fault)| (*reason, *fault))
    }
}

/// Where a message or the end of a connection arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct End {
    pub(crate) node: usize,
    pub(crate) peer: PeerId,
}

enum Flight {
    Message { from: End, to: End, message: SharedMessage },
    Closed { to: End },
}

/// Machines and the connections between them.
pub(crate) struct Net {
    pub(crate) now: Now,
    pub(crate) nodes: Vec<Node>,
    pub(crate) rng: ChaCha8Rng,
    version: EthVersion,
    links: BTreeMap<End, End>,
    flights: BTreeMap<(Instant, u64), Flight>,
    next: u64,
    /// Sees every message as it is put out: sender, receiver, code, payload.
    pub(crate) tap: Vec<(End, End, SharedMessage)>,
}

impl Net {
    pub(crate) fn new(count: usize, version: EthVersion, seed: u64) -> Self {
        Self {
            now: start(),
            nodes: (0..count).map(|node| Node::new(seed.wrapping_add(node as u64))).collect(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            version,
            links: BTreeMap::new(),
            flights: BTreeMap::new(),
            next: 0,
            tap: Vec::new(),
        }
    }

    /// A ring, and `extra` random connections a node besides.
    pub(crate) fn connect_all(&mut self, extra: usize) {
        let count = self.nodes.len();
        for node in 0..count {
            self.connect(node, (node + 1) % count);
            for _ in 0..extra {
                let other = self.rng.random_range(0..count);
                self.connect(node, other);
            }
        }
    }

    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        if a == b || self.links.iter().any(|(from, to)| from.node == a && to.node == b) {
            return;
        }
        let ends = [a, b].map(|node| {
            self.next += 1;
            End { node, peer: PeerId(self.next) }
        });
        self.links.insert(ends[0], ends[1]);
        self.links.insert(ends[1], ends[0]);
        for (own, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let id = node_id(other.node);
            self.nodes[own.node].eth.handle_connected(self.now, own.peer, id, self.version, None, CREDIT);
            self.collect(own.node);
        }
    }

    /// Ends a connection: what is on its way is lost.
    pub(crate) fn cut(&mut self, own: End) {
        let Some(other) = self.links.remove(&own) else { return };
        self.links.remove(&other);
        for to in [own, other] {
            self.fly(Flight::Closed { to });
        }
    }

    /// Ends all connections of a node.
    pub(crate) fn kill(&mut self, node: usize) {
        let ends: Vec<End> = self.links.keys().copied().filter(|end| end.node == node).collect();
        ends.into_iter().for_each(|end| self.cut(end));
    }

    pub(crate) fn random_link(&mut self) -> Option<End> {
        let count = self.links.len();
        if count == 0 { None } else { self.links.keys().nth(self.rng.random_range(0..count)).copied() }
    }

    fn fly(&mut self, flight: Flight) {
        let micros = self.rng.random_range(200..20_000);
        let mut at = self.now.later(Duration::from_micros(micros)).instant;
        // Messages of one connection keep their order.
        if let Flight::Message { to, .. } = &flight {
            let same = |flight: &&Flight| matches!(flight, Flight::Message { to: other, .. } if other == to);
            let last = self.flights.iter().rev().find(|(_, flight)| same(flight)).map(|((at, _), _)| *at);
            at = last.map_or(at, |last| last.max(at));
        }
        self.next += 1;
        self.flights.insert((at, self.next), flight);
    }

    /// Puts on the wire what a node has put out.
    pub(crate) fn collect(&mut self, node: usize) {
        let now = self.now;
        self.nodes[node].pump(now);
        while let Some((peer, message)) = self.nodes[node].sent.pop_front() {
            let from = End { node, peer };
            if let Some(to) = self.links.get(&from).copied() {
                self.tap.push((from, to, message.clone()));
                self.fly(Flight::Message { from, to, message });
            }
        }
        let faults = self.nodes[node].disconnected.len();
        for place in 0..faults {
            let (peer, ..) = self.nodes[node].disconnected[place];
            self.cut(End { node, peer });
        }
    }

    fn land(&mut self, flight: Flight) {
        let now = self.now;
        match flight {
            Flight::Message { from, to, message } => {
                if self.links.get(&from) != Some(&to) {
                    return;
                }
                self.nodes[from.node].eth.handle_credit(now, from.peer, 1, message.payload().len());
                self.collect(from.node);
                let eth = &mut self.nodes[to.node].eth;
                match intake(self.version, message.code(), message.payload().clone()) {
                    Ok(message) => eth.handle_message(now, to.peer, message),
                    Err(error) => eth.handle_refused(now, to.peer, error),
                }
                self.collect(to.node);
            }
            Flight::Closed { to } => {
                self.nodes[to.node].eth.handle_disconnected(now, to.peer);
                self.collect(to.node);
            }
        }
    }

    /// Lets time pass: messages land, machines wake.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.later(time);
        loop {
            let landing = self.flights.first_key_value().map(|((at, _), _)| *at);
            let waking = self.nodes.iter().filter_map(|node| node.eth.next_timeout()).min();
            let Some(at) = landing.into_iter().chain(waking).min().filter(|at| *at <= end.instant) else {
                break;
            };
            self.now = self.now.later(at.saturating_duration_since(self.now.instant));
            if landing == Some(at) {
                let (_, flight) = self.flights.pop_first().unwrap();
                self.land(flight);
            } else {
                for node in 0..self.nodes.len() {
                    if self.nodes[node].eth.next_timeout().is_some_and(|at| at <= self.now.instant) {
                        self.nodes[node].eth.handle_timeout(self.now);
                        self.collect(node);
                    }
                }
            }
        }
        self.now = end;
    }

    /// The faults that any node has found.
    pub(crate) fn faults(&self) -> Vec<PeerFault> {
        self.nodes.iter().flat_map(|node| &node.disconnected).map(|(_, _, fault)| *fault).collect()
    }

    pub(crate) fn random_node(&mut self) -> usize {
        usize::try_from(self.rng.next_u64() % self.nodes.len() as u64).unwrap()
    }
}
