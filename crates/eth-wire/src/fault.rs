//! Why a peer is disconnected: one map from what it did to the reason on the wire and to the label it is counted under.
//! devp2p specification, `rlpx.md`, "Disconnect (0x01)"; go-ethereum, `p2p/peer_error.go`.

use rlpx::DisconnectReason;

use crate::{BadBlock, HandshakeError, Hash, MessageError, Reject, requests::UnmatchedAnswer};

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
