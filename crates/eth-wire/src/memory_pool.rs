//! A transaction pool in memory: signature, chain id, kind and size are checked; nonces and balances are not, for there is
//! no state. For private chains and tests.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{
    Hash, Insert, Pool, Signed, Transaction,
    config::{MAX_TRANSACTION_LEN, MEMORY_POOL_BYTES, MEMORY_POOL_DONE, MEMORY_POOL_TRANSACTIONS},
    message::Announcement,
    sender::InvalidTransaction,
    transaction::BLOB,
};

/// How much a [`MemoryPool`] holds. A full pool refuses more with [`Insert::Full`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// How many transactions. Default: [`MEMORY_POOL_TRANSACTIONS`].
    pub transactions: usize,
    /// How many bytes of envelopes. Default: [`MEMORY_POOL_BYTES`].
    pub bytes: usize,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self { transactions: MEMORY_POOL_TRANSACTIONS, bytes: MEMORY_POOL_BYTES }
    }
}

/// A pool in memory, within [`PoolLimits`]. Transactions leave it when their owner says they are done with
/// ([`MemoryPool::remove`]); of these it remembers the last [`MEMORY_POOL_DONE`], so that gossip does not bring them back.
#[derive(Debug)]
pub struct MemoryPool {
    chain_id: u64,
    limits: PoolLimits,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    transactions: BTreeMap<Hash, (u64, Transaction)>,
    /// By arrival.
    order: BTreeMap<u64, Hash>,
    arrivals: u64,
    bytes: usize,
    done: BTreeSet<Hash>,
    done_order: VecDeque<Hash>,
}

impl MemoryPool {
    /// A pool for the chain with this id, with the default limits.
    pub fn new(chain_id: u64) -> Self {
        Self::with_limits(chain_id, PoolLimits::default())
    }

    /// A pool for the chain with this id.
    pub fn with_limits(chain_id: u64, limits: PoolLimits) -> Self {
        Self { chain_id, limits, held: Mutex::default() }
    }

    /// The chain that transactions must be for.
    pub const fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Lets go of transactions that a block has taken, or that were given up.
    pub fn remove(&self, hashes: &[Hash]) {
        let mut held = self.lock();
        for hash in hashes {
            held.remove(hash);
        }
    }

    /// The transactions that came first, at most so many and of at most so many bytes together: what a block takes.
    pub fn oldest(&self, max_count: usize, max_bytes: usize) -> Vec<Transaction> {
        let held = self.lock();
        let mut bytes = 0usize;
        let oldest = held.order.values().filter_map(|hash| held.transactions.get(hash));
        let fits = |(_, transaction): &&(u64, Transaction)| {
            bytes = bytes.saturating_add(transaction.envelope().len());
            bytes <= max_bytes
        };
        oldest.take(max_count).take_while(fits).map(|(_, transaction)| transaction.clone()).collect()
    }

