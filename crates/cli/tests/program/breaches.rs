//! A running node and peers that break the rules in their first words: an auth that proves nothing, a first frame that is too
//! long, a Hello that names nobody, a message out of its turn or of nobody's range. Each is closed, and hears why once it has
//! proved a key (`rlpx.md`); none harms an honest peer. Bytes that are no RLPx at all are in `hostile.rs`.

use std::io::{Read, Write};

use devp2p::identity::PublicKey;
use rlp::RlpStream;
use rlpx::{Hello, testing::seal};

use crate::{
    stranger::{CLOSING_LIMIT, DISCONNECT, HELLO, PING, PONG, Paced, STATUS, hello, key},
    watched::{NODE_KEY, Watched, authenticated},
};

/// The key of who breaks the rules.
const BREAKER: u8 = 20;
/// The versions of the base protocol: with the latter, payloads are compressed.
const VERSIONS: [u64; 2] = [4, 5];
/// The longest Hello, in bytes.
const MAX_HELLO_LEN: usize = 2 * 1_024;
/// The first reserved code of the base protocol, and how many of them are ignored.
const RESERVED: u64 = 0x04;
const MAX_RESERVED: u64 = 10;
/// The first code that is nobody's, where eth/69 alone is shared: it has 18.
const BEYOND: u64 = STATUS + 18;

/// A node that logs everything.
fn start() -> Watched {
    Watched::start_with(&["--verbosity", "5"])
}

fn node_key() -> PublicKey {
    key(NODE_KEY).public_key()
}

/// What an auth holds.
struct Auth {
    signature: [u8; 65],
    initiator: [u8; 64],
    nonce: [u8; 32],
}

impl Auth {
    /// As it should be.
    fn honest() -> Self {
        let (own, ephemeral, nonce) = (key(BREAKER), key(21), [0x11; 32]);
        let mut token = *own.agree(&node_key()).unwrap();
        token.iter_mut().zip(nonce).for_each(|(byte, other)| *byte ^= other);
        Self { signature: ephemeral.sign(&token).0, initiator: *own.public_key().as_bytes(), nonce }
    }

    /// Sealed as it should be, whatever it holds.
    fn packet(&self) -> Vec<u8> {
        const PADDING: [u8; 100] = [0x5a; 100];
        let mut list = RlpStream::new_list(4);
        list.append(&&self.signature[..]).append(&&self.initiator[..]).append(&&self.nonce[..]).append(&4_u8);
        let sealing = key(22);
        let secret = sealing.agree(&node_key()).unwrap();
        seal(&secret, &sealing.public_key(), [0x33; 16], &[&list.out()[..], &PADDING].concat())
    }
}

/// Reads a handshake packet, whatever is in it.
fn read_packet(wire: &mut Paced) {
    let mut size = [0; 2];
    wire.read_exact(&mut size).unwrap();
    skip(wire, u16::from_be_bytes(size).into());
}

fn skip(wire: &mut Paced, len: usize) {
    wire.read_exact(&mut vec![0; len]).unwrap();
}

#[test]
fn h06_an_auth_with_a_bad_key_signature_or_nonce_is_closed_without_a_byte() {
    let watched = start();
    let mut off_curve = Auth::honest().initiator;
    off_curve[63] ^= 1;
    let cases = [
        ("no key", Auth { initiator: [0; 64], ..Auth::honest() }),
        ("a key off the curve", Auth { initiator: off_curve, ..Auth::honest() }),
        ("a key beyond the field", Auth { initiator: [0xff; 64], ..Auth::honest() }),
        ("no signature", Auth { signature: [0; 65], ..Auth::honest() }),
        ("a signature that recovers no key", Auth { signature: [0xff; 65], ..Auth::honest() }),
        ("no nonce", Auth { nonce: [0; 32], ..Auth::honest() }),
    ];
    for (what, auth) in cases {
        let mut wire = watched.dial();
        wire.write_all(&auth.packet()).unwrap();
        wire.assert_closed_without_a_word(CLOSING_LIMIT, what);
    }
    // It was not the seal: what is as it should be is answered.
    let mut wire = watched.dial();
    wire.write_all(&Auth::honest().packet()).unwrap();
    read_packet(&mut wire);
    watched.assert_unharmed();
}

