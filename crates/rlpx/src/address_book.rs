//! The nodes that have served us before, best first: whom to dial when discovery has found nobody yet, across restarts.
//! A node gets in by a session that we dialed and that lasted, and by nothing else: what discovery, records or peers say
//! of addresses fills no place here. Scores rise with lasting sessions and the owner's praise, fall with failures, and
//! halve in a week. It decides on what is known; when to dial is `server/known.rs`'s, the file `driver/book.rs`'s.

mod entry;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use identity::{AddressPolicy, NodeId, Now, Prefix, PublicKey};

pub use self::entry::{BookEntry, MAX_BOOK_ADDRESSES, MAX_ENTRY_LEN};
use self::entry::{MAX_SCORE, POINT};
use crate::{limits::BookLimits, standing::Verdict};

/// The most nodes that an address book and its file may have: sixty times the 17 that are dialed of 50 peers, in 256 KiB.
pub const MAX_BOOK_ENTRIES: usize = 1_024;

/// Each further stretch of a session is worth what its first one, [`BookTimes::stable`], was.
const CREDIT_INTERVAL: Duration = Duration::from_secs(600);

/// A failure is the node's own only if somebody was reached this recently: where nobody is, our own line is down.
const REACH_MEMORY: Duration = Duration::from_secs(600);

/// Before a failed write is tried again: one line of log a minute.
const STORE_RETRY: Duration = Duration::from_secs(60);

/// The intervals of an address book.
#[derive(Clone, Copy, Debug)]
pub struct BookTimes {
    /// A session that lasted this long puts its node into the book. Default: 30 s, two ping intervals.
    pub stable: Duration,
    /// Between two writes of what has changed. Default: 10 s.
    pub store: Duration,
}

impl Default for BookTimes {
    fn default() -> Self {
        Self { stable: Duration::from_secs(30), store: Duration::from_secs(10) }
    }
}

/// What has changed in an address book since the last of these, in one transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BookChanges {
    /// Whether `kept` is all there is, and whatever else is stored goes.
    pub whole: bool,
    /// Nodes as they are now; at most [`MAX_BOOK_ENTRIES`].
    pub kept: Vec<BookEntry>,
    /// Nodes that are no longer in the book; at most as many.
    pub dropped: Vec<NodeId>,
}

/// A session with a node that may get in, or is in.
#[derive(Clone, Debug)]
struct Serving {
    public_key: PublicKey,
    /// Where we dialed it, the address that answered first; empty when it came in.
    addresses: Vec<SocketAddr>,
    /// What the session has earned, so that who serves for long gets in even where the first point was not enough.
    earned: u32,
    /// When it has earned its next point.
    credit_at: Instant,
}

/// How a dial or a session spoke for its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// It lasted, or the node is alive and full: nothing to hold against it.
    Fair,
    /// It did not come to be, or was short.
    Failed,
    /// Another node answers there, or the two have no business with each other.
    Unfit,
}

/// The nodes that have served us. At most [`BookLimits::entries`].
#[derive(Debug)]
pub(crate) struct AddressBook {
    entries: BTreeMap<NodeId, BookEntry>,
    /// Peers of now: no more than a server has.
    serving: BTreeMap<NodeId, Serving>,
    changed: BTreeSet<NodeId>,
    /// Set when too much has changed to name it.
    all_changed: bool,
    times: BookTimes,
    limits: BookLimits,
    policy: AddressPolicy,
    reached_at: Option<Instant>,
    /// None while a write is under way.
    store_at: Option<Instant>,
}

