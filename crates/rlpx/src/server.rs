//! The machine over all connections of a node: whom to accept, whom to dial, who becomes a peer, who has to go.
//! It sees no frame and owns no socket: connections report to it and take its orders.
//!
//! For every connection it is told of the steps in order: accepted or dialed ([`Output::Connect`]), connected,
//! authenticated, introduced (Hello exchanged), and in any case [`Server::handle_closed`], once, last.

use std::{
    collections::{BTreeSet, VecDeque},
    net::{IpAddr, SocketAddr},
    time::Instant,
};

use identity::{Counters, Enode, Host, NodeId, Now, Prefix, PublicKey};

use crate::{
    admission::{Admission, Refusal, Verdict},
    dialer::{Candidate, Dialer, Parted, may_dial},
    error::SessionEnd,
    expiring::Expiring,
    p2p::DisconnectReason,
    peer::PeerId,
    peer_set::{Entry, Origin, PeerSet, Stage},
    server_config::{
        MAX_DIAL_ADDRESSES, MAX_GRACEFUL_CLOSERS, MAX_HALF_OPEN_PER_SITE, MAX_STATIC_PEERS,
        MAX_THROTTLED_HOSTS, MAX_TRUSTED_PEERS, ServerConfig,
    },
};

/// What the machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Look up the addresses of a host, then [`Server::handle_resolved`].
    Resolve {
        /// The dial.
        id: PeerId,
        /// The DNS name.
        name: String,
        /// The TCP port that goes with each address.
        port: u16,
    },
    /// Open a TCP connection, report it, and begin the handshake as initiator.
    Connect {
        /// The dial.
        id: PeerId,
        /// Who is expected there.
        remote: PublicKey,
        /// Where: one address after the other until one answers. At most [`MAX_DIAL_ADDRESSES`].
        addresses: Vec<SocketAddr>,
    },
    /// Let the session past its first stop: our Hello may go out.
    Greet(PeerId),
    /// Let the session past its second stop: it is a peer.
    Establish {
        /// The connection.
        id: PeerId,
        /// Whether the peer is a static one.
        static_peer: bool,
        /// Whether the peer is a trusted one.
        trusted: bool,
    },
    /// End the session and say why.
    Disconnect(PeerId, DisconnectReason),
    /// End the connection, or the attempt at one, without a word.
    Abort(PeerId),
}

/// Why a command of the owner is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The node is this one.
    #[error("a node cannot be a peer of itself")]
    Own,
    /// The node has no TCP port, so it cannot be dialed.
    #[error("a node without a TCP port cannot be dialed")]
    NoPort,
    /// The list is full.
    #[error("no room: at most {MAX_STATIC_PEERS} static and {MAX_TRUSTED_PEERS} trusted peers are kept")]
    Full,
    /// The server has shut down.
    #[error("the server has shut down")]
    Closed,
}

/// The machine over all connections of a node.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    local: NodeId,
    peers: PeerSet,
    dialer: Dialer,
    trusted: BTreeSet<NodeId>,
    throttle: Expiring<Prefix>,
    refusals: Counters<Refusal>,
    outputs: VecDeque<Output>,
    shutting_down: bool,
}

impl Server {
    /// A server for the node `local`. Static peers of `config` are due at once; those beyond the limits of its lists are
    /// left out. `seed` decides on jitter alone.
    pub fn new(now: Now, config: ServerConfig, local: PublicKey, seed: u64) -> Self {
        let mut server = Self {
            local: local.node_id(),
            peers: PeerSet::default(),
            dialer: Dialer::new(seed),
            trusted: config.trusted.iter().copied().take(MAX_TRUSTED_PEERS).collect(),
            throttle: Expiring::new(MAX_THROTTLED_HOSTS),
            refusals: Counters::default(),
            outputs: VecDeque::new(),
            shutting_down: false,
            config,
        };
        for enode in std::mem::take(&mut server.config.static_peers) {
            // One too many, or this node itself: the rest still counts.
            let _ = server.list_static(now, enode);
        }
        server.dial_static(now);
        server
    }

    /// What was turned away, by reason. Clones share the counts.
    pub fn refusals(&self) -> &Counters<Refusal> {
        &self.refusals
    }

    /// How many peers there are.
    pub fn peer_count(&self) -> usize {
        self.peers.established()
    }

    /// How many connections there are in all: peers, handshakes, dials, and what is ending.
    pub fn connection_count(&self) -> usize {
        self.peers.len()
    }

    /// How many nodes and addresses are remembered for throttles and redials. Never over a few named thousands.
    pub fn record_count(&self) -> usize {
        self.dialer.record_count() + self.throttle.len()
    }

