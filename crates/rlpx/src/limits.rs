//! Every limit that an owner may set, by what it bounds, each with its default; times and slots are `server_config`'s. What
//! cannot be set is named below: the protocol fixes it, or others rest on it (`config`). Port mapping has limits of its own
//! (`nat`).

use std::time::Duration;

pub use crate::config::{BufferLimits, SessionLimits};

/// The address book's file.
pub use crate::address_book::{MAX_BOOK_ADDRESSES, MAX_BOOK_ENTRIES, MAX_ENTRY_LEN};
/// Messages by what the protocol fixes, buffers of a connection, what its task and the system may hold back, connections
/// without a server, and the least that a budget of memory may be.
pub use crate::config::{
    BACKLOG, BUDGET_RESERVE, CONNECT_TIMEOUT, MAX_BASE_MESSAGE_LEN, MAX_HELLO_LEN, MAX_INBOX,
    MAX_MESSAGE_COUNT, MAX_MESSAGE_LEN, MAX_ORDERS, MAX_READ_CHUNK, MAX_RESOLVED, MAX_UNSENT_LEN,
    MAX_WRITE_KEPT, MIN_READ_CHUNK, QUIET_LEN, QUIET_TIME, SEAL_APART_LEN, STORE_WAIT, WRITE_HIGH_WATER,
};
/// Hello, races of addresses, what an owner brings, and what is told and counted.
pub use crate::{
    p2p::MAX_CAPABILITIES,
    race::ATTEMPT_DELAY,
    server_config::{MAX_LISTENERS, MIN_RATE},
    status::{MAX_DETAIL_LEN, MAX_DETAILS},
    tally::MAX_COUNTED_CODES,
};

/// Every limit of a server but slots for peers, rates, and times that stand by themselves. What they may be at least and
/// at most, [`Limits::check`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What all peers together may hold, in bytes, beyond [`SessionLimits::free_len`] each. Trusted and static ones too; at
    /// least 32 MiB, of which half is for queues and half for what comes. Default: 256 MiB.
    pub memory_budget: usize,
    /// Who comes in, until it is a peer.
    pub admission: AdmissionLimits,
    /// Whom to dial.
    pub dials: DialLimits,
    /// What is remembered of nodes by name.
    pub lists: ListLimits,
    /// The address book, where there is one.
    pub book: BookLimits,
    /// What each protocol may have of each peer's.
    pub protocols: ProtocolLimits,
    /// The queues between the server, its connections and its owner.
    pub queues: QueueLimits,
    /// What each peer may do and hold.
    pub sessions: SessionLimits,
    /// Buffers that lie ready.
    pub buffers: BufferLimits,
}

/// Limits on connections that come in and are no peers yet, and on those that end. How many may be pending is
/// [`ServerConfig::max_pending`](crate::ServerConfig::max_pending).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Hosts whose last accepted connection is remembered. When full, the oldest is forgotten. Default: 16,384.
    pub throttled_hosts: usize,
    /// Connections of one site (/24, /48) that have not authenticated. A further one is refused. Default: 4.
    pub half_open_per_site: usize,
    /// Connections whose auth has come and is looked at: as many as one thread of a curve pool has jobs waiting. When full,
    /// the oldest is closed. Default: 256.
    pub examined: usize,
    /// Connections whose handshake is through and that are no peers yet: it costs nothing to say who one is, so who has must not
    /// hold memory without end. When full, the oldest is closed. Default: 1,024.
    pub newcomers: usize,
    /// The same, of one site (/24, /48). Default: 4.
    pub newcomers_per_site: usize,
    /// The same, of those that say to be one node. Anybody may say so, which must not close the node's own at once.
    /// Default: 16.
    pub newcomers_per_node: usize,
    /// Connections that the server is telling why they end; further ones are closed without a word. And as many that broke a
    /// rule, whose ends are waited for; further ones are told and not waited for. Default: 15.
    pub graceful_closers: usize,
}

/// Limits on dials. How many may be under way is [`ServerConfig::max_dials`](crate::ServerConfig::max_dials).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialLimits {
    /// Addresses of one name that are tried in one dial, at most [`MAX_RESOLVED`]; a host has one of each family, or a few.
    /// Default: 4.
    pub addresses: usize,
    /// Dials to one site (/24, /48) within [`Self::site_window`], so that planted records make no flooder of us. Default: 2.
    pub per_site: u8,
    /// See [`Self::per_site`]. Default: 10 s.
    pub site_window: Duration,
    /// Candidates looked at within [`Self::candidate_window`], fit or not, so that a source of useless ones cannot spin the
    /// server. Default: 64.
    pub candidates: usize,
    /// See [`Self::candidates`]. Default: 1 s.
    pub candidate_window: Duration,
    /// Nodes whose last dial or parting is remembered. When full, the one free soonest is forgotten. Default: 4,096.
    pub redial_records: usize,
    /// Hosts, and sites, whose last dial is remembered. When full, the one free soonest is forgotten. Default: 4,096.
    pub dialed_addresses: usize,
    /// How long parting early is held against a node, after its redial delay has passed. Default: 1 h.
    pub redial_memory: Duration,
    /// A session that lasted this long clears the failures of its node. Default: 30 s, two ping intervals.
    pub stable_session: Duration,
}

