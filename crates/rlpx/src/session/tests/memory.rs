//! What the bytes of a peer cost while they are decoded, counted by the allocator of this crate's unit tests: handshake
//! packets, base messages, blocks of snappy, frames. A whole session's cost over long messages is `tests/allocation.rs`.

use bytes::Bytes;

use super::kit::*;
use crate::{
    BufferPool, DisconnectReason, Hello, SessionConfig, SharedMessage,
    config::{MAX_BASE_MESSAGE_LEN, MAX_HELLO_LEN, MAX_MESSAGE_LEN, MAX_READ_CHUNK},
    counting::{cost, held},
    ecies::{self, OVERHEAD, PREFIX_LEN},
    snappy,
};

/// A handshake packet is read into one buffer, kept for the MACs, copied to be opened, and its content copied out; with
/// the jobs for the curve, and the answer of 500 bytes, which is kept and queued.
const MAX_PACKET_COST: usize = 4 * 2050 + 4 * 1024;
/// At most 64 capabilities are stored; while their list grows the old one stands beside it.
const MAX_HELLO_COST: usize = 12 * MAX_HELLO_LEN;
/// What an end of a session costs: the Disconnect and the outputs.
const MAX_END_COST: usize = 2 * 1024;

/// Bytes of one RLP list.
fn list(payload: &[u8]) -> Vec<u8> {
    let mut bytes = match payload.len() {
        len @ 0..=55 => vec![0xc0 + len as u8],
        len => vec![0xf9, (len >> 8) as u8, len as u8],
    };
    bytes.extend_from_slice(payload);
    bytes
}

/// Payloads of at most `longest` bytes that nobody means: small items, alone and in lists.
fn hostile(longest: usize) -> Vec<Vec<u8>> {
    let mut payloads = vec![Vec::new(), vec![0xbf; longest], vec![0xff; longest]];
    for fill in [0x00, 0x01, 0x7f, 0x80, 0xc0, 0xc1] {
        for len in [1, 2, 50, 500, longest - 90] {
            let filled = vec![fill; len];
            payloads.push(filled.clone());
            payloads.push(list(&filled));
            payloads.push(list(&list(&list(&filled))));
            // A Hello up to its capabilities, which are these.
            let key = [&[0xb8, 64][..], &[7; 64]].concat();
            payloads.push(list(&[&[5, 0x80][..], &list(&filled), &[0x80], &key].concat()));
        }
    }
    payloads.retain(|payload| payload.len() <= longest);
    payloads
}

/// The Hello with the most capabilities in it that there can be: each a list of a letter and a number.
fn widest_hello() -> Vec<u8> {
    let mut pairs = Vec::new();
    for name in b'!'..=b'~' {
        for version in 1..=7 {
            pairs.extend([0xc2, name, version]);
        }
    }
    pairs.truncate((MAX_HELLO_LEN - 80) / 3 * 3);
    let key = [&[0xb8, 64][..], key(1).public_key().as_bytes()].concat();
    list(&[&[5, 0x80][..], &list(&pairs), &[0x80], &key].concat())
}

#[test]
fn f13_hello_costs_a_fixed_amount_at_most() {
    let widest = widest_hello();
    let (hello, spent) = cost(|| Hello::decode(&widest));
    assert_eq!(hello.unwrap().capabilities.len(), crate::p2p::MAX_CAPABILITIES);
    assert!(widest.len() > MAX_HELLO_LEN - 20 && spent <= MAX_HELLO_COST, "{spent} bytes");
    let name = list(&[&[5, 0xb9, 7, 0x80][..], &[0xff; 0x780], &[0xc0, 0x80, 0xb8, 64], &[7; 64]].concat());
    for payload in hostile(MAX_HELLO_LEN).into_iter().chain([name]) {
        let (_, spent) = cost(|| Hello::decode(&payload).is_ok());
        assert!(spent <= MAX_HELLO_COST, "{spent} bytes for {} of {:02x?}", payload.len(), payload.get(..20));
    }
}

#[test]
fn p09_disconnect_costs_nothing() {
    for payload in hostile(MAX_HELLO_LEN).into_iter().chain([vec![0xc0; 1 << 20], vec![0xff; 1 << 20]]) {
        assert_eq!(cost(|| _ = DisconnectReason::decode(&payload)).1, 0);
    }
}

#[test]
fn f08_a_block_costs_what_it_declares_within_the_limit_and_else_nothing() {
    for declared in [1001, 2000, 1 << 24, 1 << 31, u64::from(u32::MAX), 1 << 32, 1 << 35, 1 << 63, u64::MAX] {
        for behind in [0, 100, 100_000] {
            let block = [varint(declared), vec![0; behind]].concat();
            let (payload, spent) = cost(|| snappy::decompress(&block, 1000).is_ok());
            assert_eq!((payload, spent), (false, 0), "{declared} declared, {behind} bytes behind");
        }
    }
    // Five bytes and more that say little, and lengths without an end.
    for preamble in [&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01][..], &[0xff; 10], &[0x80; 5], &[0x80], &[]] {
        assert_eq!(cost(|| snappy::decompress(preamble, 1000).is_ok()), (false, 0), "{preamble:02x?}");
    }
    for len in [1, 1000, 1 << 20, MAX_MESSAGE_LEN] {
        let block = snappy::compress(&vec![7; len]);
        let (payload, spent) = cost(|| snappy::decompress(&block, len).unwrap());
        assert!(spent <= payload.len() + 64, "{spent} bytes for a payload of {len}");
    }
}

