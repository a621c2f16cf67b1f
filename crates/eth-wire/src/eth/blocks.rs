//! Blocks: from peers and the owner to the chain, from there to peers on eth/68. What is missing between is `branches`.
//! devp2p specification, `caps/eth.md`, "Block Propagation"; total difficulties are the chain's to judge.

use std::collections::{BTreeSet, VecDeque};

use identity::{NodeId, Now};
use rlpx::PeerId;

use super::{CommandId, Eth, EthEvent, PeerFault, Reply, RequestError, calls::Errand};
use crate::{
    BadBlock, Block, BlockHashNumber, EthMessage, EthVersion, Hash, Head, Offer, Reject, TotalDifficulty,
    backend::BackendCall,
    block_fetch::{BlockFetches, FetchId},
    counters::Delivery,
    gossip::announce::shared,
    machine_config::{MAX_CONSIDERED_BLOCKS, RECENT_BLOCKS},
    orphans::{Candidate, Orphans},
};

/// What gossip of blocks remembers.
#[derive(Debug)]
pub(super) struct BlockGossip {
    pub(super) fetches: BlockFetches,
    /// The head that peers on eth/69 were told last.
    pub(super) latest_told: u64,
    pub(super) orphans: Orphans,
    pub(super) recent: RecentBlocks,
}

/// Blocks lately handed to the chain or kept as orphans.
#[derive(Debug, Default)]
pub(super) struct RecentBlocks {
    hashes: BTreeSet<Hash>,
    order: VecDeque<Hash>,
}

impl BlockGossip {
    pub(super) fn new(latest: u64) -> Self {
        Self {
            fetches: BlockFetches::default(),
            latest_told: latest,
            orphans: Orphans::default(),
            recent: RecentBlocks::default(),
        }
    }
}

impl RecentBlocks {
    /// False when it is there already.
    pub(super) fn insert(&mut self, hash: Hash) -> bool {
        if !self.hashes.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > RECENT_BLOCKS
            && let Some(oldest) = self.order.pop_front()
        {
            self.hashes.remove(&oldest);
        }
        true
    }

    pub(super) fn remove(&mut self, hash: &Hash) {
        if self.hashes.remove(hash) {
            self.order.retain(|other| other != hash);
        }
    }
}

impl Eth {
    /// Offers a block of the owner to the chain and, when it is new, tells it to all peers on eth/68. [`Reply::Offered`]
    /// says what the chain made of it.
    ///
    /// # Errors
    /// `TooMany` when too many commands wait.
    pub fn submit_block(
        &mut self,
        now: Now,
        block: Block,
        claimed: Option<TotalDifficulty>,
    ) -> Result<CommandId, RequestError> {
        if !self.calls.takes_owners() {
            return Err(RequestError::TooMany);
        }
        let command = self.command();
        self.blocks.recent.insert(block.header.hash);
        self.offer(now, Candidate { block, claimed, source: None }, None, Some(command));
        self.settle(now);
        Ok(command)
    }

    /// A peer sent a new block in full.
    pub(super) fn handle_new_block(&mut self, now: Now, id: PeerId, block: Block, claimed: TotalDifficulty) {
        let hash = block.header.hash;
        self.note_block_known(id, &hash);
        self.blocks.fetches.arrived(&hash);
        if self.blocks.recent.hashes.contains(&hash) {
            return self.counters.deliveries.add(Delivery::BlockAgain);
        }
        if !self.backend_takes(now, id) {
            return self.reject(Reject::QueueFull, 1);
        }
        self.blocks.recent.insert(hash);
        let Ok(block) = Block::decode(bytes::Bytes::copy_from_slice(&block.raw)) else { return };
        self.offer(now, Candidate { block, claimed: Some(claimed), source: Some(id) }, None, None);
    }

