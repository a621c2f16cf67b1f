//! The node under test, the strangers around it, and what has to hold after every call of the machine.
//! Strangers: a node far away, one in another network, one with an IPv6 address, one on loopback; the first two have
//! proved their endpoints. It all happens in 2005, before the packets of EIP-8's test vectors end.

use std::{
    collections::VecDeque,
    net::{IpAddr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use discv4::{
    Config, Discovery, MAX_OUTPUTS_PER_CALL, Output, Reject,
    config::{MAX_BONDS, MAX_JOBS, MAX_LOOKUPS, MAX_PENDING},
    wire::{Envelope, MAX_DATAGRAM_LEN, Neighbors, Packet, PacketKind, Ping, Pong, Unsigned},
};
use identity::{
    Endpoint, EnrBuilder, Label, NodeKey, Now, Signature,
    curve::{CurveJob, CurveOp, CurveOutput, CurveResult, KeyRef},
    keccak256, keccak256_concat, steps,
};
use world::{SimCurve, numbered_key};

use super::{MARK, SEAL_AS_OTHER, SEAL_FREELY, SEAL_NO_HASH, record};
use crate::Verdict;

/// When it begins, in seconds since 1970: before the packets of EIP-8 end, at 1,136,239,445.
pub const START: u64 = 1_136_239_000;
/// The stranger on loopback, of whom those far away do not tell.
const ON_LOOPBACK: usize = 3;
/// How long packets sent honestly stay valid, in seconds.
const LIFETIME: u64 = 20;
/// How many strangers there are.
pub(super) const STRANGERS: usize = 4;
/// Those of them that have proved their endpoints, and have our proof.
const BONDED: usize = 2;
/// What an endpoint that has not proved itself gets at most, in bytes for each byte from there (U01).
const MAX_AMPLIFICATION: usize = 3;
/// What one datagram makes the machine send to its own source at most, in bytes: a Neighbors of 16 nodes and what the
/// machine asks in turn (U04: two datagrams answer a FindNode).
const MAX_ANSWER_LEN: usize = 2 * MAX_DATAGRAM_LEN;
/// Calls that time is brought in at most, however much of it passes: a machine has to bear being late.
const MAX_WAKES: usize = 16;
/// What a reject is counted for that is no fault of the packet: what follows from it is put off.
const NO_FAULTS: [Reject; 4] =
    [Reject::PingBackRate, Reject::ToldRate, Reject::TableLimit, Reject::PendingFull];

/// Passes over a datagram, at most: its items are read, those of a record in it counted and read besides.
const PASSES: usize = 3;

struct Keys {
    host: Arc<NodeKey>,
    strangers: [Arc<NodeKey>; STRANGERS],
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| Keys {
        host: Arc::new(numbered_key(1)),
        strangers: [2, 3, 4, 5].map(|number| Arc::new(numbered_key(number))),
    })
}

/// The key of a stranger, 0 to 3.
pub fn stranger_key(number: usize) -> &'static NodeKey {
    &keys().strangers[number % STRANGERS]
}

/// Where a stranger is, 0 to 3.
pub fn stranger_endpoint(number: usize) -> Endpoint {
    let ips: [IpAddr; STRANGERS] = [
        [8, 0, 2, 1].into(),
        [9, 0, 3, 1].into(),
        [0x2600, 0, 4, 0, 0, 0, 0, 1].into(),
        [127, 0, 0, 1].into(),
    ];
    Endpoint { ip: ips[number % STRANGERS], udp: 30303, tcp: 30303 }
}

/// Where the node under test is.
pub const fn host_endpoint() -> Endpoint {
    Endpoint { ip: IpAddr::V4(std::net::Ipv4Addr::new(8, 0, 1, 1)), udp: 30303, tcp: 30303 }
}

fn address(stranger: usize) -> SocketAddr {
    stranger_endpoint(stranger).udp_addr().expect("strangers have ports")
}

/// The machine, its clock, and what it has asked of whom.
pub(super) struct Scene {
    machine: Discovery,
    now: Now,
    curve: SimCurve,
    held: Option<VecDeque<CurveJob>>,
    /// The last Ping, FindNode and EnrRequest to each stranger that it has not answered honestly.
    asked: [Vec<(PacketKind, [u8; 32])>; STRANGERS],
    proven: [bool; STRANGERS],
    /// What the last call sent.
    sent: Vec<(SocketAddr, Bytes)>,
}

impl Scene {
    pub(super) fn new() -> Self {
        let now = Now::simulated(Duration::from_secs(START));
        let builder = EnrBuilder::new(1).endpoint(host_endpoint());
        let local = world::sign_record(&keys().host, &builder).expect("few entries");
        let mut scene = Self {
            machine: Discovery::new(Config::default(), local, 1),
            now,
            curve: SimCurve::new(Arc::clone(&keys().host), 1),
            held: None,
            asked: Default::default(),
            proven: [false; STRANGERS],
            sent: Vec::new(),
        };
        scene.machine.handle_timeout(now);
        scene.drain();
        for stranger in 0..BONDED {
            let (from, to) = (stranger_endpoint(stranger), host_endpoint());
            let ping = scene.sign(stranger, Ping::encode(&from, &to, START + LIFETIME, 1));
            scene.receive(stranger, &ping);
            let pong = scene.honest(stranger).expect("pinged back");
            assert_eq!(scene.receive(stranger, &pong), Verdict::Accepted);
            scene.proven[stranger] = true;
        }
        scene
    }

