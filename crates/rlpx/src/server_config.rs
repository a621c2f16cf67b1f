//! What an owner sets for the server of a node: whom it is for, slots, rates and times; every other limit is in `limits`.
//! Defaults are go-ethereum's (`p2p/config.go`, `node/defaults.go`) unless a comment says otherwise.

use std::time::Duration;

use identity::{AddressPolicy, Enode, NetList, NodeId};

use crate::{address_book::BookTimes, config::Timeouts, limits::Limits};

/// The lowest limit on bytes per second: what Pings, Status and requests of a few dozen peers take.
pub const MIN_RATE: u64 = 16 * 1024;

/// Addresses that one server listens on: one of each family, and a few more.
pub const MAX_LISTENERS: usize = 8;

/// What an owner sets for the server of a node.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// Peers in all. Trusted ones count, and are let in when it is full. Default: 50.
    pub max_peers: usize,
    /// Who the slots are for.
    pub slots: Slots,
    /// Inbound connections that have sent no auth. When full, the oldest makes room. Default: 50.
    pub max_pending: usize,
    /// Dials under way. Default: 30 (go-ethereum 50).
    pub max_dials: usize,
    /// The networks to accept from and to dial. Default: all.
    pub net_restrict: NetList,
    /// Which addresses are counted against limits by address.
    pub address_policy: AddressPolicy,
    /// Peers to keep a connection to, while there is room for them (the trusted ones always) and no ban. At most
    /// [`ListLimits::static_peers`](crate::ListLimits::static_peers).
    pub static_peers: Vec<Enode>,
    /// Peers that skip the limits on their number. At most [`ListLimits::trusted`](crate::ListLimits::trusted).
    pub trusted: Vec<NodeId>,
    /// Bytes per second. Default: no limits.
    pub rates: RateLimits,
    /// The intervals.
    pub times: ServerTimes,
    /// The waits of each session.
    pub timeouts: Timeouts,
    /// Every other limit.
    pub limits: Limits,
}

/// How a server's slots are shared between peers that come in and peers that are dialed.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// One in this many peers may be dialed, rounded up: inbound peers never fill those slots. Default: 3. 0 counts as 1.
    pub dial_ratio: usize,
    /// Peers that may come in, in place of what `dial_ratio` leaves. Default: None.
    pub max_inbound: Option<usize>,
    /// Peers that may be dialed, in place of the share that `dial_ratio` gives. Default: None.
    pub max_outbound: Option<usize>,
    /// Dial nobody but static peers. Default: false.
    pub no_discovered_dials: bool,
}

/// The most bytes per second over TCP, each at least [`MIN_RATE`]; what is not used can be made up for within a second.
/// They hold for static and trusted peers too. A message of more than 64 KiB is paid for part by part, in turns with those
/// of other peers, and goes in one piece then. Pings, Pongs, Disconnects and handshakes are not held up, and no peer is
/// closed for what we hold up ourselves; but a peer has timeouts of its own: below 256 KiB/s a long message may come too
/// late for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// To all peers together. Default: None, without a limit.
    pub upload: Option<u64>,
    /// From all peers together. Default: None.
    pub download: Option<u64>,
    /// To each peer. Default: None.
    pub peer_upload: Option<u64>,
    /// From each peer. Default: None.
    pub peer_download: Option<u64>,
}

/// The intervals of a server.
#[derive(Clone, Debug)]
pub struct ServerTimes {
    /// From a dial to an open TCP connection, and from a name to its addresses. Default: 5 s (go-ethereum 15 s).
    pub connect: Duration,
    /// Between two accepted connections of one /32 or /64. Default: 30 s.
    pub inbound_throttle: Duration,
    /// Between two dials to a node that discovery found, which is also the first delay after a failure. Default: 35 s to 1 h.
    pub redial: RedialTimes,
    /// Before a node is dialed again that proved useless or incompatible. Default: 1 h.
    pub unsuitable: Duration,
    /// Before a lost static peer is dialed again. Default: 1 s (go-ethereum 35 s) to 2 min.
    pub static_redial: RedialTimes,
    /// How long all dials pause when this system has no port, file handle or memory for another. Default: 1 s to 30 s.
    pub shortage: RedialTimes,
    /// How long one of two simultaneous connections with a node waits for the other.
    pub hold: HoldTimes,
    /// How long a protocol may refuse messages before its peer is closed. Default: 5 s.
    pub protocol_stall: Duration,
    /// From the order to shut down to the end of the last connection. Default: 4 s.
    pub shutdown: Duration,
    /// How long a node is banned that the owner reports as malicious. Default: 24 h (Bitcoin Core `-bantime`).
    pub ban: Duration,
    /// When peers make room for others.
    pub rotation: RotationTimes,
    /// The intervals of the address book, where there is one.
    pub book: BookTimes,
}

