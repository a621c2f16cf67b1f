//! What we have asked and not yet been told: each request with its stage and its deadline, found by number, by
//! address and by deadline. It holds; the machine moves requests from stage to stage.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Instant,
};

use identity::{Endpoint, NodeId, PublicKey};

use crate::{
    NodeEntry,
    bond::BondKey,
    config::{MAX_PENDING, MAX_PENDING_PING_BACKS},
    lookup::LookupId,
    wire::PacketKind,
};

/// Requests to one address at once; one more fails at once. Each packet from there looks at all of them.
const MAX_PENDING_AT_ADDRESS: usize = 32;

/// Names a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) u64);

/// Whom a request goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) public_key: PublicKey,
    pub(crate) id: NodeId,
    pub(crate) endpoint: Endpoint,
}

impl Peer {
    pub(crate) const fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.endpoint.ip, self.endpoint.udp)
    }

    pub(crate) const fn key(&self) -> BondKey {
        (self.addr(), self.id)
    }

    /// The node as it is known from the request alone.
    pub(crate) fn entry(&self) -> NodeEntry {
        NodeEntry::new(self.public_key, self.endpoint)
    }
}

impl From<&NodeEntry> for Peer {
    fn from(node: &NodeEntry) -> Self {
        Self { public_key: node.public_key, id: node.node_id, endpoint: node.endpoint }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    Ping,
    FindNode(PublicKey),
    Enr,
}

/// Who wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The owner of the machine.
    Owner,
    /// A lookup.
    Lookup(LookupId),
    /// The turn of a node of the table.
    Revalidation,
    /// Another node wants its place in the table.
    Challenge,
    /// It pinged us and has not proved its endpoint.
    PingBack,
    /// It has a newer record, or says in it that it has moved.
    Record,
    /// A candidate whose record we lack.
    Candidate,
    /// Whether a bootnode can be reached.
    Bootnode,
}

/// How far a request is.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    /// Its next datagram is being signed.
    Signing,
    /// A Ping is out: the question itself, or the proof before it.
    Pinged { hash: [u8; 32], sent: Instant },
    /// The Pong came; the other side has no proof of ours yet and should ping us.
    PingBack,
    /// The question is out.
    Asked { hash: [u8; 32], sent: Instant },
    /// Another FindNode to the same node is out; their answers could not be told apart.
    Queued,
}

/// A request with all it has gathered.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) peer: Peer,
    pub(crate) question: Question,
    pub(crate) asker: Asker,
    pub(crate) stage: Stage,
    /// When we sent the other side a Pong since the request began, so that it has our proof.
    pub(crate) answered_at: Option<Instant>,
    /// The question is out or about to be, not only the proof before it.
    pub(crate) asking: bool,
    /// The question was sent twice.
    pub(crate) retried: bool,
    /// A Neighbors of the node itself has come.
    pub(crate) has_answer: bool,
    /// The nodes that the Neighbors so far told.
    pub(crate) found: Vec<NodeEntry>,
    /// How many Neighbors were read for it, whoever signed them.
    pub(crate) packets: u8,
    deadline: Option<Instant>,
}

impl Request {
    pub(crate) fn new(peer: Peer, question: Question, asker: Asker) -> Self {
        Self {
            peer,
            question,
            asker,
            stage: Stage::Signing,
            answered_at: None,
            asking: false,
            retried: false,
            has_answer: false,
            found: Vec::new(),
            packets: 0,
            deadline: None,
        }
    }

    /// The hash that an answer of this kind has to name, if the request waits for one.
    fn awaited_hash(&self, kind: PacketKind) -> Option<&[u8; 32]> {
        match kind {
            PacketKind::Pong => self.pinged(),
            PacketKind::Neighbors => self.asked().filter(|_| matches!(self.question, Question::FindNode(_))),
            PacketKind::EnrResponse => self.asked().filter(|_| self.question == Question::Enr),
            PacketKind::Ping | PacketKind::FindNode | PacketKind::EnrRequest => None,
        }
    }

