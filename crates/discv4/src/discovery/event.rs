//! What the machine tells its owner: changes of the table, answers to requests, and why there is none.
//! An event never asks for anything; what has to be done leaves as another output.

use std::{net::SocketAddr, time::Duration};

use identity::{Endpoint, Enr, NodeId};

use crate::{LookupId, NodeEntry, RequestId};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The node entered the table, named by others and not yet live.
    NodeSeen(NodeEntry),
    /// The node of the table is live now.
    NodeLive(NodeEntry),
    /// The node left the table.
    NodeRemoved(NodeId),
    /// A Ping of the owner was answered.
    PongReceived {
        /// The request.
        request: RequestId,
        /// What the answer says.
        pong: PongInfo,
    },
    /// The record that the owner asked for; signed by the node that was asked.
    EnrReceived {
        /// The request.
        request: RequestId,
        /// The record.
        enr: Enr,
    },
    /// A request of the owner ended without an answer.
    RequestFailed {
        /// The request.
        request: RequestId,
        /// Why.
        error: RequestError,
    },
    /// A lookup of the owner ended.
    LookupFinished {
        /// The lookup.
        lookup: LookupId,
        /// The nearest nodes that answered, at most 16, the nearest first.
        nodes: Vec<NodeEntry>,
    },
    /// Another process signs with our key: both pretend to be one node, and others do not know where it is. Told at each
    /// of its Pings.
    KeyInUse {
        /// Where it is.
        from: SocketAddr,
    },
    /// A node to connect to, after [`crate::Discovery::want_candidates`]; with its record, if it gave one.
    Candidate(NodeEntry),
    /// No more candidates come until they are wanted again.
    CandidatesFinished,
}

/// What a Pong says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PongInfo {
    /// From the Ping to its Pong.
    pub rtt: Duration,
    /// The sequence number of the node's record; None when it has none.
    pub enr_seq: Option<u64>,
    /// Where the node saw our Ping come from, as it says: the unspecified address when it says none.
    pub told_endpoint: Endpoint,
    /// Where the Pong came from.
    pub from: SocketAddr,
}

/// Why a request has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No answer in time. Nobody is there, the node has another key, or does not let us in.
    #[error("no answer: nobody there, or not with that key")]
    Timeout,
    /// Too many requests, or too much work on the curve, is out.
    #[error("too much is under way")]
    Busy,
    /// The node has no UDP port, or is ourselves.
    #[error("the node has no UDP endpoint, or is this node")]
    NoEndpoint,
    /// The node is outside of the networks we are restricted to.
    #[error("the address is outside of the networks this node is restricted to")]
    NetRestrict,
    /// Others named the node, and its network was pinged enough for now.
    #[error("the node's network was pinged enough for now")]
    Limited,
    /// The node's record is not valid, or not its own.
    #[error("the node's record is not valid")]
    BadRecord,
    /// The node's name could not be resolved.
    #[error("the node's name could not be resolved")]
    Unresolved,
    /// Discovery has ended.
    #[error("discovery has ended")]
    Closed,
}
