//! The fetcher as a table of announcements, answers and silences.
//! Time is handed in; what the machine makes of a fetch is played in `tests/machines`.

use std::time::Duration;

use super::*;
use crate::{machine_config::REQUEST_TIMEOUT, testing::start};

const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);
const C: PeerId = PeerId(3);
const SOON: Duration = Duration::from_millis(1);

fn hash(number: u64) -> Hash {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Hash(bytes)
}

fn tx(number: u64) -> Announcement {
    Announcement { hash: hash(number), kind: 2, size: 100 }
}

fn txs(numbers: std::ops::Range<u64>) -> impl Iterator<Item = Announcement> {
    numbers.map(tx)
}

fn fetches(fetcher: &mut Fetcher, now: Now) -> Vec<(PeerId, usize)> {
    std::iter::from_fn(|| fetcher.next_fetch(now, |_| true))
        .map(|fetch| (fetch.peer, fetch.hashes.len()))
        .collect()
}

#[test]
fn an_announced_transaction_is_asked_for_after_half_a_second() {
    let (now, mut fetcher) = (start(), Fetcher::default());
    assert_eq!(fetcher.announced(now, A, [tx(1)]), 0);
    assert_eq!(fetches(&mut fetcher, now.later(FETCH_WAIT - SOON)), []);
    assert_eq!(fetcher.next_timeout(), now.instant.checked_add(FETCH_WAIT));
    assert_eq!(fetches(&mut fetcher, now.later(FETCH_WAIT)), [(A, 1)]);
    assert_eq!(fetches(&mut fetcher, now.later(FETCH_WAIT)), [], "asked once");
}

#[test]
fn one_that_comes_in_full_meanwhile_is_not_asked_for() {
    let (now, mut fetcher) = (start(), Fetcher::default());
    fetcher.announced(now, A, [tx(1)]);
    assert_eq!(fetcher.received(&hash(1), 2, 100, Some(B)), []);
    assert_eq!(fetches(&mut fetcher, now.later(FETCH_WAIT)), []);
    assert!(fetcher.len() == 0 && fetcher.next_timeout().is_none());
}

#[test]
fn a_blob_transaction_is_asked_for_at_once() {
    let (now, mut fetcher) = (start(), Fetcher::default());
    fetcher.announced(now, A, [Announcement { kind: BLOB, ..tx(1) }]);
    assert_eq!(fetches(&mut fetcher, now), [(A, 1)]);
}

#[test]
fn g05_what_is_withheld_is_asked_of_an_alternate_when_the_request_times_out() {
    let (now, mut fetcher) = (start(), Fetcher::default());
    fetcher.announced(now, A, [tx(1)]);
    fetcher.announced(now, B, [tx(1)]);
    let asked = now.later(FETCH_WAIT);
    assert_eq!(fetches(&mut fetcher, asked), [(A, 1)]);
    let late = asked.later(REQUEST_TIMEOUT);
    fetcher.timed_out(late, A);
    assert_eq!(fetches(&mut fetcher, late), [(B, 1)]);
}

#[test]
fn g05_a_peer_has_one_request_and_none_while_it_owes_an_answer() {
    let (now, mut fetcher) = (start(), Fetcher::default());
    fetcher.announced(now, A, txs(0..1_000));
    let now = now.later(FETCH_WAIT);
    assert_eq!(fetches(&mut fetcher, now), [(A, MAX_FETCH_HASHES)]);
    fetcher.timed_out(now, A);
    assert_eq!(fetches(&mut fetcher, now), []);
    assert_eq!(fetcher.next_timeout(), now.instant.checked_add(FETCH_DANGLING));
    fetcher.answered_late(A);
    assert_eq!(fetches(&mut fetcher, now), [(A, MAX_FETCH_HASHES)]);
    fetcher.timed_out(now, A);
    assert_eq!(fetches(&mut fetcher, now.later(FETCH_DANGLING)), [(A, MAX_FETCH_HASHES)]);
}

#[test]
fn g05_after_three_silences_a_peer_is_asked_only_for_what_nobody_else_has() {
    let (mut now, mut fetcher) = (start(), Fetcher::default());
    for number in 0..3 {
        fetcher.announced(now, A, [tx(number)]);
        now = now.later(FETCH_WAIT + FETCH_DANGLING);
        assert_eq!(fetches(&mut fetcher, now), [(A, 1)]);
        fetcher.timed_out(now, A);
    }
    now = now.later(FETCH_DANGLING);
    fetcher.announced(now, A, [tx(10), tx(11)]);
    fetcher.announced(now, B, [tx(10)]);
    now = now.later(FETCH_WAIT);
    let asked: Vec<Fetch> = std::iter::from_fn(|| fetcher.next_fetch(now, |_| true)).collect();
    assert_eq!(asked, [Fetch { peer: B, hashes: vec![hash(10)] }, Fetch { peer: A, hashes: vec![hash(11)] }]);
    fetcher.answered(A, &[hash(11)]);
    fetcher.received(&hash(11), 2, 100, Some(A));
    fetcher.announced(now, A, [tx(12)]);
    fetcher.announced(now, C, [tx(12)]);
    let now = now.later(FETCH_WAIT);
    assert_eq!(fetches(&mut fetcher, now).len(), 1, "an answer clears the slate");
}

