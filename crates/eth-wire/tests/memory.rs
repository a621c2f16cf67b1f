//! What a peer's bytes may cost: heap while they are read, counted by the allocator, and stack.
#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test")]

#[path = "../../../tests/counting/mod.rs"]
mod counting;
mod support;

use bytes::Bytes;
use eth_wire::{
    Address, Announcement, BlockBuilder, BlockHashNumber, EthMessage, EthVersion, Hash, MessageKind,
    TransferRequest,
    config::{MAX_ANNOUNCEMENTS, MAX_ANSWER_ITEMS, MAX_BLOCK_HASHES, MAX_MESSAGE_LEN, MAX_TRANSACTIONS},
    intake, keccak,
};
use identity::Label;
use support::{filled, list, list_header, number, string};

/// What may be allocated beyond twice the message, bytes.
const SLACK: usize = 64 * 1024;

#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting { grows_in_place: false };

/// Reads a message and tells whether it was taken and how much more was allocated meanwhile, at most.
fn cost(version: EthVersion, kind: MessageKind, message: &Bytes) -> (bool, usize) {
    let (message, before) = (message.clone(), counting::held());
    let (read, cost) = counting::cost(|| intake(version, kind.code(), message));
    if let Ok(read) = &read {
        let held = counting::held() - before;
        assert!(held <= read.own_len() as isize, "{kind} holds {held} bytes and says {}", read.own_len());
    }
    (read.is_ok(), cost)
}

fn assert_cheap(version: EthVersion, kind: MessageKind, what: &str, message: &Bytes) -> bool {
    let (taken, cost) = cost(version, kind, message);
    let limit = 2 * message.len() + SLACK;
    assert!(cost <= limit, "{kind}, {what}: {cost} bytes for a message of {} bytes", message.len());
    taken
}

/// `[id, content]`, and deeper lists around it, which the kinds take apart differently.
fn wrappings(content: &Bytes) -> Vec<Bytes> {
    let in_block = list(&[support::genesis().header.raw, content.clone(), list(&[])]);
    vec![
        content.clone(),
        list(&[number(1), content.clone()]),
        list(&[number(1), list(std::slice::from_ref(content))]),
        list(&[number(1), list(&[list(&[content.clone(), list(&[])])])]),
        list(&[number(1), list(&[list(&[list(&[]), list(&[]), content.clone()])])]),
        list(&[string(&[]), content.clone(), list(&[])]),
        list(&[string(&[]), list(&[]), content.clone()]),
        list(&[in_block, number(1)]),
    ]
}

#[test]
fn f13_lists_of_the_smallest_items_cost_no_more_than_twice_the_message() {
    for byte in [0x80, 0xc0, 0x01] {
        // As long as each limit allows, less room for the lists around it, and as many items as are read.
        let most_items = [MAX_TRANSACTIONS, MAX_ANNOUNCEMENTS, MAX_ANSWER_ITEMS];
        let longest = [MAX_MESSAGE_LEN, 1_024 * 1_024, 48 * 1_024, 1_024].map(|limit| limit - 600);
        for count in longest.into_iter().chain(most_items) {
            let messages = wrappings(&filled(byte, count));
            for (version, kind) in every_form() {
                for message in messages.iter().filter(|message| message.len() <= kind.max_len()) {
                    assert_cheap(version, kind, &format!("filled with {byte:#x}"), message);
                }
            }
        }
    }
}

/// Every kind, in both versions where its form differs.
fn every_form() -> Vec<(EthVersion, MessageKind)> {
    let in_68 = MessageKind::ALL.iter().filter(|kind| kind.is_in(EthVersion::Eth68));
    let in_69 = [MessageKind::Status, MessageKind::BlockRangeUpdate];
    let forms = in_68.map(|kind| (EthVersion::Eth68, *kind));
    forms.chain(in_69.map(|kind| (EthVersion::Eth69, kind))).collect()
}

