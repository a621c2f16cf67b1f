//! What peers may not do, and what follows: the rows of the handshake, of requests and of transactions.

use std::time::Duration;

use bytes::Bytes;
use eth_wire::{
    Answer, Block, BlockHashNumber, BlockRange, Chain, EthEvent, EthMessage, EthVersion, ForkId, Hash,
    HeadersQuery, MessageKind, Pool, Position, Reject, Reply, Request, RequestError, Status, TotalDifficulty,
};
use rlpx::{DisconnectReason, PeerId};

use crate::net::{GENESIS_TIME, Script, genesis, status, transfer};

const A: PeerId = PeerId(1);
const B: PeerId = PeerId(2);
const SECOND: Duration = Duration::from_secs(1);
const EARLY: Duration = Duration::from_millis(4_999);

fn own_status(script: &Script) -> Status {
    status(&*script.node.chain).status(script.version)
}

/// The peer was disconnected with this reason for this, and nothing else happened to anybody.
fn refused(script: &Script, reason: DisconnectReason, reject: Reject) {
    let fault = script.fault_of(A).unwrap_or_else(|| panic!("still connected, though {reject:?}"));
    assert_eq!((fault.0, fault.1.reject()), (reason, reject), "{}", fault.1);
    assert_eq!(script.node.eth.counters().rejects.count(reject), 1);
    assert_eq!(script.node.disconnected.len(), 1);
}

#[test]
fn e01_status_must_come_within_five_seconds() {
    let mut script = Script::new(EthVersion::Eth68);
    script.connect(A);
    assert_eq!(script.written_of(A, 0), [own_status(&script).encode()], "ours goes out at once");
    script.pass(EARLY);
    assert!(script.fault_of(A).is_none());
    script.pass(Duration::from_millis(1));
    refused(&script, DisconnectReason::ReadTimeout, Reject::StatusTimeout);
    assert!(matches!(script.node.events[..], [EthEvent::PeerRefused { peer: A, .. }]));
}

#[test]
fn e01_status_comes_first_and_once() {
    let mut script = Script::new(EthVersion::Eth68);
    script.connect(A);
    script.written(A);
    script.say(A, &EthMessage::Transactions(vec![transfer(1).envelope().clone()]));
    refused(&script, DisconnectReason::SubprotocolError, Reject::UnexpectedStatus);
    assert!(script.node.pool.is_empty());

    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    let again = EthMessage::Status(own_status(&script));
    script.say(A, &again);
    refused(&script, DisconnectReason::SubprotocolError, Reject::UnexpectedStatus);
    assert!(matches!(script.node.events.last(), Some(EthEvent::PeerGone { peer: A, fault: Some(_) })));
}

#[test]
fn e02_a_status_that_does_not_fit_is_refused_by_the_first_rule_it_breaks() {
    let other = Hash([9; 32]);
    let fork_id = ForkId { hash: [1, 2, 3, 4], next: 0 };
    for version in EthVersion::ALL {
        let fits = own_status(&Script::new(version));
        let all = Status { network_id: 7, version: 70, genesis: other, fork_id, ..fits };
        let rows = [
            (all, Reject::NetworkId),
            (Status { network_id: fits.network_id, ..all }, Reject::Version),
            (Status { network_id: fits.network_id, version: fits.version, ..all }, Reject::Genesis),
            (Status { fork_id, ..fits }, Reject::ForkId),
            (Status { fork_id: ForkId { next: GENESIS_TIME, ..fits.fork_id }, ..fits }, Reject::ForkId),
        ];
        for (status, reject) in rows {
            let mut script = Script::new(version);
            script.connect(A);
            script.written(A);
            script.say(A, &EthMessage::Status(status));
            refused(&script, DisconnectReason::SubprotocolError, reject);
            let said = matches!(script.node.events[..], [EthEvent::PeerRefused { fault, .. }] if fault.reject() == reject);
            assert!(said, "{:?}", script.node.events);
        }
        let mut script = Script::new(version);
        script.connect(A);
        let next = ForkId { next: u64::MAX, ..fits.fork_id };
        script.say(A, &EthMessage::Status(Status { fork_id: next, ..fits }));
        assert!(
            script.fault_of(A).is_none(),
            "a fork that we do not know of is none of our business before it comes"
        );
    }
}

