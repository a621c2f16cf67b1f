//! Every connection of a node from its first moment to its last, and which of them are peers.
//! Here stand the facts and the counts; what follows from them is decided in `admission` and `server`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use identity::{NodeId, Prefix, PublicKey};

use crate::{admission::Refusal, peer::PeerId};

/// Who opened a connection, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The remote node.
    Inbound,
    /// We, to a node that discovery found.
    Dynamic,
    /// We, to a node of the address book.
    Known,
    /// We, to a static peer.
    Static,
}

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Outbound: a name is looked up, or TCP connects.
    Dialing,
    /// TCP stands. Of an inbound connection nobody knows yet who it is.
    Handshaking,
    /// The remote node has proved its key; our Hello is held back.
    Authenticated,
    /// Our Hello is on its way, so the remote node may take this connection for good at any moment.
    Greeted,
    /// Both Hellos are through; whether this becomes a peer is not decided.
    Introduced,
    /// A peer.
    Established,
    /// Told to end.
    Closing {
        /// With a Disconnect, which takes up to a second.
        gracefully: bool,
    },
}

/// What is known of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) origin: Origin,
    pub(crate) stage: Stage,
    /// When the stage began.
    pub(crate) since: Instant,
    /// When the peer was established.
    pub(crate) established_at: Option<Instant>,
    /// The remote node: known from the start of a dial, and from the handshake on for who came in.
    pub(crate) public_key: Option<PublicKey>,
    pub(crate) node_id: Option<NodeId>,
    /// Where it came from or goes; first the address that was reached, while it is dialed those that are raced in order.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Inbound: its auth has come. Whether it proves a key is not known before the work on the curve is done.
    pub(crate) auth_arrived: bool,
    /// The rule by which the server ended it.
    pub(crate) rule: Option<Refusal>,
}

impl Entry {
    pub(crate) fn inbound(now: Instant, from: SocketAddr) -> Self {
        Self {
            origin: Origin::Inbound,
            stage: Stage::Handshaking,
            since: now,
            established_at: None,
            public_key: None,
            node_id: None,
            addresses: vec![from],
            auth_arrived: false,
            rule: None,
        }
    }

    pub(crate) fn outbound(now: Instant, origin: Origin, remote: PublicKey) -> Self {
        Self {
            origin,
            stage: Stage::Dialing,
            since: now,
            established_at: None,
            public_key: Some(remote),
            node_id: Some(remote.node_id()),
            addresses: Vec::new(),
            auth_arrived: false,
            rule: None,
        }
    }

    pub(crate) fn is_inbound(&self) -> bool {
        self.origin == Origin::Inbound
    }

    pub(crate) fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing { .. })
    }

    fn is_pending(&self) -> bool {
        self.stage != Stage::Established && !self.is_closing()
    }

    /// An inbound connection whose sender has proved a key and is no peer yet.
    pub(crate) fn is_newcomer(&self) -> bool {
        self.is_inbound() && matches!(self.stage, Stage::Authenticated | Stage::Greeted | Stage::Introduced)
    }

    pub(crate) fn is_of_site(&self, site: Prefix) -> bool {
        self.addresses.iter().any(|address| Prefix::site(address.ip()) == site)
    }

    /// Whether any address of the connection is such.
    pub(crate) fn has_address(&self, is_such: impl Fn(IpAddr) -> bool) -> bool {
        self.addresses.iter().any(|address| is_such(address.ip()))
    }

    /// An inbound connection whose sender has proved nothing.
    fn is_unproven(&self) -> bool {
        self.is_inbound() && self.stage == Stage::Handshaking
    }

    /// One whose auth has not come: it costs its sender nothing to leave it so.
    fn is_half_open(&self) -> bool {
        self.is_unproven() && !self.auth_arrived
    }

    /// One whose auth is looked at.
    fn is_examined(&self) -> bool {
        self.is_unproven() && self.auth_arrived
    }
}

/// All connections. As many as peers, handshakes and dials may be, and those that are just ending.
#[derive(Debug, Default)]
pub(crate) struct PeerSet {
    entries: BTreeMap<PeerId, Entry>,
    /// The connections of which the node is known, by it.
    by_node: BTreeSet<(NodeId, PeerId)>,
    started: u64,
}

