//! The table against a model that counts by looking at everything it holds: after each of any calls both say the same,
//! hold the same nodes in the same places, and are asked about the same ones.

use std::{net::IpAddr, sync::OnceLock};

use identity::EnrBuilder;
use proptest::{collection::vec, prelude::*};
use rand::{SeedableRng, rngs::ChaCha8Rng};

use super::*;
use crate::story;

/// Nodes that take part: more than half of them belong into the farthest two buckets, which are then full.
const NODES: u32 = 130;
/// Records of each, by sequence number from 1 on.
const RECORDS: usize = 3;

/// What the model keeps of a node.
#[derive(Clone, Debug)]
struct Known {
    node: NodeEntry,
    inbound: bool,
    checks: u32,
    seen_at: Instant,
    find_failures: u8,
    checking: bool,
    asked_at: Option<Instant>,
}

#[derive(Clone, Debug, Default)]
struct Bucket {
    /// Least recently seen first.
    places: Vec<Known>,
    /// The oldest first.
    waiting: Vec<Known>,
}

/// Where an address is counted: its bucket's group and the table's. Nothing of loopback and the local network.
fn groups(ip: IpAddr) -> Option<(Vec<u8>, Vec<u8>)> {
    match ip.to_canonical() {
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_private() => None,
        IpAddr::V4(ip) => Some((ip.octets()[..3].to_vec(), ip.octets()[..3].to_vec())),
        IpAddr::V6(ip) if ip.is_loopback() => None,
        IpAddr::V6(ip) => match ip.octets() {
            // 6to4 is counted as the IPv4 network inside.
            [0x20, 0x02, a, b, c, ..] => Some((vec![a, b, c], vec![a, b, c])),
            octets => Some((octets[..8].to_vec(), octets[..6].to_vec())),
        },
    }
}

impl Bucket {
    fn all(&self) -> impl Iterator<Item = &Known> {
        self.places.iter().chain(&self.waiting)
    }

    fn place(&mut self, id: &NodeId) -> Option<&mut Known> {
        self.places.iter_mut().find(|known| known.node.node_id == *id)
    }

    fn known(&mut self, id: &NodeId) -> Option<&mut Known> {
        self.places.iter_mut().chain(&mut self.waiting).find(|known| known.node.node_id == *id)
    }

    /// Sixteen places, of which eight are for nodes that came by themselves.
    fn has_place(&self, inbound: bool) -> bool {
        let came = self.places.iter().filter(|known| known.inbound).count();
        self.places.len() < 16 && !(inbound && came >= 8)
    }

    fn seat(&mut self, known: Known) -> Change {
        let node = known.node.clone();
        // Behind those that are live and were heard of before it, and before all when it is not live itself.
        let before = |other: &Known| other.node.live && other.seen_at <= known.seen_at;
        let last = (0..self.places.len()).rev().find(|place| before(&self.places[*place]));
        let first_live = (0..self.places.len()).find(|place| self.places[*place].node.live);
        let place = match (node.live, last) {
            (false, _) => 0,
            (true, Some(last)) => last + 1,
            (true, None) => first_live.unwrap_or(self.places.len()),
        };
        self.places.insert(place, known);
        if node.live { Change::Live(node) } else { Change::Seen(node) }
    }

    /// The youngest that waits and may, a live one before all others.
    fn fill(&mut self) -> Option<Change> {
        let may = |place: &usize| self.has_place(self.waiting[*place].inbound);
        let places = || (0..self.waiting.len()).rev().filter(may);
        let chosen = places().find(|place| self.waiting[*place].node.live).or_else(|| places().next())?;
        let known = self.waiting.remove(chosen);
        Some(self.seat(known))
    }

    /// Ten wait. The oldest that came by itself goes first; one that came by itself drives out no other.
    fn wait(&mut self, known: Known) {
        if self.waiting.len() == 10 {
            match self.waiting.iter().position(|waiting| waiting.inbound) {
                Some(oldest) => drop(self.waiting.remove(oldest)),
                None if known.inbound => return,
                None => drop(self.waiting.remove(0)),
            }
        }
        self.waiting.push(known);
    }

