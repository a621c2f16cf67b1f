//! Connections as they report their steps, and what the machine decides at each: accepted, authenticated, introduced,
//! closed. The rules for it are `admission`'s, the limits `limits`'.

use std::net::{IpAddr, SocketAddr};

use identity::{NodeId, Now, Prefix, PublicKey};

use super::{Output, Server};
use crate::{
    admission::{Decision, Refusal},
    dialer::{Parted, may_dial},
    error::SessionEnd,
    p2p::DisconnectReason,
    peer::PeerId,
    peer_set::{Cut, Entry, Stage},
};

/// Connections: what they report.
impl Server {
    /// A connection came in. The number it goes by from now on.
    ///
    /// # Errors
    /// Why it has to be closed at once, without a word and without work.
    pub fn handle_accepted(&mut self, now: Now, from: SocketAddr) -> Result<PeerId, Refusal> {
        let judged = self.may_accept(now, from.ip());
        if let Err(refusal) = judged {
            self.counts.refusals.add(refusal);
            return Err(refusal);
        }
        if self.config.address_policy.counts(from.ip())
            && let Some(end) = now.instant.checked_add(self.config.times.inbound_throttle)
        {
            self.throttle.insert(Prefix::host(from.ip()), end, ());
        }
        Ok(self.peers.insert(Entry::inbound(now.instant, from)))
    }

    fn may_accept(&mut self, now: Now, ip: IpAddr) -> Result<(), Refusal> {
        if self.shutting_down {
            return Err(Refusal::ShuttingDown);
        }
        if !self.config.net_restrict.contains(ip) {
            return Err(Refusal::NetRestrict);
        }
        if self.bans.holds_address(now.instant, ip) {
            return Err(Refusal::Banned);
        }
        if self.config.address_policy.counts(ip) {
            if self.throttle.contains(now.instant, &Prefix::host(ip)) {
                return Err(Refusal::Throttled);
            }
            if self.peers.unproven_of(Prefix::site(ip)) >= self.config.limits.admission.half_open_per_site {
                return Err(Refusal::HalfOpenSite);
            }
        }
        if self.peers.half_open() >= self.config.max_pending {
            let oldest = self.peers.oldest_half_open().ok_or(Refusal::PendingFull)?;
            self.note(oldest, Refusal::Evicted);
            self.abort(now, oldest);
        }
        Ok(())
    }

    /// The addresses of a name were looked up; none when that failed.
    pub fn handle_resolved(&mut self, now: Now, id: PeerId, found: &[SocketAddr]) {
        let may_dial = |ip| may_dial(&self.config, ip) && !self.bans.holds_address(now.instant, ip);
        let usable = found.iter().filter(|address| may_dial(address.ip()));
        let usable: Vec<SocketAddr> = usable.copied().collect();
        let mut addresses = self.dialer.in_order(now.instant, &usable);
        addresses.truncate(self.config.limits.dials.addresses);
        let Some(entry) = self.peers.entry(id).filter(|entry| entry.stage == Stage::Dialing) else { return };
        match entry.public_key {
            Some(remote) if !addresses.is_empty() => self.connect(now, id, remote, addresses),
            Some(_) | None => self.give_up_name(now, id, found.first().copied()),
        }
    }

    /// A name leads nowhere, or to addresses that may not be dialed; `found` is one of these.
    fn give_up_name(&mut self, now: Now, id: PeerId, found: Option<SocketAddr>) {
        if let Some(found) = found {
            let may_dial = may_dial(&self.config, found.ip());
            self.note(id, if may_dial { Refusal::Banned } else { Refusal::NetRestrict });
        }
        if let Some(entry) = self.peers.entry_mut(id) {
            entry.end = Some(Cut::Nowhere);
        }
        self.abort(now, id);
    }

    /// A dial has reached somebody at `address`; its other attempts are dropped.
    pub fn handle_connected_to(&mut self, now: Now, id: PeerId, address: SocketAddr) {
        if let Some(entry) = self.peers.entry_mut(id).filter(|entry| entry.stage == Stage::Dialing) {
            self.dialer.handle_winner(now.instant, &entry.addresses, address);
            entry.addresses.retain(|other| *other != address);
            entry.addresses.insert(0, address);
        }
        self.handle_connected(now, id);
    }

