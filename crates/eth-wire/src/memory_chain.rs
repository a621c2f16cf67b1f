//! A chain in memory: blocks by hash, the heaviest branch canonical. It checks links, times and bodies, and knows nothing
//! of state or seals: for private chains, tests, and to hold what peers serve.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock, RwLockReadGuard},
};

use bytes::Bytes;

use crate::{
    BadBlock, Block, Chain, Hash, Head, Offer,
    config::{
        MAX_ANSWER_ITEMS, MAX_ANSWER_LEN, MAX_EXTRA_DATA_LEN, MAX_LOOKUPS, MAX_NON_CANONICAL,
        MEMORY_CHAIN_BLOCKS, MEMORY_CHAIN_BYTES,
    },
    message::{HeadersQuery, Origin, TotalDifficulty},
};

/// How much a [`MemoryChain`] holds. Beyond either limit the lowest blocks are dropped, canonical or not, but never the
/// genesis block or the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainLimits {
    /// How many blocks. Default: [`MEMORY_CHAIN_BLOCKS`].
    pub blocks: usize,
    /// How many bytes of RLP. Default: [`MEMORY_CHAIN_BYTES`].
    pub bytes: usize,
}

impl Default for ChainLimits {
    fn default() -> Self {
        Self { blocks: MEMORY_CHAIN_BLOCKS, bytes: MEMORY_CHAIN_BYTES }
    }
}

/// A chain in memory, within [`ChainLimits`]. The canonical branch is the one with the highest total difficulty, then the
/// longest, then the one that came first; so it serves chains of proof of stake too, where difficulties are 0.
#[derive(Debug)]
pub struct MemoryChain(RwLock<State>);

#[derive(Debug)]
struct State {
    limits: ChainLimits,
    genesis: Hash,
    head: Hash,
    blocks: BTreeMap<Hash, Held>,
    /// All blocks by height, to drop the lowest.
    heights: BTreeSet<(u64, Hash)>,
    canonical: BTreeMap<u64, Hash>,
    bytes: usize,
    /// Below it blocks have been dropped; from it on nothing is missing.
    floor: u64,
}

#[derive(Debug)]
struct Held {
    block: Block,
    total_difficulty: TotalDifficulty,
}

impl MemoryChain {
    /// A chain of one block, with the default limits.
    pub fn new(genesis: &Block) -> Self {
        Self::with_limits(genesis, ChainLimits::default())
    }

    /// A chain of one block.
    pub fn with_limits(genesis: &Block, limits: ChainLimits) -> Self {
        let hash = genesis.header.hash;
        let mut state = State {
            limits,
            genesis: hash,
            head: hash,
            blocks: BTreeMap::new(),
            heights: BTreeSet::new(),
            canonical: BTreeMap::from([(genesis.header.number, hash)]),
            bytes: 0,
            floor: 0,
        };
        state.hold(genesis, TotalDifficulty(genesis.header.difficulty));
        Self(RwLock::new(state))
    }

    /// A block by hash.
    pub fn block_by_hash(&self, hash: &Hash) -> Option<Block> {
        self.read().blocks.get(hash).map(|held| held.block.clone())
    }

    /// The block at a height of the canonical chain.
    pub fn block_by_number(&self, number: u64) -> Option<Block> {
        let state = self.read();
        state.at(number).map(|held| held.block.clone())
    }

    /// How many blocks are held.
    pub fn len(&self) -> usize {
        self.read().blocks.len()
    }

    /// Never: the genesis block stays.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // State changes only after all checks, so one that panicked half-way has changed nothing that matters.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chain for MemoryChain {
    fn head(&self) -> Head {
        self.read().head()
    }

    fn genesis(&self) -> Hash {
        self.read().genesis
    }

    fn headers(&self, query: &HeadersQuery, limit: usize) -> Vec<Bytes> {
        self.read().headers(query, limit)
    }

    fn body(&self, hash: &Hash) -> Option<Bytes> {
        self.read().blocks.get(hash).map(|held| held.block.body())
    }

    fn block(&self, hash: &Hash) -> Option<Bytes> {
        self.read().blocks.get(hash).map(|held| held.block.raw.clone())
    }

    /// Checks the block against its parent. The claimed total difficulty is not used: the parent's and the block's own
    /// difficulty say it.
    fn offer(&self, block: Bytes, _claimed: Option<TotalDifficulty>) -> Offer {
        // A copy, so that the chain pins no message; the expensive checks are done before anything is locked.
        let Ok(block) = Block::decode(Bytes::copy_from_slice(&block)) else {
            return Offer::Bad(BadBlock::Malformed);
        };
        match self.read().look(&block) {
            Ok(_) => {}
            Err(offer) => return offer,
        }
        if block.header.extra_len > MAX_EXTRA_DATA_LEN {
            return Offer::Bad(BadBlock::ExtraData);
        }
        if !block.check_body() {
            return Offer::Bad(BadBlock::Body);
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).take(&block)
    }
}

impl State {
    fn head(&self) -> Head {
        let (number, time, total_difficulty) =
            self.blocks.get(&self.head).map_or_else(Default::default, |held| {
                (held.block.header.number, held.block.header.time, held.total_difficulty)
            });
        Head { hash: self.head, number, time, total_difficulty, earliest: self.floor.min(number) }
    }

    fn at(&self, number: u64) -> Option<&Held> {
        self.blocks.get(self.canonical.get(&number)?)
    }

