//! Who becomes a peer and who is turned away: dials, static peers, names, candidates, two nodes that dial each other,
//! and connections that are closed without a word.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use identity::{AddressPolicy, Endpoint, Enode, Host, PublicKey};
use rlpx::{
    Candidate, CommandError, ConnectError, DisconnectReason, Event, Message, Protocol, Refusal, Reject,
    ServerConfig, SessionEnd, SessionError, protocol,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::mpsc,
};

use crate::support::{Node, Stage, V1, ask_echo, echo, impatient, listener, quick, within};

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
async fn h18_s10_a_node_that_reaches_itself_says_so_and_tells_where_its_key_is_used() {
    let stage = Stage::new();
    let mut node = stage.echoing().await;
    let key = Arc::clone(&node.key);
    match stage.open(&key, "echo", &node).await {
        Err(ConnectError::Session { end, .. }) => assert_eq!(end.reason(), DisconnectReason::ConnectedToSelf),
        other => panic!("{other:?}"),
    }
    assert_eq!(node.server.add_peer(node.enode()).await, Err(CommandError::Own));
    let Event::KeyInUse { address } = node.event().await else { panic!("not told") };
    assert_eq!((address.ip(), node.refused(Refusal::OwnKey)), (node.server.local_addr().unwrap().ip(), 1));
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

#[tokio::test]
async fn a_dial_whose_name_leads_nowhere_is_told_of() {
    let stage = Stage::new();
    let key = stage.key();
    let net_restrict = "192.0.2.0/24".parse().unwrap();
    let builder = stage.builder(&key, listener().await).config(ServerConfig { net_restrict, ..quick() });
    let mut node = stage.start(key, builder.protocol(Arc::new(echo("echo"))));
    let public_key = stage.key().public_key();
    let named = Enode { public_key, host: Host::Dns("localhost".into()), tcp: 1, udp: 0 };
    node.server.add_peer(named).await.unwrap();
    let event = node.event().await;
    let Event::DialFailed { public_key: whose, address: None, end, rule } = event else {
        panic!("{event:?}")
    };
    assert_eq!((whose, end), (public_key, SessionEnd::Broken(SessionError::Nowhere)));
    assert_eq!((rule, node.refused(Refusal::NetRestrict)), (Some(Refusal::NetRestrict), 1));
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
        candidates.push(Candidate::new(node.key.public_key(), endpoint));
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
    assert_eq!(within(read_to_end(&mut second)).await, b"");
    assert_eq!(node.refused(Refusal::Throttled), 1);
}

#[tokio::test]
async fn h08_h10_whoever_speaks_no_rlpx_or_nothing_is_closed_in_time_without_a_word() {
    let stage = Stage::new();
    let key = stage.key();
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo")));
    let builder = builder.config(impatient());
    let node = stage.start(key, builder);
    let address = node.server.local_addr().unwrap();
    // Of the form before EIP-8: 307 bytes of ciphertext, so that the first two are any size.
    let mut old_auth = [0x5a; 307];
    old_auth[..3].copy_from_slice(&[0x04, 0x00, 0x9c]);
    let greetings: [&[u8]; 6] = [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 3, 1, 2, 0, 1, 0, 1],
        b"SSH-2.0-OpenSSH_9.9\r\n",
        &[0x01, 0x00, 0x04],
        &old_auth,
    ];
    for greeting in greetings {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if !greeting.is_empty() {
            write(&mut stream, greeting).await;
        }
        assert_eq!(within(read_to_end(&mut stream)).await, b"", "{greeting:?}");
    }
    let rejects = &node.server.counters().rejects;
    assert_eq!((rejects.count(Reject::HandshakeTimeout), rejects.count(Reject::HandshakeSize)), (3, 3));
    assert_eq!(node.server.counters().bytes_out(), 0);
}