    /// A peer announced blocks.
    pub(super) fn handle_block_hashes(&mut self, now: Now, id: PeerId, blocks: &[BlockHashNumber]) {
        blocks.iter().for_each(|block| self.note_block_known(id, &block.hash));
        let unseen = |block: &&BlockHashNumber| !self.blocks.recent.hashes.contains(&block.hash);
        let hashes: Vec<Hash> = blocks.iter().filter(unseen).map(|block| block.hash).collect();
        self.consider_blocks(now, id, hashes, false);
    }

    /// Fetches those of a peer's blocks that the chain lacks: the last [`MAX_CONSIDERED_BLOCKS`] of them.
    pub(super) fn consider_blocks(&mut self, now: Now, id: PeerId, mut hashes: Vec<Hash>, at_once: bool) {
        let excess = hashes.len().saturating_sub(MAX_CONSIDERED_BLOCKS);
        hashes.drain(..excess);
        if hashes.is_empty() {
            return;
        }
        if !self.backend_takes(now, id) {
            return self.reject(Reject::QueueFull, hashes.len());
        }
        let call = BackendCall::UnknownBlocks(hashes.clone());
        self.call(now, call, Errand::Consider { peer: id, hashes, at_once });
    }

    /// The chain has said which of a peer's blocks it lacks.
    pub(super) fn handle_considered(
        &mut self,
        now: Now,
        id: PeerId,
        hashes: &[Hash],
        unknown: &[bool],
        at_once: bool,
    ) {
        if self.peers.of(id).is_none() {
            return;
        }
        for (hash, _) in hashes.iter().zip(unknown).filter(|(_, unknown)| **unknown) {
            let is_seen = self.blocks.recent.hashes.contains(hash);
            if !is_seen && !self.blocks.fetches.begin(now, *hash, id, at_once) {
                self.reject(Reject::QueueFull, 1);
            }
        }
    }

    fn note_block_known(&mut self, id: PeerId, hash: &Hash) {
        let fingerprint = self.transactions.fingerprints.fingerprint(hash);
        if let Some(peer) = self.peers.of_mut(id) {
            peer.telling.blocks.insert(fingerprint);
        }
    }

    pub(super) fn offer(
        &mut self,
        now: Now,
        candidate: Candidate,
        fetch: Option<FetchId>,
        command: Option<CommandId>,
    ) {
        let call = BackendCall::Offer { block: candidate.block.raw.clone(), claimed: candidate.claimed };
        self.call(now, call, Errand::Offer { candidate: Box::new(candidate), fetch, command });
    }

    /// The chain has judged a block.
    pub(super) fn handle_offered(
        &mut self,
        now: Now,
        candidate: Candidate,
        fetch: Option<FetchId>,
        command: Option<CommandId>,
        offer: Offer,
        head: Head,
    ) {
        self.reply(command, Reply::Offered(offer));
        let (hash, source) = (candidate.block.header.hash, candidate.source);
        match offer {
            Offer::New { is_head } => self.handle_imported(now, &candidate, is_head, head),
            Offer::Known => {
                if source.is_some() {
                    self.counters.deliveries.add(Delivery::BlockAgain);
                }
                self.release_children(now, &hash);
            }
            Offer::Orphan => return self.handle_orphan(now, candidate, fetch),
            Offer::Bad(why) => return self.handle_bad(now, &hash, source, fetch, why),
        }
        if let Some(step) = fetch.and_then(|id| self.blocks.fetches.handle_taken(&id).map(|step| (id, step)))
        {
            self.take_step(now, step.0, step.1);
        }
    }

    fn handle_imported(&mut self, now: Now, candidate: &Candidate, is_head: bool, head: Head) {
        let header = &candidate.block.header;
        let (hash, number) = (header.hash, header.number);
        self.blocks.recent.insert(hash);
        if let Some(source) = candidate.source {
            self.counters.deliveries.add(Delivery::Block);
            self.praise(now, source);
        }
        self.event(EthEvent::BlockImported { hash, number, peer: candidate.source, is_head });
        // Of a block beside the head only its sender's word is known.
        let total_difficulty = (head.hash == hash).then_some(head.total_difficulty);
        self.move_head(head);
        self.tell_block(&candidate.block, total_difficulty);
        self.blocks.fetches.arrived(&hash);
        self.release_children(now, &hash);
    }

