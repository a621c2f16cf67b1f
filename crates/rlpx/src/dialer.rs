//! Whom to dial, and when: static peers again and again, others as discovery finds them, each node and each address
//! only so often. Follows go-ethereum's `p2p/dial.go`, with delays that grow on failure and differ by jitter. It opens
//! nothing: `server` gives the order, `driver/dial.rs` resolves names and connects. Numbers are `limits`' and `server_config`'s.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use identity::{AddressClass, Endpoint, Enode, Enr, NodeId, Now, Prefix, PublicKey};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use crate::{
    address_book::{AddressBook, Service},
    admission::Refusal,
    error::{SessionEnd, SessionError},
    expiring::Expiring,
    limits::{DialLimits, Limits},
    p2p::DisconnectReason,
    race::FamilyHistory,
    server_config::{ServerConfig, ServerTimes},
    shortage::Shortage,
};

/// A node that may be worth a dial, whoever found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The node's key.
    pub public_key: PublicKey,
    /// Where it is; without a TCP port it is not dialed there.
    pub endpoint: Endpoint,
    /// Where else it is, as a node with IPv4 and IPv6 may say: both are raced.
    pub other: Option<Endpoint>,
    /// Its record, if whoever found it has one: what protocols go by that want some nodes and not others.
    pub record: Option<Enr>,
}

impl Candidate {
    /// A node with one address, and no record that is known.
    pub const fn new(public_key: PublicKey, endpoint: Endpoint) -> Self {
        Self { public_key, endpoint, other: None, record: None }
    }

    /// Where it may be dialed.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        [Some(self.endpoint), self.other].into_iter().flatten().filter_map(|endpoint| endpoint.tcp_addr())
    }
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

/// The address book, and when it is looked at for whom to dial.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) book: AddressBook,
    pub(crate) next_look: Instant,
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

/// The least weight of a known node's score in its rank; the most is 1. So the best go first by and large, and nobody can
/// foretell whom a restarted node dials.
const MIN_RANK_SHARE: f64 = 0.5;

/// Between two looks into the address book after one that led to a dial: others may follow.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Doublings after which a delay has passed every maximum.
const MAX_DOUBLINGS: u32 = 20;

/// Decides on dials. Keeps no connections: who is busy, it is told.
#[derive(Debug)]
pub(crate) struct Dialer {
    statics: BTreeMap<NodeId, StaticPeer>,
    redials: Expiring<NodeId, Redial>,
    hosts: Expiring<Prefix>,
    // As many keys a site as it may be dialed, each taken by one dial.
    sites: Expiring<(Prefix, u8)>,
    window: Option<(Instant, usize)>,
    families: FamilyHistory,
    /// Whether anybody was reached by IPv6 yet.
    knows_v6: bool,
    /// Whether this system has something to dial with.
    pub(crate) shortage: Shortage,
    /// None for an owner without an address book.
    pub(crate) known: Option<Known>,
    limits: DialLimits,
    rng: ChaCha8Rng,
}