#[test]
fn f13_the_widest_honest_messages_cost_no_more_than_twice_their_length() {
    let (id, empty) = (u64::MAX, list(&[]));
    let small: Vec<Bytes> = (0..MAX_TRANSACTIONS)
        .map(|i| {
            [&[2], &list(&[string(&[keccak(&i.to_be_bytes()).0.as_slice(), &[7; 40]].concat())])[..]]
                .concat()
                .into()
        })
        .collect();
    let header = BlockBuilder::genesis(0).build().header.raw;
    let withdrawals = list(&vec![list(&[number(0), number(0), string(&[0; 20]), number(0)]); 300_000]);
    let body = list(&[list(&vec![string(&small[0]); 100_000]), empty.clone()]);
    let messages = [
        EthMessage::Transactions(small.clone()),
        EthMessage::PooledTransactions { id, transactions: small },
        EthMessage::BlockHeaders { id, headers: vec![header; MAX_ANSWER_ITEMS] },
        EthMessage::BlockBodies { id, bodies: vec![list(&[empty.clone(), empty.clone()]); MAX_ANSWER_ITEMS] },
        EthMessage::BlockBodies { id, bodies: vec![list(&[empty.clone(), empty.clone(), withdrawals])] },
        EthMessage::BlockBodies { id, bodies: vec![body] },
        EthMessage::Receipts { id, receipts: vec![empty; MAX_ANSWER_ITEMS] },
        EthMessage::GetReceipts { id, hashes: vec![Hash([1; 32]); 300_000] },
        EthMessage::NewBlockHashes(vec![
            BlockHashNumber { hash: Hash([1; 32]), number: 0 };
            MAX_BLOCK_HASHES
        ]),
        EthMessage::NewPooledTransactionHashes(vec![
            Announcement { hash: Hash([1; 32]), kind: 2, size: 0 };
            MAX_ANNOUNCEMENTS
        ]),
    ];
    for message in messages {
        let taken = assert_cheap(EthVersion::Eth68, message.kind(), "wide", &message.encode());
        assert!(taken, "{} must be one that is taken", message.kind());
    }
}

#[test]
fn f13_the_longest_transaction_costs_no_more_than_twice_its_length() {
    let mut request = TransferRequest::new(1, 0, Address([1; 20]), 0);
    request.data = vec![7; MAX_MESSAGE_LEN - 600 - 600].into();
    let transaction = request.sign(&support::key(1));
    let block = BlockBuilder::genesis(0).transactions(std::slice::from_ref(&transaction)).build();
    let envelope = transaction.envelope().clone();
    for message in [
        EthMessage::Transactions(vec![envelope]),
        EthMessage::BlockBodies { id: 1, bodies: vec![block.body()] },
        EthMessage::NewBlock { block: block.raw, total_difficulty: Default::default() },
    ] {
        assert!(assert_cheap(EthVersion::Eth68, message.kind(), "one long item", &message.encode()));
    }
}

#[test]
fn e04_an_oversize_message_costs_nothing() {
    for version in EthVersion::ALL {
        for kind in MessageKind::ALL.iter().filter(|kind| kind.is_in(version)) {
            let message = Bytes::from(vec![0xc0; kind.max_len() + 1]);
            assert_eq!(cost(version, *kind, &message), (false, 0), "{kind}");
        }
    }
}

#[test]
fn f14_the_deepest_nesting_is_refused_on_a_small_stack() {
    const STACK: usize = 256 * 1024;
    let bombs = [bomb(40), bomb(20_000), bomb(MAX_MESSAGE_LEN / 4 - 1_000)];
    let thread = std::thread::Builder::new().stack_size(STACK);
    let reader = thread.spawn(move || {
        for content in &bombs {
            let enveloped = list(&[string(&[&[2], &content[..]].concat())]);
            let (bare, hidden) = (wrappings(content), wrappings(&enveloped));
            for (version, kind) in every_form() {
                for message in &bare {
                    assert!(intake(version, kind.code(), message.clone()).is_err(), "{kind}");
                }
                // A string may hold anything where it is no transaction.
                let read = hidden.iter().map(|message| intake(version, kind.code(), message.clone()));
                let taken = read.filter(Result::is_ok).count();
                let may_hold_strings =
                    [MessageKind::Receipts, MessageKind::PooledTransactions].contains(&kind);
                assert!(taken == 0 || may_hold_strings, "{kind}");
            }
        }
    });
    reader.unwrap().join().unwrap();
}

/// `depth` lists, each in the other.
fn bomb(depth: usize) -> Bytes {
    // From the inside out and backwards, so that it takes no time in the square of its length.
    let mut backwards: Vec<u8> = Vec::with_capacity(4 * depth);
    for _ in 0..depth {
        let header = list_header(backwards.len());
        backwards.extend(header.iter().rev());
    }
    backwards.reverse();
    backwards.into()
}
