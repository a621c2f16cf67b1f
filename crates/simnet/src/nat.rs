//! Address translation as home routers do it (RFC 4787): which public port stands for a host's port, and who may come in
//! by it. It maps addresses and ages its mappings; packets are `net`'s.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// The first public port that a translator gives out.
const FIRST_PORT: u16 = 20_000;

/// Whom a mapping lets in, and how far one mapping serves (RFC 3489's four kinds).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatKind {
    /// Anybody may send to the public port.
    FullCone,
    /// Whoever has an address that was sent to.
    Restricted,
    /// Whoever has an address and port that was sent to.
    PortRestricted,
    /// Each destination sees another public port, and alone may answer to it.
    Symmetric,
}

/// How a translator works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NatConfig {
    /// Whom it lets in.
    pub kind: NatKind,
    /// How long a mapping lives after the last packet from inside.
    pub lifetime: Duration,
}

/// One translator: its public address, and the mappings that live.
#[derive(Debug)]
pub(crate) struct Nat {
    pub(crate) public_ip: IpAddr,
    config: NatConfig,
    by_port: BTreeMap<u16, Mapping>,
    /// The public port of an inner address; for a symmetric one of each destination too.
    ports: BTreeMap<(SocketAddr, Option<SocketAddr>), u16>,
    next_port: u16,
}

#[derive(Debug)]
struct Mapping {
    inner: SocketAddr,
    key: (SocketAddr, Option<SocketAddr>),
    sent_to: BTreeSet<SocketAddr>,
    ends: Instant,
}

impl Nat {
    pub(crate) const fn new(public_ip: IpAddr, config: NatConfig) -> Self {
        Self { public_ip, config, by_port: BTreeMap::new(), ports: BTreeMap::new(), next_port: FIRST_PORT }
    }

    /// A packet goes out: where it seems to come from.
    pub(crate) fn outbound(&mut self, now: Instant, inner: SocketAddr, to: SocketAddr) -> SocketAddr {
        let ends = now.checked_add(self.config.lifetime).unwrap_or(now);
        let key = (inner, (self.config.kind == NatKind::Symmetric).then_some(to));
        let live = self.ports.get(&key).copied().filter(|port| self.is_live(now, *port));
        let port = live.unwrap_or_else(|| self.open(now, key));
        if let Some(mapping) = self.by_port.get_mut(&port) {
            mapping.ends = ends;
            mapping.sent_to.insert(to);
        }
        SocketAddr::new(self.public_ip, port)
    }

    /// A packet comes in: where it goes to, if anywhere.
    pub(crate) fn inbound(&self, now: Instant, from: SocketAddr, port: u16) -> Option<SocketAddr> {
        let mapping = self.by_port.get(&port).filter(|mapping| mapping.ends > now)?;
        let lets_in = match self.config.kind {
            NatKind::FullCone => true,
            NatKind::Restricted => mapping.sent_to.iter().any(|to| to.ip() == from.ip()),
            NatKind::PortRestricted | NatKind::Symmetric => mapping.sent_to.contains(&from),
        };
        lets_in.then_some(mapping.inner)
    }

    fn is_live(&self, now: Instant, port: u16) -> bool {
        self.by_port.get(&port).is_some_and(|mapping| mapping.ends > now)
    }

    /// Takes the next port that no live mapping holds; when all are held, the next one's mapping goes.
    fn open(&mut self, now: Instant, key: (SocketAddr, Option<SocketAddr>)) -> u16 {
        let mut port = self.next_port;
        for _ in FIRST_PORT..u16::MAX {
            if !self.is_live(now, port) {
                break;
            }
            port = port.checked_add(1).unwrap_or(FIRST_PORT);
        }
        self.next_port = port.checked_add(1).unwrap_or(FIRST_PORT);
        let mapping = Mapping { inner: key.0, key, sent_to: BTreeSet::new(), ends: now };
        if let Some(old) = self.by_port.insert(port, mapping) {
            self.ports.remove(&old.key);
        }
        self.ports.insert(key, port);
        port
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIME: Duration = Duration::from_secs(60);

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "some moment to count from")]
    fn nat(kind: NatKind) -> (Nat, Instant) {
        (Nat::new([5, 5, 5, 5].into(), NatConfig { kind, lifetime: LIFETIME }), Instant::now())
    }

    #[test]
    fn who_may_come_in_is_told_by_the_kind() {
        let (inner, asked) = (addr("10.0.0.2:30303"), addr("8.0.0.1:1"));
        let senders = [asked, addr("8.0.0.1:2"), addr("9.0.0.1:1")];
        let kinds = [
            (NatKind::FullCone, [true, true, true]),
            (NatKind::Restricted, [true, true, false]),
            (NatKind::PortRestricted, [true, false, false]),
            (NatKind::Symmetric, [true, false, false]),
        ];
        for (kind, lets_in) in kinds {
            let (mut nat, now) = nat(kind);
            let public = nat.outbound(now, inner, asked);
            let found = senders.map(|from| nat.inbound(now, from, public.port()).is_some());
            assert_eq!(found, lets_in, "{kind:?}");
        }
    }

    #[test]
    fn only_a_symmetric_one_shows_each_destination_another_port() {
        let (inner, first, second) = (addr("10.0.0.2:30303"), addr("8.0.0.1:1"), addr("9.0.0.1:1"));
        for kind in [NatKind::FullCone, NatKind::Restricted, NatKind::PortRestricted, NatKind::Symmetric] {
            let (mut nat, now) = nat(kind);
            let same = nat.outbound(now, inner, first) == nat.outbound(now, inner, second);
            assert_eq!(same, kind != NatKind::Symmetric);
            assert_eq!(nat.outbound(now, inner, first), nat.outbound(now, inner, first));
        }
    }

    #[test]
    fn a_mapping_ends_and_comes_back_under_another_port() {
        let (inner, asked) = (addr("10.0.0.2:30303"), addr("8.0.0.1:1"));
        let (mut nat, now) = nat(NatKind::FullCone);
        let first = nat.outbound(now, inner, asked);
        let later = now + LIFETIME;
        assert_eq!(nat.inbound(later, asked, first.port()), None);
        assert_ne!(nat.outbound(later, inner, asked), first);
    }

    #[test]
    fn ports_run_out_by_taking_the_next_one_over() {
        let (mut nat, now) = nat(NatKind::FullCone);
        let count = u32::from(u16::MAX - FIRST_PORT) + 10;
        for number in 0..count {
            let inner = SocketAddr::new(IpAddr::from(number.to_be_bytes()), 1);
            let public = nat.outbound(now, inner, addr("8.0.0.1:1"));
            assert_eq!(nat.inbound(now, addr("8.0.0.1:1"), public.port()), Some(inner));
        }
        assert!(nat.ports.len() == nat.by_port.len() && nat.ports.len() <= usize::from(u16::MAX));
    }
}