#[test]
fn h06_whoever_has_the_nodes_own_key_is_told_so_and_whoever_names_it_is_not() {
    /// As long as any header and its MAC.
    const NO_FRAME: [u8; 32] = [0x5a; 32];
    let watched = start();
    let mut wire = watched.dial();
    let mut twin = authenticated(&mut wire, NODE_KEY);
    twin.hello(&hello(node_key())).unwrap();
    assert_eq!(twin.next().unwrap(), Some((DISCONNECT, vec![0xc1, 0x0a])), "before any Hello");
    assert_eq!(twin.next().unwrap(), None);

    let forged = Auth { initiator: *node_key().as_bytes(), ..Auth::honest() };
    let mut wire = watched.dial();
    wire.write_all(&forged.packet()).unwrap();
    read_packet(&mut wire);
    wire.write_all(&NO_FRAME).unwrap();
    wire.assert_closed_without_a_word(CLOSING_LIMIT, "a forger");
    watched.assert_unharmed();
}

#[test]
fn h06_a_replayed_auth_does_not_get_past_the_mac_of_its_first_frame() {
    let watched = start();
    let mut wire = watched.dial();
    let mut victim = authenticated(&mut wire, BREAKER);
    let hello_len = frame_len(&victim.wait_for(HELLO).unwrap());
    // Who got as far as this would be told, as the victim is.
    let useless = Hello { capabilities: Vec::new(), ..hello(key(BREAKER).public_key()) };
    victim.hello(&useless).unwrap();
    assert_eq!(victim.parting().unwrap(), Some(0x03));

    let size = u16::from_be_bytes([wire.said[0], wire.said[1]]);
    let (auth, frame) = wire.said.split_at(2 + usize::from(size));
    let mut replay = watched.dial();
    replay.write_all(auth).unwrap();
    // The node says Hello with its ack, to whom it may concern.
    read_packet(&mut replay);
    skip(&mut replay, hello_len);
    replay.write_all(frame).unwrap();
    replay.assert_closed_without_a_word(CLOSING_LIMIT, "a replay");
    watched.assert_unharmed();
}

/// Bytes of the frame of a base message: its header and its body, each with a MAC.
fn frame_len(payload: &[u8]) -> usize {
    32 + (1 + payload.len()).next_multiple_of(16) + 16
}

#[test]
fn f04_a_first_frame_over_2_kib_is_refused_by_its_header_and_its_body_not_waited_for() {
    /// A Hello, and its code.
    const LONGEST: u32 = 1 + MAX_HELLO_LEN as u32;
    let watched = start();
    for len in [LONGEST + 1, 64 * 1_024, 0xff_ffff] {
        let mut wire = watched.dial();
        let mut breaker = authenticated(&mut wire, BREAKER);
        let header = breaker.header(len);
        breaker.wire.write_all(&header).unwrap();
        assert_eq!(breaker.parting().unwrap(), Some(0x02), "{len} bytes");
    }
    // The longest that there may be is read.
    let mut wire = watched.dial();
    let mut peer = authenticated(&mut wire, BREAKER);
    peer.send(HELLO, &hello_of(&own_id(), &[("eth", 69)], MAX_HELLO_LEN)).unwrap();
    peer.wait_for(STATUS).unwrap();
    watched.assert_unharmed();
}

#[test]
fn f04_a_body_that_comes_with_a_header_over_2_kib_is_not_looked_at() {
    let watched = start();
    let answer_to = |len: usize| {
        let mut wire = watched.dial();
        let mut breaker = authenticated(&mut wire, BREAKER);
        let mut frame = breaker.message(HELLO, &vec![0xc0; len]);
        // Whoever looks at the body finds its MAC wrong, and says nothing.
        *frame.last_mut().unwrap() ^= 1;
        breaker.wire.write_all(&frame).unwrap();
        breaker.parting().unwrap()
    };
    assert_eq!(answer_to(MAX_HELLO_LEN), None);
    for len in [MAX_HELLO_LEN + 1, 64 * 1_024] {
        assert_eq!(answer_to(len), Some(0x02), "{len} bytes");
    }
    watched.assert_unharmed();
}

/// The payload of a Hello whose key is whatever it is, at least so long.
fn hello_of(id: &[u8], capabilities: &[(&str, u32)], len: usize) -> Vec<u8> {
    let mut list = RlpStream::new_list(5);
    list.append(&4_u8).append(&"breaker").begin_list(capabilities.len());
    for (name, version) in capabilities {
        list.begin_list(2).append(name).append(version);
    }
    list.append(&0_u8).append(&id);
    let mut payload = list.out().to_vec();
    // What comes after the list is ignored.
    payload.resize(len.max(payload.len()), 0);
    payload
}