#[test]
fn requests_end_at_256_hashes_or_128_kib_announced() {
    let (now, mut fetcher) = (start(), Fetcher::default());
    fetcher.announced(now, A, txs(0..300));
    fetcher.announced(now, B, txs(1_000..1_010).map(|tx| Announcement { size: 40 * 1024, ..tx }));
    fetcher.announced(now, C, [Announcement { size: u32::MAX, ..tx(2_000) }]);
    let now = now.later(FETCH_WAIT);
    assert_eq!(fetches(&mut fetcher, now), [(A, 256), (B, 3), (C, 1)]);
}

#[test]
fn what_an_answer_leaves_out_goes_to_others_and_what_it_cuts_off_is_asked_again() {
    let (now, mut fetcher) = (start(), Fetcher::default());
    fetcher.announced(now, A, txs(0..4));
    let now = now.later(FETCH_WAIT);
    fetches(&mut fetcher, now);
    // It gave 1, had not 0, and had no room for 2 and 3.
    fetcher.received(&hash(1), 2, 100, Some(A));
    fetcher.answered(A, &[hash(1)]);
    let again = fetcher.next_fetch(now, |_| true);
    assert_eq!(again, Some(Fetch { peer: A, hashes: vec![hash(2), hash(3)] }));
    fetcher.answered(A, &[]);
    assert_eq!(fetcher.next_fetch(now, |_| true), None, "an empty answer means that it has none of them");
    assert!(fetcher.len() == 0);
}

#[test]
fn a_peer_that_leaves_is_replaced_by_its_alternates_and_leaves_nothing() {
    let (now, mut fetcher) = (start(), Fetcher::default());
    fetcher.announced(now, A, txs(0..10));
    fetcher.announced(now, B, txs(5..10));
    let now = now.later(FETCH_WAIT);
    assert_eq!(fetches(&mut fetcher, now), [(A, 10)]);
    fetcher.disconnected(A);
    assert_eq!(fetches(&mut fetcher, now), [(B, 5)]);
    fetcher.disconnected(B);
    assert!(fetcher.len() == 0 && fetcher.peers.is_empty() && fetcher.waiting.is_empty());
}

#[test]
fn only_peers_with_room_are_asked() {
    let (now, mut fetcher) = (start(), Fetcher::default());
    fetcher.announced(now, A, [tx(1)]);
    fetcher.announced(now, B, [tx(1)]);
    let now = now.later(FETCH_WAIT);
    assert_eq!(fetcher.next_fetch(now, |_| false), None);
    assert_eq!(fetcher.next_fetch(now, |peer| peer == B).map(|fetch| fetch.peer), Some(B));
    fetcher.not_sent(B);
    assert_eq!(fetcher.next_fetch(now, |peer| peer == B).map(|fetch| fetch.peer), Some(B));
}

#[test]
fn g01_a_peer_has_at_most_4096_hashes_tracked() {
    let (now, mut fetcher) = (start(), Fetcher::default());
    assert_eq!(fetcher.announced(now, A, txs(0..5_000)), 5_000 - 4_096);
    assert_eq!(fetcher.announced(now, A, txs(0..1)), 1, "repeats are not tracked twice");
    assert_eq!((fetcher.peers[&A].tracked.len(), fetcher.len()), (4_096, 4_096));
}

#[test]
fn g02_a_flood_of_hashes_is_bounded_and_leaves_room_for_honest_peers() {
    let (now, mut fetcher) = (start(), Fetcher::default());
    for peer in 0..1_000u64 {
        fetcher.announced(now, PeerId(peer + 10), txs(peer * 10_000..peer * 10_000 + 5_000));
    }
    assert!(fetcher.len() <= MAX_TRACKED_HASHES + 1_000 * MIN_TRACKED_HASHES_PER_PEER);
    assert_eq!(fetcher.announced(now, A, [tx(99_999_999)]), 0);
    let now = now.later(FETCH_WAIT);
    let mut asked = std::iter::from_fn(|| fetcher.next_fetch(now, |_| true));
    assert!(asked.any(|fetch| fetch.peer == A && fetch.hashes == [hash(99_999_999)]));
}

#[test]
fn g04_those_who_announced_another_type_or_size_are_named() {
    let (now, mut fetcher) = (start(), Fetcher::default());
    for (peer, kind, size) in [(1, 2, 100), (2, 1, 100), (3, 2, 108), (4, 2, 109), (5, 2, 91), (6, 2, 92)] {
        fetcher.announced(now, PeerId(peer), [Announcement { hash: hash(1), kind, size }]);
    }
    assert_eq!(fetcher.received(&hash(1), 2, 100, Some(A)), [PeerId(2), PeerId(4), PeerId(5)]);
    for peer in [A, B] {
        fetcher.announced(now, peer, [Announcement { hash: hash(2), kind: BLOB, size: 130_000 }]);
    }
    assert_eq!(fetcher.received(&hash(2), BLOB, 131_000, Some(A)), [A], "B may have it with other cells");
}
