//! How many nodes of one network a bucket, or the table, holds: nobody is many for having many addresses.
//! Loopback and the local network are not counted.

use std::{collections::BTreeMap, net::IpAddr};

use identity::{AddressPolicy, Prefix, unmapped};

/// The two groups that a node's address counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Networks {
    /// In its bucket: /24 of IPv4, /64 of IPv6.
    pub(super) bucket: Prefix,
    /// In the table: /24 of IPv4, /48 of IPv6.
    pub(super) table: Prefix,
}

impl Networks {
    /// None when `ip` is not counted.
    pub(super) fn of(policy: AddressPolicy, ip: IpAddr) -> Option<Self> {
        let table = Prefix::site(ip);
        let bucket = if holds_ipv4(ip) { table } else { Prefix::host(ip) };
        policy.counts(ip).then_some(Self { bucket, table })
    }
}

/// Whether the address is IPv4, or IPv6 with the IPv4 address inside that [`Prefix`] goes by (6to4, NAT64).
fn holds_ipv4(ip: IpAddr) -> bool {
    match unmapped(ip) {
        IpAddr::V4(_) => true,
        IpAddr::V6(ip) => matches!(ip.segments(), [0x2002, ..] | [0x0064, 0xff9b, ..]),
    }
}

/// A count by network with a limit. It has no more entries than there are nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IpLimit {
    limit: u16,
    counts: BTreeMap<Prefix, u16>,
}

impl IpLimit {
    pub(super) const fn new(limit: u16) -> Self {
        Self { limit, counts: BTreeMap::new() }
    }

    pub(super) fn has_room(&self, network: Prefix) -> bool {
        self.counts.get(&network).is_none_or(|count| *count < self.limit)
    }

    pub(super) fn add(&mut self, network: Prefix) {
        let count = self.counts.entry(network).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn remove(&mut self, network: Prefix) {
        if let Some(count) = self.counts.get_mut(&network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.counts.remove(&network);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn counts(&self) -> &BTreeMap<Prefix, u16> {
        &self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(ip: &str) -> Networks {
        Networks::of(AddressPolicy::default(), ip.parse().unwrap()).unwrap()
    }

    #[test]
    fn t02_ipv6_counts_by_64_in_a_bucket_and_by_48_in_the_table() {
        let (a, b, c) = (networks("2606:1:1:1::1"), networks("2606:1:1:1::2"), networks("2606:1:1:2::1"));
        assert_eq!(a, b);
        assert_ne!(a.bucket, c.bucket);
        assert_eq!(a.table, c.table);
        assert_ne!(a.table, networks("2606:1:2:1::1").table);
    }

    #[test]
    fn t03_embedded_ipv4_counts_by_its_24_in_both() {
        let plain = networks("8.8.8.1");
        for other in ["8.8.8.200", "::ffff:8.8.8.7", "2002:0808:0808::1", "64:ff9b::8.8.8.9"] {
            assert_eq!(networks(other), plain, "{other}");
        }
        assert_ne!(networks("8.8.9.1"), plain);
    }

    #[test]
    fn a_full_network_has_room_again_after_a_removal() {
        let (mut limit, network) = (IpLimit::new(2), networks("8.8.8.8").table);
        limit.add(network);
        assert!(limit.has_room(network));
        limit.add(network);
        assert!(!limit.has_room(network) && limit.has_room(networks("9.9.9.9").table));
        limit.remove(network);
        assert!(limit.has_room(network));
        limit.remove(network);
        assert!(limit.counts().is_empty());
    }
}
