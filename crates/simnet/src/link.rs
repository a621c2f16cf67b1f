//! What one way between two hosts does to a packet: delay, loss, duplication, reordering, bandwidth.
//! When a packet arrives is decided here, from the network's own randomness; where it goes is `net`'s.

use std::{ops::Range, time::Duration};

use rand::{RngExt, rngs::ChaCha8Rng};

/// One way from one host to another. Probabilities are from 0 to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// How long a packet is under way. Default: 5 to 40 ms.
    pub delay: Range<Duration>,
    /// How likely a packet is lost; a stream sends it again. Default: 0.
    pub loss: f64,
    /// How likely a datagram comes twice. Default: 0.
    pub duplication: f64,
    /// How likely a datagram may overtake or be overtaken; all others come in order. Default: 0.
    pub reordering: f64,
    /// What the sending host puts out, in bytes a second. Default: no limit.
    pub bandwidth: Option<u64>,
}

impl Default for Link {
    fn default() -> Self {
        let delay = Duration::from_millis(5)..Duration::from_millis(40);
        Self { delay, loss: 0.0, duplication: 0.0, reordering: 0.0, bandwidth: None }
    }
}

impl Link {
    /// Draws how long a packet is under way.
    pub(crate) fn draw_delay(&self, rng: &mut ChaCha8Rng) -> Duration {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let (least, most) = (nanos(self.delay.start), nanos(self.delay.end));
        Duration::from_nanos(if least < most { rng.random_range(least..most) } else { least })
    }

    /// How long `len` bytes keep the sender's line busy.
    pub(crate) fn busy_for(&self, len: usize) -> Duration {
        let Some(bandwidth) = self.bandwidth.filter(|bytes| *bytes > 0) else { return Duration::ZERO };
        Duration::from_nanos((len as u64).saturating_mul(1_000_000_000) / bandwidth)
    }
}

/// Whether something of this probability happens. Draws nothing for what never or always does.
pub(crate) fn happens(rng: &mut ChaCha8Rng, probability: f64) -> bool {
    probability > 0.0 && (probability >= 1.0 || rng.random_bool(probability))
}
