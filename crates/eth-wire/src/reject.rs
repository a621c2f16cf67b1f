//! Why something of a peer's was refused: the labels of `reject_total{layer="eth"}`, a closed set.
//! What follows for the peer is said by the errors that carry a label.

identity::labels! {
    /// Why a message, a peer, a transaction or a block was refused.
    pub enum Reject {
        /// The RLP of a message cannot be decoded.
        Malformed = "malformed",
        /// No message of the version has this code.
        UnknownCode = "unknown_code",
        /// The message is longer than its kind may be.
        TooLarge = "too_large",
        /// The message has more items than its kind may have.
        TooMany = "too_many",
        /// The three lists of an announcement differ in length.
        UnequalLengths = "unequal_lengths",
        /// The same transaction twice in one message.
        DuplicateTransaction = "duplicate_transaction",
        /// A transaction of a kind that nobody has specified.
        UnknownTransactionKind = "unknown_transaction_kind",
        /// A blob transaction pushed instead of announced.
        BlobBroadcast = "blob_broadcast",
        /// A block range whose earliest block is above its latest, or whose latest hash is zero.
        InvalidRange = "invalid_range",
        /// The first message is no Status, or a later one is.
        UnexpectedStatus = "unexpected_status",
        /// No Status in time.
        StatusTimeout = "status_timeout",
        /// Another network id.
        NetworkId = "network_id",
        /// Status names another version than was agreed on.
        Version = "version",
        /// Another genesis block.
        Genesis = "genesis",
        /// A fork id that does not fit ours.
        ForkId = "fork_id",
        /// An answer to nothing that was asked.
        UnknownAnswer = "unknown_answer",
        /// An answer of another kind than was asked for.
        WrongAnswer = "wrong_answer",
        /// An answer with more items than were asked for.
        TooManyItems = "too_many_items",
        /// An answer with something else than was asked for.
        UnrequestedItem = "unrequested_item",
        /// An answer that came after its deadline.
        LateAnswer = "late_answer",
        /// A request beyond those that may wait.
        RequestOverflow = "request_overflow",
        /// An announcement beyond those that are tracked of a peer.
        AnnouncementOverflow = "announcement_overflow",
        /// A delivered transaction that is not as it was announced.
        MisannouncedTransaction = "misannounced_transaction",
        /// A transaction that the pool found invalid.
        InvalidTransaction = "invalid_transaction",
        /// A transaction for which the pool had no room.
        PoolFull = "pool_full",
        /// A block that the chain found bad.
        BadBlock = "bad_block",
        /// A block whose parents could not be had.
        OrphanBlock = "orphan_block",
        /// A BlockRangeUpdate too soon after the last.
        RangeFlood = "range_flood",
        /// A request of the peer that was dropped because its answer was not there in time.
        Unserved = "unserved",
        /// A request of ours that the peer did not answer in time.
        RequestTimeout = "request_timeout",
        /// A message of ours that waits because the memory for all peers is spent.
        MemoryShort = "memory_short",
        /// A call that chain or pool did not finish.
        BackendFailed = "backend_failed",
        /// Something dropped because a queue of ours was full.
        QueueFull = "queue_full",
    }
}
