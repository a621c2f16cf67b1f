//! Everything that can be set ([`Config`]), and every limit with its reason.
//! A limit says what happens when it is reached: the newcomer is refused, or the oldest goes.

use std::time::Duration;

use identity::{AddressPolicy, NetList};

use crate::NodeEntry;

/// What a node may set. [`Config::default`] suits a node of any network.
#[derive(Clone, Debug)]
pub struct Config {
    /// The nodes that are asked when no other is known. Default: none.
    pub bootnodes: Vec<NodeEntry>,
    /// The networks outside of which nobody is heard, asked or named. Default: all.
    pub net_restrict: NetList,
    /// Which addresses the limits by address count. Default: all but loopback and the local network.
    pub address_policy: AddressPolicy,
    /// How long an answer may take. Default: 500 ms (go-ethereum `respTimeout`).
    pub response_timeout: Duration,
    /// How long the rest of a Neighbors answer may stay behind its last packet. Default: 100 ms: packets of one answer
    /// leave back to back, so only reordering parts them.
    pub neighbors_gap: Duration,
    /// How long our packets stay valid. Default: 20 s (go-ethereum `expiration`), in whole seconds.
    pub packet_lifetime: Duration,
    /// How long a proof of an endpoint holds. Default: 12 h (`discv4.md`, "Endpoint Proof"; go-ethereum takes 24 h).
    pub bond_lifetime: Duration,
    /// The longest pause between two checks of nodes that are not live. Default: 3 s (go-ethereum `PingInterval`).
    pub fast_revalidation: Duration,
    /// The longest pause between two checks of live nodes. Default: 9 s (three times the fast one, as go-ethereum).
    pub slow_revalidation: Duration,
    /// The longest pause between two refreshes of the table; the shortest is half of it. Default: 30 min (go-ethereum).
    pub refresh_interval: Duration,
    /// The shortest pause between two random lookups for candidates. Default: 1 s (go-ethereum `lookupIterator`).
    pub lookup_interval: Duration,
    /// Requests of all endpoints together whose signature is recovered, a second; an eighth of so many at once. What
    /// comes beyond is dropped. Default: [`MAX_RECOVERIES_PER_SECOND`].
    pub recoveries_per_second: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bootnodes: Vec::new(),
            net_restrict: NetList::default(),
            address_policy: AddressPolicy::default(),
            response_timeout: Duration::from_millis(500),
            neighbors_gap: Duration::from_millis(100),
            packet_lifetime: Duration::from_secs(20),
            bond_lifetime: Duration::from_secs(12 * 3600),
            fast_revalidation: Duration::from_secs(3),
            slow_revalidation: Duration::from_secs(9),
            refresh_interval: Duration::from_secs(30 * 60),
            lookup_interval: Duration::from_secs(1),
            recoveries_per_second: MAX_RECOVERIES_PER_SECOND,
        }
    }
}

/// Requests whose signature is recovered, a second: a third of what a core can do (41 µs each).
pub const MAX_RECOVERIES_PER_SECOND: u32 = 8_000;

/// Nodes in a bucket (`discv4.md`, "Node Table": k = 16), and nodes that a lookup gives.
pub const BUCKET_SIZE: usize = 16;

/// Nodes that wait for a place in a bucket; the oldest is dropped (go-ethereum `maxReplacements`).
pub const MAX_REPLACEMENTS: usize = 10;

/// Buckets of the table (go-ethereum `nBuckets`): the nearest 240 distances share the first one, which is almost always empty.
pub const BUCKET_COUNT: usize = 17;

/// Nodes of a bucket that came by their own unsolicited Ping; more wait as replacements. Half of a bucket stays for
/// nodes that we found ourselves, so that nobody fills the table by pinging us.
pub const MAX_INBOUND_IN_BUCKET: usize = BUCKET_SIZE / 2;

/// Nodes of one network (/24, or /64 of IPv6) in a bucket with its replacements (go-ethereum `bucketIPLimit`).
pub const MAX_NETWORK_IN_BUCKET: u16 = 2;

/// Nodes of one network (/24, or /48 of IPv6) in the table (go-ethereum `tableIPLimit`).
pub const MAX_NETWORK_IN_TABLE: u16 = 10;

/// Lookups that run at once; one more ends at once with no nodes. Each has at most 3 requests in flight.
pub const MAX_LOOKUPS: usize = 64;

