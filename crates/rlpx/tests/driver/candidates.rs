//! Nodes that are found, and the protocols of a server by itself: those are dialed whose record one of them wants.
//! How opinions are weighed is tested in `tests/server/wishes.rs`.

use std::{collections::VecDeque, pin::Pin, sync::Arc, task::Poll};

use identity::{Endpoint, Enr, EnrBuilder};
use rlpx::{Candidate, Protocol, Refusal, protocol};

use crate::support::{Node, Stage, V1, ask_echo, echo, listener, within};

/// Finds these nodes, one after the other, and then nobody, for as long as it lives.
struct Finds(VecDeque<Candidate>);

impl futures_core::Stream for Finds {
    type Item = Candidate;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<Option<Candidate>> {
        self.0.pop_front().map_or(Poll::Pending, |candidate| Poll::Ready(Some(candidate)))
    }
}

/// A node and a record of it that names `entry`.
fn found(node: &Node, entry: Option<&str>) -> Candidate {
    let address = node.server.local_addr().unwrap();
    let endpoint = Endpoint { ip: address.ip(), udp: 0, tcp: address.port() };
    let record = entry.map(|entry| record(node, endpoint, entry));
    Candidate { record, ..Candidate::new(node.key.public_key(), endpoint) }
}

fn record(node: &Node, endpoint: Endpoint, entry: &str) -> Enr {
    EnrBuilder::new(1).endpoint(endpoint).entry(entry, vec![0xc0].into()).sign(&node.key).unwrap()
}

/// A protocol that wants nodes with `entry` in their records.
fn wanting(name: &str, entry: &'static str) -> impl Protocol + use<> {
    let idle =
        protocol(name, [V1], |_, mut messages| async move { while messages.next().await.is_some() {} });
    idle.want(move |record| record.is_some_and(|record| record.entry(entry).is_some()))
}

fn finding(stage: &Stage, found: impl IntoIterator<Item = Candidate>) -> rlpx::ServerBuilder {
    rlpx::Server::builder(stage.pool.handle(stage.key()))
        .protocol(Arc::new(echo("echo")))
        .candidates(Finds(found.into_iter().collect()))
}

async fn until(mut done: impl FnMut() -> bool) {
    within(async {
        while !done() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_server_by_itself_dials_whom_one_of_its_protocols_wants() {
    let stage = Stage::new();
    let (with_tea, with_milk) = (stage.echoing().await, stage.echoing().await);
    let (of_no_use, unknown) = (stage.echoing().await, stage.echoing().await);
    let entries = [(&of_no_use, Some("coffee")), (&unknown, None), (&with_tea, Some("tea"))];
    let all = entries.into_iter().chain([(&with_milk, Some("milk"))]);
    let builder = finding(&stage, all.map(|(node, entry)| found(node, entry)));
    let builder = builder.protocol(Arc::new(wanting("t", "tea"))).protocol(Arc::new(wanting("m", "milk")));
    let server = builder.start().unwrap();
    until(|| server.peer_count() == 2).await;
    let mut reached: Vec<_> = server.peers().await.iter().map(|peer| peer.public_key).collect();
    let mut expected = [&with_tea, &with_milk].map(|node| node.key.public_key());
    reached.sort();
    expected.sort();
    assert_eq!(reached, expected);
    assert_eq!(server.counters().refusals.count(Refusal::CandidateUnwanted), 2);
    for node in [of_no_use, unknown] {
        assert_eq!(node.server.counters().bytes_in(), 0);
    }
    server.shutdown().await;
}

#[tokio::test]
async fn where_no_protocol_minds_a_node_without_a_record_is_dialed() {
    let stage = Stage::new();
    let target = stage.echoing().await;
    let server = finding(&stage, [found(&target, None)]).start().unwrap();
    until(|| server.peer_count() == 1).await;
    server.shutdown().await;
}

#[tokio::test]
async fn a_protocol_that_panics_at_a_record_ends_no_server_and_has_no_say() {
    let stage = Stage::new();
    let target = stage.echoing().await;
    let fragile = protocol("fragile", [V1], |_, _| async {}).want(|record| record.unwrap().seq() > 0);
    let key = stage.key();
    let builder = stage.builder(&key, listener().await).protocol(Arc::new(echo("echo")));
    let builder = builder.protocol(Arc::new(fragile));
    let node = stage.start(key, builder.candidates(Finds([found(&target, None)].into())));
    until(|| node.server.peer_count() == 1).await;
    assert_eq!(node.refused(Refusal::ProtocolPanicked), 1);
    let mut tool = stage.tool(&node).await;
    ask_echo(&mut tool, b"alive").await;
}
