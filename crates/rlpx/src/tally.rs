//! What is counted of messages: how many, and their bytes, both ways. Fixed tables, sized by what we offer, so that no
//! peer makes them grow; counting is an addition without order or lock, and formats nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::capability::CapabilityName;

/// Message codes of one protocol that are counted by themselves; those from the last on are counted with it. eth/72 has 22
/// codes, and a protocol may claim any number.
pub const MAX_COUNTED_CODES: usize = 64;

/// Messages, and the bytes of their payloads before compression.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// How many.
    pub messages: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

/// A [`Volume`] that grows.
#[derive(Debug, Default)]
struct Tally {
    messages: AtomicU64,
    bytes: AtomicU64,
}

impl Tally {
    fn add(&self, len: usize) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(len as u64, Ordering::Relaxed);
    }

    fn volume(&self) -> Volume {
        Volume { messages: self.messages.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

/// Both directions.
#[derive(Debug, Default)]
pub(crate) struct TwoWay {
    received: Tally,
    sent: Tally,
}

impl TwoWay {
    /// A message of `len` bytes came.
    pub(crate) fn received(&self, len: usize) {
        self.received.add(len);
    }

    /// A message of `len` bytes went.
    pub(crate) fn sent(&self, len: usize) {
        self.sent.add(len);
    }

    /// What came, and what went.
    pub(crate) fn volumes(&self) -> (Volume, Volume) {
        (self.received.volume(), self.sent.volume())
    }
}

/// What one protocol received and sent, by message code.
#[derive(Debug)]
pub(crate) struct ProtocolTally {
    name: CapabilityName,
    codes: Box<[TwoWay]>,
}

impl ProtocolTally {
    /// For a protocol with `message_count` codes, of which at most [`MAX_COUNTED_CODES`] are told apart.
    pub(crate) fn new(name: CapabilityName, message_count: u64) -> Self {
        let count = usize::try_from(message_count).unwrap_or(usize::MAX).min(MAX_COUNTED_CODES);
        Self { name, codes: (0..count).map(|_| TwoWay::default()).collect() }
    }

    /// Whose messages are counted.
    #[cfg(feature = "tokio")]
    pub(crate) const fn name(&self) -> CapabilityName {
        self.name
    }

    fn of(&self, code: u64) -> Option<&TwoWay> {
        let last = self.codes.len().checked_sub(1)?;
        self.codes.get(usize::try_from(code).unwrap_or(last).min(last))
    }

    /// A message of `len` bytes came.
    pub(crate) fn received(&self, code: u64, len: usize) {
        if let Some(tally) = self.of(code) {
            tally.received(len);
        }
    }

    /// A message of `len` bytes went.
    pub(crate) fn sent(&self, code: u64, len: usize) {
        if let Some(tally) = self.of(code) {
            tally.sent(len);
        }
    }

    /// What was counted so far.
    #[cfg_attr(not(any(test, feature = "tokio")), expect(dead_code, reason = "a driver reads it"))]
    pub(crate) fn traffic(&self) -> ProtocolTraffic {
        let codes = self.codes.iter().zip(0..).map(|(tally, code)| {
            let (received, sent) = tally.volumes();
            CodeTraffic { code, received, sent }
        });
        ProtocolTraffic { name: self.name, codes: codes.collect() }
    }
}

/// What one protocol received and sent with all peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolTraffic {
    /// The protocol; `p2p` is the base protocol.
    pub name: CapabilityName,
    /// By message code, from 0; the last of [`MAX_COUNTED_CODES`] holds those beyond it too.
    pub codes: Vec<CodeTraffic>,
}

/// What one message code received and sent with all peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeTraffic {
    /// The code, counted from the protocol's first.
    pub code: u64,
    /// What came.
    pub received: Volume,
    /// What was written.
    pub sent: Volume,
}

impl ProtocolTraffic {
    /// What came, all codes together.
    pub fn received(&self) -> Volume {
        sum(self.codes.iter().map(|code| code.received))
    }

    /// What was written, all codes together.
    pub fn sent(&self) -> Volume {
        sum(self.codes.iter().map(|code| code.sent))
    }
}

fn sum(volumes: impl Iterator<Item = Volume>) -> Volume {
    volumes.fold(Volume::default(), |sum, volume| Volume {
        messages: sum.messages.wrapping_add(volume.messages),
        bytes: sum.bytes.wrapping_add(volume.bytes),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> CapabilityName {
        CapabilityName::new("eth").unwrap()
    }

    #[test]
    fn c06_codes_beyond_the_table_are_counted_with_the_last() {
        let tally = ProtocolTally::new(name(), u64::MAX);
        for code in [0, 5, 63, 64, u64::MAX] {
            tally.received(code, 10);
        }
        tally.sent(5, 7);
        let traffic = tally.traffic();
        assert_eq!(traffic.codes.len(), MAX_COUNTED_CODES);
        let five = CodeTraffic {
            code: 5,
            received: Volume { messages: 1, bytes: 10 },
            sent: Volume { messages: 1, bytes: 7 },
        };
        assert_eq!(traffic.codes[5], five);
        assert_eq!(traffic.codes[63].received, Volume { messages: 3, bytes: 30 });
        assert_eq!((traffic.received().messages, traffic.sent().bytes), (5, 7));
    }

    #[test]
    fn a_protocol_without_codes_counts_nothing() {
        let tally = ProtocolTally::new(name(), 0);
        tally.received(0, 1);
        assert_eq!(tally.traffic().received(), Volume::default());
    }
}
