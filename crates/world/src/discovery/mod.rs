//! Many discovery machines on one simulated network, and what they know compared with the truth.
//! The scenario over them is `scenario.rs`; who asks for a lookup gets it back from [`Discoveries::lookups_ended`].

mod scenario;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use discv4::{Config, Discovery, Event, LookupId, NodeEntry, Output};
use identity::{Endpoint, EnrBuilder, NodeId, NodeKey, PublicKey};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use simnet::{HostId, Net};

pub use scenario::{DiscoveryReport, DiscoverySample, DiscoverySettings, run_discovery};

use crate::{
    SimCurve, numbered_key,
    place::{PORT, endpoint_of},
    sign_record,
};

/// One node.
#[derive(Debug)]
struct Member {
    machine: Discovery,
    curve: SimCurve,
    host: HostId,
    addr: SocketAddr,
    node_id: NodeId,
    started: Instant,
    /// Lookups of the owner that run.
    lookups: BTreeMap<LookupId, u64>,
}

/// A lookup that has ended.
#[derive(Clone, Debug)]
pub struct Found {
    /// Which node asked.
    pub asker: usize,
    /// What for.
    pub target: PublicKey,
    /// What it found, the nearest first.
    pub nodes: Vec<NodeId>,
    /// How long it took.
    pub took: Duration,
}

/// A lookup that runs.
#[derive(Debug)]
struct Asked {
    target: PublicKey,
    at: Instant,
}

/// Discovery machines on a simulated network.
#[derive(Debug)]
pub struct Discoveries {
    /// The network under them.
    pub net: Net,
    /// Those that run, by number.
    members: BTreeMap<usize, Member>,
    next_member: usize,
    by_host: BTreeMap<HostId, usize>,
    asked: BTreeMap<u64, Asked>,
    next_question: u64,
    ended: Vec<Found>,
    rng: ChaCha8Rng,
}

