//! Answering peers: the queue of one peer's requests, and what an answer holds, within go-ethereum's limits.
//! devp2p specification, `caps/eth.md`; go-ethereum, `eth/protocols/eth/handlers.go`.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Instant,
};

use bytes::Bytes;

use crate::{
    Chain, EthMessage, EthVersion, Hash, Pool, Request,
    config::{MAX_ANSWER_ITEMS, MAX_ANSWER_LEN, MAX_LOOKUPS, MAX_MESSAGE_LEN},
    machine_config::{MAX_HELD_REQUESTS, MAX_QUEUED_REQUESTS},
    requests::RequestKind,
};

/// A request of a peer that waits to be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    /// Goes back with the answer.
    pub(crate) id: u64,
    /// For what.
    pub(crate) request: Request,
    /// When it is dropped.
    pub(crate) deadline: Instant,
}

/// The requests of one peer: one is being served, [`MAX_QUEUED_REQUESTS`] wait before the peer is left unread. What was
/// read of it by then still comes in, up to [`MAX_HELD_REQUESTS`].
#[derive(Debug, Default)]
pub(crate) struct Serving {
    queue: VecDeque<Queued>,
    /// The one being served.
    current: Option<Queued>,
    /// The one whose answer was put out last.
    answered: Option<Queued>,
}

impl Serving {
    /// Queues a request. False when [`MAX_HELD_REQUESTS`] wait, which a peer left unread in time cannot cause.
    pub(crate) fn push(&mut self, queued: Queued) -> bool {
        let room = self.queue.len() < MAX_HELD_REQUESTS;
        if room {
            self.queue.push_back(queued);
        }
        room
    }

    /// The next request to serve, if none is being served.
    pub(crate) fn begin(&mut self) -> Option<Queued> {
        if self.current.is_none() {
            self.current = self.queue.pop_front();
            return self.current.clone();
        }
        None
    }

    /// The request being served is done with.
    pub(crate) fn end(&mut self) {
        self.answered = self.current.take();
    }

    /// The request being served cannot be answered now: it waits on.
    pub(crate) fn give_up(&mut self) {
        if let Some(current) = self.current.take() {
            self.queue.push_front(current);
        }
    }

    /// The answer put out last was not taken: its request waits on. False when it is not known any more.
    pub(crate) fn put_back(&mut self) -> bool {
        let answered = self.answered.take();
        let is_known = answered.is_some();
        if let Some(answered) = answered {
            self.queue.push_front(answered);
        }
        is_known
    }

    /// All answers have been taken.
    pub(crate) fn forget(&mut self) {
        self.answered = None;
    }

    /// Drops the requests whose time is up. Gives how many.
    pub(crate) fn drop_expired(&mut self, now: Instant) -> usize {
        let before = self.queue.len();
        self.queue.retain(|queued| queued.deadline > now);
        before - self.queue.len()
    }

    /// When the next request is to be dropped.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.queue.front().map(|queued| queued.deadline)
    }

    /// Whether a request waits and none is being served.
    pub(crate) fn is_due(&self) -> bool {
        self.current.is_none() && !self.queue.is_empty()
    }

    /// Whether as many wait as may.
    pub(crate) fn is_full(&self) -> bool {
        self.queue.len() >= MAX_QUEUED_REQUESTS
    }
}

/// The items that answer `request`: at most [`MAX_ANSWER_ITEMS`], none after [`MAX_ANSWER_LEN`] bytes, after at most
/// [`MAX_LOOKUPS`] look-ups. What is asked for twice is served once. Bodies and receipts end at the first that is
/// missing, as in go-ethereum; a pool's missing transactions are left out.
pub(crate) fn items(
    request: &Request,
    version: EthVersion,
    chain: &dyn Chain,
    pool: &dyn Pool,
) -> Vec<Bytes> {
    match request {
        Request::Headers(query) => {
            let limit = usize::try_from(query.limit).unwrap_or(usize::MAX).min(MAX_ANSWER_ITEMS);
            let headers = if limit == 0 { Vec::new() } else { chain.headers(query, limit) };
            within_limits(headers.into_iter().map(Some))
        }
        Request::Bodies(hashes) => {
            within_limits(once_each(hashes).map(|hash| chain.body(hash)).map_while(found))
        }
        Request::Receipts(hashes) => {
            within_limits(once_each(hashes).map(|hash| chain.receipts(hash, version)).map_while(found))
        }
        Request::PooledTransactions(hashes) => within_limits(once_each(hashes).map(|hash| pool.get(hash))),
    }
}

/// Ends an iteration at the first missing item.
fn found(item: Option<Bytes>) -> Option<Option<Bytes>> {
    item.map(Some)
}

fn once_each(hashes: &[Hash]) -> impl Iterator<Item = &Hash> {
    let mut seen = BTreeSet::new();
    hashes.iter().take(MAX_LOOKUPS).filter(move |hash| seen.insert(**hash))
}

fn within_limits(found: impl Iterator<Item = Option<Bytes>>) -> Vec<Bytes> {
    let mut items = Vec::new();
    let mut len = 0usize;
    for item in found.flatten() {
        let longer = len.saturating_add(item.len());
        // Room for the headers around the items.
        if longer > MAX_MESSAGE_LEN - MAX_ANSWER_ITEMS * 8 {
            break;
        }
        len = longer;
        items.push(item);
        if len >= MAX_ANSWER_LEN || items.len() >= MAX_ANSWER_ITEMS {
            break;
        }
    }
    items
}

/// The message that answers a request of `kind` with `items`.
pub(crate) fn answer(kind: RequestKind, id: u64, items: Vec<Bytes>) -> EthMessage {
    match kind {
        RequestKind::Headers => EthMessage::BlockHeaders { id, headers: items },
        RequestKind::Bodies => EthMessage::BlockBodies { id, bodies: items },
        RequestKind::PooledTransactions => EthMessage::PooledTransactions { id, transactions: items },
        RequestKind::Receipts => EthMessage::Receipts { id, receipts: items },
    }
}

#[cfg(test)]
mod tests;
