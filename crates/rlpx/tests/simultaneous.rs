//! Two nodes that dial each other at the same moment, on virtual time, in thousands of schedules: the server machine
//! against itself and against a model of go-ethereum's rule. Sessions are modelled by their steps, bytes play no part.

#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use identity::{Endpoint, NodeKey, Now, PublicKey};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use rlpx::{
    Candidate, DisconnectReason, PeerId, ServerConfig, SessionEnd, SessionError,
    server::{Output, Server},
};

/// Schedules an ordinary run tries, of each kind.
const SCHEDULES: u64 = 10_000;

/// The longest way of a message from node to node, and when exactly one session has to stand.
type Pace = (Duration, Duration);

/// A round trip is below the hold.
const ORDINARY: Pace = (Duration::from_millis(100), Duration::from_secs(2));

/// A hold ends before the answer is there, so that both connections carry both Hellos. The time that a session has for
/// its handshakes is left out.
const SLOW: Pace = (Duration::from_millis(1_500), Duration::from_secs(15));

fn key(byte: u8) -> PublicKey {
    NodeKey::from_bytes(&[byte; 32]).unwrap().public_key()
}

/// What one end of a connection learns, in the order it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Word {
    Accept,
    Connected,
    Auth,
    Ack,
    Hello,
    Disconnect,
    Eof,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Happening {
    Dial { node: usize },
    Arrive { connection: usize, at: usize, word: Word },
    Wake { node: usize },
}

/// go-ethereum's rule: whichever connection is through first is the peer, the other is refused.
#[derive(Default)]
struct GethRule {
    peer: Option<usize>,
}

enum Node {
    Ours(Box<Server>),
    Geth(GethRule),
}

#[derive(Clone, Copy, Default)]
struct End {
    id: Option<PeerId>,
    greeted: bool,
    hello_waits: bool,
    established: bool,
    closed: bool,
    last_arrival: Duration,
}

struct World {
    start: Now,
    elapsed: Duration,
    rng: ChaCha8Rng,
    max_delay: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64, Happening)>>,
    sequence: u64,
    nodes: [Node; 2],
    keys: [PublicKey; 2],
    connections: Vec<[End; 2]>,
    of_id: BTreeMap<(usize, PeerId), usize>,
    trace: Vec<(Duration, Happening)>,
}

impl World {
    fn new(seed: u64, max_delay: Duration, geth: bool, swapped: bool) -> Self {
        let start = Now { instant: epoch(), unix: Duration::from_secs(1_700_000_000) };
        let keys = if swapped { [key(2), key(1)] } else { [key(1), key(2)] };
        let ours = |key| Node::Ours(Box::new(Server::new(start, ServerConfig::default(), key, seed)));
        let second = if geth { Node::Geth(GethRule::default()) } else { ours(keys[1]) };
        let mut world = Self {
            start,
            elapsed: Duration::ZERO,
            rng: ChaCha8Rng::seed_from_u64(seed),
            max_delay,
            queue: BinaryHeap::new(),
            sequence: 0,
            nodes: [ours(keys[0]), second],
            keys,
            connections: Vec::new(),
            of_id: BTreeMap::new(),
            trace: Vec::new(),
        };
        for node in 0..2 {
            let at = Duration::from_micros(world.rng.random_range(0..300_000));
            world.push(at, Happening::Dial { node });
        }
        world
    }

    fn now(&self) -> Now {
        self.start.later(self.elapsed)
    }

    fn push(&mut self, at: Duration, happening: Happening) {
        self.sequence += 1;
        self.queue.push(Reverse((at, self.sequence, happening)));
    }

    /// Sends a word to one end; words to the same end keep their order.
    fn send(&mut self, connection: usize, to: usize, word: Word) {
        let delay = Duration::from_micros(self.rng.random_range(500..self.max_delay.as_micros() as u64));
        let end = &mut self.connections[connection][to];
        let at = end.last_arrival.max(self.elapsed + delay);
        end.last_arrival = at;
        self.push(at, Happening::Arrive { connection, at: to, word });
    }

