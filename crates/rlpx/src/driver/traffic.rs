//! What a server counts: refusals of both layers, ends by reason, and bytes and messages over TCP. The labels are named in `reject` and
//! `admission`; datagrams are counted by discv4. Counting decides nothing: limits are kept where bytes are read.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use identity::Counters;

use crate::{
    CapabilityName, Endings, LocalCapability, ProtocolTraffic, Refusal, SessionConfig, reject::Reject,
    tally::ProtocolTally,
};

/// The counts of a server. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// What sessions refused: `reject_total` of the layers `handshake`, `frame` and `p2p`.
    pub rejects: Counters<Reject>,
    /// What the server refused: `reject_total` of the layer `server`.
    pub refusals: Counters<Refusal>,
    /// How peers left.
    pub left: Endings,
    /// How connections ended that never became a peer: dials, and whoever came in and said who it is.
    pub turned_away: Endings,
    pub(super) traffic: Arc<Traffic>,
}

/// Bytes and messages since the start.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    messages_in: AtomicU64,
    messages_out: AtomicU64,
    /// By protocol, the base protocol first.
    protocols: Vec<Arc<ProtocolTally>>,
}

impl Counts {
    /// Bytes read from TCP.
    pub fn bytes_in(&self) -> u64 {
        self.traffic.bytes_in.load(Ordering::Relaxed)
    }

    /// Bytes written to TCP.
    pub fn bytes_out(&self) -> u64 {
        self.traffic.bytes_out.load(Ordering::Relaxed)
    }

    /// Messages handed to protocols.
    pub fn messages_in(&self) -> u64 {
        self.traffic.messages_in.load(Ordering::Relaxed)
    }

    /// Messages of protocols that were written.
    pub fn messages_out(&self) -> u64 {
        self.traffic.messages_out.load(Ordering::Relaxed)
    }

    /// Messages and their bytes by protocol and code, the base protocol first: with all peers, since the start.
    pub fn protocols(&self) -> Vec<ProtocolTraffic> {
        self.traffic.protocols.iter().map(|tally| tally.traffic()).collect()
    }

    pub(super) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }
}

impl Traffic {
    /// Counts for the base protocol and the capabilities of `session`, each name with the codes of its longest version.
    pub(super) fn of(session: &SessionConfig) -> Self {
        let mut protocols = vec![Arc::clone(&session.base)];
        // Sorted, so that the versions of a name are neighbours.
        let same_name =
            |one: &LocalCapability, other: &LocalCapability| one.capability.name == other.capability.name;
        protocols.extend(session.capabilities.chunk_by(same_name).filter_map(|versions| {
            let name = versions.first()?.capability.name;
            let count = versions.iter().map(|version| version.message_count).max()?;
            Some(Arc::new(ProtocolTally::new(name, count)))
        }));
        Self { protocols, ..Self::default() }
    }

    /// The counts of the capability `name`.
    pub(super) fn tally(&self, name: CapabilityName) -> Option<Arc<ProtocolTally>> {
        // The base protocol is no capability.
        self.protocols.iter().skip(1).find(|tally| tally.name() == name).map(Arc::clone)
    }

    pub(super) fn read(&self, len: usize) {
        self.bytes_in.fetch_add(len as u64, Ordering::Relaxed);
    }

    pub(super) fn wrote(&self, len: usize) {
        self.bytes_out.fetch_add(len as u64, Ordering::Relaxed);
    }

    pub(super) fn message_in(&self) {
        self.messages_in.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn message_out(&self) {
        self.messages_out.fetch_add(1, Ordering::Relaxed);
    }
}
