//! Nodes on loopback and the tools that connect to them: what they are started with and asked for,
//! and the protocol that most of them run, an echo.

use std::{
    future::Future,
    num::NonZeroUsize,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use identity::{CurvePool, Endpoint, Enode, NodeKey, PublicKey};
use rand::{rand_core::UnwrapErr, rngs::SysRng};
use rlpx::{
    Candidate, CapabilityName, ConnectError, Connection, Event, EventStream, HoldTimes, LocalCapability,
    Message, PeerInfo, Protocol, ProtocolVersion, RedialTimes, Refusal, Server, ServerBuilder, ServerConfig,
    ServerTimes, SessionConfig, SessionEnd, Timeouts, protocol,
};
use tokio::{net::TcpListener, time::timeout};

/// Far beyond what anything here takes, so that only what never comes fails.
const LONG: Duration = Duration::from_secs(20);

pub(crate) const V1: ProtocolVersion = ProtocolVersion { version: 1, message_count: 2 };

pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(LONG, what).await.expect("it happens in time")
}

/// Finds one node, once.
pub(crate) struct One(pub(crate) Option<Candidate>);

impl futures_core::Stream for One {
    type Item = Candidate;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Candidate>> {
        Poll::Ready(self.0.take())
    }
}

/// A curve pool and what nodes are made with.
pub(crate) struct Stage {
    pub(crate) pool: CurvePool,
}

pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) events: EventStream,
    pub(crate) key: Arc<NodeKey>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        // Everything is written out, as it would be for whoever looks for a fault, and read by nobody.
        let log = tracing_subscriber::fmt().with_max_level(tracing_subscriber::filter::LevelFilter::TRACE);
        let _ = log.with_writer(std::io::sink).try_init();
        Self { pool: CurvePool::new(NonZeroUsize::MIN, NonZeroUsize::MIN) }
    }

    pub(crate) fn key(&self) -> Arc<NodeKey> {
        Arc::new(NodeKey::generate(&mut UnwrapErr(SysRng)))
    }

    pub(crate) fn builder(&self, key: &Arc<NodeKey>, listener: TcpListener) -> ServerBuilder {
        Server::builder(self.pool.handle(Arc::clone(key)))
            .listener(listener)
            .client_name("test/1")
            .config(quick())
    }

    pub(crate) fn start(&self, key: Arc<NodeKey>, builder: ServerBuilder) -> Node {
        let server = builder.start().unwrap();
        Node { events: server.events(), server, key }
    }

    /// A node that echoes.
    pub(crate) async fn echoing(&self) -> Node {
        let key = self.key();
        let builder = self.builder(&key, listener().await).protocol(Arc::new(echo("echo")));
        self.start(key, builder)
    }

    pub(crate) async fn open(
        &self,
        key: &Arc<NodeKey>,
        name: &str,
        to: &Node,
    ) -> Result<Connection, ConnectError> {
        self.open_with(key, &[name], to).await
    }

    async fn open_with(
        &self,
        key: &Arc<NodeKey>,
        names: &[&str],
        to: &Node,
    ) -> Result<Connection, ConnectError> {
        let capability =
            |name: &&str| LocalCapability::new(CapabilityName::new(name).unwrap(), 1, V1.message_count);
        let capabilities = names.iter().map(capability).collect();
        let config = SessionConfig::new(key.public_key(), "tool/1", capabilities);
        let address = to.server.local_addr().unwrap();
        within(Server::connect(self.pool.handle(Arc::clone(key)), config, address, to.key.public_key())).await
    }

    /// A tool that offers these protocols.
    pub(crate) async fn tool_with(&self, to: &Node, names: &[&str]) -> Connection {
        self.open_with(&self.key(), names, to).await.unwrap()
    }

    pub(crate) async fn tool(&self, to: &Node) -> Connection {
        self.open(&self.key(), "echo", to).await.unwrap()
    }
}

impl Node {
    pub(crate) fn enode(&self) -> Enode {
        let address = self.server.local_addr().unwrap();
        Enode::new(self.key.public_key(), Endpoint { ip: address.ip(), udp: 0, tcp: address.port() })
    }

    pub(crate) async fn event(&mut self) -> Event {
        within(self.events.next()).await.expect("the server runs")
    }

    pub(crate) async fn connected(&mut self) -> Arc<PeerInfo> {
        loop {
            if let Event::PeerConnected(info) = self.event().await {
                return info;
            }
        }
    }

    pub(crate) async fn disconnected(&mut self) -> (Arc<PeerInfo>, SessionEnd) {
        loop {
            if let Event::PeerDisconnected { info, end, .. } = self.event().await {
                return (info, end);
            }
        }
    }

    /// How an attempt ended that led to no session, ours or someone's with us.
    pub(crate) async fn turned_away(&mut self) -> (PublicKey, SessionEnd) {
        match self.event().await {
            Event::DialFailed { public_key, end, .. } | Event::Refused { public_key, end, .. } => {
                (public_key, end)
            }
            other @ (Event::PeerConnected(_)
            | Event::PeerDisconnected { .. }
            | Event::KeyInUse { .. }
            | Event::Lagged(_)) => {
                panic!("{other:?}")
            }
        }
    }

    pub(crate) fn refused(&self, refusal: Refusal) -> u64 {
        self.server.counters().refusals.count(refusal)
    }
}

pub(crate) async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

pub(crate) fn quick() -> ServerConfig {
    let times = ServerTimes {
        static_redial: RedialTimes { first: Duration::from_millis(20), max: Duration::from_millis(200) },
        hold: HoldTimes { greeting: Duration::from_millis(200), ..HoldTimes::default() },
        ..ServerTimes::default()
    };
    ServerConfig { times, ..ServerConfig::default() }
}

/// The same where a handshake has 300 ms, and so less for another connection to be waited for.
pub(crate) fn impatient() -> ServerConfig {
    let hold = HoldTimes { greeting: Duration::from_millis(100), entry: Duration::from_millis(100) };
    let timeouts = Timeouts { handshake: Duration::from_millis(300), ..Timeouts::default() };
    ServerConfig { times: ServerTimes { hold, ..quick().times }, timeouts, ..quick() }
}

/// Answers each message of code 0 with one of code 1.
pub(crate) fn echo(name: &str) -> impl Protocol + use<> {
    protocol(name, [V1], |peer, mut messages| async move {
        while let Some(Message { code, payload }) = messages.next().await {
            if code == 0 && peer.send(1, payload).await.is_err() {
                return;
            }
        }
    })
}

pub(crate) async fn ask_echo(connection: &mut Connection, payload: &'static [u8]) {
    let echo = connection.shared().iter().position(|shared| shared.name == *"echo").unwrap();
    within(connection.send(echo, 0, Bytes::from_static(payload))).await.unwrap();
    let received = within(connection.next()).await.unwrap();
    assert_eq!((received.protocol, received.message.code, &received.message.payload[..]), (echo, 1, payload));
}
