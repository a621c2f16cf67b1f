//! One dial to a node with several addresses: in which order they are tried, how far apart, and which family goes first.
//! RFC 8305 ("Happy Eyeballs Version 2"), sections 4 and 5; its section 3 is the resolver's. Nothing is opened here:
//! `driver/dial.rs` carries out what a [`Race`] says, `server` allows each attempt and names the winner.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Between the starts of two attempts, while the first is neither won nor lost (RFC 8305, section 8: 250 ms).
pub const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// Dials in a row that IPv4 won though IPv6 went first, before IPv4 goes first.
const MAX_LOSSES: u32 = 3;

/// How long IPv4 goes first after that: a network changes, and trying IPv6 again costs one dial 250 ms.
const LOSS_MEMORY: Duration = Duration::from_secs(600);

/// The attempts of one dial.
#[derive(Debug)]
pub struct Race {
    waiting: VecDeque<SocketAddr>,
    running: usize,
    next_start: Instant,
}

impl Race {
    /// A race between `addresses`, which are tried in this order; the first is due at once.
    pub fn new(now: Instant, addresses: Vec<SocketAddr>) -> Self {
        Self { waiting: addresses.into(), running: 0, next_start: now }
    }

    /// The address that is due, if one is; its attempt counts as running from now on.
    pub fn start_due(&mut self, now: Instant) -> Option<SocketAddr> {
        if self.next_start > now {
            return None;
        }
        let address = self.waiting.pop_front()?;
        self.running += 1;
        self.next_start = now.checked_add(ATTEMPT_DELAY).unwrap_or(now);
        Some(address)
    }

    /// A running attempt has failed, or may not be made: the next has nothing to wait for.
    pub fn handle_failed(&mut self, now: Instant) {
        self.running = self.running.saturating_sub(1);
        self.next_start = now;
    }

    /// When the next attempt is due; None when all are under way.
    pub fn next_start(&self) -> Option<Instant> {
        (!self.waiting.is_empty()).then_some(self.next_start)
    }

    /// Whether every attempt has failed.
    pub fn is_lost(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }
}

/// Which family won the races of late.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct FamilyHistory {
    losses: u32,
    since: Option<Instant>,
}

impl FamilyHistory {
    /// `addresses` with the families by turns, IPv6 first unless it has kept losing. Within a family the order stays.
    pub(crate) fn order(&self, now: Instant, addresses: &[SocketAddr]) -> Vec<SocketAddr> {
        let of_family = |is_v6: bool| addresses.iter().copied().filter(move |it| it.is_ipv6() == is_v6);
        let v6_first = !self.has_kept_losing(now);
        let (mut first, mut second) = (of_family(v6_first), of_family(!v6_first));
        let mut ordered = Vec::with_capacity(addresses.len());
        while ordered.len() < addresses.len() {
            ordered.extend(first.next().into_iter().chain(second.next()));
        }
        ordered
    }

    fn has_kept_losing(&self, now: Instant) -> bool {
        let is_recent = |since: Instant| now.saturating_duration_since(since) < LOSS_MEMORY;
        self.losses >= MAX_LOSSES && self.since.is_some_and(is_recent)
    }

