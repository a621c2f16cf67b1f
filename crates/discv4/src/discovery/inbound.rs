//! What comes in: a datagram is admitted by ever dearer checks, its signer is recovered, and only then does it count.
//!
//! The order: source, size, kind, limits and the wish for an answer; hash; repetition; RLP; expiration; proof; and last
//! the curve. A packet that fails leaves nothing behind but a count.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use identity::{AddressClass, Endpoint, Enr, NodeId, Now, PublicKey, curve::CurveOutput};

use super::{Discovery, Output, PongInfo, RequestError, outbound::Answer};
use crate::{
    NodeEntry, Reject,
    bond::BondKey,
    config::{BUCKET_SIZE, MAX_LOW_PORT, MAX_NEIGHBORS_PACKETS, MIN_PING_BACK_WAIT},
    jobs::{Draft, Inbound, Purpose},
    pending::{Asker, Peer, Question, Request, Stage},
    replay::Repetition,
    wire::{EnrResponse, Envelope, FindNode, MAX_NEIGHBORS, Neighbor, Neighbors, Packet, PacketKind, Ping, Pong},
};

/// The shortest pause after a Neighbors that ends its answer: packets of one answer leave back to back.
const MIN_NEIGHBORS_GAP: Duration = Duration::from_millis(20);

/// A request that was admitted, with its signer.
#[derive(Clone, Copy, Debug)]
struct Signed {
    from: SocketAddr,
    hash: [u8; 32],
    digest: [u8; 32],
    signer: PublicKey,
    id: NodeId,
}

impl Signed {
    const fn key(&self) -> BondKey {
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
    pub(super) fn recovered(&mut self, now: Now, inbound: Inbound, outputs: Vec<CurveOutput>) -> Result<(), Reject> {
        let mut outputs = outputs.into_iter();
        let Some(CurveOutput::Recovered(signer)) = outputs.next() else { return Err(Reject::BadSignature) };
        if signer == self.local.public_key {
            return Err(Reject::OwnKey);
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
        Some(self.draft_ping(now, id, &peer))
    }

    fn on_pong(&mut self, now: Now, signed: &Signed, pong: &Pong) -> Result<(), Reject> {
        let key = signed.key();
        let answered = self.pending.ids(&key, |request| request.awaits(PacketKind::Pong, Some(&pong.ping_hash)));
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
    fn ponged(&mut self, now: Now, id: crate::RequestId, pong: PongInfo) {
        let Some(request) = self.pending.get(id) else { return };
        if request.question == Question::Ping {
            self.conclude(now, id, Ok(Answer::Pong(pong)));
        } else if self.bonds.is_mutual(now.instant, &request.peer.key()) {
            self.ask(now, id);
        } else {
            // Its Ping follows its Pong at once, or not at all when it has an older proof of ours.
            let wait = pong.rtt.clamp(MIN_PING_BACK_WAIT, self.config.response_timeout.max(MIN_PING_BACK_WAIT));
            self.pending.set_stage(id, Stage::PingBack, now.instant.checked_add(wait));
        }
    }

    fn on_find_node(&mut self, now: Now, signed: &Signed, find: &FindNode) -> Result<(), Reject> {
        self.check_proven(now, signed)?;
        let requester = AddressClass::of(signed.from.ip());
        let may = |node: &NodeEntry| {
            node.live
                && node.node_id != signed.id
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

    fn on_neighbors(&mut self, now: Now, signed: &Signed, nodes: &[Neighbor]) -> Result<(), Reject> {
        let waiting = self.pending.ids(&signed.key(), |request| request.awaits(PacketKind::Neighbors, None));
        let id = *waiting.first().ok_or(Reject::Unsolicited)?;
        let accepted = self.accept_neighbors(signed, id, nodes);
        for node in &accepted {
            let offered = self.table.found(now.instant, node.clone());
            self.offered(now, offered);
        }
        let Some(request) = self.pending.get_mut(id) else { return Ok(()) };
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
    fn accept_neighbors(&self, signed: &Signed, id: crate::RequestId, nodes: &[Neighbor]) -> Vec<NodeEntry> {
        let known = self.pending.get(id).map_or(&[][..], |request| &request.found);
        let mut accepted: Vec<NodeEntry> = Vec::with_capacity(nodes.len().min(BUCKET_SIZE));
        for (count, neighbor) in nodes.iter().enumerate() {
            if count >= BUCKET_SIZE || known.len().saturating_add(accepted.len()) >= BUCKET_SIZE {
                self.rejects.add(Reject::NeighborsExcess);
                break;
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
    fn check_neighbor(&self, neighbor: &Neighbor, teller: IpAddr) -> Option<Endpoint> {
        let ip = neighbor.ip?;
        let may_be_told = AddressClass::of(ip).may_be_told_by(AddressClass::of(teller)) && !is_link_local(ip);
        let may_be_node = neighbor.udp > MAX_LOW_PORT
            && neighbor.public_key != self.local.public_key
            && self.config.net_restrict.contains(ip)
            && neighbor.public_key.is_on_curve();
        (may_be_told && may_be_node).then_some(Endpoint { ip, udp: neighbor.udp, tcp: neighbor.tcp })
    }

    fn on_enr_response(
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
        let same_family: Vec<Endpoint> = told.filter(|told| told.ip.is_ipv4() == signed.from.ip().is_ipv4()).collect();
        let Some(endpoint) = same_family.first().filter(|told| told.udp_addr() != Some(signed.from)) else { return };
        let neighbor =
            Neighbor { ip: Some(endpoint.ip), udp: endpoint.udp, tcp: endpoint.tcp, public_key: signed.signer };
        if self.check_neighbor(&neighbor, signed.from.ip()).is_some() {
            let peer = Peer { public_key: signed.signer, id: signed.id, endpoint: *endpoint };
            let id = self.pending.take_id();
            // A node that cannot be asked now stays where it is.
            let _ = self.begin(now, id, peer, Question::Ping, Asker::Record);
        }
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
        let content = (signed.id, signed.digest);
        if self.replays.note(now.instant, signed.hash, signed.from, content) { Ok(()) } else { Err(Reject::Replay) }
    }

    fn prove(&mut self, now: Now, node: NodeEntry, inbound: bool) {
        let offered = self.table.proved(now.instant, node, inbound);
        self.offered(now, offered);
    }
}

/// Addresses that mean something else on every link.
fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}
