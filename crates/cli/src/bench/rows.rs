//! The rows: names, units, goals. A row has a floor and is a ratio to it, or it has none and is an amount.
//! What a row does stands in the file of its family.

use std::sync::atomic::AtomicBool;

use super::{
    accept::Accepting,
    amount::{Amount, Halt, Unit},
    broadcast::Broadcast,
    discv4::{PingPong, RejectJunk},
    floors::Floors,
    frame::Frames,
    handshake::Handshakes,
    measure::Turns,
    payload::Payload,
    peers,
    pin::Cores,
    tcp::Burst,
    transactions::Duplicates,
};

/// What is measured.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// What a reader of the number has to know.
    pub(super) note: Option<&'static str>,
    pub(super) kind: Kind,
}

/// How it is measured, and what it has to come to.
pub(super) enum Kind {
    /// By turns with its floor.
    Ratio {
        /// What the nanoseconds are for.
        unit: &'static str,
        /// The ratio of floor to measured to reach.
        goal: Option<f64>,
        /// Makes ready what the turns need.
        start: Start,
    },
    /// Once, with no floor.
    Amount {
        unit: Unit,
        /// The most that it may be.
        limit: f64,
        take: Take,
    },
}

/// Gives what takes turns, or the line that says why it cannot.
type Start = fn(&Floors, &Cores) -> Result<Box<dyn Turns>, String>;
/// Measures, briefly if the flag says so, until it is done or somebody wants to stop.
type Take = fn(&Cores, bool, &AtomicBool) -> Result<Amount, Halt>;

const KIB: usize = 1024;

macro_rules! frame {
    ($name:literal, $len:expr, $payload:ident, snappy: $snappy:literal, $goal:expr) => {
        Row {
            name: concat!("frame.", $name),
            note: None,
            kind: Kind::Ratio {
                unit: "ns/frame",
                goal: $goal,
                start: |floors, _| Ok(Box::new(Frames::start(floors, $len, Payload::$payload, $snappy)?)),
            },
        }
    };
}

macro_rules! tcp {
    ($name:literal, $len:expr, $goal:literal) => {
        Row {
            name: concat!("tcp.", $name),
            note: None,
            kind: Kind::Ratio {
                unit: "ns/message",
                goal: Some($goal),
                start: |floors, _| Ok(Box::new(Burst::start(floors, $len)?)),
            },
        }
    };
}

/// Every row, in the order in which they run.
pub(super) const ROWS: [Row; 23] = [
    frame!("64B.plain", 64, Transactions, snappy: false, Some(0.77)),
    frame!("1KiB.plain", KIB, Transactions, snappy: false, Some(0.85)),
    frame!("64KiB.plain", 64 * KIB, Transactions, snappy: false, Some(0.95)),
    frame!("1MiB.plain", KIB * KIB, Transactions, snappy: false, Some(0.95)),
    frame!("64B.snappy", 64, Transactions, snappy: true, None),
    frame!("1KiB.snappy", KIB, Transactions, snappy: true, None),
    frame!("64KiB.snappy", 64 * KIB, Transactions, snappy: true, Some(0.90)),
    frame!("1MiB.snappy", KIB * KIB, Transactions, snappy: true, Some(0.90)),
    frame!("64KiB.snappy.random", 64 * KIB, Random, snappy: true, Some(0.90)),
    frame!("1MiB.snappy.random", KIB * KIB, Random, snappy: true, Some(0.90)),
    tcp!("64B", 64, 0.60),
    tcp!("64KiB", 64 * KIB, 0.85),
    Row {
        name: "broadcast.batch_100",
        note: None,
        kind: Kind::Ratio {
            unit: "ns/peer",
            goal: Some(0.85),
            start: |floors, _| Ok(Box::new(Broadcast::one_by_one(floors)?)),
        },
    },
    Row {
        name: "broadcast.side_by_side",
        note: Some("its floor hashes for several peers at once too"),
        kind: Kind::Ratio {
            unit: "ns/peer",
            goal: None,
            start: |floors, _| Ok(Box::new(Broadcast::side_by_side(floors)?)),
        },
    },
    Row {
        name: "handshake.pair",
        note: None,
        kind: Kind::Ratio {
            unit: "ns/handshake",
            goal: Some(0.95),
            start: |_, _| Ok(Box::new(Handshakes::own()?)),
        },
    },
    Row {
        name: "handshake.pair.three",
        note: Some("its floor has a third key, which seals ack; here the ephemeral one does"),
        kind: Kind::Ratio {
            unit: "ns/handshake",
            goal: None,
            start: |_, _| Ok(Box::new(Handshakes::beside_three_keys()?)),
        },
    },
    Row {
        name: "handshake.accept",
        note: None,
        kind: Kind::Ratio {
            unit: "ns/handshake",
            goal: Some(0.75),
            start: |_, cores| Ok(Box::new(Accepting::start(cores)?)),
        },
    },
    Row {
        name: "discv4.ping_pong",
        note: Some("recoveries_per_second is lifted"),
        kind: Kind::Ratio {
            unit: "ns/ping",
            goal: Some(0.75),
            start: |floors, cores| Ok(Box::new(PingPong::start(floors, cores)?)),
        },
    },
    Row {
        name: "discv4.reject_junk",
        note: None,
        kind: Kind::Ratio {
            unit: "ns/datagram",
            goal: None,
            start: |floors, cores| Ok(Box::new(RejectJunk::start(floors, cores)?)),
        },
    },
    Row {
        name: "eth.transactions",
        note: None,
        kind: Kind::Ratio {
            unit: "ns/transaction",
            goal: Some(0.70),
            start: |floors, _| Ok(Box::new(Duplicates::start(floors)?)),
        },
    },
    Row {
        name: "rlpx.idle_peer",
        note: None,
        kind: Kind::Amount { unit: Unit::BytesPerPeer, limit: 12.0 * 1_024.0, take: peers::idle_peer },
    },
    Row {
        name: "rlpx.burst",
        note: None,
        kind: Kind::Amount { unit: Unit::TimesIdle, limit: peers::BURST_GOAL, take: peers::burst },
    },
    Row {
        name: "rlpx.idle_cpu",
        note: None,
        kind: Kind::Amount { unit: Unit::Percent, limit: 2.0, take: peers::idle_cpu },
    },
];
