//! A queue between two tasks, bounded by count and by bytes. An empty queue takes one item of any size, so that nothing
//! is too big to pass. A full one makes its producers wait, or says so to those who do not.

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
    task::{Context, Poll, Waker},
};

use super::{
    held::Kept,
    pool::{Gauge, Purse},
    sync::{Mutex, MutexGuard},
};

/// Why an item was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushError {
    /// There is no room now.
    Full,
    /// Nobody takes items any more.
    Closed,
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    max_count: usize,
    max_len: usize,
    account: Account,
}

/// Where the bytes in a queue count.
#[derive(Debug)]
enum Account {
    /// With what a protocol keeps. An empty queue takes an item whatever the budget says.
    Inbound(Arc<Kept>),
    /// With what the peer holds. The budget may refuse what comes to an empty queue, too.
    Outbound(Arc<Purse>),
}

impl Account {
    fn purse(&self) -> &Purse {
        match self {
            Self::Inbound(kept) => kept.purse(),
            Self::Outbound(purse) => purse,
        }
    }

    fn tell(&self, gauge: &mut Gauge, len: usize) {
        match self {
            Self::Inbound(kept) => kept.tell(gauge, len),
            Self::Outbound(purse) => gauge.tell(purse, len),
        }
    }
}

#[derive(Debug)]
struct State<T> {
    items: VecDeque<(T, usize)>,
    /// The sum of the items' lengths, in bytes.
    len: usize,
    /// The length of the last item that was taken, while it is in use.
    out_len: usize,
    closed: bool,
    waits_for_room: Vec<Waker>,
    waits_for_item: Option<Waker>,
    gauge: Gauge,
}

impl<T> Queue<T> {
    /// An empty queue of this `size`, at most so many items of together so many bytes, which count as kept for a protocol, and
    /// the last that was popped until the next is asked for. An empty queue, of which no large item is out, takes one
    /// whatever the budget says: it is there already, and nothing stands still for ever.
    pub(super) fn inbound(size: (usize, usize), kept: Arc<Kept>) -> Self {
        Self::new(size, Account::Inbound(kept))
    }

    /// The same for what is to be sent: the budget may refuse it.
    pub(super) fn outbound(size: (usize, usize), purse: Arc<Purse>) -> Self {
        Self::new(size, Account::Outbound(purse))
    }

    fn new((max_count, max_len): (usize, usize), account: Account) -> Self {
        let state = State {
            items: VecDeque::new(),
            len: 0,
            out_len: 0,
            closed: false,
            waits_for_room: Vec::new(),
            waits_for_item: None,
            gauge: Gauge::default(),
        };
        Self { state: Mutex::new(state), max_count, max_len, account }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self, state: &State<T>, len: usize) -> bool {
        state.has_room(len, self.max_count, self.max_len) && self.is_paid(state, len)
    }

    fn is_paid(&self, state: &State<T>, len: usize) -> bool {
        let passes =
            matches!(self.account, Account::Inbound(_)) && state.items.is_empty() && state.out_len == 0;
        passes || self.account.purse().has_room(len)
    }

    /// Puts in an item of `len` bytes, or gives it back.
    pub(super) fn try_push(&self, item: T, len: usize) -> Result<(), (T, PushError)> {
        let mut state = self.lock();
        if state.closed {
            return Err((item, PushError::Closed));
        }
        if !self.has_room(&state, len) {
            return Err((item, PushError::Full));
        }
        state.push(item, len, &self.account);
        let waker = state.waits_for_item.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        Ok(())
    }

    /// Puts in an item whatever its length, after `poll_room` was ready; drops it when nobody takes items any more.
    pub(super) fn push_last(&self, item: T, len: usize) {
        let mut state = self.lock();
        if state.closed {
            return;
        }
        state.push(item, len, &self.account);
        let waker = state.waits_for_item.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }

