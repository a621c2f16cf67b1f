//! Sessions that share one budget of memory, and what a peer pays for what it inflates. Time is moved by hand, and the
//! owner of the sessions is a few lines here; the one with tasks is `driver/pool.rs`. The arbiter alone is `budget.rs`.

use std::time::Duration;

use identity::Now;

use super::kit::*;
use crate::{
    DisconnectReason, Reject, SessionConfig, SessionEnd,
    budget::Budget,
    config::{BUDGET_RESERVE, MAX_MESSAGE_LEN, PING_INTERVAL, READ_TIMEOUT, SessionLimits},
    counting::{held, peak},
    error::SessionError,
    limits::Limits,
};

const FREE_LEN: usize = SessionLimits::DEFAULT.free_len;
const SHORTAGE_PACE_TIME: Duration = SessionLimits::DEFAULT.shortage_pace;
const LATE_WAIT: Duration = SessionLimits::DEFAULT.late_wait;

const MOMENT: Duration = Duration::from_millis(1);
const MIB: usize = 1 << 20;

/// Sessions with what each was counted for, and the budget they share.
struct House {
    now: Now,
    budget: Budget,
    spent: usize,
    ends: Vec<(End, usize)>,
    waiting: Vec<bool>,
}

const fn excess(len: usize) -> usize {
    len.saturating_sub(FREE_LEN)
}

impl House {
    fn new(limit: usize) -> Self {
        Self { now: start(), budget: Budget::new(limit), spent: 0, ends: Vec::new(), waiting: Vec::new() }
    }

    /// A further peer with its number.
    fn connect(&mut self, config: SessionConfig, version: u64) -> (usize, Scripted) {
        let (mut end, peer) = Scripted::connected(self.now, config, &hello(version));
        end.session.govern_memory();
        self.ends.push((end, 0));
        self.waiting.push(false);
        (self.ends.len() - 1, peer)
    }

    fn end(&mut self, place: usize) -> &mut End {
        &mut self.ends[place].0
    }

    /// Feeds a session, and says how much it took.
    fn read(&mut self, place: usize, bytes: &[u8]) -> usize {
        let mut done = 0;
        loop {
            let now = self.now;
            let len = self.end(place).read(now, &bytes[done..]);
            done += len;
            let waited = self.waiting[place];
            self.settle(place);
            if done == bytes.len() || (len == 0 && waited == self.waiting[place]) {
                return done;
            }
        }
    }

    /// Counts what a session holds, and lets it have what it wants as far as that is there.
    fn settle(&mut self, place: usize) {
        let (end, noted) = &mut self.ends[place];
        let (memory, want) = (end.session.memory(), end.session.want_memory());
        self.spent = self.spent - excess(*noted) + excess(memory);
        *noted = memory;
        if !end.session.holds_grant() {
            self.budget.done(place as u64);
        }
        if let Some(want) = want.filter(|_| !self.waiting[place]) {
            let more = excess(want.len).saturating_sub(excess(memory));
            let was_short = self.budget.short_since().is_some();
            if !was_short && self.spent + more <= self.budget.free() {
                self.grant(place, more, false);
            } else {
                let since = self.budget.short_since().unwrap_or(self.now.instant);
                end.session.handle_shortage(self.now, Some(since));
                end.drain(self.now);
                let want = end.session.want_memory().unwrap();
                let more = excess(want.len).saturating_sub(excess(memory));
                self.waiting[place] = true;
                self.budget.wait(self.now.instant, place as u64, more, want.rest);
                if !was_short {
                    self.tell();
                }
            }
        }
        self.serve();
    }

    /// All that hold more than their own are told how things stand.
    fn tell(&mut self) {
        let since = self.budget.short_since();
        for place in 0..self.ends.len() {
            let (end, _) = &mut self.ends[place];
            if end.session.holds_grant() {
                end.session.handle_shortage(self.now, since);
                end.drain(self.now);
                if since.is_some() {
                    self.settle(place);
                }
            }
        }
    }

    fn serve(&mut self) {
        let was_short = self.budget.short_since().is_some();
        while let Some(grant) = self.budget.poll(self.spent) {
            let place = usize::try_from(grant.holder).unwrap();
            self.waiting[place] = false;
            self.grant(place, grant.more, grant.hurried);
        }
        if was_short && self.budget.short_since().is_none() {
            self.tell();
        }
    }

    fn grant(&mut self, place: usize, more: usize, hurried: bool) {
        self.spent += more;
        let (end, noted) = &mut self.ends[place];
        end.session.handle_grant(self.now, hurried);
        *noted = end.session.memory();
        end.drain(self.now);
        // What was granted to inflate a payload is given back already.
        if !end.session.holds_grant() {
            self.settle(place);
        }
    }

