//! How much strangers may cost: token buckets by host, by network and for all, in tables of a fixed size.
//! Limits by address leave out loopback and the local network ([`AddressPolicy`]); the global one holds for everybody.
//! It only says yes or no: what is dropped, and as what it is counted, is `discovery`'s.

use std::{
    hash::{Hash, Hasher},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use identity::{AddressPolicy, Prefix};
use siphasher::sip::SipHasher13;

use crate::{Reject, config};

/// So many tokens at once, and one more every so often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) burst: u32,
    pub(crate) refill: Duration,
}

/// Requests of one host (IPv4 address, /64 of IPv6): 20 a second, 60 at once.
const HOST: Rate = Rate { burst: 60, refill: Duration::from_millis(50) };
/// Requests of one network (/24, or /48 of IPv6): 100 a second.
const SITE: Rate = Rate { burst: 100, refill: Duration::from_millis(10) };
/// FindNodes and EnrRequests of one proven endpoint: 10 a second.
pub(crate) const ENDPOINT: Rate = Rate { burst: 10, refill: Duration::from_millis(100) };
/// Pings back to one endpoint.
const PING_BACK: Rate = Rate { burst: 1, refill: config::PING_BACK_INTERVAL };
/// Pings to one host because others named it: 2 in 10 s.
const TOLD_HOST: Rate = Rate { burst: 2, refill: Duration::from_secs(5) };
/// Pings to one network because others named it: 10 a minute.
const TOLD_SITE: Rate = Rate { burst: 10, refill: Duration::from_secs(6) };

/// Slots by host and by endpoint; 24 bytes each. Whoever falls on the same slot takes it over.
const HOST_SLOTS: usize = 4096;
/// Slots by network.
const SITE_SLOTS: usize = 1024;
/// Slots of each kind while few are taken: a quarter are, then there are twice as many.
const FIRST_SLOTS: usize = 64;

/// Requests of all whose signature is recovered: an eighth of a second's worth at once.
fn global(per_second: u32) -> Rate {
    Rate { burst: (per_second / 8).max(1), refill: Duration::from_secs(1) / per_second.max(1) }
}

/// A token bucket, kept as the moment at which it will be full again.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TokenBucket {
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// Takes a token, if there is one.
    pub(crate) fn take(&mut self, now: Instant, rate: Rate) -> bool {
        let debt = self.full_at.map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now));
        let after = debt.saturating_add(rate.refill);
        if after > rate.refill.saturating_mul(rate.burst) {
            return false;
        }
        self.full_at = now.checked_add(after);
        true
    }
}

/// Token buckets by a key, in a table that grows to a fixed size. A key that falls on another's slot takes it over, full:
/// whoever wants the limits forgotten has to guess a keyed hash.
#[derive(Clone, Debug)]
struct Slots {
    /// Each with the hash of who has it; 0 is nobody.
    slots: Vec<(u64, TokenBucket)>,
    taken: usize,
    max: usize,
    rate: Rate,
    key: (u64, u64),
}

impl Slots {
    fn new(max: usize, rate: Rate, key: (u64, u64)) -> Self {
        Self { slots: vec![(0, TokenBucket::default()); max.min(FIRST_SLOTS)], taken: 0, max, rate, key }
    }

    fn take(&mut self, now: Instant, key: impl Hash) -> bool {
        let hash = keyed_hash(self.key, key);
        if self.taken > self.slots.len() / 4 && self.slots.len() < self.max {
            self.grow();
        }
        self.slot(hash).is_some_and(|(bucket, rate)| bucket.take(now, rate))
    }

    /// The slot of a key, which it takes over if need be.
    fn slot(&mut self, hash: u64) -> Option<(&mut TokenBucket, Rate)> {
        let index = usize::try_from(hash.checked_rem(self.slots.len() as u64)?).ok()?;
        let (tag, bucket) = self.slots.get_mut(index)?;
        if *tag != hash {
            self.taken = self.taken.saturating_add(usize::from(*tag == 0));
            (*tag, *bucket) = (hash, TokenBucket::default());
        }
        Some((bucket, self.rate))
    }

    fn grow(&mut self) {
        let count = self.slots.len().saturating_mul(2).min(self.max);
        let old = std::mem::replace(&mut self.slots, vec![(0, TokenBucket::default()); count]);
        self.taken = 0;
        for (hash, known) in old.into_iter().filter(|(hash, _)| *hash != 0) {
            if let Some((bucket, _)) = self.slot(hash) {
                *bucket = known;
            }
        }
    }
}

/// SipHash-1-3 with a key that nobody outside knows.
pub(crate) fn keyed_hash(key: (u64, u64), value: impl Hash) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(key.0, key.1);
    value.hash(&mut hasher);
    hasher.finish()
}

/// All limits that count by address, and the global one. At most 336 KiB.
#[derive(Clone, Debug)]
pub(crate) struct Limiter {
    policy: AddressPolicy,
    hosts: Slots,
    sites: Slots,
    ping_backs: Slots,
    told_hosts: Slots,
    told_sites: Slots,
    global: (TokenBucket, Rate),
}

impl Limiter {
    /// `recoveries` is how many requests of all a second are recovered; `key` nobody outside knows.
    pub(crate) fn new(policy: AddressPolicy, recoveries: u32, key: (u64, u64)) -> Self {
        Self {
            policy,
            hosts: Slots::new(HOST_SLOTS, HOST, key),
            sites: Slots::new(SITE_SLOTS, SITE, key),
            ping_backs: Slots::new(HOST_SLOTS, PING_BACK, key),
            told_hosts: Slots::new(HOST_SLOTS, TOLD_HOST, key),
            told_sites: Slots::new(SITE_SLOTS, TOLD_SITE, key),
            global: (TokenBucket::default(), global(recoveries)),
        }
    }