    /// Whether an item of `len` bytes has room, or never will.
    pub(super) fn takes(&self, len: usize) -> bool {
        let state = self.lock();
        state.closed || self.has_room(&state, len)
    }

    /// Ready when an item of `len` bytes has room, or never will.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>, len: usize) -> Poll<()> {
        let mut state = self.lock();
        // Looked at once: memory that is given back between two looks would wake nobody.
        let is_paid = self.is_paid(&state, len);
        if state.closed || (is_paid && state.has_room(len, self.max_count, self.max_len)) {
            return Poll::Ready(());
        }
        if !state.waits_for_room.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waits_for_room.push(cx.waker().clone());
        }
        if !is_paid {
            self.account.purse().wake_for_room(cx.waker());
            if self.has_room(&state, len) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// The next item; None when there is none and will be none. The one before it is in use no more.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let mut state = self.lock();
        let next = state.items.pop_front();
        if next.is_none() && !state.closed {
            state.waits_for_item = Some(cx.waker().clone());
        }
        let out_len = next.as_ref().map_or(0, |(_, len)| *len);
        state.len = state.len.saturating_sub(out_len);
        state.out_len = out_len;
        state.tell(&self.account);
        let closed = state.closed;
        let wakers = std::mem::take(&mut state.waits_for_room);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        match next {
            None if !closed => Poll::Pending,
            next => Poll::Ready(next.map(|(item, _)| item)),
        }
    }

    /// The item that was taken last is in use no more.
    pub(super) fn put_down(&self) {
        let mut state = self.lock();
        state.out_len = 0;
        state.tell(&self.account);
        let wakers = std::mem::take(&mut state.waits_for_room);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Ready when there is an item, or never will be.
    pub(super) fn poll_item(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.closed || !state.items.is_empty() {
            return Poll::Ready(());
        }
        state.waits_for_item = Some(cx.waker().clone());
        Poll::Pending
    }

    /// The next item with its length, if there is one.
    pub(super) fn try_pop(&self) -> Option<(T, usize)> {
        let mut state = self.lock();
        let (item, len) = state.items.pop_front()?;
        state.len = state.len.saturating_sub(len);
        state.tell(&self.account);
        let wakers = std::mem::take(&mut state.waits_for_room);
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        Some((item, len))
    }

    /// The next item, left where it is.
    pub(super) fn front(&self) -> Option<T>
    where
        T: Clone,
    {
        self.lock().items.front().map(|(item, _)| item.clone())
    }

    /// Takes nothing from now on. What is in can still be popped.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let wakers = std::mem::take(&mut state.waits_for_room);
        let waker = state.waits_for_item.take();
        drop(state);
        wakers.into_iter().chain(waker).for_each(Waker::wake);
    }
}

impl<T> Drop for Queue<T> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.account.tell(&mut state.gauge, 0);
    }
}

impl<T> State<T> {
    fn push(&mut self, item: T, len: usize, account: &Account) {
        self.len = self.len.saturating_add(len);
        self.items.push_back((item, len));
        self.tell(account);
    }

    fn tell(&mut self, account: &Account) {
        account.tell(&mut self.gauge, self.len.saturating_add(self.out_len));
    }