#[test]
fn e02_a_refused_peer_gets_our_status_first_if_it_takes_it() {
    let refused_by = |takes: bool| {
        let mut script = Script::new(EthVersion::Eth69);
        script.connect(A);
        let status = Status { network_id: 7, ..own_status(&script) };
        script.say(A, &EthMessage::Status(status));
        let said = matches!(script.node.events[..], [EthEvent::PeerRefused { .. }]);
        assert!(said && script.fault_of(A).is_none(), "our Status is on its way");
        script.say(A, &EthMessage::Transactions(vec![transfer(1).envelope().clone()]));
        assert!(script.node.pool.is_empty());
        if takes {
            assert_eq!(script.written(A).len(), 1);
        } else {
            script.pass(SECOND);
        }
        refused(&script, DisconnectReason::SubprotocolError, Reject::NetworkId);
        assert_eq!(script.node.eth.holdings().peers, 0);
    };
    [true, false].into_iter().for_each(refused_by);
}

#[test]
fn e03_a_range_that_cannot_be_is_refused_and_a_flood_of_ranges_is_not_acted_on() {
    let range = |earliest, latest, byte| BlockRange { earliest, latest, latest_hash: Hash([byte; 32]) };
    for bad in [range(2, 1, 1), range(0, 1, 0)] {
        let mut script = Script::new(EthVersion::Eth69);
        script.connect(A);
        script.written(A);
        let status = Status { position: Position::Range(bad), ..own_status(&script) };
        script.say(A, &EthMessage::Status(status));
        refused(&script, DisconnectReason::SubprotocolError, Reject::InvalidRange);
        let mut script = Script::new(EthVersion::Eth69);
        script.greet(A);
        script.say(A, &EthMessage::BlockRangeUpdate(bad));
        refused(&script, DisconnectReason::SubprotocolError, Reject::InvalidRange);
    }
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    for latest in 0..100 {
        script.say(A, &EthMessage::BlockRangeUpdate(range(0, latest, 1)));
        script.pass(SECOND / 2);
    }
    let acted =
        script.node.events.iter().filter(|event| matches!(event, EthEvent::RangeUpdated { .. })).count();
    assert_eq!(acted, 5, "50 s of updates");
    assert_eq!(script.node.eth.counters().rejects.count(Reject::RangeFlood), 95);
}

#[test]
fn e08_every_request_id_is_echoed() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    for id in [0, 0, 1, 1, u64::MAX] {
        script.say(A, &EthMessage::GetBlockHeaders { id, query: HeadersQuery::from_number(0, 1) });
        let expected = EthMessage::BlockHeaders { id, headers: vec![genesis().header.raw] };
        assert_eq!(script.written_of(A, MessageKind::BlockHeaders.code()), [expected.encode()]);
    }
    // A request whose id has nine bytes.
    script.say_raw(
        A,
        MessageKind::GetBlockBodies.code(),
        Bytes::from_static(&[0xcb, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0]),
    );
    refused(&script, DisconnectReason::ProtocolError, Reject::Malformed);
}

#[test]
fn e09_an_answer_to_nothing_is_refused() {
    for version in EthVersion::ALL {
        for answer in [
            EthMessage::BlockHeaders { id: 1, headers: Vec::new() },
            EthMessage::BlockBodies { id: 1, bodies: Vec::new() },
            EthMessage::PooledTransactions { id: 1, transactions: Vec::new() },
            EthMessage::Receipts { id: 1, receipts: Vec::new() },
        ] {
            let mut script = Script::new(version);
            script.greet(A);
            script.say(A, &answer);
            refused(&script, DisconnectReason::SubprotocolError, Reject::UnknownAnswer);
        }
    }
}

/// Asks `peer` for two headers and gives the id of the request.
fn asked(script: &mut Script, peer: PeerId) -> (eth_wire::CommandId, u64) {
    let request = Request::Headers(HeadersQuery::from_number(0, 2));
    let command = script.node.eth.request(script.now, Some(peer), request, None).unwrap();
    script.node.pump(script.now);
    let message = script.written_of(peer, MessageKind::GetBlockHeaders.code()).remove(0);
    (command, rlp::Rlp::new(&message).val_at(0).unwrap())
}