    /// A dial to one address has reached somebody.
    pub fn handle_connected(&mut self, now: Now, id: PeerId) {
        if let Some(entry) = self.peers.entry(id).filter(|entry| entry.stage == Stage::Dialing) {
            if let Some(address) = entry.addresses.first() {
                self.dialer.handle_reached(entry.since, address.ip());
            }
            self.peers.advance(now.instant, id, Stage::Handshaking);
            if let Some(known) = &mut self.dialer.known {
                known.book.handle_reached(now);
            }
        }
    }

    /// The auth of a connection that came in is there: its sender did something, so it no longer makes room for who says
    /// nothing. Whoever sends more auths than there is time to look at loses the oldest, as the pool of curve jobs has it.
    pub fn handle_auth(&mut self, now: Now, id: PeerId) {
        self.peers.note_auth(id);
        if let Some(oldest) = self.peers.surplus_examined(self.config.limits.admission.examined) {
            self.note(oldest, Refusal::Evicted);
            self.abort(now, oldest);
        }
    }

    /// The handshake is through, and the remote node says to be `remote`; the session stands at its first stop. Who came in has
    /// still to prove it.
    pub fn handle_authenticated(&mut self, now: Now, id: PeerId, remote: PublicKey) {
        if self.peers.entry(id).is_none_or(|entry| entry.stage != Stage::Handshaking) {
            return;
        }
        self.peers.identify(id, remote);
        self.peers.advance(now.instant, id, Stage::Authenticated);
        self.make_room(now, id, remote.node_id());
        self.settle(now, remote.node_id());
    }

    /// Closes newcomers, the oldest first, while there are too many since this one has authenticated.
    fn make_room(&mut self, now: Now, id: PeerId, node_id: NodeId) {
        while let Some(surplus) = self.surplus_beside(id, node_id) {
            let freed = self.peers.entry(surplus).and_then(|entry| entry.node_id);
            self.refuse(now, surplus, Refusal::Unintroduced, DisconnectReason::TooManyPeers);
            // Another connection of its node may have been held back for it.
            if let Some(freed) = freed {
                self.settle(now, freed);
            }
        }
    }

    fn surplus_beside(&self, id: PeerId, node_id: NodeId) -> Option<PeerId> {
        let newcomer = self.peers.entry(id).filter(|entry| entry.is_newcomer())?;
        let ip = newcomer.addresses.first().map(|address| address.ip());
        let site = ip.filter(|ip| self.config.address_policy.counts(*ip)).map(Prefix::site);
        let limits = &self.config.limits.admission;
        site.and_then(|site| self.peers.surplus_newcomer_of_site(limits.newcomers_per_site, site))
            .or_else(|| self.peers.surplus_newcomer_of_node(limits.newcomers_per_node, node_id))
            .or_else(|| self.peers.surplus_newcomer(limits.newcomers))
    }

    /// Hello came and went; the session stands at its second stop. `shared_count`: capabilities in common.
    pub fn handle_hello(&mut self, now: Now, id: PeerId, shared_count: usize) {
        let Some(entry) = self.peers.entry(id).filter(|entry| entry.stage == Stage::Greeted) else { return };
        let Some(node_id) = entry.node_id else { return };
        self.peers.prove(id);
        if shared_count == 0 {
            self.refuse(now, id, Refusal::Useless, DisconnectReason::UselessPeer);
        } else {
            self.peers.advance(now.instant, id, Stage::Introduced);
        }
        self.settle(now, node_id);
    }

