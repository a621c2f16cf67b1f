//! The curve jobs that are out, and what is to be done with each when it comes back: at most 1,024, and no more than
//! 683 of them for strangers. Jobs of one endpoint share a lane, so they come back in the order they were put out.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use identity::{
    Signature,
    curve::{CurveJob, CurveOp, KeyRef, Lane, Ticket, Urgency},
};

use crate::{
    Reject,
    bond::BondKey,
    config::{MAX_JOBS, MAX_REQUEST_JOBS},
    limiter::keyed_hash,
    pending::RequestId,
    wire::{Packet, Unsigned},
};

/// A packet whose signer is being recovered.
#[derive(Clone, Debug)]
pub(crate) struct Inbound {
    pub(crate) from: SocketAddr,
    pub(crate) hash: [u8; 32],
    pub(crate) digest: [u8; 32],
    pub(crate) packet: Packet,
}

/// A packet of ours that is being signed.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) unsigned: Unsigned,
    pub(crate) to: SocketAddr,
    pub(crate) purpose: Purpose,
}

/// What a draft is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// It answers the request with this hash.
    Answer { request_hash: [u8; 32] },
    /// It answers a Ping, which gives the node our proof.
    Pong { request_hash: [u8; 32], key: BondKey },
    /// It is the Ping that a request starts with.
    Ping(RequestId),
    /// It is the question of a request.
    Question(RequestId),
    /// It tells another process with our key of us.
    Notice,
}

/// What comes after a job.
#[derive(Clone, Debug)]
pub(crate) enum Job {
    Recover(Inbound),
    Sign(Vec<Draft>),
}

/// The jobs that are out.
#[derive(Clone, Debug)]
pub(crate) struct Jobs {
    jobs: BTreeMap<Ticket, Job>,
    /// The datagrams among them.
    hashes: BTreeSet<[u8; 32]>,
    /// Where Pongs among them came from: their senders may be about to have proved themselves.
    proving: BTreeSet<(SocketAddr, Ticket)>,
    next_ticket: u64,
    lane_key: (u64, u64),
}

impl Jobs {
    pub(crate) fn new(lane_key: (u64, u64)) -> Self {
        let (jobs, hashes, proving) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        Self { jobs, hashes, proving, next_ticket: 0, lane_key }
    }

    /// Whether there is room: for what strangers cause, two thirds of it all.
    pub(crate) fn has_room(&self, for_stranger: bool) -> Result<(), Reject> {
        let limit = if for_stranger { MAX_REQUEST_JOBS } else { MAX_JOBS };
        if self.jobs.len() < limit { Ok(()) } else { Err(Reject::Busy) }
    }

    /// Whether such a datagram is being worked on.
    pub(crate) fn is_in_flight(&self, hash: &[u8; 32]) -> bool {
        self.hashes.contains(hash)
    }

    /// Whether a Pong from there is being worked on.
    pub(crate) fn is_proving(&self, from: SocketAddr) -> bool {
        self.proving.range((from, Ticket(0))..=(from, Ticket(u64::MAX))).next().is_some()
    }

    /// Puts out the recovery of a packet's signer, and the check of a record in it.
    pub(crate) fn recover(&mut self, inbound: Inbound, signature: Signature) -> CurveJob {
        let mut ops = vec![CurveOp::Recover(inbound.digest, signature)];
        if let Packet::EnrResponse(response) = &inbound.packet {
            ops.push(CurveOp::Verify(response.record.clone()));
        }
        let (ticket, lane) = (self.take_ticket(), self.lane(inbound.from));
        if matches!(inbound.packet, Packet::Pong(_)) {
            self.proving.insert((inbound.from, ticket));
        }
        self.hashes.insert(inbound.hash);
        self.jobs.insert(ticket, Job::Recover(inbound));
        CurveJob { ticket, lane, urgency: Urgency::Normal, ops }
    }

    /// Puts out the signing of drafts to one endpoint.
    pub(crate) fn sign(&mut self, to: SocketAddr, drafts: Vec<Draft>) -> CurveJob {
        let ops = drafts.iter().map(|draft| CurveOp::Sign(KeyRef::Node, draft.unsigned.digest())).collect();
        let (ticket, lane) = (self.take_ticket(), self.lane(to));
        self.jobs.insert(ticket, Job::Sign(drafts));
        CurveJob { ticket, lane, urgency: Urgency::Normal, ops }
    }

    /// A job came back. None when nobody put it out.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Job> {
        let job = self.jobs.remove(&ticket)?;
        if let Job::Recover(inbound) = &job {
            self.hashes.remove(&inbound.hash);
            self.proving.remove(&(inbound.from, ticket));
        }
        Some(job)
    }

    /// How many jobs are out.
    pub(crate) fn len(&self) -> usize {
        self.jobs.len()
    }

    fn take_ticket(&mut self) -> Ticket {
        self.next_ticket = self.next_ticket.wrapping_add(1);
        Ticket(self.next_ticket)
    }

    fn lane(&self, addr: SocketAddr) -> Lane {
        Lane(keyed_hash(self.lane_key, addr))
    }
}
