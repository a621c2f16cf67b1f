//! From connect to the second stop: sizes, tampering, cuts at every byte, refused jobs, the one budget of time.
//! The packets themselves, with EIP-8's vectors, are tested in `handshake/tests.rs`.

use identity::curve::{CurveResult, Ticket, Urgency};

use super::kit::*;
use crate::{
    DisconnectReason, HandshakeError, Reject, SessionEnd, SessionError, SessionOutput, Wait,
    error::Incompatibility,
};

#[test]
fn a_pair_costs_two_keys_eight_agreements_one_signature_and_one_recovery() {
    let now = start();
    let (a, b) = pair(now, config(&key(1)), config(&key(2)));
    assert_eq!((a.end, b.end), (None, None));
    assert!(a.session.is_running() && b.session.is_running());
    assert_eq!(a.ops, Ops { trips: 4, generate: 1, agree: 4, sign: 1, recover: 0 });
    assert_eq!(b.ops, Ops { trips: 4, generate: 1, agree: 4, sign: 0, recover: 1 });
    assert_eq!(a.urgencies, [Urgency::Begun; 4]);
    assert_eq!(b.urgencies, [Urgency::Unproven, Urgency::Begun, Urgency::Begun, Urgency::Begun]);
    assert_eq!(a.authenticated, Some(key(2).public_key()));
    assert_eq!(b.authenticated, Some(key(1).public_key()));
}

#[test]
fn both_ends_learn_hello_and_share_the_same_capabilities() {
    let now = start();
    let (a, b) = pair(now, config(&key(1)), config(&key(2)));
    let (hello, shared) = a.hello.unwrap();
    assert_eq!((hello.client_name.as_str(), hello.public_key), ("test/1.0", key(2).public_key()));
    assert_eq!((shared[0].name.as_str(), shared[0].offset, shared[0].message_count), ("chat", 16, 3));
    assert_eq!(b.hello.unwrap().1, shared);
}

#[test]
fn nothing_goes_on_without_the_owners_word() {
    let now = start();
    let mut a = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    b.admits = false;
    pump(now, &mut a, &mut b);
    assert!(b.authenticated.is_some() && b.hello.is_none() && a.hello.is_none());
    assert!(!b.session.want_read() && b.session.read_buf().is_empty());
    b.session.admit(now);
    b.drain(now);
    pump(now, &mut a, &mut b);
    assert!(b.hello.is_some() && a.hello.is_some());
    assert!(!b.session.is_running() && a.session.is_running());
    b.session.admit(now);
    assert!(b.session.is_running());
}

#[test]
fn h01_a_size_out_of_range_closes_after_two_bytes() {
    let now = start();
    let shared = std::sync::Arc::new(config(&key(2)));
    for size in 0..=u16::MAX {
        let mut session =
            crate::Session::recipient(now, shared.clone(), identity::curve::Lane(1), &mut rng(1));
        assert!(session.poll_output().is_none());
        assert_eq!(session.read_buf().len(), 2);
        session.read_buf().copy_from_slice(&size.to_be_bytes());
        session.handle_read(now, 2);
        let output = session.poll_output();
        if (113..=2048).contains(&size) {
            assert!(output.is_none());
            assert_eq!(session.read_buf().len(), usize::from(size));
        } else {
            let error = SessionError::Handshake(HandshakeError::Size { found: size.into() });
            assert!(
                matches!(output, Some(SessionOutput::Closed(SessionEnd::Broken(found))) if found == error)
            );
            assert!(session.write_buf().is_empty() && session.read_buf().is_empty());
        }
    }
    assert_eq!(shared.rejects.count(Reject::HandshakeSize), 65_536 - 1_936);
}

/// Sizes of an ack that are tried: those around the limits and some of all others; a thorough run tries all.
fn ack_sizes() -> impl Iterator<Item = u16> {
    const STEP: u16 = 97;
    let all = cfg!(feature = "thorough");
    let near =
        |size: &u16| [0u16, 112, 113, 2048, 2049, u16::MAX].iter().any(|edge| edge.abs_diff(*size) < 4);
    (0..=u16::MAX).filter(move |size| all || near(size) || size % STEP == 0)
}

