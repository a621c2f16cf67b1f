//! Transactions: from peers and the owner into the pool, from there to those who lack them.
//! devp2p specification, `caps/eth.md`, "Transaction Exchange". Validity is the pool's to judge.

use std::collections::BTreeSet;

use identity::{NodeId, Now};
use rlpx::PeerId;

use super::{
    CommandId, Eth, EthEvent, PeerFault, Reply, RequestError,
    asking::Purpose,
    calls::{Errand, Insertion},
};
use crate::{
    Announcement, Hash, Insert, Reject, Request, Transaction,
    backend::BackendCall,
    counters::Delivery,
    gossip::{announce::Told, broadcast::DirectChoice, fetcher::Fetcher, recent::Recent},
    known::{Fingerprint, FingerprintKey},
    machine_config::{INSERT_BATCH, MAX_PUSHED_TRANSACTION_LEN, MAX_REQUESTS_PER_PEER},
    requests::RequestKind,
    transaction::BLOB,
};

/// What gossip of transactions remembers.
#[derive(Debug)]
pub(super) struct TransactionGossip {
    pub(super) fingerprints: FingerprintKey,
    pub(super) recent: Recent,
    pub(super) fetcher: Fetcher,
    pub(super) choice: DirectChoice,
    /// On their way into the pool.
    inserting: BTreeSet<Hash>,
}

impl TransactionGossip {
    pub(super) fn new(fingerprints: FingerprintKey, low: u64, high: u64) -> Self {
        Self {
            fingerprints,
            recent: Recent::default(),
            fetcher: Fetcher::default(),
            choice: DirectChoice::new(low, high),
            inserting: BTreeSet::new(),
        }
    }

    /// The pool has said nothing of these.
    pub(super) fn forget(&mut self, transactions: &[Transaction]) {
        transactions.iter().for_each(|transaction| _ = self.inserting.remove(&transaction.hash()));
    }

    fn has_seen(&self, fingerprint: Fingerprint, hash: &Hash) -> bool {
        self.recent.contains(fingerprint) || self.inserting.contains(hash)
    }
}

impl Eth {
    /// Takes transactions of the owner into the pool and tells them to all peers: in full to the square root of them
    /// and by hash to the rest, or by hash to all. [`Reply::Inserted`] says what the pool made of each.
    ///
    /// # Errors
    /// `TooMany` when too many commands wait.
    pub fn submit_transactions(
        &mut self,
        now: Now,
        transactions: Vec<Transaction>,
        announce_only: bool,
    ) -> Result<CommandId, RequestError> {
        if !self.calls.takes_owners() {
            return Err(RequestError::TooMany);
        }
        let command = self.command();
        self.insert(now, Insertion { from: None, transactions, announce_only, command: Some(command) });
        self.settle(now);
        Ok(command)
    }

    /// Announces transactions that are in the pool to all peers. [`Reply::Announced`] says how many of them are.
    ///
    /// # Errors
    /// `TooMany` when too many commands wait.
    pub fn announce_transactions(&mut self, now: Now, hashes: Vec<Hash>) -> Result<CommandId, RequestError> {
        if !self.calls.takes_owners() {
            return Err(RequestError::TooMany);
        }
        let command = self.command();
        self.call(now, BackendCall::Describe(hashes), Errand::Announce(command));
        self.settle(now);
        Ok(command)
    }

    pub(super) fn handle_described(&mut self, command: CommandId, items: &[Announcement]) {
        let ids: Vec<PeerId> = self.peers.ready().map(|(id, _)| id).collect();
        ids.into_iter().for_each(|id| self.announce_to(id, items.iter().copied()));
        self.reply(Some(command), Reply::Announced(items.len()));
    }

    /// A new peer is told all that is pending.
    pub(super) fn greet(&mut self, now: Now, id: PeerId) {
        if self.backend_takes(now, id) {
            self.call(now, BackendCall::Pending, Errand::Greet(id));
        }
    }

