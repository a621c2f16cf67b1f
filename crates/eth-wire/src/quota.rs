//! How fast a peer may cost us work: token buckets, shared by all peers of one network so that a new id or a new
//! connection does not refill them. Nothing here is dropped or refused; the machine waits until a bucket allows more.

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use identity::{AddressPolicy, Now, Prefix};
use rlpx::PeerId;

use crate::machine_config::{
    ANSWER_BYTES_PER_SECOND, MAX_QUOTAS_KEPT, QUOTA_KEPT, TRANSACTION_CHECKS_PER_SECOND,
};

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// A bucket of one second's worth, refilled evenly. May be overdrawn once: the next taker then waits longer.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    per_second: u64,
    /// When the bucket is full again; the further ahead, the emptier it is.
    full_at: Instant,
}

impl Bucket {
    fn new(now: Now, per_second: u64) -> Self {
        Self { per_second, full_at: now.instant }
    }

    /// Takes `amount`, whether it is there or not.
    pub(crate) fn take(&mut self, now: Now, amount: u64) {
        let nanos = u128::from(amount) * NANOS_PER_SECOND / u128::from(self.per_second.max(1));
        let time = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let base = self.full_at.max(now.instant);
        self.full_at = base.checked_add(time).unwrap_or(base);
    }

    /// None when something is left, else when something will be.
    pub(crate) fn empty_until(&self, now: Now) -> Option<Instant> {
        let until = self.full_at.checked_sub(Duration::from_secs(1))?;
        (until > now.instant).then_some(until)
    }
}

/// What peers that share a quota have left.
#[derive(Clone, Debug)]
pub(crate) struct Quota {
    /// Signature checks of transactions.
    pub(crate) checks: Bucket,
    /// Bytes of answers to requests.
    pub(crate) answers: Bucket,
    connected: usize,
    left_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum QuotaKey {
    Network(Prefix),
    Peer(PeerId),
}

/// The network that a peer's limits are counted for: its /24, or its /64 for IPv6; None when its address is not counted.
pub fn counted_network(policy: AddressPolicy, ip: IpAddr) -> Option<Prefix> {
    let ip = identity::unmapped(ip);
    let prefix = if ip.is_ipv4() { Prefix::site(ip) } else { Prefix::host(ip) };
    policy.counts(ip).then_some(prefix)
}

/// Every peer's quota: its own where addresses are not counted, else that of its network (/24, or /64 for IPv6), which
/// is kept for [`QUOTA_KEPT`] after the last of them has left. Of more than [`MAX_QUOTAS_KEPT`] the one left first goes.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    quotas: BTreeMap<QuotaKey, Quota>,
    left: VecDeque<(Instant, QuotaKey)>,
    key_of: BTreeMap<PeerId, QuotaKey>,
}

impl Quotas {
    /// A peer has connected from `network`, or from an address that is not counted.
    pub(crate) fn connected(&mut self, now: Now, peer: PeerId, network: Option<Prefix>) {
        self.forget(now);
        let key = network.map_or(QuotaKey::Peer(peer), QuotaKey::Network);
        let quota = self.quotas.entry(key).or_insert_with(|| Quota {
            checks: Bucket::new(now, TRANSACTION_CHECKS_PER_SECOND),
            answers: Bucket::new(now, ANSWER_BYTES_PER_SECOND),
            connected: 0,
            left_at: now.instant,
        });
        quota.connected = quota.connected.saturating_add(1);
        self.key_of.insert(peer, key);
    }

    /// The peer has left.
    pub(crate) fn disconnected(&mut self, now: Now, peer: PeerId) {
        let Some(key) = self.key_of.remove(&peer) else { return };
        let Some(quota) = self.quotas.get_mut(&key) else { return };
        quota.connected = quota.connected.saturating_sub(1);
        quota.left_at = now.instant;
        match key {
            QuotaKey::Peer(_) => _ = self.quotas.remove(&key),
            QuotaKey::Network(_) if quota.connected == 0 => self.left.push_back((now.instant, key)),
            QuotaKey::Network(_) => {}
        }
        self.forget(now);
    }

