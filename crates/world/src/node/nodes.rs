//! Many nodes on one simulated network: they are started and stopped by number, and what happens goes to whom it happens.
//! What a node keeps while it does not run is its key, its place and its chain; who starts it brings its pool.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use discv4::NodeEntry;
use eth_wire::{BlockBuilder, EthEvent, EthVersion, MemoryChain, MemoryPool, PeerFault};
use identity::{Enode, NodeKey};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use rlpx::ServerConfig;
use simnet::{HostId, Net};

use super::{GENESIS_TIME, Node, NodeConfig};
use crate::{
    numbered_key,
    place::{endpoint_of, ip_of},
};

/// A node, whether it runs or not.
#[derive(Debug)]
struct Member {
    key: Arc<NodeKey>,
    host: HostId,
    bootnodes: Vec<NodeEntry>,
    chain: Arc<MemoryChain>,
    node: Option<Node>,
    /// What former runs of it disconnected peers for.
    accusations: Vec<PeerFault>,
}

/// What a node told, and when.
#[derive(Clone, Debug)]
pub struct Happening {
    /// Virtual time since the beginning.
    pub at: Duration,
    /// The node's number.
    pub node: usize,
    /// What.
    pub event: EthEvent,
}

/// Nodes on a simulated network, all on one chain.
#[derive(Debug)]
pub struct Nodes {
    /// The network under them.
    pub net: Net,
    versions: Vec<EthVersion>,
    server: ServerConfig,
    members: Vec<Member>,
    by_host: BTreeMap<HostId, usize>,
    happenings: Vec<Happening>,
    rng: ChaCha8Rng,
}

impl Nodes {
    /// An empty network of nodes that offer these versions of eth and have this server. All that is left to chance
    /// follows from `seed`.
    pub fn new(seed: u64, versions: Vec<EthVersion>, server: ServerConfig) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self {
            net: Net::new(rng.random()),
            versions,
            server,
            members: Vec::new(),
            by_host: BTreeMap::new(),
            happenings: Vec::new(),
            rng,
        }
    }

    /// Adds a node in a /24 of its own. It does not run yet. Its number.
    pub fn add(&mut self, bootnodes: Vec<NodeEntry>) -> usize {
        let index = self.members.len();
        let number = number(index);
        let host = self.net.add_host(ip_of(number));
        self.net.set_down(host, true);
        self.by_host.insert(host, index);
        self.members.push(Member {
            key: Arc::new(numbered_key(u64::from(number) + 1)),
            host,
            bootnodes,
            chain: Arc::new(MemoryChain::new(&BlockBuilder::genesis(GENESIS_TIME).build())),
            node: None,
            accusations: Vec::new(),
        });
        index
    }

    /// Starts a node with a pool.
    pub fn start(&mut self, index: usize, pool: Arc<MemoryPool>) {
        let Some(member) = self.members.get_mut(index).filter(|member| member.node.is_none()) else { return };
        self.net.set_down(member.host, false);
        let config = NodeConfig {
            key: Arc::clone(&member.key),
            endpoint: endpoint_of(number(index)),
            bootnodes: member.bootnodes.clone(),
            versions: self.versions.clone(),
            server: self.server.clone(),
            chain: Arc::clone(&member.chain),
            pool,
        };
        member.node = Some(Node::start(&mut self.net, member.host, config, self.rng.random()));
        self.collect(index);
    }

    /// Stops a node without a word to anybody.
    pub fn stop(&mut self, index: usize) {
        let Some(member) = self.members.get_mut(index) else { return };
        if let Some(node) = member.node.take() {
            member.accusations.extend_from_slice(node.accusations());
            self.net.set_down(member.host, true);
        }
    }

    /// A node as others may be told of it.
    pub fn entry(&self, index: usize) -> NodeEntry {
        NodeEntry::new(self.members[index].key.public_key(), endpoint_of(number(index)))
    }

    /// A node as others dial it.
    pub fn enode(&self, index: usize) -> Enode {
        Enode::new(self.members[index].key.public_key(), endpoint_of(number(index)))
    }

    /// The host of a node.
    pub fn host(&self, index: usize) -> HostId {
        self.members[index].host
    }

    /// How many there are, whether they run or not.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// A node that runs.
    pub fn node(&self, index: usize) -> Option<&Node> {
        self.members.get(index)?.node.as_ref()
    }

    /// Those that run, by number.
    pub fn running(&self) -> impl Iterator<Item = (usize, &Node)> {
        self.members.iter().enumerate().filter_map(|(index, member)| Some((index, member.node.as_ref()?)))
    }

    /// Has a node that runs do something; None when it does not run.
    pub fn with<T>(&mut self, index: usize, act: impl FnOnce(&mut Node, &mut Net) -> T) -> Option<T> {
        let node = self.members.get_mut(index)?.node.as_mut()?;
        let done = act(node, &mut self.net);
        self.collect(index);
        Some(done)
    }

    /// Lets virtual time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.net.now().later(time).instant;
        while let Some(event) = self.net.next_event(until) {
            let host = host_of(&event);
            let Some(index) = self.by_host.get(&host).copied() else { continue };
            self.with(index, |node, net| node.handle(net, event));
        }
    }

    /// What was told since the last call, in order.
    pub fn take_happenings(&mut self) -> Vec<Happening> {
        std::mem::take(&mut self.happenings)
    }

    /// What nodes disconnected peers for, since the beginning.
    pub fn accusations(&self) -> Vec<PeerFault> {
        let of_member = |member: &Member| {
            let now = member.node.as_ref().map(Node::accusations).unwrap_or_default();
            [&member.accusations, now].concat()
        };
        self.members.iter().flat_map(of_member).collect()
    }

    fn collect(&mut self, index: usize) {
        let at = self.net.elapsed();
        if let Some(node) = self.members[index].node.as_mut() {
            let events = node.take_events().into_iter();
            self.happenings.extend(events.map(|event| Happening { at, node: index, event }));
        }
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn host_of(event: &simnet::Event) -> HostId {
    use simnet::Event as E;
    match event {
        E::Datagram { host, .. }
        | E::Accepted { host, .. }
        | E::Connected { host, .. }
        | E::ConnectFailed { host, .. }
        | E::Readable { host, .. }
        | E::Writable { host, .. }
        | E::Closed { host, .. }
        | E::Wake { host } => *host,
    }
}
