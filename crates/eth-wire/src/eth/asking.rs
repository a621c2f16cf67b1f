//! Requests to peers, of the owner and of our own, and their answers.
//! What is asked and when is decided where it is needed; ids, deadlines and matching are `requests`.

use std::{collections::BTreeSet, time::Duration};

use identity::Now;
use rlpx::PeerId;

use super::{CommandId, Eth, PeerFault, Reply, RequestError};
use crate::{
    Answer, Hash, Header, HeadersQuery, Origin, Reject, Request,
    block_fetch::FetchId,
    machine_config::STRIKES_TO_BE_LAST,
    message::Position,
    requests::{Ended, RequestKind, UnmatchedAnswer},
};

/// What a request is for.
#[derive(Clone, Debug)]
pub(super) enum Purpose {
    /// The owner wants to know.
    Owner(CommandId, Request),
    /// Announced transactions.
    Transactions(Vec<Hash>),
    /// A block and its ancestors.
    Block(FetchId),
}

impl Eth {
    /// Asks `peer`, or whoever seems best, for something, to be answered within `timeout` or the machine's own.
    /// [`Reply::Answer`] brings what came, [`Reply::Failed`] why nothing did; nothing is asked twice.
    ///
    /// # Errors
    /// `NoPeer`, `Size` or `TooMany`: then nothing was sent.
    pub fn request(
        &mut self,
        now: Now,
        peer: Option<PeerId>,
        request: Request,
        timeout: Option<Duration>,
    ) -> Result<CommandId, RequestError> {
        if !request.is_answerable() {
            return Err(RequestError::Size);
        }
        let asked = match peer {
            Some(peer) => peer,
            None => self.best_peer(&request).ok_or(RequestError::NoPeer)?,
        };
        let command = self.command();
        let purpose = Purpose::Owner(command, request.clone());
        self.ask_within(now, asked, &request, purpose, timeout.unwrap_or(self.times.request))?;
        self.settle(now);
        Ok(command)
    }

    /// Gives a command up: it gets no reply, and a late answer of the peer is ignored.
    pub fn cancel(&mut self, now: Now, command: CommandId) {
        let is_it = |purpose: &Purpose| matches!(purpose, Purpose::Owner(of, _) if *of == command);
        if let Some(id) = self.requests.find(is_it) {
            self.requests.cancel(now, id);
        }
    }

    /// The peer to ask when the owner names none: one that answers, has the block, has few requests waiting, and the
    /// longest chain.
    fn best_peer(&self, request: &Request) -> Option<PeerId> {
        let number = match request {
            Request::Headers(HeadersQuery { origin: Origin::Number(number), .. }) => Some(*number),
            Request::Headers(_)
            | Request::Bodies(_)
            | Request::PooledTransactions(_)
            | Request::Receipts(_) => None,
        };
        let ready = self.peers.ready().filter(|(_, peer)| peer.outbound.takes_request());
        let rank = |(id, peer): (PeerId, &crate::peers::Peer)| {
            let lacks = match (number, peer.position) {
                (Some(number), Some(Position::Range(range))) => {
                    !(range.earliest..=range.latest).contains(&number)
                }
                (_, Some(Position::Range(_) | Position::Head { .. }) | None) => false,
            };
            let behind = u64::MAX - peer.latest().unwrap_or(0);
            (peer.conduct.strikes >= STRIKES_TO_BE_LAST, lacks, self.requests.waiting_of(id), behind, id)
        };
        ready.map(rank).min().map(|(.., id)| id)
    }

    pub(super) fn ask(
        &mut self,
        now: Now,
        id: PeerId,
        request: &Request,
        purpose: Purpose,
    ) -> Result<(), RequestError> {
        self.ask_within(now, id, request, purpose, self.times.request)
    }

    fn ask_within(
        &mut self,
        now: Now,
        id: PeerId,
        request: &Request,
        purpose: Purpose,
        timeout: Duration,
    ) -> Result<(), RequestError> {
        let peer = self.peers.of(id).filter(|peer| peer.is_ready()).ok_or(RequestError::NoPeer)?;
        if !peer.outbound.takes_request() {
            return Err(RequestError::TooMany);
        }
        let (kind, count) = (RequestKind::of(request), request.item_count());
        let opened = self.requests.open(now, id, kind, count, timeout, purpose);
        let request_id = opened.map_err(|_| RequestError::TooMany)?;
        self.push_message(id, &request.message(request_id));
        Ok(())
    }

