//! The nodes we know, in 17 buckets by distance from ourselves, each ordered by when a node was last seen.
//! It decides who enters, who leaves and who is told to others; it asks nobody and draws no time.
//!
//! `discv4.md`, "Kademlia Table", with go-ethereum's numbers and limits by network.

mod bucket;
mod ip_limit;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bucket::{KBucket, Slot};
use identity::{AddressPolicy, Distance, Endpoint, Enr, NodeId, PublicKey};
use ip_limit::{IpLimit, Networks};
use rand::{Rng, RngExt};

use crate::config::{
    BUCKET_COUNT, BUCKET_SIZE, CHALLENGE_INTERVAL, MAX_FIND_FAILURES, MAX_NETWORK_IN_TABLE,
    MIN_BUCKET_FOR_REMOVAL, RECORD_INTERVAL,
};

/// The log distance up to which all nodes share bucket 0 (go-ethereum `bucketMinDistance` + 1).
const SHARED_DISTANCE: usize = 256 - (BUCKET_COUNT - 1);

/// A node as the table and lookups know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeEntry {
    /// The hash of the public key.
    pub node_id: NodeId,
    /// The node's key.
    pub public_key: PublicKey,
    /// Where it is: the address and UDP port as proven or told, the TCP port as told.
    pub endpoint: Endpoint,
    /// Its record, once it was asked for; always signed by `public_key`.
    pub enr: Option<Enr>,
    /// The sequence number of its record as it last said, when it says one.
    pub enr_seq: Option<u64>,
    /// Whether it has proved its endpoint and not been silent since.
    pub live: bool,
}

impl NodeEntry {
    /// A node of which only key and endpoint are known, as a bootnode or one that others named.
    pub fn new(public_key: PublicKey, endpoint: Endpoint) -> Self {
        Self { node_id: public_key.node_id(), public_key, endpoint, enr: None, enr_seq: None, live: false }
    }

    /// Whether it has a record newer than the one we hold.
    pub fn has_newer_record(&self) -> bool {
        self.enr_seq.is_some_and(|told| self.enr.as_ref().is_none_or(|held| held.seq() < told))
    }
}

/// The table at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableSnapshot {
    /// The buckets, the nearest first.
    pub buckets: Vec<BucketSnapshot>,
}

/// One bucket at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BucketSnapshot {
    /// The nodes of the bucket, least recently seen first; at most 16.
    pub entries: Vec<NodeEntry>,
    /// The nodes that wait for a place, the oldest first; at most 10.
    pub replacements: Vec<NodeEntry>,
}

impl TableSnapshot {
    /// How many nodes are in buckets, live or not; those that wait are not counted.
    pub fn len(&self) -> usize {
        self.buckets.iter().map(|bucket| bucket.entries.len()).sum()
    }

    /// Whether no node is in a bucket.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nodes in buckets.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeEntry> {
        self.buckets.iter().flat_map(|bucket| &bucket.entries)
    }

    /// How many nodes in buckets are live.
    pub fn live_count(&self) -> usize {
        self.nodes().filter(|node| node.live).count()
    }
}

/// What a call changed, for the owner to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The node entered a bucket, not yet live.
    Seen(NodeEntry),
    /// The node is live now.
    Live(NodeEntry),
    /// The node left its bucket.
    Removed(NodeId),
}

/// What became of a node that was offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offered {
    /// What changed.
    pub(crate) change: Option<Change>,
    /// The node waits for the place of this one, which should show that it is still there.
    pub(crate) challenge: Option<NodeEntry>,
    /// The limits of its network keep the node, or its new address, out.
    pub(crate) limited: bool,
}

/// The nodes we know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    local: NodeId,
    policy: AddressPolicy,
    buckets: Vec<KBucket>,
    networks: IpLimit,
}

impl Table {
    pub(crate) fn new(local: NodeId, policy: AddressPolicy) -> Self {
        let buckets = vec![KBucket::new(); BUCKET_COUNT];
        Self { local, policy, buckets, networks: IpLimit::new(MAX_NETWORK_IN_TABLE) }
    }

    /// Others named the node. A known one stays as it is, whatever they say of its endpoint.
    pub(crate) fn found(&mut self, now: Instant, node: NodeEntry) -> Offered {
        let Some(bucket) = bucket_of(&mut self.buckets, &self.local, &node.node_id) else {
            return Offered::default();
        };
        if let Some(known) = bucket.slot(&node.node_id) {
            known.inbound = false;
            return Offered { change: fill(bucket), ..Offered::default() };
        }
        self.offer(now, Slot::new(NodeEntry { live: false, ..node }, false, now))
    }

