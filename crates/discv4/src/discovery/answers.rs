//! What answers to our requests do: a Pong proves an endpoint, Neighbors name nodes, a record is taken when it is its
//! sender's. Each was awaited, from that address, before its signer was recovered; here the signer has to be the node
//! that was asked.

use std::{net::IpAddr, time::Duration};

use identity::{AddressClass, Endpoint, Enr, Now};

use super::{Discovery, PongInfo, RequestError, inbound::Signed, outbound::Answer};
use crate::{
    NodeEntry, Reject, RequestId,
    config::{BUCKET_SIZE, MAX_LOW_PORT, MIN_PING_BACK_WAIT},
    pending::{Asker, Peer, Question, Request, Stage},
    wire::{EnrResponse, Neighbor, PacketKind, Pong},
};

/// The shortest pause after a Neighbors that ends its answer: packets of one answer leave back to back.
const MIN_NEIGHBORS_GAP: Duration = Duration::from_millis(20);

impl Discovery {
    pub(super) fn on_pong(&mut self, now: Now, signed: &Signed, pong: &Pong) -> Result<(), Reject> {
        let key = signed.key();
        let answered =
            self.pending.ids(&key, |request| request.awaits(PacketKind::Pong, Some(&pong.ping_hash)));
        let requests: Vec<&Request> = answered.iter().filter_map(|id| self.pending.get(*id)).collect();
        let first = requests.first().ok_or(Reject::Unsolicited)?;
        let (peer, sent) = (first.peer, first.sent());
        let answered_at = requests.iter().filter_map(|request| request.answered_at).max();
        let inbound = requests.iter().all(|request| request.asker == Asker::PingBack);
        let rtt = sent.map_or(Duration::ZERO, |sent| now.instant.saturating_duration_since(sent));
        self.bonds.prove(now.instant, key, answered_at);
        self.prove(now, NodeEntry { enr_seq: pong.enr_seq, ..peer.entry() }, inbound);
        let nowhere = Endpoint { ip: [0; 4].into(), udp: pong.to.udp, tcp: pong.to.tcp };
        let told_endpoint = pong.to.endpoint().unwrap_or(nowhere);
        let info = PongInfo { rtt, enr_seq: pong.enr_seq, told_endpoint, from: signed.from };
        for id in answered {
            self.ponged(now, id, info);
        }
        self.request_newer_record(now, &signed.id);
        Ok(())
    }

    /// A request's Ping was answered: a Ping has what it wants, another question goes on.
    fn ponged(&mut self, now: Now, id: RequestId, pong: PongInfo) {
        let Some(request) = self.pending.get(id) else { return };
        if request.question == Question::Ping {
            self.conclude(now, id, Ok(Answer::Pong(pong)));
        } else if self.bonds.is_mutual(now.instant, &request.peer.key()) {
            self.ask(now, id);
        } else {
            // Its Ping follows its Pong at once, or not at all when it has an older proof of ours.
            let wait =
                pong.rtt.clamp(MIN_PING_BACK_WAIT, self.config.response_timeout.max(MIN_PING_BACK_WAIT));
            self.pending.set_stage(id, Stage::PingBack, now.instant.checked_add(wait));
        }
    }

    pub(super) fn on_neighbors(
        &mut self,
        now: Now,
        signed: &Signed,
        nodes: &[Neighbor],
    ) -> Result<(), Reject> {
        let waiting = self.pending.ids(&signed.key(), |request| request.awaits(PacketKind::Neighbors, None));
        let id = *waiting.first().ok_or(Reject::Unsolicited)?;
        if let Some(own) = nodes.iter().find(|node| node.public_key == self.local.public_key) {
            self.on_own_name(now, signed.from.ip(), own);
        }
        let accepted = self.accept_neighbors(signed, id, nodes);
        for node in &accepted {
            let offered = self.table.found(now.instant, node.clone());
            self.offered(now, offered);
        }
        let Some(request) = self.pending.get_mut(id) else { return Ok(()) };
        request.has_answer = true;
        request.found.extend(accepted);
        if request.found.len() >= BUCKET_SIZE {
            let found = std::mem::take(&mut request.found);
            self.conclude(now, id, Ok(Answer::Nodes(found)));
            return Ok(());
        }
        let rtt = request.sent().map_or(Duration::ZERO, |sent| now.instant.saturating_duration_since(sent));
        let gap = rtt.saturating_mul(2).max(MIN_NEIGHBORS_GAP).min(self.config.neighbors_gap);
        let deadline = self.pending.deadline(id).into_iter().chain(now.instant.checked_add(gap)).min();
        self.pending.set_deadline(id, deadline);
        Ok(())
    }

