//! What comes in: a datagram is admitted by ever dearer checks, its signer is recovered, and only then does it count.
//!
//! The order: source, size, kind, limits and the wish for an answer; hash; repetition; RLP; expiration; proof; and last
//! the curve. A packet that fails leaves nothing behind but a count.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use identity::{AddressClass, Endpoint, NodeId, Now, PublicKey, curve::CurveOutput};

use super::{Discovery, Output, answers::is_link_local};
use crate::{
    NodeEntry, Reject,
    bond::BondKey,
    config::{BUCKET_SIZE, MAX_NEIGHBORS_PACKETS},
    jobs::{Draft, Inbound, Purpose},
    pending::{Asker, Peer, Question, Request, Stage},
    replay::Repetition,
    wire::{EnrResponse, Envelope, FindNode, MAX_NEIGHBORS, Neighbors, Packet, PacketKind, Ping, Pong},
};

/// A packet that was admitted, with its signer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed {
    pub(super) from: SocketAddr,
    hash: [u8; 32],
    digest: [u8; 32],
    pub(super) signer: PublicKey,
    pub(super) id: NodeId,
}

impl Signed {
    pub(super) const fn key(&self) -> BondKey {
        (self.from, self.id)
    }

    const fn peer(&self, tcp: u16) -> Peer {
        let endpoint = Endpoint { ip: self.from.ip(), udp: self.from.port(), tcp };
        Peer { public_key: self.signer, id: self.id, endpoint }
    }
}

impl Discovery {
    /// Looks at a datagram without the curve, and puts out the recovery of its signer.
    pub(super) fn admit(&mut self, now: Now, from: SocketAddr, datagram: &[u8]) -> Result<(), Reject> {
        self.check_source(from)?;
        let envelope = Envelope::read(datagram)?;
        let is_answer = envelope.kind.is_answer();
        if !is_answer {
            self.limiter.request(now.instant, from.ip())?;
        } else if !self.pending.awaits(from, envelope.kind, None) {
            return Err(Reject::Unsolicited);
        }
        envelope.check_hash()?;
        if self.jobs.is_in_flight(&envelope.hash) {
            return Err(Reject::InFlight);
        }
        if !is_answer {
            match self.replays.repeat(now.instant, &envelope.hash, from) {
                Repetition::New => {}
                Repetition::Again(answers) => {
                    answers.into_iter().for_each(|answer| self.send(from, answer));
                    return Ok(());
                }
                Repetition::Spent => return Err(Reject::Replay),
            }
        }
        let packet = envelope.decode()?;
        if packet.expiration().is_some_and(|end| Duration::from_secs(end) < now.unix) {
            return Err(Reject::Expired);
        }
        self.check_context(now, from, &packet)?;
        self.jobs.has_room(!is_answer)?;
        if !is_answer {
            self.limiter.recover(now.instant)?;
        }
        let inbound = Inbound { from, hash: envelope.hash, digest: envelope.digest(), packet };
        let job = self.jobs.recover(inbound, envelope.signature);
        self.outputs.push_back(Output::Curve(job));
        Ok(())
    }

    fn check_source(&self, from: SocketAddr) -> Result<(), Reject> {
        let ip = from.ip();
        let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
        if from.port() == 0 || ip.is_unspecified() || ip.is_multicast() || broadcast {
            return Err(Reject::BadSource);
        }
        if self.config.net_restrict.contains(ip) { Ok(()) } else { Err(Reject::NetRestrict) }
    }

    /// Whether the packet makes sense from this address, whoever signed it.
    fn check_context(&mut self, now: Now, from: SocketAddr, packet: &Packet) -> Result<(), Reject> {
        let awaited = |kind, hash| {
            if self.pending.awaits(from, kind, Some(hash)) { Ok(()) } else { Err(Reject::Unsolicited) }
        };
        match packet {
            Packet::Ping(_) => Ok(()),
            Packet::FindNode(_) | Packet::EnrRequest(_) => {
                let proven = self.bonds.is_address_proven(now.instant, from) || self.jobs.is_proving(from);
                if proven { Ok(()) } else { Err(Reject::NoProof) }
            }
            Packet::Pong(pong) => awaited(PacketKind::Pong, &pong.ping_hash),
            Packet::EnrResponse(response) => awaited(PacketKind::EnrResponse, &response.request_hash),
            Packet::Neighbors(_) => self.take_neighbors_turn(from),
        }
    }

    /// Whether one more Neighbors from there is read. They name no request, so anybody who can use the address could
    /// have us recover signatures without end.
    fn take_neighbors_turn(&mut self, from: SocketAddr) -> Result<(), Reject> {
        let may = |request: &Request| {
            request.awaits(PacketKind::Neighbors, None) && request.packets < MAX_NEIGHBORS_PACKETS
        };
        let turn = self.pending.at(from).find(|(_, request)| may(request)).map(|(id, _)| id);
        let request = turn.and_then(|id| self.pending.get_mut(id)).ok_or(Reject::NeighborsExcess)?;
        request.packets = request.packets.saturating_add(1);
        Ok(())
    }