impl PeerSet {
    /// Adds a connection under a new number.
    pub(crate) fn insert(&mut self, entry: Entry) -> PeerId {
        self.started += 1;
        let id = PeerId(self.started);
        self.by_node.extend(entry.node_id.map(|node_id| (node_id, id)));
        self.entries.insert(id, entry);
        id
    }

    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        if let Some(node_id) = entry.node_id {
            self.by_node.remove(&(node_id, id));
        }
        Some(entry)
    }

    /// The node at the other end is known from now on.
    pub(crate) fn identify(&mut self, id: PeerId, public_key: PublicKey) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let node_id = public_key.node_id();
        if let Some(before) = entry.node_id.replace(node_id) {
            self.by_node.remove(&(before, id));
        }
        entry.public_key = Some(public_key);
        self.by_node.insert((node_id, id));
    }

    pub(crate) fn entry(&self, id: PeerId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    pub(crate) fn entry_mut(&mut self, id: PeerId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    /// Moves a connection to `stage`.
    pub(crate) fn advance(&mut self, now: Instant, id: PeerId, stage: Stage) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.stage = stage;
            entry.since = now;
            if stage == Stage::Established {
                entry.established_at = Some(now);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Entry)> {
        self.entries.iter().map(|(id, entry)| (*id, entry))
    }

    fn all_with_node(&self, node_id: NodeId) -> impl Iterator<Item = (PeerId, &Entry)> {
        let of_node = self.by_node.range((node_id, PeerId(0))..=(node_id, PeerId(u64::MAX)));
        of_node.filter_map(|(_, id)| Some((*id, self.entries.get(id)?)))
    }

    /// The connections with one node that are not ending, in order of their beginning.
    pub(crate) fn with_node(&self, node_id: NodeId) -> impl Iterator<Item = (PeerId, &Entry)> {
        self.all_with_node(node_id).filter(|(_, entry)| !entry.is_closing())
    }

    /// Whether there is anything with the node, be it just ending.
    pub(crate) fn involves(&self, node_id: NodeId) -> bool {
        self.all_with_node(node_id).next().is_some()
    }

    /// Whether there is a connection with the node, or an attempt at one, that is not ending.
    pub(crate) fn has_node(&self, node_id: NodeId) -> bool {
        self.with_node(node_id).next().is_some()
    }

    fn count(&self, of: impl Fn(&Entry) -> bool) -> usize {
        self.entries.values().filter(|entry| of(entry)).count()
    }

    /// How many connections there are, ending ones included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn established(&self) -> usize {
        self.count(|entry| entry.stage == Stage::Established)
    }

    pub(crate) fn inbound_established(&self) -> usize {
        self.count(|entry| entry.stage == Stage::Established && entry.is_inbound())
    }

    pub(crate) fn outbound_established(&self) -> usize {
        self.count(|entry| entry.stage == Stage::Established && !entry.is_inbound())
    }

    pub(crate) fn half_open(&self) -> usize {
        self.count(Entry::is_half_open)
    }

    pub(crate) fn dialing(&self) -> usize {
        self.count(|entry| !entry.is_inbound() && entry.is_pending())
    }

    /// Dials to nodes of the address book.
    pub(crate) fn dialing_known(&self) -> usize {
        self.count(|entry| entry.origin == Origin::Known && entry.is_pending())
    }

    pub(crate) fn closing_gracefully(&self) -> usize {
        self.count(|entry| entry.stage == Stage::Closing { gracefully: true })
    }

    /// Connections from one site that have proved nothing.
    pub(crate) fn unproven_of(&self, site: Prefix) -> usize {
        self.count(|entry| entry.is_unproven() && entry.is_of_site(site))
    }

    /// The oldest connection whose auth is looked at, when there are more than `limit`.
    pub(crate) fn surplus_examined(&self, limit: usize) -> Option<PeerId> {
        let mut examined = self.iter().filter(|(_, entry)| entry.is_examined());
        let oldest = examined.next().map(|(id, _)| id);
        oldest.filter(|_| examined.count() >= limit)
    }

    /// The half-open connection that has waited longest.
    pub(crate) fn oldest_half_open(&self) -> Option<PeerId> {
        self.iter().find(|(_, entry)| entry.is_half_open()).map(|(id, _)| id)
    }

    /// The oldest of the newcomers that are `such`, when there are more than `limit`.
    pub(crate) fn surplus_newcomer(&self, limit: usize, such: impl Fn(&Entry) -> bool) -> Option<PeerId> {
        let mut newcomers = self.iter().filter(|(_, entry)| entry.is_newcomer() && such(entry));
        let oldest = newcomers.next().map(|(id, _)| id);
        oldest.filter(|_| newcomers.count() >= limit)
    }
}