    fn run_until(&mut self, limit: Duration) {
        while let Some(Reverse((at, _, happening))) = self.queue.pop() {
            if at > limit {
                self.queue.push(Reverse((at, 0, happening)));
                break;
            }
            self.elapsed = at;
            self.trace.push((at, happening));
            match happening {
                Happening::Dial { node } => self.dial(node),
                Happening::Wake { node } => {
                    let now = self.now();
                    if let Node::Ours(server) = &mut self.nodes[node] {
                        server.handle_timeout(now);
                    }
                    self.drain(node);
                }
                Happening::Arrive { connection, at, word } => self.arrive(connection, at, word),
            }
        }
        self.elapsed = limit;
    }

    fn dial(&mut self, node: usize) {
        let now = self.now();
        let remote = self.keys[1 - node];
        match &mut self.nodes[node] {
            Node::Ours(server) => {
                let endpoint = Endpoint { ip: [127, 0, 0, 1].into(), udp: 0, tcp: 30_303 };
                server.handle_candidate(now, Candidate::new(remote, endpoint));
                self.drain(node);
            }
            Node::Geth(GethRule { peer: None }) => self.open(node, None),
            Node::Geth(GethRule { peer: Some(_) }) => {}
        }
    }

    fn open(&mut self, node: usize, id: Option<PeerId>) {
        let connection = self.connections.len();
        self.connections.push([End::default(); 2]);
        self.connections[connection][node].id = id;
        if let Some(id) = id {
            self.of_id.insert((node, id), connection);
        }
        self.send(connection, 1 - node, Word::Accept);
    }

    fn arrive(&mut self, connection: usize, at: usize, word: Word) {
        if self.connections[connection][at].closed {
            return;
        }
        match word {
            Word::Accept => {
                self.accept(connection, at);
                self.send(connection, 1 - at, Word::Connected);
            }
            Word::Connected => {
                let (now, id) = (self.now(), self.connections[connection][at].id);
                if let (Node::Ours(server), Some(id)) = (&mut self.nodes[at], id) {
                    server.handle_connected(now, id);
                }
                self.send(connection, 1 - at, Word::Auth);
            }
            Word::Auth => {
                self.send(connection, 1 - at, Word::Ack);
                self.authenticated(connection, at);
            }
            Word::Ack => self.authenticated(connection, at),
            Word::Hello => {
                self.connections[connection][at].hello_waits = true;
                self.hello(connection, at);
            }
            Word::Disconnect => {
                self.close(connection, at, SessionEnd::Remote(DisconnectReason::AlreadyConnected));
            }
            Word::Eof => self.close(connection, at, SessionEnd::Broken(SessionError::Eof)),
        }
        self.drain(at);
    }

    fn accept(&mut self, connection: usize, at: usize) {
        let now = self.now();
        if let Node::Ours(server) = &mut self.nodes[at] {
            let id = server.handle_accepted(now, SocketAddr::from(([127, 0, 0, 1], 5))).unwrap();
            self.connections[connection][at].id = Some(id);
            self.of_id.insert((at, id), connection);
        }
    }

    fn authenticated(&mut self, connection: usize, at: usize) {
        let (now, id, remote) = (self.now(), self.connections[connection][at].id, self.keys[1 - at]);
        match &mut self.nodes[at] {
            Node::Ours(server) => server.handle_authenticated(now, id.unwrap(), remote),
            Node::Geth(GethRule { peer: Some(_) }) => self.refuse(connection, at),
            Node::Geth(GethRule { peer: None }) => self.greet(connection, at),
        }
    }

    fn greet(&mut self, connection: usize, at: usize) {
        self.connections[connection][at].greeted = true;
        self.send(connection, 1 - at, Word::Hello);
        self.hello(connection, at);
    }

    /// Hello is read once our own has gone out.
    fn hello(&mut self, connection: usize, at: usize) {
        let End { id, greeted, hello_waits, established, closed, .. } = self.connections[connection][at];
        if !greeted || !hello_waits || established || closed {
            return;
        }
        let now = self.now();
        match &mut self.nodes[at] {
            Node::Ours(server) => server.handle_hello(now, id.unwrap(), 1),
            Node::Geth(rule) => match rule.peer {
                Some(_) => self.refuse(connection, at),
                None => {
                    rule.peer = Some(connection);
                    self.connections[connection][at].established = true;
                }
            },
        }
    }

