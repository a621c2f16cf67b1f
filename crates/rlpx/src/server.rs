//! The machine over all connections of a node: whom to accept, whom to dial, who becomes a peer, who has to go.
//! It sees no frame and owns no socket: connections report to it and take its orders.
//!
//! For every connection it is told of the steps in order: accepted or dialed ([`Output::Connect`]), connected,
//! authenticated, introduced (Hello exchanged), and in any case [`Server::handle_closed`], once, last.

mod connections;
mod dials;
mod known;
mod owner;
mod turnover;

use std::{
    collections::{BTreeSet, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use identity::{Counters, NodeId, Now, Prefix, PublicKey};

use crate::{
    address_book::BookChanges,
    admission::{Admission, Decision, Refusal},
    bans::Bans,
    dialer::Dialer,
    endings::Endings,
    error::SessionEnd,
    expiring::Expiring,
    p2p::DisconnectReason,
    peer::PeerId,
    peer_set::PeerSet,
    rotation::Rotation,
    server_config::ServerConfig,
    standing::Standings,
};

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Look up the addresses of a host, then [`Server::handle_resolved`].
    Resolve {
        /// The dial.
        id: PeerId,
        /// The DNS name.
        name: String,
        /// The TCP port that goes with each address.
        port: u16,
    },
    /// Open a TCP connection, report it, and begin the handshake as initiator.
    Connect {
        /// The dial.
        id: PeerId,
        /// Who is expected there.
        remote: PublicKey,
        /// Where, to be tried as a [`Race`](crate::Race) in this order, all but the first after
        /// [`Server::handle_attempt`]. At most [`DialLimits::addresses`](crate::DialLimits::addresses).
        addresses: Vec<SocketAddr>,
    },
    /// Let the session past its first stop: our Hello may go out.
    Greet(PeerId),
    /// Let the session past its second stop: it is a peer.
    Establish {
        /// The connection.
        id: PeerId,
        /// Whether the peer is a static one.
        static_peer: bool,
        /// Whether the peer is a trusted one.
        trusted: bool,
    },
    /// End the session and say why.
    Disconnect(PeerId, DisconnectReason),
    /// End the connection, or the attempt at one, without a word.
    Abort(PeerId),
    /// Tell the owner that somebody at this address has proved our own key: another process uses it.
    KeyInUse(SocketAddr),
    /// Write this to the address book's file, in one transaction, then [`Server::handle_stored`].
    Store(BookChanges),
}

/// Why a command of the owner is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The node is this one.
    #[error("a node cannot be a peer of itself")]
    Own,
    /// The node has no TCP port, so it cannot be dialed.
    #[error("a node without a TCP port cannot be dialed")]
    NoPort,
    /// The list is full.
    #[error("no room: static or trusted peers are as many as limits.lists allows: remove some, or raise it")]
    Full,
    /// The server has shut down.
    #[error("the server has shut down")]
    Closed,
}

/// What the machine counts. Clones share the counts.
#[derive(Clone, Debug, Default)]
pub struct ServerCounts {
    /// What was turned away, by rule.
    pub refusals: Counters<Refusal>,
    /// How peers left.
    pub left: Endings,
    /// How connections ended that never became a peer: dials, and whoever came in and proved a key.
    pub turned_away: Endings,
}

/// The machine over all connections of a node.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    local: NodeId,
    peers: PeerSet,
    dialer: Dialer,
    trusted: BTreeSet<NodeId>,
    throttle: Expiring<Prefix>,
    bans: Bans,
    standings: Standings,
    rotation: Rotation,
    counts: ServerCounts,
    outputs: VecDeque<Output>,
    shutting_down: bool,
}

impl Server {
    /// A server for the node `local`. Static peers of `config` are due at once; those beyond the limits of its lists are
    /// left out. `seed` decides on jitter, and on when and whom rotation takes.
    pub fn new(now: Now, config: ServerConfig, local: PublicKey, seed: u64) -> Self {
        let mut server = Self {
            local: local.node_id(),
            peers: PeerSet::default(),
            dialer: Dialer::new(seed, &config.limits.dials),
            trusted: config.trusted.iter().copied().take(config.limits.lists.trusted).collect(),
            throttle: Expiring::new(config.limits.admission.throttled_hosts),
            bans: Bans::new(&config.limits.lists),
            standings: Standings::new(&config.limits.lists),
            rotation: Rotation::new(seed),
            counts: ServerCounts::default(),
            outputs: VecDeque::new(),
            shutting_down: false,
            config,
        };
        for enode in std::mem::take(&mut server.config.static_peers) {
            // One too many, or this node itself: the rest still counts.
            let _ = server.list_static(now, enode);
        }
        server.dial_static(now);
        server
    }

