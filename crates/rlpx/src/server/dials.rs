//! Dials: candidates as they are found, static peers as they become due, as many at a time as there are slots.
//! Whom to dial and when again is `dialer`'s; nodes that are known from before are dialed in `known.rs`.

use std::net::SocketAddr;

use identity::{Enode, Host, Now, PublicKey};

use super::{Output, Server};
use crate::{
    admission::Refusal,
    dialer::{Candidate, may_dial},
    error::SessionEnd,
    peer::PeerId,
    peer_set::{Entry, Origin, Stage},
};

/// Dials under way for each peer that is missing: half of all dials fail.
const DIALS_PER_SLOT: usize = 2;

/// Dials.
impl Server {
    /// How many candidates are wanted now: pull no more from whoever finds them.
    pub fn wanted_candidates(&self, now: Now) -> usize {
        self.dial_slots(now).min(self.dialer.candidate_budget(now.instant))
    }

    /// Free slots for dials to candidates: twice as many as peers are missing, since half of all dials fail.
    pub(super) fn dial_slots(&self, now: Now) -> usize {
        if self.shutting_down || self.config.slots.no_discovered_dials || self.is_full() {
            return 0;
        }
        self.dial_capacity(now).saturating_sub(self.peers.dialing())
    }

    /// Dials that may be under way now.
    pub(super) fn dial_capacity(&self, now: Now) -> usize {
        let missing = self.config.max_dialed().saturating_sub(self.peers.outbound_established());
        missing.saturating_mul(DIALS_PER_SLOT).min(self.max_dials(now))
    }

    /// Dials that may be under way by what was set, and by what this system has to dial with.
    fn max_dials(&self, now: Now) -> usize {
        self.dialer.shortage.limit(now.instant, self.config.max_dials)
    }

    pub(super) fn is_full(&self) -> bool {
        self.peers.established() >= self.config.max_peers
    }

    /// Somebody found a node, and no protocol minds which. Dialed when it fits, wherever it may be; otherwise counted and
    /// forgotten.
    pub fn handle_candidate(&mut self, now: Now, candidate: Candidate) {
        self.handle_judged(now, candidate, []);
    }

    /// Somebody found a node, and this is what each protocol says to it: whether it wants the node dialed, or None where it
    /// does not mind. One is enough to want it; otherwise nobody may mind.
    pub fn handle_judged(
        &mut self,
        now: Now,
        candidate: Candidate,
        opinions: impl IntoIterator<Item = Option<bool>>,
    ) {
        if self.wanted_candidates(now) == 0 {
            return;
        }
        self.dialer.spend_candidate(now.instant);
        let mut minds = opinions.into_iter().flatten().peekable();
        if minds.peek().is_some() && !minds.any(|wants| wants) {
            self.counts.refusals.add(Refusal::CandidateUnwanted);
            return;
        }
        let addresses: Vec<SocketAddr> = candidate.addresses().collect();
        match self.where_to_dial(now, candidate.public_key, &addresses) {
            Ok(addresses) => {
                let entry = Entry::outbound(now.instant, Origin::Dynamic, candidate.public_key);
                let id = self.peers.insert(entry);
                let addresses = self.dialer.in_order(now.instant, &addresses);
                self.connect(now, id, candidate.public_key, addresses);
            }
            Err(refusal) => self.counts.refusals.add(refusal),
        }
    }

    /// Those of its addresses at which a node may be dialed now; then it is on record as dialed.
    pub(super) fn where_to_dial(
        &mut self,
        now: Now,
        remote: PublicKey,
        addresses: &[SocketAddr],
    ) -> Result<Vec<SocketAddr>, Refusal> {
        let node_id = remote.node_id();
        let mut left: Vec<SocketAddr> = addresses.to_vec();
        left.retain(|address| may_dial(&self.config, address.ip()));
        if left.is_empty() {
            return Err(Refusal::CandidateAddress);
        }
        if node_id == self.local {
            return Err(Refusal::CandidateOwn);
        }
        left.retain(|address| !self.bans.holds_address(now.instant, address.ip()));
        if left.is_empty() || self.bans.holds_node(now.instant, node_id) {
            return Err(Refusal::CandidateBanned);
        }
        if self.peers.involves(node_id) {
            return Err(Refusal::CandidateBusy);
        }
        self.dialer.consider(now.instant, &self.config, node_id, &left)
    }