    fn pinged(&self) -> Option<&[u8; 32]> {
        if let Stage::Pinged { hash, .. } = &self.stage { Some(hash) } else { None }
    }

    fn asked(&self) -> Option<&[u8; 32]> {
        if let Stage::Asked { hash, .. } = &self.stage { Some(hash) } else { None }
    }

    /// When the datagram that is out was sent.
    pub(crate) const fn sent(&self) -> Option<Instant> {
        match self.stage {
            Stage::Pinged { sent, .. } | Stage::Asked { sent, .. } => Some(sent),
            Stage::Signing | Stage::PingBack | Stage::Queued => None,
        }
    }

    /// Whether the request waits for an answer of this kind that names this hash; Neighbors name none.
    pub(crate) fn awaits(&self, kind: PacketKind, hash: Option<&[u8; 32]>) -> bool {
        self.awaited_hash(kind).is_some_and(|awaited| hash.is_none_or(|hash| hash == awaited))
    }

    /// Whether its FindNode is out or about to be.
    pub(crate) const fn is_finding(&self) -> bool {
        self.asking && matches!(self.question, Question::FindNode(_))
    }
}

/// All requests, at most [`MAX_PENDING`], half of them Pings back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    requests: BTreeMap<RequestId, Request>,
    by_addr: BTreeSet<(SocketAddr, RequestId)>,
    by_deadline: BTreeSet<(Instant, RequestId)>,
    ping_back_count: usize,
    next_id: u64,
}

impl Pending {
    /// A number for a request that may or may not come to be.
    pub(crate) fn take_id(&mut self) -> RequestId {
        self.next_id = self.next_id.wrapping_add(1);
        RequestId(self.next_id)
    }

    /// Takes a request. Returns false when there are too many.
    pub(crate) fn insert(&mut self, id: RequestId, request: Request) -> bool {
        let is_ping_back = request.asker == Asker::PingBack;
        let addr = request.peer.addr();
        let full = self.requests.len() >= MAX_PENDING
            || (is_ping_back && self.ping_back_count >= MAX_PENDING_PING_BACKS)
            || self.at(addr).count() >= MAX_PENDING_AT_ADDRESS;
        if full {
            return false;
        }
        self.ping_back_count += usize::from(is_ping_back);
        self.by_addr.insert((addr, id));
        self.requests.insert(id, request);
        true
    }

    pub(crate) fn get(&self, id: RequestId) -> Option<&Request> {
        self.requests.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: RequestId) -> Option<&mut Request> {
        self.requests.get_mut(&id)
    }

