//! Whom a session reaches: the number of the session and what is known of the peer behind it.
//! What a peer may do is the business of `server`; what it says, of its protocols.

use std::{fmt, net::SocketAddr, sync::Arc, time::Instant};

use identity::{NodeId, PublicKey};

use crate::{
    capability::{Capability, SharedCapability},
    status::{Live, PeerStatus},
};

/// Numbers the connections of one server in order of their beginning. Never reused, so a late word about a session
/// that has ended reaches nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u64);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A peer as it stood when its session was established; [`PeerInfo::status`] tells how it stands now.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// The number of the session.
    pub peer_id: PeerId,
    /// The peer's key, proved in the handshake.
    pub public_key: PublicKey,
    /// The id that follows from the key.
    pub node_id: NodeId,
    /// The client's name as it tells it: to be escaped where shown, and to be believed nowhere.
    pub client_name: String,
    /// Everything the peer offers, sorted.
    pub capabilities: Vec<Capability>,
    /// What both sides have, at the versions in use.
    pub shared: Vec<SharedCapability>,
    /// The peer's end of the TCP connection.
    pub remote_addr: SocketAddr,
    /// Our end.
    pub local_addr: SocketAddr,
    /// Whether the peer dialed us.
    pub inbound: bool,
    /// Whether the peer is one of the static ones.
    pub static_peer: bool,
    /// Whether the peer is one of the trusted ones.
    pub trusted: bool,
    /// What changes.
    pub(crate) live: Arc<Live>,
}

impl PeerInfo {
    /// When the session was established.
    pub fn connected_at(&self) -> Option<Instant> {
        self.live.since()
    }

    /// Round trips, bytes and messages, and what protocols tell of the peer, as of now; once the session has ended, as of
    /// its end.
    pub fn status(&self) -> PeerStatus {
        self.live.status()
    }
}