    /// Dials the static peers that are due, before any candidate; they wait when every dial is taken.
    pub(super) fn dial_static(&mut self, now: Now) {
        while let Some(enode) = self.static_to_dial(now) {
            let id = self.peers.insert(Entry::outbound(now.instant, Origin::Static, enode.public_key));
            let banned = |ip| self.bans.holds_address(now.instant, ip);
            let refusal = match &enode.host {
                Host::Ip(ip) if !may_dial(&self.config, *ip) => Some(Refusal::NetRestrict),
                Host::Ip(ip) => banned(*ip).then_some(Refusal::Banned),
                Host::Dns(_) => None,
            };
            match (refusal, enode.host) {
                (Some(refusal), _) => {
                    self.note(id, refusal);
                    self.abort(now, id);
                }
                (None, Host::Ip(ip)) => {
                    self.connect(now, id, enode.public_key, vec![SocketAddr::new(ip, enode.tcp)]);
                }
                (None, Host::Dns(name)) => {
                    self.outputs.push_back(Output::Resolve { id, name, port: enode.tcp });
                }
            }
        }
    }

    /// A static peer that is due and may be dialed.
    pub(super) fn static_to_dial(&self, now: Now) -> Option<Enode> {
        if self.shutting_down || self.peers.dialing() >= self.max_dials(now) {
            return None;
        }
        let pointless = |node_id| {
            self.peers.involves(node_id)
                || self.bans.holds_node(now.instant, node_id)
                || (self.is_full() && !self.trusted.contains(&node_id))
        };
        self.dialer.due_static(now.instant, pointless)
    }

    /// A connection of ours is over. Whether it is a dial that failed because this system had nothing to dial with.
    pub(super) fn is_starved(&mut self, now: Now, entry: &Entry, end: &SessionEnd) -> bool {
        let (Some(node_id), Stage::Dialing) = (entry.node_id, entry.stage) else { return false };
        let (goal, outcome) = ((node_id, entry.addresses.as_slice()), (entry.since, end));
        let is_starved = self.dialer.handle_unreached(now.instant, &self.config.times, goal, outcome);
        if is_starved {
            self.counts.refusals.add(Refusal::DialShortage);
        }
        is_starved
    }

    /// Puts a dial out, to `addresses` in this order. The first counts from now on for candidates at the same host and
    /// site, whoever named it; the others when they are tried.
    pub(super) fn connect(&mut self, now: Now, id: PeerId, remote: PublicKey, addresses: Vec<SocketAddr>) {
        if let Some(first) = addresses.first() {
            self.dialer.note_dial(now.instant, &self.config, first.ip());
        }
        if let Some(entry) = self.peers.entry_mut(id) {
            entry.addresses.clone_from(&addresses);
        }
        self.outputs.push_back(Output::Connect { id, remote, addresses });
    }

    /// Whether an address of a dial that is not its first may be tried now; if so, the attempt is on record. Asked before
    /// each: a ban may have come, or other dials may have taken the places of the address's site.
    pub fn handle_attempt(&mut self, now: Now, id: PeerId, address: SocketAddr) -> bool {
        let ip = address.ip();
        let dial = self.peers.entry(id).filter(|entry| entry.stage == Stage::Dialing);
        let Some(origin) = dial.map(|entry| entry.origin) else { return false };
        let is_barred = !may_dial(&self.config, ip) || self.bans.holds_address(now.instant, ip);
        // Nobody plants the addresses of static peers: they count, and are not held back.
        let is_held_back = origin != Origin::Static && self.dialer.is_crowded(now.instant, &self.config, ip);
        if is_barred || is_held_back {
            return false;
        }
        self.dialer.note_dial(now.instant, &self.config, ip);
        true
    }
}
