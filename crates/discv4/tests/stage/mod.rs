//! What the tests of the machine are played with: a host (one machine whose curve jobs run at once), strangers that
//! sign whatever they like, and in `net` many hosts on a simulated network.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part of the stage")]

pub mod net;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use discv4::{
    Config, Discovery, Event, MAX_OUTPUTS_PER_CALL, NodeEntry, Output, Reject,
    wire::{EnrRequest, Envelope, FindNode, MAX_DATAGRAM_LEN, Packet, Ping, Pong, Unsigned},
};
use identity::{
    Endpoint, Enr, EnrBuilder, NodeKey, Now, PublicKey,
    curve::{CurveJob, InlineCurve},
};
use rand::{SeedableRng, rngs::ChaCha20Rng};

/// Some moment.
#[expect(clippy::disallowed_methods, reason = "tests start from some moment and go on by virtual time")]
pub fn start() -> Now {
    Now::system()
}

pub fn key(number: u32) -> NodeKey {
    let mut secret = [1; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    NodeKey::from_bytes(&secret).unwrap()
}

pub fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub fn endpoint(addr: SocketAddr) -> Endpoint {
    Endpoint { ip: addr.ip(), udp: addr.port(), tcp: addr.port() }
}

/// The record of a node.
pub fn record(key: &NodeKey, addr: SocketAddr, seq: u64) -> Enr {
    EnrBuilder::new(seq).endpoint(endpoint(addr)).sign(key).unwrap()
}

/// A datagram that a machine sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub to: SocketAddr,
    pub datagram: Bytes,
}

impl Sent {
    pub fn packet(&self) -> Packet {
        let envelope = Envelope::read(&self.datagram).unwrap();
        envelope.check_hash().unwrap();
        envelope.decode().unwrap()
    }

    pub fn hash(&self) -> [u8; 32] {
        Envelope::read(&self.datagram).unwrap().hash
    }

    pub fn signer(&self) -> PublicKey {
        let envelope = Envelope::read(&self.datagram).unwrap();
        envelope.signature.recover(&envelope.digest()).unwrap()
    }
}

/// One machine, its clock in the test's hand.
pub struct Host {
    pub machine: Discovery,
    pub now: Now,
    pub key: Arc<NodeKey>,
    pub addr: SocketAddr,
    pub events: Vec<Event>,
    /// Jobs that wait, while `hold_jobs`.
    pub held: Vec<CurveJob>,
    pub hold_jobs: bool,
    /// Curve operations that were run.
    pub op_count: usize,
    curve: InlineCurve<ChaCha20Rng>,
}

impl Host {
    pub fn new(number: u32, address: &str, config: Config) -> Self {
        let (key, addr) = (Arc::new(key(number)), addr(address));
        let machine = Discovery::new(config, record(&key, addr, 1), u64::from(number));
        let curve = InlineCurve::new(Arc::clone(&key), ChaCha20Rng::seed_from_u64(1));
        let (events, held) = (Vec::new(), Vec::new());
        Self { machine, now: start(), key, addr, events, held, hold_jobs: false, op_count: 0, curve }
    }

    pub fn entry(&self) -> NodeEntry {
        NodeEntry::new(self.key.public_key(), endpoint(self.addr))
    }

    /// Hands in a datagram; gives what is sent.
    pub fn receive(&mut self, from: SocketAddr, datagram: &[u8]) -> Vec<Sent> {
        self.machine.handle_datagram(self.now, from, datagram);
        self.drain()
    }

    /// Moves the clock, deadline by deadline; gives what is sent.
    pub fn pass(&mut self, time: Duration) -> Vec<Sent> {
        let (end, mut sent) = (self.now.later(time), Vec::new());
        while let Some(next) = self.machine.next_timeout().filter(|next| *next <= end.instant) {
            self.now = self.now.later(next.saturating_duration_since(self.now.instant));
            sent.extend(self.tick());
        }
        self.now = end;
        sent.extend(self.tick());
        sent
    }

    pub fn tick(&mut self) -> Vec<Sent> {
        self.machine.handle_timeout(self.now);
        self.drain()
    }

