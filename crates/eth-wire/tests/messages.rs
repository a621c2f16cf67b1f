//! Every message as it goes over the wire: round trips, the vectors of EIP-2481, and what is refused and why.
#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "what is not as expected fails the test"
)]

mod support;

use bytes::Bytes;
use eth_wire::{
    Answer, Body, DecodeError, EthMessage, EthVersion, Hash, Header, Incoming, MessageError, MessageKind,
    Reject, Request, RlpFault, TotalDifficulty, Transaction,
    config::{
        MAX_ANNOUNCEMENTS, MAX_ANSWER_ITEMS, MAX_BLOCK_HASHES, MAX_LOOKUPS, MAX_MESSAGE_LEN, MAX_RLP_DEPTH,
        MAX_TRANSACTIONS,
    },
    intake, keccak,
};
use identity::Label;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use support::{filled, hash, json, list, number, samples, string, transfer, unhex};

const EIP_2481: &str = include_str!("vectors/eip2481.json");
const BOTH: [EthVersion; 2] = EthVersion::ALL;

fn refused(version: EthVersion, kind: MessageKind, message: Bytes) -> MessageError {
    intake(version, kind.code(), message).unwrap_err()
}

fn fault(error: MessageError) -> RlpFault {
    match error {
        MessageError::Malformed { error: DecodeError { fault, .. }, .. } => fault,
        other => panic!("{other}"),
    }
}

#[test]
fn every_message_arrives_as_it_was_sent() {
    for version in BOTH {
        let samples = samples(version);
        for kind in MessageKind::ALL {
            assert_eq!(
                samples.iter().any(|sample| sample.kind() == *kind),
                kind.is_in(version),
                "{kind} in {version}"
            );
        }
        for sample in samples {
            assert_eq!(intake(version, sample.code(), sample.encode()).map(EthMessage::from), Ok(sample));
        }
    }
}

#[test]
fn empty_messages_arrive_empty() {
    let id = 7;
    for message in [
        EthMessage::Transactions(vec![]),
        EthMessage::NewPooledTransactionHashes(vec![]),
        EthMessage::BlockHeaders { id, headers: vec![] },
        EthMessage::BlockBodies { id, bodies: vec![] },
        EthMessage::PooledTransactions { id, transactions: vec![] },
        EthMessage::Receipts { id, receipts: vec![] },
        EthMessage::GetBlockBodies { id, hashes: vec![] },
    ] {
        assert_eq!(
            intake(EthVersion::Eth69, message.code(), message.encode()).map(EthMessage::from),
            Ok(message)
        );
    }
}

#[test]
fn the_vectors_of_eip_2481_read_and_write() {
    let vectors = json(EIP_2481);
    let mut count = 0;
    for (name, bytes) in vectors["messages"].as_object().unwrap() {
        let name = name.split(' ').next().unwrap();
        let kind = MessageKind::ALL.iter().find(|kind| kind.to_string() == name).unwrap();
        let bytes = Bytes::from(unhex(bytes));
        let message = EthMessage::from(intake(EthVersion::Eth68, kind.code(), bytes.clone()).unwrap());
        assert_eq!((message.kind(), message.encode()), (*kind, bytes));
        count += 1;
    }
    assert_eq!(count, 9);
}

