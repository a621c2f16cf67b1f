//! The eth machine: all peers of one node, its gossip, its requests and theirs. Sans-IO: it is told what happens by
//! `handle_*`, commanded by plain verbs, and puts out what is to be done, in order, by [`Eth::poll_output`].
//!
//! One file a concern: `peering` (handshake, leaving, time), `incoming` (which message goes where), `transactions`,
//! `blocks` and `branches`, `asking` (requests of the owner), `serving` (requests of peers), `calls` (the backend),
//! `unsent` (what found no memory), `verdicts` (how peers serve).

mod asking;
mod blocks;
mod branches;
mod calls;
mod incoming;
mod output;
mod peering;
mod serving;
mod transactions;
mod unsent;
mod verdicts;

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use identity::Now;
use rand::{Rng, SeedableRng, rngs::ChaCha8Rng};
use rlpx::PeerId;

pub use output::{CommandId, EthEvent, EthPeerInfo, Output, Reply, RequestError};

pub use crate::fault::PeerFault;

use crate::{
    ChainStatus, Reject,
    counters::EthCounters,
    eth::{blocks::BlockGossip, calls::Calls, transactions::TransactionGossip},
    gossip::announce::Packs,
    known::FingerprintKey,
    machine_config::{REQUEST_TIMEOUT, STATUS_TIMEOUT},
    message::MessageKind,
    peers::{Peers, Phase},
    quota::Quotas,
    requests::Requests,
};

/// What the owner of a machine may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthTimes {
    /// How long a peer may take for its Status. Default: [`STATUS_TIMEOUT`].
    pub status: Duration,
    /// How long a request waits for its answer. Default: [`REQUEST_TIMEOUT`].
    pub request: Duration,
}

impl Default for EthTimes {
    fn default() -> Self {
        Self { status: STATUS_TIMEOUT, request: REQUEST_TIMEOUT }
    }
}

/// How much a machine holds, for gauges: after its peers have left all but the quotas are 0 again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Peers.
    pub peers: usize,
    /// Bytes on their way to peers.
    pub unsent_len: usize,
    /// Quotas of networks and peers.
    pub quotas: usize,
    /// Requests that wait for an answer.
    pub requests: usize,
    /// Announced transactions that are not there yet.
    pub missing_transactions: usize,
    /// Blocks that are being fetched.
    pub block_fetches: usize,
    /// Blocks that wait for their parent.
    pub orphans: usize,
    /// Calls that the backend has not answered.
    pub backend_calls: usize,
}

/// The eth machine of one node.
#[derive(Debug)]
pub struct Eth {
    times: EthTimes,
    chain: ChainStatus,
    peers: Peers,
    quotas: Quotas,
    requests: Requests<asking::Purpose>,
    transactions: TransactionGossip,
    blocks: BlockGossip,
    calls: Calls,
    outputs: VecDeque<Output>,
    counters: EthCounters,
    next_command: u64,
    /// Peers for whom something may have changed since the last output.
    touched: BTreeSet<PeerId>,
}

impl Eth {
    /// A machine without peers, of a node on the chain that `chain` tells of. `seed` feeds its choices.
    pub fn new(times: EthTimes, chain: ChainStatus, seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let fingerprints = FingerprintKey::new(rng.next_u64(), rng.next_u64());
        let latest = chain.head().number;
        Self {
            times,
            chain,
            peers: Peers::default(),
            quotas: Quotas::default(),
            requests: Requests::new(rng.next_u64()),
            transactions: TransactionGossip::new(fingerprints, rng.next_u64(), rng.next_u64()),
            blocks: BlockGossip::new(latest),
            calls: Calls::default(),
            outputs: VecDeque::new(),
            counters: EthCounters::default(),
            next_command: 0,
            touched: BTreeSet::new(),
        }
    }

