//! Servers and single connections from start to end: what is refused at the start, what the tool sends, receives and
//! reports, who says goodbye at shutdown.

use std::{collections::BTreeSet, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use identity::{Endpoint, Enode, NodeKey};
use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};
use rlpx::{
    CapabilityName, CommandError, ConfigError, ConnectError, DisconnectReason, Event, LocalCapability,
    Protocol, ProtocolVersion, SendError, Server, ServerConfig, ServerTimes, SessionConfig, SessionEnd,
    protocol,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{Node, Stage, V1, ask_echo, echo, listener, quick, within};

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

/// Sends to every peer without end.
fn talking(name: &str) -> impl Protocol + use<> {
    protocol(name, [V1], |peer, messages| async move {
        let mut noise = vec![0; 1 << 20];
        UnwrapErr(SysRng).fill_bytes(&mut noise);
        while peer.send(0, noise.clone().into()).await.is_ok() {}
        drop(messages);
    })
}

#[tokio::test]
async fn s07_a_peer_that_does_not_read_holds_up_no_shutdown() {
    let stage = Stage::new();
    let key = stage.key();
    let builder = stage.builder(&key, listener().await);
    let builder = builder.protocol(Arc::new(echo("echo"))).protocol(Arc::new(talking("talk")));
    let mut node = stage.start(key, builder);
    let mut tools = Vec::new();
    for _ in 0..5 {
        tools.push(stage.tool(&node).await);
        node.connected().await;
    }
    let stuck = stage.tool_with(&node, &["talk"]).await;
    node.connected().await;
    // Its socket is full when it has taken what the system keeps unsent and nothing more is written, whoever is let run.
    let (mut written, mut idle) = (0, 0);
    let full = async {
        while written < 128 * 1024 || idle < 1_000 {
            tokio::task::yield_now().await;
            let now = node.server.counters().bytes_out();
            idle = if now == written { idle + 1 } else { 0 };
            written = now;
        }
    };
    within(full).await;
    timeout(Duration::from_secs(5), node.server.shutdown()).await.expect("done within 5 s");
    for mut tool in tools {
        assert_eq!(within(tool.next()).await, Err(SessionEnd::Remote(DisconnectReason::Quitting)));
    }
    let told = SessionEnd::Local { reason: DisconnectReason::Quitting, error: None };
    for _ in 0..6 {
        assert_eq!(node.disconnected().await.1, told);
    }
    assert!(within(node.events.next()).await.is_none());
    drop(stuck);
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
async fn f16_a_tool_that_stops_waiting_half_way_loses_no_message() {
    const MESSAGES: u32 = if cfg!(feature = "thorough") { 100_000 } else { 2_000 };
    let stage = Stage::new();
    let node = stage.echoing().await;
    let mut tool = stage.tool(&node).await;
    let payload = |number: u32| Bytes::from(vec![number as u8; number as usize * 7_919 % 60_000]);
    let (mut cancels, mut sent) = (0, 0);
    for received in 0..MESSAGES {
        while sent < MESSAGES && sent < received + 3 {
            within(tool.send(0, 0, payload(sent))).await.unwrap();
            sent += 1;
        }
        let next = loop {
            // Polled once, and dropped when it has nothing yet.
            tokio::select! {
                biased;
                next = tool.next() => break next.unwrap(),
                () = std::future::ready(()) => cancels += 1,
            }
            tokio::task::yield_now().await;
        };
        assert!(next.message.payload == payload(received), "message {received}");
    }
    println!("{cancels} waits given up for {MESSAGES} messages (thorough: 100000)");
    assert!(cancels > MESSAGES / 10, "{cancels}");
}

#[tokio::test]
async fn handles_that_go_right_behind_a_command_end_the_server_too() {
    let stage = Stage::new();
    let Node { server, mut events, .. } = stage.echoing().await;
    let mut asking = Box::pin(server.peers());
    // Sent, and nobody waits for the answer.
    assert!(std::future::poll_fn(|cx| Poll::Ready(asking.as_mut().poll(cx))).await.is_pending());
    drop(asking);
    drop(server);
    assert!(within(events.next()).await.is_none());
}

#[tokio::test]
async fn p13_a_peer_that_talks_and_does_not_read_does_not_hold_the_tool() {
    let stage = Stage::new();
    let key = stage.key();
    let talking = protocol("echo", [V1], |peer, messages| async move {
        for _ in 0..200 {
            peer.send(0, Bytes::new()).await.unwrap();
        }
        std::future::pending::<()>().await;
        drop(messages);
    });
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(talking));
    let node = stage.start(Arc::clone(&key), builder);
    let key = stage.key();
    let echo = LocalCapability::new(CapabilityName::new("echo").unwrap(), 1, V1.message_count);
    let mut config = SessionConfig::new(key.public_key(), "tool/1", vec![echo]);
    config.timeouts.write = Duration::from_millis(300);
    let (address, remote) = (node.server.local_addr().unwrap(), node.key.public_key());
    let mut tool = within(Server::connect(stage.pool.handle(key), config, address, remote)).await.unwrap();
    let mut noise = vec![0; 8 << 20];
    UnwrapErr(SysRng).fill_bytes(&mut noise);
    let noise = Bytes::from(noise);
    let flood = async { while tool.send(0, 0, noise.clone()).await.is_ok() {} };
    within(flood).await;
    assert_eq!(within(tool.send(0, 0, noise.clone())).await, Err(SendError::Closed));
}

#[tokio::test]
async fn a_tool_that_sends_and_has_much_to_read_hears_at_once_that_the_other_end_has_gone() {
    let stage = Stage::new();
    let key = stage.key();
    let talking = protocol("echo", [V1], |peer, messages| async move {
        while peer.send(0, Bytes::from_static(b"talk")).await.is_ok() {}
        drop(messages);
    });
    let times = ServerTimes { protocol_stall: Duration::from_secs(60), ..quick().times };
    let builder = stage.builder(&key, listener().await).config(ServerConfig { times, ..quick() });
    let node = stage.start(key, builder.protocol(Arc::new(talking)));
    let mut tool = stage.tool(&node).await;
    let noise = Bytes::from(vec![7; 1 << 20]);
    let flood = async { while tool.send(0, 0, noise.clone()).await.is_ok() {} };
    let gone = async {
        let (mut moved, mut idle) = (0, 0);
        while idle < 1_000 {
            tokio::task::yield_now().await;
            let now = node.server.counters().bytes_in() + node.server.counters().bytes_out();
            idle = if now == moved { idle + 1 } else { 0 };
            moved = now;
        }
        node.server.shutdown().await;
    };
    // Half of the time in which it would give up by itself.
    let both = async { tokio::join!(flood, gone) };
    timeout(Duration::from_secs(10), both).await.expect("it hears of the end");
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
    let many = protocol("many", [ProtocolVersion { message_count: u64::MAX, ..V1 }], |_, _| async {});
    assert!(matches!(builder().protocol(Arc::new(many)).start(), Err(ConfigError::ProtocolVersions { .. })));
    let key = stage.key();
    let own = Enode::new(key.public_key(), Endpoint { ip: [127, 0, 0, 1].into(), udp: 0, tcp: 1 });
    let config = ServerConfig { static_peers: vec![own], ..quick() };
    let own = Server::builder(stage.pool.handle(key)).config(config).start();
    assert!(matches!(own, Err(ConfigError::Peer(CommandError::Own))));
}

/// Reads the auth that a tool with one and the same key dials with: point and counter block, and how long it is.
async fn auth_of(stage: &Stage, key: &Arc<NodeKey>, listener: &TcpListener) -> ([u8; 65], [u8; 16], u16) {
    let (address, remote) = (listener.local_addr().unwrap(), stage.key().public_key());
    let config = SessionConfig::new(key.public_key(), "tool/1", vec![]);
    let dial = Server::connect(stage.pool.handle(Arc::clone(key)), config, address, remote);
    let read = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (len, mut point, mut counter) = (stream.read_u16().await.unwrap(), [0; 65], [0; 16]);
        stream.read_exact(&mut point).await.unwrap();
        stream.read_exact(&mut counter).await.unwrap();
        (point, counter, len)
    };
    let (dialed, seen) = within(async { tokio::join!(dial, read) }).await;
    dialed.map(drop).unwrap_err();
    seen
}

#[tokio::test]
async fn h21_no_two_auths_that_are_sent_show_the_same() {
    const DIALS: usize = 100;
    let (stage, listener) = (Stage::new(), listener().await);
    let key = stage.key();
    let (mut points, mut counters, mut lens) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for _ in 0..DIALS {
        let (point, counter, len) = auth_of(&stage, &key, &listener).await;
        points.insert(point);
        counters.insert(counter);
        lens.insert(len);
    }
    assert_eq!((points.len(), counters.len()), (DIALS, DIALS));
    // Of a hundred lengths a hundred draws meet some sixty.
    assert!(lens.len() > DIALS / 4, "{lens:?}");
}
