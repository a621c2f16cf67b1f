//! The driver on real sockets of loopback: nodes find each other, answer, and end.
//! Nothing here waits for a time; what has to come is awaited.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{
    future::poll_fn,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::Poll,
    time::Duration,
};

use discv4::{CandidateStream, Closed, Config, Discv4, NodeEntry, Reject, RequestError, TableSnapshot};
use identity::{CurvePool, Endpoint, Enode, Enr, EnrBuilder, NodeKey};
use tokio::{net::UdpSocket, time::timeout};
use tokio_stream::{Stream, StreamExt};

/// How long anything may take on a busy machine before a test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

fn key(number: u8) -> NodeKey {
    NodeKey::from_bytes(&[number; 32]).unwrap()
}

fn curves() -> &'static CurvePool {
    static POOL: OnceLock<CurvePool> = OnceLock::new();
    POOL.get_or_init(CurvePool::for_this_machine)
}

fn record(key: &NodeKey, addr: SocketAddr, seq: u64) -> Enr {
    let endpoint = Endpoint { ip: Ipv4Addr::LOCALHOST.into(), udp: addr.port(), tcp: addr.port() };
    EnrBuilder::new(seq).endpoint(endpoint).sign(key).unwrap()
}

async fn start(number: u8, bootnodes: Vec<NodeEntry>) -> Discv4 {
    start_with(number, 1, Config { bootnodes, ..Config::default() }).await
}

async fn start_with(number: u8, seq: u64, config: Config) -> Discv4 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let key = key(number);
    let record = record(&key, socket.local_addr().unwrap(), seq);
    Discv4::start(socket, config, record, curves().handle(Arc::new(key))).unwrap()
}

fn enode(node: &Discv4) -> Enode {
    let record = node.local_enr();
    Enode::new(record.public_key(), record.endpoint().unwrap())
}

fn entry(node: &Discv4) -> NodeEntry {
    let record = node.local_enr();
    NodeEntry::new(record.public_key(), record.endpoint().unwrap())
}

/// Waits until a node has so many live nodes, each with its record; the lookups are what makes time pass.
async fn knows(node: &Discv4, count: usize) {
    let knows =
        |table: &TableSnapshot| table.nodes().filter(|node| node.live && node.enr.is_some()).count() == count;
    while !knows(&node.table().await.unwrap()) {
        node.lookup(node.local_enr().public_key()).await.unwrap();
        tokio::task::yield_now().await;
    }
}

