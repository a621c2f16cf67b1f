//! The one budget of memory for all peers: who is read while it is spent. A pure part that knows holders by number and
//! is told what is spent; what a session wants and how long it waits is `session/flow.rs`, the counting `driver/pool.rs`.
//!
//! Memory becomes short when somebody wants what does not fit, and is so until all who wait could have all they want and
//! there is room for one message more. Meanwhile one at a time is read, whoever has the fewest bytes to come, out of a part of the budget kept for that.

use std::{collections::BTreeMap, time::Instant};

use crate::config::{BUDGET_RESERVE, MAX_MESSAGE_LEN};

/// What a session waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// What it would hold in all, in bytes: see [`Session::memory`](crate::Session::memory).
    pub len: usize,
    /// What is still to come of the frame, in bytes.
    pub rest: usize,
}

/// A holder that may have what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Whom it is for.
    pub holder: u64,
    /// What it gets more, in bytes: to be counted as spent before the next call.
    pub more: usize,
    /// Whether others wait for this one to be read.
    pub hurried: bool,
}

/// A holder that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    more: usize,
    rest: usize,
    /// Its place among those with the same rest.
    turn: u64,
}

/// Who waits for memory, and who is read meanwhile.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    waiting: BTreeMap<u64, Waiting>,
    turns: u64,
    /// The one that is read.
    reading: Option<u64>,
    short_since: Option<Instant>,
}

impl Budget {
    /// A budget of `limit` bytes, at least [`BUDGET_RESERVE`] and at most what a signed number counts.
    pub fn new(limit: usize) -> Self {
        let limit = limit.clamp(BUDGET_RESERVE, isize::MAX as usize);
        Self { limit, waiting: BTreeMap::new(), turns: 0, reading: None, short_since: None }
    }

    /// What may be spent, in bytes.
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// What may be spent without asking, in bytes, while memory is not short.
    pub const fn free(&self) -> usize {
        self.limit.saturating_sub(BUDGET_RESERVE)
    }

    /// Since when memory is short, if it is.
    pub const fn short_since(&self) -> Option<Instant> {
        self.short_since
    }

    /// A holder wants `more` bytes that do not fit, of a frame of which `rest` bytes are to come. It is not read until
    /// [`Budget::poll`] names it, and no longer the one that is.
    pub fn wait(&mut self, now: Instant, holder: u64, more: usize, rest: usize) {
        self.short_since.get_or_insert(now);
        self.turns = self.turns.saturating_add(1);
        self.waiting.insert(holder, Waiting { more, rest, turn: self.turns });
        self.leave(holder);
    }

    /// Somebody whom this does not know of, as for what is to be sent, finds no room when `spent` bytes are: memory is short,
    /// unless the longest message has room.
    pub fn lack(&mut self, now: Instant, spent: usize) {
        if spent > self.calm() {
            self.short_since.get_or_insert(now);
        }
    }

    /// Up to which a shortage is over: the longest message has room.
    const fn calm(&self) -> usize {
        self.free().saturating_sub(MAX_MESSAGE_LEN)
    }

    /// A holder's frame is complete, or it is gone.
    pub fn done(&mut self, holder: u64) {
        self.waiting.remove(&holder);
        self.leave(holder);
    }

    fn leave(&mut self, holder: u64) {
        if self.reading == Some(holder) {
            self.reading = None;
        }
    }

    /// Who may go on, when `spent` bytes are. To be called until it is None after every other call, and whenever less is
    /// spent than before.
    pub fn poll(&mut self, spent: usize) -> Option<Grant> {
        self.short_since?;
        if self.waiting.is_empty() {
            if spent <= self.calm() && self.reading.is_none() {
                self.short_since = None;
            }
            return None;
        }
        let hurried = !self.is_plenty(spent);
        if hurried && self.reading.is_some() {
            return None;
        }
        // One for whom there is no room keeps nobody behind it waiting.
        let fits = |other: &Waiting| spent.saturating_add(other.more) <= self.limit;
        let fitting = self.waiting.iter().filter(|(_, other)| !hurried || fits(other));
        let (holder, more) = fitting
            .min_by_key(|(_, other)| (other.rest, other.turn))
            .map(|(holder, other)| (*holder, other.more))?;
        self.waiting.remove(&holder);
        if hurried {
            self.reading = Some(holder);
        }
        Some(Grant { holder, more, hurried })
    }

