//! Peers that want too much, take nothing, or come again; and a chain or pool that hangs.

use std::{collections::VecDeque, time::Duration};

use eth_wire::{
    BackendCall, Chain, EthMessage, EthVersion, Hash, HeadersQuery, MessageKind, Reject, Reply, Request,
    RequestError, Status, Transaction,
    machine_config::{
        ANSWER_BYTES_PER_SECOND, BACKEND_PATIENCE, BLOCK_RANGE_STEP, MAX_BACKEND_CALLS_PER_PEER, MAX_OUTBOX,
        MAX_QUEUED_HASHES, MAX_QUEUED_REQUESTS, MAX_SERVE_CALLS, REQUEST_TIMEOUT, SERVE_PATIENCE,
        STRIKES_TO_BE_LAST, VERDICT_INTERVAL,
    },
};
use identity::Prefix;
use rlpx::{PeerId, Verdict};

use crate::net::{CREDIT, Script, genesis, large_transfer, node_id, status, transfer};

const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);
const SECOND: Duration = Duration::from_secs(1);

fn is_paused(script: &Script, peer: PeerId) -> bool {
    script.node.paused.get(&peer).copied().unwrap_or(false)
}

fn push(transactions: &[Transaction]) -> EthMessage {
    EthMessage::Transactions(transactions.iter().map(|transaction| transaction.envelope().clone()).collect())
}

#[test]
fn g11_a_peer_that_reads_nothing_costs_4096_hashes_and_harms_nobody() {
    let mut script = Script::new(EthVersion::Eth69);
    [A, B].into_iter().for_each(|peer| script.greet(peer));
    let (mut to_a, mut to_b) = (0, 0);
    for number in 0..MAX_QUEUED_HASHES as u64 + 2_000 {
        script.node.submit(script.now, &transfer(number));
        // A writes nothing; B everything.
        to_b += script.written(B).len();
        to_a = script
            .node
            .sent
            .iter()
            .filter(|(to, _)| *to == A)
            .map(|(_, message)| message.payload().len())
            .sum();
        script.pass(Duration::from_millis(1));
    }
    assert!(to_a <= CREDIT, "{to_a} bytes are on their way to one that does not read");
    assert!(to_b > 0);
    // What A is told once it reads again.
    let mut told = 0;
    for _ in 0..100 {
        told += script.written(A).len();
        script.pass(SECOND);
    }
    assert!(told > 0 && script.fault_of(A).is_none());
    assert_eq!(script.node.eth.holdings().unsent_len, 0);
}

#[test]
fn e07_one_request_is_served_at_a_time_and_the_peer_is_left_unread_when_four_wait() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    script.node.held = Some(VecDeque::new());
    let get = |id| EthMessage::GetBlockHeaders { id, query: HeadersQuery::from_number(0, 1) };
    for id in 0..=MAX_QUEUED_REQUESTS as u64 {
        assert!(!is_paused(&script, A));
        script.say(A, &get(id));
    }
    assert!(is_paused(&script, A));
    assert_eq!(script.node.held.as_ref().unwrap().len(), 1, "one at a time");
    script.node.release(script.now);
    assert!(!is_paused(&script, A));
    let answers = script.written_of(A, MessageKind::BlockHeaders.code());
    let ids: Vec<u64> = answers.iter().map(|answer| rlp::Rlp::new(answer).val_at(0).unwrap()).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
}

#[test]
fn e07_requests_of_peers_that_come_and_go_while_the_backend_hangs_are_bounded() {
    let mut script = Script::new(EthVersion::Eth69);
    script.node.held = Some(VecDeque::new());
    let get = EthMessage::GetBlockBodies { id: 1, hashes: vec![Hash::ZERO; 2_048] };
    let requests = |script: &Script| {
        let held = script.node.held.as_ref().unwrap();
        held.iter().filter(|(_, call)| matches!(call, BackendCall::Serve(..))).count()
    };
    for number in 0..MAX_SERVE_CALLS as u64 + 100 {
        script.greet(PeerId(number));
        script.say(PeerId(number), &get);
        script.node.eth.handle_disconnected(script.now, PeerId(number));
    }
    assert_eq!(requests(&script), MAX_SERVE_CALLS);
    // What waits is late at some time, and once the backend answers others are served again.
    let late = PeerId(u64::MAX - 1);
    script.greet(late);
    script.say(late, &get);
    script.pass(SERVE_PATIENCE);
    script.node.release(script.now);
    script.greet(PeerId(u64::MAX));
    script.say(PeerId(u64::MAX), &get);
    assert_eq!(script.written_of(PeerId(u64::MAX), MessageKind::BlockBodies.code()).len(), 1);
    assert!(script.written_of(late, MessageKind::BlockBodies.code()).is_empty());
}

