//! The budget of memory as the tasks of a server share it: one count of what is spent, and behind a lock, for a shortage
//! only, the arbiter (`budget`) and who waits for it. What a peer holds is told here in steps of 16 KiB, and concerns the
//! count only above the 128 KiB that are its own: a peer with small messages touches neither.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
    time::Instant,
};

use tokio::sync::{oneshot, watch};

use super::now;
use crate::{budget::Budget, config::FREE_LEN};

/// What is held is told when it has changed by this much, in bytes.
const GRAIN: usize = 16 * 1024;

/// The budget of one server.
#[derive(Debug)]
pub(super) struct Pool {
    limit: usize,
    free: usize,
    /// What peers hold above their own, in bytes.
    spent: AtomicUsize,
    /// Whether anybody is to be looked at when something is given back.
    awaited: AtomicBool,
    state: Mutex<State>,
    shortage: watch::Sender<Option<Instant>>,
}

#[derive(Debug)]
struct State {
    budget: Budget,
    waiting: BTreeMap<u64, Waiting>,
    /// Tasks that wait to queue a message.
    senders: Vec<Waker>,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) purse: Arc<Purse>,
    /// Tells whether it has to hurry.
    pub(super) answer: oneshot::Sender<bool>,
    pub(super) more: usize,
}

/// What one peer holds, shared by its connection and its queues.
#[derive(Debug)]
pub(super) struct Purse {
    pub(super) pool: Arc<Pool>,
    pub(super) holder: u64,
    held: AtomicUsize,
}

const fn excess(held: usize) -> usize {
    held.saturating_sub(FREE_LEN)
}

impl Pool {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        let budget = Budget::new(limit);
        Arc::new(Self {
            limit: budget.limit(),
            free: budget.free(),
            spent: AtomicUsize::new(0),
            awaited: AtomicBool::new(false),
            state: Mutex::new(State { budget, waiting: BTreeMap::new(), senders: Vec::new() }),
            shortage: watch::Sender::new(None),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something was given back: lets on who waits.
    fn given_back(&self) {
        if self.awaited.load(Ordering::SeqCst) {
            self.serve(self.lock());
        }
    }

    /// Lets on who may go on, and tells of a shortage that begins or ends.
    fn serve(&self, mut state: MutexGuard<'_, State>) {
        while let Some(grant) = state.budget.poll(self.spent.load(Ordering::SeqCst)) {
            let Some(waiting) = state.waiting.remove(&grant.holder) else {
                state.budget.done(grant.holder);
                continue;
            };
            self.spent.fetch_add(waiting.purse.hold(waiting.more), Ordering::SeqCst);
            if waiting.answer.send(grant.hurried).is_err() {
                // It has gone; what it was given is its purse's, and given back with it.
                state.budget.done(grant.holder);
            }
        }
        let since = state.budget.short_since();
        self.shortage.send_if_modified(|told| std::mem::replace(told, since) != since);
        let senders = std::mem::take(&mut state.senders);
        self.awaited.store(since.is_some(), Ordering::SeqCst);
        // Whoever is woken may come back at once.
        drop(state);
        senders.into_iter().for_each(Waker::wake);
    }

    /// A holder waits, with a frame of which `rest` bytes are to come.
    pub(super) fn wait(&self, waiting: Waiting, rest: usize) {
        let (holder, cost) = (waiting.purse.holder, waiting.purse.cost(waiting.more));
        let mut state = self.lock();
        state.waiting.insert(holder, waiting);
        state.budget.wait(now().instant, holder, cost, rest);
        self.awaited.store(true, Ordering::SeqCst);
        self.serve(state);
    }

    /// A holder neither waits nor is read any more; whether it had still to wait.
    pub(super) fn leave(&self, holder: u64, asked: bool) -> bool {
        // While nobody waits nobody is read before others.
        if !asked && !self.awaited.load(Ordering::SeqCst) {
            return false;
        }
        let mut state = self.lock();
        let waits = state.waiting.remove(&holder).is_some();
        state.budget.done(holder);
        self.serve(state);
        waits
    }

    /// Shortages as they begin and end, from now on.
    pub(super) fn shortage(&self) -> watch::Receiver<Option<Instant>> {
        self.shortage.subscribe()
    }

    /// What peers hold above their own, and how many wait.
    #[cfg(test)]
    pub(super) fn standing(&self) -> (usize, usize) {
        (self.spent.load(Ordering::SeqCst), self.lock().waiting.len())
    }

    /// Counts what fits while memory is not short.
    pub(super) fn try_spend(&self, more: usize) -> bool {
        let fits = |spent: usize| spent.checked_add(more).filter(|spent| *spent <= self.free);
        self.shortage.borrow().is_none()
            && self.spent.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).is_ok()
    }
}

impl Purse {
    pub(super) fn new(pool: &Arc<Pool>, holder: u64) -> Arc<Self> {
        Arc::new(Self { pool: Arc::clone(pool), holder, held: AtomicUsize::new(0) })
    }

