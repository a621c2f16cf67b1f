//! Peers come, shake hands and leave; and what time brings for each.
//! devp2p specification, `caps/eth.md`, "Session Management". The checks of Status are `handshake`'s.

use identity::{NodeId, Now, Prefix};
use rlpx::PeerId;

use super::{Eth, EthEvent, Output, PeerFault};
use crate::{
    BlockHashNumber, Credit, EthMessage, EthVersion, Head, Position, Reject, Status,
    gossip::announce::shared,
    machine_config::{BLOCK_RANGE_INTERVAL, BLOCK_RANGE_STEP, REFUSAL_WAIT},
    message::BlockRange,
    peers::{Peer, Phase},
};

impl Eth {
    /// A peer that speaks `version` has connected. Our Status goes out at once. `network` is the network that limits are
    /// counted for, None where they are not; `credit` what the link to it holds, as
    /// [`Credit`] or in bytes alone.
    pub fn handle_connected(
        &mut self,
        now: Now,
        id: PeerId,
        node_id: NodeId,
        version: EthVersion,
        network: Option<Prefix>,
        credit: impl Into<Credit>,
    ) {
        let deadline = now.instant.checked_add(self.times.status).unwrap_or(now.instant);
        if !self
            .peers
            .insert(id, Peer::new(node_id, version, credit.into(), deadline, self.chain.head().hash))
        {
            return;
        }
        self.quotas.connected(now, id, network);
        let status = EthMessage::Status(self.chain.status(version));
        self.push_message(id, &status);
        self.settle(now);
    }

    /// The connection to a peer has ended.
    pub fn handle_disconnected(&mut self, now: Now, id: PeerId) {
        if self.peers.of(id).is_some_and(Peer::is_ready) {
            self.event(EthEvent::PeerGone { peer: id, fault: None });
        }
        self.remove_peer(now, id);
        self.settle(now);
    }

