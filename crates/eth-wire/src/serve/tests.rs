//! Answers within their limits, and the queue of one peer.
//! The chain is one that has everything and counts how often it is asked.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use super::*;
use crate::{
    Announcement, Head, HeadersQuery, Insert, Offer, Origin, TotalDifficulty, config::MIN_HEADER_LEN,
    testing::start,
};

/// Holds everything that is asked for by a hash that does not begin with 0xff, in items of `len` bytes, and counts.
struct Plenty {
    len: usize,
    lookups: AtomicUsize,
}

impl Plenty {
    fn of(len: usize) -> Self {
        Self { len, lookups: AtomicUsize::new(0) }
    }

    fn find(&self, hash: &Hash) -> Option<Bytes> {
        self.lookups.fetch_add(1, Ordering::Relaxed);
        (hash.0[0] != 0xff).then(|| Bytes::from(vec![0xc0; self.len]))
    }

    fn items(&self, request: &Request) -> usize {
        items(request, EthVersion::Eth69, self, self).len()
    }

    fn lookups(&self) -> usize {
        self.lookups.load(Ordering::Relaxed)
    }
}

impl Chain for Plenty {
    fn head(&self) -> Head {
        Head { hash: Hash::ZERO, number: 0, time: 0, total_difficulty: TotalDifficulty(0), earliest: 0 }
    }

    fn genesis(&self) -> Hash {
        Hash::ZERO
    }

    fn headers(&self, _: &HeadersQuery, limit: usize) -> Vec<Bytes> {
        self.lookups.fetch_add(limit, Ordering::Relaxed);
        vec![Bytes::from(vec![0xc0; self.len]); limit]
    }

    fn body(&self, hash: &Hash) -> Option<Bytes> {
        self.find(hash)
    }

    fn block(&self, hash: &Hash) -> Option<Bytes> {
        self.find(hash)
    }

    fn receipts(&self, hash: &Hash, _: EthVersion) -> Option<Bytes> {
        self.find(hash)
    }

    fn offer(&self, _: Bytes, _: Option<TotalDifficulty>) -> Offer {
        Offer::Known
    }
}

impl Pool for Plenty {
    fn get(&self, hash: &Hash) -> Option<Bytes> {
        self.find(hash)
    }

    fn contains(&self, _: &Hash) -> bool {
        false
    }

    fn insert(&self, _: Bytes) -> Insert {
        Insert::Full
    }

    fn pending(&self) -> Vec<Announcement> {
        Vec::new()
    }

    fn describe(&self, _: &Hash) -> Option<Announcement> {
        None
    }
}

fn hash(number: u64) -> Hash {
    let mut bytes = [0; 32];
    bytes[24..].copy_from_slice(&number.to_be_bytes());
    Hash(bytes)
}

fn unknown(number: u64) -> Hash {
    let mut hash = hash(number);
    hash.0[0] = 0xff;
    hash
}

fn by_hash(hashes: Vec<Hash>) -> [Request; 3] {
    [Request::Bodies(hashes.clone()), Request::Receipts(hashes.clone()), Request::PooledTransactions(hashes)]
}

#[test]
fn e06_lookups_end_at_2048_and_what_is_asked_twice_is_served_once() {
    for request in by_hash(vec![hash(7); 5_000]) {
        let plenty = Plenty::of(100);
        assert_eq!((plenty.items(&request), plenty.lookups()), (1, 1), "{request:?}");
    }
    let plenty = Plenty::of(100);
    assert_eq!(plenty.items(&Request::PooledTransactions((0..300_000).map(unknown).collect())), 0);
    assert_eq!(plenty.lookups(), MAX_LOOKUPS);
}

#[test]
fn bodies_and_receipts_end_at_the_first_missing_and_missing_transactions_are_left_out() {
    let hashes = vec![hash(1), hash(2), unknown(3), hash(4)];
    let served = by_hash(hashes).map(|request| Plenty::of(100).items(&request));
    assert_eq!(served, [2, 2, 3]);
}

#[test]
fn answers_have_1024_items_and_grow_no_more_after_2_mib() {
    for request in by_hash((0..5_000).map(hash).collect()) {
        assert_eq!(Plenty::of(100).items(&request), MAX_ANSWER_ITEMS, "{request:?}");
        assert_eq!(Plenty::of(500_000).items(&request), MAX_ANSWER_LEN.div_ceil(500_000), "{request:?}");
        assert_eq!(Plenty::of(MAX_MESSAGE_LEN + 1).items(&request), 0, "an item that no message holds");
        assert_eq!(Plenty::of(MAX_ANSWER_LEN - 1).items(&request), 2, "the limit is soft");
    }
}

#[test]
fn e05_headers_are_bounded_whatever_is_asked_for() {
    for (limit, expected) in [(0, 0), (1, 1), (1_024, 1_024), (u64::MAX, 1_024)] {
        for (origin, skip, reverse) in [
            (Origin::Number(u64::MAX), u64::MAX, false),
            (Origin::Number(0), 0, true),
            (Origin::Hash(hash(1)), 1, true),
        ] {
            let query = HeadersQuery { origin, limit, skip, reverse };
            let plenty = Plenty::of(MIN_HEADER_LEN);
            assert_eq!(plenty.items(&Request::Headers(query)), expected, "{query:?}");
            assert!(plenty.lookups() <= MAX_LOOKUPS);
        }
    }
}

#[test]
fn e07_one_request_is_served_at_a_time_and_four_may_wait() {
    let now = start().instant;
    let deadline = |seconds| now.checked_add(Duration::from_secs(seconds)).unwrap();
    let mut serving = Serving::default();
    for id in 0..4 {
        assert!(!serving.is_full());
        assert!(serving.push(Queued { id, request: Request::Bodies(Vec::new()), deadline: deadline(id) }));
    }
    assert!(serving.is_full());
    assert_eq!(serving.begin().map(|queued| queued.id), Some(0));
    assert_eq!(serving.begin(), None);
    assert_eq!(serving.drop_expired(deadline(1)), 1, "its time is up");
    serving.end();
    assert_eq!(serving.begin().map(|queued| queued.id), Some(2));
    let more = (0..100).filter(|id| {
        serving.push(Queued { id: *id, request: Request::Bodies(Vec::new()), deadline: deadline(9) })
    });
    assert_eq!(more.count(), MAX_HELD_REQUESTS - 1);
}
