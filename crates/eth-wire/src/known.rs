//! What a peer is known to have, in a fixed amount of memory: never announce or send it back.
//!
//! Two generations of fingerprints; when the younger is full the older is forgotten. A peer's set for transactions takes
//! 64,000 bytes and remembers its last 6,000 to 12,000 hashes. Fingerprints are keyed, so nobody can aim a collision;
//! one in 10^9 unknown hashes reads as known, and that transaction then reaches the peer another way.

use std::{
    fmt,
    hash::{BuildHasherDefault, Hasher},
};

use siphasher::sip::SipHasher13;

use crate::{
    Hash,
    machine_config::{KNOWN_BLOCK_SLOTS, KNOWN_TRANSACTION_SLOTS},
};

/// A hash as known-sets see it: computed once, asked of the sets of many peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(u64);

/// Values by fingerprint. The order of its entries is not to be observed: it differs from run to run.
#[expect(
    clippy::disallowed_types,
    reason = "its keys are hashes under a key already, and its order is never observed"
)]
pub(crate) type ByFingerprint<V> =
    std::collections::HashMap<Fingerprint, V, BuildHasherDefault<FingerprintHasher>>;

/// Takes a fingerprint for its own hash, which it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FingerprintHasher(u64);

impl Hasher for FingerprintHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Fingerprints come by `write_u64`; for anything else this is a poor hash, but a right one.
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, fingerprint: u64) {
        self.0 = fingerprint;
    }
}

/// The secret that keys the fingerprints of one machine.
#[derive(Clone)]
pub(crate) struct FingerprintKey(SipHasher13);

impl FingerprintKey {
    /// A key of 128 random bits.
    pub(crate) fn new(low: u64, high: u64) -> Self {
        Self(SipHasher13::new_with_keys(low, high))
    }

    /// The fingerprint of `hash`.
    pub(crate) fn fingerprint(&self, hash: &Hash) -> Fingerprint {
        Fingerprint(self.0.hash(&hash.0))
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey")
    }
}

/// The hashes that one peer sent, announced or was sent, the oldest forgotten.
#[derive(Clone, Debug)]
pub(crate) struct KnownSet {
    slots: usize,
    young: Vec<u32>,
    young_len: usize,
    old: Vec<u32>,
}

impl KnownSet {
    /// A set for the transactions of a peer.
    pub(crate) fn for_transactions() -> Self {
        Self::with_slots(KNOWN_TRANSACTION_SLOTS)
    }

    /// A set for the blocks of a peer.
    pub(crate) fn for_blocks() -> Self {
        Self::with_slots(KNOWN_BLOCK_SLOTS)
    }

    fn with_slots(slots: usize) -> Self {
        Self { slots, young: Vec::new(), young_len: 0, old: Vec::new() }
    }

    /// Whether the peer has the hash, as far as is remembered.
    pub(crate) fn contains(&self, fingerprint: Fingerprint) -> bool {
        self.find(&self.young, fingerprint).is_ok() || self.find(&self.old, fingerprint).is_ok()
    }

    /// Remembers the hash. True when it was not known.
    pub(crate) fn insert(&mut self, fingerprint: Fingerprint) -> bool {
        if self.find(&self.young, fingerprint).is_ok() {
            return false;
        }
        let known = self.find(&self.old, fingerprint).is_ok();
        if self.young_len >= self.slots / 4 * 3 {
            self.old = std::mem::take(&mut self.young);
            self.young_len = 0;
        }
        if self.young.is_empty() {
            self.young = vec![0; self.slots];
        }
        if let Err(place) = self.find(&self.young, fingerprint)
            && let Some(slot) = self.young.get_mut(place)
        {
            *slot = tag(fingerprint);
            self.young_len += 1;
        }
        !known
    }

    /// The slot that holds the fingerprint, or the empty one where it would go. A quarter of the slots stay empty, so
    /// the walk ends.
    fn find(&self, table: &[u32], fingerprint: Fingerprint) -> Result<usize, usize> {
        // The upper half of the fingerprint as a fraction of the table: a slot without a division.
        let start = ((fingerprint.0 >> 32).wrapping_mul(self.slots as u64) >> 32) as usize;
        let tag = tag(fingerprint);
        let mut place = start;
        for _ in 0..table.len() {
            match table.get(place) {
                Some(&found) if found == tag => return Ok(place),
                Some(0) => return Err(place),
                Some(_) => place += 1,
                None => place = 0,
            }
        }
        Err(start)
    }

    /// The heap in use, in bytes.
    #[cfg(test)]
    fn heap_len(&self) -> usize {
        (self.young.capacity() + self.old.capacity()) * size_of::<u32>()
    }
}

/// The stored part of a fingerprint; 0 marks an empty slot.
fn tag(fingerprint: Fingerprint) -> u32 {
    u32::try_from(fingerprint.0 & u64::from(u32::MAX)).unwrap_or(0).max(1)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> Hash {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        Hash(bytes)
    }

    #[test]
    fn g10_a_set_stays_within_64_kib_and_remembers_the_latest_six_thousand() {
        let key = FingerprintKey::new(1, 2);
        let mut set = KnownSet::for_transactions();
        for number in 0..100_000 {
            assert!(set.insert(key.fingerprint(&hash(number))) || number > 0);
            assert!(set.heap_len() + size_of::<KnownSet>() <= 64 * 1024);
        }
        for number in 94_000..100_000 {
            assert!(set.contains(key.fingerprint(&hash(number))), "{number}");
        }
        assert!(!set.contains(key.fingerprint(&hash(0))));
    }

    #[test]
    fn unknown_hashes_read_as_unknown() {
        let key = FingerprintKey::new(3, 4);
        let mut set = KnownSet::for_transactions();
        (0..12_000).for_each(|number| _ = set.insert(key.fingerprint(&hash(number))));
        let wrong =
            (1_000_000..1_200_000).filter(|number| set.contains(key.fingerprint(&hash(*number)))).count();
        assert_eq!(wrong, 0);
    }

    #[test]
    fn a_second_insert_is_not_new() {
        let key = FingerprintKey::new(5, 6);
        let mut set = KnownSet::for_blocks();
        assert!(set.insert(key.fingerprint(&hash(1))));
        assert!(!set.insert(key.fingerprint(&hash(1))));
        // Still remembered when it has moved to the older generation, and refreshed by being seen again.
        (10..10 + KNOWN_BLOCK_SLOTS as u64 * 3 / 4)
            .for_each(|number| _ = set.insert(key.fingerprint(&hash(number))));
        assert!(!set.insert(key.fingerprint(&hash(1))));
    }
}