#[test]
fn f08_a_session_refuses_a_block_by_its_preamble() {
    let now = start();
    for declared in [1001, 1 << 24, 1 << 32, u64::MAX] {
        let mut limited = config(&key(2));
        limited.capabilities[0].max_message_len = 1000;
        let (mut end, mut peer) = Scripted::connected(now, limited, &hello(5));
        let frame = peer.frame(16, &[varint(declared), vec![0; 30]].concat());
        let (_, spent) = cost(|| end.read(now, &frame));
        assert!(spent <= MAX_END_COST, "{spent} bytes for {declared} declared");
        assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
    }
}

#[test]
fn h02_handshake_packets_cost_a_fixed_amount_at_most() {
    let now = start();
    let shared = key(9).agree(&key(2).public_key()).unwrap();
    let seal = |content: &[u8]| ecies::seal(&shared, &key(9).public_key(), [7; 16], content);
    let honest = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1).written(now);
    let mut packets = vec![honest];
    packets.extend(hostile(2048 - OVERHEAD).iter().map(|content| seal(content)));
    // Nothing opens these: the tag is wrong, and then the point.
    let mut bad_tag = seal(&[0xc0; 2048 - OVERHEAD]);
    *bad_tag.last_mut().unwrap() ^= 1;
    let mut bad_point = bad_tag.clone();
    bad_point[PREFIX_LEN] = 7;
    packets.extend([bad_tag, bad_point]);
    for packet in packets {
        let mut end = End::recipient(now, &key(2), config(&key(2)), 2);
        // The test's own notes, and a thread's context of the curve, are made before.
        end.urgencies.reserve(8);
        let (_, spent) = cost(|| end.read(now, &packet));
        assert!(spent <= MAX_PACKET_COST, "{spent} bytes for a packet of {}", packet.len());
    }
}

#[test]
fn h02_acks_cost_a_fixed_amount_at_most() {
    let now = start();
    let shared = key(9).agree(&key(1).public_key()).unwrap();
    for content in hostile(2048 - OVERHEAD) {
        let mut end = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
        end.written(now);
        end.urgencies.reserve(8);
        let ack = ecies::seal(&shared, &key(9).public_key(), [7; 16], &content);
        let (_, spent) = cost(|| end.read(now, &ack));
        assert!(spent <= MAX_PACKET_COST, "{spent} bytes for an ack of {}", ack.len());
    }
}

#[test]
fn f03_a_header_that_claims_16_mib_costs_what_comes_after_it() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(4));
    let frame = peer.frame(16, &vec![0x5a; MAX_MESSAGE_LEN - 1]);
    let before = held();
    let mut received = 0;
    // Drop by drop, then in pieces, and never to its end.
    let pieces = std::iter::repeat_n(1, 5_000).chain(std::iter::repeat_n(1460, 2_000));
    for piece in pieces {
        let held_before = (held() - before).cast_unsigned();
        let (_, spent) = cost(|| end.read(now, &frame[received..received + piece]));
        received += piece;
        let most = held_before + spent;
        assert!(most <= 3 * received + 2 * MAX_READ_CHUNK, "{most} bytes after {received} received");
        let kept = (held() - before).cast_unsigned();
        assert!(kept <= 2 * received + MAX_READ_CHUNK, "{kept} bytes kept after {received} received");
    }
    end.eof(now);
    assert!(held() - before <= MAX_READ_CHUNK.cast_signed(), "{} bytes kept after the end", held() - before);
}

#[test]
fn base_messages_after_hello_cost_a_fixed_amount_at_most() {
    let now = start();
    for code in [1, 2, 3, 4, 15] {
        for payload in hostile(MAX_BASE_MESSAGE_LEN) {
            let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
            let frame = peer.message(code, &payload);
            let (_, spent) = cost(|| end.read(now, &frame));
            let limit = 2 * (frame.len() + MAX_BASE_MESSAGE_LEN) + MAX_READ_CHUNK;
            assert!(spent <= limit, "code {code}: {spent} bytes for {}", payload.len());
        }
    }
}

#[test]
fn f03_messages_that_are_kept_hold_no_more_than_their_own_memory_and_a_third() {
    const COUNT: usize = 200;
    let now = start();
    let lengths = [100, 10_000, 16_400, 33_000, 50_000, 65_000, 70_000, 300_000];
    for (version, len) in lengths.into_iter().flat_map(|len| [(4, len), (5, len)]) {
        let buffers = BufferPool::new();
        let [one, other] = [1, 2].map(|number| {
            let mut config = SessionConfig { buffers: buffers.clone(), ..config(&key(number)) };
            config.hello.protocol_version = version;
            config
        });
        let (mut a, mut b) = pair(now, one, other);
        // Not to be compressed: what inflates is paid for.
        let noise =
            |len: usize| -> Bytes { (0..len as u32).map(|at| (at.wrapping_mul(at) >> 7) as u8).collect() };
        let (burst, message) = (SharedMessage::new(0, noise(60_000)), SharedMessage::new(0, noise(len)));
        // A burst, after which as much is read at once as ever.
        for _ in 0..20 {
            a.session.send(now, 0, &burst).unwrap();
            let bytes = a.written(now);
            assert_eq!(b.read(now, &bytes), bytes.len());
        }
        b.messages = Vec::with_capacity(COUNT);
        let before = held();
        for _ in 0..COUNT {
            a.session.send(now, 0, &message).unwrap();
            let frame = a.written(now);
            assert_eq!(b.read(now, &frame), frame.len());
        }
        let (kept, most) = (held() - before, COUNT * len / 3 * 4 + COUNT * 100 + 2 * MAX_READ_CHUNK);
        assert_eq!(b.messages.len(), COUNT);
        assert!(kept.unsigned_abs() <= most, "{kept} bytes for {COUNT} messages of {len}");
    }
}
