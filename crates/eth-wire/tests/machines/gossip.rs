//! Transactions among machines: everything arrives everywhere, and nothing goes back to where it came from.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use eth_wire::{
    Announcement, Delivery, EthEvent, EthMessage, EthVersion, Hash, Incoming, Insert, MessageKind, Pool,
    Reply, Request, Transaction, intake,
};
use rand::RngExt;
use rlpx::PeerId;

use crate::net::{Net, Script, large_transfer, transfer};

const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);
const SECOND: Duration = Duration::from_secs(1);

/// How many of these the node's pool has.
fn held(net: &Net, node: usize, transactions: &[Transaction]) -> usize {
    transactions.iter().filter(|transaction| net.nodes[node].pool.contains(&transaction.hash())).count()
}

#[test]
fn transactions_reach_all_of_twenty_machines() {
    for version in EthVersion::ALL {
        for seed in 0..3 {
            let mut net = Net::new(20, version, seed);
            net.connect_all(3);
            net.pass(SECOND);
            let transactions: Vec<Transaction> = (0..100).map(transfer).collect();
            for transaction in &transactions {
                let (node, now) = (net.random_node(), net.now);
                net.nodes[node].submit(now, transaction);
                net.collect(node);
                net.pass(Duration::from_millis(20));
            }
            net.pass(SECOND * 5);
            for node in 0..20 {
                assert_eq!(held(&net, node, &transactions), 100, "{version}, seed {seed}, node {node}");
            }
            assert_eq!(net.faults(), []);
        }
    }
}

#[test]
fn transactions_reach_whoever_is_left_when_peers_are_lost_half_way() {
    for seed in 0..5 {
        let mut net = Net::new(16, EthVersion::Eth68, seed);
        net.connect_all(4);
        net.pass(SECOND);
        let mut transactions = Vec::new();
        for number in 0..100 {
            // Of the first five nodes every one dies, each in the middle of things; nothing enters there.
            let (node, now) = (5 + net.rng.random_range(0..11), net.now);
            transactions.push(transfer(number));
            net.nodes[node].submit(now, &transactions[transactions.len() - 1]);
            net.collect(node);
            net.pass(Duration::from_millis(10));
            if number % 20 == 10 {
                net.kill(usize::try_from(number / 20).unwrap());
            }
        }
        net.pass(SECOND * 20);
        for node in 5..16 {
            assert_eq!(held(&net, node, &transactions), 100, "seed {seed}, node {node}");
        }
        assert_eq!(net.faults(), []);
    }
}

#[test]
fn one_seed_gives_one_trace() {
    let trace = |seed| {
        let mut net = Net::new(8, EthVersion::Eth68, seed);
        net.connect_all(2);
        for number in 0..30 {
            let (node, now) = (net.random_node(), net.now);
            net.nodes[node].submit(now, &transfer(number));
            net.collect(node);
            net.pass(Duration::from_millis(30));
        }
        net.kill(3);
        net.pass(SECOND * 3);
        let sent =
            net.tap.iter().map(|(from, to, message)| (*from, *to, message.code(), message.payload().clone()));
        sent.collect::<Vec<_>>()
    };
    let first = trace(7);
    assert!(first.len() > 300 && first == trace(7));
    assert!(first != trace(8));
}

