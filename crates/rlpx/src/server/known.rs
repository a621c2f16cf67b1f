//! The nodes of the address book as dials, and what happens to them as the book's news. Known nodes are dialed beside
//! those that discovery finds, for half of the slots for dials at the most, so that neither shuts the other out; all
//! limits on dials hold for them too. Who is in the book and how good is `address_book`'s; writing it is the driver's.

use identity::{NodeId, Now};

use super::{Output, Server};
use crate::{
    address_book::{AddressBook, BookChanges, BookEntry, Service},
    dialer::{Known, Parted},
    peer::PeerId,
    peer_set::{Entry, Origin},
};

/// Of the dials under way one in this many, rounded up, may go to known nodes.
const KNOWN_PART: usize = 2;

/// The address book.
impl Server {
    /// Keeps an address book from now on, which begins with what was `stored`, and dials the best of it.
    pub fn open_book(&mut self, now: Now, stored: Vec<BookEntry>) {
        let book = AddressBook::new(
            now,
            stored,
            (self.config.times.book, self.config.limits.book),
            self.config.address_policy,
        );
        self.dialer.known = Some(Known { book, next_look: now.instant });
        self.dial_known(now);
    }

    /// What [`Output::Store`] asked for is done, or has failed; no other is put out before.
    pub fn handle_stored(&mut self, now: Now, is_stored: bool) {
        if let Some(known) = &mut self.dialer.known {
            known.book.handle_stored(now, is_stored);
        }
    }

    /// What is not stored yet, for the end: called once, when every connection is closed.
    pub fn last_changes(&mut self) -> Option<BookChanges> {
        self.dialer.known.as_mut().and_then(|known| known.book.last_changes())
    }

    /// How many nodes the address book has; at most [`BookLimits::entries`](crate::BookLimits::entries), none without a book.
    pub fn known_count(&self) -> usize {
        self.dialer.known.as_ref().map_or(0, |known| known.book.len())
    }

    /// Points for who has served, and a write when one is due.
    pub(super) fn keep_book(&mut self, now: Now) {
        let Some(known) = &mut self.dialer.known else { return };
        known.book.handle_timeout(now);
        self.outputs.extend(known.book.changes_due(now).map(Output::Store));
    }

    /// Free slots for dials to known nodes.
    fn known_slots(&self, now: Now) -> usize {
        let half = self.dial_capacity(now).div_ceil(KNOWN_PART);
        self.dial_slots(now).min(half.saturating_sub(self.peers.dialing_known()))
    }

    /// When known nodes are looked at again, if there is room for one.
    pub(super) fn next_known(&self, now: Now) -> Option<std::time::Instant> {
        let known = self.dialer.known.as_ref()?;
        let look = (known.book.len() > 0 && self.known_slots(now) > 0).then_some(known.next_look);
        look.into_iter().chain(known.book.next_timeout()).min()
    }

    /// Dials the best known nodes that may be dialed now.
    pub(super) fn dial_known(&mut self, now: Now) {
        let mut slots = self.known_slots(now);
        if slots == 0 || !self.dialer.is_time_to_look(now.instant) {
            return;
        }
        let ranked = self.dialer.rank_known(now);
        let mut has_dialed = false;
        for (public_key, addresses) in ranked {
            if slots == 0 {
                break;
            }
            // Refused is nothing here: it is not a find of somebody's, and is looked at again.
            let Ok(addresses) = self.where_to_dial(now, public_key, &addresses) else { continue };
            let id = self.peers.insert(Entry::outbound(now.instant, Origin::Known, public_key));
            // In the order of the book, where what answered last goes first.
            self.connect(now, id, public_key, addresses);
            (has_dialed, slots) = (true, slots - 1);
        }
        self.dialer.note_look(now.instant, has_dialed);
    }

    /// A connection has become a peer.
    pub(super) fn note_peer(&mut self, now: Now, id: PeerId, node_id: NodeId) {
        let Some(entry) = self.peers.entry(id) else { return };
        let (Some(public_key), false) = (entry.public_key, self.dialer.is_static(&node_id)) else { return };
        // Who came in has shown where it calls from, not where it listens.
        let addresses = if entry.is_inbound() { Vec::new() } else { entry.addresses.clone() };
        if let Some(known) = &mut self.dialer.known {
            known.book.handle_peer(now, public_key, addresses);
        }
    }

    /// The last connection with a node is over.
    pub(super) fn note_parting(&mut self, now: Now, node_id: NodeId, parted: &Parted<'_>) {
        let stable = self.config.times.book.stable;
        let Some(known) = &mut self.dialer.known else { return };
        // What we end ourselves at the end is nobody's fault.
        if self.peers.established() > 0 {
            known.book.handle_reached(now);
        }
        let service = if self.shutting_down { Service::Fair } else { parted.service(stable) };
        known.book.handle_parting(now, node_id, service);
    }
}