    /// Puts a body under a hash and a signature.
    pub(super) fn seal(&self, stranger: usize, how: u8, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut body = body.to_vec();
        if let Some(place) = body.windows(32).position(|window| window == [MARK; 32]) {
            let last = self.asked[stranger].iter().rev().find(|(asked, _)| answers(kind, *asked));
            if let Some((_, hash)) = last {
                body[place..place + 32].copy_from_slice(hash);
            }
        }
        let mut signature = [0; 65];
        if how & SEAL_FREELY > 0 {
            let free = body.split_off(body.len().saturating_sub(65));
            signature[..free.len()].copy_from_slice(&free);
        } else {
            let signer = (stranger + usize::from(how & SEAL_AS_OTHER > 0)) % STRANGERS;
            signature = sign(signer, keccak256_concat(&[&[kind], &body])).0;
        }
        let signed = [&signature[..], &[kind], &body].concat();
        let mut hash = keccak256(&signed);
        if how & SEAL_NO_HASH > 0 {
            hash[0] ^= 1;
        }
        [&hash[..], &signed].concat()
    }

    fn sign(&self, stranger: usize, unsigned: Unsigned) -> Vec<u8> {
        let signature = sign(stranger, unsigned.digest());
        unsigned.seal(&signature).0.to_vec()
    }

    /// What the stranger, being honest, answers to what it was asked last.
    pub(super) fn honest(&mut self, stranger: usize) -> Option<Vec<u8>> {
        let (kind, hash) = self.asked[stranger].pop()?;
        let end = self.now.unix_seconds() + LIFETIME;
        let known = (0..STRANGERS).filter(|other| *other != ON_LOOPBACK || stranger == ON_LOOPBACK);
        let others: Vec<_> =
            known.map(|other| (stranger_key(other).public_key(), stranger_endpoint(other))).collect();
        match kind {
            PacketKind::Ping => Some(self.sign(stranger, Pong::encode(&host_endpoint(), &hash, end, 2))),
            PacketKind::FindNode => {
                let nodes = others.iter().map(|(key, endpoint)| (key, endpoint));
                Some(self.sign(stranger, Neighbors::encode(nodes, end)))
            }
            PacketKind::EnrRequest => {
                let record = record(stranger_key(stranger), stranger_endpoint(stranger), 2);
                let mut body = rlp::RlpStream::new_list(2);
                body.append(&hash.as_slice()).append_raw(&record, 1);
                Some(self.seal(stranger, 0, PacketKind::EnrResponse as u8, &body.out()))
            }
            PacketKind::Pong | PacketKind::Neighbors | PacketKind::EnrResponse => None,
        }
    }

    /// Hands in a datagram, and says whether it passed.
    pub(super) fn receive(&mut self, stranger: usize, datagram: &[u8]) -> Verdict {
        let before = self.rejects();
        let (machine, now) = (&mut self.machine, self.now);
        steps::within(PASSES * datagram.len(), || {
            machine.handle_datagram(now, address(stranger), datagram);
        });
        self.drain();
        // What waited for a proof goes out with it.
        self.note_proof(stranger, datagram);
        let to_source = self.sent.iter().filter(|(to, _)| *to == address(stranger));
        let answer_len: usize = to_source.map(|(_, datagram)| datagram.len()).sum();
        let limit = if self.proven[stranger] { MAX_ANSWER_LEN } else { MAX_AMPLIFICATION * datagram.len() };
        assert!(answer_len <= limit, "{answer_len} bytes for {}", datagram.len());
        let after = self.rejects();
        let refused = before.iter().zip(&after).find(|((_, before), (_, after))| after > before);
        match refused {
            Some(((reject, _), _)) => Verdict::Rejected(reject.label()),
            None if self.held.is_some() => Verdict::Rejected("held"),
            None => Verdict::Accepted,
        }
    }

    /// A Pong that passes proves the endpoint; whether it passes is not this one's to say.
    fn note_proof(&mut self, stranger: usize, datagram: &[u8]) {
        let kind = Envelope::read(datagram).map(|envelope| envelope.kind);
        self.proven[stranger] |= kind == Ok(PacketKind::Pong);
    }

    fn rejects(&self) -> Vec<(Reject, u64)> {
        let rejects = self.machine.rejects();
        rejects.iter().filter(|(reject, _)| !NO_FAULTS.contains(reject)).collect()
    }