    /// The next thing to do. Call after every `handle_*` and command until None. One message of a peer causes at most
    /// one output a transaction or block in it and three a peer, and what the peers' credit allows of gossip.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Eth::handle_timeout`] wants to be called, if nothing happens before.
    pub fn next_timeout(&self) -> Option<Instant> {
        let of_peers = self.peers.iter().filter_map(|(_, peer)| peer.next_timeout()).min();
        let times = [
            of_peers,
            self.requests.next_timeout(),
            self.transactions.fetcher.next_timeout(),
            self.blocks.fetches.next_timeout(),
        ];
        times.into_iter().flatten().min()
    }

    /// What is counted. The clone shares the counts.
    pub fn counters(&self) -> EthCounters {
        self.counters.clone()
    }

    /// What our Status says.
    pub fn chain_status(&self) -> &ChainStatus {
        &self.chain
    }

    /// The peers whose handshake is over.
    pub fn peer_infos(&self) -> Vec<EthPeerInfo> {
        self.peers.ready().filter_map(|(id, _)| self.peer_info(id)).collect()
    }

    /// How much the machine holds.
    pub fn holdings(&self) -> Holdings {
        Holdings {
            peers: self.peers.len(),
            unsent_len: self.peers.iter().map(|(_, peer)| peer.outbound.unsent_bytes()).sum(),
            quotas: self.quotas.len(),
            requests: self.requests.len(),
            missing_transactions: self.transactions.fetcher.len(),
            block_fetches: self.blocks.fetches.len(),
            orphans: self.blocks.orphans.len(),
            backend_calls: self.calls.len(),
        }
    }

    fn peer_info(&self, peer_id: PeerId) -> Option<EthPeerInfo> {
        let peer = self.peers.of(peer_id)?;
        let position = peer.position?;
        Some(EthPeerInfo { peer_id, node_id: peer.node_id, version: peer.version, position })
    }

    fn command(&mut self) -> CommandId {
        let id = CommandId(self.next_command);
        self.next_command = self.next_command.wrapping_add(1);
        id
    }

    fn put(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    fn event(&mut self, event: EthEvent) {
        self.put(Output::Event(event));
    }

    fn reply(&mut self, command: Option<CommandId>, reply: Reply) {
        if let Some(command) = command {
            self.put(Output::Reply { command, reply });
        }
    }

    fn reject(&self, reject: Reject, count: usize) {
        self.counters.rejects.add_many(reject, count as u64);
    }

    /// Brings all that may have changed to its end: requests to send, messages for which there is room, gossip, and whom
    /// to read. Ends every entry into the machine.
    fn settle(&mut self, now: Now) {
        self.fetch_transactions(now);
        self.fetch_blocks(now);
        let mut packs = Packs::default();
        for id in std::mem::take(&mut self.touched) {
            self.send_waiting(id);
            self.serve_next(now, id);
            self.send_gossip(now, id, &mut packs);
            self.rest(now, id);
        }
    }

    /// Puts out single messages for which the peer has room.
    fn send_waiting(&mut self, id: PeerId) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        while let Some(message) = peer.outbound.next_message() {
            count_sent(&self.counters, peer.version, &message);
            self.outputs.push_back(Output::Send { peer: id, message });
        }
    }

    /// Puts out packs of transactions and announcements for which the peer has room.
    fn send_gossip(&mut self, now: Now, id: PeerId, packs: &mut Packs) {
        let Some(peer) = self.peers.of_mut(id).filter(|peer| peer.phase == Phase::Ready) else { return };
        let (key, recent) = (&self.transactions.fingerprints, &self.transactions.recent);
        while peer.outbound.takes_gossip() {
            let full = packs.next_full(&mut peer.telling, key, recent);
            let Some(message) = full.or_else(|| packs.next_announcement(now, &mut peer.telling, key)) else {
                return;
            };
            peer.outbound.count(message.payload().len());
            count_sent(&self.counters, peer.version, &message);
            self.outputs.push_back(Output::Send { peer: id, message });
        }
    }
}

fn count_sent(counters: &EthCounters, version: crate::EthVersion, message: &rlpx::SharedMessage) {
    if let Some(kind) = MessageKind::from_code(version, message.code()) {
        counters.sent.add(kind);
        counters.sent_bytes.add_many(kind, message.payload().len() as u64);
    }
}
