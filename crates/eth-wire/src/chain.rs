//! The chain behind the protocol: the trait that a client implements, and how it tells where it ends.
//! No checks of blocks and no storage: [`MemoryChain`](crate::MemoryChain) is one implementation.

use bytes::Bytes;

use crate::{
    Hash,
    message::{BlockRange, HeadersQuery, Position, TotalDifficulty},
    version::EthVersion,
};

/// Where a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The hash of the last block.
    pub hash: Hash,
    /// Its height.
    pub number: u64,
    /// When it was made, seconds since 1970: forks by time are told by it.
    pub time: u64,
    /// The sum of the difficulties up to and with it.
    pub total_difficulty: TotalDifficulty,
    /// The height of the first block that can be served from there on without a gap.
    pub earliest: u64,
}

impl Head {
    /// The blocks from the earliest to the last, as eth/69 tells them.
    pub const fn range(&self) -> BlockRange {
        BlockRange { earliest: self.earliest, latest: self.number, latest_hash: self.hash }
    }

    /// How Status of `version` tells it.
    pub const fn position(&self, version: EthVersion) -> Position {
        match version {
            EthVersion::Eth68 => Position::Head { hash: self.hash, total_difficulty: self.total_difficulty },
            EthVersion::Eth69 => Position::Range(self.range()),
        }
    }
}

/// What a chain says of a block it was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// It is new, valid as far as the chain checks, and held from now on. `is_head`: it is the head now.
    New {
        /// Whether the head has moved to it.
        is_head: bool,
    },
    /// It is held already, or older than all that is still held.
    Known,
    /// Its parent is not held.
    Orphan,
    /// It is not valid.
    Bad(BadBlock),
}

/// Why a block is not valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBlock {
    /// Its RLP is not that of a block.
    #[error("the block's RLP is malformed")]
    Malformed,
    /// Its number is not the parent's and one.
    #[error("the block's number does not follow its parent's")]
    Number,
    /// It is not younger than its parent.
    #[error("the block is not younger than its parent")]
    Time,
    /// Its body is not the one that its header commits to.
    #[error("the block's body is not its header's")]
    Body,
    /// Its extra-data is too long.
    #[error("the block's extra-data is too long")]
    ExtraData,
    /// The client's own rules, such as seal or state, forbid it.
    #[error("the block breaks a rule of its chain")]
    Rules,
}

/// The chain that a node serves and extends. Called off the machine's task: a slow chain delays its own answers alone.
pub trait Chain: Send + Sync {
    /// Where it ends.
    fn head(&self) -> Head;

    /// The hash of its genesis block.
    fn genesis(&self) -> Hash;

    /// The RLP of the headers that `query` asks for, as far as they are there, at most `limit` of them. Bound also the
    /// look-ups, and never compute past the ends of a `u64`.
    fn headers(&self, query: &HeadersQuery, limit: usize) -> Vec<Bytes>;

    /// The RLP of a body, `[transactions, uncles, withdrawals?]`.
    fn body(&self, hash: &Hash) -> Option<Bytes>;

    /// The RLP of a whole block, `[header, transactions, uncles, withdrawals?]`.
    fn block(&self, hash: &Hash) -> Option<Bytes>;

    /// The list of a block's receipts, in the form of `version`. Default: none.
    fn receipts(&self, hash: &Hash, version: EthVersion) -> Option<Bytes> {
        let _ = (hash, version);
        None
    }

    /// Takes a block in if it is good. `claimed` is the total difficulty that its sender gives it, where it came with one.
    fn offer(&self, block: Bytes, claimed: Option<TotalDifficulty>) -> Offer;
}
