//! Who is where: hosts, their addresses, translators in front of them, the links between them, and who is cut off.
//! It answers where a packet ends up; when is `link`'s, and what it is `net`'s.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use crate::{HostId, Link, NatConfig, NatId, nat::Nat};

/// One host.
#[derive(Debug)]
pub(crate) struct Host {
    ip: IpAddr,
    nat: Option<NatId>,
    pub(crate) is_down: bool,
    /// Until when its line is busy with what it sent.
    pub(crate) busy_until: Instant,
    /// The port of its next stream.
    pub(crate) next_port: u16,
    /// When the last of the datagrams to another host arrives.
    arrivals: BTreeMap<HostId, Instant>,
    /// Who can reach whom while the network is parted: those of one group.
    group: u32,
}

impl Host {
    /// When a datagram to another host that would be there at `at` arrives: not before those that went before it.
    pub(crate) fn in_order(&mut self, now: Instant, to: HostId, at: Instant) -> Instant {
        // Each time there are twice as many, those that have arrived are forgotten.
        if self.arrivals.len() >= MIN_ARRIVALS && self.arrivals.len().is_power_of_two() {
            self.arrivals.retain(|_, last| *last > now);
        }
        let last = self.arrivals.entry(to).or_insert(at);
        *last = at.max(*last);
        *last
    }
}

/// What stands at a public address.
#[derive(Clone, Copy, Debug)]
enum Place {
    Host(HostId),
    Nat(NatId),
}

/// Hosts, translators and links.
#[derive(Debug, Default)]
pub(crate) struct Places {
    hosts: Vec<Host>,
    nats: Vec<Nat>,
    public: BTreeMap<IpAddr, Place>,
    inner: BTreeMap<(NatId, IpAddr), HostId>,
    pub(crate) link: Link,
    links: BTreeMap<(HostId, HostId), Link>,
}

/// As many arrivals may be remembered although they are past.
const MIN_ARRIVALS: usize = 16;
/// The first port of a host's own streams.
const FIRST_STREAM_PORT: u16 = 40_000;

impl Places {
    /// Panics when the address is taken.
    pub(crate) fn add_host(&mut self, now: Instant, ip: IpAddr, nat: Option<NatId>) -> HostId {
        let id = HostId(u32::try_from(self.hosts.len()).unwrap_or(u32::MAX));
        let taken = match nat {
            None => self.public.insert(ip, Place::Host(id)).is_some(),
            Some(nat) => self.inner.insert((nat, ip), id).is_some(),
        };
        assert!(!taken, "{ip} is taken");
        let next_port = FIRST_STREAM_PORT;
        self.hosts.push(Host {
            ip,
            nat,
            is_down: false,
            busy_until: now,
            next_port,
            arrivals: BTreeMap::new(),
            group: 0,
        });
        id
    }

    pub(crate) fn add_nat(&mut self, public_ip: IpAddr, config: NatConfig) -> NatId {
        let id = NatId(u32::try_from(self.nats.len()).unwrap_or(u32::MAX));
        let taken = self.public.insert(public_ip, Place::Nat(id)).is_some();
        assert!(!taken, "{public_ip} is taken");
        self.nats.push(Nat::new(public_ip, config));
        id
    }

    /// Another host may have the address from now on.
    pub(crate) fn free_address(&mut self, id: HostId) {
        let host = self.host(id);
        let (ip, nat) = (host.ip, host.nat);
        match nat {
            None => drop(self.public.remove(&ip)),
            Some(nat) => drop(self.inner.remove(&(nat, ip))),
        }
    }

    pub(crate) fn host(&self, id: HostId) -> &Host {
        &self.hosts[id.0 as usize]
    }

    pub(crate) fn host_mut(&mut self, id: HostId) -> &mut Host {
        &mut self.hosts[id.0 as usize]
    }

    /// Where a packet of a host seems to come from, for whoever is at `to`.
    pub(crate) fn source(&mut self, now: Instant, from: HostId, port: u16, to: SocketAddr) -> SocketAddr {
        let Host { ip, nat, .. } = *self.host(from);
        let inner = SocketAddr::new(ip, port);
        match nat {
            Some(nat) if !self.inner.contains_key(&(nat, to.ip())) => {
                self.nats[nat.0 as usize].outbound(now, inner, to)
            }
            Some(_) | None => inner,
        }
    }

    /// Who gets a packet of `from` that seems to come from `source`, and at which port; None when nobody does.
    pub(crate) fn destination(
        &self,
        now: Instant,
        from: HostId,
        source: SocketAddr,
        to: SocketAddr,
    ) -> Option<(HostId, u16)> {
        if let Some(nat) = self.host(from).nat
            && let Some(neighbour) = self.inner.get(&(nat, to.ip()))
        {
            return Some((*neighbour, to.port()));
        }
        match self.public.get(&to.ip())? {
            Place::Host(host) => Some((*host, to.port())),
            Place::Nat(nat) => {
                let inner = self.nats[nat.0 as usize].inbound(now, source, to.port())?;
                let host = self.inner.get(&(*nat, inner.ip()))?;
                Some((*host, inner.port()))
            }
        }
    }

    pub(crate) fn set_link_between(&mut self, a: HostId, b: HostId, link: &Link) {
        self.links.insert((a, b), link.clone());
        self.links.insert((b, a), link.clone());
    }

    /// The way between two hosts; to nobody it is like any other.
    pub(crate) fn link_to(&self, from: HostId, to: Option<HostId>) -> Link {
        to.and_then(|to| self.links.get(&(from, to))).unwrap_or(&self.link).clone()
    }

    pub(crate) fn part(&mut self, group_of: impl Fn(HostId) -> u32) {
        for (number, host) in (0..).zip(&mut self.hosts) {
            host.group = group_of(HostId(number));
        }
    }

    /// Whether nothing gets from one to the other: the network is parted, or one of them is down.
    pub(crate) fn is_cut(&self, from: HostId, to: HostId) -> bool {
        self.host(from).is_down || self.is_unreachable(from, to)
    }

    /// Whether what has left one host cannot reach the other.
    pub(crate) fn is_unreachable(&self, from: HostId, to: HostId) -> bool {
        self.host(from).group != self.host(to).group || self.host(to).is_down
    }
}