    /// The node has proved its endpoint. `inbound`: we know of it only because it pinged us.
    pub(crate) fn proved(&mut self, now: Instant, node: NodeEntry, inbound: bool) -> Offered {
        let id = node.node_id;
        let Some(bucket) = bucket_of(&mut self.buckets, &self.local, &id) else { return Offered::default() };
        if bucket.slot(&id).is_none() {
            let mut slot = Slot::new(NodeEntry { live: true, ..node }, inbound, now);
            slot.checks = 1;
            return self.offer(now, slot);
        }
        if !self.move_to(&id, node.endpoint) {
            return Offered { limited: true, ..Offered::default() };
        }
        let Some(bucket) = bucket_of(&mut self.buckets, &self.local, &id) else { return Offered::default() };
        let Some(slot) = bucket.slot(&id) else { return Offered::default() };
        let was_live = std::mem::replace(&mut slot.node.live, true);
        slot.checks = slot.checks.saturating_add(1);
        slot.checking = false;
        slot.inbound &= inbound;
        slot.node.enr_seq = node.enr_seq.or(slot.node.enr_seq);
        bucket.touch(&id, now);
        let entry = bucket.entry(&id).filter(|_| !was_live);
        let change = entry.map(|slot| Change::Live(slot.node.clone()));
        Offered { change: change.or_else(|| fill(bucket)), ..Offered::default() }
    }

    /// A node pinged us from an endpoint that it has proved. Returns false when the table does not have it there.
    pub(crate) fn heard(
        &mut self,
        now: Instant,
        id: &NodeId,
        from: SocketAddr,
        tcp: u16,
        enr_seq: Option<u64>,
    ) -> bool {
        let Some(bucket) = bucket_of(&mut self.buckets, &self.local, id) else { return false };
        let Some(slot) = bucket.slot(id).filter(|slot| slot.node.endpoint.udp_addr() == Some(from)) else {
            return false;
        };
        if slot.node.enr.is_none() && tcp != 0 {
            slot.node.endpoint.tcp = tcp;
        }
        slot.node.enr_seq = enr_seq.or(slot.node.enr_seq);
        bucket.touch(id, now);
        true
    }

    /// A check of the node stayed without an answer: it is not live until it answers one. A node with few checks leaves;
    /// its place goes to one that waits.
    pub(crate) fn silent(&mut self, id: &NodeId) -> Vec<Change> {
        let Some(bucket) = bucket_of(&mut self.buckets, &self.local, id) else { return Vec::new() };
        let Some(slot) = bucket.entry(id) else { return Vec::new() };
        slot.checks /= 3;
        (slot.node.live, slot.checking) = (false, false);
        if slot.checks == 0 { self.evict(id) } else { Vec::new() }
    }

    /// A check of the node could not be made.
    pub(crate) fn unchecked(&mut self, id: &NodeId) {
        if let Some(slot) = bucket_of(&mut self.buckets, &self.local, id).and_then(|bucket| bucket.slot(id)) {
            slot.checking = false;
        }
    }

    /// A FindNode to the node stayed without an answer. After five it leaves, unless its bucket has few.
    pub(crate) fn find_failed(&mut self, id: &NodeId) -> Vec<Change> {
        let Some(bucket) = bucket_of(&mut self.buckets, &self.local, id) else { return Vec::new() };
        let many = bucket.entries.len() >= MIN_BUCKET_FOR_REMOVAL;
        let Some(slot) = bucket.entry(id) else { return Vec::new() };
        slot.find_failures = slot.find_failures.saturating_add(1);
        if many && slot.find_failures >= MAX_FIND_FAILURES { self.evict(id) } else { Vec::new() }
    }

    /// The node answered a FindNode.
    pub(crate) fn find_answered(&mut self, id: &NodeId) {
        if let Some(slot) = bucket_of(&mut self.buckets, &self.local, id).and_then(|bucket| bucket.slot(id)) {
            slot.find_failures = 0;
        }
    }

