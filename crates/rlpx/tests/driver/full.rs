//! Every bounded way of a server full at once, in both directions: a peer that reads nothing and one whose messages nobody
//! takes, events that nobody reads, orders, reports and connections without end. Nothing waits for what waits for it: all
//! who have work go on meanwhile, under a watchdog.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use identity::{Endpoint, NodeKey, Prefix};
use rand::{Rng, rand_core::UnwrapErr, rngs::SysRng};
use rlpx::{
    Candidate, CapabilityName, ConnectError, DisconnectReason, Event, EventStream, Link, LocalCapability,
    Message, Protocol, QueueLimits, Server, ServerConfig, ServerTimes, SessionConfig, SharedMessage,
    Timeouts, Verdict, protocol,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::{JoinSet, yield_now},
    time::timeout,
};

use crate::{
    support::{Node, Stage, V1, ask_echo, listener, quick, within},
    watchdog::{Count, STILL, Watchdog},
};

/// Of the greatest that wait for a peer 32 fit.
const PIECE_LEN: usize = 32 * 1024;
/// Peers that neither read nor are read.
const CLOGGED: usize = 4;
/// Peers that read slowly.
const SLOW: usize = 2;
/// Peers that are served.
const HONEST: usize = 3;
/// Longer than the test.
const EVER: Duration = Duration::from_secs(3_600);

/// Connections that share nothing with the node. Each is an event, and with the clogged peers they are more than may wait.
fn strangers() -> u64 {
    if cfg!(feature = "thorough") { 20_000 } else { (QueueLimits::default().events + 1) as u64 }
}

fn noise() -> Bytes {
    let mut noise = vec![0; PIECE_LEN];
    UnwrapErr(SysRng).fill_bytes(&mut noise);
    noise.into()
}

/// Sends all peers the same without end, takes nothing, and when the clogged are there has opinions at every turn.
fn clogged(links: &Arc<Mutex<Vec<Link>>>, turns: Vec<Count>) -> impl Protocol + use<> {
    let (links, turns, piece) = (Arc::clone(links), Mutex::new(turns), SharedMessage::new(0, noise()));
    protocol("clogged", [V1], move |peer, messages| {
        links.lock().unwrap().push(peer.link().clone());
        let (turns, piece) = (turns.lock().unwrap().pop().unwrap(), piece.clone());
        let links = Arc::clone(&links);
        async move {
            let send = async { while peer.link().send(piece.clone()).await.is_ok() {} };
            let opine = async {
                while links.lock().unwrap().len() < CLOGGED {
                    yield_now().await;
                }
                loop {
                    // More than may wait for the server.
                    (0..300).for_each(|_| peer.link().report(Verdict::Good));
                    turns.add();
                    yield_now().await;
                }
            };
            tokio::select! { () = send => {}, () = opine => {} }
            drop(messages);
        }
    })
}

/// Answers each message.
fn echo(answers: Vec<Count>) -> impl Protocol + use<> {
    let answers = Mutex::new(answers);
    protocol("echo", [V1], move |peer, mut messages| {
        let answers = answers.lock().unwrap().pop().unwrap();
        async move {
            while let Some(Message { payload, .. }) = messages.next().await {
                if peer.send(1, payload).await.is_err() {
                    return;
                }
                answers.add();
            }
        }
    })
}

/// Says something once.
fn greeting() -> impl Protocol + use<> {
    protocol("greeting", [V1], |peer, mut messages| async move {
        if peer.send(0, Bytes::from_static(b"welcome")).await.is_ok() {
            while messages.next().await.is_some() {}
        }
    })
}

/// Finds whom it is given.
struct Finds(mpsc::Receiver<Candidate>);

impl futures_core::Stream for Finds {
    type Item = Candidate;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Candidate>> {
        self.0.poll_recv(cx)
    }
}

/// Nobody goes because nothing moves.
fn patient() -> Timeouts {
    Timeouts { read: EVER, write: EVER, ..Timeouts::default() }
}

/// What an owner may want, over and over; none of it may take long.
async fn command(server: Server, rounds: Count) {
    let nowhere = Prefix::host([192, 0, 2, 1].into());
    let own = server.node_info().node_id;
    while timeout(STILL, server.report(own, Verdict::Good)).await.expect("answered").is_ok() {
        timeout(STILL, server.peers()).await.expect("answered");
        let _ = timeout(STILL, server.ban(nowhere, STILL)).await.expect("answered");
        let _ = timeout(STILL, server.unban(nowhere)).await.expect("answered");
        rounds.add();
    }
}

/// The node, and what those are made with who come to it.
struct Scene {
    stage: Stage,
    node: Node,
}

/// Those who never run out of work.
impl Scene {
    /// Is let in, and has nothing in common with the node.
    async fn strangers(self: Arc<Self>, turned_away: Count) {
        let useless = DisconnectReason::UselessPeer;
        loop {
            let refused = self.stage.open(&self.stage.key(), "chat", &self.node).await.unwrap_err();
            assert!(
                matches!(refused, ConnectError::Session { end, .. } if end.reason() == useless),
                "{refused}"
            );
            turned_away.add();
        }
    }

    /// Comes, says nothing but that this was all, and waits for the end.
    async fn callers(self: Arc<Self>, closed: Count) {
        loop {
            let mut caller = TcpStream::connect(self.node.server.local_addr().unwrap()).await.unwrap();
            caller.shutdown().await.unwrap();
            assert_eq!(caller.read(&mut [0; 1]).await.unwrap(), 0);
            closed.add();
        }
    }

