//! Servers and single connections over real TCP on loopback.

#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

use std::{
    future::Future,
    net::SocketAddr,
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use identity::{AddressPolicy, CurvePool, Endpoint, Enode, Host, NodeKey, PublicKey};
use rand::{rand_core::UnwrapErr, rngs::SysRng};
use rlpx::{
    Candidate, CapabilityName, CommandError, ConfigError, ConnectError, Connection, DisconnectReason, Event,
    EventStream, Link, LocalCapability, MAX_QUEUED_LEN, Message, PeerInfo, Protocol, ProtocolSession,
    ProtocolVersion, Refusal, Reject, SendError, Server, ServerBuilder, ServerConfig, ServerTimes,
    SessionConfig, SessionEnd, SharedMessage, Timeouts, protocol,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};

/// Far beyond what anything here takes, so that only what never comes fails.
const LONG: Duration = Duration::from_secs(20);

const V1: ProtocolVersion = ProtocolVersion { version: 1, message_count: 2 };

async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(LONG, what).await.expect("it happens in time")
}

/// A curve pool and what nodes are made with.
struct Stage {
    pool: CurvePool,
}

struct Node {
    server: Server,
    events: EventStream,
    key: Arc<NodeKey>,
}

impl Stage {
    fn new() -> Self {
        Self { pool: CurvePool::new(NonZeroUsize::MIN, NonZeroUsize::MIN) }
    }

    fn key(&self) -> Arc<NodeKey> {
        Arc::new(NodeKey::generate(&mut UnwrapErr(SysRng)))
    }

    fn builder(&self, key: &Arc<NodeKey>, listener: TcpListener) -> ServerBuilder {
        Server::builder(self.pool.handle(Arc::clone(key)))
            .listener(listener)
            .client_name("test/1")
            .config(quick())
    }

    fn start(&self, key: Arc<NodeKey>, builder: ServerBuilder) -> Node {
        let server = builder.start().unwrap();
        Node { events: server.events(), server, key }
    }

    /// A node that echoes.
    async fn echoing(&self) -> Node {
        let key = self.key();
        let builder = self.builder(&key, listener().await).protocol(Arc::new(echo("echo")));
        self.start(key, builder)
    }

    async fn open(&self, key: &Arc<NodeKey>, name: &str, to: &Node) -> Result<Connection, ConnectError> {
        let capabilities =
            vec![LocalCapability::new(CapabilityName::new(name).unwrap(), 1, V1.message_count)];
        let config = SessionConfig::new(key.public_key(), "tool/1", capabilities);
        let address = to.server.local_addr().unwrap();
        within(Server::connect(self.pool.handle(Arc::clone(key)), config, address, to.key.public_key())).await
    }

    async fn tool(&self, to: &Node) -> Connection {
        self.open(&self.key(), "echo", to).await.unwrap()
    }
}

impl Node {
    fn enode(&self) -> Enode {
        let address = self.server.local_addr().unwrap();
        Enode::new(self.key.public_key(), Endpoint { ip: address.ip(), udp: 0, tcp: address.port() })
    }

    async fn event(&mut self) -> Event {
        within(self.events.next()).await.expect("the server runs")
    }

    async fn connected(&mut self) -> Arc<PeerInfo> {
        loop {
            if let Event::PeerConnected(info) = self.event().await {
                return info;
            }
        }
    }

    async fn disconnected(&mut self) -> (Arc<PeerInfo>, SessionEnd) {
        loop {
            if let Event::PeerDisconnected { info, end } = self.event().await {
                return (info, end);
            }
        }
    }

