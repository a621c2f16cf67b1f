//! The base protocol: Hello, Disconnect, Ping, Pong, reserved and unknown codes, mostly from a scripted peer.
//! What goes wrong before Hello is `handshake.rs`, what only time shows `timers.rs`. `rlpx.md`, "p2p Capability".

use std::time::Duration;

use rlp::RlpStream;

use super::kit::*;
use crate::{
    Capability, DisconnectReason, Hello, Reject, SessionConfig, SessionEnd, SessionError, SessionLimits,
    SharedMessage,
    config::{MAX_BASE_MESSAGE_LEN, MAX_HELLO_LEN, MAX_MESSAGE_LEN},
    error::{Incompatibility, Misbehaviour},
    p2p::MAX_CAPABILITIES,
};

/// A recipient in Greeting, and the scripted peer that has not said Hello.
fn greeting() -> (End, Scripted) {
    let now = start();
    let mut end = End::recipient(now, &key(2), config(&key(2)), 2);
    let mut peer = Scripted::dial(now, &mut end);
    let hello = end.written(now);
    assert_eq!(peer.receive(&hello)[0].0, 0);
    (end, peer)
}

/// What comes of a first message with this payload: the session, and the peer's view.
fn first_message(code: u64, payload: &[u8]) -> (End, Scripted) {
    let (mut end, mut peer) = greeting();
    let frame = peer.frame(code, payload);
    end.read(start(), &frame);
    (end, peer)
}

/// A Hello of the node with key 1 whose capabilities and key are as given.
fn raw_hello(capabilities: &[Vec<u8>], id: &[u8]) -> Vec<u8> {
    let mut stream = RlpStream::new_list(5);
    stream.append(&5u8).append(&"odd").begin_list(capabilities.len());
    for capability in capabilities {
        stream.append_raw(capability, 1);
    }
    stream.append(&0u8).append(&id);
    stream.out().to_vec()
}

fn raw_capability(name: &[u8], version: u64) -> Vec<u8> {
    let mut stream = RlpStream::new_list(2);
    stream.append(&name).append(&version);
    stream.out().to_vec()
}

fn id() -> [u8; 64] {
    *key(1).public_key().as_bytes()
}

#[test]
fn eip8_hello_is_read() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../../../tests/eip8.json")).unwrap();
    let payload = hex::decode(vectors["hello"]["hex"].as_str().unwrap()).unwrap();
    let hello = Hello::decode(&payload).unwrap();
    assert_eq!(hello.protocol_version, 55);
    assert_eq!(hello.client_name, "kneth/v0.91/plan9");
    assert_eq!(
        hello.capabilities.iter().map(Capability::to_string).collect::<Vec<_>>(),
        ["eth/61", "mork/22"]
    );
    assert_eq!(hello.listen_port, 9999);
    assert!(hex::encode(hello.public_key.as_bytes()).starts_with("fda1cff674c90c9a"));
}

#[test]
fn hello_round_trips() {
    let hello = Hello { listen_port: 30303, ..hello(5) };
    assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
}

#[test]
fn p01_odd_capabilities_are_ignored_and_never_fatal() {
    let mut odd = vec![
        raw_capability(b"", 1),
        raw_capability(b"ninechars", 1),
        raw_capability(&[b'x'; 300], 1),
        raw_capability(&[0xff, 0xfe], 1),
        raw_capability(b"chat", u64::MAX),
        raw_capability(b"chat", 1),
        raw_capability(b"chat", 1),
        vec![0x80],
        vec![0xc0],
        vec![0xc1, 0x80],
        vec![0xc2, 0xc0, 0xc0],
    ];
    odd.extend((0..120).map(|version| raw_capability(b"many", version)));
    let payload = raw_hello(&odd, &id());
    assert!(payload.len() < crate::config::MAX_HELLO_LEN);
    let (end, _) = first_message(0, &payload);
    let (hello, shared) = end.hello.expect("let in");
    assert_eq!((shared.len(), shared[0].name.as_str()), (1, "chat"));
    assert_eq!(hello.capabilities.len(), MAX_CAPABILITIES);
    assert_eq!(hello.capabilities[0].to_string(), "chat/1");
}

