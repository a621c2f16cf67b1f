//! The two clocks, read once per wake by whoever drives a machine, and the one file that reads them: elsewhere clippy
//! forbids it. No timers and no sleeping: a machine names its `next_timeout`, and its driver waits.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// A moment on both clocks. Packet expirations and time forks use [`Now::unix`], everything else [`Now::instant`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The monotonic clock.
    pub instant: Instant,
    /// The wall clock: time since 1970-01-01 UTC.
    pub unix: Duration,
}

impl Now {
    /// Reads both clocks of the system. For drivers and programs; machines are handed a `Now`.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the clocks")]
    pub fn system() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { instant: Instant::now(), unix }
    }

    /// The beginning of a simulation: some moment of the monotonic clock, which only differences are taken of, and the wall
    /// clock at `unix`.
    #[expect(clippy::disallowed_methods, reason = "the file that reads the clocks")]
    pub fn simulated(unix: Duration) -> Self {
        Self { unix, ..Self::system() }
    }

    /// The wall clock in whole seconds.
    pub const fn unix_seconds(&self) -> u64 {
        self.unix.as_secs()
    }

    /// The same moment, `by` later on both clocks: how tests and simulations move time.
    pub fn later(&self, by: Duration) -> Self {
        Self {
            instant: self.instant.checked_add(by).unwrap_or(self.instant),
            unix: self.unix.saturating_add(by),
        }
    }
}
