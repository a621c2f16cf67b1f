//! Nodes on real sockets of loopback: server, connections, machine, chain and pool, and nothing in between.
#![cfg(feature = "tokio")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use eth_wire::{
    Address, Block, BlockBuilder, Chain, EthConfig, EthEvent, EthEvents, EthHandle, EthVersion, ForkSchedule,
    Hash, HeadersQuery, Insert, MemoryChain, MemoryPool, Offer, Pool, Reject, RequestError, Transaction,
    TransferRequest,
};
use identity::{CurvePool, Endpoint, Enode, NodeKey};
use rlpx::Server;
use tokio::{net::TcpListener, time::timeout};

const CHAIN_ID: u64 = 1_337;
const GENESIS_TIME: u64 = 1_700_000_000;
/// How long any one thing may take; far more than it does.
const PATIENCE: Duration = Duration::from_secs(20);

struct Node {
    server: Server,
    eth: EthHandle,
    events: EthEvents,
    chain: Arc<MemoryChain>,
    pool: Arc<MemoryPool>,
    enode: Enode,
}

/// Starts node `number` on a chain that begins at `genesis_time`.
async fn node(curve: &CurvePool, number: u8, versions: &[EthVersion], genesis_time: u64) -> Node {
    let key = Arc::new(NodeKey::from_bytes(&[number; 32]).unwrap());
    let genesis = BlockBuilder::genesis(genesis_time).build();
    let (chain, pool) = (Arc::new(MemoryChain::new(&genesis)), Arc::new(MemoryPool::new(CHAIN_ID)));
    let forks = ForkSchedule::new(chain.genesis(), GENESIS_TIME, &[], &[]);
    let config = EthConfig { versions: versions.to_vec(), ..EthConfig::new(CHAIN_ID, forks) };
    let (eth, protocol) = eth_wire::start(config, chain.clone(), pool.clone(), u64::from(number));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = Endpoint { ip: [127, 0, 0, 1].into(), udp: 0, tcp: listener.local_addr().unwrap().port() };
    let enode = Enode::new(key.public_key(), endpoint);
    let server =
        Server::builder(curve.handle(key)).listener(listener).protocol(Arc::new(protocol)).start().unwrap();
    let events = eth.events();
    Node { server, eth, events, chain, pool, enode }
}

fn curve() -> CurvePool {
    CurvePool::new(NonZeroUsize::MIN, NonZeroUsize::new(4).unwrap())
}

