//! The rows: names, units, goals. A goal is the ratio of floor to measured that has to be reached.
//! What a row does stands in the file of its family.

use super::{
    broadcast::Broadcast,
    discv4::{PingPong, RejectJunk},
    floors::Floors,
    frame::Frames,
    handshake::Handshakes,
    measure::Turns,
    pin::Cores,
    tcp::Burst,
    transactions::Duplicates,
};

/// What is measured.
pub(super) struct Row {
    pub(super) name: &'static str,
    /// What the nanoseconds are for.
    pub(super) unit: &'static str,
    /// The ratio to reach.
    pub(super) goal: Option<f64>,
    /// What a reader of the number has to know.
    pub(super) note: Option<&'static str>,
    /// Makes ready what the turns need.
    pub(super) start: Start,
}

/// Gives what takes turns, or the line that says why it cannot.
type Start = fn(&Floors, &Cores) -> Result<Box<dyn Turns>, String>;

const KIB: usize = 1024;

macro_rules! frame {
    ($name:literal, $len:expr, snappy: $snappy:literal, $goal:expr) => {
        Row {
            name: concat!("frame.", $name),
            unit: "ns/frame",
            goal: $goal,
            note: None,
            start: |floors, _| Ok(Box::new(Frames::start(floors, $len, $snappy)?)),
        }
    };
}

macro_rules! tcp {
    ($name:literal, $len:expr, $goal:literal) => {
        Row {
            name: concat!("tcp.", $name),
            unit: "ns/message",
            goal: Some($goal),
            note: None,
            start: |floors, _| Ok(Box::new(Burst::start(floors, $len)?)),
        }
    };
}

/// Every row, in the order in which they run.
pub(super) const ROWS: [Row; 15] = [
    frame!("64B.plain", 64, snappy: false, Some(0.77)),
    frame!("1KiB.plain", KIB, snappy: false, Some(0.85)),
    frame!("64KiB.plain", 64 * KIB, snappy: false, Some(0.95)),
    frame!("1MiB.plain", KIB * KIB, snappy: false, Some(0.95)),
    frame!("64B.snappy", 64, snappy: true, None),
    frame!("1KiB.snappy", KIB, snappy: true, None),
    frame!("64KiB.snappy", 64 * KIB, snappy: true, Some(0.90)),
    frame!("1MiB.snappy", KIB * KIB, snappy: true, Some(0.90)),
    tcp!("64B", 64, 0.60),
    tcp!("64KiB", 64 * KIB, 0.85),
    Row {
        name: "broadcast.batch_100",
        unit: "ns/peer",
        goal: Some(0.85),
        note: None,
        start: |floors, _| Ok(Box::new(Broadcast::start(floors)?)),
    },
    Row {
        name: "handshake.pair",
        unit: "ns/handshake",
        goal: Some(0.85),
        note: None,
        start: |_, _| Ok(Box::new(Handshakes::start()?)),
    },
    Row {
        name: "discv4.ping_pong",
        unit: "ns/ping",
        goal: Some(0.75),
        note: Some("recoveries_per_second is lifted"),
        start: |floors, cores| Ok(Box::new(PingPong::start(floors, cores)?)),
    },
    Row {
        name: "discv4.reject_junk",
        unit: "ns/datagram",
        goal: None,
        note: None,
        start: |floors, cores| Ok(Box::new(RejectJunk::start(floors, cores)?)),
    },
    Row {
        name: "eth.transactions",
        unit: "ns/transaction",
        goal: Some(0.70),
        note: None,
        start: |floors, _| Ok(Box::new(Duplicates::start(floors)?)),
    },
];
