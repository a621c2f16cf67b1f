//! What the eth machine counts: messages and bytes by kind, rejects by reason, items delivered once and again.
//! Counting decides nothing; whoever shows the counts reads them through a clone.

use identity::Counters;

use crate::{MessageKind, Reject};

identity::labels! {
    /// What came in full from peers.
    pub enum Delivery {
        /// A transaction for the first time.
        Transaction = "transaction",
        /// A transaction that had come before.
        TransactionAgain = "transaction_again",
        /// A block, or the body of one, for the first time.
        Block = "block",
        /// A block, or the body of one, that had come before.
        BlockAgain = "block_again",
    }
}

/// The counts of one machine. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct EthCounters {
    /// Why something was refused.
    pub rejects: Counters<Reject>,
    /// Messages received.
    pub received: Counters<MessageKind>,
    /// Their bytes, uncompressed.
    pub received_bytes: Counters<MessageKind>,
    /// Messages put out.
    pub sent: Counters<MessageKind>,
    /// Their bytes, uncompressed.
    pub sent_bytes: Counters<MessageKind>,
    /// Transactions and blocks delivered.
    pub deliveries: Counters<Delivery>,
}