    /// A packet's signer is known.
    pub(super) fn recovered(
        &mut self,
        now: Now,
        inbound: Inbound,
        outputs: Vec<CurveOutput>,
    ) -> Result<(), Reject> {
        let mut outputs = outputs.into_iter();
        let Some(CurveOutput::Recovered(signer)) = outputs.next() else { return Err(Reject::BadSignature) };
        if signer == self.local.public_key {
            return self.on_own_key(now, &inbound);
        }
        let Inbound { from, hash, digest, packet } = inbound;
        let signed = Signed { from, hash, digest, signer, id: signer.node_id() };
        match packet {
            Packet::Ping(ping) => self.on_ping(now, &signed, &ping),
            Packet::Pong(pong) => self.on_pong(now, &signed, &pong),
            Packet::FindNode(find) => self.on_find_node(now, &signed, &find),
            Packet::Neighbors(neighbors) => self.on_neighbors(now, &signed, &neighbors.nodes),
            Packet::EnrRequest(_) => self.on_enr_request(now, &signed),
            Packet::EnrResponse(response) => {
                let verified = outputs.next();
                let record = if let Some(CurveOutput::Verified(enr)) = verified { Some(enr) } else { None };
                self.on_enr_response(now, &signed, &response, record)
            }
        }
    }

    fn on_ping(&mut self, now: Now, signed: &Signed, ping: &Ping) -> Result<(), Reject> {
        self.note(now, signed)?;
        let (key, peer) = (signed.key(), signed.peer(ping.from.tcp));
        let purpose = Purpose::Pong { request_hash: signed.hash, key };
        let pong = Pong::encode(&peer.endpoint, &signed.hash, self.expiration(now), self.local.enr.seq());
        let mut drafts = vec![Draft { unsigned: pong, to: signed.from, purpose }];
        if self.bonds.is_proven(now.instant, &key) {
            if !self.table.heard(now.instant, &signed.id, signed.from, ping.from.tcp, ping.enr_seq) {
                self.prove(now, NodeEntry { enr_seq: ping.enr_seq, ..peer.entry() }, true);
            }
            self.request_newer_record(now, &signed.id);
        } else {
            drafts.extend(self.ping_back(now, peer));
        }
        self.sign(now, signed.from, drafts, true);
        Ok(())
    }

    /// A Ping to a node that pinged us and has not proved its endpoint, unless one is on its way.
    fn ping_back(&mut self, now: Now, peer: Peer) -> Option<Draft> {
        let is_pinging = |request: &Request| match request.stage {
            Stage::Pinged { .. } => true,
            Stage::Signing => request.asker == Asker::PingBack,
            Stage::PingBack | Stage::Asked { .. } | Stage::Queued => false,
        };
        if !self.pending.ids(&peer.key(), is_pinging).is_empty() {
            return None;
        }
        let allowed = self.limiter.ping_back(now.instant, peer.addr());
        self.count(allowed);
        allowed.ok()?;
        let id = self.pending.take_id();
        if !self.pending.insert(id, Request::new(peer, Question::Ping, Asker::PingBack)) {
            self.rejects.add(Reject::PendingFull);
            return None;
        }
        Some(self.draft_ping(now, &peer, Purpose::Ping(id)))
    }

    fn on_find_node(&mut self, now: Now, signed: &Signed, find: &FindNode) -> Result<(), Reject> {
        self.check_proven(now, signed)?;
        let requester = AddressClass::of(signed.from.ip());
        // The asker itself is left out, unless it was last seen elsewhere: then another may have its key.
        let is_asker =
            |node: &NodeEntry| node.node_id == signed.id && node.endpoint.udp_addr() == Some(signed.from);
        let may = |node: &NodeEntry| {
            node.live
                && !is_asker(node)
                && AddressClass::of(node.endpoint.ip).may_be_told_by(requester)
                && !is_link_local(node.endpoint.ip)
        };
        let nodes = self.table.closest(&find.target.node_id(), BUCKET_SIZE, may);
        let expiration = self.expiration(now);
        let draft = |nodes: &[&NodeEntry]| {
            let nodes = nodes.iter().map(|node| (&node.public_key, &node.endpoint));
            let purpose = Purpose::Answer { request_hash: signed.hash };
            Draft { unsigned: Neighbors::encode(nodes, expiration), to: signed.from, purpose }
        };
        let mut drafts: Vec<Draft> = nodes.chunks(MAX_NEIGHBORS).map(draft).collect();
        if drafts.is_empty() {
            drafts.push(draft(&[]));
        }
        self.sign(now, signed.from, drafts, true);
        Ok(())
    }

    fn on_enr_request(&mut self, now: Now, signed: &Signed) -> Result<(), Reject> {
        self.check_proven(now, signed)?;
        let unsigned = EnrResponse::encode(&signed.hash, &self.local.enr);
        let purpose = Purpose::Answer { request_hash: signed.hash };
        self.sign(now, signed.from, vec![Draft { unsigned, to: signed.from, purpose }], true);
        Ok(())
    }

    /// Whether the signer has proved the endpoint, and may ask once more; takes note of the request.
    fn check_proven(&mut self, now: Now, signed: &Signed) -> Result<(), Reject> {
        if !self.bonds.is_proven(now.instant, &signed.key()) {
            return Err(Reject::NoProof);
        }
        if !self.bonds.take_request(now.instant, &signed.key()) {
            return Err(Reject::EndpointRate);
        }
        self.note(now, signed)
    }

    fn note(&mut self, now: Now, signed: &Signed) -> Result<(), Reject> {
        let content = (signed.digest, signed.id);
        if self.replays.note(now.instant, signed.hash, signed.from, content) {
            Ok(())
        } else {
            Err(Reject::Replay)
        }
    }

    pub(super) fn prove(&mut self, now: Now, node: NodeEntry, inbound: bool) {
        let offered = self.table.proved(now.instant, node, inbound);
        self.offered(now, offered);
    }
}
