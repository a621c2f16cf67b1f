//! Seeds of the eth capability: the messages of EIP-2481's test cases, every kind in either version as our encoders write
//! it, answers to what the machine asked, and stories with a slow chain and a full link.

use bytes::Bytes;
use eth_wire::{
    Announcement, BlockHashNumber, BlockRange, EthMessage, EthVersion, Hash, HeadersQuery, MessageKind,
    Origin, Position, TotalDifficulty,
};
use hostile::eth::{
    ANSWER, ASK, ETH_68, HOLD, MESSAGE, OTHER, STALL, SUBMIT, UNGREETED, WAIT, block, genesis, our_status,
    transfer,
};

use identity::Label;

use super::{Seed, file_name, json, seed, sized, unhex};

/// An id that nobody has given a request.
const ID: u64 = 1_111;
/// The argument of `ASK` for each kind of request.
const HEADERS: u8 = 0;
const BODIES: u8 = 1;
const TRANSACTIONS: u8 = 2;
const RECEIPTS: u8 = 3;

pub(super) fn seeds() -> Vec<Seed> {
    [vectors(), kinds(), statuses(), answers(), faults(), stories()].into_iter().flatten().collect()
}

/// EIP-2481, "Test Cases". Their receipts are in the form of eth/68.
fn vectors() -> Vec<Seed> {
    let vectors = json(include_str!("../../../crates/eth-wire/tests/vectors/eip2481.json"));
    let messages = vectors["messages"].as_object().expect("messages by name").iter();
    messages
        .map(|(name, payload)| {
            let kind = name.split(' ').next().unwrap_or_default();
            let kind = MessageKind::ALL.iter().find(|known| known.to_string() == kind).expect("a known kind");
            let step = step(kind.code(), &unhex(payload));
            seed(format!("eip2481_{}", file_name(name)), &[&[ETH_68], &step])
        })
        .collect()
}

/// Every kind; in eth/68 those that eth/69 has not, or not in the same form.
fn kinds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for version in EthVersion::ALL {
        for message in samples(version) {
            let kind = message.kind();
            let is_same = version != EthVersion::Eth69 && kind.is_in(EthVersion::Eth69);
            if kind.is_in(version) && (!is_same || kind == MessageKind::Receipts) {
                let name = format!("eth{}_{}", version.number(), kind.label());
                seeds.push(seed(name, &[&[flags(version)], &send(&message)]));
            }
        }
    }
    seeds
}

const fn flags(version: EthVersion) -> u8 {
    match version {
        EthVersion::Eth68 => ETH_68,
        EthVersion::Eth69 => 0,
    }
}

fn samples(version: EthVersion) -> Vec<EthMessage> {
    let hashes = || vec![block(1).header.hash, block(2).header.hash];
    let query = HeadersQuery { origin: Origin::Number(1), limit: 3, skip: 0, reverse: false };
    let envelopes = || [1, 2].map(|nonce| transfer(nonce).envelope().clone()).to_vec();
    let next = block(u64::MAX);
    vec![
        EthMessage::NewBlockHashes(vec![BlockHashNumber { hash: next.header.hash, number: 4 }]),
        EthMessage::Transactions(envelopes()),
        EthMessage::GetBlockHeaders { id: ID, query },
        EthMessage::BlockHeaders { id: ID, headers: headers() },
        EthMessage::GetBlockBodies { id: ID, hashes: hashes() },
        EthMessage::BlockBodies { id: ID, bodies: bodies() },
        EthMessage::NewBlock { block: next.raw, total_difficulty: TotalDifficulty(5) },
        EthMessage::NewPooledTransactionHashes([1, 2].map(|nonce| transfer(nonce).announcement()).to_vec()),
        EthMessage::GetPooledTransactions { id: ID, hashes: [1, 2].map(|n| transfer(n).hash()).to_vec() },
        EthMessage::PooledTransactions { id: ID, transactions: envelopes() },
        EthMessage::GetReceipts { id: ID, hashes: hashes() },
        EthMessage::Receipts { id: ID, receipts: receipts(version) },
        EthMessage::BlockRangeUpdate(BlockRange {
            earliest: 0,
            latest: 3,
            latest_hash: block(3).header.hash,
        }),
    ]
}