#[test]
fn hashes_are_those_of_eip_2481() {
    let vectors = json(EIP_2481);
    let read = |name: &str, kind: MessageKind| match intake(
        EthVersion::Eth68,
        kind.code(),
        unhex(&vectors["messages"][name]).into(),
    )
    .unwrap()
    {
        Incoming::Answer { id: 1111, answer } => answer,
        other => panic!("{other:?}"),
    };
    match read("BlockHeaders", MessageKind::BlockHeaders) {
        Answer::Headers(headers) => {
            let [Header { hash: found, number: 0xd05, time: 0x1a0a, difficulty: 0x8ae, extra_len: 2, .. }] =
                &headers[..]
            else {
                panic!("{headers:?}")
            };
            assert_eq!(*found, hash(&vectors["header_hash"]));
        }
        other => panic!("{other:?}"),
    }
    match read("PooledTransactions", MessageKind::PooledTransactions) {
        Answer::PooledTransactions(transactions) => {
            let hashes: Vec<Hash> = transactions.iter().map(Transaction::hash).collect();
            let known = vectors["transaction_hashes"].as_array().unwrap();
            assert_eq!(hashes, known.iter().map(hash).collect::<Vec<Hash>>());
            assert!(
                transactions.iter().all(|transaction| transaction.kind() == 0 && transaction.size() == 105)
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn e13_codes_are_those_of_their_version() {
    for version in BOTH {
        for code in 0..256 {
            let known = MessageKind::ALL.iter().any(|kind| kind.code() == code && kind.is_in(version));
            let answer = intake(version, code, Bytes::from_static(&[0xc0]));
            assert_eq!(
                matches!(answer, Err(MessageError::UnknownCode { .. })),
                !known,
                "{version} {code:#x}"
            );
            assert!(!known || code < version.message_count());
        }
    }
    let blocks = [MessageKind::NewBlockHashes, MessageKind::NewBlock];
    for kind in blocks {
        let error = refused(EthVersion::Eth69, kind, Bytes::from_static(&[0xc0]));
        assert_eq!((error.reject(), error.is_malformed()), (Reject::UnknownCode, false));
    }
    let error = refused(EthVersion::Eth68, MessageKind::BlockRangeUpdate, Bytes::from_static(&[0xc0]));
    assert_eq!(error.reject(), Reject::UnknownCode);
}

#[test]
fn e13_transactions_of_unknown_kinds_are_refused() {
    for kind in [5, 0x7f] {
        let envelope: Bytes = [&[kind], &list(&[string(&[7; 80])])[..]].concat().into();
        let message = EthMessage::Transactions(vec![envelope]);
        let error = refused(EthVersion::Eth69, message.kind(), message.encode());
        assert_eq!(error, MessageError::UnknownTransactionKind(kind));
    }
}

#[test]
fn e04_a_message_above_the_limit_of_its_kind_is_refused_unread() {
    for version in BOTH {
        for kind in MessageKind::ALL.iter().filter(|kind| kind.is_in(version)) {
            let limit = kind.max_len();
            assert!(limit <= MAX_MESSAGE_LEN);
            // Were it read, the first byte would be the fault.
            let message = Bytes::from(vec![0xbf; limit + 1]);
            let error = refused(version, *kind, message.clone());
            assert_eq!(error, MessageError::TooLarge { kind: *kind, limit, found: limit + 1 });
            assert!(refused(version, *kind, message.slice(..limit)).is_malformed());
        }
    }
}

#[test]
fn e04_the_longest_honest_messages_are_within_the_limits() {
    let announced =
        vec![eth_wire::Announcement { hash: Hash([255; 32]), kind: 2, size: u32::MAX }; MAX_ANNOUNCEMENTS];
    let blocks =
        vec![eth_wire::BlockHashNumber { hash: Hash([255; 32]), number: u64::MAX }; MAX_BLOCK_HASHES];
    for message in [EthMessage::NewPooledTransactionHashes(announced), EthMessage::NewBlockHashes(blocks)] {
        assert_eq!(
            intake(EthVersion::Eth68, message.code(), message.encode()).map(EthMessage::from),
            Ok(message)
        );
    }
}

#[test]
fn e04_more_items_than_allowed_are_refused() {
    let (id, empty) = (1, list(&[]));
    let too_many = |kind, limit| MessageError::TooMany { kind, limit };
    let transactions: Vec<Bytes> = vec![transfer(1).envelope().clone(); MAX_TRANSACTIONS + 1];
    let rows = [
        (EthMessage::Transactions(transactions.clone()), MAX_TRANSACTIONS),
        (EthMessage::PooledTransactions { id, transactions }, MAX_TRANSACTIONS),
        (
            EthMessage::BlockHeaders { id, headers: vec![empty.clone(); MAX_ANSWER_ITEMS + 1] },
            MAX_ANSWER_ITEMS,
        ),
        (EthMessage::BlockBodies { id, bodies: vec![empty.clone(); MAX_ANSWER_ITEMS + 1] }, MAX_ANSWER_ITEMS),
        (EthMessage::Receipts { id, receipts: vec![empty; MAX_ANSWER_ITEMS + 1] }, MAX_ANSWER_ITEMS),
    ];
    for (message, limit) in rows {
        let error = refused(EthVersion::Eth68, message.kind(), message.encode());
        assert_eq!(error, too_many(message.kind(), limit));
    }
    let announced: Bytes = list(&[string(&[]), filled(0x01, 70_000), filled(0x01, 70_000)]);
    let error = refused(EthVersion::Eth68, MessageKind::NewPooledTransactionHashes, announced);
    assert_eq!(error, too_many(MessageKind::NewPooledTransactionHashes, MAX_ANNOUNCEMENTS));
    let error = refused(EthVersion::Eth68, MessageKind::NewBlockHashes, filled(0xc0, MAX_BLOCK_HASHES * 40));
    assert_eq!(error, too_many(MessageKind::NewBlockHashes, MAX_BLOCK_HASHES));
}

#[test]
fn e06_of_a_flood_of_hashes_only_the_first_are_read() {
    let hashes: Vec<Hash> = (0..300_000u32).map(|i| keccak(&i.to_be_bytes())).collect();
    for message in [
        EthMessage::GetBlockBodies { id: 1, hashes: hashes.clone() },
        EthMessage::GetReceipts { id: 1, hashes: hashes.clone() },
        EthMessage::GetPooledTransactions { id: 1, hashes: hashes.clone() },
    ] {
        match intake(EthVersion::Eth69, message.code(), message.encode()).unwrap() {
            Incoming::Request {
                request: Request::Bodies(read) | Request::Receipts(read) | Request::PooledTransactions(read),
                ..
            } => assert_eq!(read, hashes[..MAX_LOOKUPS]),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn e08_request_ids_have_at_most_eight_bytes() {
    let with_id = |id: Bytes| list(&[id, list(&[])]);
    for kind in [MessageKind::GetBlockBodies, MessageKind::GetReceipts, MessageKind::BlockHeaders] {
        for id in [0, 1, u64::MAX] {
            let incoming = intake(EthVersion::Eth69, kind.code(), with_id(number(id))).unwrap();
            assert!(
                matches!(incoming, Incoming::Request { id: read, .. } | Incoming::Answer { id: read, .. } if read == id)
            );
        }
        let error = refused(EthVersion::Eth69, kind, with_id(string(&[1, 0, 0, 0, 0, 0, 0, 0, 0])));
        assert!(error.is_malformed());
        assert_eq!(fault(error), RlpFault::Length { expected: 8, found: 9 });
        let error = refused(EthVersion::Eth69, kind, with_id(string(&[0, 1])));
        assert_eq!(fault(error), RlpFault::NotCanonical);
    }
}

#[test]
fn e03_a_range_that_cannot_be_is_refused() {
    let update = |earliest, latest, latest_hash| {
        EthMessage::BlockRangeUpdate(eth_wire::BlockRange { earliest, latest, latest_hash })
    };
    for bad in [update(2, 1, Hash([1; 32])), update(0, 1, Hash::ZERO)] {
        let error = refused(EthVersion::Eth69, bad.kind(), bad.encode());
        assert_eq!((error.reject(), error.is_malformed()), (Reject::InvalidRange, false));
    }
    assert!(intake(EthVersion::Eth69, 0x11, update(1, 1, Hash([1; 32])).encode()).is_ok());
}

#[test]
fn g03_an_announcement_has_lists_of_one_length_and_known_kinds() {
    let kind = MessageKind::NewPooledTransactionHashes;
    let sizes = |count| list(&vec![number(9); count]);
    let hashes = |count| list(&vec![string(&[7; 32]); count]);
    for (types, size_count, hash_count) in [(1, 2, 2), (2, 1, 2), (2, 2, 1), (0, 0, 1)] {
        let message = list(&[string(&vec![2; types]), sizes(size_count), hashes(hash_count)]);
        let error = refused(EthVersion::Eth69, kind, message);
        assert_eq!(error, MessageError::UnequalLengths { types, sizes: size_count, hashes: hash_count });
        assert!(!error.is_malformed());
    }
    let message = list(&[string(&[2, 5, 3, 255]), sizes(4), hashes(4)]);
    match intake(EthVersion::Eth69, kind.code(), message).unwrap() {
        Incoming::NewPooledTransactionHashes(announced) => {
            assert_eq!(announced.iter().map(|entry| entry.kind).collect::<Vec<u8>>(), [2, 3]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn g06_a_transaction_comes_once_in_a_message() {
    let envelope = |nonce| transfer(nonce).envelope().clone();
    let twice = vec![envelope(1), envelope(2), envelope(1)];
    for message in [
        EthMessage::Transactions(twice.clone()),
        EthMessage::PooledTransactions { id: 1, transactions: twice },
    ] {
        let error = refused(EthVersion::Eth68, message.kind(), message.encode());
        assert_eq!(error, MessageError::DuplicateTransaction(message.kind()));
    }
}

/// A blob transaction's fields, without or with its blobs.
fn blob_transaction(with_blobs: bool) -> Bytes {
    let fields = list(&[number(1), string(&[9; 100])]);
    let content =
        if with_blobs { list(&[fields, list(&[string(&[1; 1000])]), list(&[]), list(&[])]) } else { fields };
    [&[3], &content[..]].concat().into()
}

#[test]
fn g07_blob_transactions_are_announced_and_never_pushed() {
    let message = EthMessage::Transactions(vec![blob_transaction(true)]);
    assert_eq!(refused(EthVersion::Eth68, message.kind(), message.encode()), MessageError::BlobBroadcast);
    let answer = EthMessage::PooledTransactions { id: 1, transactions: vec![blob_transaction(true)] };
    match intake(EthVersion::Eth68, answer.code(), answer.encode()).unwrap() {
        Incoming::Answer { answer: Answer::PooledTransactions(transactions), .. } => {
            // The blobs count for the size and not for the hash.
            assert_eq!(transactions[0].hash(), keccak(&blob_transaction(false)));
            assert_eq!(transactions[0].size() as usize, blob_transaction(true).len());
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_untyped_transaction_in_a_string_is_refused() {
    let untyped = list(&[string(&[7; 80])]);
    let error = refused(EthVersion::Eth69, MessageKind::Transactions, list(&[string(&untyped)]));
    assert_eq!(fault(error), RlpFault::NotList);
}

#[test]
fn e11_a_body_matches_its_header_alone() {
    let blocks = support::branch(&support::genesis(), 3, b"");
    for (place, block) in blocks.iter().enumerate() {
        let body = Body::decode(block.body()).unwrap();
        for (other, header) in blocks.iter().map(|block| &block.header).enumerate() {
            assert_eq!(body.digest == header.body_digest(), place == other);
        }
        assert_eq!(eth_wire::Block::assemble(&block.header.raw, &body.raw).unwrap(), *block);
    }
}

#[test]
fn total_difficulty_has_at_most_100_bits() {
    let block = support::genesis().raw;
    let message = |bits: u32| {
        EthMessage::NewBlock { block: block.clone(), total_difficulty: TotalDifficulty(1 << (bits - 1)) }
            .encode()
    };
    assert!(intake(EthVersion::Eth68, 0x07, message(100)).is_ok());
    assert!(refused(EthVersion::Eth68, MessageKind::NewBlock, message(101)).is_malformed());
}

#[test]
fn missing_and_extra_items_are_malformed() {
    for version in BOTH {
        for sample in samples(version) {
            let encoded = sample.encode();
            let items: Vec<Bytes> =
                rlp::Rlp::new(&encoded).iter().map(|item| Bytes::copy_from_slice(item.as_raw())).collect();
            let behind = Bytes::from([&encoded[..], &[0x80]].concat());
            assert!(refused(version, sample.kind(), behind).is_malformed());
            for changed in
                [[&items[..], &[number(1)]].concat(), items[1..].to_vec(), items[..items.len() - 1].to_vec()]
            {
                let is_list_of_entries =
                    matches!(sample.kind(), MessageKind::Transactions | MessageKind::NewBlockHashes)
                        && changed.len() < items.len();
                let read = intake(version, sample.code(), list(&changed));
                assert_eq!(read.is_ok(), is_list_of_entries, "{} of {} items", sample.kind(), changed.len());
            }
        }
    }
}

#[test]
fn nesting_in_transactions_and_receipts_is_limited() {
    let nested = |depth: usize| (1..depth).fold(list(&[string(&[7; 80])]), |inner, _| list(&[inner]));
    for depth in [MAX_RLP_DEPTH, MAX_RLP_DEPTH + 1] {
        let fits = depth == MAX_RLP_DEPTH;
        let receipts = EthMessage::Receipts { id: 1, receipts: vec![nested(depth)] };
        let transactions = EthMessage::Transactions(vec![[&[2], &nested(depth)[..]].concat().into()]);
        for message in [receipts, transactions] {
            assert_eq!(intake(EthVersion::Eth68, message.code(), message.encode()).is_ok(), fits);
        }
    }
}

/// The message with up to three of its bytes changed, left out or added.
fn changed(good: &[u8], rng: &mut ChaCha8Rng) -> Bytes {
    let mut bytes = good.to_vec();
    for _ in 0..rng.random_range(1..4) {
        let place = rng.random_range(0..bytes.len());
        match rng.random_range(0..4u8) {
            0 => bytes[place] ^= 1 << rng.random_range(0..8u8),
            1 => bytes[place] = rng.random(),
            2 => bytes.truncate(place.max(1)),
            _ => bytes.insert(place, rng.random()),
        }
    }
    bytes.into()
}

/// Changed bytes never panic, and what is still taken means what its bytes say.
#[test]
fn changed_messages_are_refused_or_read_as_they_stand() {
    const CHANGES: usize = 4_000;
    let mut rng = ChaCha8Rng::seed_from_u64(0xe7);
    let mut taken = 0;
    let messages = BOTH
        .into_iter()
        .flat_map(|version| samples(version).into_iter().map(move |sample| (version, sample)));
    for (version, sample) in messages {
        let good = sample.encode();
        for _ in 0..CHANGES {
            let bytes = changed(&good, &mut rng);
            let Ok(incoming) = intake(version, sample.code(), bytes.clone()) else { continue };
            taken += 1;
            // Entries of unknown kinds are left out of announcements.
            let is_announcement = matches!(incoming, Incoming::NewPooledTransactionHashes(_));
            assert!(
                is_announcement || EthMessage::from(incoming).encode() == bytes,
                "{}",
                hex::encode(bytes)
            );
        }
    }
    assert!(taken > 1_000, "the test must reach beyond the first check: {taken}");
}