    /// Moves a request on.
    pub(crate) fn set_stage(&mut self, id: RequestId, stage: Stage, deadline: Option<Instant>) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        request.stage = stage;
        self.set_deadline(id, deadline);
    }

    /// Sets when a request is looked at again.
    pub(crate) fn set_deadline(&mut self, id: RequestId, deadline: Option<Instant>) {
        let Some(request) = self.requests.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut request.deadline, deadline) {
            self.by_deadline.remove(&(old, id));
        }
        if let Some(deadline) = deadline {
            self.by_deadline.insert((deadline, id));
        }
    }

    /// When a request is looked at again.
    pub(crate) fn deadline(&self, id: RequestId) -> Option<Instant> {
        self.requests.get(&id)?.deadline
    }

    pub(crate) fn remove(&mut self, id: RequestId) -> Option<Request> {
        let request = self.requests.remove(&id)?;
        self.ping_back_count -= usize::from(request.asker == Asker::PingBack);
        self.by_addr.remove(&(request.peer.addr(), id));
        if let Some(deadline) = request.deadline {
            self.by_deadline.remove(&(deadline, id));
        }
        Some(request)
    }

    /// The requests to an address, the oldest first.
    pub(crate) fn at(&self, addr: SocketAddr) -> impl Iterator<Item = (RequestId, &Request)> {
        let range = self.by_addr.range((addr, RequestId(0))..=(addr, RequestId(u64::MAX)));
        range.filter_map(|(_, id)| Some((*id, self.requests.get(id)?)))
    }

    /// Whether a request to the address waits for such an answer.
    pub(crate) fn awaits(&self, addr: SocketAddr, kind: PacketKind, hash: Option<&[u8; 32]>) -> bool {
        self.at(addr).any(|(_, request)| request.awaits(kind, hash))
    }

    /// The requests to one node at one endpoint for which `matches` holds, the oldest first.
    pub(crate) fn ids(&self, key: &BondKey, matches: impl Fn(&Request) -> bool) -> Vec<RequestId> {
        let to_node = self.at(key.0).filter(|(_, request)| request.peer.id == key.1 && matches(request));
        to_node.map(|(id, _)| id).collect()
    }

    /// The requests that `matches`, for when their asker ends.
    pub(crate) fn ids_of(&self, asker: Asker) -> Vec<RequestId> {
        self.requests.iter().filter(|(_, request)| request.asker == asker).map(|(id, _)| *id).collect()
    }

    /// A request whose deadline has come.
    pub(crate) fn due(&self, now: Instant) -> Option<RequestId> {
        self.by_deadline.first().filter(|(deadline, _)| *deadline <= now).map(|(_, id)| *id)
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::story;

    fn request(number: u32, ip: &str, asker: Asker) -> Request {
        Request::new(Peer::from(&story::node(number, ip)), Question::Ping, asker)
    }

    fn insert(pending: &mut Pending, request: Request) -> Option<RequestId> {
        let id = pending.take_id();
        pending.insert(id, request).then_some(id)
    }

    #[test]
    fn u27_4096_requests_are_kept_and_half_of_them_may_be_pings_back() {
        let mut pending = Pending::default();
        let ip = |number: u32| std::net::Ipv4Addr::from(number + (8 << 24)).to_string();
        let back = |number| request(1, &ip(number), Asker::PingBack);
        let own = |number| request(1, &ip(number), Asker::Owner);
        assert_eq!(
            (0..3000).filter_map(|number| insert(&mut pending, back(number))).count(),
            MAX_PENDING_PING_BACKS
        );
        let ids: Vec<_> = (0..5000).filter_map(|number| insert(&mut pending, own(number))).collect();
        assert_eq!((ids.len(), pending.len()), (MAX_PENDING - MAX_PENDING_PING_BACKS, MAX_PENDING));
        for id in (0..=10_000).map(RequestId) {
            pending.remove(id);
        }
        assert_eq!((pending.len(), pending.ping_back_count), (0, 0));
        assert!(pending.by_addr.is_empty() && pending.by_deadline.is_empty());
    }

    #[test]
    fn one_address_has_32_requests_at_most() {
        let mut pending = Pending::default();
        let inserted =
            (0..100).filter_map(|number| insert(&mut pending, request(number, "8.8.8.8", Asker::Owner)));
        assert_eq!(inserted.count(), MAX_PENDING_AT_ADDRESS);
    }

    #[test]
    fn u28_the_earliest_deadline_comes_first_whatever_was_moved() {
        let (mut pending, now) = (Pending::default(), story::start());
        let at = |millis| now.later(Duration::from_millis(millis)).instant;
        let ids: Vec<_> = (0..4)
            .filter_map(|number| insert(&mut pending, request(number, "8.8.8.8", Asker::Owner)))
            .collect();
        for (id, millis) in ids.iter().zip([30, 10, 20, 40]) {
            pending.set_deadline(*id, Some(at(millis)));
        }
        pending.set_deadline(ids[1], Some(at(50)));
        pending.remove(ids[2]);
        assert_eq!((pending.due(at(29)), pending.due(at(30))), (None, Some(ids[0])));
        pending.set_deadline(ids[0], None);
        assert_eq!(pending.next_deadline(), Some(at(40)));
        assert_eq!((pending.due(at(60)), pending.deadline(ids[1])), (Some(ids[3]), Some(at(50))));
    }
}
