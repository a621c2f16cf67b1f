//! The orders in which tasks come to the queues and the budget that they share, tried by the thousand: nobody waits for what
//! is there, and nothing stays counted. A task that is never woken is a deadlock, which shuttle reports with its schedule.
//! Only with `--cfg shuttle`; see `sync.rs`. All threads see one order of what is written: how a processor may change that is
//! not tried.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{future::poll_fn, sync::Arc};

use identity::keccak256;
use shuttle::{
    check_pct, check_random,
    future::{JoinHandle, block_on, spawn},
};
use tokio::sync::oneshot;

use super::{
    held::{Held, Kept},
    pool::{Gauge, Pool, Purse, Waiting},
    queue::{PushError, Queue},
    sealer::Sealer,
};
use crate::{
    SealJob,
    config::{BUDGET_RESERVE, MAX_MESSAGE_LEN},
};

/// Orders that are tried, of each kind.
const ORDERS: usize = if cfg!(feature = "thorough") { 1_000_000 } else { 50_000 };
/// Turns of events that an error may need: who is let run, and when another is preferred (PCT).
const DEPTH: usize = 3;
const FREE_LEN: usize = crate::SessionLimits::DEFAULT.free_len;
const MIB: usize = 1 << 20;

/// Tries orders at random, and such as let one task wait for long.
fn explore(scene: fn()) {
    check_random(scene, ORDERS);
    check_pct(scene, ORDERS, DEPTH);
}

/// Puts in what is asked for, as a sender does that waits for room.
async fn push_all(queue: Arc<Queue<usize>>, items: std::ops::Range<usize>, len: usize) {
    for item in items {
        loop {
            poll_fn(|cx| queue.poll_room(cx, len)).await;
            match queue.try_push(item, len) {
                Ok(()) => break,
                Err((_, PushError::Full)) => {}
                Err((_, PushError::Closed)) => return,
            }
        }
    }
}

/// Takes so many items, each either as a function's messages or as a connection's.
async fn take(queue: Arc<Queue<usize>>, count: usize, as_function: bool) -> Vec<usize> {
    let mut items = Vec::new();
    while items.len() < count {
        if as_function {
            items.extend(poll_fn(|cx| queue.poll_next(cx)).await);
        } else {
            poll_fn(|cx| queue.poll_item(cx)).await;
            items.extend(queue.try_pop().map(|(item, _)| item));
        }
    }
    queue.put_down();
    items.sort_unstable();
    items
}

