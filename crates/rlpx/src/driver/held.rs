//! What protocols keep of a peer's until they are done with it: counted for each protocol, so that it can be named in a
//! shortage (`attached/untaken.rs`), and in what the peer holds of the budget for all (`pool.rs`).

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    pool::{Gauge, Purse},
    sync::atomic::{AtomicUsize, Ordering},
};

/// What one protocol keeps of one peer's, in steps of a [`Gauge`].
#[derive(Debug)]
pub(super) struct Kept {
    purse: Arc<Purse>,
    len: AtomicUsize,
}

impl Kept {
    pub(super) fn new(purse: &Arc<Purse>) -> Arc<Self> {
        Arc::new(Self { purse: Arc::clone(purse), len: AtomicUsize::new(0) })
    }

    pub(super) const fn purse(&self) -> &Arc<Purse> {
        &self.purse
    }

    /// Bytes that are kept.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Of what is kept, `gauge` counts `len` bytes now.
    pub(super) fn tell(&self, gauge: &mut Gauge, len: usize) {
        let before = gauge.0;
        gauge.tell(&self.purse, len);
        if gauge.0 > before {
            self.len.fetch_add(gauge.0.saturating_sub(before), Ordering::Relaxed);
        } else if before > gauge.0 {
            self.len.fetch_sub(before.saturating_sub(gauge.0), Ordering::Relaxed);
        }
    }
}

/// What a protocol keeps on a peer's behalf outside of its [`Link`](super::Link): counted against the budget for all while
/// this lives, and no longer. Whoever has some and takes more asks [`Held::poll_room`] first. While memory is short, a peer
/// for which more than its own part ([`SessionLimits::free_len`](crate::SessionLimits::free_len)) is kept for
/// [`ServerTimes::protocol_stall`](crate::ServerTimes::protocol_stall) goes.
#[derive(Debug)]
pub struct Held {
    kept: Arc<Kept>,
    gauge: Gauge,
}

impl Held {
    pub(super) fn new(kept: Arc<Kept>) -> Self {
        Self { kept, gauge: Gauge::default() }
    }

    /// Ready while more may be kept: the peer holds no more than is its own, or the budget is not spent. Otherwise the task is
    /// woken when it is worth asking again.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let purse = self.kept.purse();
        if purse.has_room(0) {
            return Poll::Ready(());
        }
        purse.wake_for_room(cx.waker());
        if purse.has_room(0) { Poll::Ready(()) } else { Poll::Pending }
    }

    /// `len` bytes are kept now. Changes below 16 KiB may go uncounted.
    pub fn set(&mut self, len: usize) {
        self.kept.tell(&mut self.gauge, len);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}
