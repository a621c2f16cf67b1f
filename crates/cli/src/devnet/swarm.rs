//! The nodes of the devnet: complete ones that share nothing but the process and the threads for curve work.
//! Each knows the first one's URL; whom it finds and dials is its own affair.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroUsize,
    sync::Arc,
};

use bytes::Bytes;
use devp2p::{
    Node,
    eth_wire::{Delivery, EthConfig, EthVersion, Hash, Insert, Offer},
    identity::{CurvePool, NodeId, NodeKey},
};
use rand::{rand_core::UnwrapErr, rngs::SysRng};

use super::{
    client::Client,
    ledger::{Receiver, now},
    view::Row,
};
use crate::{failure::Failure, setup::NewChain};

/// How many peers each node must have before items enter, unless there are fewer nodes.
const WANTED_PEERS: usize = 8;

/// All nodes of the run, the stopped ones too.
pub(super) struct Swarm {
    members: Vec<Member>,
}

struct Member {
    node: Node,
    client: Client,
    stopped: Option<std::time::Instant>,
    /// As it stood when it was last looked at.
    row: Row,
}

/// Sums over the nodes.
pub(super) struct Totals {
    /// The fewest and the most peers of a running node.
    pub(super) peers: (usize, usize),
    pub(super) bytes_received: u64,
    pub(super) duplicate_transactions: u64,
    pub(super) duplicate_blocks: u64,
}

