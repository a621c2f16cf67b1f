//! Peers that share a budget too small for all of them: their frames come one after the other, whoever is read and brings
//! nothing goes by name, as does whose messages are not taken, and what is to be sent waits while all of it is spent. Time
//! is real here; what is decided is tested in `src/budget.rs`, how long a session waits in `src/session/tests/budget.rs`.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rlpx::{
    CapabilityName, DisconnectReason, Limits, Link, Protocol, Reject, SendError, ServerConfig, SessionEnd,
    SessionError, SessionLimits, SharedMessage, Wait, limits::BUDGET_RESERVE, protocol,
};
use tokio::{sync::mpsc, task::JoinSet};

use crate::support::{Node, Stage, V1, ask_echo, echo, listener, quick, within};

const FREE_LEN: usize = SessionLimits::DEFAULT.free_len;

fn budget(memory_budget: usize) -> Limits {
    Limits { memory_budget, ..Limits::default() }
}

/// Bytes that do not compress.
fn noise(len: u32) -> Bytes {
    (0..len / 4).flat_map(|number| number.wrapping_mul(2_654_435_761).rotate_left(7).to_be_bytes()).collect()
}

/// A node with the smallest budget, an echo, and a protocol that counts the bytes that come.
async fn node(stage: &Stage) -> (Node, Arc<AtomicUsize>) {
    let counted = Arc::new(AtomicUsize::new(0));
    let key = stage.key();
    let config = ServerConfig { limits: budget(BUDGET_RESERVE), ..quick() };
    let builder = stage.builder(&key, listener().await).protocol(echo("echo")).config(config);
    (stage.start(key, builder.protocol(counter(&counted))), counted)
}

/// A protocol that counts the bytes that come.
fn counter(counted: &Arc<AtomicUsize>) -> impl Protocol + use<> {
    let counted = Arc::clone(counted);
    protocol("count", [V1], move |_, mut messages| {
        let counted = Arc::clone(&counted);
        async move {
            while let Some(message) = messages.next().await {
                counted.fetch_add(message.payload.len(), Ordering::SeqCst);
            }
        }
    })
}