impl Discoveries {
    /// An empty network. All that is left to chance follows from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        Self {
            net: Net::new(rng.random()),
            members: BTreeMap::new(),
            next_member: 0,
            by_host: BTreeMap::new(),
            asked: BTreeMap::new(),
            next_question: 0,
            ended: Vec::new(),
            rng,
        }
    }

    /// Adds a node in a /24 of its own, that knows `bootnodes`, and starts it. Its number.
    pub fn add(&mut self, bootnodes: Vec<NodeEntry>) -> usize {
        let index = self.next_member;
        self.next_member += 1;
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let key: Arc<NodeKey> = Arc::new(numbered_key(u64::from(number) + 1));
        let endpoint = endpoint_of(number);
        let ip = endpoint.ip;
        let enr =
            sign_record(&key, &EnrBuilder::new(1).endpoint(endpoint)).expect("a record of one endpoint fits");
        let host = self.net.add_host(ip);
        let config = Config { bootnodes, ..Config::default() };
        let member = Member {
            node_id: enr.node_id(),
            machine: Discovery::new(config, enr, self.rng.random()),
            curve: SimCurve::new(key, self.rng.random()),
            host,
            addr: SocketAddr::new(ip, PORT),
            started: self.net.now().instant,
            lookups: BTreeMap::new(),
        };
        self.members.insert(index, member);
        self.by_host.insert(host, index);
        self.tick(index);
        index
    }

    /// A node as others may be told of it.
    pub fn entry(&self, index: usize) -> NodeEntry {
        let member = &self.members[&index];
        let endpoint = Endpoint { ip: member.addr.ip(), udp: PORT, tcp: PORT };
        NodeEntry::new(member.machine.local().public_key(), endpoint)
    }

    /// Stops a node for good, without a word.
    pub fn stop(&mut self, index: usize) {
        let Some(member) = self.members.remove(&index) else { return };
        for question in member.lookups.into_values() {
            self.asked.remove(&question);
        }
        self.by_host.remove(&member.host);
        self.net.remove_host(member.host);
    }

    /// The nodes that run.
    pub fn running(&self) -> Vec<usize> {
        self.members.keys().copied().collect()
    }

    /// How many live nodes the table of a node that runs has.
    pub fn live_count(&self, index: usize) -> usize {
        self.members[&index].machine.table().live_count()
    }

    /// How long a node that runs has run.
    pub fn age(&self, index: usize) -> Duration {
        self.net.now().instant.saturating_duration_since(self.members[&index].started)
    }

    /// Starts a lookup from a node that runs.
    pub fn lookup(&mut self, index: usize, target: PublicKey) {
        let now = self.net.now();
        let Some(member) = self.members.get_mut(&index) else { return };
        let question = self.next_question;
        self.next_question += 1;
        self.asked.insert(question, Asked { target, at: now.instant });
        let id = member.machine.lookup(now, target);
        member.lookups.insert(id, question);
        self.drain(index);
    }

    /// Starts a lookup of a random target from a random node.
    pub fn random_lookup(&mut self) {
        let running = self.running();
        let asker = running[self.rng.random_range(0..running.len())];
        let mut target = [0; 64];
        self.rng.fill(&mut target[..]);
        self.lookup(asker, PublicKey::from_bytes(target));
    }

    /// The lookups that have ended since the last call.
    pub fn lookups_ended(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.ended)
    }

    /// The nodes that run, without the asker, nearest to the target first.
    pub fn truth(&self, asker: usize, target: &PublicKey) -> Vec<NodeId> {
        let target = target.node_id();
        let others = self.members.iter().filter(|(index, _)| **index != asker);
        let mut ids: Vec<NodeId> = others.map(|(_, member)| member.node_id).collect();
        ids.sort_by_key(|id| target.distance(id));
        ids
    }

    /// Lets virtual time pass.
    pub fn run(&mut self, time: Duration) {
        let until = self.net.now().later(time).instant;
        while let Some(event) = self.net.next_event(until) {
            match event {
                simnet::Event::Datagram { host, from, bytes, .. } => {
                    let (now, index) = (self.net.now(), self.by_host.get(&host).copied());
                    let Some((index, member)) =
                        index.and_then(|index| Some((index, self.members.get_mut(&index)?)))
                    else {
                        continue;
                    };
                    member.machine.handle_datagram(now, from, &bytes);
                    self.drain(index);
                }
                simnet::Event::Wake { host } => {
                    let Some(index) = self.by_host.get(&host).copied() else { continue };
                    self.tick(index);
                }
                simnet::Event::Accepted { .. }
                | simnet::Event::Connected { .. }
                | simnet::Event::ConnectFailed { .. }
                | simnet::Event::Readable { .. }
                | simnet::Event::Writable { .. }
                | simnet::Event::Closed { .. } => {}
            }
        }
    }

    fn tick(&mut self, index: usize) {
        let now = self.net.now();
        if let Some(member) = self.members.get_mut(&index) {
            member.machine.handle_timeout(now);
            self.drain(index);
        }
    }

    /// Does all that a machine wants done, then sets its alarm.
    fn drain(&mut self, index: usize) {
        let now = self.net.now();
        let Some(member) = self.members.get_mut(&index) else { return };
        while let Some(output) = member.machine.poll_output() {
            match output {
                Output::Send { to, datagram } => self.net.send_datagram(member.host, PORT, to, datagram),
                Output::Curve(job) => {
                    let result = member.curve.run(job.ops);
                    member.machine.handle_curve(now, job.ticket, result);
                }
                Output::Event(Event::LookupFinished { lookup, nodes }) => {
                    let question = member.lookups.remove(&lookup);
                    let Some(Asked { target, at }) = question.and_then(|id| self.asked.remove(&id)) else {
                        continue;
                    };
                    let nodes = nodes.iter().map(|node| node.node_id).collect();
                    let took = now.instant.saturating_duration_since(at);
                    self.ended.push(Found { asker: index, target, nodes, took });
                }
                Output::Event(_) => {}
            }
        }
        self.net.wake_at(member.host, member.machine.next_timeout());
    }
}