/// What is stored.
impl AddressBook {
    /// A book of what was stored, the rest of it beyond the limits left out.
    pub(crate) fn new(
        now: Now,
        stored: Vec<BookEntry>,
        (times, limits): (BookTimes, BookLimits),
        policy: AddressPolicy,
    ) -> Self {
        let mut book = Self {
            entries: BTreeMap::new(),
            serving: BTreeMap::new(),
            changed: BTreeSet::new(),
            all_changed: false,
            times,
            limits,
            policy,
            reached_at: None,
            store_at: Some(now.instant),
        };
        let stored_count = stored.len();
        for entry in stored {
            // What has decayed to nothing is not worth a dial.
            if entry.score(now.unix) > 0 {
                book.insert(now, entry);
            }
        }
        book.changed.clear();
        book.all_changed = book.len() < stored_count;
        book
    }

    /// What is to be stored now, if a write is due; no other is until [`Self::handle_stored`].
    pub(crate) fn changes_due(&mut self, now: Now) -> Option<BookChanges> {
        let is_due = self.has_changed() && self.store_at.is_some_and(|at| at <= now.instant);
        is_due.then(|| self.changes())
    }

    /// What is to be stored, due or not: for the end.
    pub(crate) fn last_changes(&mut self) -> Option<BookChanges> {
        self.has_changed().then(|| self.changes())
    }

    fn has_changed(&self) -> bool {
        self.all_changed || !self.changed.is_empty()
    }

    fn changes(&mut self) -> BookChanges {
        self.store_at = None;
        let changed = std::mem::take(&mut self.changed);
        if std::mem::take(&mut self.all_changed) {
            return BookChanges {
                whole: true,
                kept: self.entries.values().cloned().collect(),
                dropped: vec![],
            };
        }
        let kept = changed.iter().filter_map(|node_id| self.entries.get(node_id)).cloned().collect();
        let dropped = changed.into_iter().filter(|node_id| !self.entries.contains_key(node_id)).collect();
        BookChanges { whole: false, kept, dropped }
    }

    /// A write is over. One that failed is made good by writing everything later.
    pub(crate) fn handle_stored(&mut self, now: Now, is_stored: bool) {
        self.all_changed |= !is_stored;
        let pause = if is_stored { self.times.store } else { STORE_RETRY };
        self.store_at = now.instant.checked_add(pause);
    }

    fn mark(&mut self, node_id: NodeId) {
        if self.changed.len() >= self.limits.entries && !self.changed.contains(&node_id) {
            self.all_changed = true;
            self.changed.clear();
        }
        if !self.all_changed {
            self.changed.insert(node_id);
        }
    }
}

/// What happens.
impl AddressBook {
    /// Somebody can be reached, whoever it is: a dial has connected, or there are peers.
    pub(crate) fn handle_reached(&mut self, now: Now) {
        self.reached_at = Some(now.instant);
    }

    /// A node has become a peer. `addresses`: where we reached it, that first, and where else it said to be; none for who
    /// came in, which says nothing of where it listens.
    pub(crate) fn handle_peer(&mut self, now: Now, public_key: PublicKey, addresses: Vec<SocketAddr>) {
        let Some(credit_at) = now.instant.checked_add(self.times.stable) else { return };
        self.serving.insert(public_key.node_id(), Serving { public_key, addresses, earned: 0, credit_at });
    }

    /// A dial or session is over.
    pub(crate) fn handle_parting(&mut self, now: Now, node_id: NodeId, service: Service) {
        // What it has earned up to now comes first.
        self.credit(now, node_id);
        self.serving.remove(&node_id);
        let Some(entry) = self.entries.get_mut(&node_id) else { return };
        let is_our_line =
            self.reached_at.is_none_or(|at| now.instant.saturating_duration_since(at) > REACH_MEMORY);
        match service {
            Service::Fair => return,
            Service::Failed if is_our_line => return,
            Service::Failed => entry.note_failure(now.unix),
            Service::Unfit => entry.failures = self.limits.failures,
        }
        if entry.failures >= self.limits.failures {
            self.entries.remove(&node_id);
        }
        self.mark(node_id);
    }

