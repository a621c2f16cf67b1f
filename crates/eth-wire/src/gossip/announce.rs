//! Packs for one peer: what of its queues goes out next, in full or announced. What a peer came to know meanwhile is
//! left out, and an item counts as known to it only from here on.

use std::collections::BTreeMap;

use bytes::Bytes;
use identity::Now;
use rlpx::SharedMessage;

use super::recent::Recent;
use crate::{
    Hash,
    config::MAX_TRANSACTIONS,
    known::FingerprintKey,
    machine_config::{ANNOUNCE_INTERVAL, GOSSIP_PACK_HASHES, GOSSIP_PACK_LEN},
    message::{Announcement, EthMessage},
    peers::Telling,
};

/// A kind byte, a size and a hash with their headers, at most.
const ANNOUNCED_LEN: usize = 1 + 5 + 33;

/// Encodings of the packs made in one go, so that what several peers get is encoded once.
#[derive(Debug, Default)]
pub(crate) struct Packs {
    made: BTreeMap<(bool, Vec<Hash>), SharedMessage>,
}

impl Packs {
    /// The next message of transactions in full. One whose bytes are not kept any more is announced instead.
    pub(crate) fn next_full(
        &mut self,
        telling: &mut Telling,
        key: &FingerprintKey,
        recent: &Recent,
    ) -> Option<SharedMessage> {
        let Telling { transactions: known, full, announced, .. } = telling;
        let len = |item: &Announcement| usize::try_from(item.size).unwrap_or(usize::MAX);
        loop {
            let pack = full.pack(MAX_TRANSACTIONS, GOSSIP_PACK_LEN, len, |item| {
                !known.contains(key.fingerprint(&item.hash))
            });
            if pack.is_empty() {
                return None;
            }
            let (mut hashes, mut transactions) = (Vec::new(), Vec::new());
            for item in pack {
                match recent.bytes(&item.hash) {
                    // The same hash may have been queued twice.
                    Some(bytes) if known.insert(key.fingerprint(&item.hash)) => {
                        hashes.push(item.hash);
                        transactions.push(bytes.clone());
                    }
                    Some(_) => {}
                    None => _ = announced.push(item),
                }
            }
            if !hashes.is_empty() {
                return Some(self.message((true, hashes), || EthMessage::Transactions(transactions)));
            }
        }
    }

    /// The next announcement, if its time has come.
    pub(crate) fn next_announcement(
        &mut self,
        now: Now,
        telling: &mut Telling,
        key: &FingerprintKey,
    ) -> Option<SharedMessage> {
        let Telling { transactions: known, announced, again, announce_at, .. } = telling;
        if announce_at.is_some_and(|at| at > now.instant) {
            return None;
        }
        let mut pack = again.pack(GOSSIP_PACK_HASHES, GOSSIP_PACK_LEN, |_| ANNOUNCED_LEN, |_| true);
        if pack.is_empty() {
            pack = announced.pack(
                GOSSIP_PACK_HASHES,
                GOSSIP_PACK_LEN,
                |_| ANNOUNCED_LEN,
                |item| !known.contains(key.fingerprint(&item.hash)),
            );
            pack.retain(|item| known.insert(key.fingerprint(&item.hash)));
        }
        if pack.is_empty() {
            return None;
        }
        *announce_at = now.instant.checked_add(ANNOUNCE_INTERVAL);
        let hashes = pack.iter().map(|item| item.hash).collect();
        Some(self.message((false, hashes), || EthMessage::NewPooledTransactionHashes(pack)))
    }

    fn message(&mut self, key: (bool, Vec<Hash>), make: impl FnOnce() -> EthMessage) -> SharedMessage {
        let made = self.made.entry(key).or_insert_with(|| shared(&make()));
        made.clone()
    }
}

/// A message as links take it.
pub(crate) fn shared(message: &EthMessage) -> SharedMessage {
    SharedMessage::new(message.code(), message.encode())
}

