//! The messages of eth/68 and eth/69, as they are sent: [`EthMessage`] and its encoding. What is received is read by
//! [`intake`](crate::intake). Blocks, transactions and receipts stay RLP bytes.
//! devp2p specification, `caps/eth.md`, "Protocol Messages".

pub(crate) mod block_hashes;
pub(crate) mod block_range;
pub(crate) mod bodies;
pub(crate) mod headers;
pub(crate) mod item;
pub(crate) mod new_block;
pub(crate) mod receipts;
pub(crate) mod status;
pub(crate) mod transactions;

use std::fmt;

use bytes::Bytes;
use identity::Label;

pub use block_hashes::BlockHashNumber;
pub use block_range::BlockRange;
pub use headers::{HeadersQuery, Origin};
pub use new_block::TotalDifficulty;
pub use status::{Position, Status};
pub use transactions::Announcement;

use crate::{EthVersion, Hash, config};

identity::labels! {
    /// The kinds of messages, named as metrics name them.
    pub enum MessageKind {
        /// 0x00: who a node is on which chain, the first message both ways.
        Status = "status",
        /// 0x01, eth/68: hashes of new blocks.
        NewBlockHashes = "new_block_hashes",
        /// 0x02: transactions in full.
        Transactions = "transactions",
        /// 0x03: asks for headers.
        GetBlockHeaders = "get_block_headers",
        /// 0x04: headers.
        BlockHeaders = "block_headers",
        /// 0x05: asks for bodies.
        GetBlockBodies = "get_block_bodies",
        /// 0x06: bodies.
        BlockBodies = "block_bodies",
        /// 0x07, eth/68: a new block in full.
        NewBlock = "new_block",
        /// 0x08: kinds, sizes and hashes of new transactions.
        NewPooledTransactionHashes = "new_pooled_transaction_hashes",
        /// 0x09: asks for announced transactions.
        GetPooledTransactions = "get_pooled_transactions",
        /// 0x0a: transactions asked for.
        PooledTransactions = "pooled_transactions",
        /// 0x0f: asks for receipts.
        GetReceipts = "get_receipts",
        /// 0x10: receipts.
        Receipts = "receipts",
        /// 0x11, eth/69: which blocks can be had.
        BlockRangeUpdate = "block_range_update",
    }
}

impl MessageKind {
    /// The code, counted from the capability's first.
    pub const fn code(self) -> u64 {
        match self {
            Self::Status => 0x00,
            Self::NewBlockHashes => 0x01,
            Self::Transactions => 0x02,
            Self::GetBlockHeaders => 0x03,
            Self::BlockHeaders => 0x04,
            Self::GetBlockBodies => 0x05,
            Self::BlockBodies => 0x06,
            Self::NewBlock => 0x07,
            Self::NewPooledTransactionHashes => 0x08,
            Self::GetPooledTransactions => 0x09,
            Self::PooledTransactions => 0x0a,
            Self::GetReceipts => 0x0f,
            Self::Receipts => 0x10,
            Self::BlockRangeUpdate => 0x11,
        }
    }

    /// The kind that `code` stands for in `version`. None when it has none there.
    pub fn from_code(version: EthVersion, code: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code && kind.is_in(version))
    }

    /// Whether nodes of `version` may send it. Blocks are gossiped only where consensus comes from them, which
    /// go-ethereum has ended with eth/69.
    pub const fn is_in(self, version: EthVersion) -> bool {
        match self {
            Self::NewBlockHashes | Self::NewBlock => matches!(version, EthVersion::Eth68),
            Self::BlockRangeUpdate => matches!(version, EthVersion::Eth69),
            Self::Status
            | Self::Transactions
            | Self::GetBlockHeaders
            | Self::BlockHeaders
            | Self::GetBlockBodies
            | Self::BlockBodies
            | Self::NewPooledTransactionHashes
            | Self::GetPooledTransactions
            | Self::PooledTransactions
            | Self::GetReceipts
            | Self::Receipts => true,
        }
    }

    /// The most bytes of RLP it may have; a longer one is refused unread.
    pub const fn max_len(self) -> usize {
        match self {
            Self::Status | Self::BlockRangeUpdate | Self::GetBlockHeaders => config::MAX_SMALL_MESSAGE_LEN,
            Self::NewBlockHashes => config::MAX_BLOCK_HASHES * MAX_HASH_ENTRY_LEN,
            Self::NewPooledTransactionHashes => config::MAX_ANNOUNCEMENTS * MAX_HASH_ENTRY_LEN,
            Self::Transactions
            | Self::BlockHeaders
            | Self::GetBlockBodies
            | Self::BlockBodies
            | Self::NewBlock
            | Self::GetPooledTransactions
            | Self::PooledTransactions
            | Self::GetReceipts
            | Self::Receipts => config::MAX_MESSAGE_LEN,
        }
    }
}

/// A hash with a number of 8 bytes and headers, with room for the message's own: an entry of the two announcements.
const MAX_HASH_ENTRY_LEN: usize = 48;

