//! What a running server is to others: its key, its name, where it listens and what it offers.
//! It holds nothing that changes; whom the server is connected to, the handle tells.

use std::net::SocketAddr;

use identity::{NodeId, PublicKey};

use crate::Capability;

/// The server's own node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The node's key.
    pub public_key: PublicKey,
    /// The id that follows from the key.
    pub node_id: NodeId,
    /// The client's name as Hello tells it.
    pub client_name: String,
    /// Where the server listens, in the order in which the owner named it.
    pub local_addrs: Vec<SocketAddr>,
    /// What Hello offers, sorted.
    pub capabilities: Vec<Capability>,
    /// Peers in all. Trusted ones count, and are let in when it is full.
    pub max_peers: usize,
}
