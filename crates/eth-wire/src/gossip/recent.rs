//! The transactions of the last moments: what the pool said of them, so that a second copy costs nothing, and the bytes
//! of those that are on their way to peers in full. Never a source for answers: what is served comes from the pool.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::{
    Hash,
    known::{ByFingerprint, Fingerprint},
    machine_config::{RECENT_TRANSACTION_BYTES, RECENT_TRANSACTIONS},
};

/// Transactions judged lately, at most [`RECENT_TRANSACTIONS`], with [`RECENT_TRANSACTION_BYTES`] of their bytes; the
/// oldest are forgotten. The judged ones are kept as fingerprints of 64 bits, keyed so that nobody can aim at one: of
/// 10^14 transactions one reads as judged that was not.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// The number tells a hash that was forgotten and has come back from its earlier place in the queue.
    judged: ByFingerprint<u64>,
    judged_order: VecDeque<(u64, Fingerprint)>,
    bytes: BTreeMap<Hash, Bytes>,
    bytes_order: VecDeque<Hash>,
    bytes_len: usize,
    next: u64,
}

impl Recent {
    /// The pool has judged the transaction.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint) {
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.judged.insert(fingerprint, number);
        self.judged_order.push_back((number, fingerprint));
        if self.judged_order.len() > RECENT_TRANSACTIONS
            && let Some((number, oldest)) = self.judged_order.pop_front()
            && self.judged.get(&oldest) == Some(&number)
        {
            self.judged.remove(&oldest);
        }
    }

    /// Whether the pool has judged the transaction lately.
    pub(crate) fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.judged.contains_key(&fingerprint)
    }

    /// Keeps the bytes of a transaction that is to be sent in full.
    pub(crate) fn keep(&mut self, hash: Hash, bytes: Bytes) {
        let len = bytes.len();
        if len > RECENT_TRANSACTION_BYTES || self.bytes.contains_key(&hash) {
            return;
        }
        self.bytes_len += len;
        self.bytes.insert(hash, bytes);
        self.bytes_order.push_back(hash);
        while self.bytes_len > RECENT_TRANSACTION_BYTES {
            let Some(oldest) = self.bytes_order.pop_front() else { return };
            let dropped = self.bytes.remove(&oldest);
            self.bytes_len -= dropped.map_or(0, |bytes| bytes.len());
        }
    }

    /// The bytes of a transaction, when they are still kept.
    pub(crate) fn bytes(&self, hash: &Hash) -> Option<&Bytes> {
        self.bytes.get(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::known::FingerprintKey;

    fn key() -> FingerprintKey {
        FingerprintKey::new(1, 2)
    }

    fn hash(number: usize) -> Hash {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Hash(bytes)
    }

    fn insert(recent: &mut Recent, number: usize) {
        recent.insert(key().fingerprint(&hash(number)));
    }

    fn contains(recent: &Recent, number: usize) -> bool {
        recent.contains(key().fingerprint(&hash(number)))
    }

    #[test]
    fn the_latest_are_remembered_and_the_rest_forgotten() {
        let mut recent = Recent::default();
        (0..100_000).for_each(|number| insert(&mut recent, number));
        assert!(contains(&recent, 99_999) && contains(&recent, 100_000 - RECENT_TRANSACTIONS));
        assert!(!contains(&recent, 0));
        assert_eq!(
            (recent.judged.len(), recent.judged_order.len()),
            (RECENT_TRANSACTIONS, RECENT_TRANSACTIONS)
        );
    }

    #[test]
    fn a_hash_that_is_judged_again_is_remembered_from_then_on() {
        let mut recent = Recent::default();
        insert(&mut recent, 0);
        (1..=RECENT_TRANSACTIONS / 2).for_each(|number| insert(&mut recent, number));
        insert(&mut recent, 0);
        (1..RECENT_TRANSACTIONS).for_each(|number| insert(&mut recent, number));
        assert!(contains(&recent, 0));
        insert(&mut recent, 1);
        assert!(!contains(&recent, 0));
    }

    #[test]
    fn bytes_are_kept_up_to_a_limit() {
        let mut recent = Recent::default();
        for number in 0..100 {
            recent.keep(hash(number), Bytes::from(vec![0; RECENT_TRANSACTION_BYTES / 10]));
            assert!(recent.bytes_len <= RECENT_TRANSACTION_BYTES);
        }
        assert!(recent.bytes(&hash(99)).is_some() && recent.bytes(&hash(0)).is_none());
        assert_eq!(recent.bytes.len(), recent.bytes_order.len());
        recent.keep(hash(1_000), Bytes::from(vec![0; RECENT_TRANSACTION_BYTES + 1]));
        assert!(recent.bytes(&hash(1_000)).is_none());
    }
}
