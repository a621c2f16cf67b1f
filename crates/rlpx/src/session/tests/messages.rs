//! Messages of capabilities: routing, compression, limits, queues. `rlpx.md`, "Capability Messaging"; EIP-706.
//! Base messages are `base.rs`; the queue between a protocol and its connection is tested in `driver/queue.rs`.

use bytes::Bytes;
use rand::{Rng, RngExt};

use super::kit::*;
use crate::{
    Capability, DisconnectReason, Hello, LocalCapability, Reject, SendError, SessionConfig, SessionEnd,
    SharedMessage,
    buffer_pool::BufferPool,
    config::{COMPRESS_IN_PLACE_LEN, MAX_MESSAGE_LEN, MAX_READ_CHUNK, MAX_WRITE_KEPT, WRITE_HIGH_WATER},
    shared_capabilities, snappy,
};

fn message(code: u64, payload: impl Into<Bytes>) -> SharedMessage {
    SharedMessage::new(code, payload.into())
}

/// Bytes that compress badly.
fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng(seed).fill_bytes(&mut bytes);
    bytes
}

/// A node that speaks version 4 of the base protocol, from before compression.
fn version_4(byte: u8) -> SessionConfig {
    let mut config = config(&key(byte));
    config.hello.protocol_version = 4;
    config
}

#[test]
fn messages_of_every_size_round_trip_with_and_without_snappy() {
    let now = start();
    for plain in [false, true] {
        let dialler = if plain { version_4(1) } else { config(&key(1)) };
        let (mut a, mut b) = pair(now, dialler, config(&key(2)));
        let lens = (0..70).chain([255, 256, 4095, 16_384, 65_535, 65_536, 100_000, 1 << 20, 5_000_000]);
        for (index, len) in lens.chain([COMPRESS_IN_PLACE_LEN, COMPRESS_IN_PLACE_LEN + 1]).enumerate() {
            let payload = if index % 2 == 0 { noise(len, 9) } else { vec![0; len] };
            let message = message(index as u64 % 3, payload.clone());
            a.session.send(now, 0, &message).unwrap();
            let frame_len = a.session.write_buf().len();
            pump(now, &mut a, &mut b);
            // A message of its own: the other has its compressed form.
            let message = SharedMessage::new(message.code(), message.payload().clone());
            a.session.send_alone(now, 0, &message).unwrap();
            assert_eq!(a.session.write_buf().len(), frame_len);
            pump(now, &mut a, &mut b);
            assert_eq!(b.messages.len(), 2);
            for (protocol, received) in b.messages.drain(..) {
                assert_eq!((protocol, received.code), (0, index as u64 % 3));
                assert!(received.payload == payload, "{len} bytes");
            }
        }
        assert_eq!((a.end, b.end), (None, None));
    }
}

#[test]
fn long_buffers_go_to_the_pool_once_they_are_written_or_read() {
    const LEN: usize = 1 << 20;
    let now = start();
    let [mut ours, mut theirs] = [config(&key(1)), config(&key(2))];
    let (written, read) = (BufferPool::new(), BufferPool::new());
    (ours.buffers, theirs.buffers) = (written.clone(), read.clone());
    let (mut a, mut b) = pair(now, ours, theirs);
    for _ in 0..3 {
        a.session.send(now, 0, &message(1, noise(LEN, 3))).unwrap();
        pump(now, &mut a, &mut b);
        let (_, received) = b.messages.pop().expect("arrived");
        assert!(received.payload == noise(LEN, 3));
        // Compressed and encrypted, then read and inflated: two buffers at each end, the last one in the message.
        let lent = read.free_len();
        assert!((LEN..LEN + LEN / 2).contains(&lent), "{lent}");
        drop(received);
        assert!((2 * LEN..3 * LEN).contains(&read.free_len()), "{}", read.free_len());
        assert!((2 * LEN..3 * LEN).contains(&written.free_len()), "{}", written.free_len());
        assert!(a.session.egress.capacity() <= MAX_WRITE_KEPT, "{}", a.session.egress.capacity());
        assert!(b.session.ingress.buffer.capacity() <= MAX_READ_CHUNK);
    }
}

#[test]
fn without_a_pool_long_buffers_are_freed_once_they_are_written() {
    let now = start();
    let (mut a, mut b) = pair(now, config(&key(1)), config(&key(2)));
    for _ in 0..3 {
        a.session.send(now, 0, &message(1, noise(1 << 20, 3))).unwrap();
        pump(now, &mut a, &mut b);
        assert!(a.session.egress.capacity() <= MAX_WRITE_KEPT, "{}", a.session.egress.capacity());
    }
    assert_eq!(b.messages.len(), 3);
}