    /// The next thing to do, until None.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`]: never later than something is due.
    pub fn next_timeout(&self, now: Now) -> Option<Instant> {
        if self.shutting_down {
            return None;
        }
        let holds = self.peers.iter().filter_map(|(id, _)| match self.admission().judge(now.instant, id) {
            Some(Verdict::Hold(until)) => until,
            Some(Verdict::Pass | Verdict::Refuse(..)) => Some(now.instant),
            None => None,
        });
        let statics = self.dialer.next_static(now.instant, |node_id| self.peers.involves(node_id));
        let budget = (self.dial_slots() > 0).then(|| self.dialer.budget_end()).flatten();
        holds.chain(statics).chain(budget.filter(|end| *end > now.instant)).min()
    }

    /// A moment has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.dialer.expire(now.instant);
        self.throttle.expire(now.instant);
        let waiting: BTreeSet<NodeId> = self.peers.iter().filter_map(|(_, entry)| entry.node_id).collect();
        for node_id in waiting {
            self.settle(now, node_id);
        }
        self.dial_static(now);
    }

    fn admission(&self) -> Admission<'_> {
        Admission { config: &self.config, local: self.local, trusted: &self.trusted, peers: &self.peers }
    }
}

/// Connections: what they report.
impl Server {
    /// A connection came in. The number it goes by from now on.
    ///
    /// # Errors
    /// Why it has to be closed at once, without a word and without work.
    pub fn handle_accepted(&mut self, now: Now, from: SocketAddr) -> Result<PeerId, Refusal> {
        let judged = self.may_accept(now, from.ip());
        if let Err(refusal) = judged {
            self.refusals.add(refusal);
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
        if self.config.address_policy.counts(ip) {
            if self.throttle.contains(now.instant, &Prefix::host(ip)) {
                return Err(Refusal::Throttled);
            }
            if self.peers.half_open_of(Prefix::site(ip)) >= MAX_HALF_OPEN_PER_SITE {
                return Err(Refusal::HalfOpenSite);
            }
        }
        if self.peers.pending_inbound() >= self.config.max_pending {
            let oldest = self.peers.oldest_half_open().ok_or(Refusal::PendingFull)?;
            self.refusals.add(Refusal::Evicted);
            self.abort(now, oldest);
        }
        Ok(())
    }

    /// The addresses of a name were looked up; none when that failed.
    pub fn handle_resolved(&mut self, now: Now, id: PeerId, addresses: &[SocketAddr]) {
        let usable = addresses.iter().filter(|address| may_dial(&self.config, address.ip()));
        let addresses: Vec<SocketAddr> = usable.take(MAX_DIAL_ADDRESSES).copied().collect();
        let Some(entry) = self.peers.entry(id).filter(|entry| entry.stage == Stage::Dialing) else { return };
        match entry.public_key {
            Some(remote) if !addresses.is_empty() => self.connect(id, remote, addresses),
            Some(_) | None => self.abort(now, id),
        }
    }

    /// A dial has reached somebody.
    pub fn handle_connected(&mut self, now: Now, id: PeerId) {
        if self.peers.entry(id).is_some_and(|entry| entry.stage == Stage::Dialing) {
            self.peers.advance(now.instant, id, Stage::Handshaking);
        }
    }

    /// The remote node has proved to be `remote`; the session stands at its first stop.
    pub fn handle_authenticated(&mut self, now: Now, id: PeerId, remote: PublicKey) {
        let Some(entry) = self.peers.entry_mut(id).filter(|entry| entry.stage == Stage::Handshaking) else {
            return;
        };
        let node_id = remote.node_id();
        entry.public_key = Some(remote);
        entry.node_id = Some(node_id);
        self.peers.advance(now.instant, id, Stage::Authenticated);
        self.settle(now, node_id);
    }

    /// Hello came and went; the session stands at its second stop. `shared_count`: capabilities in common.
    pub fn handle_hello(&mut self, now: Now, id: PeerId, shared_count: usize) {
        let Some(entry) = self.peers.entry(id).filter(|entry| entry.stage == Stage::Greeted) else { return };
        let Some(node_id) = entry.node_id else { return };
        if shared_count == 0 {
            self.refusals.add(Refusal::Useless);
            self.end(now, id, DisconnectReason::UselessPeer);
        } else {
            self.peers.advance(now.instant, id, Stage::Introduced);
        }
        self.settle(now, node_id);
    }

    /// A connection, or an attempt at one, is gone: called exactly once for each number.
    pub fn handle_closed(&mut self, now: Now, id: PeerId, end: &SessionEnd) {
        let Some(entry) = self.peers.remove(id) else { return };
        if let Some(node_id) = entry.node_id {
            // A second connection that we refused says nothing: the first one's end does.
            let refused = SessionEnd::Local { reason: DisconnectReason::AlreadyConnected, error: None };
            if !self.peers.has_node(node_id) && *end != refused {
                let lasted = entry.established_at.map(|at| now.instant.saturating_duration_since(at));
                let parted = Parted { end, dialed: !entry.is_inbound(), lasted };
                self.dialer.handle_parting(now.instant, &self.config.times, node_id, parted);
            }
            self.settle(now, node_id);
        }
        self.dial_static(now);
    }

    /// Decides on the connections with a node that wait, as long as one decision leads to another.
    fn settle(&mut self, now: Now, node_id: NodeId) {
        while let Some((id, verdict)) = self.next_verdict(now, node_id) {
            match verdict {
                Verdict::Pass => self.pass(now, id, node_id),
                Verdict::Refuse(refusal, reason) => {
                    self.refusals.add(refusal);
                    self.end(now, id, reason);
                }
                // Filtered out below: it would be found again and again.
                Verdict::Hold(_) => return,
            }
        }
    }

    fn next_verdict(&self, now: Now, node_id: NodeId) -> Option<(PeerId, Verdict)> {
        let admission = self.admission();
        let verdict = |id| Some((id, admission.judge(now.instant, id)?));
        let mut verdicts = self.peers.with_node(node_id).filter_map(|(id, _)| verdict(id));
        verdicts.find(|(_, verdict)| !matches!(verdict, Verdict::Hold(_)))
    }

    fn pass(&mut self, now: Now, id: PeerId, node_id: NodeId) {
        if self.peers.entry(id).is_some_and(|entry| entry.stage == Stage::Authenticated) {
            self.peers.advance(now.instant, id, Stage::Greeted);
            self.outputs.push_back(Output::Greet(id));
            return;
        }
        self.peers.advance(now.instant, id, Stage::Established);
        let (static_peer, trusted) = (self.dialer.is_static(&node_id), self.trusted.contains(&node_id));
        self.outputs.push_back(Output::Establish { id, static_peer, trusted });
        // Our own dials to the node that have shown nobody anything yet.
        let early =
            |entry: &Entry| !entry.is_inbound() && matches!(entry.stage, Stage::Dialing | Stage::Handshaking);
        let needless: Vec<PeerId> =
            self.peers.with_node(node_id).filter(|(_, entry)| early(entry)).map(|(id, _)| id).collect();
        for id in needless {
            self.abort(now, id);
        }
    }

    fn end(&mut self, now: Now, id: PeerId, reason: DisconnectReason) {
        if self.peers.closing_gracefully() >= MAX_GRACEFUL_CLOSERS && !self.shutting_down {
            return self.abort(now, id);
        }
        self.peers.advance(now.instant, id, Stage::Closing { gracefully: true });
        self.outputs.push_back(Output::Disconnect(id, reason));
    }

    fn abort(&mut self, now: Now, id: PeerId) {
        self.peers.advance(now.instant, id, Stage::Closing { gracefully: false });
        self.outputs.push_back(Output::Abort(id));
    }
}

/// Dials.
impl Server {
    /// How many candidates are wanted now: pull no more from whoever finds them.
    pub fn wanted_candidates(&self, now: Now) -> usize {
        self.dial_slots().min(self.dialer.candidate_budget(now.instant))
    }