#[test]
fn h01_the_dialler_takes_no_ack_of_another_size_either() {
    let now = start();
    let mut tried = 0;
    for size in ack_sizes() {
        let mut a = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
        a.written(now);
        let ops = a.ops;
        a.read(now, &size.to_be_bytes());
        assert_eq!(a.end.is_none(), (113..=2048).contains(&size), "{size}");
        if a.end.is_some() {
            assert_eq!(a.broken(), SessionError::Handshake(HandshakeError::Size { found: size.into() }));
            assert!(a.session.read_buf().is_empty() && a.written(now).is_empty());
        }
        assert_eq!(a.ops, ops, "no operation for {size}");
        tried += 1;
    }
    println!("{tried} sizes of ack, of 65536 in a thorough run");
}

#[test]
fn h03_bad_point_bad_tag_and_bad_content_look_the_same() {
    let now = start();
    let dial = || End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1).written(now);
    let other = || End::initiator(now, &key(1), config(&key(1)), key(3).public_key(), 1).written(now);
    let (mut bad_point, mut bad_tag) = (dial(), dial());
    bad_point[10] ^= 1;
    *bad_tag.last_mut().unwrap() ^= 1;
    let mut bad_content = crate::ecies::seal(
        &key(9).agree(&key(2).public_key()).unwrap(),
        &key(9).public_key(),
        [1; 16],
        &[0xc0; 250],
    );
    for (packet, trips) in [(&mut bad_point, 0), (&mut bad_tag, 1), (&mut other(), 1), (&mut bad_content, 1)]
    {
        let config = config(&key(2));
        let rejects = config.rejects.clone();
        let mut b = End::recipient(now, &key(2), config, 2);
        assert_eq!(b.read(now, packet), packet.len());
        assert!(matches!(b.broken(), SessionError::Handshake(_)));
        assert_eq!((b.ops.trips, b.written(now).len(), b.authenticated), (trips, 0, None));
        assert_eq!(rejects.total(), 1);
    }
}

#[test]
fn h03_the_dialler_closes_the_same_way_whatever_is_wrong_with_ack() {
    let now = start();
    let dial = || End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
    let shared = key(9).agree(&key(1).public_key()).unwrap();
    let seal = |content: &[u8]| crate::ecies::seal(&shared, &key(9).public_key(), [1; 16], content);
    let (mut bad_point, mut bad_tag, bad_content) =
        (seal(&[0xc0; 250]), seal(&[0xc0; 250]), seal(&[0xc0; 250]));
    bad_point[10] ^= 1;
    *bad_tag.last_mut().unwrap() ^= 1;
    for (packet, trips) in [(bad_point, 0), (bad_tag, 1), (bad_content, 1)] {
        let mut a = dial();
        a.written(now);
        let before = a.ops.trips;
        assert_eq!(a.read(now, &packet), packet.len());
        assert!(matches!(a.broken(), SessionError::Handshake(_)));
        assert_eq!((a.ops.trips - before, a.written(now).len(), a.authenticated), (trips, 0, None));
    }
}

#[test]
fn h05_no_flipped_bit_of_auth_makes_a_session() {
    let now = start();
    let auth = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1).written(now);
    let config = std::sync::Arc::new(config(&key(2)));
    for bit in 0..auth.len() * 8 {
        let mut bad = auth.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let mut b = End::recipient(now, &key(2), (*config).clone(), 2);
        b.read(now, &bad);
        b.eof(now);
        assert!(b.end.is_some() && b.authenticated.is_none(), "bit {bit}");
        assert!(b.written(now).is_empty());
    }
}

#[test]
fn h05_no_flipped_bit_of_ack_makes_a_session() {
    let now = start();
    // The same seed dials the same way, so one recorded ack answers each attempt.
    let dial = || End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    b.admits = false;
    b.read(now, &dial().written(now));
    let ack = b.written(now);
    let mut good = dial();
    good.written(now);
    good.read(now, &ack);
    assert!(good.authenticated.is_some());
    for bit in 0..ack.len() * 8 {
        let mut bad = ack.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let mut a = dial();
        a.written(now);
        a.read(now, &bad);
        a.eof(now);
        assert!(a.end.is_some() && a.authenticated.is_none(), "bit {bit}");
        assert!(a.written(now).is_empty());
    }
}

