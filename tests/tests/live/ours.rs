//! Our node as the live tests run it: on the chain of a `genesis.json`, in memory, on free ports of loopback. The tests
//! block, as the launcher does, so every node lives on one runtime of the test binary and is asked from the test's thread.

use std::{
    net::Ipv4Addr,
    sync::{Arc, LazyLock},
    time::Duration,
};

use devp2p::{
    Genesis, Node, NodeBuilder, NodeEvent, NodeEvents,
    discv4::{Discv4, NodeEntry},
    eth_wire::{
        Address, Block, Chain, EthConfig, EthEvent, EthHandle, EthPeerInfo, ForkSchedule, Hash, MemoryChain,
        MemoryPool, PeerFault, Transaction, TransferRequest,
    },
    identity::{Enode, NodeId, NodeKey},
    rlpx::{Event, PeerId, PeerInfo, SessionEnd},
};
use interop::{Failure, Result, eventually, geth::Geth};
use tokio::{runtime::Runtime, time::timeout};

/// No step of these tests takes three seconds on an idle machine. On a busy one geth starts slowly, and a dial that found
/// nobody is tried again after twice the time.
pub(crate) const LIMIT: Duration = Duration::from_secs(90);
/// The chain of [`interop::GENESIS`].
pub(crate) const CHAIN_ID: u64 = 1337;
/// When its first block was made; geth's blocks follow 12 s apart.
pub(crate) const GENESIS_TIME: u64 = 1_700_000_000;

/// The well-known key whose account the test network funds.
const FUNDED_KEY: &str = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("the system has threads"));

/// Runs what a node is asked to its end.
pub(crate) fn run<T>(asked: impl Future<Output = T>) -> T {
    RUNTIME.block_on(asked)
}

/// What a node of ours is made of.
pub(crate) struct Setup {
    key: NodeKey,
    genesis: Genesis,
    network_id: u64,
    blocks: Vec<Vec<u8>>,
}

impl Setup {
    /// The test network, all versions, nothing but the first block. `secret` makes the node's key.
    pub(crate) fn new(secret: u8) -> Self {
        Self {
            key: NodeKey::from_bytes(&[secret; 32]).expect("a small number is a key"),
            genesis: Genesis::from_json(interop::GENESIS).expect("the test network's file"),
            network_id: CHAIN_ID,
            blocks: Vec::new(),
        }
    }

    /// The chain of another `genesis.json`.
    pub(crate) fn genesis(mut self, text: &str) -> Self {
        self.genesis = Genesis::from_json(text).expect("a genesis file");
        self
    }

    pub(crate) const fn network_id(mut self, id: u64) -> Self {
        self.network_id = id;
        self
    }

    /// One more fork, of which others know nothing.
    pub(crate) fn time_fork(mut self, time: u64) -> Self {
        self.genesis.time_forks.push(time);
        self
    }

    /// One more block on the chain: its RLP.
    pub(crate) fn block(mut self, raw: Vec<u8>) -> Self {
        self.blocks.push(raw);
        self
    }

    /// The first block.
    pub(crate) fn first_block(&self) -> Block {
        Block::decode(self.genesis.block().into()).expect("the first block")
    }

    /// Starts the node; `more` sets what is not the chain's.
    pub(crate) fn start(self, more: impl FnOnce(NodeBuilder) -> NodeBuilder) -> Result<Ours> {
        let chain = Arc::new(MemoryChain::new(&self.first_block()));
        let (blocks, genesis) = (self.blocks, self.genesis);
        for raw in blocks {
            chain.offer(raw.into(), None);
        }
        let pool = Arc::new(MemoryPool::new(genesis.chain_id));
        let forks =
            ForkSchedule::new(Hash(genesis.hash), genesis.time, &genesis.block_forks, &genesis.time_forks);
        let config = EthConfig::new(self.network_id, forks);
        let builder = Node::builder(self.key).listen(Ipv4Addr::LOCALHOST.into(), 0);
        let builder = more(builder.eth(config, Arc::clone(&chain) as Arc<dyn Chain>, Arc::clone(&pool) as _));
        let node = run(builder.start()).map_err(|error| Failure::new(error.to_string()))?;
        let events = node.events();
        Ok(Ours { node, chain, pool, events, seen: Vec::new() })
    }

    /// Starts the node without discovery and has it dial `geth`: only now, so that no event of it is missed.
    pub(crate) fn dialing(self, geth: &Geth) -> Result<Ours> {
        let ours = self.start(NodeBuilder::no_discovery)?;
        ours.add_peer(geth.enode());
        Ok(ours)
    }
}

/// A running node of ours; it ends when dropped.
pub(crate) struct Ours {
    pub(crate) node: Node,
    pub(crate) chain: Arc<MemoryChain>,
    pub(crate) pool: Arc<MemoryPool>,
    events: NodeEvents,
    seen: Vec<NodeEvent>,
}

