//! Endpoint proof, both ways: who has proved to us that it receives at an endpoint, and to whom we have.
//! A proof is of (key, address, port) together. It is sought in `discovery/outbound.rs`, and what may be asked without
//! one is refused in `discovery/inbound.rs`. `discv4.md`, "Endpoint Proof".

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use identity::NodeId;

use crate::{config::MAX_BONDS, limiter, limiter::TokenBucket};

/// A node at the endpoint where it is, the unit of proof.
pub(crate) type BondKey = (SocketAddr, NodeId);

/// What is known of a proven endpoint. Unproven ones are not kept at all, or strangers would fill our memory.
#[derive(Clone, Debug)]
struct Bond {
    /// When its last Pong to a Ping of ours came.
    proved_at: Instant,
    /// When we last sent it a Pong, so that it has our proof.
    answered_at: Option<Instant>,
    /// What it may still ask.
    requests: TokenBucket,
}

/// The proven endpoints, at most [`MAX_BONDS`]; the oldest proof makes room.
#[derive(Clone, Debug)]
pub(crate) struct Bonds {
    lifetime: Duration,
    bonds: BTreeMap<BondKey, Bond>,
    by_age: BTreeSet<(Instant, BondKey)>,
}

impl Bonds {
    pub(crate) const fn new(lifetime: Duration) -> Self {
        Self { lifetime, bonds: BTreeMap::new(), by_age: BTreeSet::new() }
    }

    /// A Pong to a Ping of ours came from there. `answered_at`: when we last sent a Pong there, if known.
    pub(crate) fn prove(&mut self, now: Instant, key: BondKey, answered_at: Option<Instant>) {
        let old = self.remove(&key);
        let (old_answer, requests) =
            old.map_or((None, TokenBucket::default()), |old| (old.answered_at, old.requests));
        let bond = Bond { proved_at: now, answered_at: answered_at.max(old_answer), requests };
        self.by_age.insert((now, key));
        self.bonds.insert(key, bond);
        while self.bonds.len() > MAX_BONDS {
            let Some((_, oldest)) = self.by_age.first().copied() else { return };
            self.remove(&oldest);
        }
    }

    /// A Pong of ours went there. Of use only when the endpoint is proven.
    pub(crate) fn answered(&mut self, now: Instant, key: &BondKey) {
        if let Some(bond) = self.bonds.get_mut(key) {
            bond.answered_at = Some(now);
        }
    }

    /// It did not answer as one with our proof does: prove again before the next request.
    pub(crate) fn doubt(&mut self, key: &BondKey) {
        if let Some(bond) = self.bonds.get_mut(key) {
            bond.answered_at = None;
        }
    }

    /// Whether the node has proved the endpoint to us.
    pub(crate) fn is_proven(&self, now: Instant, key: &BondKey) -> bool {
        self.bonds.get(key).is_some_and(|bond| self.is_fresh(now, bond.proved_at))
    }

    /// Whether any node has proved the address to us: asked before a signature is recovered.
    pub(crate) fn is_address_proven(&self, now: Instant, addr: SocketAddr) -> bool {
        let range = (addr, NodeId::from_bytes([0; 32]))..=(addr, NodeId::from_bytes([0xff; 32]));
        self.bonds.range(range).any(|(_, bond)| self.is_fresh(now, bond.proved_at))
    }

    /// Whether both have each other's proof: what a FindNode or EnrRequest of ours needs.
    pub(crate) fn is_mutual(&self, now: Instant, key: &BondKey) -> bool {
        self.bonds.get(key).is_some_and(|bond| {
            self.is_fresh(now, bond.proved_at) && bond.answered_at.is_some_and(|at| self.is_fresh(now, at))
        })
    }

    /// Whether the node may ask once more ([`limiter::ENDPOINT`]). False without a proof.
    pub(crate) fn take_request(&mut self, now: Instant, key: &BondKey) -> bool {
        self.bonds.get_mut(key).is_some_and(|bond| bond.requests.take(now, limiter::ENDPOINT))
    }

    /// How many endpoints are kept.
    pub(crate) fn len(&self) -> usize {
        self.bonds.len()
    }