    /// Lets time pass, a second at a time, and does what is due.
    fn pass(&mut self, time: Duration) {
        let end = self.now.later(time);
        while self.now.instant < end.instant {
            let left = end.instant.duration_since(self.now.instant);
            self.now = self.now.later(left.min(Duration::from_secs(1)));
            for place in 0..self.ends.len() {
                let now = self.now;
                self.end(place).timeout(now);
                self.end(place).written(now);
                self.settle(place);
            }
        }
    }

    fn ended(&self) -> usize {
        self.ends.iter().filter(|(end, _)| end.end.is_some()).count()
    }
}

/// The first `len` bytes of a frame of 16 MiB.
fn beginning(peer: &mut Scripted, len: usize) -> Vec<u8> {
    let mut frame = Vec::with_capacity(len + 64);
    let mut header = [0; 16];
    header[..3].copy_from_slice(&[0xff, 0xff, 0xff]);
    peer.encoder.seal_header(header, &mut frame);
    let start = frame.len();
    frame.resize(len, 0x11);
    peer.encoder.seal_body(start, &mut frame);
    frame.truncate(len);
    frame
}

fn told(end: &End) -> Option<DisconnectReason> {
    match end.end {
        Some(SessionEnd::Local { reason, .. }) => Some(reason),
        Some(SessionEnd::Remote(_) | SessionEnd::Broken(_)) | None => None,
    }
}

#[test]
fn h20_a_connection_that_breaks_waits_for_no_memory() {
    let mut house = House::new(Limits::default().memory_budget);
    house.spent = Limits::default().memory_budget;
    let (place, mut peer) = house.connect(config(&key(2)), 4);
    let bytes = beginning(&mut peer, 520 * 1024);
    assert!(house.read(place, &bytes) < bytes.len() && house.waiting[place]);
    let now = house.now;
    house.end(place).session.handle_io_error(now, std::io::ErrorKind::ConnectionReset);
    house.end(place).drain(now);
    let expected = SessionError::Io(std::io::ErrorKind::ConnectionReset);
    assert_eq!(house.end(place).end, Some(SessionEnd::Broken(expected)));
}

#[test]
fn f03_a_thousand_frames_of_16_mib_stay_within_the_budget() {
    const PEERS: usize = 1_000;
    /// A session's other state, and the place where one buffer is copied to a larger one.
    const SLACK: usize = 16 * MIB;
    let mut house = House::new(Limits::default().memory_budget);
    let config = config(&key(2));
    let rejects = config.rejects.clone();
    let (honest, mut honest_peer) = house.connect(config.clone(), 5);
    let begun: Vec<_> = (0..PEERS)
        .map(|_| {
            let (place, mut peer) = house.connect(config.clone(), 4);
            (place, beginning(&mut peer, 520 * 1024))
        })
        .collect();
    let before = held();
    peak();
    let mut taken = vec![0; PEERS];
    for round in 0..26 {
        for (index, (place, bytes)) in begun.iter().enumerate() {
            let piece = &bytes[taken[index]..bytes.len().min((round + 1) * 20 * 1024)];
            taken[index] += house.read(*place, piece);
        }
        // Whoever stays below its own part goes on as if nothing were the matter.
        let frame = honest_peer.message(16, &[round as u8; 100]);
        assert_eq!(house.read(honest, &frame), frame.len());
        assert_eq!(house.end(honest).messages.len(), round + 1);
        assert!(house.spent <= Limits::default().memory_budget, "{} bytes spent", house.spent);
    }
    let most = (peak() - before).cast_unsigned();
    println!("{most} bytes for {PEERS} frames of 16 MiB, {} of the budget spent", house.spent);
    assert!(most <= Limits::default().memory_budget + FREE_LEN * PEERS + SLACK, "{most} bytes");
    assert!(most > Limits::default().memory_budget / 2, "{most} bytes: nothing was tried");
    assert!(house.budget.short_since().is_some());
    // Nothing more comes: one after the other is read, brings too little and goes.
    for gone in 1..=5 {
        house.pass(SHORTAGE_PACE_TIME);
        assert_eq!((house.ended(), rejects.count(Reject::BudgetPace)), (gone, gone as u64));
    }
    let frame = honest_peer.message(16, &[0xc0]);
    assert_eq!(house.read(honest, &frame), frame.len());
}