    /// Moves a node that was heard of to the end of the places; one that waits keeps its turn.
    fn heard_of(&mut self, id: &NodeId, now: Instant) {
        if let Some(place) = self.places.iter().position(|known| known.node.node_id == *id) {
            let known = self.places.remove(place);
            self.places.push(Known { seen_at: now, ..known });
        }
    }
}

struct Model {
    local: NodeId,
    buckets: Vec<Bucket>,
}

impl Model {
    fn new(local: NodeId) -> Self {
        Self { local, buckets: vec![Bucket::default(); 17] }
    }

    /// The bucket by the number of bits that follow the common beginning.
    fn bucket(&mut self, id: &NodeId) -> Option<&mut Bucket> {
        let bit = |id: &NodeId, place: usize| id.as_bytes()[place / 8] >> (7 - place % 8) & 1;
        let common = (0..256).take_while(|place| bit(id, *place) == bit(&self.local, *place)).count();
        (common < 256).then(|| &mut self.buckets[16usize.saturating_sub(common)])
    }

    /// Whether an address of one more node fits the limits: 2 in its bucket, 10 in the table.
    fn fits(&mut self, id: &NodeId, ip: IpAddr) -> bool {
        let Some((group, site)) = groups(ip) else { return true };
        let other = |known: &&Known| known.node.node_id != *id;
        let in_table = self.buckets.iter().flat_map(Bucket::all).filter(other);
        let in_table = in_table
            .filter(|known| groups(known.node.endpoint.ip).is_some_and(|(_, other)| other == site))
            .count();
        let in_bucket = self.bucket(id).map_or(0, |bucket| {
            let same =
                |known: &&Known| groups(known.node.endpoint.ip).is_some_and(|(other, _)| other == group);
            bucket.all().filter(other).filter(same).count()
        });
        in_bucket < 2 && in_table < 10
    }

    fn offer(&mut self, now: Instant, known: Known) -> Offered {
        if !self.fits(&known.node.node_id, known.node.endpoint.ip) {
            return Offered { limited: true, ..Offered::default() };
        }
        let Some(bucket) = self.bucket(&known.node.node_id) else { return Offered::default() };
        if bucket.has_place(known.inbound) {
            return Offered { change: Some(bucket.seat(known)), ..Offered::default() };
        }
        bucket.wait(known);
        let long_silent =
            |oldest: &&mut Known| !oldest.checking && now - oldest.seen_at >= Duration::from_secs(10);
        let oldest =
            (bucket.places.len() == 16).then(|| bucket.places.first_mut()).flatten().filter(long_silent);
        let challenge = oldest.map(|oldest| {
            oldest.checking = true;
            oldest.node.clone()
        });
        Offered { challenge, ..Offered::default() }
    }

    fn found(&mut self, now: Instant, node: NodeEntry) -> Offered {
        let Some(bucket) = self.bucket(&node.node_id) else { return Offered::default() };
        if let Some(known) = bucket.known(&node.node_id) {
            known.inbound = false;
            return Offered { change: bucket.fill(), ..Offered::default() };
        }
        self.offer(now, Known::new(NodeEntry { live: false, ..node }, false, 0, now))
    }

    fn proved(&mut self, now: Instant, node: NodeEntry, inbound: bool) -> Offered {
        let (id, endpoint) = (node.node_id, node.endpoint);
        let fits = self.fits(&id, endpoint.ip);
        let Some(bucket) = self.bucket(&id) else { return Offered::default() };
        let Some(known) = bucket.known(&id) else {
            return self.offer(now, Known::new(NodeEntry { live: true, ..node }, inbound, 1, now));
        };
        let held = known.node.endpoint;
        if (held.ip, held.udp) != (endpoint.ip, endpoint.udp) {
            if !fits {
                return Offered { limited: true, ..Offered::default() };
            }
            known.node.endpoint = endpoint;
        }
        let was_live = std::mem::replace(&mut known.node.live, true);
        known.checks += 1;
        known.checking = false;
        known.inbound &= inbound;
        known.node.enr_seq = node.enr_seq.or(known.node.enr_seq);
        bucket.heard_of(&id, now);
        let became_live =
            bucket.place(&id).filter(|_| !was_live).map(|known| Change::Live(known.node.clone()));
        Offered { change: became_live.or_else(|| bucket.fill()), ..Offered::default() }
    }

