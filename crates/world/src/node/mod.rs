//! A whole node of our machines on a simulated network: discovery, the server of peers, a session for each connection,
//! and the eth machine with chain and pool in memory. What `devp2p` and the drivers do with tasks and sockets is done here
//! one thing after the other: what the machines put out is acted upon at once and always in the same order. There is no
//! queue between a connection and the eth machine, so a pause holds the session itself.
//!
//! `candidates` are nodes to dial, `connection` moves bytes, `peering` serves server and sessions, `nodes` is many nodes.

mod candidates;
mod connection;
mod nodes;
mod peering;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use discv4::{Discovery, NodeEntry};
use eth_wire::{
    Block, Chain, ChainStatus, Eth, EthEvent, EthTimes, EthVersion, ForkSchedule, MemoryChain, MemoryPool,
    PeerFault, Transaction, fork_id::ENR_KEY,
};
use identity::{Endpoint, Enode, Enr, EnrBuilder, NodeKey, Now};
use rand::{RngExt, SeedableRng, rngs::ChaCha20Rng};
use rlpx::{
    CapabilityName, CommandError, LocalCapability, PeerId, ServerConfig, SessionConfig, server::Server,
};
use simnet::{Event, HostId, Net, StreamId};

use self::{candidates::Candidates, connection::Connection};
pub use nodes::{Happening, Nodes};

use crate::{SimCurve, sign_record};

/// The chain id, and network id, of every node.
pub const CHAIN_ID: u64 = 1_337;
/// When the chain began, seconds since 1970.
pub const GENESIS_TIME: u64 = 1_700_000_000;
/// What a node says of itself in Hello.
const CLIENT_NAME: &str = "world";

/// What a node is made of.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Its key.
    pub key: Arc<NodeKey>,
    /// Where it is.
    pub endpoint: Endpoint,
    /// Nodes to join the network through.
    pub bootnodes: Vec<NodeEntry>,
    /// The versions of eth that it offers.
    pub versions: Vec<EthVersion>,
    /// The server's limits.
    pub server: ServerConfig,
    /// Its chain.
    pub chain: Arc<MemoryChain>,
    /// Its pool.
    pub pool: Arc<MemoryPool>,
}

/// A node that runs.
#[derive(Debug)]
pub struct Node {
    host: HostId,
    config: NodeConfig,
    curve: SimCurve,
    /// Nonces and padding of handshakes.
    rng: ChaCha20Rng,
    discovery: Discovery,
    candidates: Candidates,
    server: Server,
    session: Arc<SessionConfig>,
    connections: Connections,
    eth: Eth,
    events: Vec<EthEvent>,
    accusations: Vec<PeerFault>,
}

/// The connections of a node.
#[derive(Debug, Default)]
struct Connections {
    by_id: BTreeMap<PeerId, Connection>,
    by_stream: BTreeMap<StreamId, PeerId>,
    /// Those that may have something to do, in the order they came by it.
    touched: VecDeque<PeerId>,
}

impl Connections {
    fn insert(&mut self, id: PeerId, connection: Connection) {
        self.by_stream.insert(connection.stream, id);
        self.by_id.insert(id, connection);
        self.touch(id);
    }

    fn remove(&mut self, id: PeerId) -> Option<Connection> {
        let connection = self.by_id.remove(&id)?;
        self.by_stream.remove(&connection.stream);
        Some(connection)
    }

    fn get(&mut self, id: PeerId) -> Option<&mut Connection> {
        self.by_id.get_mut(&id)
    }

    fn of_stream(&mut self, stream: StreamId) -> Option<(PeerId, &mut Connection)> {
        let id = *self.by_stream.get(&stream)?;
        Some((id, self.by_id.get_mut(&id)?))
    }

    /// It may have something to do.
    fn touch(&mut self, id: PeerId) {
        if let Some(connection) = self.by_id.get_mut(&id)
            && !std::mem::replace(&mut connection.is_touched, true)
        {
            self.touched.push_back(id);
        }
    }

    fn next_touched(&mut self) -> Option<PeerId> {
        let id = self.touched.pop_front()?;
        if let Some(connection) = self.by_id.get_mut(&id) {
            connection.is_touched = false;
        }
        Some(id)
    }
}

