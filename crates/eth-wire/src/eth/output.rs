//! What the machine puts out, and what it says of peers: sends, disconnects, backend calls, answers to its owner, events.
//! What a peer can have done wrong is `fault`'s.

use identity::NodeId;
use rlpx::{DisconnectReason, PeerId, SharedMessage, Verdict};

use crate::{
    Answer, BlockRange, EthVersion, Hash, Insert, Offer, Position,
    backend::{BackendCall, BackendTicket},
    fault::PeerFault,
};

/// Names a command of the owner; replied to exactly once, unless cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// Something for the driver to do, in order.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send the peer a message. Its bytes count until `handle_credit`.
    Send {
        /// To whom.
        peer: PeerId,
        /// What.
        message: SharedMessage,
    },
    /// End the connection. The machine knows the peer no more.
    Disconnect {
        /// Whose.
        peer: PeerId,
        /// The reason to give.
        reason: DisconnectReason,
        /// What was wrong.
        fault: PeerFault,
    },
    /// Tell the transport how a peer serves.
    Report {
        /// Which peer.
        peer: PeerId,
        /// How.
        verdict: Verdict,
    },
    /// Leave the peer's messages unread, or read them again.
    Reading {
        /// Whose.
        peer: PeerId,
        /// Whether to leave them.
        paused: bool,
    },
    /// Run a call and bring its answer by `handle_backend`. Calls are run in order.
    Backend {
        /// Comes back with the answer.
        ticket: BackendTicket,
        /// What to do.
        call: BackendCall,
    },
    /// The answer to a command.
    Reply {
        /// Which.
        command: CommandId,
        /// What came of it.
        reply: Reply,
    },
    /// Something the owner may want to know.
    Event(EthEvent),
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// What the pool said of each transaction, in order.
    Inserted(Vec<Insert>),
    /// How many transactions were queued to be announced.
    Announced(usize),
    /// What the chain said of the block.
    Offered(Offer),
    /// What the peer answered: no more than was asked for, and as far as the request tells, what was asked for.
    Answer(PeerId, Answer),
    /// Nothing.
    Failed(RequestError),
}

/// Why a command has no result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// No peer is there to ask, or not the one named.
    #[error("there is no such peer")]
    NoPeer,
    /// The peer left before it answered.
    #[error("the peer left before it answered")]
    PeerGone,
    /// The peer did not answer in time.
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The peer answered with something else, and was disconnected.
    #[error("the peer answered with something else than was asked for")]
    WrongAnswer,
    /// Too many commands or requests wait already.
    #[error("too many requests wait for an answer")]
    TooMany,
    /// Nothing is asked for, or more than one answer may hold.
    #[error("a request asks for 1 to 1024 items")]
    Size,
    /// The bytes are no transaction or block.
    #[error("the bytes are not what they should be: {0}")]
    Malformed(crate::DecodeError),
    /// Chain or pool have failed.
    #[error("the chain or the pool has failed")]
    Backend,
    /// The machine has ended.
    #[error("the node has stopped")]
    Closed,
}

/// A peer whose handshake is over, as the machine sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EthPeerInfo {
    /// The number of the session.
    pub peer_id: PeerId,
    /// Who it is.
    pub node_id: NodeId,
    /// The version agreed on.
    pub version: EthVersion,
    /// How far its chain goes, by its own word.
    pub position: Position,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EthEvent {
    /// The handshake with a peer is over: it takes part.
    PeerReady(EthPeerInfo),
    /// A peer that took part has left, or was disconnected for a fault.
    PeerGone {
        /// The number of its session.
        peer: PeerId,
        /// What was wrong, if it was us.
        fault: Option<PeerFault>,
    },
    /// The handshake with a peer failed.
    PeerRefused {
        /// The number of its session.
        peer: PeerId,
        /// Who it is.
        node_id: NodeId,
        /// The rule that it breaks.
        fault: PeerFault,
    },
    /// Transactions came in full, from a peer or the owner.
    TransactionsReceived {
        /// From whom; None from the owner.
        peer: Option<PeerId>,
        /// Those that were new to the pool.
        new: Vec<Hash>,
        /// How many it had already, those it had been handed before included.
        known: usize,
    },
    /// The chain took a block in.
    BlockImported {
        /// Its hash.
        hash: Hash,
        /// Its number.
        number: u64,
        /// Who sent it; None for the owner's own.
        peer: Option<PeerId>,
        /// Whether it is the head now.
        is_head: bool,
    },
    /// A peer says which blocks it has (eth/69).
    RangeUpdated {
        /// Which peer.
        peer: PeerId,
        /// Which blocks.
        range: BlockRange,
    },
    /// A peer has a branch that is too far ahead to be fetched along with gossip: for the owner to synchronise.
    FarAhead {
        /// Which peer.
        peer: Option<PeerId>,
        /// The end of the branch.
        hash: Hash,
    },
    /// So many events were dropped because they were not taken in time.
    Lagged(u64),
}
