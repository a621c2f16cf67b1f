//! Requests that wait for an answer: ids, deadlines and matching. No messages and no retries: what to do with an answer
//! or its absence is its owner's to decide.
//!
//! devp2p specification, `caps/eth.md`: every request carries an id that its answer repeats.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use identity::Now;
use rlpx::PeerId;

use crate::{
    Answer, EthMessage, Request,
    config::MAX_ANSWER_ITEMS,
    machine_config::{LATE_ANSWER_WINDOW, MAX_LATE_REQUESTS, MAX_REQUESTS, MAX_REQUESTS_PER_PEER},
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// GetBlockHeaders.
    Headers,
    /// GetBlockBodies.
    Bodies,
    /// GetPooledTransactions.
    PooledTransactions,
    /// GetReceipts.
    Receipts,
}

impl RequestKind {
    /// The kind of a request.
    pub(crate) const fn of(request: &Request) -> Self {
        match request {
            Request::Headers(_) => Self::Headers,
            Request::Bodies(_) => Self::Bodies,
            Request::PooledTransactions(_) => Self::PooledTransactions,
            Request::Receipts(_) => Self::Receipts,
        }
    }

    /// The kind of request that an answer is for.
    pub(crate) const fn of_answer(answer: &Answer) -> Self {
        match answer {
            Answer::Headers(_) => Self::Headers,
            Answer::Bodies(_) => Self::Bodies,
            Answer::PooledTransactions(_) => Self::PooledTransactions,
            Answer::Receipts(_) => Self::Receipts,
        }
    }
}

impl Request {
    /// How many items it asks for.
    pub(crate) fn item_count(&self) -> usize {
        match self {
            Self::Headers(query) => usize::try_from(query.limit).unwrap_or(usize::MAX),
            Self::Bodies(hashes) | Self::PooledTransactions(hashes) | Self::Receipts(hashes) => hashes.len(),
        }
    }

    /// Whether it asks for something, and for no more than an answer may have.
    pub(crate) fn is_answerable(&self) -> bool {
        (1..=MAX_ANSWER_ITEMS).contains(&self.item_count())
    }

    /// The message that asks it under `id`.
    pub(crate) fn message(&self, RequestId(id): RequestId) -> EthMessage {
        match self.clone() {
            Self::Headers(query) => EthMessage::GetBlockHeaders { id, query },
            Self::Bodies(hashes) => EthMessage::GetBlockBodies { id, hashes },
            Self::PooledTransactions(hashes) => EthMessage::GetPooledTransactions { id, hashes },
            Self::Receipts(hashes) => EthMessage::GetReceipts { id, hashes },
        }
    }
}

/// The id of a request, as it stands in the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct RequestId(pub u64);

/// Why no request could be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many requests wait for an answer")]
pub(crate) struct TooManyRequests;

/// An answer that fits no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnmatchedAnswer {
    /// Its request ended without it at most [`LATE_ANSWER_WINDOW`] ago: to be ignored.
    #[error("the answer came after the request had ended")]
    Late(RequestKind),
    /// Nobody asked: a breach.
    #[error("an answer to no request")]
    Unknown,
    /// The id belongs to a request for something else: a breach.
    #[error("an answer of another kind than its request")]
    WrongKind,
    /// More items than asked for: a breach.
    #[error("an answer with more items than asked for")]
    TooManyItems,
}

#[derive(Debug)]
struct Waiting<T> {
    peer: PeerId,
    kind: RequestKind,
    max_items: usize,
    deadline: Instant,
    purpose: T,
}

/// A request that ended without an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended<T> {
    /// Its id.
    pub(crate) id: RequestId,
    /// Who was asked.
    pub(crate) peer: PeerId,
    /// What it was for.
    pub(crate) purpose: T,
}

/// The requests of one machine that wait for an answer: at most [`MAX_REQUESTS`], and [`MAX_REQUESTS_PER_PEER`] of
/// one peer; more are refused. `T` is what a request is for.
#[derive(Debug)]
pub(crate) struct Requests<T> {
    waiting: BTreeMap<RequestId, Waiting<T>>,
    deadlines: BTreeSet<(Instant, RequestId)>,
    of_peer: BTreeMap<PeerId, usize>,
    ended: BTreeMap<RequestId, (PeerId, RequestKind)>,
    ended_order: VecDeque<(Instant, RequestId)>,
    next_id: u64,
}

