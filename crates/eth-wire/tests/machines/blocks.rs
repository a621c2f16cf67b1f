//! Blocks among machines on eth/68: they reach everybody, parents are fetched, and nobody is asked in vain for long.

use std::time::Duration;

use eth_wire::{
    Block, BlockBuilder, BlockHashNumber, BlockRange, Chain, Delivery, EthEvent, EthMessage, EthVersion,
    MessageKind, Position, Reject, Status, TotalDifficulty,
};
use rand::RngExt;
use rlpx::{DisconnectReason, PeerId};

use crate::net::{Net, Script, genesis, status, transfer};

const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);
const SECOND: Duration = Duration::from_secs(1);

/// The genesis block and `len` blocks on it, one transaction each.
fn branch(len: u64) -> Vec<Block> {
    let mut blocks = vec![genesis()];
    for number in 0..len {
        let parent = &blocks[blocks.len() - 1].header;
        blocks.push(BlockBuilder::child_of(parent, 0).transactions(&[transfer(number)]).build());
    }
    blocks
}

fn new_block(block: &Block) -> EthMessage {
    let total_difficulty = TotalDifficulty(u128::from(block.header.number) + 1);
    EthMessage::NewBlock { block: block.raw.clone(), total_difficulty }
}

#[test]
fn blocks_with_transactions_reach_all_of_twenty_machines() {
    for seed in 0..3 {
        let mut net = Net::new(20, EthVersion::Eth68, seed);
        net.connect_all(3);
        net.pass(SECOND);
        let mut last = genesis();
        for number in 0..10 {
            let (node, now) = (net.random_node(), net.now);
            net.nodes[node].submit(now, &transfer(number));
            net.collect(node);
            net.pass(SECOND);
            let (node, now) = (net.random_node(), net.now);
            last = net.nodes[node].produce(now);
            net.collect(node);
            net.pass(SECOND);
        }
        for node in &net.nodes {
            assert_eq!(node.chain.head().hash, last.header.hash, "seed {seed}");
        }
        assert_eq!((net.faults(), last.header.number), (Vec::new(), 10));
    }
}

#[test]
fn blocks_reach_whoever_is_left_when_connections_are_lost() {
    for seed in 0..5 {
        let mut net = Net::new(12, EthVersion::Eth68, seed);
        net.connect_all(4);
        net.pass(SECOND);
        let mut last = genesis();
        for number in 0..20 {
            // One producer, so that there is one chain; connections end at the worst moments.
            let now = net.now;
            last = net.nodes[0].produce(now);
            net.collect(0);
            let millis = net.rng.random_range(0..30);
            net.pass(Duration::from_millis(millis));
            if number % 2 == 0 {
                let link = net.random_link().unwrap();
                net.cut(link);
            }
            net.pass(SECOND / 2);
            // Who lost its peers finds others.
            let (a, b) = (net.random_node(), net.random_node());
            net.connect(a, b);
            net.connect(0, a);
        }
        net.pass(SECOND * 10);
        for (place, node) in net.nodes.iter().enumerate() {
            assert_eq!(node.chain.head().hash, last.header.hash, "seed {seed}, node {place}");
        }
        assert_eq!(net.faults(), []);
    }
}

#[test]
fn a_latecomer_gets_the_whole_chain() {
    let mut net = Net::new(3, EthVersion::Eth68, 1);
    net.connect(0, 1);
    for _ in 0..600 {
        let now = net.now;
        net.nodes[0].produce(now);
        net.collect(0);
    }
    net.connect(1, 2);
    net.pass(SECOND * 30);
    assert_eq!(net.nodes[2].chain.head(), net.nodes[0].chain.head());
    assert_eq!((net.nodes[2].chain.head().number, net.faults()), (600, Vec::new()));
    let holdings = net.nodes[2].eth.holdings();
    assert_eq!(
        (holdings.orphans, holdings.block_fetches, holdings.requests, holdings.backend_calls),
        (0, 0, 0, 0)
    );
}

