//! Whom to dial, and when: static peers again and again, others as discovery finds them, each node and each address
//! only so often. Follows go-ethereum's `p2p/dial.go`, with delays that grow on failure and differ by jitter. It opens
//! nothing: `server` gives the order, `driver/dial.rs` resolves names and connects. Numbers are `server_config`'s.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    time::{Duration, Instant},
};

use identity::{AddressClass, Endpoint, Enode, NodeId, Prefix, PublicKey};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::{
    admission::Refusal,
    error::{SessionEnd, SessionError},
    expiring::Expiring,
    p2p::DisconnectReason,
    server_config::{
        CANDIDATE_WINDOW, MAX_CANDIDATES_PER_WINDOW, MAX_DIALED_ADDRESSES, MAX_DIALS_PER_SITE,
        MAX_REDIAL_RECORDS, MAX_STATIC_PEERS, REDIAL_MEMORY, SITE_DIAL_WINDOW, STABLE_SESSION, ServerConfig,
        ServerTimes,
    },
};

/// A node that may be worth a dial, whoever found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node's key.
    pub public_key: PublicKey,
    /// Where it is; without a TCP port it is not dialed.
    pub endpoint: Endpoint,
}

/// The end of the last connection with a node.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parted<'a> {
    /// Why it ended.
    pub(crate) end: &'a SessionEnd,
    /// Whether we opened it.
    pub(crate) dialed: bool,
    /// How long it was a peer; None when it never was.
    pub(crate) lasted: Option<Duration>,
}

/// How a session, or an attempt at one, spoke for its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parting {
    /// It lasted.
    Stable,
    /// It was short, or never came to be.
    Early,
    /// The two nodes have no business with each other.
    Unsuitable,
}

#[derive(Clone, Debug)]
struct StaticPeer {
    enode: Enode,
    not_before: Instant,
    failures: u32,
}

#[derive(Clone, Copy, Debug)]
struct Redial {
    not_before: Instant,
    failures: u32,
}

/// The most by which a delay is stretched at random, as a share of it: a static peer that still holds our dead session
/// (30 s) is dialed again within 45 s.
const MAX_JITTER: f64 = 0.25;

/// Doublings after which a delay has passed every maximum.
const MAX_DOUBLINGS: u32 = 20;

/// Decides on dials. Keeps no connections: who is busy, it is told.
#[derive(Debug)]
pub(crate) struct Dialer {
    statics: BTreeMap<NodeId, StaticPeer>,
    redials: Expiring<NodeId, Redial>,
    hosts: Expiring<Prefix>,
    // Two keys a site, each taken by one dial.
    sites: Expiring<(Prefix, u8)>,
    window: Option<(Instant, usize)>,
    rng: ChaCha8Rng,
}

impl Dialer {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            statics: BTreeMap::new(),
            redials: Expiring::new(MAX_REDIAL_RECORDS),
            hosts: Expiring::new(MAX_DIALED_ADDRESSES),
            sites: Expiring::new(MAX_DIALED_ADDRESSES),
            window: None,
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Adds a static peer, due at once; false when there is no room. A known one gets the new address.
    pub(crate) fn add_static(&mut self, now: Instant, enode: Enode) -> bool {
        let node_id = enode.node_id();
        if self.statics.len() >= MAX_STATIC_PEERS && !self.statics.contains_key(&node_id) {
            return false;
        }
        self.statics.insert(node_id, StaticPeer { enode, not_before: now, failures: 0 });
        true
    }

    pub(crate) fn remove_static(&mut self, node_id: &NodeId) {
        self.statics.remove(node_id);
    }

    pub(crate) fn is_static(&self, node_id: &NodeId) -> bool {
        self.statics.contains_key(node_id)
    }