#[test]
fn e09_an_answer_of_another_kind_or_peer_is_refused_and_a_late_one_is_not() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    let (command, id) = asked(&mut script, A);
    script.say(A, &EthMessage::BlockBodies { id, bodies: Vec::new() });
    refused(&script, DisconnectReason::SubprotocolError, Reject::WrongAnswer);
    assert_eq!(script.node.replies[&command], Reply::Failed(RequestError::PeerGone));

    let mut script = Script::new(EthVersion::Eth69);
    [A, B].into_iter().for_each(|peer| script.greet(peer));
    let (_, id) = asked(&mut script, B);
    script.say(A, &EthMessage::BlockHeaders { id, headers: Vec::new() });
    refused(&script, DisconnectReason::SubprotocolError, Reject::UnknownAnswer);

    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    let (command, id) = asked(&mut script, A);
    script.pass(EARLY);
    assert!(!script.node.replies.contains_key(&command));
    script.pass(SECOND);
    assert_eq!(script.node.replies[&command], Reply::Failed(RequestError::TimedOut));
    script.pass(SECOND * 290);
    let late = EthMessage::BlockHeaders { id, headers: vec![genesis().header.raw] };
    script.say(A, &late);
    assert!(script.fault_of(A).is_none());
    assert_eq!(script.node.eth.counters().rejects.count(Reject::LateAnswer), 1);
    script.say(A, &late);
    refused(&script, DisconnectReason::SubprotocolError, Reject::UnknownAnswer);
}

#[test]
fn e10_more_items_than_asked_for_are_refused() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    let (command, id) = asked(&mut script, A);
    script.say(A, &EthMessage::BlockHeaders { id, headers: vec![genesis().header.raw; 3] });
    refused(&script, DisconnectReason::SubprotocolError, Reject::TooManyItems);
    assert_eq!(script.node.replies[&command], Reply::Failed(RequestError::PeerGone));
}

#[test]
fn e10_a_peer_with_three_empty_answers_is_asked_last() {
    let mut script = Script::new(EthVersion::Eth69);
    [A, B].into_iter().for_each(|peer| script.greet(peer));
    let get = MessageKind::GetBlockHeaders.code();
    let mut order = Vec::new();
    for _ in 0..6 {
        let request = Request::Headers(HeadersQuery::from_number(0, 1));
        script.node.eth.request(script.now, None, request, None).unwrap();
        script.node.pump(script.now);
        for peer in [A, B] {
            for message in script.written_of(peer, get) {
                order.push(peer);
                let id = rlp::Rlp::new(&message).val_at(0).unwrap();
                let headers = if peer == A { Vec::new() } else { vec![genesis().header.raw] };
                script.say(peer, &EthMessage::BlockHeaders { id, headers });
            }
        }
    }
    assert_eq!(order, [A, A, A, B, B, B]);
}

#[test]
fn e11_headers_that_were_not_asked_for_are_refused_and_the_owner_gets_none_of_them() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    let (command, id) = asked(&mut script, A);
    let stranger = eth_wire::BlockBuilder::genesis(5).build();
    script.say(A, &EthMessage::BlockHeaders { id, headers: vec![genesis().header.raw, stranger.header.raw] });
    refused(&script, DisconnectReason::SubprotocolError, Reject::UnrequestedItem);
    assert_eq!(script.node.replies[&command], Reply::Failed(RequestError::WrongAnswer));
}

#[test]
fn owners_get_what_they_asked_for_and_no_more_after_they_have_cancelled() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    let (command, id) = asked(&mut script, A);
    let (cancelled, cancelled_id) = asked(&mut script, A);
    script.node.eth.cancel(script.now, cancelled);
    let headers = vec![genesis().header.raw];
    script.say(A, &EthMessage::BlockHeaders { id, headers: headers.clone() });
    script.say(A, &EthMessage::BlockHeaders { id: cancelled_id, headers });
    assert_eq!(script.node.replies[&command], Reply::Answer(A, Answer::Headers(vec![genesis().header])));
    assert!(!script.node.replies.contains_key(&cancelled) && script.fault_of(A).is_none());
    let none = script.node.eth.request(script.now, Some(B), Request::Bodies(vec![Hash::ZERO]), None);
    assert_eq!(none, Err(RequestError::NoPeer));
    for count in [0, 1_025] {
        let request = Request::Bodies(vec![Hash::ZERO; count]);
        assert_eq!(script.node.eth.request(script.now, Some(A), request, None), Err(RequestError::Size));
    }
}