    pub(super) fn ask(&mut self, stranger: usize, record: bool) {
        let (key, endpoint) = (stranger_key(stranger).public_key(), stranger_endpoint(stranger));
        if record {
            self.machine.request_enr(self.now, key, endpoint);
        } else {
            self.machine.ping(self.now, key, endpoint);
        }
        self.drain();
    }

    pub(super) fn lookup(&mut self, stranger: usize) {
        self.machine.lookup(self.now, stranger_key(stranger).public_key());
        self.drain();
    }

    pub(super) fn want(&mut self, what: u8) {
        match what {
            0 => self.machine.refresh(self.now),
            1 => self.machine.want_candidates(self.now),
            seq => {
                let builder = EnrBuilder::new(seq.into()).endpoint(host_endpoint());
                let local = world::sign_record(&keys().host, &builder).expect("few entries");
                self.machine.set_local(local);
            }
        }
        self.drain();
    }

    /// Lets time pass in one leap, as for a machine whose host was asleep.
    pub(super) fn wait(&mut self, time: u8) {
        let time = match time.checked_sub(128) {
            None => Duration::from_millis(50) * u32::from(time),
            Some(minutes) => Duration::from_secs(60) * u32::from(minutes),
        };
        self.now = self.now.later(time);
        for _ in 0..MAX_WAKES {
            self.machine.handle_timeout(self.now);
            self.drain();
            if self.machine.next_timeout().is_none_or(|next| next > self.now.instant) {
                return;
            }
        }
    }

    pub(super) fn hold_or_release(&mut self) {
        match self.held.take() {
            None => self.held = Some(VecDeque::new()),
            Some(jobs) => {
                for job in jobs {
                    self.run(job);
                    self.drain();
                }
            }
        }
    }

    /// The end: no job stays out that was answered.
    pub(super) fn finish(&mut self) {
        if self.held.is_some() {
            self.hold_or_release();
        }
        assert_eq!(self.machine.load().jobs, 0);
    }

    fn run(&mut self, job: CurveJob) {
        let result = self.curve.run(job.ops);
        self.machine.handle_curve(self.now, job.ticket, result);
    }

    /// Does all that the machine wants done, and looks whether it may want that.
    fn drain(&mut self) {
        self.sent.clear();
        loop {
            let (mut jobs, mut count) = (VecDeque::new(), 0);
            while let Some(output) = self.machine.poll_output() {
                count += 1;
                match output {
                    Output::Send { to, datagram } => self.send(to, datagram),
                    Output::Curve(job) => jobs.push_back(job),
                    Output::Event(_) => {}
                }
            }
            assert!(count <= MAX_OUTPUTS_PER_CALL, "{count} outputs");
            self.check_load();
            if let Some(held) = &mut self.held {
                held.append(&mut jobs);
            }
            let Some(job) = jobs.pop_front() else { return };
            self.run(job);
            for job in jobs {
                self.run(job);
            }
        }
    }

    fn send(&mut self, to: SocketAddr, datagram: Bytes) {
        assert!(datagram.len() <= MAX_DATAGRAM_LEN);
        assert_eq!(to.ip(), identity::unmapped(to.ip()));
        let envelope = Envelope::read(&datagram).expect("our own packets have a header");
        envelope.check_hash().expect("and the right hash");
        let packet = envelope.decode().expect("and a body");
        let stranger = (0..STRANGERS).find(|stranger| address(*stranger) == to);
        let asks = matches!(packet, Packet::Ping(_) | Packet::FindNode(_) | Packet::EnrRequest(_));
        if let (Some(stranger), true) = (stranger, asks) {
            self.asked[stranger].push((envelope.kind, envelope.hash));
        }
        self.sent.push((to, datagram));
    }

    fn check_load(&self) {
        let load = self.machine.load();
        assert!(load.pending <= MAX_PENDING && load.jobs <= MAX_JOBS, "{load:?}");
        assert!(
            load.bonds <= MAX_BONDS.min(STRANGERS * STRANGERS) && load.lookups <= MAX_LOOKUPS,
            "{load:?}"
        );
    }
}

/// Whether a packet of the kind with this byte answers one of ours.
fn answers(kind: u8, asked: PacketKind) -> bool {
    match asked {
        PacketKind::Ping => kind == PacketKind::Pong as u8,
        PacketKind::EnrRequest => kind == PacketKind::EnrResponse as u8,
        PacketKind::FindNode => kind == PacketKind::Neighbors as u8,
        PacketKind::Pong | PacketKind::Neighbors | PacketKind::EnrResponse => false,
    }
}

/// The signature of a stranger, as `SimCurve` makes it.
fn sign(stranger: usize, digest: [u8; 32]) -> Signature {
    let key = Arc::clone(&keys().strangers[stranger]);
    match SimCurve::new(key, 0).run(vec![CurveOp::Sign(KeyRef::Node, digest)]) {
        CurveResult::Done(outputs) => match outputs.first() {
            Some(CurveOutput::Signed(signature)) => *signature,
            other => panic!("not signed: {other:?}"),
        },
        CurveResult::Refused => panic!("refused"),
    }
}