    /// Whether a request from `ip` is looked at.
    pub(crate) fn request(&mut self, now: Instant, ip: IpAddr) -> Result<(), Reject> {
        if !self.policy.counts(ip) {
            return Ok(());
        }
        if !self.hosts.take(now, Prefix::host(ip)) {
            return Err(Reject::HostRate);
        }
        if self.sites.take(now, Prefix::site(ip)) { Ok(()) } else { Err(Reject::SiteRate) }
    }

    /// Whether the signature of a request is recovered.
    pub(crate) fn recover(&mut self, now: Instant) -> Result<(), Reject> {
        let (bucket, rate) = &mut self.global;
        if bucket.take(now, *rate) { Ok(()) } else { Err(Reject::GlobalRate) }
    }

    /// Whether `to` is pinged because somebody there, or somebody who pretends to be, pinged us.
    pub(crate) fn ping_back(&mut self, now: Instant, to: SocketAddr) -> Result<(), Reject> {
        if self.ping_backs.take(now, to) { Ok(()) } else { Err(Reject::PingBackRate) }
    }

    /// Whether `ip` is pinged because others named it.
    pub(crate) fn told(&mut self, now: Instant, ip: IpAddr) -> Result<(), Reject> {
        let allowed = !self.policy.counts(ip)
            || (self.told_hosts.take(now, Prefix::host(ip)) && self.told_sites.take(now, Prefix::site(ip)));
        if allowed { Ok(()) } else { Err(Reject::ToldRate) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::start;

    fn limiter(loopback_is_public: bool) -> Limiter {
        Limiter::new(AddressPolicy { loopback_is_public }, config::MAX_RECOVERIES_PER_SECOND, (1, 2))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn u22_a_host_gets_sixty_at_once_and_twenty_a_second() {
        let (mut limiter, now) = (limiter(false), start());
        let passed = (0..1000).filter(|_| limiter.request(now.instant, ip("8.8.8.8")).is_ok()).count();
        assert_eq!(passed, 60);
        let later = now.later(Duration::from_secs(1)).instant;
        let passed = (0..1000).filter(|_| limiter.request(later, ip("8.8.8.8")).is_ok()).count();
        assert_eq!(passed, 20);
        assert_eq!(limiter.request(later, ip("8.8.8.8")), Err(Reject::HostRate));
        assert_eq!(limiter.request(later, ip("9.9.9.9")), Ok(()));
    }

    #[test]
    fn u22_a_network_gets_a_hundred_and_all_get_eight_thousand_a_second() {
        let (mut limiter, now) = (limiter(true), start());
        let hosts: Vec<IpAddr> = (0..200).map(|host| ip(&format!("127.1.1.{host}"))).collect();
        let passed = hosts.iter().filter(|host| limiter.request(now.instant, **host).is_ok()).count();
        assert_eq!(passed, 100);
        let mut passed = 0;
        for tick in 0..1000 {
            let at = now.later(Duration::from_millis(tick)).instant;
            passed += (0..20).filter(|_| limiter.recover(at).is_ok()).count();
        }
        assert!((8_000..=9_000).contains(&passed), "{passed}");
    }

    #[test]
    fn u19_named_hosts_and_networks_are_pinged_rarely() {
        let (mut limiter, now) = (limiter(false), start());
        let victim = (0..50).filter(|_| limiter.told(now.instant, ip("8.8.8.8")).is_ok()).count();
        assert_eq!(victim, 2);
        let site =
            (0..50).filter(|host| limiter.told(now.instant, ip(&format!("9.9.9.{host}"))).is_ok()).count();
        assert_eq!(site, 10);
    }

    #[test]
    fn u01_an_endpoint_is_pinged_back_once_in_ten_seconds() {
        let (mut limiter, now) = (limiter(false), start());
        let to: SocketAddr = "127.0.0.1:7".parse().unwrap();
        assert!(limiter.ping_back(now.instant, to).is_ok());
        assert!(limiter.ping_back(now.later(Duration::from_millis(9_999)).instant, to).is_err());
        assert!(limiter.ping_back(now.later(Duration::from_secs(10)).instant, to).is_ok());
    }

    #[test]
    fn u24_limits_keep_their_size_and_local_addresses_are_exempt() {
        let (mut limiter, now) = (limiter(false), start());
        let size = |limiter: &Limiter| {
            [&limiter.hosts, &limiter.sites, &limiter.ping_backs, &limiter.told_hosts, &limiter.told_sites]
                .map(|slots| slots.slots.capacity())
        };
        for number in 0..100_000u32 {
            let _ = limiter.request(now.instant, IpAddr::from((number + (8 << 24)).to_be_bytes()));
        }
        let after = size(&limiter);
        assert_eq!(after[..2], [HOST_SLOTS, SITE_SLOTS]);
        let entries: usize = after.iter().sum();
        assert!(entries <= 65_536 && entries * size_of::<(u64, TokenBucket)>() <= 4 << 20);
        for local in ["127.0.0.1", "10.0.0.1", "::1", "fe80::1"] {
            assert!((0..1000).all(|_| limiter.request(now.instant, ip(local)).is_ok()));
        }
    }
}
