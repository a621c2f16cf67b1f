//! Seeds of frames: the Hello of EIP-8's test vectors and our own, base messages, messages of two capabilities with snappy
//! and without, and frames of which one thing is wrong.

use std::{sync::Arc, time::Duration};

use hostile::frame::{
    BLOCK, CODES, CONTENT, DIALLED, FRAME, LONG, MESSAGE, OWN, PLAIN, TAMPER, UNGREETED, WAIT,
};
use identity::{NodeKey, Now};
use rlpx::{
    CapabilityName, LocalCapability, SessionConfig,
    p2p::{DISCONNECT, HELLO, PING, PONG},
    testing::{Curve, End, Role, ScriptedPeer},
};
use world::SimCurve;

use super::{Seed, json, seed, sized, text, unhex};

const CHAT: u8 = CODES[0];
const TINY: u8 = CODES[1];
/// An empty RLP list, as Ping and Pong carry it.
const EMPTY: &[u8] = &[0xc0];
/// What clients write behind the size in a frame's header: an RLP list of two zeros.
const HEADER_DATA: [u8; 13] = [0xc2, 0x80, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

pub(super) fn seeds() -> Vec<Seed> {
    [hellos(), base(), messages(), blocks(), frames(), stories()].into_iter().flatten().collect()
}

fn hellos() -> Vec<Seed> {
    let vectors = json(include_str!("../../../crates/rlpx/tests/eip8.json"));
    let (eip8, own) = (unhex(&vectors["hello"]["hex"]), own_hello());
    let hello = |payload: &[u8]| message(HELLO as u8, payload);
    let chat = message(CHAT, b"\x85hello");
    vec![
        // Of another node, and with no capability that both have.
        seed("hello_eip8", &[&[UNGREETED], &hello(&eip8)]),
        seed("hello_own", &[&[UNGREETED], &hello(&own)]),
        seed("hello_own_to_dialler", &[&[UNGREETED | DIALLED], &hello(&own)]),
        seed("hello_own_then_message", &[&[UNGREETED], &hello(&own), &chat]),
        seed("hello_in_pieces", &[&[UNGREETED], &[MESSAGE, 3, HELLO as u8], &sized(&own)]),
        seed("hello_twice", &[&[0], &hello(&own)]),
        seed("hello_never", &[&[UNGREETED], &[WAIT, 0, 60]]),
        seed("hello_replaced_by_disconnect", &[&[UNGREETED], &message(DISCONNECT as u8, &[0xc1, 4])]),
        seed("hello_replaced_by_message", &[&[UNGREETED], &chat]),
    ]
}

/// What the peer of the target says: the node whose static key is A in EIP-8.
fn own_hello() -> Vec<u8> {
    let vectors = json(include_str!("../../../crates/rlpx/tests/eip8.json"));
    let key = |name| Arc::new(NodeKey::from_hex(text(&vectors["keys"][name])).expect("a key"));
    let (peer, other) = (key("Static Key A"), key("Static Key B"));
    let capability = |name, version, count| {
        LocalCapability::new(CapabilityName::new(name).expect("short and printable"), version, count)
    };
    let capabilities = vec![capability("chat", 1, 3), capability("tiny", 2, 2)];
    let config = Arc::new(SessionConfig::new(peer.public_key(), "test/1.0", capabilities));
    let now = Now::simulated(Duration::from_secs(1_800_000_000));
    let keys = (other.public_key(), peer.public_key());
    let mut end = End::listener(now, config, curve(peer, 1), 2);
    let script = ScriptedPeer::connect(now, Role::Dialer, &mut end, keys, &mut curve(other, 3), 4);
    let said = script.expect("both do as they should").read(&end.written(now)).expect("frames in order");
    said.into_iter().find(|(code, _)| *code == HELLO).expect("Hello comes first").1
}

fn curve(key: Arc<NodeKey>, seed: u64) -> Curve {
    let mut curve = SimCurve::new(key, seed);
    Box::new(move |ops| curve.run(ops))
}

fn base() -> Vec<Seed> {
    let (ping, pong) = (message(PING as u8, EMPTY), message(PONG as u8, EMPTY));
    vec![
        seed("ping", &[&[0], &ping]),
        seed("ping_plain", &[&[PLAIN], &ping]),
        seed("ping_ten_times", &[&[0], &ping.repeat(10)]),
        seed("pong", &[&[DIALLED], &pong]),
        seed("disconnect_in_list", &[&[0], &message(DISCONNECT as u8, &[0xc1, 8])]),
        seed("disconnect_bare_number", &[&[PLAIN], &message(DISCONNECT as u8, &[4])]),
        seed("disconnect_empty", &[&[0], &message(DISCONNECT as u8, &[])]),
        seed("base_unknown_code", &[&[0], &message(5, EMPTY)]),
        seed("base_too_long", &[&[PLAIN], &[LONG, 0, PING as u8, 0xc0, 200, 0]]),
    ]
}

fn messages() -> Vec<Seed> {
    let each = [CHAT, CHAT + 1, CHAT + 2, TINY, TINY + 1].map(|code| message(code, b"\x83abc")).concat();
    vec![
        seed("message_of_each_code", &[&[0], &each]),
        seed("message_of_each_code_plain", &[&[PLAIN | DIALLED], &each]),
        seed("message_empty", &[&[0], &message(CHAT, &[])]),
        seed("message_byte_by_byte", &[&[0], &[MESSAGE, 1, CHAT], &sized(b"\x85hello")]),
        seed("message_longest_tiny", &[&[0], &message(TINY, &[7; 100])]),
        seed("message_too_long_tiny", &[&[0], &message(TINY, &[7; 101])]),
        seed("message_too_long_tiny_plain", &[&[PLAIN], &message(TINY, &[7; 200])]),
        seed("message_of_no_capability", &[&[0], &message(TINY + 2, EMPTY)]),
        // In units of 8 bytes: 8 KiB, 192 KiB, 200 KiB.
        seed("long_compressed", &[&[0], &[LONG, 200, CHAT, 1, 0, 4]]),
        seed("long_plain_in_pieces", &[&[PLAIN], &[LONG, 251, CHAT, 1, 0, 4]]),
        seed("long_longest", &[&[0], &[LONG, 0, CHAT, 1, 0, 96]]),
        seed("long_longest_plain", &[&[PLAIN], &[LONG, 0, CHAT, 1, 0, 96]]),
        seed("long_too_long", &[&[0], &[LONG, 0, CHAT, 1, 0, 100]]),
    ]
}

/// Snappy blocks: the inflated length (varint), then literals and copies.
fn blocks() -> Vec<Seed> {
    let block = |bytes: &[u8]| [&[BLOCK, 0, CHAT][..], &sized(bytes)].concat();
    let literal = b"\x06\x14\x85hello";
    // Eleven bytes: "ab", and a copy of nine from two bytes back.
    let copy = [11, 1 << 2, b'a', b'b', ((9 - 4) << 2) | 1, 2];
    vec![
        seed("snappy_literal", &[&[0], &block(literal)]),
        seed("snappy_copy", &[&[0], &block(&copy)]),
        seed("snappy_empty", &[&[0], &block(&[0])]),
        seed("snappy_nothing_at_all", &[&[0], &block(&[])]),
        seed("snappy_length_too_large", &[&[0], &block(b"\x07\x14\x85hello")]),
        seed("snappy_claims_16_mib", &[&[0], &block(&[0x80, 0x80, 0x80, 0x08, 0])]),
        seed("snappy_copy_from_before", &[&[0], &block(&[5, 1, 2])]),
    ]
}

/// Frames with headers and contents of their own.
fn frames() -> Vec<Seed> {
    let frame = |size: u8, body: &[u8]| {
        let header = [&[0, 0, size][..], &HEADER_DATA].concat();
        [&[FRAME, 0][..], &header, &sized(body)].concat()
    };
    let content = |bytes: &[u8]| [&[CONTENT, 0][..], &sized(bytes)].concat();
    let mut ping = [0; 16];
    // A block with the literal of one byte: an empty list.
    ping[..4].copy_from_slice(&[PING as u8, 1, 0, 0xc0]);
    let tamper =
        |place: u16| [&[TAMPER, 0][..], &place.to_le_bytes(), &[CHAT], &sized(b"\x85hello")].concat();
    vec![
        seed("frame_ping", &[&[0], &frame(4, &ping)]),
        seed("frame_size_0", &[&[0], &frame(0, &[])]),
        seed("frame_body_cut", &[&[0], &frame(40, &ping)]),
        seed("frame_body_too_long", &[&[0], &frame(4, &[ping, ping].concat())]),
        seed("frame_claims_16_mib", &[&[0], &[FRAME, 0], &[255; 16], &sized(&ping)]),
        seed("content_ping", &[&[0], &content(&[PING as u8, 1, 0, 0xc0])]),
        seed("content_ping_plain", &[&[PLAIN], &content(&[PING as u8, 0xc0])]),
        seed("content_code_of_two_bytes", &[&[PLAIN], &content(&[0x81, 0x90, 0xc0])]),
        seed("content_code_0_as_zero_byte", &[&[PLAIN], &content(&[0, 0xc0])]),
        seed("content_code_is_a_list", &[&[PLAIN], &content(&[0xc1, 2])]),
        seed("tampered_header", &[&[0], &tamper(1)]),
        seed("tampered_header_mac", &[&[0], &tamper(16 * 8)]),
        seed("tampered_body", &[&[0], &tamper(32 * 8 + 5)]),
    ]
}

/// The session's owner does something, and time passes.
fn stories() -> Vec<Seed> {
    let (chat, pong) = (message(CHAT, b"\x85hello"), message(PONG as u8, EMPTY));
    vec![
        seed("story_answers_our_ping", &[&[0], &[WAIT, 0, 151], &pong, &[WAIT, 0, 151], &pong]),
        seed("story_silence", &[&[0], &chat, &[WAIT, 0, 200, WAIT, 0, 200]]),
        seed("story_pause", &[&[0], &[OWN, 0, 0], &chat, &chat, &[OWN, 0, 1], &chat]),
        seed("story_owner_sends", &[&[DIALLED], &[OWN, 0, 18, OWN, 0, 17, OWN, 0, 255], &chat]),
        seed("story_owner_disconnects", &[&[0], &chat, &[OWN, 0, 2], &chat]),
    ]
}

fn message(code: u8, payload: &[u8]) -> Vec<u8> {
    [&[MESSAGE, 0, code][..], &sized(payload)].concat()
}
