//! Which announced transactions to ask whom for, and when. Pure state: it puts out nothing and knows no message.
//!
//! As in go-ethereum an announced hash waits half a second for the transaction to come in full, then it is asked of one
//! of its announcers, each of whom has one request at a time; the others are alternates.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use identity::Now;
use rlpx::PeerId;

use crate::{
    Hash,
    machine_config::{
        FETCH_DANGLING, FETCH_GATHER_SLACK, FETCH_WAIT, MAX_ANNOUNCED_SIZE_DIFFERENCE,
        MAX_FETCH_ANNOUNCED_LEN, MAX_FETCH_HASHES, MAX_TRACKED_HASHES, MAX_TRACKED_HASHES_PER_PEER,
        MIN_TRACKED_HASHES_PER_PEER, STRIKES_TO_BE_LAST,
    },
    message::Announcement,
    transaction::BLOB,
};

/// A request to send: these transactions, of this peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fetch {
    /// Whom to ask.
    pub(crate) peer: PeerId,
    /// What for, in the order announced.
    pub(crate) hashes: Vec<Hash>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// May still come in full by itself.
    Waiting(Instant),
    /// To be asked of the next free announcer.
    Ready,
    /// Asked of this peer.
    Asked(PeerId),
}

#[derive(Clone, Copy, Debug)]
struct Announcer {
    peer: PeerId,
    order: u64,
    kind: u8,
    size: u32,
}

#[derive(Debug)]
struct Entry {
    stage: Stage,
    announcers: Vec<Announcer>,
}

#[derive(Debug, Default)]
struct Announcing {
    /// Every hash that it announced and that is still missing, with its place in the order of announcements.
    tracked: BTreeMap<Hash, u64>,
    /// Those of them that are ready, in that order.
    ready: BTreeMap<u64, Hash>,
    /// What it is being asked for.
    asked: Option<Vec<Hash>>,
    /// Nothing is asked of it before this: it did not answer, and may still be busy with that.
    resting_until: Option<Instant>,
    /// Requests unanswered in a row.
    strikes: u32,
}

/// The announced transactions that we do not have yet.
#[derive(Debug, Default)]
pub(crate) struct Fetcher {
    entries: BTreeMap<Hash, Entry>,
    peers: BTreeMap<PeerId, Announcing>,
    waiting: BTreeSet<(Instant, Hash)>,
    next_order: u64,
    last_asked: Option<PeerId>,
}

impl Fetcher {
    /// `peer` announced `items`, none of which we have. Gives the number that was dropped: a peer's hashes beyond
    /// [`MAX_TRACKED_HASHES_PER_PEER`], new ones beyond [`MAX_TRACKED_HASHES`], and repeats of itself.
    pub(crate) fn announced(
        &mut self,
        now: Now,
        peer: PeerId,
        items: impl IntoIterator<Item = Announcement>,
    ) -> usize {
        items.into_iter().filter(|item| !self.announced_one(now, peer, *item)).count()
    }

    fn announced_one(&mut self, now: Now, peer: PeerId, item: Announcement) -> bool {
        let Announcement { hash, kind, size } = item;
        let announcing = self.peers.entry(peer).or_default();
        let tracked = announcing.tracked.len();
        if tracked >= MAX_TRACKED_HASHES_PER_PEER || announcing.tracked.contains_key(&hash) {
            return false;
        }
        let crowded = self.entries.len() >= MAX_TRACKED_HASHES && tracked >= MIN_TRACKED_HASHES_PER_PEER;
        if crowded && !self.entries.contains_key(&hash) {
            return false;
        }
        let order = self.next_order;
        self.next_order = self.next_order.wrapping_add(1);
        announcing.tracked.insert(hash, order);
        let entry = self.entries.entry(hash).or_insert_with(|| {
            // Blobs are never sent unasked.
            let stage = match now.instant.checked_add(FETCH_WAIT).filter(|_| kind != BLOB) {
                Some(until) => Stage::Waiting(until),
                None => Stage::Ready,
            };
            Entry { stage, announcers: Vec::new() }
        });
        entry.announcers.push(Announcer { peer, order, kind, size });
        match entry.stage {
            Stage::Waiting(until) => _ = self.waiting.insert((until, hash)),
            Stage::Ready => _ = announcing.ready.insert(order, hash),
            Stage::Asked(_) => {}
        }
        true
    }