impl<T> Requests<T> {
    /// No requests yet; the first gets the id `first_id`.
    pub(crate) fn new(first_id: u64) -> Self {
        Self {
            waiting: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            of_peer: BTreeMap::new(),
            ended: BTreeMap::new(),
            ended_order: VecDeque::new(),
            next_id: first_id,
        }
    }

    /// Opens a request to `peer` for at most `max_items`, to be answered within `timeout`.
    ///
    /// # Errors
    /// When too many wait already.
    pub(crate) fn open(
        &mut self,
        now: Now,
        peer: PeerId,
        kind: RequestKind,
        max_items: usize,
        timeout: Duration,
        purpose: T,
    ) -> Result<RequestId, TooManyRequests> {
        if self.waiting.len() >= MAX_REQUESTS || self.waiting_of(peer) >= MAX_REQUESTS_PER_PEER {
            return Err(TooManyRequests);
        }
        let deadline = now.instant.checked_add(timeout).ok_or(TooManyRequests)?;
        let id = RequestId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        self.waiting.insert(id, Waiting { peer, kind, max_items, deadline, purpose });
        self.deadlines.insert((deadline, id));
        *self.of_peer.entry(peer).or_default() += 1;
        Ok(id)
    }

    /// Matches an answer of `peer` with `items` items and closes its request.
    ///
    /// # Errors
    /// What is wrong with the answer. After a breach the request still waits; ending it with its peer is the owner's.
    pub(crate) fn answer(
        &mut self,
        now: Now,
        peer: PeerId,
        id: RequestId,
        kind: RequestKind,
        items: usize,
    ) -> Result<T, UnmatchedAnswer> {
        self.forget_ended(now);
        let Some(waiting) = self.waiting.get(&id).filter(|waiting| waiting.peer == peer) else {
            return Err(match self.ended.get(&id) {
                Some(ended) if *ended == (peer, kind) => {
                    self.ended.remove(&id);
                    UnmatchedAnswer::Late(kind)
                }
                Some(_) | None => UnmatchedAnswer::Unknown,
            });
        };
        if waiting.kind != kind {
            return Err(UnmatchedAnswer::WrongKind);
        }
        if items > waiting.max_items {
            return Err(UnmatchedAnswer::TooManyItems);
        }
        self.close(id).map(|ended| ended.purpose).ok_or(UnmatchedAnswer::Unknown)
    }

