//! What can go wrong in a session, by whose fault, and the one map from there to the reason on the wire (`Disconnect`).
//! An error is Copy and small: numbers, never content. The labels it is counted under are named in `reject`.
//! What the caller does wrong stands elsewhere: `SendError` in `session`, `CommandError` in `server`, `ConfigError` and
//! `ConnectError` in `driver`. Why a server lets nobody in is `Refusal` in `admission`.

use std::{fmt, io};

use crate::{capability::CapabilityName, p2p::DisconnectReason, reject::Reject};

/// What of a message could not be decoded, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {fault}")]
pub struct DecodeError {
    /// The message or field.
    pub what: What,
    /// What is wrong with it.
    pub fault: Fault,
}

impl DecodeError {
    pub(crate) const fn new(what: What, fault: Fault) -> Self {
        Self { what, fault }
    }
}

/// What a [`DecodeError`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A frame's size, as its header declares it.
    Frame,
    /// The code that opens a frame's body.
    Code,
    /// A message's payload, before or after decompression.
    Payload,
    /// The Hello message.
    Hello,
    /// The initiator's handshake message.
    Auth,
    /// The recipient's handshake message.
    Ack,
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frame => "frame",
            Self::Code => "message code",
            Self::Payload => "payload",
            Self::Hello => "Hello",
            Self::Auth => "auth",
            Self::Ack => "ack",
        })
    }
}

/// What is wrong with bytes that do not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The bytes end before the item does, or are no canonical RLP.
    #[error("not valid RLP")]
    Rlp,
    /// Nothing is there.
    #[error("missing")]
    Missing,
    /// More bytes than are allowed.
    #[error("{found} bytes, at most {limit} expected")]
    TooLong {
        /// The most that is taken.
        limit: usize,
        /// What came, or was declared.
        found: usize,
    },
    /// 64 bytes that are no point of the curve.
    #[error("no point of the curve")]
    NotOnCurve,
    /// A value that can only come from a broken or hostile peer.
    #[error("a value no honest peer sends")]
    Degenerate,
    /// The snappy stream is corrupt.
    #[error("not a snappy block")]
    Snappy,
}

/// Why the encrypted handshake failed. On the wire all look the same: the connection closes without a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The size prefix is below 113 or above 2,048.
    #[error("a handshake packet of {found} bytes: 113 to 2048 expected (no RLPx, or from before EIP-8?)")]
    Size {
        /// The size that the first two bytes declare.
        found: usize,
    },
    /// The envelope's point or tag is wrong: not for our key, or tampered with.
    #[error("a handshake packet that does not open with our key")]
    Envelope,
    /// What the envelope held is wrong.
    #[error("handshake message: {0}")]
    Content(DecodeError),
    /// The signature recovers no key.
    #[error("a handshake signature that recovers no key")]
    Signature,
    /// The runner of curve jobs was full.
    #[error("too busy for another handshake")]
    Refused,
}

/// What a session waited for in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Everything up to Hello, and to being let in after it.
    Handshake,
    /// Any byte at all.
    Read,
    /// The rest of a frame.
    Frame,
    /// The peer to take what we write.
    Write,
    /// Memory for a large frame, in a shortage that began before it.
    Memory,
    /// The peer to bring enough while others wait for memory ([`SessionLimits::shortage_step`](crate::SessionLimits::shortage_step)).
    Pace,
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "no Hello in time",
            Self::Read => "nothing read in time",
            Self::Frame => "a frame did not come in full in time",
            Self::Write => "nothing written in time",
            Self::Memory => "no memory for a large frame in time",
            Self::Pace => "a large frame came too slowly while memory was short",
        })
    }
}

/// A breach of the protocol in messages that do decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misbehaviour {
    /// The first message is neither Hello nor Disconnect.
    #[error("message code {code} came before Hello")]
    NoHello {
        /// What came.
        code: u64,
    },
    /// A second Hello.
    #[error("a second Hello")]
    SecondHello,
    /// A code that no shared capability has.
    #[error("message code {code} belongs to no shared capability")]
    UnknownCode {
        /// What came.
        code: u64,
    },
    /// More messages with reserved codes (4 to 15) than are ignored.
    #[error("too many messages with reserved codes, the last {code}")]
    ReservedCodes {
        /// What came last.
        code: u64,
    },
    /// More Pings than are answered.
    #[error("too many pings")]
    PingFlood,
}

