//! So many things in a second, evenly: as many at each tick as are due by then.
//! What a stall has held back is made up for a little at a time: all at once it would be another attack, a burst that fills
//! each queue of the node. How many that were is what an attack says at its end.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// Ticks in a second.
const TICKS: u32 = 1_000;
/// What was held back is made up for by a part of the pace: a fourth.
const HASTE: u32 = 4;
/// The longest time whose share is given at once.
const PATIENCE: Duration = Duration::from_millis(5);
/// As many parts make one.
const PARTS: u64 = 1_000_000;

/// Says how many are due.
pub(super) struct Pace {
    ticks: Interval,
    begin: Instant,
    /// When the last tick was.
    last: Instant,
    given: u64,
    /// What may be given, in parts.
    parts: u64,
    rate: u32,
    seconds: u32,
}

impl Pace {
    /// `rate` in a second, for so many seconds.
    pub(super) fn new(rate: u32, seconds: u32) -> Self {
        let mut ticks = interval(Duration::from_secs(1) / TICKS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let begin = clock();
        Self { ticks, begin, last: begin, given: 0, parts: 0, rate, seconds }
    }

    /// Waits for the next tick: how many are due at it. None when all were given, or a tenth more than the time
    /// has passed: then it was another pace, and what was done is too little.
    pub(super) async fn next(&mut self) -> Option<u32> {
        self.ticks.tick().await;
        let now = clock();
        let passed = now.saturating_duration_since(self.begin);
        let step = now.saturating_duration_since(self.last).min(PATIENCE);
        self.last = now;
        let time = Duration::from_secs(self.seconds.into());
        let all = u64::from(self.rate) * u64::from(self.seconds);
        if self.given >= all || passed > time + time / 10 {
            return None;
        }
        let rate = u64::from(self.rate);
        let due = rate * passed.min(time).as_micros() as u64 / PARTS;
        let most = |time: Duration| (rate + rate / u64::from(HASTE)) * time.as_micros() as u64;
        self.parts = (self.parts + most(step)).min(most(PATIENCE).max(PARTS));
        let count = (due - self.given).min(self.parts / PARTS);
        self.parts -= count * PARTS;
        self.given += count;
        u32::try_from(count).ok()
    }
}

#[expect(clippy::disallowed_methods, reason = "what was held back is seen on the clock")]
fn clock() -> Instant {
    Instant::now()
}
