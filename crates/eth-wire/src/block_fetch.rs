//! Fetching blocks that were announced, or whose children came first: headers from the wanted block down to one that the
//! chain has, then the bodies upwards. Pure state: each step says what is to be asked, checked or offered next.
//!
//! Everything that comes is tied to the wanted hash: headers by their parent links, bodies by the roots of their header.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use identity::Now;
use rlpx::PeerId;

use crate::{
    Block, Body, Hash, Header, HeadersQuery, Origin, Request,
    machine_config::{
        BLOCK_FETCH_BODIES, BLOCK_FETCH_HEADERS, BLOCK_FETCH_WAIT, MAX_BLOCK_FETCH_DEPTH, MAX_BLOCK_FETCHES,
        MAX_BLOCK_FETCHES_PER_PEER, MAX_BLOCK_SOURCES,
    },
};

/// Names a fetch by the block it is for.
pub(crate) type FetchId = Hash;

/// What a fetch needs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask this peer.
    Ask(PeerId, Request),
    /// Ask the chain which of these blocks it lacks.
    Check(Vec<Hash>),
    /// Offer these blocks, which came from this peer, to the chain, in order.
    Offer(Vec<Block>, PeerId),
    /// It has all that was wanted.
    Done,
    /// Nobody gave what is missing.
    GiveUp,
    /// The branch, of which this peer has more, goes deeper than [`MAX_BLOCK_FETCH_DEPTH`].
    TooDeep(Option<PeerId>),
}

/// An answer that is not what was asked for: a breach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an answer with something else than was asked for")]
pub(crate) struct WrongAnswer;

#[derive(Debug)]
enum Stage {
    /// The block may still come in full by itself.
    Waiting(Instant),
    /// The header with this hash and those below it are to be had; the number counts the rounds.
    Headers(Hash, usize),
    /// The chain is being asked which headers it lacks, the first of them at this place.
    Checking(usize, usize),
    /// The bodies of the lowest headers are to be had.
    Bodies,
    /// So many blocks are with the chain.
    Offering(usize),
}

#[derive(Debug)]
struct BlockFetch {
    stage: Stage,
    /// Whom to ask; the first is being asked.
    sources: VecDeque<PeerId>,
    /// Who did not have it.
    failed: Vec<PeerId>,
    /// From the wanted block downwards, each the parent of the one before.
    headers: Vec<Header>,
}

/// The fetches under way: at most [`MAX_BLOCK_FETCHES`], [`MAX_BLOCK_FETCHES_PER_PEER`] of one peer alone; more are not
/// begun.
#[derive(Debug, Default)]
pub(crate) struct BlockFetches(BTreeMap<FetchId, BlockFetch>);

impl BlockFetches {
    /// Begins to fetch the block `hash` from `source`, at once or after [`BLOCK_FETCH_WAIT`]. A fetch under way gets the
    /// peer as another source. False when there is no room.
    pub(crate) fn begin(&mut self, now: Now, hash: Hash, source: PeerId, at_once: bool) -> bool {
        if let Some(fetch) = self.0.get_mut(&hash) {
            fetch.add_source(source);
            return true;
        }
        let of_source = self.0.values().filter(|fetch| fetch.sources.front() == Some(&source)).count();
        if self.0.len() >= MAX_BLOCK_FETCHES || of_source >= MAX_BLOCK_FETCHES_PER_PEER {
            return false;
        }
        let until = now.instant.checked_add(BLOCK_FETCH_WAIT).unwrap_or(now.instant);
        let stage = Stage::Waiting(if at_once { now.instant } else { until });
        self.0.insert(
            hash,
            BlockFetch { stage, sources: [source].into(), failed: Vec::new(), headers: Vec::new() },
        );
        true
    }

    /// The next fetch whose wait is over, with its first step. Call until None.
    pub(crate) fn next_due(&mut self, now: Now) -> Option<(FetchId, Step)> {
        let is_due =
            |fetch: &BlockFetch| matches!(fetch.stage, Stage::Waiting(until) if until <= now.instant);
        let id = self.0.iter().find(|(_, fetch)| is_due(fetch)).map(|(id, _)| *id)?;
        let fetch = self.0.get_mut(&id)?;
        fetch.stage = Stage::Headers(id, 0);
        Some((id, fetch.ask()))
    }

