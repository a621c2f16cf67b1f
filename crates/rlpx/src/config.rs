//! What a session is given, its waits and limits, and what cannot be set: lengths that the protocol fixes, and how buffers are
//! kept, each with its reason. What else an owner may set is `limits`' and `server_config`'s. Waits are go-ethereum's where it has
//! one, named beside each.

use std::{sync::Arc, time::Duration};

use identity::{Counters, PublicKey};

use crate::{
    buffer_pool::BufferPool,
    capability::{Capability, CapabilityName},
    p2p::{BASE_CODES, Hello, P2P_VERSION},
    reject::Reject,
    tally::ProtocolTally,
};

/// From connect to the second [`admit`](crate::Session::admit): one budget for both handshakes (go-ethereum
/// `handshakeTimeout`, there for the encrypted one alone).
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Nothing read for this long ends a session (go-ethereum `frameReadTimeout`).
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Nothing written for this long while something waits ends a session (go-ethereum `frameWriteTimeout`).
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(20);
/// How often a Ping goes out (go-ethereum `pingInterval`).
pub const PING_INTERVAL: Duration = Duration::from_secs(15);
/// How long a Disconnect may take to be written (go-ethereum `discWriteTimeout`), and then to be read and answered by a close:
/// closing with unread bytes resets the connection, and it would be lost.
pub const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// What is kept of the budget, in bytes, for the one peer that is read while the rest is spent: a message as it comes, and
/// its payload. There is no smaller budget.
pub const BUDGET_RESERVE: usize = 32 << 20;

/// Longest payload of a Hello or Disconnect before Hello, in bytes (go-ethereum `baseProtocolMaxMsgSize`).
pub const MAX_HELLO_LEN: usize = 2 * 1024;
/// Longest payload of Ping, Pong and Disconnect after Hello, in bytes: they are empty lists and single numbers.
pub const MAX_BASE_MESSAGE_LEN: usize = 1024;
/// Longest payload of any message, in bytes (`rlpx.md`: 16 MiB, of which a 24-bit frame size carries one less).
pub const MAX_MESSAGE_LEN: usize = 0xff_ffff;
/// Message codes that a version of a protocol may have: those of all capabilities fit 64 bits.
pub const MAX_MESSAGE_COUNT: u64 = 1 << 32;

/// What one read takes at most, and what a read buffer keeps between messages, in bytes.
pub const MAX_READ_CHUNK: usize = 64 * 1024;
/// What one read of a quiet connection takes at most, in bytes.
pub const MIN_READ_CHUNK: usize = 512;
/// From this length on the MAC of a message that goes to several peers is computed beside theirs, in bytes: for shorter
/// ones it is not worth the way.
pub const SEAL_APART_LEN: usize = 16 * 1024;
/// What waits to be written, in bytes, from which on `send` refuses. One message of any size goes on top.
pub const WRITE_HIGH_WATER: usize = 64 * 1024;

/// What a write buffer keeps while messages flow, in bytes: all that waits below [`WRITE_HIGH_WATER`] and a short message.
/// A longer one goes to the pool once it is written.
pub const MAX_WRITE_KEPT: usize = WRITE_HIGH_WATER + 4 * 1024;

/// Up to this length a payload for one peer is compressed where it is encrypted, in bytes: in the worst case it takes what a
/// write buffer keeps beyond [`WRITE_HIGH_WATER`]. Longer ones are compressed into a buffer of their own, and copied in pieces
/// that are encrypted while they are in the processor's cache.
pub const COMPRESS_IN_PLACE_LEN: usize = 3 * 1024;

/// Nothing read or written for so long, and a session frees its buffers if they are longer than [`QUIET_LEN`]: with what
/// the pool keeps, and programs that give free memory back, a burst is forgotten within ten seconds.
pub const QUIET_TIME: Duration = Duration::from_secs(2);
/// Buffers that a silent session keeps until its next Ping, in bytes.
pub const QUIET_LEN: usize = 4 * 1024;

/// Buffers that are looked at for one that fits.
pub const POOL_PROBES: usize = 8;
/// What the system takes for a peer and has not sent, in bytes (TCP_NOTSENT_LOWAT); it would be up to 4 MiB
/// (`net.ipv4.tcp_wmem`). Twice what waits in the session: enough to send while the task of a busy peer is not run.
pub const MAX_UNSENT_LEN: u32 = 128 * 1024;
/// Connections that the system completes before they are accepted; tokio's default.
pub const BACKLOG: i32 = 1_024;
/// Orders of the server that may wait for a connection: each of the three once, and one more. One that does not take them is cut
/// off.
pub const MAX_ORDERS: usize = 4;
/// How long a server that ends waits for the file of its address book: what is left of 5 s.
pub const STORE_WAIT: Duration = Duration::from_secs(1);
/// Addresses of a name that are looked at for as many as are tried.
pub const MAX_RESOLVED: usize = 16;
/// From dialing to an open TCP connection, for a connection without a server (go-ethereum `defaultDialTimeout`).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Messages that such a connection keeps while something is sent. When they are as many, nothing more is read until they are
/// taken.
pub const MAX_INBOX: usize = 64;

/// How often what was not needed is freed from the pool of a server.
pub const POOL_TRIM_INTERVAL: Duration = Duration::from_secs(1);

/// A capability that this node offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalCapability {
    /// Name and version.
    pub capability: Capability,
    /// How many message codes it has, from 0.
    pub message_count: u64,
    /// Longest payload taken, in bytes after decompression. Default: [`MAX_MESSAGE_LEN`].
    pub max_message_len: usize,
}

