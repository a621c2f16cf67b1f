//! How long it is to a peer and back, smoothed over the Pongs that answer our Pings: RFC 6298, section 2, with its gains
//! of 1/8 and 1/4. It only measures: no deadline depends on it, for whoever answers late on purpose would set it.

use std::time::Duration;

/// A mean moves by one in so many parts towards a new sample (RFC 6298: alpha 1/8).
const MEAN_PARTS: u32 = 8;

/// A variation moves by one in so many parts (RFC 6298: beta 1/4).
const VARIATION_PARTS: u32 = 4;

/// Round trips to a peer and back, our queue to it included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtt {
    /// The last one.
    pub latest: Duration,
    /// Their moving mean (RFC 6298: SRTT).
    pub smoothed: Duration,
    /// The moving mean of how far they are from it (RFC 6298: RTTVAR).
    pub variation: Duration,
}

impl Rtt {
    /// After the first sample.
    pub(crate) fn new(sample: Duration) -> Self {
        Self { latest: sample, smoothed: sample, variation: sample / 2 }
    }

    /// After one more sample.
    pub(crate) fn add(&mut self, sample: Duration) {
        let deviation = self.smoothed.abs_diff(sample);
        self.variation = moved(self.variation, deviation, VARIATION_PARTS);
        self.smoothed = moved(self.smoothed, sample, MEAN_PARTS);
        self.latest = sample;
    }
}

fn moved(mean: Duration, sample: Duration, parts: u32) -> Duration {
    mean.saturating_sub(mean / parts).saturating_add(sample / parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn millis(count: u64) -> Duration {
        Duration::from_millis(count)
    }

    #[test]
    fn round_trips_are_smoothed_as_rfc_6298_has_it() {
        let mut rtt = Rtt::new(millis(80));
        assert_eq!(rtt, Rtt { latest: millis(80), smoothed: millis(80), variation: millis(40) });
        // 3/4 of 40 and 1/4 of |80 - 160|; 7/8 of 80 and 1/8 of 160.
        rtt.add(millis(160));
        assert_eq!(rtt, Rtt { latest: millis(160), smoothed: millis(90), variation: millis(50) });
        rtt.add(millis(10));
        let variation = Duration::from_micros(57_500);
        assert_eq!(rtt, Rtt { latest: millis(10), smoothed: millis(80), variation });
    }

    #[test]
    fn samples_that_stay_the_same_are_the_mean_in_the_end() {
        let mut rtt = Rtt::new(Duration::from_secs(30));
        (0..200).for_each(|_| rtt.add(millis(40)));
        assert!(rtt.smoothed.abs_diff(millis(40)) < millis(1) && rtt.variation < millis(1));
        rtt.add(Duration::MAX);
        assert!(rtt.smoothed > millis(40));
    }
}