    fn close(&mut self, id: RequestId) -> Option<Ended<T>> {
        let Waiting { peer, deadline, purpose, .. } = self.waiting.remove(&id)?;
        self.deadlines.remove(&(deadline, id));
        if let Some(count) = self.of_peer.get_mut(&peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_peer.remove(&peer);
            }
        }
        Some(Ended { id, peer, purpose })
    }

    /// Closes a request without an answer; one that comes later is ignored.
    pub(crate) fn cancel(&mut self, now: Now, id: RequestId) -> Option<Ended<T>> {
        let kind = self.waiting.get(&id)?.kind;
        let ended = self.close(id)?;
        self.ended.insert(id, (ended.peer, kind));
        self.ended_order.push_back((now.instant, id));
        if self.ended_order.len() > MAX_LATE_REQUESTS
            && let Some((_, oldest)) = self.ended_order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        Some(ended)
    }

    /// The next request whose time is up. Call until None.
    pub(crate) fn next_expired(&mut self, now: Now) -> Option<Ended<T>> {
        let (_, id) = self.deadlines.first().copied().filter(|(deadline, _)| *deadline <= now.instant)?;
        self.cancel(now, id)
    }

    /// The peer is gone: ends its requests.
    pub(crate) fn disconnected(&mut self, peer: PeerId) -> Vec<Ended<T>> {
        self.ended.retain(|_, (of, _)| *of != peer);
        if !self.of_peer.contains_key(&peer) {
            return Vec::new();
        }
        let ids: Vec<RequestId> =
            self.waiting.iter().filter(|(_, waiting)| waiting.peer == peer).map(|(id, _)| *id).collect();
        ids.into_iter().filter_map(|id| self.close(id)).collect()
    }

    /// The request that waits for what `is_it` knows. Looks at all of them.
    pub(crate) fn find(&self, is_it: impl Fn(&T) -> bool) -> Option<RequestId> {
        self.waiting.iter().find(|(_, waiting)| is_it(&waiting.purpose)).map(|(id, _)| *id)
    }

    fn forget_ended(&mut self, now: Now) {
        while let Some((ended_at, id)) = self.ended_order.front().copied() {
            if now.instant.saturating_duration_since(ended_at) <= LATE_ANSWER_WINDOW {
                return;
            }
            self.ended_order.pop_front();
            self.ended.remove(&id);
        }
    }

    /// How many requests wait for `peer`.
    pub(crate) fn waiting_of(&self, peer: PeerId) -> usize {
        self.of_peer.get(&peer).copied().unwrap_or(0)
    }

    /// How many requests wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The earliest deadline.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const PEER: PeerId = PeerId(1);
    const OTHER: PeerId = PeerId(2);
    const TIMEOUT: Duration = Duration::from_secs(5);

    fn opened(now: Now) -> (Requests<&'static str>, RequestId) {
        let mut requests = Requests::new(u64::MAX);
        let id = requests.open(now, PEER, RequestKind::Headers, 2, TIMEOUT, "why").unwrap();
        (requests, id)
    }

    #[test]
    fn e10_an_answer_may_have_as_many_items_as_were_asked_for_and_no_more() {
        let now = start();
        for (items, expected) in [(0, Ok("why")), (2, Ok("why")), (3, Err(UnmatchedAnswer::TooManyItems))] {
            let (mut requests, id) = opened(now);
            assert_eq!(requests.answer(now, PEER, id, RequestKind::Headers, items), expected);
        }
    }

    #[test]
    fn e09_answers_match_by_peer_id_and_kind_once() {
        let now = start();
        let (mut requests, id) = opened(now);
        assert_eq!(requests.answer(now, OTHER, id, RequestKind::Headers, 1), Err(UnmatchedAnswer::Unknown));
        assert_eq!(
            requests.answer(now, PEER, RequestId(7), RequestKind::Headers, 1),
            Err(UnmatchedAnswer::Unknown)
        );
        assert_eq!(requests.answer(now, PEER, id, RequestKind::Bodies, 1), Err(UnmatchedAnswer::WrongKind));
        assert_eq!(requests.answer(now, PEER, id, RequestKind::Headers, 1), Ok("why"));
        assert_eq!(requests.answer(now, PEER, id, RequestKind::Headers, 1), Err(UnmatchedAnswer::Unknown));
        assert!(requests.len() == 0 && requests.next_timeout().is_none());
    }

    #[test]
    fn e09_a_late_answer_is_told_from_an_unasked_one_for_five_minutes() {
        let now = start();
        for (late_by, expected) in [
            (LATE_ANSWER_WINDOW, UnmatchedAnswer::Late(RequestKind::Headers)),
            (LATE_ANSWER_WINDOW + Duration::from_millis(1), UnmatchedAnswer::Unknown),
        ] {
            let (mut requests, id) = opened(now);
            assert_eq!(requests.next_expired(now.later(TIMEOUT - Duration::from_millis(1))), None);
            let expired = now.later(TIMEOUT);
            assert_eq!(requests.next_expired(expired), Some(Ended { id, peer: PEER, purpose: "why" }));
            let answer = requests.answer(expired.later(late_by), PEER, id, RequestKind::Headers, 1);
            assert_eq!(answer, Err(expected));
        }
    }

    #[test]
    fn e09_a_late_answer_comes_once() {
        let now = start();
        let (mut requests, id) = opened(now);
        requests.cancel(now, id);
        let mut late = || requests.answer(now, PEER, id, RequestKind::Headers, 1).unwrap_err();
        assert_eq!((late(), late()), (UnmatchedAnswer::Late(RequestKind::Headers), UnmatchedAnswer::Unknown));
    }

    #[test]
    fn requests_are_bounded_for_a_peer_and_for_all() {
        let now = start();
        let mut requests = Requests::new(1);
        let mut open = |peer| requests.open(now, PeerId(peer), RequestKind::Bodies, 1, TIMEOUT, ());
        assert_eq!((0..100).filter(|_| open(1).is_ok()).count(), MAX_REQUESTS_PER_PEER);
        assert_eq!(
            (2..100_000).filter(|peer| open(*peer).is_ok()).count(),
            MAX_REQUESTS - MAX_REQUESTS_PER_PEER
        );
        assert_eq!(requests.disconnected(PEER).len(), MAX_REQUESTS_PER_PEER);
        assert!(requests.open(now, PEER, RequestKind::Bodies, 1, TIMEOUT, ()).is_ok());
        while requests.next_expired(now.later(TIMEOUT)).is_some() {}
        assert!(requests.ended.len() <= MAX_LATE_REQUESTS && requests.of_peer.is_empty());
    }
}
