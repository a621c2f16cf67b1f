//! The eth capability as a server registers it, and its side in each connection's task: messages are read by `intake`
//! there, and go to the machine through the inbox.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use identity::Enr;
use rlpx::{
    DisconnectReason, Link, PeerId, PeerInfo, Protocol, ProtocolSession, ProtocolVersion, SessionEnd,
};

use super::{
    EthHandle,
    inbox::{Arrival, Inbox},
};
use crate::{
    EthCounters, EthVersion, ForkFilter, MessageKind, PeerFault, config::MAX_MESSAGE_LEN, fork_id::ENR_KEY,
    intake,
};

/// The eth capability of one node, for `rlpx::Server`. The machine runs as long as this or a handle is there.
#[derive(Debug)]
pub struct EthProtocol {
    versions: Vec<ProtocolVersion>,
    filter: ForkFilter,
    inbox: Arc<Inbox>,
    counters: EthCounters,
    /// Keeps the machine running.
    _handle: EthHandle,
}

impl EthProtocol {
    pub(super) fn new(
        versions: Vec<ProtocolVersion>,
        filter: ForkFilter,
        inbox: Arc<Inbox>,
        counters: EthCounters,
        handle: EthHandle,
    ) -> Self {
        Self { versions, filter, inbox, counters, _handle: handle }
    }
}

impl Protocol for EthProtocol {
    fn name(&self) -> &str {
        "eth"
    }

    fn versions(&self) -> &[ProtocolVersion] {
        &self.versions
    }

    fn enr_entries(&self) -> Vec<(String, Bytes)> {
        vec![(ENR_KEY.to_owned(), self.filter.fork_id().to_enr_value())]
    }

    /// As in go-ethereum a node whose record names no fork id that fits is not of this chain.
    fn wants(&self, record: Option<&Enr>) -> Option<bool> {
        Some(record.is_some_and(|record| self.filter.accepts_enr(record)))
    }

    fn max_message_len(&self) -> usize {
        MAX_MESSAGE_LEN
    }

    fn connect(&self, peer: Arc<PeerInfo>, version: u32, link: Link) -> Box<dyn ProtocolSession> {
        // The server only calls for versions that it was given.
        let version = EthVersion::from_number(version).unwrap_or(EthVersion::Eth69);
        let (inbox, counters) = (Arc::clone(&self.inbox), self.counters.clone());
        let session = EthSession { peer: peer.peer_id, version, inbox, counters };
        if !self.inbox.connect(peer.peer_id, Arrival { info: peer, version, link: link.clone() }) {
            link.disconnect(DisconnectReason::Quitting);
        }
        Box::new(session)
    }
}

#[derive(Debug)]
struct EthSession {
    peer: PeerId,
    version: EthVersion,
    inbox: Arc<Inbox>,
    counters: EthCounters,
}

impl ProtocolSession for EthSession {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inbox.poll_room(self.peer, cx)
    }

    fn handle_message(&mut self, code: u64, payload: Bytes) -> Result<(), DisconnectReason> {
        let len = payload.len();
        if let Some(kind) = MessageKind::from_code(self.version, code) {
            self.counters.received.add(kind);
            self.counters.received_bytes.add_many(kind, len as u64);
        }
        let read = intake(self.version, code, payload);
        let verdict = read.as_ref().map(|_| ()).map_err(|error| PeerFault::from(*error).reason());
        self.inbox.push(self.peer, read, len);
        verdict
    }

    fn handle_sent(&mut self, len: usize) {
        self.inbox.sent(self.peer, len);
    }

    fn handle_closed(&mut self, _: &SessionEnd) {
        self.inbox.close_peer(self.peer);
    }
}
