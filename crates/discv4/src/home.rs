//! Whether the bootnodes can be reached. One of them is asked each minute; when one answers after a silence, the network
//! may have been parted, and a refresh that starts from the bootnodes brings its parts together again.

use std::{collections::BTreeSet, time::Instant};

use identity::NodeId;

use crate::config::BOOTNODE_INTERVAL;

/// Whose turn it is, and who was silent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Home {
    next_at: Option<Instant>,
    turn: usize,
    /// At most as many as there are bootnodes.
    silent: BTreeSet<NodeId>,
}

impl Home {
    /// The place of the bootnode to ask now among `count`, if it is time. The first call only starts the clock.
    pub(crate) fn take_turn(&mut self, now: Instant, count: usize) -> Option<usize> {
        let due = self.next_at.is_some_and(|at| at <= now);
        if due || self.next_at.is_none() {
            self.next_at = now.checked_add(BOOTNODE_INTERVAL);
        }
        if !due {
            return None;
        }
        self.turn = self.turn.wrapping_add(1);
        self.turn.checked_rem(count)
    }

    /// A bootnode did not answer.
    pub(crate) fn silent(&mut self, id: NodeId) {
        self.silent.insert(id);
    }

    /// A bootnode answered. Whether it was silent before.
    pub(crate) fn answered(&mut self, id: &NodeId) -> bool {
        self.silent.remove(id)
    }

    /// When the next turn is.
    pub(crate) const fn next_timeout(&self) -> Option<Instant> {
        self.next_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story;

    #[test]
    fn bootnodes_are_asked_by_turns_one_a_minute() {
        let (mut home, mut now) = (Home::default(), story::start());
        assert_eq!(home.take_turn(now.instant, 2), None);
        let mut turns = Vec::new();
        for _ in 0..4 {
            assert_eq!(home.take_turn(now.instant, 2), None);
            now = now.later(BOOTNODE_INTERVAL);
            assert_eq!(home.next_timeout(), Some(now.instant));
            turns.extend(home.take_turn(now.instant, 2));
        }
        assert_eq!(turns, [1, 0, 1, 0]);
        assert_eq!(home.take_turn(now.later(BOOTNODE_INTERVAL).instant, 0), None, "there is none");
    }

    #[test]
    fn only_an_answer_after_a_silence_is_news() {
        let (mut home, id) = (Home::default(), story::key(1).node_id());
        assert!(!home.answered(&id));
        home.silent(id);
        assert!(home.answered(&id) && !home.answered(&id));
    }
}