/// A transaction to be told, with the bytes that it is sent in full with.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    /// Hash, kind and size.
    pub(crate) item: Announcement,
    /// The envelope.
    pub(crate) bytes: Bytes,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{machine_config::RECENT_TRANSACTION_BYTES, testing::start};

    fn item(number: u32) -> Announcement {
        let mut hash = [0; 32];
        hash[..4].copy_from_slice(&number.to_be_bytes());
        Announcement { hash: Hash(hash), kind: 2, size: 1_000 }
    }

    fn key() -> FingerprintKey {
        FingerprintKey::new(1, 2)
    }

    #[test]
    fn packs_hold_a_hundred_kib_and_what_several_get_is_encoded_once() {
        let (mut recent, mut packs) = (Recent::default(), Packs::default());
        let [mut one, mut other] = [Telling::new(Hash::ZERO), Telling::new(Hash::ZERO)];
        for number in 0..200 {
            recent.keep(item(number).hash, Bytes::from(vec![2; 1_000]));
            one.full.push(item(number));
            other.full.push(item(number));
        }
        let first = packs.next_full(&mut one, &key(), &recent).unwrap();
        assert!((100_000..=GOSSIP_PACK_LEN + 1_024).contains(&first.payload().len()));
        let again = packs.next_full(&mut other, &key(), &recent).unwrap();
        assert_eq!(first.payload().as_ptr(), again.payload().as_ptr());
        assert!(packs.next_full(&mut one, &key(), &recent).is_some());
        assert!(packs.next_full(&mut one, &key(), &recent).is_none());
    }

    #[test]
    fn what_the_peer_came_to_know_is_left_out_and_nothing_goes_twice() {
        let (mut recent, mut packs, mut telling) =
            (Recent::default(), Packs::default(), Telling::new(Hash::ZERO));
        recent.keep(item(1).hash, Bytes::from_static(&[2]));
        telling.full.push(item(1));
        telling.full.push(item(1));
        telling.announced.push(item(2));
        telling.transactions.insert(key().fingerprint(&item(2).hash));
        let sent = packs.next_full(&mut telling, &key(), &recent).unwrap();
        assert_eq!(sent.payload(), &EthMessage::Transactions(vec![Bytes::from_static(&[2])]).encode());
        assert!(packs.next_full(&mut telling, &key(), &recent).is_none());
        assert!(packs.next_announcement(start(), &mut telling, &key()).is_none());
        telling.announced.push(item(1));
        assert!(packs.next_announcement(start(), &mut telling, &key()).is_none(), "it was sent that in full");
    }

    #[test]
    fn transactions_whose_bytes_are_gone_are_announced() {
        let (mut recent, mut packs, mut telling) =
            (Recent::default(), Packs::default(), Telling::new(Hash::ZERO));
        recent.keep(item(1).hash, Bytes::from_static(&[2]));
        (2..5).for_each(|number| {
            recent.keep(item(number).hash, Bytes::from(vec![0; RECENT_TRANSACTION_BYTES]));
        });
        telling.full.push(item(1));
        assert!(packs.next_full(&mut telling, &key(), &recent).is_none());
        let sent = packs.next_announcement(start(), &mut telling, &key()).unwrap();
        assert_eq!(sent.payload(), &EthMessage::NewPooledTransactionHashes(vec![item(1)]).encode());
    }

    #[test]
    fn the_first_announcement_goes_at_once_and_the_next_ones_together() {
        let (mut packs, mut telling) = (Packs::default(), Telling::new(Hash::ZERO));
        let now = start();
        telling.announced.push(item(1));
        assert!(packs.next_announcement(now, &mut telling, &key()).is_some());
        telling.announced.push(item(2));
        telling.announced.push(item(3));
        let early = now.later(ANNOUNCE_INTERVAL - Duration::from_millis(1));
        assert!(packs.next_announcement(early, &mut telling, &key()).is_none());
        let both = packs.next_announcement(now.later(ANNOUNCE_INTERVAL), &mut telling, &key()).unwrap();
        assert_eq!(both.payload(), &EthMessage::NewPooledTransactionHashes(vec![item(2), item(3)]).encode());
    }
}