#[test]
fn p01_a_long_or_unreadable_client_name_is_no_error() {
    let mut hello = hello(5);
    hello.client_name = "x".repeat(1900);
    assert!(first_message(0, &hello.encode()).0.hello.is_some());
    let mut stream = RlpStream::new_list(5);
    stream.append(&5u8).append(&[0xff, 0x0a, 0x1b, 0x00].as_slice()).begin_list(1);
    stream.append_raw(&raw_capability(b"chat", 1), 1).append(&70_000u32).append(&id().as_slice());
    let (end, _) = first_message(0, &stream.out());
    let hello = end.hello.unwrap().0;
    assert_eq!((hello.client_name.as_str(), hello.listen_port), ("\u{fffd}\n\u{1b}\0", 0));
}

#[test]
fn p01_a_hello_of_any_version_is_taken_and_compression_begins_with_the_fifth() {
    let now = start();
    for version in [0, 1, 4, 5, 6, 255, u64::from(u32::MAX) + 1, u64::MAX] {
        let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(version));
        let frame = peer.message(16, &[0x55; 100]);
        end.read(now, &frame);
        assert_eq!((end.messages.len(), end.end), (1, None), "version {version}");
        assert_eq!(end.messages[0].1.payload, [0x55; 100].as_slice(), "version {version}");
    }
}

#[test]
fn p01_a_hello_over_two_kib_is_refused_by_its_header() {
    let mut hello = hello(5);
    hello.client_name = "x".repeat(2100);
    let (mut end, mut peer) = greeting();
    let frame = peer.frame(0, &hello.encode());
    let (header, body) = frame.split_at(32);
    assert_eq!(end.read(start(), header), 32);
    assert_eq!(end.read(start(), body), 0, "the body must not be taken");
    assert_eq!(peer.disconnected(start(), &mut end), DisconnectReason::ProtocolError);
}

#[test]
fn p01_no_hello_that_is_cut_or_not_rlp_is_taken() {
    let whole = hello(5).encode();
    for len in 0..whole.len() {
        let (end, _) = first_message(0, &whole[..len]);
        assert!(end.hello.is_none(), "{len} bytes");
    }
    for payload in
        [&[0x80][..], &[0xc0], &[0xff; 9], &[0xbf; 9], &[0xf8, 0x01, 0x00], &[0xc4, 5, 0x80, 0xc0, 0]]
    {
        let (mut end, mut peer) = first_message(0, payload);
        assert_eq!(peer.disconnected(start(), &mut end), DisconnectReason::ProtocolError);
        assert!(matches!(end.end, Some(SessionEnd::Local { error: Some(SessionError::Malformed(_)), .. })));
    }
}

#[test]
fn p02_a_key_that_is_none_is_invalid_and_another_is_unexpected() {
    for len in [0, 2, 63, 65, 128] {
        let (mut end, mut peer) = first_message(0, &raw_hello(&[raw_capability(b"chat", 1)], &vec![7; len]));
        assert_eq!(peer.disconnected(start(), &mut end), DisconnectReason::InvalidIdentity, "{len} bytes");
    }
    let (mut end, mut peer) = first_message(0, &raw_hello(&[raw_capability(b"chat", 1)], &[0; 64]));
    assert_eq!(peer.disconnected(start(), &mut end), DisconnectReason::InvalidIdentity);

    let other = Hello { public_key: key(3).public_key(), ..hello(5) };
    let (mut end, mut peer) = first_message(0, &other.encode());
    peer.snappy = true;
    assert_eq!(peer.disconnected(start(), &mut end), DisconnectReason::UnexpectedIdentity);
    assert!(end.hello.is_none(), "such a Hello is not put out");
    assert_eq!(end.session.hello().unwrap().public_key, key(3).public_key());
}