#[test]
fn many_messages_go_in_one_write() {
    let now = start();
    let (mut a, mut b) = pair(now, config(&key(1)), config(&key(2)));
    for count in 0..200u8 {
        a.session.send(now, 0, &message(1, vec![0x81, 0x80 | count])).unwrap();
    }
    let bytes = a.written(now);
    assert_eq!(b.read(now, &bytes), bytes.len());
    let received: Vec<u8> = b.messages.iter().map(|(_, message)| message.payload[1]).collect();
    assert_eq!(received, (0..200).map(|count| 0x80 | count).collect::<Vec<u8>>());
}

#[test]
fn messages_may_be_cut_at_every_byte() {
    let now = start();
    let (mut a, mut b) = pair(now, config(&key(1)), config(&key(2)));
    let payload = noise(250, 1);
    for at in 0..400 {
        a.session.send(now, 0, &message(2, payload.clone())).unwrap();
        let bytes = a.written(now);
        let cut = at.min(bytes.len());
        b.read(now, &bytes[..cut]);
        b.read(now, &bytes[cut..]);
        assert_eq!(b.messages.pop().unwrap().1.payload, payload, "cut at {at}");
    }
}

#[test]
fn one_message_reaches_many_peers_and_is_compressed_once() {
    let now = start();
    let shared = message(1, vec![0; 10_000]);
    let block = shared.compressed().as_ptr();
    for _ in 0..3 {
        let (mut a, mut b) = pair(now, config(&key(1)), config(&key(2)));
        a.session.send(now, 0, &shared).unwrap();
        pump(now, &mut a, &mut b);
        assert_eq!(b.messages[0].1.payload, vec![0; 10_000]);
        assert_eq!(shared.compressed().as_ptr(), block);
    }
}

#[test]
fn p05_offsets_follow_names_and_highest_common_versions() {
    let local = [
        capability("eth", 68, 17),
        capability("eth", 69, 18),
        capability("eth", 66, 99),
        capability("snap", 1, 8),
        capability("zero", 1, 0),
        capability("zz", 3, 5),
    ];
    let remote = |list: &[(&str, u32)]| -> Vec<Capability> {
        list.iter().map(|(name, version)| Capability::new(name, *version).unwrap()).collect()
    };
    let found = |list: &[(&str, u32)]| -> Vec<(String, u64)> {
        let shared = shared_capabilities(&local, &remote(list));
        shared.iter().map(|shared| (shared.capability().to_string(), shared.offset)).collect()
    };
    let named = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter().map(|(name, offset)| ((*name).to_owned(), *offset)).collect()
    };
    let all = [("zz", 3), ("snap", 1), ("eth", 66), ("eth", 68), ("eth", 69), ("zero", 1)];
    assert_eq!(found(&all), named(&[("eth/69", 16), ("snap/1", 34), ("zero/1", 42), ("zz/3", 42)]));
    assert_eq!(found(&[("eth", 68), ("eth", 67), ("snap", 2)]), named(&[("eth/68", 16)]));
    assert_eq!(found(&[("ETH", 68), ("Snap", 1)]), named(&[]));
}

/// The specification's rule, told the slow way: names in order, of each the highest version in both lists.
fn reference(local: &[LocalCapability], remote: &[Capability]) -> Vec<(Capability, u64)> {
    let mut offset = 16;
    let mut names: Vec<_> = local.iter().map(|own| own.capability.name).collect();
    names.sort_by(|a, b| a.as_str().as_bytes().cmp(b.as_str().as_bytes()));
    names.dedup();
    let mut shared = Vec::new();
    for name in names {
        for version in (0..100).rev() {
            let wanted = Capability { name, version };
            let own = local.iter().find(|own| own.capability == wanted);
            if let (Some(own), true) = (own, remote.contains(&wanted)) {
                shared.push((wanted, offset));
                offset += own.message_count;
                break;
            }
        }
    }
    shared
}