/// A peer, and what it knows of: transactions of 2 MiB together.
fn with_much_to_ask_for() -> (Script, Vec<Hash>) {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    let transactions: Vec<Transaction> = (0..20).map(|number| large_transfer(number, 100_000)).collect();
    transactions.iter().for_each(|transaction| _ = script.node.submit(script.now, transaction));
    script.written(A);
    (script, transactions.iter().map(Transaction::hash).collect())
}

#[test]
fn e07_a_peer_that_does_not_take_its_answers_is_served_no_further() {
    let (mut script, hashes) = with_much_to_ask_for();
    for id in 0..7 {
        script.say(A, &EthMessage::GetPooledTransactions { id, hashes: hashes.clone() });
    }
    // The first answer, of 2 MiB, is on its way; a second one waits for room.
    assert_eq!(script.node.sent.len(), 1);
    assert!(is_paused(&script, A));
    assert!(!script.written(A).is_empty());
    assert!(!is_paused(&script, A));
}

#[test]
fn e07_answers_to_one_peer_stay_below_ten_mib_a_second() {
    let (mut script, hashes) = with_much_to_ask_for();
    let (mut served, seconds) = (0, 10);
    for step in 0..seconds * 20 {
        if !is_paused(&script, A) {
            script.say(A, &EthMessage::GetPooledTransactions { id: step, hashes: hashes.clone() });
        }
        served += script.written(A).iter().map(|(_, payload)| payload.len() as u64).sum::<u64>();
        script.pass(SECOND / 20);
    }
    let allowed = ANSWER_BYTES_PER_SECOND * (seconds + 1) + (4 << 20);
    assert!((allowed / 2..=allowed).contains(&served), "{served} bytes in {seconds} s");
}

#[test]
fn g08_a_flood_of_transactions_is_slowed_to_two_thousand_checks_a_second() {
    let mut script = Script::new(EthVersion::Eth69);
    [A, B].into_iter().for_each(|peer| script.greet(peer));
    let (mut number, seconds) = (0, 3);
    for _ in 0..seconds * 100 {
        if !is_paused(&script, A) {
            let flood: Vec<Transaction> = (0..200).map(|at| transfer(number + at)).collect();
            number += 200;
            script.say(A, &push(&flood));
        }
        script.written(A);
        script.written(B);
        script.pass(SECOND / 100);
    }
    let checked = script.node.pool.len() as u64;
    assert!((2_000 * seconds..=2_000 * (seconds + 1) + 400).contains(&checked), "{checked} in {seconds} s");
    assert!(script.fault_of(A).is_none(), "slowed, not dropped");
    assert!(!is_paused(&script, B));
    // What was seen before costs nothing, however often it comes.
    script.pass(SECOND * 2);
    let seen: Vec<Transaction> = (0..200).map(transfer).collect();
    (0..100).for_each(|_| script.say(A, &push(&seen)));
    assert!(!is_paused(&script, A));
}

#[test]
fn g15_a_new_connection_from_the_same_network_is_slowed_at_once() {
    let mut script = Script::new(EthVersion::Eth69);
    let network = |last| Some(Prefix::site([198, 18, last, 1].into()));
    let greet = |script: &mut Script, peer: PeerId, last| {
        let id = node_id(usize::try_from(peer.0).unwrap());
        script.node.eth.handle_connected(script.now, peer, id, EthVersion::Eth69, network(last), CREDIT);
        script.node.pump(script.now);
        let status: Status = status(&*script.node.chain).status(EthVersion::Eth69);
        script.say(peer, &EthMessage::Status(status));
    };
    greet(&mut script, A, 1);
    let flood: Vec<Transaction> = (0..4_900).map(transfer).collect();
    script.say(A, &push(&flood));
    assert!(is_paused(&script, A));
    script.node.eth.handle_disconnected(script.now, A);
    greet(&mut script, B, 1);
    assert!(is_paused(&script, B), "another id from the same network");
    greet(&mut script, PeerId(3), 2);
    assert!(!is_paused(&script, PeerId(3)), "another network");
}

