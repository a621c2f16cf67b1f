//! The budget of memory as the tasks of a server share it: one count of what is spent, and behind a lock, for a shortage
//! only, the arbiter (`budget`) and who waits for it. What a peer holds is told here in steps of 16 KiB, and concerns the
//! count only above the 128 KiB that are its own: a peer with small messages touches neither.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Waker,
    time::Instant,
};

use tokio::sync::{oneshot, watch};

use super::now;
use crate::{
    Session,
    budget::{Budget, Want},
    config::FREE_LEN,
};

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
struct Waiting {
    purse: Arc<Purse>,
    /// Tells whether it has to hurry.
    answer: oneshot::Sender<bool>,
    more: usize,
}

/// What one peer holds, shared by its connection and its queues.
#[derive(Debug)]
pub(super) struct Purse {
    pool: Arc<Pool>,
    holder: u64,
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
            self.serve(&mut self.lock());
        }
    }

    /// Lets on who may go on, and tells of a shortage that begins or ends.
    fn serve(&self, state: &mut State) {
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
        state.senders.drain(..).for_each(Waker::wake);
        self.awaited.store(since.is_some(), Ordering::SeqCst);
    }

    /// A holder waits, with a frame of which `rest` bytes are to come.
    fn wait(&self, waiting: Waiting, rest: usize) {
        let (holder, cost) = (waiting.purse.holder, waiting.purse.cost(waiting.more));
        let mut state = self.lock();
        state.waiting.insert(holder, waiting);
        state.budget.wait(now().instant, holder, cost, rest);
        self.awaited.store(true, Ordering::SeqCst);
        self.serve(&mut state);
    }

    /// A holder neither waits nor is read any more; whether it had still to wait.
    fn leave(&self, holder: u64, asked: bool) -> bool {
        // While nobody waits nobody is read before others.
        if !asked && !self.awaited.load(Ordering::SeqCst) {
            return false;
        }
        let mut state = self.lock();
        let waits = state.waiting.remove(&holder).is_some();
        state.budget.done(holder);
        self.serve(&mut state);
        waits
    }

    /// Counts what fits while memory is not short.
    fn try_spend(&self, more: usize) -> bool {
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
    fn hold(&self, more: usize) -> usize {
        let before = self.held.fetch_add(more, Ordering::SeqCst);
        excess(before.saturating_add(more)).saturating_sub(excess(before))
    }

    fn cost(&self, more: usize) -> usize {
        let held = self.held.load(Ordering::SeqCst);
        excess(held.saturating_add(more)).saturating_sub(excess(held))
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
pub(super) struct Gauge(usize);

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

/// A connection's side: what its session holds and waits for.
#[derive(Debug)]
pub(super) struct Account {
    purse: Arc<Purse>,
    gauge: Gauge,
    asked: Option<Asked>,
    shortage: watch::Receiver<Option<Instant>>,
    /// What the session was told of it last.
    told: Option<Instant>,
    /// Whether the session holds a grant, or waits for one.
    holding: bool,
}

#[derive(Debug)]
struct Asked {
    more: usize,
    answer: oneshot::Receiver<bool>,
}

impl Account {
    pub(super) fn new(purse: Arc<Purse>) -> Self {
        let shortage = purse.pool.shortage.subscribe();
        Self { purse, gauge: Gauge::default(), asked: None, shortage, told: None, holding: false }
    }

    pub(super) const fn purse(&self) -> &Arc<Purse> {
        &self.purse
    }

    /// Counts what the session holds, and asks for what it wants. To be called when its outputs have been polled; true
    /// when it may have new ones.
    pub(super) fn settle(&mut self, session: &mut Session) -> bool {
        if !session.holds_grant() {
            if std::mem::take(&mut self.holding) {
                self.leave();
            }
            self.gauge.tell(&self.purse, session.memory());
            return false;
        }
        self.holding = true;
        self.gauge.tell(&self.purse, session.memory());
        let told = self.tell(session);
        match session.want_memory().filter(|_| self.asked.is_none()) {
            Some(want) => self.ask(session, want),
            None => told,
        }
    }

    /// Tells the session of a shortage; true when it did not know.
    fn tell(&mut self, session: &mut Session) -> bool {
        let since = *self.shortage.borrow_and_update();
        let news = since != self.told;
        if news {
            self.told = since;
            session.handle_shortage(now(), since);
        }
        news
    }

    fn ask(&mut self, session: &mut Session, want: Want) -> bool {
        let more = want.len.saturating_sub(self.gauge.0);
        let cost = self.purse.hold(more);
        // In a shortage its turn is the arbiter's to give, also where it costs nothing more.
        if self.purse.pool.try_spend(cost) {
            self.gauge.0 = self.gauge.0.saturating_add(more);
            session.handle_grant(now(), false);
            return true;
        }
        self.purse.held.fetch_sub(more, Ordering::SeqCst);
        // In a shortage it wants less at once.
        self.told = self.shortage.borrow().or_else(|| Some(now().instant));
        session.handle_shortage(now(), self.told);
        if let Some(Want { len, rest }) = session.want_memory() {
            let more = len.saturating_sub(self.gauge.0);
            let (sender, answer) = oneshot::channel();
            self.asked = Some(Asked { more, answer });
            self.purse.pool.wait(Waiting { purse: Arc::clone(&self.purse), answer: sender, more }, rest);
        }
        self.tell(session);
        true
    }

    /// Waits until the session is granted what it asked for (and whether it has to hurry), or there is something to
    /// settle. Nothing is lost when this is dropped half-way.
    pub(super) async fn turn(&mut self) -> Option<bool> {
        if !self.holding {
            return pending().await;
        }
        let answered = async {
            match &mut self.asked {
                Some(asked) => (&mut asked.answer).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            // The pool lives as long as this does.
            hurried = answered => hurried.ok(),
            _ = self.shortage.changed() => None,
        }
    }

    /// What [`Account::turn`] brought.
    pub(super) fn handle_turn(&mut self, session: &mut Session, hurried: Option<bool>) {
        if let Some((hurried, asked)) = hurried.zip(self.asked.take_if(|_| hurried.is_some())) {
            self.gauge.0 = self.gauge.0.saturating_add(asked.more);
            session.handle_grant(now(), hurried);
        } else {
            // To be settled: the mark of the news was taken by the wait.
            self.tell(session);
        }
    }

    /// The session wants nothing more, and is not the one that is read.
    fn leave(&mut self) {
        let waits = self.purse.pool.leave(self.purse.holder, self.asked.is_some());
        if let Some(asked) = self.asked.take_if(|_| !waits) {
            // Granted a moment ago.
            self.gauge.0 = self.gauge.0.saturating_add(asked.more);
        }
        self.asked = None;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.holding {
            self.leave();
        }
        self.gauge.tell(&self.purse, 0);
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

    #[test]
    fn f03_whoever_waits_and_goes_leaves_nothing_behind() {
        let pool = Pool::new(0);
        let (one, other) = (Purse::new(&pool, 1), Purse::new(&pool, 2));
        let mut accounts = [&one, &other].map(|purse| Account::new(Arc::clone(purse)));
        for account in &mut accounts {
            let (sender, answer) = oneshot::channel();
            account.holding = true;
            account.asked = Some(Asked { more: MIB, answer });
            let purse = Arc::clone(&account.purse);
            pool.wait(Waiting { purse, answer: sender, more: MIB }, MIB);
        }
        assert_eq!((spent(&pool), pool.lock().waiting.len()), (MIB - FREE_LEN, 1));
        assert!(pool.shortage.borrow().is_some());
        // The first was granted what it wanted, and goes without having heard of it.
        drop(accounts);
        assert_eq!((spent(&pool), pool.lock().waiting.len()), (0, 0));
        assert!(pool.shortage.borrow().is_none() && !pool.awaited.load(Ordering::SeqCst));
    }
}