    fn heard(&mut self, now: Instant, id: &NodeId, from: SocketAddr, tcp: u16, seq: Option<u64>) -> bool {
        let Some(bucket) = self.bucket(id) else { return false };
        let Some(known) = bucket.known(id) else { return false };
        let held = &mut known.node.endpoint;
        if (held.ip, held.udp) != (from.ip(), from.port()) {
            return false;
        }
        if known.node.enr.is_none() && tcp != 0 {
            held.tcp = tcp;
        }
        known.node.enr_seq = seq.or(known.node.enr_seq);
        bucket.heard_of(id, now);
        true
    }

    fn evict(&mut self, id: &NodeId) -> Vec<Change> {
        let Some(bucket) = self.bucket(id) else { return Vec::new() };
        let Some(place) = bucket.places.iter().position(|known| known.node.node_id == *id) else {
            return Vec::new();
        };
        bucket.places.remove(place);
        [Some(Change::Removed(*id)), bucket.fill()].into_iter().flatten().collect()
    }

    fn silent(&mut self, id: &NodeId) -> Vec<Change> {
        let Some(known) = self.bucket(id).and_then(|bucket| bucket.place(id)) else { return Vec::new() };
        known.checks /= 3;
        known.node.live = false;
        known.checking = false;
        if known.checks == 0 { self.evict(id) } else { Vec::new() }
    }

    fn find_failed(&mut self, id: &NodeId) -> Vec<Change> {
        let Some(bucket) = self.bucket(id) else { return Vec::new() };
        let few = bucket.places.len() < 4;
        let Some(known) = bucket.place(id) else { return Vec::new() };
        known.find_failures += 1;
        if !few && known.find_failures >= 5 { self.evict(id) } else { Vec::new() }
    }

    fn set_record(&mut self, enr: &Enr) -> bool {
        let id = enr.node_id();
        let Some(known) = self.bucket(&id).and_then(|bucket| bucket.known(&id)) else { return false };
        if known.node.enr.as_ref().is_some_and(|held| held.seq() >= enr.seq()) {
            return false;
        }
        let held = &mut known.node.endpoint;
        if let Some(told) = enr.endpoint().filter(|told| (told.ip, told.udp) == (held.ip, held.udp)) {
            held.tcp = told.tcp;
        }
        known.node.enr = Some(enr.clone());
        true
    }

    fn take_record_turn(&mut self, now: Instant, id: &NodeId) -> Option<NodeEntry> {
        let known = self.bucket(id)?.known(id)?;
        let told = known.node.enr_seq?;
        let is_newer = known.node.enr.as_ref().is_none_or(|held| held.seq() < told);
        if !is_newer || known.asked_at.is_some_and(|at| now - at < Duration::from_secs(60)) {
            return None;
        }
        known.asked_at = Some(now);
        Some(known.node.clone())
    }

    /// The table chose a node to check: that it may be chosen, or that none may.
    fn check(&mut self, chosen: Option<&NodeEntry>, may: impl Fn(&Bucket, usize) -> bool) {
        let free = |bucket: &Bucket, place: usize| !bucket.places[place].checking && may(bucket, place);
        let any = self.buckets.iter().any(|bucket| (0..bucket.places.len()).any(|place| free(bucket, place)));
        assert_eq!(chosen.is_some(), any, "{chosen:?}");
        let Some(chosen) = chosen else { return };
        let bucket = self.bucket(&chosen.node_id).unwrap();
        let place =
            bucket.places.iter().position(|known| known.node == *chosen).expect("a node as it is held");
        assert!(free(bucket, place), "{chosen:?} must not be checked");
        bucket.places[place].checking = true;
    }

