//! Every connection of a node from its first moment to its last, and which of them are peers.
//! Here stand the facts and the counts; what follows from them is decided in `admission` and `server`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use identity::{NodeId, Prefix, PublicKey};

use crate::{
    admission::Refusal,
    error::{SessionEnd, SessionError},
    p2p::DisconnectReason,
    peer::PeerId,
};

/// Who opened a connection, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Outbound: a name is looked up, or TCP connects.
    Dialing,
    /// TCP stands. Of an inbound connection nobody knows yet who it is.
    Handshaking,
    /// The handshake is through; our Hello is held back. Who came in has said who it is: anybody can, and is found out by the
    /// MAC of its first frame.
    Authenticated,
    /// Our Hello is on its way, so the remote node may take this connection for good at any moment.
    Greeted,
    /// Both Hellos are through, so the remote node has proved its key; whether this becomes a peer is not decided.
    Introduced,
    /// A peer.
    Established,
    /// Told to end.
    Closing {
        /// With a Disconnect, which takes some time to be written and read.
        gracefully: bool,
    },
}

/// How a connection ends that was cut off, or never had a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// There was no place for it to be told this.
    Untold(DisconnectReason),
    /// Its name leads to no address that may be dialed.
    Nowhere,
}

impl From<Cut> for SessionEnd {
    fn from(cut: Cut) -> Self {
        match cut {
            Cut::Untold(reason) => Self::Local { reason, error: None },
            Cut::Nowhere => Self::Broken(SessionError::Nowhere),
        }
    }
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
    /// Its Hello has come: it is who it says it is.
    pub(crate) proved: bool,
    /// The rule by which the server ended it.
    pub(crate) rule: Option<Refusal>,
    /// How it ends, when its task cannot say so.
    pub(crate) end: Option<Cut>,
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
            proved: false,
            rule: None,
            end: None,
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
            proved: false,
            rule: None,
            end: None,
        }
    }

    const fn class(&self) -> Class {
        Class { origin: self.origin, stage: self.stage, auth_arrived: self.auth_arrived }
    }

    pub(crate) fn is_inbound(&self) -> bool {
        self.class().is_inbound()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.class().is_closing()
    }

    /// An inbound connection whose sender has said who it is and is no peer yet.
    pub(crate) fn is_newcomer(&self) -> bool {
        self.class().is_newcomer()
    }

    /// The site of one that came in and is no peer: of peers nobody asks it.
    fn came_from(&self) -> Option<Prefix> {
        let asked = self.is_inbound() && self.established_at.is_none();
        self.addresses.first().filter(|_| asked).map(|address| Prefix::site(address.ip()))
    }

    /// Whether any address of the connection is such.
    pub(crate) fn has_address(&self, is_such: impl Fn(IpAddr) -> bool) -> bool {
        self.addresses.iter().any(|address| is_such(address.ip()))
    }
}

/// What connections are counted by: an event must not look at each of some thousand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    origin: Origin,
    stage: Stage,
    auth_arrived: bool,
}

impl Class {
    fn is_inbound(&self) -> bool {
        self.origin == Origin::Inbound
    }

    const fn is_closing(&self) -> bool {
        matches!(self.stage, Stage::Closing { .. })
    }

    fn is_pending(&self) -> bool {
        self.stage != Stage::Established && !self.is_closing()
    }

    fn is_newcomer(&self) -> bool {
        self.is_inbound() && matches!(self.stage, Stage::Authenticated | Stage::Greeted | Stage::Introduced)
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
    /// All connections, by what they are counted by.
    by_class: BTreeMap<Class, BTreeSet<PeerId>>,
    /// Those that came in and have been no peers, by the site (/24, /48) that they came from.
    by_site: BTreeSet<(Prefix, PeerId)>,
    started: u64,
}

impl PeerSet {
    /// Adds a connection under a new number.
    pub(crate) fn insert(&mut self, entry: Entry) -> PeerId {
        self.started += 1;
        let id = PeerId(self.started);
        self.by_node.extend(entry.node_id.map(|node_id| (node_id, id)));
        self.by_class.entry(entry.class()).or_default().insert(id);
        self.by_site.extend(entry.came_from().map(|site| (site, id)));
        self.entries.insert(id, entry);
        id
    }

    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Entry> {
        let entry = self.entries.remove(&id)?;
        if let Some(node_id) = entry.node_id {
            self.by_node.remove(&(node_id, id));
        }
        self.leave_class(id, entry.class());
        if let Some(site) = entry.came_from() {
            self.by_site.remove(&(site, id));
        }
        Some(entry)
    }