fn headers() -> Vec<Bytes> {
    [1, 2].map(|number| block(number).header.raw).to_vec()
}

fn bodies() -> Vec<Bytes> {
    [1, 2].map(|number| block(number).body()).to_vec()
}

/// The receipt of one transfer, in the list of a block: `[status, gas, bloom, logs]` behind the kind, or without bloom in
/// a list with the kind (EIP-7642).
fn receipts(version: EthVersion) -> Vec<Bytes> {
    let (kind, status, gas) = (2_u8, 1_u8, 21_000_u32);
    let mut list = rlp::RlpStream::new_list(1);
    match version {
        EthVersion::Eth68 => {
            let mut receipt = rlp::RlpStream::new_list(4);
            receipt.append(&status).append(&gas).append(&[0_u8; 256].as_slice()).begin_list(0);
            list.append(&[&[kind][..], &receipt.out()].concat());
        }
        EthVersion::Eth69 => {
            list.begin_list(4).append(&kind).append(&status).append(&gas).begin_list(0);
        }
    }
    vec![list.out().freeze()]
}

fn statuses() -> Vec<Seed> {
    let mut seeds = Vec::new();
    for version in EthVersion::ALL {
        let (number, flags) = (version.number(), [flags(version) | UNGREETED]);
        let ours = our_status(version);
        let other = eth_wire::Status { genesis: Hash([9; 32]), ..ours };
        let position = match ours.position {
            Position::Head { hash, .. } => {
                Position::Head { hash, total_difficulty: TotalDifficulty(u128::MAX) }
            }
            Position::Range(range) => Position::Range(BlockRange { earliest: 9, ..range }),
        };
        let odd = eth_wire::Status { position, ..ours };
        let named = |about: &str| format!("eth{number}_status_{about}");
        let said = send(&EthMessage::Status(ours));
        seeds.extend([
            seed(named("fits"), &[&flags, &said]),
            seed(named("twice"), &[&flags, &said, &said]),
            seed(named("of_another_chain"), &[&flags, &send(&EthMessage::Status(other))]),
            seed(named("of_odd_position"), &[&flags, &send(&EthMessage::Status(odd))]),
            seed(named("never"), &[&flags, &[WAIT, 200]]),
        ]);
    }
    seeds
}

/// What the machine asked is answered: the content alone, the target writes the id.
fn answers() -> Vec<Seed> {
    let answer = |message: &EthMessage| {
        let payload = message.encode();
        let content = rlp::Rlp::new(&payload).at(1).expect("an id and a content").as_raw().to_vec();
        [&[ANSWER, message.code() as u8][..], &sized(&content)].concat()
    };
    let headers = answer(&EthMessage::BlockHeaders { id: ID, headers: headers() });
    let bodies = answer(&EthMessage::BlockBodies { id: ID, bodies: bodies() });
    let transactions = [1, 2].map(|nonce| transfer(nonce).envelope().clone()).to_vec();
    let pooled = answer(&EthMessage::PooledTransactions { id: ID, transactions });
    let receipts = |version| answer(&EthMessage::Receipts { id: ID, receipts: receipts(version) });
    let none = answer(&EthMessage::BlockBodies { id: ID, bodies: Vec::new() });
    let announced = [1, 2].map(|nonce| transfer(nonce).announcement()).to_vec();
    let misannounced = vec![announced[0], Announcement { size: 9, ..announced[1] }];
    let fetch = |announced| [&announce(announced)[..], &[WAIT, 20], &pooled].concat();
    let hashes =
        EthMessage::NewBlockHashes(vec![BlockHashNumber { hash: block(u64::MAX).header.hash, number: 4 }]);
    let next = block(u64::MAX);
    let next_header = answer(&EthMessage::BlockHeaders { id: ID, headers: vec![next.header.raw.clone()] });
    let next_body = answer(&EthMessage::BlockBodies { id: ID, bodies: vec![next.body()] });
    vec![
        seed("answer_headers", &[&[0], &[ASK, HEADERS], &headers]),
        seed("answer_bodies", &[&[0], &[ASK, BODIES], &bodies]),
        seed("answer_transactions", &[&[0], &[ASK, TRANSACTIONS], &pooled]),
        seed("answer_receipts_eth69", &[&[0], &[ASK, RECEIPTS], &receipts(EthVersion::Eth69)]),
        seed("answer_receipts_eth68", &[&[ETH_68], &[ASK, RECEIPTS], &receipts(EthVersion::Eth68)]),
        seed("answer_of_another_kind", &[&[0], &[ASK, HEADERS], &bodies]),
        seed("answer_with_nothing", &[&[0], &[ASK, BODIES], &none]),
        seed("answer_to_fetch_of_announced", &[&[0], &fetch(announced)]),
        seed("answer_to_fetch_of_misannounced", &[&[0], &fetch(misannounced)]),
        seed("answer_to_fetch_of_block", &[&[ETH_68], &send(&hashes), &[WAIT, 20], &next_header, &next_body]),
    ]
}

