//! Every message by chance: what is written is read back as it was, in each version that has it; no bytes panic, and
//! what is read of any is written as something that reads the same.
#![allow(clippy::unwrap_used, reason = "what is not as expected fails the test")]

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use eth_wire::{
    Announcement, Block, BlockBuilder, BlockHashNumber, BlockRange, EthMessage, EthVersion, ForkId, Hash,
    HeadersQuery, MessageKind, Origin, Position, Status, TotalDifficulty, intake, keccak,
};
use identity::{Label, steps};
use proptest::{collection::vec, option, prelude::*, sample};
use support::{filled, list, number, samples, string, transfer};

/// The kinds that may be sent unasked: all but those with blobs (EIP-4844, "Networking").
const PUSHED: &[u8] = &[1, 2, 4];

fn config(cases: u32) -> ProptestConfig {
    // A case that fails is printed; a fault that it shows is kept as a test of its own.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn hashes() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

/// Numbers of all lengths.
fn numbers() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..64u32).prop_map(|(number, shift)| number >> shift)
}

/// Strings of RLP, short and long.
fn strings(longest: usize) -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..longest).prop_map(|bytes| string(&bytes))
}

/// Envelopes with fields by chance, untyped or of one of these kinds, no two of them the same.
fn envelopes(kinds: &'static [u8]) -> impl Strategy<Value = Vec<Bytes>> {
    let fields = (vec(any::<u8>(), 64..200), vec(strings(70), 0..8));
    let envelope = (option::of(sample::select(kinds)), fields).prop_map(|(kind, (first, rest))| {
        let fields = list(&[vec![string(&first)], rest].concat());
        kind.map_or(fields.clone(), |kind| [&[kind], &fields[..]].concat().into())
    });
    vec(envelope, 0..20).prop_map(|envelopes| {
        let distinct: BTreeMap<Hash, Bytes> =
            envelopes.into_iter().map(|envelope| (keccak(&envelope), envelope)).collect();
        distinct.into_values().collect()
    })
}

/// Chains of blocks, with transactions and without.
fn blocks() -> impl Strategy<Value = Vec<Block>> {
    vec((numbers(), vec(any::<u8>(), 0..32), 0..4u64), 1..6).prop_map(|links| {
        let mut blocks: Vec<Block> = vec![BlockBuilder::genesis(0).build()];
        for (time, extra, count) in links {
            let transactions: Vec<_> = (0..count).map(transfer).collect();
            let parent = &blocks[blocks.len() - 1].header;
            let child = BlockBuilder::child_of(parent, parent.time + time % 1_000).extra(extra.into());
            blocks.push(child.transactions(&transactions).build());
        }
        blocks
    })
}

/// A block's receipts: lists of anything.
fn receipts() -> impl Strategy<Value = Bytes> {
    let receipt = (numbers(), vec(strings(40), 0..4))
        .prop_map(|(gas, logs)| list(&[number(1), number(gas), list(&logs)]));
    vec(receipt, 0..5).prop_map(|receipts| list(&receipts))
}

fn ranges() -> impl Strategy<Value = BlockRange> {
    // Earliest behind latest, and a hash of nothing, are refused (EIP-7642).
    (numbers(), numbers(), hashes().prop_filter("a block", |hash| hash.0 != [0; 32])).prop_map(
        |(one, other, latest_hash)| BlockRange {
            earliest: one.min(other),
            latest: one.max(other),
            latest_hash,
        },
    )
}

fn statuses(version: EthVersion) -> impl Strategy<Value = Status> {
    let position = match version {
        EthVersion::Eth68 => (hashes(), any::<u128>())
            .prop_map(|(hash, total)| Position::Head { hash, total_difficulty: TotalDifficulty(total >> 28) })
            .boxed(),
        EthVersion::Eth69 => ranges().prop_map(Position::Range).boxed(),
    };
    (numbers(), hashes(), any::<[u8; 4]>(), numbers(), position).prop_map(
        move |(network_id, genesis, hash, next, position)| Status {
            version: version.number().into(),
            network_id,
            genesis,
            fork_id: ForkId { hash, next },
            position,
        },
    )
}