    /// Removes an entry; its place goes to one that waits.
    pub(crate) fn evict(&mut self, id: &NodeId) -> Vec<Change> {
        let Some(bucket) = bucket_of(&mut self.buckets, &self.local, id) else { return Vec::new() };
        let Some(slot) = bucket.remove(id) else { return Vec::new() };
        let mut changes = vec![Change::Removed(*id)];
        if let Some(networks) = Networks::of(self.policy, slot.node.endpoint.ip) {
            bucket.networks.remove(networks.bucket);
            self.networks.remove(networks.table);
        }
        changes.extend(fill(bucket));
        changes
    }

    /// Takes a verified record of the node. Returns false, and keeps the old one, when it is not newer. The TCP port
    /// is taken from it when it is about the endpoint we know.
    pub(crate) fn set_record(&mut self, enr: &Enr) -> bool {
        let id = enr.node_id();
        let Some(slot) = bucket_of(&mut self.buckets, &self.local, &id).and_then(|bucket| bucket.slot(&id))
        else {
            return false;
        };
        if slot.node.enr.as_ref().is_some_and(|held| held.seq() >= enr.seq()) {
            return false;
        }
        let known = &mut slot.node.endpoint;
        let told = [enr.endpoint_v4(), enr.endpoint_v6()].into_iter().flatten();
        if let Some(told) = told.into_iter().find(|told| (told.ip, told.udp) == (known.ip, known.udp)) {
            known.tcp = told.tcp;
        }
        slot.node.enr = Some(enr.clone());
        true
    }

    /// Whether to ask the node for its record now; then it is not asked again for a minute.
    pub(crate) fn take_record_turn(&mut self, now: Instant, id: &NodeId) -> Option<NodeEntry> {
        let slot = bucket_of(&mut self.buckets, &self.local, id)?.slot(id)?;
        let asked =
            slot.record_asked_at.is_some_and(|at| now.saturating_duration_since(at) < RECORD_INTERVAL);
        if asked || !slot.node.has_newer_record() {
            return None;
        }
        slot.record_asked_at = Some(now);
        Some(slot.node.clone())
    }

    /// A node that is not live and not being checked, any of them, which is then being checked.
    pub(crate) fn take_unverified(&mut self, rng: &mut impl Rng) -> Option<NodeEntry> {
        let mut slots = self.buckets.iter_mut().flat_map(|bucket| &mut bucket.entries);
        let unverified = |slot: &&mut Slot| !slot.node.live && !slot.checking;
        let mut chosen = slots.find(unverified)?;
        for (passed, slot) in (1u32..).zip(slots.filter(unverified)) {
            if rng.random_range(0..=passed) == 0 {
                chosen = slot;
            }
        }
        chosen.checking = true;
        Some(chosen.node.clone())
    }

    /// The least recently seen node of a bucket, any of the buckets, which is then being checked.
    pub(crate) fn take_least_recent(&mut self, rng: &mut impl Rng) -> Option<NodeEntry> {
        let heads = self
            .buckets
            .iter_mut()
            .filter_map(|bucket| bucket.entries.iter_mut().find(|slot| slot.node.live));
        let mut heads: Vec<&mut Slot> = heads.filter(|slot| !slot.checking).collect();
        if heads.is_empty() {
            return None;
        }
        let head = heads.swap_remove(rng.random_range(0..heads.len()));
        head.checking = true;
        Some(head.node.clone())
    }

    /// The nodes nearest to `target`, at most `limit`, the nearest first, of those that `may` admits.
    pub(crate) fn closest(
        &self,
        target: &NodeId,
        limit: usize,
        may: impl Fn(&NodeEntry) -> bool,
    ) -> Vec<&NodeEntry> {
        let mut nearest: Vec<(Distance, &NodeEntry)> = Vec::with_capacity(limit.saturating_add(1));
        for node in self.nodes().filter(|node| may(node)) {
            let distance = target.distance(&node.node_id);
            let place = nearest.partition_point(|(other, _)| *other < distance);
            if place < limit {
                nearest.insert(place, (distance, node));
                nearest.truncate(limit);
            }
        }
        nearest.into_iter().map(|(_, node)| node).collect()
    }

    /// The node, if it is in a bucket or waits for a place.
    pub(crate) fn node(&self, id: &NodeId) -> Option<&NodeEntry> {
        let bucket = self.buckets.get(bucket_index(&self.local, id)?)?;
        bucket
            .entries
            .iter()
            .chain(&bucket.replacements)
            .map(|slot| &slot.node)
            .find(|node| node.node_id == *id)
    }

