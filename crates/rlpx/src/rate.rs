//! A rate in bytes per second as a bucket of tokens, kept as the one moment when it will be full again (the "virtual
//! scheduling algorithm" of ITU-T I.371, Annex A). Whoever reserves is told from when it may go on, in the order of
//! asking, so that many who share a bucket get equal turns. It waits for nobody and reads no clock.

use std::time::{Duration, Instant};

/// What may go at once after a pause, as time at the full rate.
pub(crate) const BURST: Duration = Duration::from_secs(1);

/// A bucket that gains `rate` bytes a second and holds those of [`BURST`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    /// Bytes a second, at least one.
    rate: u64,
    /// When it will be full, if nothing more is taken. None: it is.
    full_at: Option<Instant>,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(rate: u64) -> Self {
        Self { rate: rate.max(1), full_at: None }
    }

    /// Takes `len` bytes, whether there are as many or not; from when on whoever takes them may use them: not before what
    /// was taken earlier is paid for. So one that takes more than the bucket holds goes ahead, and the next ones pay.
    pub(crate) fn reserve(&mut self, now: Instant, len: usize) -> Instant {
        let full_at = self.full_at.filter(|at| *at > now).unwrap_or(now);
        let missing = full_at.saturating_duration_since(now);
        self.full_at = full_at.checked_add(self.time_for(len)).or(self.full_at);
        now.checked_add(missing.saturating_sub(BURST)).unwrap_or(now)
    }

    fn time_for(&self, len: usize) -> Duration {
        let nanos = (len as u128).saturating_mul(1_000_000_000).div_ceil(u128::from(self.rate));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn start() -> Instant {
        identity::Now::simulated(Duration::from_secs(1_800_000_000)).instant
    }

    fn after(now: Instant, millis: u64) -> Instant {
        now.checked_add(Duration::from_millis(millis)).unwrap()
    }

    #[test]
    fn a_bucket_as_a_table() {
        let now = start();
        // When (ms), bytes, from when on (ms): at 1 MiB/s.
        let table = [
            (0, MIB / 2, 0),
            (0, MIB / 2, 0),
            (0, MIB / 4, 0),
            // A quarter of a second's bytes over what it holds.
            (0, MIB, 250),
            (0, MIB, 1_250),
            (1_250, 0, 2_250),
            (60_000, 16 * MIB, 60_000),
            (60_000, 1, 75_000),
        ];
        let mut bucket = Bucket::new(MIB as u64);
        for (row, (at, len, expected)) in table.into_iter().enumerate() {
            assert_eq!(bucket.reserve(after(now, at), len), after(now, expected), "row {row}");
        }
    }

    #[test]
    fn many_who_share_a_bucket_get_the_rate_and_equal_turns() {
        let now = start();
        let (rate, quantum, seconds) = (100_000u64, 1_000usize, 60);
        let mut bucket = Bucket::new(rate);
        // Ten that take whenever they may, and one that comes when they have been at it for long.
        let mut free_at = [now; 11];
        free_at[10] = after(now, 30_000);
        let mut taken = [0u64; 11];
        loop {
            let (who, at) = free_at.iter().copied().enumerate().min_by_key(|(_, at)| *at).unwrap();
            if at >= after(now, seconds * 1_000) {
                break;
            }
            // It uses what it reserved when it may, and asks again then.
            let may = bucket.reserve(at, quantum);
            taken[who] += quantum as u64;
            free_at[who] = may.max(after(at, 1));
        }
        let all: u64 = taken.iter().sum();
        let most = rate * (seconds + BURST.as_secs()) + 11 * quantum as u64;
        assert!((rate * seconds..=most).contains(&all), "{all} of {most}");
        let (least, most) = (taken[..10].iter().min().unwrap(), taken[..10].iter().max().unwrap());
        assert!(most - least <= 2 * quantum as u64, "{taken:?}");
        let share = rate * 30 / 11;
        assert!(taken[10].abs_diff(share) <= 3 * quantum as u64, "{taken:?} {share}");
    }

    #[test]
    fn no_number_breaks_it() {
        let now = start();
        let mut bucket = Bucket::new(0);
        assert_eq!(bucket.reserve(now, usize::MAX), now);
        let _ = bucket.reserve(now, usize::MAX);
        let mut fast = Bucket::new(u64::MAX);
        assert_eq!((fast.reserve(now, usize::MAX), fast.reserve(now, 0)), (now, now));
    }
}