impl Swarm {
    /// Starts `count` nodes; all but the first know the first one's URL and nothing else.
    pub(super) async fn start(count: usize) -> Result<Self, Failure> {
        let chain = NewChain::private();
        let curve = Arc::new(CurvePool::shared_by(NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN)));
        let mut members: Vec<Member> = Vec::with_capacity(count);
        for _ in 0..count {
            let client = Client::new(&chain.genesis);
            let bootnode = members.first().map(|first| first.node.enode());
            let key = NodeKey::generate(&mut UnwrapErr(SysRng));
            let builder = Node::builder(key)
                .listen(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)
                .bootnodes(bootnode)
                .curve_pool(Arc::clone(&curve))
                .eth(eth_config(&chain), Arc::new(client.clone()), Arc::new(client.clone()));
            let node = builder.start().await.map_err(Failure::input)?;
            members.push(Member {
                node,
                client,
                stopped: None,
                row: Row { running: true, ..Row::default() },
            });
        }
        Ok(Self { members })
    }

    /// The places of the nodes that run.
    pub(super) fn running(&self) -> Vec<usize> {
        self.members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.stopped.is_none())
            .map(|(index, _)| index)
            .collect()
    }

    /// Whether each running node has its peers and there is a way from each to each.
    pub(super) async fn is_connected(&self) -> bool {
        let mut edges: BTreeMap<NodeId, Vec<NodeId>> = BTreeMap::new();
        for member in self.members.iter().filter(|member| member.stopped.is_none()) {
            let Some(eth) = member.node.eth() else { continue };
            let ready = eth.peers().await.iter().map(|peer| peer.node_id).collect();
            edges.insert(member.node.node_id(), ready);
        }
        let wanted = WANTED_PEERS.min(edges.len().saturating_sub(1));
        edges.values().all(|peers| peers.len() >= wanted) && is_one_graph(&edges)
    }

    /// Enters a transaction at the node at `origin`; whether its pool took it.
    pub(super) async fn submit_transaction(&self, origin: usize, envelope: Bytes) -> bool {
        let Some(eth) = self.members.get(origin).and_then(|member| member.node.eth()) else { return false };
        matches!(eth.submit_transaction(envelope).await, Ok(Insert::New))
    }

    /// Lets the node at `origin` make a block at `time` (seconds since 1970): its hash and length.
    pub(super) async fn produce_block(&self, origin: usize, time: u64) -> Option<(Hash, usize)> {
        let member = self.members.get(origin)?;
        let block = member.client.next_block(time)?;
        let (hash, len) = (block.header.hash, block.raw.len());
        let offer = member.node.eth()?.submit_block(block.raw, None).await;
        matches!(offer, Ok(Offer::New { .. })).then_some((hash, len))
    }

    /// Stops the nodes at these places, all at once.
    pub(super) async fn stop(&mut self, places: &[usize]) {
        let mut stopping = tokio::task::JoinSet::new();
        for place in places {
            let Some(member) = self.members.get_mut(*place) else { continue };
            member.stopped = Some(now().instant);
            member.row.running = false;
            let node = member.node.clone();
            stopping.spawn(async move { node.shutdown().await });
        }
        while stopping.join_next().await.is_some() {}
    }

    /// Stops every node that still runs.
    pub(super) async fn shutdown(&mut self) {
        let running = self.running();
        self.stop(&running).await;
    }

    /// What each node shows now.
    pub(super) async fn rows(&mut self) -> Vec<Row> {
        for member in self.members.iter_mut().filter(|member| member.stopped.is_none()) {
            member.row.table_len = match member.node.discovery() {
                Some(discovery) => discovery.table().await.map_or(0, |table| table.len()),
                None => 0,
            };
            member.row.peers = member.node.server().peer_count();
            member.row.bytes = member.node.traffic().received;
            (member.row.transactions, member.row.blocks) = member.client.arrivals().counts();
        }
        self.members.iter().map(|member| member.row.clone()).collect()
    }

    /// The nodes as the count of deliveries sees them.
    pub(super) fn receivers(&self) -> Vec<Receiver> {
        let receiver = |member: &Member| Receiver {
            arrivals: member.client.arrivals().clone(),
            stopped: member.stopped,
        };
        self.members.iter().map(receiver).collect()
    }

    /// Sums over all nodes, the stopped ones too; peers of the running ones.
    pub(super) fn totals(&self) -> Totals {
        let running = self.members.iter().filter(|member| member.stopped.is_none());
        let peers: Vec<usize> = running.map(|member| member.node.server().peer_count()).collect();
        let duplicates = |kind: Delivery| {
            self.members
                .iter()
                .filter_map(|member| member.node.eth())
                .map(|eth| eth.counters().deliveries.count(kind))
                .sum()
        };
        Totals {
            peers: (peers.iter().min().copied().unwrap_or(0), peers.iter().max().copied().unwrap_or(0)),
            bytes_received: self.members.iter().map(|member| member.node.traffic().received).sum(),
            duplicate_transactions: duplicates(Delivery::TransactionAgain),
            duplicate_blocks: duplicates(Delivery::BlockAgain),
        }
    }
}

/// eth/68 alone: later versions gossip no blocks.
fn eth_config(chain: &NewChain) -> EthConfig {
    EthConfig { versions: vec![EthVersion::Eth68], ..chain.eth_config() }
}

/// Whether every node can be reached from the first, over edges that both ends count.
fn is_one_graph(edges: &BTreeMap<NodeId, Vec<NodeId>>) -> bool {
    let Some(first) = edges.keys().next() else { return true };
    let mut reached = std::collections::BTreeSet::from([*first]);
    let mut frontier = vec![*first];
    while let Some(node) = frontier.pop() {
        for peer in edges.get(&node).into_iter().flatten() {
            if edges.contains_key(peer) && reached.insert(*peer) {
                frontier.push(*peer);
            }
        }
    }
    reached.len() == edges.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 32])
    }

    #[test]
    fn two_islands_are_not_one_graph() {
        let mut edges = BTreeMap::from([
            (node(1), vec![node(2)]),
            (node(2), vec![node(1)]),
            (node(3), vec![node(4), node(9)]),
            (node(4), vec![node(3)]),
        ]);
        assert!(!is_one_graph(&edges));
        edges.insert(node(2), vec![node(1), node(3)]);
        assert!(is_one_graph(&edges));
    }
}
