//! What is set of a protocol that is one function: the longest message it takes, what it says of a peer, how long it may
//! run on without one, and the entries that it has in the record. Whom it wants dialed is in `candidates.rs`.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rlpx::{DisconnectReason, Protocol, Refusal, Reject, SessionEnd, Verdict, protocol};
use tokio::{
    runtime::Builder,
    sync::oneshot,
    time::{pause, timeout},
};

use crate::support::{Stage, V1, ask_echo, echo, listener, quick, within};

#[tokio::test]
async fn f04_a_message_over_what_a_function_takes_ends_its_sender_before_it_is_inflated() {
    let stage = Stage::new();
    let key = stage.key();
    let short = protocol("short", [V1], |peer, mut messages| async move {
        while let Some(message) = messages.next().await {
            let _ = peer.send(1, message.payload).await;
        }
    });
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(short.max_len(1_000)));
    let node = stage.start(key, builder);
    let mut tool = stage.tool_with(&node, &["short"]).await;
    within(tool.send(0, 0, vec![7; 1_000].into())).await.unwrap();
    assert_eq!(within(tool.next()).await.unwrap().message.payload.len(), 1_000);
    // The same byte over and over: few of them on the wire.
    within(tool.send(0, 0, vec![7; 1_001].into())).await.unwrap();
    assert_eq!(within(tool.next()).await, Err(SessionEnd::Remote(DisconnectReason::ProtocolError)));
    assert_eq!(node.server.counters().rejects.count(Reject::MessageSize), 1);
}

#[tokio::test]
async fn a_function_reports_its_peer() {
    let stage = Stage::new();
    let key = stage.key();
    let strict = protocol("strict", [V1], |peer, mut messages| async move {
        while messages.next().await.is_some() {
            peer.report(Verdict::Malicious);
        }
    });
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(strict));
    let node = stage.start(key, builder.protocol(Arc::new(echo("echo"))));
    let (mut tool, mut other) = (stage.tool_with(&node, &["strict"]).await, stage.tool(&node).await);
    within(tool.send(0, 0, Bytes::new())).await.unwrap();
    let told = SessionEnd::Remote(DisconnectReason::SubprotocolError);
    assert_eq!(within(tool.next()).await, Err(told));
    assert_eq!(node.refused(Refusal::Malicious), 1);
    ask_echo(&mut other, b"no business of others").await;
}

#[tokio::test]
async fn p11_as_many_reports_wait_as_the_owner_says_and_a_malicious_peer_goes_though_the_server_is_behind() {
    const PEERS: usize = 5;
    for reports in [1, 3] {
        let (stage, mut config) = (Stage::new(), quick());
        config.limits.queues.reports = reports;
        let (key, links) = (stage.key(), Arc::<Mutex<Vec<_>>>::default());
        let linked = Arc::clone(&links);
        let listens = protocol("echo", [V1], move |peer, mut messages| {
            linked.lock().unwrap().push(peer.link().clone());
            async move { while messages.next().await.is_some() {} }
        });
        let builder = stage.builder(&key, listener().await).config(config).protocol(Arc::new(listens));
        let mut node = stage.start(key, builder);
        let mut tools = Vec::new();
        for _ in 0..PEERS {
            tools.push(stage.tool(&node).await);
            node.connected().await;
        }
        // Nobody else runs meanwhile, so nothing is taken out.
        links.lock().unwrap().iter().for_each(|link| link.report(Verdict::Malicious));
        let told = SessionEnd::Remote(DisconnectReason::SubprotocolError);
        for tool in &mut tools {
            assert_eq!(within(tool.next()).await, Err(told));
        }
        assert_eq!(node.server.bans().await.len(), reports, "{PEERS} were reported");
    }
}

#[test]
fn a_function_runs_on_without_its_peer_for_as_long_as_the_owner_says() {
    const MINUTE: Duration = Duration::from_secs(60);
    for grace in [MINUTE, 60 * MINUTE] {
        // Each has its own time.
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(runs_on_for(grace));
    }
}

async fn runs_on_for(grace: Duration) {
    let (stage, mut config) = (Stage::new(), quick());
    config.limits.protocols.grace = grace;
    let ((left, leaves), (open, mut ended)) = (oneshot::channel(), oneshot::channel::<()>());
    let senders = Mutex::new(Some((left, open)));
    let endless = protocol("echo", [V1], move |_, mut messages| {
        let (left, open) = senders.lock().unwrap().take().unwrap();
        async move {
            while messages.next().await.is_some() {}
            left.send(()).unwrap();
            pending::<()>().await;
            drop(open);
        }
    });
    let key = stage.key();
    let builder = stage.builder(&key, listener().await).config(config).protocol(Arc::new(endless));
    let node = stage.start(key, builder);
    drop(stage.tool(&node).await);
    within(leaves).await.unwrap();
    pause();
    assert!(timeout(grace / 2, &mut ended).await.is_err(), "it runs on");
    assert!(timeout(grace, &mut ended).await.is_ok(), "it is ended");
}

#[test]
fn the_entries_of_a_function_are_asked_anew_each_time() {
    let height = Arc::new(AtomicU8::new(1));
    let shown = Arc::clone(&height);
    let tall = protocol("tall", [V1], |_, _| async {})
        .enr_entry("tall", move || Bytes::copy_from_slice(&[shown.load(Ordering::Relaxed)]))
        .enr_entry("fixed", || Bytes::from_static(&[9]));
    let entries = |height: u8| {
        [("tall", height), ("fixed", 9)]
            .map(|(key, value)| (key.to_owned(), Bytes::copy_from_slice(&[value])))
    };
    assert_eq!(tall.enr_entries(), entries(1));
    height.store(2, Ordering::Relaxed);
    assert_eq!(tall.enr_entries(), entries(2));
    assert_eq!(tall.wants(None), None, "it does not mind unless told so");
}
