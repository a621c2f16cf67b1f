//! The turns of a row and its floor, and what they come to. Noise only ever makes a turn longer, so the best turn of each
//! is what the machine can do; by turns, so that a machine that changes its clock changes it for both.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use devp2p::identity::Now;

/// The highest ratio that may be: nothing is faster than its floor, but for what clocks blur, and for 3 % by which the same
/// floor differs from build to build, as its code and buffers happen to lie.
const MAX_RATIO: f64 = 1.05;

/// How long a row that does not hold is measured in all, in units of its usual time: noise must not decide.
const MAX_STRETCH: u32 = 4;

/// Work that is timed in turns of some milliseconds.
pub(super) trait Turns {
    /// One turn of the row: nanoseconds for one unit of its work.
    fn measured(&mut self) -> Result<f64, String>;
    /// One turn of the floor: nanoseconds for the same unit.
    fn floor(&mut self) -> f64;
}

/// How much a row is measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Effort {
    /// At least so many turns each.
    turns: u32,
    /// And at least this long.
    time: Duration,
}

impl Effort {
    /// For numbers that are written down.
    pub(super) const FULL: Self = Self { turns: 25, time: Duration::from_millis(1_500) };
    /// For a look.
    pub(super) const QUICK: Self = Self { turns: 5, time: Duration::from_millis(200) };
}

/// How a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It reaches its goal, or has none.
    Holds,
    /// It does not reach its goal.
    Misses,
    /// It is faster than can be: its floor is wrong.
    WrongFloor,
}

/// What a row came to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// Nanoseconds a unit, the best turn.
    pub(super) measured: f64,
    /// Nanoseconds a unit of the floor, the best turn.
    pub(super) floor: f64,
    pub(super) verdict: Verdict,
}

impl Measured {
    /// Floor over measured: 1 is the physical limit.
    pub(super) fn ratio(&self) -> f64 {
        self.floor / self.measured
    }

    fn judged(measured: f64, floor: f64, goal: Option<f64>) -> Self {
        let ratio = floor / measured;
        let verdict = match goal {
            _ if ratio > MAX_RATIO => Verdict::WrongFloor,
            Some(goal) if ratio < goal => Verdict::Misses,
            Some(_) | None => Verdict::Holds,
        };
        Self { measured, floor, verdict }
    }
}

/// Takes the turns of a row with this goal; None when `stop` was set before there were enough.
pub(super) fn run(
    goal: Option<f64>,
    turns: &mut dyn Turns,
    effort: Effort,
    stop: &AtomicBool,
) -> Result<Option<Measured>, String> {
    let (mut measured, mut floor) = (f64::INFINITY, f64::INFINITY);
    let begin = now();
    for turn in 1u32.. {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        measured = measured.min(turns.measured()?);
        floor = floor.min(turns.floor());
        let spent = now().saturating_duration_since(begin);
        let result = Measured::judged(measured, floor, goal);
        let enough = turn >= effort.turns && spent >= effort.time;
        if enough && (result.verdict == Verdict::Holds || spent >= effort.time * MAX_STRETCH) {
            return Ok(Some(result));
        }
    }
    Ok(None)
}

/// Nanoseconds that `work`, which is `units` units, takes for each.
pub(super) fn time_each(units: usize, work: impl FnOnce()) -> f64 {
    let begin = now();
    work();
    now().saturating_duration_since(begin).as_secs_f64() * 1e9 / units as f64
}

/// Both clocks, as a driver reads them.
#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
pub(super) fn read_clocks() -> Now {
    Now::system()
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the clock")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_judged_by_its_goal_and_by_what_can_be() {
        let verdict = |measured, floor, goal| Measured::judged(measured, floor, goal).verdict;
        assert_eq!(verdict(100.0, 80.0, Some(0.8)), Verdict::Holds);
        assert_eq!(verdict(100.0, 79.0, Some(0.8)), Verdict::Misses);
        assert_eq!(verdict(100.0, 10.0, None), Verdict::Holds);
        assert_eq!(verdict(100.0, 105.0, None), Verdict::Holds);
        assert_eq!(verdict(100.0, 106.0, None), Verdict::WrongFloor);
        assert_eq!(verdict(100.0, 106.0, Some(0.8)), Verdict::WrongFloor);
    }

    /// Turns that take what they are told to; the last number stays.
    struct Told(Vec<f64>, u32);

    impl Turns for Told {
        fn measured(&mut self) -> Result<f64, String> {
            self.1 += 1;
            Ok(if self.0.len() > 1 { self.0.remove(0) } else { self.0[0] })
        }

        fn floor(&mut self) -> f64 {
            50.0
        }
    }

    #[test]
    fn the_best_turn_counts() {
        let effort = Effort { turns: 5, time: Duration::ZERO };
        let mut turns = Told(vec![100.0, 70.0, 60.0, 90.0], 0);
        let result = run(Some(0.8), &mut turns, effort, &AtomicBool::new(false)).unwrap().unwrap();
        assert_eq!((result.measured, result.floor, result.verdict), (60.0, 50.0, Verdict::Holds));
        assert_eq!(turns.1, 5);
    }

    #[test]
    fn an_interrupted_row_has_no_result() {
        let stopped = AtomicBool::new(true);
        assert!(run(Some(0.8), &mut Told(vec![1.0], 0), Effort::QUICK, &stopped).unwrap().is_none());
    }
}
