//! How long a protocol may leave messages: one for which it has no room, at any time; and while memory is short, whatever
//! of the peer's is more than the peer's own and waits for protocols or is in their hands. Then the peer goes, by the name
//! of the protocol: it may be the one that keeps it from going on, by not reading what it is sent.

use std::time::Duration;

use tokio::time::Instant;

use super::{Attached, Ending};
use crate::{Refusal, driver::now};

/// How long protocols have left messages.
pub(super) struct Patience {
    pub(super) limit: Duration,
    /// When a message for which there is no room will have waited too long.
    pub(super) stall_end: Option<Instant>,
    /// Since when more than the peer's own waits for its protocols, or is in their hands.
    pub(super) untaken_since: Option<std::time::Instant>,
}

impl Patience {
    /// A message has no room from now on.
    pub(super) fn begin(&mut self) {
        self.stall_end = now().instant.checked_add(self.limit).map(Instant::from_std);
    }
}

impl Attached {
    /// When a protocol that leaves messages will have had its time; `short_since` tells since when memory is short. Waited for by
    /// the connection, which has a timer already.
    pub(in crate::driver) fn stall_end(
        &mut self,
        short_since: impl FnOnce() -> Option<std::time::Instant>,
    ) -> Option<Instant> {
        if self.is_behind() {
            // What was taken meanwhile is no reason any more.
            self.look_at_untaken();
        }
        let untaken_end = self
            .patience
            .untaken_since
            .and_then(|since| since.max(short_since()?).checked_add(self.patience.limit));
        self.patience.stall_end.into_iter().chain(untaken_end.map(Instant::from_std)).min()
    }

    /// Its time is over.
    pub(in crate::driver) fn give_up_stalled(&mut self) -> Ending {
        self.counts.refusals.add(Refusal::ProtocolStalled);
        let waiting = self.waiting.front().and_then(|(seat, _)| self.seats.get(*seat));
        let most = || self.seats.iter().max_by_key(|seat| seat.link.kept().len());
        waiting.or_else(most).map_or(Ending::Gone, |seat| Ending::Stalled(seat.name))
    }

    /// What waits for a limit of ours until `opens_at` is no fault of the protocol that waits behind it.
    pub(in crate::driver) fn excuse(&mut self, opens_at: std::time::Instant) {
        let excused = opens_at.checked_add(self.patience.limit).map(Instant::from_std);
        self.patience.stall_end =
            self.patience.stall_end.max(excused.filter(|_| self.patience.stall_end.is_some()));
    }

    /// Whether protocols have more of the peer's than is its own, as far as is known.
    pub(in crate::driver) const fn is_behind(&self) -> bool {
        self.patience.untaken_since.is_some()
    }

    /// To be called before and after a message is handed on: what was taken between two looks is not behind.
    pub(super) fn look_at_untaken(&mut self) {
        let kept = self.seats.iter().map(|seat| seat.link.kept().len());
        let waiting = self.waiting.iter().map(|(_, message)| message.payload.len());
        if kept.chain(waiting).fold(0usize, usize::saturating_add) <= self.purse.pool.free_len() {
            self.patience.untaken_since = None;
        } else {
            self.patience.untaken_since.get_or_insert_with(|| now().instant);
        }
    }
}
