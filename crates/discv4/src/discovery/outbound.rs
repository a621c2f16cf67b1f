//! What we ask: a request proves the endpoint both ways where that is missing, asks, asks once more when nobody
//! answers, and ends by telling its asker.
//!
//! A dead node costs one Ping and its timeout; the wait for the other side's Ping ends when it comes.

use std::net::SocketAddr;

use bytes::Bytes;
use identity::{Enr, NodeId, Now};

use super::{Discovery, Event, PongInfo, RequestError};
use crate::{
    NodeEntry, Reject, RequestId,
    bond::BondKey,
    jobs::{Draft, Purpose},
    pending::{Asker, Peer, Question, Request, Stage},
    wire::{EnrRequest, FindNode, Ping},
};

/// What a request was told.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Pong(PongInfo),
    Nodes(Vec<NodeEntry>),
    Record(Enr),
}

impl Discovery {
    /// Begins a request. On an error nothing is out, and nobody is told but the caller.
    pub(super) fn begin(
        &mut self,
        now: Now,
        id: RequestId,
        peer: Peer,
        question: Question,
        asker: Asker,
    ) -> Result<(), RequestError> {
        if peer.endpoint.udp == 0 || peer.id == self.local.id || peer.endpoint.ip.is_unspecified() {
            return Err(RequestError::NoEndpoint);
        }
        if !self.config.net_restrict.contains(peer.endpoint.ip) {
            return Err(RequestError::NetRestrict);
        }
        let room = self.jobs.has_room(false);
        self.count(room);
        room.map_err(|_| RequestError::Busy)?;
        self.check_told(now, &peer, asker)?;
        if !self.pending.insert(id, Request::new(peer, question, asker)) {
            self.rejects.add(Reject::PendingFull);
            return Err(RequestError::Busy);
        }
        if question == Question::Ping || !self.bonds.is_mutual(now.instant, &peer.key()) {
            self.ping_first(now, id, &peer);
        } else {
            self.ask(now, id);
        }
        Ok(())
    }

    /// Nodes that only others vouch for are pinged rarely, or we would flood whomever they name.
    fn check_told(&mut self, now: Now, peer: &Peer, asker: Asker) -> Result<(), RequestError> {
        let told = match asker {
            Asker::Owner | Asker::PingBack | Asker::Challenge | Asker::Bootnode => false,
            Asker::Lookup(_) | Asker::Revalidation | Asker::Record | Asker::Candidate => {
                let is_bootnode = self.config.bootnodes.iter().any(|node| node.node_id == peer.id);
                !is_bootnode && !self.bonds.is_proven(now.instant, &peer.key())
            }
        };
        if told {
            let allowed = self.limiter.told(now.instant, peer.endpoint.ip);
            self.count(allowed);
            allowed.map_err(|_| RequestError::Limited)?;
        }
        Ok(())
    }

    /// Sends a request's Ping, or waits for the answer to one that is out to the same node.
    fn ping_first(&mut self, now: Now, id: RequestId, peer: &Peer) {
        let out = self.pending.ids(&peer.key(), |request| matches!(request.stage, Stage::Pinged { .. }));
        let shared = out
            .first()
            .and_then(|other| Some((self.pending.get(*other)?.clone(), self.pending.deadline(*other))));
        if let Some((other, deadline)) = shared {
            self.pending.set_stage(id, other.stage, deadline);
            if let Some(request) = self.pending.get_mut(id) {
                request.answered_at = other.answered_at;
            }
            return;
        }
        let draft = self.draft_ping(now, peer, Purpose::Ping(id));
        self.sign(now, peer.addr(), vec![draft], false);
    }

    pub(super) fn draft_ping(&self, now: Now, peer: &Peer, purpose: Purpose) -> Draft {
        let from = self.local.endpoint(peer.endpoint.ip);
        let unsigned = Ping::encode(&from, &peer.endpoint, self.expiration(now), self.local.enr.seq());
        Draft { unsigned, to: peer.addr(), purpose }
    }

    /// Sends a request's question; a FindNode waits while another one to the same node is out.
    pub(super) fn ask(&mut self, now: Now, id: RequestId) {
        let Some(request) = self.pending.get(id) else { return };
        let (peer, question) = (request.peer, request.question);
        let expiration = self.expiration(now);
        let unsigned = match question {
            Question::Ping => Ping::encode(
                &self.local.endpoint(peer.endpoint.ip),
                &peer.endpoint,
                expiration,
                self.local.enr.seq(),
            ),
            Question::FindNode(target) => {
                let others = self.pending.ids(&peer.key(), Request::is_finding);
                if others.into_iter().any(|other| other != id) {
                    self.pending.set_stage(id, Stage::Queued, None);
                    return;
                }
                FindNode::encode(&target, expiration)
            }
            Question::Enr => EnrRequest::encode(expiration),
        };
        self.pending.set_stage(id, Stage::Signing, None);
        if let Some(request) = self.pending.get_mut(id) {
            request.asking = true;
        }
        let purpose = if question == Question::Ping { Purpose::Ping(id) } else { Purpose::Question(id) };
        self.sign(now, peer.addr(), vec![Draft { unsigned, to: peer.addr(), purpose }], false);
    }

