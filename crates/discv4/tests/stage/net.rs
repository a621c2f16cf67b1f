//! Many hosts on a simulated network with latency and loss, all from one seed.
//! Time is virtual and moves from one datagram or deadline to the next.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use discv4::{Config, Event, NodeEntry};
use identity::{NodeId, Now, PublicKey};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};

use super::{Host, Sent, start};

/// How long a datagram is under way.
const LATENCY_MILLIS: std::ops::Range<u64> = 5..40;

/// A datagram under way: from, to, bytes.
type Flight = (SocketAddr, SocketAddr, Bytes);

pub struct Net {
    pub hosts: Vec<Host>,
    pub now: Now,
    /// Out of a hundred datagrams, so many are lost.
    pub loss_percent: u32,
    pub datagram_count: usize,
    by_addr: BTreeMap<SocketAddr, usize>,
    in_flight: BTreeMap<(Instant, usize), Flight>,
    down: BTreeSet<usize>,
    rng: ChaCha8Rng,
}

impl Net {
    pub fn new(seed: u64) -> Self {
        Self {
            hosts: Vec::new(),
            // The same time on the wall in every run, or the seconds would begin elsewhere.
            now: Now { unix: Duration::from_secs(1_800_000_000), ..start() },
            loss_percent: 0,
            datagram_count: 0,
            by_addr: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            down: BTreeSet::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// Adds a host that knows `bootnodes`, and starts it.
    pub fn add(&mut self, address: SocketAddr, bootnodes: Vec<NodeEntry>) -> usize {
        let index = self.hosts.len();
        let config = Config { bootnodes, ..Config::default() };
        let mut host = Host::new(u32::try_from(index).unwrap() + 1, &address.to_string(), config);
        host.now = self.now;
        self.by_addr.insert(address, index);
        self.hosts.push(host);
        let sent = self.hosts[index].tick();
        self.take(index, sent);
        index
    }

    /// Adds a host that was made elsewhere.
    pub fn revive(&mut self, mut host: Host) {
        host.now = self.now;
        self.by_addr.insert(host.addr, self.hosts.len());
        self.hosts.push(host);
    }

    /// The host neither sends nor hears from now on.
    pub fn stop(&mut self, index: usize) {
        self.down.insert(index);
    }

    /// Makes a host do something.
    pub fn act<T>(&mut self, index: usize, action: impl FnOnce(&mut Host) -> T) -> T {
        let host = &mut self.hosts[index];
        host.now = self.now;
        let result = action(host);
        let sent = host.drain();
        self.take(index, sent);
        result
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now.later(time).instant;
        while self.step(end) {}
        self.now = self.now.later(end.saturating_duration_since(self.now.instant));
    }

    /// Runs until `done` holds; panics after `limit`.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now.later(limit).instant;
        while !done(self) {
            assert!(self.step(end), "not done after {limit:?}");
        }
    }

    /// Looks a target up from a host, and gives what was found and how long it took.
    pub fn lookup(&mut self, index: usize, target: PublicKey) -> (Vec<NodeEntry>, Duration) {
        let begun = self.now.instant;
        let id = self.act(index, |host| host.machine.lookup(host.now, target));
        let found = |event: &Event| {
            let Event::LookupFinished { lookup, nodes } = event else { return None };
            (*lookup == id).then(|| nodes.clone())
        };
        self.run_until(Duration::from_secs(11), |net| {
            net.hosts[index].events.iter().any(|event| found(event).is_some())
        });
        let nodes = self.hosts[index].events.iter().find_map(found).unwrap();
        (nodes, self.now.instant.saturating_duration_since(begun))
    }

    /// The ids of the hosts that run, nearest to a target first.
    pub fn nearest(&self, target: &PublicKey) -> Vec<NodeId> {
        let target = target.node_id();
        let running = self.hosts.iter().enumerate().filter(|(index, _)| !self.down.contains(index));
        let mut ids: Vec<NodeId> = running.map(|(_, host)| host.key.node_id()).collect();
        ids.sort_by_key(|id| target.distance(id));
        ids
    }

    /// The next datagram or deadline, unless it is after `end`.
    fn step(&mut self, end: Instant) -> bool {
        let deadlines = self.hosts.iter().enumerate().filter(|(index, _)| !self.down.contains(index));
        let deadline =
            deadlines.filter_map(|(index, host)| Some((host.machine.next_timeout()?, index))).min();
        let arrival = self.in_flight.first_key_value().map(|((at, _), _)| *at);
        let at = deadline.map(|(at, _)| at).into_iter().chain(arrival).min().filter(|at| *at <= end);
        let Some(at) = at else { return false };
        self.now = self.now.later(at.saturating_duration_since(self.now.instant));
        if arrival == Some(at) {
            let (_, (from, to, datagram)) = self.in_flight.pop_first().unwrap();
            if let Some(index) = self.by_addr.get(&to).copied().filter(|index| !self.down.contains(index)) {
                self.hosts[index].now = self.now;
                let sent = self.hosts[index].receive(from, &datagram);
                self.take(index, sent);
            }
        } else if let Some((_, index)) = deadline {
            self.hosts[index].now = self.now;
            let sent = self.hosts[index].tick();
            self.take(index, sent);
        }
        true
    }

    fn take(&mut self, from: usize, sent: Vec<Sent>) {
        let from = self.hosts[from].addr;
        for Sent { to, datagram } in sent {
            self.datagram_count += 1;
            if self.rng.random_range(0..100) >= self.loss_percent {
                let at = self.now.later(Duration::from_millis(self.rng.random_range(LATENCY_MILLIS))).instant;
                self.in_flight.insert((at, self.datagram_count), (from, to, datagram));
            }
        }
    }
}