#[test]
fn s15_while_chain_and_pool_hang_messages_go_on_and_requests_are_dropped_in_five_seconds() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    script.node.held = Some(VecDeque::new());
    let get = |id| EthMessage::GetBlockBodies { id, hashes: vec![genesis().header.hash] };
    (0..=MAX_QUEUED_REQUESTS as u64).for_each(|id| script.say(A, &get(id)));
    assert!(is_paused(&script, A));
    // A handshake, a request of ours and its answer need neither.
    script.greet(B);
    assert_eq!(script.node.eth.peer_infos().len(), 2);
    let request = Request::Headers(HeadersQuery::from_number(0, 1));
    let command = script.node.eth.request(script.now, Some(B), request, None).unwrap();
    script.node.pump(script.now);
    let asked = script.written_of(B, MessageKind::GetBlockHeaders.code()).remove(0);
    let id = rlp::Rlp::new(&asked).val_at(0).unwrap();
    script.say(B, &EthMessage::BlockHeaders { id, headers: vec![genesis().header.raw] });
    assert!(matches!(script.node.replies[&command], Reply::Answer(B, _)));
    script.pass(SECOND * 6);
    assert!(!is_paused(&script, A), "what waited was dropped");
    assert_eq!(script.node.eth.counters().rejects.count(Reject::Unserved), 4);
    script.node.release(script.now);
    assert!(script.written_of(A, MessageKind::BlockBodies.code()).is_empty(), "too late to be answered");
    assert_eq!(script.node.eth.counters().rejects.count(Reject::Unserved), 5);
    script.say(A, &get(9));
    assert_eq!(script.written_of(A, MessageKind::BlockBodies.code()).len(), 1);
}

#[test]
fn gossip_waits_for_a_slow_pool_and_is_dropped_when_it_hangs() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    script.node.held = Some(VecDeque::new());
    let mut number = 0;
    while !is_paused(&script, A) {
        script.say(A, &push(&[transfer(number)]));
        number += 1;
    }
    assert_eq!(number, MAX_BACKEND_CALLS_PER_PEER as u64);
    script.node.release(script.now);
    assert!(!is_paused(&script, A));
    assert_eq!(script.node.pool.len() as u64, number, "nothing was lost");
    // Now for good.
    script.node.held = Some(VecDeque::new());
    (100..116).for_each(|number| script.say(A, &push(&[transfer(number)])));
    assert!(is_paused(&script, A));
    script.pass(BACKEND_PATIENCE);
    assert!(!is_paused(&script, A));
    (200..300).for_each(|number| script.say(A, &push(&[transfer(number)])));
    assert_eq!(script.node.eth.counters().rejects.count(Reject::QueueFull), 100);
    assert_eq!(script.node.held.as_ref().unwrap().len(), MAX_BACKEND_CALLS_PER_PEER);
}

#[test]
fn a_failed_call_harms_nothing_and_is_told_to_the_owner() {
    let mut script = Script::new(EthVersion::Eth68);
    script.greet(A);
    script.node.held = Some(VecDeque::new());
    let command = script.node.submit(script.now, &transfer(1));
    script.say(A, &push(&[transfer(2)]));
    script.say(A, &EthMessage::GetBlockBodies { id: 1, hashes: vec![genesis().header.hash] });
    for (ticket, _) in script.node.held.take().unwrap() {
        script.node.eth.handle_backend(script.now, ticket, eth_wire::BackendAnswer::Failed);
    }
    script.node.pump(script.now);
    assert_eq!(script.node.replies[&command], Reply::Failed(RequestError::Backend));
    script.say(A, &push(&[transfer(2)]));
    assert_eq!((script.node.pool.len(), script.node.disconnected.len()), (1, 0));
}

#[test]
fn nothing_is_left_of_peers_that_have_gone() {
    let mut script = Script::new(EthVersion::Eth68);
    for number in 1..=200 {
        let peer = PeerId(number);
        script.greet(peer);
        script.say(peer, &EthMessage::NewPooledTransactionHashes(vec![transfer(number).announcement()]));
        script.say(peer, &EthMessage::GetBlockHeaders { id: 1, query: HeadersQuery::from_number(0, 1) });
        let orphan = eth_wire::BlockHashNumber { hash: Hash([7; 32]), number };
        script.say(peer, &EthMessage::NewBlockHashes(vec![orphan]));
        script.pass(SECOND);
        script.node.eth.handle_disconnected(script.now, peer);
        script.node.pump(script.now);
    }
    assert_eq!(script.node.eth.holdings(), eth_wire::eth::Holdings::default());
    assert_eq!(script.node.eth.next_timeout(), None);
}

