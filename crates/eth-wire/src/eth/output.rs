//! What the machine puts out, and what it says of peers: sends, disconnects, backend calls, answers to its owner, events.
//! One map from a peer's fault to the reason on the wire and to the label it is counted under.

use identity::NodeId;
use rlpx::{DisconnectReason, PeerId, SharedMessage};

use crate::{
    Answer, BadBlock, BlockRange, EthVersion, HandshakeError, Hash, Insert, MessageError, Offer, Position,
    Reject,
    backend::{BackendCall, BackendTicket},
    requests::UnmatchedAnswer,
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

/// Why a peer was disconnected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerFault {
    /// A message that is refused by itself.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Status came too late.
    #[error("no Status in time")]
    StatusTimeout,
    /// The first message was no Status, or a later one was.
    #[error("a Status out of place, or another message in its place")]
    UnexpectedStatus,
    /// Status does not fit.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// An answer that fits no request.
    #[error(transparent)]
    Answer(#[from] UnmatchedAnswer),
    /// An answer with something else than was asked for.
    #[error("an answer with something that was not asked for")]
    UnrequestedItem,
    /// A transaction announced with another type or size than it has.
    #[error("the transaction {0} was announced with another type or size than it has")]
    Misannounced(Hash),
    /// A bad block.
    #[error("the block {0} is bad: {1}")]
    BadBlock(Hash, BadBlock),
    /// More requests at once than a node that is left unread can have sent.
    #[error("too many requests at once")]
    RequestOverflow,
}

impl PeerFault {
    /// The reason to disconnect with: as in go-ethereum 0x02 only for RLP that cannot be decoded, else 0x10.
    pub const fn reason(&self) -> DisconnectReason {
        match self {
            Self::Message(error) if error.is_malformed() => DisconnectReason::ProtocolError,
            Self::StatusTimeout => DisconnectReason::ReadTimeout,
            Self::Message(_)
            | Self::UnexpectedStatus
            | Self::Handshake(_)
            | Self::Answer(_)
            | Self::UnrequestedItem
            | Self::Misannounced(_)
            | Self::BadBlock(..)
            | Self::RequestOverflow => DisconnectReason::SubprotocolError,
        }
    }

    /// The label it is counted under.
    pub const fn reject(&self) -> Reject {
        match self {
            Self::Message(error) => error.reject(),
            Self::StatusTimeout => Reject::StatusTimeout,
            Self::UnexpectedStatus => Reject::UnexpectedStatus,
            Self::Handshake(error) => error.reject(),
            Self::Answer(UnmatchedAnswer::Unknown) => Reject::UnknownAnswer,
            Self::Answer(UnmatchedAnswer::WrongKind) => Reject::WrongAnswer,
            Self::Answer(UnmatchedAnswer::TooManyItems) => Reject::TooManyItems,
            Self::Answer(UnmatchedAnswer::Late(_)) => Reject::LateAnswer,
            Self::UnrequestedItem => Reject::UnrequestedItem,
            Self::Misannounced(_) => Reject::MisannouncedTransaction,
            Self::BadBlock(..) => Reject::BadBlock,
            Self::RequestOverflow => Reject::RequestOverflow,
        }
    }
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