    /// Free slots for dials to candidates: twice as many as peers are missing, since half of all dials fail.
    fn dial_slots(&self) -> usize {
        if self.shutting_down || self.config.no_discovered_dials || self.is_full() {
            return 0;
        }
        let missing = self.config.max_dialed().saturating_sub(self.peers.outbound_established());
        missing.saturating_mul(2).min(self.config.max_dials).saturating_sub(self.peers.dialing())
    }

    fn is_full(&self) -> bool {
        self.peers.established() >= self.config.max_peers
    }

    /// Somebody found a node. Dialed when it fits; otherwise counted and forgotten.
    pub fn handle_candidate(&mut self, now: Now, candidate: Candidate) {
        let node_id = candidate.public_key.node_id();
        if self.wanted_candidates(now) == 0 {
            return;
        }
        let busy = self.peers.involves(node_id);
        let judged = match node_id == self.local {
            true => Err(Refusal::CandidateOwn),
            false => self.dialer.consider(now.instant, &self.config, &candidate, busy),
        };
        match (judged, candidate.endpoint.tcp_addr()) {
            (Ok(()), Some(address)) => {
                let entry = Entry::outbound(now.instant, Origin::Dynamic, candidate.public_key);
                let id = self.peers.insert(entry);
                self.connect(id, candidate.public_key, vec![address]);
            }
            (Ok(()), None) => self.refusals.add(Refusal::CandidateAddress),
            (Err(refusal), _) => self.refusals.add(refusal),
        }
    }

