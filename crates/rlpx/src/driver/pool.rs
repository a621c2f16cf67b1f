//! The budget of memory as the tasks of a server share it: one count of what is spent, and behind a lock, for a shortage
//! only, the arbiter (`budget`) and who waits for it. What a peer holds is told here in steps of 16 KiB, and concerns the
//! count only above what is its own (128 KiB): a peer with small messages touches neither.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError},
    task::Waker,
    time::Instant,
};

use tokio::sync::{oneshot, watch};

use super::{
    now,
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering},
    },
};
use crate::{
    budget::Budget,
    limits::{Limits, ProtocolLimits},
};

/// What is held is told when it has changed by this much, in bytes.
pub(super) const GRAIN: usize = 16 * 1024;

/// The budget of one server.
#[derive(Debug)]
pub(super) struct Pool {
    /// What is a peer's own.
    free_len: usize,
    /// How much may wait in a protocol's queues.
    pub(super) protocols: ProtocolLimits,
    free: usize,
    /// Up to which queues may spend: not what is kept for the one peer that is read in a shortage, as far as the budget is
    /// not too small for both.
    queue_limit: usize,
    /// What peers hold above their own, in bytes. Below zero for a moment, when what is given back is counted before it was
    /// counted as spent.
    spent: AtomicIsize,
    /// Whether anybody is to be looked at when something is given back.
    awaited: AtomicBool,
    state: Mutex<State>,
    shortage: watch::Sender<Option<Instant>>,
}

#[derive(Debug)]
struct State {
    budget: Budget,
    waiting: BTreeMap<u64, Waiting>,
    /// Tasks that wait to queue or keep a message, and on whose behalf.
    senders: Vec<(u64, Waker)>,
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

impl Pool {
    pub(super) fn new(limits: &Limits) -> Arc<Self> {
        let budget = Budget::new(limits.memory_budget);
        Arc::new(Self {
            free_len: limits.sessions.free_len,
            protocols: limits.protocols.clone(),
            free: budget.free(),
            queue_limit: budget.free().max(budget.limit() / 2),
            spent: AtomicIsize::new(0),
            awaited: AtomicBool::new(false),
            state: Mutex::new(State { budget, waiting: BTreeMap::new(), senders: Vec::new() }),
            shortage: watch::Sender::new(None),
        })
    }

    /// What is a peer's own, in bytes.
    pub(super) const fn free_len(&self) -> usize {
        self.free_len
    }

