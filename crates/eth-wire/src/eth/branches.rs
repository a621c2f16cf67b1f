//! Missing blocks: each step of a fetch is put out here, and what comes of it handed back.
//! What the steps are is `block_fetch`'s; which blocks are missing is found in `blocks`.

use identity::Now;
use rlpx::PeerId;

use super::{Eth, EthEvent, PeerFault, asking::Purpose, calls::Errand};
use crate::{
    Body, Header, Reject,
    backend::BackendCall,
    block_fetch::{FetchId, Step, WrongAnswer},
    known::Fingerprint,
    orphans::Candidate,
    peers::Peer,
};

impl Eth {
    /// Begins the fetches that are due.
    pub(super) fn fetch_blocks(&mut self, now: Now) {
        while let Some((id, step)) = self.blocks.fetches.next_due(now) {
            self.take_step(now, id, step);
        }
    }

    pub(super) fn take_step(&mut self, now: Now, id: FetchId, step: Step) {
        let mut step = step;
        loop {
            step = match step {
                Step::Ask(peer, request) => {
                    if self.ask(now, peer, &request, Purpose::Block(id)).is_ok() {
                        return;
                    }
                    self.blocks.fetches.handle_silence(&id, peer)
                }
                Step::Check(hashes) => {
                    return self.call(now, BackendCall::UnknownBlocks(hashes), Errand::Branch(id));
                }
                Step::Offer(blocks, source) => {
                    for block in blocks {
                        self.blocks.recent.insert(block.header.hash);
                        self.offer(
                            now,
                            Candidate { block, claimed: None, source: Some(source) },
                            Some(id),
                            None,
                        );
                    }
                    return;
                }
                Step::Done => return self.blocks.fetches.end(&id),
                Step::GiveUp => {
                    let next = self.retry(&id);
                    if next == Step::GiveUp {
                        return self.give_up(&id);
                    }
                    next
                }
                Step::TooDeep(peer) => {
                    self.blocks.fetches.end(&id);
                    return self.event(EthEvent::FarAhead { peer, hash: id });
                }
            };
        }
    }

    /// Asks for a block whoever is known to have it or a child of it.
    fn retry(&mut self, id: &FetchId) -> Step {
        let mut wanted = self.blocks.orphans.children(id);
        wanted.push(*id);
        let wanted: Vec<Fingerprint> =
            wanted.iter().map(|hash| self.transactions.fingerprints.fingerprint(hash)).collect();
        let has_one = |peer: &Peer| wanted.iter().any(|one| peer.telling.blocks.contains(*one));
        let holders: Vec<PeerId> =
            self.peers.ready().filter(|(_, peer)| has_one(peer)).map(|(id, _)| id).collect();
        self.blocks.fetches.retry(id, holders)
    }

    /// Nobody has it: what waited for it may be sent again some day.
    fn give_up(&mut self, id: &FetchId) {
        self.blocks.fetches.end(id);
        for orphan in self.blocks.orphans.take_children(id) {
            self.blocks.recent.remove(&orphan.block.header.hash);
            self.reject(Reject::OrphanBlock, 1);
        }
    }

    pub(super) fn handle_branch(&mut self, now: Now, id: FetchId, unknown: &[bool]) {
        let step = self.blocks.fetches.handle_checked(&id, unknown);
        self.take_step(now, id, step);
    }

    pub(super) fn handle_block_headers(&mut self, now: Now, peer: PeerId, id: FetchId, headers: Vec<Header>) {
        let step = self.blocks.fetches.handle_headers(&id, peer, headers);
        self.step_or_fault(now, peer, id, step);
    }

    pub(super) fn handle_block_bodies(&mut self, now: Now, peer: PeerId, id: FetchId, bodies: &[Body]) {
        let step = self.blocks.fetches.handle_bodies(&id, peer, bodies);
        self.step_or_fault(now, peer, id, step);
    }

    fn step_or_fault(&mut self, now: Now, peer: PeerId, id: FetchId, step: Result<Step, WrongAnswer>) {
        let step = step.unwrap_or_else(|WrongAnswer| {
            self.disconnect(now, peer, PeerFault::UnrequestedItem);
            self.blocks.fetches.handle_silence(&id, peer)
        });
        self.take_step(now, id, step);
    }

    pub(super) fn handle_block_silence(&mut self, now: Now, id: FetchId, peer: PeerId) {
        let step = self.blocks.fetches.handle_silence(&id, peer);
        self.take_step(now, id, step);
    }
}