    fn leave_class(&mut self, id: PeerId, class: Class) {
        if let Some(ids) = self.by_class.get_mut(&class) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_class.remove(&class);
            }
        }
    }

    /// Changes what a connection is counted by.
    fn reclassify(&mut self, id: PeerId, change: impl FnOnce(&mut Entry)) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let before = entry.class();
        change(entry);
        let after = entry.class();
        if before != after {
            self.leave_class(id, before);
            self.by_class.entry(after).or_default().insert(id);
        }
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

    /// The node at the other end has proved to be who it says it is.
    pub(crate) fn prove(&mut self, id: PeerId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.proved = true;
        }
    }

    pub(crate) fn entry(&self, id: PeerId) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Not for its stage, or for its auth: connections are counted by these.
    pub(crate) fn entry_mut(&mut self, id: PeerId) -> Option<&mut Entry> {
        self.entries.get_mut(&id)
    }

    /// Moves a connection to `stage`.
    pub(crate) fn advance(&mut self, now: Instant, id: PeerId, stage: Stage) {
        if let Some(site) =
            self.entries.get(&id).and_then(Entry::came_from).filter(|_| stage == Stage::Established)
        {
            self.by_site.remove(&(site, id));
        }
        self.reclassify(id, |entry| {
            entry.stage = stage;
            entry.since = now;
            if stage == Stage::Established {
                entry.established_at = Some(now);
            }
        });
    }

    /// The auth of an inbound connection has come.
    pub(crate) fn note_auth(&mut self, id: PeerId) {
        self.reclassify(id, |entry| entry.auth_arrived = true);
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

    /// Whether there is anything with the node, be it just ending. Who comes in and only says that it is the node is not.
    pub(crate) fn involves(&self, node_id: NodeId) -> bool {
        self.all_with_node(node_id).any(|(_, entry)| entry.proved || !entry.is_inbound())
    }

    /// Whether there is a connection with the node, or an attempt at one, that is not ending.
    pub(crate) fn has_node(&self, node_id: NodeId) -> bool {
        self.with_node(node_id).next().is_some()
    }

    /// The connections of every class that is `such`.
    fn classes(&self, such: impl Fn(&Class) -> bool) -> impl Iterator<Item = &BTreeSet<PeerId>> {
        self.by_class.iter().filter(move |(class, _)| such(class)).map(|(_, ids)| ids)
    }

    fn count(&self, such: impl Fn(&Class) -> bool) -> usize {
        self.classes(such).map(BTreeSet::len).sum()
    }

    /// Those that a decision of ours, or the end of a hold, lets go on.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (PeerId, &Entry)> {
        let waits = |class: &Class| matches!(class.stage, Stage::Authenticated | Stage::Introduced);
        self.classes(waits).flatten().filter_map(|id| Some((*id, self.entries.get(id)?)))
    }

    /// How many connections there are, ending ones included.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn established(&self) -> usize {
        self.count(|class| class.stage == Stage::Established)
    }

    pub(crate) fn inbound_established(&self) -> usize {
        self.count(|class| class.stage == Stage::Established && class.is_inbound())
    }

    pub(crate) fn outbound_established(&self) -> usize {
        self.count(|class| class.stage == Stage::Established && !class.is_inbound())
    }

    pub(crate) fn half_open(&self) -> usize {
        self.count(Class::is_half_open)
    }

    pub(crate) fn dialing(&self) -> usize {
        self.count(|class| !class.is_inbound() && class.is_pending())
    }

    /// Dials to nodes of the address book.
    pub(crate) fn dialing_known(&self) -> usize {
        self.count(|class| class.origin == Origin::Known && class.is_pending())
    }

    pub(crate) fn closing_gracefully(&self) -> usize {
        self.count(|class| class.stage == Stage::Closing { gracefully: true })
    }

    /// Those that came in from one site and have been no peers, in order of their beginning.
    fn of_site(&self, site: Prefix) -> impl Iterator<Item = (PeerId, &Entry)> {
        let of_site = self.by_site.range((site, PeerId(0))..=(site, PeerId(u64::MAX)));
        of_site.filter_map(|(_, id)| Some((*id, self.entries.get(id)?)))
    }

    /// Connections from one site that have proved nothing.
    pub(crate) fn unproven_of(&self, site: Prefix) -> usize {
        self.of_site(site).filter(|(_, entry)| entry.class().is_unproven()).count()
    }

    /// The oldest of the connections that are `such`.
    fn oldest(&self, such: impl Fn(&Class) -> bool) -> Option<PeerId> {
        self.classes(such).filter_map(BTreeSet::first).min().copied()
    }

    /// The oldest connection whose auth is looked at, when there are more than `limit`.
    pub(crate) fn surplus_examined(&self, limit: usize) -> Option<PeerId> {
        self.oldest(Class::is_examined).filter(|_| self.count(Class::is_examined) > limit)
    }

    /// The half-open connection that has waited longest.
    pub(crate) fn oldest_half_open(&self) -> Option<PeerId> {
        self.oldest(Class::is_half_open)
    }

    /// The oldest newcomer, when there are more than `limit`.
    pub(crate) fn surplus_newcomer(&self, limit: usize) -> Option<PeerId> {
        self.oldest(Class::is_newcomer).filter(|_| self.count(Class::is_newcomer) > limit)
    }

    /// The oldest newcomer from one site, when there are more than `limit`.
    pub(crate) fn surplus_newcomer_of_site(&self, limit: usize, site: Prefix) -> Option<PeerId> {
        surplus_newcomer(self.of_site(site), limit)
    }

    /// The oldest newcomer that is one node, when there are more than `limit`.
    pub(crate) fn surplus_newcomer_of_node(&self, limit: usize, node_id: NodeId) -> Option<PeerId> {
        surplus_newcomer(self.all_with_node(node_id), limit)
    }
}