#[test]
fn p05_offsets_equal_a_reference_model_on_random_sets() {
    let mut rng = rng(50);
    let names = ["eth", "ETH", "et", "ethx", "snap", "a", "zzzzzzzz", "les"];
    let mut shares = 0;
    for _ in 0..1000 {
        let mut own = |count: usize| -> Vec<LocalCapability> {
            let mut list: Vec<LocalCapability> = Vec::new();
            for _ in 0..count {
                let name = names[rng.random_range(0..names.len())];
                let next = capability(name, rng.random_range(0..5), rng.random_range(0..20));
                if list.iter().all(|own| own.capability != next.capability) {
                    list.push(next);
                }
            }
            list
        };
        let (local, other) = (own(8), own(10));
        let remote: Vec<Capability> = other.iter().map(|own| own.capability).collect();
        let found = shared_capabilities(&local, &remote);
        let pairs: Vec<_> = found.iter().map(|shared| (shared.capability(), shared.offset)).collect();
        assert_eq!(pairs, reference(&local, &remote));
        shares += usize::from(found.len() > 1);
    }
    assert!(shares > 300, "the sets must overlap to say anything: {shares}");
}

#[test]
fn p05_several_capabilities_share_a_session_without_confusion() {
    let now = start();
    let offers =
        |byte: u8, list: Vec<LocalCapability>| SessionConfig::new(key(byte).public_key(), "many", list);
    let (mut a, mut b) = pair(
        now,
        offers(
            1,
            vec![capability("c", 1, 4), capability("a", 1, 2), capability("a", 2, 3), capability("x", 1, 9)],
        ),
        offers(2, vec![capability("a", 2, 3), capability("b", 1, 7), capability("c", 1, 4)]),
    );
    assert_eq!(a.session.shared(), b.session.shared());
    let mut sent = Vec::new();
    for (protocol, count) in [(0, 3), (1, 4)] {
        for code in 0..count {
            a.session.send(now, protocol, &message(code, vec![protocol as u8])).unwrap();
            sent.push((protocol, code));
        }
        assert_eq!(a.session.send(now, protocol, &message(count, vec![0])), Err(SendError::UnknownCode));
    }
    assert_eq!(a.session.send(now, 2, &message(0, vec![0])), Err(SendError::UnknownCode));
    pump(now, &mut a, &mut b);
    let received: Vec<_> = b.messages.iter().map(|(protocol, message)| (*protocol, message.code)).collect();
    assert_eq!(received, sent);
}

#[test]
fn f08_what_a_block_declares_is_refused_before_it_is_inflated() {
    let mut limited = config(&key(2));
    limited.capabilities[0].max_message_len = 1000;
    let now = start();
    for declared in [1001, 1 << 24, u64::from(u32::MAX), 1 << 32, u64::MAX] {
        let (mut end, mut peer) = Scripted::connected(now, limited.clone(), &hello(5));
        let mut block = varint(declared);
        block.extend_from_slice(&[0; 100]);
        let frame = peer.frame(16, &block);
        end.read(now, &frame);
        assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError, "{declared}");
        assert!(end.messages.is_empty());
    }
    // Within the limit, but more than the block's length can account for.
    assert!(snappy::decompress(&[varint(100_000), vec![0; 100]].concat(), MAX_MESSAGE_LEN).is_err());
    let honest = snappy::compress(&vec![0; MAX_MESSAGE_LEN]);
    assert_eq!(snappy::decompress(&honest, MAX_MESSAGE_LEN).unwrap().len(), MAX_MESSAGE_LEN);
}

#[test]
fn e04_a_payload_over_its_capabilitys_limit_is_refused() {
    let now = start();
    for version in [4, 5] {
        for (len, taken) in [(1000, true), (1001, false)] {
            let mut limited = config(&key(2));
            limited.capabilities[0].max_message_len = 1000;
            let rejects = limited.rejects.clone();
            let (mut end, mut peer) = Scripted::connected(now, limited, &hello(version));
            let frame = peer.message(16, &noise(len, 3));
            end.read(now, &frame);
            assert_eq!(end.messages.len(), usize::from(taken), "{len} bytes, version {version}");
            if !taken {
                assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
                assert_eq!(rejects.count(Reject::MessageSize), 1);
            }
        }
    }
}

#[test]
fn f03_a_frame_over_what_any_message_can_take_is_refused_by_its_header() {
    let now = start();
    let mut limited = config(&key(2));
    limited.capabilities[0].max_message_len = 100_000;
    let (mut end, mut peer) = Scripted::connected(now, limited, &hello(5));
    let frame = peer.frame(16, &vec![0; 200_000]);
    assert_eq!(end.read(now, &frame[..32]), 32);
    assert_eq!(end.read(now, &frame[32..]), 0, "the body must not be taken");
    assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
}