    /// Dials the static peers that are due. They take no slots from candidates, and wait when every dial is taken.
    fn dial_static(&mut self, now: Now) {
        while !self.shutting_down && self.peers.dialing() < self.config.max_dials {
            let pointless = |node_id| {
                self.peers.involves(node_id) || (self.is_full() && !self.trusted.contains(&node_id))
            };
            let Some(enode) = self.dialer.due_static(now.instant, pointless) else { return };
            let id = self.peers.insert(Entry::outbound(now.instant, Origin::Static, enode.public_key));
            match enode.host {
                Host::Ip(ip) if may_dial(&self.config, ip) => {
                    self.connect(id, enode.public_key, vec![SocketAddr::new(ip, enode.tcp)]);
                }
                Host::Ip(_) => {
                    self.refusals.add(Refusal::NetRestrict);
                    self.abort(now, id);
                }
                Host::Dns(name) => self.outputs.push_back(Output::Resolve { id, name, port: enode.tcp }),
            }
        }
    }

    fn connect(&mut self, id: PeerId, remote: PublicKey, addresses: Vec<SocketAddr>) {
        self.outputs.push_back(Output::Connect { id, remote, addresses });
    }
}

/// The owner's commands.
impl Server {
    /// Keeps a connection to a node from now on, dialing it whenever there is none.
    ///
    /// # Errors
    /// `Own`, `NoPort` and `Full`.
    pub fn add_static(&mut self, now: Now, enode: Enode) -> Result<(), CommandError> {
        self.list_static(now, enode)?;
        self.dial_static(now);
        Ok(())
    }

    fn list_static(&mut self, now: Now, enode: Enode) -> Result<(), CommandError> {
        if enode.node_id() == self.local {
            return Err(CommandError::Own);
        }
        if enode.tcp == 0 {
            return Err(CommandError::NoPort);
        }
        self.dialer.add_static(now.instant, enode).then_some(()).ok_or(CommandError::Full)
    }

    /// No longer keeps a connection to a node, and ends the one there is.
    pub fn remove_static(&mut self, now: Now, node_id: NodeId) {
        self.dialer.remove_static(&node_id);
        self.disconnect(now, node_id, DisconnectReason::Requested);
    }

    /// Lets a node in from now on whatever the number of peers.
    ///
    /// # Errors
    /// `Own` and `Full`.
    pub fn add_trusted(&mut self, node_id: NodeId) -> Result<(), CommandError> {
        if node_id == self.local {
            return Err(CommandError::Own);
        }
        if self.trusted.len() >= MAX_TRUSTED_PEERS && !self.trusted.contains(&node_id) {
            return Err(CommandError::Full);
        }
        self.trusted.insert(node_id);
        Ok(())
    }

    /// Treats a node like any other from now on.
    pub fn remove_trusted(&mut self, node_id: NodeId) {
        self.trusted.remove(&node_id);
    }

    /// Ends every connection with a node. A static peer is dialed again.
    pub fn disconnect(&mut self, now: Now, node_id: NodeId, reason: DisconnectReason) {
        let ids: Vec<PeerId> = self.peers.with_node(node_id).map(|(id, _)| id).collect();
        for id in ids {
            self.part(now, id, reason);
        }
    }

    /// Says goodbye to every peer; accepts and dials nobody from now on.
    pub fn shutdown(&mut self, now: Now) {
        self.shutting_down = true;
        let ids: Vec<PeerId> =
            self.peers.iter().filter(|(_, entry)| !entry.is_closing()).map(|(id, _)| id).collect();
        for id in ids {
            self.part(now, id, DisconnectReason::Quitting);
        }
    }

    /// Tells whoever has proved a key; closes on others.
    fn part(&mut self, now: Now, id: PeerId, reason: DisconnectReason) {
        match self.peers.entry(id).map(|entry| entry.stage) {
            Some(Stage::Authenticated | Stage::Greeted | Stage::Introduced | Stage::Established) => {
                self.end(now, id, reason);
            }
            Some(Stage::Dialing | Stage::Handshaking) => self.abort(now, id),
            Some(Stage::Closing { .. }) | None => {}
        }
    }
}