    /// So many messages to the peer, of `len` bytes together, have been written.
    pub fn handle_credit(&mut self, now: Now, id: PeerId, messages: usize, len: usize) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        peer.outbound.handle_sent(messages, len);
        if peer.outbound.unsent_bytes() == 0 && !peer.outbound.is_backed_up() {
            peer.serving.forget();
        }
        self.touched.insert(id);
        if let Phase::Refused { fault, .. } = peer.phase
            && peer.outbound.unsent_bytes() == 0
        {
            self.end_refused(now, id, fault);
        }
        self.settle(now);
    }

    /// Time has passed: see [`Eth::next_timeout`].
    pub fn handle_timeout(&mut self, now: Now) {
        let phases: Vec<(PeerId, Phase)> = self.peers.iter().map(|(id, peer)| (id, peer.phase)).collect();
        for (id, phase) in phases {
            match phase {
                Phase::AwaitingStatus { deadline } if deadline <= now.instant => {
                    self.disconnect(now, id, PeerFault::StatusTimeout);
                }
                Phase::Refused { deadline, fault } if deadline <= now.instant => {
                    self.end_refused(now, id, fault);
                }
                Phase::AwaitingStatus { .. } | Phase::Refused { .. } | Phase::Ready => {}
            }
        }
        self.expire_requests(now);
        self.touched.extend(self.peers.ids());
        self.settle(now);
    }

    /// The chain has a new head: Status tells it from here on, and peers on eth/69 are told when it has moved far.
    pub fn set_head(&mut self, now: Now, head: Head) {
        self.move_head(head);
        self.settle(now);
    }

    pub(super) fn move_head(&mut self, head: Head) {
        self.chain.set_head(head);
        let told = self.blocks.latest_told;
        if head.number >= told && head.number < told.saturating_add(BLOCK_RANGE_STEP) {
            return;
        }
        self.blocks.latest_told = head.number;
        let update = shared(&EthMessage::BlockRangeUpdate(head.range()));
        for (id, peer) in self.peers.iter_mut() {
            let told = peer.is_ready() && peer.version == EthVersion::Eth69;
            if told && peer.outbound.push(update.clone()) {
                self.touched.insert(id);
            }
        }
    }

    pub(super) fn handle_status(&mut self, now: Now, id: PeerId, status: &Status) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        if let Err(error) = self.chain.check(peer.version, status) {
            return self.disconnect(now, id, error.into());
        }
        peer.phase = Phase::Ready;
        peer.position = Some(status.position);
        self.touched.insert(id);
        if let Some(info) = self.peer_info(id) {
            self.event(EthEvent::PeerReady(info));
        }
        self.greet(now, id);
        self.catch_up(id);
        if let Position::Head { hash, total_difficulty } = status.position
            && total_difficulty > self.chain.head().total_difficulty
        {
            self.consider_blocks(now, id, vec![hash], true);
        }
    }

    /// Tells a peer whose handshake is over where the chain has got to since our Status went out.
    fn catch_up(&mut self, id: PeerId) {
        let head = *self.chain.head();
        let Some(peer) = self.peers.of(id).filter(|peer| peer.telling.head != head.hash) else { return };
        let message = match peer.version {
            EthVersion::Eth68 => {
                EthMessage::NewBlockHashes(vec![BlockHashNumber { hash: head.hash, number: head.number }])
            }
            EthVersion::Eth69 => EthMessage::BlockRangeUpdate(head.range()),
        };
        self.push_message(id, &message);
    }

    pub(super) fn handle_range(&mut self, now: Now, id: PeerId, range: BlockRange) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        let since = peer.range_updated_at.map(|at| now.instant.saturating_duration_since(at));
        if since.is_some_and(|since| since < BLOCK_RANGE_INTERVAL) {
            self.reject(Reject::RangeFlood, 1);
            return self.blame(now, id);
        }
        peer.range_updated_at = Some(now.instant);
        peer.position = Some(Position::Range(range));
        self.event(EthEvent::RangeUpdated { peer: id, range });
    }

    /// Ends the connection to a peer that broke a rule. One that is refused while our Status is still on its way to it
    /// gets that first, so that it can name the rule as well.
    pub(super) fn disconnect(&mut self, now: Now, id: PeerId, fault: PeerFault) {
        let Some(peer) = self.peers.of_mut(id) else { return };
        let node_id = peer.node_id;
        match peer.phase {
            Phase::Refused { .. } => return,
            Phase::Ready => self.event(EthEvent::PeerGone { peer: id, fault: Some(fault) }),
            Phase::AwaitingStatus { .. } => {
                let deadline = now.instant.checked_add(REFUSAL_WAIT).unwrap_or(now.instant);
                peer.phase = Phase::Refused { deadline, fault };
                self.event(EthEvent::PeerRefused { peer: id, node_id, fault });
            }
        }
        self.counters.rejects.add(fault.reject());
        let waits =
            self.peers.of(id).is_some_and(|peer| !peer.is_ready() && peer.outbound.unsent_bytes() > 0);
        if !waits || fault == PeerFault::StatusTimeout {
            self.end_refused(now, id, fault);
        }
    }

    fn end_refused(&mut self, now: Now, id: PeerId, fault: PeerFault) {
        self.put(Output::Disconnect { peer: id, reason: fault.reason(), fault });
        self.remove_peer(now, id);
    }

    fn remove_peer(&mut self, now: Now, id: PeerId) {
        if self.peers.remove(id).is_none() {
            return;
        }
        self.touched.remove(&id);
        self.quotas.disconnected(now, id);
        self.transactions.fetcher.disconnected(id);
        self.blocks.fetches.disconnected(id);
        for ended in self.requests.disconnected(id) {
            self.handle_unanswered(now, ended, super::RequestError::PeerGone);
        }
    }

    /// Queues a single message. False when the peer has no room for it.
    pub(super) fn push_message(&mut self, id: PeerId, message: &EthMessage) -> bool {
        let Some(peer) = self.peers.of_mut(id) else { return false };
        self.touched.insert(id);
        peer.outbound.push(shared(message))
    }

    /// Tells the connection to leave the peer's messages unread while its quota of checks is spent, its requests fill
    /// their queue, or its gossip waits for the backend; but not for a backend that takes too long.
    /// Notes when the peer needs attention next.
    pub(super) fn rest(&mut self, now: Now, id: PeerId) {
        let late_at = self.calls.late_at();
        let backend_late = late_at.is_some_and(|at| at <= now.instant);
        let quota = self.quotas.of(id);
        let checks_at = quota.and_then(|quota| quota.checks.empty_until(now));
        let answers_at = quota.and_then(|quota| quota.answers.empty_until(now));
        let Some(peer) = self.peers.of_mut(id) else { return };
        let backlogged = peer.backlog.exceeds(1) && !backend_late;
        let paused = peer.serving.is_full() || backlogged || checks_at.is_some();
        let untold = !(peer.telling.announced.is_empty() && peer.telling.again.is_empty());
        let can_announce = untold && peer.outbound.takes_gossip();
        let times = [
            checks_at,
            answers_at.filter(|_| peer.serving.is_due()),
            peer.telling.announce_at.filter(|_| can_announce),
            peer.serving.next_deadline(),
            late_at.filter(|_| backlogged),
        ];
        peer.wake_at = times.into_iter().flatten().filter(|at| *at > now.instant).min();
        if peer.paused != paused {
            peer.paused = paused;
            self.put(Output::Reading { peer: id, paused });
        }
    }
}
