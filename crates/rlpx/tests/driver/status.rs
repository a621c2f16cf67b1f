//! What an owner can see of a session and of all sessions: round trips, bytes and messages by protocol and code, and
//! what protocols tell of their peers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use rlpx::{ProtocolVersion, ServerConfig, Timeouts, Volume, protocol};

use crate::support::{Stage, ask_echo, echo, listener, quick, within};

/// Asks again until it is so: what is waited for comes by itself, and within the limit of `within`.
async fn until(is_so: impl Fn() -> bool) {
    let asked = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    within(asked).await;
}

#[tokio::test]
async fn a_peers_information_tells_round_trips_bytes_and_messages() {
    let stage = Stage::new();
    let key = stage.key();
    let timeouts = Timeouts { ping: Duration::from_millis(100), ..Timeouts::default() };
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo")));
    let builder = builder.config(ServerConfig { timeouts, ..quick() });
    let mut node = stage.start(key, builder);
    let mut tool = stage.tool(&node).await;
    let info = node.connected().await;
    assert_eq!(info.status().protocols[0].received, Volume::default());
    ask_echo(&mut tool, b"three").await;
    ask_echo(&mut tool, b"words").await;
    // The tool answers Pings while it waits for what never comes.
    tokio::select! {
        _ = tool.next() => unreachable!("nothing was asked for"),
        () = until(|| info.status().rtt.is_some() && info.status().protocols[0].sent.messages == 2) => {}
    }
    let listed = node.server.peers().await[0].status();
    let (rtt, echo) = (listed.rtt.unwrap(), &listed.protocols[0]);
    assert!(rtt.latest > Duration::ZERO && rtt.smoothed < Duration::from_secs(20));
    assert_eq!((echo.name.as_str(), echo.version), ("echo", 1));
    let both = Volume { messages: 2, bytes: 10 };
    assert_eq!((echo.received, echo.sent), (both, both));
    assert!(listed.bytes_in > 300 && listed.bytes_out > 300, "{listed:?}");
    let counts = node.server.counters();
    assert!(counts.bytes_in() >= listed.bytes_in && counts.bytes_out() >= listed.bytes_out);
}

#[tokio::test]
async fn messages_are_counted_by_protocol_and_code_both_ways() {
    let stage = Stage::new();
    let key = stage.key();
    let versions = [1, 2].map(|version| ProtocolVersion { version, message_count: u64::from(version) * 2 });
    let longer =
        protocol(
            "other",
            versions,
            |_, mut messages| async move { while messages.next().await.is_some() {} },
        );
    let builder = stage.builder(&key, listener().await);
    let mut node = stage.start(key, builder.protocol(Arc::new(echo("echo"))).protocol(Arc::new(longer)));
    let mut tool = stage.tool(&node).await;
    node.connected().await;
    ask_echo(&mut tool, b"hello").await;
    within(tool.send(0, 1, Bytes::from_static(b"not answered"))).await.unwrap();
    until(|| node.server.counters().messages_in() == 2 && node.server.counters().messages_out() == 1).await;
    let traffic = node.server.counters().protocols();
    let names: Vec<&str> = traffic.iter().map(|protocol| protocol.name.as_str()).collect();
    assert_eq!(names, ["p2p", "echo", "other"]);
    let [base, echo, other] = &traffic[..] else { panic!("three") };
    let counted: Vec<_> = echo.codes.iter().map(|code| (code.received.bytes, code.sent.bytes)).collect();
    assert_eq!(counted, [(5, 0), (12, 5)]);
    assert_eq!((echo.received().messages, echo.sent().messages), (2, 1));
    assert_eq!((other.codes.len(), other.received()), (4, Volume::default()));
    let hello = base.codes[0];
    assert_eq!((hello.received.messages, hello.sent.messages), (1, 1));
    assert!(hello.received.bytes > 64, "a Hello holds a key");
}

#[tokio::test]
async fn a_protocol_tells_of_its_peer_what_it_likes() {
    let stage = Stage::new();
    let key = stage.key();
    let telling = protocol("echo", [crate::support::V1], |peer, mut messages| async move {
        peer.describe(vec![("height", "7".to_owned())]);
        while messages.next().await.is_some() {}
    });
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(telling));
    let mut node = stage.start(key, builder);
    let _tool = stage.tool(&node).await;
    let info = node.connected().await;
    until(|| info.status().protocols[0].details == [("height", "7".to_owned())]).await;
}
