//! A session's deadlines: a table of one per kind, and what is due. It reads no clock and knows no durations: those are
//! [`Timeouts`](crate::Timeouts), and what follows from a deadline is `Session::handle_timeout`.

use std::time::Instant;

/// What a session can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Everything up to the second admission.
    Handshake,
    /// Any byte from the peer.
    Read,
    /// The rest of a frame that has begun to come in.
    Frame,
    /// The peer to take any byte.
    Write,
    /// Our next Ping.
    Ping,
    /// Our Disconnect to be written.
    Close,
    /// A busy connection to have fallen silent.
    Quiet,
    /// Memory, in a shortage that is older than the frame.
    Memory,
    /// The piece of a frame that memory was found for in a shortage.
    Pace,
    /// What was inflated to be paid for.
    Toll,
}

impl Timer {
    /// Every timer, in the order of its variants and in that in which those due at once are handled.
    const ALL: [Self; 10] = [
        Self::Handshake,
        Self::Read,
        Self::Frame,
        Self::Write,
        Self::Ping,
        Self::Close,
        Self::Quiet,
        Self::Memory,
        Self::Pace,
        Self::Toll,
    ];
}

/// The deadlines that are set.
#[derive(Debug, Default)]
pub(super) struct Timers([Option<Instant>; Timer::ALL.len()]);

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, deadline: Option<Instant>) {
        self.0[timer as usize] = deadline;
    }

    pub(super) fn clear(&mut self, timer: Timer) {
        self.set(timer, None);
    }

    pub(super) fn clear_all(&mut self) {
        self.0 = Default::default();
    }

    pub(super) const fn is_set(&self, timer: Timer) -> bool {
        self.0[timer as usize].is_some()
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.iter().flatten().min().copied()
    }

    /// A timer whose deadline has come, cleared.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Timer> {
        let due = Timer::ALL
            .into_iter()
            .find(|timer| self.0[*timer as usize].is_some_and(|deadline| deadline <= now))?;
        self.clear(due);
        Some(due)
    }
}
