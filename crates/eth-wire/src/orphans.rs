//! Blocks that wait for their parent: bounded in number and bytes, the oldest dropped.
//! Who is asked for the parent is `block_fetch`'s business.

use std::collections::{BTreeMap, VecDeque};

use rlpx::PeerId;

use crate::{
    Block, Hash, TotalDifficulty,
    machine_config::{MAX_ORPHAN_BYTES, MAX_ORPHANS},
};

/// A block on its way to the chain, with where it came from.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// The block.
    pub(crate) block: Block,
    /// The total difficulty that its sender gives it.
    pub(crate) claimed: Option<TotalDifficulty>,
    /// Who sent it; None when it is our own.
    pub(crate) source: Option<PeerId>,
}

/// The blocks whose parent is not there yet, by parent.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    by_parent: BTreeMap<Hash, Vec<Candidate>>,
    order: VecDeque<(Hash, Hash)>,
    bytes: usize,
}

impl Orphans {
    /// Keeps a block until its parent comes. Gives the hashes of those that had to go for it.
    pub(crate) fn insert(&mut self, orphan: Candidate) -> Vec<Hash> {
        let (hash, parent) = (orphan.block.header.hash, orphan.block.header.parent);
        if self.contains(&parent, &hash) {
            return Vec::new();
        }
        self.bytes = self.bytes.saturating_add(orphan.block.raw.len());
        self.by_parent.entry(parent).or_default().push(orphan);
        self.order.push_back((parent, hash));
        let mut dropped = Vec::new();
        while self.order.len() > MAX_ORPHANS || (self.bytes > MAX_ORPHAN_BYTES && self.order.len() > 1) {
            let Some((parent, hash)) = self.order.pop_front() else { break };
            self.remove(&parent, &hash);
            dropped.push(hash);
        }
        dropped
    }

    fn contains(&self, parent: &Hash, hash: &Hash) -> bool {
        let siblings = self.by_parent.get(parent);
        siblings.is_some_and(|siblings| siblings.iter().any(|orphan| orphan.block.header.hash == *hash))
    }

    fn remove(&mut self, parent: &Hash, hash: &Hash) {
        let Some(siblings) = self.by_parent.get_mut(parent) else { return };
        if let Some(place) = siblings.iter().position(|orphan| orphan.block.header.hash == *hash) {
            let orphan = siblings.swap_remove(place);
            self.bytes = self.bytes.saturating_sub(orphan.block.raw.len());
        }
        if siblings.is_empty() {
            self.by_parent.remove(parent);
        }
    }

    /// Takes the blocks whose parent `hash` has come.
    pub(crate) fn take_children(&mut self, hash: &Hash) -> Vec<Candidate> {
        let Some(children) = self.by_parent.remove(hash) else { return Vec::new() };
        self.order.retain(|(parent, _)| parent != hash);
        let len: usize = children.iter().map(|orphan| orphan.block.raw.len()).sum();
        self.bytes = self.bytes.saturating_sub(len);
        children
    }

    /// The hashes of the blocks that wait for the parent `hash`.
    pub(crate) fn children(&self, hash: &Hash) -> Vec<Hash> {
        self.by_parent.get(hash).into_iter().flatten().map(|orphan| orphan.block.header.hash).collect()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::BlockBuilder;

    fn orphan(parent: &Block, time: u64) -> Candidate {
        Candidate { block: BlockBuilder::child_of(&parent.header, time).build(), claimed: None, source: None }
    }

    #[test]
    fn children_wait_for_their_parent() {
        let (genesis, mut orphans) = (BlockBuilder::genesis(1).build(), Orphans::default());
        let [one, other] = [orphan(&genesis, 10), orphan(&genesis, 20)];
        let grandchild = orphan(&one.block, 30);
        for candidate in [&one, &other, &grandchild, &one] {
            assert_eq!(orphans.insert(candidate.clone()), []);
        }
        assert_eq!((orphans.len(), orphans.children(&genesis.header.hash).len()), (3, 2));
        assert_eq!(orphans.take_children(&genesis.header.hash).len(), 2);
        assert_eq!(orphans.take_children(&one.block.header.hash).len(), 1);
        assert!(orphans.by_parent.is_empty() && orphans.bytes == 0 && orphans.len() == 0);
    }

    #[test]
    fn the_oldest_are_dropped_and_named() {
        let (genesis, mut orphans) = (BlockBuilder::genesis(1).build(), Orphans::default());
        let all: Vec<Candidate> = (0..100).map(|time| orphan(&genesis, 10 + time)).collect();
        let dropped: Vec<Hash> = all.iter().flat_map(|one| orphans.insert(one.clone())).collect();
        let oldest: Vec<Hash> = all.iter().take(100 - MAX_ORPHANS).map(|one| one.block.header.hash).collect();
        assert_eq!((orphans.len(), dropped), (MAX_ORPHANS, oldest));
    }
}