fn faults() -> Vec<Seed> {
    let blob_kind = [0x83, 3, 0xc1, 0x80];
    let odd = transfer(1).announcement();
    vec![
        seed("fault_unknown_code", &[&[0], &step(0x0d, &[0xc0])]),
        seed("fault_code_of_the_other_version", &[&[0], &step(0x07, &[0xc0])]),
        seed("fault_no_rlp", &[&[0], &step(0x02, &[0xf8])]),
        seed("fault_transaction_that_is_none", &[&[0], &step(0x02, &[&[0xc4][..], &blob_kind].concat())]),
        seed(
            "fault_same_transaction_twice",
            &[&[0], &send(&EthMessage::Transactions(vec![transfer(1).envelope().clone(); 2]))],
        ),
        seed("announced_size_0", &[&[0], &announce(vec![Announcement { size: 0, ..odd }])]),
        seed("announced_unknown_kind", &[&[0], &announce(vec![Announcement { kind: 9, ..odd }])]),
    ]
}

/// The owner commands, the link is full, chain and pool are slow, the other peer leaves.
fn stories() -> Vec<Seed> {
    let transactions = send(&EthMessage::Transactions(vec![transfer(5).envelope().clone()]));
    let query = EthMessage::GetBlockHeaders { id: ID, query: HeadersQuery::from_number(0, 4) };
    let [next, by_hash] = [block(u64::MAX), genesis().clone()];
    let new_block = send(&EthMessage::NewBlock { block: next.raw, total_difficulty: TotalDifficulty(5) });
    let of_hash = EthMessage::GetBlockHeaders { id: ID, query: HeadersQuery::of_hash(by_hash.header.hash) };
    vec![
        seed("story_slow_chain", &[&[0], &[HOLD, 0], &send(&query), &send(&of_hash), &[HOLD, 0]]),
        seed("story_slow_pool", &[&[0], &[HOLD, 0], &transactions, &[OTHER, 0, HOLD, 0], &send(&query)]),
        seed(
            "story_full_link",
            &[&[0], &[STALL, 0, SUBMIT, 1, SUBMIT, 2], &send(&query), &[STALL, 0, WAIT, 20]],
        ),
        seed(
            "story_other_peer_leaves",
            &[&[0], &transactions, &[OTHER, 0, WAIT, 20, OTHER, 0], &send(&of_hash)],
        ),
        seed("story_block_gossip", &[&[ETH_68], &new_block, &[SUBMIT, 0, WAIT, 40], &send(&query)]),
        seed("story_request_unanswered", &[&[0], &[ASK, HEADERS, WAIT, 255, WAIT, 255], &transactions]),
        seed(
            "story_own_transactions",
            &[&[0], &[SUBMIT, 1, SUBMIT, 2, WAIT, 20], &transactions, &[WAIT, 255]],
        ),
    ]
}

fn announce(announced: Vec<Announcement>) -> Vec<u8> {
    send(&EthMessage::NewPooledTransactionHashes(announced))
}

/// A step that sends a message.
fn send(message: &EthMessage) -> Vec<u8> {
    step(message.code(), &message.encode())
}

fn step(code: u64, payload: &[u8]) -> Vec<u8> {
    [&[MESSAGE, u8::try_from(code).expect("codes are small")][..], &sized(payload)].concat()
}