    fn snapshot(&self) -> TableSnapshot {
        let nodes = |known: &[Known]| known.iter().map(|known| known.node.clone()).collect();
        let buckets = self.buckets.iter();
        let buckets = buckets.map(|bucket| BucketSnapshot {
            entries: nodes(&bucket.places),
            replacements: nodes(&bucket.waiting),
        });
        TableSnapshot { buckets: buckets.collect() }
    }
}

impl Known {
    const fn new(node: NodeEntry, inbound: bool, checks: u32, seen_at: Instant) -> Self {
        Self { node, inbound, checks, seen_at, find_failures: 0, checking: false, asked_at: None }
    }
}

/// A call of the table; nodes by number.
#[derive(Clone, Debug)]
enum Call {
    Pass(Duration),
    Found(u32, IpAddr),
    Proved(u32, IpAddr, bool, Option<u64>),
    Heard(u32, IpAddr, u16, Option<u64>),
    Silent(u32),
    Evict(u32),
    FindFailed(u32),
    FindAnswered(u32),
    Unchecked(u32),
    SetRecord(u32, usize),
    RecordTurn(u32),
    CheckUnverified(u64),
    CheckLeastRecent(u64),
}

/// Addresses of some networks, so that limits are met, and of loopback, which has none.
fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        4 => (0..12u8, 1..4u8).prop_map(|(net, host)| IpAddr::from([8, 8, net, host])),
        4 => (1..255u8).prop_map(|host| IpAddr::from([127, 0, 0, host])),
        1 => (0..3u16, 0..3u16, 1..4u16).prop_map(|(site, link, host)| IpAddr::from([0x2606, 0, site, link, 0, 0, 0, host])),
        1 => (0..12u16).prop_map(|net| IpAddr::from([0x2002, 0x0808, net << 8, 0, 0, 0, 0, 1])),
    ]
}

fn calls() -> impl Strategy<Value = Call> {
    let seq = || proptest::option::of(0..5u64);
    let node = || 0..NODES;
    prop_oneof![
        6 => (0..8_000u64).prop_map(|millis| Call::Pass(Duration::from_millis(millis))),
        12 => (node(), addresses()).prop_map(|(node, ip)| Call::Found(node, ip)),
        20 => (node(), addresses(), any::<bool>(), seq()).prop_map(|(node, ip, inbound, seq)| Call::Proved(node, ip, inbound, seq)),
        4 => (node(), addresses(), 0..3u16, seq()).prop_map(|(node, ip, tcp, seq)| Call::Heard(node, ip, tcp, seq)),
        4 => node().prop_map(Call::Silent),
        3 => node().prop_map(Call::Evict),
        6 => (0..NODES / 6).prop_map(Call::FindFailed),
        1 => node().prop_map(Call::FindAnswered),
        1 => node().prop_map(Call::Unchecked),
        3 => (node(), 0..RECORDS).prop_map(|(node, record)| Call::SetRecord(node, record)),
        3 => node().prop_map(Call::RecordTurn),
        3 => any::<u64>().prop_map(Call::CheckUnverified),
        3 => any::<u64>().prop_map(Call::CheckLeastRecent),
    ]
}

/// Every node with its records; node 0 is the table's own.
fn nodes() -> &'static [(NodeEntry, Vec<Enr>)] {
    static NODE_LIST: OnceLock<Vec<(NodeEntry, Vec<Enr>)>> = OnceLock::new();
    NODE_LIST.get_or_init(|| {
        let node = |number| {
            let entry = story::node(number, "127.0.0.1");
            // Some are about an endpoint where the node may be, and name another TCP port.
            let told = Endpoint { ip: IpAddr::from([8, 8, (number % 12) as u8, 1]), udp: 30303, tcp: 77 };
            let record =
                |seq| EnrBuilder::new(seq as u64 + 1).endpoint(told).sign(&story::key(number)).unwrap();
            (entry, (0..RECORDS).map(record).collect())
        };
        (0..NODES).map(node).collect()
    })
}

