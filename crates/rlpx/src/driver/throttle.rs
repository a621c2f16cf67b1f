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
/// The most that is taken out of the buckets at a time, in bytes: for a longer message several times, between which other
/// peers have their turns. As much as is read at a time.
const MAX_PART: usize = crate::config::MAX_READ_CHUNK;

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
            reserved: 0,
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
    /// Bytes that were reserved of what waits to pass.
    reserved: usize,
    /// What was reserved last may be used from then on.
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

    /// Whether `len` bytes may go now. If not, they are reserved part by part, so that one long message does not make all
    /// other peers wait for its whole length: they are to be asked for again when [`Gate::opens_at`] has come, with the same
    /// `len`, until they may go.
    pub(super) fn pass(&mut self, now: Instant, len: usize) -> bool {
        loop {
            let opens_at = self.opens_at.unwrap_or_else(|| {
                let part = len.saturating_sub(self.reserved).min(MAX_PART);
                self.reserved = self.reserved.saturating_add(part);
                self.reserve(now, part)
            });
            if opens_at > now {
                self.opens_at = Some(opens_at);
                return false;
            }
            self.opens_at = None;
            if self.reserved >= len {
                self.reserved = 0;
                return true;
            }
        }
    }

    /// Lets `len` bytes go whatever the limit; those after them wait for it.
    pub(super) fn force(&mut self, now: Instant, len: usize) {
        self.opens_at = None;
        let missing = len.saturating_sub(std::mem::take(&mut self.reserved));
        if missing > 0 {
            self.reserve(now, missing);
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

    /// When `len` bytes may go that are asked for at `now`, and how often they were asked for.
    fn passes_at(gate: &mut Gate, mut now: Instant, len: usize) -> (Instant, usize) {
        for turns in 1.. {
            if gate.pass(now, len) {
                return (now, turns);
            }
            assert!(!gate.pass(now, len), "asking again changes nothing");
            now = gate.opens_at().unwrap();
        }
        unreachable!("a number without end")
    }

    #[test]
    fn what_is_longer_than_the_bucket_goes_when_it_is_paid_for_and_costs_what_follows_nothing_more() {
        let throttle = Throttle::new(&RateLimits { peer_upload: Some(100 * KIB), ..Default::default() });
        let mut gate = throttle.gates().0.unwrap();
        let now = start();
        let (gone_at, turns) = passes_at(&mut gate, now, 10 << 20);
        // 10 MiB at 100 KiB/s, less the burst and the last part, which the next one waits for.
        assert_eq!(((gone_at - now).as_millis(), turns), (100_760, 159));
        let (next_at, _) = passes_at(&mut gate, gone_at, 1);
        assert_eq!((next_at - gone_at).as_millis(), 640);
        // What is forced goes at once, and in one piece.
        gate.force(next_at, 1 << 20);
        assert!(gate.opens_at().is_none());
        let (last_at, _) = passes_at(&mut gate, next_at, 1);
        assert_eq!((last_at - next_at).as_millis(), 10_240);
        // Of what had been reserved in part, the rest is taken.
        assert!(!gate.pass(last_at, 1 << 20));
        gate.force(last_at, 1 << 20);
        let (after, _) = passes_at(&mut gate, last_at, 1);
        assert_eq!((after - last_at).as_millis(), 10_240);
    }

    #[test]
    fn while_one_peer_is_sent_a_long_message_the_others_have_their_turns() {
        let limits = RateLimits { upload: Some(100 * KIB), ..Default::default() };
        let throttle = Throttle::new(&limits);
        let [mut long, mut other, mut third] = [(); 3].map(|()| throttle.gates().0.unwrap());
        let at = |milli: u64| start().checked_add(Duration::from_millis(milli)).unwrap();
        // The long one is 16 MiB: 164 s at the full rate.
        let len = 16 << 20;
        let (mut gone_at, mut longest_wait, mut taken) = (None, 0, 0);
        let mut asked_at = [0, 0];
        let mut milli = 0;
        while gone_at.is_none() {
            gone_at = long.pass(at(milli), len).then_some(milli);
            for (gate, asked_at) in [&mut other, &mut third].into_iter().zip(&mut asked_at) {
                // A thousand bytes each as soon as they may, and then again.
                while gate.pass(at(milli), 1_000) {
                    longest_wait = longest_wait.max(milli - *asked_at);
                    taken += 1_000;
                    *asked_at = milli;
                }
            }
            milli += 1;
        }
        // Two parts of the long one, the one that goes and the next.
        assert!(longest_wait <= 1_300, "{longest_wait} ms");
        let gone_at = gone_at.unwrap();
        let most = 100 * KIB * (gone_at / 1_000 + 2);
        assert!(taken + len as u64 <= most, "{taken} and {len} in {gone_at} ms");
        // It has most of the rate, for its turns are long, and is not put off by the others.
        assert!(gone_at <= 180_000, "{gone_at} ms");
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