#[test]
fn f03_one_at_a_time_is_read_to_its_end_while_memory_is_short() {
    let mut house = House::new(BUDGET_RESERVE);
    let (long, mut long_peer) = house.connect(config(&key(2)), 4);
    let (short, mut short_peer) = house.connect(config(&key(2)), 4);
    let long_frame = long_peer.frame(16, &vec![1; 12 * MIB]);
    let short_frame = short_peer.frame(16, &vec![2; 3 * MIB]);
    let mut long_taken = house.read(long, &long_frame[..400_000]);
    let mut short_taken = house.read(short, &short_frame[..200_000]);
    assert_eq!((long_taken, house.waiting[long], house.waiting[short]), (400_000, false, true));
    // Half a mebibyte later the one with less to come is chosen, and nothing of the other is read until it is through.
    long_taken += house.read(long, &long_frame[long_taken..]);
    assert!(house.waiting[long] && !house.waiting[short] && long_taken < MIB, "{long_taken}");
    assert_eq!(house.read(long, &long_frame[long_taken..]), 0);
    short_taken += house.read(short, &short_frame[short_taken..]);
    assert_eq!((short_taken, house.end(short).messages.len()), (short_frame.len(), 1));
    long_taken += house.read(long, &long_frame[long_taken..]);
    assert_eq!((long_taken, house.end(long).messages.len()), (long_frame.len(), 1));
    house.settle(short);
    assert_eq!((house.spent, house.budget.short_since()), (0, None));
}

#[test]
fn f03_whoever_is_read_and_brings_too_little_is_closed_by_name_and_the_next_goes_on() {
    let mut house = House::new(BUDGET_RESERVE);
    let config = config(&key(2));
    let rejects = config.rejects.clone();
    let (slow, mut slow_peer) = house.connect(config.clone(), 4);
    let (next, mut next_peer) = house.connect(config, 4);
    let slow_frame = beginning(&mut slow_peer, MIB);
    let next_frame = next_peer.frame(16, &vec![2; 16 * MIB - 100]);
    assert_eq!(house.read(slow, &slow_frame[..300_000]), 300_000);
    let mut taken = house.read(next, &next_frame[..200_000]);
    assert!(taken < 200_000);
    house.pass(SHORTAGE_PACE_TIME - MOMENT);
    house.read(slow, &slow_frame[300_000..600_000]);
    assert_eq!(house.ended(), 0);
    house.pass(MOMENT);
    assert_eq!((told(house.end(slow)), house.ended()), (Some(DisconnectReason::ReadTimeout), 1));
    assert_eq!(rejects.count(Reject::BudgetPace), 1);
    taken += house.read(next, &next_frame[taken..]);
    assert_eq!((taken, house.end(next).messages.len()), (next_frame.len(), 1));
}

#[test]
fn f03_what_is_a_peers_own_and_how_it_is_read_in_a_shortage_is_as_the_owner_says() {
    let limits = SessionLimits {
        free_len: MIB,
        shortage_step: 2 * MIB,
        shortage_pace: Duration::from_secs(9),
        late_wait: Duration::from_secs(5),
        ..SessionLimits::DEFAULT
    };
    let (now, config) = (start(), SessionConfig { limits, ..config(&key(2)) });
    let rejects = config.rejects.clone();
    let begin = || {
        let (mut end, mut peer) = Scripted::connected(now, config.clone(), &hello(4));
        end.session.govern_memory();
        let frame = peer.frame(16, &vec![1; 15 * MIB]);
        let taken = end.read(now, &frame);
        assert!((MIB..MIB + 1_000).contains(&taken), "{taken} bytes are its own");
        end
    };
    // Read in a shortage, it wants two mebibytes more and has nine seconds to bring them.
    let mut hurried = begin();
    hurried.session.handle_shortage(now, Some(now.instant));
    let wanted = hurried.session.want_memory().map(|want| want.len).unwrap();
    assert!((3 * MIB..3 * MIB + 1_000).contains(&wanted), "{wanted} bytes");
    hurried.session.handle_grant(now, true);
    // Begun in a shortage and never let on, it has five.
    let mut late = begin();
    late.session.handle_shortage(now, now.instant.checked_sub(MOMENT));
    for (end, wait, reject) in [(&mut hurried, 9, Reject::BudgetPace), (&mut late, 5, Reject::BudgetWait)] {
        let due = now.later(Duration::from_secs(wait));
        end.timeout(now.later(Duration::from_secs(wait) - MOMENT));
        assert!(end.session.is_running());
        end.timeout(due);
        assert!(!end.session.is_running());
        assert_eq!(rejects.count(reject), 1);
    }
}

