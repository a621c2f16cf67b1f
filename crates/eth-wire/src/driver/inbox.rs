//! What connections and the backend have for the machine: a bounded queue for each peer, taken in turns so that none
//! starves the others. A connection whose queue is full, as for a protocol that is a function, reads nothing more; the
//! machine never waits.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use rlpx::{Held, Link, PeerId, PeerInfo, ProtocolLimits};
use tokio::sync::Notify;

use crate::{BackendAnswer, BackendTicket, EthVersion, Incoming, MessageError};

/// A peer that has come.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) info: Arc<PeerInfo>,
    pub(super) version: EthVersion,
    pub(super) link: Link,
}

/// A message as the connection read it.
pub(super) type Read = Result<Incoming, MessageError>;

/// What one peer has for the machine, in this order.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) arrival: Option<Arrival>,
    pub(super) sent_messages: usize,
    pub(super) sent_len: usize,
    pub(super) messages: Vec<Read>,
    pub(super) is_last: bool,
}

#[derive(Debug)]
struct PeerQueue {
    arrival: Option<Arrival>,
    sent_messages: usize,
    sent_len: usize,
    messages: VecDeque<(Read, usize)>,
    len: usize,
    limits: ProtocolLimits,
    /// Tells rlpx of `len`: what waits here counts against its budget of memory.
    held: Option<Held>,
    is_closed: bool,
    is_paused: bool,
    is_scheduled: bool,
    reader: Option<Waker>,
}

#[derive(Debug, Default)]
struct State {
    peers: BTreeMap<PeerId, PeerQueue>,
    scheduled: VecDeque<PeerId>,
    answers: VecDeque<(BackendTicket, BackendAnswer)>,
    is_closed: bool,
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    state: Mutex<State>,
    wake: Notify,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is something to take.
    pub(super) async fn filled(&self) {
        self.wake.notified().await;
    }

    /// A connection has begun. False when nobody is there to take it.
    pub(super) fn connect(&self, peer: PeerId, arrival: Arrival) -> bool {
        self.open(peer, Some(arrival))
    }

    fn open(&self, peer: PeerId, arrival: Option<Arrival>) -> bool {
        let mut state = self.lock();
        if state.is_closed {
            return false;
        }
        let queue = state.peers.entry(peer).or_insert_with(|| PeerQueue::new(arrival.as_ref()));
        queue.arrival = arrival;
        self.schedule(state, peer);
        true
    }