#[test]
fn f03_a_frame_over_what_its_own_message_can_take_is_refused_once_its_code_is_there() {
    let now = start();
    let long = vec![0x5a; 15 << 20];
    for version in [4, 5] {
        // A Ping, a Disconnect, a code that nobody uses, a protocol with short messages and one with long ones beside it.
        for (code, refused) in [(2, true), (1, true), (9, true), (16, true), (19, false)] {
            let offered = || vec![capability("chat", 1, 3), capability("files", 1, 3)];
            let mut own = SessionConfig::new(key(2).public_key(), "test/1.0", offered());
            own.capabilities[0].max_message_len = 1_000;
            let hello = SessionConfig::new(key(1).public_key(), "test/1.0", offered()).hello;
            let hello = Hello { protocol_version: version, ..hello };
            let (mut end, mut peer) = Scripted::connected(now, own, &hello);
            let frame = peer.frame(code, &long);
            let read = end.read(now, &frame);
            assert_eq!(read < 128 * 1024, refused, "code {code}, version {version}: {read} bytes were taken");
            if refused {
                assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
            }
        }
    }
}

#[test]
fn f03_a_long_frame_without_a_code_is_refused_as_soon_as_that_can_be_told() {
    let now = start();
    // A list, a number of nine bytes, one that is longer than it need be.
    for first in [0xc1, 0x89, 0x82] {
        let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
        let mut frame = peer.frame(16, &vec![0; 1 << 20]);
        // The cipher adds a stream to what it is given: so it is `first` that comes out.
        frame[32] ^= 16 ^ first;
        let read = end.read(now, &frame);
        assert!(read < 128 * 1024, "{first:#x}: {read} bytes were taken");
        assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
    }
}

#[test]
fn f10_malformed_blocks_are_refused() {
    let now = start();
    let blocks: [(&str, &[u8]); 12] = [
        ("empty", &[]),
        ("unfinished length", &[0x80]),
        ("length of six bytes", &[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]),
        ("nothing after the length", &[4]),
        ("literal past the end", &[4, 3 << 2, 1, 2]),
        ("literal past the output", &[2, 3 << 2, 1, 2, 3, 4]),
        ("short output", &[9, 3 << 2, 1, 2, 3, 4]),
        ("copy with offset 0", &[8, 3 << 2, 1, 2, 3, 4, 0b1, 0]),
        ("copy from before the start", &[8, 3 << 2, 1, 2, 3, 4, 0b1, 5]),
        ("copy past the output", &[5, 3 << 2, 1, 2, 3, 4, 0b1, 4]),
        ("cut copy", &[8, 3 << 2, 1, 2, 3, 4, 0b10, 4]),
        ("trailing bytes", &[4, 3 << 2, 1, 2, 3, 4, 0]),
    ];
    for (name, block) in blocks {
        let config = config(&key(2));
        let rejects = config.rejects.clone();
        let (mut end, mut peer) = Scripted::connected(now, config, &hello(5));
        let frame = peer.frame(16, block);
        end.read(now, &frame);
        assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError, "{name}");
        assert_eq!((end.messages.len(), rejects.count(Reject::FrameSnappy)), (0, 1), "{name}");
    }
    let whole = snappy::compress(&noise(300, 1));
    for len in 0..whole.len() {
        assert!(snappy::decompress(&whole[..len], 1000).is_err(), "cut at {len}");
    }
}

#[test]
fn f11_compression_begins_after_hello_and_only_from_version_5() {
    let now = start();
    // A compressed Hello is no Hello.
    let mut end = End::recipient(now, &key(2), config(&key(2)), 2);
    let mut peer = Scripted::dial(now, &mut end);
    let greeting = end.written(now);
    assert_eq!(peer.receive(&greeting).len(), 1);
    let frame = peer.frame(0, &snappy::compress(&hello(5).encode()));
    end.read(now, &frame);
    assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
    assert!(end.hello.is_none());
    // Version 4 goes on uncompressed.
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(4));
    let frame = peer.frame(17, b"\x85plain");
    end.read(now, &frame);
    assert_eq!(end.messages[0].1.payload, &b"\x85plain"[..]);
    end.session.send(now, 0, &message(1, &b"\x85plain"[..])).unwrap();
    let written = end.written(now);
    assert_eq!(peer.receive(&written), [(17, b"\x85plain".to_vec())]);
    // A peer of version 5 cannot change its mind.
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    let (good, flipped) = (peer.message(16, b"\x85plain"), peer.frame(16, b"\x85plain"));
    end.read(now, &good);
    assert_eq!((end.messages.len(), end.end), (1, None));
    end.read(now, &flipped);
    assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
}

#[test]
fn f05_a_message_may_be_its_code_alone() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(4));
    let frame = peer.frame(16, &[]);
    end.read(now, &frame);
    assert!(end.messages[0].1.payload.is_empty());
}