    /// A connection, or an attempt at one, is gone: called exactly once for each number.
    pub fn handle_closed(&mut self, now: Now, id: PeerId, end: &SessionEnd) {
        let end = &self.end_of(id, *end);
        let Some(entry) = self.peers.remove(id) else { return };
        let is_starved = self.is_starved(now, &entry, end);
        if entry.is_inbound() && end.is_own_key() {
            self.counts.refusals.add(Refusal::OwnKey);
            self.outputs.extend(entry.addresses.first().copied().map(Output::KeyInUse));
        }
        match (entry.established_at, entry.node_id) {
            (Some(_), _) => self.counts.left.add(end),
            (None, Some(_)) => self.counts.turned_away.add(end),
            (None, None) => {}
        }
        if let Some(node_id) = entry.node_id {
            // A second connection that we refused says nothing: the first one's end does. Nor does somebody who has not proved
            // to be the node.
            let refused = SessionEnd::Local { reason: DisconnectReason::AlreadyConnected, error: None };
            let is_the_node = entry.proved || !entry.is_inbound() || end.follows_a_frame();
            if is_the_node && !self.peers.has_node(node_id) && *end != refused && !is_starved {
                let lasted = entry.established_at.map(|at| now.instant.saturating_duration_since(at));
                let parted = Parted { end, dialed: !entry.is_inbound(), lasted };
                self.note_parting(now, node_id, &parted);
                self.dialer.handle_parting(now.instant, &self.config.times, node_id, parted);
            }
            self.settle(now, node_id);
        }
        self.keep_book(now);
        self.dial_static(now);
        self.dial_known(now);
    }

    /// Decides on the connections with a node that wait, as long as one decision leads to another.
    pub(super) fn settle(&mut self, now: Now, node_id: NodeId) {
        while let Some((id, decision)) = self.next_decision(now, node_id) {
            match decision {
                Decision::Pass => self.pass(now, id, node_id),
                Decision::Refuse(refusal, reason) => self.refuse(now, id, refusal, reason),
                // Filtered out below: it would be found again and again.
                Decision::Hold(_) => return,
            }
        }
    }

    fn next_decision(&self, now: Now, node_id: NodeId) -> Option<(PeerId, Decision)> {
        let admission = self.admission();
        let decision = |id| Some((id, admission.judge(now.instant, id)?));
        let mut decisions = self.peers.with_node(node_id).filter_map(|(id, _)| decision(id));
        decisions.find(|(_, decision)| !matches!(decision, Decision::Hold(_)))
    }

    fn pass(&mut self, now: Now, id: PeerId, node_id: NodeId) {
        if self.peers.entry(id).is_some_and(|entry| entry.stage == Stage::Authenticated) {
            self.peers.advance(now.instant, id, Stage::Greeted);
            self.outputs.push_back(Output::Greet(id));
            return;
        }
        self.peers.advance(now.instant, id, Stage::Established);
        self.note_peer(now, id, node_id);
        let (static_peer, trusted) = (self.dialer.is_static(&node_id), self.trusted.contains(&node_id));
        self.outputs.push_back(Output::Establish { id, static_peer, trusted });
        // Our own dials to the node that have shown nobody anything yet.
        let early =
            |entry: &Entry| !entry.is_inbound() && matches!(entry.stage, Stage::Dialing | Stage::Handshaking);
        let needless: Vec<PeerId> =
            self.peers.with_node(node_id).filter(|(_, entry)| early(entry)).map(|(id, _)| id).collect();
        for id in needless {
            self.note(id, Refusal::AlreadyConnected);
            self.abort(now, id);
        }
        self.begin_rotation(now);
    }

    /// Ends a connection by a rule.
    pub(super) fn refuse(&mut self, now: Now, id: PeerId, refusal: Refusal, reason: DisconnectReason) {
        self.note(id, refusal);
        self.end(now, id, reason);
    }

    /// Counts the rule by which a connection ends, and keeps it for whoever asks.
    pub(crate) fn note(&mut self, id: PeerId, refusal: Refusal) {
        self.counts.refusals.add(refusal);
        if let Some(entry) = self.peers.entry_mut(id) {
            entry.rule = Some(refusal);
        }
    }

    pub(super) fn end(&mut self, now: Now, id: PeerId, reason: DisconnectReason) {
        if self.peers.closing_gracefully() >= self.config.limits.admission.graceful_closers
            && !self.shutting_down
        {
            if let Some(entry) = self.peers.entry_mut(id) {
                entry.end = Some(Cut::Untold(reason));
            }
            return self.abort(now, id);
        }
        self.peers.advance(now.instant, id, Stage::Closing { gracefully: true });
        self.outputs.push_back(Output::Disconnect(id, reason));
    }

    pub(super) fn abort(&mut self, now: Now, id: PeerId) {
        self.peers.advance(now.instant, id, Stage::Closing { gracefully: false });
        self.outputs.push_back(Output::Abort(id));
    }
}