impl fmt::Display for MessageKind {
    /// The message's name in the specification.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A message to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EthMessage {
    /// Who we are on which chain. Encoded in the form of its own [`Position`].
    Status(Status),
    /// Hashes of new blocks.
    NewBlockHashes(Vec<BlockHashNumber>),
    /// Transactions, each its envelope (EIP-2718).
    Transactions(Vec<Bytes>),
    /// Asks for headers.
    GetBlockHeaders {
        /// The request's id.
        id: u64,
        /// Which headers.
        query: HeadersQuery,
    },
    /// Headers, each its RLP.
    BlockHeaders {
        /// The request's id.
        id: u64,
        /// The headers in the order asked for.
        headers: Vec<Bytes>,
    },
    /// Asks for bodies.
    GetBlockBodies {
        /// The request's id.
        id: u64,
        /// The blocks' hashes.
        hashes: Vec<Hash>,
    },
    /// Bodies, each its RLP: `[transactions, uncles, withdrawals?]`.
    BlockBodies {
        /// The request's id.
        id: u64,
        /// The bodies in the order asked for.
        bodies: Vec<Bytes>,
    },
    /// A new block in full.
    NewBlock {
        /// The block's RLP: `[header, transactions, uncles, ..]`.
        block: Bytes,
        /// The sum of the difficulties up to and with this block.
        total_difficulty: TotalDifficulty,
    },
    /// New transactions by hash.
    NewPooledTransactionHashes(Vec<Announcement>),
    /// Asks for transactions.
    GetPooledTransactions {
        /// The request's id.
        id: u64,
        /// The transactions' hashes.
        hashes: Vec<Hash>,
    },
    /// Transactions, each its envelope.
    PooledTransactions {
        /// The request's id.
        id: u64,
        /// Those that are known, in the order asked for.
        transactions: Vec<Bytes>,
    },
    /// Asks for receipts.
    GetReceipts {
        /// The request's id.
        id: u64,
        /// The blocks' hashes.
        hashes: Vec<Hash>,
    },
    /// The receipts of blocks, a block's each an RLP list in the version's form: with bloom in eth/68, without in eth/69.
    Receipts {
        /// The request's id.
        id: u64,
        /// The lists in the order asked for.
        receipts: Vec<Bytes>,
    },
    /// Which blocks we have.
    BlockRangeUpdate(BlockRange),
}

impl EthMessage {
    /// What kind it is.
    pub const fn kind(&self) -> MessageKind {
        match self {
            Self::Status(_) => MessageKind::Status,
            Self::NewBlockHashes(_) => MessageKind::NewBlockHashes,
            Self::Transactions(_) => MessageKind::Transactions,
            Self::GetBlockHeaders { .. } => MessageKind::GetBlockHeaders,
            Self::BlockHeaders { .. } => MessageKind::BlockHeaders,
            Self::GetBlockBodies { .. } => MessageKind::GetBlockBodies,
            Self::BlockBodies { .. } => MessageKind::BlockBodies,
            Self::NewBlock { .. } => MessageKind::NewBlock,
            Self::NewPooledTransactionHashes(_) => MessageKind::NewPooledTransactionHashes,
            Self::GetPooledTransactions { .. } => MessageKind::GetPooledTransactions,
            Self::PooledTransactions { .. } => MessageKind::PooledTransactions,
            Self::GetReceipts { .. } => MessageKind::GetReceipts,
            Self::Receipts { .. } => MessageKind::Receipts,
            Self::BlockRangeUpdate(_) => MessageKind::BlockRangeUpdate,
        }
    }

    /// The code, counted from the capability's first.
    pub const fn code(&self) -> u64 {
        self.kind().code()
    }

    /// The RLP of the message. It is the same in both versions but for Status and Receipts, which carry the form they
    /// were made in.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Status(status) => status.encode(),
            Self::NewBlockHashes(blocks) => block_hashes::encode(blocks),
            Self::Transactions(transactions) => transactions::encode(transactions),
            Self::GetBlockHeaders { id, query } => item::with_id(*id, &query.encode()),
            Self::BlockHeaders { id, headers } => item::with_id(*id, &item::list_of(headers)),
            Self::BlockBodies { id, bodies } => item::with_id(*id, &item::list_of(bodies)),
            Self::NewBlock { block, total_difficulty } => new_block::encode(block, *total_difficulty),
            Self::NewPooledTransactionHashes(announced) => transactions::encode_announcements(announced),
            Self::GetBlockBodies { id, hashes }
            | Self::GetPooledTransactions { id, hashes }
            | Self::GetReceipts { id, hashes } => item::with_id(*id, &item::hashes_of(hashes)),
            Self::PooledTransactions { id, transactions } => {
                item::with_id(*id, &transactions::encode(transactions))
            }
            Self::Receipts { id, receipts } => item::with_id(*id, &item::list_of(receipts)),
            Self::BlockRangeUpdate(range) => range.encode(),
        }
    }
}
