//! Intake, a message of each common kind: limits, splitting, hashing. With the machine behind it, it is row
//! `eth.transactions`. Not run by tests: `cargo bench --package eth-wire`.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use eth_wire::{
    Address, Announcement, Block, BlockBuilder, EthMessage, EthVersion, MemoryPool, Pool, TotalDifficulty,
    TransferRequest, intake, keccak,
};
use identity::NodeKey;

const CHAIN_ID: u64 = 1_337;

fn envelope(nonce: u64) -> Bytes {
    let key = NodeKey::from_bytes(&[7; 32]).expect("a key");
    TransferRequest::new(CHAIN_ID, nonce, Address([1; 20]), 1).sign(&key).envelope().clone()
}

/// A chain of so many blocks after the genesis block.
fn blocks(count: usize) -> Vec<Block> {
    let mut blocks = vec![BlockBuilder::genesis(1_700_000_000).build()];
    while blocks.len() <= count {
        let parent = &blocks[blocks.len() - 1].header;
        blocks.push(BlockBuilder::child_of(parent, parent.time + 12).build());
    }
    blocks
}

fn messages() -> Vec<(&'static str, EthVersion, EthMessage)> {
    let announced = |number: u64| Announcement { hash: keccak(&number.to_be_bytes()), kind: 2, size: 117 };
    let blocks = blocks(192);
    vec![
        ("transactions/128", EthVersion::Eth69, EthMessage::Transactions((0..128).map(envelope).collect())),
        (
            "announcements/4096",
            EthVersion::Eth69,
            EthMessage::NewPooledTransactionHashes((0..4_096).map(announced).collect()),
        ),
        (
            "headers/192",
            EthVersion::Eth69,
            EthMessage::BlockHeaders {
                id: 1,
                headers: blocks.iter().take(192).map(|block| block.header.raw.clone()).collect(),
            },
        ),
        (
            "new block",
            EthVersion::Eth68,
            EthMessage::NewBlock { block: blocks[1].raw.clone(), total_difficulty: TotalDifficulty(1) },
        ),
    ]
}

fn intakes(criterion: &mut Criterion) {
    for (name, version, message) in messages() {
        let (code, encoded) = (message.code(), message.encode());
        criterion.bench_function(&format!("intake/{name}"), |bench| {
            bench.iter(|| intake(version, code, black_box(encoded.clone())).expect("a good message"));
        });
        criterion.bench_function(&format!("encode/{name}"), |bench| bench.iter(|| message.encode()));
    }
}

fn pool(criterion: &mut Criterion) {
    let mut nonce = 0;
    let mut fresh = || {
        nonce += 1;
        (MemoryPool::new(CHAIN_ID), envelope(nonce))
    };
    criterion.bench_function("pool/insert", |bench| {
        bench.iter_batched(&mut fresh, |(pool, envelope)| pool.insert(envelope), BatchSize::SmallInput);
    });
}

criterion_group!(benches, intakes, pool);
criterion_main!(benches);