    /// A static peer that is due and not `busy`.
    pub(crate) fn due_static(&self, now: Instant, busy: impl Fn(NodeId) -> bool) -> Option<Enode> {
        let due = |(node_id, peer): &(&NodeId, &StaticPeer)| peer.not_before <= now && !busy(**node_id);
        self.statics.iter().find(due).map(|(_, peer)| peer.enode.clone())
    }

    /// When the next static peer that is not `busy` becomes due after `now`, or the ban that holds it back ends.
    pub(crate) fn next_static(
        &self,
        now: Instant,
        busy: impl Fn(NodeId) -> bool,
        banned_until: impl Fn(NodeId) -> Option<Instant>,
    ) -> Option<Instant> {
        let waiting = self.statics.iter().filter(|(node_id, _)| !busy(**node_id));
        let due = waiting.map(|(node_id, peer)| peer.not_before.max(banned_until(*node_id).unwrap_or(now)));
        due.filter(|due| *due > now).min()
    }

    /// How many more candidates may be looked at in this window.
    pub(crate) fn candidate_budget(&self, now: Instant) -> usize {
        let used = self.window.filter(|(end, _)| *end > now).map_or(0, |(_, used)| used);
        MAX_CANDIDATES_PER_WINDOW.saturating_sub(used)
    }

    /// When candidates may be looked at again, if the budget is spent.
    pub(crate) fn budget_end(&self) -> Option<Instant> {
        self.window.filter(|(_, used)| *used >= MAX_CANDIDATES_PER_WINDOW).map(|(end, _)| end)
    }

    fn spend_candidate(&mut self, now: Instant) {
        let (end, used) = match self.window {
            Some((end, used)) if end > now => (end, used),
            Some(_) | None => (later(now, CANDIDATE_WINDOW), 0),
        };
        self.window = Some((end, used + 1));
    }

    /// Whether to dial a candidate now; if so, the dial is on record, its address once [`Self::note_dial`] was called.
    /// `obstacle`: what speaks against it whatever is on record.
    pub(crate) fn consider(
        &mut self,
        now: Instant,
        config: &ServerConfig,
        candidate: &Candidate,
        obstacle: Option<Refusal>,
    ) -> Result<(), Refusal> {
        self.spend_candidate(now);
        let (ip, node_id) = (candidate.endpoint.ip, candidate.public_key.node_id());
        if candidate.endpoint.tcp == 0 || !may_dial(config, ip) {
            return Err(Refusal::CandidateAddress);
        }
        if let Some(refusal) = obstacle {
            return Err(refusal);
        }
        if self.is_static(&node_id) {
            return Err(Refusal::CandidateBusy);
        }
        if self.redials.find(now, &node_id).is_some_and(|redial| redial.not_before > now) {
            return Err(Refusal::CandidateRecent);
        }
        let recent = self.hosts.contains(now, &Prefix::host(ip)) || self.free_place(now, ip).is_none();
        if config.address_policy.counts(ip) && recent {
            return Err(Refusal::CandidateSite);
        }
        let failures = self.redials.find(now, &node_id).map_or(0, |redial| redial.failures);
        self.record_redial(node_id, Redial { not_before: later(now, config.times.redial), failures });
        Ok(())
    }

    /// An address is being dialed: its host, and its site after [`MAX_DIALS_PER_SITE`], are left alone for a while.
    pub(crate) fn note_dial(&mut self, now: Instant, config: &ServerConfig, ip: IpAddr) {
        if !config.address_policy.counts(ip) {
            return;
        }
        self.hosts.insert(Prefix::host(ip), later(now, config.times.redial), ());
        if let Some(place) = self.free_place(now, ip) {
            self.sites.insert(place, later(now, SITE_DIAL_WINDOW), ());
        }
    }

    /// A place that a dial to the site of `ip` takes; None when they are taken.
    fn free_place(&self, now: Instant, ip: IpAddr) -> Option<(Prefix, u8)> {
        let mut places = (0..MAX_DIALS_PER_SITE).map(|place| (Prefix::site(ip), place));
        places.find(|place| !self.sites.contains(now, place))
    }