#[test]
fn h15_a_dialed_node_whose_hello_names_another_key_is_told_so() {
    let now = start();
    // It holds the key that was dialed, and calls itself by another.
    let mut a = End::initiator(now, &key(1), config(&key(1)), key(2).public_key(), 1);
    let mut b = End::recipient(now, &key(2), config(&key(3)), 2);
    let rejects = a.session.config.rejects.clone();
    pump(now, &mut a, &mut b);
    assert_eq!(a.told(), DisconnectReason::UnexpectedIdentity);
    assert_eq!(b.end, Some(SessionEnd::Remote(DisconnectReason::UnexpectedIdentity)));
    assert!(a.hello.is_none() && b.messages.is_empty());
    assert_eq!((rejects.count(Reject::HelloIdentity), rejects.total()), (1, 1));
}

#[test]
fn p02_a_peer_without_a_shared_capability_is_useless() {
    let none = Hello { capabilities: vec![Capability::new("Chat", 1).unwrap()], ..hello(5) };
    let (mut end, mut peer) = first_message(0, &none.encode());
    peer.snappy = true;
    assert_eq!(peer.disconnected(start(), &mut end), DisconnectReason::UselessPeer);
    let error = SessionError::Incompatible(Incompatibility::NothingShared);
    assert!(matches!(end.end, Some(SessionEnd::Local { error: Some(found), .. }) if found == error));
    // A node that offers nothing has nothing to miss.
    let offers_nothing = crate::SessionConfig::new(key(2).public_key(), "tool", vec![]);
    let (end, _) = Scripted::connected(start(), offers_nothing, &none);
    assert!(end.session.is_running() && end.session.shared().is_empty());
}

#[test]
fn p03_only_hello_or_disconnect_come_first() {
    for code in (2..40).chain([1 << 40]) {
        let (mut end, mut peer) = first_message(code, &[0xc0]);
        assert_eq!(peer.disconnected(start(), &mut end), DisconnectReason::ProtocolError, "code {code}");
    }
    let (end, _) = first_message(1, &[0xc1, 0x04]);
    assert_eq!(end.end, Some(SessionEnd::Remote(DisconnectReason::TooManyPeers)));
}

#[test]
fn p03_a_second_hello_is_a_breach() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    let frame = peer.message(0, &hello(5).encode());
    end.read(now, &frame);
    assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
}

#[test]
fn p04_every_code_is_taken_ignored_or_refused() {
    let now = start();
    for version in [4, 5] {
        for code in (2..=64).chain([255, 256, 1 << 32, u64::MAX]) {
            let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(version));
            let frame = peer.message(code, &[0xc0]);
            end.read(now, &frame);
            match code {
                2..16 => assert_eq!((end.end, end.messages.len()), (None, 0), "code {code}"),
                16..19 => assert_eq!(end.messages[0].1.code, code - 16),
                _ => assert_eq!(
                    peer.disconnected(now, &mut end),
                    DisconnectReason::ProtocolError,
                    "code {code}"
                ),
            }
        }
    }
}

#[test]
fn p04_the_eleventh_reserved_code_is_a_breach() {
    let now = start();
    let config = config(&key(2));
    let rejects = config.rejects.clone();
    let (mut end, mut peer) = Scripted::connected(now, config, &hello(5));
    for count in 1..=11 {
        assert_eq!(end.end, None, "before the {count}th");
        let frame = peer.message(3 + count, &[0xc0]);
        end.read(now, &frame);
    }
    assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
    assert!(matches!(
        end.end,
        Some(SessionEnd::Local {
            error: Some(SessionError::Misbehaved(Misbehaviour::ReservedCodes { code: 14 })),
            ..
        })
    ));
    assert_eq!((rejects.count(Reject::ReservedCode), rejects.total()), (1, 1));
}

#[test]
fn p06_pings_over_the_rate_are_a_breach_and_one_pong_waits_at_most() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    for _ in 0..SessionLimits::DEFAULT.ping_burst {
        let ping = peer.message(2, &[0xc0]);
        end.read(now, &ping);
    }
    let pongs = end.written(now);
    assert_eq!(peer.receive(&pongs), [(3, vec![0xc0])]);
    let mut later = now;
    for _ in 0..20 {
        later = later.later(Duration::from_secs(1));
        let ping = peer.message(2, &[0xc0]);
        end.read(later, &ping);
        let pong = end.written(later);
        assert_eq!(peer.receive(&pong), [(3, vec![0xc0])]);
    }
    let ping = peer.message(2, &[0xc0]);
    end.read(later, &ping);
    assert_eq!(peer.disconnected(later, &mut end), DisconnectReason::ProtocolError);
}

