//! Two wires over loopback, in one task, so that every turn can be given up half-way and every write broken. What a session
//! makes of its bytes is tested beside it; servers and tools are in `tests/driver/`.

use std::{collections::VecDeque, future::poll_fn, num::NonZeroUsize, sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use identity::{CurvePool, NodeKey, curve::Lane};
use rand::{Rng, RngExt, SeedableRng, rngs::ChaCha8Rng};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use super::Wire;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::config::MAX_UNSENT_LEN;
use crate::{
    CapabilityName, DisconnectReason, LocalCapability, SessionConfig, SessionEnd, SessionError,
    SessionLimits, SessionOutput, SharedMessage, Timeouts,
    config::PING_INTERVAL,
    driver::{now, traffic::Counts},
};

/// Turns that are given up before they are done.
const CANCELS: usize = if cfg!(feature = "thorough") { 1_000_000 } else { 10_000 };

async fn streams() -> [TcpStream; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (dialed, accepted) =
        tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
    [dialed.unwrap(), accepted.unwrap().0]
}

/// Two wires past Hello, and what both count together.
async fn wires() -> ([Wire; 2], Counts) {
    wires_with(Timeouts::default(), SessionLimits::DEFAULT).await
}

async fn wires_with(timeouts: Timeouts, limits: SessionLimits) -> ([Wire; 2], Counts) {
    let counts = Counts::default();
    let pool = CurvePool::new(NonZeroUsize::MIN, NonZeroUsize::MIN);
    let keys = [1, 2].map(|byte| Arc::new(NodeKey::from_bytes(&[byte; 32]).unwrap()));
    let chat = LocalCapability::new(CapabilityName::new("chat").unwrap(), 1, 1);
    let config = |key: &Arc<NodeKey>| {
        let config = SessionConfig::new(key.public_key(), "test", vec![chat]);
        Arc::new(SessionConfig { timeouts, limits, ..config })
    };
    let [dialed, accepted] = streams().await;
    let [first, second] = keys.each_ref().map(|key| pool.handle(Arc::clone(key)));
    let remote = (keys[1].public_key(), Lane(1));
    let mut wires = [
        Wire::dialed(dialed, first, config(&keys[0]), remote, counts.traffic()),
        Wire::accepted(accepted, second, config(&keys[1]), Lane(2), counts.traffic()),
    ];
    while !wires.iter_mut().all(|wire| wire.session().is_running()) {
        for wire in &mut wires {
            while let Some(output) = wire.output() {
                assert!(matches!(output, SessionOutput::Authenticated { .. } | SessionOutput::Hello { .. }));
                wire.session().admit(now());
            }
            give_up_after(2, wire).await;
        }
    }
    (wires, counts)
}

/// Lets a wire take its turn, and gives that up when it was polled so often and is not done. Whether it was given up.
async fn give_up_after(polls: usize, wire: &mut Wire) -> bool {
    let mut left = polls;
    let patience = poll_fn(move |cx| {
        left -= 1;
        cx.waker().wake_by_ref();
        if left == 0 { Poll::Ready(()) } else { Poll::Pending }
    });
    tokio::select! {
        biased;
        () = wire.turn() => false,
        () = patience => true,
    }
}

fn noise(rng: &mut ChaCha8Rng, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    rng.fill_bytes(&mut bytes);
    bytes.into()
}

#[tokio::test]
async fn f16_ten_thousand_turns_given_up_half_way_lose_no_byte() {
    let (mut wires, _) = wires().await;
    let mut rng = ChaCha8Rng::seed_from_u64(16);
    // What is on its way to each.
    let mut expected: [VecDeque<Bytes>; 2] = Default::default();
    let (mut cancels, mut received) = (0, 0);
    while cancels < CANCELS || expected.iter().any(|queue| !queue.is_empty()) {
        let place = rng.random_range(0..2);
        let wire = &mut wires[place];
        if cancels < CANCELS && expected[1 - place].len() < 20 && wire.session().has_room() {
            let len = rng.random_range(0..20_000) >> rng.random_range(0..10);
            let payload = noise(&mut rng, len);
            wire.session().send(now(), 0, &SharedMessage::new(0, payload.clone())).unwrap();
            expected[1 - place].push_back(payload);
        }
        cancels += usize::from(give_up_after(rng.random_range(1..4), wire).await);
        while let Some(output) = wire.output() {
            let SessionOutput::Message { message, .. } = output else { panic!("{output:?}") };
            assert!(Some(message.payload) == expected[place].pop_front(), "message {received}");
            received += 1;
        }
    }
    println!("{cancels} turns given up (thorough: 1000000), {received} messages");
    assert!(received > CANCELS / 100, "{received} messages");
}

#[tokio::test]
async fn f16_nothing_is_written_after_a_write_that_failed_half_way() {
    let ([mut wire, mut other], counts) = wires().await;
    // The other's Ping and message are read and not yet looked at: answering comes after the failure.
    other.session().handle_timeout(now().later(PING_INTERVAL));
    other.session().send(now(), 0, &SharedMessage::new(0, Bytes::new())).unwrap();
    let queued = other.session().queued();
    while other.session().written() < queued {
        other.flush();
    }
    while counts.bytes_in() < counts.bytes_out() {
        wire.turn().await;
    }
    let payload = noise(&mut ChaCha8Rng::seed_from_u64(17), 15 << 20);
    wire.session().send(now(), 0, &SharedMessage::new(0, payload)).unwrap();
    while wire.flush() {}
    let [written, queued] = [wire.session().written(), wire.session().queued()];
    assert!(written > 0 && written < queued, "{written} of {queued} bytes");
    // It has not read what came, so its socket resets ours.
    drop(other);
    while !wire.session().write_buf().is_empty() {
        wire.turn().await;
    }
    // A socket that would take it, in place of the one that broke.
    let [fresh, watcher] = streams().await;
    wire.stream = fresh;
    assert!(matches!(wire.output(), Some(SessionOutput::Message { .. })));
    assert!(!wire.session().write_buf().is_empty(), "the session would send a Pong");
    assert!(!wire.flush());
    let end = loop {
        match wire.output() {
            Some(SessionOutput::Closed(end)) => break end,
            Some(output) => panic!("{output:?}"),
            None => wire.turn().await,
        }
    };
    assert_eq!(end, SessionEnd::Broken(SessionError::Io(std::io::ErrorKind::ConnectionReset)));
    wire.flush();
    drop(wire);
    watcher.readable().await.unwrap();
    assert_eq!(watcher.try_read(&mut [0; 1]).unwrap(), 0, "the end, and no byte before it");
}

/// What a segment on loopback has at most: the system refuses a write that begins beyond the limit, not one that crosses it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LONGEST_SEGMENT: usize = 64 * 1024;

#[cfg(any(target_os = "linux", target_os = "android"))]
#[tokio::test]
async fn p13_the_system_keeps_little_for_a_peer_that_does_not_read_whoever_dialed() {
    let limit = MAX_UNSENT_LEN as usize + LONGEST_SEGMENT;
    for place in 0..2 {
        let (mut wires, _) = wires().await;
        wires.rotate_left(place);
        let [mut wire, other] = wires;
        let payload = noise(&mut ChaCha8Rng::seed_from_u64(13), 15 << 20);
        wire.session().send(now(), 0, &SharedMessage::new(0, payload)).unwrap();
        let begun = wire.session().written();
        let (mut arrived, mut unsent) = (vec![0; 16 << 20], 0);
        // What has arrived waits in the other's socket, which grows for nobody who does not read.
        for _ in 0..100 {
            give_up_after(100, &mut wire).await;
            let written = (wire.session().written() - begun) as usize;
            let there = other.stream.peek(&mut arrived).await.unwrap();
            unsent = written.saturating_sub(there);
            assert!(unsent <= limit, "{unsent} bytes, {written} written and {there} there");
        }
        // Full it is, or nothing was shown.
        assert!(unsent >= limit / 4 && !wire.session().write_buf().is_empty(), "{unsent} bytes");
    }
}

/// Our goodbye is out, and whoever it is for goes on sending pieces of this length. How much it got rid of.
async fn talk_on_after_goodbye(
    (mut wire, mut other): (Wire, Wire),
    piece_len: usize,
    pause: Duration,
    limit: Duration,
) -> usize {
    wire.session().disconnect(now(), DisconnectReason::UselessPeer);
    while !wire.session().is_closed() {
        wire.turn().await;
    }
    let (piece, mut sent) = (vec![7; piece_len], 0);
    let mut pause = tokio::time::interval(pause);
    let talk = async {
        loop {
            pause.tick().await;
            other.stream.writable().await.unwrap();
            match other.stream.try_write(&piece) {
                Ok(len) => sent += len,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
    };
    let both = async { tokio::join!(wire.linger(), talk) };
    tokio::time::timeout(limit, both).await.expect("closed in time");
    // What was said first can still be read.
    other.read();
    let told = SessionEnd::Remote(DisconnectReason::UselessPeer);
    let end = other.output();
    assert!(matches!(end, Some(SessionOutput::Closed(found)) if found == told) || piece_len > 512, "{end:?}");
    sent
}

#[tokio::test]
async fn p10_whoever_talks_on_after_our_goodbye_is_cut_off_within_two_seconds() {
    let ([wire, other], _) = wires().await;
    let (pause, limit) = (Duration::from_millis(20), Duration::from_secs(2));
    talk_on_after_goodbye((wire, other), 512, pause, limit).await;
}

#[tokio::test]
async fn p10_whoever_floods_us_after_our_goodbye_is_cut_off_after_a_mebibyte_or_what_the_owner_says() {
    const TIME: Duration = Duration::from_secs(20);
    const MIB: usize = 1 << 20;
    assert_eq!(SessionLimits::DEFAULT.linger_len, MIB);
    for linger_len in [MIB, 4 * MIB] {
        // Its length ends it, and no time.
        let timeouts = Timeouts { disconnect: 2 * TIME, ..Timeouts::default() };
        let limits = SessionLimits { linger_len, ..SessionLimits::DEFAULT };
        let ([wire, other], _) = wires_with(timeouts, limits).await;
        // What is not read is in the buffers of two sockets, twice what is asked for.
        SockRef::from(&wire.stream).set_recv_buffer_size(MIB / 4).unwrap();
        SockRef::from(&other.stream).set_send_buffer_size(MIB / 4).unwrap();
        let sent = talk_on_after_goodbye((wire, other), 1 << 16, Duration::from_nanos(1), TIME).await;
        assert!((linger_len..linger_len + 2 * MIB).contains(&sent), "{sent} bytes");
    }
}