async fn until(mut done: impl FnMut() -> bool) {
    while !done() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn f03_large_frames_of_many_peers_come_through_a_small_budget() {
    const LEN: u32 = 12 << 20;
    const PEERS: usize = 4;
    assert!(LEN as usize * PEERS > BUDGET_RESERVE);
    let stage = Stage::new();
    let (node, counted) = node(&stage).await;
    let mut tools = Vec::new();
    for _ in 0..PEERS {
        tools.push(stage.tool_with(&node, &["count"]).await);
    }
    let payload = noise(LEN);
    let [one, two, three, four] = &mut tools[..] else { panic!("four of them") };
    let sends = async {
        tokio::join!(
            one.send(0, 0, payload.clone()),
            two.send(0, 0, payload.clone()),
            three.send(0, 0, payload.clone()),
            four.send(0, 0, payload.clone()),
        )
    };
    let (one, two, three, four) = within(sends).await;
    assert_eq!([one, two, three, four], [Ok(()); PEERS]);
    within(until(|| counted.load(Ordering::SeqCst) == PEERS * payload.len())).await;
    assert_eq!((node.server.peer_count(), node.server.counters().rejects.total()), (PEERS, 0));
}

#[tokio::test]
async fn f03_a_peer_that_stalls_in_a_shortage_goes_by_name_and_holds_up_nobody_with_small_messages() {
    stall(false).await;
}

#[tokio::test]
async fn s14_a_trusted_peer_that_stalls_in_a_shortage_goes_like_any_other() {
    stall(true).await;
}

/// A peer begins a large frame and stalls, while another has one to send and a third has small messages.
async fn stall(trusted: bool) {
    let stage = Stage::new();
    let (mut node, counted) = node(&stage).await;
    let mut small = stage.tool(&node).await;
    node.connected().await;
    let slow_key = stage.key();
    if trusted {
        node.server.add_trusted(slow_key.node_id()).await.unwrap();
    }
    let mut slow = stage.open(&slow_key, "count", &node).await.unwrap();
    let info = node.connected().await;
    assert_eq!(info.trusted, trusted);
    let slow_id = info.peer_id;
    let mut honest = stage.tool_with(&node, &["count"]).await;
    node.connected().await;
    let begun = node.server.counters().bytes_in();
    let payload = noise(15 << 20);
    let begin = async {
        tokio::select! {
            biased;
            () = until(|| node.server.counters().bytes_in() > begun + (1 << 20)) => {}
            sent = slow.send(0, 0, payload.clone()) => panic!("{sent:?}"),
        }
    };
    within(begin).await;
    // From here on nobody moves the slow one's connection.
    ask_echo(&mut small, b"in a shortage").await;
    within(honest.send(0, 0, payload.clone())).await.unwrap();
    let (info, end) = node.disconnected().await;
    let error = Some(SessionError::TimedOut(Wait::Pace));
    assert_eq!(
        (info.peer_id, end),
        (slow_id, SessionEnd::Local { reason: DisconnectReason::ReadTimeout, error })
    );
    assert_eq!(node.server.counters().rejects.count(Reject::BudgetPace), 1);
    within(until(|| counted.load(Ordering::SeqCst) == payload.len())).await;
    ask_echo(&mut small, b"after it").await;
}

/// A node with a budget of 64 MiB where half a second is long: a protocol that counts what comes, and `greedy`.
async fn node_with(stage: &Stage, greedy: impl Protocol) -> (Node, Arc<AtomicUsize>) {
    let counted = Arc::new(AtomicUsize::new(0));
    let mut config = ServerConfig { limits: budget(2 * BUDGET_RESERVE), ..quick() };
    config.times.protocol_stall = Duration::from_millis(500);
    let key = stage.key();
    let builder = stage.builder(&key, listener().await).protocol(counter(&counted)).protocol(greedy);
    (stage.start(key, builder.config(config)), counted)
}

/// Five peers of `protocol` send what together is more than the budget and never read, while an honest one sends 12 MiB:
/// that comes in, and those that go do so by the name of the protocol.
async fn hoard(stage: &Stage, mut node: Node, counted: Arc<AtomicUsize>) {
    let hoards = noise(15 << 20);
    let mut honest = stage.tool_with(&node, &["count"]).await;
    let begun = node.server.counters().bytes_in();
    let mut attackers = JoinSet::new();
    for _ in 0..5 {
        let (mut attacker, hoards) = (stage.tool_with(&node, &["greedy"]).await, hoards.clone());
        attackers.spawn(async move {
            let _ = attacker.send(0, 0, hoards).await;
            std::future::pending::<()>().await;
        });
    }
    // More than is free without waiting.
    within(until(|| node.server.counters().bytes_in() > begun + (46 << 20))).await;
    let payload = noise(12 << 20);
    within(honest.send(0, 0, payload.clone())).await.unwrap();
    within(until(|| counted.load(Ordering::SeqCst) == payload.len())).await;
    let (info, end) = node.disconnected().await;
    let error = Some(SessionError::Stalled(CapabilityName::new("greedy").unwrap()));
    let reason = DisconnectReason::Requested;
    assert_eq!(
        (info.capabilities[0].name, end),
        (CapabilityName::new("greedy").unwrap(), SessionEnd::Local { reason, error })
    );
}

#[tokio::test]
async fn p11_peers_that_do_not_read_their_answers_cannot_keep_the_budget_with_what_they_send() {
    let stage = Stage::new();
    // It takes nothing until its peer has read all that it is told.
    let greedy = protocol("greedy", [V1], |peer, _messages| async move {
        while peer.send(1, noise(256 << 10)).await.is_ok() {}
    });
    let (node, counted) = node_with(&stage, greedy).await;
    hoard(&stage, node, counted).await;
}

#[tokio::test]
async fn p11_what_a_function_has_in_its_hands_is_not_kept_from_all_others_for_ever() {
    let stage = Stage::new();
    let greedy = protocol("greedy", [V1], |peer, mut messages| async move {
        let message = messages.next().await;
        while peer.send(1, noise(256 << 10)).await.is_ok() {}
        drop(message);
    });
    let (node, counted) = node_with(&stage, greedy).await;
    hoard(&stage, node, counted).await;
}

/// A node with the smallest budget and three protocols: an echo; one that hands out the way to its peer; and one that keeps
/// more than the budget for its peer, from its first message until the peer goes, and says when it does.
async fn hoarder(stage: &Stage) -> (Node, mpsc::Receiver<Link>, mpsc::Receiver<()>) {
    let ((links, linked), (keeps, kept)) = (mpsc::channel(4), mpsc::channel(4));
    let ways = protocol("way", [V1], move |peer, mut messages| {
        let links = links.clone();
        async move {
            links.send(peer.link().clone()).await.unwrap();
            while messages.next().await.is_some() {}
        }
    });
    let hoard = protocol("hoard", [V1], move |peer, mut messages| {
        let keeps = keeps.clone();
        async move {
            let Some(_first) = messages.next().await else { return };
            let (mut held, treasure) = (peer.link().held(), vec![7u8; BUDGET_RESERVE + 2 * FREE_LEN]);
            held.set(treasure.len());
            keeps.send(()).await.unwrap();
            while messages.next().await.is_some() {}
            drop((held, treasure));
        }
    });
    let key = stage.key();
    let config = ServerConfig { limits: budget(BUDGET_RESERVE), ..quick() };
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo"))).config(config);
    let node = stage.start(key, builder.protocol(Arc::new(ways)).protocol(Arc::new(hoard)));
    (node, linked, kept)
}

#[tokio::test]
async fn p13_what_is_to_be_sent_waits_while_the_budget_is_spent_and_goes_when_it_is_given_back() {
    const LEN: usize = 200 * 1024;
    let stage = Stage::new();
    let (node, mut links, mut kept) = hoarder(&stage).await;
    let mut tool = stage.tool_with(&node, &["echo", "way"]).await;
    let way = tool.shared().iter().position(|shared| shared.name == *"way").unwrap();
    let link = within(links.recv()).await.unwrap();
    assert!(link.has_room(LEN), "nothing is spent yet");
    let mut hoarding = stage.tool_with(&node, &["hoard"]).await;
    within(hoarding.send(0, 0, Bytes::new())).await.unwrap();
    within(kept.recv()).await.unwrap();

    let message = SharedMessage::new(0, noise(LEN as u32));
    assert!(!link.has_room(LEN) && link.has_room(FREE_LEN / 2));
    assert_eq!(link.try_send(message.clone()), Err(SendError::Full));
    // What is the peer's own anyway has room.
    let small = noise(FREE_LEN as u32 / 2);
    link.try_send(SharedMessage::new(0, small.clone())).unwrap();
    let received = within(tool.next()).await.unwrap();
    assert!(received.protocol == way && received.message.payload == small);

    let polls = Arc::new(AtomicUsize::new(0));
    let (counted, waits) = (Arc::clone(&polls), link.clone());
    let mut waiting = JoinSet::new();
    waiting.spawn(async move {
        poll_fn(|cx| {
            counted.fetch_add(1, Ordering::SeqCst);
            waits.poll_room(cx, LEN)
        })
        .await;
        waits.send(message).await
    });
    for _ in 0..50 {
        ask_echo(&mut tool, b"meanwhile").await;
    }
    assert!(waiting.try_join_next().is_none(), "it waits");
    // It is asked when something is given back, as by each echo, and not without end.
    assert!((1..=200).contains(&polls.load(Ordering::SeqCst)), "{polls:?}");
    within(hoarding.disconnect(DisconnectReason::Quitting)).await;
    within(waiting.join_next()).await.unwrap().unwrap().unwrap();
    let received = within(tool.next()).await.unwrap();
    assert!(received.protocol == way && received.message.payload == noise(LEN as u32));
    assert!(link.has_room(LEN));
}

#[tokio::test]
async fn p13_who_waits_for_the_budget_hears_when_its_peer_has_gone() {
    const LEN: usize = 200 * 1024;
    let stage = Stage::new();
    let (node, mut links, mut kept) = hoarder(&stage).await;
    let tool = stage.tool_with(&node, &["way"]).await;
    let link = within(links.recv()).await.unwrap();
    let mut hoarding = stage.tool_with(&node, &["hoard"]).await;
    within(hoarding.send(0, 0, Bytes::new())).await.unwrap();
    within(kept.recv()).await.unwrap();
    let sends = link.clone();
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { sends.send(SharedMessage::new(0, noise(LEN as u32))).await });
    tokio::task::yield_now().await;
    assert!(!link.has_room(LEN) && waiting.try_join_next().is_none());
    drop(tool);
    assert_eq!(within(waiting.join_next()).await.unwrap().unwrap(), Err(SendError::Closed));
    // The budget is spent still: it was not given back for that.
    let other = stage.tool_with(&node, &["way"]).await;
    assert!(!within(links.recv()).await.unwrap().has_room(LEN));
    drop((other, hoarding));
}
