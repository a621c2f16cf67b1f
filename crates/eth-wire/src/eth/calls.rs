//! Calls to the backend that are out, and what becomes of their answers.
//! How chain and pool are called is `backend`'s; what a peer may have waiting for them is bounded here.

use std::{collections::BTreeMap, time::Instant};

use identity::Now;
use rlpx::PeerId;

use super::{CommandId, Eth, Output, RequestError};
use crate::{
    Hash, Reject, Transaction,
    backend::{BackendAnswer, BackendCall, BackendTicket},
    machine_config::{
        BACKEND_PATIENCE, BACKLOG_SLACK, MAX_BACKEND_BYTES, MAX_BACKEND_CALLS, MAX_OWNER_CALLS,
        MAX_SERVE_CALLS,
    },
    orphans::Candidate,
    requests::RequestKind,
};

/// What an answer of the backend is for.
#[derive(Debug)]
pub(super) enum Errand {
    /// Transactions were to be taken in.
    Insert(Insertion),
    /// Announced transactions: which are to be fetched.
    Announced { peer: PeerId, len: usize },
    /// The pool's transactions, for a new peer.
    Greet(PeerId),
    /// Transactions that the owner wants to be announced.
    Announce(CommandId),
    /// A peer's request.
    Serve { peer: PeerId, request_id: u64, kind: RequestKind, deadline: Instant },
    /// A block was to be taken in, for itself or for a fetch.
    Offer { candidate: Box<Candidate>, fetch: Option<Hash>, command: Option<CommandId> },
    /// Blocks that a peer has, to be fetched if they are not there.
    Consider { peer: PeerId, hashes: Vec<Hash>, at_once: bool },
    /// Headers that a fetch got.
    Branch(Hash),
}

/// Transactions on their way into the pool.
#[derive(Debug)]
pub(super) struct Insertion {
    pub(super) from: Option<PeerId>,
    pub(super) transactions: Vec<Transaction>,
    /// Told to nobody in full.
    pub(super) announce_only: bool,
    pub(super) command: Option<CommandId>,
}

impl Errand {
    /// Whose gossip it is, and how many bytes of it wait.
    fn backlog(&self) -> Option<(PeerId, usize)> {
        match self {
            Self::Insert(insertion) => {
                let len = insertion.transactions.iter().map(|transaction| transaction.envelope().len()).sum();
                insertion.from.map(|peer| (peer, len))
            }
            Self::Announced { peer, len } => Some((*peer, *len)),
            Self::Consider { peer, hashes, .. } => Some((*peer, hashes.len() * size_of::<Hash>())),
            Self::Offer { candidate, fetch: None, .. } => {
                candidate.source.map(|peer| (peer, candidate.block.raw.len()))
            }
            Self::Greet(_)
            | Self::Announce(_)
            | Self::Serve { .. }
            | Self::Offer { .. }
            | Self::Branch(_) => None,
        }
    }

    fn is_owners(&self) -> bool {
        match self {
            Self::Insert(insertion) => insertion.from.is_none(),
            Self::Offer { command, .. } => command.is_some(),
            Self::Announce(_) => true,
            Self::Announced { .. }
            | Self::Greet(_)
            | Self::Serve { .. }
            | Self::Consider { .. }
            | Self::Branch(_) => false,
        }
    }

    fn is_request(&self) -> bool {
        matches!(self, Self::Serve { .. })
    }
}

/// The calls that are out.
#[derive(Debug, Default)]
pub(super) struct Calls {
    out: BTreeMap<BackendTicket, (Instant, Errand)>,
    owners: usize,
    requests: usize,
    gossip_bytes: usize,
    next_ticket: u64,
}

impl Calls {
    /// When the call that has been out for longest has taken too long.
    pub(super) fn late_at(&self) -> Option<Instant> {
        let (_, (since, _)) = self.out.first_key_value()?;
        since.checked_add(BACKEND_PATIENCE)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether the owner may have one more.
    pub(super) fn takes_owners(&self) -> bool {
        self.owners < MAX_OWNER_CALLS
    }

    /// Whether one more request of a peer may be out.
    pub(super) fn takes_requests(&self) -> bool {
        self.requests < MAX_SERVE_CALLS
    }
}

impl Eth {
    pub(super) fn call(&mut self, now: Now, call: BackendCall, errand: Errand) {
        let ticket = BackendTicket(self.calls.next_ticket);
        self.calls.next_ticket = self.calls.next_ticket.wrapping_add(1);
        self.calls.owners += usize::from(errand.is_owners());
        self.calls.requests += usize::from(errand.is_request());
        if let Some((peer, len)) = errand.backlog() {
            self.calls.gossip_bytes = self.calls.gossip_bytes.saturating_add(len);
            if let Some(peer) = self.peers.of_mut(peer) {
                peer.backlog.calls += 1;
                peer.backlog.bytes = peer.backlog.bytes.saturating_add(len);
            }
        }
        self.calls.out.insert(ticket, (now.instant, errand));
        self.put(Output::Backend { ticket, call });
    }