    fn remove(&mut self, key: &BondKey) -> Option<Bond> {
        let bond = self.bonds.remove(key)?;
        self.by_age.remove(&(bond.proved_at, *key));
        Some(bond)
    }

    fn is_fresh(&self, now: Instant, at: Instant) -> bool {
        now.saturating_duration_since(at) < self.lifetime
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::start;

    const HOUR: Duration = Duration::from_secs(3600);

    fn key(port: u16, id: u8) -> BondKey {
        (SocketAddr::from(([8, 8, 8, 8], port)), NodeId::from_bytes([id; 32]))
    }

    #[test]
    fn u03_a_proof_is_of_key_address_and_port_together() {
        let (mut bonds, now) = (Bonds::new(12 * HOUR), start().instant);
        bonds.prove(now, key(1, 1), None);
        assert!(bonds.is_proven(now, &key(1, 1)));
        assert!(!bonds.is_proven(now, &key(2, 1)) && !bonds.is_proven(now, &key(1, 2)));
        assert!(bonds.is_address_proven(now, key(1, 1).0) && !bonds.is_address_proven(now, key(2, 1).0));
    }

    #[test]
    fn a_proof_ends_with_its_lifetime() {
        let (mut bonds, now) = (Bonds::new(12 * HOUR), start());
        bonds.prove(now.instant, key(1, 1), Some(now.instant));
        let (before, after) = (now.later(12 * HOUR - Duration::from_nanos(1)), now.later(12 * HOUR));
        assert!(bonds.is_mutual(before.instant, &key(1, 1)) && !bonds.is_proven(after.instant, &key(1, 1)));
    }

    #[test]
    fn proof_is_mutual_once_we_have_answered_too() {
        let (mut bonds, now) = (Bonds::new(12 * HOUR), start().instant);
        bonds.answered(now, &key(1, 1));
        assert_eq!(bonds.len(), 0, "an answer to a stranger leaves nothing behind");
        bonds.prove(now, key(1, 1), None);
        assert!(!bonds.is_mutual(now, &key(1, 1)));
        bonds.answered(now, &key(1, 1));
        assert!(bonds.is_mutual(now, &key(1, 1)));
        bonds.prove(now, key(1, 1), None);
        assert!(bonds.is_mutual(now, &key(1, 1)), "a new proof of theirs does not undo ours");
        bonds.doubt(&key(1, 1));
        assert!(!bonds.is_mutual(now, &key(1, 1)) && bonds.is_proven(now, &key(1, 1)));
    }

    #[test]
    fn u04_a_proven_endpoint_asks_ten_times_a_second() {
        let (mut bonds, now) = (Bonds::new(12 * HOUR), start());
        bonds.prove(now.instant, key(1, 1), None);
        let passed = (0..100).filter(|_| bonds.take_request(now.instant, &key(1, 1))).count();
        assert_eq!(passed, 10);
        bonds.prove(now.instant, key(1, 1), None);
        assert!(!bonds.take_request(now.instant, &key(1, 1)), "a new proof gives no new burst");
        let later = now.later(Duration::from_secs(1)).instant;
        assert_eq!((0..100).filter(|_| bonds.take_request(later, &key(1, 1))).count(), 10);
    }

    #[test]
    fn the_oldest_proof_makes_room() {
        let (mut bonds, now) = (Bonds::new(12 * HOUR), start());
        for number in 0..=MAX_BONDS {
            let addr = SocketAddr::from((u32::try_from(number).unwrap().to_be_bytes(), 1));
            let at = now.later(Duration::from_nanos(number as u64)).instant;
            bonds.prove(at, (addr, NodeId::from_bytes([1; 32])), None);
        }
        assert_eq!((bonds.len(), bonds.by_age.len()), (MAX_BONDS, MAX_BONDS));
        let later = now.later(HOUR).instant;
        assert!(!bonds.is_address_proven(later, "0.0.0.0:1".parse().unwrap()));
        assert!(bonds.is_address_proven(later, "0.0.0.1:1".parse().unwrap()));
    }
}