    /// A dial to `addresses`, tried in this order, has reached `winner`.
    pub(crate) fn handle_winner(&mut self, now: Instant, addresses: &[SocketAddr], winner: SocketAddr) {
        if winner.is_ipv6() {
            *self = Self::default();
        } else if addresses.first().is_some_and(SocketAddr::is_ipv6) {
            // Past its time the record begins anew, so that one loss does not count as three.
            let losses =
                if self.has_kept_losing(now) { self.losses } else { self.losses.min(MAX_LOSSES - 1) };
            *self = Self { losses: losses.saturating_add(1), since: Some(now) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "virtual time begins somewhere")]
    fn epoch() -> Instant {
        Instant::now()
    }

    fn addresses(text: &str) -> Vec<SocketAddr> {
        text.split_whitespace().map(|it| it.parse().unwrap()).collect()
    }

    /// What happens in a race, and which addresses start then; times in ms since its beginning.
    enum Step {
        /// Nothing, until this moment.
        At(u64, &'static [usize]),
        /// An attempt fails at this moment.
        Fails(u64, &'static [usize]),
    }

    fn play(count: usize, steps: &[Step]) -> Race {
        let start = epoch();
        let all: Vec<SocketAddr> =
            (0..count).map(|place| SocketAddr::from(([77, 0, 0, 1], place as u16 + 1))).collect();
        let mut race = Race::new(start, all.clone());
        for (number, step) in steps.iter().enumerate() {
            let (Step::At(at, expected) | Step::Fails(at, expected)) = step;
            let now = start + Duration::from_millis(*at);
            if matches!(step, Step::Fails(..)) {
                race.handle_failed(now);
            }
            let started: Vec<SocketAddr> = std::iter::from_fn(|| race.start_due(now)).collect();
            let expected: Vec<SocketAddr> = expected.iter().map(|place| all[*place]).collect();
            assert_eq!(started, expected, "step {number}");
            // Whoever sleeps until then neither spins nor sleeps too long.
            assert!(race.next_start().is_none_or(|next| next > now && next <= now + ATTEMPT_DELAY));
        }
        race
    }

    #[test]
    fn attempts_start_250_ms_apart_or_when_one_fails() {
        use Step::{At, Fails};
        // Silence: one every 250 ms, and nobody waits for anybody.
        let silent = [At(0, &[0]), At(249, &[]), At(250, &[1]), At(499, &[]), At(500, &[2]), At(5_000, &[])];
        assert!(!play(3, &silent).is_lost());
        // A refusal moves the next one up, and its 250 ms begin anew.
        let refused = [At(0, &[0]), Fails(3, &[1]), At(250, &[]), At(252, &[]), At(253, &[2])];
        assert!(!play(3, &refused).is_lost());
        // The race is lost with its last attempt, whichever that is.
        let lost = [At(0, &[0]), At(250, &[1]), Fails(300, &[]), Fails(301, &[])];
        assert!(play(2, &lost).is_lost());
        assert!(!play(2, &lost[..3]).is_lost());
        // A driver that wakes late starts one attempt and not a burst.
        play(3, &[At(0, &[0]), At(900, &[1]), At(1_149, &[]), At(1_150, &[2])]);
        assert!(play(0, &[At(0, &[])]).is_lost());
    }

    #[test]
    fn families_take_turns_and_ipv6_begins() {
        let rows = [
            ("1.1.1.1:1 [2::1]:1", "[2::1]:1 1.1.1.1:1"),
            ("1.1.1.1:1 1.1.1.2:1 [2::1]:1 [2::2]:1", "[2::1]:1 1.1.1.1:1 [2::2]:1 1.1.1.2:1"),
            ("[2::1]:1 [2::2]:1 [2::3]:1 1.1.1.1:1", "[2::1]:1 1.1.1.1:1 [2::2]:1 [2::3]:1"),
            ("1.1.1.1:1 1.1.1.2:1", "1.1.1.1:1 1.1.1.2:1"),
            ("", ""),
        ];
        for (given, expected) in rows {
            let ordered = FamilyHistory::default().order(epoch(), &addresses(given));
            assert_eq!(ordered, addresses(expected), "{given}");
        }
    }

    #[test]
    fn ipv4_begins_while_ipv6_keeps_losing_and_for_ten_minutes() {
        let both = addresses("[2::1]:1 1.1.1.1:1");
        let (v6, v4) = (both[0], both[1]);
        let start = epoch();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut history = FamilyHistory::default();
        for _ in 0..2 {
            history.handle_winner(start, &both, v4);
        }
        assert_eq!(history.order(start, &both)[0], v6, "two losses may be chance");
        history.handle_winner(start, &both, v4);
        assert_eq!(history.order(at(599), &both)[0], v4);
        // A win of IPv4 where it began itself says nothing of IPv6.
        history.handle_winner(at(599), &[v4, v6], v4);
        assert_eq!(history.order(at(600), &both)[0], v6);
        // One more loss after that and IPv4 begins again; one win and it does not.
        history.handle_winner(at(600), &both, v4);
        assert_eq!(history.order(at(601), &both)[0], v4);
        history.handle_winner(at(602), &both, v6);
        assert_eq!(history.order(at(602), &both)[0], v6);
        // Nodes that have one address alone say nothing either.
        for _ in 0..9 {
            history.handle_winner(at(603), &[v4], v4);
        }
        assert_eq!(history.order(at(603), &both)[0], v6);
    }
}