#[test]
fn a_block_goes_in_full_to_the_square_root_of_the_peers_and_by_hash_to_the_rest() {
    let mut script = Script::new(EthVersion::Eth68);
    let peers: Vec<PeerId> = (1..=10).map(PeerId).collect();
    peers.iter().for_each(|peer| script.greet(*peer));
    let block = branch(1).remove(1);
    script.say(A, &new_block(&block));
    let others: Vec<(PeerId, u64)> = peers
        .iter()
        .flat_map(|peer| script.written(*peer).into_iter().map(|(code, _)| (*peer, code)).collect::<Vec<_>>())
        .collect();
    let count = |kind: MessageKind| others.iter().filter(|(_, code)| *code == kind.code()).count();
    assert_eq!((count(MessageKind::NewBlock), count(MessageKind::NewBlockHashes), others.len()), (3, 6, 9));
    assert!(others.iter().all(|(peer, _)| *peer != A), "never back to the sender");
    script.say(B, &new_block(&block));
    let deliveries = script.node.eth.counters().deliveries;
    assert_eq!((deliveries.count(Delivery::Block), deliveries.count(Delivery::BlockAgain)), (1, 1));
    assert!(peers.iter().all(|peer| script.written(*peer).is_empty()));
}

/// Answers the node's requests for headers and bodies to `peer` from `chain`, until there are none. Gives how many.
fn answer(script: &mut Script, peer: PeerId, chain: &[Block]) -> usize {
    let served = eth_wire::MemoryChain::new(&chain[0]);
    chain.iter().skip(1).for_each(|block| _ = served.offer(block.raw.clone(), None));
    let pool = eth_wire::MemoryPool::new(1);
    let mut answered = 0;
    loop {
        let before = answered;
        for (code, payload) in script.written(peer) {
            let Ok(eth_wire::Incoming::Request { id, request }) =
                eth_wire::intake(script.version, code, payload)
            else {
                continue;
            };
            let is_headers = matches!(request, eth_wire::Request::Headers(_));
            let call = eth_wire::BackendCall::Serve(request, script.version);
            let eth_wire::BackendAnswer::Items(items) = call.run(&served, &pool) else { continue };
            script.say(
                peer,
                &if is_headers {
                    EthMessage::BlockHeaders { id, headers: items }
                } else {
                    EthMessage::BlockBodies { id, bodies: items }
                },
            );
            answered += 1;
        }
        if answered == before {
            return answered;
        }
    }
}

#[test]
fn the_missing_parents_of_a_block_are_had_from_its_sender() {
    let chain = branch(100);
    let mut script = Script::new(EthVersion::Eth68);
    script.greet(A);
    script.say(A, &new_block(&chain[100]));
    // Headers: 1, 16, 192; bodies: 64, 35.
    assert_eq!(answer(&mut script, A, &chain), 5);
    assert_eq!(script.node.chain.head().hash, chain[100].header.hash);
    let imported = script.node.events.iter().filter(|event| matches!(event, EthEvent::BlockImported { .. }));
    assert_eq!(imported.count(), 100);
}

#[test]
fn an_announced_block_is_had_if_it_does_not_come_by_itself() {
    let chain = branch(2);
    let announcement = |block: &Block| {
        EthMessage::NewBlockHashes(vec![BlockHashNumber {
            hash: block.header.hash,
            number: block.header.number,
        }])
    };
    let mut script = Script::new(EthVersion::Eth68);
    [A, B].into_iter().for_each(|peer| script.greet(peer));
    script.say(A, &announcement(&chain[1]));
    script.say(B, &new_block(&chain[1]));
    script.pass(SECOND);
    assert_eq!(answer(&mut script, A, &chain), 0);
    script.say(A, &announcement(&chain[2]));
    script.pass(SECOND);
    assert_eq!(answer(&mut script, A, &chain), 2);
    assert_eq!(script.node.chain.head().hash, chain[2].header.hash);
}