    fn record_redial(&mut self, node_id: NodeId, redial: Redial) {
        self.redials.insert(node_id, later(redial.not_before, REDIAL_MEMORY), redial);
    }

    /// The last connection with a node has ended.
    pub(crate) fn handle_parting(
        &mut self,
        now: Instant,
        times: &ServerTimes,
        node_id: NodeId,
        parted: Parted<'_>,
    ) {
        let parting = parted.judge();
        let jitter = self.rng.random_range(0.0..MAX_JITTER);
        if let Some(peer) = self.statics.get_mut(&node_id) {
            peer.failures = if parting == Parting::Stable { 0 } else { peer.failures };
            let mut delay = grown(times.static_redial, times.static_redial_max, peer.failures, jitter);
            if parting == Parting::Unsuitable {
                delay = delay.max(times.redial.min(times.static_redial_max));
            }
            peer.not_before = later(now, delay);
            peer.failures = peer.failures.saturating_add(1);
        }
        // Whoever only came in is not held to our dials, unless it proved to be of no use.
        if parted.dialed || parting == Parting::Unsuitable {
            let known = self.redials.find(now, &node_id).map_or(0, |redial| redial.failures);
            let (failures, delay) = match parting {
                Parting::Stable => (0, grown(times.redial, times.redial_max, 0, jitter)),
                Parting::Early => {
                    (known.saturating_add(1), grown(times.redial, times.redial_max, known, jitter))
                }
                Parting::Unsuitable => (known, grown(times.unsuitable, times.unsuitable, 0, jitter)),
            };
            self.record_redial(node_id, Redial { not_before: later(now, delay), failures });
        }
    }

    /// Forgets what no longer matters.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.redials.expire(now);
        self.hosts.expire(now);
        self.sites.expire(now);
    }

    /// How many nodes and addresses are on record.
    pub(crate) fn record_count(&self) -> usize {
        self.redials.len() + self.hosts.len() + self.sites.len()
    }
}

/// Whether an address may be dialed at all.
pub(crate) fn may_dial(config: &ServerConfig, ip: IpAddr) -> bool {
    config.net_restrict.contains(ip) && AddressClass::of(ip) != AddressClass::Special
}

/// `first`, doubled with each failure up to `max`, and stretched by the share `jitter`.
fn grown(first: Duration, max: Duration, failures: u32, jitter: f64) -> Duration {
    let doubled = first.saturating_mul(1 << failures.min(MAX_DOUBLINGS)).min(max.max(first));
    doubled.saturating_add(doubled.mul_f64(jitter))
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or(now)
}

impl Parted<'_> {
    fn judge(&self) -> Parting {
        let suits = match self.end {
            SessionEnd::Local { reason, .. } | SessionEnd::Remote(reason) => reason_suits(*reason),
            SessionEnd::Broken(error) => !matches!(error, SessionError::Incompatible(_)),
        };
        match self.lasted {
            _ if !suits => Parting::Unsuitable,
            Some(lasted) if lasted >= STABLE_SESSION => Parting::Stable,
            Some(_) | None => Parting::Early,
        }
    }
}

/// Whether a node that parts with `reason` may do better soon.
fn reason_suits(reason: DisconnectReason) -> bool {
    match reason {
        DisconnectReason::Requested
        | DisconnectReason::NetworkError
        | DisconnectReason::TooManyPeers
        | DisconnectReason::AlreadyConnected
        | DisconnectReason::Quitting
        | DisconnectReason::ReadTimeout
        | DisconnectReason::Unknown(_) => true,
        DisconnectReason::ProtocolError
        | DisconnectReason::UselessPeer
        | DisconnectReason::IncompatibleVersion
        | DisconnectReason::InvalidIdentity
        | DisconnectReason::UnexpectedIdentity
        | DisconnectReason::ConnectedToSelf
        | DisconnectReason::SubprotocolError => false,
    }
}