impl Node {
    /// Waits for the event that `wanted` gives something for.
    async fn until<T>(&mut self, wanted: impl Fn(EthEvent) -> Option<T>) -> T {
        let seek = async {
            loop {
                if let Some(found) = wanted(self.events.next().await.expect("the machine runs")) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, seek).await.expect("it happens in time")
    }

    async fn until_peers(&mut self, count: usize) {
        while self.eth.peers().await.len() < count {
            self.until(|event| matches!(event, EthEvent::PeerReady(_)).then_some(())).await;
        }
    }

    async fn until_transaction(&mut self, hash: Hash) {
        self.until(|event| {
            let EthEvent::TransactionsReceived { new, .. } = event else { return None };
            new.contains(&hash).then_some(())
        })
        .await;
    }

    async fn until_block(&mut self, hash: Hash) {
        self.until(|event| {
            matches!(event, EthEvent::BlockImported { hash: found, .. } if found == hash).then_some(())
        })
        .await;
    }

    fn produce(&self) -> Block {
        let head = self.chain.block_by_hash(&self.chain.head().hash).unwrap();
        BlockBuilder::child_of(&head.header, 0).transactions(&self.pool.oldest(100, 1 << 20)).build()
    }
}

fn transfer(nonce: u64) -> Transaction {
    TransferRequest::new(CHAIN_ID, nonce, Address([1; 20]), 1).sign(&NodeKey::from_bytes(&[99; 32]).unwrap())
}

/// Three nodes in a row, the one in the middle connected to both others.
async fn row(curve: &CurvePool, versions: &[EthVersion]) -> [Node; 3] {
    let mut nodes = [
        node(curve, 1, versions, GENESIS_TIME).await,
        node(curve, 2, versions, GENESIS_TIME).await,
        node(curve, 3, versions, GENESIS_TIME).await,
    ];
    for end in [0, 2] {
        let enode = nodes[end].enode.clone();
        nodes[1].server.add_peer(enode).await.unwrap();
    }
    for (node, count) in nodes.iter_mut().zip([1, 2, 1]) {
        node.until_peers(count).await;
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_and_a_block_go_from_one_end_to_the_other() {
    let curve = curve();
    let [mut one, _two, mut three] = row(&curve, &[EthVersion::Eth68]).await;
    let transaction = transfer(1);
    assert_eq!(one.eth.submit_transaction(transaction.envelope().clone()).await, Ok(Insert::New));
    three.until_transaction(transaction.hash()).await;
    assert!(three.pool.contains(&transaction.hash()));

    let announced = transfer(2);
    assert_eq!(three.eth.announce_transaction(announced.envelope().clone()).await, Ok(Insert::New));
    one.until_transaction(announced.hash()).await;

    let block = three.produce();
    assert_eq!(three.eth.submit_block(block.raw.clone(), None).await, Ok(Offer::New { is_head: true }));
    one.until_block(block.header.hash).await;
    assert_eq!(one.chain.head().hash, block.header.hash);
    assert_eq!(one.chain.block_by_hash(&block.header.hash).unwrap().transactions().len(), 2);
    assert_eq!(one.eth.counters().rejects.total() + three.eth.counters().rejects.total(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_comes_late_gets_the_chain_and_the_pool() {
    let curve = curve();
    let [mut one, two, three] = row(&curve, &[EthVersion::Eth68]).await;
    for number in 0..300 {
        one.eth.submit_transaction(transfer(number).envelope().clone()).await.unwrap();
    }
    for _ in 0..100 {
        let block = one.produce();
        assert_eq!(one.eth.submit_block(block.raw, None).await, Ok(Offer::New { is_head: true }));
    }
    let head = one.chain.head().hash;
    one.until_block(head).await;
    let mut late = node(&curve, 4, &[EthVersion::Eth68], GENESIS_TIME).await;
    late.server.add_peer(one.enode.clone()).await.unwrap();
    late.until_block(head).await;
    let held = |node: &Node| (0..300).filter(|number| node.pool.contains(&transfer(*number).hash())).count();
    while held(&late) < 300 {
        late.until(|event| matches!(event, EthEvent::TransactionsReceived { .. }).then_some(())).await;
    }
    for node in [&one, &two, &three, &late] {
        node.server.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_and_blocks_are_had_by_asking() {
    let curve = curve();
    let [one, two, _three] = row(&curve, &EthVersion::ALL).await;
    for number in 0..200 {
        one.eth.submit_transaction(transfer(number).envelope().clone()).await.unwrap();
        let block = one.produce();
        one.pool.remove(&[transfer(number).hash()]);
        one.eth.submit_block(block.raw, None).await.unwrap();
    }
    let info = one.eth.peers().await.remove(0);
    assert_eq!(info.version, EthVersion::Eth69, "the highest that both have");
    let of_one = two
        .eth
        .peers()
        .await
        .into_iter()
        .find(|peer| peer.node_id == one.enode.public_key.node_id())
        .unwrap();
    let peer = Some(of_one.peer_id);
    let headers = two.eth.headers(peer, HeadersQuery::from_number(1, 200)).await.unwrap();
    assert_eq!((headers.len(), headers[199].hash), (200, one.chain.head().hash));
    let mut blocks = Vec::new();
    while blocks.len() < 200 {
        blocks.extend(two.eth.blocks(peer, &headers[blocks.len()..]).await.unwrap());
    }
    for (block, header) in blocks.iter().zip(&headers) {
        assert!(block.header == *header && block.check_body() && block.transactions().len() == 1);
    }
    assert_eq!(two.eth.headers(None, HeadersQuery::from_number(1, 0)).await, Err(RequestError::Size));
    assert_eq!(
        two.eth.receipts(peer, vec![headers[0].hash]).await,
        Ok(Vec::new()),
        "a memory chain has none"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn e02_a_node_on_another_chain_is_refused_by_both_with_the_rule() {
    let curve = curve();
    let mut ours = node(&curve, 1, &EthVersion::ALL, GENESIS_TIME).await;
    let mut theirs = node(&curve, 2, &EthVersion::ALL, GENESIS_TIME + 1).await;
    ours.server.add_peer(theirs.enode.clone()).await.unwrap();
    let refusal = |event| {
        let EthEvent::PeerRefused { fault, .. } = event else { return None };
        Some(fault.reject())
    };
    let rules = tokio::join!(ours.until(refusal), theirs.until(refusal));
    assert_eq!(rules, (Reject::Genesis, Reject::Genesis));
    assert!(ours.eth.peers().await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_machine_ends_with_its_handles_and_says_so() {
    let curve = curve();
    let Node { server, eth, mut events, .. } = node(&curve, 1, &EthVersion::ALL, GENESIS_TIME).await;
    server.shutdown().await;
    drop((server, eth));
    assert_eq!(timeout(PATIENCE, events.next()).await, Ok(None));
}
