//! Whether another process has our key, as when a data directory was copied: others then see one node at two addresses.
//! What gives it away is a Ping with our signature that we cannot have sent. Our own may come back to us, by a loop or by
//! somebody's hand; but those were signed before we began, or name a record that we have had. Who is told of us, and what
//! comes of it, is `discovery/own_key.rs`.

use std::time::{Duration, Instant};

use identity::Now;

use crate::{config::TWIN_INTERVAL, wire::Ping};

/// What tells our own Pings from another's.
#[derive(Clone, Debug)]
pub(crate) struct Twin {
    /// The lowest and the highest sequence number that our record has had.
    seqs: (u64, u64),
    /// Pings of ours that were signed before we began end by then, Unix seconds. None: we have not begun.
    earlier_until: Option<u64>,
    /// When we may tell of ourselves next.
    next_at: Option<Instant>,
    has_answered: bool,
}

impl Twin {
    /// We have a record with this sequence number, and have not begun.
    pub(crate) const fn new(seq: u64) -> Self {
        Self { seqs: (seq, seq), earlier_until: None, next_at: None, has_answered: false }
    }

    /// We have begun, unless we had before; our packets end after `lifetime`.
    pub(crate) fn begin(&mut self, now: Now, lifetime: Duration) {
        self.earlier_until.get_or_insert(now.unix_seconds().saturating_add(lifetime.as_secs()));
    }

    /// Our record has this sequence number from now on.
    pub(crate) fn note_record(&mut self, seq: u64) {
        self.seqs = (self.seqs.0.min(seq), self.seqs.1.max(seq));
    }

    /// Whether a Ping with our signature is another's.
    pub(crate) fn is_of_another(&self, ping: &Ping) -> bool {
        let is_new = self.earlier_until.is_some_and(|until| ping.expiration > until);
        let (lowest, highest) = self.seqs;
        is_new && ping.enr_seq.is_none_or(|seq| !(lowest..=highest).contains(&seq))
    }

    /// Whether a Ping may go where others say that we are, too; if so, the next has to wait.
    pub(crate) fn take_turn(&mut self, now: Instant) -> bool {
        let is_due = self.next_at.is_none_or(|at| at <= now);
        if is_due {
            self.next_at = now.checked_add(TWIN_INTERVAL);
        }
        is_due
    }

    /// Whether another that pinged us is to hear of us in turn: once, or two would ping each other without end.
    pub(crate) fn take_answer(&mut self) -> bool {
        !std::mem::replace(&mut self.has_answered, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{story::start, wire::WireEndpoint};

    fn ping(expiration: u64, enr_seq: Option<u64>) -> Ping {
        let nowhere = WireEndpoint { ip: None, udp: 0, tcp: 0 };
        Ping { from: nowhere, to: nowhere, expiration, enr_seq }
    }

    #[test]
    fn s10_only_a_ping_that_we_cannot_have_sent_is_another_processs() {
        let now = start();
        let mut twin = Twin::new(70);
        let (seconds, lifetime) = (now.unix_seconds(), Duration::from_secs(20));
        assert!(!twin.is_of_another(&ping(seconds + 900, Some(1))), "not before we begin");
        twin.begin(now, lifetime);
        // A later beginning is none.
        twin.begin(now.later(Duration::from_secs(500)), lifetime);
        twin.note_record(72);
        // Signed by an earlier run of ours, or by us.
        for (expiration, seq) in [(20, Some(1)), (20, Some(99)), (20, None), (21, Some(70)), (900, Some(72))]
        {
            assert!(!twin.is_of_another(&ping(seconds + expiration, seq)), "{expiration} {seq:?}");
        }
        for (expiration, seq) in [(21, Some(69)), (21, Some(73)), (900, Some(u64::MAX)), (21, None)] {
            assert!(twin.is_of_another(&ping(seconds + expiration, seq)), "{expiration} {seq:?}");
        }
    }

    #[test]
    fn s10_whom_others_name_is_pinged_rarely_and_who_pings_us_once() {
        let (mut twin, now) = (Twin::new(1), start());
        assert!(twin.take_turn(now.instant) && !twin.take_turn(now.instant));
        assert!(twin.take_turn(now.later(TWIN_INTERVAL).instant));
        assert!(twin.take_answer() && !twin.take_answer());
    }
}
