//! So many things in a second, evenly: as many at each tick as are due by then.
//! How many that were is what an attack says at its end.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// Ticks in a second.
const TICKS: u32 = 1_000;

/// Says how many are due.
pub(super) struct Pace {
    ticks: Interval,
    ticked: u32,
    last: u32,
    rate: u32,
}

impl Pace {
    /// `rate` in a second, for so many seconds.
    pub(super) fn new(rate: u32, seconds: u32) -> Self {
        let mut ticks = interval(Duration::from_secs(1) / TICKS);
        // What a busy machine has missed is made up for.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        Self { ticks, ticked: 0, last: seconds * TICKS, rate }
    }

    /// Waits for the next tick: how many are due at it. None when the time is over.
    pub(super) async fn next(&mut self) -> Option<u32> {
        if self.ticked >= self.last {
            return None;
        }
        self.ticks.tick().await;
        let due = |ticks: u32| u64::from(ticks) * u64::from(self.rate) / u64::from(TICKS);
        let count = due(self.ticked + 1) - due(self.ticked);
        self.ticked += 1;
        u32::try_from(count).ok()
    }
}