/// Its life.
impl Node {
    /// Starts a node at `host`. `seed` decides on all that is left to chance.
    pub fn start(net: &mut Net, host: HostId, config: NodeConfig, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let now = net.now();
        let forks = ForkSchedule::new(config.chain.genesis(), GENESIS_TIME, &[], &[]);
        let status = ChainStatus::new(CHAIN_ID, config.chain.genesis(), forks, config.chain.head());
        let filter = status.filter().clone();
        let record = record(&config, &filter, now);
        let discovery_config =
            discv4::Config { bootnodes: config.bootnodes.clone(), ..discv4::Config::default() };
        net.listen(host, config.endpoint.tcp);
        let mut node = Self {
            host,
            curve: SimCurve::new(Arc::clone(&config.key), rng.random()),
            discovery: Discovery::new(discovery_config, record, rng.random()),
            candidates: Candidates::new(filter),
            server: Server::new(now, config.server.clone(), config.key.public_key(), rng.random()),
            session: Arc::new(session_config(&config)),
            connections: Connections::default(),
            eth: Eth::new(EthTimes::default(), status, rng.random()),
            events: Vec::new(),
            accusations: Vec::new(),
            rng,
            config,
        };
        node.discovery.handle_timeout(now);
        node.settle(net);
        node
    }

    /// Something happened to its host.
    pub fn handle(&mut self, net: &mut Net, event: Event) {
        let now = net.now();
        match event {
            Event::Datagram { from, bytes, .. } => self.discovery.handle_datagram(now, from, &bytes),
            Event::Accepted { stream, from, .. } => self.accept(net, stream, from),
            Event::Connected { stream, .. } => self.connected(now, stream),
            Event::ConnectFailed { stream, .. } => {
                if let Some((id, _)) = self.connections.of_stream(stream) {
                    self.fail(net, id, std::io::ErrorKind::ConnectionRefused);
                }
            }
            Event::Readable { stream, .. } | Event::Writable { stream, .. } => {
                if let Some((id, _)) = self.connections.of_stream(stream) {
                    self.connections.touch(id);
                }
            }
            Event::Closed { stream, reset, .. } => self.stream_ended(now, stream, reset),
            Event::Wake { .. } => self.handle_timeouts(net),
        }
        self.settle(net);
    }

    fn handle_timeouts(&mut self, net: &mut Net) {
        let now = net.now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now.instant);
        if is_due(self.discovery.next_timeout()) {
            self.discovery.handle_timeout(now);
        }
        if is_due(self.server.next_timeout(now)) {
            self.server.handle_timeout(now);
        }
        if is_due(self.eth.next_timeout()) {
            self.eth.handle_timeout(now);
        }
        let due = self.connections.by_id.iter().filter(|(_, connection)| is_due(connection.next_timeout()));
        let due: Vec<PeerId> = due.map(|(id, _)| *id).collect();
        for id in due {
            match self.connections.get(id).and_then(Connection::session) {
                Some(session) => {
                    session.handle_timeout(now);
                    self.connections.touch(id);
                }
                None => self.fail(net, id, std::io::ErrorKind::TimedOut),
            }
        }
    }

    /// Does all that the machines want done, one machine after the other, until none wants anything; then sets the alarm.
    fn settle(&mut self, net: &mut Net) {
        let now = net.now();
        loop {
            self.act_for_discovery(net);
            self.act_for_server(net);
            self.act_for_eth(now);
            if let Some(id) = self.connections.next_touched() {
                self.serve(net, id);
            } else if !self.take_candidate(now) {
                break;
            }
        }
        net.wake_at(self.host, self.next_timeout(now));
    }

    fn next_timeout(&self, now: Now) -> Option<Instant> {
        let of_connections = self.connections.by_id.values().filter_map(Connection::next_timeout).min();
        let of_machines =
            [self.discovery.next_timeout(), self.server.next_timeout(now), self.eth.next_timeout()];
        of_machines.into_iter().flatten().chain(of_connections).min()
    }

    fn act_for_discovery(&mut self, net: &mut Net) {
        let now = net.now();
        while let Some(output) = self.discovery.poll_output() {
            match output {
                discv4::Output::Send { to, datagram } => {
                    net.send_datagram(self.host, self.config.endpoint.udp, to, datagram);
                }
                discv4::Output::Curve(job) => {
                    let result = self.curve.run(job.ops);
                    self.discovery.handle_curve(now, job.ticket, result);
                }
                discv4::Output::Event(event) => self.candidates.hear(event),
            }
        }
    }

    /// Hands the server a candidate, if it wants one and there is one. False when nothing has changed by it.
    fn take_candidate(&mut self, now: Now) -> bool {
        if self.server.wanted_candidates(now) == 0 {
            return false;
        }
        let was_searching = self.candidates.is_searching();
        if let Some(candidate) = self.candidates.next(now, &mut self.discovery) {
            self.server.handle_candidate(now, candidate);
            return true;
        }
        was_searching != self.candidates.is_searching()
    }
}

