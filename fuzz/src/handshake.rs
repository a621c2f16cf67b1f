//! The encrypted handshake against a peer whose auth or ack holds what the fuzzer likes, sealed and tagged as it should
//! be, or wrong in a place of the fuzzer's choice; it arrives in pieces of the fuzzer's lengths.
//!
//! ```text
//! flags: 1 byte  cuts: 1 byte, then so many lengths (1 byte each)  iv: 16 bytes
//! content: 2-byte length, bytes  [prefix: 2 bytes]  [point: 65 bytes]  [place: 2 bytes]  rest: follows the packet
//! ```
//! Nobody is authenticated without the session saying so, and whoever fails before that gets no byte.

use std::sync::Arc;

use identity::{
    Label, Now, PublicKey,
    curve::{CurveOp, CurveOutput, KeyRef},
    steps,
};
use rlpx::{
    DisconnectReason, Incompatibility, SessionConfig, SessionEnd, SessionError,
    testing::{self, Curve, End},
};

use crate::{
    Verdict,
    input::Input,
    nodes::{Node, nodes, run as run_op},
};

/// The session under test listens; otherwise it dials.
pub const LISTENS: u8 = 1;
/// Jobs run on the real curve; otherwise without curves, ten times as fast.
pub const REAL_CURVE: u8 = 2;
/// The signature of an auth is made anew, over what the content says now.
pub const SIGN: u8 = 4;
/// The content is a whole packet and goes as it is.
pub const AS_IT_IS: u8 = 8;
/// The size prefix is the input's.
pub const PREFIX: u8 = 16;
/// The point is the input's, with the byte before it.
pub const POINT: u8 = 32;
/// One bit of the packet is flipped: at the place, counted in bits.
pub const FLIP: u8 = 64;

/// What an auth has before its signature, at least: headers of list and string.
const MIN_SIGNATURE_PLACE: usize = 3;
/// The header of a string of 65 bytes, and how long that string is.
const SIGNATURE_HEADER: [u8; 2] = [0xb8, 65];
const SIGNATURE_LEN: usize = 65;
/// From a signature's first byte to the nonce: the signature, the key with its header, the nonce's header.
const TO_NONCE: usize = SIGNATURE_LEN + 2 + 64 + 1;
/// Longest that may be read ahead of authentication, in bytes: a prefix and the longest packet.
const MAX_PACKET_LEN: usize = 2 + 2048;
/// Turns that a session takes for no bytes of the peer's, but for what comes of the curve.
const MAX_TRIPS: usize = 16;
/// When it happens, in seconds since 1970.
const START: u64 = 1_800_000_000;

/// Runs one input.
///
/// # Panics
/// When a rule of the handshake is broken.
pub fn run(data: &[u8]) -> Verdict {
    let mut input = Input::new(data);
    let flags = input.byte();
    let cuts: Vec<u8> = (0..input.byte() % 16).map(|_| input.byte()).collect();
    let [dialler, listener] = nodes();
    let (under_test, peer) = if flags & LISTENS > 0 { (listener, dialler) } else { (dialler, listener) };
    let now = Now::simulated(std::time::Duration::from_secs(START));
    let config = Arc::new(SessionConfig::new(under_test.public_key(), "test/1.0", Vec::new()));
    let curve = under_test.curve(flags & REAL_CURVE > 0, 1);
    let mut end = if flags & LISTENS > 0 {
        End::listener(now, Arc::clone(&config), curve, 2)
    } else {
        End::dialer(now, Arc::clone(&config), peer.public_key(), curve, 2)
    };
    let said = end.written(now).len();
    let mut bytes = packet(flags, under_test, peer, &mut input);
    bytes.extend_from_slice(input.rest());
    let limit = 2 * bytes.len() + MAX_TRIPS;
    let (verdict, _) = steps::within(limit, || {
        deliver(now, &mut end, &bytes, &cuts);
        if end.remote.is_some() {
            check_authenticated(now, &mut end);
            return Verdict::Accepted;
        }
        let unsaid = end.session.queued() - said as u64;
        if end.end.is_none() {
            end.session.handle_eof(now);
            end.drain(now);
        }
        check_refused(&mut end, unsaid, &config)
    });
    verdict
}