#[test]
fn e11_a_body_that_is_not_its_headers_is_dropped_and_another_peer_is_asked() {
    let chain = branch(1);
    let announcement =
        EthMessage::NewBlockHashes(vec![BlockHashNumber { hash: chain[1].header.hash, number: 1 }]);
    let mut script = Script::new(EthVersion::Eth68);
    [A, B].into_iter().for_each(|peer| script.greet(peer));
    [A, B].into_iter().for_each(|peer| script.say(peer, &announcement));
    script.pass(SECOND);
    for (code, payload) in script.written(A) {
        let Ok(eth_wire::Incoming::Request { id, .. }) = eth_wire::intake(script.version, code, payload)
        else {
            continue;
        };
        script.say(A, &EthMessage::BlockHeaders { id, headers: vec![chain[1].header.raw.clone()] });
    }
    let asked = script.written_of(A, MessageKind::GetBlockBodies.code()).remove(0);
    let id = rlp::Rlp::new(&asked).val_at(0).unwrap();
    script.say(A, &EthMessage::BlockBodies { id, bodies: vec![chain[0].body()] });
    let fault = script.fault_of(A).map(|(reason, fault)| (reason, fault.reject()));
    assert_eq!(fault, Some((DisconnectReason::SubprotocolError, Reject::UnrequestedItem)));
    assert_eq!(script.node.chain.head().number, 0, "nothing was stored");
    assert!(answer(&mut script, B, &chain) > 0);
    assert_eq!(script.node.chain.head().number, 1);
}

#[test]
fn a_peer_that_withholds_a_parent_is_replaced_by_one_that_has_it() {
    let chain = branch(3);
    let mut script = Script::new(EthVersion::Eth68);
    [A, B].into_iter().for_each(|peer| script.greet(peer));
    [A, B].into_iter().for_each(|peer| script.say(peer, &new_block(&chain[3])));
    script.pass(SECOND * 6);
    assert!(answer(&mut script, B, &chain) > 0, "asked after the first did not answer");
    assert_eq!(script.node.chain.head().number, 3);

    // With nobody left the block is forgotten, so that it can come again.
    let mut script = Script::new(EthVersion::Eth68);
    script.greet(A);
    script.say(A, &new_block(&chain[3]));
    script.pass(SECOND * 6);
    assert_eq!(script.node.eth.holdings().orphans, 0);
    script.say(A, &new_block(&chain[3]));
    assert!(answer(&mut script, A, &chain) > 0);
    assert_eq!(script.node.chain.head().number, 3);
}

#[test]
fn a_heavier_chain_in_status_is_followed_and_a_lighter_one_is_not() {
    let chain = branch(5);
    for (weight, expected) in [(6, 5), (1, 0)] {
        let mut script = Script::new(EthVersion::Eth68);
        script.connect(A);
        let position =
            Position::Head { hash: chain[5].header.hash, total_difficulty: TotalDifficulty(weight) };
        let ours = status(&*script.node.chain).status(EthVersion::Eth68);
        script.say(A, &EthMessage::Status(Status { position, ..ours }));
        answer(&mut script, A, &chain);
        assert_eq!(script.node.chain.head().number, expected);
    }
}

#[test]
fn peers_on_eth_69_are_told_the_range_every_32_blocks_and_no_block() {
    let chain = branch(70);
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    let mut told = Vec::new();
    for block in &chain[1..] {
        script.node.eth.submit_block(script.now, block.clone(), None).unwrap();
        script.node.pump(script.now);
        told.extend(script.written(A));
    }
    let update = |latest: usize| {
        let range = BlockRange { earliest: 0, latest: latest as u64, latest_hash: chain[latest].header.hash };
        (MessageKind::BlockRangeUpdate.code(), EthMessage::BlockRangeUpdate(range).encode())
    };
    assert_eq!(told, [update(32), update(64)]);
    let mut back = script.node.chain.head();
    (back.number, back.hash) = (40, chain[40].header.hash);
    script.node.eth.set_head(script.now, back);
    script.node.pump(script.now);
    assert_eq!(script.written(A), [update(40)], "told when it goes back");
}
