//! The known-set against two sets of the plain kind: the younger is full with three quarters of the slots, and then the
//! older is forgotten. After each of any calls both say the same of what was seen and of what was not.

use std::collections::BTreeSet;

use proptest::{collection::vec, prelude::*};

use super::*;

/// Hashes by number.
fn hash(number: u64) -> Hash {
    crate::keccak(&number.to_be_bytes())
}

/// Both generations, each as a set.
#[derive(Default)]
struct Model {
    capacity: usize,
    young: BTreeSet<u64>,
    old: BTreeSet<u64>,
}

impl Model {
    fn insert(&mut self, number: u64) -> bool {
        let is_new = !self.contains(number);
        if !self.young.contains(&number) && self.young.len() == self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(number);
        is_new
    }

    fn contains(&self, number: u64) -> bool {
        self.young.contains(&number) || self.old.contains(&number)
    }
}

/// Runs of insertions from a number on: new ones, some again, and of one many times.
fn runs(longest: u64, numbers: u64) -> impl Strategy<Value = Vec<(u64, u64, bool)>> {
    vec((0..numbers, 1..longest, any::<bool>()), 1..12)
}

fn check(mut set: KnownSet, slots: usize, key: (u64, u64), runs: &[(u64, u64, bool)], numbers: u64) {
    let key = FingerprintKey::new(key.0, key.1);
    let mut model = Model { capacity: slots * 3 / 4, ..Model::default() };
    for (first, count, repeats) in runs {
        for step in 0..*count {
            let number = if *repeats { first + step % 7 } else { first + step };
            let found = set.insert(key.fingerprint(&hash(number)));
            assert_eq!(found, model.insert(number), "{number}");
            assert!(set.contains(key.fingerprint(&hash(number))));
        }
        for number in (0..numbers).step_by(13) {
            assert_eq!(set.contains(key.fingerprint(&hash(number))), model.contains(number), "{number}");
        }
    }
}

proptest! {
    // A case that fails is printed; a fault that it shows is kept as a test of its own.
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_set_for_blocks_is_what_a_plain_model_is(key in any::<(u64, u64)>(), runs in runs(150, 400)) {
        check(KnownSet::for_blocks(), KNOWN_BLOCK_SLOTS, key, &runs, 600);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_set_for_transactions_is_what_a_plain_model_is(key in any::<(u64, u64)>(), runs in runs(5_000, 20_000)) {
        check(KnownSet::for_transactions(), KNOWN_TRANSACTION_SLOTS, key, &runs, 25_000);
    }
}