#[test]
fn f03_a_frame_that_began_in_a_shortage_waits_20_seconds_and_an_older_one_as_long_as_it_takes() {
    let mut house = House::new(BUDGET_RESERVE);
    let config = config(&key(2));
    let rejects = config.rejects.clone();
    let (reading, mut reading_peer) = house.connect(config.clone(), 4);
    let (older, mut older_peer) = house.connect(config.clone(), 4);
    let (late, mut late_peer) = house.connect(config, 4);
    let frame = reading_peer.frame(16, &vec![1; 15 * MIB]);
    let older_frame = older_peer.frame(16, &vec![2; 16 * MIB - 100]);
    let late_frame = late_peer.frame(16, &vec![3; 16 * MIB - 100]);
    house.read(older, &older_frame[..1_000]);
    house.pass(MOMENT);
    let mut taken = house.read(reading, &frame[..200_000]);
    house.pass(MOMENT);
    let mut older_taken = 1_000 + house.read(older, &older_frame[1_000..]);
    let late_taken = house.read(late, &late_frame);
    assert!(older_taken <= FREE_LEN + 64 && late_taken <= FREE_LEN + 64);
    // The one that is read brings what it has to and no more: a mebibyte in 2 s.
    let mut passed = Duration::ZERO;
    while passed < LATE_WAIT {
        assert_eq!(house.ended(), 0, "after {passed:?}");
        taken += house.read(reading, &frame[taken..taken + MIB / 2]);
        house.pass(Duration::from_secs(1));
        passed += Duration::from_secs(1);
    }
    assert_eq!((told(house.end(late)), house.ended()), (Some(DisconnectReason::TooManyPeers), 1));
    assert_eq!(rejects.count(Reject::BudgetWait), 1);
    // Its silence meanwhile is not held against the older one, nor the time that its frame took.
    while taken < frame.len() {
        taken += house.read(reading, &frame[taken..frame.len().min(taken + MIB / 2)]);
        house.pass(Duration::from_secs(1));
    }
    older_taken += house.read(older, &older_frame[older_taken..]);
    assert_eq!((older_taken, house.end(older).messages.len()), (older_frame.len(), 1));
    assert_eq!((house.ended(), rejects.total()), (1, 1));
}

#[test]
fn f03_a_payload_is_inflated_only_when_there_is_memory_for_it() {
    let mut house = House::new(BUDGET_RESERVE);
    let (first, mut first_peer) = house.connect(config(&key(2)), 5);
    let (bomb, mut bomb_peer) = house.connect(config(&key(2)), 5);
    let mut noise = vec![0; 12 * MIB];
    rand::Rng::fill_bytes(&mut rng(1), &mut noise);
    let frame = first_peer.message(16, &noise);
    let mut taken = house.read(first, &frame[..200_000]);
    // 2 MiB of zeros in less than 128 KiB: no memory is needed to read it.
    let small = bomb_peer.message(16, &vec![0; 2 * MIB]);
    assert!(small.len() < FREE_LEN);
    assert_eq!(house.read(bomb, &small), small.len());
    assert!(house.waiting[bomb] && house.end(bomb).messages.is_empty());
    // At the next piece it is its turn: nothing of it is still to come.
    taken += house.read(first, &frame[taken..MIB]);
    assert_eq!((house.end(bomb).messages.len(), house.waiting[bomb]), (1, false));
    taken += house.read(first, &frame[taken..]);
    assert_eq!((taken, house.end(first).messages.len()), (frame.len(), 1));
}

#[test]
fn a_peer_that_stays_below_its_own_part_never_asks() {
    let mut house = House::new(0);
    for (version, len) in [(4, FREE_LEN - 100), (5, FREE_LEN), (5, 100)] {
        let (place, mut peer) = house.connect(config(&key(2)), version);
        for round in 1..=20 {
            let frame = peer.message(16, &vec![0; len]);
            assert_eq!(house.read(place, &frame), frame.len());
            assert_eq!((house.end(place).messages.len(), house.budget.short_since()), (round, None));
        }
    }
}

