//! How a peer has served, and when it was last said of it: each of praise and blame at most once in a while.
//! What earns which is `eth/verdicts.rs`.

use std::time::Instant;

use identity::Now;

use crate::machine_config::VERDICT_INTERVAL;

/// How a peer has served.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conduct {
    /// Answers in a row that were empty or did not come.
    pub(crate) strikes: u32,
    praised_at: Option<Instant>,
    blamed_at: Option<Instant>,
}

impl Conduct {
    /// Whether it is time to say good of it; then it is said.
    pub(crate) fn may_praise(&mut self, now: Now) -> bool {
        is_due(&mut self.praised_at, now)
    }

    /// Whether it is time to say bad of it; then it is said.
    pub(crate) fn may_blame(&mut self, now: Now) -> bool {
        is_due(&mut self.blamed_at, now)
    }
}

fn is_due(said_at: &mut Option<Instant>, now: Now) -> bool {
    let since = said_at.map(|at| now.instant.saturating_duration_since(at));
    let due = since.is_none_or(|since| since >= VERDICT_INTERVAL);
    if due {
        *said_at = Some(now.instant);
    }
    due
}