    fn has_room(&self, len: usize, max_count: usize, max_len: usize) -> bool {
        let fits = self.len < max_len && self.len.saturating_add(len) <= max_len;
        self.items.is_empty() || (fits && self.items.len() < max_count)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::{
        super::pool::{GRAIN, Pool},
        *,
    };
    use crate::SessionLimits;

    const FREE_LEN: usize = SessionLimits::DEFAULT.free_len;

    fn kept() -> Arc<Kept> {
        Kept::new(&Purse::new(&Pool::of(0), 1))
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn p11_count_and_bytes_are_bounded_and_one_item_of_any_size_passes() {
        let queue = Queue::inbound((3, 100), kept());
        queue.try_push('a', 1_000_000).unwrap();
        assert_eq!(queue.try_push('b', 1), Err(('b', PushError::Full)));
        assert_eq!(queue.try_pop(), Some(('a', 1_000_000)));
        for item in ['c', 'd', 'e'] {
            queue.try_push(item, 10).unwrap();
        }
        assert_eq!(queue.try_push('f', 0), Err(('f', PushError::Full)));
        queue.try_pop();
        assert_eq!(queue.try_push('g', 81), Err(('g', PushError::Full)));
        queue.try_push('h', 80).unwrap();
    }

    #[test]
    fn p13_a_message_that_the_budget_has_no_room_for_waits_until_something_is_given_back() {
        let pool = Pool::of(0);
        let other = Purse::new(&pool, 2);
        other.change(0, 64 << 20);
        let queue = Queue::outbound((3, 1 << 20), Purse::new(&pool, 1));
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        queue.try_push('a', 100_000).unwrap();
        assert_eq!(queue.try_push('b', 100_000), Err(('b', PushError::Full)));
        assert!(queue.poll_room(&mut cx, 100_000).is_pending());
        other.change(64 << 20, 1 << 20);
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(queue.poll_room(&mut cx, 100_000).is_ready());
        queue.try_push('b', 100_000).unwrap();
    }

    #[test]
    fn p11_of_what_comes_one_message_waits_while_the_budget_is_spent_and_no_more() {
        let pool = Pool::of(64 << 20);
        let other = Purse::new(&pool, 2);
        other.change(0, 64 << 20);
        let queue = Queue::inbound((3, 1 << 20), Kept::new(&Purse::new(&pool, 1)));
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        assert!(queue.poll_room(&mut cx, 0).is_ready());
        queue.push_last('a', 200_000);
        assert!(queue.poll_room(&mut cx, 0).is_pending());
        // While it is in use it is the one. When the next is asked for, it makes room.
        assert_eq!(queue.poll_next(&mut cx), Poll::Ready(Some('a')));
        assert!(queue.poll_room(&mut cx, 0).is_pending());
        let woken = wakes.0.load(Ordering::Relaxed);
        assert!(queue.poll_next(&mut cx).is_pending());
        assert!(wakes.0.load(Ordering::Relaxed) > woken && queue.poll_room(&mut cx, 0).is_ready());
        queue.push_last('b', 200_000);
        assert!(queue.poll_room(&mut cx, 0).is_pending());
        // What another gives back makes room too.
        let woken = wakes.0.load(Ordering::Relaxed);
        other.change(64 << 20, 0);
        assert!(wakes.0.load(Ordering::Relaxed) > woken && queue.poll_room(&mut cx, 0).is_ready());
        assert_eq!(queue.poll_next(&mut cx), Poll::Ready(Some('b')));
        assert_eq!(pool.standing().0, 200_000 / GRAIN * GRAIN - FREE_LEN);
        queue.put_down();
        assert_eq!(pool.standing().0, 0);
    }

    #[test]
    fn room_items_and_the_end_wake_who_waits() {
        let queue = Queue::inbound((1, 100), kept());
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut cx = Context::from_waker(&waker);
        assert_eq!(queue.poll_next(&mut cx), Poll::Pending);
        queue.try_push('a', 1).unwrap();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 1);
        assert!(queue.poll_room(&mut cx, 1).is_pending() && queue.poll_room(&mut cx, 1).is_pending());
        assert_eq!(queue.poll_next(&mut cx), Poll::Ready(Some('a')));
        assert_eq!(wakes.0.load(Ordering::Relaxed), 2);
        queue.try_push('b', 1).unwrap();
        assert!(queue.poll_room(&mut cx, 1).is_pending());
        queue.close();
        assert_eq!(wakes.0.load(Ordering::Relaxed), 3);
        assert_eq!(queue.try_push('c', 1), Err(('c', PushError::Closed)));
        assert_eq!(queue.poll_next(&mut cx), Poll::Ready(Some('b')));
        assert_eq!(queue.poll_next(&mut cx), Poll::Ready(None));
    }
}