    /// How many transactions are held.
    pub fn len(&self) -> usize {
        self.lock().transactions.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The checks that need nothing but the transaction.
    fn check(&self, transaction: &Transaction) -> Result<(), InvalidTransaction> {
        if transaction.kind() == BLOB {
            return Err(InvalidTransaction::Blob);
        }
        let signed = Signed::read(transaction)?;
        if signed.chain_id.is_some_and(|id| id != self.chain_id) {
            return Err(InvalidTransaction::ChainId { expected: self.chain_id });
        }
        signed.sender().map(drop).ok_or(InvalidTransaction::Signature)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing inside can be left half-done in a way that a later call could not bear.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool for MemoryPool {
    fn get(&self, hash: &Hash) -> Option<Bytes> {
        self.lock().transactions.get(hash).map(|(_, transaction)| transaction.envelope().clone())
    }

    fn contains(&self, hash: &Hash) -> bool {
        self.lock().knows(hash)
    }

    fn insert(&self, envelope: Bytes) -> Insert {
        if envelope.len() > MAX_TRANSACTION_LEN {
            let (limit, found) = (MAX_TRANSACTION_LEN, envelope.len());
            return Insert::Invalid(InvalidTransaction::TooLarge { limit, found });
        }
        let transaction = match Transaction::decode(envelope) {
            Ok(transaction) => transaction,
            Err(error) => return Insert::Invalid(InvalidTransaction::Malformed(error)),
        };
        if self.contains(&transaction.hash()) {
            return Insert::Known;
        }
        // The signature is checked with the pool unlocked; another thread may have been faster.
        match self.check(&transaction) {
            Ok(()) => self.lock().take(&transaction, &self.limits),
            Err(invalid) => Insert::Invalid(invalid),
        }
    }

    fn pending(&self) -> Vec<Announcement> {
        let held = self.lock();
        let in_order = held.order.values().filter_map(|hash| held.transactions.get(hash));
        in_order.map(|(_, transaction)| transaction.announcement()).collect()
    }

    fn describe(&self, hash: &Hash) -> Option<Announcement> {
        self.lock().transactions.get(hash).map(|(_, transaction)| transaction.announcement())
    }
}

impl Held {
    fn knows(&self, hash: &Hash) -> bool {
        self.transactions.contains_key(hash) || self.done.contains(hash)
    }

    fn take(&mut self, transaction: &Transaction, limits: &PoolLimits) -> Insert {
        let (hash, len) = (transaction.hash(), transaction.envelope().len());
        if self.knows(&hash) {
            return Insert::Known;
        }
        if self.transactions.len() >= limits.transactions || self.bytes.saturating_add(len) > limits.bytes {
            return Insert::Full;
        }
        let arrival = self.arrivals;
        self.arrivals = arrival.wrapping_add(1);
        self.bytes = self.bytes.saturating_add(len);
        self.order.insert(arrival, hash);
        self.transactions.insert(hash, (arrival, transaction.to_owned()));
        Insert::New
    }

    fn remove(&mut self, hash: &Hash) {
        if let Some((arrival, transaction)) = self.transactions.remove(hash) {
            self.order.remove(&arrival);
            self.bytes = self.bytes.saturating_sub(transaction.envelope().len());
        }
        if self.done.insert(*hash) {
            self.done_order.push_back(*hash);
        }
        if self.done_order.len() > MEMORY_POOL_DONE
            && let Some(oldest) = self.done_order.pop_front()
        {
            self.done.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use identity::NodeKey;

    use super::*;
    use crate::{Address, TransferRequest};

    const CHAIN: u64 = 1337;

    fn request(nonce: u64) -> TransferRequest {
        TransferRequest::new(CHAIN, nonce, Address([7; 20]), 1)
    }

    fn signed(request: &TransferRequest) -> Transaction {
        request.sign(&NodeKey::from_bytes(&[1; 32]).unwrap())
    }

    fn transfer(nonce: u64) -> Transaction {
        signed(&request(nonce))
    }

    fn insert(pool: &MemoryPool, transaction: &Transaction) -> Insert {
        pool.insert(transaction.envelope().clone())
    }

    #[test]
    fn a_transaction_is_taken_once_and_served() {
        let (pool, transaction) = (MemoryPool::new(CHAIN), transfer(1));
        let hash = transaction.hash();
        assert!(!pool.contains(&hash) && pool.get(&hash).is_none());
        assert_eq!((insert(&pool, &transaction), insert(&pool, &transaction)), (Insert::New, Insert::Known));
        assert_eq!(pool.get(&hash).as_ref(), Some(transaction.envelope()));
        assert_eq!(pool.pending(), [transaction.announcement()]);
        assert_eq!(pool.describe(&hash), Some(transaction.announcement()));
    }

    #[test]
    fn a_transaction_of_another_chain_is_invalid() {
        let pool = MemoryPool::new(CHAIN + 1);
        let expected = InvalidTransaction::ChainId { expected: CHAIN + 1 };
        assert_eq!(insert(&pool, &transfer(1)), Insert::Invalid(expected));
        assert!(pool.is_empty());
    }

    #[test]
    fn every_changed_byte_makes_another_transaction_or_an_invalid_one() {
        let (pool, good) = (MemoryPool::new(CHAIN), transfer(1));
        insert(&pool, &good);
        for place in 0..good.envelope().len() {
            let mut bytes = good.envelope().to_vec();
            bytes[place] ^= 1;
            let insert = pool.insert(bytes.into());
            // What is still a transaction has another sender; the pool knows of no balances.
            assert!(matches!(insert, Insert::New | Insert::Invalid(_)), "byte {place}: {insert:?}");
        }
        let malformed = |bytes: &[u8]| {
            let insert = pool.insert(Bytes::copy_from_slice(bytes));
            matches!(insert, Insert::Invalid(InvalidTransaction::Malformed(_)))
        };
        assert!(malformed(&[]) && malformed(&[0x80]) && malformed(&[2]) && malformed(&good.envelope()[..50]));
    }

    #[test]
    fn a_transaction_has_at_most_128_kib() {
        let pool = MemoryPool::new(CHAIN);
        let mut request = request(1);
        request.data = vec![1; MAX_TRANSACTION_LEN - 200].into();
        let room = MAX_TRANSACTION_LEN - signed(&request).envelope().len();
        request.data = vec![1; MAX_TRANSACTION_LEN - 200 + room].into();
        assert_eq!(signed(&request).envelope().len(), MAX_TRANSACTION_LEN);
        assert_eq!(insert(&pool, &signed(&request)), Insert::New);
        request.data = vec![1; request.data.len() + 1].into();
        let too_large =
            InvalidTransaction::TooLarge { limit: MAX_TRANSACTION_LEN, found: MAX_TRANSACTION_LEN + 1 };
        assert_eq!(insert(&pool, &signed(&request)), Insert::Invalid(too_large));
    }

    #[test]
    fn blobs_and_unknown_kinds_are_not_held() {
        let pool = MemoryPool::new(CHAIN);
        let with_kind = |kind: u8| {
            let mut bytes = transfer(1).envelope().to_vec();
            bytes[0] = kind;
            pool.insert(bytes.into())
        };
        assert_eq!(with_kind(BLOB), Insert::Invalid(InvalidTransaction::Blob));
        assert_eq!(with_kind(9), Insert::Invalid(InvalidTransaction::Kind(9)));
    }

    #[test]
    fn a_full_pool_refuses_and_takes_again_when_there_is_room() {
        let len = transfer(1).envelope().len();
        let by_count = PoolLimits { transactions: 2, bytes: usize::MAX };
        let by_bytes = PoolLimits { transactions: usize::MAX, bytes: 3 * len - 1 };
        for limits in [by_count, by_bytes] {
            let pool = MemoryPool::with_limits(CHAIN, limits);
            assert_eq!(
                [1, 2, 3].map(|nonce| insert(&pool, &transfer(nonce))),
                [Insert::New, Insert::New, Insert::Full]
            );
            pool.remove(&[transfer(1).hash()]);
            assert_eq!((insert(&pool, &transfer(3)), pool.len()), (Insert::New, 2));
        }
    }

    #[test]
    fn what_a_block_took_does_not_come_back() {
        let pool = MemoryPool::new(CHAIN);
        insert(&pool, &transfer(1));
        pool.remove(&[transfer(1).hash(), transfer(2).hash()]);
        assert_eq!(
            (insert(&pool, &transfer(1)), insert(&pool, &transfer(2))),
            (Insert::Known, Insert::Known)
        );
        assert!(
            pool.contains(&transfer(2).hash()) && pool.get(&transfer(1).hash()).is_none() && pool.is_empty()
        );
        // The memory of it is bounded: the oldest is forgotten first.
        let others: Vec<Hash> =
            (0..MEMORY_POOL_DONE as u64).map(|i| crate::keccak(&i.to_be_bytes())).collect();
        pool.remove(&others);
        assert!(!pool.contains(&transfer(1).hash()) && pool.contains(&others[0]));
        assert_eq!(pool.lock().done.len(), MEMORY_POOL_DONE);
    }

    #[test]
    fn a_block_takes_the_oldest_first_within_its_limits() {
        let pool = MemoryPool::new(CHAIN);
        let transactions: Vec<Transaction> = (0..5).map(transfer).collect();
        for transaction in &transactions {
            insert(&pool, transaction);
        }
        let len = transactions[0].envelope().len();
        assert_eq!(pool.oldest(3, usize::MAX), transactions[..3]);
        assert_eq!(pool.oldest(9, 2 * len + len / 2), transactions[..2]);
    }

    #[test]
    fn what_is_held_pins_no_message() {
        let (pool, transaction) = (MemoryPool::new(CHAIN), transfer(1));
        let message = Bytes::from([&[0; 1000], &transaction.envelope()[..]].concat());
        pool.insert(message.slice(1000..));
        let held = pool.get(&transaction.hash()).unwrap();
        assert!(!message.as_ptr_range().contains(&held.as_ptr()));
    }
}
