//! What can be wrong with a message, and what follows for the connection: as in go-ethereum, undecodable RLP is a breach
//! of the base protocol and everything else one of eth. What can be wrong with a chain or a transaction stands there.

use crate::{EthVersion, Reject, message::MessageKind};

/// Where the RLP of a message cannot be read, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {fault}")]
pub struct DecodeError {
    /// The item that was being read.
    pub what: &'static str,
    /// What is wrong with it.
    pub fault: RlpFault,
}

/// What is wrong with an RLP item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RlpFault {
    /// The item goes on behind the end of its list or message, or its length is not canonical.
    #[error("the item's header is malformed or reaches too far")]
    Header,
    /// One byte below 0x80 with a header, or a number with leading zeros.
    #[error("not in canonical form")]
    NotCanonical,
    /// A string where a list belongs.
    #[error("a list is expected, a string found")]
    NotList,
    /// A list where a string belongs.
    #[error("a string is expected, a list found")]
    NotString,
    /// Fewer items than the list must have.
    #[error("an item is missing")]
    Missing,
    /// More items than the list may have, or bytes behind the message.
    #[error("{found} bytes too many")]
    Trailing {
        /// How many bytes were left.
        found: usize,
    },
    /// A string of the wrong length.
    #[error("{expected} bytes are expected, {found} found")]
    Length {
        /// How long it must be, or at most.
        expected: usize,
        /// How long it is.
        found: usize,
    },
    /// Lists within lists beyond [`MAX_RLP_DEPTH`](crate::config::MAX_RLP_DEPTH).
    #[error("nested too deep")]
    TooDeep,
    /// Shorter than anything of its kind can be.
    #[error("only {found} bytes, fewer than anything of its kind has")]
    TooShort {
        /// How long it is.
        found: usize,
    },
}

impl RlpFault {
    /// The fault, found while reading `what`.
    pub(crate) const fn of(self, what: &'static str) -> DecodeError {
        DecodeError { what, fault: self }
    }
}

/// Why a message is refused. Each ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// The RLP cannot be decoded.
    #[error("malformed {kind}: {error}")]
    Malformed {
        /// The message.
        kind: MessageKind,
        /// Where and why.
        error: DecodeError,
    },
    /// The version has no message with this code.
    #[error("{version} has no message with code {code:#04x}")]
    UnknownCode {
        /// The version agreed on.
        version: EthVersion,
        /// The code, counted from the capability's first.
        code: u64,
    },
    /// Longer than its kind may be.
    #[error("{kind} of {found} bytes, at most {limit} are allowed")]
    TooLarge {
        /// The message.
        kind: MessageKind,
        /// How many bytes it may have.
        limit: usize,
        /// How many it has.
        found: usize,
    },
    /// More items than its kind may have.
    #[error("{kind} with more than {limit} items")]
    TooMany {
        /// The message.
        kind: MessageKind,
        /// How many items it may have.
        limit: usize,
    },
    /// An announcement whose lists differ in length.
    #[error("{types} kinds, {sizes} sizes and {hashes} hashes announced")]
    UnequalLengths {
        /// How many kinds it has.
        types: usize,
        /// How many sizes.
        sizes: usize,
        /// How many hashes.
        hashes: usize,
    },
    /// The same transaction twice.
    #[error("{0} has the same transaction twice")]
    DuplicateTransaction(MessageKind),
    /// A transaction of an unknown kind.
    #[error("a transaction of the unknown kind {0:#04x}")]
    UnknownTransactionKind(u8),
    /// A blob transaction in Transactions: these are announced only (EIP-4844).
    #[error("a blob transaction was pushed, they may only be announced")]
    BlobBroadcast,
    /// A block range whose earliest is above its latest, or whose latest hash is zero.
    #[error("{0} has a block range that cannot be")]
    InvalidRange(MessageKind),
}

impl MessageError {
    /// Whether the connection ends as a breach of the base protocol (0x02); otherwise as one of eth (0x10), as
    /// go-ethereum has it.
    pub const fn is_malformed(&self) -> bool {
        matches!(self, Self::Malformed { .. })
    }

    /// The label it is counted under.
    pub const fn reject(&self) -> Reject {
        match self {
            Self::Malformed { .. } => Reject::Malformed,
            Self::UnknownCode { .. } => Reject::UnknownCode,
            Self::TooLarge { .. } => Reject::TooLarge,
            Self::TooMany { .. } => Reject::TooMany,
            Self::UnequalLengths { .. } => Reject::UnequalLengths,
            Self::DuplicateTransaction(_) => Reject::DuplicateTransaction,
            Self::UnknownTransactionKind(_) => Reject::UnknownTransactionKind,
            Self::BlobBroadcast => Reject::BlobBroadcast,
            Self::InvalidRange(_) => Reject::InvalidRange,
        }
    }
}