/// What the peer sends.
fn packet(flags: u8, under_test: &Node, peer: &Node, input: &mut Input<'_>) -> Vec<u8> {
    let iv = input.array();
    let mut content = input.sized().to_vec();
    let mut packet = if flags & AS_IT_IS > 0 {
        content
    } else {
        if flags & SIGN > 0 {
            sign(&mut content, &mut peer.curve(flags & REAL_CURVE > 0, 3), peer, under_test.public_key());
        }
        // Both sides of an agreement find the same secret: the receiver's side finds it for any point.
        let sealing = peer.ephemeral.public_key();
        let [form, xy @ ..] = input_point(flags, &sealing, input);
        let point = PublicKey::from_bytes(xy);
        let mut curve = under_test.curve(flags & REAL_CURVE > 0, 4);
        let shared = match run_op(&mut curve, CurveOp::Agree(KeyRef::Node, point)) {
            Some(CurveOutput::Agreed(shared)) => shared,
            _ => [0; 32].into(),
        };
        let mut packet = testing::seal(&shared, &point, iv, &content);
        packet[2] = form;
        packet
    };
    if flags & PREFIX > 0 {
        let prefix: [u8; 2] = input.array();
        packet.iter_mut().zip(prefix).for_each(|(byte, new)| *byte = new);
    }
    if flags & FLIP > 0 && !packet.is_empty() {
        let place = input.number() % (packet.len() * 8);
        packet[place / 8] ^= 1 << (place % 8);
    }
    packet
}

fn input_point(flags: u8, sealing: &PublicKey, input: &mut Input<'_>) -> [u8; 65] {
    if flags & POINT > 0 {
        return input.array();
    }
    let mut point = [4; 65];
    point[1..].copy_from_slice(sealing.as_bytes());
    point
}

/// Writes the peer's signature to where an auth has it, if there is such a place.
fn sign(content: &mut [u8], curve: &mut Curve, peer: &Node, receiver: PublicKey) {
    let header = content.windows(2).take(5).position(|pair| pair == SIGNATURE_HEADER);
    let Some(place) = header.map(|header| header + 2).filter(|place| *place >= MIN_SIGNATURE_PLACE) else {
        return;
    };
    let nonce = content.get(place + TO_NONCE..).and_then(|rest| rest.first_chunk::<32>()).copied();
    let agreed = run_op(curve, CurveOp::Agree(KeyRef::Node, receiver));
    let (Some(nonce), Some(CurveOutput::Agreed(mut token))) = (nonce, agreed) else { return };
    token.iter_mut().zip(nonce).for_each(|(byte, other)| *byte ^= other);
    let key = KeyRef::Ephemeral(peer.ephemeral.clone());
    if let Some(CurveOutput::Signed(signature)) = run_op(curve, CurveOp::Sign(key, *token)) {
        content[place..place + SIGNATURE_LEN].copy_from_slice(&signature.0);
    }
}

/// Brings the bytes in pieces, over and over of the lengths given.
fn deliver(now: Now, end: &mut End, bytes: &[u8], cuts: &[u8]) {
    let mut lengths = cuts.iter().map(|cut| usize::from(*cut).max(1)).cycle();
    let mut rest = bytes;
    while !rest.is_empty() {
        let len = lengths.next().unwrap_or(rest.len()).min(rest.len());
        let (piece, behind) = rest.split_at(len);
        let taken = end.read(now, piece, usize::MAX);
        if end.session.remote().is_none() {
            let room = end.session.read_buf().len();
            assert!(room <= MAX_PACKET_LEN, "{room} bytes to be read before anybody is known");
            let (read, _) = testing::buffer_capacities(&end.session);
            assert!(read <= MAX_PACKET_LEN, "{read} bytes held for a packet");
        }
        if taken < piece.len() {
            return;
        }
        rest = behind;
    }
}

/// The session believes to know who is there: it has said Hello, and what follows the packet, if anything, are no frames.
fn check_authenticated(now: Now, end: &mut End) {
    if end.end.is_some() {
        assert_eq!(end.end, Some(SessionEnd::Broken(SessionError::Mac)), "frames that nobody can have made");
        assert_eq!(end.session.write_buf(), b"", "told about a wrong MAC");
    } else {
        assert!(!end.written(now).is_empty(), "no Hello");
    }
}

/// The session failed, counted once, and for good; `unsaid` bytes waited for the peer then. They are none, unless the
/// handshake went well with a node that has our own key, or says so and has still to prove it by its first frame.
fn check_refused(end: &mut End, unsaid: u64, config: &SessionConfig) -> Verdict {
    assert!(end.session.write_buf().is_empty() && end.session.read_buf().is_empty());
    assert_eq!(end.session.next_timeout(), None);
    assert_eq!(config.rejects.total(), 1, "{:?}", config.rejects);
    let error = match end.end {
        Some(SessionEnd::Broken(error)) => {
            assert!(!error.may_tell(), "{error}");
            let names_our_key = end.session.remote() == Some(config.hello.public_key);
            let proved_wrong = error == SessionError::Mac;
            assert_eq!(unsaid > 0, names_our_key && !proved_wrong, "{unsaid} bytes for somebody unknown");
            error
        }
        Some(SessionEnd::Local { reason, error: Some(error) }) => {
            let own = SessionError::Incompatible(Incompatibility::OwnKey);
            assert_eq!((reason, error), (DisconnectReason::ConnectedToSelf, own));
            assert!(unsaid > 0, "it was not told");
            error
        }
        _ => panic!("ended like no handshake: {:?}", end.end),
    };
    Verdict::Rejected(error.reject().map_or("cut", |reject| reject.label()))
}