impl Ours {
    pub(crate) fn id(&self) -> NodeId {
        self.node.node_id()
    }

    pub(crate) fn enode(&self) -> Enode {
        self.node.enode()
    }

    pub(crate) fn eth(&self) -> &EthHandle {
        self.node.eth().expect("it follows a chain")
    }

    pub(crate) fn discovery(&self) -> &Discv4 {
        self.node.discovery().expect("it takes part in discovery")
    }

    /// Waits for an event, among those since the start or the last [`Ours::forget_events`] or to come, in which `find`
    /// finds something.
    pub(crate) fn wait_for<T>(&mut self, what: &str, find: impl Fn(&NodeEvent) -> Option<T>) -> Result<T> {
        if let Some(found) = self.seen.iter().find_map(&find) {
            return Ok(found);
        }
        let (events, seen) = (&mut self.events, &mut self.seen);
        let search = async {
            while let Some(event) = events.next().await {
                let found = find(&event);
                seen.push(event);
                if found.is_some() {
                    return found;
                }
            }
            None
        };
        run(async { timeout(LIMIT, search).await }).ok().flatten().ok_or_else(|| {
            let seen: String = self.seen.iter().map(|event| format!("  | {event:?}\n")).collect();
            Failure::new(format!("waited for {what}; the node's events:\n{seen}"))
        })
    }

    /// Later calls find only what comes from now on.
    pub(crate) fn forget_events(&mut self) {
        self.seen.clear();
    }

    /// Dials a node, and again whenever it is lost.
    pub(crate) fn add_peer(&self, node: &Enode) {
        run(self.node.add_peer(node.clone())).expect("the node runs and has room");
    }

    /// The peer `id`, once its session is established.
    pub(crate) fn connected(&mut self, id: NodeId) -> Result<Arc<PeerInfo>> {
        self.wait_for("the peer to connect", |event| {
            let NodeEvent::Transport(Event::PeerConnected(info)) = event else { return None };
            (info.node_id == id).then(|| Arc::clone(info))
        })
    }

    /// Why the session with the peer `id` ended.
    pub(crate) fn disconnected(&mut self, id: NodeId) -> Result<SessionEnd> {
        self.wait_for("the peer to leave", |event| {
            let NodeEvent::Transport(Event::PeerDisconnected { info, end, .. }) = event else { return None };
            (info.node_id == id).then_some(*end)
        })
    }

    /// Why a dial to the node `id` led to no session.
    pub(crate) fn dial_failed(&mut self, id: NodeId) -> Result<SessionEnd> {
        self.wait_for("the dial to fail", |event| {
            let NodeEvent::Transport(Event::DialFailed { public_key, end, .. }) = event else { return None };
            (public_key.node_id() == id).then_some(*end)
        })
    }

    /// The peer `id`, once Status messages are exchanged.
    pub(crate) fn ready(&mut self, id: NodeId) -> Result<EthPeerInfo> {
        self.wait_for("the eth handshake", |event| {
            let NodeEvent::Eth(EthEvent::PeerReady(info)) = event else { return None };
            (info.node_id == id).then_some(*info)
        })
    }

    /// The rule by which we refused the peer `id`.
    pub(crate) fn refused(&mut self, id: NodeId) -> Result<PeerFault> {
        self.wait_for("the refusal", |event| {
            let NodeEvent::Eth(EthEvent::PeerRefused { node_id, fault, .. }) = event else { return None };
            (*node_id == id).then_some(*fault)
        })
    }

    /// The peer that gave us the transaction `hash`, once one has.
    pub(crate) fn giver(&mut self, hash: Hash) -> Result<Option<PeerId>> {
        self.wait_for("the transaction", |event| {
            let NodeEvent::Eth(EthEvent::TransactionsReceived { peer, new, .. }) = event else { return None };
            new.contains(&hash).then_some(*peer)
        })
    }

    /// The nodes of the table of discovery v4.
    pub(crate) fn table(&self) -> Result<Vec<NodeEntry>> {
        let table = run(self.discovery().table()).map_err(|error| Failure::new(error.to_string()))?;
        Ok(table.nodes().cloned().collect())
    }

    /// Waits until `find` finds a node in the table of discovery v4.
    pub(crate) fn wait_for_node(&self, what: &str, find: impl Fn(&NodeEntry) -> bool) -> Result<NodeEntry> {
        eventually(what, LIMIT, || Ok(self.table()?.into_iter().find(&find)))
    }
}

/// A transfer of the funded account, with a tip that geth takes.
pub(crate) fn transfer(nonce: u64) -> Transaction {
    let sender = NodeKey::from_hex(FUNDED_KEY).expect("a known key");
    TransferRequest::new(CHAIN_ID, nonce, Address([0x11; 20]), 1).sign(&sender)
}