#[test]
fn what_was_announced_alone_reaches_all() {
    let mut net = Net::new(10, EthVersion::Eth69, 1);
    net.connect_all(2);
    net.pass(SECOND);
    // Too long to be pushed, so every hop is an announcement and a request.
    let large = large_transfer(0, 50_000);
    let now = net.now;
    net.nodes[0].submit(now, &large);
    let command = net.nodes[3].eth.submit_transactions(now, vec![transfer(1)], true).unwrap();
    (0..10).for_each(|node| net.collect(node));
    assert_eq!(net.nodes[3].replies[&command], Reply::Inserted(vec![Insert::New]));
    let first: Vec<u64> =
        net.tap.iter().filter(|(from, ..)| from.node == 3).map(|(.., message)| message.code()).collect();
    assert!(!first.contains(&MessageKind::Transactions.code()));
    net.pass(SECOND * 10);
    for node in 0..10 {
        assert_eq!(held(&net, node, &[large.clone(), transfer(1)]), 2, "node {node}");
    }
    let pushed = net.tap.iter().filter(|(.., message)| message.code() == MessageKind::Transactions.code());
    let largest = pushed.map(|(.., message)| message.payload().len()).max().unwrap_or(0);
    assert!(largest < 50_000, "a transaction of {largest} bytes was pushed");
}

#[test]
fn a_new_peer_is_told_all_that_is_pending() {
    let mut net = Net::new(2, EthVersion::Eth68, 1);
    let transactions: Vec<Transaction> = (0..1_000).map(transfer).collect();
    let now = net.now;
    transactions.iter().for_each(|transaction| _ = net.nodes[0].submit(now, transaction));
    net.connect(0, 1);
    net.pass(SECOND * 5);
    assert_eq!(held(&net, 1, &transactions), 1_000);
    assert_eq!(net.faults(), []);
}

/// The hashes that a message tells of.
fn told(version: EthVersion, code: u64, payload: &bytes::Bytes) -> Vec<Hash> {
    match intake(version, code, payload.clone()) {
        Ok(Incoming::Transactions(transactions)) => transactions.iter().map(Transaction::hash).collect(),
        Ok(Incoming::NewPooledTransactionHashes(items)) => items.iter().map(|item| item.hash).collect(),
        _ => Vec::new(),
    }
}

/// Ten peers, of whom one announces and one sends each of 500 transactions. Gives how often one of them was told of one.
fn trials(seed: u64) -> usize {
    let mut script = Script::new(EthVersion::Eth68);
    let peers: Vec<PeerId> = (1..=10).map(PeerId).collect();
    peers.iter().for_each(|peer| script.greet(*peer));
    let mut knows: BTreeMap<PeerId, BTreeSet<Hash>> = BTreeMap::new();
    let mut trials = 0;
    for number in 0..500u64 {
        let transaction = transfer(number + seed * 1_000);
        let from = peers[usize::try_from((number * 7 + seed) % 10).unwrap()];
        let announcer = peers[usize::try_from((number * 3 + seed) % 10).unwrap()];
        knows.entry(from).or_default().insert(transaction.hash());
        knows.entry(announcer).or_default().insert(transaction.hash());
        script.say(announcer, &EthMessage::NewPooledTransactionHashes(vec![transaction.announcement()]));
        script.say(from, &EthMessage::Transactions(vec![transaction.envelope().clone()]));
        // At the end what waits for its moment goes too.
        script.pass(Duration::from_millis(if number == 499 { 1_000 } else { 30 }));
        for peer in &peers {
            let written = script.written(*peer);
            let told = written.iter().flat_map(|(code, payload)| told(EthVersion::Eth68, *code, payload));
            for hash in told {
                assert!(knows.entry(*peer).or_default().insert(hash), "{peer} is told {hash} again");
                trials += 1;
            }
        }
    }
    let each: Vec<usize> = knows.values().map(BTreeSet::len).collect();
    assert_eq!(each, [500; 10], "everybody is told everything");
    trials
}

#[test]
fn g10_nothing_is_told_to_whom_it_came_from_nor_twice() {
    let trials: usize = (0..4).map(trials).sum();
    println!("{trials} transactions told, of 1,000,000 in a thorough run");
}