    /// Comes, is greeted, and goes because the owner wants it.
    async fn guests(self: Arc<Self>, sent_away: Count) {
        loop {
            let key = self.stage.key();
            let mut guest = self.stage.open(&key, "greeting", &self.node).await.unwrap();
            guest.next().await.unwrap();
            self.node.server.disconnect(key.node_id(), DisconnectReason::Requested).await.unwrap();
            guest.next().await.unwrap_err();
            sent_away.add();
        }
    }

    async fn honest(self: Arc<Self>, served: Count) {
        let mut honest = self.stage.tool(&self.node).await;
        loop {
            ask_echo(&mut honest, b"still").await;
            served.add();
        }
    }

    /// Reads what a protocol sends without end, slower than it is sent.
    async fn reader(self: Arc<Self>, read: Count) {
        let mut reader = self.stage.tool_with(&self.node, &["clogged"]).await;
        loop {
            reader.next().await.unwrap();
            read.add();
            for _ in 0..8 {
                yield_now().await;
            }
        }
    }
}

/// Finds one node after the other, all at this address.
async fn find(finds: mpsc::Sender<Candidate>, address: SocketAddr, found: Count) {
    let endpoint = Endpoint { ip: address.ip(), udp: 0, tcp: address.port() };
    loop {
        let key = NodeKey::generate(&mut UnwrapErr(SysRng));
        finds.send(Candidate::new(key.public_key(), endpoint)).await.unwrap();
        found.add();
    }
}

/// Is dialed, and has nothing to say.
async fn pick_up(tarpit: TcpListener, dials: Count) {
    loop {
        drop(tarpit.accept().await.unwrap());
        dials.add();
    }
}

async fn read_events(mut events: EventStream, read: Count) {
    while events.next().await.is_some() {
        read.add();
    }
}

/// Starts everybody who never runs out of work, to be watched; and how many strangers were turned away.
async fn load(
    scene: Scene,
    finds: mpsc::Sender<Candidate>,
    watchdog: &mut Watchdog,
) -> (JoinSet<()>, Vec<Count>) {
    let (tarpit, events) = (listener().await, scene.node.server.events());
    let (scene, mut tasks) = (Arc::new(scene), JoinSet::new());
    tasks.spawn(Arc::clone(&scene).callers(watchdog.watch("the listener")));
    let turned_away: Vec<Count> = watchdog.watch_each("a handshake", 8);
    for count in turned_away.clone() {
        tasks.spawn(Arc::clone(&scene).strangers(count));
    }
    for count in watchdog.watch_each("a peer that is served", HONEST) {
        tasks.spawn(Arc::clone(&scene).honest(count));
    }
    for count in watchdog.watch_each("a peer that reads slowly", SLOW) {
        tasks.spawn(Arc::clone(&scene).reader(count));
    }
    tasks.spawn(scene.guests(watchdog.watch("orders to peers")));
    tasks.spawn(find(finds, tarpit.local_addr().unwrap(), watchdog.watch("the intake of candidates")));
    tasks.spawn(pick_up(tarpit, watchdog.watch("the dialer")));
    tasks.spawn(read_events(events, watchdog.watch("events")));
    (tasks, turned_away)
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
async fn s06_with_all_ways_full_at_once_whoever_has_work_goes_on_and_a_shutdown_is_in_time() {
    const OWNERS: usize = 100;
    let (stage, links, mut watchdog) = (Stage::new(), Arc::default(), Watchdog::default());
    let (key, (finds, found)) = (stage.key(), mpsc::channel(1));
    let times = ServerTimes { protocol_stall: EVER, ..quick().times };
    let builder = stage
        .builder(&key, listener().await)
        .config(ServerConfig { times, timeouts: patient(), ..quick() })
        .protocol(Arc::new(greeting()))
        .protocol(Arc::new(echo(watchdog.watch_each("a handler that answers", HONEST))))
        .protocol(Arc::new(clogged(&links, watchdog.watch_each("a handler with opinions", CLOGGED + SLOW))))
        .candidates(Finds(found));
    // Its events are never read.
    let mut node = stage.start(key, builder);
    let mut clogging = clog(&stage, &node, CLOGGED).await;
    within(full(&node, &links, CLOGGED)).await;
    let answered = watchdog.watch("commands");
    for _ in 0..OWNERS {
        clogging.spawn(command(node.server.clone(), answered.clone()));
    }
    let address = node.server.local_addr().unwrap();
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    let server = node.server.clone();
    let others = Node { events: server.events(), server, key: Arc::clone(&node.key) };
    let (tasks, turned_away) = load(Scene { stage, node: others }, finds, &mut watchdog).await;
    let count = strangers();
    let come = async {
        while turned_away.iter().map(Count::done).sum::<u64>() < count {
            yield_now().await;
        }
    };
    let watched = watchdog.over(come).await;
    println!("{count} strangers (thorough: 20000) beside\n{watchdog}");
    assert_eq!(watched, Ok(()), "no progress for {STILL:?}");
    assert!(links.lock().unwrap()[..CLOGGED].iter().all(|link| !link.has_room(PIECE_LEN)));
    // An order reaches a peer all of whose ways are full.
    let goes = node.server.peers().await[0].node_id;
    node.server.disconnect(goes, DisconnectReason::Requested).await.unwrap();
    let gone = async { while node.server.peers().await.iter().any(|peer| peer.node_id == goes) {} };
    timeout(STILL, gone).await.expect("it goes");
    drop(tasks);
    timeout(Duration::from_secs(5), node.server.shutdown()).await.expect("done within 5 s");
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
