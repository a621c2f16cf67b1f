//! When the table is refreshed: at the start, then every 15 to 30 minutes, or after 10 s while nobody was found. A
//! refresh is a lookup for ourselves (which is how a node joins) and three random ones, one after the other.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use crate::{
    LookupId,
    config::{MIN_REFRESH_INTERVAL, REFRESH_RANDOM_LOOKUPS},
};

/// Which lookup comes next in a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// For ourselves.
    Own,
    /// For anything.
    Random,
}

/// The clock and the place in the running refresh.
#[derive(Clone, Debug)]
pub(crate) struct Refresh {
    interval: Duration,
    next_at: Option<Instant>,
    last_at: Option<Instant>,
    random_left: usize,
    /// The lookup that runs for it.
    pub(crate) lookup: Option<LookupId>,
}

impl Refresh {
    pub(crate) const fn new(interval: Duration) -> Self {
        Self { interval, next_at: None, last_at: None, random_left: 0, lookup: None }
    }

    /// Asks for a refresh out of turn.
    pub(crate) fn request(&mut self, now: Instant) {
        let earliest = self.last_at.and_then(|last| last.checked_add(MIN_REFRESH_INTERVAL)).unwrap_or(now);
        self.next_at = Some(self.next_at.map_or(earliest, |next| next.min(earliest)));
    }

    /// The lookup to start now, if any.
    pub(crate) fn take_step(&mut self, now: Instant) -> Option<Step> {
        if self.lookup.is_some() {
            return None;
        }
        if self.random_left > 0 {
            self.random_left = self.random_left.saturating_sub(1);
            return Some(Step::Random);
        }
        let due = self.last_at.is_none() || self.next_at.is_some_and(|next| next <= now);
        if due {
            (self.last_at, self.next_at) = (Some(now), None);
        }
        due.then_some(Step::Own)
    }

    /// The lookup that ran has ended. `is_deserted`: no live node is in the table.
    pub(crate) fn lookup_ended(
        &mut self,
        now: Instant,
        was_own: bool,
        is_deserted: bool,
        rng: &mut impl Rng,
    ) {
        self.lookup = None;
        if is_deserted {
            self.random_left = 0;
            self.next_at = now.checked_add(MIN_REFRESH_INTERVAL);
        } else if was_own {
            self.random_left = REFRESH_RANDOM_LOOKUPS;
        }
        if self.random_left == 0 && self.next_at.is_none() {
            let longest = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX).max(1);
            self.next_at = now.checked_add(Duration::from_millis(rng.random_range(longest / 2..longest)));
        }
    }

    /// When [`Refresh::take_step`] has something next without a lookup ending.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.next_at.filter(|_| self.lookup.is_none() && self.random_left == 0)
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::ChaCha8Rng};

    use super::*;
    use crate::story;

    /// Runs lookups that end at once, and gives what was looked up.
    fn run(refresh: &mut Refresh, now: Instant, is_deserted: bool) -> Vec<Step> {
        let (mut rng, mut steps) = (ChaCha8Rng::seed_from_u64(1), Vec::new());
        while let Some(step) = refresh.take_step(now) {
            refresh.lookup = Some(LookupId(1));
            refresh.lookup_ended(now, step == Step::Own, is_deserted, &mut rng);
            steps.push(step);
        }
        steps
    }

    #[test]
    fn a_refresh_is_a_lookup_for_ourselves_and_three_random_ones() {
        let (mut refresh, now) = (Refresh::new(Duration::from_secs(1800)), story::start());
        assert_eq!(
            run(&mut refresh, now.instant, false),
            [Step::Own, Step::Random, Step::Random, Step::Random]
        );
        let next = refresh.next_timeout().unwrap();
        let pause = next.saturating_duration_since(now.instant).as_secs();
        assert!((900..1800).contains(&pause), "{pause}");
        assert_eq!(run(&mut refresh, next, false).len(), 4);
    }

    #[test]
    fn t09_an_empty_table_is_refreshed_every_ten_seconds_and_not_more() {
        let (mut refresh, now) = (Refresh::new(Duration::from_secs(1800)), story::start());
        let mut refreshes = 0;
        for second in 0..100 {
            let at = now.later(Duration::from_secs(second)).instant;
            refresh.request(at);
            refreshes += run(&mut refresh, at, true).len();
        }
        assert_eq!(refreshes, 10);
    }
}