impl LocalCapability {
    /// A capability whose messages may have any length that a frame carries.
    pub const fn new(name: CapabilityName, version: u32, message_count: u64) -> Self {
        Self { capability: Capability { name, version }, message_count, max_message_len: MAX_MESSAGE_LEN }
    }
}

/// The waits of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// From connect to the end of the second stop. Default: [`HANDSHAKE_TIMEOUT`].
    pub handshake: Duration,
    /// Without a byte read. Default: [`READ_TIMEOUT`].
    pub read: Duration,
    /// Without a byte written while some wait. Default: [`WRITE_TIMEOUT`].
    pub write: Duration,
    /// Between Pings. Default: [`PING_INTERVAL`].
    pub ping: Duration,
    /// To write a Disconnect, and again for the peer to read it and close. Default: [`DISCONNECT_TIMEOUT`].
    pub disconnect: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: HANDSHAKE_TIMEOUT,
            read: READ_TIMEOUT,
            write: WRITE_TIMEOUT,
            ping: PING_INTERVAL,
            disconnect: DISCONNECT_TIMEOUT,
        }
    }
}

/// What one peer may do and hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// What it may hold without a share of [`Limits::memory_budget`](crate::Limits::memory_budget), in bytes. Default: 128 KiB,
    /// enough for any announcement and any transaction that pools take.
    pub free_len: usize,
    /// What it has to bring while it is read in a shortage of memory, in bytes: within [`Self::shortage_pace`]. Default: 512 KiB.
    pub shortage_step: usize,
    /// See [`Self::shortage_step`]. Default: 2 s: together 256 KiB/s, the slowest that a frame may come at any time.
    pub shortage_pace: Duration,
    /// How long a frame waits for memory that began when it was short already. Default: 20 s.
    pub late_wait: Duration,
    /// A payload may have this many times the bytes of its frame without a charge. Default: 4.
    pub free_inflation: usize,
    /// Bytes beyond that which it may inflate in a second. Default: 8 MiB.
    pub inflation_per_second: usize,
    /// Bytes beyond that which it may inflate at once. Default: 32 MiB.
    pub inflation_burst: usize,
    /// A frame must arrive in full within [`Timeouts::read`] and one second more for each of these
    /// many bytes. Default: 256 KiB.
    pub frame_bytes_per_second: usize,
    /// Reserved codes (4 to 15) that are ignored before they count as a breach. Default: 10.
    pub reserved_messages: u32,
    /// Pings that may come at once. Default: 5.
    pub ping_burst: u32,
    /// A further Ping may come each of these. Default: 1 s (clients send one in 10 to 15 s).
    pub ping_refill: Duration,
    /// Bytes that are thrown away while it reads our last words; whoever sends more is cut off. Default: 1 MiB.
    pub linger_len: usize,
}

impl SessionLimits {
    /// What holds unless the owner says otherwise.
    pub const DEFAULT: Self = Self {
        free_len: 128 * 1024,
        shortage_step: 512 * 1024,
        shortage_pace: Duration::from_secs(2),
        late_wait: Duration::from_secs(20),
        free_inflation: 4,
        inflation_per_second: 8 << 20,
        inflation_burst: 32 << 20,
        frame_bytes_per_second: 256 * 1024,
        reserved_messages: 10,
        ping_burst: 5,
        ping_refill: Duration::from_secs(1),
        linger_len: 1 << 20,
    };
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What lies ready to be read into and written from, and belongs to no peer: see [`BufferPool`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferLimits {
    /// Buffers of 64 KiB ([`MAX_READ_CHUNK`]). Default: 64, 4 MiB.
    pub chunks: usize,
    /// Longer buffers. Default: 64.
    pub long_buffers: usize,
    /// Bytes of longer buffers. Default: 32 MiB, a message of the greatest length and its payload.
    pub long_len: usize,
}

impl Default for BufferLimits {
    fn default() -> Self {
        Self { chunks: 64, long_buffers: 64, long_len: 32 << 20 }
    }
}

/// What all sessions of a node have in common. Kept in an `Arc`: a session holds no copy.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// What we say of ourselves.
    pub hello: Hello,
    /// The capabilities of `hello`, with what Hello does not say.
    pub capabilities: Vec<LocalCapability>,
    /// The waits.
    pub timeouts: Timeouts,
    /// What the peer may do and hold.
    pub limits: SessionLimits,
    /// Where refusals are counted; clones share the counts.
    pub rejects: Counters<Reject>,
    /// Where long buffers come from and go back to. Default: nowhere, they are allocated and freed.
    pub buffers: BufferPool,
    /// Where messages of the base protocol are counted; clones share the counts.
    pub(crate) base: Arc<ProtocolTally>,
}

impl SessionConfig {
    /// For the node with `public_key`, offering `capabilities`, with default timeouts and counters of its own.
    pub fn new(
        public_key: PublicKey,
        client_name: impl Into<String>,
        mut capabilities: Vec<LocalCapability>,
    ) -> Self {
        capabilities.sort_by_key(|own| own.capability);
        capabilities.dedup_by_key(|own| own.capability);
        let hello = Hello {
            protocol_version: P2P_VERSION,
            client_name: client_name.into(),
            capabilities: capabilities.iter().map(|own| own.capability).collect(),
            listen_port: 0,
            public_key,
        };
        let base = Arc::new(ProtocolTally::new(CapabilityName::P2P, BASE_CODES));
        Self {
            hello,
            capabilities,
            timeouts: Timeouts::default(),
            limits: SessionLimits::DEFAULT,
            rejects: Counters::default(),
            buffers: BufferPool::default(),
            base,
        }
    }
}