fn queries() -> impl Strategy<Value = HeadersQuery> {
    let origin = prop_oneof![hashes().prop_map(Origin::Hash), numbers().prop_map(Origin::Number)];
    (origin, numbers(), numbers(), any::<bool>()).prop_map(|(origin, limit, skip, reverse)| HeadersQuery {
        origin,
        limit,
        skip,
        reverse,
    })
}

fn announcements() -> impl Strategy<Value = Vec<Announcement>> {
    let announcement = (hashes(), 0..=4u8, any::<u32>(), 0..32u32)
        .prop_map(|(hash, kind, size, shift)| Announcement { hash, kind, size: size >> shift });
    vec(announcement, 0..50)
}

/// A message of this kind.
fn messages(version: EthVersion, kind: MessageKind) -> BoxedStrategy<EthMessage> {
    let id = numbers;
    let asked = || (id(), vec(hashes(), 0..40));
    match kind {
        MessageKind::Status => statuses(version).prop_map(EthMessage::Status).boxed(),
        MessageKind::NewBlockHashes => {
            let block = (hashes(), numbers()).prop_map(|(hash, number)| BlockHashNumber { hash, number });
            vec(block, 0..20).prop_map(EthMessage::NewBlockHashes).boxed()
        }
        MessageKind::Transactions => envelopes(PUSHED).prop_map(EthMessage::Transactions).boxed(),
        MessageKind::GetBlockHeaders => {
            (id(), queries()).prop_map(|(id, query)| EthMessage::GetBlockHeaders { id, query }).boxed()
        }
        MessageKind::BlockHeaders => (id(), blocks())
            .prop_map(|(id, blocks)| EthMessage::BlockHeaders {
                id,
                headers: blocks.into_iter().map(|block| block.header.raw).collect(),
            })
            .boxed(),
        MessageKind::GetBlockBodies => {
            asked().prop_map(|(id, hashes)| EthMessage::GetBlockBodies { id, hashes }).boxed()
        }
        MessageKind::BlockBodies => (id(), blocks())
            .prop_map(|(id, blocks)| EthMessage::BlockBodies {
                id,
                bodies: blocks.iter().map(Block::body).collect(),
            })
            .boxed(),
        MessageKind::NewBlock => (blocks(), any::<u128>())
            .prop_map(|(blocks, total)| EthMessage::NewBlock {
                block: blocks[blocks.len() - 1].raw.clone(),
                total_difficulty: TotalDifficulty(total >> 28),
            })
            .boxed(),
        MessageKind::NewPooledTransactionHashes => {
            announcements().prop_map(EthMessage::NewPooledTransactionHashes).boxed()
        }
        MessageKind::GetPooledTransactions => {
            asked().prop_map(|(id, hashes)| EthMessage::GetPooledTransactions { id, hashes }).boxed()
        }
        MessageKind::PooledTransactions => (id(), envelopes(&[1, 2, 3, 4]))
            .prop_map(|(id, transactions)| EthMessage::PooledTransactions { id, transactions })
            .boxed(),
        MessageKind::GetReceipts => {
            asked().prop_map(|(id, hashes)| EthMessage::GetReceipts { id, hashes }).boxed()
        }
        MessageKind::Receipts => (id(), vec(receipts(), 0..5))
            .prop_map(|(id, receipts)| EthMessage::Receipts { id, receipts })
            .boxed(),
        MessageKind::BlockRangeUpdate => ranges().prop_map(EthMessage::BlockRangeUpdate).boxed(),
    }
}

/// Each kind in each version that has it.
fn forms() -> Vec<(EthVersion, MessageKind)> {
    let kinds = |version| MessageKind::ALL.iter().filter(move |kind| kind.is_in(version));
    EthVersion::ALL.iter().flat_map(|version| kinds(*version).map(move |kind| (*version, *kind))).collect()
}

/// What is read of any bytes, if anything, is written as something that reads the same.
fn assert_reads_the_same_again(version: EthVersion, code: u64, bytes: Bytes) {
    if let Ok(incoming) = intake(version, code, bytes) {
        let again = EthMessage::from(incoming.clone()).encode();
        assert_eq!(intake(version, code, again), Ok(incoming));
    }
}

