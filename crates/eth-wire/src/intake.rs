//! What is done with the bytes of a message before the machine sees it: limits, splitting, hashing. A pure function, run
//! where the message arrives; a peer's bytes cost memory in proportion to their number and to nothing that they say.
//! devp2p specification, `caps/eth.md`, "Protocol Messages".

use bytes::Bytes;

use crate::{
    Block, Body, EthVersion, Hash, Header, MessageError, Transaction,
    config::{MAX_ANSWER_ITEMS, MAX_BLOCK_HASHES, MAX_LOOKUPS, MIN_HEADER_LEN},
    error::{DecodeError, RlpFault},
    message::{
        Announcement, BlockHashNumber, BlockRange, EthMessage, HeadersQuery, MessageKind, Status,
        TotalDifficulty, block_hashes,
        item::{Items, read_hashes, share},
        receipts, transactions,
    },
};

/// A message as the machine takes it. What it carries are slices of the message: copy what is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// Who the peer is on which chain. Not yet checked.
    Status(Status),
    /// Blocks by hash (eth/68).
    NewBlockHashes(Vec<BlockHashNumber>),
    /// A block in full (eth/68). That the body is the header's is for the chain to check.
    NewBlock {
        /// The block.
        block: Box<Block>,
        /// The total difficulty that the peer gives it.
        total_difficulty: TotalDifficulty,
    },
    /// Transactions in full: no blobs, none twice.
    Transactions(Vec<Transaction>),
    /// Transactions by hash; those of unknown kinds are left out.
    NewPooledTransactionHashes(Vec<Announcement>),
    /// The peer asks.
    Request {
        /// Goes back with the answer.
        id: u64,
        /// For what.
        request: Request,
    },
    /// The peer answers.
    Answer {
        /// That of the request.
        id: u64,
        /// What came.
        answer: Answer,
    },
    /// Which blocks the peer has (eth/69): a range that can be.
    BlockRangeUpdate(BlockRange),
}

impl Incoming {
    /// What it takes besides the message that it is slices of, in bytes.
    pub fn own_len(&self) -> usize {
        let listed = match self {
            Self::Status(_) | Self::BlockRangeUpdate(_) => 0,
            Self::NewBlockHashes(blocks) => listed(blocks),
            Self::NewBlock { .. } => size_of::<Block>(),
            Self::Transactions(transactions) => listed(transactions),
            Self::NewPooledTransactionHashes(announced) => listed(announced),
            Self::Request { request, .. } => match request {
                Request::Headers(_) => 0,
                Request::Bodies(hashes) | Request::PooledTransactions(hashes) | Request::Receipts(hashes) => {
                    listed(hashes)
                }
            },
            Self::Answer { answer, .. } => match answer {
                Answer::Headers(headers) => listed(headers),
                Answer::Bodies(bodies) => listed(bodies),
                Answer::PooledTransactions(transactions) => listed(transactions),
                Answer::Receipts(receipts) => listed(receipts),
            },
        };
        size_of::<Self>().saturating_add(listed)
    }
}

/// The room of a list, in bytes.
const fn listed<T>(items: &Vec<T>) -> usize {
    items.capacity().saturating_mul(size_of::<T>())
}

/// What a peer asks for. Of hashes the first [`MAX_LOOKUPS`] are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Headers.
    Headers(HeadersQuery),
    /// Bodies of the blocks with these hashes.
    Bodies(Vec<Hash>),
    /// Pooled transactions with these hashes.
    PooledTransactions(Vec<Hash>),
    /// Receipts of the blocks with these hashes.
    Receipts(Vec<Hash>),
}

/// What a peer answers, at most [`MAX_ANSWER_ITEMS`] of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Headers.
    Headers(Vec<Header>),
    /// Bodies, to be matched with headers by their digest.
    Bodies(Vec<Body>),
    /// Transactions, none twice.
    PooledTransactions(Vec<Transaction>),
    /// The receipts of blocks, each an RLP list in the version's form.
    Receipts(Vec<Bytes>),
}