/// Why two well-behaved nodes cannot go on together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatibility {
    /// No capability in common.
    #[error("no capability in common")]
    NothingShared,
    /// Hello's key is not 64 bytes, or all zero.
    #[error("Hello carries no node key")]
    NoIdentity,
    /// Hello's key is not the one that the handshake proved.
    #[error("Hello carries another key than the handshake")]
    OtherIdentity,
    /// The peer is this node itself.
    #[error("connected to ourselves")]
    OwnKey,
}

/// Why a session failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// The encrypted handshake failed.
    #[error("{0}")]
    Handshake(HandshakeError),
    /// A MAC is wrong: the stream was tampered with, or the peer does not hold the keys.
    #[error("wrong MAC")]
    Mac,
    /// The peer sent what does not decode, or is too long.
    #[error("{0}")]
    Malformed(DecodeError),
    /// The peer broke the protocol.
    #[error("{0}")]
    Misbehaved(Misbehaviour),
    /// Neither is at fault.
    #[error("{0}")]
    Incompatible(Incompatibility),
    /// The peer was too slow.
    #[error("{0}")]
    TimedOut(Wait),
    /// A protocol of ours took no messages of the peer for too long; no fault of the peer's.
    #[error("our protocol {0} took no messages in time")]
    Stalled(CapabilityName),
    /// A protocol of ours ended the session.
    #[error("our protocol {0} ended it")]
    Protocol(CapabilityName),
    /// A protocol of ours panicked; no fault of the peer's.
    #[error("our protocol {0} panicked")]
    Panicked(CapabilityName),
    /// The stream ended.
    #[error("the connection was closed without a Disconnect")]
    Eof,
    /// The stream broke.
    #[error("the connection broke: {0}")]
    Io(io::ErrorKind),
    /// This system had no port, no file handle or no memory to dial with; no fault of the peer's.
    #[error("this system has no port, file handle or memory for another connection")]
    Exhausted,
    /// The node's name has no address, or none that may be dialed.
    #[error("its name leads to no address that may be dialed")]
    Nowhere,
    /// The peer disconnected.
    #[error("disconnected by the peer: {0}")]
    Remote(DisconnectReason),
}

impl SessionError {
    /// Whether the peer may be told: never about a wrong MAC, a failed handshake or a stream that is gone.
    pub const fn may_tell(&self) -> bool {
        match self {
            Self::Malformed(_)
            | Self::Misbehaved(_)
            | Self::Incompatible(_)
            | Self::Stalled(_)
            | Self::Protocol(_)
            | Self::Panicked(_) => true,
            Self::TimedOut(wait) => !matches!(wait, Wait::Write),
            Self::Handshake(_)
            | Self::Mac
            | Self::Eof
            | Self::Io(_)
            | Self::Exhausted
            | Self::Nowhere
            | Self::Remote(_) => false,
        }
    }

    /// The label that this error counts under; None for what is no refusal of ours.
    pub const fn reject(&self) -> Option<Reject> {
        Some(match self {
            Self::Handshake(error) => match error {
                HandshakeError::Size { .. } => Reject::HandshakeSize,
                HandshakeError::Envelope => Reject::HandshakeEnvelope,
                HandshakeError::Content(_) | HandshakeError::Signature => Reject::HandshakeContent,
                HandshakeError::Refused => Reject::HandshakeRefused,
            },
            Self::Mac => Reject::FrameMac,
            Self::Malformed(error) => error.reject(),
            Self::Misbehaved(error) => match error {
                Misbehaviour::NoHello { .. } | Misbehaviour::SecondHello => Reject::BaseOrder,
                Misbehaviour::UnknownCode { .. } => Reject::UnknownCode,
                Misbehaviour::ReservedCodes { .. } => Reject::ReservedCode,
                Misbehaviour::PingFlood => Reject::PingRate,
            },
            Self::Incompatible(error) => match error {
                Incompatibility::NothingShared => Reject::NothingShared,
                Incompatibility::NoIdentity | Incompatibility::OtherIdentity => Reject::HelloIdentity,
                Incompatibility::OwnKey => Reject::OwnKey,
            },
            Self::TimedOut(wait) => match wait {
                Wait::Handshake => Reject::HandshakeTimeout,
                Wait::Read => Reject::ReadTimeout,
                Wait::Frame => Reject::FrameTimeout,
                Wait::Write => Reject::WriteTimeout,
                Wait::Memory => Reject::BudgetWait,
                Wait::Pace => Reject::BudgetPace,
            },
            // The server counts a stall, a panic and a shortage among its refusals.
            Self::Stalled(_)
            | Self::Protocol(_)
            | Self::Panicked(_)
            | Self::Exhausted
            | Self::Nowhere
            | Self::Eof
            | Self::Io(_)
            | Self::Remote(_) => return None,
        })
    }
}