    /// Whether one more message of the peer may be put in; if not, the reader is woken when it may.
    pub(super) fn poll_room(&self, peer: PeerId, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let Some(queue) = state.peers.get_mut(&peer) else { return Poll::Ready(()) };
        if queue.has_room() && queue.poll_budget(cx).is_ready() {
            return Poll::Ready(());
        }
        queue.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    /// A message of `len` bytes came. It counts with what it takes now that it is read.
    pub(super) fn push(&self, peer: PeerId, message: Read, len: usize) {
        let len = message.as_ref().map_or(0, Incoming::own_len).saturating_add(len);
        let mut state = self.lock();
        let Some(queue) = state.peers.get_mut(&peer) else { return };
        queue.messages.push_back((message, len));
        queue.set_len(queue.len.saturating_add(len));
        self.schedule(state, peer);
    }

    /// A message of `len` bytes has been written.
    pub(super) fn sent(&self, peer: PeerId, len: usize) {
        let mut state = self.lock();
        let Some(queue) = state.peers.get_mut(&peer) else { return };
        queue.sent_messages += 1;
        queue.sent_len = queue.sent_len.saturating_add(len);
        self.schedule(state, peer);
    }

    /// The connection has ended.
    pub(super) fn close_peer(&self, peer: PeerId) {
        let mut state = self.lock();
        let Some(queue) = state.peers.get_mut(&peer) else { return };
        queue.is_closed = true;
        self.schedule(state, peer);
    }

    /// Leaves the peer's messages, or takes them again.
    pub(super) fn set_paused(&self, peer: PeerId, paused: bool) {
        let mut state = self.lock();
        let Some(queue) = state.peers.get_mut(&peer) else { return };
        queue.is_paused = paused;
        self.schedule(state, peer);
    }

    /// The backend has answered.
    pub(super) fn answer(&self, ticket: BackendTicket, answer: BackendAnswer) {
        self.lock().answers.push_back((ticket, answer));
        self.wake.notify_one();
    }

    fn schedule(&self, mut state: MutexGuard<'_, State>, peer: PeerId) {
        let Some(queue) = state.peers.get_mut(&peer) else { return };
        if !queue.is_scheduled && queue.has_work() {
            queue.is_scheduled = true;
            state.scheduled.push_back(peer);
            drop(state);
            self.wake.notify_one();
        }
    }

    /// The next answer of the backend.
    pub(super) fn next_answer(&self) -> Option<(BackendTicket, BackendAnswer)> {
        self.lock().answers.pop_front()
    }

    /// What the next peer in turn has.
    pub(super) fn next_turn(&self) -> Option<(PeerId, Turn)> {
        let mut state = self.lock();
        let peer = state.scheduled.pop_front()?;
        let queue = state.peers.get_mut(&peer)?;
        queue.is_scheduled = false;
        let turn = queue.take();
        let reader = if queue.has_room() { queue.reader.take() } else { None };
        if turn.is_last {
            state.peers.remove(&peer);
        }
        self.schedule(state, peer);
        reader.into_iter().for_each(Waker::wake);
        Some((peer, turn))
    }

    /// Whether a peer waits for its turn.
    pub(super) fn has_turns(&self) -> bool {
        !self.lock().scheduled.is_empty()
    }

    /// The machine has ended: nothing is taken any more.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let peers = std::mem::take(&mut state.peers);
        drop(state);
        peers.into_values().filter_map(|queue| queue.reader).for_each(Waker::wake);
    }
}

impl PeerQueue {
    /// For who has arrived; None in tests.
    fn new(arrival: Option<&Arrival>) -> Self {
        Self {
            arrival: None,
            sent_messages: 0,
            sent_len: 0,
            messages: VecDeque::new(),
            len: 0,
            limits: arrival.map_or(ProtocolLimits::DEFAULT, |arrival| arrival.link.limits().clone()),
            held: arrival.map(|arrival| arrival.link.held()),
            is_closed: false,
            is_paused: false,
            is_scheduled: false,
            reader: None,
        }
    }

    fn has_room(&self) -> bool {
        let ProtocolLimits { waiting_messages, waiting_len, .. } = self.limits;
        self.messages.is_empty() || (self.messages.len() < waiting_messages && self.len < waiting_len)
    }

    /// Whether memory may be held for more than one message.
    fn poll_budget(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &self.held {
            Some(held) if !self.messages.is_empty() => held.poll_room(cx),
            Some(_) | None => Poll::Ready(()),
        }
    }

    fn set_len(&mut self, len: usize) {
        self.len = len;
        if let Some(held) = &mut self.held {
            held.set(len);
        }
    }

    fn has_work(&self) -> bool {
        let readable = !self.is_paused && !self.messages.is_empty();
        self.arrival.is_some() || self.sent_messages > 0 || readable || self.is_closed
    }

    fn take(&mut self) -> Turn {
        let count = if self.is_paused { 0 } else { self.limits.turn_messages.min(self.messages.len()) };
        let taken: Vec<(Read, usize)> = self.messages.drain(..count).collect();
        self.set_len(self.len.saturating_sub(taken.iter().map(|(_, len)| len).sum()));
        Turn {
            arrival: self.arrival.take(),
            sent_messages: std::mem::take(&mut self.sent_messages),
            sent_len: std::mem::take(&mut self.sent_len),
            messages: taken.into_iter().map(|(message, _)| message).collect(),
            // Whom it is not paused for, the last messages of a peer that has left are still heard.
            is_last: self.is_closed && (self.is_paused || self.messages.is_empty()),
        }
    }
}

#[cfg(test)]
mod tests;
