//! Messages whose MAC is a job: they arrive as all others do, whatever is sent, asked or breaks meanwhile. The hashes side by
//! side are tested in `eth-keccak`, who brings jobs together in `driver/sealer.rs`.

use std::io;

use bytes::Bytes;

use super::kit::*;
use crate::{
    DisconnectReason, SealJob, SendError, SessionEnd, SessionError, SharedMessage,
    config::{DISCONNECT_TIMEOUT, PING_INTERVAL, READ_TIMEOUT, SEAL_APART_LEN},
};

fn long(len: usize) -> SharedMessage {
    let payload: Vec<u8> =
        (0..len as u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    SharedMessage::new(1, payload.into())
}

/// The job of a message that is held by others too.
fn apart(end: &mut End, now: identity::Now, message: &SharedMessage) -> SealJob {
    let held = message.clone();
    let job = end.session.send_apart(now, 0, &held).unwrap();
    job.expect("a job")
}

fn carry(now: identity::Now, from: &mut End, to: &mut End) {
    let bytes = from.written(now);
    assert_eq!(to.read(now, &bytes), bytes.len());
}

#[test]
fn messages_that_are_sealed_side_by_side_arrive_at_every_peer_in_order() {
    let now = start();
    for count in [1, 2, 4, 5, 9] {
        let mut pairs: Vec<_> = (0..count).map(|_| pair(now, config(&key(1)), config(&key(2)))).collect();
        // Their hashes stand at different places of a block.
        for (index, (a, b)) in pairs.iter_mut().enumerate() {
            for _ in 0..index {
                a.session.send(now, 0, &SharedMessage::new(0, Bytes::from(vec![7; 20]))).unwrap();
            }
            carry(now, a, b);
            b.messages.clear();
        }
        for len in [SEAL_APART_LEN, 100_000, 3 << 20] {
            let message = long(len);
            let mut jobs: Vec<_> = pairs.iter_mut().map(|(a, _)| apart(a, now, &message)).collect();
            SealJob::run(&mut jobs);
            for ((a, b), job) in pairs.iter_mut().zip(jobs) {
                let queued = a.session.queued();
                a.session.handle_sealed(now, job);
                assert_eq!(a.session.queued(), queued);
                carry(now, a, b);
                a.session.send(now, 0, &SharedMessage::new(2, Bytes::new())).unwrap();
                carry(now, a, b);
                let codes: Vec<u64> = b.messages.iter().map(|(_, message)| message.code).collect();
                assert_eq!((codes, &b.messages[0].1.payload), (vec![1, 2], message.payload()));
                b.messages.clear();
            }
        }
    }
}

#[test]
fn short_messages_and_those_of_one_peer_alone_are_sealed_at_once() {
    let now = start();
    let (mut a, mut b) = pair(now, config(&key(1)), config(&key(2)));
    let short = long(SEAL_APART_LEN - 1);
    let held = short.clone();
    assert!(a.session.send_apart(now, 0, &held).unwrap().is_none());
    carry(now, &mut a, &mut b);
    assert!(a.session.send_apart(now, 0, &long(SEAL_APART_LEN)).unwrap().is_none());
    carry(now, &mut a, &mut b);
    assert_eq!(b.messages.len(), 2);
}

#[test]
fn what_is_sent_while_a_mac_is_computed_follows_it() {
    let now = start();
    let (mut a, mut b) = pair(now, config(&key(1)), config(&key(2)));
    let message = long(100_000);
    a.session.send(now, 0, &SharedMessage::new(0, Bytes::new())).unwrap();
    let mut job = [apart(&mut a, now, &message)];
    let queued = a.session.queued();
    assert!(!a.session.has_room() && a.session.write_buf().is_empty());
    assert_eq!(a.session.send(now, 0, &message), Err(SendError::Full));
    // A Ping of ours is due, one of the peer's is answered, and we say goodbye.
    let later = now.later(PING_INTERVAL);
    a.timeout(later);
    b.timeout(later);
    let ping = b.written(later);
    assert_eq!(a.read(later, &ping), ping.len());
    a.session.disconnect(later, DisconnectReason::TooManyPeers);
    a.drain(later);
    a.session.handle_written(later, 0);
    assert!(a.session.write_buf().is_empty() && a.end.is_none());
    SealJob::run(&mut job);
    let [job] = job;
    a.session.handle_sealed(later, job);
    assert!(a.session.queued() > queued);
    carry(later, &mut a, &mut b);
    assert_eq!(b.messages.len(), 2);
    assert!(b.session.rtt().is_some(), "the Pong comes before the goodbye");
    assert_eq!(b.end, Some(SessionEnd::Remote(DisconnectReason::TooManyPeers)));
    let told = SessionEnd::Local { reason: DisconnectReason::TooManyPeers, error: None };
    assert_eq!((a.end, a.session.written()), (Some(told), a.session.queued()));
}

#[test]
fn a_mac_that_comes_too_late_changes_nothing() {
    let now = start();
    for broken in [false, true] {
        let (mut a, _) = pair(now, config(&key(1)), config(&key(2)));
        let mut job = [apart(&mut a, now, &long(100_000))];
        SealJob::run(&mut job);
        let [job] = job;
        if broken {
            a.session.handle_io_error(now, io::ErrorKind::BrokenPipe);
        } else {
            // Silence, and then no time is left for the goodbye.
            a.timeout(now.later(READ_TIMEOUT));
            a.timeout(now.later(READ_TIMEOUT + DISCONNECT_TIMEOUT));
        }
        a.session.handle_sealed(now, job);
        a.drain(now);
        assert!(a.session.write_buf().is_empty());
        let expected = SessionError::Io(io::ErrorKind::BrokenPipe);
        assert_eq!(a.end == Some(SessionEnd::Broken(expected)), broken, "{:?}", a.end);
    }
}