#[test]
fn calls_are_answered_in_whatever_order_and_by_the_memory_backends() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    script.node.held = Some(VecDeque::new());
    let commands: Vec<_> = (0..3).map(|number| script.node.submit(script.now, &transfer(number))).collect();
    let mut held = script.node.held.take().unwrap();
    assert!(held.iter().all(|(_, call)| matches!(call, BackendCall::Insert(_))));
    while let Some((ticket, call)) = held.pop_back() {
        let answer = call.run(&*script.node.chain, &*script.node.pool);
        script.node.eth.handle_backend(script.now, ticket, answer.clone());
        script.node.eth.handle_backend(script.now, ticket, answer);
    }
    script.node.pump(script.now);
    assert!(commands.iter().all(|command| script.node.replies.contains_key(command)));
    assert_eq!(script.node.chain.head().number, 0);
}

/// The connection to a peer has no memory for the last message that was put out.
fn refuse_last(script: &mut Script, peer: PeerId) -> u64 {
    let (to, message) = script.node.sent.pop_back().expect("something was put out");
    assert_eq!(to, peer);
    script.node.eth.handle_unsent(script.now, peer, &message);
    script.node.pump(script.now);
    message.code()
}

fn give_room(script: &mut Script, peer: PeerId) {
    script.node.eth.handle_room(script.now, peer);
    script.node.pump(script.now);
}

#[test]
fn p13_an_answer_without_memory_waits_as_its_request_and_goes_when_there_is_room() {
    let mut script = Script::new(EthVersion::Eth69);
    [A, B].into_iter().for_each(|peer| script.greet(peer));
    script.written(A);
    let get = |id| EthMessage::GetBlockHeaders { id, query: HeadersQuery::from_number(0, 1) };
    script.say(A, &get(7));
    assert_eq!(refuse_last(&mut script, A), MessageKind::BlockHeaders.code());
    // Neither what waits nor what comes goes out before there is room; others are served.
    script.say(A, &get(8));
    script.say(B, &get(9));
    assert!(script.written(A).is_empty());
    assert_eq!(script.written_of(B, MessageKind::BlockHeaders.code()).len(), 1);
    assert_eq!(script.node.eth.holdings().unsent_len, 0, "no bytes are kept for it");
    script.pass(SERVE_PATIENCE - SECOND);
    give_room(&mut script, A);
    let answers = script.written_of(A, MessageKind::BlockHeaders.code());
    let ids: Vec<u64> = answers.iter().map(|answer| rlp::Rlp::new(answer).val_at(0).unwrap()).collect();
    assert_eq!(ids, [7, 8]);
    assert_eq!(script.fault_of(A), None);
    assert_eq!(script.node.eth.counters().rejects.count(Reject::MemoryShort), 1);
}

#[test]
fn p13_a_request_that_finds_no_memory_is_let_go_at_its_deadline_and_its_peer_stays() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    script.written(A);
    let get = |id| EthMessage::GetBlockHeaders { id, query: HeadersQuery::from_number(0, 1) };
    for id in 0..MAX_QUEUED_REQUESTS as u64 {
        script.say(A, &get(id));
    }
    // All four were answered; memory was short for the last one, and then a fifth comes.
    refuse_last(&mut script, A);
    script.say(A, &get(4));
    script.pass(SERVE_PATIENCE + SECOND);
    assert_eq!(script.node.eth.counters().rejects.count(Reject::Unserved), 2);
    assert!(!is_paused(&script, A) && script.fault_of(A).is_none());
    script.written(A);
    give_room(&mut script, A);
    assert!(script.written(A).is_empty());
    script.say(A, &get(5));
    assert_eq!(script.written_of(A, MessageKind::BlockHeaders.code()).len(), 1);
}

