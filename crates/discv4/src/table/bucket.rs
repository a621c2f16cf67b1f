//! One bucket: at most 16 nodes, least recently seen first, and at most 10 that wait for a place, oldest first.
//! It knows order and numbers; networks and events are the table's.

use std::time::Instant;

use identity::NodeId;

use super::{IpLimit, NodeEntry};
use crate::config::{BUCKET_SIZE, MAX_INBOUND_IN_BUCKET, MAX_NETWORK_IN_BUCKET, MAX_REPLACEMENTS};

/// A node with what the table keeps about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) node: NodeEntry,
    /// It came by its own unsolicited Ping, and nobody has named it yet.
    pub(super) inbound: bool,
    /// Pings answered in a row; a silence divides it by 3, as in go-ethereum.
    pub(super) checks: u32,
    /// When it was last heard of; for one that only others named, when they did.
    pub(super) seen_at: Instant,
    /// FindNodes in a row without an answer.
    pub(super) find_failures: u8,
    /// A Ping of the revalidation is out.
    pub(super) checking: bool,
    /// When its record was last asked for.
    pub(super) record_asked_at: Option<Instant>,
}

impl Slot {
    pub(super) const fn new(node: NodeEntry, inbound: bool, now: Instant) -> Self {
        let (checks, find_failures, checking) = (0, 0, false);
        Self { node, inbound, checks, seen_at: now, find_failures, checking, record_asked_at: None }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KBucket {
    /// Least recently seen first.
    pub(super) entries: Vec<Slot>,
    /// The oldest first.
    pub(super) replacements: Vec<Slot>,
    /// Entries and replacements by network.
    pub(super) networks: IpLimit,
}

impl KBucket {
    pub(super) const fn new() -> Self {
        Self { entries: Vec::new(), replacements: Vec::new(), networks: IpLimit::new(MAX_NETWORK_IN_BUCKET) }
    }

    pub(super) fn entry(&mut self, id: &NodeId) -> Option<&mut Slot> {
        self.entries.iter_mut().find(|slot| slot.node.node_id == *id)
    }

    /// The node, as an entry or a replacement.
    pub(super) fn slot(&mut self, id: &NodeId) -> Option<&mut Slot> {
        self.entries.iter_mut().chain(&mut self.replacements).find(|slot| slot.node.node_id == *id)
    }

    /// Whether a node that came this way may be an entry now.
    pub(super) fn has_room(&self, inbound: bool) -> bool {
        let inbound_count = self.entries.iter().filter(|slot| slot.inbound).count();
        self.entries.len() < BUCKET_SIZE && (!inbound || inbound_count < MAX_INBOUND_IN_BUCKET)
    }

    /// Puts a node among the entries: by when it was last heard of, or at the front when it is not live.
    pub(super) fn insert(&mut self, slot: Slot) {
        let heard_before = |other: &Slot| other.node.live && other.seen_at <= slot.seen_at;
        let index = match self.entries.iter().rposition(heard_before) {
            _ if !slot.node.live => 0,
            Some(last) => last.saturating_add(1),
            None => self.entries.iter().position(|other| other.node.live).unwrap_or(self.entries.len()),
        };
        self.entries.insert(index, slot);
    }

    /// Moves an entry to the end: it was just heard of.
    pub(super) fn touch(&mut self, id: &NodeId, now: Instant) {
        if let Some(index) = self.entries.iter().position(|slot| slot.node.node_id == *id) {
            let mut slot = self.entries.remove(index);
            slot.seen_at = now;
            self.entries.push(slot);
        }
    }

    /// Lets a node wait. Returns who had to go for it, if anybody: itself, when it came by its own Ping and only nodes
    /// that others named are waiting.
    pub(super) fn wait(&mut self, slot: Slot) -> Option<Slot> {
        let mut dropped = None;
        if self.replacements.len() >= MAX_REPLACEMENTS {
            match self.replacements.iter().position(|waiting| waiting.inbound) {
                Some(oldest_inbound) => dropped = Some(self.replacements.remove(oldest_inbound)),
                None if slot.inbound => return Some(slot),
                None => dropped = Some(self.replacements.remove(0)),
            }
        }
        self.replacements.push(slot);
        dropped
    }

    /// Takes an entry out.
    pub(super) fn remove(&mut self, id: &NodeId) -> Option<Slot> {
        let index = self.entries.iter().position(|slot| slot.node.node_id == *id)?;
        Some(self.entries.remove(index))
    }

    /// Moves the most promising replacement into a free place: the youngest live one, else the youngest.
    pub(super) fn promote(&mut self) -> Option<&Slot> {
        let may = |slot: &Slot| self.has_room(slot.inbound);
        let live = self.replacements.iter().rposition(|slot| slot.node.live && may(slot));
        let index = live.or_else(|| self.replacements.iter().rposition(may))?;
        let slot = self.replacements.remove(index);
        let id = slot.node.node_id;
        self.insert(slot);
        self.entries.iter().find(|slot| slot.node.node_id == id)
    }
}
