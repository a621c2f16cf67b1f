//! How a session stands at the moment: round trips, bytes and messages, and what its protocols tell of the peer. The
//! connection's task and the protocols write it, whoever has the [`PeerInfo`](crate::PeerInfo) reads it. It decides nothing.

use std::{
    fmt,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    capability::{CapabilityName, SharedCapability},
    rtt::Rtt,
    tally::{TwoWay, Volume},
};

/// Details that one protocol tells of one peer; further ones are left out.
pub const MAX_DETAILS: usize = 8;

/// The longest text of a detail, in bytes: a hash as hex fits. A longer one is cut.
pub const MAX_DETAIL_LEN: usize = 128;

/// What a protocol tells of a peer: names and texts, such as a version, or how far its chain goes.
pub type Details = Vec<(&'static str, String)>;

/// How a session stands at the moment it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Round trips; None before the first Ping was answered (15 s).
    pub rtt: Option<Rtt>,
    /// Bytes read from TCP.
    pub bytes_in: u64,
    /// Bytes written to TCP.
    pub bytes_out: u64,
    /// By shared protocol, in order of name.
    pub protocols: Vec<ProtocolStatus>,
}

/// How one protocol stands with one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolStatus {
    /// The protocol.
    pub name: CapabilityName,
    /// The version in use.
    pub version: u32,
    /// Messages that came.
    pub received: Volume,
    /// Messages that were written.
    pub sent: Volume,
    /// What it tells of the peer: at most [`MAX_DETAILS`]. A text may come from the peer: escape it where it is shown.
    pub details: Details,
}

/// What changes of a session, shared by who writes and who reads it.
#[derive(Default)]
pub(crate) struct Live {
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Latest, smoothed and variation, in microseconds plus one; 0 before the first.
    rtt: [AtomicU32; 3],
    /// Since when, and the protocols.
    established: OnceLock<(Instant, Box<[Seat]>)>,
}

struct Seat {
    shared: SharedCapability,
    tally: TwoWay,
    details: Mutex<Details>,
}

impl Live {
    /// Bytes came over TCP.
    pub(crate) fn read(&self, len: usize) {
        self.bytes_in.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// Bytes went over TCP.
    pub(crate) fn wrote(&self, len: usize) {
        self.bytes_out.fetch_add(len as u64, Ordering::Relaxed);
    }

    /// Round trips were measured.
    pub(crate) fn measured(&self, rtt: Rtt) {
        for (place, value) in self.rtt.iter().zip([rtt.latest, rtt.smoothed, rtt.variation]) {
            let micros = u32::try_from(value.as_micros()).unwrap_or(u32::MAX).saturating_add(1);
            place.store(micros, Ordering::Relaxed);
        }
    }

    /// The session is established, with these protocols.
    pub(crate) fn seat(&self, now: Instant, shared: &[SharedCapability]) {
        let seat = |shared: &SharedCapability| Seat {
            shared: *shared,
            tally: TwoWay::default(),
            details: Mutex::default(),
        };
        // Once: a session is established once.
        let _ = self.established.set((now, shared.iter().map(seat).collect()));
    }

    fn seats(&self) -> &[Seat] {
        self.established.get().map(|(_, seats)| seats.as_ref()).unwrap_or_default()
    }

    /// When the session was established.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.established.get().map(|(since, _)| *since)
    }

    /// What the protocol at `seat` is called.
    pub(crate) fn name(&self, seat: usize) -> Option<CapabilityName> {
        self.seats().get(seat).map(|seat| seat.shared.name)
    }

    /// What is counted of the protocol at `seat`.
    pub(crate) fn tally(&self, seat: usize) -> Option<&TwoWay> {
        self.seats().get(seat).map(|seat| &seat.tally)
    }

    /// What the protocol at `seat` tells of the peer from now on.
    pub(crate) fn describe(&self, seat: usize, mut details: Details) {
        let Some(seat) = self.seats().get(seat) else { return };
        details.truncate(MAX_DETAILS);
        for (_, text) in &mut details {
            text.truncate(text.floor_char_boundary(MAX_DETAIL_LEN));
            text.shrink_to_fit();
        }
        // Nothing under the lock can panic.
        *seat.details.lock().unwrap_or_else(PoisonError::into_inner) = details;
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let [latest, smoothed, variation] = self.rtt.each_ref().map(|place| {
            let micros = place.load(Ordering::Relaxed).checked_sub(1);
            micros.map(|micros| Duration::from_micros(u64::from(micros)))
        });
        let rtt = latest.zip(smoothed).zip(variation);
        PeerStatus {
            rtt: rtt.map(|((latest, smoothed), variation)| Rtt { latest, smoothed, variation }),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            protocols: self.seats().iter().map(Seat::status).collect(),
        }
    }
}

impl Seat {
    fn status(&self) -> ProtocolStatus {
        let (received, sent) = self.tally.volumes();
        let details = self.details.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ProtocolStatus { name: self.shared.name, version: self.shared.version, received, sent, details }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Live")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_protocol_tells_is_bounded() {
        let live = Live::default();
        let name = CapabilityName::new("eth").unwrap();
        live.describe(0, vec![("early", "nobody sits there yet".to_owned())]);
        let now = identity::Now::simulated(Duration::from_secs(1)).instant;
        live.seat(
            now,
            &[SharedCapability { name, version: 68, offset: 16, message_count: 1, max_message_len: 1 }],
        );
        live.describe(0, (0..100).map(|_| ("long", "\u{e9}".repeat(1_000))).collect());
        let status = live.status();
        assert_eq!((status.rtt, status.protocols[0].details.len()), (None, MAX_DETAILS));
        assert_eq!(status.protocols[0].details[0].1.len(), MAX_DETAIL_LEN);
        live.describe(1, Vec::new());
        live.describe(0, Vec::new());
        assert!(live.status().protocols[0].details.is_empty());
    }

    #[test]
    fn round_trips_come_out_as_they_went_in() {
        let live = Live::default();
        let mut rtt = Rtt::new(Duration::from_millis(3));
        live.measured(rtt);
        assert_eq!(live.status().rtt, Some(rtt));
        rtt.add(Duration::from_micros(41));
        live.measured(rtt);
        let found = live.status().rtt.unwrap();
        assert!(found.smoothed.abs_diff(rtt.smoothed) < Duration::from_micros(1));
        live.measured(Rtt::new(Duration::MAX));
        assert_eq!(live.status().rtt.unwrap().latest, Duration::from_micros(u64::from(u32::MAX) - 1));
        live.measured(Rtt::new(Duration::ZERO));
        assert_eq!(live.status().rtt, Some(Rtt::new(Duration::ZERO)));
    }
}
