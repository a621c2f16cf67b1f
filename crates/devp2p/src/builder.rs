//! What a node is made of, and the order in which its parts start: sockets, curve pool, chain protocol, record,
//! discovery, server. Later parts need what earlier ones made; when one fails, those before it end by being dropped.
//! How sockets are bound is `sockets.rs`, what runs afterwards `node.rs`. Networks and bootnodes are never assumed: who
//! names none contacts nobody.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    sync::Arc,
};

use discv4::Discv4;
use eth_wire::{Chain, EthConfig, Pool};
use identity::{CurvePool, Endpoint, Enode, Host, NetList, NodeKey, Now};
use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};
use rlpx::{Nat, NatConfig, Protocol, RateLimits, Server, ServerConfig, nat::NatMethod};

use crate::{
    Node, StartError,
    candidates::Candidates,
    node::Parts,
    record::{LocalRecord, entries},
    sockets::{ListenOn, Sockets},
};

/// geth's default port, for TCP and UDP.
pub const DEFAULT_PORT: u16 = 30303;

/// Collects what a [`Node`] is made of. [`NodeBuilder::start`] starts it.
pub struct NodeBuilder {
    key: Arc<NodeKey>,
    curve: Option<Arc<CurvePool>>,
    listen: ListenOn,
    external: Reached,
    bootnodes: Vec<Enode>,
    discovery: discv4::Config,
    server: ServerConfig,
    client_name: String,
    protocols: Vec<Arc<dyn Protocol>>,
    eth: Option<Eth>,
    address_book: Option<PathBuf>,
}

/// How others reach the node.
#[derive(Default)]
struct Reached {
    ip: Option<IpAddr>,
    nat: Option<NatMethod>,
}

/// The chain that a node follows.
struct Eth {
    config: EthConfig,
    chain: Arc<dyn Chain>,
    pool: Arc<dyn Pool>,
}

impl NodeBuilder {
    pub(crate) fn new(key: NodeKey) -> Self {
        Self {
            key: Arc::new(key),
            curve: None,
            listen: ListenOn {
                ip: Ipv4Addr::LOCALHOST.into(),
                other: None,
                tcp: DEFAULT_PORT,
                udp: None,
                discovery: true,
            },
            external: Reached::default(),
            bootnodes: Vec::new(),
            discovery: discv4::Config::default(),
            server: ServerConfig::default(),
            client_name: concat!("devp2p/v", env!("CARGO_PKG_VERSION"), "/rust").to_owned(),
            protocols: Vec::new(),
            eth: None,
            address_book: None,
        }
    }

    /// Listens on `ip`, TCP port `tcp`; 0 takes a free one. Default: 127.0.0.1, port 30303.
    #[must_use]
    pub const fn listen(mut self, ip: IpAddr, tcp: u16) -> Self {
        self.listen.ip = ip;
        self.listen.tcp = tcp;
        self
    }

    /// Listens for peers on `ip` too, an address of the other family, at the same TCP port. The record names both; discovery
    /// stays on the first. Default: one address alone. An IPv6 address is for IPv6 alone, the unspecified one too.
    #[must_use]
    pub const fn listen_also(mut self, ip: IpAddr) -> Self {
        self.listen.other = Some(ip);
        self
    }

    /// Keeps the nodes that have served in the file at `path`, made when it is missing, and dials them at the next start
    /// before discovery finds anybody. One node has the file open at a time; a damaged one is renamed, and a new one made.
    /// Default: nothing is kept.
    #[must_use]
    pub fn address_book(mut self, path: impl Into<PathBuf>) -> Self {
        self.address_book = Some(path.into());
        self
    }

    /// Discovers on UDP port `udp`. Default: the TCP port.
    #[must_use]
    pub const fn discovery_port(mut self, udp: u16) -> Self {
        self.listen.udp = Some(udp);
        self
    }