#[test]
fn f17_what_cannot_be_sent_leaves_the_session_intact() {
    let now = start();
    let (mut a, mut b) = pair(now, config(&key(1)), config(&key(2)));
    let too_long = message(0, vec![0; MAX_MESSAGE_LEN + 1]);
    assert_eq!(a.session.send(now, 0, &too_long), Err(SendError::TooLarge));
    // Fits before compression, but noise grows by it.
    assert_eq!(a.session.send(now, 0, &message(0, noise(MAX_MESSAGE_LEN, 1))), Err(SendError::TooLarge));
    assert!(a.session.write_buf().is_empty());
    a.session.send(now, 0, &message(0, vec![0; MAX_MESSAGE_LEN])).unwrap();
    pump(now, &mut a, &mut b);
    assert_eq!(b.messages[0].1.payload.len(), MAX_MESSAGE_LEN);
}

#[test]
fn p13_a_peer_that_never_reads_fills_no_more_than_the_high_water_and_one_message() {
    let now = start();
    let (mut a, _) = pair(now, config(&key(1)), config(&key(2)));
    let long = message(0, noise(1_000_000, 1));
    let mut sent = 0;
    while a.session.has_room() {
        a.session.send(now, 0, &message(0, noise(10_000, 2))).unwrap();
        sent += 1;
    }
    assert_eq!(a.session.send(now, 0, &long), Err(SendError::Full));
    assert!((6..=7).contains(&sent) && a.session.write_buf().len() < WRITE_HIGH_WATER + 11_000);
    let waits = a.session.write_buf().len();
    assert_eq!(a.session.queued(), a.session.written() + waits as u64);
    a.session.handle_written(now, waits / 2);
    assert!(a.session.has_room());
    assert_eq!(a.session.send(now, 0, &long), Ok(()));
    assert_eq!(a.session.send(now, 0, &long), Err(SendError::Full));
}

#[test]
fn a_paused_session_puts_out_nothing_and_loses_nothing() {
    let now = start();
    let (mut a, mut b) = pair(now, config(&key(1)), config(&key(2)));
    for code in 0..3 {
        a.session.send(now, 0, &message(code, vec![0xc0])).unwrap();
    }
    let bytes = a.written(now);
    let room = b.session.read_buf();
    room[..bytes.len()].copy_from_slice(&bytes);
    b.session.handle_read(now, bytes.len());
    // The owner takes one message and has no room for the next.
    assert!(b.session.poll_output().is_some());
    assert!(!b.session.want_read(), "not while outputs are to be polled");
    b.session.pause_reading(now, true);
    assert!(b.session.poll_output().is_none() && !b.session.want_read());
    b.session.pause_reading(now, false);
    b.drain(now);
    assert_eq!(b.messages.iter().map(|(_, message)| message.code).collect::<Vec<_>>(), [1, 2]);
    assert!(b.session.want_read());
}

#[test]
fn messages_are_refused_before_and_after_the_session_runs() {
    let now = start();
    let mut a = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
    let mut b = End::recipient(now, &key(2), config(&key(2)), 2);
    b.admits = false;
    let message = message(0, vec![0xc0]);
    assert_eq!(a.session.send(now, 0, &message), Err(SendError::Closed));
    pump(now, &mut a, &mut b);
    assert_eq!(b.session.send(now, 0, &message), Err(SendError::Closed));
    b.session.disconnect(now, DisconnectReason::Quitting);
    b.drain(now);
    pump(now, &mut a, &mut b);
    assert_eq!(a.end, Some(SessionEnd::Remote(DisconnectReason::Quitting)));
    assert_eq!(a.session.send(now, 0, &message), Err(SendError::Closed));
}

#[test]
fn random_bytes_in_place_of_frames_never_panic() {
    let now = start();
    for seed in 0..300 {
        let (mut end, _) = Scripted::connected(now, config(&key(2)), &hello(5));
        end.read(now, &noise(64, seed));
        assert_eq!(end.broken(), crate::SessionError::Mac);
    }
}

#[test]
fn random_payloads_of_base_messages_never_panic() {
    let now = start();
    let mut rng = rng(77);
    for _ in 0..2000 {
        let mut payload = vec![0; rng.random_range(0..80)];
        rng.fill_bytes(&mut payload);
        let _ = crate::Hello::decode(&payload);
        let _ = DisconnectReason::decode(&payload);
        let _ = snappy::decompress(&payload, 4096);
    }
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(4));
    let frame = peer.frame(1, &noise(40, 4));
    end.read(now, &frame);
    assert!(matches!(end.end, Some(SessionEnd::Remote(_))));
}