    /// When the next wait is over.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let waits = self.0.values().filter_map(|fetch| match fetch.stage {
            Stage::Waiting(until) => Some(until),
            Stage::Headers(..) | Stage::Checking(..) | Stage::Bodies | Stage::Offering(_) => None,
        });
        waits.min()
    }

    /// The block has come by another way, or the fetch is over.
    pub(crate) fn end(&mut self, id: &FetchId) {
        self.0.remove(id);
    }

    /// The block has come in full by itself: nothing need be asked, unless asking has begun.
    pub(crate) fn arrived(&mut self, hash: &Hash) {
        if self.0.get(hash).is_some_and(|fetch| matches!(fetch.stage, Stage::Waiting(_))) {
            self.0.remove(hash);
        }
    }

    /// Whether the block is being fetched as part of a branch that ends in another.
    pub(crate) fn is_in_branch(&self, hash: &Hash) -> bool {
        self.0.values().any(|fetch| fetch.headers.iter().skip(1).any(|header| header.hash == *hash))
    }

    /// `from` sent headers for a fetch.
    ///
    /// # Errors
    /// When they are not those that were asked for.
    pub(crate) fn handle_headers(
        &mut self,
        id: &FetchId,
        from: PeerId,
        headers: Vec<Header>,
    ) -> Result<Step, WrongAnswer> {
        let Some(fetch) = self.0.get_mut(id) else { return Ok(Step::Done) };
        let Stage::Headers(wanted, round) = fetch.stage else { return Ok(Step::Done) };
        let mut next = wanted;
        for header in &headers {
            if header.hash != next {
                return Err(WrongAnswer);
            }
            next = header.parent;
            // A message would stay in memory for the sake of a slice of it.
            fetch.headers.push(Header { raw: bytes::Bytes::copy_from_slice(&header.raw), ..header.clone() });
        }
        if headers.is_empty() {
            return Ok(fetch.next_source(from));
        }
        let first = fetch.headers.len() - headers.len();
        fetch.stage = Stage::Checking(first, round);
        let mut hashes: Vec<Hash> = headers.iter().map(|header| header.hash).collect();
        hashes.push(next);
        Ok(Step::Check(hashes))
    }

    /// The chain said which of the blocks of a [`Step::Check`] it lacks.
    pub(crate) fn handle_checked(&mut self, id: &FetchId, unknown: &[bool]) -> Step {
        let Some(fetch) = self.0.get_mut(id) else { return Step::Done };
        let Stage::Checking(first, round) = fetch.stage else { return Step::Done };
        if let Some(known) = unknown.iter().position(|unknown| !unknown) {
            fetch.headers.truncate(first.saturating_add(known));
            fetch.stage = Stage::Bodies;
            return fetch.ask();
        }
        let Some(lowest) = fetch.headers.last() else { return Step::GiveUp };
        if lowest.number == 0 {
            return Step::GiveUp;
        }
        if fetch.headers.len() >= MAX_BLOCK_FETCH_DEPTH {
            return Step::TooDeep(fetch.sources.front().copied());
        }
        fetch.stage = Stage::Headers(lowest.parent, round.saturating_add(1));
        fetch.ask()
    }

    /// `from` sent bodies for a fetch: some of those asked for, in order.
    ///
    /// # Errors
    /// When one belongs to none of the headers asked for.
    pub(crate) fn handle_bodies(
        &mut self,
        id: &FetchId,
        from: PeerId,
        bodies: &[Body],
    ) -> Result<Step, WrongAnswer> {
        let Some(fetch) = self.0.get_mut(id) else { return Ok(Step::Done) };
        if !matches!(fetch.stage, Stage::Bodies) {
            return Ok(Step::Done);
        }
        let blocks = assemble(fetch.lowest(), bodies)?;
        if blocks.is_empty() {
            return Ok(fetch.next_source(from));
        }
        fetch.stage = Stage::Offering(blocks.len());
        Ok(Step::Offer(blocks, from))
    }

    /// The chain took a block of a [`Step::Offer`] in, or had it. Gives the next step after the last of them.
    pub(crate) fn handle_taken(&mut self, id: &FetchId) -> Option<Step> {
        let fetch = self.0.get_mut(id)?;
        let Stage::Offering(left) = &mut fetch.stage else { return None };
        *left = left.saturating_sub(1);
        let more = *left > 0;
        fetch.headers.pop();
        if more {
            return None;
        }
        fetch.stage = Stage::Bodies;
        Some(fetch.ask())
    }

    /// `from` did not answer what it was asked, or cannot be asked.
    pub(crate) fn handle_silence(&mut self, id: &FetchId, from: PeerId) -> Step {
        self.0.get_mut(id).map_or(Step::Done, |fetch| fetch.next_source(from))
    }

    /// After [`Step::GiveUp`]: others who may have it. Gives what to do next, which is to give up if they were all asked.
    pub(crate) fn retry(&mut self, id: &FetchId, others: impl IntoIterator<Item = PeerId>) -> Step {
        let Some(fetch) = self.0.get_mut(id) else { return Step::Done };
        others.into_iter().for_each(|other| fetch.add_source(other));
        fetch.ask()
    }

    /// The peer is gone. What it was being asked ends as its request ends.
    pub(crate) fn disconnected(&mut self, peer: PeerId) {
        for fetch in self.0.values_mut() {
            if fetch.sources.front() != Some(&peer) || matches!(fetch.stage, Stage::Waiting(_)) {
                fetch.sources.retain(|source| *source != peer);
            }
        }
        self.0.retain(|_, fetch| !(fetch.sources.is_empty() && matches!(fetch.stage, Stage::Waiting(_))));
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Puts blocks together, from the first header on as many as there are bodies for. `bodies` may leave some out; after a
/// gap there are no more blocks.
///
/// # Errors
/// When a body belongs to none of the headers, or comes out of order.
pub(crate) fn assemble<'a>(
    mut headers: impl Iterator<Item = &'a Header>,
    bodies: &[Body],
) -> Result<Vec<Block>, WrongAnswer> {
    let mut blocks = Vec::new();
    let mut is_gapless = true;
    for body in bodies {
        let header = loop {
            let header = headers.next().ok_or(WrongAnswer)?;
            if header.body_digest() == body.digest {
                break header;
            }
            is_gapless = false;
        };
        if is_gapless {
            blocks.push(Block::assemble(&header.raw, &body.raw).map_err(|_| WrongAnswer)?);
        }
    }
    Ok(blocks)
}

