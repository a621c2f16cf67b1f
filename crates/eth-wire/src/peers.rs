//! The peers of the eth machine: what is known of each, what it is told and what it may still cost.
//! No decisions: those are the machine's.

use std::{
    collections::{BTreeMap, btree_map},
    time::Instant,
};

use identity::NodeId;
use rlpx::PeerId;

use crate::{
    Credit, EthVersion, Hash,
    conduct::Conduct,
    fault::PeerFault,
    gossip::queue::HashQueue,
    known::{Fingerprint, KnownSet},
    machine_config::{MAX_BACKEND_BYTES_PER_PEER, MAX_BACKEND_CALLS_PER_PEER},
    message::Position,
    outbound::Outbound,
    serve::Serving,
};

/// How far a peer's handshake has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Our Status is on its way; the peer's must come before this.
    AwaitingStatus {
        /// When its time is up.
        deadline: Instant,
    },
    /// It broke a rule of the handshake: what it says is ignored. It is disconnected when our Status has been written, or
    /// at this time.
    Refused {
        /// When waiting ends.
        deadline: Instant,
        /// The rule.
        fault: PeerFault,
    },
    /// Both have told their Status.
    Ready,
}

/// What one peer knows, and what waits to be told to it.
#[derive(Debug)]
pub(crate) struct Telling {
    /// Transactions it sent, announced or was sent.
    pub(crate) transactions: KnownSet,
    /// Blocks it sent, announced or was sent.
    pub(crate) blocks: KnownSet,
    /// Transactions to be sent in full.
    pub(crate) full: HashQueue,
    /// Transactions to be announced.
    pub(crate) announced: HashQueue,
    /// Transactions that were put out and found no memory: to be announced whether it counts as knowing them or not.
    pub(crate) again: HashQueue,
    /// No announcement before this.
    pub(crate) announce_at: Option<Instant>,
    /// The head that our Status told.
    pub(crate) head: Hash,
}

impl Telling {
    /// Nothing told but a Status with this head.
    pub(crate) fn new(head: Hash) -> Self {
        Self {
            head,
            transactions: KnownSet::for_transactions(),
            blocks: KnownSet::for_blocks(),
            full: HashQueue::default(),
            announced: HashQueue::default(),
            again: HashQueue::default(),
            announce_at: None,
        }
    }
}

/// What of a peer's gossip waits for the backend.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backlog {
    /// Calls that are out.
    pub(crate) calls: usize,
    /// Bytes that they hold.
    pub(crate) bytes: usize,
}

impl Backlog {
    /// Whether as much waits as so many shares of a peer.
    pub(crate) fn exceeds(&self, shares: usize) -> bool {
        self.calls >= MAX_BACKEND_CALLS_PER_PEER * shares || self.bytes >= MAX_BACKEND_BYTES_PER_PEER * shares
    }
}

/// One peer.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Who it is.
    pub(crate) node_id: NodeId,
    /// The version agreed on.
    pub(crate) version: EthVersion,
    /// How far the handshake has come.
    pub(crate) phase: Phase,
    /// How far its chain goes, by its own word. None before its Status.
    pub(crate) position: Option<Position>,
    /// When its last BlockRangeUpdate was acted upon.
    pub(crate) range_updated_at: Option<Instant>,
    /// What is on its way to it.
    pub(crate) outbound: Outbound,
    /// What it knows and is to be told.
    pub(crate) telling: Telling,
    /// Its requests.
    pub(crate) serving: Serving,
    /// What of its gossip waits for the backend.
    pub(crate) backlog: Backlog,
    /// How it serves.
    pub(crate) conduct: Conduct,
    /// Whether its connection was told to leave its messages unread.
    pub(crate) paused: bool,
    /// When it needs attention next.
    pub(crate) wake_at: Option<Instant>,
}

impl Peer {
    /// A peer that has just connected and is being sent our Status with this head.
    pub(crate) fn new(
        node_id: NodeId,
        version: EthVersion,
        credit: Credit,
        status_deadline: Instant,
        head: Hash,
    ) -> Self {
        Self {
            node_id,
            version,
            phase: Phase::AwaitingStatus { deadline: status_deadline },
            position: None,
            range_updated_at: None,
            outbound: Outbound::new(credit),
            telling: Telling::new(head),
            serving: Serving::default(),
            backlog: Backlog::default(),
            conduct: Conduct::default(),
            paused: false,
            wake_at: None,
        }
    }

    /// Whether the handshake is over.
    pub(crate) fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// When its Status must be there, or it needs attention next.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::AwaitingStatus { deadline } | Phase::Refused { deadline, .. } => Some(deadline),
            Phase::Ready => self.wake_at,
        }
    }

    /// The number of its latest block, as far as it tells it.
    pub(crate) fn latest(&self) -> Option<u64> {
        match self.position? {
            Position::Range(range) => Some(range.latest),
            Position::Head { .. } => None,
        }
    }

    /// Whether it is not known to have the transaction.
    pub(crate) fn lacks_transaction(&self, fingerprint: Fingerprint) -> bool {
        !self.telling.transactions.contains(fingerprint)
    }
}

/// All peers by the number of their session. How many there are is the server's limit.
#[derive(Debug, Default)]
pub(crate) struct Peers(BTreeMap<PeerId, Peer>);

impl Peers {
    /// Adds a peer. False when the number is taken.
    pub(crate) fn insert(&mut self, id: PeerId, peer: Peer) -> bool {
        match self.0.entry(id) {
            btree_map::Entry::Vacant(place) => {
                place.insert(peer);
                true
            }
            btree_map::Entry::Occupied(_) => false,
        }
    }

    /// The peer with this number.
    pub(crate) fn of(&self, id: PeerId) -> Option<&Peer> {
        self.0.get(&id)
    }

    /// The peer with this number.
    pub(crate) fn of_mut(&mut self, id: PeerId) -> Option<&mut Peer> {
        self.0.get_mut(&id)
    }

    /// Takes the peer out.
    pub(crate) fn remove(&mut self, id: PeerId) -> Option<Peer> {
        self.0.remove(&id)
    }

    /// Every peer, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.0.iter().map(|(id, peer)| (*id, peer))
    }

    /// Every peer, in order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (PeerId, &mut Peer)> {
        self.0.iter_mut().map(|(id, peer)| (*id, peer))
    }

    /// Those whose handshake is over, in order.
    pub(crate) fn ready(&self) -> impl Iterator<Item = (PeerId, &Peer)> {
        self.iter().filter(|(_, peer)| peer.is_ready())
    }

    /// The numbers of all peers, in order.
    pub(crate) fn ids(&self) -> Vec<PeerId> {
        self.0.keys().copied().collect()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}