    /// The nodes of an answer that may be nodes, as far as the answer still has room.
    fn accept_neighbors(&self, signed: &Signed, id: RequestId, nodes: &[Neighbor]) -> Vec<NodeEntry> {
        let known = self.pending.get(id).map_or(&[][..], |request| &request.found);
        let mut accepted: Vec<NodeEntry> = Vec::with_capacity(nodes.len().min(BUCKET_SIZE));
        for (count, neighbor) in nodes.iter().enumerate() {
            if count >= BUCKET_SIZE || known.len().saturating_add(accepted.len()) >= BUCKET_SIZE {
                self.rejects.add(Reject::NeighborsExcess);
                break;
            }
            if neighbor.public_key == self.local.public_key {
                // go-ethereum names us to ourselves, so that says nothing against the teller.
                continue;
            }
            let is_known = |node: &NodeEntry| node.public_key == neighbor.public_key;
            match self.check_neighbor(neighbor, signed.from.ip()) {
                Some(endpoint) if !known.iter().chain(&accepted).any(is_known) => {
                    accepted.push(self.known(NodeEntry::new(neighbor.public_key, endpoint)));
                }
                Some(_) | None => self.rejects.add(Reject::BadNeighbor),
            }
        }
        accepted
    }

    /// Where a node is that somebody at `teller` named; None when it cannot be there or the teller may not say so.
    pub(super) fn check_neighbor(&self, neighbor: &Neighbor, teller: IpAddr) -> Option<Endpoint> {
        let ip = neighbor.ip?;
        let may_be_told = AddressClass::of(ip).may_be_told_by(AddressClass::of(teller)) && !is_link_local(ip);
        let may_be_node = neighbor.udp > MAX_LOW_PORT
            && self.config.net_restrict.contains(ip)
            && neighbor.public_key.is_on_curve();
        (may_be_told && may_be_node).then_some(Endpoint { ip, udp: neighbor.udp, tcp: neighbor.tcp })
    }

    pub(super) fn on_enr_response(
        &mut self,
        now: Now,
        signed: &Signed,
        response: &EnrResponse,
        record: Option<Enr>,
    ) -> Result<(), Reject> {
        let hash = Some(&response.request_hash);
        let asked = self.pending.ids(&signed.key(), |request| request.awaits(PacketKind::EnrResponse, hash));
        if asked.is_empty() {
            return Err(Reject::Unsolicited);
        }
        let Some(enr) = record.filter(|enr| enr.public_key() == signed.signer) else {
            for id in asked {
                self.fail(now, id, RequestError::BadRecord);
            }
            return Err(Reject::BadRecord);
        };
        if self.table.set_record(&enr) {
            self.follow(now, signed, &enr);
        }
        for id in asked {
            self.conclude(now, id, Ok(Answer::Record(enr.clone())));
        }
        Ok(())
    }

    /// A node's new record says that it is elsewhere: we ping it there, and believe it when it answers.
    fn follow(&mut self, now: Now, signed: &Signed, enr: &Enr) {
        let told = [enr.endpoint_v4(), enr.endpoint_v6()].into_iter().flatten();
        let same_family: Vec<Endpoint> =
            told.filter(|told| told.ip.is_ipv4() == signed.from.ip().is_ipv4()).collect();
        let Some(endpoint) = same_family.first().filter(|told| told.udp_addr() != Some(signed.from)) else {
            return;
        };
        let neighbor = Neighbor {
            ip: Some(endpoint.ip),
            udp: endpoint.udp,
            tcp: endpoint.tcp,
            public_key: signed.signer,
        };
        if self.check_neighbor(&neighbor, signed.from.ip()).is_some() {
            let peer = Peer { public_key: signed.signer, id: signed.id, endpoint: *endpoint };
            let id = self.pending.take_id();
            // A node that cannot be asked now stays where it is.
            let _ = self.begin(now, id, peer, Question::Ping, Asker::Record);
        }
    }
}

/// Addresses that mean something else on every link.
pub(super) fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
