//! When the table's nodes are pinged again: one that is not live every 0 to 3 s, the least recently seen of a bucket
//! every 0 to 9 s. Whom, is the table's choice. The numbers are go-ethereum's (`table_reval.go`).

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

/// Which of the two turns has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// For a node that is not live.
    Unverified,
    /// For the least recently seen live node of a bucket.
    LeastRecent,
}

/// The two clocks of revalidation. They start with the first call.
#[derive(Clone, Debug)]
pub(crate) struct Revalidation {
    fast: Clock,
    slow: Clock,
}

#[derive(Clone, Copy, Debug)]
struct Clock {
    longest: Duration,
    next_at: Option<Instant>,
}

impl Revalidation {
    pub(crate) const fn new(fast: Duration, slow: Duration) -> Self {
        Self { fast: Clock { longest: fast, next_at: None }, slow: Clock { longest: slow, next_at: None } }
    }

    /// A turn that is due, once.
    pub(crate) fn take_turn(&mut self, now: Instant, rng: &mut impl Rng) -> Option<Turn> {
        if self.fast.is_due(now, rng) {
            return Some(Turn::Unverified);
        }
        self.slow.is_due(now, rng).then_some(Turn::LeastRecent)
    }

    /// The next turn, once they have started.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.fast.next_at.into_iter().chain(self.slow.next_at).min()
    }
}

impl Clock {
    fn is_due(&mut self, now: Instant, rng: &mut impl Rng) -> bool {
        let due = self.next_at.is_some_and(|at| at <= now);
        if due || self.next_at.is_none() {
            let nanos = u64::try_from(self.longest.as_nanos()).unwrap_or(u64::MAX).max(1);
            self.next_at = now.checked_add(Duration::from_nanos(rng.random_range(0..nanos)));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::ChaCha8Rng};

    use super::*;
    use crate::story;

    #[test]
    fn turns_come_as_often_as_their_intervals_say() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut revalidation = Revalidation::new(Duration::from_secs(3), Duration::from_secs(9));
        let (start, mut turns) = (story::start(), [0u32; 2]);
        for tick in 0..36_000 {
            let now = start.later(Duration::from_millis(tick * 10)).instant;
            while let Some(turn) = revalidation.take_turn(now, &mut rng) {
                turns[turn as usize] += 1;
            }
            assert!(revalidation.next_timeout().is_some_and(|next| next > now));
        }
        // 360 s at 1.5 s and 4.5 s on average.
        assert!((200..280).contains(&turns[0]) && (60..100).contains(&turns[1]), "{turns:?}");
    }
}