impl DecodeError {
    const fn reject(&self) -> Reject {
        match (self.what, self.fault) {
            (What::Frame, _) => Reject::FrameSize,
            (What::Code, _) => Reject::FrameCode,
            (_, Fault::Snappy) => Reject::FrameSnappy,
            (_, Fault::TooLong { .. }) => Reject::MessageSize,
            (
                What::Payload | What::Hello | What::Auth | What::Ack,
                Fault::Rlp | Fault::Missing | Fault::NotOnCurve | Fault::Degenerate,
            ) => Reject::BaseMalformed,
        }
    }
}

impl From<&SessionError> for DisconnectReason {
    fn from(error: &SessionError) -> Self {
        match error {
            SessionError::Handshake(_)
            | SessionError::Mac
            | SessionError::Eof
            | SessionError::Io(_)
            | SessionError::Exhausted
            | SessionError::Nowhere => Self::NetworkError,
            SessionError::Malformed(_) | SessionError::Misbehaved(_) => Self::ProtocolError,
            SessionError::Incompatible(error) => match error {
                Incompatibility::NothingShared => Self::UselessPeer,
                Incompatibility::NoIdentity => Self::InvalidIdentity,
                Incompatibility::OtherIdentity => Self::UnexpectedIdentity,
                Incompatibility::OwnKey => Self::ConnectedToSelf,
            },
            // Not the peer's fault: there is no room for what it brings.
            SessionError::TimedOut(Wait::Memory) => Self::TooManyPeers,
            SessionError::TimedOut(_) => Self::ReadTimeout,
            SessionError::Stalled(_) | SessionError::Protocol(_) => Self::Requested,
            SessionError::Panicked(_) => Self::SubprotocolError,
            SessionError::Remote(reason) => *reason,
        }
    }
}

/// Why and by whom a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// We ended it and told the peer, if it could still be told.
    Local {
        /// The reason that Disconnect carried.
        reason: DisconnectReason,
        /// What the peer did, or a protocol of ours. None when the server or its owner wanted it.
        error: Option<SessionError>,
    },
    /// The peer sent Disconnect.
    Remote(DisconnectReason),
    /// It ended without a word: a failed handshake, a wrong MAC, a stream that broke or stalled.
    Broken(SessionError),
}

impl SessionEnd {
    /// How a connection, or an attempt at one, ends that the server gave up.
    pub const ABORTED: Self = Self::Broken(SessionError::Io(io::ErrorKind::ConnectionAborted));

    /// Whether the node at the other end has proved to have our own key.
    pub(crate) const fn is_own_key(&self) -> bool {
        matches!(self, Self::Local { error: Some(SessionError::Incompatible(Incompatibility::OwnKey)), .. })
    }

    /// Whether a frame of the other end came before it, with the right MAC: then that is who it says it is. A session that ends
    /// at Hello has told nobody else.
    pub(crate) const fn follows_a_frame(&self) -> bool {
        matches!(
            self,
            Self::Remote(_)
                | Self::Local {
                    error: Some(
                        SessionError::Malformed(_)
                            | SessionError::Misbehaved(_)
                            | SessionError::Incompatible(_)
                    ),
                    ..
                }
        )
    }

    /// The reason as the wire has it: what was told, or the nearest to it.
    pub fn reason(&self) -> DisconnectReason {
        match self {
            Self::Local { reason, .. } | Self::Remote(reason) => *reason,
            Self::Broken(error) => error.into(),
        }
    }
}

impl std::error::Error for SessionEnd {}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local { reason, error: None } => write!(f, "disconnected by us: {reason}"),
            Self::Local { reason, error: Some(error) } => write!(f, "disconnected by us: {reason} ({error})"),
            Self::Remote(reason) => write!(f, "disconnected by the peer: {reason}"),
            Self::Broken(error) => write!(f, "{error}"),
        }
    }
}
