//! Disconnect: the last message of a session, and its reasons. Which error leads to which reason is `error`.
//! devp2p specification, `rlpx.md`, "Disconnect (0x01)". Sent as a list; taken as a list or a bare byte.

use std::fmt;

use rlp::Rlp;

/// Why a session ends, as the wire says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DisconnectReason {
    /// 0x00: the owner asked for it.
    Requested,
    /// 0x01: the connection broke.
    NetworkError,
    /// 0x02: the peer broke the protocol.
    ProtocolError,
    /// 0x03: no capability in common, or of no use.
    UselessPeer,
    /// 0x04: no room for another peer.
    TooManyPeers,
    /// 0x05: connected to that node already.
    AlreadyConnected,
    /// 0x06: the version of the base protocol cannot be spoken.
    IncompatibleVersion,
    /// 0x07: Hello carries no node key.
    InvalidIdentity,
    /// 0x08: the node is shutting down.
    Quitting,
    /// 0x09: another node than was dialed.
    UnexpectedIdentity,
    /// 0x0a: connected to itself.
    ConnectedToSelf,
    /// 0x0b: nothing came for too long.
    ReadTimeout,
    /// 0x10: a capability's own reason.
    SubprotocolError,
    /// Any other number; 0xff also stands for what was no number.
    Unknown(u8),
}

impl DisconnectReason {
    /// What a Disconnect counts as whose content is no reason.
    pub const INVALID: Self = Self::Unknown(0xff);

    /// The reasons that the specification names, by their numbers.
    pub const NAMED: [Self; 13] = [
        Self::Requested,
        Self::NetworkError,
        Self::ProtocolError,
        Self::UselessPeer,
        Self::TooManyPeers,
        Self::AlreadyConnected,
        Self::IncompatibleVersion,
        Self::InvalidIdentity,
        Self::Quitting,
        Self::UnexpectedIdentity,
        Self::ConnectedToSelf,
        Self::ReadTimeout,
        Self::SubprotocolError,
    ];

    /// The number on the wire.
    pub const fn code(self) -> u8 {
        match self {
            Self::Requested => 0x00,
            Self::NetworkError => 0x01,
            Self::ProtocolError => 0x02,
            Self::UselessPeer => 0x03,
            Self::TooManyPeers => 0x04,
            Self::AlreadyConnected => 0x05,
            Self::IncompatibleVersion => 0x06,
            Self::InvalidIdentity => 0x07,
            Self::Quitting => 0x08,
            Self::UnexpectedIdentity => 0x09,
            Self::ConnectedToSelf => 0x0a,
            Self::ReadTimeout => 0x0b,
            Self::SubprotocolError => 0x10,
            Self::Unknown(code) => code,
        }
    }

    /// The reason with a number.
    pub const fn from_code(code: u8) -> Self {
        match code {
            0x00 => Self::Requested,
            0x01 => Self::NetworkError,
            0x02 => Self::ProtocolError,
            0x03 => Self::UselessPeer,
            0x04 => Self::TooManyPeers,
            0x05 => Self::AlreadyConnected,
            0x06 => Self::IncompatibleVersion,
            0x07 => Self::InvalidIdentity,
            0x08 => Self::Quitting,
            0x09 => Self::UnexpectedIdentity,
            0x0a => Self::ConnectedToSelf,
            0x0b => Self::ReadTimeout,
            0x10 => Self::SubprotocolError,
            other => Self::Unknown(other),
        }
    }

    /// The message's payload: `[reason]`, 2 or 3 bytes.
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut stream = rlp::RlpStream::new_list(1);
        stream.append(&self.code());
        stream.out().to_vec()
    }

    /// Reads a payload: `[reason, ...]`, `reason`, or nothing at all. Never fails: what is no reason is
    /// [`Self::INVALID`], and a missing one [`Self::Requested`].
    pub(crate) fn decode(payload: &[u8]) -> Self {
        let item = Rlp::new(payload);
        let item = if item.is_list() { item.at(0) } else { Ok(item) };
        match item {
            Ok(item) if !item.is_null() => item.as_val().map_or(Self::INVALID, Self::from_code),
            Ok(_) => Self::Requested,
            Err(_) if payload.first() == Some(&EMPTY_LIST) => Self::Requested,
            Err(_) => Self::INVALID,
        }
    }
}

/// RLP of a list without items.
const EMPTY_LIST: u8 = 0xc0;

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self {
            Self::Requested => "disconnect requested",
            Self::NetworkError => "network error",
            Self::ProtocolError => "breach of protocol",
            Self::UselessPeer => "useless peer",
            Self::TooManyPeers => "too many peers",
            Self::AlreadyConnected => "already connected",
            Self::IncompatibleVersion => "incompatible p2p protocol version",
            Self::InvalidIdentity => "invalid node identity",
            Self::Quitting => "client quitting",
            Self::UnexpectedIdentity => "unexpected identity",
            Self::ConnectedToSelf => "connected to self",
            Self::ReadTimeout => "read timeout",
            Self::SubprotocolError => "subprotocol error",
            Self::Unknown(0xff) => "no valid reason (0xff)",
            Self::Unknown(code) => return write!(f, "unknown reason 0x{code:02x}"),
        };
        f.write_str(words)
    }
}
