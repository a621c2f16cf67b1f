//! What a session remembers to judge a peer's base messages, and to measure how far away it is.
//! It counts and answers; what a breach costs is `session/ingress.rs`, when our Pings go out `session`. Rates are in
//! `config`; the specification (`rlpx.md`, "Ping (0x02)") sets none.

use std::time::Instant;

use crate::{config::SessionLimits, rtt::Rtt};

/// Pings, pongs and reserved codes so far.
#[derive(Debug, Default)]
pub(super) struct Conduct {
    /// When the next Ping would be in time were none ever early.
    ping_due: Option<Instant>,
    reserved: u32,
    /// What has to be written before our last Pong is out, in bytes since the start.
    pong_end: u64,
    /// When the Ping was sent that no Pong has answered yet.
    ping_sent: Option<Instant>,
    rtt: Option<Rtt>,
}

impl Conduct {
    /// Whether a Ping that came now is within the rate.
    pub(super) fn allow_ping(&mut self, now: Instant, limits: &SessionLimits) -> bool {
        let due = self.ping_due.filter(|due| *due > now).unwrap_or(now);
        // Each Ping moves the due time one refill on; it may run ahead by the burst.
        if due.duration_since(now) > limits.ping_refill.saturating_mul(limits.ping_burst.saturating_sub(1)) {
            return false;
        }
        self.ping_due = due.checked_add(limits.ping_refill);
        true
    }

    /// Whether one more reserved code is ignored.
    pub(super) fn allow_reserved(&mut self, limits: &SessionLimits) -> bool {
        self.reserved = self.reserved.saturating_add(1);
        self.reserved <= limits.reserved_messages
    }

    /// Whether a Pong of ours still waits, when `written` bytes are out.
    pub(super) const fn pong_waits(&self, written: u64) -> bool {
        written < self.pong_end
    }

    /// Our Pong is out when `end` bytes are.
    pub(super) const fn pong_queued(&mut self, end: u64) {
        self.pong_end = end;
    }

    pub(super) fn ping_sent(&mut self, now: Instant) {
        self.ping_sent.get_or_insert(now);
    }

    /// A Pong came. One that nobody asked for says nothing.
    pub(super) fn pong_received(&mut self, now: Instant) {
        if let Some(sent) = self.ping_sent.take() {
            let sample = now.saturating_duration_since(sent);
            match &mut self.rtt {
                Some(rtt) => rtt.add(sample),
                None => self.rtt = Some(Rtt::new(sample)),
            }
        }
    }

    /// We stop reading: when a Pong came that is read later is not known.
    pub(super) const fn stop_watch(&mut self) {
        self.ping_sent = None;
    }

    /// From our Pings to their Pongs.
    pub(super) const fn rtt(&self) -> Option<Rtt> {
        self.rtt
    }
}