    /// A request's datagram has its signature: its deadline starts, and it goes out.
    pub(super) fn file(
        &mut self,
        now: Now,
        id: RequestId,
        to: SocketAddr,
        datagram: Bytes,
        hash: [u8; 32],
        is_ping: bool,
    ) {
        // Its asker may have ended meanwhile.
        if self.pending.get(id).is_none() {
            return;
        }
        let sent = now.instant;
        let stage = if is_ping { Stage::Pinged { hash, sent } } else { Stage::Asked { hash, sent } };
        self.pending.set_stage(id, stage, sent.checked_add(self.config.response_timeout));
        self.send(to, datagram);
    }

    /// We have sent a Pong, so the node has our proof: what waited for that goes on.
    pub(super) fn pong_sent(&mut self, now: Now, key: &BondKey) {
        self.bonds.answered(now.instant, key);
        for id in self.pending.ids(key, |_| true) {
            let Some(request) = self.pending.get_mut(id) else { continue };
            request.answered_at = Some(now.instant);
            if matches!(request.stage, Stage::PingBack) {
                self.ask(now, id);
            }
        }
    }

    /// A request's deadline has come.
    pub(super) fn timed_out(&mut self, now: Now, id: RequestId) {
        let Some(request) = self.pending.get_mut(id) else { return };
        let (peer, question) = (request.peer, request.question);
        let may_retry = !request.retried && (question != Question::Ping || request.asker == Asker::Challenge);
        match request.stage {
            Stage::PingBack => self.ask(now, id),
            Stage::Asked { .. } if request.has_answer => {
                let found = std::mem::take(&mut request.found);
                self.conclude(now, id, Ok(Answer::Nodes(found)));
            }
            Stage::Asked { .. } if may_retry => {
                request.retried = true;
                self.ask(now, id);
            }
            Stage::Asked { .. } => {
                self.bonds.doubt(&peer.key());
                self.fail(now, id, RequestError::Timeout);
            }
            Stage::Pinged { .. } if may_retry && question == Question::Ping => {
                request.retried = true;
                self.ask(now, id);
            }
            Stage::Pinged { .. } | Stage::Signing | Stage::Queued => {
                self.fail(now, id, RequestError::Timeout);
            }
        }
    }

    pub(super) fn fail(&mut self, now: Now, id: RequestId, error: RequestError) {
        self.conclude(now, id, Err(error));
    }

    /// Ends a request and tells its asker.
    pub(super) fn conclude(&mut self, now: Now, id: RequestId, result: Result<Answer, RequestError>) {
        let Some(request) = self.pending.remove(id) else { return };
        if let Question::FindNode(_) = request.question {
            self.find_node_ended(now, &request.peer, result.as_ref().err());
        }
        let node = request.peer.id;
        match request.asker {
            Asker::Owner => self.tell_owner(id, result),
            Asker::Lookup(lookup) => {
                let nodes = if let Ok(Answer::Nodes(nodes)) = result { Some(nodes) } else { None };
                self.lookup_told(now, lookup, &node, nodes);
            }
            Asker::Revalidation => self.revalidated(&node, result.err()),
            Asker::Challenge => {
                if matches!(result, Err(RequestError::Timeout)) {
                    let changes = self.table.evict(&node);
                    self.changed(changes);
                } else {
                    self.table.unchecked(&node);
                }
            }
            Asker::Candidate => {
                let record = if let Ok(Answer::Record(enr)) = result { Some(enr) } else { None };
                self.candidate_told(id, record);
            }
            Asker::Bootnode => self.bootnode_told(now, node, result.err()),
            Asker::PingBack | Asker::Record => {}
        }
    }

    fn find_node_ended(&mut self, now: Now, peer: &Peer, error: Option<&RequestError>) {
        match error {
            None => self.table.find_answered(&peer.id),
            Some(RequestError::Timeout) => {
                let changes = self.table.find_failed(&peer.id);
                self.changed(changes);
            }
            // What we could not ask says nothing about the node.
            Some(_) => {}
        }
        let queued = self.pending.ids(&peer.key(), |request| matches!(request.stage, Stage::Queued));
        if let Some(next) = queued.first() {
            self.ask(now, *next);
        }
    }

    fn revalidated(&mut self, node: &NodeId, error: Option<RequestError>) {
        match error {
            Some(RequestError::Timeout) => {
                let changes = self.table.silent(node);
                self.changed(changes);
            }
            Some(_) | None => self.table.unchecked(node),
        }
    }

    fn tell_owner(&mut self, request: RequestId, result: Result<Answer, RequestError>) {
        match result {
            Ok(Answer::Pong(pong)) => self.event(Event::PongReceived { request, pong }),
            Ok(Answer::Record(enr)) => self.event(Event::EnrReceived { request, enr }),
            // The owner asks for nodes by lookups alone.
            Ok(Answer::Nodes(_)) => {}
            Err(error) => self.event(Event::RequestFailed { request, error }),
        }
    }

    /// Pings a node of the table to see whether it is still there.
    pub(super) fn check(&mut self, now: Now, node: &NodeEntry, asker: Asker) {
        let id = self.pending.take_id();
        if self.begin(now, id, Peer::from(node), Question::Ping, asker).is_err() {
            self.table.unchecked(&node.node_id);
        }
    }

    /// Asks a node of the table for its record when it says that it has a newer one, once a minute at most.
    pub(super) fn request_newer_record(&mut self, now: Now, node: &NodeId) {
        if let Some(node) = self.table.take_record_turn(now.instant, node) {
            let id = self.pending.take_id();
            // One that cannot be asked now is asked after its next Pong.
            let _ = self.begin(now, id, Peer::from(&node), Question::Enr, Asker::Record);
        }
    }
}