    /// The owner's word on a node.
    pub(crate) fn handle_verdict(&mut self, now: Now, node_id: NodeId, verdict: Verdict) {
        let Some(entry) = self.entries.get_mut(&node_id) else { return };
        match verdict {
            Verdict::Good => entry.reward(now.unix, POINT),
            Verdict::Useless => entry.punish(now.unix, POINT),
            Verdict::Misbehaved => entry.punish(now.unix, MAX_SCORE / 2),
            Verdict::Malicious => self.remove(node_id),
        }
        self.mark(node_id);
    }

    /// The owner wants nothing to do with a node, or no longer knows it.
    pub(crate) fn remove(&mut self, node_id: NodeId) {
        self.serving.remove(&node_id);
        if self.entries.remove(&node_id).is_some() {
            self.mark(node_id);
        }
    }

    /// Gives points to who has served for long enough.
    pub(crate) fn handle_timeout(&mut self, now: Now) {
        let due = self.serving.iter().filter(|(_, serving)| serving.credit_at <= now.instant);
        let due: Vec<NodeId> = due.map(|(node_id, _)| *node_id).collect();
        for node_id in due {
            self.credit(now, node_id);
        }
    }

    /// When somebody has earned a point, or a write is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let credits = self.serving.values().map(|serving| serving.credit_at);
        credits.chain(self.store_at.filter(|_| self.has_changed())).min()
    }

    fn credit(&mut self, now: Now, node_id: NodeId) {
        let Some(serving) = self.serving.get_mut(&node_id) else { return };
        if serving.credit_at > now.instant {
            return;
        }
        serving.credit_at = now.instant.checked_add(CREDIT_INTERVAL).unwrap_or(now.instant);
        serving.earned = serving.earned.saturating_add(POINT);
        let Serving { public_key, addresses, earned, .. } = serving.clone();
        match self.entries.get_mut(&node_id) {
            Some(entry) => {
                entry.reward(now.unix, POINT);
                entry.note_success(now.unix, &addresses);
                self.mark(node_id);
            }
            None => {
                if let Some(entry) = BookEntry::new(public_key, addresses, earned, now.unix) {
                    self.insert(now, entry);
                }
            }
        }
    }

    /// Puts a node in, if there is room for it or it is better than the one that has to make room.
    fn insert(&mut self, now: Now, entry: BookEntry) {
        let score = entry.score(now.unix);
        let site = entry.counted_site(&self.policy);
        let of_site = |other: &BookEntry| site.is_some() && other.counted_site(&self.policy) == site;
        let count_of_site = self.entries.values().filter(|other| of_site(other)).count();
        let rival = if count_of_site >= self.limits.entries_per_site {
            self.worst(now, of_site)
        } else if self.entries.len() >= self.limits.entries {
            self.worst(now, |_| true)
        } else {
            None
        };
        match rival {
            Some((worst, _)) if worst >= score => return,
            Some((_, node_id)) => {
                self.entries.remove(&node_id);
                self.mark(node_id);
            }
            None => {}
        }
        let node_id = entry.public_key.node_id();
        self.entries.insert(node_id, entry);
        self.mark(node_id);
    }

    fn worst(&self, now: Now, of: impl Fn(&BookEntry) -> bool) -> Option<(u32, NodeId)> {
        let scores = self.entries.iter().filter(|(_, entry)| of(entry));
        scores.map(|(node_id, entry)| (entry.score(now.unix), *node_id)).min()
    }
}

/// What is known.
impl AddressBook {
    /// Every node with its score, in no order.
    pub(crate) fn iter(&self, now: Now) -> impl Iterator<Item = (u32, &BookEntry)> {
        self.entries.values().map(move |entry| (entry.score(now.unix), entry))
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

impl BookEntry {
    /// The site that it counts for; None for addresses that limits do not count.
    fn counted_site(&self, policy: &AddressPolicy) -> Option<Prefix> {
        let ip = self.addresses.first()?.ip();
        policy.counts(ip).then(|| Prefix::site(ip))
    }
}

#[cfg(test)]
mod tests;