impl BlockFetch {
    /// The request that the stage needs, of the first source.
    fn ask(&mut self) -> Step {
        let Some(source) = self.sources.front().copied() else { return Step::GiveUp };
        match self.stage {
            Stage::Headers(hash, round) => {
                let limits = BLOCK_FETCH_HEADERS;
                let limit = limits.get(round).or(limits.last()).copied().unwrap_or(1);
                let limit = limit.min(MAX_BLOCK_FETCH_DEPTH.saturating_sub(self.headers.len()).max(1)) as u64;
                let query = HeadersQuery { origin: Origin::Hash(hash), limit, skip: 0, reverse: true };
                Step::Ask(source, Request::Headers(query))
            }
            Stage::Bodies if self.headers.is_empty() => Step::Done,
            Stage::Bodies => {
                Step::Ask(source, Request::Bodies(self.lowest().map(|header| header.hash).collect()))
            }
            Stage::Waiting(_) | Stage::Checking(..) | Stage::Offering(_) => Step::GiveUp,
        }
    }

    /// The headers whose bodies are asked for next, the lowest first.
    fn lowest(&self) -> impl Iterator<Item = &Header> {
        self.headers.iter().rev().take(BLOCK_FETCH_BODIES)
    }

    fn next_source(&mut self, failed: PeerId) -> Step {
        self.sources.retain(|source| *source != failed);
        self.failed.push(failed);
        self.ask()
    }

    fn add_source(&mut self, source: PeerId) {
        let is_new = !self.sources.contains(&source) && !self.failed.contains(&source);
        if is_new && self.sources.len() + self.failed.len() < MAX_BLOCK_SOURCES {
            self.sources.push_back(source);
        }
    }
}

#[cfg(test)]
mod tests;