#[test]
fn p06_the_rate_of_pings_and_the_reserved_codes_ignored_are_as_the_owner_says() {
    let now = start();
    let limits = SessionLimits { ping_burst: 1, reserved_messages: 1, ..SessionLimits::DEFAULT };
    let strict = || SessionConfig { limits, ..config(&key(2)) };
    for code in [2, 4] {
        let (mut end, mut peer) = Scripted::connected(now, strict(), &hello(5));
        let one = peer.message(code, &[0xc0]);
        end.read(now, &one);
        let answer = end.written(now);
        assert_eq!((peer.receive(&answer).len(), end.session.is_running()), (usize::from(code == 2), true));
        let another = peer.message(code, &[0xc0]);
        end.read(now, &another);
        assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError, "code {code}");
    }
}

#[test]
fn p07_long_pings_and_pongs_are_refused_before_they_are_inflated() {
    let now = start();
    for code in [2, 3] {
        for (len, taken) in [(0, true), (1, true), (1024, true), (1025, false), (1 << 20, false)] {
            for version in [4, 5] {
                let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(version));
                let payload: Vec<u8> = (0..len).map(|place: u32| place as u8).collect();
                let frame = peer.message(code, &payload);
                end.read(now, &frame);
                assert_eq!(end.session.is_running(), taken, "code {code}, {len} bytes, version {version}");
                if taken {
                    let written = end.written(now);
                    assert_eq!(peer.receive(&written).len(), usize::from(code == 2));
                } else {
                    assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
                }
            }
        }
    }
}

#[test]
fn p07_a_long_disconnect_is_refused_and_names_no_reason() {
    let now = start();
    for (len, taken) in [(1_000, true), (2_000, false), (60_000, false), (1 << 20, false)] {
        for version in [4, 5] {
            let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(version));
            let frame = peer.frame(1, &vec![0xc0; len]);
            end.read(now, &frame);
            let remote = matches!(end.end, Some(SessionEnd::Remote(_)));
            assert_eq!(remote, taken, "{len} bytes, version {version}");
        }
    }
}

#[test]
fn p07_a_bomb_in_a_ping_is_refused_by_what_it_declares() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    let bomb = crate::snappy::compress(&[0; 16_000]);
    assert!(bomb.len() < MAX_BASE_MESSAGE_LEN);
    let frame = peer.frame(2, &bomb);
    end.read(now, &frame);
    assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
}

#[test]
fn p07_a_block_longer_than_any_payload_needs_is_refused_before_it_is_inflated() {
    let now = start();
    // 1,000 bytes, each as a literal of its own: valid, but twice as long as what it holds.
    let mut block = vec![0xe8, 0x07];
    block.extend([0, 7].repeat(1000));
    assert_eq!(crate::snappy::decompress(&block, MAX_BASE_MESSAGE_LEN).unwrap(), [7; 1000].as_slice());
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    let frame = peer.frame(2, &block);
    end.read(now, &frame);
    assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
}

#[test]
fn p07_a_stray_pong_says_nothing() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    for _ in 0..100 {
        let pong = peer.message(3, &[0xc0]);
        end.read(now, &pong);
    }
    assert_eq!((end.end, end.session.rtt()), (None, None));
}

