//! What time does to a session: pings, silences, stalled and dripping frames, buffers given back. Time is moved by
//! hand. The budget before the second admission is `handshake.rs`; deadlines as a table are `timer.rs`.

use std::time::Duration;

use identity::keccak256;

use super::kit::*;
use crate::{
    DisconnectReason, Reject, SessionConfig, SessionEnd, SessionError, SessionLimits, SharedMessage, Wait,
    config::{DISCONNECT_TIMEOUT, PING_INTERVAL, QUIET_LEN, QUIET_TIME, READ_TIMEOUT, WRITE_TIMEOUT},
};

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn a_ping_goes_out_every_15_seconds_and_its_answer_measures_the_way() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    assert_eq!(end.session.next_timeout(), Some(now.later(PING_INTERVAL).instant));
    for count in 1..=4 {
        let due = now.later(PING_INTERVAL * count);
        end.timeout(due);
        let ping = end.written(due);
        assert_eq!(peer.receive(&ping), [(2, vec![0xc0])]);
        let back = due.later(Duration::from_millis(40));
        let pong = peer.message(3, &[0xc0]);
        end.read(back, &pong);
        assert_eq!(end.session.rtt(), Some(Duration::from_millis(40)));
    }
}

#[test]
fn round_trips_are_smoothed_and_those_while_held_up_do_not_count() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    for (count, way) in [(1, 80), (2, 160)] {
        let due = now.later(PING_INTERVAL * count);
        end.timeout(due);
        end.written(due);
        let pong = peer.message(3, &[0xc0]);
        end.read(due.later(Duration::from_millis(way)), &pong);
    }
    let measured = end.session.round_trips().unwrap();
    assert_eq!((measured.latest.as_millis(), measured.smoothed.as_millis()), (160, 90));
    assert_eq!(measured.variation.as_millis(), 50);

    // While nothing is read, the Pong waits with us and not on its way.
    let due = now.later(PING_INTERVAL * 3);
    end.timeout(due);
    end.written(due);
    end.session.pause_reading(due, true);
    let back = due.later(Duration::from_secs(4));
    end.session.pause_reading(back, false);
    end.drain(back);
    let pong = peer.message(3, &[0xc0]);
    end.read(back, &pong);
    assert_eq!((end.end, end.session.round_trips()), (None, Some(measured)));
}

#[test]
fn p08_thirty_seconds_of_silence_are_a_read_timeout() {
    let now = start();
    let config = config(&key(2));
    let rejects = config.rejects.clone();
    let (mut end, mut peer) = Scripted::connected(now, config, &hello(5));
    let last = now.later(Duration::from_secs(10));
    let pong = peer.message(3, &[0xc0]);
    end.read(last, &pong);
    let due = last.later(READ_TIMEOUT);
    let before = last.later(READ_TIMEOUT - MOMENT);
    end.timeout(before);
    let pings = end.written(before);
    peer.receive(&pings);
    assert_eq!(end.end, None);
    end.timeout(due);
    assert_eq!(peer.disconnected(due, &mut end), DisconnectReason::ReadTimeout);
    assert_eq!(end.told(), DisconnectReason::ReadTimeout);
    assert_eq!(rejects.count(Reject::ReadTimeout), 1);
}

#[test]
fn what_we_throttle_is_not_held_against_the_peer_and_what_has_come_is_still_handled() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    let (ping, frame) = (peer.message(2, &[0xc0]), peer.message(16, &[0xc0]));
    let (first, rest) = frame.split_at(40);
    end.read(now, &ping);
    end.read(now, first);
    end.session.throttle_reading(now, true);
    end.drain(now);
    assert!(!end.session.want_read());
    let pong = end.written(now);
    assert_eq!(peer.receive(&pong), [(3, vec![0xc0])]);
    // Ten times as long as a frame may take: our own Pings go out, and nothing else happens.
    let mut moment = now;
    for _ in 0..20 {
        moment = moment.later(PING_INTERVAL);
        end.timeout(moment);
        let pings = end.written(moment);
        assert_eq!(peer.receive(&pings), [(2, vec![0xc0])]);
    }
    assert_eq!(end.end, None);
    end.session.throttle_reading(moment, false);
    end.drain(moment);
    // From here on the frame has the time that was left of its 30 s.
    end.timeout(moment.later(READ_TIMEOUT - MOMENT));
    let pings = end.written(moment);
    peer.receive(&pings);
    assert_eq!((end.end, end.session.want_read()), (None, true));
    end.read(moment, rest);
    assert_eq!(end.messages.len(), 1);

    end.read(moment, &peer.message(16, &[0xc0])[..40]);
    end.session.throttle_reading(moment, true);
    let later = moment.later(READ_TIMEOUT * 5);
    end.session.throttle_reading(later, false);
    end.drain(later);
    end.timeout(later.later(READ_TIMEOUT));
    assert_eq!(peer.disconnected(later, &mut end), DisconnectReason::ReadTimeout);
}