impl Answer {
    /// How many items it has.
    pub const fn len(&self) -> usize {
        match self {
            Self::Headers(headers) => headers.len(),
            Self::Bodies(bodies) => bodies.len(),
            Self::PooledTransactions(transactions) => transactions.len(),
            Self::Receipts(receipts) => receipts.len(),
        }
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The kind of a message, if its version has it and its length is within the kind's limit. Cheap: nothing is read.
///
/// # Errors
/// `UnknownCode` or `TooLarge`.
pub fn admit(version: EthVersion, code: u64, len: usize) -> Result<MessageKind, MessageError> {
    let kind = MessageKind::from_code(version, code).ok_or(MessageError::UnknownCode { version, code })?;
    let limit = kind.max_len();
    if len > limit { Err(MessageError::TooLarge { kind, limit, found: len }) } else { Ok(kind) }
}

/// The message that was sent. It is what came, byte for byte, but for what was left out of it: look-ups beyond the limit,
/// and announcements of unknown kinds.
impl From<Incoming> for EthMessage {
    fn from(incoming: Incoming) -> Self {
        let envelopes = |transactions: Vec<Transaction>| -> Vec<Bytes> {
            transactions.into_iter().map(|transaction| transaction.envelope().clone()).collect()
        };
        match incoming {
            Incoming::Status(status) => Self::Status(status),
            Incoming::NewBlockHashes(blocks) => Self::NewBlockHashes(blocks),
            Incoming::NewBlock { block, total_difficulty } => {
                Self::NewBlock { block: block.raw, total_difficulty }
            }
            Incoming::Transactions(transactions) => Self::Transactions(envelopes(transactions)),
            Incoming::NewPooledTransactionHashes(announced) => Self::NewPooledTransactionHashes(announced),
            Incoming::BlockRangeUpdate(range) => Self::BlockRangeUpdate(range),
            Incoming::Request { id, request } => match request {
                Request::Headers(query) => Self::GetBlockHeaders { id, query },
                Request::Bodies(hashes) => Self::GetBlockBodies { id, hashes },
                Request::PooledTransactions(hashes) => Self::GetPooledTransactions { id, hashes },
                Request::Receipts(hashes) => Self::GetReceipts { id, hashes },
            },
            Incoming::Answer { id, answer } => match answer {
                Answer::Headers(headers) => {
                    Self::BlockHeaders { id, headers: headers.into_iter().map(|header| header.raw).collect() }
                }
                Answer::Bodies(bodies) => {
                    Self::BlockBodies { id, bodies: bodies.into_iter().map(|body| body.raw).collect() }
                }
                Answer::PooledTransactions(transactions) => {
                    Self::PooledTransactions { id, transactions: envelopes(transactions) }
                }
                Answer::Receipts(receipts) => Self::Receipts { id, receipts },
            },
        }
    }
}

/// Reads a message with a code counted from the capability's first.
///
/// # Errors
/// Why the peer is to be disconnected.
pub fn intake(version: EthVersion, code: u64, message: Bytes) -> Result<Incoming, MessageError> {
    let kind = admit(version, code, message.len())?;
    let read = Reading { kind, message: &message };
    match kind {
        MessageKind::Status => read.strictly(Status::decode(version, &message)).map(Incoming::Status),
        MessageKind::NewBlockHashes => read.block_hashes(),
        MessageKind::NewBlock => read.strictly(new_block(&message)),
        MessageKind::Transactions => read.transactions(),
        MessageKind::NewPooledTransactionHashes => {
            transactions::decode_announcements(&message).map(Incoming::NewPooledTransactionHashes)
        }
        MessageKind::GetBlockHeaders => {
            read.request(|items| HeadersQuery::decode(items).map(Request::Headers))
        }
        MessageKind::GetBlockBodies => read.request(|hashes| lookups(hashes).map(Request::Bodies)),
        MessageKind::GetPooledTransactions => {
            read.request(|hashes| lookups(hashes).map(Request::PooledTransactions))
        }
        MessageKind::GetReceipts => read.request(|hashes| lookups(hashes).map(Request::Receipts)),
        MessageKind::BlockHeaders => read.headers(),
        MessageKind::BlockBodies => read.bodies(),
        MessageKind::PooledTransactions => read.pooled_transactions(),
        MessageKind::Receipts => read.receipts(),
        MessageKind::BlockRangeUpdate => read.block_range(),
    }
}

/// A message being read.
struct Reading<'a> {
    kind: MessageKind,
    message: &'a Bytes,
}

impl<'a> Reading<'a> {
    fn strictly<T>(&self, read: Result<T, DecodeError>) -> Result<T, MessageError> {
        read.map_err(|error| MessageError::Malformed { kind: self.kind, error })
    }

    /// The id and the one list of a request or an answer.
    fn with_id(&self) -> Result<(u64, Items<'a>), MessageError> {
        let read = || {
            let mut items = Items::only(self.message, "message")?;
            let parts = (items.u64("request id")?, items.list("content")?);
            items.end("message")?;
            Ok(parts)
        };
        self.strictly(read())
    }