    pub(super) fn announce_to(&mut self, id: PeerId, items: impl IntoIterator<Item = Announcement>) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        for item in items {
            if peer.lacks_transaction(self.transactions.fingerprints.fingerprint(&item.hash)) {
                peer.telling.announced.push(item);
            }
        }
        self.touched.insert(id);
    }

    /// A peer sent transactions in full, asked or not.
    pub(super) fn handle_transactions(&mut self, now: Now, id: PeerId, transactions: &[Transaction]) {
        let takes = self.backend_takes(now, id);
        let (mut fresh, mut again): (Vec<Transaction>, u64) = (Vec::new(), 0);
        let judged = self.note_all_known(id, transactions);
        for (transaction, judged) in transactions.iter().zip(judged) {
            let hash = transaction.hash();
            let liars =
                self.transactions.fetcher.received(&hash, transaction.kind(), transaction.size(), Some(id));
            for liar in liars {
                self.disconnect(now, liar, PeerFault::Misannounced(hash));
            }
            if judged || self.transactions.inserting.contains(&hash) {
                again += 1;
            } else if takes {
                fresh.push(transaction.to_owned());
            } else {
                self.reject(Reject::QueueFull, 1);
            }
        }
        self.counters.deliveries.add_many(Delivery::TransactionAgain, again);
        if let Some(quota) = self.quotas.of_mut(id) {
            quota.checks.take(now, fresh.len() as u64);
        }
        while !fresh.is_empty() {
            let rest = fresh.split_off(INSERT_BATCH.min(fresh.len()));
            self.insert(
                now,
                Insertion { from: Some(id), transactions: fresh, announce_only: false, command: None },
            );
            fresh = rest;
        }
    }

    /// Notes that the peer has these, and says of each whether the pool has judged it lately. A pass for each table: they
    /// are larger than the processor's caches, and in a pass of their own look-ups do not wait for each other.
    fn note_all_known(&mut self, id: PeerId, transactions: &[Transaction]) -> Vec<bool> {
        let gossip = &self.transactions;
        let fingerprint = |transaction: &Transaction| gossip.fingerprints.fingerprint(&transaction.hash());
        let fingerprints: Vec<Fingerprint> = transactions.iter().map(fingerprint).collect();
        if let Some(peer) = self.peers.of_mut(id) {
            fingerprints.iter().for_each(|print| _ = peer.telling.transactions.insert(*print));
        }
        fingerprints.iter().map(|print| gossip.recent.contains(*print)).collect()
    }

    fn note_known(&mut self, id: PeerId, hash: &Hash) -> Fingerprint {
        let fingerprint = self.transactions.fingerprints.fingerprint(hash);
        if let Some(peer) = self.peers.of_mut(id) {
            peer.telling.transactions.insert(fingerprint);
        }
        fingerprint
    }

    fn insert(&mut self, now: Now, insertion: Insertion) {
        let transactions = &insertion.transactions;
        self.transactions.inserting.extend(transactions.iter().map(Transaction::hash));
        let envelopes = transactions.iter().map(|transaction| transaction.envelope().clone()).collect();
        self.call(now, BackendCall::Insert(envelopes), Errand::Insert(insertion));
    }

    /// The pool has judged transactions: new ones are told on.
    pub(super) fn handle_inserted(&mut self, now: Now, insertion: Insertion, results: &[Insert]) {
        let Insertion { from, transactions, announce_only, command } = insertion;
        let (mut new, mut known) = (Vec::new(), 0);
        for (transaction, result) in transactions.iter().zip(results) {
            let hash = transaction.hash();
            self.transactions.inserting.remove(&hash);
            let fingerprint = self.transactions.fingerprints.fingerprint(&hash);
            self.transactions.recent.insert(fingerprint);
            self.transactions.fetcher.discard(&hash);
            match result {
                Insert::New => {
                    new.push(hash);
                    let told =
                        Told { item: transaction.announcement(), bytes: transaction.envelope().clone() };
                    self.tell(told, from, announce_only);
                }
                Insert::Known => known += 1,
                Insert::Invalid(_) => self.reject(Reject::InvalidTransaction, 1),
                Insert::Full => self.reject(Reject::PoolFull, 1),
            }
        }
        if let Some(peer) = from {
            let invalid = results.iter().filter(|result| matches!(result, Insert::Invalid(_))).count();
            if invalid * 2 > results.len() {
                self.blame(now, peer);
            } else if !new.is_empty() {
                self.praise(now, peer);
            }
            self.counters.deliveries.add_many(Delivery::Transaction, new.len() as u64);
            self.counters.deliveries.add_many(Delivery::TransactionAgain, known as u64);
        }
        if !new.is_empty() || known > 0 {
            self.event(EthEvent::TransactionsReceived { peer: from, new, known });
        }
        self.reply(command, Reply::Inserted(results.to_vec()));
    }

    /// Queues a new transaction for all peers that lack it, never for the one it came from.
    fn tell(&mut self, Told { item, bytes }: Told, from: Option<PeerId>, announce_only: bool) {
        let pushable = !announce_only && item.kind != BLOB && item.size <= MAX_PUSHED_TRANSACTION_LEN;
        let direct = if pushable {
            self.choose_direct(&item.hash, self.peers.ready().map(|(id, peer)| (id, &peer.node_id)))
        } else {
            BTreeSet::new()
        };
        if pushable {
            self.transactions.recent.keep(item.hash, bytes);
        }
        let fingerprint = self.transactions.fingerprints.fingerprint(&item.hash);
        for (id, peer) in self.peers.iter_mut() {
            if !peer.is_ready() || Some(id) == from || !peer.lacks_transaction(fingerprint) {
                continue;
            }
            let queue =
                if direct.contains(&id) { &mut peer.telling.full } else { &mut peer.telling.announced };
            queue.push(item);
            self.touched.insert(id);
        }
    }

    /// Who gets an item in full. Its hash stands for its origin: the sender is known only to the pool.
    pub(super) fn choose_direct<'a>(
        &self,
        hash: &Hash,
        peers: impl Iterator<Item = (PeerId, &'a NodeId)>,
    ) -> BTreeSet<PeerId> {
        self.transactions.choice.choose(hash.as_ref(), peers)
    }

    /// A peer announced transactions.
    pub(super) fn handle_announced(&mut self, now: Now, id: PeerId, announced: &[Announcement]) {
        let (mut tracked, mut fresh) = (Vec::new(), Vec::new());
        for item in announced {
            let fingerprint = self.note_known(id, &item.hash);
            if self.transactions.fetcher.contains(&item.hash) {
                tracked.push(*item);
            } else if !self.transactions.has_seen(fingerprint, &item.hash) {
                fresh.push(*item);
            }
        }
        self.track(now, id, tracked);
        if fresh.is_empty() {
            return;
        }
        if !self.backend_takes(now, id) {
            return self.reject(Reject::QueueFull, fresh.len());
        }
        let len = size_of_val(fresh.as_slice());
        self.call(now, BackendCall::Lacking(fresh), Errand::Announced { peer: id, len });
    }

    /// The pool has said which announced transactions it lacks: they are fetched.
    pub(super) fn handle_lacking(&mut self, now: Now, id: PeerId, lacking: Vec<Announcement>) {
        if self.peers.of(id).is_none() {
            return;
        }
        let gossip = &self.transactions;
        let seen = |hash: &Hash| gossip.has_seen(gossip.fingerprints.fingerprint(hash), hash);
        let wanted: Vec<Announcement> = lacking.into_iter().filter(|item| !seen(&item.hash)).collect();
        self.track(now, id, wanted);
    }

    fn track(&mut self, now: Now, id: PeerId, items: Vec<Announcement>) {
        let dropped = self.transactions.fetcher.announced(now, id, items);
        self.reject(Reject::AnnouncementOverflow, dropped);
    }

    /// Puts out the requests for announced transactions that are due.
    pub(super) fn fetch_transactions(&mut self, now: Now) {
        loop {
            let (peers, requests) = (&self.peers, &self.requests);
            let can_take = |id: PeerId| {
                let room = peers.of(id).is_some_and(|peer| peer.outbound.takes_request());
                room && requests.waiting_of(id) < MAX_REQUESTS_PER_PEER
            };
            let Some(fetch) = self.transactions.fetcher.next_fetch(now, can_take) else { return };
            let request = Request::PooledTransactions(fetch.hashes.clone());
            if self.ask(now, fetch.peer, &request, Purpose::Transactions(fetch.hashes)).is_err() {
                self.transactions.fetcher.not_sent(fetch.peer);
                return;
            }
        }
    }

    /// A peer answered what it was asked for by [`Eth::fetch_transactions`].
    pub(super) fn handle_fetched(
        &mut self,
        now: Now,
        id: PeerId,
        asked: &[Hash],
        transactions: &[Transaction],
    ) {
        let asked: BTreeSet<&Hash> = asked.iter().collect();
        if transactions.iter().any(|transaction| !asked.contains(&transaction.hash())) {
            return self.disconnect(now, id, PeerFault::UnrequestedItem);
        }
        let delivered: Vec<Hash> = transactions.iter().map(Transaction::hash).collect();
        self.transactions.fetcher.answered(id, &delivered);
        self.handle_transactions(now, id, transactions);
    }

    pub(super) fn handle_late(&mut self, id: PeerId, kind: RequestKind) {
        self.reject(Reject::LateAnswer, 1);
        if kind == RequestKind::PooledTransactions {
            self.transactions.fetcher.answered_late(id);
        }
    }
}