    /// A budget of so many bytes, all else as it is by default.
    #[cfg(test)]
    pub(super) fn of(memory_budget: usize) -> Arc<Self> {
        Self::new(&Limits { memory_budget, ..Limits::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spent(&self) -> usize {
        usize::try_from(self.spent.load(Ordering::SeqCst)).unwrap_or(0)
    }

    /// What it costs of the budget when a peer that held `before` bytes holds `after`.
    const fn cost(&self, before: usize, after: usize) -> isize {
        let [before, after] = [before.saturating_sub(self.free_len), after.saturating_sub(self.free_len)];
        (after as isize).saturating_sub(before as isize)
    }

    /// Corrects what is spent by what one change of what a peer holds costs, below zero if it gives back.
    fn charge(&self, cost: isize) {
        if cost != 0 {
            self.spent.fetch_add(cost, Ordering::SeqCst);
        }
        if cost < 0 {
            self.given_back();
        }
    }

    /// Something was given back: lets on who waits.
    fn given_back(&self) {
        if self.awaited.load(Ordering::SeqCst) {
            self.serve(self.lock());
        }
    }

    /// Lets on who may go on.
    fn serve(&self, mut state: MutexGuard<'_, State>) {
        while let Some(grant) = state.budget.poll(self.spent()) {
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
        self.tell(&state.budget);
        let senders = std::mem::take(&mut state.senders);
        self.awaited.store(state.budget.short_since().is_some(), Ordering::SeqCst);
        // Whoever is woken may come back at once.
        drop(state);
        senders.into_iter().for_each(|(_, sender)| sender.wake());
    }

    /// What is a holder's own was given back: it makes room for that holder alone.
    fn own_given_back(&self, holder: u64) {
        if self.awaited.load(Ordering::SeqCst) {
            let its_own = |(other, _): &mut (u64, Waker)| *other == holder;
            let senders: Vec<_> = self.lock().senders.extract_if(.., its_own).collect();
            senders.into_iter().for_each(|(_, sender)| sender.wake());
        }
    }

    /// Tells of a shortage that has begun or ended.
    fn tell(&self, budget: &Budget) {
        let since = budget.short_since();
        self.shortage.send_if_modified(|told| std::mem::replace(told, since) != since);
    }

    /// A holder waits, with a frame of which `rest` bytes are to come.
    pub(super) fn wait(&self, waiting: Waiting, rest: usize) {
        let cost = usize::try_from(waiting.purse.cost(waiting.more)).unwrap_or(0);
        let holder = waiting.purse.holder;
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
        (self.spent(), self.lock().waiting.len())
    }

    /// Counts what fits while memory is not short.
    fn try_spend(&self, cost: isize) -> bool {
        let fits = |spent: isize| spent.checked_add(cost).filter(|spent| *spent <= self.free as isize);
        self.shortage.borrow().is_none()
            && self.spent.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fits).is_ok()
    }
}

impl Purse {
    pub(super) fn new(pool: &Arc<Pool>, holder: u64) -> Arc<Self> {
        Arc::new(Self { pool: Arc::clone(pool), holder, held: AtomicUsize::new(0) })
    }

    /// Adds to what is held; what that costs of the budget, in bytes. The costs of all changes, in whatever order they come,
    /// add up to what is held above the peer's own.
    fn hold(&self, more: usize) -> isize {
        let before = self.held.fetch_add(more, Ordering::SeqCst);
        self.pool.cost(before, before.saturating_add(more))
    }

    /// What holding `more` would cost.
    fn cost(&self, more: usize) -> isize {
        let held = self.held.load(Ordering::SeqCst);
        self.pool.cost(held, held.saturating_add(more))
    }

    /// Holds so much more, if it fits and memory is not short.
    pub(super) fn try_hold(&self, more: usize) -> bool {
        let expected = self.cost(more);
        let fits = self.pool.try_spend(expected);
        if fits {
            // Others may have changed what is held meanwhile.
            self.pool.charge(self.hold(more).saturating_sub(expected));
        }
        fits
    }

    /// What was counted as `before` is now `after`.
    pub(super) fn change(&self, before: usize, after: usize) {
        if after > before {
            self.pool.charge(self.hold(after.saturating_sub(before)));
        } else if before > after {
            let less = before.saturating_sub(after);
            let held = self.held.fetch_sub(less, Ordering::SeqCst);
            let cost = self.pool.cost(held, held.saturating_sub(less));
            self.pool.charge(cost);
            if cost == 0 {
                self.pool.own_given_back(self.holder);
            }
        }
    }

    /// Whether a message of `len` bytes may be queued.
    pub(super) fn has_room(&self, len: usize) -> bool {
        let held = self.held.load(Ordering::SeqCst).saturating_add(len);
        held <= self.pool.free_len || self.pool.spent().saturating_add(len) <= self.pool.queue_limit
    }

    /// Memory is short for a task: wakes it when something is given back. It asks once more after this: that may have been just now.
    pub(super) fn wake_for_room(&self, waker: &Waker) {
        let mut state = self.pool.lock();
        if !state.senders.iter().any(|(_, other)| other.will_wake(waker)) {
            state.senders.push((self.holder, waker.clone()));
        }
        // First, so that what is given back from now on is seen.
        self.pool.awaited.store(true, Ordering::SeqCst);
        state.budget.lack(now().instant, self.pool.spent());
        self.pool.tell(&state.budget);
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

#[cfg(test)]
mod tests {
    use std::{sync::Barrier, thread};

    use super::{
        super::held::{Held, Kept},
        *,
    };

    const FREE_LEN: usize = crate::SessionLimits::DEFAULT.free_len;
    const MIB: usize = 1 << 20;

    #[test]
    fn p11_what_a_peer_holds_costs_the_budget_above_128_kib() {
        let pool = Pool::of(256 * MIB);
        let purse = Purse::new(&pool, 1);
        let (mut one, mut other) = (Gauge::default(), Held::new(Kept::new(&purse)));
        one.tell(&purse, 100 * 1024);
        assert_eq!(pool.spent(), 0);
        other.set(100 * 1024);
        assert_eq!(pool.spent(), (96 + 96 - 128) * 1024);
        // Less than a grain is not told.
        other.set(97 * 1024);
        other.set(MIB);
        assert_eq!(pool.spent(), (96 + 1024 - 128) * 1024);
        drop(other);
        one.tell(&purse, 0);
        assert_eq!((pool.spent(), purse.held.load(Ordering::SeqCst)), (0, 0));
    }

    #[test]
    fn p11_what_is_spent_adds_up_whatever_happens_at_once() {
        const ROUNDS: usize = 50_000;
        const STEP: usize = FREE_LEN / 4 * 3;
        // Errors may make up for each other once, and not each time.
        for _ in 0..20 {
            let pool = Pool::of(64 * MIB);
            let purse = Purse::new(&pool, 1);
            // One of the two is the peer's own, both at once cost more than is left.
            pool.charge(pool.free as isize - 1);
            let (before, both, done) = (pool.spent(), Barrier::new(2), AtomicBool::new(false));
            thread::scope(|scope| {
                scope.spawn(|| {
                    both.wait();
                    while !done.load(Ordering::SeqCst) {
                        purse.change(0, STEP);
                        purse.change(STEP, 0);
                    }
                });
                both.wait();
                for _ in 0..ROUNDS {
                    if purse.try_hold(STEP) {
                        purse.change(STEP, 0);
                    }
                }
                done.store(true, Ordering::SeqCst);
            });
            assert_eq!((pool.spent(), purse.held.load(Ordering::SeqCst)), (before, 0));
        }
    }

    #[test]
    fn p11_a_budget_without_end_holds_whatever_comes() {
        let pool = Pool::of(usize::MAX);
        let purse = Purse::new(&pool, 1);
        assert!(purse.try_hold(64 * MIB) && purse.has_room(64 * MIB));
    }

    #[test]
    fn p13_nothing_is_queued_beyond_the_limit_but_small_things_of_small_peers() {
        let pool = Pool::of(64 * MIB);
        let (greedy, small) = (Purse::new(&pool, 1), Purse::new(&pool, 2));
        let mut gauge = Gauge::default();
        gauge.tell(&greedy, 32 * MIB + FREE_LEN - GRAIN);
        assert!(!greedy.has_room(MIB) && !small.has_room(MIB));
        assert!(small.has_room(FREE_LEN) && greedy.has_room(GRAIN));
        small.wake_for_room(Waker::noop());
        gauge.tell(&greedy, MIB);
        assert!(greedy.has_room(MIB) && pool.lock().senders.is_empty());
    }
}
