//! When a full server lets one peer go so that another may come, and which. go-ethereum's dropper (`eth/dropper.go`)
//! with its intervals. Who may go at all is `server`'s; praise and demerits are `standing`'s.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::{peer::PeerId, server_config::RotationTimes};

/// Told apart from the other users of a server's seed.
const SEED_OF_ROTATION: u64 = u64::from_be_bytes(*b"rotation");

/// The clock of rotation: it runs from the moment the server is full until a peer has gone or there is room.
#[derive(Debug)]
pub(crate) struct Rotation {
    due: Option<Instant>,
    rng: ChaCha8Rng,
}

impl Rotation {
    pub(crate) fn new(seed: u64) -> Self {
        Self { due: None, rng: ChaCha8Rng::seed_from_u64(seed ^ SEED_OF_ROTATION) }
    }

    /// When the interval under way ends.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The server is full: begins an interval unless one is under way.
    pub(crate) fn begin(&mut self, now: Instant, times: &RotationTimes) {
        if self.due.is_none() {
            let interval = self.draw(times.min_interval, times.max_interval);
            self.due = now.checked_add(interval);
        }
    }

    fn draw(&mut self, min: Duration, max: Duration) -> Duration {
        min.saturating_add(max.saturating_sub(min).mul_f64(self.rng.random_range(0.0..=1.0)))
    }

    /// Whether the interval has ended; then none is under way.
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// One of those with the most demerits, by chance.
    pub(crate) fn choose(&mut self, candidates: &[(u32, PeerId)]) -> Option<PeerId> {
        let most = candidates.iter().map(|(demerits, _)| *demerits).max()?;
        let worst: Vec<PeerId> =
            candidates.iter().filter(|(demerits, _)| *demerits == most).map(|(_, id)| *id).collect();
        worst.get(self.rng.random_range(0..worst.len())).copied()
    }
}
