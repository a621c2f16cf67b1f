//! What an owner asks of a running server and is told: bans, reports, rotation, why peers left or were refused, its own
//! node, and what is wrong with a configuration.

use std::{
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use identity::{Endpoint, Enode, Prefix};
use rlpx::{
    BanTarget, CapabilityName, CommandError, ConfigError, ConnectError, Contradiction, DisconnectReason,
    Event, LocalCapability, Refusal, Reject, RotationTimes, Server, ServerConfig, ServerTimes, SessionConfig,
    SessionEnd, SessionError, Slots, Timeouts, Verdict, Wait,
};
use tokio::net::TcpListener;

use crate::support::{Node, Stage, V1, ask_echo, echo, impatient, listener, quick, within};

const HOUR: Duration = Duration::from_secs(3_600);

/// The next end of a session, or of an attempt at one, and the rule that it followed.
async fn next_end(node: &mut Node) -> (SessionEnd, Option<Refusal>) {
    loop {
        match node.event().await {
            Event::PeerConnected(_) => {}
            Event::PeerDisconnected { end, rule, .. }
            | Event::DialFailed { end, rule, .. }
            | Event::Refused { end, rule, .. } => return (end, rule),
            other @ (Event::KeyInUse { .. } | Event::Lagged(_)) => panic!("{other:?}"),
        }
    }
}

fn told(reason: DisconnectReason) -> SessionEnd {
    SessionEnd::Local { reason, error: None }
}

#[tokio::test]
async fn s09_a_banned_node_goes_stays_out_and_returns_when_the_ban_is_lifted() {
    let stage = Stage::new();
    let (mut node, key) = (stage.echoing().await, stage.key());
    let mut tool = stage.open(&key, "echo", &node).await.unwrap();
    ask_echo(&mut tool, b"in").await;
    node.server.ban(key.node_id(), HOUR).await.unwrap();
    let useless = DisconnectReason::UselessPeer;
    assert_eq!(within(tool.next()).await, Err(SessionEnd::Remote(useless)));
    assert_eq!(next_end(&mut node).await, (told(useless), Some(Refusal::Banned)));
    match stage.open(&key, "echo", &node).await {
        Err(ConnectError::Session { end, .. }) => assert_eq!(end, SessionEnd::Remote(useless)),
        other => panic!("{other:?}"),
    }
    assert_eq!(next_end(&mut node).await, (told(useless), Some(Refusal::Banned)));
    assert_eq!(node.server.bans().await[0].target, BanTarget::Node(key.node_id()));
    let counts = node.server.counters();
    assert_eq!((counts.left.by_us.count(useless), counts.turned_away.by_us.count(useless)), (1, 1));
    assert_eq!(node.refused(Refusal::Banned), 2);
    node.server.unban(key.node_id()).await.unwrap();
    let mut tool = stage.open(&key, "echo", &node).await.unwrap();
    ask_echo(&mut tool, b"again").await;
    assert_eq!(node.server.ban(node.key.node_id(), HOUR).await, Err(CommandError::Own));
}

#[tokio::test]
async fn s09_a_banned_address_is_closed_at_the_door_without_a_word() {
    let stage = Stage::new();
    let node = stage.echoing().await;
    let own = Prefix::host(node.server.local_addr().unwrap().ip());
    node.server.ban(own, HOUR).await.unwrap();
    let refused = stage.open(&stage.key(), "echo", &node).await;
    let Err(ConnectError::Session { end: SessionEnd::Broken(_), .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(node.refused(Refusal::Banned), 1);
    node.server.unban(own).await.unwrap();
    stage.tool(&node).await;
}

#[tokio::test]
async fn p11_as_many_commands_wait_as_the_owner_says_and_who_gives_up_before_is_not_heard() {
    for commands in [1, 3] {
        let (stage, mut config) = (Stage::new(), quick());
        config.limits.queues.commands = commands;
        let key = stage.key();
        let node = stage.start(Arc::clone(&key), stage.builder(&key, listener().await).config(config));
        // Nobody else runs meanwhile, so nothing is taken out.
        for host in 0..9 {
            let mut ban = pin!(node.server.ban(Prefix::host([192, 0, 2, host].into()), HOUR));
            assert!(poll_fn(|cx| Poll::Ready(ban.as_mut().poll(cx))).await.is_pending());
        }
        assert_eq!(node.server.bans().await.len(), commands);
    }
}

#[tokio::test]
async fn a_reported_peer_is_gone_and_the_event_says_by_which_rule() {
    let stage = Stage::new();
    let (mut node, key) = (stage.echoing().await, stage.key());
    let mut tool = stage.open(&key, "echo", &node).await.unwrap();
    for verdict in [Verdict::Good, Verdict::Useless, Verdict::Misbehaved] {
        node.server.report(key.node_id(), verdict).await.unwrap();
    }
    ask_echo(&mut tool, b"still").await;
    node.server.report(key.node_id(), Verdict::Malicious).await.unwrap();
    let reason = DisconnectReason::SubprotocolError;
    assert_eq!(within(tool.next()).await, Err(SessionEnd::Remote(reason)));
    assert_eq!(next_end(&mut node).await, (told(reason), Some(Refusal::Malicious)));
    // The owner's own wish follows no rule, and the peer's neither.
    let (first, second) = (stage.key(), stage.key());
    let _first = stage.open(&first, "echo", &node).await.unwrap();
    node.server.remove_peer(first.node_id()).await.unwrap();
    assert_eq!(next_end(&mut node).await, (told(DisconnectReason::Requested), None));
    let second = stage.open(&second, "echo", &node).await.unwrap();
    within(second.disconnect(DisconnectReason::Quitting)).await;
    assert_eq!(next_end(&mut node).await, (SessionEnd::Remote(DisconnectReason::Quitting), None));
}

#[tokio::test]
async fn s02_a_full_server_lets_a_peer_go_and_another_in() {
    let stage = Stage::new();
    let key = stage.key();
    let brief = Duration::from_millis(300);
    let rotation = RotationTimes {
        min_interval: brief,
        max_interval: brief,
        min_age: Duration::ZERO,
        ..RotationTimes::default()
    };
    let times = ServerTimes { rotation, ..quick().times };
    let config = ServerConfig {
        max_peers: 1,
        slots: Slots { max_inbound: Some(1), ..Default::default() },
        times,
        ..quick()
    };
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo"))).config(config);
    let mut node = stage.start(key, builder);
    for round in 1..=3 {
        let mut tool = stage.tool(&node).await;
        assert_eq!(within(tool.next()).await, Err(SessionEnd::Remote(DisconnectReason::UselessPeer)));
        let rotated = (told(DisconnectReason::UselessPeer), Some(Refusal::Rotated));
        assert_eq!(next_end(&mut node).await, rotated);
        assert_eq!(node.refused(Refusal::Rotated), round);
    }
}

#[tokio::test]
async fn s08_after_a_churn_of_connections_the_counts_are_exact_and_nobody_is_left() {
    const ROUNDS: u64 = if cfg!(feature = "thorough") { 100_000 } else { 200 };
    let stage = Stage::new();
    let mut node = stage.echoing().await;
    println!("{ROUNDS} connections (thorough: 100000)");
    for round in 0..ROUNDS {
        let tool = stage.tool(&node).await;
        match round % 2 {
            0 => drop(within(tool.disconnect(DisconnectReason::Quitting)).await),
            _ => drop(tool),
        }
        next_end(&mut node).await;
    }
    let counts = node.server.counters();
    let left = &counts.left;
    assert_eq!((left.by_peer.count(DisconnectReason::Quitting), left.total()), (ROUNDS / 2, ROUNDS));
    assert_eq!((counts.turned_away.total(), counts.refusals.total()), (0, 0));
    assert_eq!((node.server.peer_count(), node.server.peers().await.len()), (0, 0));
}

#[tokio::test]
async fn h14_a_target_that_accepts_and_says_nothing_is_given_up_in_time() {
    assert_eq!(Timeouts::default().handshake, Duration::from_secs(5));
    let stage = Stage::new();
    let (key, tarpit) = (stage.key(), listener().await);
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo")));
    let builder = builder.config(impatient());
    let mut node = stage.start(key, builder);
    let address = tarpit.local_addr().unwrap();
    let endpoint = Endpoint { ip: address.ip(), udp: 0, tcp: address.port() };
    node.server.add_peer(Enode::new(stage.key().public_key(), endpoint)).await.unwrap();
    for _ in 0..2 {
        let silence = SessionEnd::Broken(SessionError::TimedOut(Wait::Handshake));
        assert_eq!(next_end(&mut node).await, (silence, None));
    }
    assert_eq!(node.server.counters().turned_away.wordless.count(DisconnectReason::ReadTimeout), 2);
}

#[tokio::test]
async fn h15_a_node_with_another_key_answers_a_dial_with_no_byte_and_the_dial_fails() {
    let stage = Stage::new();
    let (wrong, mut dialer) = (stage.echoing().await, stage.echoing().await);
    let meant = stage.key();
    let enode = Enode { public_key: meant.public_key(), ..wrong.enode() };
    dialer.server.add_peer(enode).await.unwrap();
    for _ in 0..2 {
        let (public_key, end) = dialer.turned_away().await;
        assert_eq!(public_key, meant.public_key());
        assert!(matches!(end, SessionEnd::Broken(SessionError::Eof | SessionError::Io(_))), "{end}");
    }
    let counts = wrong.server.counters();
    assert_eq!((counts.bytes_out(), wrong.server.peer_count(), dialer.server.peer_count()), (0, 0, 0));
    assert!(counts.rejects.count(Reject::HandshakeEnvelope) >= 2);
    // It is a node like any other to whoever has its key.
    dialer.server.add_peer(wrong.enode()).await.unwrap();
    assert_eq!(dialer.connected().await.public_key, wrong.key.public_key());
}

#[tokio::test]
async fn s14_no_name_of_a_client_opens_a_full_server() {
    let stage = Stage::new();
    let key = stage.key();
    let config = ServerConfig { max_peers: 0, ..quick() };
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo"))).config(config);
    let node = stage.start(key, builder);
    let echo = LocalCapability::new(CapabilityName::new("echo").unwrap(), 1, V1.message_count);
    for name in ["Geth/v1.17.8-stable/linux-amd64/go1.24", "test/1", ""] {
        let key = stage.key();
        let config = SessionConfig::new(key.public_key(), name, vec![echo]);
        let (address, remote) = (node.server.local_addr().unwrap(), node.key.public_key());
        match within(Server::connect(stage.pool.handle(key), config, address, remote)).await {
            Err(ConnectError::Session { end, .. }) => {
                assert_eq!(end, SessionEnd::Remote(DisconnectReason::TooManyPeers), "{name}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(node.refused(Refusal::TooManyPeers), 3);
}

#[tokio::test]
async fn peers_are_shown_with_the_privileges_they_have_now() {
    let stage = Stage::new();
    let (mut node, mut other) = (stage.echoing().await, stage.echoing().await);
    let flags = async |node: &Node| {
        let peers = node.server.peers().await;
        (peers[0].static_peer, peers[0].trusted)
    };
    other.server.add_peer(node.enode()).await.unwrap();
    node.connected().await;
    other.connected().await;
    assert_eq!(flags(&node).await, (false, false));
    node.server.add_trusted(other.key.node_id()).await.unwrap();
    node.server.add_peer(other.enode()).await.unwrap();
    assert_eq!(flags(&node).await, (true, true));
    node.server.remove_trusted(other.key.node_id()).await.unwrap();
    assert_eq!(flags(&node).await, (true, false));
}

#[tokio::test]
async fn the_server_says_what_its_node_is() {
    let stage = Stage::new();
    let node = stage.echoing().await;
    let info = node.server.node_info();
    assert_eq!((info.public_key, info.node_id), (node.key.public_key(), node.key.node_id()));
    assert_eq!(
        (info.client_name.as_str(), info.local_addrs.first().copied()),
        ("test/1", node.server.local_addr())
    );
    let offered: Vec<String> = info.capabilities.iter().map(ToString::to_string).collect();
    assert_eq!((offered, info.max_peers), (vec!["echo/1".to_owned()], 50));
}

#[tokio::test]
async fn an_address_in_use_is_named_with_what_to_do() {
    let stage = Stage::new();
    let taken = listener().await;
    let address = taken.local_addr().unwrap();
    let start = |address: SocketAddr| Server::builder(stage.pool.handle(stage.key())).listen(address).start();
    let error = start(address).unwrap_err();
    assert!(matches!(error, ConfigError::Listen { address: at, .. } if at == address), "{error}");
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains("choose another address or port"), "{text}");
    drop(taken);
    let server = start(address).unwrap();
    assert_eq!(server.local_addr(), Some(address));
    within(server.shutdown()).await;
    TcpListener::bind(address).await.unwrap();
}

#[tokio::test]
async fn a_configuration_that_contradicts_itself_does_not_start() {
    let stage = Stage::new();
    let start = |config| Server::builder(stage.pool.handle(stage.key())).config(config).start();
    let over =
        start(ServerConfig { slots: Slots { max_inbound: Some(60), ..Default::default() }, ..quick() })
            .unwrap_err();
    let expected = Contradiction::OverMax { setting: "max_inbound", count: 60, max_peers: 50 };
    assert!(matches!(over, ConfigError::Contradiction(found) if found == expected), "{over}");
    let enode = Enode::new(stage.key().public_key(), Endpoint { ip: [127, 0, 0, 1].into(), udp: 0, tcp: 1 });
    let none = start(ServerConfig { max_peers: 0, static_peers: vec![enode], ..quick() }).unwrap_err();
    assert!(matches!(none, ConfigError::Contradiction(Contradiction::StaticWithoutPeers)), "{none}");
}