    /// How an attempt ended that led to no session, ours or someone's with us.
    async fn turned_away(&mut self) -> (PublicKey, SessionEnd) {
        match self.event().await {
            Event::DialFailed { public_key, end, .. } | Event::Refused { public_key, end, .. } => {
                (public_key, end)
            }
            other @ (Event::PeerConnected(_) | Event::PeerDisconnected { .. } | Event::Lagged(_)) => {
                panic!("{other:?}")
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> u64 {
        self.server.counters().refusals.count(refusal)
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn quick() -> ServerConfig {
    let times = ServerTimes {
        static_redial: Duration::from_millis(20),
        static_redial_max: Duration::from_millis(200),
        hold: Duration::from_millis(200),
        ..ServerTimes::default()
    };
    ServerConfig { times, ..ServerConfig::default() }
}

/// Answers each message of code 0 with one of code 1.
fn echo(name: &str) -> impl Protocol + use<> {
    protocol(name, [V1], |peer, mut messages| async move {
        while let Some(Message { code, payload }) = messages.next().await {
            if code == 0 && peer.send(1, payload).await.is_err() {
                return;
            }
        }
    })
}

/// Tells what its peers send.
fn telling(name: &str, told: mpsc::Sender<Message>, first: Option<Bytes>) -> impl Protocol + use<> {
    protocol(name, [V1], move |peer, mut messages| {
        let (told, first) = (told.clone(), first.clone());
        async move {
            if let Some(payload) = first {
                peer.send(0, payload).await.unwrap();
            }
            while let Some(message) = messages.next().await {
                if told.send(message).await.is_err() {
                    return;
                }
            }
        }
    })
}

async fn ask_echo(connection: &mut Connection, payload: &'static [u8]) {
    let echo = connection.shared().iter().position(|shared| shared.name == *"echo").unwrap();
    within(connection.send(echo, 0, Bytes::from_static(payload))).await.unwrap();
    let received = within(connection.next()).await.unwrap();
    assert_eq!((received.protocol, received.message.code, &received.message.payload[..]), (echo, 1, payload));
}

#[tokio::test]
async fn two_servers_talk_whoever_dialed() {
    let stage = Stage::new();
    let mut answers = stage.echoing().await;
    let (told, mut heard) = mpsc::channel(4);
    let key = stage.key();
    let asks = telling("echo", told, Some(Bytes::from_static(b"hello")));
    let mut asker =
        stage.start(Arc::clone(&key), stage.builder(&key, listener().await).protocol(Arc::new(asks)));
    for asker_dials in [true, false] {
        let (dialer, other) = if asker_dials { (&asker, &answers) } else { (&answers, &asker) };
        dialer.server.add_peer(other.enode()).await.unwrap();
        let (seen, by_other) = (asker.connected().await, answers.connected().await);
        assert_eq!(
            within(heard.recv()).await.unwrap(),
            Message { code: 1, payload: Bytes::from_static(b"hello") }
        );
        assert_eq!(
            (seen.public_key, by_other.public_key),
            (answers.key.public_key(), asker.key.public_key())
        );
        assert_eq!((seen.inbound, by_other.inbound), (!asker_dials, asker_dials));
        assert_eq!((seen.static_peer, by_other.static_peer), (asker_dials, !asker_dials));
        assert_eq!((seen.client_name.as_str(), seen.shared.len()), ("test/1", 1));
        assert_eq!((seen.remote_addr, seen.local_addr), (by_other.local_addr, by_other.remote_addr));
        assert_eq!((asker.server.peer_count(), asker.server.peers().await[0].peer_id), (1, seen.peer_id));
        let (dialer, other) = if asker_dials { (&asker, &answers) } else { (&answers, &asker) };
        dialer.server.remove_peer(other.key.node_id()).await.unwrap();
        let ((_, end), (_, by_other)) = (asker.disconnected().await, answers.disconnected().await);
        let (ours, theirs) = if asker_dials { (end, by_other) } else { (by_other, end) };
        assert_eq!(ours, SessionEnd::Local { reason: DisconnectReason::Requested, error: None });
        assert_eq!(theirs, SessionEnd::Remote(DisconnectReason::Requested));
        assert_eq!((asker.server.peer_count(), asker.server.peers().await.len()), (0, 0));
    }
    let counts = asker.server.counters();
    assert_eq!((counts.messages_in(), counts.messages_out()), (2, 2));
    assert!(counts.bytes_in() > 400 && counts.bytes_out() > 400);
}

#[tokio::test]
async fn useless_peers_are_told_so_on_both_sides() {
    let stage = Stage::new();
    let (mut one, key) = (stage.echoing().await, stage.key());
    let chat = stage.builder(&key, listener().await).protocol(Arc::new(echo("chat")));
    let mut other = stage.start(key, chat);
    one.server.add_peer(other.enode()).await.unwrap();
    for node in [&mut one, &mut other] {
        let (_, end) = node.turned_away().await;
        assert_eq!(end.reason(), DisconnectReason::UselessPeer, "{end}");
    }
}

#[tokio::test]
async fn a_full_server_says_too_many_peers() {
    let stage = Stage::new();
    let (mut one, key) = (stage.echoing().await, stage.key());
    let config = ServerConfig { max_peers: 0, ..quick() };
    let full = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo"))).config(config);
    let mut full = stage.start(key, full);
    one.server.add_peer(full.enode()).await.unwrap();
    let reason = DisconnectReason::TooManyPeers;
    assert_eq!(one.turned_away().await, (full.key.public_key(), SessionEnd::Remote(reason)));
    assert_eq!(full.turned_away().await, (one.key.public_key(), SessionEnd::Local { reason, error: None }));
    // A trusted peer is let in all the same.
    full.server.add_trusted(one.key.node_id()).await.unwrap();
    assert!(full.connected().await.trusted);
    assert!(one.connected().await.static_peer);
}

#[tokio::test]
async fn h17_a_second_session_of_a_node_is_refused_and_the_first_goes_on() {
    let stage = Stage::new();
    let (mut node, key) = (stage.echoing().await, stage.key());
    let mut first = stage.open(&key, "echo", &node).await.unwrap();
    ask_echo(&mut first, b"one").await;
    let reason = DisconnectReason::AlreadyConnected;
    match stage.open(&key, "echo", &node).await {
        Err(ConnectError::Session { end, .. }) => assert_eq!(end, SessionEnd::Remote(reason)),
        other => panic!("{other:?}"),
    }
    node.connected().await;
    assert_eq!(node.turned_away().await, (key.public_key(), SessionEnd::Local { reason, error: None }));
    ask_echo(&mut first, b"two").await;
    assert_eq!(node.server.peer_count(), 1);
}

#[tokio::test]
async fn h18_a_node_that_reaches_itself_says_so() {
    let stage = Stage::new();
    let mut node = stage.echoing().await;
    let key = Arc::clone(&node.key);
    match stage.open(&key, "echo", &node).await {
        Err(ConnectError::Session { end, .. }) => assert_eq!(end.reason(), DisconnectReason::ConnectedToSelf),
        other => panic!("{other:?}"),
    }
    assert_eq!(node.server.add_peer(node.enode()).await, Err(CommandError::Own));
    // Nothing else has happened: the next event is of someone else.
    let other = stage.tool(&node).await;
    assert_eq!(node.connected().await.client_name, "tool/1");
    drop(other);
}

#[tokio::test]
async fn a_static_peer_that_restarts_is_a_peer_again() {
    let stage = Stage::new();
    let (mut keeper, key) = (stage.echoing().await, stage.key());
    let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    for round in 0..3 {
        let listener = TcpListener::bind(address).await.unwrap();
        address = listener.local_addr().unwrap();
        let node = stage.builder(&key, listener).protocol(Arc::new(echo("echo")));
        let node = stage.start(Arc::clone(&key), node);
        if round == 0 {
            keeper.server.add_peer(node.enode()).await.unwrap();
        }
        assert_eq!(keeper.connected().await.public_key, key.public_key());
        within(node.server.shutdown()).await;
        assert_eq!(keeper.disconnected().await.1, SessionEnd::Remote(DisconnectReason::Quitting));
    }
}

#[test]
fn a_static_peer_that_dies_without_a_word_is_a_peer_again() {
    let stage = Stage::new();
    let survivors = tokio::runtime::Runtime::new().unwrap();
    let key = stage.key();
    let mut keeper = survivors.block_on(stage.echoing());
    let mut address: SocketAddr = "127.0.0.1:0".parse().unwrap();
    for round in 0..3 {
        let mortal = tokio::runtime::Runtime::new().unwrap();
        let node = mortal.block_on(async {
            let listener = TcpListener::bind(address).await.unwrap();
            let node = stage.builder(&key, listener).protocol(Arc::new(echo("echo")));
            stage.start(Arc::clone(&key), node)
        });
        address = node.server.local_addr().unwrap();
        survivors.block_on(async {
            if round == 0 {
                keeper.server.add_peer(node.enode()).await.unwrap();
            }
            assert_eq!(keeper.connected().await.public_key, key.public_key());
        });
        // The tasks are gone at once, as those of a killed process.
        drop(mortal);
        let (_, end) = survivors.block_on(keeper.disconnected());
        assert!(matches!(end, SessionEnd::Broken(_)), "{end}");
    }
}

#[tokio::test]
async fn h16_two_servers_that_keep_each_other_have_one_session() {
    let stage = Stage::new();
    for _ in 0..20 {
        let (mut one, mut other) = (stage.echoing().await, stage.echoing().await);
        let (to_other, to_one) = (one.server.add_peer(other.enode()), other.server.add_peer(one.enode()));
        let (first, second) = tokio::join!(to_other, to_one);
        first.and(second).unwrap();
        let (a, b) = (one.connected().await, other.connected().await);
        assert_eq!(
            (a.remote_addr, a.local_addr),
            (b.local_addr, b.remote_addr),
            "one session, the same for both"
        );
        assert_ne!(a.inbound, b.inbound);
        assert_eq!((one.server.peer_count(), other.server.peer_count()), (1, 1));
    }
}

#[tokio::test]
async fn h16_a_circle_of_servers_that_all_dial_each_other_becomes_one_mesh() {
    const NODES: usize = 8;
    let stage = Stage::new();
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(stage.echoing().await);
    }
    let enodes: Vec<Enode> = nodes.iter().map(Node::enode).collect();
    for node in &nodes {
        for enode in enodes.iter().filter(|enode| enode.public_key != node.key.public_key()) {
            node.server.add_peer(enode.clone()).await.unwrap();
        }
    }
    for node in &mut nodes {
        while node.server.peer_count() < NODES - 1 {
            node.event().await;
        }
        let mut keys: Vec<PublicKey> = node.server.peers().await.iter().map(|peer| peer.public_key).collect();
        keys.dedup();
        assert_eq!(keys.len(), NODES - 1);
    }
}

#[tokio::test]
async fn names_of_static_peers_are_looked_up() {
    let stage = Stage::new();
    let (node, mut dialer) = (stage.echoing().await, stage.echoing().await);
    let named = Enode { host: Host::Dns("localhost".into()), ..node.enode() };
    dialer.server.add_peer(named).await.unwrap();
    assert_eq!(dialer.connected().await.public_key, node.key.public_key());
}

/// A source that counts what was taken from it.
struct Source(Vec<Candidate>, Arc<AtomicUsize>);

impl futures_core::Stream for Source {
    type Item = Candidate;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Candidate>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(self.0.pop())
    }
}

#[tokio::test]
async fn candidates_are_taken_only_while_they_are_wanted() {
    let stage = Stage::new();
    let mut candidates = Vec::new();
    let mut nodes = Vec::new();
    for _ in 0..6 {
        let node = stage.echoing().await;
        let address = node.server.local_addr().unwrap();
        let endpoint = Endpoint { ip: address.ip(), udp: 0, tcp: address.port() };
        candidates.push(Candidate { public_key: node.key.public_key(), endpoint });
        nodes.push(node);
    }
    let (taken, key) = (Arc::new(AtomicUsize::new(0)), stage.key());
    // Two peers may be dialed, one at a time.
    let config = ServerConfig { max_peers: 6, max_dials: 1, ..quick() };
    let source = Source(candidates, Arc::clone(&taken));
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo"))).config(config);
    let mut node = stage.start(key, builder.candidates(source));
    node.connected().await;
    node.connected().await;
    // What comes in brings the server round once more.
    let mut tool = stage.tool(&node).await;
    ask_echo(&mut tool, b"x").await;
    assert_eq!((node.server.peer_count(), taken.load(Ordering::Relaxed)), (3, 2));
}

#[tokio::test]
async fn the_tool_sends_receives_and_says_goodbye() {
    let stage = Stage::new();
    let mut node = stage.echoing().await;
    let mut tool = stage.tool(&node).await;
    assert_eq!(
        (tool.hello().client_name.as_str(), tool.hello().public_key),
        ("test/1", node.key.public_key())
    );
    assert_eq!(tool.hello().listen_port, node.server.local_addr().unwrap().port());
    assert_eq!((tool.shared()[0].version, tool.shared()[0].offset), (1, 16));
    ask_echo(&mut tool, b"ping").await;
    let large = Bytes::from(vec![7; 3 << 20]);
    within(tool.send(0, 0, large.clone())).await.unwrap();
    assert_eq!(within(tool.next()).await.unwrap().message.payload, large);
    assert_eq!(tool.send(0, 2, Bytes::new()).await, Err(SendError::UnknownCode));
    assert_eq!(tool.send(1, 0, Bytes::new()).await, Err(SendError::UnknownCode));
    let reason = DisconnectReason::UselessPeer;
    assert_eq!(within(tool.disconnect(reason)).await, SessionEnd::Local { reason, error: None });
    assert_eq!(node.disconnected().await.1, SessionEnd::Remote(reason));
}

#[tokio::test]
async fn the_tool_tells_why_there_is_no_session() {
    let stage = Stage::new();
    let mut node = stage.echoing().await;
    match stage.open(&stage.key(), "chat", &node).await {
        Err(ConnectError::Session { end, hello: Some(hello) }) => {
            assert_eq!((end.reason(), hello.client_name.as_str()), (DisconnectReason::UselessPeer, "test/1"));
        }
        other => panic!("{other:?}"),
    }
    let mut tool = stage.tool(&node).await;
    node.connected().await;
    node.server.shutdown().await;
    let end = SessionEnd::Remote(DisconnectReason::Quitting);
    assert_eq!((within(tool.next()).await, within(tool.next()).await), (Err(end), Err(end)));
    let refused = stage.open(&stage.key(), "echo", &node).await;
    assert!(matches!(refused, Err(ConnectError::Tcp { .. })), "{refused:?}");
}

#[tokio::test]
async fn s07_shutdown_says_quitting_to_every_peer_and_frees_the_port() {
    let stage = Stage::new();
    let mut node = stage.echoing().await;
    let address = node.server.local_addr().unwrap();
    let mut tools = Vec::new();
    for _ in 0..20 {
        tools.push(stage.tool(&node).await);
        node.connected().await;
    }
    // Neither one that says nothing nor one that does not read holds it up.
    let silent = TcpStream::connect(address).await.unwrap();
    let (server, again) = (node.server.clone(), node.server.clone());
    timeout(Duration::from_secs(5), async { tokio::join!(server.shutdown(), again.shutdown()) })
        .await
        .unwrap();
    for mut tool in tools {
        assert_eq!(within(tool.next()).await, Err(SessionEnd::Remote(DisconnectReason::Quitting)));
    }
    drop(silent);
    assert_eq!(node.server.add_peer(node.enode()).await, Err(CommandError::Closed));
    assert_eq!((node.server.peer_count(), node.server.peers().await.len()), (0, 0));
    for _ in 0..20 {
        assert!(matches!(node.event().await, Event::PeerDisconnected { .. }));
    }
    assert!(
        within(node.events.next()).await.is_none() && within(node.server.events().next()).await.is_none()
    );
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn dropping_the_last_handle_says_goodbye() {
    let stage = Stage::new();
    let node = stage.echoing().await;
    let mut tool = stage.tool(&node).await;
    ask_echo(&mut tool, b"here").await;
    drop(node);
    assert_eq!(within(tool.next()).await, Err(SessionEnd::Remote(DisconnectReason::Quitting)));
}

#[tokio::test]
async fn a_function_that_returns_ends_its_session_with_quitting() {
    let stage = Stage::new();
    let key = stage.key();
    let once = protocol("echo", [V1], |_, mut messages| async move { drop(messages.next().await) });
    let node = stage.start(Arc::clone(&key), stage.builder(&key, listener().await).protocol(Arc::new(once)));
    let mut tool = stage.tool(&node).await;
    within(tool.send(0, 0, Bytes::new())).await.unwrap();
    assert_eq!(within(tool.next()).await, Err(SessionEnd::Remote(DisconnectReason::Quitting)));
}

/// What a scripted protocol is asked to do, and what it saw.
#[derive(Default)]
struct Script {
    links: Mutex<Vec<Link>>,
    closed: Mutex<Vec<SessionEnd>>,
    sent_len: AtomicUsize,
    handled: AtomicUsize,
    /// Takes no message while this is set.
    blocked: Mutex<Option<Vec<Waker>>>,
    /// Panics at a message, or already when a peer comes.
    panics_at_message: bool,
    panics_at_connect: bool,
}

#[derive(Clone)]
struct Scripted {
    name: &'static str,
    script: Arc<Script>,
}

impl Scripted {
    fn new(name: &'static str, script: Script) -> Self {
        Self { name, script: Arc::new(script) }
    }
}

impl Protocol for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    fn versions(&self) -> &[ProtocolVersion] {
        &[V1]
    }

    fn connect(&self, _: Arc<PeerInfo>, _: u32, link: Link) -> Box<dyn ProtocolSession> {
        assert!(!self.script.panics_at_connect, "as the script says");
        self.script.links.lock().unwrap().push(link);
        Box::new(self.clone())
    }
}

impl ProtocolSession for Scripted {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.script.blocked.lock().unwrap() {
            Some(wakers) => {
                wakers.push(cx.waker().clone());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }

    fn handle_message(&mut self, _: u64, _: Bytes) -> Result<(), DisconnectReason> {
        assert!(!self.script.panics_at_message, "as the script says");
        self.script.handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn handle_sent(&mut self, len: usize) {
        self.script.sent_len.fetch_add(len, Ordering::Relaxed);
    }

    fn handle_closed(&mut self, end: &SessionEnd) {
        self.script.closed.lock().unwrap().push(*end);
    }
}

#[tokio::test]
async fn s05_a_panic_costs_its_peer_alone() {
    let stage = Stage::new();
    let beside = Scripted::new("beside", Script::default());
    let (in_task, at_start) = (
        Scripted::new("bad", Script { panics_at_message: true, ..Script::default() }),
        Scripted::new("worse", Script { panics_at_connect: true, ..Script::default() }),
    );
    let own_task = protocol("task", [V1], |_, mut messages| async move {
        messages.next().await.unwrap();
        panic!("as the script says");
    });
    let key = stage.key();
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo")));
    let builder =
        builder.protocol(Arc::new(beside.clone())).protocol(Arc::new(in_task)).protocol(Arc::new(own_task));
    let node = stage.start(key, builder.protocol(Arc::new(at_start)));

    let mut honest = stage.tool(&node).await;
    ask_echo(&mut honest, b"before").await;
    let end = SessionEnd::Remote(DisconnectReason::SubprotocolError);
    for (count, name) in ["bad", "task", "worse"].into_iter().enumerate() {
        let capabilities =
            [name, "beside"].map(|name| LocalCapability::new(CapabilityName::new(name).unwrap(), 1, 2));
        let key = stage.key();
        let config = SessionConfig::new(key.public_key(), "tool/1", capabilities.to_vec());
        let address = node.server.local_addr().unwrap();
        let curve = stage.pool.handle(key);
        let mut tool = within(Server::connect(curve, config, address, node.key.public_key())).await.unwrap();
        let bad = tool.shared().iter().position(|shared| shared.name == *name).unwrap();
        // At the start already, `worse` may have ended it.
        let sent = within(tool.send(bad, 0, Bytes::new())).await;
        assert!(sent.is_ok() || name == "worse");
        assert_eq!(within(tool.next()).await, Err(end), "{name}");
        assert_eq!(node.refused(Refusal::ProtocolPanicked), count as u64 + 1);
    }
    ask_echo(&mut honest, b"after").await;
    assert_eq!(node.server.peer_count(), 1);
    // The protocol beside was told each time.
    let local = SessionEnd::Local { reason: DisconnectReason::SubprotocolError, error: None };
    assert_eq!(*beside.script.closed.lock().unwrap(), [local; 3]);
}

#[tokio::test]
async fn a_protocol_without_room_stops_the_reading_and_then_costs_the_peer() {
    let stage = Stage::new();
    let slow = Scripted::new("echo", Script { blocked: Mutex::new(Some(Vec::new())), ..Script::default() });
    let key = stage.key();
    let times = ServerTimes { protocol_stall: Duration::from_millis(300), ..quick().times };
    let config = ServerConfig { times, ..quick() };
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(slow.clone())).config(config);
    let mut node = stage.start(key, builder);
    let mut tool = stage.tool(&node).await;
    node.connected().await;
    // Far more than the socket and the session's buffers hold between the two.
    let flood = async {
        let payload: Bytes =
            (0..1u32 << 18).flat_map(|number| (number.wrapping_mul(2_654_435_761)).to_be_bytes()).collect();
        for _ in 0..64 {
            if tool.send(0, 0, payload.clone()).await.is_err() {
                return;
            }
        }
        panic!("64 MiB went to a protocol that takes nothing");
    };
    within(flood).await;
    let (_, end) = node.disconnected().await;
    assert_eq!(end, SessionEnd::Local { reason: DisconnectReason::Requested, error: None });
    assert_eq!((node.refused(Refusal::ProtocolStalled), slow.script.handled.load(Ordering::Relaxed)), (1, 0));
    assert!(node.server.counters().bytes_in() < 8 << 20, "{}", node.server.counters().bytes_in());
}

#[tokio::test]
async fn a_protocol_that_finds_room_again_goes_on() {
    let stage = Stage::new();
    let slow = Scripted::new("echo", Script { blocked: Mutex::new(Some(Vec::new())), ..Script::default() });
    let key = stage.key();
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(slow.clone()));
    let mut node = stage.start(key, builder.protocol(Arc::new(echo("other"))));
    let mut tool = stage.tool(&node).await;
    node.connected().await;
    for _ in 0..100 {
        within(tool.send(0, 0, Bytes::from_static(b"x"))).await.unwrap();
    }
    let wakers = loop {
        let asked = slow.script.blocked.lock().unwrap().as_ref().is_some_and(|wakers| !wakers.is_empty());
        if asked {
            break slow.script.blocked.lock().unwrap().take().unwrap();
        }
        tokio::task::yield_now().await;
    };
    wakers.into_iter().for_each(Waker::wake);
    let all = async {
        while slow.script.handled.load(Ordering::Relaxed) < 100 {
            tokio::task::yield_now().await;
        }
    };
    within(all).await;
    assert_eq!((node.refused(Refusal::ProtocolStalled), node.server.peer_count()), (0, 1));
}

#[tokio::test]
async fn p13_a_queue_to_a_peer_that_does_not_read_is_bounded_and_credit_comes_back() {
    let stage = Stage::new();
    let script = Scripted::new("echo", Script::default());
    let key = stage.key();
    let mut node = stage
        .start(Arc::clone(&key), stage.builder(&key, listener().await).protocol(Arc::new(script.clone())));
    let mut tool = stage.tool(&node).await;
    node.connected().await;
    let link = script.script.links.lock().unwrap()[0].clone();
    assert_eq!(link.try_send(SharedMessage::new(2, Bytes::new())), Err(SendError::UnknownCode));
    assert_eq!(link.try_send(SharedMessage::new(0, vec![0; 0x100_0000].into())), Err(SendError::TooLarge));
    // Incompressible, so that what is queued is what is written.
    let payload: Bytes =
        (0..1u32 << 15).flat_map(|number| (number.wrapping_mul(2_654_435_761)).to_be_bytes()).collect();
    let message = SharedMessage::new(0, payload.clone());
    let mut sent = 0;
    let fill = async {
        // A socket that is full takes nothing more, whoever is let run.
        let mut refusals_in_a_row = 0;
        while refusals_in_a_row < 1_000 {
            match link.try_send(message.clone()) {
                Ok(()) => (sent, refusals_in_a_row) = (sent + 1, 0),
                Err(SendError::Full) => refusals_in_a_row += 1,
                Err(error) => panic!("{error}"),
            }
            tokio::task::yield_now().await;
        }
    };
    within(fill).await;
    let in_queue = MAX_QUEUED_LEN / payload.len();
    let credited = script.script.sent_len.load(Ordering::Relaxed) / payload.len();
    assert!(sent - credited <= in_queue + 2, "{sent} sent, {credited} written");
    let waiting = link.send(message.clone());
    let reading = async {
        for _ in 0..=sent {
            assert_eq!(tool.next().await.unwrap().message.payload, payload);
        }
    };
    let (late, ()) = within(async { tokio::join!(waiting, reading) }).await;
    late.unwrap();
    let all = async {
        while script.script.sent_len.load(Ordering::Relaxed) < (sent + 1) * payload.len() {
            tokio::task::yield_now().await;
        }
    };
    within(all).await;
    link.disconnect(DisconnectReason::TooManyPeers);
    link.disconnect(DisconnectReason::Requested);
    assert_eq!(within(tool.next()).await, Err(SessionEnd::Remote(DisconnectReason::TooManyPeers)));
    node.disconnected().await;
    assert_eq!(link.try_send(message), Err(SendError::Closed));
}

/// Reads until the other side closes; what it sent.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let mut space = [0; 1_024];
        let mut buffer = ReadBuf::new(&mut space);
        let read = std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buffer)).await;
        if read.is_err() || buffer.filled().is_empty() {
            return all;
        }
        all.extend_from_slice(buffer.filled());
    }
}