struct Pair {
    table: Table,
    model: Model,
    now: Instant,
}

impl Pair {
    fn call(&mut self, call: &Call) {
        let (table, model, now) = (&mut self.table, &mut self.model, self.now);
        let known = |number: &u32| &nodes()[*number as usize];
        let id = |number: &u32| known(number).0.node_id;
        let at = |number: &u32, ip: &IpAddr, enr_seq| {
            let entry = &known(number).0;
            NodeEntry { endpoint: Endpoint { ip: *ip, ..entry.endpoint }, enr_seq, ..entry.clone() }
        };
        match call {
            Call::Pass(time) => self.now += *time,
            Call::Found(node, ip) => {
                let node = at(node, ip, None);
                assert_eq!(table.found(now, node.clone()), model.found(now, node));
            }
            Call::Proved(node, ip, inbound, seq) => {
                let node = at(node, ip, *seq);
                assert_eq!(table.proved(now, node.clone(), *inbound), model.proved(now, node, *inbound));
            }
            Call::Heard(node, ip, tcp, seq) => {
                let (id, from) = (id(node), SocketAddr::new(*ip, 30303));
                assert_eq!(table.heard(now, &id, from, *tcp, *seq), model.heard(now, &id, from, *tcp, *seq));
            }
            Call::Silent(node) => assert_eq!(table.silent(&id(node)), model.silent(&id(node))),
            Call::Evict(node) => assert_eq!(table.evict(&id(node)), model.evict(&id(node))),
            Call::FindFailed(node) => assert_eq!(table.find_failed(&id(node)), model.find_failed(&id(node))),
            Call::FindAnswered(node) => {
                table.find_answered(&id(node));
                let id = id(node);
                model
                    .bucket(&id)
                    .and_then(|bucket| bucket.known(&id))
                    .into_iter()
                    .for_each(|known| known.find_failures = 0);
            }
            Call::Unchecked(node) => {
                table.unchecked(&id(node));
                let id = id(node);
                model
                    .bucket(&id)
                    .and_then(|bucket| bucket.known(&id))
                    .into_iter()
                    .for_each(|known| known.checking = false);
            }
            Call::SetRecord(node, record) => {
                let record = &known(node).1[*record];
                assert_eq!(table.set_record(record), model.set_record(record));
            }
            Call::RecordTurn(node) => {
                assert_eq!(table.take_record_turn(now, &id(node)), model.take_record_turn(now, &id(node)));
            }
            Call::CheckUnverified(seed) => {
                let chosen = table.take_unverified(&mut ChaCha8Rng::seed_from_u64(*seed));
                model.check(chosen.as_ref(), |bucket, place| !bucket.places[place].node.live);
            }
            Call::CheckLeastRecent(seed) => {
                let chosen = table.take_least_recent(&mut ChaCha8Rng::seed_from_u64(*seed));
                let first_live = |bucket: &Bucket| bucket.places.iter().position(|known| known.node.live);
                model.check(chosen.as_ref(), |bucket, place| first_live(bucket) == Some(place));
            }
        }
        assert_eq!(self.table.snapshot(), self.model.snapshot());
    }
}

proptest! {
    // A case that fails is printed; a fault that it shows is kept as a test of its own.
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn t01_the_table_is_what_a_plain_model_is_after_any_calls(calls in vec(calls(), 1..500)) {
        let (local, now) = (nodes()[0].0.node_id, story::start().instant);
        let table = Table::new(local, AddressPolicy::default());
        let mut pair = Pair { table, model: Model::new(local), now };
        for call in &calls {
            pair.call(call);
        }
    }
}