#[test]
fn h06_our_own_key_ends_with_connected_to_self_on_both_sides() {
    let now = start();
    let mut a = End::initiator(now, &key(2), config(&key(2)), key(2).public_key(), 1);
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    carry(now, &mut a, &mut b);
    carry(now, &mut b, &mut a);
    assert_eq!(b.end, None, "it has named our key, and proved nothing");
    carry(now, &mut a, &mut b);
    b.written(now);
    assert_eq!((a.authenticated, b.authenticated), (None, None));
    let told = SessionEnd::Local {
        reason: DisconnectReason::ConnectedToSelf,
        error: Some(SessionError::Incompatible(Incompatibility::OwnKey)),
    };
    assert_eq!((a.end, b.end), (Some(told), Some(told)));
}

#[test]
fn s10_whoever_names_our_own_key_and_does_not_have_it_is_closed_like_any_forger() {
    let now = start();
    // It says that its key is ours, and works with its own.
    let claim = |b: &mut End| {
        let mut a = End::initiator(now, &key(1), config(&key(2)), key(2).public_key(), 1);
        carry(now, &mut a, b);
        assert!(!b.written(now).is_empty(), "an ack, as for anybody");
        assert_eq!((b.end, b.authenticated), (None, None));
    };
    let mut forger = End::recipient(now, &key(2), config(&key(2)), 2);
    claim(&mut forger);
    assert_eq!(forger.read(now, &[7; 32]), 32);
    assert_eq!(forger.broken(), SessionError::Mac);
    let mut silent = End::recipient(now, &key(2), config(&key(2)), 3);
    claim(&mut silent);
    silent.timeout(now.later(crate::config::HANDSHAKE_TIMEOUT));
    silent.written(now);
    assert_eq!(silent.told(), DisconnectReason::ReadTimeout);
    for end in [&mut forger, &mut silent] {
        assert!(end.hello.is_none() && !matches!(end.end, Some(end) if end.is_own_key()));
    }
}

#[test]
fn h06_a_replayed_auth_never_passes_the_first_frame() {
    let now = start();
    let mut a = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
    let auth = a.written(now);
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    b.read(now, &auth);
    carry(now, &mut b, &mut a);
    let hello = a.written(now);
    b.read(now, &hello);
    assert!(b.hello.is_some());

    let mut victim = End::recipient(now, &key(2), config(&key(2)), 3);
    victim.read(now, &auth);
    let greeting = victim.written(now);
    assert_eq!(victim.read(now, &hello), hello.len());
    assert_eq!(victim.broken(), SessionError::Mac);
    assert!(!greeting.is_empty() && victim.written(now).is_empty() && victim.hello.is_none());
}

#[test]
fn h09_an_ack_that_does_not_open_closes_without_a_byte() {
    let now = start();
    let mut a = End::initiator(now, &key(1), config(&key(1)), key(3).public_key(), 1);
    let auth = a.written(now);
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    b.read(now, &auth);
    assert_eq!(b.broken(), SessionError::Handshake(HandshakeError::Envelope));
    // A reflected packet is no ack.
    a.read(now, &auth);
    assert_eq!(a.broken(), SessionError::Handshake(HandshakeError::Envelope));
    assert!(a.written(now).is_empty());
}

/// A whole conversation with every stream cut at `cut`: ack, both Hellos and two messages arrive in two pieces.
fn conversation_cut_at(cut: usize) -> usize {
    let now = start();
    let mut a = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    let in_two = |from: &mut End, to: &mut End| {
        let bytes = from.written(now);
        let cut = cut.min(bytes.len());
        assert_eq!(to.read(now, &bytes[..cut]), cut);
        assert_eq!(to.read(now, &bytes[cut..]), bytes.len() - cut);
        bytes.len()
    };
    let auth = in_two(&mut a, &mut b);
    // B's ack and Hello come as one segment, and so do A's Hello and its messages.
    let ack_and_hello = in_two(&mut b, &mut a);
    for payload in [&b"\x85hello"[..], &[0x55; 300]] {
        a.session.send(now, 0, &crate::SharedMessage::new(1, payload.to_vec().into())).unwrap();
    }
    let hello_and_messages = in_two(&mut a, &mut b);
    let payloads: Vec<_> = b.messages.iter().map(|(_, message)| message.payload.len()).collect();
    assert_eq!(payloads, [6, 300], "cut at {cut}");
    auth.max(ack_and_hello).max(hello_and_messages)
}

