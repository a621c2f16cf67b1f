//! When the table is refreshed: at the start, then every 15 to 30 minutes, after 10 s while nobody was found, and sooner,
//! with pauses that double from 10 s on, while few were: the first datagrams of a join may be lost. A refresh is a lookup
//! for ourselves (which is how a node joins) and three random ones, one after the other.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use crate::{
    LookupId,
    config::{BUCKET_SIZE, MIN_REFRESH_INTERVAL, REFRESH_RANDOM_LOOKUPS},
};

/// Which lookup comes next in a refresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// For ourselves, among the nodes we know.
    Own,
    /// For ourselves, among the nodes that the bootnodes know.
    Home,
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
    /// How many refreshes in a row left the table with few live nodes.
    poor_count: u32,
    from_home: bool,
    /// The lookup that runs for it.
    pub(crate) lookup: Option<LookupId>,
}

impl Refresh {
    pub(crate) const fn new(interval: Duration) -> Self {
        Self {
            interval,
            next_at: None,
            last_at: None,
            random_left: 0,
            poor_count: 0,
            from_home: false,
            lookup: None,
        }
    }

    /// Asks for a refresh out of turn.
    pub(crate) fn request(&mut self, now: Instant) {
        let earliest = self.last_at.and_then(|last| last.checked_add(MIN_REFRESH_INTERVAL)).unwrap_or(now);
        self.next_at = Some(self.next_at.map_or(earliest, |next| next.min(earliest)));
    }

    /// Asks for a refresh out of turn that starts from the bootnodes.
    pub(crate) fn request_from_home(&mut self, now: Instant) {
        self.from_home = true;
        self.request(now);
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
        due.then(|| if std::mem::take(&mut self.from_home) { Step::Home } else { Step::Own })
    }

    /// The lookup that ran has ended, and so many live nodes are in the table.
    pub(crate) fn lookup_ended(&mut self, now: Instant, step: Step, live_count: usize, rng: &mut impl Rng) {
        self.lookup = None;
        if live_count == 0 {
            (self.random_left, self.poor_count) = (0, 0);
            self.next_at = now.checked_add(MIN_REFRESH_INTERVAL);
        } else if step != Step::Random {
            self.random_left = REFRESH_RANDOM_LOOKUPS;
        }
        if self.random_left == 0 && self.next_at.is_none() {
            self.next_at = now.checked_add(self.pause(live_count, rng));
        }
    }

    fn pause(&mut self, live_count: usize, rng: &mut impl Rng) -> Duration {
        let longest = u64::try_from(self.interval.as_millis()).unwrap_or(u64::MAX).max(1);
        let regular = Duration::from_millis(rng.random_range(longest / 2..longest));
        if live_count >= BUCKET_SIZE {
            self.poor_count = 0;
            return regular;
        }
        let doubled = MIN_REFRESH_INTERVAL.saturating_mul(1 << self.poor_count.min(u32::BITS - 1));
        self.poor_count = self.poor_count.saturating_add(1);
        regular.min(doubled)
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
    fn run(refresh: &mut Refresh, now: Instant, live_count: usize) -> Vec<Step> {
        let (mut rng, mut steps) = (ChaCha8Rng::seed_from_u64(1), Vec::new());
        while let Some(step) = refresh.take_step(now) {
            refresh.lookup = Some(LookupId(1));
            refresh.lookup_ended(now, step, live_count, &mut rng);
            steps.push(step);
        }
        steps
    }

    #[test]
    fn a_refresh_is_a_lookup_for_ourselves_and_three_random_ones() {
        let (mut refresh, now) = (Refresh::new(Duration::from_secs(1800)), story::start());
        assert_eq!(
            run(&mut refresh, now.instant, BUCKET_SIZE),
            [Step::Own, Step::Random, Step::Random, Step::Random]
        );
        let next = refresh.next_timeout().unwrap();
        let pause = next.saturating_duration_since(now.instant).as_secs();
        assert!((900..1800).contains(&pause), "{pause}");
        assert_eq!(run(&mut refresh, next, BUCKET_SIZE).len(), 4);
    }

    #[test]
    fn a_table_with_few_nodes_is_refreshed_sooner_and_then_ever_later() {
        let (mut refresh, mut at) = (Refresh::new(Duration::from_secs(1800)), story::start().instant);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            assert_eq!(run(&mut refresh, at, BUCKET_SIZE - 1).len(), 4);
            let next = refresh.next_timeout().unwrap();
            pauses.push(next.saturating_duration_since(at).as_secs());
            at = next;
        }
        assert_eq!(pauses[..7], [10, 20, 40, 80, 160, 320, 640]);
        assert!(pauses[7..].iter().all(|pause| (900..1800).contains(pause)), "{pauses:?}");
        run(&mut refresh, at, BUCKET_SIZE);
        assert_eq!(refresh.poor_count, 0);
    }

    #[test]
    fn a_refresh_from_home_asks_the_bootnodes_first_and_once() {
        let (mut refresh, now) = (Refresh::new(Duration::from_secs(1800)), story::start());
        run(&mut refresh, now.instant, BUCKET_SIZE);
        refresh.request_from_home(now.instant);
        let soon = now.later(MIN_REFRESH_INTERVAL).instant;
        assert_eq!(run(&mut refresh, soon, BUCKET_SIZE)[..2], [Step::Home, Step::Random]);
        let next = refresh.next_timeout().unwrap();
        assert_eq!(run(&mut refresh, next, BUCKET_SIZE)[0], Step::Own);
    }

    #[test]
    fn t09_an_empty_table_is_refreshed_every_ten_seconds_and_not_more() {
        let (mut refresh, now) = (Refresh::new(Duration::from_secs(1800)), story::start());
        let mut refreshes = 0;
        for second in 0..100 {
            let at = now.later(Duration::from_secs(second)).instant;
            refresh.request(at);
            refreshes += run(&mut refresh, at, 0).len();
        }
        assert_eq!(refreshes, 10);
    }
}