    /// Forgets what nobody has used for long. A network that is back in use is passed over.
    fn forget(&mut self, now: Now) {
        while let Some((left_at, key)) = self.left.front().copied() {
            let old = now.instant.saturating_duration_since(left_at) > QUOTA_KEPT;
            if !old && self.left.len() <= MAX_QUOTAS_KEPT {
                return;
            }
            self.left.pop_front();
            let unused = |quota: &Quota| quota.connected == 0 && quota.left_at == left_at;
            if self.quotas.get(&key).is_some_and(unused) {
                self.quotas.remove(&key);
            }
        }
    }

    /// The quota of `peer`.
    pub(crate) fn of(&self, peer: PeerId) -> Option<&Quota> {
        self.quotas.get(self.key_of.get(&peer)?)
    }

    /// The quota of `peer`.
    pub(crate) fn of_mut(&mut self, peer: PeerId) -> Option<&mut Quota> {
        self.quotas.get_mut(self.key_of.get(&peer)?)
    }

    /// How many quotas are held.
    pub(crate) fn len(&self) -> usize {
        self.quotas.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::start;

    const SECOND: Duration = Duration::from_secs(1);

    fn network(last: u8) -> Option<Prefix> {
        Some(Prefix::site([198, 18, last, 1].into()))
    }

    #[test]
    fn g08_a_bucket_gives_its_rate_and_one_second_in_advance() {
        let now = start();
        let mut bucket = Bucket::new(now, 2_000);
        let mut taken = 0;
        for millis in 0..10_000 {
            let now = now.later(Duration::from_millis(millis));
            while bucket.empty_until(now).is_none() {
                bucket.take(now, 1);
                taken += 1;
            }
        }
        assert!((21_990..=22_010).contains(&taken), "{taken}");
    }

    #[test]
    fn an_overdrawn_bucket_says_when_it_gives_again() {
        let now = start();
        let mut bucket = Bucket::new(now, 100);
        bucket.take(now, 350);
        assert_eq!(bucket.empty_until(now), now.instant.checked_add(SECOND * 5 / 2));
        assert_eq!(bucket.empty_until(now.later(SECOND * 5 / 2)), None);
        bucket.take(now, u64::MAX);
        assert!(bucket.empty_until(now).is_some());
    }

    #[test]
    fn g15_a_new_id_from_the_same_network_finds_the_quota_spent() {
        let (now, mut quotas) = (start(), Quotas::default());
        quotas.connected(now, PeerId(1), network(1));
        quotas.of_mut(PeerId(1)).unwrap().checks.take(now, TRANSACTION_CHECKS_PER_SECOND * 600);
        quotas.disconnected(now, PeerId(1));
        let later = now.later(Duration::from_secs(590));
        quotas.connected(later, PeerId(2), network(1));
        assert!(quotas.of(PeerId(2)).unwrap().checks.empty_until(later).is_some());
        quotas.connected(later, PeerId(3), network(2));
        assert!(quotas.of(PeerId(3)).unwrap().checks.empty_until(later).is_none());
    }

    #[test]
    fn g15_quotas_are_kept_ten_minutes_and_bounded() {
        let (now, mut quotas) = (start(), Quotas::default());
        for number in 0..100_000u32 {
            let ip = std::net::Ipv4Addr::from_bits(0x0100_0000 + number * 256);
            quotas.connected(now, PeerId(1), Some(Prefix::site(ip.into())));
            quotas.disconnected(now, PeerId(1));
        }
        assert_eq!(quotas.len(), MAX_QUOTAS_KEPT);
        let later = now.later(QUOTA_KEPT + SECOND);
        quotas.connected(later, PeerId(2), None);
        quotas.disconnected(later, PeerId(2));
        assert!(quotas.len() == 0 && quotas.key_of.is_empty());
    }
}
