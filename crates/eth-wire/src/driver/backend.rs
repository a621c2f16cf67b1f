//! Runs the machine's calls to chain and pool, in order, on a thread where blocking harms nobody.
//! What to call and what follows from the answer is the machine's.

use std::{
    collections::VecDeque,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::inbox::Inbox;
use crate::{BackendAnswer, BackendCall, BackendTicket, Chain, Pool};

/// Chain and pool of one node. How many calls wait is bounded by the machine.
pub(super) struct Backend {
    chain: Arc<dyn Chain>,
    pool: Arc<dyn Pool>,
    inbox: Arc<Inbox>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(BackendTicket, BackendCall)>,
    is_running: bool,
}

impl Backend {
    pub(super) fn new(chain: Arc<dyn Chain>, pool: Arc<dyn Pool>, inbox: Arc<Inbox>) -> Self {
        Self { chain, pool, inbox, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Chain and pool, which may panic, are not called under the lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a call; its answer goes to the inbox.
    pub(super) fn submit(self: &Arc<Self>, ticket: BackendTicket, call: BackendCall) {
        let mut state = self.lock();
        state.waiting.push_back((ticket, call));
        if !std::mem::replace(&mut state.is_running, true) {
            let backend = Arc::clone(self);
            tokio::task::spawn_blocking(move || backend.run());
        }
    }

    fn run(&self) {
        while let Some((ticket, call)) = self.next() {
            // A client that panics costs its own call.
            let answer = catch_unwind(AssertUnwindSafe(|| call.run(&*self.chain, &*self.pool)));
            self.inbox.answer(ticket, answer.unwrap_or(BackendAnswer::Failed));
        }
    }

    fn next(&self) -> Option<(BackendTicket, BackendCall)> {
        let mut state = self.lock();
        let next = state.waiting.pop_front();
        state.is_running = next.is_some();
        next
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}