    /// The checks that need the parent, and the total difficulty they give; or why the block is not taken.
    fn look(&self, block: &Block) -> Result<TotalDifficulty, Offer> {
        let header = &block.header;
        if self.blocks.contains_key(&header.hash) || header.number < self.floor {
            return Err(Offer::Known);
        }
        let parent = self.blocks.get(&header.parent).ok_or(Offer::Orphan)?;
        if Some(header.number) != parent.block.header.number.checked_add(1) {
            return Err(Offer::Bad(BadBlock::Number));
        }
        if header.time <= parent.block.header.time {
            return Err(Offer::Bad(BadBlock::Time));
        }
        Ok(parent.total_difficulty.plus(header.difficulty))
    }

    fn take(&mut self, block: &Block) -> Offer {
        let total_difficulty = match self.look(block) {
            Ok(total_difficulty) => total_difficulty,
            Err(offer) => return offer,
        };
        self.hold(block, total_difficulty);
        let head = self.head();
        let is_head = (total_difficulty, block.header.number) > (head.total_difficulty, head.number);
        if is_head {
            self.set_head(block);
        }
        self.drop_lowest();
        Offer::New { is_head }
    }

    fn hold(&mut self, block: &Block, total_difficulty: TotalDifficulty) {
        self.bytes = self.bytes.saturating_add(block.raw.len());
        self.heights.insert((block.header.number, block.header.hash));
        self.blocks.insert(block.header.hash, Held { block: block.clone(), total_difficulty });
    }

    /// Makes the branch that ends with `block` canonical.
    fn set_head(&mut self, block: &Block) {
        self.head = block.header.hash;
        if let Some(above) = block.header.number.checked_add(1) {
            self.canonical.split_off(&above);
        }
        let mut next = Some(&block.header);
        while let Some(header) = next {
            if self.canonical.insert(header.number, header.hash) == Some(header.hash) {
                return;
            }
            next = self.blocks.get(&header.parent).map(|held| &held.block.header);
        }
    }

    fn drop_lowest(&mut self) {
        while self.blocks.len() > self.limits.blocks || self.bytes > self.limits.bytes {
            let lowest = self.heights.iter().find(|(_, hash)| *hash != self.genesis && *hash != self.head);
            let Some((number, hash)) = lowest.copied() else { return };
            self.heights.remove(&(number, hash));
            if let Some(held) = self.blocks.remove(&hash) {
                self.bytes = self.bytes.saturating_sub(held.block.raw.len());
            }
            if self.canonical.get(&number) == Some(&hash) {
                self.canonical.remove(&number);
            }
            self.floor = self.floor.max(number.saturating_add(1));
        }
    }

    fn is_canonical(&self, block: &Block) -> bool {
        self.canonical.get(&block.header.number) == Some(&block.header.hash)
    }

    /// As go-ethereum answers: what is there from the origin on, in strides of `skip + 1`, until something is not.
    fn headers(&self, query: &HeadersQuery, limit: usize) -> Vec<Bytes> {
        let asked = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let limit = limit.min(asked).min(MAX_ANSWER_ITEMS);
        let mut walk = Walk { state: self, lookups: MAX_LOOKUPS, non_canonical: MAX_NON_CANONICAL };
        let mut next = match query.origin {
            Origin::Hash(hash) => walk.look_up(hash),
            Origin::Number(number) => walk.at(number),
        };
        let (mut headers, mut len) = (Vec::new(), 0usize);
        while let Some(held) = next {
            if headers.len() >= limit || len >= MAX_ANSWER_LEN {
                break;
            }
            let raw = &held.block.header.raw;
            len = len.saturating_add(raw.len());
            headers.push(raw.clone());
            next = query.skip.checked_add(1).and_then(|stride| walk.step(held, stride, query.reverse));
        }
        headers
    }
}

/// A walk over headers, with what it may still cost.
struct Walk<'a> {
    state: &'a State,
    lookups: usize,
    non_canonical: usize,
}

impl<'a> Walk<'a> {
    fn look_up(&mut self, hash: Hash) -> Option<&'a Held> {
        self.lookups = self.lookups.checked_sub(1)?;
        self.state.blocks.get(&hash)
    }

    fn at(&mut self, number: u64) -> Option<&'a Held> {
        self.lookups = self.lookups.checked_sub(1)?;
        self.state.at(number)
    }

    /// The block `stride` away. Off the canonical chain there is no way forward, and back only a short one.
    fn step(&mut self, from: &'a Held, stride: u64, reverse: bool) -> Option<&'a Held> {
        let number = from.block.header.number;
        match (self.state.is_canonical(&from.block), reverse) {
            (true, true) => self.at(number.checked_sub(stride)?),
            (true, false) => self.at(number.checked_add(stride)?),
            (false, true) => self.ancestor(from, stride),
            (false, false) => None,
        }
    }

    /// The block `stride` before one that is not canonical.
    fn ancestor(&mut self, from: &'a Held, stride: u64) -> Option<&'a Held> {
        if stride == 1 {
            return self.look_up(from.block.header.parent);
        }
        let (mut block, mut left) = (from, stride);
        while left > 0 {
            if self.state.is_canonical(&block.block) {
                return self.at(block.block.header.number.checked_sub(left)?);
            }
            self.non_canonical = self.non_canonical.checked_sub(1)?;
            block = self.look_up(block.block.header.parent)?;
            left -= 1;
        }
        Some(block)
    }
}

#[cfg(test)]
mod tests;