    /// The backend has answered a call. An unknown ticket is ignored.
    pub fn handle_backend(&mut self, now: Now, ticket: BackendTicket, answer: BackendAnswer) {
        let Some((_, errand)) = self.calls.out.remove(&ticket) else { return };
        self.calls.owners -= usize::from(errand.is_owners());
        self.calls.requests -= usize::from(errand.is_request());
        if let Some((id, len)) = errand.backlog() {
            self.calls.gossip_bytes = self.calls.gossip_bytes.saturating_sub(len);
            if let Some(peer) = self.peers.of_mut(id) {
                peer.backlog.calls = peer.backlog.calls.saturating_sub(1);
                peer.backlog.bytes = peer.backlog.bytes.saturating_sub(len);
                self.touched.insert(id);
            }
        }
        match (errand, answer) {
            (Errand::Insert(insertion), BackendAnswer::Inserted(results)) => {
                self.handle_inserted(now, insertion, &results);
            }
            (Errand::Announced { peer, .. }, BackendAnswer::Announcements(lacking)) => {
                self.handle_lacking(now, peer, lacking);
            }
            (Errand::Greet(peer), BackendAnswer::Announcements(pending)) => self.announce_to(peer, pending),
            (Errand::Announce(command), BackendAnswer::Announcements(items)) => {
                self.handle_described(command, &items);
            }
            (Errand::Serve { peer, request_id, kind, deadline }, BackendAnswer::Items(items)) => {
                self.handle_items(now, peer, kind, request_id, (deadline > now.instant).then_some(items));
            }
            (Errand::Offer { candidate, fetch, command }, BackendAnswer::Offered(offer, head)) => {
                self.handle_offered(now, *candidate, fetch, command, offer, head);
            }
            (Errand::Consider { peer, hashes, at_once }, BackendAnswer::Unknown(unknown)) => {
                self.handle_considered(now, peer, &hashes, &unknown, at_once);
            }
            (Errand::Branch(fetch), BackendAnswer::Unknown(unknown)) => {
                self.handle_branch(now, fetch, &unknown);
            }
            (errand, _) => self.handle_failed(now, errand),
        }
        self.settle(now);
    }

    /// The backend has nothing for a call: as if it had never been put out.
    fn handle_failed(&mut self, now: Now, errand: Errand) {
        self.reject(Reject::BackendFailed, 1);
        match errand {
            Errand::Insert(Insertion { transactions, command, .. }) => {
                self.transactions.forget(&transactions);
                self.fail(command, RequestError::Backend);
            }
            Errand::Announce(command) => self.fail(Some(command), RequestError::Backend),
            Errand::Serve { peer, request_id, kind, .. } => {
                self.handle_items(now, peer, kind, request_id, None);
            }
            Errand::Offer { candidate, fetch, command } => {
                self.forget_block(&candidate.block.header.hash, fetch);
                self.fail(command, RequestError::Backend);
            }
            Errand::Branch(fetch) => self.blocks.fetches.end(&fetch),
            Errand::Announced { .. } | Errand::Greet(_) | Errand::Consider { .. } => {}
        }
    }

    /// Whether the peer's gossip may wait for the backend: always, for a peer that is left unread in time, unless the
    /// backend hangs.
    pub(super) fn backend_takes(&self, now: Now, id: PeerId) -> bool {
        let room = self.calls.out.len() < MAX_BACKEND_CALLS && self.calls.gossip_bytes < MAX_BACKEND_BYTES;
        let is_late = self.calls.late_at().is_some_and(|at| at <= now.instant);
        let shares = if is_late { 1 } else { BACKLOG_SLACK };
        room && self.peers.of(id).is_some_and(|peer| !peer.backlog.exceeds(shares))
    }

    pub(super) fn fail(&mut self, command: Option<CommandId>, error: RequestError) {
        self.reply(command, super::Reply::Failed(error));
    }
}
