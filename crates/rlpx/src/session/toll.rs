//! What a peer pays for messages that inflate: a bucket of bytes that fills with time, and is drawn on by what a payload
//! is longer than four times its frame. It may be overdrawn once; until that is paid off nothing is read (`flow.rs`).
//! Honest blocks of headers, bodies and receipts stay under the free ratio; a bomb reaches 21 times its bytes (EIP-706).

use std::time::{Duration, Instant};

use crate::config::SessionLimits;

/// What has been drawn from the bucket, as of the last time it was looked at.
#[derive(Debug, Default)]
pub(super) struct Toll {
    drawn: usize,
    since: Option<Instant>,
}

impl Toll {
    /// Charges a payload of `len` bytes that came as `wire_len`; how long nothing may be read after it, if at all.
    pub(super) fn charge(
        &mut self,
        now: Instant,
        limits: &SessionLimits,
        (wire_len, len): (usize, usize),
    ) -> Option<Duration> {
        let extra = len.saturating_sub(wire_len.saturating_mul(limits.free_inflation));
        // The common case: nothing to pay, and no look at the bucket.
        if extra == 0 {
            return None;
        }
        let passed = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        let refilled = passed.as_micros().saturating_mul(limits.inflation_per_second as u128) / 1_000_000;
        let refilled = usize::try_from(refilled).unwrap_or(usize::MAX);
        self.drawn = self.drawn.saturating_sub(refilled).saturating_add(extra);
        self.since = Some(now);
        let debt = self.drawn.saturating_sub(limits.inflation_burst);
        let micros =
            (debt as u64).saturating_mul(1_000_000).div_ceil((limits.inflation_per_second as u64).max(1));
        (debt > 0).then(|| Duration::from_micros(micros))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    fn start() -> identity::Now {
        identity::Now::simulated(Duration::from_secs(1_800_000_000))
    }

    const MIB: usize = 1 << 20;

    #[test]
    fn f09_the_bucket_as_a_table() {
        let now = start().instant;
        // When (ms), bytes on the wire, bytes inflated, how long nothing is read then (ms).
        let table = [
            (0, MIB, 4 * MIB, 0),
            (0, MIB, 20 * MIB, 0),
            (0, MIB, 20 * MIB, 0),
            (0, 0, 1, 1),
            (0, MIB, 12 * MIB, 1_001),
            (1_000, MIB, 5 * MIB, 126),
            (2_000, MIB, 5 * MIB, 0),
            (60_000, 0, 32 * MIB, 0),
            (60_000, 0, 4 * MIB, 500),
        ];
        let mut toll = Toll::default();
        for (row, (at, wire_len, len, pause)) in table.into_iter().enumerate() {
            let moment = now.checked_add(Duration::from_millis(at)).unwrap();
            let found = toll.charge(moment, &SessionLimits::DEFAULT, (wire_len, len)).unwrap_or_default();
            assert_eq!(found.as_micros().div_ceil(1_000), pause, "row {row}");
        }
    }

    #[test]
    fn f09_the_bucket_is_as_large_and_fills_as_fast_as_the_owner_says() {
        let limits = SessionLimits {
            free_inflation: 2,
            inflation_burst: MIB,
            inflation_per_second: 2 * MIB,
            ..SessionLimits::DEFAULT
        };
        let (mut toll, now) = (Toll::default(), start().instant);
        assert_eq!(toll.charge(now, &limits, (MIB, 3 * MIB)), None);
        assert_eq!(toll.charge(now, &limits, (MIB, 3 * MIB)), Some(Duration::from_millis(500)));
    }
}