#[test]
fn p13_gossip_without_memory_is_announced_when_there_is_room() {
    let mut script = Script::new(EthVersion::Eth69);
    [A, B].into_iter().for_each(|peer| script.greet(peer));
    [A, B].into_iter().for_each(|peer| _ = script.written(peer));
    // The square root of two, rounded up: both get it in full.
    let mut hashes = vec![transfer(1)];
    script.node.submit(script.now, &hashes[0]);
    let to_b = script.node.sent.iter().position(|(to, _)| *to == B).unwrap();
    let of_b = script.node.sent.remove(to_b).unwrap();
    script.node.sent.push_back(of_b);
    assert_eq!(refuse_last(&mut script, B), MessageKind::Transactions.code());
    // What is new meanwhile waits as well.
    for number in 2..5 {
        hashes.push(transfer(number));
        script.node.submit(script.now, &transfer(number));
        script.pass(SECOND);
    }
    assert!(script.written(B).is_empty() && !script.written(A).is_empty());
    give_room(&mut script, B);
    script.pass(SECOND);
    let told = script.written(B);
    let announced = told.iter().filter(|(code, _)| *code == MessageKind::NewPooledTransactionHashes.code());
    let announced: Vec<u8> = announced.flat_map(|(_, payload)| payload.to_vec()).collect();
    let hash = hashes[0].hash();
    assert!(announced.windows(32).any(|window| window == hash.0), "the refused one is announced");
    let full = told.iter().filter(|(code, _)| *code == MessageKind::Transactions.code());
    let full: Vec<u8> = full.flat_map(|(_, payload)| payload.to_vec()).collect();
    let whole = |transaction: &Transaction| {
        let envelope = transaction.envelope();
        full.windows(envelope.len()).any(|window| window == &envelope[..])
    };
    assert!(hashes[1..].iter().all(whole) && !whole(&hashes[0]));
    assert_eq!(script.fault_of(B), None);
}

#[test]
fn p13_what_comes_back_for_want_of_memory_and_what_is_new_wait_in_one_bounded_queue() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    let mut tell = {
        let mut head = script.node.chain.head();
        move |script: &mut Script| {
            head.number += BLOCK_RANGE_STEP;
            script.node.eth.set_head(script.now, head);
            script.node.pump(script.now);
        }
    };
    let in_flight = MAX_OUTBOX - 4;
    (0..in_flight).for_each(|_| tell(&mut script));
    assert_eq!(script.node.sent.len(), in_flight);
    refuse_last(&mut script, A);
    (0..MAX_OUTBOX).for_each(|_| tell(&mut script));
    (1..in_flight)
        .for_each(|_| assert_eq!(refuse_last(&mut script, A), MessageKind::BlockRangeUpdate.code()));
    let rejects = script.node.eth.counters().rejects;
    assert_eq!(rejects.count(Reject::MemoryShort), in_flight as u64);
    assert_eq!(rejects.count(Reject::QueueFull), in_flight as u64 - 1);
    give_room(&mut script, A);
    assert_eq!(script.written(A).len(), MAX_OUTBOX);
    assert_eq!((script.fault_of(A), script.node.eth.holdings().unsent_len), (None, 0));
}

#[test]
fn s02_who_delivers_first_is_praised_once_in_a_while_and_who_delivers_nothing_new_is_not() {
    let mut script = Script::new(EthVersion::Eth69);
    [A, B].into_iter().for_each(|peer| script.greet(peer));
    for number in 0..10 {
        script.say(A, &push(&[transfer(number)]));
        script.say(B, &push(&[transfer(number)]));
    }
    assert_eq!(script.node.reports, [(A, Verdict::Good)]);
    script.pass(VERDICT_INTERVAL);
    script.say(A, &push(&[transfer(10)]));
    assert_eq!(script.node.reports, [(A, Verdict::Good); 2]);
}

#[test]
fn s02_who_floods_or_never_answers_is_blamed_and_stays() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    let range = EthMessage::BlockRangeUpdate(script.node.chain.head().range());
    (0..5).for_each(|_| script.say(A, &range));
    assert_eq!(script.node.reports, [(A, Verdict::Useless)]);
    script.pass(VERDICT_INTERVAL);
    let ask = Request::Headers(HeadersQuery::from_number(0, 1));
    for _ in 0..STRIKES_TO_BE_LAST {
        script.node.eth.request(script.now, Some(A), ask.clone(), None).unwrap();
        script.node.pump(script.now);
        script.pass(REQUEST_TIMEOUT + SECOND);
    }
    assert_eq!(script.node.reports, [(A, Verdict::Useless); 2]);
    assert_eq!(script.fault_of(A), None);
}
