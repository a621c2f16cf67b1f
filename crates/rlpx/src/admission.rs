//! Who is let in: go-ethereum's checks in its order (`p2p/server.go`), and one session where two nodes dial each other.
//! go-ethereum keeps the connection it finishes first, so our Hello is out on one connection with a node and the other is held
//! before it. Of two, that dialed by the node with the lower id goes first: the other is not let in while it has our Hello,
//! so never are both dropped. All holds have an end ([`HoldTimes`](crate::HoldTimes)), and none is between
//! two that came in: who came in has said who it is, and proves it by its Hello alone. Facts are `peer_set`'s, orders `server`'s.

use std::{collections::BTreeSet, time::Instant};

use identity::NodeId;

use crate::{
    bans::Bans,
    p2p::DisconnectReason,
    peer::PeerId,
    peer_set::{Entry, PeerSet, Stage},
    server_config::ServerConfig,
};

identity::labels! {
    /// Why the server turned a connection, a dial or a peer away, counted once each time. Layer `server`.
    pub enum Refusal {
        /// The address is outside the networks that were named.
        NetRestrict = "net_restrict",
        /// The node or its address is banned.
        Banned = "banned",
        /// The host connected a moment ago.
        Throttled = "throttled",
        /// The site has too many handshakes under way.
        HalfOpenSite = "half_open_site",
        /// There are no places for handshakes.
        PendingFull = "pending_full",
        /// A handshake made room for a newer one.
        Evicted = "evicted",
        /// A connection that had authenticated made room for a newer one before it became a peer.
        Unintroduced = "unintroduced",
        /// The server is shutting down.
        ShuttingDown = "shutting_down",
        /// No room for another peer.
        TooManyPeers = "too_many_peers",
        /// There is a session with the node.
        AlreadyConnected = "already_connected",
        /// The node is ourselves.
        OwnKey = "own_key",
        /// Nothing in common.
        Useless = "useless",
        /// A peer made room, for others to have their turn.
        Rotated = "rotated",
        /// The owner reported malice, or misbehaviour too often.
        Malicious = "malicious",
        /// A candidate is ourselves.
        CandidateOwn = "candidate_own",
        /// A candidate has no address that can be dialed.
        CandidateAddress = "candidate_address",
        /// No protocol wants a candidate, by its record or for the want of one.
        CandidateUnwanted = "candidate_unwanted",
        /// A candidate, or its address, is banned.
        CandidateBanned = "candidate_banned",
        /// A candidate is a peer already, or about to be.
        CandidateBusy = "candidate_busy",
        /// A candidate was dialed, or proved useless, a while ago.
        CandidateRecent = "candidate_recent",
        /// A candidate's host or site was dialed a moment ago.
        CandidateSite = "candidate_site",
        /// A protocol took no messages for too long.
        ProtocolStalled = "protocol_stalled",
        /// A protocol panicked.
        ProtocolPanicked = "protocol_panicked",
        /// A connection did not take the server's orders.
        ControlFull = "control_full",
        /// The system gave us no connection: too many open files, no memory.
        AcceptFailed = "accept_failed",
        /// The system had nothing to dial with: no port, too many open files, no memory.
        DialShortage = "dial_shortage",
    }
}

/// What becomes of a connection that waits to be let on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It goes on.
    Pass,
    /// It waits for another connection with the same node, at most until the moment given.
    Hold(Option<Instant>),
    /// It ends.
    Refuse(Refusal, DisconnectReason),
}

/// What the checks look at.
#[derive(Clone, Copy)]
pub(crate) struct Admission<'a> {
    pub(crate) config: &'a ServerConfig,
    pub(crate) local: NodeId,
    pub(crate) trusted: &'a BTreeSet<NodeId>,
    pub(crate) bans: &'a Bans,
    pub(crate) peers: &'a PeerSet,
}

