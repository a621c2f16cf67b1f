//! When this program gives back memory that it no longer needs: a process that serves peers has had long messages, and
//! somebody else may want their room.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

pub(crate) use devp2p::return_free_memory;

/// Often enough that a burst is forgotten within ten seconds: by then sessions have fallen silent (4 s) and the pool has been
/// trimmed twice (2 s).
const RETURN_INTERVAL: Duration = Duration::from_secs(2);

/// Ticks when [`return_free_memory`] is to be called.
pub(crate) fn return_times() -> Interval {
    let mut times = interval(RETURN_INTERVAL);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    times
}