#[test]
fn h19_streams_may_be_cut_at_every_byte() {
    let longest = conversation_cut_at(usize::MAX);
    assert!(longest > 400, "ack and Hello are longer than {longest}");
    for cut in 0..=longest {
        conversation_cut_at(cut);
    }
}

#[test]
fn h19_streams_may_come_byte_by_byte() {
    let now = start();
    let mut a = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    for _ in 0..3 {
        let bytes = a.written(now);
        assert_eq!(b.read_in_pieces(now, &bytes, 1), bytes.len());
        let bytes = b.written(now);
        assert_eq!(a.read_in_pieces(now, &bytes, 1), bytes.len());
    }
    assert!(a.session.is_running() && b.session.is_running());
}

#[test]
fn h12_a_refused_job_closes_without_a_byte_and_is_counted() {
    let now = start();
    let auth = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1).written(now);
    let config = config(&key(2));
    let rejects = config.rejects.clone();
    let mut session = crate::Session::recipient(now, config.into(), identity::curve::Lane(7), &mut rng(2));
    let read = |session: &mut crate::Session, bytes: &[u8]| {
        assert!(session.poll_output().is_none());
        session.read_buf()[..bytes.len()].copy_from_slice(bytes);
        session.handle_read(now, bytes.len());
    };
    read(&mut session, &auth[..2]);
    read(&mut session, &auth[2..]);
    let Some(SessionOutput::Curve(job)) = session.poll_output() else { panic!("no job") };
    assert_eq!((job.lane, job.urgency), (identity::curve::Lane(7), Urgency::Unproven));
    assert!(session.poll_output().is_none());
    assert!(!session.want_read());
    session.handle_curve(now, Ticket(job.ticket.0 + 1), CurveResult::Refused);
    assert!(session.poll_output().is_none(), "an unknown ticket must be ignored");
    session.handle_curve(now, job.ticket, CurveResult::Refused);
    let end = SessionEnd::Broken(SessionError::Handshake(HandshakeError::Refused));
    assert!(matches!(session.poll_output(), Some(SessionOutput::Closed(found)) if found == end));
    assert!(session.write_buf().is_empty());
    assert_eq!(rejects.count(Reject::HandshakeRefused), 1);
}

#[test]
fn a_disconnect_before_authentication_says_nothing() {
    let now = start();
    let mut a = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
    a.written(now);
    a.session.disconnect(now, DisconnectReason::TooManyPeers);
    a.drain(now);
    assert_eq!(a.end, Some(SessionEnd::Local { reason: DisconnectReason::TooManyPeers, error: None }));
    assert!(a.written(now).is_empty());
}

#[test]
fn a_disconnect_at_the_first_stop_reaches_the_peer_instead_of_hello() {
    let now = start();
    let mut a = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    b.admits = false;
    carry(now, &mut a, &mut b);
    b.session.disconnect(now, DisconnectReason::TooManyPeers);
    b.drain(now);
    assert_eq!(b.end, None, "not before it is written");
    pump(now, &mut a, &mut b);
    assert_eq!(a.end, Some(SessionEnd::Remote(DisconnectReason::TooManyPeers)));
    assert_eq!(b.end, Some(SessionEnd::Local { reason: DisconnectReason::TooManyPeers, error: None }));
}

#[test]
fn a_disconnect_at_the_second_stop_is_compressed_as_agreed() {
    let now = start();
    let mut a = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    carry(now, &mut a, &mut b);
    b.admits = false;
    pump(now, &mut a, &mut b);
    assert!(a.session.is_running() && b.hello.is_some() && !b.session.is_running());
    b.session.disconnect(now, DisconnectReason::AlreadyConnected);
    b.drain(now);
    pump(now, &mut a, &mut b);
    assert_eq!(a.end, Some(SessionEnd::Remote(DisconnectReason::AlreadyConnected)));
}