/// What a breaker says of itself that is an honest peer up to then.
fn own_hello(secret: u8, version: u64) -> Hello {
    Hello { protocol_version: version, ..hello(key(secret).public_key()) }
}

fn own_id() -> [u8; 64] {
    *key(BREAKER).public_key().as_bytes()
}

/// What is said to somebody whose first message this is.
fn answer_to(watched: &Watched, code: u64, payload: &[u8]) -> Option<u8> {
    let mut wire = watched.dial();
    let mut breaker = authenticated(&mut wire, BREAKER);
    breaker.send(code, payload).unwrap();
    breaker.parting().unwrap()
}

#[test]
fn p02_a_hello_of_nobody_of_another_and_of_no_use_is_told_so() {
    let watched = start();
    let answer =
        |id: &[u8], capabilities: &[(&str, u32)]| answer_to(&watched, HELLO, &hello_of(id, capabilities, 0));
    let ids = [0, 2, 63, 65, 128].map(|len| vec![7; len]);
    for id in ids.iter().chain([&vec![0; 64]]) {
        assert_eq!(answer(id, &[("eth", 69)]), Some(0x07), "{} bytes", id.len());
    }
    let others = [key(11).public_key(), node_key(), PublicKey::from_bytes([7; 64])];
    for other in others {
        assert_eq!(answer(other.as_bytes(), &[("eth", 69)]), Some(0x09), "{other:?}");
    }
    let useless: [&[(&str, u32)]; 5] =
        [&[], &[("snap", 1)], &[("ETH", 69)], &[("eth", 0), ("eth", 63)], &[("", 69), ("ethereum/69", 69)]];
    for capabilities in useless {
        assert_eq!(answer(&own_id(), capabilities), Some(0x03), "{capabilities:?}");
    }
    watched.assert_unharmed();
}

#[test]
fn p03_the_first_message_is_hello_or_disconnect_and_there_is_no_second_hello() {
    let watched = start();
    for code in [PING, PONG, RESERVED, STATUS - 1, STATUS, BEYOND, 1 << 40] {
        assert_eq!(answer_to(&watched, code, &[0xc0]), Some(0x02), "code {code}");
    }
    assert_eq!(answer_to(&watched, DISCONNECT, &[0xc1, 0x04]), None);
    let cases = VERSIONS.into_iter().flat_map(|version| [(version, false), (version, true)]);
    for (secret, (version, after_status)) in (BREAKER..).zip(cases) {
        let own = own_hello(secret, version);
        let mut wire = watched.dial();
        let mut breaker = authenticated(&mut wire, secret);
        if after_status {
            breaker.settle_as(&own).unwrap();
            breaker.assert_answered();
        } else {
            breaker.introduce(&own).unwrap();
        }
        breaker.send(HELLO, &hello_of(own.public_key.as_bytes(), &[("eth", 69)], 0)).unwrap();
        assert_eq!(breaker.parting().unwrap(), Some(0x02), "version {version}, {after_status}");
    }
    watched.assert_unharmed();
}

#[test]
fn p04_ten_reserved_codes_are_ignored_and_the_eleventh_and_codes_of_nobody_are_breaches() {
    let watched = start();
    // A node may hold on to who was just told to go: each is another.
    let mut secrets = BREAKER..;
    for version in VERSIONS {
        let secret = secrets.next().unwrap();
        let mut wire = watched.dial();
        let mut breaker = authenticated(&mut wire, secret);
        breaker.settle_as(&own_hello(secret, version)).unwrap();
        for code in (RESERVED..STATUS).cycle().take(MAX_RESERVED as usize) {
            breaker.send(code, &[0xc0]).unwrap();
        }
        breaker.assert_answered();
        breaker.send(RESERVED, &[0xc0]).unwrap();
        assert_eq!(breaker.parting().unwrap(), Some(0x02), "version {version}");

        let codes = [BEYOND, BEYOND + 1, 0x7f, 0x80, 0xff, 1 << 32, u64::MAX];
        for (code, secret) in codes.into_iter().zip(&mut secrets) {
            let mut wire = watched.dial();
            let mut breaker = authenticated(&mut wire, secret);
            breaker.settle_as(&own_hello(secret, version)).unwrap();
            breaker.send(code, &[0xc0]).unwrap();
            assert_eq!(breaker.parting().unwrap(), Some(0x02), "version {version}, code {code}");
        }
    }
    watched.assert_unharmed();
}
