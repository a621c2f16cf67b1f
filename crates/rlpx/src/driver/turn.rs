//! The turn of a connection's task: how much is handled of what its peer has sent before other tasks have theirs, however it
//! comes. Reads that bring little each do not begin a new one: there may always be something to read.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
};

/// What of a turn has been used.
#[derive(Debug)]
pub(super) struct Turn {
    handled: usize,
    most: usize,
}

impl Turn {
    /// The first of turns in which so many messages are handled.
    pub(super) const fn new(most: usize) -> Self {
        Self { handled: 0, most }
    }

    /// One more thing is handled: a message as a rule.
    pub(super) const fn count(&mut self) {
        self.handled = self.handled.saturating_add(1);
    }

    /// Whether nothing more may be handled in this turn.
    pub(super) const fn is_over(&self) -> bool {
        self.handled >= self.most
    }

    /// What comes of `future`. When that is not there at once others have their turn, and then a new one begins.
    pub(super) async fn wait<F: Future>(&mut self, mut future: Pin<&mut F>) -> F::Output {
        poll_fn(|cx| {
            let poll = future.as_mut().poll(cx);
            if poll.is_pending() {
                self.handled = 0;
            }
            poll
        })
        .await
    }
}