    /// The transaction has come, from whomever, or is not wanted any more. Gives those who announced it with another
    /// type, or a size that is off by more than [`MAX_ANNOUNCED_SIZE_DIFFERENCE`] bytes; a blob transaction's size is
    /// not fixed by its hash, so only the sender's own word counts there.
    pub(crate) fn received(
        &mut self,
        hash: &Hash,
        kind: u8,
        size: u32,
        sender: Option<PeerId>,
    ) -> Vec<PeerId> {
        let Some(entry) = self.forget(hash) else { return Vec::new() };
        let lies = |announcer: &Announcer| {
            let size_counts = kind != BLOB || sender == Some(announcer.peer);
            announcer.kind != kind
                || (size_counts && announcer.size.abs_diff(size) > MAX_ANNOUNCED_SIZE_DIFFERENCE)
        };
        entry.announcers.iter().filter(|announcer| lies(announcer)).map(|announcer| announcer.peer).collect()
    }

    /// Whether the transaction is missing and tracked.
    pub(crate) fn contains(&self, hash: &Hash) -> bool {
        self.entries.contains_key(hash)
    }

    /// The hash needs no fetching any more.
    pub(crate) fn discard(&mut self, hash: &Hash) {
        self.forget(hash);
    }

    fn forget(&mut self, hash: &Hash) -> Option<Entry> {
        let entry = self.entries.remove(hash)?;
        if let Stage::Waiting(until) = entry.stage {
            self.waiting.remove(&(until, *hash));
        }
        for announcer in &entry.announcers {
            if let Some(announcing) = self.peers.get_mut(&announcer.peer) {
                announcing.tracked.remove(hash);
                announcing.ready.remove(&announcer.order);
            }
        }
        Some(entry)
    }

    /// The next request to send, to a peer for which `can_take` holds. Call until None.
    pub(crate) fn next_fetch(&mut self, now: Now, can_take: impl Fn(PeerId) -> bool) -> Option<Fetch> {
        self.end_waits(now);
        self.end_rests(now);
        let free = |(peer, announcing): (&PeerId, &Announcing)| {
            let idle = announcing.asked.is_none() && announcing.resting_until.is_none();
            let free = idle && !announcing.ready.is_empty() && can_take(*peer);
            free.then_some((announcing.strikes >= STRIKES_TO_BE_LAST, *peer))
        };
        let mut peers: Vec<(bool, PeerId)> = self.peers.iter().filter_map(free).collect();
        // Round robin, from the peer after the one asked last; those who do not answer at the end.
        peers.sort_by_key(|(last, peer)| (*last, Some(*peer) <= self.last_asked, *peer));
        for (_, peer) in peers {
            let hashes = self.choose(peer);
            if !hashes.is_empty() {
                self.last_asked = Some(peer);
                return Some(self.ask(peer, hashes));
            }
        }
        None
    }

    fn end_waits(&mut self, now: Now) {
        let horizon = now.instant.checked_add(FETCH_GATHER_SLACK).unwrap_or(now.instant);
        // One that is due takes those along that are nearly due.
        if self.waiting.first().is_none_or(|(until, _)| *until > now.instant) {
            return;
        }
        while let Some((until, hash)) = self.waiting.first().copied().filter(|(until, _)| *until <= horizon) {
            self.waiting.remove(&(until, hash));
            self.make_ready(&hash);
        }
    }

    fn end_rests(&mut self, now: Now) {
        for announcing in self.peers.values_mut() {
            announcing.resting_until = announcing.resting_until.filter(|until| *until > now.instant);
        }
    }

    fn make_ready(&mut self, hash: &Hash) {
        let Some(entry) = self.entries.get_mut(hash) else { return };
        entry.stage = Stage::Ready;
        for announcer in &entry.announcers {
            if let Some(announcing) = self.peers.get_mut(&announcer.peer) {
                announcing.ready.insert(announcer.order, *hash);
            }
        }
    }

    /// What to ask `peer` for. One with [`STRIKES_TO_BE_LAST`] gets only what nobody better announced.
    fn choose(&self, peer: PeerId) -> Vec<Hash> {
        let Some(announcing) = self.peers.get(&peer) else { return Vec::new() };
        let strikes = |peer: &PeerId| self.peers.get(peer).map_or(0, |announcing| announcing.strikes);
        let is_last = announcing.strikes >= STRIKES_TO_BE_LAST;
        let mut announced_len = 0u64;
        let mut hashes = Vec::new();
        for hash in announcing.ready.values() {
            let Some(entry) = self.entries.get(hash) else { continue };
            let better = |announcer: &Announcer| strikes(&announcer.peer) < STRIKES_TO_BE_LAST;
            if is_last && entry.announcers.iter().any(better) {
                continue;
            }
            let own = entry.announcers.iter().find(|announcer| announcer.peer == peer);
            announced_len = announced_len.saturating_add(own.map_or(0, |own| u64::from(own.size)));
            if !hashes.is_empty() && announced_len > MAX_FETCH_ANNOUNCED_LEN {
                break;
            }
            hashes.push(*hash);
            if hashes.len() >= MAX_FETCH_HASHES {
                break;
            }
        }
        hashes
    }