#[test]
fn e13_messages_of_the_other_version_are_refused() {
    let hash = genesis().header.hash;
    let total_difficulty = TotalDifficulty(1);
    let rows = [
        (EthVersion::Eth69, EthMessage::NewBlock { block: genesis().raw, total_difficulty }),
        (EthVersion::Eth69, EthMessage::NewBlockHashes(vec![BlockHashNumber { hash, number: 0 }])),
        (
            EthVersion::Eth68,
            EthMessage::BlockRangeUpdate(BlockRange { earliest: 0, latest: 0, latest_hash: hash }),
        ),
    ];
    for (version, message) in rows {
        let mut script = Script::new(version);
        script.greet(A);
        script.say(A, &message);
        refused(&script, DisconnectReason::SubprotocolError, Reject::UnknownCode);
    }
}

/// Announces three transactions and waits until they are asked for. Gives the id of the request.
fn announced(script: &mut Script) -> u64 {
    let items = (0..3).map(|number| transfer(number).announcement()).collect();
    script.say(A, &EthMessage::NewPooledTransactionHashes(items));
    script.pass(SECOND);
    let message = script.written_of(A, MessageKind::GetPooledTransactions.code()).remove(0);
    rlp::Rlp::new(&message).val_at(0).unwrap()
}

#[test]
fn g06_unrequested_or_repeated_transactions_are_refused_and_none_enters_the_pool() {
    let envelope = |number| transfer(number).envelope().clone();
    let rows = [
        (vec![envelope(0), envelope(9)], Reject::UnrequestedItem),
        (vec![envelope(9)], Reject::UnrequestedItem),
        (vec![envelope(0), envelope(1), envelope(0)], Reject::DuplicateTransaction),
        (vec![envelope(0), envelope(1), envelope(2), envelope(3)], Reject::TooManyItems),
    ];
    for (transactions, reject) in rows {
        let mut script = Script::new(EthVersion::Eth69);
        script.greet(A);
        let id = announced(&mut script);
        script.say(A, &EthMessage::PooledTransactions { id, transactions });
        refused(&script, DisconnectReason::SubprotocolError, reject);
        assert!(script.node.pool.is_empty());
    }
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    let id = announced(&mut script);
    script.say(A, &EthMessage::PooledTransactions { id, transactions: vec![envelope(2), envelope(0)] });
    assert!(script.fault_of(A).is_none(), "another order, or fewer, is no breach");
    assert_eq!(script.node.pool.len(), 2);
}

#[test]
fn g04_a_transaction_that_is_not_as_announced_ends_the_announcers_connection() {
    let honest = transfer(1).announcement();
    let rows = [
        (eth_wire::Announcement { size: honest.size + 9, ..honest }, true),
        (eth_wire::Announcement { size: honest.size + 8, ..honest }, false),
        (eth_wire::Announcement { kind: 1, ..honest }, true),
    ];
    for (announcement, is_breach) in rows {
        let mut script = Script::new(EthVersion::Eth69);
        [A, B].into_iter().for_each(|peer| script.greet(peer));
        script.say(A, &EthMessage::NewPooledTransactionHashes(vec![announcement]));
        script.say(B, &EthMessage::Transactions(vec![transfer(1).envelope().clone()]));
        assert_eq!(script.fault_of(A).is_some(), is_breach, "{announcement:?}");
        assert!(script.fault_of(B).is_none() && script.node.pool.contains(&honest.hash));
    }
}

#[test]
fn g07_an_empty_message_of_transactions_is_ignored() {
    let mut script = Script::new(EthVersion::Eth69);
    script.greet(A);
    script.say(A, &EthMessage::Transactions(Vec::new()));
    assert!(script.node.disconnected.is_empty() && script.node.pool.is_empty());
}

#[test]
fn a_bad_block_ends_the_connection_and_a_good_copy_is_had_from_another() {
    let mut script = Script::new(EthVersion::Eth68);
    [A, B].into_iter().for_each(|peer| script.greet(peer));
    let parent = genesis().header;
    let good = eth_wire::BlockBuilder::child_of(&parent, 0).transactions(&[transfer(1)]).build();
    // The header of the good block with the body of another.
    let forged = Block::assemble(&good.header.raw, &genesis().body()).unwrap();
    let total_difficulty = TotalDifficulty(2);
    script.say(A, &EthMessage::NewBlock { block: forged.raw, total_difficulty });
    refused(&script, DisconnectReason::SubprotocolError, Reject::BadBlock);
    script.say(B, &EthMessage::NewBlock { block: good.raw.clone(), total_difficulty });
    assert_eq!(script.node.chain.head().hash, good.header.hash);
}
