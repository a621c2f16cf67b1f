//! What the owner of the eth machine may set, and the machine's own limits: unit, source, and what happens beyond.
//! The limits of messages stand in `config`.

use std::time::Duration;

/// How long a peer may take for its Status (go-ethereum: 5 s); then it is disconnected with 0x0b.
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a refused peer's Disconnect waits for our Status to be written.
pub const REFUSAL_WAIT: Duration = Duration::from_secs(1);

/// How long a request may wait for its answer (go-ethereum's transaction fetcher: 5 s).
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long after its request has ended an answer is ignored; later it is a breach.
pub const LATE_ANSWER_WINDOW: Duration = Duration::from_secs(5 * 60);

/// Requests that wait for an answer, of all peers; more are refused (go-ethereum's tracker: 10,000).
pub const MAX_REQUESTS: usize = 4_096;

/// Requests that wait for an answer of one peer; more are refused. A peer of our own kind queues four and serves one.
pub const MAX_REQUESTS_PER_PEER: usize = 16;

/// Ended requests that are remembered so as to know their late answers; the oldest are forgotten first.
pub const MAX_LATE_REQUESTS: usize = 8_192;

/// Slots of 4 bytes in each of the two generations of a known-set of transactions: 64,000 bytes a peer, which
/// remember the last 6,000 to 12,000 hashes (go-ethereum remembers 32,768 in a megabyte).
pub const KNOWN_TRANSACTION_SLOTS: usize = 8_000;

/// Slots of 4 bytes in each of the two generations of a known-set of blocks: 1 KiB a peer, the last 96 to 192 hashes.
pub const KNOWN_BLOCK_SLOTS: usize = 128;

/// Hashes that wait to be told to one peer, in full or announced (go-ethereum: 4,096 each); the oldest is dropped.
pub const MAX_QUEUED_HASHES: usize = 4_096;

/// The most bytes of transactions, or of announcements, in one message of gossip (go-ethereum: 100 KiB).
pub const GOSSIP_PACK_LEN: usize = 100 * 1024;

/// The most hashes in one announcement (`caps/eth.md`).
pub const GOSSIP_PACK_HASHES: usize = 4_096;

/// Bytes on their way to a peer beyond which no gossip is put out for it, so that answers find room.
pub const GOSSIP_CREDIT: usize = 256 * 1024;

/// Messages on their way to a peer, of those that a link holds; beyond it nothing is put out for the peer.
pub const MAX_UNSENT_MESSAGES: usize = 512;

/// Requests and other single messages that wait for credit of one peer, or for memory; a request beyond is refused, and
/// what comes back beyond is dropped.
pub const MAX_OUTBOX: usize = 64;

/// The time between two announcements to one peer. The first goes at once; what comes meanwhile goes together.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_millis(50);

/// The longest transaction that is sent in full unasked, bytes (go-ethereum); longer ones are announced.
pub const MAX_PUSHED_TRANSACTION_LEN: u32 = 4_096;

/// Bytes of recent transactions kept to be sent in full; the oldest go first and are announced instead.
pub const RECENT_TRANSACTION_BYTES: usize = 4 * 1024 * 1024;

/// Hashes of transactions that the pool has judged lately, so that it need not again; the oldest are forgotten first.
pub const RECENT_TRANSACTIONS: usize = 32_768;

/// How long an announced transaction may come in full by itself before it is asked for (go-ethereum: 500 ms).
pub const FETCH_WAIT: Duration = Duration::from_millis(500);

/// Those that fall due within this time after another one are asked for with it (go-ethereum: 100 ms).
pub const FETCH_GATHER_SLACK: Duration = Duration::from_millis(100);

/// How long a peer that did not answer is asked for no transaction, unless it answers after all.
pub const FETCH_DANGLING: Duration = Duration::from_secs(30);

/// The most transactions asked for in one request (`caps/eth.md`, go-ethereum: 256).
pub const MAX_FETCH_HASHES: usize = 256;

/// The most bytes of transactions, as announced, asked for in one request (go-ethereum: 128 KiB).
pub const MAX_FETCH_ANNOUNCED_LEN: u64 = 128 * 1024;

/// Missing transactions tracked, of all peers; new ones beyond are dropped, but see the next.
pub const MAX_TRACKED_HASHES: usize = 64 * 1024;

/// Missing transactions tracked of one peer (go-ethereum: 4,096); more are dropped.
pub const MAX_TRACKED_HASHES_PER_PEER: usize = 4_096;

/// Missing transactions that are tracked of a peer even when others have filled [`MAX_TRACKED_HASHES`].
pub const MIN_TRACKED_HASHES_PER_PEER: usize = 64;

/// By how many bytes an announced size may be wrong (go-ethereum: 8); beyond, the announcer is disconnected.
pub const MAX_ANNOUNCED_SIZE_DIFFERENCE: u32 = 8;

