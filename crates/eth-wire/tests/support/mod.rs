//! What the tests of this crate share: sample chains, transactions and messages, and the public vectors.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use bytes::Bytes;
use eth_wire::{
    Address, Announcement, Block, BlockBuilder, BlockHashNumber, BlockRange, EthMessage, EthVersion, ForkId,
    Hash, HeadersQuery, Origin, Position, Status, TotalDifficulty, Transaction, TransferRequest, keccak,
};
use identity::NodeKey;
use serde_json::Value;

/// The chain id of the samples.
pub(crate) const CHAIN_ID: u64 = 1337;

pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

pub(crate) fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap().trim_start_matches("0x")).unwrap()
}

pub(crate) fn hash(value: &Value) -> Hash {
    Hash(unhex(value).try_into().unwrap())
}

/// RLP of a list of items that are RLP.
pub(crate) fn list(items: &[Bytes]) -> Bytes {
    let mut stream = rlp::RlpStream::new_list(items.len());
    for item in items {
        stream.append_raw(item, 1);
    }
    stream.out().freeze()
}

/// RLP of a string.
pub(crate) fn string(bytes: &[u8]) -> Bytes {
    rlp::encode(&bytes).freeze()
}

/// RLP of a number.
pub(crate) fn number(number: u64) -> Bytes {
    rlp::encode(&number).freeze()
}

/// The header of a list with `len` bytes of payload.
pub(crate) fn list_header(len: usize) -> Vec<u8> {
    match len {
        0..=55 => vec![0xc0 + len as u8],
        56..=255 => vec![0xf8, len as u8],
        _ if len < 65_536 => vec![0xf9, (len >> 8) as u8, len as u8],
        _ => vec![0xfa, (len >> 16) as u8, (len >> 8) as u8, len as u8],
    }
}

/// A list whose payload is `len` times `byte`.
pub(crate) fn filled(byte: u8, len: usize) -> Bytes {
    [list_header(len), vec![byte; len]].concat().into()
}

pub(crate) fn key(byte: u8) -> NodeKey {
    NodeKey::from_bytes(&[byte; 32]).unwrap()
}

pub(crate) fn transfer(nonce: u64) -> Transaction {
    TransferRequest::new(CHAIN_ID, nonce, Address([7; 20]), 1).sign(&key(1))
}

pub(crate) fn genesis() -> Block {
    BlockBuilder::genesis(1_000).build()
}

/// `count` blocks after `parent`, each with a transaction, marked by `extra`.
pub(crate) fn branch(parent: &Block, count: u64, extra: &'static [u8]) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for nonce in 0..count {
        let parent = blocks.last().unwrap_or(parent);
        let block = BlockBuilder::child_of(&parent.header, 0).extra(Bytes::from_static(extra));
        blocks.push(block.transactions(&[transfer(nonce)]).build());
    }
    blocks
}

pub(crate) fn status(version: EthVersion) -> Status {
    let position = match version {
        EthVersion::Eth68 => {
            Position::Head { hash: Hash([3; 32]), total_difficulty: TotalDifficulty(1 << 99) }
        }
        EthVersion::Eth69 => {
            Position::Range(BlockRange { earliest: 5, latest: 900, latest_hash: Hash([3; 32]) })
        }
    };
    Status {
        version: version.number().into(),
        network_id: CHAIN_ID,
        genesis: Hash([2; 32]),
        fork_id: ForkId { hash: [1, 2, 3, 4], next: 1_681_338_455 },
        position,
    }
}

/// One message of every kind that `version` has, none of them empty.
pub(crate) fn samples(version: EthVersion) -> Vec<EthMessage> {
    let blocks = branch(&genesis(), 3, b"sample");
    let (id, hashes) = (u64::MAX, vec![keccak(b"a"), keccak(b"b")]);
    let transactions: Vec<Bytes> = (0..3).map(|nonce| transfer(nonce).envelope().clone()).collect();
    let query =
        HeadersQuery { origin: Origin::Hash(keccak(b"c")), limit: 192, skip: u64::MAX, reverse: true };
    let mut samples = vec![
        EthMessage::Status(status(version)),
        EthMessage::Transactions(transactions.clone()),
        EthMessage::GetBlockHeaders { id: 0, query },
        EthMessage::GetBlockHeaders { id, query: HeadersQuery::from_number(7, 3) },
        EthMessage::BlockHeaders {
            id,
            headers: blocks.iter().map(|block| block.header.raw.clone()).collect(),
        },
        EthMessage::GetBlockBodies { id, hashes: hashes.clone() },
        EthMessage::BlockBodies { id, bodies: blocks.iter().map(Block::body).collect() },
        EthMessage::NewPooledTransactionHashes(vec![
            Announcement { hash: keccak(b"d"), kind: 2, size: 117 },
            Announcement { hash: keccak(b"e"), kind: 0, size: 0 },
        ]),
        EthMessage::GetPooledTransactions { id: 1, hashes: hashes.clone() },
        EthMessage::PooledTransactions { id, transactions },
        EthMessage::GetReceipts { id, hashes },
        EthMessage::Receipts {
            id,
            receipts: vec![list(&[list(&[number(1), string(&[0; 256])])]), list(&[])],
        },
    ];
    match version {
        EthVersion::Eth68 => {
            samples.push(EthMessage::NewBlockHashes(vec![BlockHashNumber { hash: keccak(b"f"), number: 9 }]));
            let total_difficulty = TotalDifficulty(3);
            samples.push(EthMessage::NewBlock { block: blocks[0].raw.clone(), total_difficulty });
        }
        EthVersion::Eth69 => {
            let range = BlockRange { earliest: 0, latest: 0, latest_hash: keccak(b"g") };
            samples.push(EthMessage::BlockRangeUpdate(range));
        }
    }
    samples
}