    pub(super) fn handle_answer(&mut self, now: Now, id: PeerId, request_id: u64, answer: Answer) {
        let kind = RequestKind::of_answer(&answer);
        let purpose =
            match self.requests.answer(now, id, crate::requests::RequestId(request_id), kind, answer.len()) {
                Ok(purpose) => purpose,
                Err(UnmatchedAnswer::Late(kind)) => return self.handle_late(id, kind),
                Err(
                    error @ (UnmatchedAnswer::Unknown
                    | UnmatchedAnswer::WrongKind
                    | UnmatchedAnswer::TooManyItems),
                ) => return self.disconnect(now, id, error.into()),
            };
        self.judge_answer(now, id, answer.is_empty());
        match (purpose, answer) {
            (Purpose::Owner(command, request), answer) => {
                self.handle_owners(now, id, command, &request, answer);
            }
            (Purpose::Transactions(asked), Answer::PooledTransactions(transactions)) => {
                self.handle_fetched(now, id, &asked, &transactions);
            }
            (Purpose::Block(fetch), Answer::Headers(headers)) => {
                self.handle_block_headers(now, id, fetch, headers);
            }
            (Purpose::Block(fetch), Answer::Bodies(bodies)) => {
                self.handle_block_bodies(now, id, fetch, &bodies);
            }
            // Requests match answers by kind, so there is none of another.
            (Purpose::Transactions(_) | Purpose::Block(_), _) => self.reject(Reject::WrongAnswer, 1),
        }
    }

    /// An answer came, or its time has passed.
    fn judge_answer(&mut self, now: Now, id: PeerId, is_empty: bool) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        let strikes = if is_empty { peer.conduct.strikes.saturating_add(1) } else { 0 };
        peer.conduct.strikes = strikes;
        if strikes >= STRIKES_TO_BE_LAST {
            self.blame(now, id);
        }
    }

    fn handle_owners(&mut self, now: Now, id: PeerId, command: CommandId, request: &Request, answer: Answer) {
        if fits(request, &answer) {
            if !answer.is_empty() {
                self.praise(now, id);
            }
            return self.reply(Some(command), Reply::Answer(id, answer));
        }
        self.fail(Some(command), RequestError::WrongAnswer);
        self.disconnect(now, id, PeerFault::UnrequestedItem);
    }

    pub(super) fn expire_requests(&mut self, now: Now) {
        while let Some(ended) = self.requests.next_expired(now) {
            self.judge_answer(now, ended.peer, true);
            self.counters.rejects.add(Reject::RequestTimeout);
            self.handle_unanswered(now, ended, RequestError::TimedOut);
        }
    }

    /// A request has ended without an answer.
    pub(super) fn handle_unanswered(&mut self, now: Now, ended: Ended<Purpose>, error: RequestError) {
        match ended.purpose {
            Purpose::Owner(command, _) => self.fail(Some(command), error),
            // A peer that has gone took its announcements along.
            Purpose::Transactions(_) => self.transactions.fetcher.timed_out(now, ended.peer),
            Purpose::Block(fetch) => self.handle_block_silence(now, fetch, ended.peer),
        }
    }
}

/// Whether an answer has nothing but what was asked for, as far as that can be told from it alone: a body or receipt
/// does not name its block.
fn fits(request: &Request, answer: &Answer) -> bool {
    match (request, answer) {
        (Request::Headers(query), Answer::Headers(headers)) => headers_fit(query, headers),
        (Request::PooledTransactions(hashes), Answer::PooledTransactions(transactions)) => {
            let asked: BTreeSet<&Hash> = hashes.iter().collect();
            transactions.iter().all(|transaction| asked.contains(&transaction.hash()))
        }
        (Request::Bodies(_), Answer::Bodies(_)) | (Request::Receipts(_), Answer::Receipts(_)) => true,
        (
            Request::Headers(_) | Request::Bodies(_) | Request::PooledTransactions(_) | Request::Receipts(_),
            Answer::Headers(_) | Answer::Bodies(_) | Answer::PooledTransactions(_) | Answer::Receipts(_),
        ) => false,
    }
}

/// Whether headers begin with the query's origin, go on in its steps, and link where none is left out.
pub(crate) fn headers_fit(query: &HeadersQuery, headers: &[Header]) -> bool {
    let Some(first) = headers.first() else { return true };
    let begins = match query.origin {
        Origin::Hash(hash) => first.hash == hash,
        Origin::Number(number) => first.number == number,
    };
    let step = query.skip.saturating_add(1);
    let follows = |pair: &[Header]| {
        let [one, next] = pair else { return true };
        let (lower, upper) = if query.reverse { (next, one) } else { (one, next) };
        lower.number.checked_add(step) == Some(upper.number) && (step > 1 || upper.parent == lower.hash)
    };
    begins && headers.windows(2).all(follows)
}

#[cfg(test)]
mod tests;