impl Admission<'_> {
    /// For a connection that waits at [`Stage::Authenticated`] or [`Stage::Introduced`]; None for any other.
    pub(crate) fn judge(&self, now: Instant, id: PeerId) -> Option<Decision> {
        let entry = self.peers.entry(id)?;
        let node_id = entry.node_id?;
        let hold = match entry.stage {
            Stage::Authenticated => self.hold_before_greeting(id, entry, node_id),
            Stage::Introduced => self.hold_before_entry(id, entry, node_id),
            Stage::Dialing
            | Stage::Handshaking
            | Stage::Greeted
            | Stage::Established
            | Stage::Closing { .. } => return None,
        };
        let waits = |hold: &Option<Instant>| hold.is_none_or(|end| end > now);
        let hold = hold.filter(waits).map(Decision::Hold);
        Some(self.refuse(now, entry, node_id).or(hold).unwrap_or(Decision::Pass))
    }

    /// Bans, then go-ethereum's `postHandshakeChecks`, which it runs at both stops. Who is banned hears that it is of no
    /// use: a reason that makes most nodes stay away for long.
    fn refuse(&self, now: Instant, entry: &Entry, node_id: NodeId) -> Option<Decision> {
        if self.bans.holds_node(now, node_id) {
            return Some(Decision::Refuse(Refusal::Banned, DisconnectReason::UselessPeer));
        }
        let trusted = self.trusted.contains(&node_id);
        let full = self.peers.established() >= self.config.max_peers
            || (entry.is_inbound() && self.peers.inbound_established() >= self.config.max_inbound());
        if full && !trusted {
            return Some(Decision::Refuse(Refusal::TooManyPeers, DisconnectReason::TooManyPeers));
        }
        if self.peers.with_node(node_id).any(|(_, other)| other.stage == Stage::Established) {
            return Some(Decision::Refuse(Refusal::AlreadyConnected, DisconnectReason::AlreadyConnected));
        }
        (node_id == self.local)
            .then_some(Decision::Refuse(Refusal::OwnKey, DisconnectReason::ConnectedToSelf))
    }

    /// Until when our Hello is held back, if it is; None in place of a moment: until the other connection is settled.
    fn hold_before_greeting(&self, id: PeerId, entry: &Entry, node_id: NodeId) -> Option<Option<Instant>> {
        let end = entry.since.checked_add(self.config.times.hold.greeting);
        let mut hold = None;
        for (_, other) in self.peers.with_node(node_id).filter(|(other, _)| *other != id) {
            match other.stage {
                // A dial of ours that has the right of way and has reached somebody.
                Stage::Handshaking if self.outranks(other, entry, node_id) => hold = hold.or(Some(end)),
                // The remote node may be about to take the other one, if it is the remote node.
                Stage::Greeted if other.is_inbound() != entry.is_inbound() => hold = hold.or(Some(end)),
                Stage::Introduced => hold = Some(None),
                Stage::Dialing
                | Stage::Handshaking
                | Stage::Greeted
                | Stage::Authenticated
                | Stage::Established
                | Stage::Closing { .. } => {}
            }
        }
        hold
    }

    /// Until when this waits for one that goes first, which is not for ever: who came in may have lied about who it is.
    fn hold_before_entry(&self, id: PeerId, entry: &Entry, node_id: NodeId) -> Option<Option<Instant>> {
        let others = self.peers.with_node(node_id).filter(|(other, _)| *other != id).map(|(_, other)| other);
        let mut hold = None;
        for other in others.filter(|other| self.outranks(other, entry, node_id)) {
            match other.stage {
                Stage::Introduced => hold = Some(None),
                // Its Hello may be held back at the other end, and then has a way to go.
                Stage::Greeted => hold = hold.or(Some(entry.since.checked_add(self.config.times.hold.entry))),
                Stage::Dialing
                | Stage::Handshaking
                | Stage::Authenticated
                | Stage::Established
                | Stage::Closing { .. } => {}
            }
        }
        hold
    }

    /// Whether `one` has the right of way over `other`: of two connections in opposite directions the one that was
    /// dialed by the node with the lower id. Both nodes come to the same answer.
    fn outranks(&self, one: &Entry, other: &Entry, node_id: NodeId) -> bool {
        let dialer_is_lower = if one.is_inbound() { node_id < self.local } else { self.local < node_id };
        one.is_inbound() != other.is_inbound() && dialer_is_lower
    }
}