/// The oldest newcomer of `connections`, which are in order, when there are more than `limit`.
fn surplus_newcomer<'a>(
    connections: impl Iterator<Item = (PeerId, &'a Entry)>,
    limit: usize,
) -> Option<PeerId> {
    let mut newcomers = connections.filter(|(_, entry)| entry.is_newcomer()).map(|(id, _)| id);
    let oldest = newcomers.next()?;
    (newcomers.count() >= limit).then_some(oldest)
}

#[cfg(test)]
mod tests {
    use identity::{NodeKey, Now};
    use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

    use super::*;

    const STAGES: [Stage; 8] = [
        Stage::Dialing,
        Stage::Handshaking,
        Stage::Authenticated,
        Stage::Greeted,
        Stage::Introduced,
        Stage::Established,
        Stage::Closing { gracefully: false },
        Stage::Closing { gracefully: true },
    ];

    #[expect(clippy::disallowed_methods, reason = "a test's starting point in time")]
    fn start() -> Instant {
        Now::system().instant
    }

    #[test]
    fn whatever_happens_to_connections_each_is_counted_by_what_it_is() {
        let (now, mut rng) = (start(), ChaCha8Rng::seed_from_u64(5));
        let remote = NodeKey::from_bytes(&[1; 32]).unwrap().public_key();
        let mut set = PeerSet::default();
        let mut all = Vec::new();
        for _ in 0..5_000 {
            match rng.random_range(0..10) {
                // From two sites: an odd port tells them apart.
                0 => {
                    let from = ["10.1.2.3:5", "10.1.3.3:4"][rng.random_range(0..2)];
                    all.push(set.insert(Entry::inbound(now, from.parse().unwrap())));
                }
                1 => {
                    let origin = [Origin::Dynamic, Origin::Known, Origin::Static][rng.random_range(0..3)];
                    all.push(set.insert(Entry::outbound(now, origin, remote)));
                }
                2 if !all.is_empty() => {
                    let id = all.swap_remove(rng.random_range(0..all.len()));
                    assert!(set.remove(id).is_some() && set.remove(id).is_none());
                }
                3 if !all.is_empty() => set.note_auth(all[rng.random_range(0..all.len())]),
                4 if !all.is_empty() => set.identify(all[rng.random_range(0..all.len())], remote),
                _ if !all.is_empty() => {
                    set.advance(now, all[rng.random_range(0..all.len())], STAGES[rng.random_range(0..8)]);
                }
                _ => {}
            }
            let count = |such: &dyn Fn(&Entry) -> bool| set.iter().filter(|(_, entry)| such(entry)).count();
            assert_eq!(set.established(), count(&|entry| entry.stage == Stage::Established));
            assert_eq!(set.half_open(), count(&|entry| entry.class().is_half_open()));
            assert_eq!(set.dialing(), count(&|entry| !entry.is_inbound() && entry.class().is_pending()));
            assert_eq!(set.by_class.values().map(BTreeSet::len).sum::<usize>(), set.len());
            let oldest = set.iter().find(|(_, entry)| entry.class().is_half_open()).map(|(id, _)| id);
            assert_eq!(set.oldest_half_open(), oldest);
            assert_eq!(set.surplus_newcomer(7), surplus_newcomer(set.iter(), 7));
            let of_site = set.iter().filter(|(_, entry)| {
                entry.is_inbound() && entry.established_at.is_none() && entry.addresses[0].port() % 2 > 0
            });
            let site = Prefix::site("10.1.2.0".parse().unwrap());
            assert_eq!(set.surplus_newcomer_of_site(3, site), surplus_newcomer(of_site, 3));
            let of_node = set.iter().filter(|(_, entry)| entry.node_id == Some(remote.node_id()));
            assert_eq!(set.surplus_newcomer_of_node(3, remote.node_id()), surplus_newcomer(of_node, 3));
        }
        assert!(all.len() > 100 && set.by_class.len() > 20, "{} in {}", all.len(), set.by_class.len());
        all.into_iter().for_each(|id| assert!(set.remove(id).is_some()));
        assert!(
            set.entries.is_empty()
                && set.by_node.is_empty()
                && set.by_class.is_empty()
                && set.by_site.is_empty()
        );
    }
}
