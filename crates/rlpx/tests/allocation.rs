//! What a session allocates for a peer, measured: a counting allocator, a session a thread.

#[path = "../../../tests/counting/mod.rs"]
mod counting;

use std::sync::Arc;

use counting::{Counting, held, peak, taken};
use identity::{
    NodeKey, Now,
    curve::{InlineCurve, Lane},
};
use rand::{Rng, SeedableRng, rngs::ChaCha20Rng};
use rlpx::{
    CapabilityName, LocalCapability, Message, Session, SessionConfig, SessionEnd, SessionOutput,
    SharedMessage, config,
};

/// The buffers of a session grow without being copied as far as the system can.
#[global_allocator]
static ALLOCATOR: Counting = Counting { grows_in_place: true };

/// Beside its buffers: state, outputs, the Disconnect it writes. Not part of any limit by length.
const SLACK: isize = 8 * 1024;
/// What a read buffer may hold beyond twice what came.
const ALLOWANCE: isize = 64 * 1024;

struct End {
    session: Session,
    curve: InlineCurve<ChaCha20Rng>,
    end: Option<SessionEnd>,
}

impl End {
    fn drain(&mut self, now: Now, messages: &mut Vec<Message>) {
        while let Some(output) = self.session.poll_output() {
            match output {
                SessionOutput::Curve(job) => {
                    let result = self.curve.run(job.ops);
                    self.session.handle_curve(now, job.ticket, result);
                }
                SessionOutput::Authenticated { .. } | SessionOutput::Hello { .. } => self.session.admit(now),
                SessionOutput::Message { message, .. } => messages.push(message),
                SessionOutput::Closed(end) => self.end = Some(end),
            }
        }
    }

    /// Reads from `bytes` what it offers room for.
    fn read(&mut self, now: Now, bytes: &[u8]) -> usize {
        let room = self.session.read_buf();
        let len = room.len().min(bytes.len());
        room[..len].copy_from_slice(&bytes[..len]);
        self.session.handle_read(now, len);
        len
    }
}

/// A node with a key, taking messages of at most `limit` bytes.
fn node(byte: u8, limit: usize) -> (Arc<NodeKey>, Arc<SessionConfig>) {
    let key = Arc::new(NodeKey::from_bytes(&[byte; 32]).expect("a small number is a key"));
    let name = CapabilityName::new("big").expect("a name");
    let capability = LocalCapability { max_message_len: limit, ..LocalCapability::new(name, 1, 1) };
    let config = Arc::new(SessionConfig::new(key.public_key(), "test", vec![capability]));
    (key, config)
}

#[expect(clippy::disallowed_methods, reason = "a test's starting point in time")]
fn start() -> Now {
    Now::system()
}

/// A connected attacker without limits, and its victim that takes messages of at most `limit` bytes.
fn connected(now: Now, limit: usize) -> (End, End) {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let ((attacker, own), (victim, limited)) = (node(1, config::MAX_MESSAGE_LEN), node(2, limit));
    let session = Session::initiator(now, own, victim.public_key(), Lane(1), &mut rng);
    let mut a = End { session, curve: InlineCurve::new(attacker, ChaCha20Rng::seed_from_u64(2)), end: None };
    let session = Session::recipient(now, limited, Lane(2), &mut rng);
    let mut b = End { session, curve: InlineCurve::new(victim, ChaCha20Rng::seed_from_u64(3)), end: None };
    a.drain(now, &mut Vec::new());
    b.drain(now, &mut Vec::new());
    while !a.session.is_running() || !b.session.is_running() {
        for (from, to) in [(0, 1), (1, 0)] {
            let ends = [&mut a, &mut b];
            let bytes = ends[from].session.write_buf().to_vec();
            let len = ends[to].read(now, &bytes);
            ends[from].session.handle_written(now, len);
            ends[to].drain(now, &mut Vec::new());
        }
    }
    (a, b)
}

/// The frame of a message with this payload, as the attacker writes it.
fn frame(now: Now, attacker: &mut End, payload: Vec<u8>) -> Vec<u8> {
    attacker.session.send(now, 0, &SharedMessage::new(0, payload.into())).expect("there is room");
    let bytes = attacker.session.write_buf().to_vec();
    attacker.session.handle_written(now, bytes.len());
    bytes
}