    /// Whether all who wait could have all that they want.
    fn is_plenty(&self, spent: usize) -> bool {
        let wanted =
            self.waiting.values().fold(0usize, |sum, other| sum.saturating_add(other.more.max(other.rest)));
        self.reading.is_none() && spent.saturating_add(wanted) <= self.free()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    fn start() -> identity::Now {
        identity::Now::simulated(Duration::from_secs(1_800_000_000))
    }

    const MIB: usize = 1 << 20;

    /// What happens to a budget.
    enum Step {
        /// A holder wants so much more, with so much to come.
        Wait(u64, usize, usize),
        Done(u64),
        /// Something is to be sent for which there is no room.
        Lack,
        /// So much is spent now, whoever holds it.
        Spent(usize),
    }

    use Step::{Done, Lack, Spent, Wait};

    /// A step, who is let on then and whether hurried, and whether memory is short afterwards.
    type Row = (Step, &'static [(u64, bool)], bool);

    fn play(limit: usize, rows: &[Row]) {
        let (mut budget, mut spent) = (Budget::new(limit), 0);
        for (place, (step, expected, short)) in rows.iter().enumerate() {
            match *step {
                Wait(holder, more, rest) => budget.wait(start().instant, holder, more, rest),
                Done(holder) => budget.done(holder),
                Lack => budget.lack(start().instant, spent),
                Spent(now_spent) => spent = now_spent,
            }
            let mut granted = Vec::new();
            while let Some(grant) = budget.poll(spent) {
                spent += grant.more;
                granted.push((grant.holder, grant.hurried));
                assert!(spent <= budget.limit(), "row {place}: {spent} bytes");
            }
            assert_eq!((&granted[..], budget.short_since().is_some()), (*expected, *short), "row {place}");
        }
    }

    #[test]
    fn f03_the_one_with_the_fewest_bytes_to_come_is_read_alone() {
        play(
            256 * MIB,
            &[
                (Spent(224 * MIB), &[], false),
                (Wait(1, MIB, 8 * MIB), &[(1, true)], true),
                (Wait(2, MIB, 4 * MIB), &[], true),
                (Wait(3, MIB, 2 * MIB), &[], true),
                (Wait(4, MIB, 2 * MIB), &[], true),
                // It asks for its next piece, and another has less to come.
                (Wait(1, MIB, 7 * MIB), &[(3, true)], true),
                (Done(3), &[(4, true)], true),
                // One that is gone waits no longer, and one that is not read changes nothing.
                (Done(2), &[], true),
                (Done(4), &[(1, true)], true),
                (Done(1), &[], true),
                // It is over when one message more has room.
                (Spent(224 * MIB), &[], true),
                (Spent(208 * MIB), &[], false),
            ],
        );
    }

    #[test]
    fn f03_a_shortage_ends_when_all_could_have_all_and_not_before() {
        play(
            256 * MIB,
            &[
                (Spent(220 * MIB), &[], false),
                (Wait(1, 8 * MIB, 16 * MIB), &[(1, true)], true),
                (Wait(2, 8 * MIB, 16 * MIB), &[], true),
                (Wait(3, 8 * MIB, 16 * MIB), &[], true),
                (Spent(200 * MIB), &[], true),
                // One is still read, and the others would fill what is free.
                (Spent(100 * MIB), &[], true),
                (Done(1), &[(2, false), (3, false)], false),
                (Spent(300 * MIB), &[], false),
            ],
        );
    }

    #[test]
    fn f03_nobody_is_read_beyond_the_limit() {
        play(
            256 * MIB,
            &[
                // What queues hold cannot be refused any more.
                (Spent(255 * MIB), &[], false),
                (Wait(1, 2 * MIB, 0), &[], true),
                // Another has more to come, and room for it.
                (Wait(2, MIB, 8 * MIB), &[(2, true)], true),
                (Done(2), &[], true),
                (Spent(254 * MIB), &[(1, true)], true),
            ],
        );
    }

    #[test]
    fn p11_memory_is_short_for_what_is_to_be_sent_until_the_longest_message_has_room() {
        play(
            256 * MIB,
            &[
                (Spent(208 * MIB), &[], false),
                (Lack, &[], false),
                (Spent(223 * MIB), &[], false),
                (Lack, &[], true),
                (Spent(209 * MIB), &[], true),
                (Wait(1, MIB, MIB), &[(1, false)], true),
                (Spent(208 * MIB), &[], false),
            ],
        );
    }

    #[test]
    fn f03_a_small_budget_counts_as_one_message_and_its_payload() {
        let mut budget = Budget::new(0);
        assert_eq!((budget.limit(), budget.free()), (BUDGET_RESERVE, 0));
        budget.wait(start().instant, 7, 16 * MIB, 16 * MIB);
        assert_eq!(budget.poll(0), Some(Grant { holder: 7, more: 16 * MIB, hurried: true }));
    }

    #[test]
    fn f03_late_is_counted_from_the_first_who_waited() {
        let (mut budget, now) = (Budget::new(0), start().instant);
        budget.wait(now, 1, 1, 1);
        budget.wait(now.checked_add(Duration::from_secs(5)).unwrap(), 2, 1, 1);
        assert_eq!(budget.short_since(), Some(now));
    }
}