async fn all(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn s06_every_item_gets_through_a_queue_and_whoever_waits_is_woken() {
    explore(|| {
        block_on(async {
            for as_function in [true, false] {
                let pool = Pool::of(256 * MIB);
                let purse = Purse::new(&pool, 1);
                let queue = Arc::new(if as_function {
                    Queue::inbound((2, 100), Kept::new(&purse))
                } else {
                    Queue::outbound((2, 100), Arc::clone(&purse))
                });
                // Two of them fill the queue.
                let senders = [0..3, 3..6].map(|items| spawn(push_all(Arc::clone(&queue), items, 50)));
                let items = take(Arc::clone(&queue), 6, as_function).await;
                assert_eq!(items, [0, 1, 2, 3, 4, 5]);
                all(senders.into()).await;
            }
        });
    });
}

#[test]
fn s06_whoever_waits_for_a_queue_that_is_closed_hears_of_it() {
    explore(|| {
        block_on(async {
            let pool = Pool::of(256 * MIB);
            let queue = Arc::new(Queue::inbound((1, 100), Kept::new(&Purse::new(&pool, 1))));
            let sender = spawn(push_all(Arc::clone(&queue), 0..3, 100));
            let closing = Arc::clone(&queue);
            let closer = spawn(async move { closing.close() });
            while poll_fn(|cx| queue.poll_next(cx)).await.is_some() {}
            all(vec![sender, closer]).await;
        });
    });
}

#[test]
fn s06_p13_memory_that_is_given_back_reaches_all_who_wait_to_send_or_keep() {
    explore(|| {
        block_on(async {
            let pool = Pool::of(BUDGET_RESERVE + MAX_MESSAGE_LEN);
            // Three peers hold all there is, and more, and give it back piece by piece.
            let holders = (1..=3).map(|number| {
                let purse = Purse::new(&pool, number);
                let mut gauge = Gauge::default();
                gauge.tell(&purse, BUDGET_RESERVE);
                spawn(async move {
                    gauge.tell(&purse, BUDGET_RESERVE / 2);
                    gauge.tell(&purse, 0);
                })
            });
            let mut tasks: Vec<_> = holders.collect();
            for number in 10..12 {
                let purse = Purse::new(&pool, number);
                let queue = Arc::new(Queue::outbound((10, usize::MAX), Arc::clone(&purse)));
                tasks.push(spawn(push_all(queue, 0..1, 2 * FREE_LEN)));
                let mut held = Held::new(Kept::new(&purse));
                tasks.push(spawn(async move {
                    held.set(2 * FREE_LEN);
                    poll_fn(|cx| held.poll_room(cx)).await;
                }));
            }
            all(tasks).await;
            assert_eq!((pool.standing(), *pool.shortage().borrow()), ((0, 0), None));
        });
    });
}

#[test]
fn s06_p13_what_is_the_peers_own_makes_room_for_it_when_it_is_free_though_memory_is_short() {
    explore(|| {
        block_on(async {
            let pool = Pool::of(0);
            let (other, purse) = (Purse::new(&pool, 1), Purse::new(&pool, 2));
            let [mut all_there_is, mut own] = [(); 2].map(|()| Gauge::default());
            all_there_is.tell(&other, 2 * BUDGET_RESERVE);
            own.tell(&purse, FREE_LEN / 8 * 7);
            let queue = Arc::new(Queue::outbound((10, usize::MAX), Arc::clone(&purse)));
            let sender = spawn(push_all(queue, 0..1, FREE_LEN / 2));
            let holder = spawn(async move { own.tell(&purse, 0) });
            all(vec![sender, holder]).await;
            all_there_is.tell(&other, 0);
        });
    });
}

/// A connection that wants `more` for a frame, and has read it once it has that; or goes before it is answered.
async fn read_frame(purse: Arc<Purse>, more: usize, goes: bool) {
    if !purse.try_hold(more) {
        let (sender, mut answer) = oneshot::channel();
        purse.pool.wait(Waiting { purse: Arc::clone(&purse), answer: sender, more }, more);
        if goes {
            if purse.pool.leave(purse.holder, true) {
                return;
            }
            // Granted a moment ago.
            answer.try_recv().unwrap();
        } else {
            answer.await.unwrap();
            purse.pool.leave(purse.holder, false);
        }
    }
    purse.change(more, 0);
}

#[test]
fn s06_f03_everybody_who_waits_for_a_large_frame_is_read_or_gone_and_nothing_stays_counted() {
    explore(|| {
        block_on(async {
            // Room for one of them at a time, outside of a shortage for none.
            let pool = Pool::of(0);
            let purses = (0..4).map(|number| Purse::new(&pool, number));
            let tasks =
                purses.map(|purse| spawn(read_frame(Arc::clone(&purse), 10 * MIB, purse.holder % 2 == 1)));
            all(tasks.collect()).await;
            assert_eq!((pool.standing(), *pool.shortage().borrow()), ((0, 0), None));
        });
    });
}

/// A connection that seals a body together with others, and goes on when that is done; or goes at once.
async fn seal(sealer: Arc<Sealer>, number: u8, goes: bool) {
    let mut sealing = sealer.submit(SealJob::of(vec![number; 200]));
    if !goes {
        let job = poll_fn(|cx| sealing.poll(cx)).await;
        assert_eq!((&job.bytes[..], job.digest()), (&[number; 200][..], keccak256(&[number; 200])));
    }
}

#[test]
fn s06_every_connection_that_seals_with_others_goes_on_whoever_gives_up() {
    explore(|| {
        block_on(async {
            let sealer = Sealer::with_lanes(2);
            all((0..4).map(|number| spawn(seal(Arc::clone(&sealer), number, number == 0))).collect()).await;
        });
    });
}