/// Requests of one lookup in flight (`discv4.md`, "Recursive Lookup": alpha = 3).
pub const LOOKUP_PARALLELISM: usize = 3;

/// Requests of one lookup in all; then it ends with what it has. A lookup among 10^6 honest nodes needs about 40.
pub const MAX_LOOKUP_QUERIES: usize = 64;

/// Nodes that a lookup remembers, nearest first; the farthest is dropped. 64 queries need no more.
pub const MAX_LOOKUP_NODES: usize = 128;

/// When a lookup ends with what it has.
pub const LOOKUP_DEADLINE: Duration = Duration::from_secs(10);

/// When a silent node of a lookup no longer counts as in flight, though its answer still counts: half the answer's time.
pub const LOOKUP_STALL: Duration = Duration::from_millis(250);

/// Requests in flight or waiting, of every kind; one more fails at once. 4,096 Pings at 500 ms are 8,000 a second.
pub const MAX_PENDING: usize = 4096;

/// Pings back among them, which strangers cause; one more is not sent. The rest stays for what we ask ourselves.
pub const MAX_PENDING_PING_BACKS: usize = MAX_PENDING / 2;

/// Curve jobs that are out; one more is refused at the door. At 24,000 recoveries a second and core, 43 ms of work.
pub const MAX_JOBS: usize = 1024;

/// Curve jobs that strangers' requests may cause: a third stays for answers from endpoints we asked.
pub const MAX_REQUEST_JOBS: usize = MAX_JOBS - MAX_JOBS / 3;

/// Endpoints whose proof is kept; the oldest proof is dropped. 200 bytes each.
pub const MAX_BONDS: usize = 16_384;

/// Requests whose answer is kept for their repetition; the oldest is dropped. At most 1,800 bytes each.
pub const MAX_REPLAYS: usize = 4096;

/// How long an answered request is known: as long as its like may stay valid (`packet_lifetime` of go-ethereum).
pub const REPLAY_WINDOW: Duration = Duration::from_secs(20);

/// How long its answer is sent again. go-ethereum repeats a request byte by byte within 0.75 s.
pub const REPLAY_ANSWER_WINDOW: Duration = Duration::from_secs(2);

/// How often its answer is sent again.
pub const MAX_REPEATED_ANSWERS: u8 = 4;

/// Neighbors packets that one FindNode may have: 16 nodes one by one. More are dropped unread.
pub const MAX_NEIGHBORS_PACKETS: u8 = 16;

/// How long a new proof waits for the other side's Ping before we ask: at least this, at most the answer's time.
pub const MIN_PING_BACK_WAIT: Duration = Duration::from_millis(50);

/// The shortest time between two Pings back to one endpoint: what a stranger can make us send to a victim.
pub const PING_BACK_INTERVAL: Duration = Duration::from_secs(10);

/// The shortest time between two Pings to where others say that we are, too: what liars can make us send.
pub const TWIN_INTERVAL: Duration = Duration::from_secs(10);

/// The shortest time between two EnrRequests of our own accord to one node.
pub const RECORD_INTERVAL: Duration = Duration::from_secs(60);

/// How fresh the oldest node of a full bucket may be to be left alone when another wants its place.
pub const CHALLENGE_INTERVAL: Duration = Duration::from_secs(10);

/// The shortest time between two refreshes, also with an empty table: dead bootnodes must not make us spin.
pub const MIN_REFRESH_INTERVAL: Duration = Duration::from_secs(10);

/// Between two bootnodes that are asked whether they can be reached: one datagram a minute.
pub const BOOTNODE_INTERVAL: Duration = Duration::from_secs(60);

/// Random lookups of a refresh, after the one for ourselves (go-ethereum `doRefresh`).
pub const REFRESH_RANDOM_LOOKUPS: usize = 3;

/// FindNodes without an answer after which a node leaves its bucket (go-ethereum `maxFindnodeFailures`) ...
pub const MAX_FIND_FAILURES: u8 = 5;

/// ... unless the bucket has fewer nodes than this.
pub const MIN_BUCKET_FOR_REMOVAL: usize = BUCKET_SIZE / 4;

/// Ports up to this are nobody's discovery port on a public address (go-ethereum `errLowPort`).
pub const MAX_LOW_PORT: u16 = 1024;

/// What one call works off at most (deadlines, answers); `next_timeout` then names the present.
pub const MAX_WORK_PER_CALL: usize = 64;