#[test]
fn h20_an_end_of_the_stream_at_any_stage_ends_the_session_at_once() {
    let now = start();
    let auth = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1).written(now);
    for len in [0, 1, 2, 100, auth.len()] {
        for admits in [false, true] {
            let config = config(&key(2));
            let rejects = config.rejects.clone();
            let mut b = End::recipient(now, &key(2), config, 2);
            b.admits = admits;
            b.read(now, &auth[..len]);
            b.eof(now);
            assert_eq!(b.broken(), SessionError::Eof);
            assert_eq!(rejects.count(Reject::HandshakeBroken), 1);
            assert_eq!(b.session.next_timeout(), None);
        }
    }
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    b.session.handle_io_error(now, std::io::ErrorKind::ConnectionReset);
    b.drain(now);
    assert_eq!(b.broken(), SessionError::Io(std::io::ErrorKind::ConnectionReset));
}

/// Where a peer slows down to a byte a second.
#[derive(Clone, Copy, Debug)]
enum Slow {
    Size,
    Packet,
    Header,
    Body,
}

/// An end, dialler or not, whose peer has sent `at`'s beginning at once; and the bytes that follow.
fn slowed(now: identity::Now, dialler: bool, at: Slow) -> (End, Vec<u8>) {
    let mut a = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    if dialler {
        carry(now, &mut a, &mut b);
    }
    let (mut end, mut peer) = if dialler { (a, b) } else { (b, a) };
    let mut bytes = peer.written(now);
    let packet_len = 2 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let at_once = match at {
        Slow::Size => 0,
        Slow::Packet => 2 + 90,
        Slow::Header => packet_len,
        Slow::Body => packet_len + 32,
    };
    let first = at_once.min(packet_len);
    assert_eq!(end.read(now, &bytes[..first]), first);
    let greeting = end.written(now);
    if first == packet_len && !dialler {
        peer.read(now, &greeting);
        bytes.extend(peer.written(now));
    }
    assert_eq!(end.read(now, &bytes[first..at_once]), at_once - first);
    (end, bytes.split_off(at_once))
}

#[test]
fn h10_a_byte_a_second_ends_after_five_seconds_wherever_it_begins() {
    let now = start();
    let after = |millis| now.later(std::time::Duration::from_millis(millis));
    for dialler in [false, true] {
        for at in [Slow::Size, Slow::Packet, Slow::Header, Slow::Body] {
            let (mut end, bytes) = slowed(now, dialler, at);
            for (second, byte) in (0..5).zip(bytes) {
                let moment = after(1_000 * second);
                end.timeout(moment);
                assert_eq!(end.read(moment, &[byte]), 1, "{at:?}, dialler {dialler}");
                end.written(moment);
                assert_eq!(end.session.next_timeout(), Some(after(5_000).instant));
            }
            end.timeout(after(4_999));
            assert_eq!(end.end, None, "{at:?}, dialler {dialler}");
            end.timeout(after(5_000));
            let written = end.written(after(5_000));
            match at {
                Slow::Size | Slow::Packet => {
                    assert_eq!(end.broken(), SessionError::TimedOut(Wait::Handshake));
                    assert!(written.is_empty());
                }
                Slow::Header | Slow::Body => assert_eq!(end.told(), DisconnectReason::ReadTimeout),
            }
        }
    }
}

#[test]
fn h10_one_budget_covers_everything_up_to_the_second_admission() {
    let now = start();
    let budget = crate::config::HANDSHAKE_TIMEOUT;
    let late = now.later(budget);
    // Silence from the start, and one byte a second.
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    assert_eq!(b.session.next_timeout(), Some(late.instant));
    for second in 1..5 {
        b.read(now.later(std::time::Duration::from_secs(second)), &[1]);
    }
    b.timeout(late);
    assert_eq!(b.broken(), SessionError::TimedOut(Wait::Handshake));
    // No Hello after a handshake; told, because it can be.
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    let mut peer = Scripted::dial(now, &mut b);
    let greeting = b.written(now);
    assert_eq!(peer.receive(&greeting)[0].0, 0);
    b.timeout(now.later(budget - std::time::Duration::from_millis(1)));
    assert_eq!(b.end, None);
    b.timeout(late);
    assert_eq!(peer.disconnected(late, &mut b), DisconnectReason::ReadTimeout);
    assert_eq!(b.told(), DisconnectReason::ReadTimeout);
    // An owner that never decides.
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    b.admits = false;
    let _peer = Scripted::dial(now, &mut b);
    b.timeout(late);
    b.written(late);
    assert_eq!(b.told(), DisconnectReason::ReadTimeout);
}
