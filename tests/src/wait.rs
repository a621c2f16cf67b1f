//! Waiting for something another process does: looked for again and again until a deadline, never for a fixed time.
//! The one place of this package that reads a clock.

use std::{thread, time::Duration};

use identity::Now;

use crate::{Failure, Result};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(20);

/// The moment at which waiting ends.
#[derive(Clone, Copy, Debug)]
pub struct Deadline {
    start: Now,
    limit: Duration,
}

impl Deadline {
    /// `limit` from now.
    pub fn after(limit: Duration) -> Self {
        Self { start: now(), limit }
    }

    /// The time left; zero when it has passed.
    pub fn left(&self) -> Duration {
        self.limit.saturating_sub(now().instant.saturating_duration_since(self.start.instant))
    }

    /// Whether it has passed.
    pub fn passed(&self) -> bool {
        self.left().is_zero()
    }
}

/// Calls `probe` until it finds something.
///
/// # Errors
/// The probe's failure at once; after `limit` one that names `what` was waited for.
pub fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Deadline::after(limit);
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if deadline.passed() {
            return Err(Failure::new(format!("waited {} s for {what}", limit.as_secs_f32())));
        }
        thread::park_timeout(PAUSE);
    }
}

/// Both clocks.
#[expect(clippy::disallowed_methods, reason = "launchers of processes live in real time")]
pub(crate) fn now() -> Now {
    Now::system()
}
