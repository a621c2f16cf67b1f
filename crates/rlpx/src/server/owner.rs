//! What the owner commands: static and trusted peers, bans, reports, the end of sessions and of the server.
//! A ban stands above every privilege: a static or trusted peer that is banned is neither dialed nor let in.

use std::time::Duration;

use identity::{Enode, NodeId, Now};

use super::{CommandError, Server};
use crate::{
    admission::Refusal,
    bans::{Ban, BanTarget},
    p2p::DisconnectReason,
    peer::PeerId,
    peer_set::{Entry, Stage},
    standing::Verdict,
};

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

    pub(super) fn list_static(&mut self, now: Now, enode: Enode) -> Result<(), CommandError> {
        if enode.node_id() == self.local {
            return Err(CommandError::Own);
        }
        if enode.tcp == 0 {
            return Err(CommandError::NoPort);
        }
        self.dialer
            .add_static(now.instant, &self.config.limits, enode)
            .then_some(())
            .ok_or(CommandError::Full)
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
        if self.trusted.len() >= self.config.limits.lists.trusted && !self.trusted.contains(&node_id) {
            return Err(CommandError::Full);
        }
        self.trusted.insert(node_id);
        Ok(())
    }

    /// Treats a node like any other from now on.
    pub fn remove_trusted(&mut self, node_id: NodeId) {
        self.trusted.remove(&node_id);
    }

    /// Wants nothing to do with a node or a group of addresses for `duration`, at most
    /// [`ListLimits::longest_ban`](crate::ListLimits::longest_ban): ends what there is, refuses who comes, dials nobody there.
    /// Replaces an earlier ban of the same. Of [`ListLimits::bans`](crate::ListLimits::bans) the one that would end first makes
    /// room.
    ///
    /// # Errors
    /// `Own`.
    pub fn ban(&mut self, now: Now, target: BanTarget, duration: Duration) -> Result<(), CommandError> {
        if target == BanTarget::Node(self.local) {
            return Err(CommandError::Own);
        }
        if let (BanTarget::Node(node_id), Some(known)) = (&target, &mut self.dialer.known) {
            known.book.remove(*node_id);
            self.keep_book(now);
        }
        self.bans.insert(now.instant, target, duration);
        self.enforce_bans(now, Refusal::Banned, DisconnectReason::UselessPeer);
        Ok(())
    }

    /// Lifts a ban. A static peer that it held back is dialed when it is next due.
    pub fn unban(&mut self, now: Now, target: &BanTarget) {
        self.bans.remove(target);
        self.dial_static(now);
    }

    /// The bans in force, the one that ends first at the front.
    pub fn bans(&self, now: Now) -> Vec<Ban> {
        self.bans.iter(now.instant).collect()
    }

    /// Takes the owner's word on a peer; see [`Verdict`] for what follows. On this node itself nothing does.
    pub fn report(&mut self, now: Now, node_id: NodeId, verdict: Verdict) {
        if let Some(known) = &mut self.dialer.known {
            known.book.handle_verdict(now, node_id, verdict);
            self.keep_book(now);
        }
        if node_id == self.local || !self.standings.report(now.instant, &self.config, node_id, verdict) {
            return;
        }
        self.bans.insert(now.instant, node_id.into(), self.config.times.ban);
        self.enforce_bans(now, Refusal::Malicious, DisconnectReason::SubprotocolError);
    }

    /// Ends the connections that a ban, new by now, has caught.
    fn enforce_bans(&mut self, now: Now, rule: Refusal, reason: DisconnectReason) {
        let is_banned = |entry: &Entry| {
            entry.node_id.is_some_and(|node_id| self.bans.holds_node(now.instant, node_id))
                || entry.has_address(|ip| self.bans.holds_address(now.instant, ip))
        };
        let caught = self.peers.iter().filter(|(_, entry)| !entry.is_closing() && is_banned(entry));
        let caught: Vec<PeerId> = caught.map(|(id, _)| id).collect();
        for id in caught {
            self.note(id, rule);
            self.part(now, id, reason);
        }
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