    /// The count of a list's items, before any is read.
    fn count(&self, items: Items<'_>, limit: usize) -> Result<usize, MessageError> {
        let count = self.strictly(items.count(limit, "items"))?;
        count.ok_or(MessageError::TooMany { kind: self.kind, limit })
    }

    fn block_hashes(&self) -> Result<Incoming, MessageError> {
        let mut items = self.strictly(Items::only(self.message, "announced blocks"))?;
        let count = self.count(items, MAX_BLOCK_HASHES)?;
        let mut blocks = Vec::with_capacity(count.min(items.rest().len() / size_of::<Hash>()));
        for _ in 0..count {
            let block = items.list("announced block").and_then(block_hashes::decode_entry);
            blocks.push(self.strictly(block)?);
        }
        Ok(Incoming::NewBlockHashes(blocks))
    }

    fn transactions(&self) -> Result<Incoming, MessageError> {
        let list = self.strictly(Items::only(self.message, "transactions"))?;
        let transactions = transactions::decode(self.message, list, self.kind)?;
        if transactions.iter().any(|transaction| transaction.kind() == crate::transaction::BLOB) {
            return Err(MessageError::BlobBroadcast);
        }
        Ok(Incoming::Transactions(transactions))
    }

    fn request(
        &self,
        content: impl FnOnce(Items<'a>) -> Result<Request, DecodeError>,
    ) -> Result<Incoming, MessageError> {
        let (id, items) = self.with_id()?;
        Ok(Incoming::Request { id, request: self.strictly(content(items))? })
    }

    fn headers(&self) -> Result<Incoming, MessageError> {
        let (id, mut items) = self.with_id()?;
        let count = self.count(items, MAX_ANSWER_ITEMS)?;
        let len = items.rest().len();
        if len < count.saturating_mul(MIN_HEADER_LEN) {
            return self.strictly(Err(RlpFault::TooShort { found: len }.of("headers")));
        }
        let mut headers = Vec::with_capacity(count);
        for _ in 0..count {
            let item = self.strictly(items.next("header"))?;
            headers.push(self.strictly(Header::decode(share(self.message, item.raw)))?);
        }
        Ok(Incoming::Answer { id, answer: Answer::Headers(headers) })
    }

    fn bodies(&self) -> Result<Incoming, MessageError> {
        let (id, mut items) = self.with_id()?;
        let mut bodies = Vec::with_capacity(self.count(items, MAX_ANSWER_ITEMS)?);
        while let Some(item) = self.strictly(items.try_next("body"))? {
            bodies.push(self.strictly(Body::decode(share(self.message, item.raw)))?);
        }
        Ok(Incoming::Answer { id, answer: Answer::Bodies(bodies) })
    }

    fn pooled_transactions(&self) -> Result<Incoming, MessageError> {
        let (id, list) = self.with_id()?;
        let transactions = transactions::decode(self.message, list, self.kind)?;
        Ok(Incoming::Answer { id, answer: Answer::PooledTransactions(transactions) })
    }

    fn receipts(&self) -> Result<Incoming, MessageError> {
        let (id, mut items) = self.with_id()?;
        let mut blocks = Vec::with_capacity(self.count(items, MAX_ANSWER_ITEMS)?);
        while let Some(block) = self.strictly(receipts::decode_next(self.message, &mut items))? {
            blocks.push(block);
        }
        Ok(Incoming::Answer { id, answer: Answer::Receipts(blocks) })
    }

    fn block_range(&self) -> Result<Incoming, MessageError> {
        let items = Items::only(self.message, "block range");
        let range = self.strictly(items.and_then(BlockRange::decode))?;
        if range.is_valid() {
            Ok(Incoming::BlockRangeUpdate(range))
        } else {
            Err(MessageError::InvalidRange(self.kind))
        }
    }
}

fn lookups(hashes: Items<'_>) -> Result<Vec<Hash>, DecodeError> {
    read_hashes(hashes, MAX_LOOKUPS, "hash")
}

fn new_block(message: &Bytes) -> Result<Incoming, DecodeError> {
    let mut items = Items::only(message, "new block")?;
    let block = Block::decode(share(message, items.next("block")?.raw))?;
    let total_difficulty = TotalDifficulty::decode(items.next("total difficulty")?)?;
    items.end("new block")?;
    Ok(Incoming::NewBlock { block: Box::new(block), total_difficulty })
}