    fn refuse(&mut self, connection: usize, at: usize) {
        self.send(connection, 1 - at, Word::Disconnect);
        let end = SessionEnd::Local { reason: DisconnectReason::AlreadyConnected, error: None };
        self.close(connection, at, end);
    }

    fn close(&mut self, connection: usize, at: usize, end: SessionEnd) {
        let now = self.now();
        let side = &mut self.connections[connection][at];
        side.closed = true;
        side.established = false;
        let id = side.id;
        match &mut self.nodes[at] {
            Node::Ours(server) => server.handle_closed(now, id.unwrap(), &end),
            Node::Geth(rule) => rule.peer = rule.peer.filter(|peer| *peer != connection),
        }
    }

    fn drain(&mut self, node: usize) {
        loop {
            let Node::Ours(server) = &mut self.nodes[node] else { return };
            let Some(output) = server.poll_output() else { break };
            self.act(node, output);
        }
        let now = self.now();
        if let Node::Ours(server) = &self.nodes[node]
            && let Some(at) = server.next_timeout(now)
        {
            let at = at.saturating_duration_since(self.start.instant).max(self.elapsed);
            self.push(at, Happening::Wake { node });
        }
    }

    fn act(&mut self, node: usize, output: Output) {
        let connection = |id| self.of_id[&(node, id)];
        match output {
            Output::Connect { id, .. } => self.open(node, Some(id)),
            Output::Greet(id) => self.greet(connection(id), node),
            Output::Establish { id, .. } => {
                let connection = connection(id);
                self.connections[connection][node].established = true;
            }
            Output::Disconnect(id, reason) => {
                assert_eq!(reason, DisconnectReason::AlreadyConnected);
                self.refuse(connection(id), node);
            }
            Output::Abort(id) => {
                let connection = connection(id);
                self.send(connection, 1 - node, Word::Eof);
                self.close(connection, node, SessionEnd::Broken(SessionError::Eof));
            }
            Output::KeyInUse(_) => unreachable!("each has a key of its own"),
            Output::Store(_) => unreachable!("there is no address book"),
            Output::Resolve { .. } => unreachable!("candidates have addresses"),
        }
    }

    /// The connections that are sessions at both ends, and whether any is one at a single end.
    fn sessions(&self) -> (usize, bool) {
        let both = self.connections.iter().filter(|ends| ends.iter().all(|end| end.established)).count();
        let half = self.connections.iter().any(|[a, b]| a.established != b.established);
        (both, half)
    }
}

#[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
fn epoch() -> Instant {
    Instant::now()
}

fn check((max_delay, settled): Pace, geth: bool, swapped: bool) {
    let (mut raced, mut slowest) = (0, Duration::ZERO);
    for seed in 0..SCHEDULES {
        let mut world = World::new(seed, max_delay, geth, swapped);
        let mut settled_at = None;
        for step in 1..=20 {
            world.run_until(settled * step / 20);
            settled_at = settled_at.or((world.sessions() == (1, false)).then_some(world.elapsed));
        }
        assert_eq!(world.sessions(), (1, false), "seed {seed} at {settled:?}: {:#?}", world.trace);
        world.run_until(settled * 5);
        assert_eq!(world.sessions(), (1, false), "seed {seed} later: {:#?}", world.trace);
        raced += u64::from(world.connections.len() > 1);
        slowest = slowest.max(settled_at.unwrap_or(settled));
    }
    // The schedules are worth something only if the dials do cross.
    assert!(raced > SCHEDULES / 4, "only {raced} races");
    println!("{SCHEDULES} schedules (thorough: 10000), {raced} races, slowest {slowest:?}");
}

#[test]
fn h16_crossing_dials_of_two_nodes_end_in_one_session() {
    check(ORDINARY, false, false);
}

#[test]
fn h16_crossing_dials_of_two_nodes_far_apart_end_in_one_session() {
    check(SLOW, false, false);
}

#[test]
fn h16_crossing_dials_with_geth_end_in_one_session_when_ours_has_the_right_of_way() {
    check(ORDINARY, true, false);
}

#[test]
fn h16_crossing_dials_with_geth_end_in_one_session_when_geths_has_the_right_of_way() {
    check(ORDINARY, true, true);
}