    /// Takes no part in discovery: peers come by themselves, or are added.
    #[must_use]
    pub const fn no_discovery(mut self) -> Self {
        self.listen.discovery = false;
        self
    }

    /// The address that others reach this node at, for its record. Default: the one it listens on.
    #[must_use]
    pub const fn external_ip(mut self, ip: IpAddr) -> Self {
        self.external.ip = Some(ip);
        self
    }

    /// Has the node's ports mapped, or its address looked for, as `method` says; what is learnt goes into its record, before
    /// [`NodeBuilder::external_ip`]. Default: no, and then no gateway and no server is asked anything.
    #[must_use]
    pub fn nat(mut self, method: NatMethod) -> Self {
        self.external.nat = Some(method);
        self
    }

    /// Nodes to join the network through. Default: none, and then the node contacts nobody by itself.
    #[must_use]
    pub fn bootnodes(mut self, nodes: impl IntoIterator<Item = Enode>) -> Self {
        self.bootnodes.extend(nodes);
        self
    }

    /// Nodes to stay connected to.
    #[must_use]
    pub fn static_peers(mut self, nodes: impl IntoIterator<Item = Enode>) -> Self {
        self.server.static_peers.extend(nodes);
        self
    }

    /// The most peers at a time. Default: 50. With 0 nobody that is found is dialed, as in go-ethereum.
    #[must_use]
    pub const fn max_peers(mut self, count: usize) -> Self {
        self.server.max_peers = count;
        self.server.slots.no_discovered_dials = count == 0;
        self
    }

    /// The most bytes per second with peers, discovery not included. Default: no limits.
    #[must_use]
    pub const fn rates(mut self, limits: RateLimits) -> Self {
        self.server.rates = limits;
        self
    }

    /// Talks to these networks only, in discovery and as peers. Default: all.
    #[must_use]
    pub fn net_restrict(mut self, networks: NetList) -> Self {
        self.server.net_restrict = networks.clone();
        self.discovery.net_restrict = networks;
        self
    }

    /// The client's name in Hello. Default: `devp2p/v<version>/rust`.
    #[must_use]
    pub fn client_name(mut self, name: impl Into<String>) -> Self {
        self.client_name = name.into();
        self
    }

    /// Everything else that can be set of the transport. Replaces what `static_peers`, `max_peers`, `rates` and `net_restrict`
    /// set.
    #[must_use]
    pub fn server_config(mut self, config: ServerConfig) -> Self {
        self.server = config;
        self
    }

    /// Everything else that can be set of discovery. Replaces what `net_restrict` set; `bootnodes` are added to its own.
    #[must_use]
    pub fn discovery_config(mut self, config: discv4::Config) -> Self {
        self.discovery = config;
        self
    }

    /// Runs curve jobs on a pool that several nodes share. Default: a pool of the node's own.
    #[must_use]
    pub fn curve_pool(mut self, pool: Arc<CurvePool>) -> Self {
        self.curve = Some(pool);
        self
    }

    /// Speaks `protocol` with peers that have it too. Its entries go into the node's record, and of nodes that are found those
    /// are dialed that it wants.
    #[must_use]
    pub fn protocol(mut self, protocol: impl Protocol) -> Self {
        self.protocols.push(Arc::new(protocol));
        self
    }

    /// Follows a chain: speaks eth with peers whose fork id fits, and dials only such.
    #[must_use]
    pub fn eth(mut self, config: EthConfig, chain: Arc<dyn Chain>, pool: Arc<dyn Pool>) -> Self {
        self.eth = Some(Eth { config, chain, pool });
        self
    }