#[test]
fn p09_disconnect_is_read_in_every_form() {
    let unknown = DisconnectReason::Unknown;
    let cases: [(&[u8], DisconnectReason); 18] = [
        (&[0xc1, 0x04], DisconnectReason::TooManyPeers),
        (&[0x04], DisconnectReason::TooManyPeers),
        (&[0xc1, 0x80], DisconnectReason::Requested),
        (&[0x80], DisconnectReason::Requested),
        (&[0xc0], DisconnectReason::Requested),
        (&[], DisconnectReason::Requested),
        (&[0xc1, 0x10], DisconnectReason::SubprotocolError),
        (&[0xc1, 0x0c], unknown(0x0c)),
        (&[0xc2, 0x81, 0xfe], unknown(0xfe)),
        (&[0xc3, 0x82, 0x01, 0x00], DisconnectReason::INVALID),
        (&[0xc9, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], DisconnectReason::INVALID),
        (&[0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0], DisconnectReason::INVALID),
        (&[0xc1, 0xc0], DisconnectReason::INVALID),
        (&[0xc2, 0xc1, 0x04], DisconnectReason::INVALID),
        (&[0xc3, 0xc2, 0xc1, 0x04], DisconnectReason::INVALID),
        (&[0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], DisconnectReason::INVALID),
        (&[0xca, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0], DisconnectReason::INVALID),
        (&[0xc1], DisconnectReason::INVALID),
    ];
    let now = start();
    for (payload, reason) in cases {
        assert_eq!(DisconnectReason::decode(payload), reason, "{payload:02x?}");
        let (end, _) = first_message(1, payload);
        assert_eq!(end.end, Some(SessionEnd::Remote(reason)), "before Hello: {payload:02x?}");
        let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
        let frame = peer.message(1, payload);
        end.read(now, &frame);
        assert_eq!(end.end, Some(SessionEnd::Remote(reason)), "compressed: {payload:02x?}");
    }
    for payload in [&[0xc1, 0x04][..], &[0x04]] {
        let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
        let frame = peer.frame(1, payload);
        end.read(now, &frame);
        assert_eq!(end.end, Some(SessionEnd::Remote(DisconnectReason::TooManyPeers)), "uncompressed");
    }
}

#[test]
fn p09_no_three_bytes_of_a_disconnect_panic_and_every_reason_has_words() {
    for number in 0..1u32 << 24 {
        let [_, bytes @ ..] = number.to_be_bytes();
        let reason = DisconnectReason::decode(&bytes);
        // A bare number that is one, and a list that begins with one.
        let expected = match bytes {
            [0x80, ..] | [0xc0, ..] => DisconnectReason::Requested,
            [code @ 1..=0x7f, ..] => DisconnectReason::from_code(code),
            [0x81, code @ 0x80..=0xff, _] => DisconnectReason::from_code(code),
            [0xc1 | 0xc2, 0x80, _] => DisconnectReason::Requested,
            [0xc1 | 0xc2, code @ 1..=0x7f, _] => DisconnectReason::from_code(code),
            [0xc2, 0x81, code @ 0x80..=0xff] => DisconnectReason::from_code(code),
            // The long form of a short string is no reason to misunderstand a goodbye.
            [0xb8, 1, code @ 1..=0xff] => DisconnectReason::from_code(code),
            _ => DisconnectReason::INVALID,
        };
        assert_eq!(reason, expected, "{bytes:02x?}");
    }
    for code in 0..=255u8 {
        let reason = DisconnectReason::from_code(code);
        assert_eq!((reason.code(), DisconnectReason::decode(&reason.encode())), (code, reason));
        // As a log at its most talkative shows it.
        let end = SessionEnd::Remote(reason);
        assert!(
            [reason.to_string(), format!("{reason:?}"), end.to_string(), format!("{end:#?}")]
                .iter()
                .all(|words| !words.is_empty())
        );
    }
}

#[test]
fn every_reason_arrives_as_it_was_sent() {
    let now = start();
    for code in 0..=255 {
        let reason = DisconnectReason::from_code(code);
        let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
        end.session.disconnect(now, reason);
        assert_eq!(peer.disconnected(now, &mut end), reason);
        assert_eq!(end.end, Some(SessionEnd::Local { reason, error: None }));
    }
}

#[test]
fn p10_nothing_is_handled_after_our_disconnect() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    end.session.disconnect(now, DisconnectReason::UselessPeer);
    end.drain(now);
    let frame = peer.message(16, &[0xc0]);
    assert_eq!(end.read(now, &frame), 0);
    assert!(end.session.send(now, 0, &SharedMessage::new(0, vec![0xc0].into())).is_err());
    assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::UselessPeer);
    assert!(end.messages.is_empty());
}

