//! What the server's task and those of its connections say to each other. What follows is theirs: `server_task.rs`,
//! `peer_task.rs`.

use std::{net::SocketAddr, sync::Arc};

use identity::PublicKey;
use tokio::sync::oneshot;

use crate::{Verdict, p2p::DisconnectReason, peer::PeerInfo};

/// What the server orders. When the way of the orders closes, the connection ends without a word.
#[derive(Debug)]
pub(super) enum Order {
    /// Go past the first stop.
    Greet,
    /// Go past the second: this is a peer now.
    Establish { static_peer: bool, trusted: bool },
    /// Say why and end.
    Disconnect(DisconnectReason),
}

/// What a connection reports to the server, under its number. That it has ended is seen by its task's end.
#[derive(Debug)]
pub(super) enum Report {
    /// A dial is about to try another of its addresses, if it may.
    Trying(SocketAddr, oneshot::Sender<bool>),
    /// TCP has connected.
    Connected(SocketAddr),
    /// Auth has come, on a connection that was accepted.
    Auth,
    /// The node at the other end has proved its key.
    Authenticated(PublicKey),
    /// Hello came; so many capabilities are shared.
    Hello(usize),
    /// A protocol says how the peer serves.
    Verdict(Verdict),
    /// The protocols have been told of the peer.
    Established(Arc<PeerInfo>),
}