impl Dialer {
    pub(crate) fn new(seed: u64, limits: &DialLimits) -> Self {
        Self {
            statics: BTreeMap::new(),
            redials: Expiring::new(limits.redial_records),
            hosts: Expiring::new(limits.dialed_addresses),
            sites: Expiring::new(limits.dialed_addresses),
            window: None,
            families: FamilyHistory::default(),
            knows_v6: false,
            shortage: Shortage::default(),
            known: None,
            limits: limits.clone(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Adds a static peer, due at once; false when there is no room. A known one gets the new address.
    pub(crate) fn add_static(&mut self, now: Instant, limits: &Limits, enode: Enode) -> bool {
        let node_id = enode.node_id();
        if self.statics.len() >= limits.lists.static_peers && !self.statics.contains_key(&node_id) {
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
        self.limits.candidates.saturating_sub(used)
    }

    /// When candidates may be looked at again, if the budget is spent.
    pub(crate) fn budget_end(&self) -> Option<Instant> {
        self.window.filter(|(_, used)| *used >= self.limits.candidates).map(|(end, _)| end)
    }

    /// A candidate was looked at.
    pub(crate) fn spend_candidate(&mut self, now: Instant) {
        let (end, used) = match self.window {
            Some((end, used)) if end > now => (end, used),
            Some(_) | None => (later(now, self.limits.candidate_window), 0),
        };
        self.window = Some((end, used + 1));
    }

    /// Which of its `addresses` to dial a node at now; if at any, the dial is on record, an address once
    /// [`Self::note_dial`] was called.
    pub(crate) fn consider(
        &mut self,
        now: Instant,
        config: &ServerConfig,
        node_id: NodeId,
        addresses: &[SocketAddr],
    ) -> Result<Vec<SocketAddr>, Refusal> {
        if self.is_static(&node_id) {
            return Err(Refusal::CandidateBusy);
        }
        if self.rests(now, &node_id) {
            return Err(Refusal::CandidateRecent);
        }
        let free = addresses.iter().filter(|address| !self.is_crowded(now, config, address.ip()));
        let free: Vec<SocketAddr> = free.copied().collect();
        if free.is_empty() {
            return Err(Refusal::CandidateSite);
        }
        let failures = self.redials.find(now, &node_id).map_or(0, |redial| redial.failures);
        self.record_redial(node_id, Redial { not_before: later(now, config.times.redial.first), failures });
        Ok(free)
    }

    /// Whether a node that is no static peer may not be dialed yet.
    pub(crate) fn rests(&self, now: Instant, node_id: &NodeId) -> bool {
        self.redials.find(now, node_id).is_some_and(|redial| redial.not_before > now)
    }

    /// Whether the host or site of an address was dialed as often as it may be.
    pub(crate) fn is_crowded(&self, now: Instant, config: &ServerConfig, ip: IpAddr) -> bool {
        let recent = || self.hosts.contains(now, &Prefix::host(ip)) || self.free_place(now, ip).is_none();
        config.address_policy.counts(ip) && recent()
    }

    /// The addresses of one node in the order in which to try them.
    pub(crate) fn in_order(&self, now: Instant, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        self.families.order(now, addresses)
    }

    /// A dial to `addresses`, tried in this order, has reached `winner`.
    pub(crate) fn handle_winner(&mut self, now: Instant, addresses: &[SocketAddr], winner: SocketAddr) {
        self.families.handle_winner(now, addresses, winner);
    }

    /// An address is being dialed: its host, and its site after [`DialLimits::per_site`], are left alone for a while.
    pub(crate) fn note_dial(&mut self, now: Instant, config: &ServerConfig, ip: IpAddr) {
        if !config.address_policy.counts(ip) {
            return;
        }
        self.hosts.insert(Prefix::host(ip), later(now, config.times.redial.first), ());
        if let Some(place) = self.free_place(now, ip) {
            self.sites.insert(place, later(now, self.limits.site_window), ());
        }
    }

    /// A place that a dial to the site of `ip` takes; None when they are taken.
    fn free_place(&self, now: Instant, ip: IpAddr) -> Option<(Prefix, u8)> {
        let mut places = (0..self.limits.per_site).map(|place| (Prefix::site(ip), place));
        places.find(|place| !self.sites.contains(now, place))
    }

    fn record_redial(&mut self, node_id: NodeId, redial: Redial) {
        self.redials.insert(node_id, later(redial.not_before, self.limits.redial_memory), redial);
    }

    /// The last connection with a node has ended.
    pub(crate) fn handle_parting(
        &mut self,
        now: Instant,
        times: &ServerTimes,
        node_id: NodeId,
        parted: Parted<'_>,
    ) {
        let parting = parted.judge(self.limits.stable_session);
        let jitter = self.rng.random_range(0.0..MAX_JITTER);
        if let Some(peer) = self.statics.get_mut(&node_id) {
            peer.failures = if parting == Parting::Stable { 0 } else { peer.failures };
            let mut delay = grown(times.static_redial.first, times.static_redial.max, peer.failures, jitter);
            if parting == Parting::Unsuitable {
                delay = delay.max(times.redial.first.min(times.static_redial.max));
            }
            peer.not_before = later(now, delay);
            peer.failures = peer.failures.saturating_add(1);
        }
        // Whoever only came in is not held to our dials, unless it proved to be of no use.
        if parted.dialed || parting == Parting::Unsuitable {
            let known = self.redials.find(now, &node_id).map_or(0, |redial| redial.failures);
            let (failures, delay) = match parting {
                Parting::Stable => (0, grown(times.redial.first, times.redial.max, 0, jitter)),
                Parting::Early => {
                    (known.saturating_add(1), grown(times.redial.first, times.redial.max, known, jitter))
                }
                Parting::Unsuitable => (known, grown(times.unsuitable, times.unsuitable, 0, jitter)),
            };
            self.record_redial(node_id, Redial { not_before: later(now, delay), failures });
        }
    }

    /// Whether there is an address book that may be looked at now.
    pub(crate) fn is_time_to_look(&self, now: Instant) -> bool {
        self.known.as_ref().is_some_and(|known| known.next_look <= now && known.book.len() > 0)
    }

    /// The address book was looked at.
    pub(crate) fn note_look(&mut self, now: Instant, has_dialed: bool) {
        if let Some(known) = &mut self.known {
            // After one that led to no dial until a site may be dialed again.
            let pause = if has_dialed { LOOK_INTERVAL } else { self.limits.site_window.max(LOOK_INTERVAL) };
            known.next_look = later(now, pause);
        }
    }

    /// The known nodes that do not rest, the best first, with some chance in it.
    pub(crate) fn rank_known(&mut self, now: Now) -> Vec<(PublicKey, Vec<SocketAddr>)> {
        let Some(known) = &self.known else { return Vec::new() };
        let rng = &mut self.rng;
        let rests = |redial: &Redial| redial.not_before > now.instant;
        let mut ranked: Vec<(f64, PublicKey, Vec<SocketAddr>)> = Vec::new();
        for (score, entry) in known.book.iter(now) {
            if self.redials.find(now.instant, &entry.public_key.node_id()).is_some_and(rests) {
                continue;
            }
            let rank = f64::from(score) * rng.random_range(MIN_RANK_SHARE..1.0);
            ranked.push((rank, entry.public_key, entry.addresses.clone()));
        }
        ranked.sort_by(|(a, ..), (b, ..)| b.total_cmp(a));
        ranked.into_iter().map(|(_, public_key, addresses)| (public_key, addresses)).collect()
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

/// This system's part in dials.
impl Dialer {
    /// A dial to `ip` that began then has reached somebody.
    pub(crate) fn handle_reached(&mut self, began: Instant, ip: IpAddr) {
        self.knows_v6 |= ip.is_ipv6();
        self.shortage.handle_passed(began);
    }

    /// A dial to `addresses` that began then has reached nobody. Whether that is this system's fault: then the node need
    /// not rest for it, and all dials pause.
    pub(crate) fn handle_unreached(
        &mut self,
        now: Instant,
        times: &ServerTimes,
        (node_id, addresses): (NodeId, &[SocketAddr]),
        (began, end): (Instant, &SessionEnd),
    ) -> bool {
        let is_exhausted = *end == SessionEnd::Broken(SessionError::Exhausted);
        // A machine without IPv6 says of each such address that it has none of its own to go with it.
        let may_lack_v6 = !self.knows_v6 && addresses.iter().all(SocketAddr::is_ipv6);
        if !is_exhausted || may_lack_v6 {
            self.shortage.handle_passed(began);
            return false;
        }
        self.shortage.handle_failed(now, &times.shortage);
        if let Some(redial) = self.redials.find(now, &node_id).copied() {
            self.record_redial(node_id, Redial { not_before: now, ..redial });
        }
        true
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
    /// What it says of a node of the address book, for which a session counts from `stable` on.
    pub(crate) fn service(&self, stable: Duration) -> Service {
        if self.lasted.is_some_and(|lasted| lasted >= stable) {
            return Service::Fair;
        }
        let is_full = matches!(
            self.end,
            SessionEnd::Remote(DisconnectReason::TooManyPeers | DisconnectReason::AlreadyConnected)
        );
        // Called off by us.
        let is_ours = *self.end == SessionEnd::ABORTED;
        match self.judge(stable) {
            Parting::Unsuitable => Service::Unfit,
            Parting::Early if self.dialed && !is_full && !is_ours => Service::Failed,
            Parting::Stable | Parting::Early => Service::Fair,
        }
    }

    fn judge(&self, stable: Duration) -> Parting {
        let suits = match self.end {
            SessionEnd::Local { reason, .. } | SessionEnd::Remote(reason) => reason_suits(*reason),
            SessionEnd::Broken(error) => !matches!(error, SessionError::Incompatible(_)),
        };
        match self.lasted {
            _ if !suits => Parting::Unsuitable,
            Some(lasted) if lasted >= stable => Parting::Stable,
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
