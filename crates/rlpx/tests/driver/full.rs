//! Every bounded way of a server full at once, in both directions: a peer that reads nothing and one whose messages nobody
//! takes, events that nobody reads, orders, reports and connections without end. Nothing waits for what waits for it.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use identity::Prefix;
use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};
use rlpx::{
    CapabilityName, DisconnectReason, Event, Link, LocalCapability, Protocol, QueueLimits, Server,
    ServerConfig, ServerTimes, SessionConfig, Timeouts, Verdict, protocol,
};
use tokio::{
    net::TcpStream,
    task::{JoinSet, yield_now},
    time::timeout,
};

use crate::support::{Node, Stage, V1, ask_echo, echo, listener, quick, within};

/// Longer than anything here may stand still (row S06).
const STILL: Duration = Duration::from_secs(10);
/// Of the greatest that wait for a peer 32 fit.
const PIECE_LEN: usize = 32 * 1024;

fn noise() -> Bytes {
    let mut noise = vec![0; PIECE_LEN];
    UnwrapErr(SysRng).fill_bytes(&mut noise);
    noise.into()
}

/// Sends without end, takes nothing, and has an opinion at every turn.
fn clogged(links: &Arc<Mutex<Vec<Link>>>) -> impl Protocol + use<> {
    let links = Arc::clone(links);
    protocol("clogged", [V1], move |peer, messages| {
        links.lock().unwrap().push(peer.link().clone());
        async move {
            let noise = noise();
            let send = async { while peer.send(0, noise.clone()).await.is_ok() {} };
            let opine = async {
                loop {
                    // More than may wait for the server.
                    (0..300).for_each(|_| peer.link().report(Verdict::Good));
                    yield_now().await;
                }
            };
            tokio::select! { () = send => {}, () = opine => {} }
            drop(messages);
        }
    })
}

/// Nobody goes because nothing moves.
fn patient() -> Timeouts {
    Timeouts { read: 12 * STILL, write: 12 * STILL, ..Timeouts::default() }
}

/// What an owner may want, over and over; none of it may take long.
async fn command(server: Server, answered: Arc<AtomicUsize>) {
    let nowhere = Prefix::host([192, 0, 2, 1].into());
    let own = server.node_info().node_id;
    while timeout(STILL, server.report(own, Verdict::Good)).await.expect("answered").is_ok() {
        timeout(STILL, server.peers()).await.expect("answered");
        let _ = timeout(STILL, server.ban(nowhere, STILL)).await.expect("answered");
        let _ = timeout(STILL, server.unban(nowhere)).await.expect("answered");
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Clogged peers: each sends until nothing more is taken from it, and then holds on.
async fn clog(stage: &Stage, node: &Node, count: usize) -> JoinSet<()> {
    let mut clogging = JoinSet::new();
    let (address, remote) = (node.server.local_addr().unwrap(), node.key.public_key());
    for _ in 0..count {
        let (key, noise) = (stage.key(), noise());
        let clogged = LocalCapability::new(CapabilityName::new("clogged").unwrap(), 1, V1.message_count);
        let mut config = SessionConfig::new(key.public_key(), "tool/1", vec![clogged]);
        config.timeouts = patient();
        let connecting = Server::connect(stage.pool.handle(key), config, address, remote);
        let mut tool = within(connecting).await.unwrap();
        clogging.spawn(async move { while tool.send(0, 0, noise.clone()).await.is_ok() {} });
    }
    clogging
}

#[tokio::test]
async fn s06_with_all_ways_full_at_once_commands_are_answered_peers_served_and_a_shutdown_is_in_time() {
    const CLOGGED: usize = 4;
    const OWNERS: usize = 100;
    let (stage, links, answered) = (Stage::new(), Arc::default(), Arc::default());
    let key = stage.key();
    let times = ServerTimes { protocol_stall: 12 * STILL, ..quick().times };
    let builder =
        stage.builder(&key, listener().await).config(ServerConfig { times, timeouts: patient(), ..quick() });
    let builder = builder.protocol(Arc::new(echo("echo"))).protocol(Arc::new(clogged(&links)));
    // Its events are never read.
    let mut node = stage.start(key, builder);
    let mut clogging = clog(&stage, &node, CLOGGED).await;
    within(full(&node, &links, CLOGGED)).await;
    for _ in 0..OWNERS {
        clogging.spawn(command(node.server.clone(), Arc::clone(&answered)));
    }
    let address = node.server.local_addr().unwrap();
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // Each that shares nothing with the node is told so, and is an event.
    let strangers = async {
        for _ in 0..QueueLimits::default().events + CLOGGED {
            stage.open(&stage.key(), "chat", &node).await.unwrap_err();
        }
    };
    timeout(6 * STILL, strangers).await.expect("let in and refused");
    let mut honest = timeout(STILL, stage.tool(&node)).await.expect("let in");
    for _ in 0..100 {
        timeout(STILL, ask_echo(&mut honest, b"still")).await.expect("served");
    }
    assert!(links.lock().unwrap().iter().all(|link| !link.has_room(PIECE_LEN)));
    assert_eq!(node.server.peer_count(), CLOGGED + 1);
    // An order reaches a peer all of whose ways are full.
    let goes = node.server.peers().await[0].node_id;
    node.server.disconnect(goes, DisconnectReason::Requested).await.unwrap();
    let gone = async { while node.server.peers().await.iter().any(|peer| peer.node_id == goes) {} };
    timeout(STILL, gone).await.expect("it goes");
    timeout(Duration::from_secs(5), node.server.shutdown()).await.expect("done within 5 s");
    println!("{} rounds of commands were answered", answered.load(Ordering::Relaxed));
    assert!(answered.load(Ordering::Relaxed) > 0);
    assert!(matches!(node.event().await, Event::Lagged(_)), "the events were full");
    // Commands that came too late were refused, and nobody who gave one has panicked.
    while let Some(ended) = within(clogging.join_next()).await {
        ended.unwrap();
    }
}

/// Waits until nothing moves any more and no protocol may send.
async fn full(node: &Node, links: &Mutex<Vec<Link>>, count: usize) {
    let (mut moved, mut idle) = ((0, 0), 0);
    let counts = node.server.counters();
    let no_room = || links.lock().unwrap().iter().filter(|link| !link.has_room(PIECE_LEN)).count() == count;
    while !no_room() || idle < 1_000 {
        yield_now().await;
        let now = (counts.bytes_in(), counts.bytes_out());
        idle = if now == moved { idle + 1 } else { 0 };
        moved = now;
    }
}