#[test]
fn p08_an_owner_that_comes_late_pings_once_and_hears_first_what_has_come() {
    let now = start();
    let late = now.later(Duration::from_secs(600));
    // Bytes that waited in the socket count before the time that has passed.
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    let pong = peer.message(3, &[0xc0]);
    end.read(late, &pong);
    end.timeout(late);
    assert_eq!(end.end, None);
    let pings = end.written(late);
    assert_eq!(peer.receive(&pings), [(2, vec![0xc0])]);
    assert_eq!(end.session.next_timeout(), Some(late.later(PING_INTERVAL).instant));
    // Without any it is over at once, however late that is seen.
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    end.timeout(late);
    let written = end.written(late);
    assert_eq!(peer.receive(&written).last().unwrap().0, 1);
    assert_eq!(end.told(), DisconnectReason::ReadTimeout);
}

#[test]
fn f02_a_frame_that_stalls_ends_within_30_seconds() {
    let now = start();
    for len in [1, 31, 32, 40, 63] {
        let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
        let frame = peer.message(16, &[0xc0]);
        end.read(now, &frame[..len]);
        end.timeout(now.later(READ_TIMEOUT));
        end.written(now.later(READ_TIMEOUT));
        assert_eq!(end.told(), DisconnectReason::ReadTimeout, "{len} bytes");
    }
}

#[test]
fn f18_a_dripping_frame_has_one_deadline() {
    drip(SessionLimits::DEFAULT, 4);
    // As another owner says.
    drip(SessionLimits { frame_bytes_per_second: 128 * 1024, ..SessionLimits::DEFAULT }, 8);
}

fn drip(limits: SessionLimits, more_seconds: u64) {
    let now = start();
    let (mut end, mut peer) =
        Scripted::connected(now, SessionConfig { limits, ..config(&key(2)) }, &hello(4));
    let frame = peer.frame(16, &vec![0; 1 << 20]);
    let mut fed = 1000;
    end.read(now, &frame[..fed]);
    // So much more than 30 s for a mebibyte, whatever comes in between.
    let allowed = READ_TIMEOUT + Duration::from_secs(more_seconds);
    let mut passed = Duration::ZERO;
    while passed + Duration::from_secs(2) < allowed {
        passed += Duration::from_secs(2);
        end.timeout(now.later(passed));
        end.read(now.later(passed), &frame[fed..=fed]);
        fed += 1;
        assert_eq!(end.end, None, "after {passed:?}");
        end.written(now.later(passed));
    }
    end.timeout(now.later(allowed));
    end.written(now.later(allowed));
    assert!(matches!(
        end.end,
        Some(SessionEnd::Local { error: Some(SessionError::TimedOut(Wait::Frame)), .. })
    ));
}

#[test]
fn a_finished_frame_leaves_no_deadline_behind() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    let frame = peer.message(16, &[0xc0]);
    end.read(now, &frame[..10]);
    end.read(now, &frame[10..]);
    let mut later = now;
    for _ in 0..10 {
        later = later.later(PING_INTERVAL);
        end.timeout(later);
        end.written(later);
        let pong = peer.message(3, &[0xc0]);
        end.read(later, &pong);
    }
    assert_eq!(end.end, None);
}