/// What a stream has to say at once.
async fn poll_once(stream: &mut CandidateStream) -> Poll<Option<NodeEntry>> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_next(cx))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_ping_and_give_their_records() {
    let (alice, bob) = (start(1, vec![]).await, start(2, vec![]).await);
    let pong = alice.ping(&enode(&bob)).await.unwrap();
    assert_eq!((pong.from, pong.enr_seq), (bob.local_addr(), Some(1)));
    assert_eq!(pong.told_endpoint.udp_addr(), Some(alice.local_addr()));
    assert_eq!(alice.request_enr(&enode(&bob)).await.unwrap(), bob.local_enr());
    assert_eq!(bob.request_enr(&enode(&alice)).await.unwrap(), alice.local_enr());
    let (sent, received) = (alice.counters().bytes_out(), bob.counters().bytes_in());
    assert!(
        sent > 0 && received > 0 && bob.counters().datagrams_in() > 0 && alice.counters().datagrams_out() > 0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_record_of_our_own_is_given_to_others() {
    let (alice, bob) = (start(3, vec![]).await, start(4, vec![]).await);
    let newer = record(&key(4), bob.local_addr(), 2);
    bob.set_local_enr(newer.clone()).await.unwrap();
    assert_eq!(bob.local_enr(), newer);
    assert_eq!(alice.request_enr(&enode(&bob)).await.unwrap(), newer);
    let foreign = record(&key(9), bob.local_addr(), 3);
    bob.set_local_enr(foreign).await.unwrap();
    assert_eq!(bob.local_enr(), newer, "a record of another key is ignored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_nodes_with_one_bootnode_all_know_each_other() {
    let bootnode = start(10, vec![]).await;
    let mut nodes = vec![bootnode.clone()];
    for number in 11..15 {
        nodes.push(start(number, vec![entry(&bootnode)]).await);
    }
    for node in &nodes {
        timeout(PATIENCE, knows(node, 4)).await.expect("all are known");
    }
    let target = key(99).public_key();
    let found = nodes[2].lookup(target).await.unwrap();
    let mut expected: Vec<_> = nodes.iter().map(|node| node.local_enr().node_id()).collect();
    expected.retain(|id| *id != nodes[2].local_enr().node_id());
    expected.sort_by_key(|id| target.node_id().distance(id));
    assert_eq!(found.iter().map(|node| node.node_id).collect::<Vec<_>>(), expected);
    for node in &nodes {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_come_at_once_and_again_and_end_with_the_node() {
    let bootnode = start(20, vec![]).await;
    let node = start(21, vec![entry(&bootnode)]).await;
    let mut candidates = node.candidates();
    for _ in 0..2 {
        let candidate = timeout(PATIENCE, candidates.next()).await.expect("in time").expect("a candidate");
        assert_eq!(
            (candidate.node_id, candidate.enr),
            (bootnode.local_enr().node_id(), Some(bootnode.local_enr()))
        );
    }
    drop(node);
    let rest = timeout(PATIENCE, async { while candidates.next().await.is_some() {} });
    rest.await.expect("the stream does not keep the node alive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_streams_run_at_once() {
    let node = start(25, vec![]).await;
    let streams: Vec<_> = (0..64).map(|_| node.candidates()).collect();
    assert_eq!(poll_once(&mut node.candidates()).await, Poll::Ready(None));
    drop(streams);
    assert_eq!(poll_once(&mut node.candidates()).await, Poll::Pending, "it waits for nodes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_there_is_a_timeout_and_ends_nothing() {
    let node = start(30, vec![]).await;
    let closed = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
    let endpoint = Endpoint { ip: closed.ip(), udp: closed.port(), tcp: 0 };
    let nobody = Enode::new(key(31).public_key(), endpoint);
    assert_eq!(node.ping(&nobody).await.unwrap_err(), RequestError::Timeout);
    assert_eq!(node.request_enr(&nobody).await.unwrap_err(), RequestError::Timeout);
    let other = start(32, vec![]).await;
    node.ping(&enode(&other)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_resolved() {
    let (alice, bob) = (start(33, vec![]).await, start(34, vec![]).await);
    let url = enode(&bob).to_string().replace("127.0.0.1", "localhost");
    alice.ping(&url.parse().unwrap()).await.unwrap();
    let url = enode(&bob).to_string().replace("127.0.0.1", "name.invalid");
    assert_eq!(alice.ping(&url.parse().unwrap()).await.unwrap_err(), RequestError::Unresolved);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn u13_u14_junk_is_counted_and_ends_nothing() {
    let (alice, bob) = (start(40, vec![]).await, start(41, vec![]).await);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut unknown = vec![7; 200];
    unknown[97] = 0x77;
    for junk in [vec![7; 46], vec![7; 1281], vec![7; 9000], unknown] {
        socket.send_to(&junk, alice.local_addr()).await.unwrap();
    }
    // What was sent before is read before.
    bob.ping(&enode(&alice)).await.unwrap();
    let rejects = &alice.counters().rejects;
    let counts = [Reject::TooShort, Reject::TooLong, Reject::UnknownKind].map(|reject| rejects.count(reject));
    assert_eq!(counts, [1, 2, 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_closes_the_socket_and_later_calls_say_so() {
    let (alice, bob) = (start(50, vec![]).await, start(51, vec![]).await);
    let addr = alice.local_addr();
    let (first, second) = (alice.clone(), alice.clone());
    tokio::join!(first.shutdown(), second.shutdown());
    UdpSocket::bind(addr).await.expect("the port is free");
    assert_eq!(alice.ping(&enode(&bob)).await.unwrap_err(), RequestError::Closed);
    assert_eq!(alice.lookup(key(1).public_key()).await.unwrap_err(), Closed);
    assert_eq!(alice.table().await.unwrap_err(), Closed);
    assert!(alice.candidates().next().await.is_none());
    alice.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_last_handle_closes_the_socket() {
    let alice = start(60, vec![]).await;
    let (addr, clone) = (alice.local_addr(), alice.clone());
    drop(alice);
    assert_eq!(clone.table().await.unwrap().len(), 0, "a clone is left");
    drop(clone);
    let freed = timeout(PATIENCE, async {
        while UdpSocket::bind(addr).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    freed.await.expect("the port is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s10_a_node_is_told_where_another_is_with_the_same_key() {
    let bootnode = start(90, vec![]).await;
    let config = || Config { bootnodes: vec![entry(&bootnode)], ..Config::default() };
    // Its Pings last longer, so that no earlier run of the second could have signed them.
    let lasting = Config { packet_lifetime: Duration::from_secs(600), ..config() };
    let first = start_with(91, 1_000, lasting).await;
    first.lookup(key(1).public_key()).await.unwrap();
    let second = start_with(91, 2_000, config()).await;
    let search = async {
        loop {
            for node in [&second, &first] {
                node.lookup(key(2).public_key()).await.unwrap();
            }
        }
    };
    let seen = async {
        tokio::select! {
            from = second.key_in_use() => from,
            () = search => unreachable!("it has no end"),
        }
    };
    assert_eq!(timeout(PATIENCE, seen).await.expect("in time"), first.local_addr());
    assert!(second.counters().rejects.count(Reject::OwnKey) > 0);
    let late = second.clone();
    assert_eq!(late.key_in_use().await, first.local_addr(), "it is known from then on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_another_key_is_refused_at_the_start() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let foreign = record(&key(70), socket.local_addr().unwrap(), 1);
    let error =
        Discv4::start(socket, Config::default(), foreign, curves().handle(Arc::new(key(71)))).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_for_both_families_reaches_ipv4() {
    let Ok(socket) = UdpSocket::bind("[::]:0").await else {
        // This machine has no IPv6.
        return;
    };
    let key = key(80);
    let record = record(&key, socket.local_addr().unwrap(), 1);
    let dual = Discv4::start(socket, Config::default(), record, curves().handle(Arc::new(key))).unwrap();
    let plain = start(81, vec![]).await;
    dual.ping(&enode(&plain)).await.unwrap();
    plain.ping(&enode(&dual)).await.unwrap();
    assert!(plain.table().await.unwrap().nodes().all(|node| node.endpoint.ip.is_ipv4()));
}
