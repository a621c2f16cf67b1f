//! Dials while this system itself has nothing to dial with: no port, no file handle, no memory for a socket. No node is to
//! blame, and the next dial would fail as well: so all of them pause, each time longer, and after a pause one dial tries
//! for all. Which errors mean that is `driver/dial.rs`'s to say; whom to dial, `dialer`'s.

use std::time::Instant;

use crate::server_config::RedialTimes;

/// Doublings after which a pause has passed every maximum.
const MAX_DOUBLINGS: u32 = 20;

/// How the system stands with dials.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Shortage {
    /// The end of the last pause. None: there is no shortage.
    until: Option<Instant>,
    /// Pauses so far.
    pauses: u32,
}

impl Shortage {
    /// A dial has failed for it. Those that were under way before tell nothing new.
    pub(crate) fn handle_failed(&mut self, now: Instant, times: &RedialTimes) {
        if self.ends_at(now).is_some() {
            return;
        }
        let pause = times.first.saturating_mul(1 << self.pauses.min(MAX_DOUBLINGS)).min(times.max);
        self.until = now.checked_add(pause);
        self.pauses = self.pauses.saturating_add(1);
    }

    /// A dial that began at `began` has got past this system, whatever came of it then: if it is one that tried after the
    /// last pause, the shortage is over.
    pub(crate) fn handle_passed(&mut self, began: Instant) {
        if self.until.is_some_and(|until| began >= until) {
            *self = Self::default();
        }
    }

    /// When the pause ends, if there is one now.
    pub(crate) fn ends_at(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    /// How many dials may be under way, of `most` without a shortage.
    pub(crate) fn limit(&self, now: Instant, most: usize) -> usize {
        match self.until {
            None => most,
            Some(until) if until <= now => most.min(1),
            Some(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TIMES: RedialTimes = RedialTimes { first: Duration::from_secs(1), max: Duration::from_secs(30) };

    #[test]
    fn o04_pauses_double_up_to_the_longest_and_one_that_gets_through_ends_it() {
        let mut now = identity::Now::simulated(Duration::from_secs(1_800_000_000)).instant;
        let mut shortage = Shortage::default();
        let mut pauses = Vec::new();
        assert_eq!(shortage.limit(now, 30), 30);
        for _ in 0..8 {
            let failed_at = now;
            shortage.handle_failed(now, &TIMES);
            let end = shortage.ends_at(now).unwrap();
            pauses.push((end - now).as_secs());
            // Another that was under way, and one that gets through and began before.
            shortage.handle_failed(now, &TIMES);
            shortage.handle_passed(failed_at);
            assert_eq!((shortage.ends_at(now), shortage.limit(now, 30)), (Some(end), 0));
            now = end;
            assert_eq!((shortage.ends_at(now), shortage.limit(now, 30)), (None, 1));
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(shortage.limit(now, 0), 0);
        shortage.handle_passed(now);
        assert_eq!(shortage.limit(now, 30), 30);
        shortage.handle_failed(now, &TIMES);
        assert_eq!(shortage.ends_at(now), now.checked_add(TIMES.first));
    }
}