#[test]
fn f01_a_changed_byte_ends_the_session_without_a_word() {
    let now = start();
    let len = Scripted::connected(now, config(&key(2)), &hello(5)).1.message(16, &[0x55; 40]).len();
    for place in 0..len {
        let config = config(&key(2));
        let rejects = config.rejects.clone();
        let (mut end, mut peer) = Scripted::connected(now, config, &hello(5));
        let mut frame = peer.message(16, &[0x55; 40]);
        frame[place] ^= 1 << (place % 8);
        end.read(now, &frame);
        assert_eq!(end.broken(), SessionError::Mac, "byte {place}");
        assert!(end.written(now).is_empty() && end.messages.is_empty(), "byte {place}");
        assert_eq!(rejects.count(Reject::FrameMac), 1, "byte {place}");
    }
}

#[test]
fn f04_a_first_frame_over_2_kib_is_refused_by_its_header() {
    let now = start();
    for len in [MAX_HELLO_LEN, MAX_HELLO_LEN + 1, 1 << 20, MAX_MESSAGE_LEN - 1] {
        let (mut end, mut peer) = greeting();
        let frame = peer.frame(0, &vec![0xc0; len]);
        assert_eq!(end.read(now, &frame[..32]), 32);
        let taken = end.read(now, &frame[32..]);
        // One of the right length is read, and then found to be no Hello.
        assert_eq!(taken > 0, len == MAX_HELLO_LEN, "{len} bytes");
        assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
        assert!(end.hello.is_none());
    }
    // The dialler waits for a Hello behind the same door.
    let mut long_name = config(&key(2));
    long_name.hello.client_name = "x".repeat(MAX_HELLO_LEN);
    let (a, b) = pair(now, config(&key(1)), long_name);
    assert!(a.hello.is_none() && b.messages.is_empty());
    assert_eq!(a.told(), DisconnectReason::ProtocolError);
}

#[test]
fn f04_of_a_body_that_comes_with_a_header_over_the_limit_nothing_is_decrypted_and_no_more_read() {
    /// A header and its MAC.
    const HEADER_LEN: usize = 32;
    let now = start();
    for len in [MAX_HELLO_LEN + 1, 1 << 20, MAX_MESSAGE_LEN - 1] {
        let (mut end, mut peer) = greeting();
        let frame = peer.frame(0, &vec![0xc0; len]);
        let room = end.session.read_buf().len();
        let memory = end.session.memory();
        assert_eq!(end.read(now, &frame), room, "{len} bytes");
        assert!(end.session.ingress.buffer.filled() == &frame[HEADER_LEN..room], "{len} bytes");
        assert_eq!(end.session.memory(), memory, "{len} bytes");
        assert_eq!(peer.disconnected(now, &mut end), DisconnectReason::ProtocolError);
    }
}

#[test]
fn f02_a_stream_that_ends_within_a_frame_delivers_nothing_of_it() {
    let now = start();
    let whole = Scripted::connected(now, config(&key(2)), &hello(5)).1.message(16, &[0x55; 100]);
    for len in 0..whole.len() {
        let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
        let frame = peer.message(16, &[0x55; 100]);
        end.read(now, &frame[..len]);
        end.eof(now);
        assert_eq!((end.broken(), end.messages.len()), (SessionError::Eof, 0), "{len} bytes");
    }
}

#[test]
fn a_disconnect_before_the_end_of_the_stream_is_still_read() {
    let now = start();
    let (mut end, mut peer) = Scripted::connected(now, config(&key(2)), &hello(5));
    let frame = peer.message(1, &[0xc1, 0x08]);
    let room = end.session.read_buf();
    room[..frame.len()].copy_from_slice(&frame);
    end.session.handle_read(now, frame.len());
    end.session.handle_eof(now);
    end.drain(now);
    assert_eq!(end.end, Some(SessionEnd::Remote(DisconnectReason::Quitting)));
}