#[test]
fn f03_a_large_message_takes_at_most_twice_what_came_of_it() {
    let now = start();
    let (mut attacker, mut victim) = connected(now, config::MAX_MESSAGE_LEN);
    let mut noise = vec![0; 6_000_000];
    ChaCha20Rng::seed_from_u64(9).fill_bytes(&mut noise);
    let bytes = frame(now, &mut attacker, noise);
    let mut messages = Vec::with_capacity(1);
    let before = held();
    let mut received = 0;
    peak();
    while received + 10_000 < bytes.len() {
        received += victim.read(now, &bytes[received..received + 10_000]);
        victim.drain(now, &mut messages);
        let allowed = 2 * received as isize + ALLOWANCE + SLACK;
        let most = peak() - before;
        assert!(most <= allowed, "{most} bytes after {received} received");
    }
    assert!(messages.is_empty());
    received += victim.read(now, &bytes[received..]);
    victim.drain(now, &mut messages);
    assert_eq!((received, messages.len()), (bytes.len(), 1));
    messages.clear();
    assert!(held() - before <= ALLOWANCE + SLACK, "{} bytes kept after the message", held() - before);
}

#[test]
fn f08_a_block_that_declares_too_much_allocates_nothing_for_it() {
    let now = start();
    let (mut attacker, mut victim) = connected(now, 1 << 20);
    // 15 MiB of zeros travel as some 700 KiB.
    let bytes = frame(now, &mut attacker, vec![0; 15 << 20]);
    assert!(bytes.len() < 1 << 20);
    let before = held();
    let mut received = 0;
    peak();
    while received < bytes.len() && victim.end.is_none() {
        let len = victim.read(now, &bytes[received..]);
        victim.drain(now, &mut Vec::new());
        received += len;
    }
    let most = peak() - before;
    assert!(most <= bytes.len() as isize + ALLOWANCE + SLACK, "{most} bytes for {} received", bytes.len());
    let len = victim.session.write_buf().len();
    victim.session.handle_written(now, len);
    victim.drain(now, &mut Vec::new());
    assert!(matches!(victim.end, Some(SessionEnd::Local { error: Some(_), .. })), "{:?}", victim.end);
}

#[test]
fn h11_a_half_open_connection_holds_less_than_8_kib() {
    let now = start();
    let (_, config) = node(2, 1000);
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let before = held();
    let mut session = Box::new(Session::recipient(now, config, Lane(1), &mut rng));
    assert!(session.poll_output().is_none());
    assert_eq!(session.read_buf().len(), 2);
    session.read_buf().copy_from_slice(&[0x08, 0x00]);
    session.handle_read(now, 2);
    assert!(session.poll_output().is_none());
    assert_eq!(session.read_buf().len(), 2048);
    assert!(held() - before <= 8 * 1024, "{} bytes", held() - before);
}

#[test]
fn a_message_to_many_peers_is_compressed_once_and_copied_into_each_write_buffer_alone() {
    const PEERS: usize = 20;
    const LEN: usize = 100 * 1024;
    let now = start();
    let mut payload = vec![0; LEN];
    ChaCha20Rng::seed_from_u64(5).fill_bytes(&mut payload);
    let payload = bytes::Bytes::from(payload);
    let mut peers: Vec<End> = (0..PEERS).map(|_| connected(now, config::MAX_MESSAGE_LEN).0).collect();
    let mut send_to_all = || {
        let before = taken();
        let message = SharedMessage::new(0, payload.clone());
        for peer in &mut peers {
            peer.session.send(now, 0, &message).unwrap();
            let len = peer.session.write_buf().len();
            assert!(len > LEN);
            peer.session.handle_written(now, len);
        }
        taken() - before
    };
    // One write buffer for each peer, and one compression: there is nowhere else to put a byte.
    let (least, most) = ((PEERS * LEN).cast_signed(), ((PEERS + 2) * LEN).cast_signed());
    for _ in 0..2 {
        let all = send_to_all();
        assert!((least..most).contains(&all), "{all} bytes taken for {PEERS} peers");
    }
}