#[test]
fn a_transaction_goes_in_full_to_the_square_root_of_the_peers_and_by_hash_to_the_rest() {
    let mut script = Script::new(EthVersion::Eth69);
    let peers: Vec<PeerId> = (1..=10).map(PeerId).collect();
    peers.iter().for_each(|peer| script.greet(*peer));
    script.node.submit(script.now, &transfer(1));
    let codes: Vec<u64> = peers.iter().flat_map(|peer| script.written(*peer)).map(|(code, _)| code).collect();
    let count = |kind: MessageKind| codes.iter().filter(|code| **code == kind.code()).count();
    let (full, announced) =
        (count(MessageKind::Transactions), count(MessageKind::NewPooledTransactionHashes));
    assert_eq!((full, announced, codes.len()), (4, 6, 10));
}

#[test]
fn a_transaction_that_comes_again_is_counted_and_not_checked_again() {
    let mut script = Script::new(EthVersion::Eth69);
    [A, B].into_iter().for_each(|peer| script.greet(peer));
    let push = EthMessage::Transactions(vec![transfer(1).envelope().clone()]);
    [A, B, A].into_iter().for_each(|peer| script.say(peer, &push));
    let deliveries = script.node.eth.counters().deliveries;
    assert_eq!(
        (deliveries.count(Delivery::Transaction), deliveries.count(Delivery::TransactionAgain)),
        (1, 2)
    );
    let received = |event: &&EthEvent| matches!(event, EthEvent::TransactionsReceived { .. });
    assert_eq!(script.node.events.iter().filter(received).count(), 1, "the pool was asked once");
}

#[test]
fn g05_a_withheld_transaction_is_asked_of_another_within_five_and_a_half_seconds() {
    let mut script = Script::new(EthVersion::Eth69);
    [A, B].into_iter().for_each(|peer| script.greet(peer));
    let get = MessageKind::GetPooledTransactions.code();
    let announcement = EthMessage::NewPooledTransactionHashes(vec![transfer(1).announcement()]);
    [A, B].into_iter().for_each(|peer| script.say(peer, &announcement));
    script.pass(Duration::from_millis(500));
    let first: Vec<PeerId> =
        [A, B].into_iter().filter(|peer| !script.written_of(*peer, get).is_empty()).collect();
    assert_eq!(first, [A]);
    script.pass(Duration::from_millis(4_900));
    assert!(script.written_of(B, get).is_empty());
    script.pass(Duration::from_millis(600));
    assert_eq!(script.written_of(B, get).len(), 1);
    assert!(script.fault_of(A).is_none(), "being slow is no breach");
}

#[test]
fn g12_a_transaction_that_left_the_pool_is_not_served() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    let transaction = transfer(1);
    script.node.submit(script.now, &transaction);
    let request = Request::PooledTransactions(vec![transaction.hash()]);
    let ask = |script: &mut Script| {
        let Request::PooledTransactions(hashes) = request.clone() else { unreachable!() };
        script.say(A, &EthMessage::GetPooledTransactions { id: 9, hashes });
        script.written_of(A, MessageKind::PooledTransactions.code()).remove(0)
    };
    let full = EthMessage::PooledTransactions { id: 9, transactions: vec![transaction.envelope().clone()] };
    assert_eq!(ask(&mut script), full.encode());
    script.node.pool.remove(&[transaction.hash()]);
    assert_eq!(ask(&mut script), EthMessage::PooledTransactions { id: 9, transactions: Vec::new() }.encode());
}

#[test]
fn owners_announce_what_is_pooled_already() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    let transaction = transfer(1);
    script.node.pool.insert(transaction.envelope().clone());
    let hashes = vec![transaction.hash(), Hash([9; 32])];
    let command = script.node.eth.announce_transactions(script.now, hashes).unwrap();
    script.node.pump(script.now);
    assert_eq!(script.node.replies[&command], Reply::Announced(1));
    let announced = script.written_of(A, MessageKind::NewPooledTransactionHashes.code());
    let expected: Vec<Announcement> = vec![transaction.announcement()];
    assert_eq!(announced, [EthMessage::NewPooledTransactionHashes(expected).encode()]);
}