    /// The nodes in buckets.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = &NodeEntry> {
        self.buckets.iter().flat_map(|bucket| &bucket.entries).map(|slot| &slot.node)
    }

    /// Whether no live node is in a bucket.
    pub(crate) fn is_deserted(&self) -> bool {
        !self.nodes().any(|node| node.live)
    }

    pub(crate) fn snapshot(&self) -> TableSnapshot {
        let nodes = |slots: &[Slot]| slots.iter().map(|slot| slot.node.clone()).collect();
        let buckets = self.buckets.iter().map(|bucket| BucketSnapshot {
            entries: nodes(&bucket.entries),
            replacements: nodes(&bucket.replacements),
        });
        TableSnapshot { buckets: buckets.collect() }
    }

    /// A node that is in no bucket wants a place.
    fn offer(&mut self, now: Instant, slot: Slot) -> Offered {
        let Some(bucket) = bucket_of(&mut self.buckets, &self.local, &slot.node.node_id) else {
            return Offered::default();
        };
        let networks = Networks::of(self.policy, slot.node.endpoint.ip);
        if let Some(networks) = networks {
            if !bucket.networks.has_room(networks.bucket) || !self.networks.has_room(networks.table) {
                return Offered { limited: true, ..Offered::default() };
            }
            bucket.networks.add(networks.bucket);
            self.networks.add(networks.table);
        }
        if bucket.has_room(slot.inbound) {
            let node = slot.node.clone();
            bucket.insert(slot);
            let change = if node.live { Change::Live(node) } else { Change::Seen(node) };
            return Offered { change: Some(change), ..Offered::default() };
        }
        let dropped = bucket.wait(slot);
        if let Some(networks) = dropped.and_then(|slot| Networks::of(self.policy, slot.node.endpoint.ip)) {
            bucket.networks.remove(networks.bucket);
            self.networks.remove(networks.table);
        }
        Offered { challenge: challenge(bucket, now, CHALLENGE_INTERVAL), ..Offered::default() }
    }

    /// Gives a known node the endpoint that it has proved. Returns false when its new network is full.
    fn move_to(&mut self, id: &NodeId, endpoint: Endpoint) -> bool {
        let Some(bucket) = bucket_of(&mut self.buckets, &self.local, id) else { return false };
        let Some(slot) = bucket.slot(id) else { return false };
        let old = slot.node.endpoint;
        if (old.ip, old.udp) == (endpoint.ip, endpoint.udp) {
            return true;
        }
        let [from, to] = [old.ip, endpoint.ip].map(|ip| Networks::of(self.policy, ip));
        if let Some(from) = from {
            bucket.networks.remove(from.bucket);
            self.networks.remove(from.table);
        }
        let fits = |to: Networks| bucket.networks.has_room(to.bucket) && self.networks.has_room(to.table);
        let moved = to.is_none_or(fits);
        if let Some(networks) = if moved { to } else { from } {
            bucket.networks.add(networks.bucket);
            self.networks.add(networks.table);
        }
        if let Some(slot) = bucket.slot(id).filter(|_| moved) {
            slot.node.endpoint = endpoint;
        }
        moved
    }
}

/// Gives a free place, if there is one, to a node that waits.
fn fill(bucket: &mut KBucket) -> Option<Change> {
    let node = bucket.promote()?.node.clone();
    Some(if node.live { Change::Live(node) } else { Change::Seen(node) })
}

/// The oldest entry of a full bucket, unless it was heard of just now or is being checked; it is then being checked.
fn challenge(bucket: &mut KBucket, now: Instant, after: Duration) -> Option<NodeEntry> {
    let full = bucket.entries.len() >= BUCKET_SIZE;
    let oldest = bucket.entries.first_mut().filter(|_| full)?;
    if oldest.checking || now.saturating_duration_since(oldest.seen_at) < after {
        return None;
    }
    oldest.checking = true;
    Some(oldest.node.clone())
}

/// Where a node belongs; nowhere when it is ourselves.
fn bucket_index(local: &NodeId, id: &NodeId) -> Option<usize> {
    let distance = local.log_distance(id);
    (distance > 0).then(|| distance.saturating_sub(SHARED_DISTANCE))
}

fn bucket_of<'a>(buckets: &'a mut [KBucket], local: &NodeId, id: &NodeId) -> Option<&'a mut KBucket> {
    buckets.get_mut(bucket_index(local, id)?)
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