/// Limits on lists of nodes, and on what the owner's reports come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListLimits {
    /// Static peers. Adding more is refused. Default: 1,024.
    pub static_peers: usize,
    /// Trusted peers. Adding more is refused. Default: 1,024.
    pub trusted: usize,
    /// Bans in force. When full, the one that would end first is dropped: the owner's newest word counts most, and whoever
    /// fills the list with malicious nodes of its own shortens bans by what their ends differ. Default: 4,096.
    pub bans: usize,
    /// The longest ban; a longer one ends then. Default: 366 days.
    pub longest_ban: Duration,
    /// Nodes whose reports are remembered. When full, the one reported longest ago is forgotten. Default: 4,096.
    pub reported: usize,
    /// How long a report is remembered after the last one of its node. Default: 1 h.
    pub report_memory: Duration,
    /// Misbehaviours within [`Self::report_memory`] that count as malice: one may be a bug, three are a habit. Default: 3.
    pub strikes: usize,
    /// One of so many peers that were dialed, and of those that came in, is protected by praise, the most praised first: so
    /// praise for all does not end rotation. Default: 10 (go-ethereum `eth/dropper.go`: the top tenth of each pool).
    pub peers_per_protected: usize,
}

/// Limits on the address book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BookLimits {
    /// Nodes in it; of a file with more, the best stay. When full, the one with the lowest score makes room for one with a higher score, and for no other. At most
    /// [`MAX_BOOK_ENTRIES`]. Default: that, 1,024.
    pub entries: usize,
    /// Nodes of one site (/24, /48) in it: whoever has one network is one party. As above, among those of the site. Default: 4.
    pub entries_per_site: usize,
    /// Failures in a row after which a node is forgotten. Default: 16, ten hours of them, by the growth of the delay between
    /// dials.
    pub failures: u32,
}

/// What one protocol may have of one peer's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolLimits {
    /// Messages that may wait to be sent. A further one is refused, or waits with its sender. Default: 1,024.
    pub queued_messages: usize,
    /// Bytes that may wait to be sent; an empty queue takes one message of any size. Default: 1 MiB.
    pub queued_len: usize,
    /// Messages that may wait for a protocol that is a function, or for `eth`. When they are as many, nothing more is read from
    /// the peer. Default: 1,024.
    pub waiting_messages: usize,
    /// Bytes that may wait for it. While fewer do, one more message is taken, whatever its length. Default: 8 MiB.
    pub waiting_len: usize,
    /// Messages that are handled before other tasks get their turn. Default: 16.
    pub turn_messages: usize,
    /// How long a function may run on after its peer has gone. Default: 5 s.
    pub grace: Duration,
}

/// How much may wait between the server, its connections and its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// Events that an owner may be behind, rounded up to a power of two; then it is told how many it has missed. Default: 1,024.
    pub events: usize,
    /// Commands that may wait for the server; the owner waits with further ones. Default: 64.
    pub commands: usize,
    /// Reports that may wait for the server; connections wait with further ones. Default: 256.
    pub reports: usize,
    /// Accepted connections that may wait for the server; further ones wait in the system's backlog. Default: 16.
    pub accepted: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory_budget: 256 << 20,
            admission: AdmissionLimits::default(),
            dials: DialLimits::default(),
            lists: ListLimits::default(),
            book: BookLimits::default(),
            protocols: ProtocolLimits::default(),
            queues: QueueLimits::default(),
            sessions: SessionLimits::default(),
            buffers: BufferLimits::default(),
        }
    }
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            throttled_hosts: 16_384,
            half_open_per_site: 4,
            examined: 256,
            newcomers: 1_024,
            newcomers_per_site: 4,
            newcomers_per_node: 16,
            graceful_closers: 15,
        }
    }
}

impl Default for DialLimits {
    fn default() -> Self {
        Self {
            addresses: 4,
            per_site: 2,
            site_window: Duration::from_secs(10),
            candidates: 64,
            candidate_window: Duration::from_secs(1),
            redial_records: 4_096,
            dialed_addresses: 4_096,
            redial_memory: Duration::from_secs(3_600),
            stable_session: Duration::from_secs(30),
        }
    }
}

impl Default for ListLimits {
    fn default() -> Self {
        Self {
            static_peers: 1_024,
            trusted: 1_024,
            bans: 4_096,
            longest_ban: Duration::from_secs(366 * 24 * 3_600),
            reported: 4_096,
            report_memory: Duration::from_secs(3_600),
            strikes: 3,
            peers_per_protected: 10,
        }
    }
}

impl Default for BookLimits {
    fn default() -> Self {
        Self { entries: MAX_BOOK_ENTRIES, entries_per_site: 4, failures: 16 }
    }
}

impl ProtocolLimits {
    /// What holds unless the owner says otherwise.
    pub const DEFAULT: Self = Self {
        queued_messages: 1_024,
        queued_len: 1 << 20,
        waiting_messages: 1_024,
        waiting_len: 8 << 20,
        turn_messages: 16,
        grace: Duration::from_secs(5),
    };
}

impl Default for ProtocolLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Default for QueueLimits {
    fn default() -> Self {
        Self { events: 1_024, commands: 64, reports: 256, accepted: 16 }
    }
}

#[cfg(test)]
mod tests {
    /// Fields that are groups of limits have defaults of their own.
    #[test]
    fn every_limit_tells_its_default() {
        let (mut docs, mut count) = (String::new(), 0);
        let config = include_str!("config.rs");
        let (_, sessions) = config.split_once("pub struct SessionLimits {").expect("it stands there");
        let (sessions, _) =
            sessions.split_once("/// What all sessions of a node").expect("it stands there too");
        for line in include_str!("limits.rs").lines().chain(sessions.lines()).map(str::trim) {
            match line.strip_prefix("pub ").filter(|field| field.ends_with(',') && field.contains(": ")) {
                Some(field) if !field.ends_with("Limits,") => {
                    assert!(docs.contains("Default: "), "{field}");
                    count += 1;
                }
                Some(_) | None if line.starts_with("///") => docs.push_str(line),
                Some(_) | None => {}
            }
            if !line.starts_with("///") {
                docs.clear();
            }
        }
        assert!(count > 40, "{count} fields");
    }
}