    /// Runs the jobs that were held, in order.
    pub fn release(&mut self) -> Vec<Sent> {
        self.hold_jobs = false;
        let mut sent = Vec::new();
        for job in std::mem::take(&mut self.held) {
            self.run(job);
            sent.extend(self.drain());
        }
        sent
    }

    pub fn drain(&mut self) -> Vec<Sent> {
        let (mut sent, mut count) = (Vec::new(), 0);
        let mut jobs = Vec::new();
        loop {
            while let Some(output) = self.machine.poll_output() {
                count += 1;
                match output {
                    Output::Send { to, datagram } => {
                        assert!(datagram.len() <= MAX_DATAGRAM_LEN);
                        sent.push(Sent { to, datagram });
                    }
                    Output::Curve(job) => jobs.push(job),
                    Output::Event(event) => self.events.push(event),
                }
            }
            assert!(count <= MAX_OUTPUTS_PER_CALL);
            if self.hold_jobs {
                self.held.append(&mut jobs);
            }
            if jobs.is_empty() {
                return sent;
            }
            let job = jobs.remove(0);
            self.run(job);
        }
    }

    pub fn run(&mut self, job: CurveJob) {
        self.op_count += job.ops.len();
        let result = self.curve.run(job.ops);
        self.machine.handle_curve(self.now, job.ticket, result);
    }

    pub fn rejected(&self, reject: Reject) -> u64 {
        self.machine.rejects().count(reject)
    }

    /// When packets that are sent now end.
    pub fn soon(&self) -> u64 {
        self.now.unix_seconds() + 20
    }

    /// Lets a stranger prove its endpoint, and gives it our proof. Clears the events.
    pub fn bond(&mut self, stranger: &Stranger) {
        let sent = self.receive(stranger.addr, &stranger.ping(self));
        let ping_back =
            sent.iter().find(|sent| matches!(sent.packet(), Packet::Ping(_))).expect("pinged back");
        self.receive(stranger.addr, &stranger.pong(self, ping_back));
        self.events.clear();
    }
}

/// Somebody with a key and an address, who sends what the test wants.
#[derive(Clone)]
pub struct Stranger {
    pub key: NodeKey,
    pub addr: SocketAddr,
}

impl Stranger {
    pub fn new(number: u32, address: &str) -> Self {
        Self { key: key(number), addr: addr(address) }
    }

    pub fn sign(&self, unsigned: Unsigned) -> Vec<u8> {
        let signature = self.key.sign(&unsigned.digest());
        unsigned.seal(&signature).0.to_vec()
    }

    pub fn ping(&self, host: &Host) -> Vec<u8> {
        self.ping_until(host, host.soon())
    }

    pub fn ping_until(&self, host: &Host, expiration: u64) -> Vec<u8> {
        self.sign(Ping::encode(&endpoint(self.addr), &endpoint(host.addr), expiration, 0))
    }

    /// The answer to a Ping of the host.
    pub fn pong(&self, host: &Host, ping: &Sent) -> Vec<u8> {
        self.sign(Pong::encode(&endpoint(host.addr), &ping.hash(), host.soon(), 0))
    }

    pub fn find_node(&self, host: &Host, target: PublicKey) -> Vec<u8> {
        self.sign(FindNode::encode(&target, host.soon()))
    }

    pub fn enr_request(&self, host: &Host) -> Vec<u8> {
        self.sign(EnrRequest::encode(host.soon()))
    }

    pub fn entry(&self) -> NodeEntry {
        NodeEntry::new(self.key.public_key(), endpoint(self.addr))
    }
}

/// The packets of what was sent, in words.
pub fn kinds(sent: &[Sent]) -> Vec<&'static str> {
    let word = |sent: &Sent| match sent.packet() {
        Packet::Ping(_) => "ping",
        Packet::Pong(_) => "pong",
        Packet::FindNode(_) => "find",
        Packet::Neighbors(_) => "neighbors",
        Packet::EnrRequest(_) => "enr?",
        Packet::EnrResponse(_) => "enr!",
    };
    sent.iter().map(word).collect()
}

/// An address of the public internet by number, each in its own /24.
pub fn public(number: u16) -> SocketAddr {
    let [high, low] = number.to_be_bytes();
    SocketAddr::new(IpAddr::from([8, high, low, 1]), 30303)
}