    /// Binds the sockets and starts the node.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    pub async fn start(mut self) -> Result<Node, StartError> {
        let sockets = Sockets::bind(self.listen)?;
        let bootnodes = resolve(&self.bootnodes).await?;
        self.discovery.bootnodes.extend(bootnodes);
        let curve_pool = self.curve.take().unwrap_or_else(|| Arc::new(CurvePool::for_this_machine()));
        let curve = curve_pool.handle(Arc::clone(&self.key));
        let eth = self.eth.take().map(|eth| {
            let (handle, protocol) =
                eth_wire::start(eth.config, eth.chain, eth.pool, UnwrapErr(SysRng).next_u64());
            self.protocols.push(Arc::new(protocol));
            handle
        });
        let endpoint = Endpoint { ip: self.advertised_ip(), udp: sockets.udp_port, tcp: sockets.tcp_port };
        let other = self.listen.other.map(|ip| Endpoint { ip: reachable(ip), udp: 0, tcp: sockets.tcp_port });
        let entries = entries(&self.protocols);
        let record = LocalRecord::new(Arc::clone(&self.key), (endpoint, other), entries, now())?;
        let nat = self.start_nat(&sockets)?;
        let Sockets { tcp, udp, .. } = sockets;
        let discovery =
            udp.map(|udp| Discv4::start(udp, self.discovery, record.current().clone(), curve.clone()));
        let discovery = discovery.transpose().map_err(StartError::Discovery)?;
        let candidates = discovery.as_ref().map(|discovery| Candidates(discovery.candidates()));
        let mut server = Server::builder(curve).client_name(self.client_name).config(self.server);
        if let Some(path) = self.address_book {
            server = server.address_book(path);
        }
        let server = start_server(server, tcp, &self.protocols, candidates)?;
        Ok(Node::new(Parts {
            endpoint,
            record,
            nat,
            discovery,
            server,
            eth,
            protocols: self.protocols,
            curve_pool,
        }))
    }

    fn start_nat(&mut self, sockets: &Sockets) -> Result<Option<Nat>, StartError> {
        let Some(method) = self.external.nat.take() else { return Ok(None) };
        let udp = sockets.udp.as_ref().map(|_| sockets.udp_port);
        let config = NatConfig { method, listen: self.listen.ip, tcp: sockets.tcp_port, udp };
        Ok(Some(Nat::start(config)?))
    }

    /// As in go-ethereum, a node that listens on all interfaces and knows no better names the loopback address.
    fn advertised_ip(&self) -> IpAddr {
        self.external.ip.unwrap_or(reachable(self.listen.ip))
    }
}

fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    }
}

fn start_server(
    mut builder: rlpx::ServerBuilder,
    listeners: Vec<tokio::net::TcpListener>,
    protocols: &[Arc<dyn Protocol>],
    candidates: Option<Candidates>,
) -> Result<Server, rlpx::ConfigError> {
    for listener in listeners {
        builder = builder.listener(listener);
    }
    for protocol in protocols {
        builder = builder.protocol(Arc::clone(protocol));
    }
    match candidates {
        Some(candidates) => builder.candidates(candidates).start(),
        None => builder.start(),
    }
}

/// The bootnodes with their addresses.
async fn resolve(nodes: &[Enode]) -> Result<Vec<discv4::NodeEntry>, StartError> {
    let mut resolved = Vec::with_capacity(nodes.len());
    for node in nodes {
        let ip = match &node.host {
            Host::Ip(ip) => *ip,
            Host::Dns(name) => lookup(name).await?,
        };
        let endpoint = Endpoint { ip, udp: node.udp, tcp: node.tcp };
        resolved.push(discv4::NodeEntry::new(node.public_key, endpoint));
    }
    Ok(resolved)
}

async fn lookup(name: &str) -> Result<IpAddr, StartError> {
    let failed = |error| StartError::Resolve { host: name.to_owned(), error };
    let mut found = tokio::net::lookup_host((name, 0)).await.map_err(failed)?;
    let first = found.next().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))?;
    Ok(first.ip())
}

#[expect(
    clippy::disallowed_methods,
    reason = "the node's own record is signed at start, by the driver of all drivers"
)]
fn now() -> Now {
    Now::system()
}
