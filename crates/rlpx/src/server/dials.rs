//! Dials: candidates as they are found, static peers as they become due, as many at a time as there are slots.
//! Whom to dial and when again is `dialer`'s.

use std::net::SocketAddr;

use identity::{Host, Now, PublicKey};

use super::{Output, Server};
use crate::{
    admission::Refusal,
    dialer::{Candidate, may_dial},
    peer::PeerId,
    peer_set::{Entry, Origin},
};

/// Dials.
impl Server {
    /// How many candidates are wanted now: pull no more from whoever finds them.
    pub fn wanted_candidates(&self, now: Now) -> usize {
        self.dial_slots().min(self.dialer.candidate_budget(now.instant))
    }

    /// Free slots for dials to candidates: twice as many as peers are missing, since half of all dials fail.
    pub(super) fn dial_slots(&self) -> usize {
        if self.shutting_down || self.config.no_discovered_dials || self.is_full() {
            return 0;
        }
        let missing = self.config.max_dialed().saturating_sub(self.peers.outbound_established());
        missing.saturating_mul(2).min(self.config.max_dials).saturating_sub(self.peers.dialing())
    }

    pub(super) fn is_full(&self) -> bool {
        self.peers.established() >= self.config.max_peers
    }

    /// Somebody found a node. Dialed when it fits; otherwise counted and forgotten.
    pub fn handle_candidate(&mut self, now: Now, candidate: Candidate) {
        let node_id = candidate.public_key.node_id();
        if self.wanted_candidates(now) == 0 {
            return;
        }
        let obstacle = if node_id == self.local {
            Some(Refusal::CandidateOwn)
        } else if self.bans.holds_node(now.instant, node_id)
            || self.bans.holds_address(now.instant, candidate.endpoint.ip)
        {
            Some(Refusal::CandidateBanned)
        } else {
            self.peers.involves(node_id).then_some(Refusal::CandidateBusy)
        };
        let judged = self.dialer.consider(now.instant, &self.config, &candidate, obstacle);
        match (judged, candidate.endpoint.tcp_addr()) {
            (Ok(()), Some(address)) => {
                let entry = Entry::outbound(now.instant, Origin::Dynamic, candidate.public_key);
                let id = self.peers.insert(entry);
                self.connect(now, id, candidate.public_key, vec![address]);
            }
            (Ok(()), None) => self.counts.refusals.add(Refusal::CandidateAddress),
            (Err(refusal), _) => self.counts.refusals.add(refusal),
        }
    }

    /// Dials the static peers that are due. They take no slots from candidates, and wait when every dial is taken.
    pub(super) fn dial_static(&mut self, now: Now) {
        while !self.shutting_down && self.peers.dialing() < self.config.max_dials {
            let pointless = |node_id| {
                self.peers.involves(node_id)
                    || self.bans.holds_node(now.instant, node_id)
                    || (self.is_full() && !self.trusted.contains(&node_id))
            };
            let Some(enode) = self.dialer.due_static(now.instant, pointless) else { return };
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

    /// Puts a dial out. Its addresses count for candidates at the same hosts and sites, whoever named them.
    pub(super) fn connect(&mut self, now: Now, id: PeerId, remote: PublicKey, addresses: Vec<SocketAddr>) {
        for address in &addresses {
            self.dialer.note_dial(now.instant, &self.config, address.ip());
        }
        if let Some(entry) = self.peers.entry_mut(id) {
            entry.addresses.clone_from(&addresses);
        }
        self.outputs.push_back(Output::Connect { id, remote, addresses });
    }
}
