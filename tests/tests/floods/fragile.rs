//! A node whose own protocol panics at what a peer sends. It is a process of its own, so that one which does not survive this
//! is seen to be gone.

use std::time::Duration;

use bytes::Bytes;
use devp2p::rlpx::{DisconnectReason, SessionEnd};
use interop::{
    Failure, eventually,
    flood::{Client, FATAL, FATAL_APART, attacker, honest},
};
use tokio::time::timeout;

use super::{ALONE, THOROUGH, process::Flood};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s05_a_protocol_that_panics_costs_its_peer_alone_and_the_node_lets_new_ones_in() {
    const ROUNDS: u32 = if THOROUGH { 1_000 } else { 10 };
    const HONEST: u32 = 3;
    const LIMIT: Duration = Duration::from_secs(5);
    println!("{ROUNDS} panics of each kind (thorough: 1000)");
    let _alone = ALONE.lock().await;
    let (mut node, enode) = Flood::fragile();
    let mut staying = Vec::new();
    for number in 0..HONEST {
        staying.push(Client::connect(honest(number), &enode).await.unwrap());
    }
    let ended = Failure::new(SessionEnd::Remote(DisconnectReason::SubprotocolError).to_string());
    for round in 0..ROUNDS {
        for (code, number) in [(FATAL, 2 * round), (FATAL_APART, 2 * round + 1)] {
            let mut hostile = Client::connect(attacker(number), &enode).await.unwrap();
            hostile.ping().await.unwrap();
            hostile.send(code, Bytes::from_static(b"\x80")).await.unwrap();
            let end = timeout(LIMIT, hostile.next()).await.expect("the peer has to go");
            assert_eq!(end, Err(ended.clone()), "after {code}");
            for peer in &mut staying {
                peer.ping().await.unwrap();
            }
        }
    }
    let panics = 2 * ROUNDS;
    let all = format!("panics {panics} peers {HONEST} ");
    let all_gone = || Ok(Some(node.counts()).filter(|counts| counts.starts_with(&all)));
    let counts = eventually(&all, LIMIT, all_gone).unwrap();
    println!("node: {counts}");
    assert!(counts.contains(&format!("\"protocol_panicked\": {panics}")), "{counts}");
    let mut newcomer = Client::connect(honest(HONEST), &enode).await.unwrap();
    newcomer.ping().await.unwrap();
    assert!(node.end(LIMIT).success());
}