/// How long a node, or the network, is left alone after a failure: twice as long with each further one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedialTimes {
    /// The first delay.
    pub first: Duration,
    /// The longest, to which up to a quarter is added at random, as to all.
    pub max: Duration,
}

/// How long one of two simultaneous connections with a node waits for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldTimes {
    /// Before its own Hello. Default: 500 ms, above any round trip on earth, so that a peer that takes the first of two has
    /// answered by then.
    pub greeting: Duration,
    /// With both Hellos, before it becomes a peer, for another that goes first and has ours. Default: 3.5 s, the other hold and
    /// a round trip of 3 s: long enough that two nodes never drop both, short enough to be let in within the 5 s of a
    /// handshake where the other one only says that it is the node.
    pub entry: Duration,
}

/// When one of the peers of a full server makes room for another (go-ethereum `eth/dropper.go`).
#[derive(Clone, Debug)]
pub struct RotationTimes {
    /// The shortest wait, from being full to letting one go. Default: 3 min.
    pub min_interval: Duration,
    /// The longest wait; the actual one is drawn each time. Default: 7 min.
    pub max_interval: Duration,
    /// Who has been a peer no longer than this stays. Default: 10 min.
    pub min_age: Duration,
    /// How long a good report protects. Default: 10 min, so that who serves us in every other interval is kept.
    pub praise: Duration,
}

impl ServerConfig {
    /// How many peers may be dialed: the slots that inbound peers never fill, at least a third by default.
    pub(crate) fn max_dialed(&self) -> usize {
        let rest = self.slots.max_inbound.map(|inbound| self.max_peers.saturating_sub(inbound));
        let ratio = self.slots.dial_ratio.max(1);
        self.slots.max_outbound.or(rest).unwrap_or_else(|| self.max_peers.div_ceil(ratio))
    }

    /// How many peers may come in.
    pub(crate) fn max_inbound(&self) -> usize {
        self.slots.max_inbound.unwrap_or_else(|| self.max_peers.saturating_sub(self.max_dialed()))
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_peers: 50,
            slots: Slots::default(),
            max_pending: 50,
            max_dials: 30,
            net_restrict: NetList::default(),
            address_policy: AddressPolicy::default(),
            static_peers: Vec::new(),
            trusted: Vec::new(),
            rates: RateLimits::default(),
            times: ServerTimes::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
        }
    }
}

impl Default for Slots {
    fn default() -> Self {
        Self { dial_ratio: 3, max_inbound: None, max_outbound: None, no_discovered_dials: false }
    }
}

impl Default for HoldTimes {
    fn default() -> Self {
        Self { greeting: Duration::from_millis(500), entry: Duration::from_millis(3_500) }
    }
}

impl Default for ServerTimes {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            inbound_throttle: Duration::from_secs(30),
            redial: RedialTimes { first: Duration::from_secs(35), max: Duration::from_secs(3_600) },
            unsuitable: Duration::from_secs(3_600),
            static_redial: RedialTimes { first: Duration::from_secs(1), max: Duration::from_secs(120) },
            shortage: RedialTimes { first: Duration::from_secs(1), max: Duration::from_secs(30) },
            hold: HoldTimes::default(),
            protocol_stall: Duration::from_secs(5),
            shutdown: Duration::from_secs(4),
            ban: Duration::from_secs(24 * 3_600),
            rotation: RotationTimes::default(),
            book: BookTimes::default(),
        }
    }
}

impl Default for RotationTimes {
    fn default() -> Self {
        Self {
            min_interval: Duration::from_secs(3 * 60),
            max_interval: Duration::from_secs(7 * 60),
            min_age: Duration::from_secs(10 * 60),
            praise: Duration::from_secs(10 * 60),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_that_are_promised() {
        let ServerConfig { max_peers, max_pending, max_dials, limits, times, .. } = ServerConfig::default();
        assert_eq!((max_peers, max_pending, max_dials, limits.memory_budget), (50, 50, 30, 256 << 20));
        let seconds = [times.connect, times.inbound_throttle, times.redial.first, times.redial.max];
        assert_eq!(seconds.map(|time| time.as_secs()), [5, 30, 35, 3_600]);
        let seconds = [times.protocol_stall, times.shutdown, times.rotation.min_interval];
        assert_eq!(seconds.map(|time| time.as_secs()), [5, 4, 180]);
        assert_eq!((times.rotation.max_interval.as_secs(), times.ban.as_secs()), (420, 86_400));
    }

    #[test]
    fn s01_a_third_of_the_slots_is_kept_for_dials() {
        for max_peers in 0..200 {
            let config = ServerConfig { max_peers, ..Default::default() };
            assert!(config.max_dialed() * 3 >= max_peers);
            assert_eq!(config.max_dialed() + config.max_inbound(), max_peers);
        }
        let config =
            ServerConfig { slots: Slots { dial_ratio: 0, ..Default::default() }, ..Default::default() };
        assert_eq!((config.max_dialed(), config.max_inbound()), (50, 0));
    }
}
