//! The client behind one node of the devnet: a pool and a chain of its own, which note when each item arrived.
//! The pool and chain themselves are eth-wire's in-memory ones.

use std::sync::Arc;

use bytes::Bytes;
use devp2p::eth_wire::{
    Announcement, BadBlock, Block, BlockBuilder, Chain, EthVersion, Hash, Head, HeadersQuery, Insert,
    MemoryChain, MemoryPool, Offer, Pool, TotalDifficulty, keccak,
};

use super::ledger::Arrivals;
use crate::setup::PRIVATE_CHAIN_ID;

/// The most transactions in a block, by count and bytes.
const MAX_BLOCK_TRANSACTIONS: usize = 1_000;
const MAX_BLOCK_BYTES: usize = 512 * 1024;

/// One node's pool and chain.
#[derive(Clone)]
pub(super) struct Client {
    chain: Arc<MemoryChain>,
    pool: Arc<MemoryPool>,
    arrivals: Arrivals,
}

impl Client {
    pub(super) fn new(genesis: &Block) -> Self {
        let (chain, pool) = (MemoryChain::new(genesis), MemoryPool::new(PRIVATE_CHAIN_ID));
        Self { chain: Arc::new(chain), pool: Arc::new(pool), arrivals: Arrivals::default() }
    }

    /// What has arrived, and when.
    pub(super) const fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    /// Makes the next block, at `time` (seconds since 1970), of the transactions that waited longest.
    pub(super) fn next_block(&self, time: u64) -> Option<Block> {
        let parent = self.chain.block_by_hash(&self.chain.head().hash)?;
        let transactions = self.pool.oldest(MAX_BLOCK_TRANSACTIONS, MAX_BLOCK_BYTES);
        Some(BlockBuilder::child_of(&parent.header, time).transactions(&transactions).build())
    }

    /// A block has joined the chain: what it holds has arrived, and waits for a block no more.
    fn joined(&self, block: &Block) {
        self.arrivals.block(block.header.hash);
        let included: Vec<Hash> = block.transactions().iter().map(|envelope| keccak(envelope)).collect();
        included.iter().for_each(|hash| self.arrivals.transaction(*hash));
        self.pool.remove(&included);
    }
}

impl Chain for Client {
    fn head(&self) -> Head {
        self.chain.head()
    }

    fn genesis(&self) -> Hash {
        self.chain.genesis()
    }

    fn headers(&self, query: &HeadersQuery, limit: usize) -> Vec<Bytes> {
        self.chain.headers(query, limit)
    }

    fn body(&self, hash: &Hash) -> Option<Bytes> {
        self.chain.body(hash)
    }

    fn block(&self, hash: &Hash) -> Option<Bytes> {
        self.chain.block(hash)
    }

    fn receipts(&self, hash: &Hash, version: EthVersion) -> Option<Bytes> {
        self.chain.receipts(hash, version)
    }

    fn offer(&self, block: Bytes, claimed: Option<TotalDifficulty>) -> Offer {
        let Ok(decoded) = Block::decode(block.clone()) else { return Offer::Bad(BadBlock::Malformed) };
        let offer = self.chain.offer(block, claimed);
        match offer {
            Offer::New { .. } => self.joined(&decoded),
            Offer::Known | Offer::Orphan | Offer::Bad(_) => {}
        }
        offer
    }
}

impl Pool for Client {
    fn get(&self, hash: &Hash) -> Option<Bytes> {
        self.pool.get(hash)
    }

    fn contains(&self, hash: &Hash) -> bool {
        self.pool.contains(hash)
    }

    fn insert(&self, envelope: Bytes) -> Insert {
        let hash = keccak(&envelope);
        let insert = self.pool.insert(envelope);
        match insert {
            Insert::New => self.arrivals.transaction(hash),
            Insert::Known | Insert::Invalid(_) | Insert::Full => {}
        }
        insert
    }

    fn pending(&self) -> Vec<Announcement> {
        self.pool.pending()
    }

    fn describe(&self, hash: &Hash) -> Option<Announcement> {
        self.pool.describe(hash)
    }
}