    fn ask(&mut self, peer: PeerId, hashes: Vec<Hash>) -> Fetch {
        for hash in &hashes {
            let Some(entry) = self.entries.get_mut(hash) else { continue };
            entry.stage = Stage::Asked(peer);
            for announcer in &entry.announcers {
                if let Some(announcing) = self.peers.get_mut(&announcer.peer) {
                    announcing.ready.remove(&announcer.order);
                }
            }
        }
        if let Some(announcing) = self.peers.get_mut(&peer) {
            announcing.asked = Some(hashes.clone());
            announcing.resting_until = None;
        }
        Fetch { peer, hashes }
    }

    /// `peer` answered its request with the transactions `delivered`, each of which is passed to
    /// [`Fetcher::received`] besides. What it left out before its last item, or with an empty answer, it does not have;
    /// what comes after was cut off and may be asked again.
    pub(crate) fn answered(&mut self, peer: PeerId, delivered: &[Hash]) {
        let Some(announcing) = self.peers.get_mut(&peer) else { return };
        announcing.strikes = 0;
        let Some(asked) = announcing.asked.take() else { return };
        let delivered: BTreeSet<&Hash> = delivered.iter().collect();
        let cut = asked.iter().rposition(|hash| delivered.contains(hash)).unwrap_or(asked.len());
        for (place, hash) in asked.iter().enumerate() {
            if delivered.contains(hash) {
                continue;
            }
            if place < cut {
                self.withdraw(peer, hash);
            }
            self.ask_again(peer, hash);
        }
    }

    /// `peer` did not answer in time: its hashes go to the alternates, and it is asked nothing before it answers or
    /// [`FETCH_DANGLING`] has passed.
    pub(crate) fn timed_out(&mut self, now: Now, peer: PeerId) {
        let Some(announcing) = self.peers.get_mut(&peer) else { return };
        announcing.strikes = announcing.strikes.saturating_add(1);
        announcing.resting_until = now.instant.checked_add(FETCH_DANGLING);
        for hash in announcing.asked.take().unwrap_or_default() {
            self.withdraw(peer, &hash);
            self.ask_again(peer, &hash);
        }
    }

    /// The request to `peer` could not be put out: its hashes are ready again.
    pub(crate) fn not_sent(&mut self, peer: PeerId) {
        let asked = self.peers.get_mut(&peer).and_then(|announcing| announcing.asked.take());
        asked.unwrap_or_default().iter().for_each(|hash| self.ask_again(peer, hash));
    }

    /// `peer` answered after its time: it may be asked again.
    pub(crate) fn answered_late(&mut self, peer: PeerId) {
        if let Some(announcing) = self.peers.get_mut(&peer) {
            announcing.resting_until = None;
        }
    }

    /// The peer is gone; what it was asked for goes to the alternates.
    pub(crate) fn disconnected(&mut self, peer: PeerId) {
        let Some(announcing) = self.peers.get_mut(&peer) else { return };
        let tracked: Vec<Hash> = announcing.tracked.keys().copied().collect();
        for hash in tracked {
            self.withdraw(peer, &hash);
            self.ask_again(peer, &hash);
        }
        self.peers.remove(&peer);
    }

    /// `peer` no longer counts as having `hash`.
    fn withdraw(&mut self, peer: PeerId, hash: &Hash) {
        if let Some(announcing) = self.peers.get_mut(&peer)
            && let Some(order) = announcing.tracked.remove(hash)
        {
            announcing.ready.remove(&order);
        }
        let Some(entry) = self.entries.get_mut(hash) else { return };
        entry.announcers.retain(|announcer| announcer.peer != peer);
        if entry.announcers.is_empty() {
            self.forget(hash);
        }
    }

    /// A hash that `peer` was asked for is free to be asked again.
    fn ask_again(&mut self, peer: PeerId, hash: &Hash) {
        if self.entries.get(hash).is_some_and(|entry| entry.stage == Stage::Asked(peer)) {
            self.make_ready(hash);
        }
    }

    /// When [`Fetcher::next_fetch`] may have something new to give without anything else having happened.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let rested = self.peers.values().filter(|announcing| !announcing.ready.is_empty());
        let rested = rested.filter_map(|announcing| announcing.resting_until);
        let waited = self.waiting.first().map(|(until, _)| *until);
        waited.into_iter().chain(rested).min()
    }

    /// How many hashes are tracked: of all peers.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests;
