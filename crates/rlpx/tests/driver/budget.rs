//! Peers that share a budget too small for all of them: their frames come one after the other, and whoever is read and
//! brings nothing goes by name. Time is real here; what is decided is tested in `src/budget.rs`, how long a session waits
//! in `src/session/tests/budget.rs`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use rlpx::{
    DisconnectReason, Reject, ServerConfig, SessionEnd, SessionError, Wait, config::BUDGET_RESERVE, protocol,
};

use crate::support::{Node, Stage, V1, ask_echo, echo, listener, quick, within};

/// Bytes that do not compress.
fn noise(len: u32) -> Bytes {
    (0..len / 4).flat_map(|number| number.wrapping_mul(2_654_435_761).rotate_left(7).to_be_bytes()).collect()
}

/// A node with the smallest budget, an echo, and a protocol that counts the bytes that come.
async fn node(stage: &Stage) -> (Node, Arc<AtomicUsize>) {
    let counted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&counted);
    let counter = protocol("count", [V1], move |_, mut messages| {
        let count = Arc::clone(&count);
        async move {
            while let Some(message) = messages.next().await {
                count.fetch_add(message.payload.len(), Ordering::SeqCst);
            }
        }
    });
    let key = stage.key();
    let config = ServerConfig { memory_budget: BUDGET_RESERVE, ..quick() };
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo"))).config(config);
    (stage.start(key, builder.protocol(Arc::new(counter))), counted)
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