    /// What was turned away, by reason. Clones share the counts.
    pub fn refusals(&self) -> &Counters<Refusal> {
        &self.counts.refusals
    }

    /// All that is counted.
    pub fn counts(&self) -> &ServerCounts {
        &self.counts
    }

    /// Who is at the other end of a connection, as far as it is known.
    pub fn public_key(&self, id: PeerId) -> Option<PublicKey> {
        self.peers.entry(id).and_then(|entry| entry.public_key)
    }

    /// How a connection has ended of which [`Self::handle_closed`] is still to be told `end`: what is known here comes before
    /// what one that was cut off could say of itself.
    pub fn end_of(&self, id: PeerId, end: SessionEnd) -> SessionEnd {
        let known = self.peers.entry(id).and_then(|entry| entry.end);
        known.filter(|_| end == SessionEnd::ABORTED).map_or(end, SessionEnd::from)
    }

    /// The rule by which the server has ended a connection, until it is reported closed. None: the owner, the remote
    /// node or the session itself ends it, or nobody does.
    pub fn rule(&self, id: PeerId) -> Option<Refusal> {
        self.peers.entry(id).and_then(|entry| entry.rule)
    }

    /// Whether a node is static, and whether it is trusted.
    pub fn privileges(&self, node_id: &NodeId) -> (bool, bool) {
        (self.dialer.is_static(node_id), self.trusted.contains(node_id))
    }

    /// How many peers there are.
    pub fn peer_count(&self) -> usize {
        self.peers.established()
    }

    /// How many connections there are in all: peers, handshakes, dials, and what is ending.
    pub fn connection_count(&self) -> usize {
        self.peers.len()
    }

    /// How many nodes and addresses are remembered for throttles, redials, bans and reports. Never over the
    /// limits of [`Limits`](crate::Limits).
    pub fn record_count(&self) -> usize {
        self.dialer.record_count() + self.throttle.len() + self.bans.len() + self.standings.len()
    }

    /// The next thing to do, until None.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`]: never later than something is due.
    pub fn next_timeout(&self, now: Now) -> Option<Instant> {
        if self.shutting_down {
            return None;
        }
        let holds =
            self.peers.waiting().filter_map(|(id, _)| match self.admission().judge(now.instant, id) {
                Some(Decision::Hold(until)) => until,
                Some(Decision::Pass | Decision::Refuse(..)) => Some(now.instant),
                None => None,
            });
        let banned_until = |node_id| self.bans.end_of_node(now.instant, node_id);
        let is_busy = |node_id| self.peers.involves(node_id);
        let statics = self.dialer.next_static(now.instant, is_busy, banned_until);
        // One that became due while its owner was busy with something else.
        let overdue = self.static_to_dial(now).map(|_| now.instant);
        let budget = (self.dial_slots(now) > 0).then(|| self.dialer.budget_end()).flatten();
        let budget = budget.filter(|end| *end > now.instant);
        holds
            .chain(statics)
            .chain(overdue)
            .chain(budget)
            .chain(self.rotation.due())
            .chain(self.next_known(now))
            .chain(self.dialer.shortage.ends_at(now.instant))
            .min()
    }

    /// A moment has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.dialer.expire(now.instant);
        self.throttle.expire(now.instant);
        self.bans.expire(now.instant);
        self.standings.expire(now.instant);
        let waiting: BTreeSet<NodeId> = self.peers.waiting().filter_map(|(_, entry)| entry.node_id).collect();
        for node_id in waiting {
            self.settle(now, node_id);
        }
        self.rotate(now);
        self.keep_book(now);
        self.dial_static(now);
        self.dial_known(now);
    }

    fn admission(&self) -> Admission<'_> {
        let Self { config, local, trusted, bans, peers, .. } = self;
        Admission { config, local: *local, trusted, bans, peers }
    }
}
