//! The limits of messages and of what is held in memory: unit, source, and what happens beyond.
//! Those of the machine, and what its owner may set, stand in `machine_config`.

/// The longest eth message, bytes of RLP; a longer one ends the connection (go-ethereum, `maxMessageSize`).
pub const MAX_MESSAGE_LEN: usize = 10 * 1024 * 1024;

/// The longest Status, BlockRangeUpdate and GetBlockHeaders, bytes. They are under 200; room for a longer fork id.
/// A longer one ends the connection.
pub const MAX_SMALL_MESSAGE_LEN: usize = 1024;

/// The bytes after which an answer takes no further item (`caps/eth.md`: 2 MiB).
pub const MAX_ANSWER_LEN: usize = 2 * 1024 * 1024;

/// The most headers, bodies or blocks' receipts in one answer (go-ethereum, `maxHeadersServe` and its sisters). We send
/// no more; a peer that does is disconnected.
pub const MAX_ANSWER_ITEMS: usize = 1024;

/// The most look-ups that one request causes (go-ethereum: twice what it serves). Hashes beyond are not read.
pub const MAX_LOOKUPS: usize = 2 * MAX_ANSWER_ITEMS;

/// The most blocks off the canonical chain that one headers query walks (go-ethereum, `maxNonCanonical`).
pub const MAX_NON_CANONICAL: usize = 100;

/// The most transactions in one message (go-ethereum); more end the connection.
pub const MAX_TRANSACTIONS: usize = 5_000;

/// The most announced transactions in one message: four times what the specification recommends. More end the
/// connection; how many are tracked is the fetcher's limit.
pub const MAX_ANNOUNCEMENTS: usize = 16_384;

/// The most announced blocks in one message; more end the connection. Honest nodes announce one.
pub const MAX_BLOCK_HASHES: usize = 1_024;

/// The fewest bytes a signed transaction can have: its r and s alone take 66, and to be 16 bytes shorter a signer would
/// have to try 2^128 times. What is shorter is refused unread, so that a message cannot be many times smaller than what
/// it decodes to.
pub const MIN_TRANSACTION_LEN: usize = 64;

/// The fewest bytes a header can have: six hashes, a bloom filter of 256 bytes, an address and a nonce. What is shorter
/// is refused unread.
pub const MIN_HEADER_LEN: usize = 480;

/// The longest transaction that the memory pool takes, bytes of its envelope (go-ethereum, `txMaxSize`: 4 slots of
/// 32 KiB); a longer one is invalid.
pub const MAX_TRANSACTION_LEN: usize = 128 * 1024;

/// The longest extra-data of a header that the memory chain takes, bytes (yellow paper, 4.4.4); a longer one is bad.
pub const MAX_EXTRA_DATA_LEN: usize = 32;

/// The deepest nesting of lists in anything received. A block with access lists is 8 deep; deeper than this is malformed.
pub const MAX_RLP_DEPTH: usize = 32;

/// The highest bit length of a total difficulty (go-ethereum's sanity check); more is malformed.
pub const MAX_TOTAL_DIFFICULTY_BITS: u32 = 100;

/// How many blocks the memory chain holds; the lowest are dropped first, never the genesis block. A week of blocks every
/// 12 s is 50,400; a devnet makes a few hundred.
pub const MEMORY_CHAIN_BLOCKS: usize = 8_192;

/// How many bytes of blocks the memory chain holds; the lowest blocks are dropped first.
pub const MEMORY_CHAIN_BYTES: usize = 64 * 1024 * 1024;

/// How many transactions the memory pool holds; a full pool refuses more (go-ethereum: 4,096 + 1,024 slots; here the
/// load of an hour at 10 a second).
pub const MEMORY_POOL_TRANSACTIONS: usize = 36_864;

/// How many bytes of transactions the memory pool holds; a full pool refuses more.
pub const MEMORY_POOL_BYTES: usize = 32 * 1024 * 1024;

/// The fewest bytes a withdrawal can have: an address and three numbers. What is shorter is refused unread.
pub const MIN_WITHDRAWAL_LEN: usize = 24;

/// How many transactions that are done with the memory pool remembers, 32 bytes each; the oldest are forgotten.
pub const MEMORY_POOL_DONE: usize = 65_536;