async fn write(stream: &mut TcpStream, bytes: &[u8]) {
    let written = std::future::poll_fn(|cx| Pin::new(&mut *stream).poll_write(cx, bytes)).await;
    assert_eq!(written.unwrap(), bytes.len());
}

#[tokio::test]
async fn h13_the_second_connection_of_a_host_is_closed_without_a_word() {
    let stage = Stage::new();
    let key = stage.key();
    let config = ServerConfig { address_policy: AddressPolicy { loopback_is_public: true }, ..quick() };
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo"))).config(config);
    let node = stage.start(key, builder);
    let mut tool = stage.tool(&node).await;
    ask_echo(&mut tool, b"first").await;
    let mut second = TcpStream::connect(node.server.local_addr().unwrap()).await.unwrap();
    assert_eq!(within(read_to_end(&mut second)).await, []);
    assert_eq!(node.refused(Refusal::Throttled), 1);
}

#[tokio::test]
async fn h08_h10_whoever_speaks_no_rlpx_or_nothing_is_closed_in_time_without_a_word() {
    let stage = Stage::new();
    let key = stage.key();
    let timeouts = Timeouts { handshake: Duration::from_millis(300), ..Timeouts::default() };
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo"))).timeouts(timeouts);
    let node = stage.start(key, builder);
    let address = node.server.local_addr().unwrap();
    let greetings: [&[u8]; 4] =
        [b"", b"GET / HTTP/1.1\r\n\r\n", &[0x16, 3, 1, 2, 0, 1, 0, 1], &[0x01, 0x00, 0x04]];
    for greeting in greetings {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if !greeting.is_empty() {
            write(&mut stream, greeting).await;
        }
        assert_eq!(within(read_to_end(&mut stream)).await, [], "{greeting:?}");
    }
    let rejects = &node.server.counters().rejects;
    assert_eq!((rejects.count(Reject::HandshakeTimeout), rejects.count(Reject::HandshakeSize)), (2, 2));
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_the_start() {
    let stage = Stage::new();
    let builder = || Server::builder(stage.pool.handle(stage.key()));
    let named = |name: &str| builder().protocol(Arc::new(echo(name))).start();
    assert!(matches!(named("overlong9"), Err(ConfigError::ProtocolName { .. })));
    let twice = builder().protocol(Arc::new(echo("a"))).protocol(Arc::new(echo("a"))).start();
    assert!(matches!(twice, Err(ConfigError::ProtocolTwice { .. })));
    let none = protocol("a", [], |_, _| async {});
    assert!(matches!(builder().protocol(Arc::new(none)).start(), Err(ConfigError::ProtocolVersions { .. })));
    let key = stage.key();
    let own = Enode::new(key.public_key(), Endpoint { ip: [127, 0, 0, 1].into(), udp: 0, tcp: 1 });
    let config = ServerConfig { static_peers: vec![own], ..quick() };
    let own = Server::builder(stage.pool.handle(key)).config(config).start();
    assert!(matches!(own, Err(ConfigError::Peer(CommandError::Own))));
}