/// The transport is told good of a peer once in this time, and bad; praise holds ten minutes there.
pub const VERDICT_INTERVAL: Duration = Duration::from_secs(60);

/// After so many requests without an answer, or with an empty one, in a row a peer is asked last.
pub const STRIKES_TO_BE_LAST: u32 = 3;

/// Transactions whose signature is checked for one peer in a second; the peer is not read while it is above.
pub const TRANSACTION_CHECKS_PER_SECOND: u64 = 2_000;

/// Bytes of answers that one peer gets in a second; its next request waits while it is above.
pub const ANSWER_BYTES_PER_SECOND: u64 = 10 * 1024 * 1024;

/// How long a network's quota outlives its last connection.
pub const QUOTA_KEPT: Duration = Duration::from_secs(10 * 60);

/// Quotas kept of networks without a connection; the one left first is forgotten.
pub const MAX_QUOTAS_KEPT: usize = 4_096;

/// Requests of a peer that wait while one of them is served; the peer is not read while it has as many.
pub const MAX_QUEUED_REQUESTS: usize = 4;

/// Requests of a peer that are held at most: those that wait and what one turn of the driver brings besides. A peer
/// that has more is disconnected.
pub const MAX_HELD_REQUESTS: usize = 32;

/// How long a peer's request may wait to be answered; then it is dropped.
pub const SERVE_PATIENCE: Duration = Duration::from_secs(5);

/// The most transactions handed to the pool in one call (go-ethereum: 128).
pub const INSERT_BATCH: usize = 128;

/// Calls to the backend that one peer's gossip may have out; the peer is not read while it has as many.
pub const MAX_BACKEND_CALLS_PER_PEER: usize = 16;

/// Bytes of one peer's gossip that may wait for the backend; the peer is not read while it has as many.
pub const MAX_BACKEND_BYTES_PER_PEER: usize = 1024 * 1024;

/// Of what a peer was left unread for, so many times as much may wait when it had been read already; more is dropped.
pub const BACKLOG_SLACK: usize = 12;

/// Calls to the backend that may be out, of all peers; what a peer sends beyond is dropped. Only a backend that hangs
/// while peers come and go can meet it.
pub const MAX_BACKEND_CALLS: usize = 8_192;

/// Bytes of all peers' gossip that may wait for the backend; what comes beyond is dropped.
pub const MAX_BACKEND_BYTES: usize = 64 * 1024 * 1024;

/// Requests of peers that may be with the backend, of up to 64 KiB each; the next ones wait, and are dropped as late. A
/// peer has one there, so only those who left while the backend hangs can fill it.
pub const MAX_SERVE_CALLS: usize = 1_024;

/// Calls to the backend that may be out for the owner; more are refused.
pub const MAX_OWNER_CALLS: usize = 1_024;

/// How long the backend may take for a call. While one takes longer nobody is kept waiting for it: what a peer sends
/// beyond its share is dropped instead of left unread.
pub const BACKEND_PATIENCE: Duration = Duration::from_secs(5);

/// How far our latest block must have moved for a BlockRangeUpdate (go-ethereum: 32); also sent when it went back.
pub const BLOCK_RANGE_STEP: u64 = 32;

/// A peer's BlockRangeUpdate is acted upon once in this time; others are dropped.
pub const BLOCK_RANGE_INTERVAL: Duration = Duration::from_secs(10);

/// How long an announced block may come in full by itself before it is asked for (go-ethereum: 500 ms; block times of
/// a private chain can be short).
pub const BLOCK_FETCH_WAIT: Duration = Duration::from_millis(200);

/// Of the blocks that one message announces the last so many are looked at. Honest nodes announce one.
pub const MAX_CONSIDERED_BLOCKS: usize = 16;

/// Blocks being fetched with their ancestors at one time; one more is not begun.
pub const MAX_BLOCK_FETCHES: usize = 16;

/// Of them those for one peer alone; one more is not begun.
pub const MAX_BLOCK_FETCHES_PER_PEER: usize = 4;

/// Headers asked for: of the block itself, when its parent is missing too, and from then on.
pub const BLOCK_FETCH_HEADERS: [usize; 3] = [1, 16, 192];

/// Bodies asked for in one request (go-ethereum's downloader: 128).
pub const BLOCK_FETCH_BODIES: usize = 64;

/// How deep a missing branch may be. A deeper one is left to the owner, who has the requests for it.
pub const MAX_BLOCK_FETCH_DEPTH: usize = 1_024;

/// Peers remembered to ask for a block.
pub const MAX_BLOCK_SOURCES: usize = 16;

/// Blocks that wait for their parent; the oldest is dropped.
pub const MAX_ORPHANS: usize = 64;

/// Bytes of blocks that wait for their parent; the oldest are dropped, but one always has room.
pub const MAX_ORPHAN_BYTES: usize = 32 * 1024 * 1024;

/// Blocks lately handed to the chain, so that a second copy is not; the oldest are forgotten.
pub const RECENT_BLOCKS: usize = 1_024;