#[test]
fn two_seconds_of_silence_free_what_only_a_busy_connection_needs() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    let held = |end: &End| end.session.ingress.buffer.capacity();
    let mut moment = now;
    // Too short to be handed on with its buffer, and of bytes that do not repeat themselves.
    let long: Vec<u8> =
        (0..10_000u32).flat_map(|number| keccak256(&number.to_be_bytes())[..1].to_vec()).collect();
    let mut talk = |end: &mut End, moment| assert!(end.read(moment, &peer.message(16, &long)) > 10_000);
    talk(&mut end, moment);
    assert!(held(&end) > QUIET_LEN, "{}", held(&end));
    // While messages come, in whatever pace below that, all stays as it is.
    for _ in 0..5 {
        moment = moment.later(QUIET_TIME - MOMENT);
        end.timeout(moment);
        talk(&mut end, moment);
        assert!(held(&end) > QUIET_LEN);
    }
    // A timer that finds a use starts anew.
    end.timeout(moment.later(QUIET_TIME));
    end.timeout(moment.later(QUIET_TIME * 2));
    assert_eq!((held(&end), end.end), (0, None));
    talk(&mut end, moment.later(QUIET_TIME * 2));
}

#[test]
fn p13_twenty_seconds_without_write_progress_end_the_session() {
    let now = start();
    let config = config(&key(2));
    let rejects = config.rejects.clone();
    let (mut end, mut peer) = Scripted::connected(now, config, &hello(5));
    end.session.send(now, 0, &SharedMessage::new(0, vec![7; 1000].into())).unwrap();
    let progress = now.later(Duration::from_secs(15));
    end.session.handle_written(progress, 1);
    // That it still talks does not help a peer that takes nothing.
    let before = progress.later(WRITE_TIMEOUT - MOMENT);
    let pong = peer.message(3, &[0xc0]);
    end.read(before, &pong);
    end.timeout(before);
    assert_eq!(end.end, None);
    end.timeout(progress.later(WRITE_TIMEOUT));
    assert_eq!(end.broken(), SessionError::TimedOut(Wait::Write));
    assert!(end.session.write_buf().is_empty());
    assert_eq!(rejects.count(Reject::WriteTimeout), 1);
}

#[test]
fn a_disconnect_that_cannot_be_written_ends_after_a_second() {
    let now = start();
    let (mut end, _peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    end.session.disconnect(now, DisconnectReason::Quitting);
    end.drain(now);
    assert_eq!(end.session.next_timeout(), Some(now.later(DISCONNECT_TIMEOUT).instant));
    end.timeout(now.later(DISCONNECT_TIMEOUT));
    assert_eq!(end.end, Some(SessionEnd::Local { reason: DisconnectReason::Quitting, error: None }));
    assert_eq!(end.session.next_timeout(), None);
}

#[test]
fn a_pause_of_ours_is_not_held_against_the_peer() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    let frame = peer.message(16, &[0xc0]);
    end.read(now, &frame[..20]);
    end.session.pause_reading(now, true);
    let mut later = now;
    for _ in 0..20 {
        later = later.later(PING_INTERVAL);
        end.timeout(later);
        end.written(later);
    }
    assert_eq!(end.end, None);
    end.session.pause_reading(later, false);
    end.drain(later);
    end.read(later.later(READ_TIMEOUT - MOMENT), &frame[20..]);
    assert_eq!((end.messages.len(), end.end), (1, None));
}

#[test]
fn an_idle_session_gives_its_buffers_back() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    let frame = peer.message(16, &vec![0; 30_000]);
    end.read(now, &frame);
    assert!(end.session.ingress.buffer.capacity() > 0);
    let due = now.later(PING_INTERVAL);
    end.timeout(due);
    assert_eq!(end.session.ingress.buffer.capacity(), 0);
    let ping = end.written(due);
    assert_eq!(peer.receive(&ping).len(), 1);
}

#[test]
fn h11_a_connection_that_has_sent_nothing_holds_two_bytes_to_read_into() {
    let end = &mut End::recipient(start(), &key(2), config(&key(2)), 2);
    assert_eq!(end.session.read_buf().len(), 2);
    assert!(end.session.ingress.buffer.capacity() <= 8);
}