#[test]
fn every_message_of_every_version_is_read_as_it_was_written() {
    for (version, kind) in forms() {
        proptest!(config(256), |(message in messages(version, kind))| {
            let encoded = message.encode();
            let read = intake(version, message.code(), encoded.clone()).map(EthMessage::from);
            prop_assert_eq!(read.as_ref(), Ok(&message));
            prop_assert_eq!(read.unwrap().encode(), encoded);
        });
    }
}

#[test]
fn damaged_messages_are_refused_or_read_the_same_again() {
    for version in EthVersion::ALL {
        let samples: Vec<(u64, Bytes)> =
            samples(version).iter().map(|sample| (sample.code(), sample.encode())).collect();
        let damage = (any::<sample::Index>(), any::<u8>(), 0..4u8);
        proptest!(config(4_096), |(sample in sample::select(samples), damages in vec(damage, 1..4))| {
            let (code, encoded) = sample;
            let mut bytes = encoded.to_vec();
            for (place, byte, how) in damages {
                let place = place.index(bytes.len().max(1));
                match how {
                    0 => bytes.truncate(place),
                    1 => bytes.insert(place, byte),
                    2 if place < bytes.len() => _ = bytes.remove(place),
                    _ => bytes.iter_mut().skip(place).take(1).for_each(|there| *there = byte),
                }
            }
            assert_reads_the_same_again(version, code, bytes.into());
        });
    }
}

/// Passes over a message, at most: headers are counted, then read, and what is inside is checked; a body's parts are
/// read again for their roots. An item that is a list takes a step at its beginning and one at its end.
const PASSES: usize = 6;

/// Reads a message, in so many steps for each of its bytes at most: one that takes more ends in a panic.
fn steps_to_read(version: EthVersion, code: u64, bytes: &Bytes) -> usize {
    let limit = PASSES * bytes.len() + 1;
    steps::within(limit, || intake(version, code, bytes.clone()).map(drop)).1
}

#[test]
fn f15_lists_of_the_smallest_items_take_six_steps_a_byte_at_most() {
    let mut most = (0.0f64, None);
    for (version, kind) in forms() {
        for byte in [0x00, 0x7f, 0x80, 0x81, 0xb8, 0xc0, 0xc1, 0xf8] {
            let (content, empty) = (filled(byte, 900), list(&[]));
            let bodies = [
                list(&[content.clone(), empty.clone()]),
                list(&[empty.clone(), empty.clone(), content.clone()]),
            ];
            let answers = bodies.map(|body| list(&[number(1), list(&[body])]));
            let answer = |content: &Bytes| list(&[number(1), list(std::slice::from_ref(content))]);
            let plain = [content.clone(), list(&[number(1), content.clone()]), answer(&content)];
            for bytes in plain.into_iter().chain(answers) {
                let taken = steps_to_read(version, kind.code(), &bytes);
                let share = taken as f64 / bytes.len() as f64;
                if share > most.0 {
                    most = (share, Some((kind, byte)));
                }
            }
        }
    }
    println!("at most {:.2} steps a byte, for {:?}", most.0, most.1);
}

proptest! {
    #![proptest_config(config(2_000))]

    #[test]
    fn f15_no_damage_makes_a_message_take_more_steps(
        is_68 in any::<bool>(),
        sample in any::<sample::Index>(),
        changes in vec((any::<sample::Index>(), any::<u8>()), 0..4),
        cut in any::<sample::Index>(),
        code in 0..32u64,
        bytes in vec(any::<u8>(), 0..300),
    ) {
        let version = if is_68 { EthVersion::Eth68 } else { EthVersion::Eth69 };
        let samples = samples(version);
        let message = sample.get(&samples);
        let mut changed = message.encode().to_vec();
        for (place, byte) in changes {
            let place = place.index(changed.len());
            changed[place] = byte;
        }
        let cut = changed[..cut.index(changed.len())].to_vec();
        prop_assert!(steps_to_read(version, message.code(), &message.encode()) > 0);
        for bytes in [changed, cut] {
            steps_to_read(version, message.code(), &bytes.into());
        }
        steps_to_read(version, code, &bytes.into());
    }

    #[test]
    fn no_bytes_panic(code in 0..32u64, is_68 in any::<bool>(), bytes in vec(any::<u8>(), 0..300)) {
        let version = if is_68 { EthVersion::Eth68 } else { EthVersion::Eth69 };
        assert_reads_the_same_again(version, code, bytes.into());
    }
}
