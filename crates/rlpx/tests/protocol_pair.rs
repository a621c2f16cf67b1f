//! Two protocols without sockets, as users test theirs: messages in both directions, more than any queue takes, and every way
//! of ending.

#![expect(clippy::unwrap_used, reason = "a story that cannot go on has failed")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use rlpx::{
    CapabilityName, ConfigError, DisconnectReason, MessageStream, ProtocolPeer, ProtocolVersion, SessionEnd,
    SessionError, Verdict, protocol, testing::ProtocolPair,
};
use tokio::{sync::oneshot, time::timeout};

const V1: ProtocolVersion = ProtocolVersion { version: 1, message_count: 2 };
const LIMIT: Duration = Duration::from_secs(20);

async fn echo(peer: ProtocolPeer, mut messages: MessageStream) {
    while let Some(message) = messages.next().await {
        if peer.send(message.code, message.payload).await.is_err() {
            return;
        }
    }
}

fn ended_by(name: &str, reason: DisconnectReason) -> [SessionEnd; 2] {
    let error = Some(SessionError::Protocol(CapabilityName::new(name).unwrap()));
    [SessionEnd::Local { reason, error }, SessionEnd::Remote(reason)]
}

#[tokio::test]
async fn more_messages_than_any_queue_takes_go_both_ways_in_order() {
    const COUNT: u32 = 5_000;
    let asks = protocol("echo", [V1], |peer, mut messages| async move {
        let send = async {
            for number in 0..COUNT {
                let payload = Bytes::from(number.to_be_bytes().repeat(1 + number as usize % 300));
                peer.send(u64::from(number % 2), payload).await.unwrap();
            }
        };
        let receive = async {
            for number in 0..COUNT {
                let message = messages.next().await.unwrap();
                assert_eq!(message.code, u64::from(number % 2));
                assert_eq!(message.payload[..4], number.to_be_bytes());
            }
        };
        tokio::join!(send, receive);
    });
    let mut pair = ProtocolPair::connect(asks, protocol("echo", [V1], echo)).unwrap();
    assert!(!pair.peer(0).inbound && pair.peer(1).inbound && pair.peer(0).shared.len() == 1);
    let ends = timeout(LIMIT, pair.run()).await.unwrap();
    assert_eq!(ends, ended_by("echo", DisconnectReason::Quitting));
    let counted = pair.peer(1).status().protocols[0].received.messages;
    assert_eq!(counted, u64::from(COUNT));
}

#[tokio::test]
async fn both_sides_hear_of_an_end_that_an_owner_wants() {
    let ends = Arc::new(Mutex::new(Vec::new()));
    let waits = |number: usize| {
        let ends = Arc::clone(&ends);
        protocol("wait", [V1], move |_, mut messages| {
            let ends = Arc::clone(&ends);
            async move {
                assert!(messages.next().await.is_none());
                ends.lock().unwrap().push(number);
            }
        })
    };
    let mut pair = ProtocolPair::connect(waits(0), waits(1)).unwrap();
    tokio::select! {
        biased;
        ends = pair.run() => panic!("{ends:?}"),
        () = tokio::task::yield_now() => {}
    }
    pair.pass(Duration::from_secs(120));
    pair.disconnect(1, DisconnectReason::TooManyPeers);
    let reason = DisconnectReason::TooManyPeers;
    let found = timeout(LIMIT, pair.run()).await.unwrap();
    assert_eq!(found, [SessionEnd::Remote(reason), SessionEnd::Local { reason, error: None }]);
    while ends.lock().unwrap().len() < 2 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_a_protocol_says_of_its_peer_is_there_to_be_looked_at() {
    let (said, heard) = oneshot::channel();
    let said = Mutex::new(Some(said));
    let judges = protocol("judge", [V1], move |peer, mut messages| {
        peer.link().report(Verdict::Useless);
        peer.link().report(Verdict::Good);
        said.lock().unwrap().take().unwrap().send(()).unwrap();
        async move { while messages.next().await.is_some() {} }
    });
    let mut pair = ProtocolPair::connect(judges, protocol("judge", [V1], echo)).unwrap();
    tokio::select! {
        ends = pair.run() => panic!("{ends:?}"),
        heard = heard => heard.unwrap(),
    }
    assert_eq!((pair.verdicts(0), pair.verdicts(1)), (vec![Verdict::Useless, Verdict::Good], vec![]));
}

#[tokio::test]
async fn a_protocol_that_a_server_would_refuse_is_refused() {
    let none = ProtocolVersion { version: 1, message_count: 0 };
    let found = ProtocolPair::connect(protocol("none", [none], echo), protocol("none", [V1], echo));
    assert!(matches!(found.err(), Some(ConfigError::ProtocolVersions { .. })));
}
