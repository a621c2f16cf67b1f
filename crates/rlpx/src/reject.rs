//! Why a session refused what came: the labels of `reject_total{layer,reason}` for the layers handshake, frame and p2p.
//! Which error counts under which label is said in `error`. What the server turns away is counted apart, as `Refusal`
//! in `admission` (layer `server`).

identity::labels! {
    /// A reason for which a session ended or dropped something, counted once each time.
    pub enum Reject {
        /// A handshake packet shorter or longer than any can be.
        HandshakeSize = "handshake_size",
        /// An ECIES envelope that does not open: its point, its tag.
        HandshakeEnvelope = "handshake_envelope",
        /// A handshake message whose content is wrong: RLP, keys, nonce, signature.
        HandshakeContent = "handshake_content",
        /// The runner of curve jobs had no room.
        HandshakeRefused = "handshake_refused",
        /// Hello had not come, or was not let in, when the time for it was over.
        HandshakeTimeout = "handshake_timeout",
        /// The stream ended or broke before Hello.
        HandshakeBroken = "handshake_broken",
        /// A header or body whose MAC is wrong.
        FrameMac = "frame_mac",
        /// A frame longer than is allowed at its time.
        FrameSize = "frame_size",
        /// A frame without a readable message code.
        FrameCode = "frame_code",
        /// A compressed payload that is malformed or declares too much.
        FrameSnappy = "frame_snappy",
        /// A frame took too long to come in full.
        FrameTimeout = "frame_timeout",
        /// A message of the base protocol that does not decode.
        BaseMalformed = "base_malformed",
        /// A message that may not come at its time: no Hello first, a second Hello.
        BaseOrder = "base_order",
        /// A code that no shared capability has.
        UnknownCode = "unknown_code",
        /// More reserved codes than are ignored.
        ReservedCode = "reserved_code",
        /// A payload longer than its message may be.
        MessageSize = "message_size",
        /// Pings faster than they are answered.
        PingRate = "ping_rate",
        /// A Hello whose key is none, or not the one of the handshake.
        HelloIdentity = "hello_identity",
        /// No capability in common.
        NothingShared = "nothing_shared",
        /// The node is ourselves.
        OwnKey = "own_key",
        /// Nothing was read for too long.
        ReadTimeout = "read_timeout",
        /// Nothing could be written for too long.
        WriteTimeout = "write_timeout",
        /// A large frame waited too long for memory, in a shortage that began before it.
        BudgetWait = "budget_wait",
        /// A large frame came too slowly while memory was short.
        BudgetPace = "budget_pace",
    }
}

impl Reject {
    /// The layer that metrics name beside the reason.
    pub const fn layer(self) -> &'static str {
        match self {
            Self::HandshakeSize
            | Self::HandshakeEnvelope
            | Self::HandshakeContent
            | Self::HandshakeRefused
            | Self::HandshakeTimeout
            | Self::HandshakeBroken => "handshake",
            Self::FrameMac
            | Self::FrameSize
            | Self::FrameCode
            | Self::FrameSnappy
            | Self::FrameTimeout
            | Self::BudgetWait
            | Self::BudgetPace => "frame",
            Self::BaseMalformed
            | Self::BaseOrder
            | Self::UnknownCode
            | Self::ReservedCode
            | Self::MessageSize
            | Self::PingRate
            | Self::HelloIdentity
            | Self::NothingShared
            | Self::OwnKey
            | Self::ReadTimeout
            | Self::WriteTimeout => "p2p",
        }
    }
}