/// What its owner may do, and see.
impl Node {
    /// Puts a transaction into the pool and gossips it, or announces it only.
    pub fn submit_transaction(&mut self, net: &mut Net, transaction: Transaction, announce_only: bool) {
        // The backend answers at once, so that commands never wait.
        let _ = self.eth.submit_transactions(net.now(), vec![transaction], announce_only);
        self.settle(net);
    }

    /// Offers a block to the chain and gossips it.
    pub fn submit_block(&mut self, net: &mut Net, block: Block) {
        let _ = self.eth.submit_block(net.now(), block, None);
        self.settle(net);
    }

    /// Keeps a connection to a node from now on.
    ///
    /// # Errors
    /// As [`Server::add_static`].
    pub fn add_static(&mut self, net: &mut Net, enode: Enode) -> Result<(), CommandError> {
        let added = self.server.add_static(net.now(), enode);
        self.settle(net);
        added
    }

    /// Breaks one of its connections, of those that stand. False when there is none.
    pub fn break_connection(&mut self, net: &mut Net, choice: u64) -> bool {
        let standing = self.connections.by_id.iter().filter(|(_, connection)| connection.dialed().is_none());
        let standing: Vec<PeerId> = standing.map(|(id, _)| *id).collect();
        let Some(place) = choice.checked_rem(standing.len() as u64) else { return false };
        let id = standing[place as usize];
        if let Some(connection) = self.connections.get(id) {
            net.abort(connection.stream);
            if let Some(session) = connection.session() {
                session.handle_io_error(net.now(), std::io::ErrorKind::ConnectionReset);
            }
            self.connections.touch(id);
        }
        self.settle(net);
        true
    }

    /// The server's machine.
    pub const fn server(&self) -> &Server {
        &self.server
    }

    /// The machine of discovery.
    pub const fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// The eth machine.
    pub const fn eth(&self) -> &Eth {
        &self.eth
    }

    /// What it is made of.
    pub const fn config(&self) -> &NodeConfig {
        &self.config
    }

    /// What the eth machine told since the last call.
    pub fn take_events(&mut self) -> Vec<EthEvent> {
        std::mem::take(&mut self.events)
    }

    /// For what the eth machine disconnected peers.
    pub fn accusations(&self) -> &[PeerFault] {
        &self.accusations
    }
}

/// The node's record: its sequence number is the time, so that a later run's is higher.
fn record(config: &NodeConfig, filter: &eth_wire::ForkFilter, now: Now) -> Enr {
    let seq = u64::try_from(now.unix.as_millis()).unwrap_or(u64::MAX);
    let builder =
        EnrBuilder::new(seq).endpoint(config.endpoint).entry(ENR_KEY, filter.fork_id().to_enr_value());
    sign_record(&config.key, &builder).expect("an endpoint and a fork id fit a record")
}

fn session_config(config: &NodeConfig) -> SessionConfig {
    let name = CapabilityName::new("eth").expect("three letters");
    let capability = |version: &EthVersion| LocalCapability {
        max_message_len: eth_wire::config::MAX_MESSAGE_LEN,
        ..LocalCapability::new(name, version.number(), version.message_count())
    };
    let capabilities = config.versions.iter().map(capability).collect();
    let mut session = SessionConfig::new(config.key.public_key(), CLIENT_NAME, capabilities);
    session.hello.listen_port = config.endpoint.tcp;
    session
}
