//! The limits on bytes per second as connections keep them: each direction of a server has a bucket that its peers share
//! (`rate.rs`), each peer one of its own. A [`Gate`] says when a connection may read or send on; it reads no clock.
//! What is held up meanwhile, and that it is not held against the peer, is `peer_task.rs` and `session/flow.rs`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use crate::{rate::Bucket, server_config::RateLimits};

/// One in so many parts of a second's bytes is read at a time, so that turns of many peers are short.
const TURNS_PER_SECOND: u64 = 100;
/// The least that is read at a time, in bytes.
const MIN_QUANTUM: u64 = 1_024;
/// The most that is read at a time, in bytes: what one read takes.
const MAX_QUANTUM: u64 = crate::config::MAX_READ_CHUNK as u64;

/// The limits of one server.
#[derive(Debug)]
pub(super) struct Throttle {
    upload: Rate,
    download: Rate,
}

/// The limits of one direction.
#[derive(Clone, Debug, Default)]
struct Rate {
    all: Option<(u64, Arc<Mutex<Bucket>>)>,
    each: Option<u64>,
}

impl Throttle {
    pub(super) fn new(limits: &RateLimits) -> Self {
        let rate = |all: Option<u64>, each| Rate {
            all: all.map(|rate| (rate, Arc::new(Mutex::new(Bucket::new(rate))))),
            each,
        };
        Self {
            upload: rate(limits.upload, limits.peer_upload),
            download: rate(limits.download, limits.peer_download),
        }
    }

    /// A peer's gates, for what it is sent and what is read from it; None where there is no limit.
    pub(super) fn gates(&self) -> (Option<Gate>, Option<Gate>) {
        (self.upload.gate(), self.download.gate())
    }
}

impl Rate {
    fn gate(&self) -> Option<Gate> {
        let rates = self.all.as_ref().map(|(rate, _)| *rate).into_iter().chain(self.each);
        let rate = rates.min()?;
        let quantum = (rate / TURNS_PER_SECOND).clamp(MIN_QUANTUM, MAX_QUANTUM);
        Some(Gate {
            all: self.all.as_ref().map(|(_, bucket)| Arc::clone(bucket)),
            own: self.each.map(Bucket::new),
            quantum: usize::try_from(quantum).unwrap_or(usize::MAX),
            opens_at: None,
        })
    }
}

/// One direction of one peer.
#[derive(Debug)]
pub(super) struct Gate {
    all: Option<Arc<Mutex<Bucket>>>,
    own: Option<Bucket>,
    quantum: usize,
    /// What was reserved may be used from then on.
    opens_at: Option<Instant>,
}

impl Gate {
    /// How much is read at a time, in bytes.
    pub(super) const fn quantum(&self) -> usize {
        self.quantum
    }

    /// Takes `len` bytes out of the buckets; from when on they may be used.
    fn reserve(&mut self, now: Instant, len: usize) -> Instant {
        let shared = self.all.as_ref().map(|bucket| {
            // Nothing under the lock can panic.
            bucket.lock().unwrap_or_else(PoisonError::into_inner).reserve(now, len)
        });
        let own = self.own.as_mut().map(|bucket| bucket.reserve(now, len));
        shared.into_iter().chain(own).max().unwrap_or(now)
    }

    /// Whether `len` bytes may go now. If not, they are reserved, and may go when [`Gate::opens_at`] has come: they are to
    /// be asked for again then, with the same `len`.
    pub(super) fn pass(&mut self, now: Instant, len: usize) -> bool {
        let opens_at = match self.opens_at {
            Some(opens_at) => opens_at,
            None => self.reserve(now, len),
        };
        let is_open = opens_at <= now;
        self.opens_at = (!is_open).then_some(opens_at);
        is_open
    }

    /// Lets `len` bytes go whatever the limit; those after them wait for it.
    pub(super) fn force(&mut self, now: Instant, len: usize) {
        if self.opens_at.take().is_none() {
            self.reserve(now, len);
        }
    }

    /// When what was reserved may go, if something waits.
    pub(super) const fn opens_at(&self) -> Option<Instant> {
        self.opens_at
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const KIB: u64 = 1_024;

    fn start() -> Instant {
        identity::Now::simulated(Duration::from_secs(1_800_000_000)).instant
    }

    /// What each gate lets go in `seconds` of virtual time when it always has something to send.
    fn play(mut gates: Vec<Gate>, len: usize, seconds: u64) -> Vec<u64> {
        let mut taken = vec![0; gates.len()];
        for milli in 0..seconds * 1_000 {
            let now = start().checked_add(Duration::from_millis(milli)).unwrap();
            for (gate, taken) in gates.iter_mut().zip(&mut taken) {
                while gate.pass(now, len) {
                    *taken += len as u64;
                }
            }
        }
        taken
    }

    #[test]
    fn peers_share_the_nodes_rate_evenly_and_none_passes_its_own() {
        let limits =
            RateLimits { upload: Some(100 * KIB), peer_upload: Some(40 * KIB), ..Default::default() };
        let throttle = Throttle::new(&limits);
        let gate = || throttle.gates().0.unwrap();
        let alone = play(vec![gate()], 1_000, 10);
        assert!((40 * KIB * 10..=40 * KIB * 11 + 1_000).contains(&alone[0]), "{alone:?}");

        let throttle = Throttle::new(&limits);
        let shares = play((0..5).map(|_| throttle.gates().0.unwrap()).collect(), 1_000, 20);
        let all: u64 = shares.iter().sum();
        assert!((100 * KIB * 19..=100 * KIB * 21 + 5_000).contains(&all), "{all}");
        let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
        // The first ones had the burst.
        assert!(most - least <= 100 * KIB, "{shares:?}");
    }

    #[test]
    fn what_is_longer_than_the_bucket_goes_and_what_follows_pays() {
        let throttle = Throttle::new(&RateLimits { peer_upload: Some(100 * KIB), ..Default::default() });
        let mut gate = throttle.gates().0.unwrap();
        let now = start();
        assert!(gate.pass(now, 10 << 20));
        assert!(!gate.pass(now, 1) && !gate.pass(now, 1));
        let opens_at = gate.opens_at().unwrap();
        // 10 MiB at 100 KiB/s, less the burst.
        assert_eq!((opens_at - now).as_millis(), 101_400);
        assert!(gate.pass(opens_at, 1) && gate.opens_at().is_none());
        gate.force(opens_at, 1 << 20);
        assert!(!gate.pass(opens_at, 1));
    }

    #[test]
    fn without_a_limit_there_is_no_gate() {
        let (upload, download) = Throttle::new(&RateLimits::default()).gates();
        assert!(upload.is_none() && download.is_none());
        let download_only = Throttle::new(&RateLimits { download: Some(u64::MAX), ..Default::default() });
        let (upload, download) = download_only.gates();
        assert_eq!((upload.is_none(), download.unwrap().quantum()), (true, MAX_QUANTUM as usize));
    }
}
