//! A running node: one handle to its discovery, its peers and its chain protocol. It forwards and adds up, and keeps
//! the node's record true while forks pass; it decides nothing that a layer decides. What is not offered here is
//! reached through `discovery()`, `server()` and `eth()`. How its parts are made and joined is `builder.rs`.

use std::sync::{Arc, Mutex};

use discv4::Discv4;
use eth_wire::EthHandle;
use identity::{CurvePool, Endpoint, Enode, Enr, NodeId, NodeKey, PublicKey};
use rlpx::{CommandError, Nat, PeerInfo, Protocol, Server};
use tokio::{sync::broadcast, task::JoinHandle};

use crate::{
    builder::NodeBuilder,
    event::{self, MAX_EVENTS, NodeEvents},
    record::LocalRecord,
    shared::Shared,
};

/// A running node. Cheap to clone; it ends with [`Node::shutdown`], or when its last clone is dropped.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

/// What a builder has started.
pub(crate) struct Parts {
    pub(crate) endpoint: Endpoint,
    pub(crate) record: LocalRecord,
    pub(crate) nat: Option<Nat>,
    pub(crate) discovery: Option<Discv4>,
    pub(crate) server: Server,
    pub(crate) eth: Option<EthHandle>,
    pub(crate) protocols: Vec<Arc<dyn Protocol>>,
    pub(crate) curve_pool: Arc<CurvePool>,
}

struct Inner {
    public_key: PublicKey,
    shared: Arc<Shared>,
    events: broadcast::Sender<crate::NodeEvent>,
    pump: JoinHandle<()>,
    // Dropped last: what its threads still answer must find its owners gone, not the other way round.
    _curve_pool: Arc<CurvePool>,
}

/// Bytes on the node's sockets, discovery and peers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes read.
    pub received: u64,
    /// Bytes written.
    pub sent: u64,
}

impl Node {
    /// Begins a node with the key `key`.
    pub fn builder(key: NodeKey) -> NodeBuilder {
        NodeBuilder::new(key)
    }

    pub(crate) fn new(parts: Parts) -> Self {
        let public_key = parts.record.current().public_key();
        let shared = Arc::new(Shared {
            record: Mutex::new(parts.record),
            endpoint: parts.endpoint,
            nat: parts.nat,
            discovery: parts.discovery,
            server: parts.server,
            eth: parts.eth,
            protocols: parts.protocols,
        });
        let (events, _) = broadcast::channel(MAX_EVENTS);
        let pump = event::start_pump(Arc::clone(&shared), events.clone());
        let inner = Inner { public_key, shared, events, pump, _curve_pool: parts.curve_pool };
        Self(Arc::new(inner))
    }

    /// The node's id.
    pub fn node_id(&self) -> NodeId {
        self.0.public_key.node_id()
    }

    /// The URL that others reach this node by, as far as is known.
    pub fn enode(&self) -> Enode {
        Enode::new(self.0.public_key, self.0.shared.endpoint())
    }

    /// The node's own record as it stands.
    pub fn enr(&self) -> Enr {
        self.0.shared.record()
    }

    /// Makes a new record when the entries of a protocol have changed. Done by itself every ten seconds.
    pub async fn refresh_record(&self) {
        self.0.shared.refresh_record(self.0.shared.endpoint()).await;
    }

    /// Discovery, unless the node takes no part in it.
    pub fn discovery(&self) -> Option<&Discv4> {
        self.0.shared.discovery.as_ref()
    }

    /// The transport: peers, limits, bans.
    pub fn server(&self) -> &Server {
        &self.0.shared.server
    }

    /// Port mapping, where the node was given a method.
    pub fn nat(&self) -> Option<&Nat> {
        self.0.shared.nat.as_ref()
    }

    /// The chain protocol, where the node follows a chain.
    pub fn eth(&self) -> Option<&EthHandle> {
        self.0.shared.eth.as_ref()
    }

    /// The peers connected now.
    pub async fn peers(&self) -> Vec<Arc<PeerInfo>> {
        self.server().peers().await
    }

    /// Stays connected to `node` from now on.
    ///
    /// # Errors
    /// [`CommandError`] when there is no room for another static peer, or the node has ended.
    pub async fn add_peer(&self, node: Enode) -> Result<(), CommandError> {
        self.server().add_peer(node).await
    }

    /// Is done with a peer, static or not: it is disconnected and not dialed again as a static one.
    ///
    /// # Errors
    /// [`CommandError`] when the node has ended.
    pub async fn remove_peer(&self, node: NodeId) -> Result<(), CommandError> {
        self.server().remove_peer(node).await
    }

    /// What happens from now on, at most [`MAX_EVENTS`] events behind: a slower reader is told how many it missed.
    pub fn events(&self) -> NodeEvents {
        NodeEvents::new(self.0.events.subscribe())
    }

    /// Bytes on the node's sockets so far.
    pub fn traffic(&self) -> Traffic {
        let peers = self.server().counters();
        let mut traffic = Traffic { received: peers.bytes_in(), sent: peers.bytes_out() };
        if let Some(discovery) = self.discovery() {
            traffic.received += discovery.counters().bytes_in();
            traffic.sent += discovery.counters().bytes_out();
        }
        traffic
    }

    /// Says goodbye to every peer (reason 8), has its ports no longer mapped, and ends, within 5 s.
    pub async fn shutdown(&self) {
        self.0.pump.abort();
        let farewells = async {
            if let Some(discovery) = self.discovery() {
                discovery.shutdown().await;
            }
            self.server().shutdown().await;
        };
        let unmapped = async {
            if let Some(nat) = self.nat() {
                nat.shutdown().await;
            }
        };
        tokio::join!(farewells, unmapped);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.pump.abort();
    }
}