    /// Adds to what is held; what that costs of the budget, in bytes.
    pub(super) fn hold(&self, more: usize) -> usize {
        let before = self.held.fetch_add(more, Ordering::SeqCst);
        excess(before.saturating_add(more)).saturating_sub(excess(before))
    }

    /// What holding `more` would cost.
    fn cost(&self, more: usize) -> usize {
        let held = self.held.load(Ordering::SeqCst);
        excess(held.saturating_add(more)).saturating_sub(excess(held))
    }

    /// Takes back what [`Purse::hold`] added and nobody paid for.
    pub(super) fn unhold(&self, more: usize) {
        self.held.fetch_sub(more, Ordering::SeqCst);
    }

    /// What was counted as `before` is now `after`.
    pub(super) fn change(&self, before: usize, after: usize) {
        if after > before {
            let cost = self.hold(after.saturating_sub(before));
            if cost > 0 {
                self.pool.spent.fetch_add(cost, Ordering::SeqCst);
            }
        } else if before > after {
            let less = before.saturating_sub(after);
            let held = self.held.fetch_sub(less, Ordering::SeqCst);
            let back = excess(held).saturating_sub(excess(held.saturating_sub(less)));
            if back > 0 {
                self.pool.spent.fetch_sub(back, Ordering::SeqCst);
                self.pool.given_back();
            }
        }
    }

    /// Whether a message of `len` bytes may be queued.
    pub(super) fn has_room(&self, len: usize) -> bool {
        let held = self.held.load(Ordering::SeqCst).saturating_add(len);
        held <= FREE_LEN || self.pool.spent.load(Ordering::SeqCst).saturating_add(len) <= self.pool.limit
    }

    /// Wakes a task when something is given back. It asks once more after this: that may have been just now.
    pub(super) fn wake_for_room(&self, waker: &Waker) {
        let mut state = self.pool.lock();
        if !state.senders.iter().any(|other| other.will_wake(waker)) {
            state.senders.push(waker.clone());
        }
        self.pool.awaited.store(true, Ordering::SeqCst);
    }
}

/// What a queue holds for a peer, told in steps.
#[derive(Debug, Default)]
pub(super) struct Gauge(pub(super) usize);

impl Gauge {
    /// `len` bytes are held now.
    pub(super) fn tell(&mut self, purse: &Purse, len: usize) {
        let grains = len / GRAIN * GRAIN;
        if grains != self.0 {
            purse.change(self.0, grains);
            self.0 = grains;
        }
    }
}

/// What a protocol keeps on a peer's behalf outside of its [`Link`](super::Link): counted against the budget for all while
/// this lives, and no longer. Nothing is refused for it; the peer's large frames wait.
#[derive(Debug)]
pub struct Held {
    purse: Arc<Purse>,
    gauge: Gauge,
}

impl Held {
    pub(super) fn new(purse: Arc<Purse>) -> Self {
        Self { purse, gauge: Gauge::default() }
    }

    /// `len` bytes are kept now. Changes below 16 KiB may go uncounted.
    pub fn set(&mut self, len: usize) {
        self.gauge.tell(&self.purse, len);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn spent(pool: &Pool) -> usize {
        pool.spent.load(Ordering::SeqCst)
    }

    #[test]
    fn p11_what_a_peer_holds_costs_the_budget_above_128_kib() {
        let pool = Pool::new(256 * MIB);
        let purse = Purse::new(&pool, 1);
        let (mut one, mut other) = (Gauge::default(), Held::new(Arc::clone(&purse)));
        one.tell(&purse, 100 * 1024);
        assert_eq!(spent(&pool), 0);
        other.set(100 * 1024);
        assert_eq!(spent(&pool), (96 + 96 - 128) * 1024);
        // Less than a grain is not told.
        other.set(97 * 1024);
        other.set(MIB);
        assert_eq!(spent(&pool), (96 + 1024 - 128) * 1024);
        drop(other);
        one.tell(&purse, 0);
        assert_eq!((spent(&pool), purse.held.load(Ordering::SeqCst)), (0, 0));
    }

    #[test]
    fn p13_nothing_is_queued_beyond_the_limit_but_small_things_of_small_peers() {
        let pool = Pool::new(64 * MIB);
        let (greedy, small) = (Purse::new(&pool, 1), Purse::new(&pool, 2));
        let mut gauge = Gauge::default();
        gauge.tell(&greedy, 64 * MIB + FREE_LEN - GRAIN);
        assert!(!greedy.has_room(MIB) && !small.has_room(MIB));
        assert!(small.has_room(FREE_LEN) && greedy.has_room(GRAIN));
        small.wake_for_room(Waker::noop());
        gauge.tell(&greedy, MIB);
        assert!(greedy.has_room(MIB) && pool.lock().senders.is_empty());
    }
}