    /// The blocks that waited for this one may follow it.
    fn release_children(&mut self, now: Now, hash: &Hash) {
        for child in self.blocks.orphans.take_children(hash) {
            self.offer(now, child, None, None);
        }
    }

    /// Keeps a block until its parent, which is asked of the sender, has come.
    fn handle_orphan(&mut self, now: Now, candidate: Candidate, fetch: Option<FetchId>) {
        let (parent, source) = (candidate.block.header.parent, candidate.source);
        if let Some(fetch) = fetch {
            // The chain had the parent when it was asked; it has gone another way since.
            self.forget_block(&candidate.block.header.hash, Some(fetch));
            return self.reject(Reject::OrphanBlock, 1);
        }
        for dropped in self.blocks.orphans.insert(candidate) {
            self.blocks.recent.remove(&dropped);
            self.reject(Reject::OrphanBlock, 1);
        }
        let holders = source.filter(|id| self.peers.of(*id).is_some());
        let holder = holders.or_else(|| self.peers.ready().map(|(id, _)| id).next());
        if let Some(holder) = holder
            && !self.blocks.fetches.is_in_branch(&parent)
            && !self.blocks.fetches.begin(now, parent, holder, true)
        {
            self.reject(Reject::QueueFull, 1);
        }
    }

    /// The chain has not taken the block in; it may come again.
    pub(super) fn forget_block(&mut self, hash: &Hash, fetch: Option<FetchId>) {
        self.blocks.recent.remove(hash);
        if let Some(fetch) = fetch {
            self.blocks.fetches.end(&fetch);
        }
    }

    /// A block was bad as it came. Another may have the good one by that hash, since the hash is the header's alone.
    fn handle_bad(
        &mut self,
        now: Now,
        hash: &Hash,
        source: Option<PeerId>,
        fetch: Option<FetchId>,
        why: BadBlock,
    ) {
        self.forget_block(hash, fetch);
        let Some(source) = source else { return };
        self.disconnect(now, source, PeerFault::BadBlock(*hash, why));
        let fingerprint = self.transactions.fingerprints.fingerprint(hash);
        let others = self.peers.ready().filter(|(_, peer)| peer.telling.blocks.contains(fingerprint));
        let others: Vec<PeerId> = others.map(|(id, _)| id).collect();
        if why == BadBlock::Body {
            others.into_iter().for_each(|id| _ = self.blocks.fetches.begin(now, *hash, id, true));
        }
    }

    /// Tells a new block to the peers on eth/68 that lack it: in full to the square root of them, if its total difficulty
    /// is known, and by hash to the rest. A peer with no room for a block is told its hash.
    fn tell_block(&mut self, block: &Block, total_difficulty: Option<TotalDifficulty>) {
        let (hash, number) = (block.header.hash, block.header.number);
        let fingerprint = self.transactions.fingerprints.fingerprint(&hash);
        let lacking = self.peers.ready().filter(|(_, peer)| {
            peer.version == EthVersion::Eth68 && !peer.telling.blocks.contains(fingerprint)
        });
        let lacking: Vec<(PeerId, NodeId)> = lacking.map(|(id, peer)| (id, peer.node_id)).collect();
        let direct = self.choose_direct(&hash, lacking.iter().map(|(id, node_id)| (*id, node_id)));
        let full = total_difficulty.map(|total_difficulty| {
            shared(&EthMessage::NewBlock { block: block.raw.clone(), total_difficulty })
        });
        let announcement = shared(&EthMessage::NewBlockHashes(vec![BlockHashNumber { hash, number }]));
        for (id, _) in lacking {
            let Some(peer) = self.peers.of_mut(id) else { continue };
            let in_full = direct.contains(&id) && !peer.outbound.is_backed_up();
            let message = full.as_ref().filter(|_| in_full).unwrap_or(&announcement);
            if peer.outbound.push(message.clone()) {
                peer.telling.blocks.insert(fingerprint);
                self.touched.insert(id);
            }
        }
    }
}