#[test]
fn f03_in_a_shortage_a_session_wants_little_at_once() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(4));
    end.session.govern_memory();
    let frame = peer.frame(16, &vec![0; 12 * MIB]);
    let mut taken = end.read(now, &frame);
    let mut wanted = Vec::new();
    while taken < 2 * MIB {
        wanted.push(end.session.want_memory().unwrap().len / 1024);
        end.session.handle_grant(now, false);
        end.drain(now);
        taken += end.read(now, &frame[taken..]);
    }
    // Twice what there is each time, and the little that is written.
    assert_eq!(wanted, [256, 512, 1024, 2048]);
    assert_eq!(end.session.want_memory().unwrap().len / MIB, 4);
    end.session.handle_shortage(now, Some(now.instant));
    assert_eq!(end.session.want_memory().unwrap().len / 1024, 2048 + 512);
    // What was granted and is not filled is void.
    end.session.handle_grant(now, true);
    end.drain(now);
    taken += end.read(now, &frame[taken..taken + 1000]);
    end.session.handle_shortage(now, Some(now.instant));
    let want = end.session.want_memory().unwrap();
    assert_eq!((want.rest, end.session.want_read()), (frame.len() - taken, false));
}

#[test]
fn f18_waiting_for_memory_moves_the_deadline_of_a_frame_and_does_not_renew_it() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(4));
    end.session.govern_memory();
    let frame = peer.frame(16, &vec![0; MIB]);
    end.read(now, &frame[..1_000]);
    let late = now.later(Duration::from_secs(20));
    end.read(late, &frame[1_000..]);
    assert!(end.session.want_memory().is_some() && !end.session.want_read());
    let later = late.later(Duration::from_secs(100));
    end.timeout(later);
    assert_eq!(end.end, None);
    end.session.handle_grant(later, false);
    end.drain(later);
    // 14 of the 34 seconds are left.
    end.timeout(later.later(Duration::from_secs(14) - MOMENT));
    assert_eq!(end.end, None);
    end.timeout(later.later(Duration::from_secs(14)));
    end.written(later);
    assert_eq!(end.told(), DisconnectReason::ReadTimeout);
}

#[test]
fn f09_a_peer_that_inflates_too_much_is_read_no_further_until_that_is_paid() {
    let mut now = start();
    let config = config(&key(2));
    let rejects = config.rejects.clone();
    let (mut end, mut peer) = Scripted::connected(now, config, &hello(5));
    let payload = vec![0; MAX_MESSAGE_LEN - 100];
    let (first, mut inflated, mut wire) = (now, 0, 0);
    for _ in 0..40 {
        let frame = peer.message(16, &payload);
        let mut taken = 0;
        while taken < frame.len() {
            taken += end.read(now, &frame[taken..]);
            inflated += end.messages.drain(..).map(|(_, message)| message.payload.len()).sum::<usize>();
            if taken < frame.len() {
                now = now.later(Duration::from_millis(10));
                end.timeout(now);
            }
        }
        wire += frame.len();
        end.written(now);
    }
    // 32 MiB at once and one message more, then 8 MiB each second.
    let seconds = now.instant.duration_since(first.instant).as_secs_f64();
    let allowed = 4.0 * wire as f64 + (32 + 16) as f64 * MIB as f64 + seconds * 8.0 * MIB as f64;
    assert!(inflated as f64 <= allowed, "{inflated} bytes of {wire} in {seconds} s");
    assert!((50.0..70.0).contains(&seconds), "{seconds} s");
    assert_eq!((end.end, rejects.total()), (None, 0));
}

#[test]
fn f09_the_pause_is_not_held_against_the_peer_and_honest_ratios_pay_nothing() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    // A quarter of each payload is noise: 4 to 1.
    let mut payload = vec![0; 4 * MIB];
    rand::Rng::fill_bytes(&mut rng(1), &mut payload[..MIB]);
    for round in 1..=12 {
        let frame = peer.message(16, &payload);
        assert_eq!((end.read(now, &frame), end.messages.len()), (frame.len(), round));
        assert!(end.session.want_read());
    }
    for _ in 0..3 {
        assert!(end.session.want_read());
        let bomb = peer.message(16, &vec![0; MAX_MESSAGE_LEN - 100]);
        assert_eq!(end.read(now, &bomb), bomb.len());
    }
    assert!(!end.session.want_read() && end.session.read_buf().is_empty());
    let paid = now.later(end.session.next_timeout().unwrap().duration_since(now.instant));
    assert!(paid.instant.duration_since(now.instant) < Duration::from_secs(2));
    end.timeout(paid);
    assert!(end.session.want_read());
    // Silence is counted from here.
    for pings in 1..=2 {
        let due = now.later(PING_INTERVAL * pings);
        end.timeout(due);
        end.written(due);
    }
    end.timeout(paid.later(READ_TIMEOUT - MOMENT));
    assert_eq!(end.end, None);
    end.timeout(paid.later(READ_TIMEOUT));
    end.written(paid.later(READ_TIMEOUT));
    assert_eq!(end.told(), DisconnectReason::ReadTimeout);
}
