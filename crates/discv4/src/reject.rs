//! Why a datagram, an entry or an answer was dropped: a closed set of labels.
//! Counted as `reject_total{layer="discv4"}`; a drop has no other effect.

use crate::wire::DecodeError;

identity::labels! {
    /// Why something was dropped. No drop has another effect than its count.
    pub enum Reject {
        /// The datagram is shorter than a header, a kind and one byte.
        TooShort = "too_short",
        /// The datagram is longer than 1,280 bytes.
        TooLong = "too_long",
        /// It came from port 0, from our own address, or from no address that a node can have.
        BadSource = "bad_source",
        /// The sender is not in the networks we are restricted to.
        NetRestrict = "net_restrict",
        /// The kind is none of the six; may be discovery v5.
        UnknownKind = "unknown_kind",
        /// The hash does not match.
        BadHash = "bad_hash",
        /// The body is malformed.
        BadRlp = "bad_rlp",
        /// The expiration is past 2^63-1.
        BadExpiration = "bad_expiration",
        /// The expiration is past.
        Expired = "expired",
        /// No key gives the signature.
        BadSignature = "bad_signature",
        /// The signer has our own key.
        OwnKey = "own_key",
        /// A request from an endpoint that has not proved itself.
        NoProof = "no_proof",
        /// An answer to nothing we asked, or from another key than the one we asked.
        Unsolicited = "unsolicited",
        /// A request that was answered before.
        Replay = "replay",
        /// A datagram whose first copy is being worked on.
        InFlight = "in_flight",
        /// Too many requests from one host.
        HostRate = "host_rate",
        /// Too many requests from one network.
        SiteRate = "site_rate",
        /// Too many requests from everybody.
        GlobalRate = "global_rate",
        /// Too many requests from one proven endpoint.
        EndpointRate = "endpoint_rate",
        /// A ping back that is not sent: the endpoint had one just now, or too many are out.
        PingBackRate = "ping_back_rate",
        /// A ping to a node that others named, held back for the sake of its network.
        ToldRate = "told_rate",
        /// As much work on the curve is out as may be.
        Busy = "busy",
        /// The runner of curve jobs was full.
        CurveRefused = "curve_refused",
        /// As many requests are out as may be.
        PendingFull = "pending_full",
        /// A node in a Neighbors that cannot be one, or that its sender may not tell.
        BadNeighbor = "bad_neighbor",
        /// More nodes or packets than an answer may have.
        NeighborsExcess = "neighbors_excess",
        /// A record that is malformed, not signed by its key, not its sender's, or older than the one known.
        BadRecord = "bad_record",
        /// A node that the limits of its network keep out of the table.
        TableLimit = "table_limit",
        /// A datagram of ours that found the socket's queue full.
        SendQueueFull = "send_queue_full",
    }
}

impl From<DecodeError> for Reject {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooShort { .. } => Self::TooShort,
            DecodeError::TooLong { .. } => Self::TooLong,
            DecodeError::Kind { .. } => Self::UnknownKind,
            DecodeError::Hash => Self::BadHash,
            DecodeError::Rlp { .. } => Self::BadRlp,
            DecodeError::Expiration { .. } => Self::BadExpiration,
            DecodeError::Record => Self::BadRecord,
        }
    }
}
